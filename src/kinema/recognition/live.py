"""What everybody in view is doing, person by person, as the skeletons come in: answers that are steady, and actions with start and end."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from kinema.bundle import Bundle
from kinema.errors import BundleError, DataError, KinemaError
from kinema.layout import Layout, get_layout
from kinema.recognition.episodes import Episode, Episodes, Rule
from kinema.recognition.recognizer import Recognizer
from kinema.recognition.shipped import BUNDLES
from kinema.recognition.stream import ActivityRecognizer, current_activities

_SHOWN = 5


class Pose(Protocol):
    """One person in one frame, as pose estimators give it; coordinates have x to the right and y down.

    `person`: which one, the same from frame to frame. `points`: (V, 2) pixels. `scores`: (V,) confidences in 0..1. `world`: (V, 3)
    metres, or None. A further attribute `observed`, where there is one, is False for somebody who is assumed to be there still but was
    not seen in this frame.
    """

    @property
    def person(self) -> int: ...
    @property
    def points(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...
    @property
    def world(self) -> np.ndarray | None: ...


@dataclass(frozen=True)
class ActionEvent:
    """An action of one person. `start`, `end`: seconds on the stream's clock, `end` None while it goes on. `confidence`: the mean over
    its time so far. `source`: the stream, as its recogniser was told."""

    person: int
    label: str
    start: float
    end: float | None
    confidence: float
    source: str = ""


@dataclass(frozen=True)
class PersonAnswer:
    """What one person does now.

    `label`: None where nothing is known. `confidence`: the label's smoothed and, where the bundle is calibrated, calibrated probability;
    0 without a label. `top`: at most five labels with theirs, best first; what all labels lack to 1 is for "nothing known". `since`: start
    of the action. `flaw`: why there is no label; empty where there is one.
    """

    person: int
    label: str | None
    confidence: float
    top: tuple[tuple[str, float], ...]
    since: float | None
    flaw: str = ""


@dataclass(frozen=True)
class LiveAnswer:
    """One step's answers: `persons` in the order of the step's poses; actions that ended and that began with this step."""

    time: float
    persons: tuple[PersonAnswer, ...]
    closed: tuple[ActionEvent, ...] = ()
    opened: tuple[ActionEvent, ...] = ()


@dataclass(eq=False)
class _Person:
    stream: ActivityRecognizer
    episodes: Episodes
    listed: float  # when a pose of theirs came last
    answered: float = -math.inf
    flaw: str = ""

    def end(self) -> Episode | None:
        """End the action that goes on where its person was last seen."""
        seen = self.stream.last_seen
        return self.episodes.end(self.listed if seen is None else seen)


class LiveRecognizer:
    """Recognises what several persons are doing, each over a window of their own that slides along.

    Args:
        bundle: a recognizer, a bundle, or a bundle's name or path; of skeletons. One of 2-D points looks at `points` and `scores`, one
            of 3-D points at `world`.
        layout: joint layout of the poses.
        source: what events are marked with, such as the camera's name.
        rule: smoothing, thresholds and least duration of actions.
        window: seconds of motion that an answer is made from; by default what the bundle was trained on.
        max_gap: seconds without a sight of a person after which their action has ended and they are forgotten.
        min_confidence: joints whose score is not above it are missing.
        rate: most answers per second for each person; None answers with every step.
        max_persons: further ones get no answer, until somebody leaves.
        views: looks at each window that are averaged; steps follow each other so closely that one is enough.
        device: where the model runs, where `bundle` is no recognizer yet.

    Times are seconds and count by themselves, whatever the frame rate. Memory is bounded by window and persons. Not safe for several
    threads at once. Raises `BundleError` where the bundle cannot take such poses.
    """

    def __init__(
        self,
        bundle: Recognizer | Bundle | str | Path = BUNDLES[2],
        *,
        layout: str | Layout = "coco17",
        source: str = "",
        rule: Rule | None = None,
        window: float | None = None,
        max_gap: float = 1.0,
        min_confidence: float = 0.2,
        rate: float | None = None,
        max_persons: int = 32,
        views: int = 1,
        device: str = "cpu",
    ):
        self.recognizer = copy.copy(bundle) if isinstance(bundle, Recognizer) else Recognizer(bundle, device)
        self.bundle, self.layout, self.source, self.rule = self.recognizer.bundle, get_layout(layout), source, rule or Rule()
        if not isinstance(self.bundle, Bundle):
            raise BundleError(f"bundle {self.bundle.name!r} is several fused into one; a stream takes a single one")
        for name, value in (("rate", rate), ("max_persons", max_persons), ("views", views)):
            if value is not None and not 0 < value <= 10_000:
                raise KinemaError(f"{name} is {value}; a positive number is expected")
        self.max_gap, self.max_persons, self.interval = max_gap, max_persons, 0.0 if rate is None else 1 / rate
        self._settings = {"layout": self.layout, "window": window, "max_gap": max_gap, "min_confidence": min_confidence, "y_axis": "down"}
        self.recognizer.bundle = replace(self.bundle, views=views)
        self._new_stream()  # what cannot be is found before the first frame
        self.reset()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.bundle.classes

    def reset(self) -> None:
        """Forget everybody: what comes next is a new stream. `finish` before it tells of the actions that go on."""
        self._persons: dict[int, _Person] = {}
        self.time: float | None = None

    def __len__(self) -> int:
        """Persons that are followed."""
        return len(self._persons)

    def step(self, time: float, poses: Sequence[Pose], *, image_size: tuple[int, int] | None = None) -> LiveAnswer:
        """Take the poses of one frame at `time` (seconds on any clock that does not run backwards) and answer for each.

        `image_size`: (height, width) in pixels. Raises `DataError` for poses that are none, two of one person, or a time that runs
        backwards, and `BundleError` where a 3-D bundle is given no `world`; nothing has then changed.
        """
        skeletons = self._checked(time, poses)
        self.time = time
        size = None if image_size is None else (image_size[1], image_size[0])
        events = _Events(self)
        for pose, skeleton in zip(poses, skeletons, strict=True):
            person = self._person(pose.person, time)
            if person is not None and getattr(pose, "observed", True):
                person.stream.image_size = size
                person.stream.add_skeleton(skeleton, time)
        self._answer(time, events)
        self._forget(time, events)
        return LiveAnswer(time, tuple(self._told(pose.person) for pose in poses), tuple(events.closed), tuple(events.opened))

    def finish(self) -> tuple[ActionEvent, ...]:
        """End the actions that go on, each where its person was last seen, and forget everybody: the stream is over."""
        events = _Events(self)
        for number, person in self._persons.items():
            events.add(number, person.end(), None)
        self.reset()
        return tuple(events.closed)

    def open_events(self) -> tuple[ActionEvent, ...]:
        """The actions that go on."""
        going = ((number, person.episodes.open) for number, person in self._persons.items())
        return tuple(self._event(number, episode) for number, episode in going if episode is not None)

    def _new_stream(self) -> ActivityRecognizer:
        unit = "m" if self.bundle.dims == 3 else "px"
        return ActivityRecognizer(self.recognizer, unit=unit, **self._settings)

    def _new_episodes(self) -> Episodes:
        return Episodes(len(self.classes), self.rule)

    def _checked(self, time: float, poses: Sequence[Pose]) -> list[np.ndarray]:
        """(V, C + 1) of each pose: what the bundle looks at, and the scores."""
        if not isinstance(time, (int, float)) or not math.isfinite(time):
            raise DataError(f"time is {time!r}; a finite number of seconds is expected")
        if self.time is not None and time < self.time:
            raise DataError(f"time runs backwards, from {self.time:g} s to {time:g} s; a new stream begins with reset()")
        numbers = [pose.person for pose in poses]
        if len(set(numbers)) < len(numbers):
            raise DataError(f"the frame at {time:g} s has two poses of one person; persons are {numbers}")
        return [self._joints(pose) for pose in poses]

    def _joints(self, pose: Pose) -> np.ndarray:
        name, dims = self.bundle.name, self.bundle.dims
        given = pose.world if dims == 3 else pose.points
        if given is None:
            raise BundleError(
                f"bundle {name!r} takes 3-D skeletons, which these poses lack; take a bundle of 2-D ones, or poses in metres (blazepose)"
            )
        try:
            joints, scores = np.asarray(given, np.float64), np.asarray(pose.scores, np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"person {pose.person}: joints and scores are not arrays of numbers: {error}") from error
        wanted = (len(self.layout), dims)
        if joints.shape != wanted or scores.shape != wanted[:1]:
            raise DataError(
                f"person {pose.person} has joints {joints.shape} and scores {scores.shape}; in layout {self.layout.name!r} they are "
                f"{wanted} and {wanted[:1]}"
            )
        return np.column_stack([joints, scores])

    def _person(self, number: int, time: float) -> _Person | None:
        """The person of that number, or None where there are too many already."""
        person = self._persons.get(number)
        if person is None and len(self._persons) < self.max_persons:
            person = self._persons[number] = _Person(self._new_stream(), self._new_episodes(), time)
        if person is not None:
            person.listed = time
        return person

    def _answer(self, time: float, events: _Events) -> None:
        """Ask for everybody whose answer is due, together, and follow their actions."""
        due = {number: person for number, person in self._persons.items() if time - person.answered >= 0.999 * self.interval}
        answers = current_activities([person.stream for person in due.values()], time)
        for (number, person), answer in zip(due.items(), answers, strict=True):
            seen = person.stream.last_seen
            if seen is not None and seen > person.answered:  # out of sight for a moment: what was known stays
                events.add(number, *person.episodes.update(time, answer.probabilities if answer.known else None))
            person.answered, person.flaw = time, answer.reason

    def _forget(self, time: float, events: _Events) -> None:
        for number, person in list(self._persons.items()):
            seen = person.stream.last_seen
            if seen is not None and time - seen > self.max_gap:
                events.add(number, person.end(), None)
                person.episodes = self._new_episodes()
            if time - person.listed > self.max_gap:
                del self._persons[number]

    def _told(self, number: int) -> PersonAnswer:
        person = self._persons.get(number)
        if person is None:
            return PersonAnswer(number, None, 0.0, (), None, f"{self.max_persons} people are followed, which is as many as can be")
        shares, going = person.episodes.shares, person.episodes.open
        order = np.argsort(-shares, kind="stable")[:_SHOWN] if shares.any() else ()
        top = tuple((self.classes[index], float(shares[index])) for index in order)
        if going is None:
            return PersonAnswer(number, None, 0.0, top, None, person.flaw or "no action is certain enough")
        return PersonAnswer(number, self.classes[going.index], float(shares[going.index]), top, going.start)

    def _event(self, number: int, episode: Episode) -> ActionEvent:
        return ActionEvent(number, self.classes[episode.index], episode.start, episode.end, episode.confidence, self.source)


class _Events:
    """What ended and what began within one step."""

    def __init__(self, live: LiveRecognizer):
        self._live = live
        self.closed: list[ActionEvent] = []
        self.opened: list[ActionEvent] = []

    def add(self, number: int, closed: Episode | None, opened: Episode | None) -> None:
        if closed is not None:
            self.closed.append(self._live._event(number, closed))
        if opened is not None:
            self.opened.append(self._live._event(number, opened))
