"""Skeletons at other moments than those at which they were recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kinema.clip import PoseSequence


def resample(
    times: np.ndarray, points: np.ndarray, observed: np.ndarray, moments: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points at `moments` (N,), each joint on the straight line between its observations before and after.

    `times`: (T,) seconds, not running backwards; `points`: (T, V, C); `observed`: (T, V) bool. Returns (N, V, C) float32 and
    (N, V) bool: a joint counts as observed at a moment that is at most `reach` seconds from an observation of it.
    """
    joints, dims = points.shape[1:]
    if observed.all():
        return _resample_whole(times, points, moments, reach)
    out = np.zeros((len(moments), joints, dims), np.float32)
    mask = np.zeros((len(moments), joints), bool)
    for joint in range(joints):
        seen = observed[:, joint]
        if not seen.any():
            continue
        known, values = times[seen], points[seen, joint]
        after = np.searchsorted(known, moments).clip(max=len(known) - 1)
        before = (after - 1).clip(min=0)
        mask[:, joint] = np.minimum(abs(known[after] - moments), abs(moments - known[before])) <= reach
        for axis in range(dims):
            out[:, joint, axis] = np.interp(moments, known, values[:, axis])
    return np.where(mask[..., None], out, 0), mask


def _resample_whole(times: np.ndarray, points: np.ndarray, moments: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """The same, to the last bit, where every joint was observed: all joints at once."""
    last = len(times) - 1
    before = (np.searchsorted(times, moments, "right") - 1).clip(0, last)
    after = np.minimum(before + 1, last)
    inside = (moments > times[before]) & (after > before)
    gap = np.where(inside, times[after] - times[before], 1.0)
    values = points.astype(np.float64)
    slope = (values[after] - values[before]) / gap[:, None, None]
    out = np.where(inside[:, None, None], slope * (moments - times[before])[:, None, None] + values[before], values[before])
    near = np.minimum(abs(times[after] - moments), abs(moments - times[before])) <= reach
    mask = np.repeat(near[:, None], points.shape[1], 1)
    return np.where(mask[..., None], out, 0).astype(np.float32), mask


def at_rate(pose: PoseSequence, fps: float) -> PoseSequence:
    """The sequence at `fps` frames per second, over the same time; missing joints stay missing."""
    times = np.arange(pose.frames) / pose.fps if pose.times is None else pose.times - pose.times[0]
    moments = np.arange(int(times[-1] * fps + 1e-6) + 1) / fps
    # Half a frame interval of either rate, the coarser one, and a little: what lies between two observed frames is observed.
    reach = 0.51 * max(1 / fps, float(np.median(np.diff(times))) if len(times) > 1 else 0.0)
    persons = [resample(times, points, seen, moments, reach) for points, seen in zip(pose.points, pose.observed, strict=True)]
    points, mask = (np.stack(parts) for parts in zip(*persons, strict=True))
    return replace(pose, points=points, mask=mask, score=None, fps=fps, times=None)
