"""What models are given, modality by modality. No torch until an example is asked for: samples, models and bundles speak of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinema.layout import Layout

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PoseShape:
    """What a pose model is given: (B, persons, frames, len(layout), channels)."""

    persons: int
    frames: int
    layout: Layout
    channels: int

    def example(self, batch: int = 1) -> dict[str, Tensor]:
        import torch

        return {"x": torch.randn(batch, self.persons, self.frames, len(self.layout), self.channels)}

    def __str__(self) -> str:
        joints = f"{len(self.layout)} joints ({self.layout.name})"
        return f"{self.persons} person{'s' * (self.persons > 1)} x {self.frames} frames x {joints} x {self.channels}"


@dataclass(frozen=True)
class DepthShape:
    """What a depth model is given: images (B, channels, height, width), or with `frames` videos (B, channels, frames, height, width)."""

    channels: int
    height: int
    width: int
    frames: int = 0

    def example(self, batch: int = 1) -> dict[str, Tensor]:
        import torch

        frames = (self.frames,) if self.frames else ()
        return {"depth": torch.randn(batch, self.channels, *frames, self.height, self.width)}

    def __str__(self) -> str:
        frames = f"{self.frames} frames x " if self.frames else ""
        return f"{self.channels} channel{'s' * (self.channels > 1)} x {frames}{self.height} x {self.width} pixels"


@dataclass(frozen=True)
class InertialShape:
    """What a model of worn sensors is given: (B, channels, samples)."""

    channels: int
    samples: int

    def example(self, batch: int = 1) -> dict[str, Tensor]:
        import torch

        return {"inertial": torch.randn(batch, self.channels, self.samples)}

    def __str__(self) -> str:
        return f"{self.channels} channels x {self.samples} samples"


@dataclass(frozen=True)
class VideoShape:
    """What a model of videos is given: (B, channels, frames, height, width)."""

    channels: int
    frames: int
    height: int
    width: int

    def example(self, batch: int = 1) -> dict[str, Tensor]:
        import torch

        return {"video": torch.randn(batch, self.channels, self.frames, self.height, self.width)}

    def __str__(self) -> str:
        return f"{self.frames} frames x {self.height} x {self.width} pixels x {self.channels} channel{'s' * (self.channels > 1)}"


@dataclass(frozen=True)
class Shapes:
    """What a model of several modalities is given: the shapes of those that it takes."""

    pose: PoseShape | None = None
    depth: DepthShape | None = None
    inertial: InertialShape | None = None
    video: VideoShape | None = None

    def example(self, batch: int = 1) -> dict[str, Tensor]:
        return {name: value for shape in self._given() for name, value in shape.example(batch).items()}

    def __str__(self) -> str:
        return "; ".join(map(str, self._given()))

    def _given(self) -> list[PoseShape | DepthShape | InertialShape | VideoShape]:
        return [shape for shape in (self.pose, self.depth, self.inertial, self.video) if shape is not None]


Shape = PoseShape | DepthShape | InertialShape | VideoShape | Shapes
