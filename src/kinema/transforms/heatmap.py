"""Heatmap volumes from 2-D key points: joints, limbs, or all joints on one layer (Duan et al., CVPR 2022, PoseConv3D).

Key points are (B, M, T, V, 2) tensors in pixels of the map, x to the right, y downwards, pixel centres at whole numbers; volumes are
(B, C, T, height, width) float32, C the joints, the limbs or 1. Only the pixels around a joint or limb are computed, for the whole
batch at once, on whatever device the points are: loaders ship key points, and volumes are drawn where the network runs.

The value at a pixel is score * exp(-d^2 / (2 sigma^2)), d its distance from the joint or limb, within three sigma of it along both
axes, 0 elsewhere; persons are merged by the maximum. Scores below 1e-3, and points outside the image, draw nothing.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from kinema.clip import PoseSequence
from kinema.errors import DataError, RecipeError, unknown
from kinema.layout import Layout, get_layout
from kinema.transforms.boxes import tight_box, to_pixels

HeatmapKind = Literal["joints", "limbs", "one-layer"]
KINDS = ("joints", "limbs", "one-layer")
LEAST_SCORE = 1e-3

# PYSKL's limbs of COCO's key points, in its order; published weights have one channel for each.
_COCO17_LIMBS = ((0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15), (6, 12))
_COCO17_LIMBS += ((12, 14), (14, 16), (11, 12))


def limbs_of(layout: str | Layout) -> tuple[tuple[int, int], ...]:
    """(start, end) joints of the limbs that are drawn: PYSKL's for "coco17", for others the bones, each from its parent."""
    layout = get_layout(layout)
    if layout == get_layout("coco17"):
        return _COCO17_LIMBS
    return tuple((parent, child) for child, parent in layout.bones)


def heatmap_channels(kind: str, layout: str | Layout) -> int:
    """C of a volume. `RecipeError` for an unknown kind."""
    if kind not in KINDS:
        raise RecipeError(unknown("heatmap", kind, KINDS))
    return {"joints": len(get_layout(layout)), "limbs": len(limbs_of(layout)), "one-layer": 1}[kind]


def mirror_channels(kind: str, layout: str | Layout) -> list[int]:
    """The order of a volume's channels once left and right are exchanged, as they are in its mirror image."""
    layout = get_layout(layout)
    if kind != "limbs":
        return layout.mirror.tolist() if heatmap_channels(kind, layout) > 1 else [0]
    limbs, swap = limbs_of(layout), layout.mirror.tolist()
    # A limb between a left and a right joint, such as COCO's hips, becomes itself the other way round.
    return [next(i for i, limb in enumerate(limbs) if set(limb) == {swap[start], swap[end]}) for start, end in limbs]


def flip(volume: Tensor, kind: str, layout: str | Layout) -> Tensor:
    """The mirror image of a volume (..., C, T, height, width), the channels of left and right joints or limbs exchanged."""
    return volume.flip(-1).index_select(-4, torch.tensor(mirror_channels(kind, layout), device=volume.device))


def check_scores(score: Tensor) -> None:
    """`DataError` unless all scores lie in 0..1."""
    if not bool(((score >= 0) & (score <= 1)).all()):
        raise DataError(f"scores lie in {float(score.min()):.3g}..{float(score.max()):.3g}; 0..1 is expected")


