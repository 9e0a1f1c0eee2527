"""Parsing many files, one clip each; in several processes where there is so much that starting them pays.

Parsing text keeps Python's lock, so threads gain nothing. The helpers are plain child processes that are told by name what to
parse: unlike a process pool they neither import the user's script again nor copy a process that runs threads.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path

from kinema._cores import cores
from kinema.datasets._io import located
from kinema.datasets._ragged import Damaged, RaggedFile, RaggedWriter, Record, Value
from kinema.errors import DataError, LayoutError

# A helper starts in a third of a second, and a core parses 30 to 60 MB in a second.
BYTES_PER_PROCESS = 64 << 20
_BYTES_PER_TASK = 256 << 20

Parse = Callable[[str], Value]


def parse_files(
    files: Sequence[str], parse: Parse, processes: int | None = None, bytes_per_task: int = _BYTES_PER_TASK
) -> Generator[Record, None, None]:
    """The pose, or the cropped depth, of each file in order, or the `DataError` that says why there is none.

    `parse` is a function of a module, or a `partial` of one with keywords that JSON can hold. `processes`: how many may
    work; default: as many as there are cores and as the size of the files warrants. `bytes_per_task`: of files that a process reads
    before it hands over what it made of them.
    """
    sizes = [file_size(file) for file in files]
    if processes is None:
        processes = min(cores(), sum(sizes) // BYTES_PER_PROCESS)
    if processes < 2:
        return _here(files, parse, long=sum(sizes) > BYTES_PER_PROCESS)
    return _in_processes(files, sizes, parse, processes, bytes_per_task)


def _here(files: Sequence[str], parse: Parse, long: bool) -> Generator[Record, None, None]:
    with _progress(len(files), long) as report:
        for done, file in enumerate(files):
            yield _attempt(parse, file)
            report(done + 1)


def _attempt(parse: Parse, file: str) -> Record:
    try:
        return parse(file)
    except (DataError, LayoutError) as error:
        return located(error, file)


def file_size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except OSError:  # the parser will say what is the matter
        return 0


def _tasks(files: Sequence[str], sizes: Sequence[int], processes: int, most: int) -> list[list[str]]:
    """Consecutive files in tasks of about equal size, at least one a process, small enough to show progress."""
    goal = min(sum(sizes) / processes, most)
    tasks: list[list[str]] = [[]]
    held = 0
    for file, size in zip(files, sizes, strict=True):
        if tasks[-1] and held + size > goal:
            tasks.append([])
            held = 0
        tasks[-1].append(file)
        held += size
    return tasks


def _in_processes(
    files: Sequence[str], sizes: Sequence[int], parse: Parse, processes: int, bytes_per_task: int
) -> Generator[Record, None, None]:
    name = parse.func if isinstance(parse, partial) else parse
    options = parse.keywords if isinstance(parse, partial) else {}
    waiting = deque(enumerate(_tasks(files, sizes, processes, bytes_per_task)))
    running: deque[tuple[list[str], Path, subprocess.Popen]] = deque()
    done = 0
    with tempfile.TemporaryDirectory(prefix="kinema-", ignore_cleanup_errors=True) as folder, _progress(len(files), True) as report:
        try:
            while waiting or running:
                while waiting and len(running) < processes:
                    number, task = waiting.popleft()
                    part = Path(folder) / f"{number}.poses"
                    order = Path(folder) / f"{number}.json"
                    order.write_text(json.dumps([name.__module__, name.__qualname__, options, str(part), task]))
                    running.append((task, part, _start(order)))
                task, part, process = running[0]
                process.wait()
                running.popleft()
                yield from _collect(task, part, parse, process.returncode)
                done += len(task)
                report(done)
        finally:
            for _, _, process in running:
                process.kill()
                process.wait()


def _collect(task: list[str], part: Path, parse: Parse, status: int) -> Iterator[Record]:
    """What a helper wrote; the files themselves, read here, where it did not come to its end."""
    try:
        if status:
            raise Damaged(part)
        records = RaggedFile(part, ".")
    except (OSError, Damaged):
        for file in task:
            yield _attempt(parse, file)
        return
    part.unlink(missing_ok=True) if os.name == "posix" else None
    for i, file in enumerate(task):
        error = records.error(i)
        yield records.record(i) if error is None else DataError(error.reason, file, error.where)


# There is a process for each core; threads of each beside them would wait for one another.
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


def _start(order: Path) -> subprocess.Popen:
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(order)],
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class _progress:
    """A bar on standard error, if somebody is looking."""

    def __init__(self, total: int, wanted: bool):
        self._total, self._wanted, self._bar = total, wanted, None

    def __enter__(self) -> Callable[[int], None]:
        if not self._wanted or not sys.stderr.isatty():
            return lambda done: None
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True)
        task = self._bar.add_task("Reading the clips (kept for the next time)", total=self._total)
        self._bar.start()
        return lambda done: self._bar.update(task, completed=done)

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.stop()


def _work(order: str) -> None:
    """What a helper process does: parse the files of its task into one file."""
    module, name, options, part, files = json.loads(Path(order).read_text())
    parse = partial(getattr(importlib.import_module(module), name), **options)
    writer = RaggedWriter(part, ".")
    for file in files:
        writer.append(_attempt(parse, file))
    writer.close({})


if __name__ == "__main__":
    _work(sys.argv[1])
