"""How signals of worn sensors become the numbers that a model is given. Typed settings only: no torch here, as in `config`.

`InertialInput` is deterministic and travels in the bundle; `InertialAugment` is random and belongs to training alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.shape import InertialShape

FEATURES = ("acc", "gyro", "acc_norm", "gyro_norm", "gravity", "motion", "turn", "world")
Feature = Literal["acc", "gyro", "acc_norm", "gyro_norm", "gravity", "motion", "turn", "world"]


def width(feature: Feature) -> int:
    """Channels of a feature: a magnitude is one, everything else has one for each axis."""
    return 1 if feature.endswith("_norm") else 3


@dataclass(frozen=True)
class InertialInput:
    """Preparation of the signals of one sensor, in this order: resampling, physical scale, features, spectrogram.

    A clip is one sample, resampled as a whole: other modalities and other recordings are aligned with it by relative time. The scales
    are constants of physics rather than statistics of the data, so that nothing of a test part can leak into the preparation.

    Args:
        samples: length that every clip is resampled to by relative time, its first and last sample kept.
        acc_scale: acceleration, in g, that becomes 1.
        gyro_scale: turning rate, in degrees per second, that becomes 1.
        channels: what the model is given, one after the other: "acc" and "gyro" (3 channels each); "acc_norm" and "gyro_norm", their
            magnitudes (1 each), which do not depend on how the sensor was strapped on; "gravity", the acceleration smoothed over
            `smooth` of the clip, and "motion", what is left of it (3 each); "turn", the angle turned about each axis since the start,
            less its mean, in units of 90 degrees (3); "world", the acceleration in axes that do not turn with the sensor, gravity
            along the third of them (3), from the turning rates summed up.
        smooth: share of the clip that "gravity" is a moving average over.
        spectrogram: give magnitudes of a short-time Fourier transform of each channel, (channels x bins, frames), rather than signals.
        window: samples of one transform (Hann), for the spectrogram.
        hop: samples from one transform to the next.
        bins: lowest frequencies kept, from 0 upwards; bin k is k cycles in a window. 0 keeps all window // 2 + 1.
        log: give log(1 + magnitude), which brings out weak frequencies.
    """

    samples: int = 128
    acc_scale: float = 2.0
    gyro_scale: float = 250.0
    channels: tuple[Feature, ...] = ("acc", "gyro")
    smooth: float = 0.2
    spectrogram: bool = False
    window: int = 32
    hop: int = 4
    bins: int = 0
    log: bool = True

    @property
    def shape(self) -> InertialShape:
        """What a model is given."""
        channels = sum(map(width, self.channels))
        if not self.spectrogram:
            return InertialShape(channels, self.samples)
        return InertialShape(channels * (self.bins or self.window // 2 + 1), (self.samples - self.window) // self.hop + 1)


@dataclass(frozen=True)
class InertialAugment:
    """Random changes of training samples; 0 turns each one off.

    Args:
        rotate: largest angle, in degrees, that the sensor's axes are turned by, about a random axis: it was strapped on differently.
        scale: largest relative change of the signals' size (0.1: from 0.9 to 1.1 times), acceleration and turning rate by themselves.
        jitter: standard deviation of noise added to every signal, in units of its scale.
        crop: smallest share of the clip that a random crop in time keeps (1 keeps all of it).
        warp: largest relative change of speed within the clip.
        tempo: largest relative change of speed of the clip as a whole: turning rates change with it, the accelerations of the
            body (all but gravity) with its square.
        permute: largest number of parts that the clip is cut into and shuffled; below 2 leaves the order.
        drop_channels: probability with which a sensor (all of its axes) is 0 throughout the sample; one sensor is always left.
        drop_time: largest share of the clip that is 0, in one piece at a random place.
    """

    rotate: float = 0.0
    scale: float = 0.0
    jitter: float = 0.0
    crop: float = 1.0
    warp: float = 0.0
    tempo: float = 0.0
    permute: int = 0
    drop_channels: float = 0.0
    drop_time: float = 0.0
