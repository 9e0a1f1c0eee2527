"""A file of the decoded frames of many videos, read through a memory map.

    magic | records | index (rows of 10 int64) | footer

A record is its frames (uint8, height x width x 3, each padded to 8 bytes), then the checksum of each: the sum of its 8-byte words
(modulo 2^64), compared whenever a frame is read. A row of the index: the two halves of the video's key, where the record starts,
frames in it, height and width of them, then of the video itself frames, height and width, and 0. A video whose frames are not kept
has a row all the same, of 0 frames. The index is under a checksum of its own; nothing in the file is code.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import zlib
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kinema._cache_folder import unfinished

_MAGIC = b"KINEMAF1"
_FOOTER = struct.Struct("<QQQ8s")  # start of the index, its rows, its checksum, magic
_COLUMNS = 10
SUFFIX = ".frames"
Key = tuple[int, int]


class Damaged(Exception):
    """The file is not what was written: cut short, changed, or not of this form."""


class About(NamedTuple):
    """A video: how many frames it shows, and their height and width in pixels."""

    frames: int
    height: int
    width: int


class PackWriter:
    """Writes records one after another; there is no file before `close`. Raises `OSError` where it cannot be written."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._part = unfinished(folder / "new.frames")
        self._file = open(self._part, "wb")  # noqa: SIM115 - closed by `close` and `abandon`
        self._file.write(_MAGIC)
        self._rows: list[tuple[int, ...]] = []

    @property
    def bytes(self) -> int:
        return self._file.tell()

    def append(self, key: Key, about: About, pictures: np.ndarray | None) -> None:
        """`pictures`: (n, H, W, 3) uint8, the first n frames; None keeps what the video is about, alone."""
        kept, height, width = (0, 0, 0) if pictures is None else pictures.shape[:3]
        self._rows.append((*key, self._file.tell(), kept, height, width, *about, 0))
        if pictures is not None:
            stride = frame_bytes(height, width)
            rows = np.zeros((kept, stride), np.uint8)
            rows[:, : height * width * 3] = pictures.reshape(kept, -1)
            self._file.write(rows.data)
            self._file.write(_sums(rows).data)

    def close(self) -> Path:
        """Put the file in its place, under a name that tells what is in it; that place."""
        index = np.array(self._rows, "<i8").reshape(-1, _COLUMNS).tobytes()
        self._file.write(index + _FOOTER.pack(self._file.tell(), len(self._rows), zlib.crc32(index), _MAGIC))
        self._file.close()
        path = self._folder / f"{blake2b(index, digest_size=12).hexdigest()}{SUFFIX}"
        os.replace(self._part, path)
        return path

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink()


class Record(NamedTuple):
    """Where the frames of a video are kept: the first `kept` of them, `height` x `width` pixels."""

    pack: Pack
    start: int
    kept: int
    height: int
    width: int
    about: About


class Pack:
    """Reads what `PackWriter` wrote. Raises `Damaged`, or `OSError` where it cannot be read."""

    def __init__(self, path: Path):
        self.path = path
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < len(_MAGIC) + _FOOTER.size:
                raise Damaged(path)
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start, rows, checksum, magic = _FOOTER.unpack_from(self._data, size - _FOOTER.size)
        if magic != _MAGIC or self._data[: len(_MAGIC)] != _MAGIC or start + rows * _COLUMNS * 8 + _FOOTER.size != size:
            raise Damaged(path)
        index = self._data[start : size - _FOOTER.size]
        if zlib.crc32(index) != checksum:
            raise Damaged(path)
        self._index = np.frombuffer(index, "<i8").reshape(rows, _COLUMNS)

    def records(self) -> list[tuple[Key, Record]]:
        found = []
        for first, second, start, kept, height, width, *about, _ in self._index.tolist():
            found.append(((first, second), Record(self, start, kept, height, width, About(*about))))
        return found

    def read(self, record: Record, frames: np.ndarray) -> np.ndarray:
        """(n, H, W, 3) uint8: the given frames of a record. `Damaged` where one is not what was written."""
        stride = frame_bytes(record.height, record.width)
        rows = np.frombuffer(self._data, np.uint8, record.kept * stride, record.start).reshape(record.kept, stride)[frames]
        sums = np.frombuffer(self._data, np.int64, record.kept, record.start + record.kept * stride)
        if not np.array_equal(_sums(rows), sums[frames]):
            raise Damaged(self.path)
        return rows[:, : record.height * record.width * 3].reshape(len(rows), record.height, record.width, 3)


def frame_bytes(height: int, width: int) -> int:
    """Of one frame as it is kept."""
    return -(-height * width * 3 // 8) * 8


def _sums(rows: np.ndarray) -> np.ndarray:
    return rows.view(np.int64).sum(1, dtype=np.int64)
