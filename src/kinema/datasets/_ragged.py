"""One file of many pose sequences or cropped depth recordings of different lengths, a stream that is read through a memory map.

    magic | records | index (N x 6 int64) | facts (JSON) | footer

A record is the raw times (float64) if there are any, the points (float32), then scores (float32) and mask (one byte each) if
there are any, padded to 8 bytes; or the numbers of a crop (float64), the times, the frames (one byte a pixel), padded likewise. A row of
the index holds: start, bytes, persons (pixels a side of a crop), frames, form, checksum of the record. A form is what many records
have in common (layout, unit, rate ...); form -1 is a clip that could not be read, whose error is among the facts.
Nothing in the file is code, and every part is under a checksum, so that a damaged file is noticed. A record's checksum is the
sum of its 8-byte words (modulo 2^64), which notices every changed word and costs a third of a CRC. Sums are compared at every
access, in a file of moderate size once for all when it is opened.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kinema.clip import PoseSequence
from kinema.depth_crop import DepthCrop
from kinema.errors import DataError
from kinema.layout import LAYOUTS, Layout, get_layout

MAGIC = b"KINEMAP1"
_FOOTER = struct.Struct("<QQQI4x8s")  # start of the index, its rows, bytes of the facts, checksum of both, magic
_COLUMNS = 6
_CHECKED_WHOLE = 64 << 20  # bytes that are summed in a few milliseconds
_NUMBERS = ("near", "middle", "far", "left", "top", "zoom", "focal", "center_x", "center_y")  # of a crop; its box follows

Value = PoseSequence | DepthCrop
Record = Value | DataError


class Damaged(Exception):
    """The file is not what was written: cut short, changed, or not of this form."""


class RaggedWriter:
    """Writes records one after another; the file is whole only after `close`. Raises `OSError` where it cannot be written."""

    def __init__(self, path: str | Path, root: str | Path):
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._file.write(MAGIC)
        self._root = str(root)
        self._index: list[tuple[int, ...]] = []
        self._forms: dict[str, int] = {}
        self._errors: dict[int, tuple[str, str | None, str | None]] = {}

    def append(self, record: Record) -> None:
        if isinstance(record, DataError):
            path = None if record.path is None else os.path.relpath(record.path, self._root)
            self._errors[len(self._index)] = (record.reason, path, record.where)
            self._index.append((0, 0, 0, 0, -1, 0))
            return
        if isinstance(record, DepthCrop):
            across, frames, form = record.side, len(record.frames), {"depth": True, "fps": record.fps, "times": record.times is not None}
            arrays = (np.array([*(getattr(record, name) for name in _NUMBERS), *record.box]), record.times, record.frames)
        else:
            across, frames, form = record.persons, record.frames, _form(record)
            arrays = (record.times, record.points, record.score, record.mask)
        data = b"".join([array.tobytes() for array in arrays if array is not None])
        data += bytes(-len(data) % 8)
        form = json.dumps(form)
        number = self._forms.setdefault(form, len(self._forms))
        checksum = int(np.add.reduce(np.frombuffer(data, np.int64)))
        row = (self._file.tell(), len(data), across, frames, number, checksum)
        self._file.write(data)
        self._index.append(row)

    def close(self, facts: dict[str, Any]) -> None:
        """Write the index and `facts` (anything that JSON can hold) and close the file."""
        index = np.array(self._index, "<i8").reshape(-1, _COLUMNS).tobytes()
        head = {"forms": [json.loads(form) for form in self._forms], "errors": self._errors, "facts": facts}
        text = json.dumps(head, separators=(",", ":")).encode()
        start = self._file.tell()
        self._file.write(index + text + _FOOTER.pack(start, len(self._index), len(text), zlib.crc32(text, zlib.crc32(index)), MAGIC))
        self._file.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class RaggedFile:
    """Reads what `RaggedWriter` wrote. `facts`: what was given to `close`.

    `rebuild` reads the records anew from where they came; it is called when a record of a large file turns out to be damaged, and
    the damaged file is removed, or when in another process the file is gone. Raises `Damaged` when opened, if damage shows then.
    """

    def __init__(self, path: str | Path, root: str | Path, rebuild: Callable[[], list[Record]] | None = None):
        self._path, self._root, self._rebuild = str(path), str(root), rebuild
        self._anew: list[Record] | None = None
        self._lock = threading.Lock()
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < len(MAGIC) + _FOOTER.size:
                raise Damaged(path)
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start, rows, length, checksum, magic = _FOOTER.unpack_from(data, len(data) - _FOOTER.size)
        middle = start + rows * _COLUMNS * 8
        if magic != MAGIC or data[: len(MAGIC)] != MAGIC or middle + length + _FOOTER.size != len(data):
            raise Damaged(path)
        if zlib.crc32(memoryview(data)[start : middle + length]) != checksum:
            raise Damaged(path)
        self._words = np.frombuffer(data, np.int64, start // 8)
        index = np.frombuffer(data, "<i8", rows * _COLUMNS, start).reshape(rows, _COLUMNS)
        self._whole = len(data) <= _CHECKED_WHOLE
        if self._whole and np.add.reduce(self._words[len(MAGIC) // 8 :]) != np.add.reduce(index[:, 5]):
            raise Damaged(path)
        self._index: list[list[int]] = index.tolist()
        head = json.loads(data[middle : middle + length])
        self._errors: dict[str, list] = head["errors"]
        self._forms = [_read_form(form) for form in head["forms"]]
        self.facts: dict[str, Any] = head["facts"]

    def __len__(self) -> int:
        return len(self._index)

    @property
    def errors(self) -> list[int]:
        """Which records could not be read."""
        return sorted(map(int, self._errors))

    def __reduce__(self):
        return _reopen, (self._path, self._root, self._rebuild)

    def error(self, i: int) -> DataError | None:
        """Why record `i` could not be read; None if it could."""
        if self._index[i][4] >= 0:
            return None
        reason, path, where = self._errors[str(i)]
        return DataError(reason, None if path is None else Path(os.path.normpath(os.path.join(self._root, path))), where)

    def record(self, i: int) -> Value:
        """Record `i`, its arrays lying in the memory map. Raises the `DataError` that was recorded in place of a clip."""
        if self._anew is None:
            start, size, across, frames, form, checksum = self._index[i]
            if form < 0:
                raise self.error(i)
            words = self._words[start // 8 : (start + size) // 8]
            if self._whole or np.add.reduce(words) == checksum:
                layout, form = self._forms[form]
                return _unpack_crop(words, across, frames, form) if layout is None else _unpack(words, across, frames, layout, form)
            self._read_anew()
        return _usable(self._anew[i])

    def _read_anew(self) -> None:
        with self._lock:
            if self._anew is None:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)
                if self._rebuild is None:
                    raise Damaged(self._path)
                self._anew = self._rebuild()


class _Anew:
    """Stands for a file that was removed after the clips that refer to it were sent to another process."""

    def __init__(self, rebuild: Callable[[], list[Record]]):
        self._records = rebuild()

    def record(self, i: int) -> Value:
        return _usable(self._records[i])


def _reopen(path: str, root: str, rebuild: Callable[[], list[Record]] | None) -> RaggedFile | _Anew:
    try:
        return RaggedFile(path, root, rebuild)
    except (OSError, Damaged):
        if rebuild is None:
            raise
        return _Anew(rebuild)


def _usable(record: Record) -> Value:
    if isinstance(record, DataError):
        raise record
    return record


def _form(pose: PoseSequence) -> dict[str, Any]:
    layout = pose.layout
    return {
        "layout": layout.name if LAYOUTS.get(layout.name) is layout else [layout.name, layout.joints, layout.bones, layout.root],
        "unit": pose.unit,
        "dims": pose.dims,
        "fps": pose.fps,
        "image_size": pose.image_size,
        "y_axis": pose.y_axis,
        "score": pose.score is not None,
        "times": pose.times is not None,
        "mask": pose.mask is not None,
    }


def _read_form(form: dict[str, Any]) -> tuple[Layout | None, dict[str, Any]]:
    if "depth" in form:
        return None, form
    layout, size = form["layout"], form["image_size"]
    if isinstance(layout, str):
        layout = get_layout(layout)
    else:
        name, joints, bones, root = layout
        layout = Layout(name, tuple(joints), tuple((child, parent) for child, parent in bones), root)
    return layout, {**form, "image_size": None if size is None else (size[0], size[1])}


def _unpack(words: np.ndarray, persons: int, frames: int, layout: Layout, form: dict[str, Any]) -> PoseSequence:
    shape = (persons, frames, len(layout))
    count = persons * frames * len(layout)
    times = score = mask = None
    if form["times"]:
        times, words = words[:frames].view(np.float64), words[frames:]
    singles = words.view(np.float32)
    dims = form["dims"]
    points = singles[: count * dims].reshape(*shape, dims)
    if form["score"]:
        score = singles[count * dims : count * (dims + 1)].reshape(shape)
    if form["mask"]:
        at = 4 * count * (dims + 1 if form["score"] else dims)
        mask = words.view(np.bool_)[at : at + count].reshape(shape)
    return PoseSequence._validated(
        points=points,
        layout=layout,
        unit=form["unit"],
        mask=mask,
        score=score,
        fps=form["fps"],
        times=times,
        image_size=form["image_size"],
        y_axis=form["y_axis"],
    )


def _unpack_crop(words: np.ndarray, side: int, frames: int, form: dict[str, Any]) -> DepthCrop:
    numbers, words = words[: len(_NUMBERS) + 4].view(np.float64).tolist(), words[len(_NUMBERS) + 4 :]
    times = None
    if form["times"]:
        times, words = words[:frames].view(np.float64), words[frames:]
    pixels = words.view(np.uint8)[: frames * side * side].reshape(frames, side, side)
    about = dict(zip(_NUMBERS, numbers, strict=False))
    return DepthCrop(pixels, box=tuple(numbers[len(_NUMBERS) :]), fps=form["fps"], times=times, **about)