def heatmaps(
    x: Tensor,
    score: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    kind: HeatmapKind = "joints",
    layout: str | Layout = "coco17",
    size: tuple[int, int] = (56, 56),
    sigma: float = 0.6,
    channels_last: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Volumes (B, C, T, height, width) of key points `x` (B, M, T, V, 2) in pixels of the map.

    Args:
        score: (B, M, T, V) in 0..1, how certain each key point is; 1 without it.
        mask: (B, M, T, V) bool, False for points that were not observed: they draw nothing, whatever `x` holds there.
        size: (height, width).
        sigma: standard deviation of the Gaussians, in pixels.
        channels_last: give volumes (B, T, height, width, C) instead.
        out: contiguous float32 tensor of the volume's shape to draw into; what it held is lost. Drawing clip after clip into the
            same memory saves half the time.

    Raises `RecipeError` for an unknown kind, `DataError` for points of another shape or number. Scores are taken as they are: see
    `check_scores`.
    """
    layout, (height, width) = get_layout(layout), size
    channels = heatmap_channels(kind, layout)
    if x.ndim != 5 or x.shape[3:] != (len(layout), 2):
        raise DataError(f"points have shape {tuple(x.shape)}; clips x persons x frames x {len(layout)} joints x 2 is expected")
    if min(size) < 1 or sigma <= 0:
        raise DataError(f"a map of {width} x {height} pixels and sigma {sigma} cannot be drawn; positive numbers are expected")
    batch, _, frames, _, _ = x.shape
    shape = (batch, frames, height, width, channels) if channels_last else (batch, channels, frames, height, width)
    if out is None:
        out = torch.zeros(shape, device=x.device)
    elif out.shape != shape or out.dtype != torch.float32 or not out.is_contiguous():
        raise DataError(f"out is {tuple(out.shape)}, {out.dtype}; a contiguous float32 tensor of shape {shape} is expected")
    else:
        out.zero_()
    factor = _factors(x, score, mask)
    x = torch.where(factor.unsqueeze(-1) > 0, x.float(), 0)
    # Coordinates apart, and joints before frames: the order in which a volume lies in memory.
    x, factor = x.permute(4, 0, 1, 3, 2), factor.permute(0, 1, 3, 2)
    clip, channel, frame = (
        torch.arange(n, device=x.device).view(view) for n, view in ((batch, (-1, 1, 1, 1)), (channels, (1, 1, -1, 1)), (frames, (-1,)))
    )
    pixels = height * width
    if channels_last:
        start, step = (clip * frames + frame) * pixels * channels + channel, channels
    else:
        start, step = ((clip * channels + channel) * frames + frame) * pixels, 1
    start = start.expand(batch, x.shape[2], -1, -1)
    if kind == "limbs":
        starts, ends = torch.tensor(limbs_of(layout), device=x.device).unbind(1)
        (a, factor_a), (b, factor_b) = ((x.index_select(3, joint), factor.index_select(2, joint)) for joint in (starts, ends))
        places, values = _limbs(a, factor_a, b, factor_b, start, step, size, sigma)
    else:
        places, values = _joints(x, factor, start.expand(factor.shape), step, size, sigma)
    out.view(-1).scatter_reduce_(0, places, values, "amax")
    return out


def pose_heatmaps(
    pose: PoseSequence, *, kind: HeatmapKind = "joints", size: tuple[int, int] = (56, 56), sigma: float = 0.6, box: bool = True
) -> Tensor:
    """Volume (C, T, height, width) of one recording of 2-D key points: of their tight box, or without `box` of the whole image.

    Raises `DataError` for 3-D points, and for the image where its size is not known; errors of `heatmaps` otherwise. Persons
    whose scores are all 0 draw nothing, points outside the image neither.
    """
    if pose.dims != 2:
        raise DataError("heatmaps are drawn of 2-D key points; these are 3-D")
    if not box and pose.image_size is None:
        raise DataError("the size of the image is not known; give the sequence an image_size, or draw the box of its key points")
    x, mask = torch.tensor(pose.points)[None], torch.tensor(pose.observed)[None]
    if pose.y_axis == "up":
        x = x * torch.tensor([1.0, -1.0])
    whole = None if box else torch.tensor([[[0.0, 0.0 if pose.y_axis == "down" else -pose.image_size[1]], [*map(float, pose.image_size)]]])
    x = to_pixels(x, tight_box(x, mask) if whole is None else whole, size)
    score = None if pose.score is None else torch.tensor(pose.score)[None]
    return heatmaps(x, score, mask, kind=kind, layout=pose.layout, size=size, sigma=sigma)[0]


def _factors(x: Tensor, score: Tensor | None, mask: Tensor | None) -> Tensor:
    """(B, M, T, V): what each point's Gaussian is multiplied by; 0 where nothing is drawn."""
    factor = torch.ones(x.shape[:4], device=x.device) if score is None else score.float()
    drawn = factor >= LEAST_SCORE
    if mask is not None:
        drawn = drawn & mask
    return torch.where(drawn, factor, 0)


def _joints(x: Tensor, factor: Tensor, start: Tensor, step: int, size: tuple[int, int], sigma: float) -> tuple[Tensor, Tensor]:
    """Flat places and values of the squares around points `x` (2, ...).

    `start` (...): place of pixel 0 of each point's map, `step` from one pixel to the next; `factor` (...): what it is multiplied by.
    """
    height, width = size
    x, factor, start = x.reshape(2, 1, -1), factor.reshape(-1), start.reshape(-1)
    # All squares are as large as the largest, moved into the image at its borders; pixels beyond three sigma get 0, which is
    # less than or equal to anything that is there.
    side = math.ceil(6 * sigma) + 1
    sides = [min(side, width), min(side, height)]
    low, high = torch.trunc(x - 3 * sigma), torch.trunc(x + 3 * sigma)
    last = torch.tensor([width - sides[0], height - sides[1]], device=x.device, dtype=x.dtype).view(2, 1, 1)
    first = torch.minimum(low.clamp(min=0), last)
    pixel = first + torch.arange(side, device=x.device, dtype=x.dtype).view(-1, 1)
    weight = (pixel - x).square_().mul_(-0.5 / sigma**2).exp_()
    weight = torch.where((pixel >= low) & (pixel <= high), weight, 0)
    across, down = weight[0, : sides[0]], weight[1, : sides[1]] * factor
    corner = start + (first[1, 0] * width + first[0, 0]).long() * step
    rows, columns = (torch.arange(n, device=x.device) for n in (sides[1], sides[0]))
    offset = ((rows[:, None] * width + columns) * step).unsqueeze(-1)
    return (corner + offset).view(-1), (down.unsqueeze(1) * across).view(-1)


def _limbs(
    a: Tensor, factor_a: Tensor, b: Tensor, factor_b: Tensor, start: Tensor, step: int, size: tuple[int, int], sigma: float
) -> tuple[Tensor, Tensor]:
    """Flat places and values of the boxes around segments from `a` to `b` (2, ...), three sigma larger than these on all sides.
    The rest as for `_joints`."""
    height, width = size
    factor = torch.minimum(factor_a, factor_b).reshape(-1)
    shown = factor.nonzero().squeeze(1)
    factor, factor_a, start = (part.reshape(-1).index_select(0, shown) for part in (factor, factor_a, start))
    a, b = (part.reshape(2, -1).index_select(1, shown) for part in (a, b))
    along = b - a
    length = along.square().sum(0).sqrt()
    point = length < 1  # a limb shorter than a pixel is drawn as its start, with the score of that
    b, length, factor = torch.where(point, a, b), length.masked_fill(point, 0), torch.where(point, factor_a, factor)
    direction = torch.where(point, torch.tensor([[1.0], [0.0]], device=a.device), along / length.clamp(min=1))
    last = torch.tensor([[width - 1.0], [height - 1.0]], device=a.device)
    low = torch.trunc(torch.minimum(a, b) - 3 * sigma).clamp(min=0)
    high = torch.minimum(torch.trunc(torch.maximum(a, b) + 3 * sigma), last)
    columns, rows = (torch.minimum(high, last) - torch.minimum(low, last + 1) + 1).clamp(min=0).long()

    # From limbs to the rows of pixels of their boxes, and on to pixels; what is the same along a row is computed once for it.
    rows = rows * (columns > 0)
    limb = torch.repeat_interleave(rows)
    to_rows = partial(torch.index_select, dim=-1, index=limb)
    first, y = to_rows(low[0]), _count_up(rows, limb) + to_rows(low[1]).long()
    right, down = to_rows(direction)
    left, below = first - to_rows(a[0]), y - to_rows(a[1])
    columns = to_rows(columns)
    row = torch.repeat_interleave(columns)
    to_pixels = partial(torch.index_select, dim=0, index=row)
    moved = _count_up(columns, row)
    place = to_pixels(to_rows(start) + (y * width + first.long()) * step).add_(moved, alpha=step)
    moved = moved.to(a.dtype)
    # Distances along the limb and across it are linear in x.
    ahead = to_pixels(left * right + below * down).addcmul_(moved, to_pixels(right))
    aside = to_pixels(left * down - below * right).addcmul_(moved, to_pixels(down))
    beyond = ahead - torch.minimum(ahead.clamp(min=0), to_pixels(to_rows(length)))
    distance = beyond.square_().addcmul_(aside, aside)
    # Numbers too small to be normal ones would be slow to compute with.
    return place, distance.mul_(-0.5 / sigma**2).clamp_(min=-60).exp_().mul_(to_pixels(to_rows(factor)))


def _count_up(counts: Tensor, group: Tensor) -> Tensor:
    """0, 1, ... within each group: `group` is `repeat_interleave(counts)`."""
    begin = counts.cumsum(0) - counts
    return torch.arange(len(group), device=group.device) - begin.index_select(0, group)
