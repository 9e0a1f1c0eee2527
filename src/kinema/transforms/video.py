"""What is made of the pictures of a video: cut, sized, mirrored as bytes, then coloured and normalised, all frames of a sample alike.

The cut, the size and the mirroring are one resampling of bytes; what is random in them is drawn before, for a whole batch, so that
samples can be made by several threads in any order.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kinema.transforms import sampling
from kinema.transforms.video_config import VideoAugment, VideoInput

LUMA = (0.299, 0.587, 0.114)
# Mean and deviation of values in 0..1 by scale, of red, green and blue; of grey that of the luma and the mean deviation.
SCALES = {
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "signed": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "kinetics": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
}
_CORNER_SIDES = (1.0, 0.875, 0.75, 0.66)
_ASPECT = 4 / 3
_MEASURED = 4  # every so many pixels either way are looked at for the mean


def cut_places(input: VideoInput, sizes: Tensor, augment: VideoAugment | None = None, generator=None, place: int = 0) -> Tensor:
    """(B, 4) top, left, height, width of what the model is shown of pictures of `sizes` (B, 2), as shares of them.

    Without `augment`: the middle (`place` 0), or the beginning (1) or end (2) of the longer side.
    """
    wanted = torch.tensor([input.height, input.width], dtype=torch.float64)
    sizes = sizes.double()
    how = "centre" if augment is None else augment.place
    if how == "corners":
        size = _corner_sides(len(sizes), generator) * _largest(sizes, wanted)
    elif how == "area":
        size = _area(sizes, wanted, augment.area, generator)
    else:
        size = torch.minimum(wanted, sizes)
    at = torch.full((len(sizes), 2), 0.5, dtype=torch.float64)
    if how == "corners":
        drawn = (5 * sampling.uniform((len(sizes),), generator)).long()
        at = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]], dtype=torch.float64)[drawn]
    elif how != "centre":
        at = sampling.uniform((len(sizes), 2), generator)
    elif place:
        longer = (sizes - size).argmax(1)
        at[torch.arange(len(sizes)), longer] = float(place - 1)
    return torch.cat([at * (sizes - size), size], 1) / sizes.repeat(1, 2)


def _largest(sizes: Tensor, wanted: Tensor) -> Tensor:
    """The largest rectangle of the wanted proportions in pictures of `sizes` (B, 2)."""
    return torch.minimum(wanted * (sizes / wanted).min(1, keepdim=True).values, sizes)


def _corner_sides(batch: int, generator) -> Tensor:
    """(B, 2) shares of the largest rectangle's height and width, at most one step apart."""
    first, step = sampling.uniform((2, batch), generator)
    first = (len(_CORNER_SIDES) * first).long()
    second = (first + (3 * step).long() - 1).clamp(0, len(_CORNER_SIDES) - 1)
    return torch.tensor(_CORNER_SIDES, dtype=torch.float64)[torch.stack([first, second], 1)]


def _area(sizes: Tensor, wanted: Tensor, area: tuple[float, ...], generator) -> Tensor:
    share, shape = sampling.uniform((2, len(sizes)), generator)
    area = (area[0] + (area[1] - area[0]) * share) * sizes.prod(1)
    shape = wanted[0] / wanted[1] * (math.log(_ASPECT) * (2 * shape - 1)).exp()
    return torch.minimum(torch.stack([(area * shape).sqrt(), (area / shape).sqrt()], 1), sizes)


def resample(pictures: np.ndarray, place: Tensor, mirror: bool, size: tuple[int, int]) -> Tensor:
    """(T, *size, 3) uint8: `place` (top, left, height, width as shares, rounded to whole pixels) of `pictures` (T, H, W, 3) uint8;
    bilinear, smoothed where it becomes smaller."""
    height, width = pictures.shape[1:3]
    top, left, high, wide = (place * torch.tensor([height, width, height, width])).tolist()
    high, wide = max(1, round(high)), max(1, round(wide))
    top, left = min(round(top), height - high), min(round(left), width - wide)
    cut = torch.from_numpy(pictures[:, top : top + high, left : left + wide])
    if cut.shape[1:3] != size:
        cut = functional.interpolate(cut.permute(0, 3, 1, 2), size, mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    return cut.flip(2) if mirror else cut


def colour_changes(batch: int, augment: VideoAugment | None, generator=None) -> Tensor | None:
    """(4, B) factors of brightness, contrast and saturation, and turn of the colour circle in radians; None where there are none."""
    largest = None if augment is None else (augment.brightness, augment.contrast, augment.saturation, augment.hue)
    if largest is None or not any(largest):
        return None
    drawn = torch.tensor(largest, dtype=torch.float64)[:, None] * (2 * sampling.uniform((4, batch), generator) - 1)
    drawn[:3] += 1
    drawn[3] *= 2 * math.pi
    return drawn.float()


def normalise(pictures: Tensor, input: VideoInput, changes: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """(B, T, H, W, 3) uint8 -> (B, C, T, H, W) float32 in the input's colours and scale, put into `out` if given; `changes`: see
    `colour_changes`."""
    if out is None:
        out = torch.empty(len(pictures), input.shape.channels, *pictures.shape[1:4], device=pictures.device)
    mixed = changes is not None or input.colours == "grey"
    x = torch.empty(len(pictures), 3, *pictures.shape[1:4], device=pictures.device) if mixed else out
    for channel in range(3):
        x[:, channel] = pictures[..., channel]
    means, deviations = (255 * torch.tensor(part) for part in SCALES[input.scale])
    if mixed:
        mix, add = _colour_mix(x, changes)
        if input.colours == "grey":
            luma = torch.tensor([LUMA])
            mix, means, deviations = luma.to(mix) @ mix, luma @ means, deviations.mean()[None]
        torch.baddbmm(add.view(-1, 1, 1), mix, x.flatten(2), out=out.flatten(2)).clamp_(0, 255)
    means, deviations = (part.to(x.device).view(-1, 1, 1, 1) for part in (means, deviations))
    return out.sub_(means).div_(deviations)


def _colour_mix(x: Tensor, changes: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B, 3, 3) by which the colours of `x` are multiplied, and (B,) what is added to each.

    All four changes are linear: brightness multiplies; contrast moves values from the sample's mean luma, saturation from the pixel's;
    hue turns I and Q of YIQ. Grey stays grey in the last two, so that what contrast adds passes through them.
    """
    if changes is None:
        return torch.eye(3, device=x.device).expand(len(x), 3, 3), x.new_zeros(len(x))
    bright, contrast, saturation, turn = changes
    luma = torch.tensor(LUMA)
    to_yiq = torch.tensor([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
    # The rows of I and Q sum to 0, so that grey has none of them.
    turned = torch.zeros(len(turn), 3, 3)
    turned[:, 0, 0] = 1
    turned[:, 1, 1] = turned[:, 2, 2] = saturation * turn.cos()
    turned[:, 2, 1] = saturation * turn.sin()
    turned[:, 1, 2] = -turned[:, 2, 1]
    mix = torch.linalg.inv(to_yiq) @ turned @ to_yiq * (bright * contrast).view(-1, 1, 1)
    mean = x[..., ::_MEASURED, ::_MEASURED].mean((2, 3, 4)).cpu() @ luma
    return mix.to(x.device), ((1 - contrast) * bright * mean).to(x.device)
