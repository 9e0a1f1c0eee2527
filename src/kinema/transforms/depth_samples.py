"""Depth clips prepared for a model, a whole batch at once.

The order, and why: clip by clip when read: the crop, kept or made now. Then, sample by sample: time (crop, warp, which frames),
views, scale of the values, descriptor; these are cheap array work on bytes, and descriptors of whole clips are kept. Then, for the
batch on its device: one resampling does the cut, the size and the random changes of place; values are changed last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinema.clip import Clip
from kinema.depth_crop import SIDE, DepthCrop, depth_crop
from kinema.errors import DataError, RecipeError, unknown
from kinema.shape import DepthShape
from kinema.transforms import depth, sampling
from kinema.transforms.batches import Batch, usable
from kinema.transforms.depth_config import DepthAugment, DepthInput
from kinema.transforms.samples import VIEW_SHARE
from kinema.transforms.skeleton_box import depth_places

_KNOWN = {
    "form": ("motion", "difference", "frame", "video"),
    "fit": ("stretch", "square", "metric", "frame", "skeleton"),
    "scale": ("clip", "metric"),
    "views": ("front", "side", "top"),
    "features": ("depth", "motion"),
}
_LEAST = 1 / 255  # of the foreground, so that it stays apart from background


class DepthSamples:
    """Samples of depth clips, ready to be drawn in batches. Made by `from_clips`; attributes as in `kinema.transforms.batches.Samples`.

    Every sample is of a whole clip; for the form "frame" there are `input.frames` of each, told apart by `phases`. `cuts` and `uncropped`:
    as of `kinema.transforms.video_samples.VideoSamples`.
    """

    unit = "clips"
    saturated = ()

    def __init__(self, input: DepthInput, clips: Sequence[tuple[Clip, DepthCrop]], skipped: Sequence[DataError] = ()):
        self.input, self.skipped = input, tuple(skipped)
        self.cuts, self.uncropped = input.fit == "skeleton", ()
        self.clip_ids = tuple(clip.id for clip, _ in clips)
        self._crops = [crop for _, crop in clips]
        each = input.frames if input.form == "frame" else 1
        self.clip_of = torch.arange(len(clips)).repeat_interleave(each)
        self.phases = torch.arange(each).repeat(len(clips))
        self.lengths = torch.tensor([len(crop.frames) for crop in self._crops])[self.clip_of]
        self.starts = torch.zeros_like(self.lengths)
        self.labels = torch.tensor([-1 if clip.label is None else clip.label for clip, _ in clips])[self.clip_of]
        self.mirrored = torch.zeros(len(self.labels), dtype=torch.bool)
        self._images: list[np.ndarray | None] = [None] * len(clips)
        if self.cuts:
            places = depth_places(clips)
            self.uncropped = tuple(clip.id for (clip, _), place in zip(clips, places, strict=True) if place is None)
            whole = (0.0, 0.0, 1.0, 1.0)
            boxes = [[depth.place_box(crop, whole if place is None else place)] for crop, place in zip(self._crops, places, strict=True)]
        else:
            boxes = [[depth.view_box(crop, view, input.fit) for view in input.views] for crop in self._crops]
        self._boxes = torch.tensor(boxes, dtype=torch.float32)
        self._sides = torch.tensor([crop.side for crop in self._crops])

    @classmethod
    def from_clips(cls, clips: Sequence[Clip], input: DepthInput, on_error: str = "raise") -> DepthSamples:
        """Read the depth of `clips`, from where it is kept cropped if it is.

        Raises `DataError` naming the clip that cannot be used: without depth, without foreground, of a single frame where
        differences are wanted (`on_error="skip"` leaves it out, and lists it in `skipped`); `RecipeError` for impossible settings.
        """
        _check(input)

        def crop_of(clip: Clip) -> DepthCrop:
            crop = depth_crop(clip)
            if input.form == "difference" and len(crop.frames) < 2:
                raise DataError(f"clip {clip.id!r} has 1 depth image; a difference image needs at least 2", clip.source)
            return crop

        return cls(input, *usable(clips, crop_of, on_error))

    def __len__(self) -> int:
        return len(self.clip_of)

    @property
    def shape(self) -> DepthShape:
        return self.input.shape

    def batch(
        self,
        indices: Sequence[int] | Tensor,
        *,
        augment: DepthAugment | None = None,
        generator: torch.Generator | None = None,
        view: int = 0,
        views: int = 1,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples `indices` as `depth`: images (B, C, H, W), C = views x segments, one after another view by view; videos
        (B, C, T, H, W), C = views x features. float32; background 0, foreground up to 1, "motion" of videos -1..1.

        Without `augment` nothing is random. `view` of `views`, for averaging over several looks at a test sample: view 0 is the
        clip as a whole. The others are, for descriptors, those of nine tenths of it, evenly spread from its start to its end;
        for frames and videos, other places within the equal parts that frames are taken from, evenly spread.
        """
        if not 0 <= view < views:
            raise RecipeError(f"view {view} is not one of {views} views (0..{views - 1})")
        if augment is not None:
            _check_augment(self.input, augment)
        indices = torch.as_tensor(indices, dtype=torch.long)
        clips = self.clip_of[indices].tolist()
        if self.input.form in depth.DESCRIPTORS:
            pictures = self._descriptors(clips, augment, generator, view, views)
        else:
            pictures = self._frames(clips, self._times(indices, augment, generator, view, views))
        place = None if augment is None else _random_place(len(indices), augment, generator)
        x = self._resampled(pictures, clips, place, device)
        if augment is not None:
            x = _changed(x, augment, generator)
        labels = self.labels[indices]
        return Batch({"depth": self._arranged(x)}, labels if device is None else labels.to(device, non_blocking=True))

    def _descriptors(self, clips: list[int], augment: DepthAugment | None, generator, view: int, views: int) -> list[np.ndarray]:
        """(V, segments, S, S) values of each clip."""
        if augment is not None and augment.crop < 1:
            begin, size = (part.tolist() for part in sampling.random_crop(len(clips), augment.crop, generator))
            return [self._descriptor(*part) for part in zip(clips, begin, size, strict=True)]
        if view:
            begin = (1 - VIEW_SHARE) * ((view - 1) / (views - 2) if views > 2 else 0.5)
            return [self._descriptor(clip, begin, VIEW_SHARE) for clip in clips]
        for clip in clips:
            if self._images[clip] is None:
                self._images[clip] = self._descriptor(clip)
        return [self._images[clip] for clip in clips]

    def _descriptor(self, clip: int, begin: float = 0.0, size: float = 1.0) -> np.ndarray:
        crop, wanted = self._crops[clip], self.input
        images = depth.descriptor(crop, wanted.form, wanted.views, wanted.segments, wanted.scale, begin, size)
        return images.reshape(len(wanted.views), wanted.segments, crop.side, crop.side)

    def _times(self, indices: Tensor, augment: DepthAugment | None, generator, view: int, views: int) -> Tensor:
        """(B, T) frames of the clips, T = 1 for the form "frame"."""
        crop, warp = None, 0.0
        if augment is not None:
            warp = augment.warp
            if augment.crop < 1:
                crop = sampling.random_crop(len(indices), augment.crop, generator)
        offset = (0.5 + view / views) % 1
        starts, lengths = self.starts[indices], self.lengths[indices]
        times = sampling.segment_frames(starts, lengths, self.input.frames, crop, warp, generator, augment is not None, offset)
        return times if self.input.form == "video" else times.gather(1, self.phases[indices][:, None])

    def _frames(self, clips: list[int], times: Tensor) -> list[np.ndarray]:
        """(V, T, S, S) values of each sample."""
        pictures = []
        for clip, taken in zip(clips, times.numpy(), strict=True):
            crop = self._crops[clip]
            frames = crop.frames[taken]
            tables = (depth.value_table(crop, view, self.input.scale) for view in self.input.views)
            views = zip(tables, self.input.views, strict=True)
            pictures.append(np.stack([np.take(table, depth.project(crop, frames, view)) for table, view in views]))
        return pictures

    def _resampled(self, pictures: list[np.ndarray], clips: list[int], place: Tensor | None, device) -> Tensor:
        """(B, V, segments or T, size, size) in 0..1. Crops of one size are done together: nearly all are of the same."""
        size, parts = self.input.size, len(self.input.views)
        boxes, sides = self._boxes[clips], self._sides[clips]
        done = None
        for side in sides.unique().tolist():
            which = (sides == side).nonzero().flatten()
            stack = torch.from_numpy(np.stack([pictures[i] for i in which.tolist()]))
            stack = stack.to(device, non_blocking=True) if device is not None else stack
            where = None if place is None else place[which].repeat_interleave(parts, 0)
            cut = (
                depth.resample(stack.flatten(0, 1), boxes[which].flatten(0, 1), size, where).div_(255).clamp_(max=1)
            )  # sums of shares round up
            cut = cut.view(len(which), parts, *cut.shape[1:])
            if len(which) == len(clips):
                return cut
            done = cut.new_empty(len(clips), *cut.shape[1:]) if done is None else done
            done[which.to(cut.device)] = cut
        return done

    def _arranged(self, x: Tensor) -> Tensor:
        """(B, V, segments or T, H, W) -> (B, C, H, W), or for videos (B, C, T, H, W) with the wanted features."""
        if self.input.form != "video":
            return x.flatten(1, 2)
        if self.input.features == ("depth",):
            return x
        motion = torch.cat([torch.zeros_like(x[:, :, :1]), x[:, :, 1:] - x[:, :, :-1]], 2)
        return torch.stack([x if feature == "depth" else motion for feature in self.input.features], 2).flatten(1, 2)


