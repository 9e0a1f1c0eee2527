"""The shift in time: part of a frame's channels come from its neighbours, so that a network of images sees motion at no cost.

Lin, Gan, Han: TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shift_in_time(x: Tensor, frames: int, channels: int) -> Tensor:
    """(B * T, C, H, W): the first `channels` of each frame from the one before it, the next `channels` from the one after.

    Beyond the ends of a clip there is 0.
    """
    if not channels:
        return x
    x = x.permute(0, 2, 3, 1).unflatten(0, (-1, frames))
    before = F.pad(x[:, :-1, ..., :channels], (0, 0, 0, 0, 0, 0, 1, 0))
    after = F.pad(x[:, 1:, ..., channels : 2 * channels], (0, 0, 0, 0, 0, 0, 0, 1))
    return torch.cat([before, after, x[..., 2 * channels :]], -1).flatten(0, 1).permute(0, 3, 1, 2)
