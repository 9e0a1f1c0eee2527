"""3-D residual networks of videos: ResNet whose convolutions span time, started from weights of images or of videos.

Carreira, Zisserman: Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017 (inflation); He et al., CVPR 2016.
Inflated ResNet: Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 3.2; the network is that of
Baradel, Wolf, Mille, Taylor: Glimpse Clouds, CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.errors import DataError, RecipeError
from kinema.models._published_state import read_published, renamed
from kinema.models.registry import DepthShape, ModelInfo, VideoShape, register
from kinema.models.resnet import Ends, Inflate, Norm, ResNet

_INFLATED = "Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 3.2"


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
        inflate: which convolutions of a block span time: "first", the first one, or "3x3", all of 3 x 3 pixels.
        ends: beyond a clip's ends convolutions see its first and last frame, "repeat"ed, or "zeros".
        alternate: every other block alone spans time, but all of stage 1.
        time_pools: frames from one to the next of the pool behind the stem, and how many become one behind stage 1.
    """

    depth: int = 18
    stages: int = 4
    norm: Norm = "batch"
    time_kernels: tuple[int, ...] = (5, 3, 3, 3, 3)
    time_strides: tuple[int, ...] = (1, 1, 2, 2, 2)
    dropout: float = 0.5
    inflate: Inflate = "first"
    ends: Ends = "repeat"
    alternate: bool = False
    time_pools: tuple[int, ...] = (1, 1)


@dataclass(frozen=True)
class InflatedResNetConfig:
    """Settings of the inflated ResNet: stem and pool see single frames, every 3 x 3 convolution spans three of them, none passes over any.

    Args:
        depth: 18, 34, 50, 101 or 152.
        stages: how many of the four stages there are; 3 leaves out layer4.
        norm: "batch", or "fixed" at the statistics that were loaded, in training too.
        dropout: probability before the last layer.
    """

    depth: int = 50
    stages: int = 4
    norm: Norm = "batch"
    dropout: float = 0.0


class _OfClips(nn.Module):
    """A model whose `network` is a `ResNet` of clips."""

    network: ResNet

    def __init__(self, config: Any, num_classes: int, channels: int, **form: Any):
        super().__init__()
        self.config = config
        common = {"dropout": config.dropout, "stages": config.stages, "norm": config.norm}
        network = ResNet(config.depth, num_classes, channels, dims=3, **common, **form)
        self.network = network.to(memory_format=torch.channels_last_3d)
        self.num_features = network.num_features

    def reset_classifier(self, num_classes: int) -> None:
        self.network.reset_classifier(num_classes)

    def head_prefixes(self) -> tuple[str, ...]:
        return tuple(f"network.{prefix}" for prefix in self.network.head_prefixes())

    def stages(self) -> tuple[str, ...]:
        """Names of the submodules that are its stages, in order; their outputs are (B, C, T, H, W)."""
        return tuple(f"network.{name}" for name in self.network.stages())

    def forward_features(self, video: Tensor) -> Tensor:
        return self.network.forward_features(video.contiguous(memory_format=torch.channels_last_3d))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.network.forward_head(features)

    def forward(self, video: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(video))


class ResNet3d(_OfClips):
    """(B, C, T, H, W) videos to (B, num_classes), any number of frames and size; `network` is the `ResNet`, `dims=3`."""

    def __init__(self, config: ResNet3dConfig, shape: VideoShape, num_classes: int):
        names = ("time_kernels", "time_strides", "inflate", "ends", "alternate", "time_pools")
        super().__init__(config, num_classes, shape.channels, **{name: getattr(config, name) for name in names})


class InflatedResNet(_OfClips):
    """(B, C, T, H, W) videos to (B, num_classes), any number of frames and size.

    Kernels of pictures stand in the middle slice of its own, between zeros (`kinema.models.resnet.inflate`), and zeros lie beyond a
    clip's ends: fresh from ImageNet's weights it gives each frame the logits of the picture, averaged, until training makes it look
    farther.
    """

    def __init__(self, config: InflatedResNetConfig, shape: VideoShape, num_classes: int):
        super().__init__(config, num_classes, shape.channels, **_GLIMPSE)


