"""The frames of many videos, as small as a model needs them: kept decoded where there is room for them, decoded when asked for otherwise.

Decoding costs more than all that follows, epoch after epoch. So the frames of a data set that fits are decoded once, by several
threads, and kept under frames/ of the cache folder, in files that are read through memory maps. A video is known there by path,
size, time of change and part of it, by the decoder's code, by the size of its frames and by what is cut out of them; a changed file is
decoded anew. All that
is kept takes at most $KINEMA_FRAMES_GB gigabytes (8; 0 keeps nothing): what was not used for longest makes room, and where that is
not enough videos are decoded on the fly. Files are put in their place whole, one quarter of a gigabyte after another: whoever
interrupts the decoding loses the last of them. Anything there may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np

from kinema import video
from kinema._cache_folder import cache_folder, remove_leftovers
from kinema._cores import cores
from kinema._frames_pack import SUFFIX, About, Damaged, Key, Pack, PackWriter, Record, frame_bytes
from kinema.clip import VideoSource
from kinema.errors import DataError, KinemaError

LIMIT_GB = 8.0
PACK_BYTES = 256 << 20
_LONGEST = 512 << 20  # bytes of the frames of one video, beyond which none of them are kept
_FREE = 1 << 30  # bytes that are left free on the disk
_AT_ONCE = 64  # whole pictures that are held for what is cut out of them

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Resize:
    """The size of the pictures that a model's `height` x `width` pixels are cut from: pictures in their own proportions that cover them,
    or with `stretch` just those; the shorter side of either is at least `short` pixels long."""

    height: int
    width: int
    short: int = 0
    stretch: bool = False

    def whole(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that pictures of the given size are made to have."""
        if self.stretch:
            scale = max(1.0, self.short / min(self.height, self.width))
            return round(self.height * scale), round(self.width * scale)
        scale = self._scale(height, width)
        return max(self.height, round(height * scale)), max(self.width, round(width * scale))

    def kept(self, height: int, width: int) -> tuple[int, int]:
        """The size that they are decoded in: never more than they have, for what is made larger later need not be kept larger."""
        if self.stretch:
            whole = self.whole(height, width)
            return min(whole[0], height), min(whole[1], width)
        return self.whole(height, width) if self._scale(height, width) < 1 else (height, width)

    def _scale(self, height: int, width: int) -> float:
        return max(self.short / min(height, width), self.height / height, self.width / width)


