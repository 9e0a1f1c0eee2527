"""Messages of rules on their way: each is tried until it has arrived, and recognition never waits for it."""

from __future__ import annotations

import contextlib
import heapq
import http.client
import itertools
import json
import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib import error, request

from kinema._write import write_whole
from kinema.errors import KinemaError
from kinema.serving.events import recorder_gone, recorder_name
from kinema.serving.rules import Alarm, EventRule

_SLOWEST_RETRY = 60.0
_MOST_WAITING = 1000
# A message is touched with each attempt: one that nobody touches any more has nobody who sends it.
_DEAD_AFTER = timedelta(minutes=15)


class Messenger:
    """Sends messages, from a thread for each rule: a receiver that does not answer holds up nobody else's.

    Args:
        rules: the rules whose alarms come.
        outbox: folder in which a message lies until it has arrived; what an earlier run has left there is sent first.
        bundle: name and hash of what recognises, told in each message.
        first_retry: seconds until the second attempt; each further one waits twice as long, a minute at most.

    A message is a JSON object with an `id`, also in the header `Idempotency-Key`: it arrives at least once, and the id tells a receiver
    which it knows already. It has arrived where the answer is 2xx. Redirections are not followed. 4xx, but for 408, 425 and 429, and
    `give_up` seconds without success end the attempts. `delivered`, `failed`, `lost` (more than could wait) count messages.
    """

    def __init__(self, rules: Collection[EventRule], outbox: str | Path, *, bundle: str = "", first_retry: float = 1.0):
        self.outbox, self.bundle, self.name = Path(outbox).expanduser(), bundle, recorder_name()
        self.delivered = self.failed = self.lost = 0
        self._stop = threading.Event()
        self._senders = {rule.name: _Sender(self, rule, first_retry) for rule in rules}
        for message in self._left():
            self._senders[message["rule"]].queue.put_nowait(message)
        for sender in self._senders.values():
            sender.start()

    def send(self, alarm: Alarm, now: float | None = None) -> str:
        """Take an alarm; the message's id. `now`: the wall clock, in seconds since 1970; by default the present."""
        now = time.time() if now is None else now
        message = {
            "id": uuid.uuid4().hex,
            "rule": alarm.rule.name,
            "label": alarm.label,
            "person": alarm.person,
            "source": alarm.source,
            "start": datetime.fromtimestamp(now - (alarm.time - alarm.start), UTC).isoformat(),
            "time": datetime.fromtimestamp(now, UTC).isoformat(),
            "seconds": round(alarm.time - alarm.start, 3),
            "confidence": round(alarm.confidence, 4),
            "bundle": self.bundle,
        }
        try:
            self._senders[alarm.rule.name].queue.put_nowait(message)
        except queue.Full:
            self.lost += 1
            logging.getLogger(__name__).error("rule %r: %d messages wait already; this one is lost", alarm.rule.name, _MOST_WAITING)
        return message["id"]

    @property
    def waiting(self) -> int:
        """Messages that have not arrived yet."""
        return sum(sender.waiting for sender in self._senders.values())

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until every message has arrived or was given up; whether it was."""
        until = time.monotonic() + timeout
        while self.waiting and time.monotonic() < until:
            time.sleep(0.01)
        return not self.waiting

    def close(self, timeout: float = 5.0) -> None:
        """Try once more what waits, for `timeout` seconds, and stop; what has not arrived stays in the outbox for the next run."""
        self._stop.set()
        until = time.monotonic() + timeout
        for sender in self._senders.values():
            sender.join(max(until - time.monotonic(), 0))

    def _left(self) -> list[dict[str, Any]]:
        """What runs that are no more have left in the outbox."""
        found = []
        for path in sorted(self.outbox.glob("*.json"))[:_MOST_WAITING]:
            try:
                message, recorder = json.loads(path.read_text("utf-8")), ""
                seen = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                recorder = message.pop("recorder")
                if message["rule"] in self._senders and path.stem == message["id"] and recorder_gone(recorder, seen, _DEAD_AFTER):
                    found.append(message)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
        return found


class _Sender(threading.Thread):
    """One rule's messages: new ones, and those that wait for their next attempt."""

    def __init__(self, messenger: Messenger, rule: EventRule, first_retry: float):
        super().__init__(name=f"kinema-rule-{rule.name}", daemon=True)
        self.queue: queue.Queue[dict[str, Any]] = queue.Queue(_MOST_WAITING)
        self._messenger, self._rule, self._first = messenger, rule, first_retry
        self._due: list[tuple[float, int, float, float, dict[str, Any]]] = []  # when, order, delay, give up at, what
        self._order = itertools.count()

    @property
    def waiting(self) -> int:
        return self.queue.unfinished_tasks

    def run(self) -> None:
        while True:
            stopping = self._messenger._stop.is_set()
            self._take(0.0 if stopping else self._pause())
            now = time.monotonic()
            if stopping:
                self._due = [(now, *rest) for _, *rest in self._due]
            while self._due and self._due[0][0] <= now:
                _, order, delay, end, message = heapq.heappop(self._due)
                if not self._attempt(message, end):
                    heapq.heappush(self._due, (time.monotonic() + delay, order, min(2 * delay, _SLOWEST_RETRY), end, message))
            if stopping and self.queue.empty():
                return

    def _pause(self) -> float:
        soonest = self._due[0][0] - time.monotonic() if self._due else 1.0
        return min(max(soonest, 0.0), 0.1)

    def _take(self, timeout: float) -> None:
        try:
            if len(self._due) >= _MOST_WAITING:
                time.sleep(timeout)
                return
            message = self.queue.get(timeout=timeout) if timeout else self.queue.get_nowait()
        except queue.Empty:
            return
        now = time.monotonic()
        try:
            write_whole(self._path(message), json.dumps({**message, "recorder": self._messenger.name}).encode())
        except KinemaError as trouble:  # it is sent all the same; only a crash would lose it
            logging.getLogger(__name__).warning("%s", trouble)
        heapq.heappush(self._due, (now, next(self._order), self._first, now + self._rule.give_up, message))

    def _attempt(self, message: dict[str, Any], end: float) -> bool:
        """Whether the message is done with."""
        with contextlib.suppress(OSError):
            os.utime(self._path(message))
        trouble, final = _post(self._rule, message)
        if trouble and not final and time.monotonic() < end:
            logging.getLogger(__name__).warning("rule %r: message %s: %s; it is tried again", self._rule.name, message["id"], trouble)
            return False
        if trouble:
            self._messenger.failed += 1
            logging.getLogger(__name__).error("rule %r: message %s is given up: %s", self._rule.name, message["id"], trouble)
        else:
            self._messenger.delivered += 1
        with contextlib.suppress(OSError):
            self._path(message).unlink(missing_ok=True)
        self.queue.task_done()
        return True

    def _path(self, message: dict[str, Any]) -> Path:
        return self._messenger.outbox / f"{message['id']}.json"


class _Stay(request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _post(rule: EventRule, message: dict[str, Any]) -> tuple[str, bool]:
    """Why a message did not arrive, empty where it did; and whether it never will."""
    headers = {"Content-Type": "application/json", "User-Agent": "kinema", "Idempotency-Key": message["id"], **rule.headers}
    asked = request.Request(rule.url, json.dumps(message).encode(), headers, method="POST")
    try:
        with request.build_opener(_Stay()).open(asked, timeout=rule.timeout) as answer:
            return ("", True) if 200 <= answer.status < 300 else (f"HTTP {answer.status}", False)
    except error.HTTPError as answer:
        answer.close()
        return f"HTTP {answer.code}", 400 <= answer.code < 500 and answer.code not in (408, 425, 429)
    except (OSError, http.client.HTTPException, ValueError) as trouble:
        return str(getattr(trouble, "reason", trouble))[:200] or type(trouble).__name__, False
