"""Videos: what is in them, and the frames that are asked for, decoded when they are asked for and not before.

    index(source)                    times and size, from the file's packets alone
    read_frames(source, frames)      those frames, RGB; nothing else is decoded than what they lean on
    frames_at(source, seconds)       the frames shown at these times
    stream(source)                   one frame after another, in constant memory

Files of any container and codec that FFmpeg knows (through PyAV), and folders of numbered images (through Pillow). Pictures come as
they are to be shown: turned as the file says. Pixels are taken for square.

Rules for damaged files: what has no decodable frame is a `DataError`. A file that was cut off is used up to its last whole packet,
and its index says `complete=False` (an MP4 file whose table is at its end is lost with its end). A frame inside that cannot be
decoded is replaced by the frame shown before it; where none of the frames asked for can be decoded, that is a `DataError`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kinema import _video_file as files
from kinema import _video_images as images
from kinema._cores import cores
from kinema._video_decoder import Pictures, decoding, share, turns
from kinema.clip import VideoSource
from kinema.errors import DataError

Size = tuple[int, int] | int | None
_MOST_KEPT = 4_000_000  # frames of which the index is kept, of all videos together: 100 MB


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """What a video, or the part of it that its source names, has to show.

    `times`: (N,) float64, seconds from the source's start at which each frame is first shown, increasing. `key_frames`: indices of
    those that are decoded without any other. `width`, `height` in pixels as shown; `rotation`: degrees counter-clockwise by which the
    stored pictures are turned for that. `fps`: the average. `complete`: False where the file was cut off.
    """

    times: np.ndarray
    key_frames: np.ndarray
    width: int
    height: int
    rotation: int
    fps: float
    codec: str
    container: str
    complete: bool

    def __len__(self) -> int:
        return len(self.times)

    @property
    def duration(self) -> float:
        """Seconds from the source's start until its last frame has been shown."""
        return float(self.times[-1]) + 1 / self.fps


def index(source: VideoSource | str | Path) -> VideoIndex:
    """What is in a video. Read once per process and file, as long as the file does not change.

    Raises `DataError` for what is no video, holds none, or shows nothing between the source's `start` and `end`.
    """
    return _part(_source(source))[0]


def frames_at(source: VideoSource | str | Path, seconds: Sequence[float] | np.ndarray) -> np.ndarray:
    """(n,) indices of the frames shown at these seconds from the source's start; before the first and after the last: those."""
    times = index(source).times
    # Half a microsecond: times of files are rounded.
    return np.clip(np.searchsorted(times, np.asarray(seconds, np.float64) + 5e-7, "right") - 1, 0, len(times) - 1)


def read_frames(source: VideoSource | str | Path, frames: Sequence[int] | np.ndarray, size: Size = None, threads: int | None = None):
    """(n, height, width, 3) uint8 RGB: the frames asked for, in that order; any order, repeats allowed.

    Args:
        frames: indices into `index(source).times`.
        size: (height, width) to which each picture is stretched; a number: the length of its shorter side; None: as it is.
        threads: that decode; None: as many as there are processors, where there is enough to decode. Give 1 where several
            videos are read at once.

    Raises `DataError` as `index` does, for frames that are not there, and where none of them can be decoded.
    """
    source = _source(source)
    about, first, detail = _part(source)
    asked = _asked(frames, about, source.path)
    wanted, place = np.unique(asked, return_inverse=True)
    height, width = _size(size, about, source.path)
    out = np.empty((len(wanted), height, width, 3), np.uint8)
    if len(wanted):
        if isinstance(detail, files.Packets):
            _read_file(source.path, detail, wanted + first, out, threads or cores())
        else:
            for row, image in zip(out, (detail[i] for i in wanted + first), strict=True):
                row[:] = _image(image, (height, width), about)
    return out if len(place) == len(wanted) and (place == np.arange(len(place))).all() else out[place]