def _random_place(batch: int, augment: DepthAugment, generator) -> Tensor | None:
    """(B, 2, 3): where the points of the changed picture are taken from (see `depth.resample`)."""
    if not (augment.shift or augment.scale or augment.stretch or augment.rotate or augment.mirror):
        return None
    drawn = sampling.uniform((6, batch), generator)
    down, across, size, wide, angle = 2 * drawn[:5] - 1
    angle = angle * math.radians(augment.rotate)
    size, wide = 1 + augment.scale * size, (1 + augment.stretch * wide).sqrt()
    x, y = 1 / (size * wide), wide / size
    x = torch.where(drawn[5] < augment.mirror, -x, x)
    rows = [angle.cos() * x, -angle.sin() * y, 2 * augment.shift * across, angle.sin() * x, angle.cos() * y, 2 * augment.shift * down]
    return torch.stack(rows, 1).view(batch, 2, 3).float()


def _changed(x: Tensor, augment: DepthAugment, generator) -> Tensor:
    """The random changes of values of (B, V, T, H, W): distance and noise of the foreground, an erased rectangle."""
    if augment.distance or augment.noise:
        change = ((2 * sampling.uniform((len(x), 1, 1, 1, 1), generator) - 1) * augment.distance).to(x)
        if augment.noise:
            drawn = torch.randn(x.shape, generator=generator, device=x.device if generator is None else generator.device)
            change = change + augment.noise * drawn.to(x.device)
        x = torch.where(x > 0, (x + change).clamp(_LEAST, 1), x)
    if augment.erase:
        chance, area, shape, top, left = sampling.uniform((5, len(x)), generator)
        area, shape = 0.02 + 0.18 * area, (math.log(3) * (2 * shape - 1)).exp()  # as high as wide, up to three times either way
        height, width = (area * shape).sqrt(), (area / shape).sqrt()
        top, left = top * (1 - height), left * (1 - width)
        at = (torch.arange(x.shape[-1], dtype=torch.float64) + 0.5) / x.shape[-1]
        rows = (at >= top[:, None]) & (at < (top + height)[:, None])
        columns = (at >= left[:, None]) & (at < (left + width)[:, None])
        gone = rows[:, :, None] & columns[:, None] & (chance < augment.erase)[:, None, None]
        x = x.masked_fill(gone[:, None, None].to(x.device), 0)
    return x


