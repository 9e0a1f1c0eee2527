"""The values that every part of Kinema speaks: a clip and its modalities. Validated when made, immutable afterwards.

Axes, always in this order: persons M, time T, joints V, coordinates C.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kinema.errors import DataError, LayoutError
from kinema.layout import Layout, conversion, get_layout

Unit = Literal["m", "mm", "px", "norm"]
_IN_METRES = {"m": 1.0, "mm": 1e-3}


def _freeze(value: Any, name: str, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray:
    """A read-only array of `dtype`; copied only where it must be (a read-only or memory-mapped array stays as it is)."""
    array = np.asarray(value)
    if array.ndim != len(shape) or any(want is not None and want != have for want, have in zip(shape, array.shape, strict=True)):
        wanted = " x ".join("any" if want is None else str(want) for want in shape)
        raise DataError(f"{name} has shape {array.shape}; {wanted} is expected")
    if array.dtype != dtype or array.flags.writeable:
        array = np.array(array, dtype=dtype)
        array.setflags(write=False)
    return array


def _check_times(times: np.ndarray | None, frames: int, fps: float) -> np.ndarray | None:
    if not (np.isfinite(fps) and fps > 0):
        raise DataError(f"fps is {fps}; a positive number is expected")
    if times is None:
        return None
    times = _freeze(times, "times", np.float64, (frames,))
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise DataError("times must be finite and must not run backwards")
    return times


def _outside(points: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(...) bool: points (..., 2) that lie more than an image's width or height beside it."""
    return ((points < -size) | (points > 2 * size)).any(-1)


