"""The part of a depth recording that shows somebody, small enough to be kept and exact enough to be measured in.

A crop is the square that holds all foreground of all frames (whatever is not 0), scaled to at most `SIDE` pixels; depths are kept
in steps of `STEP` millimetres, finer than the first Kinect sees at 2 m and more. From its place and scale follow points in space:
a pixel (u, v) of the recording at depth Z shows X = (u - cx) Z / f, Y = (cy - v) Z / f.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinema.clip import Clip, DepthSequence, Lazy
from kinema.errors import DataError

SIDE = 96  # pixels; a standing person fills 60 to 90 of them
STEP = 8.0  # millimetres
FARTHEST = 1  # of 255 values; what lies farther than `near` + 2 m is given this one
_FOCAL_SHARE = 285 / 320  # focal length of the Kinects' depth cameras, as a share of the picture's width
_BLOCK = 32  # frames that are scaled at a time


@dataclass(frozen=True, eq=False)
class DepthCrop:
    """A cropped depth recording.

    `frames`: (T, S, S) uint8, nearness: 0 is background, 255 the nearest, each value less `STEP` mm farther.
    `near`, `middle`, `far`: mm; the depth of value 255, the median depth, and the depth that 99.5 % of the foreground do not exceed.
    `left`, `top`: of the square in the recording, in pixels; `zoom`: pixels of the recording to one of the crop.
    `box`: (top, left, bottom, right) of the foreground of all frames, in pixels of the crop.
    `focal`, `center_x`, `center_y`: of the camera, in pixels of the recording. `fps`, `times`: as in `DepthSequence`.
    """

    frames: np.ndarray
    near: float
    middle: float
    far: float
    left: float
    top: float
    zoom: float
    box: tuple[float, float, float, float]
    focal: float
    center_x: float
    center_y: float
    fps: float = 30.0
    times: np.ndarray | None = None

    @property
    def side(self) -> int:
        """S, in pixels."""
        return self.frames.shape[1]

    @property
    def pixel(self) -> float:
        """Millimetres to a pixel of the crop at the middle depth."""
        return self.middle * self.zoom / self.focal

    def millimetres(self) -> np.ndarray:
        """(256,) float32: depth in mm of each value; 0 for background."""
        depth = self.near + STEP * (255 - np.arange(256, dtype=np.float32))
        depth[0] = 0
        return depth


@dataclass(frozen=True)
class LazyDepth(Lazy):
    """Depth whose crop is kept somewhere: `crop` gives it without reading the recording. `load` gives the recording itself."""

    crop: Callable[[], DepthCrop]


def depth_crop(clip: Clip) -> DepthCrop:
    """The crop of a clip's depth, kept or made now. `DataError` naming the clip where it has no depth or no foreground."""
    value = clip.modalities.get("depth")
    try:
        return value.crop() if isinstance(value, LazyDepth) else crop_depth(clip.depth)
    except DataError as error:
        named = repr(clip.id) in error.reason
        raise error if named else DataError(f"clip {clip.id!r}: {error.reason}", error.path or clip.source, error.where) from error


def crop_depth(depth: DepthSequence, focal: float | None = None) -> DepthCrop:
    """The crop of a recording. `focal`: in pixels; that of a Kinect where it is not given.

    A pixel of the crop is foreground where half of what it covers is, and has the mean depth of that.
    Raises `DataError` where every pixel of every frame is 0.
    """
    frames = depth.frames
    height, width = frames.shape[1:]
    covered = frames.max(0) > 0
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    if not len(rows):
        raise DataError(f"there is nobody in the depth images: every pixel of all {len(frames)} is 0")
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    frames = frames[:, top:bottom, left:right]
    square = max(bottom - top, right - left)
    side = min(SIDE, int(square))
    zoom = square / side
    corner_y, corner_x = (top + bottom - square) / 2, (left + right - square) / 2
    counts = np.bincount(frames.reshape(-1), minlength=2)
    counts[0] = 0
    near, middle, far = (float(np.searchsorted(counts.cumsum(), share * counts.sum())) for share in (5e-4, 0.5, 0.995))
    down = _cover(side, zoom, corner_y - top, bottom - top)
    across = _cover(side, zoom, corner_x - left, right - left).T
    scaled = np.empty((len(frames), side, side), np.uint8)
    for start in range(0, len(frames), _BLOCK):
        scaled[start : start + _BLOCK] = _scaled(frames[start : start + _BLOCK], down, across, zoom, near)
    box = ((top - corner_y) / zoom, (left - corner_x) / zoom, (bottom - corner_y) / zoom, (right - corner_x) / zoom)
    scaled.setflags(write=False)
    place = (float(corner_x), float(corner_y), float(zoom))
    return DepthCrop(
        scaled,
        near,
        middle,
        far,
        *place,
        tuple(map(float, box)),
        focal or _FOCAL_SHARE * width,
        width / 2,
        height / 2,
        depth.fps,
        depth.times,
    )


def _scaled(frames: np.ndarray, down: np.ndarray, across: np.ndarray, zoom: float, near: float) -> np.ndarray:
    seen = frames > 0
    weight = down @ seen.astype(np.float32) @ across
    total = down @ frames.astype(np.float32) @ across
    there = weight >= 0.5 * zoom * zoom
    depth = total / np.where(there, weight, 1)
    return np.where(there, np.clip(np.rint(255 - (depth - near) / STEP), FARTHEST, 255), 0).astype(np.uint8)


def _cover(side: int, zoom: float, offset: float, length: int) -> np.ndarray:
    """(side, length) float32: how much of each pixel of a line lies in each of `side` pixels, `zoom` times as large, from `offset` on."""
    begin = offset + zoom * np.arange(side)[:, None]
    pixel = np.arange(length)
    return np.clip(np.minimum(begin + zoom, pixel + 1) - np.maximum(begin, pixel), 0, None).astype(np.float32)
