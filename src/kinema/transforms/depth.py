"""What is made of cropped depth recordings: views, descriptors, values for a network. Arrays in, arrays out.

Nearness, as in `kinema.depth_crop.DepthCrop`: uint8, 0 background, 255 nearest to the camera of the view. All views of a crop are
S x S and have one scale, that of the front view at the middle depth.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kinema.depth_crop import STEP, DepthCrop
from kinema.errors import DataError

_METRIC = 2000.0  # mm that the values of the metric scale span
_WINDOW = 2400.0  # mm that the metric fit shows: somebody with raised arms


def project(crop: DepthCrop, frames: np.ndarray, view: str) -> np.ndarray:
    """Frames (T, S, S) of the crop as seen in `view`, (T, S, S) nearness.

    "front": as they are. "side": from the right of the picture, near the camera to the left, the rows as in front. "top": from
    above, near the camera at the bottom, the columns as in front. Points in space are seen without perspective; one covers the
    two by two pixels nearest to it, because depth comes in steps that would leave gaps.
    """
    if view == "front":
        return frames
    side = crop.side
    time, row, column = np.nonzero(frames)
    depth = crop.millimetres()[frames[time, row, column]]
    # Where the point would be seen at the middle depth, in pixels of the crop.
    share = depth / np.float32(crop.middle)
    y = ((row + np.float32(0.5)) * crop.zoom + crop.top - crop.center_y) * share
    x = ((column + np.float32(0.5)) * crop.zoom + crop.left - crop.center_x) * share
    y = (y + crop.center_y - crop.top) / crop.zoom
    x = (x + crop.center_x - crop.left) / crop.zoom
    z = (depth - crop.middle) / crop.pixel + side / 2
    if view == "side":
        down, across, near = y, z, x - side / 2
    else:
        down, across, near = side - z, x, side / 2 - y
    value = np.clip(128 + near * (crop.pixel / STEP), 1, 255).astype(np.uint8)
    down, across = np.floor(down - 0.5).astype(np.int32), np.floor(across - 0.5).astype(np.int32)
    inside = (down >= 0) & (down < side - 1) & (across >= 0) & (across < side - 1)
    at = ((time * side + down) * side + across)[inside]
    value = value[inside]
    seen = np.zeros(frames.size, np.uint8)
    for offset in (0, 1, side, side + 1):
        np.maximum.at(seen, at + offset, value)
    return seen.reshape(frames.shape)


def view_box(crop: DepthCrop, view: str, fit: str) -> tuple[float, float, float, float]:
    """(top, left, bottom, right) of the part of a view that is shown, in pixels; it may reach beyond the picture.

    "square": all of it. "stretch": the foreground of all frames, of depths from `near` to `far`. "metric": a square of 2.4 m
    about the median place of the foreground.
    """
    side = crop.side
    if fit == "square":
        return (0.0, 0.0, float(side), float(side))
    if fit == "metric":
        row, column = _median_place(crop.frames)
        half = _WINDOW / 2 / crop.pixel
        row, column = (side / 2 if view == "top" else row), (side / 2 if view == "side" else column)
        return (row - half, column - half, row + half, column + half)
    top, left, bottom, right = crop.box
    near, far = ((depth - crop.middle) / crop.pixel + side / 2 for depth in (crop.near, crop.far))
    if view == "front":
        return crop.box
    return (top, near - 1, bottom, far + 1) if view == "side" else (side - far - 1, left, side - near + 1, right)


def _median_place(frames: np.ndarray) -> tuple[float, float]:
    """Row and column that have as much foreground before as after them, over all frames."""
    count = (frames > 0).sum(0, dtype=np.uint32)
    sums = (count.sum(axis).cumsum() for axis in (1, 0))
    row, column = (float(np.searchsorted(total, total[-1] / 2)) + 0.5 for total in sums)
    return row, column


def value_table(crop: DepthCrop, view: str, scale: str) -> np.ndarray:
    """(256,) uint8: nearness -> value, 0 for background, 1 for what is farthest.

    "clip": the depths from `near` to `far` of the clip (side and top views: its width, its height) over all values;
    "metric": 2 m over all values, the middle depth (of other views the middle of the crop) half-way.
    """
    nearness = np.arange(256, dtype=np.float32)
    if scale == "metric":
        middle = 255 - (crop.middle - crop.near) / STEP if view == "front" else 128.0
        share = 0.5 + (nearness - middle) * (STEP / _METRIC)
    else:
        top, left, bottom, right = crop.box
        if view == "front":
            low, high = 255 - (crop.far - crop.near) / STEP, 255.0
        else:
            ends = (left, right) if view == "side" else (crop.side - bottom, crop.side - top)
            low, high = (128 + (end - crop.side / 2) * crop.pixel / STEP for end in ends)
        share = (nearness - low) / max(high - low, 1.0)
    values = np.clip(np.rint(1 + 254 * share), 1, 255)
    values[0] = 0
    return values.astype(np.uint8)


def motion_image(frames: np.ndarray) -> np.ndarray:
    """Depth motion image of (T, S, S) values: 255 - min over time of depth 0..255, in nearness the maximum (Kamel et al., IEEE
    Trans. SMC 2018, section III-A). Background counts as farthest."""
    return frames.max(0)


def difference_image(frames: np.ndarray) -> np.ndarray:
    """Sum over time of the absolute differences of successive frames (T, S, S) of values, the largest sum made 255 (depth motion
    map, Yang et al., ACM MM 2012, without a threshold; Chen et al., 2016)."""
    later, earlier = frames[1:], frames[:-1]
    total = (np.maximum(later, earlier) - np.minimum(later, earlier)).sum(0, dtype=np.uint32)
    return np.rint(total * (255 / max(int(total.max()), 1))).astype(np.uint8)


DESCRIPTORS = {"motion": motion_image, "difference": difference_image}


def descriptor(
    crop: DepthCrop, form: str, views: tuple[str, ...], segments: int, scale: str, begin: float = 0.0, share: float = 1.0
) -> np.ndarray:
    """(views x segments, S, S) uint8: the descriptor of each of `segments` equal parts in time, of each view.

    `begin` and `share`: the part of the clip that is used. A part is at least two frames long, where the clip is.
    Raises `DataError` for a difference image of a single frame.
    """
    total = len(crop.frames)
    if form == "difference" and total < 2:
        raise DataError("has 1 depth image; a difference image needs at least 2")
    images = []
    for view in views:
        values = np.take(value_table(crop, view, scale), project(crop, crop.frames, view))
        for segment in range(segments):
            first, last = (total * (begin + share * (segment + end) / segments) for end in (0, 1))
            start = min(int(first), max(total - 2, 0))
            images.append(DESCRIPTORS[form](values[start : max(round(last), start + 2)]))
    return np.stack(images)


def resample(pictures: Tensor, boxes: Tensor, size: int, place: Tensor | None = None) -> Tensor:
    """(N, C, S, S) pictures cut to `boxes` (N, 4: top, left, bottom, right, in pixels) and scaled to (N, C, size, size), float32.

    `place`: (N, 2, 3), where each point of the new picture is taken from, both in -1..1 across the box (x, y). What lies outside
    the picture is 0. Bilinear, and where pictures shrink the mean of several points a pixel.
    """
    side = pictures.shape[-1]
    points = max(1, round(side / size))
    boxes = boxes.to(torch.float32)
    middle = (boxes[:, [1, 0]] + boxes[:, [3, 2]]) / side - 1
    half = (boxes[:, [3, 2]] - boxes[:, [1, 0]]) / side
    if place is None:
        place = torch.eye(2, 3).expand(len(boxes), 2, 3)
    theta = half[:, :, None] * place.to(boxes) + functional.pad(middle[:, :, None], (2, 0))
    grid = functional.affine_grid(theta.to(pictures.device), [len(boxes), 1, points * size, points * size], align_corners=False)
    cut = functional.grid_sample(pictures.float(), grid, padding_mode="zeros", align_corners=False)
    return functional.avg_pool2d(cut, points) if points > 1 else cut
