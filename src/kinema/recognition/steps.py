"""A recording as the steps of a stream: what a pose estimator would have told, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kinema.clip import PoseSequence
from kinema.layout import Layout, get_layout


@dataclass(frozen=True, eq=False)
class Skeleton:
    """One person in one frame: `points` (V, 2) with y down, `scores` (V,) in 0..1 (0: not seen), `world` (V, 3) metres with y down, or
    None for a recording of 2-D points."""

    person: int
    points: np.ndarray
    scores: np.ndarray
    world: np.ndarray | None = None


def steps(pose: PoseSequence, layout: str | Layout | None = None) -> Iterator[tuple[float, list[Skeleton]]]:
    """(seconds from the first frame, everybody who is seen then) for each frame. `layout`: the joints'; by default the recording's.

    The points of a 3-D recording are its skeletons as they look from where they were recorded, without perspective, in no unit.
    Raises `LayoutError` where joints cannot be converted.
    """
    if layout is not None:
        pose = pose.to_layout(get_layout(layout))
    if pose.unit == "mm":
        pose = pose.to_unit("m")
    # A half turn about the line of sight where y grows upwards, so that left stays left; an image is only counted the other way.
    upright = pose.y_axis == "down"
    signs = ([1, 1, 1] if upright else [-1, -1, 1]) if pose.dims == 3 else ([1, 1] if upright else [1, -1])
    points = pose.points * np.array(signs, np.float32)
    scores = pose.observed.astype(np.float32) * (1 if pose.score is None else pose.score)
    times = np.arange(pose.frames) / pose.fps if pose.times is None else pose.times - pose.times[0]
    for frame, time in enumerate(times.tolist()):
        seen = np.flatnonzero(scores[:, frame].any(1)).tolist()
        yield time, [Skeleton(m, points[m, frame, :, :2], scores[m, frame], points[m, frame] if pose.dims == 3 else None) for m in seen]