class Frames:
    """The frames of `sources`, by their numbers; `sizes` (height, width) are as `resize.kept` says.

    `lengths`: frames that each shows; `errors`: what is wrong with those that cannot be read, by their number; their length is 0.
    `head`: how many of the first frames are asked for most of all, and so worth keeping; 0: any of them. `keep`: decode those that are
    not kept yet, now; without, nothing is written. `places`: of each video what is cut out of its pictures before they are resized, (4,)
    top, left, height, width as shares of a picture, (N, 4) for each of its frames, all of one size, or None for whole pictures.
    """

    def __init__(
        self,
        sources: Sequence[VideoSource],
        resize: Resize,
        head: int = 0,
        keep: bool = False,
        places: Sequence[np.ndarray | None] | None = None,
    ):
        self._sources, self._resize, self._head = list(sources), resize, head
        self._places = list(places) if places is not None else [None] * len(self._sources)
        self._records: dict[int, Record] = {}
        self.errors: dict[int, DataError] = {}
        folder, limit = cache_folder(), _limit()
        store = _store(folder / "frames") if folder is not None and limit else None
        keys = [None if store is None else _key(*each) for each in zip(self._sources, self._places, strict=True)]
        abouts = [None if store is None else self._find(i, store.records(key)) for i, key in enumerate(keys)]
        unknown = [i for i, about in enumerate(abouts) if about is None]
        for i, about in zip(unknown, in_threads(_look, [self._sources[i] for i in unknown]), strict=True):
            if isinstance(about, DataError):
                self.errors[i] = about
            else:
                abouts[i] = about
        self._abouts = [about or About(0, 0, 0) for about in abouts]
        self.sizes = [resize.kept(*self._shown(i, about)) if about.frames else (0, 0) for i, about in enumerate(self._abouts)]
        if store is not None:
            if keep:
                self._keep(store, keys, set(unknown), limit)
            store.used({record.pack for record in self._records.values()})
        self.lengths = [about.frames for about in self._abouts]

    @property
    def kept(self) -> int:
        """How many of the videos are read from where their frames are kept."""
        return len(self._records)

    def whole(self, i: int) -> tuple[int, int]:
        """(height, width) that the pictures of video `i` have where nothing is cut off: its `sizes`, or more, see `Resize.whole`."""
        return self._resize.whole(*self._shown(i, self._abouts[i]))

    def _shown(self, i: int, about: About) -> tuple[int, int]:
        """(height, width) of what is cut out of the pictures of video `i`, in its own pixels."""
        return about[1:] if self._places[i] is None else pixels_of(self._places[i], about.height, about.width)[1]

    def read(self, i: int, frames: np.ndarray, threads: int | None = 1) -> np.ndarray:
        """(n, H, W, 3) uint8 RGB: `frames` (n,) of video `i`, in their order. `threads` that decode; None: as many as there are cores.
        Raises `DataError` where they cannot be decoded."""
        record = self._records.get(i)
        if record is not None and frames.max() < record.kept:
            try:
                return record.pack.read(record, frames)
            except Damaged:
                with contextlib.suppress(OSError):
                    record.pack.path.unlink()
                self._records = {j: other for j, other in self._records.items() if other.pack is not record.pack}
        return self._decode(i, frames, threads)

    def _decode(self, i: int, frames: np.ndarray, threads: int | None = 1) -> np.ndarray:
        source, about, size, place = self._sources[i], self._abouts[i], self.sizes[i], self._places[i]
        if place is None:
            return _decode(source, frames, about, size, threads)
        if place.ndim == 2 and len(place) != about.frames:
            raise DataError(f"{len(place)} places to be cut out; one for each of its {about.frames} frames is expected", source.path)
        shown = self._shown(i, about)
        height, width = (max(round(own * part / cut), part) for own, part, cut in zip(about[1:], size, shown, strict=True))
        made = np.empty((len(frames), *size, 3), np.uint8)
        for start in range(0, len(frames), _AT_ONCE):  # whole pictures are many times as large as what is cut out of them
            some = frames[start : start + _AT_ONCE]
            corners = np.rint((place[some, :2] if place.ndim == 2 else place[None, :2].repeat(len(some), 0)) * (height, width))
            corners = np.minimum(corners.astype(int), (height - size[0], width - size[1]))
            pictures = _decode(source, some, about, (height, width), threads)
            for j, (picture, (top, left)) in enumerate(zip(pictures, corners, strict=True)):
                made[start + j] = picture[top : top + size[0], left : left + size[1]]
        return made

    def _find(self, i: int, records: Iterable[Record]) -> About | None:
        """What video `i` is about, as far as it is known; its frames are noted where they are kept as they are wanted."""
        about = None
        for record in records:
            about = record.about
            if (record.height, record.width) == self._resize.kept(*self._shown(i, about)) and record.kept >= self._wanted(about):
                self._records[i] = record
        return about

    def _wanted(self, about: About) -> int:
        return min(about.frames, self._head or about.frames)

    def _keep(self, store: _Store, keys: list[Key | None], unknown: set[int], limit: int) -> None:
        """Decode what is not kept yet and keep it; where there is no room, only what the videos are about."""
        missing = [i for i, key in enumerate(keys) if i not in self._records and i not in self.errors and key is not None]
        bytes_of = {i: self._wanted(self._abouts[i]) * frame_bytes(*self.sizes[i]) for i in missing}
        fits = store.make_room(sum(bytes_of.values()), limit, {record.pack.path for record in self._records.values()})
        if not fits:
            _say_once(
                f"the frames of {len(missing)} videos would take {sum(bytes_of.values()) / 1e9:.1f} GB, more than there is room for "
                f"($KINEMA_FRAMES_GB is {limit / 1e9:g}): they are decoded whenever they are needed"
            )
        if decoded := [i for i in missing if fits and bytes_of[i] <= _LONGEST]:
            self._write(store, keys, decoded)
        if counted := [i for i in missing if i in unknown and i not in self._records and i not in self.errors]:
            store.write((keys[i], self._abouts[i], None) for i in counted)

    def _write(self, store: _Store, keys: list[Key | None], wanted: list[int]) -> None:
        def decode(i: int) -> np.ndarray:
            return self._decode(i, np.arange(self._wanted(self._abouts[i])))

        def records() -> Iterator[tuple[Key, About, np.ndarray]]:
            with contextlib.closing(in_threads(decode, wanted)) as decoded:
                for i, pictures in zip(wanted, shown(decoded, len(wanted), "Decoding the videos (kept for the next time)"), strict=True):
                    if isinstance(pictures, DataError):
                        self.errors[i], self._abouts[i] = pictures, About(0, 0, 0)
                    else:
                        yield keys[i], self._abouts[i], pictures

        store.write(records())
        for i in wanted:
            if i not in self.errors:
                self._find(i, store.records(keys[i]))


