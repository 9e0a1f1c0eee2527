"""Answers of a live recogniser that nobody gave, for tests of what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kinema.recognition.live import ActionEvent, LiveAnswer, PersonAnswer
from kinema.serving.events import Action

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def action(number=0, *, start=0.0, end=1.0, **fields):
    """A row; seconds after noon."""
    begun = NOON + timedelta(seconds=start)
    ended = None if end is None else NOON + timedelta(seconds=end)
    own = {"person": 0, "label": "wave", "confidence": 0.9, "source": "hall", "bundle": "b", "recorder": "elsewhere:1:x"}
    status = "open" if end is None else "closed"
    return Action(**{"id": f"id{number}", "start": begun, "end": ended, "seen": ended or begun, "status": status, **own, **fields})


def event(start, end=None, *, label="wave", person=0, source="hall", confidence=0.8):
    return ActionEvent(person, label, start, end, confidence, source)


def answer(time, *, going=(), opened=(), closed=()):
    """One step: `going`: open events, whose persons are answered with them."""
    persons = tuple(
        PersonAnswer(each.person, each.label, each.confidence, ((each.label, each.confidence),), each.start) for each in (*going, *opened)
    )
    return LiveAnswer(time, persons, tuple(closed), tuple(opened))
