"""What a model puts where nothing was observed: never a position of its own."""

from __future__ import annotations

import torch
from torch import Tensor


def fill_missing(x: Tensor, mask: Tensor) -> Tensor:
    """Unobserved joints take the values that they were last observed with, before their first observation those of that one.

    A joint that is never observed takes the mean of the person's other joints in that frame, and a person who is never
    observed is all zeros. What `x` holds where `mask` is False has no influence.

    Args:
        x: (B, M, T, V, C). mask: (B, M, T, V) bool, True where the joint was observed.
    """
    if mask.all():
        return x
    frames = torch.arange(mask.shape[2], device=mask.device).view(-1, 1)
    last = torch.where(mask, frames, -1).cummax(2).values
    first = mask.int().argmax(2, keepdim=True)
    source = torch.where(last < 0, first, last)
    x = x.gather(2, source.unsqueeze(-1).expand_as(x))
    seen = mask.any(2)[:, :, None, :, None]
    x = x.masked_fill(~seen, 0)
    mean = x.sum(3, keepdim=True) / seen.sum(3, keepdim=True).clamp(min=1)
    return torch.where(seen, x, mean)


def present(mask: Tensor) -> Tensor:
    """(B, M) bool: persons of whom anything was observed."""
    return mask.flatten(2).any(2)


def largest_of_persons(found: Tensor, there: Tensor) -> Tensor:
    """(B, ...): the largest over the persons of each clip of `found` (n, ...), one row for each True of `there` (B, M); 0 where
    nobody is there."""
    rows = there.flatten().nonzero().squeeze(1)
    every = found.new_full((there.numel(), *found.shape[1:]), -torch.inf).index_put((rows,), found)
    nobody = ~there.any(1).view(-1, *[1] * (found.ndim - 1))
    return every.unflatten(0, there.shape).amax(1).masked_fill(nobody, 0)
