"""Signals of worn sensors on batches of tensors: features, spectrograms, and random changes of training samples.

Signals are (B, C, T) float; those of one sensor (B, 3, T), one channel for each of its axes. Random functions take a generator, which
is drawn from on the CPU, and change nothing without a reason.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.transforms.sampling import uniform


def moving_average(x: Tensor, size: int) -> Tensor:
    """The mean of the `size` samples around each sample; beyond the ends the first and last one are repeated."""
    size = max(1, min(size, 2 * x.shape[-1] - 1))
    before = (size - 1) // 2
    return F.avg_pool1d(F.pad(x, (before, size - 1 - before), mode="replicate"), size, 1)


def rotation(vector: Tensor) -> Tensor:
    """(..., 3) axes times angles in radians -> (..., 3, 3) rotation matrices (Rodrigues)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    angle = vector.norm(dim=-1)[..., None, None]
    # sin a / a and (1 - cos a) / a^2 are smooth at 0; torch.sinc is sin(pi x) / (pi x).
    first, second = torch.sinc(angle / math.pi), 0.5 * torch.sinc(angle / (2 * math.pi)) ** 2
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * skew + second * (skew @ skew)


def orientations(gyro: Tensor, step: Tensor) -> Tensor:
    """How the sensor was turned at each sample against its first one: turning rates (B, 3, T) in degrees per second, `step` (B,) seconds
    from one sample to the next -> (B, T, 3, 3), which take vectors of the sensor's axes to those that it had at the first sample.

    Rates are integrated as they are; a few seconds' drift is small beside a gesture, and a saturated rate turns too little.
    """
    between = (gyro[..., 1:] + gyro[..., :-1]) * (0.5 * math.pi / 180) * step[:, None, None]
    turns = rotation(torch.cat([torch.zeros_like(gyro[..., :1]), between], 2).transpose(1, 2))
    # A cumulative product by doubling: after n rounds each matrix holds the product of the last 2^n turns.
    reach, samples = 1, turns.shape[1]
    while reach < samples:
        turns = torch.cat([turns[:, :reach], turns[:, :-reach] @ turns[:, reach:]], 1)
        reach *= 2
    return turns


def upright(vector: Tensor) -> Tensor:
    """(B, 3) directions -> (B, 3, 3) rotations by the shortest way that take them to z; what cannot be told (0) stays as it is."""
    unit = F.normalize(vector, dim=-1)
    z = unit.new_tensor([0.0, 0.0, 1.0]).expand_as(unit)
    axis = torch.linalg.cross(unit, z)
    sine = axis.norm(dim=-1, keepdim=True)
    flat = unit.new_tensor([1.0, 0.0, 0.0]).expand_as(unit)
    angle = torch.atan2(sine, unit[..., 2:])
    matrix = rotation(torch.where(sine > 1e-6, axis / sine.clamp(min=1e-6), flat) * angle)
    return torch.where((vector.norm(dim=-1) > 0)[:, None, None], matrix, torch.eye(3).to(matrix))


def spectrogram(x: Tensor, window: int, hop: int, bins: int = 0, log: bool = True) -> Tensor:
    """(B, C, T) -> (B, C * bins, frames) magnitudes, frames = (T - window) // hop + 1, the bins of a channel side by side.

    Bin k is k cycles in a (Hann) window; a sine of amplitude a at the frequency of a bin k > 0 gives a there. `bins` 0 takes all
    window // 2 + 1. With `log`: log(1 + magnitude).
    """
    hann = torch.hann_window(window, dtype=x.dtype, device=x.device)
    transform = torch.fft.rfft(x.unfold(-1, window, hop) * hann, dim=-1)
    magnitude = transform.abs() * (2 / hann.sum())
    magnitude = magnitude[..., : bins or None].transpose(2, 3).flatten(1, 2)
    return magnitude.log1p() if log else magnitude


def random_rotation(batch: int, degrees: float, generator: torch.Generator | None = None) -> Tensor:
    """(B, 3, 3) turns by angles uniform within +-`degrees`, about axes uniform over the sphere; float64."""
    height, around, angle = uniform((3, batch), generator)
    height, around = 2 * height - 1, 2 * math.pi * around
    flat = (1 - height**2).sqrt()
    axis = torch.stack([flat * around.cos(), flat * around.sin(), height], -1)
    return rotation(axis * ((2 * angle - 1) * math.radians(degrees))[:, None])


def random_factors(batch: int, largest: float, generator: torch.Generator | None = None) -> Tensor:
    """(B,) factors uniform within 1 +- `largest`."""
    return 1 + (2 * uniform((batch,), generator) - 1) * largest


def shuffled_parts(batch: int, samples: int, parts: int, generator: torch.Generator | None = None) -> Tensor:
    """(B, samples) indices: each row 0..samples - 1 cut into 1 to `parts` equal parts, and these shuffled."""
    rows = []
    counts = (uniform((batch,), generator) * parts).long() + 1
    for count, order in zip(counts.tolist(), uniform((batch, parts), generator), strict=True):
        pieces = torch.arange(samples).tensor_split(count)
        rows.append(torch.cat([pieces[i] for i in order[:count].argsort().tolist()]))
    return torch.stack(rows)


def dropped_time(batch: int, samples: int, share: float, generator: torch.Generator | None = None) -> Tensor:
    """(B, samples) bool, True in one piece of each row, of a length uniform within 0..`share` of it, at a random place."""
    size, begin = uniform((2, batch, 1), generator)
    size = size * share
    begin = begin * (1 - size)
    place = (torch.arange(samples) + 0.5) / samples
    return (place >= begin) & (place < begin + size)


def dropped_sensor(batch: int, sensors: int, probability: float, generator: torch.Generator | None = None) -> Tensor:
    """(B, sensors) bool, True where a sensor is dropped: each with `probability`, but never all of them."""
    drawn = uniform((batch, sensors), generator)
    dropped = drawn < probability
    last = torch.zeros_like(dropped).scatter_(1, drawn.argmax(1, keepdim=True), True)
    return dropped & ~last