class _Store:
    """The files under one folder, as far as this process knows them."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._packs: dict[Path, Pack] = {}
        self._records: dict[Key, list[Record]] = {}
        self._in_use: set[Path] = set()

    def look(self) -> None:
        """Open the files that are new since, and forget those that are gone."""
        there = set(self._folder.glob(f"*{SUFFIX}")) if self._folder.is_dir() else set()
        gone = self._packs.keys() - there
        if gone:
            self._packs = {path: pack for path, pack in self._packs.items() if path not in gone}
            self._records = {}
            for pack in self._packs.values():
                self._add(pack)
        for path in sorted(there - self._packs.keys()):
            try:
                pack = self._packs[path] = Pack(path)
            except OSError:
                continue
            except Damaged:
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            self._add(pack)

    def _add(self, pack: Pack) -> None:
        for key, record in pack.records():
            self._records.setdefault(key, []).append(record)

    def records(self, key: Key | None) -> list[Record]:
        return [] if key is None else self._records.get(key, [])

    def used(self, packs: set[Pack]) -> None:
        """Note that these are in use, so that they are the last to make room."""
        for pack in packs:
            self._in_use.add(pack.path)
            with contextlib.suppress(OSError):
                os.utime(pack.path)

    def make_room(self, wanted: int, limit: int, needed: set[Path]) -> bool:
        """Whether `wanted` more bytes may be written, once files that no one in this process uses are gone, the longest unused first."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            held = {path: (stat.st_mtime, stat.st_size) for path in self._folder.glob(f"*{SUFFIX}") if (stat := path.stat())}
            spare = min(limit - sum(size for _, size in held.values()), shutil.disk_usage(self._folder).free - _FREE)
            removable = sorted((time, path) for path, (time, _) in held.items() if path not in needed | self._in_use)
            if wanted > spare + sum(held[path][1] for _, path in removable):
                return False
            for _, path in removable:
                if wanted > spare:
                    path.unlink()
                    spare += held[path][1]
        except OSError:
            return False
        return True

    def write(self, records: Iterable[tuple[Key, About, np.ndarray | None]]) -> None:
        """Write records into new files and open these. Where that cannot be done no more of them are written."""
        writer = None
        try:
            remove_leftovers(self._folder)
            for record in records:
                writer = writer or PackWriter(self._folder)
                writer.append(*record)
                if writer.bytes >= PACK_BYTES:
                    writer.close()
                    writer = None
            if writer is not None:
                writer.close()
        except OSError:  # a folder that is read-only or full
            pass
        finally:
            if writer is not None:
                writer.abandon()
            self.look()


