"""What is in the event store, for people and as files; and recordings played into it as a camera would be."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kinema._write import writing_whole
from kinema.bundle import Bundle
from kinema.errors import KinemaError
from kinema.recognition.live import LiveRecognizer
from kinema.recognition.recognizer import Recognizer, read_recordings
from kinema.recognition.steps import steps
from kinema.serving.events import Action
from kinema.serving.recording import Events

SUFFIXES = (".csv", ".json")
_COLUMNS = ("id", "person", "label", "start", "end", "seconds", "confidence", "source", "bundle", "status")
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_time(text: str | None, now: datetime | None = None) -> datetime | None:
    """A time as users write it: "2h" (ago; s, m, h or d) or "2026-11-21T10:30", local where it names no zone; UTC. None stays None."""
    if text is None:
        return None
    age = _AGE.fullmatch(text.strip())
    try:
        if age:
            return (now or datetime.now(UTC)) - timedelta(seconds=float(age[1]) * _SECONDS[age[2]])
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise KinemaError(f"time {text[:40]!r} cannot be read; 2h (ago), 7d or 2026-11-21T10:30 is expected") from error


def actions_text(actions: Sequence[Action]) -> str:
    """A table, one line an action; times are local."""
    if not actions:
        return "no such actions"
    lines = [f"{'start':19}  {'seconds':>8}  {'label':24}  {'sure':>5}  person  source"]
    for action in actions:
        begun = action.start.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        mark = {"open": "  (goes on)", "interrupted": "  (interrupted)"}.get(action.status, "")
        lines.append(
            f"{begun}  {action.seconds:8.1f}  {action.label:24}  {action.confidence:4.0%}  {action.person:6}  {action.source}{mark}"
        )
    return "\n".join(lines)


def export(actions: Iterable[Action], out: str | Path) -> tuple[Path, int]:
    """Write actions to OUT.csv or OUT.json, whole or not at all, in memory that does not grow with them; the file and how many."""
    path = Path(out).expanduser()
    if path.suffix.lower() not in SUFFIXES:
        raise KinemaError(f"{path}: events are exported as {' or '.join(SUFFIXES)}")
    count = 0
    with writing_whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = path.suffix.lower() == ".csv"
        file.write(",".join(_COLUMNS) + "\n" if table else '{"events": [')
        for action in actions:
            values = {**action.to_dict(), "seconds": round(action.seconds, 3)}
            row = {name: values[name] for name in _COLUMNS}
            file.write(_line(row) if table else f"{',' if count else ''}\n{json.dumps(row)}")
            count += 1
        file.write("" if table else "\n]}\n")
    return path, count


def _line(row: dict[str, object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if value is None else value for value in row.values()])
    return text.getvalue()


def play(files: Sequence[str], bundle: Bundle, events: Events, source: str | None = None) -> list[str]:
    """Play recordings of skeletons through live recognition into a store, as if they had just ended; a line for each.

    Raises `DataError` for files that are none, `BundleError` for skeletons that the bundle cannot take.
    """
    told, recognizer = [], Recognizer(bundle)
    for clip in read_recordings(files, videos=False).clips:
        pose, name = clip.pose, source or clip.id
        live, stream, count = LiveRecognizer(recognizer, layout=pose.layout, source=name), events.stream(name), 0
        begun = time.time() - pose.duration
        size = None if pose.image_size is None else pose.image_size[::-1]
        for moment, people in steps(pose):
            answer = live.step(moment, people, image_size=size)
            stream.take(answer, begun + moment)
            count += len(answer.closed)
        left = live.finish()
        stream.ended(left)
        told.append(f"{clip.id}: {count + len(left)} actions in {pose.duration:.1f} s")
    return told
