"""Geometry of whole batches of skeletons: centring, scaling, alignment, and the random changes that training makes.

Points are (B, M, T, V, C) tensors (clips, persons, frames, joints, 2 or 3 coordinates), masks (B, M, T, V) bool, True where a
joint was observed, or None where all are. Points that were not observed are zero, before and after every function here, and
are never taken for positions. x and z are horizontal, y is vertical, whichever way it points.

A random function draws for every clip anew, on the CPU unless its generator lives elsewhere: the same seed gives the same
result on every device. Without a generator it draws from PyTorch's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinema.errors import LayoutError, RecipeError
from kinema.layout import Layout
from kinema.transforms.sampling import uniform
from kinema.transforms.streams import bone


def zero_unobserved(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x` with every point that the mask denies set to 0."""
    return x if mask is None else x * mask.unsqueeze(-1)


def nearest_observed(seen: Tensor) -> Tensor:
    """(..., T) bool -> (..., T) index of the nearest True along T, the earlier one of two; 0 where there is none."""
    frames = seen.shape[-1]
    time = torch.arange(frames, device=seen.device).expand(seen.shape)
    before = torch.where(seen, time, -2 * frames).cummax(-1).values
    after = torch.where(seen, time, 3 * frames).flip(-1).cummin(-1).values.flip(-1)
    return torch.where(time - before <= after - time, before, after).masked_fill(~seen.any(-1, keepdim=True), 0)


def root_track(x: Tensor, mask: Tensor | None, root: int) -> Tensor:
    """(B, M, T, C): where the root joint is in every frame.

    Where it was not observed: where it was in the nearest frame in which it was; for a person whose root was never
    observed, the mean of the joints that were.
    """
    track = x[..., root, :]
    if mask is None or bool(mask[..., root].all()):
        return track
    seen = mask[..., root]
    nearest = nearest_observed(seen).unsqueeze(-1).expand(track.shape)
    mean = x.sum(-2) / mask.sum(-1, keepdim=True).clamp(min=1)
    # A frame without any joint has no mean; it borrows the nearest one that has.
    some = nearest_observed(mask.any(-1)).unsqueeze(-1).expand(track.shape)
    return torch.where(seen.any(-1)[..., None, None], track.gather(2, nearest), mean.gather(2, some))


def first_root(x: Tensor, mask: Tensor | None, root: int) -> Tensor:
    """(B, C): where the root of person 0 is in the first frame; of the first person who was observed at all, if not 0."""
    start = root_track(x, mask, root)[:, :, 0]
    if mask is None:
        return start[:, 0]
    person = mask.flatten(2).any(-1).int().argmax(1)
    return start[torch.arange(len(x), device=x.device), person]


def center_root(x: Tensor, mask: Tensor | None, root: int) -> Tensor:
    """Every person's own root joint at the origin in every frame: what is left is posture alone."""
    return zero_unobserved(x - root_track(x, mask, root).unsqueeze(-2), mask)


def center_first(x: Tensor, mask: Tensor | None, root: int) -> Tensor:
    """The first frame's root of person 0 at the origin: the paths of all persons and the distances between them stay."""
    return zero_unobserved(x - first_root(x, mask, root)[:, None, None, None], mask)


