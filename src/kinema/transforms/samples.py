"""Pose clips cut into samples and prepared for a model, a whole batch at once.

The order, and why: clip by clip when read: layout, unit, axes, persons, windows, length of the torso. Then, batch by batch:

1. time: crop, warp, sampling; so that whatever follows sees the frames that the model sees, as if they were the recording;
2. align, center, scale: posture free of the place, the direction and the size of the person;
3. rotate, tilt, [project,] roll, scale, shear, limbs, jitter, mirror, hidden joints and frames, in units of the prepared input; about the
   origin that centring made (without centring: these and align about the first frame's root, so that nobody swings around the camera);
4. streams: last, so that bones and motion agree with the joints that they are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from kinema.clip import Clip, PoseSequence
from kinema.errors import DataError, RecipeError
from kinema.layout import get_layout
from kinema.shape import PoseShape
from kinema.transforms import pose, sampling
from kinema.transforms._pose_clip import axes, canonical, check_input, torso_of
from kinema.transforms.batches import Batch, usable
from kinema.transforms.config import SCORE, PoseAugment, PoseInput, channels_of
from kinema.transforms.streams import streams

VIEW_SHARE = 0.9  # of the window, that the shifted crops of further test-time views keep


def window_starts(frames: int, window: int, stride: int) -> list[int]:
    """First frames of the windows of a clip: 0, stride, ... while the whole window lies in it; [0] for a shorter clip.

    `window` 0 takes the clip as a whole; `stride` 0 sets the windows side by side.
    """
    if not window or frames < window:
        return [0]
    return list(range(0, frames - window + 1, stride or window))


@dataclass
class _Rows:
    """One clip as it is stored: frames of all persons one after the other, and its samples."""

    points: np.ndarray  # (M * T, V, C) float32, the score behind the coordinates where it is asked for; C is 3 for what is projected
    mask: np.ndarray | None  # (M * T, V) bool
    persons: int
    frames: int
    samples: list[tuple[int, int, int]]  # start, length, phase
    torso: list[float]
    flat: bool  # 2-D, however many coordinates are stored


class PoseSamples:
    """Samples cut from clips, ready to be drawn in batches. Made by `from_clips`; frames are stored once, however windows overlap.

    `input`: the preparation; `channels`: C of the batches; `clip_ids`: of the clips; per sample, (N,) int64: `clip_of` index
    into `clip_ids`, `labels` (-1 unknown), `starts` and `lengths` of its window in frames of the clip, `phases` (for "skip").
    `mirrored`: (N,) bool, samples that are mirrored copies. `skipped`: the errors of clips that were left out.
    """

    saturated = ()

    def __init__(self, input: PoseInput, clips: Sequence[tuple[Clip, _Rows]], dims: int, skipped: Sequence[DataError] = ()):
        self.input, self.dims, self.skipped = input, dims, tuple(skipped)
        self._stored = 3 if input.project else dims
        self.layout = get_layout(input.layout)
        self.clip_ids = tuple(clip.id for clip, _ in clips)
        rows = [row for _, row in clips]
        # Row 0 is empty: the frame of a person who is not there.
        empty = np.zeros((1, *rows[0].points.shape[1:]), np.float32)
        self._points = torch.from_numpy(np.concatenate([empty, *(row.points for row in rows)]))
        self._mask = None
        if any(row.mask is not None or row.persons < input.persons for row in rows):
            masks = (row.mask if row.mask is not None else np.ones(row.points.shape[:2], bool) for row in rows)
            self._mask = torch.from_numpy(np.concatenate([np.zeros((1, len(self.layout)), bool), *masks]))
        self._persons = torch.tensor([row.persons for row in rows])
        self._frames = torch.tensor([row.frames for row in rows])
        self._flat = torch.tensor([row.flat for row in rows])
        self._first = 1 + torch.cat([torch.zeros(1, dtype=torch.long), (self._persons * self._frames).cumsum(0)[:-1]])
        self.clip_of = torch.tensor([i for i, row in enumerate(rows) for _ in row.samples])
        self.starts, self.lengths, self.phases = torch.tensor([sample for row in rows for sample in row.samples]).unbind(1)
        self._torso = torch.tensor([length for row in rows for length in row.torso]) if input.scale else None
        self.labels = torch.tensor([-1 if clip.label is None else clip.label for clip, _ in clips])[self.clip_of]
        self.mirrored, self._swaps = torch.zeros(len(self.labels), dtype=torch.bool), True

    def with_mirrored(self, swaps: bool = True) -> PoseSamples:
        """These samples, and behind them a mirrored copy of each; the frames are shared. `swaps`: see `PoseAugment.mirror_swaps`."""
        both = copy(self)
        for name in ("clip_of", "starts", "lengths", "phases", "labels"):
            setattr(both, name, getattr(self, name).repeat(2))
        both._torso = None if self._torso is None else self._torso.repeat(2)
        both.mirrored, both._swaps = torch.cat([self.mirrored, ~self.mirrored]), swaps
        return both

    @classmethod
    def from_clips(cls, clips: Sequence[Clip], input: PoseInput, on_error: str = "raise") -> PoseSamples:
        """Read the poses of `clips` and cut them as `input` says.

        Millimetres become metres; pixels stay. 3-D points get y upwards, 2-D points y downwards, as cameras and images have
        it; handedness is kept. Of more persons than wanted those that move most stay, in their order. Windows in which
        nothing was observed are left out.

        Raises `DataError` naming the clip that cannot be used: fewer than 2 frames, nothing observed or all scores 0, other coordinates
        or another unit than the clips before it (`on_error="skip"` leaves it out, and lists it in `skipped`); `LayoutError`
        where joints cannot be converted; `RecipeError` for settings that cannot be.
        """
        check_input(input)
        like: PoseSequence | None = None

        def cut(clip: Clip) -> _Rows:
            nonlocal like
            sequence = canonical(clip, input, like)
            rows = _cut(clip, sequence, input)
            like = like or sequence
            return rows

        kept, skipped = usable(clips, cut, on_error)
        return cls(input, kept, 2 if input.project else like.dims, skipped)

    def __len__(self) -> int:
        return len(self.clip_of)

    @property
    def channels(self) -> int:
        """C of the batches: coordinates times streams, and the score."""
        return channels_of(self.input.streams, self.dims)

    @property
    def shape(self) -> PoseShape:
        return PoseShape(self.input.persons, self.input.frames, self.layout, self.channels)

    @property
    def unit(self) -> str:
        """What a sample, its phases taken together, is: a clip as a whole or a window of it."""
        return "windows" if self.input.window else "clips"

    def batch(
        self,
        indices: Sequence[int] | Tensor,
        *,
        augment: PoseAugment | None = None,
        generator: torch.Generator | None = None,
        view: int = 0,
        views: int = 1,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples `indices`, prepared. Without `augment` nothing is random.

        `view` of `views`, for averaging over several looks at a test sample: view 0 is the window as a whole. The others are,
        for "resize", crops of nine tenths of it, evenly spread from its start to its end; for "segments", other
        places within the segments, evenly spread; for "skip", later phases, evenly spread over a step. With `input.mirror_views`
        the second half of the views are mirror images of the first.
        """
        if not 0 <= view < views:
            raise RecipeError(f"view {view} is not one of {views} views (0..{views - 1})")
        indices = torch.as_tensor(indices, dtype=torch.long)
        mirrored = self.mirrored[indices]
        if self.input.mirror_views and views > 1:
            if views % 2:
                raise RecipeError(f"input.mirror_views needs an even number of views; there are {views}")
            views //= 2
            view, mirrored = (view - views, ~mirrored) if view >= views else (view, mirrored)
        times = self._times(indices, augment, generator, view, views)
        x, mask = self._gather(self.clip_of[indices], times)
        labels = self.labels[indices]
        if device is not None:
            x, labels = x.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            mask = None if mask is None else mask.to(device, non_blocking=True)
        x, score = x[..., : self._stored], x[..., self._stored :]
        x, mask, exchanged = self._prepare(x, mask, indices, mirrored, augment, generator)
        x, mask = streams(x, mask, [stream for stream in self.input.streams if stream != SCORE], self.layout.parents)
        if SCORE in self.input.streams:
            which = exchanged.to(x.device)[:, None, None, None, None]
            score = torch.where(which, score[:, :, :, torch.as_tensor(self.layout.mirror)], score)
            x = torch.cat([x, pose.zero_unobserved(score, mask)], -1)
        return Batch({"x": x.contiguous(), "mask": mask}, labels)

    def _times(self, indices: Tensor, augment: PoseAugment | None, generator, view: int, views: int) -> Tensor:
        """(B, T) frames within the clip: whole for "segments" and "skip", in between for "resize"."""
        wanted, starts, lengths = self.input, self.starts[indices], self.lengths[indices]
        crop, warp = None, 0.0
        if augment is not None:
            if wanted.sampling == "skip" and (augment.crop < 1 or augment.warp):
                raise RecipeError("augment.crop and augment.warp need input.sampling resize or segments; it is skip")
            warp = augment.warp
            if augment.crop < 1:
                crop = sampling.random_crop(len(indices), augment.crop, generator)
        if wanted.sampling == "skip":
            return sampling.skip_frames(starts, lengths, wanted.frames, wanted.step, self.phases[indices] + view * wanted.step // views)
        if wanted.sampling == "segments":
            offset = (0.5 + view / views) % 1
            return sampling.segment_frames(starts, lengths, wanted.frames, crop, warp, generator, augment is not None, offset)
        if view:
            begin = (1 - VIEW_SHARE) * ((view - 1) / (views - 2) if views > 2 else 0.5)
            crop = tuple(torch.full((len(indices),), share, dtype=torch.float64) for share in (begin, VIEW_SHARE))
        return sampling.resize_positions(starts, lengths, wanted.frames, crop, warp, generator)

    def _gather(self, clips: Tensor, times: Tensor) -> tuple[Tensor, Tensor | None]:
        """Points (B, M, T, V, C) and mask at `times` (B, T), interpolated where these lie between frames."""
        person = torch.arange(self.input.persons)[None, :, None]
        frames = self._frames[clips][:, None]
        there = person < self._persons[clips][:, None, None]

        def rows(index: Tensor) -> tuple[Tensor, Tensor | None]:
            row = self._first[clips][:, None, None] + person * frames[:, None] + index[:, None]
            row = torch.where(there, row, 0)
            points = self._points.index_select(0, row.flatten()).view(*row.shape, *self._points.shape[1:])
            mask = None if self._mask is None else self._mask.index_select(0, row.flatten()).view(*row.shape, len(self.layout))
            return points, mask

        if not times.is_floating_point():
            x, mask = rows(times)
        else:
            low = times.long()
            before, after = rows(low), rows(torch.minimum(low + 1, frames - 1))
            complete = before[1] is None or bool(before[1].all() and after[1].all())
            weight = (times - low)[:, None].expand(*before[0].shape[:3])
            x, mask = sampling.blend(before[0], after[0], weight, *((None, None) if complete else (before[1], after[1])))
        return x, None if mask is None or bool(mask.all()) else mask

    def _prepare(
        self, x: Tensor, mask: Tensor | None, indices: Tensor, mirrored: Tensor, augment: PoseAugment | None, generator
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Steps 2 and 3 of the module's order; copies are `mirrored` in between. The third result tells, (B,) bool, whose left and
        right joints were exchanged."""
        root, pivot = self.layout.root, None
        copies, exchanged = bool(mirrored.any()), mirrored & self._swaps
        if self.input.center == "none" and (self.input.align or augment is not None or copies):
            pivot = pose.first_root(x, mask, root)[:, None, None, None]
            x = pose.zero_unobserved(x - pivot, mask)
        if self.input.align:
            x = pose.align_view(x, mask, self.layout)
        if self.input.center == "root":
            x = pose.center_root(x, mask, root)
        elif self.input.center == "first":
            x = pose.center_first(x, mask, root)
        if self._torso is not None:
            size = self._torso[indices].to(x)[:, None, None, None, None]
            x, pivot = x / size, None if pivot is None else pivot / size
        if copies:
            x, mask = self._mirror(x, mask, mirrored, self._swaps)
        if augment is not None and (augment.rotate or augment.tilt):
            turn = pose.random_rotation(len(x), self._stored, augment.rotate, augment.tilt, generator)
            if self.input.project:
                turn[self._flat[self.clip_of[indices]]] = torch.eye(3).to(turn)
            x = pose.linear(x, turn)
        if self.input.project:
            x, pivot = pose.project(x), None if pivot is None else pose.project(pivot)
        if augment is not None:
            x, mask, also = self._changed(x, mask, augment, generator)
            exchanged = exchanged ^ also
        if pivot is not None:
            x = pose.zero_unobserved(x + pivot, mask)
        if augment is not None and augment.drop_joints:
            x, mask = pose.drop_joints(x, mask, augment.drop_joints, generator)
        if augment is not None and augment.drop_frames:
            x, mask = pose.drop_frames(x, mask, augment.drop_frames, generator)
        if augment is not None and augment.hide_legs:
            x, mask = pose.hide_legs(x, mask, self.layout, augment.hide_legs, generator)
        return x, mask, exchanged

    def _changed(self, x: Tensor, mask: Tensor | None, augment: PoseAugment, generator) -> tuple[Tensor, Tensor | None, Tensor]:
        """The random changes of what the model sees: turned, sized and sheared by one matrix a sample, then jitter and mirror."""
        batch, drawn = len(x), []
        exchanged = torch.zeros(batch, dtype=torch.bool)
        if augment.roll:
            drawn.append(pose.random_roll(batch, self.dims, augment.roll, generator))
        if augment.scale:
            drawn.append(pose.random_scaling(batch, self.dims, augment.scale, generator))
        if augment.shear:
            drawn.append(pose.random_shear(batch, self.dims, augment.shear, generator))
        if drawn:
            x = pose.linear(x, reduce(lambda first, then: then @ first, drawn))
        if augment.limbs:
            x = pose.shorten_limbs(x, mask, self.layout, augment.limbs, generator)
        if augment.jitter:
            x = pose.jitter(x, mask, augment.jitter, generator)
        if augment.swap_sides:
            which = sampling.uniform((batch,), generator) < augment.swap_sides
            x, mask = pose.swap_sides(x, mask, self.layout, which)
            exchanged = exchanged ^ which
        if augment.mirror:
            which = sampling.uniform((batch,), generator) < augment.mirror
            x, mask = self._mirror(x, mask, which, augment.mirror_swaps)
            exchanged = exchanged ^ (which & augment.mirror_swaps)
        return x, mask, exchanged

    def _mirror(self, x: Tensor, mask: Tensor | None, which: Tensor, swaps: bool) -> tuple[Tensor, Tensor | None]:
        swap = self.layout.mirror if swaps else np.arange(len(self.layout))
        return pose.mirror(x, mask, swap, which)


def _cut(clip: Clip, sequence: PoseSequence, input: PoseInput) -> _Rows:
    points = sequence.points * axes(sequence)
    flat = sequence.dims == 2
    if input.project and flat:  # a body in the plane of its picture
        points = np.concatenate([-points, np.zeros_like(points[..., :1])], -1)
    if SCORE in input.streams:
        score = sequence.observed if sequence.score is None else sequence.score * sequence.observed
        points = np.concatenate([points, score[..., None].astype(np.float32)], -1)
    persons, frames = points.shape[:2]
    window = min(input.window, frames) if input.window else frames
    phases = [0]
    if input.sampling == "skip":
        phases = [phase for phase in input.phases if phase < window - 1]
        if not phases:
            raise DataError(
                f"clip {clip.id!r} has {frames} frames; more than {min(input.phases) + 1} are needed for input.phases", clip.source
            )
    shown = sequence.observed.any((0, 2))
    samples, torso = [], []
    whole = None
    for start in window_starts(frames, input.window, input.stride):
        part = slice(start, start + window)
        if not shown[part].any():
            continue
        samples += [(start, window, phase) for phase in phases]
        if input.scale:
            length = torso_of(sequence, part, input)
            if np.isnan(length):
                whole = torso_of(sequence, slice(None), input) if whole is None else whole
                length = whole
            if np.isnan(length):
                raise DataError(f"clip {clip.id!r}: shoulders and hips are never observed together; input.scale needs them", clip.source)
            torso += [length] * len(phases)
    if not samples:
        raise DataError(f"clip {clip.id!r}: no joint is observed within its windows of {window} frames", clip.source)
    mask = None if sequence.mask is None or sequence.mask.all() else sequence.mask.reshape(persons * frames, -1)
    return _Rows(points.reshape(persons * frames, *points.shape[2:]), mask, persons, frames, samples, torso, flat)
