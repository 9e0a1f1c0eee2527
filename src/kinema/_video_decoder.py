"""The frames of a video file that are asked for.

A frame is known by its time stamp. To decode one, the decoder starts at the last key frame before it and goes on to its packet;
what comes between two such runs is skipped, and within a run frames that no other needs are skipped where a codec says which.
A file whose packets have no time stamps of their own, or the same twice, is decoded from its start, and frames are counted.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema._video_file import Packets, Turn, decode, opened, whole_packets
from kinema.errors import DataError

_NEAR = 64  # packets that are read over rather than sought past
_WORTH_SHARING = 5.0  # milliseconds of decoding from which on threads pay
_WORTH_HANDING_ON = 0.15  # milliseconds a frame from which on threads that take turns at frames pay
_EVEN = 0.6  # share of all packets in one decoder's runs up to which each decoder needs no more than one thread
# Where "this frame is needed by no other" can be relied on.
_SAYS_NEEDED = {"h264", "mpeg1video", "mpeg2video"}


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


def share(packets: Packets, numbers: np.ndarray, threads: int) -> tuple[list[np.ndarray], int]:
    """The frames of these numbers (increasing) dealt out to decoders that work side by side, and the threads of each."""
    if threads == 1 or len(packets.pts) * packets.cost < _WORTH_SHARING:
        return [numbers], 1
    if not packets.timed:
        return [numbers], turns(packets, threads)
    runs = plan(packets, packets.shown[numbers].tolist())
    lengths = np.array([len(run) for run in runs])
    if lengths.sum() * packets.cost < _WORTH_SHARING:
        return [numbers], 1
    owner = ((np.cumsum(lengths) - lengths / 2) * threads / lengths.sum()).astype(int)
    even = np.bincount(owner, lengths).max() <= _EVEN * lengths.sum()
    of_packet = {packet: part for run, part in zip(runs, owner.tolist(), strict=True) for packet in run.wanted}
    of_number = np.array([of_packet[packet] for packet in packets.shown[numbers].tolist()])
    parts = [numbers[of_number == part] for part in range(threads)]
    return [part for part in parts if len(part)], 1 if even else turns(packets, threads)


def turns(packets: Packets, threads: int) -> int:
    """How many threads should take turns at the frames of one decoder."""
    return threads if packets.cost >= _WORTH_HANDING_ON else 1


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
        self._read = whole_packets(container, stream)
        self._at = 0  # the packet that comes next
        self._skips = packets.timed and packets.codec in _SAYS_NEEDED
        self._skipping = False
        self.lost = False  # whether frames that were under way at the end did not come because one before them is damaged

    def frames(self, numbers: np.ndarray) -> Iterator[tuple[int, Any]]:
        """(number, frame) of these numbers (increasing) among those shown, as far as they can be decoded, in order."""
        packets = self._packets
        if not packets.timed:
            wanted = set(numbers.tolist())
            all_of_them = itertools.takewhile(lambda item: item[0] <= numbers[-1], self.onwards(0))
            yield from ((number, frame) for number, frame in all_of_them if number in wanted)
            return
        number_of = dict(zip(packets.shown[numbers].tolist(), numbers.tolist(), strict=True))
        for run in plan(packets, list(number_of)):
            yield from ((number_of[packet], frame) for packet, frame in self.run(run))

    def run(self, run: Run) -> Iterator[tuple[int, Any]]:
        """(packet, frame) of a run's wanted ones, as they are shown."""
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
            yield from self._asked(decode(self._context, packet), stamps)
        yield from self._asked(self._rest(), stamps)
        self._context.flush_buffers()

    def _asked(self, frames: list[Any], stamps: dict[int, int]) -> Iterator[tuple[int, Any]]:
        return ((stamps[frame.pts], frame) for frame in frames if frame.pts in stamps)

    def _rest(self) -> list[Any]:
        """The frames that are still under way."""
        from av.error import FFmpegError

        try:
            return self._context.decode(None)
        except (FFmpegError, EOFError):
            self.lost = True
            return []

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
        yield from self._rest()

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
            self._read, self._at = whole_packets(self._container, self._stream), 0
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
                self._read = whole_packets(self._container, self._stream)
                if self._find(packet):
                    return True
        return False

    def _find(self, packet: int) -> bool:
        """Look at the next packet for where the file is now. It is put back."""
        peeked = next(self._read, None)
        if peeked is None or peeked.pts is None:
            return False
        self._at = self._packets.places(peeked.pts)
        self._read = itertools.chain([peeked], self._read)
        return 0 <= self._at <= packet
