"""What every kind of samples offers, whatever its modality, and the batches that they give to a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from kinema.clip import Clip
from kinema.errors import DataError, RecipeError
from kinema.shape import Shape, VideoShape
from kinema.transforms.pose import draw_mix, mix_points
from kinema.transforms.sampling import uniform

Read = TypeVar("Read")
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass
class Batch:
    """What a model is given: `inputs` by the name of forward's argument, `labels` (B,) int64, -1 where not known.

    Inputs: `x` (B, M, T, V, C) float32, C = streams x coordinates, with `mask` (B, M, T, V) bool, True where observed, None where
    everything was; `depth` (B, C, H, W) or (B, C, T, H, W) float32; `inertial` (B, C, samples) float32; `video` (B, C, T, H, W) float32.
    """

    inputs: dict[str, Tensor | None]
    labels: Tensor

    @property
    def x(self) -> Tensor:
        return self.inputs["x"]

    @property
    def mask(self) -> Tensor | None:
        return self.inputs["mask"]


class Samples(Protocol):
    """Samples cut from clips, ready to be drawn in batches.

    `clip_ids`: of the clips. Per sample, (N,) int64 (`mirrored` bool): `clip_of` index into `clip_ids`; `labels`, -1 unknown;
    `starts` and `lengths` of its window in frames of the clip; `phases`, telling samples of one window apart; `mirrored`, whether it
    is a mirrored copy. `unit`: what a window is, "clips" or "windows". `saturated`: ids of clips whose worn sensor met the end of its
    range. `skipped`: the errors of clips that were left out.
    """

    clip_ids: tuple[str, ...]
    clip_of: Tensor
    labels: Tensor
    starts: Tensor
    lengths: Tensor
    phases: Tensor
    mirrored: Tensor
    skipped: tuple[DataError, ...]
    saturated: tuple[str, ...]

    def __len__(self) -> int: ...

    @property
    def shape(self) -> Shape: ...

    @property
    def unit(self) -> str: ...

    def batch(
        self,
        indices: Sequence[int] | Tensor,
        *,
        augment: Any = None,
        generator: torch.Generator | None = None,
        view: int = 0,
        views: int = 1,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples `indices`; without `augment` nothing is random. `view` of `views`: looks at a test sample to be averaged over."""


def ahead(samples: Samples, make: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """What `make` makes of each of `given`, in order. Of videos a thread makes the next batch while one is used: reading them takes long,
    and lets others work. All that is drawn must be drawn by `make`, so that it is drawn in the same order."""
    shape = samples.shape
    if not isinstance(shape, VideoShape) and getattr(shape, "video", None) is None:
        yield from map(make, given)
        return
    with ThreadPoolExecutor(1, "kinema-batches") as pool:
        coming: Future[Made] | None = None
        for one in given:
            made, coming = coming, pool.submit(make, one)
            if made is not None:
                yield made.result()
        if coming is not None:
            yield coming.result()


def usable(clips: Sequence[Clip], read: Callable[[Clip], Read], on_error: str = "raise") -> tuple[list[tuple[Clip, Read]], list[DataError]]:
    """The clips that can be used, each with what `read` makes of it, and the errors of those that cannot.

    Raises the `DataError` of the first clip that cannot be used (`on_error="skip"` leaves it out), and one where no clip is left.
    """
    kept: list[tuple[Clip, Read]] = []
    skipped: list[DataError] = []
    for clip in clips:
        try:
            kept.append((clip, read(clip)))
        except DataError as error:
            if on_error != "skip":
                raise
            skipped.append(error)
    if not kept:
        raise DataError(f"none of {len(clips)} clips can be used" + (f"; the first one: {skipped[0]}" if skipped else ""))
    return kept, skipped


def mixup(batch: Batch, targets: Tensor, alpha: float, generator: torch.Generator | None = None) -> tuple[Batch, Tensor]:
    """Each sample mixed with another one of the batch, all its modalities and its target alike (Zhang et al., ICLR 2018).

    `targets`: (B, K), rows that sum to 1, as they still do afterwards. The share is drawn from Beta(alpha, alpha) per sample; the
    larger share stays with the sample itself. Unobserved joints are no zeros to mix with: see `kinema.transforms.pose.mix_points`.
    """
    share, other = draw_mix(len(targets), alpha, generator)
    inputs = dict(batch.inputs)
    if "x" in inputs:
        inputs["x"], inputs["mask"] = mix_points(batch.x, batch.mask, share, other)
    for name, value in inputs.items():
        if name not in ("x", "mask"):
            own = share.to(value).view(-1, *[1] * (value.ndim - 1))
            inputs[name] = own * value + (1 - own) * value[other.to(value.device)]
    own, other = share.to(targets)[:, None], other.to(targets.device)
    return replace(batch, inputs=inputs), own * targets + (1 - own) * targets[other]


def cutmix(batch: Batch, targets: Tensor, alpha: float, generator: torch.Generator | None = None) -> tuple[Batch, Tensor]:
    """A rectangle of each video, the same in all its frames, shows another one of the batch (Yun et al., ICCV 2019).

    `targets`: (B, K). The rectangle has the picture's proportions and its centre anywhere; its size is drawn as for `mixup`, so that
    the sample itself prevails, and what reaches beyond the edges is cut off. The share of the picture that is left is that of the targets.
    Raises `RecipeError` where a model takes more than videos: a skeleton cannot be cut along with them.
    """
    if batch.inputs.keys() != {"video"}:
        raise RecipeError(f"video_augment.cutmix is for models of videos alone; this one is given {' and '.join(batch.inputs)}")
    video = batch.inputs["video"]
    share, other = draw_mix(len(targets), alpha, generator)
    rows, columns = (
        _span(size, (1 - share).sqrt(), at) for size, at in zip(video.shape[-2:], uniform((2, len(targets)), generator), strict=True)
    )
    inside = rows[:, :, None] & columns[:, None]
    own = (1 - inside.double().mean((1, 2))).to(targets)[:, None]
    mixed = torch.where(inside[:, None, None].to(video.device), video[other.to(video.device)], video)
    return replace(batch, inputs={"video": mixed}), own * targets + (1 - own) * targets[other.to(targets.device)]


def _span(pixels: int, share: Tensor, centre: Tensor) -> Tensor:
    """(B, pixels) bool: those within `share` (B,) of a side about `centre` (B,), both in 0..1."""
    begin, end = (((centre + side * share) * pixels).round()[:, None] for side in (-0.5, 0.5))
    pixel = torch.arange(pixels)
    return (pixel >= begin) & (pixel < end)
