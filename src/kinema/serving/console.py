"""What a stream shows, a line an event: for people, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TextIO

from kinema.capture.newest import State
from kinema.recognition.live import ActionEvent
from kinema.serving.live import Listener, Moment

_TOLD = {
    "stalled": "no pictures come",
    "lost": "the source is lost, and tried again",
    "running": "pictures come again",
}


class Console(Listener):
    """Prints actions as they begin and end, and what becomes of the source. Times are seconds from the start of the stream."""

    def __init__(self, as_json: bool = False, out: TextIO | None = None):
        self._json, self._out, self._interrupted = as_json, out or sys.stdout, False

    def moment(self, moment: Moment) -> None:
        for event in moment.step.answer.closed:
            self._event("ended", event)
        for event in moment.step.answer.opened:
            self._event("began", event)

    def ended(self, events: Sequence[ActionEvent]) -> None:
        for event in events:
            self._event("ended", event)

    def state(self, state: State, reason: str) -> None:
        if state in ("stalled", "lost"):
            self._interrupted = True
        elif state != "running" or not self._interrupted:
            return
        else:
            self._interrupted = False
        if self._json:
            self._print(json.dumps({"event": "source", "state": state, "reason": reason}))
        else:
            self._print(f"{'':9}{_TOLD[state]}{f': {reason}' if reason else ''}")

    def _event(self, what: str, event: ActionEvent) -> None:
        if self._json:
            self._print(json.dumps({"event": what, **asdict(event)}))
        elif what == "began":
            self._print(f"{event.start:7.1f} s  person {event.person}: {event.label} begins")
        else:
            length = f"{event.start:.1f} to {event.end:.1f} s, {100 * event.confidence:.0f} %"
            self._print(f"{event.end:7.1f} s  person {event.person}: {event.label}, {length}")

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)
