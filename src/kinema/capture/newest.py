"""The newest frame of a source, whatever becomes of the source: a thread reads, what is not taken in time is passed over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kinema.capture.sources import Opened, Source, open_source, parse_source
from kinema.errors import KinemaError

State = Literal["opening", "running", "stalled", "lost", "ended"]
Opener = Callable[[Source], AbstractContextManager[Opened]]
_BACK_OFF = (0.5, 10.0)  # seconds until the first new attempt; at most, doubled every time
_JUMP = 1.0  # seconds by which a source's own clock may be off before it is set anew
_LEAST_STEP = 1e-4


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture. `time`: seconds on the stream's clock, which never runs backwards; a file's own, else since the capture began.
    `image`: (H, W, 3) uint8 RGB. `number`: of all pictures that came, from 0. `arrived`, `ready`: when its data came and when it was
    decoded, on `time.monotonic`'s clock."""

    time: float
    image: np.ndarray
    number: int
    arrived: float
    ready: float


class Capture:
    """A camera, file or network stream of which the newest frame is at hand; a context manager that closes it.

    Args:
        source: a camera's number or device, a file, an rtsp or http address.
        realtime: whether a file is played as fast as it was recorded, passing over what is not taken; else every frame is handed out
            and the file waits for its reader.
        longest: pictures with a longer side are made smaller.
        stall: seconds without a picture after which a live source counts as stalled; after twice as long it is opened anew.
        opener: opens a source; for tests and for cameras that FFmpeg does not know.

    `state` is "opening" before the first picture, then "running"; "stalled" while nothing comes, "lost" while the source is away and
    tried again and again, with growing pauses of up to 10 s; "ended" when there is nothing more to come. `reason` says why.
    Memory is bounded by one frame waiting. Gaps are left to whoever reads: times tell.
    """

    def __init__(
        self,
        source: str | Path | Source,
        *,
        realtime: bool = True,
        longest: int | None = 1280,
        stall: float = 3.0,
        back_off: tuple[float, float] = _BACK_OFF,
        opener: Opener | None = None,
    ):
        if not stall > 0:
            raise KinemaError(f"stall is {stall}; a positive number of seconds is expected")
        self.source = source if isinstance(source, Source) else parse_source(source)
        self._keeps_all = not realtime and not self.source.live
        self._stall, self._back_off = stall, back_off
        self._open = opener or (lambda source: open_source(source, longest, stall))
        self._change = threading.Condition()
        self._closed = threading.Event()
        self._frame: Frame | None = None
        self._state: State = "opening"
        self.reason = ""
        self.received = self.dropped = self.reopened = 0
        self._error: KinemaError | None = None
        self._began = self._latest = time.monotonic()
        self._last_time = -np.inf
        self._offset: float | None = None
        self._reader: threading.Thread | None = None
        self._left: threading.Thread | None = None

    @property
    def state(self) -> State:
        with self._change:
            if self._state == "running" and self.source.live and time.monotonic() - self._latest > self._stall:
                return "stalled"
            return self._state

    def start(self, patience: float = 20.0) -> Capture:
        """Begin, and wait for the first picture. `KinemaError` where there is no such source or it gives none."""
        self._began = self._latest = time.monotonic()
        self._begin_reading()
        with self._change:
            self._change.wait_for(lambda: self._state != "opening" or self._error is not None, patience)
            waits, error = self._state == "opening", self._error
        if error is not None or waits:
            self.close()
            raise error or KinemaError(f"{self.source.name}: no picture has come within {patience:g} s")
        return self

    def read(self, timeout: float = 0.25) -> Frame | None:
        """The newest frame that was not handed out yet; None where none comes within `timeout` seconds, or none will come."""
        self._watch()
        with self._change:
            self._change.wait_for(lambda: self._frame is not None or self._state == "ended", timeout)
            frame, self._frame = self._frame, None
            self._change.notify_all()
        return frame

    def close(self) -> None:
        self._closed.set()
        with self._change:
            self._state, self._reader = "ended", None
            self._change.notify_all()

    def __enter__(self) -> Capture:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin_reading(self) -> None:
        reader = threading.Thread(target=self._read, name=f"capture {self.source.name}", daemon=True)
        self._reader = reader
        reader.start()

    def _watch(self) -> None:
        """A reader that hangs in the system's call, as with a driver that lost its camera, is left behind; one at most."""
        if not self.source.live or self.state != "stalled" or time.monotonic() - self._latest < 2 * self._stall:
            return
        with self._change:
            if self._left is not None and self._left.is_alive():
                return
            self._left = self._reader
            self._state, self.reason = "lost", "no pictures come; it is opened anew"
            self._latest = time.monotonic()
        self.reopened += 1
        self._begin_reading()

    def _read(self) -> None:
        me, (pause, most) = threading.current_thread(), self._back_off
        while self._reader is me:
            before = self.received
            try:
                with self._open(self.source) as opened:
                    self._offset = None
                    for seconds, image, came in opened.pictures:
                        if not self._put(me, seconds, image, came):
                            return
                endless, reason = opened.endless, f"{self.source.name}: the stream has ended"
            except KinemaError as error:
                endless, reason = True, str(error)
                if self.received == 0 or not self.source.live:
                    self._fail(me, error)
                    return
            except Exception as error:  # whoever reads must not wait for ever
                logging.getLogger(__name__).exception("a source has failed")
                self._fail(me, KinemaError(f"{self.source.name}: has failed: {error}"))
                return
            with self._change:
                if self._reader is not me:
                    return
                self._state, self.reason = ("lost", reason) if endless else ("ended", "")
                self._change.notify_all()
                if not endless:
                    return
                self.reopened += 1
            pause = self._back_off[0] if self.received > before else pause
            self._closed.wait(pause)
            pause = min(2 * pause, most)

    def _fail(self, me: threading.Thread, error: KinemaError) -> None:
        with self._change:
            if self._reader is me:
                self._error, self._state, self.reason = error, "ended", str(error)
                self._change.notify_all()

    def _put(self, me: threading.Thread, seconds: float | None, image: np.ndarray, came: float | None) -> bool:
        """Make it the newest frame; false where nobody wants it any more."""
        if not self.source.live and not self._keeps_all:
            self._closed.wait(max(0.0, self._began + (seconds or 0.0) - time.monotonic()))
        with self._change:
            if self._keeps_all:
                self._change.wait_for(lambda: self._frame is None or self._reader is not me)
            if self._reader is not me:
                return False
            now = time.monotonic()
            if not self.received and not self.source.live:
                self._began = now - (seconds or 0.0)  # opening it does not count
            moment = max(self._moment(seconds, now), self._last_time + _LEAST_STEP)
            self.dropped += self._frame is not None
            self._frame = Frame(moment, image, self.received, came or now, now)
            self._last_time, self._latest, self._state, self.reason = moment, now, "running", ""
            self.received += 1
            self._change.notify_all()
        return True

    def _moment(self, seconds: float | None, now: float) -> float:
        """Of a picture with this time of its source, which came now. A source's clock is even, but may start anywhere and jump."""
        if not self.source.live:
            return seconds or 0.0
        if seconds is None:
            return now - self._began
        if self._offset is None or abs(seconds + self._offset - (now - self._began)) > _JUMP:
            self._offset = now - self._began - seconds
        return seconds + self._offset