class InflatedResNetOfDepth(_OfClips):
    """(B, 1, T, H, W) depth videos, 0 background, 1 the nearest, to (B, num_classes): the inflated ResNet sees them as grey pictures
    in the scale of ImageNet's, so that its weights can start it."""

    def __init__(self, config: InflatedResNetConfig, shape: DepthShape, num_classes: int):
        if not shape.frames or shape.channels != 1:
            raise RecipeError(f"inflated-resnet-depth takes depth videos of one channel (depth.form: video); these are {shape}")
        super().__init__(config, num_classes, 3, **_GLIMPSE)

    def forward_features(self, depth: Tensor) -> Tensor:
        mean, deviation = (depth.new_tensor(values).view(1, 3, 1, 1, 1) for values in _IMAGENET)
        return super().forward_features((depth - mean) / deviation)

    def forward(self, depth: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(depth))


_GLIMPSE: dict[str, Any] = {"time_kernels": (1, 3, 3, 3, 3), "time_strides": (1,) * 5, "inflate": "3x3", "ends": "zeros"}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of values in 0..1

# Parts of MMAction2's and of PySlowFast's names, in the order in which they are replaced by ours.
_PUBLISHED_NAMES = (
    (r"^cls_head\.fc_cls\.|^head\.projection\.", "fc."),
    (r"^backbone\.conv1\.conv\.|^s1\.pathway0_stem\.conv\.", "conv1."),
    (r"^backbone\.conv1\.bn\.|^s1\.pathway0_stem\.bn\.", "bn1."),
    (r"^backbone\.", ""),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
    (r"\.conv(\d)\.conv\.", r".conv\1."),
    (r"\.conv(\d)\.bn\.", r".bn\1."),
    (r"^s([2-5])\.pathway0_res(\d+)\.", lambda match: f"layer{int(match[1]) - 1}.{match[2]}."),
    (r"\.branch1\.", ".downsample.0."),
    (r"\.branch1_bn\.", ".downsample.1."),
    (r"\.branch2\.([abc])\.", lambda match: f".conv{'abc'.index(match[1]) + 1}."),
    (r"\.branch2\.([abc])_bn\.", lambda match: f".bn{'abc'.index(match[1]) + 1}."),
)


def load_published(path: str | Path) -> dict[str, Tensor]:
    """State dict for `resnet3d` from a checkpoint of MMAction2's or PySlowFast's I3D or SlowOnly.

    Names alone are changed; whether all tensors are there, and in the right shapes, shows when they are loaded. Raises `DataError`
    for a file that cannot be read, or that holds something else.
    """
    state = read_published(path)
    if not {"cls_head.fc_cls.weight", "head.projection.weight"} & state.keys():
        raise DataError("no weights of I3D or SlowOnly: cls_head.fc_cls or head.projection is expected in the state dict", path)
    return {f"network.{renamed(name, _PUBLISHED_NAMES)}": tensor for name, tensor in state.items()}


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
register(
    ModelInfo(
        name="inflated-resnet",
        summary="ResNet-50 of videos, every 3x3 convolution of the four stages inflated to 3x3x3",
        paper=_INFLATED,
        build=InflatedResNet,
        defaults=InflatedResNetConfig(),
        inputs="video",
        example=VideoShape(channels=3, frames=8, height=224, width=224),
    )
)
register(
    ModelInfo(
        name="inflated-resnet-depth",
        summary="the inflated ResNet-18 on depth videos, as grey pictures",
        paper=_INFLATED,
        build=InflatedResNetOfDepth,
        defaults=InflatedResNetConfig(depth=18),
        inputs="depth",
        example=DepthShape(1, 112, 112, 8),
    )
)
