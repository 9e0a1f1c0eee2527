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
    dims = x.shape[-1]
    columns = (parents[:, None] * dims + torch.arange(dims, device=x.device)).flatten()
    bones = x - _columns(x.flatten(-2), columns).view(x.shape)
    if mask is None:
        return bones, None
    mask = mask & mask.index_select(mask.ndim - 1, parents)
    return bones * mask.unsqueeze(-1), mask


def _columns(x: Tensor, columns: Tensor) -> Tensor:
    """x[..., columns]; as a matrix, for that is where PyTorch is fast on a CPU."""
    return x.reshape(-1, x.shape[-1]).index_select(1, columns).view(*x.shape[:-1], len(columns))


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """`torch.cat(parts, -1)` of tensors (..., V, C) of one shape; twice as fast on a CPU, where C is small."""
    if len(parts) == 1:
        return parts[0]
    joints, dims = parts[0].shape[-2:]
    rows = torch.cat([part.flatten(-2) for part in parts], -1)
    columns = torch.arange(rows.shape[-1], device=rows.device).view(len(parts), joints, dims).transpose(0, 1).flatten()
    return _columns(rows, columns).view(*parts[0].shape[:-1], len(parts) * dims)


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
    return side_by_side([part for part, _ in parts]), observed
