"""Image networks on depth alone: by themselves, and behind a temporal attention (UTD-MHAD).

Siddique, Ailane, Baeka: Deep Learning for Human Activity Recognition (SJTU): ResNet-18, ResNet-50, a modified AlexNet, and the
attention with ResNet-18 on depth images; the attention on depth frames without a descriptor is what they name as next.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.models._gru import GroupedLinear
from kinema.models._image import Normalise, OnImages, make_normalise, resize
from kinema.models.attention import Form, TemporalAttention
from kinema.models.backbones import create_backbone
from kinema.models.registry import DepthShape, ModelInfo, register


@dataclass(frozen=True)
class DepthCnnConfig:
    """Settings of an image network on depth images.

    Args:
        backbone: by name, see `create_backbone`; theirs are "resnet18", "resnet50" and "alexnet".
        size: height and width that the images are resized to; 0 leaves them as they are.
        dropout: probability before the last layer.
    """

    backbone: str = "resnet18"
    size: int = 0
    dropout: float = 0.0


class DepthCnn(OnImages):
    """Input (B, C, H, W) as built; channels are views and segments."""

    def __init__(self, config: DepthCnnConfig, shape: DepthShape, num_classes: int):
        super().__init__()
        if shape.frames:
            raise RecipeError("model 'depth-cnn' takes depth images, no videos (depth.form: motion, difference or frame)")
        self.size = config.size
        self.cnn = create_backbone(
            config.backbone, num_classes, shape.channels, config.size or min(shape.height, shape.width), config.dropout
        )

    def forward_features(self, depth: Tensor) -> Tensor:
        return self.cnn.forward_features(resize(depth, self.size) if self.size else depth)

    def forward(self, depth: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(depth))


@dataclass(frozen=True)
class DepthAttentionConfig:
    """Settings of the attention on depth.

    Args:
        form: of the attention, see `TemporalAttention`: "document", "reference" or "self-attention".
        backbone: image network behind it, by name (`create_backbone`).
        size: height and width, both, that images are resized to before the attention.
        normalise: before the attention: "none" as published; "batch" over the batch, "clip" over each image.
        shared: one attention for all channels, rather than one for each.
        units, heads: of the reference and self-attention forms.
        cells: videos only: cells along each side that a frame is averaged to before it becomes one row of the image.
        dropout: probability before the last layer.
    """

    form: Form = "document"
    backbone: str = "resnet18"
    size: int = 50
    normalise: Normalise = "none"
    shared: bool = False
    units: int = 64
    heads: int = 4
    cells: int = 10
    dropout: float = 0.0


class DepthImages(nn.Module):
    """Depth as what an attention takes: (B, C, H, W) images, or (B, C, T, H, W) videos, to (B, C, size, size).

    Images are resized. Of a video each frame becomes one row, without any descriptor: its averages over cells x cells cells,
    through a linear layer for each channel to `size` values; rows are then interpolated linearly over time to `size` of them.
    """

    def __init__(self, size: int, shape: DepthShape, cells: int):
        super().__init__()
        self.size, self.cells = size, cells
        self.rows = GroupedLinear(shape.channels, cells * cells, size) if shape.frames else None

    def forward(self, depth: Tensor) -> Tensor:
        if self.rows is None:
            return resize(depth, self.size)
        b, c, t = depth.shape[:3]
        cells = F.adaptive_avg_pool2d(depth.flatten(0, 2).unsqueeze(1), self.cells).view(b, c, t, -1)
        rows = self.rows(cells.transpose(0, 1).flatten(1, 2)).view(c, b, t, -1).transpose(0, 1)
        return resize(rows, self.size)


class DepthAttention(OnImages):
    """Input (B, C, H, W) images or (B, C, T, H, W) videos as built: each channel through an attention, then the CNN of all.

    Rows of an image are taken for frames, as theirs must have been, who "fed only spatial descriptors" to it; see
    `DepthImages` for videos.
    """

    def __init__(self, config: DepthAttentionConfig, shape: DepthShape, num_classes: int):
        super().__init__()
        self.image = DepthImages(config.size, shape, config.cells)
        self.normalise = make_normalise(config.normalise, shape.channels)
        self.attention = TemporalAttention(
            shape.channels, config.size, config.size, config.form, shared=config.shared, units=config.units, heads=config.heads
        )
        self.cnn = create_backbone(config.backbone, num_classes, shape.channels, config.size, config.dropout)

    def forward_features(self, depth: Tensor) -> Tensor:
        return self.cnn.forward_features(self.attention(self.normalise(self.image(depth))))

    def forward(self, depth: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(depth))


_PAPER = "Siddique, Ailane, Baeka: Deep Learning for Human Activity Recognition"
_EXAMPLE = DepthShape(channels=1, height=50, width=50)

register(
    ModelInfo(
        name="depth-cnn",
        summary="an image network on depth images; ResNet-18 by default",
        paper=_PAPER,
        build=DepthCnn,
        defaults=DepthCnnConfig(),
        inputs="depth",
        example=_EXAMPLE,
    )
)
register(
    ModelInfo(
        name="depth-attention",
        summary="temporal attention on depth images or on the frames of depth videos, then ResNet-18",
        paper=f"{_PAPER}; attention after Xie et al., IJCAI 2018",
        build=DepthAttention,
        defaults=DepthAttentionConfig(),
        inputs="depth",
        example=_EXAMPLE,
    )
)
