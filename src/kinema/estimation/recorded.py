"""Poses that are in a file already, in place of an estimator: whoever asks gets those of the moment that is shown."""

from __future__ import annotations

import numpy as np

from kinema.clip import PoseSequence
from kinema.errors import DataError
from kinema.estimation.matching import box_of
from kinema.estimation.poses import TrackedPose
from kinema.layout import Layout


class RecordedPoses:
    """Stands where a `PoseTracker` does.

    Args:
        pose: 2-D, in pixels; of the image that it is asked about, or of a larger or smaller one with a known `image_size`.

    Raises `DataError` for other skeletons: they cannot be laid over a picture.
    """

    def __init__(self, pose: PoseSequence):
        if pose.dims != 2 or pose.unit != "px" or pose.y_axis != "down":
            raise DataError(f"2-D points in pixels of the video are expected, y downwards; these are {pose.dims}-D in {pose.unit!r}")
        self._pose = pose
        self._times = np.arange(pose.frames) / pose.fps if pose.times is None else pose.times
        self.timings: dict[str, float] = {}

    @property
    def layout(self) -> Layout:
        return self._pose.layout

    def reset(self) -> None:
        """Nothing: the file says who is who."""

    def step(self, image: np.ndarray, time: float) -> list[TrackedPose]:
        """Who is seen in the frame of the file that is nearest to `time`, seconds; nobody where none is within a frame's length."""
        self.timings = {"detect": 0.0, "pose": 0.0, "track": 0.0}
        pose = self._pose
        after = int(np.searchsorted(self._times, time).clip(max=pose.frames - 1))
        before = max(after - 1, 0)
        frame = before if time - self._times[before] <= self._times[after] - time else after
        if abs(time - self._times[frame]) > 1 / pose.fps:
            return []
        width, height = pose.image_size or image.shape[1::-1]
        scale = np.array([image.shape[1] / width, image.shape[0] / height], np.float32)
        found = []
        for person in np.flatnonzero(pose.observed[:, frame].any(-1)):
            points, there = pose.points[person, frame] * scale, pose.observed[person, frame]
            scores = np.where(there, 1.0 if pose.score is None else pose.score[person, frame], 0).astype(np.float32)
            box = box_of(points, scores)
            low, high = points[there].min(0), points[there].max(0)
            found.append(TrackedPose(int(person), points, scores, np.concatenate([low, high]) if box is None else box))
        return found
