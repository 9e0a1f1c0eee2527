"""Video files: opening them, what their packets say without being decoded, and what is said of files that are none."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from kinema.errors import DataError

LARGEST_SIDE = 16384
MOST_PACKETS = 10_000_000
_FIRST_TRIES = 500  # packets that are decoded in search of a first frame
_EXPECTED = "a video file that FFmpeg can decode, or a folder of numbered images, is expected"
# Formats that take any text for a picture, or fetch other files.
_NO_VIDEO_FORMATS = {"tty", "lavfi", "concat", "hls", "dash", "sdp", "rtsp"}


@dataclass(frozen=True, eq=False)
class Packets:
    """The packets of a video stream in the order in which they are decoded.

    `pts`, `dts`: (n,) int64 in units of `time_base` seconds; `key`: (n,) bool. `shown`: (N,) the packet of each frame shown, in order;
    `timed`: whether frames are told apart by `pts`. `width`, `height` before turning; `turn`: see `Turn`. `intra`: whether the codec
    knows no frames that lean on others. `cost`: about how many milliseconds a frame takes to decode. `complete`: False where the file
    ends before its header says, or is damaged so that nothing after a place can be read.
    """

    pts: np.ndarray
    dts: np.ndarray
    key: np.ndarray
    shown: np.ndarray
    timed: bool
    time_base: Fraction
    width: int
    height: int
    turn: Turn
    rate: float
    codec: str
    container: str
    intra: bool
    cost: float
    complete: bool

    @property
    def times(self) -> np.ndarray:
        """(N,) float64 seconds of the frames shown, the first at 0."""
        stamps = self.pts if self.timed else self.dts
        return (stamps[self.shown] - stamps[self.shown[0]]) * float(self.time_base)

    def places(self, pts: int) -> int:
        """The packet of that time stamp; -1: none."""
        place = np.searchsorted(self._sorted[0], pts)
        return int(self._sorted[1][place]) if place < len(self.pts) and self._sorted[0][place] == pts else -1

    def __post_init__(self):
        order = np.argsort(self.pts, kind="stable")
        object.__setattr__(self, "_sorted", (self.pts[order], order))


@dataclass(frozen=True)
class Turn:
    """How a picture as it is stored is turned to be shown: axes exchanged first, then rows or columns in reverse."""

    exchanged: bool = False
    rows: bool = False
    columns: bool = False

    @classmethod
    def of(cls, frame: Any) -> Turn:
        """From a frame's display matrix: x' = a x + c y, y' = b x + d y, for turns by quarters and mirrored ones."""
        if not frame.rotation and not len(frame.side_data):
            return cls()
        for data in frame.side_data:
            if data.type.name == "DISPLAYMATRIX":
                a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32)
                if abs(int(b)) + abs(int(c)) > abs(int(a)) + abs(int(d)):
                    return cls(True, rows=b < 0, columns=c < 0)
                return cls(False, rows=d < 0, columns=a < 0)
        return cls()

    @property
    def degrees(self) -> int:
        """Counter-clockwise; of a mirrored picture, before mirroring it left to right."""
        if self.exchanged:
            return 90 if self.rows else 270
        return 180 if self.rows else 0

    def size(self, height: int, width: int) -> tuple[int, int]:
        return (width, height) if self.exchanged else (height, width)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        if self.exchanged:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.rows else 1, :: -1 if self.columns else 1]