def stream(
    source: VideoSource | str | Path, size: Size = None, frames: Sequence[int] | np.ndarray | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds from the source's start, (height, width, 3) uint8 RGB) of one frame after another.

    However long the video is, a few frames are in memory at a time. `frames`: only these (indices, increasing). Frames that cannot be
    decoded are left out. The file stays open until the last frame, or until the iterator is closed. `size`, errors: as `read_frames`.
    """
    source = _source(source)
    about, first, detail = _part(source)
    height, width = _size(size, about, source.path)
    wanted = np.arange(len(about)) if frames is None else _asked(frames, about, source.path)
    if (np.diff(wanted) <= 0).any():
        raise DataError("the frames of a stream are asked for in an order in which they are not shown", source.path)
    if not isinstance(detail, files.Packets):
        for number in wanted:
            yield float(about.times[number]), _image(detail[first + number], (height, width), about)
        return
    pictures, shown = Pictures(detail.turn, height, width), 0
    for threads in (turns(detail, cores()), 1):
        if len(wanted):
            with decoding(source.path, detail, threads) as decoder:
                for number, frame in decoder.frames(wanted + first):
                    picture = np.empty((height, width, 3), np.uint8)
                    pictures.write(frame, picture)
                    yield float(about.times[number - first]), picture
                    shown, last = shown + 1, number - first
            if decoder.lost and shown:
                wanted = wanted[wanted > last]
            elif not decoder.lost:
                break
    if len(about) and not shown and (frames is None or len(frames)):
        raise DataError("no frame of it can be decoded; a whole file is expected", source.path)


def _source(source: VideoSource | str | Path) -> VideoSource:
    return source if isinstance(source, VideoSource) else VideoSource(Path(source))


def _asked(frames: Sequence[int] | np.ndarray, about: VideoIndex, path: Path) -> np.ndarray:
    """(n,) int64, each one of those that are there."""
    asked = np.asarray(frames)
    if asked.ndim != 1 or not (np.issubdtype(asked.dtype, np.integer) or not asked.size):
        raise DataError(f"frames are {asked!r:.60}; a row of whole numbers is expected", path)
    if asked.size and not (asked.min() >= 0 and asked.max() < len(about)):
        wrong = asked.max() if asked.min() >= 0 else asked.min()
        raise DataError(f"frame {wrong} is asked for; there are {len(about)}, counted from 0", path)
    return asked.astype(np.int64)


def _size(size: Size, about: VideoIndex, path: Path) -> tuple[int, int]:
    if size is None:
        return about.height, about.width
    if isinstance(size, int):
        scale = size / min(about.height, about.width)
        size = (round(about.height * scale), round(about.width * scale)) if size > 0 else (size, size)
    if len(size) != 2 or not all(0 < side <= files.LARGEST_SIDE for side in size):
        raise DataError(f"size is {size}; 1 to {files.LARGEST_SIDE} pixels a side are expected", path)
    return int(size[0]), int(size[1])


Detail = files.Packets | list[Path]


class _Kept:
    """The indices of the files looked at last."""

    def __init__(self):
        self._lock, self._of, self._frames = threading.Lock(), OrderedDict(), 0

    def get(self, path: Path, fps: float | None) -> tuple[VideoIndex, Detail]:
        try:
            status = path.stat()
            key = (str(path.absolute()), status.st_size, status.st_mtime_ns, fps)
        except OSError:
            key = None  # said properly below
        with self._lock:
            if key in self._of:
                self._of.move_to_end(key)
                return self._of[key]
        found = _look(path, fps)
        with self._lock:
            if key is not None and key not in self._of:
                self._of[key] = found
                self._frames += len(found[0])
            while self._frames > _MOST_KEPT and len(self._of) > 1:
                self._frames -= len(self._of.popitem(last=False)[1][0])
        return found


_kept = _Kept()


def _look(path: Path, fps: float | None) -> tuple[VideoIndex, Detail]:
    if path.is_dir():
        found = images.list_images(path)
        height, width = images.image_size(found[0])
        fps = fps or 30.0
        every = np.arange(len(found))
        return VideoIndex(every / fps, every, width, height, 0, fps, found[0].suffix[1:].lower(), "folder", True), found
    packets = files.look(path)
    times = packets.times
    span = times[-1] - times[0]
    height, width = packets.turn.size(packets.height, packets.width)
    keys = np.flatnonzero(packets.key[packets.shown])
    rate = float((len(times) - 1) / span) if span > 0 else packets.rate
    about = VideoIndex(times, keys, width, height, packets.turn.degrees, rate, packets.codec, packets.container, packets.complete)
    return about, packets


def _part(source: VideoSource) -> tuple[VideoIndex, int, Detail]:
    """The index of the part, its first frame's number in the file, and what the frames are read with.

    A part without the beginning of a frame in it is the one frame that is shown then.
    """
    whole, detail = _kept.get(source.path, source.fps)
    if source.start == 0 and source.end is None:
        return whole, 0, detail
    if source.start >= whole.duration:
        raise DataError(f"the part from {source.start:g} s on is empty; the video ends after {whole.duration:.6g} s", source.path)
    end = np.inf if source.end is None else source.end
    first, stop = (int(np.searchsorted(whole.times, second - 5e-7)) for second in (source.start, end))
    if first == stop:
        first, stop = max(stop - 1, 0), max(stop, 1)
    times = np.maximum(whole.times[first:stop] - source.start, 0)
    keys = whole.key_frames[(whole.key_frames >= first) & (whole.key_frames < stop)] - first
    return replace(whole, times=times, key_frames=keys), first, detail


def _image(path: Path, size: tuple[int, int], about: VideoIndex) -> np.ndarray:
    shown = images.image_size(path)
    if shown != (about.height, about.width):
        raise DataError(f"it has {shown[1]} x {shown[0]} pixels, the first {about.width} x {about.height}; one size is expected", path)
    return images.read_image(path, size, shown)


def _read_file(path: Path, packets: files.Packets, wanted: np.ndarray, out: np.ndarray, threads: int) -> None:
    """Fill `out` with the frames of these numbers, increasing."""
    row = {number: i for i, number in enumerate(wanted.tolist())}
    done: set[int] = set()

    def read(numbers: np.ndarray, threads: int) -> None:
        pictures = Pictures(packets.turn, out.shape[1], out.shape[2])
        with decoding(path, packets, threads) as decoder:
            for number, frame in decoder.frames(numbers):
                pictures.write(frame, out[row[number]])
                done.add(number)

    parts, each = share(packets, wanted, threads)
    if len(parts) == 1:
        read(wanted, each)
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda part: read(part, each), parts))
    if len(done) < len(wanted):
        _fill(path, packets, row, done, out)


def _fill(path: Path, packets: files.Packets, row: dict[int, int], done: set[int], out: np.ndarray) -> None:
    """Give the frames that did not come the picture shown before them, or where there is none the next one."""
    missing = sorted((number, i) for number, i in row.items() if number not in done)
    keys = np.flatnonzero(packets.key[packets.shown][: missing[0][0]])
    pictures, before = Pictures(packets.turn, out.shape[1], out.shape[2]), None
    for first in sorted({int(keys[-1]) if len(keys) else 0, 0}, reverse=True):
        with decoding(path, packets, 1) as decoder:
            for number, frame in decoder.onwards(first):
                if before is None and number > missing[0][0] and first:
                    break  # nothing before it from there on: once more from the start on
                while missing and number >= missing[0][0]:
                    pictures.write(frame if before is None or number == missing[0][0] else before, out[missing.pop(0)[1]])
                if not missing:
                    return
                before = frame
        if before is not None:
            break
    if before is None:
        raise DataError("none of the frames asked for can be decoded; a whole file is expected", path)
    for _, i in missing:
        pictures.write(before, out[i])
