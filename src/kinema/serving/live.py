"""The engine: capture -> poses -> recognition -> whoever listens.

Three things go on at once. The capture's thread reads and decodes and keeps the newest frame; the engine estimates poses and recognises;
listeners that draw or encode do so in threads of their own and never hold the engine up.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kinema.capture.newest import Capture, Frame, State
from kinema.errors import KinemaError
from kinema.recognition.live import ActionEvent
from kinema.serving.following import Follower, Step
from kinema.serving.timing import Timing


@dataclass(frozen=True, eq=False)
class Moment:
    """One picture with its answer; `latency`: seconds from the arrival of its data to the answer."""

    frame: Frame
    step: Step
    latency: float


class Listener:
    """Hears what the engine finds, in the engine's thread: quick work alone. Nothing need be overridden."""

    def moment(self, moment: Moment) -> None:
        """A picture was answered."""

    def ended(self, events: Sequence[ActionEvent]) -> None:
        """Actions that ended with the stream, or with the sight of it."""

    def state(self, state: State, reason: str) -> None:
        """The source is in another state."""

    def close(self) -> None:
        """The engine has stopped. May raise `KinemaError` for what went wrong before."""


class Background(Listener):
    """Works on moments in a thread of its own: on the newest one, or, if it `waits`, on every one, and the engine waits for it."""

    def __init__(self, work: Callable[[Moment], None], *, waits: bool = False):
        self._work, self._waits = work, waits
        self._queue: queue.Queue[Moment | None] = queue.Queue(maxsize=2 if waits else 1)
        self._error: Exception | None = None
        self.passed_over = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def moment(self, moment: Moment) -> None:
        if self._error is not None:
            return
        if self._waits:
            self._queue.put(moment)
            return
        while True:
            try:
                return self._queue.put_nowait(moment)
            except queue.Full:
                try:
                    self._queue.get_nowait()
                    self.passed_over += 1
                except queue.Empty:
                    pass

    def close(self) -> None:
        try:
            self._queue.put(None, timeout=30)
        except queue.Full:  # its work hangs; the thread ends with the process
            return
        self._thread.join(30)
        if isinstance(self._error, KinemaError):
            raise self._error
        if self._error is not None:
            raise KinemaError(f"what was drawn or written beside the recognition has failed: {self._error}") from self._error

    def _run(self) -> None:
        while (moment := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._work(moment)
                except Exception as error:
                    logging.getLogger(__name__).warning("%s", error)
                    self._error = error


class Engine:
    """Follows a capture until it ends or `stop` is called.

    A listener that raises does not stop recognition: it is told of in the log and heard no more.
    """

    def __init__(self, capture: Capture, follower: Follower, listeners: Sequence[Listener] = ()):
        self.capture, self.follower, self.timing = capture, follower, Timing()
        self._listeners, self._stop = list(listeners), threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> Timing:
        """Returns when there is nothing more to come. The capture must have been started."""
        state: State = "opening"
        try:
            while not self._stop.is_set():
                frame = self.capture.read()
                # Nothing has ended while there is still a picture.
                now = "running" if frame is not None else self.capture.state
                if now != state:
                    state = now
                    self._changed(state)
                if frame is not None:
                    self._take(frame)
                elif state == "ended":
                    break
        finally:
            self._finish()
            errors = [error for listener in self._listeners if (error := _closed(listener)) is not None]
        if self.capture.state == "ended" and self.capture.reason and not self._stop.is_set():
            raise KinemaError(self.capture.reason)
        if errors:
            raise errors[0]
        return self.timing

    def _changed(self, state: State) -> None:
        if state in ("stalled", "lost"):
            self._finish()
        self._tell(lambda listener: listener.state(state, self.capture.reason))

    def _take(self, frame: Frame) -> None:
        began = time.monotonic()
        step = self.follower.step(frame.time, frame.image)
        done = time.monotonic()
        step.seconds.update(decode=frame.ready - frame.arrived, wait=began - frame.ready)
        moment = Moment(frame, step, done - frame.arrived)
        self.timing.add(moment.latency, step.seconds, done)
        self._tell(lambda listener: listener.moment(moment))

    def _finish(self) -> None:
        events = self.follower.finish()
        if events:
            self._tell(lambda listener: listener.ended(events))

    def _tell(self, what: Callable[[Listener], None]) -> None:
        for listener in list(self._listeners):
            try:
                what(listener)
            except Exception as error:
                logging.getLogger(__name__).error("%s is heard no more: %s", type(listener).__name__, error)
                self._listeners.remove(listener)
                _closed(listener)


def _closed(listener: Listener) -> KinemaError | None:
    try:
        listener.close()
    except KinemaError as error:
        return error
    return None