@dataclass(frozen=True, eq=False)
class PoseSequence:
    """Skeletons of one or more persons over time.

    `points`: (M, T, V, C) float32, C = 2 or 3, in `unit` ("norm": image coordinates that somebody scaled, no unit).
    `mask`: (M, T, V) bool, True where the joint was observed; None means everywhere. Unobserved points are set to 0 and
    are no positions. `score`: (M, T, V) float32 in 0..1, the estimator's confidence. `fps` in frames per second;
    `times`: (T,) seconds, where the rate varies. `image_size`: (width, height) in pixels, for "px".
    `y_axis`: whether y grows upwards (depth sensors) or downwards (images).

    Raises `DataError` for a wrong shape, no frames, a point that is observed but not finite, or, in pixels of an image of known
    size, farther outside it than it is large.
    """

    points: np.ndarray
    layout: Layout
    unit: Unit = "m"
    mask: np.ndarray | None = None
    score: np.ndarray | None = None
    fps: float = 30.0
    times: np.ndarray | None = None
    image_size: tuple[int, int] | None = None
    y_axis: Literal["up", "down"] = "up"

    def __post_init__(self):
        layout = get_layout(self.layout)
        points = np.asarray(self.points)
        if points.ndim != 4 or points.shape[3] not in (2, 3):
            raise DataError(f"points have shape {points.shape}; persons x frames x joints x 2 or 3 is expected")
        persons, frames, joints, _ = points.shape
        if joints != len(layout):
            raise DataError(f"there are {joints} joints; layout {layout.name!r} has {len(layout)}")
        if not persons or not frames:
            raise DataError(f"there are {persons} persons and {frames} frames; at least one of each is expected")
        if self.unit not in ("m", "mm", "px", "norm"):
            raise DataError(f"unit {self.unit!r} is not one of m, mm, px, norm")
        if self.y_axis not in ("up", "down"):
            raise DataError(f"y_axis {self.y_axis!r} is not one of up, down")
        mask = self.mask
        if mask is not None:
            mask = _freeze(mask, "mask", np.bool_, (persons, frames, joints))
            if mask.all():
                mask = None
            elif points[~mask].any():  # NaN counts as true, so unobserved NaN are cleared too
                points = np.where(mask[..., None], points, 0)
        points = _freeze(points, "points", np.float32, (None, None, None, None))
        if not np.isfinite(points).all():
            bad = np.argwhere(~np.isfinite(points))[0]
            raise DataError(f"person {bad[0]}, frame {bad[1]}, joint {layout.joints[bad[2]]}: {points[tuple(bad)]} is not a finite number")
        score = self.score
        if score is not None:
            score = _freeze(score, "score", np.float32, (persons, frames, joints))
            if not ((score >= 0) & (score <= 1)).all():
                raise DataError(f"scores must lie in 0..1; these lie in {score.min():.3g}..{score.max():.3g}")
        if self.image_size is not None and self.unit == "px":
            self._check_image(points, layout)
        for name, value in (("layout", layout), ("points", points), ("mask", mask), ("score", score)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "times", _check_times(self.times, frames, self.fps))

    def _check_image(self, points: np.ndarray, layout: Layout) -> None:
        """Estimators place hidden joints a little outside the image; what is farther away has another unit, or another image."""
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise DataError(f"image_size is {self.image_size!r:.40}; width and height in pixels are expected")
        size = np.array(self.image_size)
        # From below the upper edge where y grows upwards, which some count from 0 to the height and some from 0 down.
        outside = (np.abs(points[..., :2]) > 2 * size).any(-1) if self.y_axis == "up" else _outside(points[..., :2], size)
        if outside.any():
            person, frame, joint = np.argwhere(outside)[0]
            x, y = points[person, frame, joint, :2]
            raise DataError(
                f"person {person}, frame {frame}, joint {layout.joints[joint]}: ({x:.6g}, {y:.6g}) lies far outside the image of "
                f"{size[0]} x {size[1]} pixels"
            )

    @classmethod
    def _validated(cls, **fields: Any) -> PoseSequence:
        """A sequence of all its fields as an earlier one had them, without another look at every number.

        For what was taken from a validated sequence and kept under a checksum since; anything else goes through the constructor.
        """
        pose = object.__new__(cls)
        pose.__dict__.update(fields)
        return pose

    @property
    def persons(self) -> int:
        return self.points.shape[0]

    @property
    def frames(self) -> int:
        return self.points.shape[1]

    @property
    def dims(self) -> int:
        return self.points.shape[3]

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return float(self.times[-1] - self.times[0]) if self.times is not None else (self.frames - 1) / self.fps

    @property
    def observed(self) -> np.ndarray:
        """(M, T, V) bool; the mask, made where there is none."""
        return np.ones(self.points.shape[:3], bool) if self.mask is None else self.mask

    def to_layout(self, layout: str | Layout, allow_missing: bool = False) -> PoseSequence:
        """The same motion in another layout, joints matched by name and derived where one lacks them.

        A joint is observed where all joints that it is made of are. `LayoutError` where a joint cannot be derived
        (`allow_missing` masks it instead).
        """
        layout = get_layout(layout)
        if layout == self.layout:
            return self
        weights = conversion(self.layout, layout, allow_missing)
        used = weights > 0
        mask = (self.observed[..., None, :] | ~used).all(-1) & used.any(-1)
        score = None
        if self.score is not None:
            score = np.where(used, self.score[..., None, :], np.inf).min(-1)
            score = np.where(np.isfinite(score), score, 0)
        return replace(self, points=np.einsum("wv,mtvc->mtwc", weights, self.points), layout=layout, mask=mask, score=score)

    def to_unit(self, unit: Unit) -> PoseSequence:
        """Metres to millimetres and back; `DataError` where the units cannot be converted."""
        if unit == self.unit:
            return self
        if unit not in _IN_METRES or self.unit not in _IN_METRES:
            raise DataError(f"unit {self.unit!r} cannot be converted to {unit!r}")
        return replace(self, points=self.points * np.float32(_IN_METRES[self.unit] / _IN_METRES[unit]), unit=unit)

    def select_frames(self, frames: slice | np.ndarray) -> PoseSequence:
        """The given frames (a slice or integer indices, which may repeat but must not run backwards where times are kept)."""
        times = self.times
        pick = {name: getattr(self, name)[:, frames] for name in ("mask", "score") if getattr(self, name) is not None}
        return replace(self, points=self.points[:, frames], times=None if times is None else times[frames], **pick)

    def select_persons(self, persons: slice | np.ndarray) -> PoseSequence:
        pick = {name: getattr(self, name)[persons] for name in ("mask", "score") if getattr(self, name) is not None}
        return replace(self, points=self.points[persons], **pick)


