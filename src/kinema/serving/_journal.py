"""Rows that could not be written yet, in a local file: one JSON object a line, so that half a line is all that a crash can spoil."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: one process alone
    fcntl = None

from kinema.errors import KinemaError
from kinema.serving.events import Action

_MOST_BYTES = 64 << 20


class Journal:
    """A file of actions that wait for their database. Threads, and processes that record into the same one, may share it."""

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        self._lock = threading.Lock()
        self.waiting = len(self.read())

    def add(self, actions: Sequence[Action], *, safely: bool = True) -> None:
        """Append rows; `safely`: and wait until the disk has them. `KinemaError` where the file cannot be written, or is too large."""
        if not actions:
            return
        text = "".join(json.dumps(action.to_dict()) + "\n" for action in actions).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._alone(), self.path.open("ab") as file:
                if file.tell() + len(text) > _MOST_BYTES:
                    raise KinemaError(f"{self.path}: {_MOST_BYTES >> 20} MiB of events wait for their database, and no more can")
                file.write(b"\n" * (file.tell() > 0) + text)  # on a line of its own, whatever a crash has left
                file.flush()
                if safely:
                    os.fsync(file.fileno())
                self.waiting += len(actions)
        except OSError as error:
            raise KinemaError(f"{self.path}: cannot be written: {error.strerror}") from error

    def read(self) -> list[Action]:
        """What waits; lines that are no rows are passed over."""
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                found.append(Action.of(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        return found

    def written(self, actions: Sequence[Action]) -> None:
        """These are in the database: what came since stays."""
        gone = set(actions)
        with self._alone():
            left = [action for action in self.read() if action not in gone]
            part = self.path.with_suffix(".part")
            if left:
                part.write_text("".join(json.dumps(action.to_dict()) + "\n" for action in left), "utf-8")
                os.replace(part, self.path)
            else:
                self.path.unlink(missing_ok=True)
            self.waiting = len(left)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock, self.path.with_suffix(".lock").open("ab") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
            yield
