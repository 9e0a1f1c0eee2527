"""Persons in a stream of images: detected now and then, followed in between, kept apart by boxes and joints."""

from __future__ import annotations

import numpy as np

from kinema.errors import DataError
from kinema.estimation.poses import PersonDetector, PoseEstimator, TrackedPose
from kinema.layout import Layout


class PoseTracker:
    """Follows the persons in a stream of images.

    Args:
        estimator: of the poses.
        detector: of the persons.
        every: a detection every so many frames; besides whenever somebody is lost.
        max_persons: persons followed at a time; the most certain ones.
    """

    def __init__(self, estimator: PoseEstimator, detector: PersonDetector, *, every: int = 10, max_persons: int = 10):
        self.estimator, self.detector, self.every, self.max_persons = estimator, detector, every, max_persons
        self.timings: dict[str, float] = {}
        self.reset()

    @property
    def layout(self) -> Layout:
        return self.estimator.layout

    def reset(self) -> None:
        """Forget everybody, as at the beginning of another video."""

    def step(self, image: np.ndarray, time: float) -> list[TrackedPose]:
        """The persons in the next image, (H, W, 3) uint8 RGB, shown at `time` seconds (never before the one before).

        `timings` then holds the seconds spent in "detect", "pose" and "track". `DataError` for what is no such image.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DataError(f"the image has shape {image.shape} and type {image.dtype}; height x width x 3 of uint8 is expected")
        boxes, scores = self.detector.detect(image)
        estimates = self.estimator.estimate(image, [self.estimator.region(box) for box in boxes[: self.max_persons]])
        return [
            TrackedPose(i, found.points, found.scores, box, found.world)
            for i, (found, box) in enumerate(zip(estimates, boxes, strict=False))
        ]