@cache
def _store_of(folder: Path) -> _Store:
    return _Store(folder)


def _store(folder: Path) -> _Store:
    store = _store_of(folder)
    store.look()
    return store


def _limit() -> int:
    given = os.environ.get("KINEMA_FRAMES_GB") or LIMIT_GB
    try:
        limit = float(given)
    except ValueError:
        limit = -1.0
    if not (math.isfinite(limit) and limit >= 0):
        raise KinemaError(f"$KINEMA_FRAMES_GB is {given!r}; gigabytes, such as {LIMIT_GB:g}, are expected, 0 to keep no frames")
    return int(limit * 1e9)


def _look(source: VideoSource) -> About:
    found = video.index(source)
    if not len(found.times):
        raise DataError("there is no frame in it", source.path)
    return About(len(found.times), found.height, found.width)


def _decode(source: VideoSource, frames: np.ndarray, about: About, size: tuple[int, int], threads: int | None = 1) -> np.ndarray:
    return video.read_frames(source, frames, None if size == (about.height, about.width) else size, threads)


@cache
def _decoder() -> str:
    """Of the code that decodes: whoever changes it must not be given what the old one made."""
    from importlib.metadata import version

    hashed = blake2b(version("av").encode())
    for file in sorted(Path(video.__file__).parent.glob("*video*.py")):
        hashed.update(file.read_bytes())
    return hashed.hexdigest()


def pixels_of(place: np.ndarray, height: int, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """(..., 2) top and left, and the one height and width, in pixels of pictures of the given size, of places (..., 4) in shares."""
    share = place.reshape(-1, 4)[0, 2:]
    size = tuple(min(max(1, round(float(part) * whole)), whole) for part, whole in zip(share, (height, width), strict=True))
    corner = np.rint(place[..., :2] * (height, width)).astype(int)
    return np.minimum(corner, np.subtract((height, width), size)), size


def _key(source: VideoSource, place: np.ndarray | None = None) -> Key | None:
    """By what a video is known, and what is cut out of it: None where it is not there."""
    try:
        path = source.path.absolute()
        entries = sorted(os.scandir(path), key=lambda entry: entry.name) if path.is_dir() else []
        stats = [(entry.name, stat.st_size, stat.st_mtime_ns) for entry in entries if (stat := entry.stat())]
        stat = path.stat()
    except OSError:
        return None
    if not stats:
        stats = [("", stat.st_size, stat.st_mtime_ns)]
    about = repr((_decoder(), str(path), source.start, source.end, source.fps, stats))
    cut = b"" if place is None else np.round(place, 6).astype("<f8").tobytes()
    digest = blake2b(about.encode() + cut, digest_size=16).digest()
    return int.from_bytes(digest[:8], "little", signed=True), int.from_bytes(digest[8:], "little", signed=True)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, cores()), "kinema-frames")


def in_threads(work: Callable[[Given], Made], given: Sequence[Given]) -> Generator[Made | DataError, None, None]:
    """What `work` makes of each of `given`, in order, or its `DataError`. Threads (decoding lets others run) are ahead by a few."""
    pool = _pool(os.getpid())  # threads do not survive a fork
    running: deque[Future[Made | DataError]] = deque()
    try:
        for one in given:
            running.append(pool.submit(_attempt, work, one))
            if len(running) > 2 * min(8, cores()):
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for left in running:
            left.cancel()


def _attempt(work: Callable[[Given], Made], given: Given) -> Made | DataError:
    try:
        return work(given)
    except DataError as error:
        return error


def shown(made: Iterable[Made], total: int, doing: str) -> Iterable[Made]:
    """With a bar on standard error, if somebody is looking."""
    if not sys.stderr.isatty():
        return made
    from rich.console import Console
    from rich.progress import track

    return track(made, doing, total, console=Console(stderr=True), transient=True)


@cache
def _say_once(text: str) -> None:
    print(f"kinema: {text}", file=sys.stderr)
