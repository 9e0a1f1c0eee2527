"""The part of the image that a clip's key points are looked at in: their tight box, random parts of it, and pixels of a map.

Boxes are (B, 2, 2) tensors, one for all persons and frames of a clip: where it begins, then how far it goes, each as (x, y), in
the unit of the points. Everything is done on key points, before anything is drawn (PYSKL crops and resizes in the same order).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kinema.transforms.sampling import uniform

PADDING = 0.25  # PYSKL's share of the box that is added on each side


def tight_box(x: Tensor, mask: Tensor | None = None, padding: float = PADDING) -> Tensor:
    """(B, 2, 2): the square around all points (B, M, T, V, 2) that `mask` (B, M, T, V) allows, larger by `padding` of its size.

    Points may have another number of coordinates than 2; the box has as many. Where there is no point, or they are all in one
    place, its sides are 2: nothing is divided by 0.

    Departs: PYSKL rounds the box to whole pixels, and leaves alone one of less than 10 pixels; points here may be in any unit.
    """
    x = x.flatten(1, 3)
    if mask is None:
        low, high = x.amin(1), x.amax(1)
    else:
        seen = mask.flatten(1, 3).unsqueeze(-1)
        low, high = (x.masked_fill(~seen, sign * math.inf) for sign in (1, -1))
        low, high = low.amin(1), high.amax(1)
        some = seen.any(1)
        low, high = torch.where(some, low, 0), torch.where(some, high, 0)
    half = ((high - low) / 2 * (1 + padding)).amax(1, keepdim=True)
    half = torch.where(half > 0, half, 1).expand_as(low)
    return torch.stack([(low + high) / 2 - half, 2 * half], 1)


def random_part(
    box: Tensor,
    area: tuple[float, float] = (0.56, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator | None = None,
) -> Tensor:
    """(B, 2, 2): a random part of each box: share of its area and ratio of width to height (this on a logarithmic scale) uniform in
    their ranges, cut down to the box where they do not fit into it; anywhere within it. What PyTorch calls a random resized crop.

    Departs: PYSKL tries ten times for a fitting part, then takes the middle one.
    """
    count = len(box)
    share, shape = uniform((2, count), generator)
    share = area[0] + (area[1] - area[0]) * share
    shape = torch.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * shape)
    size = torch.stack([(share * shape).sqrt(), (share / shape).sqrt()], 1).clamp(max=1)
    begin = uniform((count, 2), generator) * (1 - size)
    begin, size = begin.to(box), size.to(box)
    return torch.stack([box[:, 0] + begin * box[:, 1], size * box[:, 1]], 1)


def to_pixels(x: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Points (B, M, T, V, 2) in pixels of the map of `size` (height, width) that the box fills."""
    scale = torch.tensor([size[1], size[0]], device=x.device, dtype=x.dtype) / box[:, 1]
    return (x - box[:, 0][:, None, None, None]) * scale[:, None, None, None]