def _check(input: DepthInput) -> None:
    for name, known in _KNOWN.items():
        given = getattr(input, name)
        for value in given if isinstance(given, tuple) else (given,):
            if value not in known:
                raise RecipeError(unknown(f"depth.{name}", value, known))
    for name in ("views", "features"):
        given = getattr(input, name)
        if not given or len(set(given)) < len(given):
            raise RecipeError(f"depth.{name} is {list(given)}; some of {', '.join(_KNOWN[name])} are expected, each once")
    for name, most in (("segments", 64), ("size", 8 * SIDE), ("frames", 1024)):
        if not 1 <= getattr(input, name) <= most:
            raise RecipeError(f"depth.{name} is {getattr(input, name)}; 1 to {most} is expected")
    if input.fit in ("frame", "skeleton") and input.views != ("front",):
        raise RecipeError(f"depth.fit {input.fit!r} shows what the camera saw, the front view; depth.views is {list(input.views)}")
    if input.segments > 1 and input.form not in depth.DESCRIPTORS:
        raise RecipeError(f"depth.segments is {input.segments}, but depth.form {input.form!r} has no segments; motion and difference have")
    if input.features != ("depth",) and input.form != "video":
        raise RecipeError(f"depth.features is {list(input.features)}; only depth.form 'video' has others than depth")


def _check_augment(input: DepthInput, augment: DepthAugment) -> None:
    if augment.warp and input.form in depth.DESCRIPTORS:
        raise RecipeError(f"depth_augment.warp needs depth.form frame or video; it is {input.form}")
    if augment.mirror and "side" in input.views:
        raise RecipeError("depth_augment.mirror cannot be done for the side view: what it would show was hidden")
