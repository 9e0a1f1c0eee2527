"""What live recognition finds goes into the event store, and recognition never waits for it."""

from __future__ import annotations

import hashlib
import logging
import queue
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kinema._cache_folder import cache_folder
from kinema.errors import KinemaError
from kinema.serving._journal import Journal
from kinema.serving.events import Action, EventStore, recorder_name

if TYPE_CHECKING:
    from kinema.recognition.live import ActionEvent, LiveAnswer

State = Literal["recording", "away", "losing", "closed"]
_SLOWEST_RETRY = 30.0
# Of an open action nothing has been told for so long: its stream is no more.
_FORGOTTEN = 900.0


class Recorder:
    """Writes actions into a store, from a thread of its own.

    Args:
        store: where; it is closed with the recorder.
        bundle: name and hash of what recognises, kept with each action.
        heartbeat: seconds between two notes that an open action goes on; a crash loses at most so much of its end.
        journal: file for what cannot be written at once; by default in Kinema's cache folder, one for each store.
        capacity: rows that may wait in memory; what is beyond goes to the journal at once.

    `state`: "recording"; "away": the store cannot be reached, for `reason`, what comes is kept in the journal and written when it is back;
    "losing": the journal cannot be written either; "closed". `lost`: rows that could be kept nowhere. What an earlier run left in the
    journal, or open in the store, is put right first. Several threads, each with its stream, may share a recorder.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        bundle: str = "",
        heartbeat: float = 1.0,
        journal: str | Path | None = None,
        capacity: int = 1000,
    ):
        if not 0 < heartbeat <= 60 or not 1 <= capacity <= 1_000_000:
            raise KinemaError(f"heartbeat is {heartbeat} s, capacity {capacity} rows; up to 60 s and 1 to 1000000 rows are expected")
        self.store, self.bundle, self.name = store, bundle, recorder_name()
        self.journal = Journal(_journal_file(store.name) if journal is None else journal)
        self.state: State = "recording"
        self.reason, self.lost, self.interrupted = "", 0, 0
        self._heartbeat, self._delay, self._retry_at, self._mend_at = heartbeat, 0.0, 0.0, 0.0
        self._open: dict[tuple, tuple[Action, float]] = {}  # and when it was last told of, on the monotonic clock
        self._lock = threading.Lock()
        self._queue: queue.Queue[Action | None] = queue.Queue(capacity)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kinema-events", daemon=True)
        self._thread.start()

    def record(self, answer: LiveAnswer, now: float | None = None, *, source: str = "") -> None:
        """Take what one step of a stream has found. `now`: the wall clock, in seconds since 1970, at `answer.time`; by default the present.
        `source`: the stream's, as in its events."""
        now = time.time() if now is None else now
        offset = now - answer.time
        self.ended(answer.closed, offset)
        for event in answer.opened:
            action = replace(self._action(event, offset), seen=_moment(now))
            with self._lock:
                self._open[_key(event)] = action, time.monotonic()
            self._put(action)
        with self._lock:
            for person in answer.persons:
                key = (source, person.person, person.label, person.since)
                if key in self._open:
                    self._open[key] = replace(self._open[key][0], seen=_moment(now)), time.monotonic()

    def ended(self, events: Sequence[ActionEvent], offset: float | None = None) -> None:
        """Take actions that have ended. `offset`: of the wall clock from the stream's; by default they ended just now."""
        for event in events:
            with self._lock:
                action = self._open.pop(_key(event), (None, 0.0))[0]
            if action is None:  # its beginning was told to nobody
                action = self._action(event, time.time() - event.end if offset is None else offset)
            end = action.start + timedelta(seconds=event.end - event.start)
            self._put(replace(action, end=end, seen=end, confidence=event.confidence, status="closed"))

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything so far is in the store; whether it is."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self._queue.unfinished_tasks == 0 and not self.journal.waiting and self.state == "recording":
                return True
            time.sleep(0.01)
        return False

    def close(self, timeout: float = 10.0) -> None:
        """Write what waits, in the store or else in the journal, and stop. Actions that nobody has ended are interrupted."""
        if self._stop.is_set():
            return
        self._interrupt(0.0)
        self._stop.set()
        self._thread.join(timeout)
        while self._thread.is_alive() and (left := self._taken()):  # it hangs in the database
            self._keep(left)
        self.state = "closed"
        self.store.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _action(self, event: ActionEvent, offset: float) -> Action:
        start = _moment(event.start + offset)
        about = {"source": event.source, "bundle": self.bundle, "status": "open", "recorder": self.name}
        return Action(uuid.uuid4().hex, event.person, event.label, start, None, start, event.confidence, **about)

    def _interrupt(self, silent: float) -> None:
        """Close what nobody has told of for so many seconds."""
        with self._lock:
            left = [key for key, (_, told) in self._open.items() if time.monotonic() - told >= silent]
            actions = [self._open.pop(key)[0] for key in left]
        for action in actions:
            self._put(replace(action, end=action.seen, status="interrupted"))

    def _put(self, action: Action) -> None:
        try:
            self._queue.put_nowait(action)
        except queue.Full:
            self._keep([action], safely=False)  # the caller does not wait for the disk

    def _keep(self, actions: Sequence[Action], *, safely: bool = True) -> None:
        try:
            self.journal.add(actions, safely=safely)
        except KinemaError as error:
            self.lost += len(actions)
            self._tell("losing", str(error))

    def _tell(self, state: State, reason: str = "") -> None:
        if state != self.state:
            level = logging.INFO if state == "recording" else logging.WARNING
            logging.getLogger(__name__).log(level, "event store: %s%s", state, f" ({reason})" if reason else "")
        self.state, self.reason = state, reason

    # From here on the writer's thread.

    def _run(self) -> None:
        beat_at = beaten = 0.0
        while True:
            ending = self._stop.is_set() and self._queue.empty()
            actions = self._taken()
            now = time.monotonic()
            beats: list[Action] = []
            if now >= beat_at:
                self._interrupt(_FORGOTTEN)
                with self._lock:
                    beats = [action for action, told in self._open.values() if told >= beaten]
                beat_at, beaten = now + self._heartbeat, now
            if self._retry_at and now < self._retry_at and not ending:
                self._keep(actions)
            else:
                self._write(actions, beats)
            for _ in actions:
                self._queue.task_done()
            if ending:
                break

    def _taken(self) -> list[Action]:
        """What has come; waits for it a little."""
        taken: list[Action] = []
        try:
            taken.append(self._queue.get(timeout=min(0.1, self._heartbeat)))
            while len(taken) < 500:
                taken.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return taken

    def _write(self, actions: list[Action], beats: list[Action]) -> None:
        try:
            if time.monotonic() >= self._mend_at:
                self.interrupted += self.store.close_interrupted(self.name)
                self._mend_at = time.monotonic() + 60
            self._replay()
            # A row may have been closed since: of one action the closed row counts.
            self.store.write([*beats, *actions])
        except Exception as error:
            self._keep(actions)
            self._delay = min(max(2 * self._delay, 0.25), _SLOWEST_RETRY)
            self._retry_at, self._mend_at = time.monotonic() + self._delay, 0.0
            if self.state != "losing":
                self._tell("away", str(error))
            if not isinstance(error, KinemaError):
                logging.getLogger(__name__).exception("writing events has failed")
            return
        self._delay = self._retry_at = 0.0
        self._tell("recording")

    def _replay(self) -> None:
        while self.journal.waiting:
            waiting = self.journal.read()
            for first in range(0, len(waiting), 500):
                self.store.write(waiting[first : first + 500])
            self.journal.written(waiting)


def _key(event: ActionEvent) -> tuple:
    return (event.source, event.person, event.label, event.start)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _journal_file(store: str) -> Path:
    folder = cache_folder() or Path(tempfile.gettempdir()) / "kinema"
    return folder / "events" / f"{hashlib.sha256(str(Path(store).absolute()).encode()).hexdigest()[:16]}.jsonl"
