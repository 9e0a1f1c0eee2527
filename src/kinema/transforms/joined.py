"""Samples of any modality, and of several at once: whichever a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from kinema.clip import Clip
from kinema.errors import DataError, RecipeError
from kinema.shape import Shapes
from kinema.transforms.batches import Batch, Samples

if TYPE_CHECKING:
    from kinema.transforms.config import PoseInput
    from kinema.transforms.depth_config import DepthInput
    from kinema.transforms.inertial_config import InertialInput
    from kinema.transforms.video_config import VideoInput

# Skeletons and depth images of one recording may differ by so much of the longer one.
_LENGTHS = 0.2


class Inputs(Protocol):
    """Whatever tells how clips are prepared, modality by modality: a recipe, a bundle."""

    input: PoseInput
    depth: DepthInput
    inertial: InertialInput
    video: VideoInput


def samples_of(clips: Sequence[Clip], modalities: Sequence[str], inputs: Inputs, on_error: str = "raise", keep: bool = False) -> Samples:
    """The samples that a model of `modalities` ("pose", "depth", "inertial", "video") is given of `clips`. `keep` keeps the decoded
    frames of videos, for samples that are drawn again and again.

    Raises `DataError` naming the clip that cannot be used, one that lacks a modality or whose skeletons and depth images are not of
    one recording, by their lengths, included (`on_error="skip"` leaves it out of all of them, and lists it in `skipped`).
    """
    if len(modalities) == 1:
        return _made(modalities[0], clips, inputs, on_error, keep)
    # Whom one modality leaves out the later ones are not asked for, and the earlier ones are made again without.
    parts: dict[str, Samples] = {}
    skipped: list[DataError] = []
    for name in modalities:
        parts[name] = _made(name, clips, inputs, on_error, keep)
        skipped += parts[name].skipped
        kept = set(parts[name].clip_ids)
        clips = [clip for clip in clips if clip.id in kept]
    for name, part in parts.items():
        if len(part.clip_ids) > len(clips):
            parts[name] = _made(name, clips, inputs, on_error, keep)
    unlike = _unlike(clips, parts)
    if unlike:
        if on_error != "skip":
            raise next(iter(unlike.values()))
        clips = [clip for clip in clips if clip.id not in unlike]
        parts = {name: _made(name, clips, inputs, on_error, keep) for name in modalities}
    return JoinedSamples(parts, [*skipped, *unlike.values()])


def _made(modality: str, clips: Sequence[Clip], inputs: Inputs, on_error: str, keep: bool) -> Samples:
    if modality == "pose":
        from kinema.transforms.samples import PoseSamples

        return PoseSamples.from_clips(clips, inputs.input, on_error)
    if modality == "depth":
        from kinema.transforms.depth_samples import DepthSamples

        return DepthSamples.from_clips(clips, inputs.depth, on_error)
    if modality == "inertial":
        from kinema.transforms.inertial_samples import InertialSamples

        return InertialSamples.from_clips(clips, inputs.inertial, on_error)
    from kinema.transforms.video_samples import VideoSamples

    return VideoSamples.from_clips(clips, inputs.video, on_error, keep)


class JoinedSamples:
    """One sample of each clip, from each of several modalities; attributes as in `kinema.transforms.batches.Samples`.

    `parts`: samples by modality, of the same clips in the same order. Raises `RecipeError` where a modality takes several
    samples of a clip, `DataError` for parts that are not of the same clips.
    """

    def __init__(self, parts: Mapping[str, Samples], skipped: Sequence[DataError] = ()):
        first = next(iter(parts.values()))
        for name, part in parts.items():
            if part.unit != "clips" or len(part) != len(part.clip_ids):
                raise RecipeError(
                    f"{' and '.join(parts)} together: one sample of each clip is expected; {name} takes several (windows, phases or frames)"
                )
            if part.clip_ids != first.clip_ids:
                raise DataError(f"{' and '.join(parts)}: these are not of the same clips")
        self.parts, self.skipped = dict(parts), tuple(skipped)
        self.clip_ids, self.clip_of, self.labels = first.clip_ids, first.clip_of, first.labels
        self.saturated = tuple(clip_id for part in parts.values() for clip_id in part.saturated)
        self.starts, self.lengths, self.phases, self.mirrored = first.starts, first.lengths, first.phases, first.mirrored

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> Shapes:
        return Shapes(**{name: part.shape for name, part in self.parts.items()})

    @property
    def unit(self) -> str:
        return "clips"

    def batch(
        self,
        indices: Sequence[int] | Tensor,
        *,
        augment: Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
        view: int = 0,
        views: int = 1,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples `indices` of all modalities. `augment`: by modality; each is changed by itself."""
        inputs: dict[str, Tensor | None] = {}
        for name, part in self.parts.items():
            changes = None if augment is None else augment[name]
            batch = part.batch(indices, augment=changes, generator=generator, view=view, views=views, device=device)
            inputs |= batch.inputs
        return Batch(inputs, batch.labels)


def _unlike(clips: Sequence[Clip], parts: Mapping[str, Samples]) -> dict[str, DataError]:
    """What is wrong with each clip, by its id, whose skeletons and depth images differ in length."""
    if "pose" not in parts or "depth" not in parts or any(len(part) != len(part.clip_ids) for part in parts.values()):
        return {}
    found = {}
    for clip, frames, images in zip(clips, parts["pose"].lengths.tolist(), parts["depth"].lengths.tolist(), strict=True):
        if abs(frames - images) > _LENGTHS * max(frames, images):
            message = f"clip {clip.id!r} has {frames} frames of skeletons and {images} depth images; as many of both are expected"
            found[clip.id] = DataError(message)
    return found
