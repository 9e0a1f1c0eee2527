"""Parsed poses and cropped depth are kept between runs, so that a second start reads one memory-mapped file in place of thousands.

Two levels under the cache folder ($KINEMA_CACHE, else kinema/ in the user's cache folder). A link, one for each reader and
root, says which content the files there had when they last looked like this (names, sizes, times of change). A `.poses` file
(`.depths` for depth: see `_depth`) is named by that content, so that the same files are parsed once, wherever they lie and however
often they are touched.

Everything there may be deleted at any time. A damaged file is made anew, a folder that cannot be written means no cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from kinema._cache_folder import cache_folder, remove_leftovers, unfinished
from kinema.clip import Lazy, PoseSequence
from kinema.datasets._io import Skipped
from kinema.datasets._parallel import Parse, parse_files
from kinema.datasets._ragged import MAGIC, Damaged, RaggedFile, RaggedWriter, Record
from kinema.datasets.base import OnError

# Calls the given function with every pose, or the error that stands in its place, in order; returns facts that JSON can hold.
Build = Callable[[Callable[[Record], None]], dict[str, Any]]
Pose = PoseSequence | Lazy


class _NotWritten(Exception):
    """The cache folder is full or read-only."""


def read_poses(
    reader: str, root: str | Path, files: Sequence[str], parse: Parse, *, on_error: OnError, cache: bool, variant: str = "", **options: Any
) -> tuple[list[Pose | None], Skipped]:
    """The pose of each file, one clip a file, and the errors of those that have None instead.

    `parse`: a function of a module; it is given each path and `options`, which JSON must be able to hold. `variant`: tells apart
    the choices of files under the same root that are kept beside one another.
    """
    parse = partial(parse, **options) if options else parse
    build = partial(_build, files, parse)
    poses, _, skipped = read_records(reader, root, files, build, on_error=on_error, cache=cache, variant=variant, options=options)
    return poses, skipped


def _build(files: Sequence[str], parse: Parse, put: Callable[[Record], None]) -> dict[str, Any]:
    with contextlib.closing(parse_files(files, parse)) as records:
        for record in records:
            put(record)
    return {}


def read_records(
    reader: str,
    root: str | Path,
    files: Sequence[str],
    build: Build,
    *,
    on_error: OnError,
    cache: bool,
    variant: str = "",
    options: dict[str, Any] | None = None,
) -> tuple[list[Pose | None], dict[str, Any], Skipped]:
    """Poses, facts and errors that `build` makes of the files, or what was kept of them from the last time.

    `build` must be picklable: it is called again should the kept file be found damaged later.
    """
    skipped = Skipped(on_error)
    folder = cache_folder() if cache else None
    kept = kept_file(folder, reader, root, files, build, variant, options or {}, on_error) if folder is not None else None
    if kept is None:
        records: list[Record] = []
        facts = build(lambda record: _put(records.append, record, on_error))
        return [_pose_or_none(record, skipped) for record in records], facts, skipped
    poses: list[Pose | None] = [Lazy(partial(kept.record, i)) for i in range(len(kept))]
    for i in kept.errors:
        skipped.add(kept.error(i))
        poses[i] = None
    return poses, kept.facts, skipped


def _put(append: Callable[[Record], None], record: Record, on_error: OnError) -> None:
    if on_error == "raise" and not isinstance(record, PoseSequence):
        raise record
    append(record)


def _pose_or_none(record: Record, skipped: Skipped) -> PoseSequence | None:
    if isinstance(record, PoseSequence):
        return record
    skipped.add(record)
    return None


def _all_records(build: Build) -> list[Record]:
    records: list[Record] = []
    build(records.append)
    return records


def kept_file(
    folder: Path,
    reader: str,
    root: str | Path,
    files: Sequence[str],
    build: Build,
    variant: str,
    options: dict[str, Any],
    on_error: OnError,
    kind: str = "poses",
    write: bool = True,
    code: Sequence[Callable] = (),
) -> RaggedFile | None:
    """The file that is kept of these files, written first where there is none (and `write`); None where it cannot be.

    `code`: functions that the parser calls, of modules on which what it makes depends too.
    """
    root = os.path.abspath(root)
    try:
        stats = array("q")
        for file in files:
            stat = os.stat(file)
            stats.extend((stat.st_size, stat.st_mtime_ns))
    except OSError:  # gone since it was listed: the parser says so
        return None
    what = json.dumps([MAGIC.decode(), reader, options, _code(build), *map(_code, code)], sort_keys=True, default=str)
    looks = _hash(what, *files, stats.tobytes().hex())
    link = folder / f"{reader}-{_hash(root, variant, json.dumps(options, sort_keys=True, default=str))}.json"
    rebuild = partial(_all_records, build)
    before = _read_link(link)
    if before.get("looks") == looks:
        kept = _open(folder / f"{before['content']}.{kind}", root, rebuild)
        if kept is not None:
            return kept
    content = _content(files, [os.path.relpath(file, root) for file in files], what)
    if content is None:
        return None
    path = folder / f"{content}.{kind}"
    kept = _open(path, root, rebuild)
    if kept is None and write:
        kept = _write(path, root, build, rebuild, on_error)
    if kept is not None:
        _write_link(folder, link, {"looks": looks, "content": content}, before.get("content"), kind)
    return kept


def _open(path: Path, root: str, rebuild: Callable[[], list[Record]]) -> RaggedFile | None:
    try:
        return RaggedFile(path, root, rebuild)
    except OSError:
        return None
    except (Damaged, ValueError, KeyError, TypeError, IndexError):
        with contextlib.suppress(OSError):
            path.unlink()
        return None


def _write(path: Path, root: str, build: Build, rebuild: Callable[[], list[Record]], on_error: OnError) -> RaggedFile | None:
    part = unfinished(path)
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path.parent)
            writer = RaggedWriter(part, root)
        except OSError as error:
            raise _NotWritten from error

        def append(record: Record) -> None:
            try:
                writer.append(record)
            except OSError as error:
                raise _NotWritten from error

        try:
            facts = build(lambda record: _put(append, record, on_error))
            try:
                writer.close(facts)
                os.replace(part, path)
                return RaggedFile(path, root, rebuild)
            except (OSError, Damaged) as error:
                raise _NotWritten from error
        finally:
            writer.abandon()
    except _NotWritten:
        return None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _read_link(link: Path) -> dict[str, str]:
    try:
        found = json.loads(link.read_text())
        return found if isinstance(found, dict) and isinstance(found.get("content"), str) else {}
    except (OSError, ValueError):
        return {}


def _write_link(folder: Path, link: Path, new: dict[str, str], old: str | None, kind: str) -> None:
    """Point the link at its new content, and remove the old content if no other link needs it."""
    part = unfinished(link)
    with contextlib.suppress(OSError):
        part.write_text(json.dumps(new))
        os.replace(part, link)
        if old and old != new["content"] and all(_read_link(other).get("content") != old for other in folder.glob("*.json")):
            (folder / f"{old}.{kind}").unlink()


def _hash(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def _code(build: Callable) -> str:
    """A hash of the module that parses: whoever changes it must not be given what the old one made."""
    work: Any = build
    while isinstance(work, partial):
        work = next((part for part in (*work.args, work.func) if callable(part)), work.func)
    try:
        return blake2b(Path(sys.modules[work.__module__].__file__).read_bytes(), digest_size=8).hexdigest()
    except (OSError, KeyError, AttributeError, TypeError):
        from importlib.metadata import version

        return version("kinema")


def _content(files: Sequence[str], names: Sequence[str], what: str) -> str | None:
    """Hash of the files' names and bytes; hashing and reading release Python's lock, so threads help."""

    def digest(file: str) -> bytes:
        with open(file, "rb") as opened:
            hashed = blake2b(digest_size=16)
            while block := opened.read(1 << 20):
                hashed.update(block)
        return hashed.digest()

    try:
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            digests = list(pool.map(digest, files))
    except OSError:
        return None
    return _hash(what, *(f"{name}\0{digest.hex()}" for name, digest in zip(names, digests, strict=True)))