@contextlib.contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """What FFmpeg and the system say about a file becomes a `DataError` that names it."""
    from av.error import FFmpegError

    try:
        yield
    except (FFmpegError, OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{reason[:1].lower()}{reason[1:]}; {_EXPECTED}", path) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """(container, its first stream of moving pictures) of a file, closed afterwards."""
    import av
    from av.stream import Disposition

    with errors_of(path):
        if not path.is_file():
            raise DataError(f"{'not a file' if path.exists() else 'no such file'}; {_EXPECTED}", path)
        # Absolute, so that no name is taken for an address; local files alone, whatever a playlist inside says.
        with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
            pictures = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
            if _NO_VIDEO_FORMATS & set(container.format.name.split(",")):
                raise DataError(f"{container.format.long_name} is no video; {_EXPECTED}", path)
            if not pictures:
                kinds = sorted({stream.type for stream in container.streams})
                raise DataError(f"there is no video in it, only {' and '.join(kinds) or 'nothing'}; {_EXPECTED}", path)
            stream = pictures[0]
            if stream.codec_context is None:
                raise DataError(f"there is no decoder for its video; {_EXPECTED}", path)
            check_size(stream.codec_context.width, stream.codec_context.height, path)
            yield container, stream


def check_size(width: int, height: int, path: Path) -> None:
    if max(width, height) > LARGEST_SIDE:
        raise DataError(f"it has {width} x {height} pixels; up to {LARGEST_SIDE} a side are expected", path)


def look(path: Path) -> Packets:
    """What the packets of a file say; its first frame alone is decoded, for its size and how it is turned.

    A file that was cut off is used as far as its packets can be read whole: `complete` is False then. Frames that cannot be decoded
    because the key frame before them is missing do not count.
    """
    from av.error import FFmpegError

    pts, dts, key, hidden = array("q"), array("q"), bytearray(), bytearray()
    first, tried, size, timed, complete, corrupt = None, 0, 0, True, True, False
    with opened(path) as (container, stream):
        context = stream.codec_context
        context.thread_count = 1
        fallback = stream.guessed_rate or stream.average_rate
        try:
            for packet in whole_packets(container, stream):
                if len(key) >= MOST_PACKETS:
                    raise DataError(f"there are more than {MOST_PACKETS:,} frames in it; shorter videos are expected", path)
                corrupt = packet.is_corrupt
                size += packet.size
                timed &= packet.pts is not None
                pts.append(packet.pts if packet.pts is not None else -1)
                dts.append(packet.dts if packet.dts is not None else pts[-1])
                key.append(packet.is_keyframe)
                hidden.append(packet.is_discard)
                if first is None and tried < _FIRST_TRIES and (packet.is_keyframe or tried):
                    first = next(iter(decode(context, packet)), None)
                    tried += 1
        except FFmpegError:
            complete = False
        if corrupt:  # the last packet is cut
            complete = False
            for column in (pts, dts, key, hidden):
                column.pop()
        complete &= not (stream.frames and stream.frames > len(key))
        if first is None:
            first = next(iter(decode(context, None)), None)
        if first is None:
            raise DataError(f"no frame of it can be decoded; {_EXPECTED}", path)
        check_size(first.width, first.height, path)
        columns = (np.frombuffer(pts, np.int64), np.frombuffer(dts, np.int64), np.frombuffer(key, bool), np.frombuffer(hidden, bool))
        about = {"width": first.width, "height": first.height, "turn": Turn.of(first), "codec": context.name}
        about |= {"container": container.format.name, "intra": context.codec.intra_only, "complete": complete}
        # As measured on h264 of several sizes and rates, by one thread.
        about |= {"rate": float(fallback or 30), "cost": 1.2e-4 * size / max(len(key), 1) + 4e-7 * first.width * first.height}
        return _packets(columns, timed, stream.time_base or Fraction(1, 1000), path, about)


def _packets(columns: tuple[np.ndarray, ...], timed: bool, time_base: Fraction, path: Path, about: dict[str, Any]) -> Packets:
    pts, dts, key, hidden = columns
    if not len(key):
        raise DataError(f"there is no whole frame in it; {_EXPECTED}", path)
    start = int(key.argmax())
    key = key.copy()
    key[start] = True  # where no packet says so, it is the first
    shown = np.flatnonzero(~hidden)
    shown = shown[shown >= start]
    timed = timed and len(np.unique(pts)) == len(pts)
    if about["container"] == "avi":  # it has no time of showing; FFmpeg guesses, wrongly where frames are not stored in order
        timed = timed and (pts == dts).all()
    if timed:
        shown = shown[pts[shown] >= pts[start]]
        shown = shown[np.argsort(pts[shown])]
    elif (np.diff(dts) <= 0).any():
        dts, time_base = np.arange(len(pts)), 1 / Fraction(about["rate"]).limit_denominator(100_000)
    if not len(shown):
        raise DataError(f"it shows no frame; {_EXPECTED}", path)
    return Packets(pts, dts, key, shown, timed, time_base, **about)


def whole_packets(container: Any, stream: Any) -> Iterator[Any]:
    """Without the empty ones: frames that a writer left out, and the one that ends the stream."""
    return (packet for packet in container.demux(stream) if packet.size)


def decode(context: Any, packet: Any) -> list[Any]:
    """The frames that a packet sets free, all that are left for None; none where it is damaged."""
    from av.error import FFmpegError

    try:
        return context.decode(packet)
    except (FFmpegError, EOFError):
        return []
