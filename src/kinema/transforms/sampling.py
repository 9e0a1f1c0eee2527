"""Which frames a sample is made of, for whole batches: interpolated, one a segment, or every so many; and how time is varied.

Positions and frame indices count from the first frame of the clip. `starts` and `lengths` are the (B,) windows within it,
in frames; whatever is returned is (B, frames). Positions are double precision and lie between frames; indices are whole.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def uniform(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Between 0 and 1, double precision; on the CPU, where indices live, whatever device the generator draws on."""
    device = generator.device if generator is not None else "cpu"
    return torch.rand(shape, generator=generator, device=device, dtype=torch.float64).cpu()


def random_crop(clips: int, share: float, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """(B,) begin and (B,) size of a random part of each window, as shares of it; sizes are uniform in share..1."""
    size = share + (1 - share) * uniform((clips,), generator)
    return uniform((clips,), generator) * (1 - size), size


def time_warp(u: Tensor, largest: float, generator: torch.Generator | None = None) -> Tensor:
    """Relative times `u` (B, frames) in 0..1 -> others in 0..1, the ends in place.

    Speed becomes 1 + a cos(2 pi u + phase), with a random phase and a within +- largest (below 1, so that time goes on).
    """
    amount, phase = uniform((2, len(u), 1), generator)
    amount, phase = (2 * amount - 1) * largest, 2 * math.pi * phase
    return (u + amount / (2 * math.pi) * ((2 * math.pi * u + phase).sin() - phase.sin())).clamp(0, 1)


def resize_positions(
    starts: Tensor, lengths: Tensor, frames: int, crop: tuple[Tensor, Tensor] | None = None, warp: float = 0.0, generator=None
) -> Tensor:
    """Positions of `frames` evenly spaced times from the first frame of the window to its last one, both included.

    `crop`: begin and size as shares of the window (see `random_crop`); `warp`: see `time_warp`.
    """
    u = torch.linspace(0, 1, frames, dtype=torch.float64) if frames > 1 else torch.full((1,), 0.5, dtype=torch.float64)
    return starts[:, None] + _cropped(u.expand(len(starts), frames), crop, warp, generator) * (lengths[:, None] - 1)


def segment_frames(
    starts: Tensor,
    lengths: Tensor,
    frames: int,
    crop: tuple[Tensor, Tensor] | None = None,
    warp: float = 0.0,
    generator=None,
    training: bool = False,
    offset: float = 0.5,
    shared: bool = False,
) -> Tensor:
    """One frame from each of `frames` equal segments of the window: a random one in training (`shared`: at the same place in all
    segments), else the one at `offset` (0..1) of the segment, its centre by default. Windows of fewer frames repeat theirs (TSN,
    Wang et al., ECCV 2016)."""
    shape = (len(starts), 1 if shared else frames)
    within = uniform(shape, generator) if training else torch.full(shape, offset, dtype=torch.float64)
    u = (torch.arange(frames) + within) / frames
    taken = (_cropped(u, crop, warp, generator) * lengths[:, None]).long()
    return starts.long()[:, None] + torch.minimum(taken, lengths.long()[:, None] - 1)


def _cropped(u: Tensor, crop: tuple[Tensor, Tensor] | None, warp: float, generator) -> Tensor:
    if warp:
        u = time_warp(u, warp, generator)
    return u if crop is None else crop[0][:, None] + crop[1][:, None] * u


def skip_frames(starts: Tensor, lengths: Tensor, frames: int, step: int, phases: Tensor) -> Tensor:
    """Every `step`-th frame from frame `phases` (B,) of the window; past its end the last frame is repeated."""
    taken = phases[:, None] + step * torch.arange(frames)
    return starts[:, None] + torch.minimum(taken, lengths[:, None] - 1)


def row_frames(starts: Tensor, lengths: Tensor, frames: int, step: int, offset: Tensor) -> Tensor:
    """`frames` frames in a row, each `step` after the one before; from where in the window tells `offset` (B,), in 0..1 of the places
    that leave room for all of them. A window that is too short for that repeats its last frame."""
    places = (lengths - (frames - 1) * step).clamp(min=1)
    return skip_frames(starts, lengths, frames, step, torch.minimum((offset * places).long(), places - 1))


@lru_cache(maxsize=4096)
def pyskl_frames(length: int, frames: int, clips: int = 1, seed: int = 255) -> np.ndarray:
    """(clips * frames,) indices that PYSKL's uniform sampling takes of a clip of `length` frames when testing; read-only.

    It starts NumPy's legacy generator anew for every clip, so that the indices depend on the length alone. Fewer frames than
    wanted: as many in a row, around the end, the starts of the `clips` spread out. Up to twice as many: all but some that are
    drawn. Else one drawn from each of `frames` segments.
    """
    random = np.random.RandomState(seed)
    random.rand()
    random.randint(1)
    taken = []
    for clip in range(clips):
        if length < frames:
            index = clip * length // clips + np.arange(frames)
        elif length < 2 * frames:
            passed = np.zeros(frames + 1, dtype=np.int64)
            passed[random.choice(frames + 1, length - frames, replace=False)] = 1
            index = np.arange(frames) + passed.cumsum()[:-1]
        else:
            edges = np.arange(frames + 1) * length // frames
            index = edges[:-1] + random.randint(np.diff(edges))
        taken.append(index % length)
    joined = np.concatenate(taken)
    joined.setflags(write=False)
    return joined


def blend(
    before: Tensor, after: Tensor, weight: Tensor, mask_before: Tensor | None = None, mask_after: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Linear interpolation between two frames: (..., T, V, C) points, `weight` (..., T) the share of `after`.

    A joint that only one of the two frames observed is taken from there if that is the nearer one, and is unobserved otherwise.
    """
    share = weight.to(before.dtype)[..., None]
    if mask_before is None or mask_after is None:
        return torch.lerp(before, after, share.unsqueeze(-1)), None
    first, second = (1 - share) * mask_before, share * mask_after
    total = first + second
    mask = total >= 0.5
    points = (before * first.unsqueeze(-1) + after * second.unsqueeze(-1)) / total.masked_fill(~mask, 1).unsqueeze(-1)
    return points * mask.unsqueeze(-1), mask


def interpolate(x: Tensor, mask: Tensor | None, positions: Tensor) -> tuple[Tensor, Tensor | None]:
    """`x` (B, M, T, V, C) and its mask at `positions` (B, frames) between 0 and T - 1, by `blend`."""
    low = positions.floor().clamp(0, x.shape[2] - 1)
    weight = (positions - low).to(x.device)
    index = low.long().to(x.device)
    following = (index + 1).clamp(max=x.shape[2] - 1)
    parts = [take_frames(x, mask, frames) for frames in (index, following)]
    return blend(parts[0][0], parts[1][0], weight[:, None].expand(-1, x.shape[1], -1), parts[0][1], parts[1][1])


def take_frames(x: Tensor, mask: Tensor | None, index: Tensor) -> tuple[Tensor, Tensor | None]:
    """Frames `index` (B, frames) of `x` (B, M, T, V, C) and its mask."""
    rows = torch.arange(len(x), device=x.device)[:, None, None], torch.arange(x.shape[1], device=x.device)[:, None], index[:, None]
    return x[rows], None if mask is None else mask[rows]
