"""What pose estimation speaks: regions of an image, one person's estimate in a region, a tracked person; and the interfaces.

Points are (x, y) in pixels of the image as shown, x to the right and y down; (0, 0) is the upper left corner of the first pixel.
Images are (H, W, 3) uint8 RGB. Boxes are x1, y1, x2, y2 in the same pixels and may reach beyond the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kinema.layout import Layout


@dataclass(frozen=True)
class Region:
    """A part of an image that an estimator looks at: a rectangle, perhaps turned.

    `center`: (x, y) pixels. `size`: (width, height) pixels. `angle`: radians by which its upright axis is turned clockwise, as
    seen, against the image's.
    """

    center: tuple[float, float]
    size: tuple[float, float]
    angle: float = 0.0


@dataclass(frozen=True, eq=False)
class Estimate:
    """What an estimator saw in one region.

    `points`: (V, 2) float32 px. `scores`: (V,) float32 0..1. `presence`: 0..1, that there is a person at all. `next`: the region to
    look at in the following frame; None where the points do not say. `world`: (V, 3) metres, hip centre at 0, y down; or None.
    """

    points: np.ndarray
    scores: np.ndarray
    presence: float
    next: Region | None
    world: np.ndarray | None = None


def presence_of(scores: np.ndarray) -> float:
    """That there is a person, of an estimator that does not say so: the mean of the third of the joints that are surest.

    Somebody whose legs are not in the image is a whole person.
    """
    count = max(1, len(scores) // 3)
    return float(np.sort(scores)[-count:].mean())


def again(estimator: PoseEstimator, image: np.ndarray, first: Sequence[Estimate]) -> list[Estimate]:
    """The estimates, once more in the regions that the first ones say; where there are such, and nothing is lost by it."""
    found = list(first)
    told = [i for i, estimate in enumerate(first) if estimate.next is not None and estimate.presence >= estimator.least_presence]
    for i, estimate in zip(told, estimator.estimate(image, [first[i].next for i in told]), strict=True):
        if estimate.presence >= first[i].presence - 0.1:
            found[i] = estimate
    return found


class PersonDetector(Protocol):
    """Finds the persons in an image."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 4) float32 boxes and (N,) float32 scores in 0..1, the best first."""
        ...


class PoseEstimator(Protocol):
    """Estimates one person's joints in each of several regions of an image.

    `least_presence`: what shows less than that of `Estimate.presence` is nobody.
    """

    layout: Layout
    least_presence: float

    def region(self, box: np.ndarray) -> Region:
        """Where to look for a person whose box this is."""
        ...

    def begin(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[Estimate]:
        """One estimate for each detected box, of persons of whom nothing is known yet: looked at as often as it takes."""
        ...

    def estimate(self, image: np.ndarray, regions: Sequence[Region]) -> list[Estimate]:
        """One estimate for each region, in their order; regions may reach beyond the image."""
        ...


@dataclass(frozen=True, eq=False)
class TrackedPose:
    """One person in one frame.

    `person`: the identity, from 0 up, the same in every frame. `points`: (V, 2) float32 px. `scores`: (V,) float32 0..1.
    `box`: (4,) float32 px. `world`: (V, 3) float32 metres, hip centre at 0, y down; None where the estimator gives none.
    `observed`: False where the person was not seen in this frame, but is kept over an occlusion; points are the last seen then.
    """

    person: int
    points: np.ndarray
    scores: np.ndarray
    box: np.ndarray
    world: np.ndarray | None = None
    observed: bool = True
