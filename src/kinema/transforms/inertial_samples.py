"""Signals of worn sensors, prepared for a model a whole batch at once: `InertialSamples`.

The order, and why: resampling first, so that whatever follows sees the samples that the model sees; then the random changes, of signals in
physical units, as another recording would have had them; features last, so that they agree with the signals that they are made of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinema.clip import Clip
from kinema.errors import DataError, RecipeError, unknown
from kinema.shape import InertialShape
from kinema.transforms import inertial, sampling
from kinema.transforms.batches import Batch, usable
from kinema.transforms.inertial_config import FEATURES, InertialAugment, InertialInput, width

VIEW_SHARE = 0.9  # of the clip, that further test-time views keep
_AXES = {"acc": ("acc_x", "acc_y", "acc_z"), "gyro": ("gyro_x", "gyro_y", "gyro_z")}
_SENSORS = {
    "acc": ("acc",),
    "gyro": ("gyro",),
    "acc_norm": ("acc",),
    "gyro_norm": ("gyro",),
    "gravity": ("acc",),
    "motion": ("acc",),
    "turn": ("gyro",),
    "world": ("acc", "gyro"),
}
# Signals of this size, in g and degrees per second, have met the end of their sensor's range.
_SATURATED = {"acc": 7.999, "gyro": 999.9}
_DEGREES = 90.0  # of "turn", that become 1


class InertialSamples:
    """One sample of each clip, ready to be drawn in batches; attributes as in `kinema.transforms.batches.Samples`.

    `input`: the preparation. `lengths`: (N,) samples of the recordings. `saturated`: ids of clips with signals at the end of their
    sensor's range (8 g or 1000 degrees per second); they are used as they are.
    """

    unit = "clips"

    def __init__(self, input: InertialInput, clips: Sequence[tuple[Clip, tuple[np.ndarray, float]]], skipped: Sequence[DataError] = ()):
        self.input, self.skipped = input, tuple(skipped)
        self._sensors = _needed(input)
        self.clip_ids = tuple(clip.id for clip, _ in clips)
        self.saturated = tuple(clip.id for clip, (signals, _) in clips if _is_saturated(signals, self._sensors))
        self._signals = torch.from_numpy(np.concatenate([signals for _, (signals, _) in clips]))
        self._rates = torch.tensor([rate for _, (_, rate) in clips], dtype=torch.float64)
        self.lengths = torch.tensor([len(signals) for _, (signals, _) in clips])
        self._first = self.lengths.cumsum(0) - self.lengths
        self.clip_of = torch.arange(len(clips))
        self.labels = torch.tensor([-1 if clip.label is None else clip.label for clip, _ in clips])
        self.starts, self.phases = torch.zeros_like(self.clip_of), torch.zeros_like(self.clip_of)
        self.mirrored = torch.zeros(len(clips), dtype=torch.bool)

    @classmethod
    def from_clips(cls, clips: Sequence[Clip], input: InertialInput, on_error: str = "raise") -> InertialSamples:
        """Read the signals of `clips`.

        Raises `DataError` naming the clip that cannot be used: fewer than 2 samples, or without a channel that `input.channels`
        is made of (`on_error="skip"` leaves it out, and lists it in `skipped`); `RecipeError` for settings that cannot be.
        """
        _check(input)
        return cls(input, *usable(clips, lambda clip: _read(clip, _needed(input)), on_error))

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def shape(self) -> InertialShape:
        return self.input.shape

    def batch(
        self,
        indices: Sequence[int] | Tensor,
        *,
        augment: InertialAugment | None = None,
        generator: torch.Generator | None = None,
        view: int = 0,
        views: int = 1,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples `indices`: `inertial` (B, C, samples) as in `shape`. Without `augment` nothing is random.

        `view` of `views`: view 0 is the clip as a whole, the others are crops of nine tenths of it, evenly spread from its start to
        its end.
        """
        if not 0 <= view < views:
            raise RecipeError(f"view {view} is not one of {views} views (0..{views - 1})")
        indices = torch.as_tensor(indices, dtype=torch.long)
        crop, warp = None, 0.0
        if augment is not None:
            warp = augment.warp
            if augment.crop < 1:
                crop = sampling.random_crop(len(indices), augment.crop, generator)
        elif view:
            begin = (1 - VIEW_SHARE) * ((view - 1) / (views - 2) if views > 2 else 0.5)
            crop = tuple(torch.full((len(indices),), share, dtype=torch.float64) for share in (begin, VIEW_SHARE))
        lengths = self.lengths[indices]
        times = sampling.resize_positions(torch.zeros_like(lengths), lengths, self.input.samples, crop, warp, generator)
        seconds = (lengths - 1) / self._rates[indices] * (1 if crop is None else crop[1])
        signals, labels = self._resampled(indices, times), self.labels[indices]
        if device is not None:
            signals, labels, seconds = (value.to(device, non_blocking=True) for value in (signals, labels, seconds))
        by_sensor = dict(zip(self._sensors, signals.split(3, 1), strict=True))
        if augment is not None:
            by_sensor, seconds = self._changed(by_sensor, seconds, augment, generator)
        x = self._features(by_sensor, seconds.to(signals))
        if augment is not None:
            x = self._dropped(x, augment, generator)
        if self.input.spectrogram:
            x = inertial.spectrogram(x, self.input.window, self.input.hop, self.input.bins, self.input.log)
        return Batch({"inertial": x.contiguous()}, labels)

    def _resampled(self, indices: Tensor, times: Tensor) -> Tensor:
        """(B, C, samples) at `times` (B, samples), interpolated where these lie between samples."""
        low = times.long()
        first = self._first[indices][:, None]
        before = self._signals[first + low]
        after = self._signals[first + torch.minimum(low + 1, self.lengths[indices][:, None] - 1)]
        return torch.lerp(before, after, (times - low).to(before)[..., None]).transpose(1, 2)

    def _changed(
        self, signals: dict[str, Tensor], seconds: Tensor, augment: InertialAugment, generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The random changes of what the sensors measured."""
        batch = len(seconds)
        some = next(iter(signals.values()))
        if augment.permute > 1:
            order = inertial.shuffled_parts(batch, self.input.samples, augment.permute, generator).to(some.device)
            signals = {name: x.gather(2, order[:, None].expand_as(x)) for name, x in signals.items()}
        if augment.tempo:
            speed = inertial.random_factors(batch, augment.tempo, generator).to(some)[:, None, None]
            seconds = seconds / speed[:, 0, 0].to(seconds)
            signals = {name: self._faster(name, x, speed) for name, x in signals.items()}
        if augment.rotate:
            turn = inertial.random_rotation(batch, augment.rotate, generator).to(some)
            signals = {name: turn @ x for name, x in signals.items()}
        if augment.scale:
            factors = {name: inertial.random_factors(batch, augment.scale, generator).to(some) for name in signals}
            signals = {name: x * factors[name][:, None, None] for name, x in signals.items()}
        if augment.jitter:
            size = {name: augment.jitter * self._scale(name) for name in signals}
            signals = {name: x + _noise(x, generator) * size[name] for name, x in signals.items()}
        return signals, seconds

    def _scale(self, sensor: str) -> float:
        return self.input.acc_scale if sensor == "acc" else self.input.gyro_scale

    def _faster(self, sensor: str, x: Tensor, speed: Tensor) -> Tensor:
        if sensor == "gyro":
            return x * speed
        gravity = self._gravity(x)
        return gravity + (x - gravity) * speed**2

    def _gravity(self, acc: Tensor) -> Tensor:
        return inertial.moving_average(acc, round(self.input.smooth * self.input.samples))

    def _features(self, signals: dict[str, Tensor], seconds: Tensor) -> Tensor:
        acc, gyro = (None if name not in signals else signals[name] / self._scale(name) for name in _AXES)
        step = seconds / (self.input.samples - 1)
        made = []
        for name in self.input.channels:
            if name in signals:
                made.append(acc if name == "acc" else gyro)
            elif name.endswith("_norm"):
                made.append((acc if name == "acc_norm" else gyro).norm(dim=1, keepdim=True))
            elif name in ("gravity", "motion"):
                gravity = self._gravity(acc)
                made.append(gravity if name == "gravity" else acc - gravity)
            elif name == "turn":
                angle = (signals["gyro"] * step[:, None, None]).cumsum(2) / _DEGREES
                made.append(angle - angle.mean(2, keepdim=True))
            else:
                matrices = inertial.orientations(signals["gyro"], step)
                fixed = (matrices @ acc.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
                made.append(inertial.upright(fixed.mean(2)) @ fixed)
        return torch.cat(made, 1)

    def _dropped(self, x: Tensor, augment: InertialAugment, generator) -> Tensor:
        """Parts of a sample set to 0, features of a dropped sensor included."""
        if augment.drop_time:
            gone = inertial.dropped_time(len(x), x.shape[2], augment.drop_time, generator).to(x.device)
            x = x.masked_fill(gone[:, None], 0)
        if augment.drop_channels:
            gone = inertial.dropped_sensor(len(x), len(self._sensors), augment.drop_channels, generator)
            made_of = [[sensor in _SENSORS[name] for name in self.input.channels for _ in range(width(name))] for sensor in self._sensors]
            x = x.masked_fill((gone[:, :, None] & torch.tensor(made_of)).any(1)[..., None].to(x.device), 0)
        return x


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator is not None else "cpu"
    return torch.randn(like.shape, generator=generator, device=device).to(like)


def _needed(input: InertialInput) -> tuple[str, ...]:
    """The sensors that the wanted channels are made of."""
    return tuple(sensor for sensor in _AXES if any(sensor in _SENSORS[name] for name in input.channels))


def _read(clip: Clip, sensors: Sequence[str]) -> tuple[np.ndarray, float]:
    sequence = clip.inertial
    if len(sequence.signals) < 2:
        raise DataError(f"clip {clip.id!r} has 1 sample of inertial signals; at least 2 are needed", clip.source)
    names = [name for sensor in sensors for name in _AXES[sensor]]
    for name in names:
        if name not in sequence.channels:
            raise DataError(f"clip {clip.id!r} has no channel {name}; it has {', '.join(sequence.channels)}", clip.source)
    return sequence.signals[:, [sequence.channels.index(name) for name in names]], sequence.rate


def _is_saturated(signals: np.ndarray, sensors: Sequence[str]) -> bool:
    return any((np.abs(signals[:, 3 * i : 3 * i + 3]) >= _SATURATED[sensor]).any() for i, sensor in enumerate(sensors))


def _check(input: InertialInput) -> None:
    if input.samples < 2:
        raise RecipeError(f"inertial.samples is {input.samples}; at least 2 is expected")
    for name in ("acc_scale", "gyro_scale"):
        value = getattr(input, name)
        if not (math.isfinite(value) and value > 0):
            raise RecipeError(f"inertial.{name} is {value}; a positive number is expected")
    if not input.channels:
        raise RecipeError(f"inertial.channels is empty; some of {', '.join(FEATURES)} are expected")
    for name in input.channels:
        if name not in FEATURES:
            raise RecipeError(unknown("inertial channel", name, FEATURES))
    if input.spectrogram and not 2 <= input.window <= input.samples:
        raise RecipeError(f"inertial.window is {input.window}; 2 to inertial.samples ({input.samples}) are expected")
    if input.spectrogram and input.hop < 1:
        raise RecipeError(f"inertial.hop is {input.hop}; at least 1 is expected")
    if input.spectrogram and not 0 <= input.bins <= input.window // 2 + 1:
        raise RecipeError(f"inertial.bins is {input.bins}; 0 to window // 2 + 1 ({input.window // 2 + 1}) are expected")
