"""What the scripts in this folder share: time that is taken, processes of their own, turns, and another program's figures beside ours."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def times_of(run: Callable[[], Any], seconds: float, first: int = 2) -> list[float]:
    """Milliseconds of each run within `seconds`, at least three; `first` runs at first are not counted."""
    for _ in range(first):
        run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def apart(script: str, *arguments: Any, **environment: str) -> Any:
    """What the `measure(*arguments)` of a script that ends in `start` returns, in a process of its own. All of it goes as JSON."""
    words = [sys.executable, script, "--measure", json.dumps(arguments)]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{', '.join(map(str, arguments))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def memory(keep: bool) -> dict[str, str]:
    """The environment of a process that keeps freed memory, or does not; this has to be settled before torch is loaded."""
    return {"KINEMA_KEEP_MEMORY": "1" if keep else "0"}


def start(main: Callable[[], None], measure: Callable[..., Any]) -> None:
    """The end of a script: `main`, or in a process that `apart` started, `measure`, with freed memory kept unless that says otherwise."""
    if sys.argv[1:2] != ["--measure"]:
        main()
        return
    from kinema._memory import keep_freed_memory

    keep_freed_memory()
    print(json.dumps(measure(*json.loads(sys.argv[2]))))


def in_turns(keys: Iterable[Hashable], rounds: int, measure: Callable[..., Any]) -> dict[Any, list[Any]]:
    """What `measure(*key)` returned in each round. All keys are measured in every round, so that they see the same machine."""
    found: dict[Any, list[Any]] = {key: [] for key in keys}
    for _ in range(rounds):
        for key in found:
            found[key].append(measure(*key))
    return found


class Peers:
    """What another program took for the same work, and how this machine compares with the one on which that was measured.

    `rows`: by `key`, each with `kind`, `ms_median` and `ms_median_memory_kept`. `calibration`: a file `{kind: {"ratio": ...}}` that
    says how much longer this machine takes for that kind of work, or a script that prints such with `--json`.
    """

    def __init__(self, rows: dict[Any, dict], calibration: Path | None):
        self.rows, self.calibration, self.ratios = rows, calibration, []

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--peer", type=Path, help="what the peer took")
        parser.add_argument("--calibration", type=Path, help="this machine against the peer's")

    @classmethod
    def given(cls, parser: argparse.ArgumentParser, options: argparse.Namespace, key: Callable[[dict], Any] = lambda row: row["name"]):
        """The peers that the options name, if any."""
        if (options.peer is None) != (options.calibration is None):
            parser.error("--peer and --calibration go together")
        rows = json.loads(options.peer.read_text()) if options.peer else []
        return cls({key(row): row for row in rows}, options.calibration)

    @contextmanager
    def compared(self) -> Iterator[None]:
        """Compare the machines before and after what is measured."""
        self._compare()
        yield
        self._compare()

    def _compare(self) -> None:
        if not self.rows:
            return
        path = self.calibration
        if path.suffix == ".py":
            text = subprocess.run([sys.executable, str(path), "--json"], capture_output=True, text=True, check=True).stdout
        else:
            text = path.read_text()
        self.ratios.append(json.loads(text))

    def against(self, key: Any, name: str, kept: bool, stand_in: bool = False) -> dict | None:
        """The peer of `speed_row`, called `name`; None where there is no such row. `kept`: with freed memory kept.

        `stand_in`: where the figure with freed memory kept was not taken, the other one stands in for it.
        """
        row = self.rows.get(key)
        if row is None:
            return None
        ms = row["ms_median_memory_kept" if kept and not (stand_in and "ms_median_memory_kept" not in row) else "ms_median"]
        return {"name": name, "ms": ms, "calibration": [ratio[row["kind"]]["ratio"] for ratio in self.ratios]}


def memory_name(kept: bool) -> str:
    return "kept" if kept else "as it is"


def row_text(row: dict) -> str:
    """A row of `speed_row` in one line."""
    factor = f", {row['factor']:.2f} times as fast as {row['peer']['name']}" if "factor" in row else ""
    return f"{row['name']:20} {row['threads']} threads {row['dtype']:9} memory {row['memory']:8} {row['ms']['median']:8.4g} ms{factor}"


def in_this_process(works: Callable[[], Iterable[tuple]], seconds: float, peers: Peers, stand_in: bool = False) -> list[dict]:
    """Rows of works on one thread, as the process started, and again with freed memory kept.

    `works()`: (name, what it is, clips a run, PYSKL's row, the work).
    """
    import torch

    from kinema._memory import keep_freed_memory
    from kinema.evaluation.results import speed_row

    torch.set_num_threads(1)
    measured = []
    with peers.compared():
        for kept in (False, True):
            if kept and not keep_freed_memory():
                break  # not glibc: there is no second column
            for name, work, size, peer, run in works():
                measured.append((name, work, size, peer, kept, times_of(run, seconds, first=3)))
    rows = []
    for name, work, size, peer, kept, times in measured:
        against = peers.against(peer, "PYSKL", kept, stand_in)
        rows.append(speed_row(name, work, 1, "float32", times, items=size, peer=against, memory=memory_name(kept)))
        print(row_text(rows[-1]))
    return rows
