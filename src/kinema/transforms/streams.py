"""Feature streams of skeletons: joint, bone, and the motion of either (Shi et al., CVPR 2019, two-stream adaptive networks).

Points are (..., T, V, C), masks (..., T, V) as in `kinema.transforms.pose`. Bones take an array of parents, not a layout,
because data sets of the same joints disagree about which way the tree hangs: a layout's own are `layout.parents`, those of
PYSKL for NTU RGB+D are `kinema.transforms.pyskl.PARENTS`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinema.errors import RecipeError, unknown
from kinema.transforms.config import STREAMS


def bone(x: Tensor, mask: Tensor | None, parents: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor | None]:
    """Joint minus parent, 0 for a joint that is its own parent. `parents`: (V,) indices. Observed where both ends are."""
    parents = torch.as_tensor(np.asarray(parents), device=x.device)
    bones = x - x.index_select(x.ndim - 2, parents)
    if mask is None:
        return bones, None
    mask = mask & mask.index_select(mask.ndim - 1, parents)
    return bones * mask.unsqueeze(-1), mask


def motion(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """x[t + 1] - x[t], 0 in the last frame. Observed where both frames are (in the last one: where it is)."""
    moved = torch.zeros_like(x)
    torch.sub(x[..., 1:, :, :], x[..., :-1, :, :], out=moved[..., :-1, :, :])
    if mask is None:
        return moved, None
    mask = torch.cat([mask[..., :-1, :] & mask[..., 1:, :], mask[..., -1:, :]], -2)
    return moved * mask.unsqueeze(-1), mask


def streams(x: Tensor, mask: Tensor | None, names: Sequence[str], parents: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor | None]:
    """The named streams side by side along C, in the order of `names`: (..., T, V, len(names) * C).

    A stream is 0 where it was not observed; the mask that is returned is True where at least one of the streams was.
    Raises `RecipeError` for an unknown name.
    """
    if tuple(names) == ("joint",):
        return x, mask
    made: dict[str, tuple[Tensor, Tensor | None]] = {"joint": (x, mask)}

    def make(name: str) -> tuple[Tensor, Tensor | None]:
        if name not in made:
            if name not in STREAMS:
                raise RecipeError(unknown("stream", name, STREAMS))
            made[name] = bone(x, mask, parents) if name == "bone" else motion(*make(name.removesuffix("_motion")))
        return made[name]

    parts = [make(name) for name in names]
    observed = None if mask is None else torch.stack([part for _, part in parts]).any(0)
    return torch.cat([part for part, _ in parts], -1), observed
