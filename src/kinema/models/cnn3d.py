"""3-D CNN: a few convolutions over time, height and width, then fully connected layers.

Mangal, Jain: Transfer Learning Based Activity Recognition using ResNet 101 C-RNN Model, IJATCSE 2020, section 3.1; its lineage:
H. T. Tseng, Five video classification methods, 2018; both after Ji, Xu, Yang, Yu: 3D Convolutional Neural Networks for Human Action
Recognition, TPAMI 2013.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.models._image import initialise
from kinema.models._stages import Tap, tap_names
from kinema.models.registry import ModelInfo, VideoShape, register


@dataclass(frozen=True)
class Cnn3dConfig:
    """Settings of the 3-D CNN; the defaults are the document's.

    Args:
        channels: of the convolutions.
        kernels: of each, the same over time, height and width.
        stride: of each, likewise.
        padding: "half" a kernel on all sides, in time too; "none" leaves the edges away.
        pool: the largest of 2 x 2 x 2 neighbours behind each convolution; what is left over at an end counts too.
        norm: batch norm behind each convolution.
        bins: frames to which the last map is pooled, whatever the number of frames given: the largest value of each part.
        grid: rows and columns into which it is averaged; (0, 0) leaves it as it is, at one size of picture.
        hidden: units of the fully connected layers.
        drop_channels: probability of dropping a whole channel behind each convolution.
        dropout: probability before the last layer.
    """

    channels: tuple[int, ...] = (64, 128)
    kernels: tuple[int, ...] = (5, 3)
    stride: int = 2
    padding: Literal["half", "none"] = "half"
    pool: bool = True
    norm: bool = False
    bins: int = 2
    grid: tuple[int, ...] = (0, 0)
    hidden: tuple[int, ...] = (2048, 2048)
    drop_channels: float = 0.0
    dropout: float = 0.0


class Cnn3d(nn.Module):
    """(B, C, T, H, W) videos to (B, num_classes); T may be any number of frames, H and W are those it was built for.

    The rule for time, one for all lengths: convolutions are padded by half their kernel, and in front of the fully connected layers the
    map is pooled over time to `bins` frames. With the document's settings, from 90 x 120 pixels, 29 frames | 19 frames:

        convolution 64 x 5 x 5 x 5   (64, 15, 45, 60)  | (64, 10, 45, 60)
        pooling                      (64, 8, 23, 30)   | (64, 5, 23, 30)
        convolution 128 x 3 x 3 x 3  (128, 4, 12, 15)  | (128, 3, 12, 15)
        pooling                      (128, 2, 6, 8)    | (128, 2, 6, 8)
        over time                    (128, 2, 6, 8) = 12 288 features, then 2048, 2048, classes

    Departs, for the text is silent: padding (without it 19 frames shrink to none), ReLU, largest values as pooling, its ends.
    The lineage's form: (32, 13, 126, 169) and (48, 6, 62, 84) of 29 frames of 256 x 342 grey pixels, over time (48, 5, 62, 84); 19
    frames: (48, 3, 62, 84), of which the largest of overlapping parts make the same 5. Departs there: it takes 28 frames alone.
    """

    def __init__(self, config: Cnn3dConfig, shape: VideoShape, num_classes: int):
        super().__init__()
        _check(config)
        self.config = config
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        for given, width, kernel in zip((shape.channels, *config.channels), config.channels, config.kernels, strict=False):
            padding = kernel // 2 if config.padding == "half" else 0
            self.convolutions.append(nn.Conv3d(given, width, kernel, config.stride, padding, bias=not config.norm))
            self.norms.append(nn.BatchNorm3d(width) if config.norm else nn.Identity())
        self.drop_channels = nn.Dropout3d(config.drop_channels)
        self.taps = nn.ModuleList(Tap() for _ in config.channels)
        widths = (self._map_features(shape), *config.hidden)
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.head_dropout = nn.Dropout(config.dropout)
        self.num_features = widths[-1]
        initialise(self)
        self.to(memory_format=torch.channels_last_3d)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        like = self.convolutions[0].weight
        self.classifier = nn.Linear(self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("classifier.",)

    def stages(self) -> tuple[str, ...]:
        """Behind each convolution, pooled."""
        return tap_names(self.taps)

    def forward_features(self, video: Tensor) -> Tensor:
        x = video.contiguous(memory_format=torch.channels_last_3d)
        for convolution, norm, tap in zip(self.convolutions, self.norms, self.taps, strict=True):
            x = F.relu(norm(convolution(x)))
            if self.config.pool:
                x = F.max_pool3d(x, 2, ceil_mode=True)
            x = self.drop_channels(tap(x))
        x = self._pooled(x).flatten(1)
        for layer in self.hidden:
            x = F.relu(layer(x))
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        return self.classifier(self.head_dropout(features))

    def forward(self, video: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(video))

    def _pooled(self, x: Tensor) -> Tensor:
        """(B, C, T, h, w) to (B, C, bins, h, w), or to the grid."""
        x = F.adaptive_max_pool3d(x, (self.config.bins, None, None))
        return F.adaptive_avg_pool3d(x, (None, *self.config.grid)) if any(self.config.grid) else x

    def _map_features(self, shape: VideoShape) -> int:
        """Features of the pooled map; `RecipeError` where nothing is left of it."""
        config, size = self.config, [shape.frames, shape.height, shape.width]
        for kernel in config.kernels:
            padding = kernel // 2 if config.padding == "half" else 0
            size = [(side + 2 * padding - kernel) // config.stride + 1 for side in size]
            size = [-(-side // 2) for side in size] if config.pool else size
        if min(size) < 1:
            raise RecipeError(f"cnn3d: nothing is left of {shape}; more frames or pixels, or padding: half, are needed")
        rows, columns = config.grid if any(config.grid) else size[1:]
        return config.channels[-1] * config.bins * rows * columns


def _check(config: Cnn3dConfig) -> None:
    if not config.channels or len(config.channels) != len(config.kernels) or any(kernel % 2 == 0 for kernel in config.kernels):
        raise RecipeError(f"cnn3d: as many odd kernels as channels are expected, not {list(config.kernels)} for {list(config.channels)}")
    if min((*config.channels, *config.hidden, config.stride, config.bins)) < 1:
        raise RecipeError("cnn3d: channels, hidden, stride and bins must be at least 1")
    if config.padding not in ("half", "none"):
        raise RecipeError(f"cnn3d: padding is {config.padding!r}; half or none is expected")
    if len(config.grid) != 2 or min(config.grid) < 0 or (0 in config.grid and any(config.grid)):
        raise RecipeError(f"cnn3d: grid is {list(config.grid)}; rows and columns are expected, or [0, 0] for the map as it is")


register(
    ModelInfo(
        name="cnn3d",
        summary="two 3-D convolutions with pooling, two fully connected layers of 2048",
        paper="Mangal, Jain: Transfer Learning Based Activity Recognition using ResNet 101 C-RNN Model, IJATCSE 2020, section 3.1",
        build=Cnn3d,
        defaults=Cnn3dConfig(),
        inputs="video",
        example=VideoShape(channels=3, frames=29, height=90, width=120),
    )
)
# 320 million parameters at the lineage's 256 x 342 pixels, nearly all of them in its first fully connected layer.
register(
    ModelInfo(
        name="cnn3d-lineage",
        summary="two 3-D convolutions with batch norm and without pooling, two fully connected layers of 256; grey 256 x 342 pixels",
        paper="H. T. Tseng, Five video classification methods, 2018",
        build=Cnn3d,
        defaults=Cnn3dConfig(
            channels=(32, 48), padding="none", pool=False, norm=True, bins=5, hidden=(256, 256), drop_channels=0.2, dropout=0.2
        ),
        inputs="video",
        example=VideoShape(channels=1, frames=29, height=90, width=120),
    )
)
