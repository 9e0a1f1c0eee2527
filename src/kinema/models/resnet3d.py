"""A 3-D residual network of videos: ResNet whose convolutions span time, started from weights of images.

Carreira, Zisserman: Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017 (inflation); He et al., CVPR 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kinema.models.registry import ModelInfo, VideoShape, register
from kinema.models.resnet import Norm, ResNet


@dataclass(frozen=True)
class ResNet3dConfig:
    """Settings of the 3-D residual network.

    Args:
        depth: 18, 34, 50, 101 or 152.
        stages: how many of the four stages there are; 3 leaves out layer4.
        norm: "batch", or "fixed" at the statistics that were loaded, in training too.
        time_kernels: frames that a convolution spans, for the stem and the four stages; odd, 1 leaves a stage to single frames.
        time_strides: frames between one output and the next, likewise.
        dropout: probability before the last layer.
    """

    depth: int = 18
    stages: int = 4
    norm: Norm = "batch"
    time_kernels: tuple[int, ...] = (5, 3, 3, 3, 3)
    time_strides: tuple[int, ...] = (1, 1, 2, 2, 2)
    dropout: float = 0.5


class ResNet3d(nn.Module):
    """(B, C, T, H, W) videos to (B, num_classes), any number of frames and size; `network` is the `ResNet`, `dims=3`."""

    def __init__(self, config: ResNet3dConfig, shape: VideoShape, num_classes: int):
        super().__init__()
        self.config = config
        self.network = ResNet(
            config.depth,
            num_classes,
            shape.channels,
            dropout=config.dropout,
            dims=3,
            time_kernels=config.time_kernels,
            time_strides=config.time_strides,
            stages=config.stages,
            norm=config.norm,
        ).to(memory_format=torch.channels_last_3d)
        self.num_features = self.network.num_features

    def reset_classifier(self, num_classes: int) -> None:
        self.network.reset_classifier(num_classes)

    def head_prefixes(self) -> tuple[str, ...]:
        return tuple(f"network.{prefix}" for prefix in self.network.head_prefixes())

    def forward_features(self, video: Tensor) -> Tensor:
        return self.network.forward_features(video.contiguous(memory_format=torch.channels_last_3d))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.network.forward_head(features)

    def forward(self, video: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(video))


register(
    ModelInfo(
        name="resnet3d",
        summary="ResNet-18 inflated to 3-D convolutions over time, height and width",
        paper="Carreira, Zisserman: Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017",
        build=ResNet3d,
        defaults=ResNet3dConfig(),
        inputs="video",
        example=VideoShape(channels=3, frames=16, height=90, width=120),
    )
)
