"""A compact network on depth videos: a small residual encoder of each frame, which looks at its neighbours in time, then 1-D convolutions.

Ours. Part of the channels of each residual block is taken from the frame before and after, which costs nothing, after Lin, Gan, Han:
TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.models._image import initialise
from kinema.models._shift import shift_in_time
from kinema.models.registry import DepthShape, ModelInfo, register


@dataclass(frozen=True)
class DepthVideoConfig:
    """Settings of the depth-video network.

    Args:
        widths: channels of the first convolution and of the residual blocks behind it; each of them halves height and width.
        shift: share of a block's channels taken from the frame before, and as many from the one after; 0 leaves frames apart.
        embedding: features of a frame, of all places of its last map: where something is counts, not only what.
        temporal: channels of the residual blocks of 1-D convolutions over the frames; time is halved between them.
        kernel: frames that one of those spans, odd.
        frame_dropout: probability with which a feature of the frames is 0, in all frames of a clip.
        dropout: probability before the head.
    """

    widths: tuple[int, ...] = (16, 32, 64, 96)
    shift: float = 0.125
    embedding: int = 128
    temporal: tuple[int, ...] = (128, 192)
    kernel: int = 3
    frame_dropout: float = 0.1
    dropout: float = 0.5


class DepthVideo(nn.Module):
    """Input (B, C, T, H, W), any number of frames from 2 ** (temporal blocks - 1) on; height and width those it was built for."""

    def __init__(self, config: DepthVideoConfig, shape: DepthShape, num_classes: int):
        super().__init__()
        _check(config, shape)
        self.config = config
        widths = config.widths
        self.input_norm = nn.BatchNorm2d(shape.channels)
        self.stem = nn.Conv2d(shape.channels, widths[0], 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.blocks = nn.ModuleList(_Block(*pair, config.shift) for pair in itertools.pairwise(widths))
        height, width = (_halved(side, len(widths)) for side in (shape.height, shape.width))
        self.embed = nn.Linear(widths[-1] * height * width, config.embedding, bias=False)
        self.embed_norm = nn.BatchNorm1d(config.embedding)
        self.frame_dropout = nn.Dropout1d(config.frame_dropout)
        temporal = (config.embedding, *config.temporal)
        self.temporal = nn.ModuleList(_TemporalBlock(*pair, config.kernel) for pair in itertools.pairwise(temporal))
        self.head_dropout = nn.Dropout(config.dropout)
        self.num_features = 2 * temporal[-1]
        initialise(self)
        self.to(memory_format=torch.channels_last)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        like = self.embed.weight
        self.classifier = nn.Linear(self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("classifier.",)

    def stages(self) -> tuple[str, ...]:
        """The encoder's blocks, whose rows are frames, and the blocks over time."""
        return tuple(f"{name}.{i}" for name in ("blocks", "temporal") for i in range(len(getattr(self, name))))

    def forward_features(self, depth: Tensor) -> Tensor:
        batch, _, frames = depth.shape[:3]
        # All frames of all clips as one batch of images, channels last in memory: a CPU convolves them fastest so.
        x = depth.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)
        x = F.relu(self.stem_norm(self.stem(self.input_norm(x))))
        for block in self.blocks:
            x = block(x, frames)
        x = F.relu(self.embed_norm(self.embed(x.permute(0, 2, 3, 1).flatten(1))))
        x = x.view(batch, frames, -1).transpose(1, 2)
        for i, block in enumerate(self.temporal):
            x = block(self.frame_dropout(F.max_pool1d(x, 2) if i else x))
        return torch.cat([x.mean(2), x.amax(2)], 1)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.classifier(self.head_dropout(features))

    def forward(self, depth: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(depth))


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, (B * T, width_in, H, W) to (B * T, width, H / 2, W / 2)."""

    def __init__(self, width_in: int, width: int, shift: float):
        super().__init__()
        self.shifted = int(width_in * shift)
        self.conv1 = nn.Conv2d(width_in, width, 3, 2, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(width_in, width, 1, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        y = F.relu(self.norm1(self.conv1(shift_in_time(x, frames, self.shifted))))
        short = self.shortcut_norm(self.shortcut(F.avg_pool2d(x, 2, ceil_mode=True)))
        return F.relu(self.norm2(self.conv2(y)) + short)


class _TemporalBlock(nn.Module):
    """Two 1-D convolutions and a shortcut, (B, width_in, T) to (B, width, T)."""

    def __init__(self, width_in: int, width: int, kernel: int):
        super().__init__()
        self.conv1 = nn.Conv1d(width_in, width, kernel, padding=kernel // 2, bias=False)
        self.norm1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.norm2 = nn.BatchNorm1d(width)
        self.shortcut = nn.Conv1d(width_in, width, 1, bias=False) if width_in != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def _halved(side: int, times: int) -> int:
    for _ in range(times):
        side = (side + 1) // 2
    return side


def _check(config: DepthVideoConfig, shape: DepthShape) -> None:
    least = 2 ** max(len(config.temporal) - 1, 0)
    if shape.frames < least or not shape.frames:
        raise RecipeError(f"depth-video: {shape.frames} frames; a video of at least {max(least, 1)} is needed (depth.form: video)")
    if not config.widths or not config.temporal or min(*config.widths, *config.temporal, config.embedding) < 1:
        raise RecipeError(
            f"depth-video: widths {config.widths} and temporal {config.temporal} must be numbers of channels, at least one each"
        )
    if config.kernel < 1 or config.kernel % 2 == 0:
        raise RecipeError(f"depth-video: kernel {config.kernel} must be odd")
    if not 0 <= config.shift <= 0.5:
        raise RecipeError(f"depth-video: shift {config.shift} must be from 0 to 0.5, as half of the channels go either way")


register(
    ModelInfo(
        name="depth-video",
        summary="a small 2-D residual encoder of depth frames with shifts in time, then 1-D convolutions over the frames",
        paper="own; shifts after Lin, Gan, Han, TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019",
        build=DepthVideo,
        defaults=DepthVideoConfig(),
        inputs="depth",
        example=DepthShape(channels=2, height=48, width=48, frames=16),
    )
)