def _pair_mean(x: Tensor, mask: Tensor | None, joints: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean of those of `joints` that were observed, (B, M, T, C), and whether there is one, (B, M, T)."""
    points = x[..., list(joints), :]
    if mask is None:
        return points.mean(-2), torch.ones(x.shape[:3], dtype=torch.bool, device=x.device)
    count = mask[..., list(joints)].sum(-1)
    return points.sum(-2) / count.clamp(min=1).unsqueeze(-1), count > 0


def _named(layout: Layout, what: str, *options: tuple[str, ...]) -> list[int]:
    for names in options:
        if layout.has(*names):
            return [layout.index(name) for name in names]
    wanted = " or ".join(" and ".join(names) for names in options)
    raise LayoutError(f"layout {layout.name!r} has no {what}: {wanted} would be needed")


def torso_length(x: Tensor, mask: Tensor | None, layout: Layout) -> Tensor:
    """(B,): distance from between the shoulders to between the hips, its median over all frames and persons.

    One observed shoulder and one hip will do for a frame. NaN where no frame has them, or where the length is 0.
    Raises `LayoutError` for a layout without shoulders or hips.
    """
    top, top_seen = _pair_mean(x, mask, _named(layout, "shoulders", ("left_shoulder", "right_shoulder"), ("shoulder_center",), ("neck",)))
    low, low_seen = _pair_mean(x, mask, _named(layout, "hips", ("left_hip", "right_hip"), ("hip_center",)))
    length = (top - low).norm(dim=-1).masked_fill(~(top_seen & low_seen), math.nan).flatten(1)
    length = length.nanmedian(-1).values
    return length.masked_fill(length == 0, math.nan)


def linear(x: Tensor, matrix: Tensor) -> Tensor:
    """Every point p of clip b becomes matrix[b] @ p. `matrix`: (B, C, C). Points at zero stay there."""
    joints, dims = x.shape[3:]
    # A product with 3 x 3 matrices is all overhead: several joints share a larger one with the matrix along its diagonal.
    group = next(size for size in (5, 4, 3, 2, 1) if joints % size == 0)
    eye = torch.eye(group, dtype=x.dtype, device=x.device)
    blocks = (eye[:, None, :, None] * matrix.to(x).transpose(1, 2)[:, None, :, None]).reshape(-1, group * dims, group * dims)
    return torch.bmm(x.reshape(len(x), -1, group * dims), blocks).view(x.shape)


def view_rotation(x: Tensor, mask: Tensor | None, layout: Layout) -> Tensor:
    """(B, 3, 3): the turn about the vertical that brings the line from the left to the right shoulder along +x.

    Taken from the first frame of person 0 in which both shoulders were observed (from the next person where there is none;
    no turn at all where nobody has one), and meant for all persons and frames of the clip. 3-D points only.
    """
    _want_3d(x.shape[-1], "aligning the view")
    left, right = _named(layout, "shoulders", ("left_shoulder", "right_shoulder"))
    line = (x[..., right, :] - x[..., left, :]).flatten(1, 2)
    if mask is None:
        line = line[:, 0]
    else:
        seen = (mask[..., right] & mask[..., left]).flatten(1)
        line = line[torch.arange(len(x), device=x.device), seen.int().argmax(1)].masked_fill(~seen.any(1, keepdim=True), 0)
    return _turn(torch.atan2(line[:, 2], line[:, 0]), 0, 2)


def align_view(x: Tensor, mask: Tensor | None, layout: Layout) -> Tensor:
    """The clips turned by `view_rotation`."""
    return linear(x, view_rotation(x, mask, layout))


def rotation_onto(source: Tensor, target: Sequence[float]) -> Tensor:
    """(B, 3, 3): the smallest rotation that takes each `source` (B, 3) to the direction of `target`; none for a zero vector."""
    length = source.norm(dim=-1, keepdim=True)
    goal = torch.tensor(target, dtype=source.dtype, device=source.device).expand(source.shape)
    unit = torch.where(length > 0, source / length.clamp(min=torch.finfo(source.dtype).tiny), goal)
    axis, cosine = torch.linalg.cross(unit, goal), (unit * goal).sum(-1)
    eye = torch.eye(3, dtype=source.dtype, device=source.device)
    skew = torch.linalg.cross(eye.expand(len(source), 3, 3), axis[:, None])  # skew @ p = axis x p
    opposite = (cosine < -1 + 1e-12)[:, None, None]
    turned = eye + skew + skew @ skew / (1 + cosine).masked_fill(opposite[:, 0, 0], 1)[:, None, None]
    # Opposite directions leave the axis open: the half turn about any line across the target, here the next coordinate axis.
    across = eye[(goal[0].abs().argmax() + 1) % 3]
    return torch.where(opposite, 2 * torch.outer(across, across) - eye, turned)


def mirror(x: Tensor, mask: Tensor | None, swap: np.ndarray | Tensor, which: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Left and right exchanged: x negated and every joint given the place of its counterpart.

    `swap`: (V,) permutation, a layout's `mirror`. `which`: (B,) bool, the clips that it is done to (all without it).
    """
    swap = torch.as_tensor(np.asarray(swap), device=x.device)
    flipped = x.index_select(3, swap)
    flipped[..., 0].neg_()
    other = None if mask is None else mask.index_select(3, swap)
    if which is None:
        return flipped, other
    which = which.to(x.device)[:, None, None, None]
    return torch.where(which.unsqueeze(-1), flipped, x), None if mask is None else torch.where(which, other, mask)


def swap_sides(x: Tensor, mask: Tensor | None, layout: Layout, which: Tensor) -> tuple[Tensor, Tensor | None]:
    """Left and right exchanged as in a body of the other handedness: `mirror`, but across each person's own middle plane.

    The plane is upright, goes through the origin and is square to the horizontal line through the shoulders, the mean of those
    frames that show both (to x where none does). `which`: (B,) bool, the clips that it is done to. 3-D points only.
    """
    _want_3d(x.shape[-1], "swapping sides")
    left, right = _named(layout, "shoulders", ("left_shoulder", "right_shoulder"))
    line = x[..., left, :] - x[..., right, :]
    if mask is not None:
        line = line * (mask[..., left] & mask[..., right]).unsqueeze(-1)
    line = line.sum(2) * line.new_tensor([1.0, 0, 1])
    length = line.norm(dim=-1, keepdim=True)
    across = torch.where(length > 0, line / length.clamp(min=1e-12), line.new_tensor([1.0, 0, 0]))[:, :, None, None]
    swap = torch.as_tensor(layout.mirror, device=x.device)
    swapped = x.index_select(3, swap)
    swapped = swapped - 2 * (swapped * across).sum(-1, keepdim=True) * across
    other = None if mask is None else mask.index_select(3, swap)
    which = which.to(x.device)[:, None, None, None]
    return torch.where(which.unsqueeze(-1), swapped, x), None if mask is None else torch.where(which, other, mask)


def _want_3d(dims: int, what: str) -> None:
    if dims != 3:
        raise RecipeError(f"{what} needs 3-D points; these have {dims} coordinates")


def _around_zero(shape: tuple[int, ...], largest: float, generator: torch.Generator | None) -> Tensor:
    """Uniform between -largest and largest."""
    return (2 * uniform(shape, generator) - 1) * largest


def _turn(angle: Tensor, i: int, j: int, dims: int = 3) -> Tensor:
    """(B, dims, dims): by `angle` (B,) radians in the plane of coordinates i and j, against the way from i to j."""
    matrix = torch.eye(dims, dtype=angle.dtype, device=angle.device).repeat(len(angle), 1, 1)
    cosine, sine = angle.cos(), angle.sin()
    matrix[:, i, i], matrix[:, i, j], matrix[:, j, i], matrix[:, j, j] = cosine, sine, -sine, cosine
    return matrix


def project(x: Tensor) -> Tensor:
    """3-D points, y up, as an image shows them from where z begins: (..., 3) to (..., 2), y down, without perspective.

    x of an image grows to the right of who looks, x of right-handed points with y up and z away from him to his left: it is negated too.
    Somebody who faces the camera then has his left hand on the right of the picture, where an estimator sees it.
    """
    return -x[..., :2]


def random_rotation(clips: int, dims: int, rotate: float = 0.0, tilt: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
    """(clips, 3, 3): turns by up to `rotate` degrees about the vertical, then up to `tilt` degrees about x and z each.

    3-D points only: `random_roll` turns 2-D ones.
    """
    _want_3d(dims, "rotating about the vertical (augment.rotate) or a horizontal axis (augment.tilt)")
    about_y, about_x, about_z = torch.deg2rad(_around_zero((3, clips), 1.0, generator) * torch.tensor([[rotate], [tilt], [tilt]]))
    return _turn(about_z, 0, 1) @ _turn(about_x, 1, 2) @ _turn(about_y, 0, 2)


def random_roll(clips: int, dims: int, roll: float, generator: torch.Generator | None = None) -> Tensor:
    """(clips, dims, dims): turns by up to `roll` degrees about the line of sight z, within the picture of a 2-D pose."""
    return _turn(torch.deg2rad(_around_zero((clips,), roll, generator)), 0, 1, dims)


def random_scaling(clips: int, dims: int, scale: float, generator: torch.Generator | None = None) -> Tensor:
    """(clips, dims, dims): larger or smaller by a factor within 1 +- scale, the same in all directions."""
    return (1 + _around_zero((clips, 1, 1), scale, generator)) * torch.eye(dims, dtype=torch.float64)


def random_shear(clips: int, dims: int, shear: float, generator: torch.Generator | None = None) -> Tensor:
    """(clips, dims, dims): every coordinate gains up to `shear` times each of the others."""
    eye = torch.eye(dims, dtype=torch.float64)
    return eye + _around_zero((clips, dims, dims), shear, generator) * (1 - eye)


def jitter(x: Tensor, mask: Tensor | None, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise of standard deviation `std` on every observed coordinate."""
    device = generator.device if generator is not None else "cpu"
    noise = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)
    return zero_unobserved(x + std * noise, mask)


def shorten_limbs(x: Tensor, mask: Tensor | None, layout: Layout, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Bodies of other proportions: each bone shorter by up to `share` of its length throughout the clip, as much on both sides.

    What hangs on a bone moves with it; the layout's root stays. A bone of which an end is not observed keeps its place.
    """
    joints = np.arange(len(layout))
    factor = uniform((len(x), len(layout)), generator)[:, np.minimum(joints, layout.mirror)]
    # above[j, k]: whether bone k, named by its child, is on the way from the tree's top to joint j
    above, parents = np.eye(len(layout)), layout.parents
    for _ in joints:
        above = np.maximum(np.eye(len(layout)), above[parents])
    lost = bone(x, mask, parents)[0] * (-share * factor).to(x)[:, None, None, :, None]
    moved = torch.einsum("jk,bmtkc->bmtjc", torch.from_numpy(above).to(x), lost)
    return zero_unobserved(x + moved - moved[..., layout.root, None, :], mask)


def hide_legs(
    x: Tensor, mask: Tensor | None, layout: Layout, probability: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """With this probability feet, half of the time knees too, masked throughout the clip, as where the picture ends above them."""
    feet = torch.tensor([any(part in joint for part in ("ankle", "foot", "heel", "toe")) for joint in layout.joints])
    legs = feet | torch.tensor(["knee" in joint for joint in layout.joints])
    drawn = uniform((len(x), 1), generator)
    hidden = (feet & (drawn < probability)) | (legs & (drawn < probability / 2))
    kept = ~hidden[:, None, None, :].to(x.device)
    mask = kept.expand(x.shape[:4]).contiguous() if mask is None else mask & kept
    return zero_unobserved(x, mask), mask


def _drop(x: Tensor, mask: Tensor | None, shape: tuple[int, ...], probability: float, generator) -> tuple[Tensor, Tensor]:
    kept = (uniform(shape, generator) >= probability).to(x.device)
    mask = kept.expand(x.shape[:4]).contiguous() if mask is None else mask & kept
    return zero_unobserved(x, mask), mask


def drop_joints(x: Tensor, mask: Tensor | None, probability: float, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Each joint masked with this probability, throughout the clip and for all persons."""
    return _drop(x, mask, (x.shape[0], 1, 1, x.shape[3]), probability, generator)


def drop_frames(x: Tensor, mask: Tensor | None, probability: float, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Each frame masked with this probability, for all persons."""
    return _drop(x, mask, (x.shape[0], 1, x.shape[2], 1), probability, generator)


def draw_mix(count: int, alpha: float, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """For mixup: (B,) shares of each sample itself, from Beta(alpha, alpha) and at least a half, and (B,) the other one of each."""
    device = generator.device if generator is not None else "cpu"
    seed = torch.randint(2**62, (), generator=generator, device=device).item()
    share = np.random.default_rng(seed).beta(alpha, alpha, count)
    return torch.from_numpy(np.maximum(share, 1 - share)), torch.randperm(count, generator=generator, device=device)


def mix_points(x: Tensor, mask: Tensor | None, share: Tensor, other: Tensor) -> tuple[Tensor, Tensor | None]:
    """Each clip mixed with clip `other` (B,), of which it keeps `share` (B,).

    A joint that only one of the two observed is taken from that one, for zeros are no position to mix with: it is observed where
    either was.
    """
    own, other = share.to(x).view(-1, 1, 1, 1, 1), other.to(x.device)
    if mask is None:
        return own * x + (1 - own) * x[other], None
    weight = own * mask.unsqueeze(-1)
    weight_other = (1 - own) * mask[other].unsqueeze(-1)
    total = weight + weight_other
    mixed = (weight * x + weight_other * x[other]) / total.masked_fill(total == 0, 1)
    return mixed, mask | mask[other]
