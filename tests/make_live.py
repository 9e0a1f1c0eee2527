"""Stand-ins for estimator and recogniser: persons who sway over any picture, and actions that come and go with the seconds."""

from __future__ import annotations

import time as clock

import numpy as np

from kinema.capture.sources import Opened, Source
from kinema.estimation.poses import TrackedPose
from kinema.layout import get_layout
from kinema.recognition.live import ActionEvent, LiveAnswer, PersonAnswer
from kinema.serving.following import Models

CAMERA = Source("0", "camera")
LABELS = ("wave", "clap", "sit down", "walk", "jump", "throw")
# COCO's 17 key points of somebody who stands, within a box of 1 x 1.
_HEAD = ((0.5, 0.07), (0.53, 0.05), (0.47, 0.05), (0.57, 0.06), (0.43, 0.06))
_ARMS = ((0.65, 0.2), (0.35, 0.2), (0.75, 0.36), (0.25, 0.36), (0.8, 0.5), (0.2, 0.5))
_LEGS = ((0.6, 0.52), (0.4, 0.52), (0.61, 0.75), (0.39, 0.75), (0.62, 0.97), (0.38, 0.97))
STANDING = np.array([*_HEAD, *_ARMS, *_LEGS])


class SwayingTracker:
    """As a `PoseTracker`: `persons` side by side in every picture, after `seconds` of work."""

    layout = get_layout("coco17")

    def __init__(self, persons: int = 1, seconds: float = 0.0):
        self._persons, self._seconds = persons, seconds
        self.timings: dict[str, float] = {}

    def reset(self) -> None:
        pass

    def step(self, image, time):
        clock.sleep(self._seconds)
        self.timings = {"detect": 0.1 * self._seconds, "pose": 0.9 * self._seconds, "track": 0.0}
        height, width = image.shape[:2]
        poses = []
        for person in range(self._persons):
            left, wide = width * person / self._persons, width / self._persons
            points = np.column_stack([left + wide * (0.3 + 0.4 * STANDING[:, 0]), height * (0.1 + 0.8 * STANDING[:, 1])])
            points[[9, 10], 1] -= 0.25 * height * (1 + np.sin(4 * time + person))
            box = np.array([*points.min(0), *points.max(0)], np.float32)
            poses.append(TrackedPose(person, points.astype(np.float32), np.full(17, 0.9, np.float32), box))
        return poses


class TimedRecognizer:
    """As a `LiveRecognizer`: every second another label begins, from half a second on."""

    classes, bundle = LABELS, None

    def __init__(self, source: str = ""):
        self.source = source
        self.reset()

    def reset(self) -> None:
        self._open: dict[int, ActionEvent] = {}
        self.time = None

    def step(self, time, poses, *, image_size=None):
        assert self.time is None or time >= self.time
        self.time, persons, closed, opened = time, [], [], []
        for pose in poses:
            label = None if time < 0.5 else LABELS[int(time) % len(LABELS)]
            going = self._open.get(pose.person)
            if going and going.label != label:
                closed.append(self._end(pose.person, time))
            if label and (going is None or going.label != label):
                self._open[pose.person] = ActionEvent(pose.person, label, time, None, 0.8, self.source)
                opened.append(self._open[pose.person])
            first = LABELS.index(label) if label else 0
            top = tuple((LABELS[(first + i) % len(LABELS)], 0.6 / 2**i) for i in range(5))
            since = self._open[pose.person].start if label else None
            persons.append(
                PersonAnswer(pose.person, label, 0.6 if label else 0.0, top, since, "" if label else "0.1 of 1.0 s have been seen")
            )
        return LiveAnswer(time, tuple(persons), tuple(closed), tuple(opened))

    def finish(self):
        closed = tuple(self._end(person, self.time) for person in list(self._open))
        self.reset()
        return closed

    def _end(self, person: int, time: float) -> ActionEvent:
        going = self._open.pop(person)
        return ActionEvent(person, going.label, going.start, time, going.confidence, self.source)


def swaying_models(persons: int = 1, seconds: float = 0.0) -> Models:
    return Models(lambda: SwayingTracker(persons, seconds), lambda source, layout: TimedRecognizer(source))


def opener(*lives):
    """For `Capture`: opens to each of these in turn, the last for ever: (seconds, image) pairs, functions that make them, or errors."""
    from contextlib import contextmanager

    turns = list(lives)

    @contextmanager
    def open_it(source):
        life = turns.pop(0) if len(turns) > 1 else turns[0]
        if isinstance(life, Exception):
            raise life
        yield Opened(((*each, None) for each in (life() if callable(life) else life)), endless=True)

    return open_it
