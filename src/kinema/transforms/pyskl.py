"""The 3-D skeleton pipeline of PYSKL (Duan et al., ACM MM 2022) for NTU RGB+D's 25 joints, on whole batches at once.

For networks whose published weights were trained on it. Its rules, in order: frames without person 0 are dropped; joint 1 of
person 0 in the first frame becomes the origin; the smallest rotation brings joint 1 - joint 0 to +z, another one the line
from the left to the right shoulder (joints 4 and 8) to +x; bones and motion are taken; frames are sampled; persons are padded.
It has no masks: a joint at exactly (0, 0, 0) was not observed and stays there, and bones and motion take it for a position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinema.errors import DataError
from kinema.transforms.pose import linear, rotation_onto
from kinema.transforms.sampling import pyskl_frames, segment_frames
from kinema.transforms.streams import bone, side_by_side

# Its tree hangs from the shoulder centre (joint 20), and thumbs carry the tips of the hands.
PARENTS = (1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 22, 7, 24, 11)


def pad_clips(clips: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Clips (M, T, V, C) of any number of persons and frames -> (B, M, T, V, C) float32, padded with zeros, and (B,) frames."""
    lengths = torch.tensor([clip.shape[1] for clip in clips])
    if len({clip.shape for clip in clips}) == 1:
        return torch.from_numpy(np.stack(clips).astype(np.float32, copy=False)), lengths
    persons, frames = (max(clip.shape[axis] for clip in clips) for axis in (0, 1))
    points = np.zeros((len(clips), persons, frames, *clips[0].shape[2:]), np.float32)
    for row, clip in zip(points, clips, strict=True):
        row[: clip.shape[0], : clip.shape[1]] = clip
    return torch.from_numpy(points), lengths


def _drop_empty_frames(points: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Frames without person 0 left out; persons 0 and 1 exchanged first where 1 is in more frames."""
    shown = (points != 0).flatten(3).any(-1)
    count = shown.sum(-1)
    if points.shape[1] > 1:
        swap = count[:, 1] > count[:, 0]
        if bool(swap.any()):
            order = torch.arange(points.shape[1], device=points.device).repeat(len(points), 1)
            order[swap, 0], order[swap, 1] = 1, 0
            rows = torch.arange(len(points), device=points.device)[:, None]
            points, shown, count = points[rows, order], shown[rows, order], count[rows, order]
    kept = count[:, 0]
    if bool((kept == 0).any()):
        raise DataError(f"clip {int(kept.argmin())} of the batch: no joint was observed in any frame")
    if bool((kept == lengths).all()):
        return points, lengths
    order = torch.argsort(~shown[:, 0], dim=1, stable=True)
    rows = torch.arange(len(points), device=points.device)[:, None]
    return points[rows, :, order].transpose(1, 2), kept


def normalise(points: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Frames dropped, origin and axes set as the module says. `points`: (B, M, T, 25, 3), zero beyond `lengths` (B,) frames.

    Returns the points and how many frames each clip has now. Raises `DataError` where a clip has no person at all.
    """
    lengths = torch.full((len(points),), points.shape[2]) if lengths is None else lengths
    lengths = lengths.to(points.device)
    full = bool((points[..., 0] != 0).all())  # nothing is missing: what nearly every clip is like
    if not full:
        points, lengths = _drop_empty_frames(points, lengths)
    origin = points[:, 0, 0, 1]
    moved = points - origin[:, None, None, None]
    if not full:
        moved = moved * (points != 0).any(-1, keepdim=True)
    body = moved[:, 0, 0].double()
    upright = rotation_onto(body[:, 1] - body[:, 0], (0.0, 0.0, 1.0))
    across = torch.bmm(upright, (body[:, 8] - body[:, 4]).unsqueeze(-1)).squeeze(-1)
    return linear(moved, rotation_onto(across, (1.0, 0.0, 0.0)) @ upright), lengths


def skeleton_streams(
    points: Tensor,
    lengths: Tensor | None = None,
    frames: int = 100,
    persons: int = 2,
    clips: int = 1,
    training: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(B, clips, persons, frames, 25, 12): joint, bone, joint motion and bone motion, three coordinates each.

    `points`: (B, M, T, 25, 3) in metres, zero beyond `lengths` (B,) frames (see `pad_clips`). In training one random frame
    is taken from each of `frames` segments; otherwise the frames that PYSKL's fixed seed takes, `clips` times.
    """
    points, lengths = normalise(points, lengths)
    points, lengths = points[:, :persons], lengths.cpu()
    batch, found, _, joints, _ = points.shape
    if training:
        shape = (batch * clips,)
        taken = segment_frames(torch.zeros(shape), lengths.repeat_interleave(clips), frames, generator=generator, training=True)
        taken = taken.view(batch, clips * frames)
    else:
        taken = torch.from_numpy(np.stack([pyskl_frames(length, frames, clips) for length in lengths.tolist()]))
    following = torch.minimum(taken + 1, lengths[:, None] - 1)  # the last frame follows itself: it does not move
    here, there = (_rows(points, index) for index in (taken, following))
    moved = there.sub_(here)
    made = side_by_side([here, bone(here, None, PARENTS)[0], moved, bone(moved, None, PARENTS)[0]])
    made = made.view(batch, found, clips, frames, joints, -1).transpose(1, 2)
    if found == persons:
        return made.contiguous()
    out = made.new_empty(batch, clips, persons, frames, joints, made.shape[-1])
    out[:, :, :found] = made
    out[:, :, found:] = 0
    return out


def _rows(points: Tensor, index: Tensor) -> Tensor:
    """Frames `index` (B, L) of every person: (B, M, L, V, C)."""
    batch, persons, frames = points.shape[:3]
    rows = torch.arange(batch * persons).view(batch, persons, 1) * frames + index[:, None]
    return points.flatten(0, 2).index_select(0, rows.flatten().to(points.device)).view(batch, persons, -1, *points.shape[3:])
