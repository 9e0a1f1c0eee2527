"""People who were never filmed: what a detector and an estimator of one person would see of them, and films of nothing to see them in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kinema.estimation.matching import box_of
from kinema.estimation.poses import Estimate
from kinema.estimation.regions import square
from kinema.estimation.tracker import PoseTracker
from kinema.layout import get_layout

COCO = get_layout("coco17")
# A standing body seen from the front, 1 high, its middle at 0; its left is on the image's right.
_SIDE = {"eye": (0.02, -0.46), "ear": (0.04, -0.45), "shoulder": (0.11, -0.3), "elbow": (0.15, -0.12), "wrist": (0.16, 0.02)}
_SIDE |= {"hip": (0.07, 0.02), "knee": (0.08, 0.25), "ankle": (0.08, 0.48)}
BODY = np.array(
    [(0, -0.44) if name == "nose" else ((1 if name.startswith("left") else -1) * _SIDE[name[name.index("_") + 1 :]][0],
     _SIDE[name[name.index("_") + 1 :]][1]) for name in COCO.joints]
)  # fmt: skip
SIZE = (640, 480)


def standing(x: float, y: float = 240.0, height: float = 200.0) -> np.ndarray:
    return (BODY * height + (x, y)).astype(np.float32)


class Stage:
    """Detector and estimator of those who are on stage: `people(time)` is a list of poses (17, 2), the nearest to the camera first.

    As networks for one person do, the estimator answers with whoever is nearest to the middle of its region.
    """

    layout, least_presence = COCO, 0.3

    def __init__(self, people: Callable[[float], list[np.ndarray]], twice: bool = False):
        self.people, self.twice, self.time = people, twice, 0.0
        self.detections = self.estimates = 0

    def tracker(self, **settings) -> PoseTracker:
        tracker = PoseTracker(self, self, **settings)
        step = tracker.step

        def timed(image, time):
            self.time = time
            return step(image, time)

        tracker.step = timed
        return tracker

    def detect(self, image):
        self.detections += 1
        boxes = [box_of(points, np.ones(17)) for points in self.people(self.time)]
        if self.twice:  # a second, somewhat smaller box round everybody
            boxes += [box + np.array([5, 10, -5, -40]) for box in boxes]
        return np.array(boxes, np.float32).reshape(-1, 4), np.linspace(0.9, 0.8, len(boxes)).astype(np.float32)

    def region(self, box):
        return square(box, 1.25)

    def begin(self, image, boxes):
        return self.estimate(image, [self.region(box) for box in boxes])

    def estimate(self, image, regions):
        self.estimates += len(regions)
        found = []
        for region in regions:
            here = [points for points in self.people(self.time) if np.abs(points.mean(0) - region.center).max() < region.size[0] / 2]
            if here:
                nearest = min(here, key=lambda points: np.linalg.norm(points.mean(0) - region.center))
                found.append(Estimate(nearest, np.full(17, 0.8, np.float32), 0.8, None))
            else:
                found.append(Estimate(np.zeros((17, 2), np.float32), np.full(17, 0.05, np.float32), 0.05, None))
        return found


def follow(stage: Stage, seconds: float, fps: float = 30.0, **settings) -> list[tuple[float, list]]:
    """What a tracker says of each frame."""
    tracker, image = stage.tracker(**settings), np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    return [(time, tracker.step(image, time)) for time in np.arange(0, seconds, 1 / fps).tolist()]


def who_stands_at(poses: list, x: float, reach: float = 40) -> int | None:
    """The number of the person who is seen there."""
    near = [pose.person for pose in poses if pose.observed and abs(float(pose.points[:, 0].mean()) - x) < reach]
    return near[0] if len(near) == 1 else None
