"""How like each other two sights of persons are, by boxes and by joints, and who is whom."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.optimize import linear_sum_assignment

from kinema.layout import Layout

SURE = 0.2  # a joint with a lower score says nothing about where a person is
_FEWEST = 3  # sure joints
_HEAD_ROOM = 0.12  # of a box beyond the joints, on each side: joints lie inside the body
# COCO's standard deviation of a joint that several people mark, as a share of the person's size. Others are taken for wrists.
_DEVIATIONS = {
    **{"nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062},
    **{"hip": 0.107, "knee": 0.087, "ankle": 0.089, "mouth": 0.026, "eye_inner": 0.025, "eye_outer": 0.025, "heel": 0.089},
    **{"foot_index": 0.089},
}


@lru_cache(maxsize=8)
def deviations(layout: Layout) -> np.ndarray:
    """(V,) COCO's deviation of each joint."""
    names = [joint.removeprefix("left_").removeprefix("right_") for joint in layout.joints]
    return np.array([_DEVIATIONS.get(name, 0.062) for name in names])


def box_of(points: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    """(4,) float32 box round the sure joints and a little more; None where too few are sure."""
    sure = scores >= SURE
    if sure.sum() < _FEWEST:
        return None
    low, high = points[sure].min(0), points[sure].max(0)
    room = _HEAD_ROOM * float((high - low).max())
    return np.concatenate([low - room, high + room]).astype(np.float32)


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, K) intersection over union of boxes (N, 4) and (K, 4)."""
    shared = _shared(one, other)
    total = _area(one)[:, None] + _area(other)[None] - shared
    return shared / np.maximum(total, 1e-9)


def inside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, K) share of each of the boxes (N, 4) that lies in each of (K, 4)."""
    return _shared(one, other) / np.maximum(_area(one)[:, None], 1e-9)


def _shared(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.clip(high - low, 0, None).prod(-1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)


def likeness(
    one: np.ndarray, one_scores: np.ndarray, other: np.ndarray, other_scores: np.ndarray, area: float, deviation: np.ndarray
) -> float:
    """COCO's object keypoint similarity of two poses (V, 2), over the joints that are sure in both: 1 the same place, 0 far apart.

    `area`: px^2 of the person's box. 0 where too few joints are sure in both.
    """
    both = (one_scores >= SURE) & (other_scores >= SURE)
    if both.sum() < _FEWEST:
        return 0.0
    squares = ((one[both] - other[both]) ** 2).sum(-1)
    # Half of its box a person fills, about.
    return float(np.exp(-squares / (2 * 0.5 * max(area, 1.0) * (2 * deviation[both]) ** 2)).mean())


def assign(costs: np.ndarray, most: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of the least sum of costs (N, K), none dearer than `most`."""
    if not costs.size:
        return []
    # Pairs that are not allowed cost so much that they never take the place of one that is.
    dear = np.where(costs <= most, costs, 1e3 * (1 + abs(most)))  # infinities too
    return [(int(row), int(column)) for row, column in zip(*linear_sum_assignment(dear), strict=True) if costs[row, column] <= most]
