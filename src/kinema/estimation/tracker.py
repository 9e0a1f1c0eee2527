"""Persons in a stream of images: detected now and then, followed in between, kept apart by boxes and joints.

Who is followed is looked for where the last image showed him: the estimator's crop goes with the person. A detector looks at the
whole image every so many frames, and whenever somebody was lost. Somebody who was lost, behind somebody else or a pillar, keeps his
identity for some seconds: he is whoever appears near where he must be by now, in about his size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import numpy as np

from kinema.errors import DataError, KinemaError
from kinema.estimation.matching import assign, box_of, deviations, inside, likeness, overlap
from kinema.estimation.poses import Estimate, PersonDetector, PoseEstimator, Region, TrackedPose
from kinema.layout import Layout

_LONGEST_WAIT = 0.5  # seconds from one detection to the next, however low the rate of frames
_GAP = 1.0  # seconds without an image after which nobody is where he was
_NEW = 0.35  # a detection's score from which it makes a new identity
_COVERED = 0.3  # overlap with a person's box from which a detection is that person ...
_WITHIN = 0.85  # ... or this share of it within that box: detectors see parts of a near person too
_MISSES = 3  # detections in a row that do not see a person until he counts as lost: an estimator finds a body in a curtain too
_SAME_BOX, _WAITS = 0.7, (0.3, 4.0)  # overlap of detections of the same thing; seconds until it is looked at again, at first and at last
_TWICE = 0.55  # likeness from which two are the same person
_JUMP = 1.0  # of a person's size between two images, 1/10 s or less apart: he is another one
_NEAR, _RUN, _FARTHEST = 0.5, 0.8, 2.0  # of his size: how far somebody who was lost may be, more for each second, at most
_SIZES = math.log(1.7)  # so much larger or smaller may he be
# Who has been seen for so many seconds is known; before, while he comes into the image, his head may be all that was seen of him.
_KNOWN, _GROWS = 0.5, math.log(4)


class _Vain(NamedTuple):
    """A detection in which nobody was found who is not known already; it is not looked at again for a while, longer each time."""

    box: np.ndarray
    until: float
    wait: float


class _Sight(NamedTuple):
    """Somebody as a detection shows him."""

    detected: np.ndarray  # its box

    estimate: Estimate
    box: np.ndarray
    region: Region  # of the next image
    score: float


@dataclass(eq=False)
class _Person:
    """Somebody who is followed, or was lost a short time ago."""

    number: int
    estimate: Estimate
    box: np.ndarray
    region: Region
    seen: float  # when he was last observed
    since: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))  # of the box's middle, px/s
    observed: bool = True
    misses: int = 0

    @property
    def known(self) -> bool:
        return self.seen - self.since >= _KNOWN

    @property
    def middle(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def size(self) -> float:
        return max(float((self.box[2:] - self.box[:2]).max()), 1.0)

    def expected(self, time: float) -> np.ndarray:
        """(2,) where his middle must be by now, if he goes on as he went; for a second at most."""
        return self.middle + self.velocity * min(max(time - self.seen, 0.0), 1.0)

    def see(self, estimate: Estimate, box: np.ndarray, region: Region, time: float) -> None:
        lapse = time - self.seen
        moved = (box[:2] + box[2:]) / 2 - self.middle
        if lapse > 0 and self.observed:
            weight = 1 - math.exp(-lapse / 0.15)
            self.velocity = self.velocity + weight * (moved / lapse - self.velocity)
        elif lapse > 0:
            self.velocity = moved / lapse
        self.estimate, self.box, self.region, self.seen, self.observed = estimate, box, region, time, True

    def pose(self) -> TrackedPose:
        found = self.estimate
        return TrackedPose(self.number, found.points, found.scores, self.box, found.world, self.observed)


class PoseTracker:
    """Follows the persons in a stream of images.

    Args:
        estimator: of the poses.
        detector: of the persons.
        every: a detection every so many frames, and twice a second at least; besides whenever somebody is lost.
        max_persons: persons followed at a time; the surest ones.
        keep: seconds for which somebody who is not seen keeps his identity.

    `timings` holds the seconds that the last step spent in "detect", "pose" and "track".
    """

    def __init__(self, estimator: PoseEstimator, detector: PersonDetector, *, every: int = 10, max_persons: int = 10, keep: float = 2.0):
        for name, value in (("every", every), ("max_persons", max_persons)):
            if value < 1:
                raise KinemaError(f"{name} is {value}; a whole number from 1 on is expected")
        if not 0 <= keep < 1e4:
            raise KinemaError(f"keep is {keep}; seconds are expected")
        self.estimator, self.detector, self.every, self.max_persons, self.keep = estimator, detector, every, max_persons, keep
        self._deviations = deviations(estimator.layout)
        self.reset()

    @property
    def layout(self) -> Layout:
        return self.estimator.layout

    def reset(self) -> None:
        """Forget everybody, as at the beginning of another video."""
        self._persons: list[_Person] = []
        self._vain: list[_Vain] = []
        self._next, self._frames, self._detected, self._time = 0, 0, -math.inf, -math.inf
        self.timings: dict[str, float] = {}

    def step(self, image: np.ndarray, time: float) -> list[TrackedPose]:
        """The persons in the next image, (H, W, 3) uint8 RGB, shown at `time` seconds; those who are hidden for a short time too.

        Raises `DataError` for what is no such image, or is shown before the one before it.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(f"the image has shape {image.shape} and type {image.dtype}; height x width x 3 of uint8 is expected")
        if not time >= self._time:
            raise DataError(f"an image of second {time:g} comes after one of second {self._time:g}; reset() begins anew")
        start = perf_counter()
        self.timings = {"detect": 0.0, "pose": 0.0}
        if time - self._time > _GAP:
            for person in self._persons:
                person.observed = False
        self._time, self._frames = time, self._frames + 1
        self._forget(image, time)
        lost = self._follow(image, time)
        if lost or self._due(time):
            self._look(image, time)
        self._forget(image, time)
        self.timings["track"] = max(perf_counter() - start - self.timings["detect"] - self.timings["pose"], 0.0)
        return [person.pose() for person in sorted(self._persons, key=lambda person: person.number)]

    def _seen(self, estimate: Estimate) -> np.ndarray | None:
        """The box of whom an estimate shows; None where it shows nobody."""
        return box_of(estimate.points, estimate.scores) if estimate.presence >= self.estimator.least_presence else None

    def _follow(self, image: np.ndarray, time: float) -> bool:
        """Look at everybody where he was. Returns whether somebody was lost."""
        followed = [person for person in self._persons if person.observed]
        if not followed:
            return False
        start = perf_counter()
        estimates = self.estimator.estimate(image, [person.region for person in followed])
        self.timings["pose"] += perf_counter() - start
        moved: list[tuple[_Person, Estimate, np.ndarray]] = []
        lost = False
        for person, estimate in zip(followed, estimates, strict=True):
            box = self._seen(estimate)
            if box is None or self._jumped(person, box, time):
                person.observed, lost = False, True
            else:
                moved.append((person, estimate, box))
        for person in self._doubled(moved, time):
            person.observed, lost = False, True
        for person, estimate, box in moved:
            if person.observed:
                person.see(estimate, box, self._next_region(estimate, box), time)
        return lost

    def _next_region(self, estimate: Estimate, box: np.ndarray) -> Region:
        return estimate.next or self.estimator.region(box)

    def _jumped(self, person: _Person, box: np.ndarray, time: float) -> bool:
        size = max(person.size, float((box[2:] - box[:2]).max()))
        allowed = _JUMP * size * max(1.0, (time - person.seen) / 0.1)
        return float(np.linalg.norm((box[:2] + box[2:]) / 2 - person.expected(time))) > allowed

    def _doubled(self, moved: list[tuple[_Person, Estimate, np.ndarray]], time: float) -> list[_Person]:
        """Those whose crop shows somebody who is another followed person: of two, the one whose own way leads elsewhere."""
        gone: list[_Person] = []
        for i, (one, here, box) in enumerate(moved):
            for other, there, other_box in moved[i + 1 :]:
                if one in gone or other in gone:
                    continue
                if self._likeness(here, there, box, other_box) < _TWICE:
                    continue
                ways = [self._continued(person, estimate, time) for person, estimate in ((one, here), (other, there))]
                # Where both ways lead here, the one who has been there for longer stays.
                gone.append(other if ways[0] - ways[1] > 0.05 or (abs(ways[0] - ways[1]) <= 0.05 and one.since <= other.since) else one)
        return gone

    def _likeness(self, one: Estimate, other: Estimate, box: np.ndarray, other_box: np.ndarray) -> float:
        area = float(min(np.prod(box[2:] - box[:2]), np.prod(other_box[2:] - other_box[:2])))
        return likeness(one.points, one.scores, other.points, other.scores, area, self._deviations)

    def _continued(self, person: _Person, estimate: Estimate, time: float) -> float:
        """How well an estimate goes on from what was seen of a person before: likeness of the poses, his way added."""
        way = (person.expected(time) - person.middle).astype(np.float32)
        before = person.estimate
        area = float(np.prod(person.box[2:] - person.box[:2]))
        return likeness(before.points + way, before.scores, estimate.points, estimate.scores, area, self._deviations)

    def _due(self, time: float) -> bool:
        waiting = not self._persons or any(not person.observed for person in self._persons)
        every = max(1, self.every // 3) if waiting else self.every
        return self._frames >= every or time - self._detected >= _LONGEST_WAIT

    def _look(self, image: np.ndarray, time: float) -> None:
        """Detect who is in the image: those who are followed, those who were lost, and new ones."""
        start = perf_counter()
        boxes, scores = self.detector.detect(image)
        self.timings["detect"] += perf_counter() - start
        self._frames, self._detected = 0, time
        free = [i for i in self._uncovered(boxes) if not self._in_vain(boxes[i], time)]
        room = self.max_persons - sum(person.observed for person in self._persons)
        free = free[: max(room, 0) + sum(not person.observed for person in self._persons)]
        found: list[_Sight] = []
        for sight in self._sights(image, boxes[free], scores[free]):
            if not self._known(sight, found):
                found.append(sight)
        for sight in self._recalled(found, time):
            if sight.score >= _NEW and sum(person.observed for person in self._persons) < self.max_persons:
                self._make_room()
                self._persons.append(_Person(self._next, sight.estimate, sight.box, sight.region, time, time))
                self._next += 1
        for i in free:
            if not any((sight.detected == boxes[i]).all() for sight in found):
                self._note_in_vain(boxes[i], time)

    def _in_vain(self, box: np.ndarray, time: float) -> bool:
        return any(time < vain.until and overlap(box[None], vain.box[None])[0, 0] >= _SAME_BOX for vain in self._vain)

    def _note_in_vain(self, box: np.ndarray, time: float) -> None:
        same = [vain for vain in self._vain if overlap(box[None], vain.box[None])[0, 0] >= _SAME_BOX]
        wait = min(2 * max((vain.wait for vain in same), default=_WAITS[0] / 2), _WAITS[1])
        self._vain = [vain for vain in self._vain if all(vain is not other for other in same) and time < vain.until + _WAITS[1]]
        self._vain.append(_Vain(box, time + wait, wait))

    def _sights(self, image: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> list[_Sight]:
        """Who is in detected boxes."""
        if not len(boxes):
            return []
        start = perf_counter()
        estimates = self.estimator.begin(image, list(boxes))
        self.timings["pose"] += perf_counter() - start
        sights = []
        for detected, estimate, score in zip(boxes, estimates, scores, strict=True):
            box = self._seen(estimate)
            if box is not None:
                sights.append(_Sight(detected, estimate, box, self._next_region(estimate, box), float(score)))
        return sights

    def _uncovered(self, boxes: np.ndarray) -> list[int]:
        """The detections that are none of those who are followed, and the others' account of having been seen or not."""
        followed = [person for person in self._persons if person.observed]
        if not followed:
            return list(range(len(boxes)))
        own = np.stack([person.box for person in followed])
        shared = overlap(boxes, own) if len(boxes) else np.zeros((0, len(own)))
        pairs = assign(1 - shared, 1 - _COVERED)
        for person in followed:
            person.misses += 1
        for _, column in pairs:
            followed[column].misses = 0
        for person in followed:
            person.observed = person.misses < _MISSES
        taken = {row for row, _ in pairs}
        part = inside(boxes, own).max(1) if len(boxes) else np.zeros(0)
        return [i for i in range(len(boxes)) if i not in taken and part[i] < _WITHIN]

    def _known(self, sight: _Sight, found: list[_Sight]) -> bool:
        others = [(person.estimate, person.box) for person in self._persons if person.observed]
        others += [(other.estimate, other.box) for other in found]
        if not others:
            return False
        if inside(sight.box[None], np.stack([box for _, box in others])).max() >= _WITHIN:
            return True
        return any(self._likeness(sight.estimate, other, sight.box, box) >= _TWICE for other, box in others)

    def _recalled(self, found: list[_Sight], time: float) -> list[_Sight]:
        """Give those who were lost what was found of them; returns the rest."""
        lost = [person for person in self._persons if not person.observed]
        costs = np.array([[self._apart(person, sight, time) for sight in found] for person in lost]).reshape(len(lost), len(found))
        pairs = assign(costs, 2.0)
        for row, column in pairs:
            lost[row].misses = 0
            lost[row].see(*found[column][1:4], time)
        taken = {column for _, column in pairs}
        return [sight for i, sight in enumerate(found) if i not in taken]

    def _apart(self, person: _Person, sight: _Sight, time: float) -> float:
        """How unlikely it is that somebody who was lost is who is seen there; infinite where he cannot be."""
        gap, grows, least = time - person.seen, _SIZES if person.known else _GROWS, math.inf
        for box in (sight.box, sight.detected):
            middle, size = (box[:2] + box[2:]) / 2, max(float((box[2:] - box[:2]).max()), 1.0)
            reach = min(_NEAR + _RUN * gap, _FARTHEST) * (person.size if person.known else max(person.size, size))
            away = min(np.linalg.norm(middle - person.expected(time)), np.linalg.norm(middle - person.middle))
            larger = abs(math.log(size / person.size))
            if away <= reach and larger <= grows:
                least = min(least, away / reach + larger / grows)
        return least - self._continued(person, sight.estimate, time)

    def _make_room(self) -> None:
        """No more are remembered than twice as many as are followed: who was lost first is forgotten first."""
        lost = sorted((person for person in self._persons if not person.observed), key=lambda person: person.seen)
        if len(self._persons) >= 2 * self.max_persons and lost:
            self._persons.remove(lost[0])

    def _forget(self, image: np.ndarray, time: float) -> None:
        self._persons = [person for person in self._persons if person.observed or self._waits(person, image, time)]

    def _waits(self, person: _Person, image: np.ndarray, time: float) -> bool:
        """Whether somebody who is not seen may come back: for some seconds, unless he was about to leave the image."""
        if time - person.seen > (self.keep if person.known else min(self.keep, _KNOWN)):
            return False
        x, y = person.expected(time)
        return 0 <= x < image.shape[1] and 0 <= y < image.shape[0]
