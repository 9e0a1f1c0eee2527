"""One stream's answers: its actions into the event store, and alarms to whoever the rules name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema._cache_folder import cache_folder
from kinema.bundle import Bundle
from kinema.errors import KinemaError
from kinema.serving.events import EventStore
from kinema.serving.messenger import Messenger
from kinema.serving.recorder import Recorder
from kinema.serving.rules import Alarm, EventRule, RuleWatch, read_rules

if TYPE_CHECKING:
    from kinema.recognition.live import ActionEvent, LiveAnswer


class Events:
    """What all streams of a process share: the recorder, if there is a store, and the messenger, if there are rules.

    Args:
        store: path or URL of the event store, see `EventStore`; None records nothing.
        rules: a file of rules, see `kinema.serving.rules`.
        bundle: what recognises. Its labels are those that rules may name.
        outbox: folder for messages that have not arrived; by default in Kinema's cache folder.
        recorder: further settings of `Recorder`.

    A context manager that writes and sends what waits. Raises `KinemaError` for rules and stores that cannot be.
    """

    def __init__(
        self,
        store: str | Path | None = None,
        rules: str | Path | None = None,
        *,
        bundle: Bundle,
        outbox: str | Path | None = None,
        **recorder: Any,
    ):
        about = f"{bundle.name} {bundle.hash[:16]}"
        self.rules: tuple[EventRule, ...] = () if rules is None else read_rules(rules, bundle.classes)
        if self.rules and outbox is None:
            folder = cache_folder()
            if folder is None:
                raise KinemaError("there is no folder for messages; name one, $KINEMA_CACHE")
            outbox = folder / "events" / "outbox"
        self.recorder = None if store is None else Recorder(EventStore(store), bundle=about, **recorder)
        self.messenger = Messenger(self.rules, outbox, bundle=about) if self.rules else None

    def stream(self, source: str) -> Recording:
        """For one more stream of that name."""
        return Recording(self, source)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything so far is written and sent; whether it is."""
        parts = [part for part in (self.recorder, self.messenger) if part is not None]
        return all([part.flush(timeout) for part in parts])

    def close(self, timeout: float = 10.0) -> None:
        for part in (self.recorder, self.messenger):
            if part is not None:
                part.close(timeout)

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Recording:
    """One stream's share of `Events`. A listener of `kinema.serving.live.Engine`: it has its calls."""

    def __init__(self, events: Events, source: str):
        self._events, self._source, self._now = events, source, None
        self._watch = RuleWatch(events.rules, source, self._tell)

    def take(self, answer: LiveAnswer, now: float | None = None) -> None:
        """What one step has found. `now`: the wall clock at its time; by default the present."""
        self._now = time.time() if now is None else now
        if self._events.recorder is not None:
            self._events.recorder.record(answer, self._now, source=self._source)
        self._watch.step(answer)

    def moment(self, moment: Any) -> None:
        self.take(moment.step.answer)

    def ended(self, events: Sequence[ActionEvent]) -> None:
        if self._events.recorder is not None:
            self._events.recorder.ended(events)
        self._watch.reset()

    def state(self, state: str, reason: str) -> None:
        pass

    def close(self) -> None:
        pass

    def _tell(self, alarm: Alarm) -> None:
        self._events.messenger.send(alarm, self._now)
