"""Video files: what their packets say without being decoded, and the frames that are asked for.

A frame is known by its time stamp. To decode one, the decoder starts at the last key frame before it and goes on to its packet;
what comes between two such runs is skipped unread, and within a run frames that no other needs are skipped where a codec says
which. A file whose packets have no time stamps of their own, or the same twice, is decoded from its start, and frames are counted.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from kinema.errors import DataError

LARGEST_SIDE = 16384
MOST_PACKETS = 10_000_000
_FIRST_TRIES = 500  # packets that are decoded in search of a first frame
_NEAR = 64  # packets that are read over rather than sought past
_WORTH_THREADS = 1 << 21  # pixels to decode from which on threads pay
_EVEN = 0.6  # share of all packets in one decoder's runs up to which each decoder needs no more than one thread
_EXPECTED = "a video file that FFmpeg can decode, or a folder of numbered images, is expected"
# Where "this frame is needed by no other" can be relied on.
_SAYS_NEEDED = {"h264", "mpeg1video", "mpeg2video"}
# Formats that take any text for a picture, or fetch other files.
_NO_VIDEO_FORMATS = {"tty", "lavfi", "concat", "hls", "dash", "sdp", "rtsp"}


@dataclass(frozen=True, eq=False)
class Packets:
    """The packets of a video stream in the order in which they are decoded.

    `pts`, `dts`: (n,) int64 in units of `time_base` seconds; `key`: (n,) bool. `shown`: (N,) the packet of each frame shown, in order;
    `timed`: whether frames are told apart by `pts`. `width`, `height` before turning; `turn`: see `Turn`. `intra`: whether the codec
    knows no frames that lean on others. `complete`: False where the file ends before its header says, or is damaged so that nothing
    after a place can be read.
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
    first, tried, timed, complete, corrupt = None, 0, True, True, False
    with opened(path) as (container, stream):
        context = stream.codec_context
        context.thread_count = 1
        fallback = stream.guessed_rate or stream.average_rate
        try:
            for packet in _whole_packets(container, stream):
                if len(key) >= MOST_PACKETS:
                    raise DataError(f"there are more than {MOST_PACKETS:,} frames in it; shorter videos are expected", path)
                corrupt = packet.is_corrupt
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
        about |= {"rate": float(fallback or 30)}
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


def _whole_packets(container: Any, stream: Any) -> Iterator[Any]:
    """Without the empty ones: frames that a writer left out, and the one that ends the stream."""
    return (packet for packet in container.demux(stream) if packet.size)


def decode(context: Any, packet: Any) -> list[Any]:
    """The frames that a packet sets free, all that are left for None; none where it is damaged."""
    from av.error import FFmpegError

    try:
        return context.decode(packet)
    except (FFmpegError, EOFError):
        return []


class Pictures:
    """Turns frames as they are decoded into (height, width, 3) uint8 RGB. Keeps swscale's tables between frames of one size."""

    def __init__(self, turn: Turn, height: int, width: int):
        from av.video.reformatter import Interpolation, VideoReformatter

        self._reformatter, self._interpolation = VideoReformatter(), Interpolation.BILINEAR
        self._turn, (self._height, self._width) = turn, turn.size(height, width)

    def write(self, frame: Any, out: np.ndarray) -> None:
        """Averages over all source pixels where it makes a picture smaller, as Pillow's "bilinear" does."""
        rgb = self._reformatter.reformat(frame, self._width, self._height, "rgb24", interpolation=self._interpolation, threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: self._height, : 3 * self._width]
        out[:] = self._turn(rows.reshape(self._height, self._width, 3))


Emit = Callable[[int, Any], None]


@dataclass(frozen=True)
class Run:
    """Packets to decode in one go: from the key frame `start` to the last of `wanted`."""

    start: int
    wanted: frozenset[int]

    @property
    def stop(self) -> int:
        return max(self.wanted) + 1

    def __len__(self) -> int:
        return self.stop - self.start


def plan(packets: Packets, wanted: Sequence[int]) -> list[Run]:
    """The runs that decode the wanted packets, in order; those that meet are one."""
    if not packets.timed:
        return [Run(0, frozenset(wanted))]
    keys = np.flatnonzero(packets.key)
    runs: list[list[Any]] = []
    for packet in sorted(wanted):
        start = int(np.searchsorted(keys, packet, "right")) - 1
        # Shown before that key frame but decoded after it: it may lean on the frames before.
        while start > 0 and packets.pts[keys[start]] > packets.pts[packet]:
            start -= 1
        begin = int(keys[max(start, 0)])
        if runs and begin <= runs[-1][2] + (_NEAR if packets.intra else 1):
            runs[-1][1].append(packet)
            runs[-1][2] = packet
        else:
            runs.append([begin, [packet], packet])
    return [Run(begin, frozenset(of_run)) for begin, of_run, _ in runs]


