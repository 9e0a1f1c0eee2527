"""One skeleton of a stream, from what the caller has (names or an array) to numbers and a mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kinema.errors import DataError, KinemaError, unknown
from kinema.layout import Layout, get_layout

_MOST_JOINTS = 512
_PERSON_METRES = (0.2, 4.0)


class SkeletonReader:
    """Reads skeletons of one stream and notices when its joints change. `layout`: the stream's, or None to go by joint names."""

    def __init__(self, layout: str | Layout | None, dims: int, min_confidence: float = 0.0):
        self.given = None if layout is None else get_layout(layout)
        self.dims, self.min_confidence = dims, min_confidence
        self.reset()

    def reset(self) -> None:
        self._layout: Layout | None = self.given

    def accept(self, layout: Layout) -> None:
        """From here on the stream has these joints."""
        self._layout = layout

    def read(self, skeleton: Mapping[str, Any] | Any) -> tuple[Layout, np.ndarray, np.ndarray, np.ndarray]:
        """The layout, (V, C) float64 points, (V,) bool, true where observed, and (V,) confidences, 1 where none is given.

        `KinemaError` for what is no such skeleton.
        """
        if isinstance(skeleton, Mapping):
            layout = self._named(skeleton)
            rows = [self._row(joint, skeleton.get(joint)) for joint in layout.joints]
            values = np.array(rows)
        else:
            layout, values = self._array(skeleton)
        points, confidence = values[:, : self.dims], values[:, self.dims]
        observed = np.isfinite(points).all(1) & (confidence > self.min_confidence)
        return layout, points, observed & ~_unseen(points, observed), np.nan_to_num(confidence).clip(0, 1)

    def _named(self, skeleton: Mapping[str, Any]) -> Layout:
        names = tuple(skeleton)
        if not names or len(names) > _MOST_JOINTS or not all(isinstance(name, str) for name in names):
            raise DataError(f"a skeleton has 1 to {_MOST_JOINTS} joints with names; this one has {len(names)}")
        if self.given is not None:
            foreign = next((name for name in names if name not in self.given.joints), None)
            if foreign is not None:
                raise DataError(f"layout {self.given.name!r}: {unknown('joint', foreign[:80], self.given.joints)}")
            return self.given
        if self._layout is None:
            return Layout("stream", names, (), 0)
        changed = sorted(set(names) ^ set(self._layout.joints))
        if changed:
            some = ", ".join(name[:80] for name in changed[:5]) + (" ..." if len(changed) > 5 else "")
            raise DataError(
                f"the joints have changed midway: {some}; name a missing joint with None, or give the stream's layout; a new stream "
                "begins with reset()"
            )
        return self._layout

    def _row(self, joint: str, value: Any) -> np.ndarray:
        row = np.full(self.dims + 1, np.nan)
        row[self.dims] = 1.0
        if value is None:
            return row
        try:
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"joint {joint!r}: {str(value)[:80]!r} are not numbers") from error
        if numbers.shape not in ((self.dims,), (self.dims + 1,)):
            raise DataError(f"joint {joint!r} has shape {numbers.shape}; {self.dims} coordinates, and a confidence if wanted, are expected")
        row[: len(numbers)] = numbers
        return row

    def _array(self, skeleton: Any) -> tuple[Layout, np.ndarray]:
        layout = self._layout
        if layout is None or (self.given is None and layout.name == "stream"):
            raise KinemaError("an array has no joint names; give the stream's layout, or a mapping from joint name to coordinates")
        try:
            values = np.asarray(skeleton, np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"the skeleton is not an array of numbers: {error}") from error
        if values.shape not in ((len(layout), self.dims), (len(layout), self.dims + 1)):
            raise DataError(
                f"the skeleton has shape {values.shape}; layout {layout.name!r} has {len(layout)} joints with {self.dims} coordinates, "
                "and a confidence if wanted"
            )
        if values.shape[1] == self.dims:
            values = np.column_stack([values, np.ones(len(layout))])
        return layout, values


def flaw_in_size(extent: float, unit: str, claimed: str) -> str:
    """Why something whose outermost joints are `extent` apart, along one axis, is no person; empty where it may be one.

    `unit` is that of `extent`, `claimed` the one in which the points came. Pixels are only expected not to be all the same.
    """
    low, high = _PERSON_METRES if unit == "m" else (0.0, float(np.finfo(np.float32).max))
    if low < extent <= high:
        return ""
    return f"the skeleton is {extent:.3g} {unit} large, which is no person; is it really in {claimed!r}?"


def _unseen(points: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(V,) bool: joints exactly at the origin, as sensors write "not seen"; a single one that the others lie around is a position."""
    zero = observed & (points == 0).all(1)
    others = points[observed & ~zero]
    if zero.sum() == 1 and len(others) and (others.min(0) < 0).all() and (others.max(0) > 0).all():
        return np.zeros(len(points), bool)
    return zero