@dataclass(frozen=True, eq=False)
class DepthSequence:
    """Depth images over time: `frames` (T, H, W) uint16 in millimetres, 0 where nothing was measured or the background was removed."""

    frames: np.ndarray
    fps: float = 30.0
    times: np.ndarray | None = None

    def __post_init__(self):
        frames = _freeze(self.frames, "depth frames", np.uint16, (None, None, None))
        if 0 in frames.shape:
            raise DataError(f"depth frames have shape {frames.shape}; at least one frame of one pixel is expected")
        object.__setattr__(self, "frames", frames)
        object.__setattr__(self, "times", _check_times(self.times, len(frames), self.fps))


@dataclass(frozen=True, eq=False)
class InertialSequence:
    """Signals of a worn sensor: `signals` (T, C) float32, one column a channel.

    `channels`: C names, such as "acc_x" (g) and "gyro_x" (deg/s); `rate` in hertz; `placement`: where it was worn.
    """

    signals: np.ndarray
    channels: tuple[str, ...]
    rate: float = 50.0
    placement: str = ""

    def __post_init__(self):
        signals = _freeze(self.signals, "signals", np.float32, (None, len(self.channels)))
        if not len(signals):
            raise DataError("there are no samples; at least one is expected")
        if not np.isfinite(signals).all():
            row, column = np.argwhere(~np.isfinite(signals))[0]
            raise DataError(f"sample {row}, channel {self.channels[column]}: {signals[row, column]} is not a finite number")
        object.__setattr__(self, "signals", signals)
        _check_times(None, len(signals), self.rate)


@dataclass(frozen=True)
class VideoSource:
    """A video, or a part of one, not decoded; `kinema.video` reads it.

    `path`: a file of any container and codec that FFmpeg knows, or a folder of numbered images. `start`, `end`: seconds (None: to
    its end). `fps`: of a folder of images, 30 unless told; a file says itself.
    """

    path: Path
    start: float = 0.0
    end: float | None = None
    fps: float | None = None

    def __post_init__(self):
        object.__setattr__(self, "path", Path(self.path))
        if not (math.isfinite(self.start) and self.start >= 0):
            raise DataError(f"start is {self.start}; seconds from 0 on are expected", self.path)
        if self.end is not None and not (math.isfinite(self.end) and self.end > self.start):
            raise DataError(f"end is {self.end}; seconds after the start, {self.start:g}, are expected", self.path)
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise DataError(f"fps is {self.fps}; a positive number is expected", self.path)


Modality = PoseSequence | DepthSequence | InertialSequence | VideoSource
ModalityName = Literal["pose", "depth", "inertial", "video", "image_pose"]
# The modality of a clip whose `pose` is no skeleton in pixels of its pictures: one that is, by which these are cut.
IMAGE_POSE: ModalityName = "image_pose"


@dataclass(frozen=True)
class Lazy:
    """A modality that is read when it is asked for. `load` must be picklable (a function or `functools.partial` of one)."""

    load: Callable[[], Modality]


@dataclass(frozen=True, eq=False)
class Clip:
    """One recording of one action: who, where and when, and its modalities.

    `label`: index into the data set's classes, None where it is not known. `subject`, `view`, `setup`, `group` (clips cut
    from the same source share it): as the data set names them, None where it does not say. `source`: the file it came from.
    """

    id: str
    modalities: Mapping[str, Modality | Lazy] = field(default_factory=dict)
    label: int | None = None
    subject: str | None = None
    view: str | None = None
    setup: str | None = None
    group: str | None = None
    source: Path | None = None

    def has(self, modality: str) -> bool:
        return modality in self.modalities

    def modality(self, name: str) -> Modality:
        """The modality of that name, read now if it is lazy; `DataError` where the clip has none."""
        if name not in self.modalities:
            raise DataError(f"clip {self.id!r} has no {name}; it has {', '.join(self.modalities) or 'nothing'}", self.source)
        value = self.modalities[name]
        if not isinstance(value, Lazy):
            return value
        try:
            return value.load()
        except LayoutError as error:
            raise DataError(str(error), self.source) from error

    @property
    def pose(self) -> PoseSequence:
        return self.modality("pose")

    @property
    def depth(self) -> DepthSequence:
        return self.modality("depth")

    @property
    def inertial(self) -> InertialSequence:
        return self.modality("inertial")

    @property
    def video(self) -> VideoSource:
        return self.modality("video")
