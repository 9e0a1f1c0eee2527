"""What is made of cropped depth recordings: views, descriptors, values for a network. Arrays in, arrays out.

Nearness, as in `kinema.depth_crop.DepthCrop`: uint8, 0 background, 255 nearest to the camera of the view. All views of a crop are
S x S and have one scale, that of the front view at the middle depth.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    two by two pixels nearest to it, because depth comes in steps that would leave gaps. `near` to `far` is in the middle, and is
    made to fit where it is longer than the front view is wide.
    """
    if view == "front":
        return frames
    side = crop.side
    where = np.flatnonzero(frames)
    time, pixel = np.divmod(where, side * side)
    row, column = (part.astype(np.float32) for part in np.divmod(pixel.astype(np.int32), side))
    depth = crop.millimetres()[frames.reshape(-1)[where]]
    # Where the point would be seen at the middle depth, in pixels of the crop.
    share = depth / np.float32(crop.middle)
    y = ((row + np.float32(0.5)) * crop.zoom + crop.top - crop.center_y) * share
    x = ((column + np.float32(0.5)) * crop.zoom + crop.left - crop.center_x) * share
    y = (y + crop.center_y - crop.top) / crop.zoom
    x = (x + crop.center_x - crop.left) / crop.zoom
    z = (depth - (crop.near + crop.far) / 2) / _depth_pixel(crop) + side / 2
    if view == "side":
        down, across, near = y, z, x - side / 2
    else:
        down, across, near = side - z, x, side / 2 - y
    value = np.clip(128 + near * (crop.pixel / STEP), 1, 255).astype(np.uint8)
    down, across = np.floor(down - 0.5).astype(np.int32), np.floor(across - 0.5).astype(np.int32)
    inside = (down >= 0) & (down < side - 1) & (across >= 0) & (across < side - 1)
    at, value = (time * (side * side) + down * side + across)[inside], value[inside]
    # The nearest last, so that it stays; bytes are sorted in linear time.
    order = np.argsort(value, kind="stable")
    seen = np.zeros(frames.shape, np.uint8)
    seen.reshape(-1)[at[order]] = value[order]
    for later, earlier in ((seen[:, 1:], seen[:, :-1]), (seen[:, :, 1:], seen[:, :, :-1])):
        np.maximum(later, earlier.copy(), out=later)
    return seen


def view_box(crop: DepthCrop, view: str, fit: str) -> tuple[float, float, float, float]:
    """(top, left, bottom, right) of the part of a view that is shown, in pixels; it may reach beyond the picture.

    "square": all of it. "stretch": the foreground of all frames, of depths from `near` to `far`. "metric": a square of 2.4 m
    about the median place of the foreground. "frame": the front view of the whole recording.
    """
    side = crop.side
    if fit == "frame":
        return place_box(crop, (0.0, 0.0, 1.0, 1.0))
    if fit == "square":
        return (0.0, 0.0, float(side), float(side))
    if fit == "metric":
        row, column = _median_place(crop.frames)
        half = _WINDOW / 2 / crop.pixel
        row, column = (side / 2 if view == "top" else row), (side / 2 if view == "side" else column)
        return (row - half, column - half, row + half, column + half)
    top, left, bottom, right = crop.box
    if view == "front":
        return crop.box
    half = (crop.far - crop.near) / 2 / _depth_pixel(crop) + 1
    near, far = side / 2 - half, side / 2 + half
    return (top, near, bottom, far) if view == "side" else (near, left, far, right)


def place_box(crop: DepthCrop, place: Sequence[float]) -> tuple[float, float, float, float]:
    """(top, left, bottom, right), in pixels of the crop, of a place (top, left, height, width) in shares of the recording's pictures."""
    height, width = 2 * crop.center_y, 2 * crop.center_x
    top, left = (place[0] * height - crop.top) / crop.zoom, (place[1] * width - crop.left) / crop.zoom
    return (top, left, top + place[2] * height / crop.zoom, left + place[3] * width / crop.zoom)


def _depth_pixel(crop: DepthCrop) -> float:
    """Millimetres to a pixel along the depth axis of side and top views."""
    return max(crop.pixel, (crop.far - crop.near) / (crop.side - 4))


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


DESCRIPTORS = ("motion", "difference")


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
        table, seen = value_table(crop, view, scale), project(crop, crop.frames, view)
        for segment in range(segments):
            first, last = (total * (begin + share * (segment + end) / segments) for end in (0, 1))
            start = min(int(first), max(total - 2, 0))
            part = seen[start : max(round(last), start + 2)]
            # The largest value is that of the largest nearness.
            images.append(table[motion_image(part)] if form == "motion" else difference_image(table[part]))
    return np.stack(images)


def resample(pictures: Tensor, boxes: Tensor, size: int, place: Tensor | None = None) -> Tensor:
    """(N, C, S, S) pictures cut to `boxes` (N, 4: top, left, bottom, right, in pixels) and scaled to (N, C, size, size), float32.

    `place`: (N, 2, 3), where each point of the new picture is taken from, both in -1..1 across the box (x, y). What lies outside
    the picture is 0. A new pixel is the mean of what it covers, between pixels where it is smaller than one; with a rotation that
    of evenly spread points.
    """
    side = pictures.shape[-1]
    boxes = boxes.to(torch.float32)
    middle = (boxes[:, [1, 0]] + boxes[:, [3, 2]]) / side - 1
    half = (boxes[:, [3, 2]] - boxes[:, [1, 0]]) / side
    if place is None:
        place = torch.eye(2, 3).expand(len(boxes), 2, 3)
    theta = half[:, :, None] * place.to(boxes) + functional.pad(middle[:, :, None], (2, 0))
    if not theta[:, [0, 1], [1, 0]].any():
        across, down = (_cover(theta[:, axis, axis], theta[:, axis, 2], side, size).to(pictures.device) for axis in (0, 1))
        count, channels = pictures.shape[:2]
        cut = torch.bmm(pictures.float().view(count, -1, side), across.mT).view(count, channels, side, size)
        cut = torch.bmm(down, cut.transpose(1, 2).reshape(count, side, -1))
        return cut.view(count, size, channels, size).transpose(1, 2)
    points = max(1, round(side / size))
    grid = functional.affine_grid(theta.to(pictures.device), [len(boxes), 1, points * size, points * size], align_corners=False)
    cut = functional.grid_sample(pictures.float(), grid, padding_mode="zeros", align_corners=False)
    return functional.avg_pool2d(cut, points) if points > 1 else cut


def _cover(scale: Tensor, shift: Tensor, side: int, size: int) -> Tensor:
    """(N, size, side) weights: the share of each of `side` pixels in each of `size` along an axis; position x in -1..1 of the new
    one lies at scale x + shift of the old one."""
    centre = (scale[:, None] * ((2 * torch.arange(size) + 1) / size - 1) + shift[:, None] + 1) * (side / 2)
    half = (scale.abs() * (side / size)).clamp(min=1)[:, None, None] / 2
    distance = (centre[:, :, None] - (torch.arange(side) + 0.5)).abs()
    return (half + 0.5 - distance).clamp(0, 1) / (2 * half)