def share(packets: Packets, runs: list[Run], threads: int) -> tuple[list[list[Run]], int]:
    """The runs dealt out to decoders that work side by side, and the threads of each."""
    lengths = [len(run) for run in runs]
    if threads == 1 or sum(lengths) * packets.width * packets.height < _WORTH_THREADS:
        return [runs], 1
    ends = np.cumsum(lengths) - np.array(lengths) / 2
    owner = (ends * threads / sum(lengths)).astype(int)
    parts = [[run for run, of in zip(runs, owner, strict=True) if of == part] for part in range(threads)]
    even = max(sum(map(len, part)) for part in parts) <= _EVEN * sum(lengths)
    return [part for part in parts if part], 1 if even else threads


@contextlib.contextmanager
def decoding(path: Path, packets: Packets, threads: int) -> Iterator[Decoder]:
    """A decoder of the file, closed afterwards."""
    with opened(path) as (container, stream):
        yield Decoder(path, packets, container, stream, threads)


class Decoder:
    """An open file from which runs are decoded, forwards."""

    def __init__(self, path: Path, packets: Packets, container: Any, stream: Any, threads: int):
        self._path, self._packets, self._container, self._stream = path, packets, container, stream
        self._context = stream.codec_context
        self._context.thread_type = "FRAME" if threads > 1 else "NONE"
        self._context.thread_count = min(threads + 4, 16) if threads > 1 else 1  # most of them wait for another's picture
        self._read = _whole_packets(container, stream)
        self._at = 0  # the packet that comes next
        self._skips = packets.timed and packets.codec in _SAYS_NEEDED
        self._skipping = False

    def run(self, run: Run, emit: Emit) -> None:
        """Decode a run; `emit(packet, frame)` for each wanted one, in any order."""
        if not self._packets.timed:
            self._count(run, emit)
            return
        stamps = {int(self._packets.pts[packet]): packet for packet in run.wanted}
        self._go_to(run.start)
        for at in range(run.start, run.stop):
            packet = self._next()
            if packet is None:
                break
            wanted = at in run.wanted
            if self._packets.intra and not wanted:
                continue
            self._skip(not wanted)
            self._give(decode(self._context, packet), stamps, emit)
        self._give(decode(self._context, None), stamps, emit)
        self._context.flush_buffers()

    def _give(self, frames: list[Any], stamps: dict[int, int], emit: Emit) -> None:
        for frame in frames:
            packet = stamps.get(frame.pts)
            if packet is not None:
                emit(packet, frame)

    def _count(self, run: Run, emit: Emit) -> None:
        numbers = {int(packet): number for number, packet in enumerate(self._packets.shown)}
        wanted = {numbers[packet]: packet for packet in run.wanted}
        last = max(wanted)
        for number, frame in self.onwards(0):
            if number in wanted:
                emit(wanted[number], frame)
            if number >= last:
                return

    def onwards(self, first: int) -> Iterator[tuple[int, Any]]:
        """(number among those shown, frame) of the frames from number `first` on that can be decoded, in order.

        Without time stamps the n-th frame that comes out is taken for the n-th that is shown.
        """
        packets = self._packets
        if packets.timed:
            self._go_to(plan(packets, [int(packets.shown[first])])[0].start)
        stamps, last = packets.pts[packets.shown], -1
        for counted, frame in enumerate(self._all()):
            number = counted
            if packets.timed:
                number = int(np.searchsorted(stamps, frame.pts)) if frame.pts is not None else len(stamps)
                if number == len(stamps) or stamps[number] != frame.pts:
                    continue
            if last < number < len(stamps) and number >= first:
                last = number
                yield number, frame

    def _all(self) -> Iterator[Any]:
        while (packet := self._next()) is not None:
            yield from decode(self._context, packet)
        yield from decode(self._context, None)

    def _skip(self, skip: bool) -> None:
        if self._skips and skip != self._skipping:
            self._context.skip_frame = "NONREF" if skip else "DEFAULT"
            self._skipping = skip

    def _next(self) -> Any:
        from av.error import FFmpegError

        try:
            packet = next(self._read, None)
        except FFmpegError:
            packet = None
        self._at += 1
        return packet

    def _go_to(self, packet: int) -> None:
        """Make `packet` the next that is read: by reading over a few, by seeking, or, where that fails, from the start on."""
        if not self._at <= packet <= self._at + _NEAR and not self._seek(packet):
            self._container.seek(0, backward=True, any_frame=True)
            self._read, self._at = _whole_packets(self._container, self._stream), 0
            if not self._find(packet):
                raise DataError(f"frame {packet} is not found again; a file that does not change is expected", self._path)
        while self._at < packet and self._next() is not None:
            pass

    def _seek(self, packet: int) -> bool:
        from av.error import FFmpegError

        # By pts first, which most formats keep; then by dts, somewhat earlier.
        for stamp in (self._packets.pts[packet], self._packets.dts[packet], self._packets.dts[max(packet - _NEAR, 0)]):
            with contextlib.suppress(FFmpegError):
                self._container.seek(int(stamp), stream=self._stream)
                self._read = _whole_packets(self._container, self._stream)
                if self._find(packet):
                    return True
        return False

    def _find(self, packet: int) -> bool:
        """Look at the next packet for where the file is now. It is put back."""
        import itertools

        peeked = next(self._read, None)
        if peeked is None or peeked.pts is None:
            return False
        self._at = self._packets.places(peeked.pts)
        self._read = itertools.chain([peeked], self._read)
        return 0 <= self._at <= packet


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
