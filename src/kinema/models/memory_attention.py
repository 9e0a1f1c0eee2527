"""Temporal attention on skeletons and depth, seen as images by a CNN (UTD-MHAD).

Siddique, Ailane, Baeka: Deep Learning for Human Activity Recognition (SJTU), after Xie et al.: Memory Attention Networks for
Skeleton-based Action Recognition, IJCAI 2018. What their text leaves open is said where it is decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from kinema.errors import RecipeError, unknown
from kinema.layout import get_layout
from kinema.models._image import Normalise, OnImages, make_normalise, resize
from kinema.models._masks import fill_missing
from kinema.models.attention import Form, TemporalAttention
from kinema.models.backbones import create_backbone
from kinema.models.depth_attention import DepthImages
from kinema.models.registry import DepthShape, ModelInfo, PoseShape, Shapes, register

Coordinates = Literal["rectangular", "spherical", "cylindrical", "planes"]
_PLANES = ((0, 1), (1, 2), (2, 0))  # xy, yz, zx


@dataclass(frozen=True)
class MemoryAttentionConfig:
    """Settings of the network on skeletons; the defaults are as published, in the form that the text describes.

    Args:
        form: of the attention, see `TemporalAttention`: "document", "reference" or "self-attention".
        backbone: image network behind it, by name (`create_backbone`): theirs is "resnet18", for NTU RGB+D "resnet101".
        size: frames and joints, both, that a skeleton is resized to before the attention; 224 for the larger networks.
        coordinates: "rectangular"; "spherical" (radius, angle from the vertical, angle about it), "cylindrical" (distance from
            the vertical, angle about it, height), or "planes": the projections on the planes xy, yz and zx, an image each.
        normalise: before the attention: "none" as published; ours: "batch" normalises each coordinate over the batch, "clip"
            gives each coordinate of each clip mean 0 and deviation 1.
        shared: one attention for all coordinates, rather than one for each.
        units, heads: of the reference and self-attention forms.
        dropout: probability before the last layer.
    """

    form: Form = "document"
    backbone: str = "resnet18"
    size: int = 50
    coordinates: Coordinates = "rectangular"
    normalise: Normalise = "none"
    shared: bool = False
    units: int = 64
    heads: int = 4
    dropout: float = 0.0


@dataclass(frozen=True)
class MemoryAttentionDepthConfig(MemoryAttentionConfig):
    """The network with a further attention for each channel of the depth images: early fusion.

    Args:
        cells: depth videos only: cells along each side that a frame is averaged to before it becomes one row of the image.
    """

    cells: int = 10


@dataclass(frozen=True)
class MemoryAttentionCnnConfig(MemoryAttentionConfig):
    """The network of the abstract, with a CNN for the depth images in front of the one for all.

    Args:
        depth_backbone: the first CNN, by name.
        fused_as: what becomes of its output: "features" go through a linear layer to a size x size image, one channel more;
            "map": the last map is narrowed to one channel by a 1 x 1 convolution, and resized.
    """

    depth_backbone: str = "resnet18"
    fused_as: Literal["features", "map"] = "features"


class SkeletonImage(nn.Module):
    """(B, M, T, V, C) to (B, channels, size, size): time downwards, joints across, persons side by side, a coordinate a channel.

    Resized by linear interpolation in rectangular coordinates, and turned into others afterwards, so that no angle is
    averaged across its jump from -pi to pi. The vertical is y; angles about it are from the z axis, where a camera looks.
    With "planes" there are three channels for each stream, a plane's two coordinates side by side across: [x|y], [y|z], [z|x].
    How the planes become images is our decision. Unobserved joints hold their last observed values (`fill_missing`).
    """

    def __init__(self, size: int, coordinates: Coordinates, shape: PoseShape):
        super().__init__()
        known = ("rectangular", "spherical", "cylindrical", "planes")
        if coordinates not in known:
            raise RecipeError(unknown("coordinates", coordinates, known))
        if coordinates != "rectangular" and shape.channels % 3:
            raise RecipeError(f"{coordinates} coordinates are of 3-D points; joints have {shape.channels} channels")
        self.size, self.coordinates, self.channels = size, coordinates, shape.channels

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            x = fill_missing(x, mask)
        x = x.permute(0, 4, 2, 1, 3).flatten(3)
        if self.coordinates == "planes":
            points = x.unflatten(1, (-1, 3))
            x = torch.stack([points[:, :, plane].movedim(2, 3).flatten(3) for plane in _PLANES], 2).flatten(1, 2)
        x = resize(x, self.size)
        return x if self.coordinates in ("rectangular", "planes") else _angles(x, self.coordinates)


def _angles(image: Tensor, coordinates: Coordinates) -> Tensor:
    """Of each three channels x, y, z: (radius, angle from y, angle about y) or (distance from y, angle about y, y)."""
    x, y, z = image.unflatten(1, (-1, 3)).unbind(2)
    across, about = torch.hypot(x, z), torch.atan2(x, z)
    parts = (torch.hypot(across, y), torch.atan2(across, y), about) if coordinates == "spherical" else (across, about, y)
    return torch.stack(parts, 2).flatten(1, 2)


class _Attending(OnImages):
    """Channels of an image of `size` x `size`, each through its attention, and the CNN of all of them."""

    def _attend(self, config: MemoryAttentionConfig, channels: int, num_classes: int, further: int = 0) -> None:
        self.normalise = make_normalise(config.normalise, channels)
        self.attention = TemporalAttention(
            channels, config.size, config.size, config.form, shared=config.shared, units=config.units, heads=config.heads
        )
        self.cnn = create_backbone(config.backbone, num_classes, channels + further, config.size, config.dropout)


class MemoryAttention(_Attending):
    """Input (B, M, T, V, C) as built, 2-D or 3-D points, one or several streams.

    Each coordinate X, Y, Z resized to size x size and recalibrated by an attention of its own; together they are an image of
    C channels for the CNN.
    """

    def __init__(self, config: MemoryAttentionConfig, shape: PoseShape, num_classes: int):
        super().__init__()
        self.image = SkeletonImage(config.size, config.coordinates, shape)
        self._attend(config, self.image.channels, num_classes)

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.cnn.forward_features(self.attention(self.normalise(self.image(x, mask))))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask))


class MemoryAttentionDepth(_Attending):
    """Inputs (B, M, T, V, C), and depth images (B, D, H, W) or videos (B, D, T, H, W): the run with a fourth attention.

    Each channel of the depth images is resized to size x size and recalibrated like a coordinate, rows taken for frames; the
    CNN sees C + D channels. Rows of a video are its frames, see `DepthImages`.
    """

    def __init__(self, config: MemoryAttentionDepthConfig, shape: Shapes, num_classes: int):
        super().__init__()
        pose, depth = _pose_and_depth("memory-attention-depth", shape)
        self.image = SkeletonImage(config.size, config.coordinates, pose)
        self.depth_image = DepthImages(config.size, depth, config.cells)
        self._attend(config, self.image.channels + depth.channels, num_classes)

    def forward_features(self, x: Tensor, mask: Tensor | None = None, depth: Tensor | None = None) -> Tensor:
        image = torch.cat([self.image(x, mask), self.depth_image(depth)], 1)
        return self.cnn.forward_features(self.attention(self.normalise(image)))

    def forward(self, x: Tensor, mask: Tensor | None = None, depth: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask, depth))


class MemoryAttentionCnn(_Attending):
    """Inputs (B, M, T, V, C) and depth images (B, D, H, W): the architecture of the abstract, trained end to end.

    A first CNN sees the depth images as they are; its output, made an image of size x size, joins the attentions' outputs as
    a further channel of what the second CNN sees. The text says "fuse"; that this is one channel, and how it is made of the
    first CNN's output (`fused_as`), are our decisions.
    """

    def __init__(self, config: MemoryAttentionCnnConfig, shape: Shapes, num_classes: int):
        super().__init__()
        pose, depth = _pose_and_depth("memory-attention-cnn", shape)
        if depth.frames:
            raise RecipeError("model 'memory-attention-cnn' takes depth images, no videos (depth.form: motion, difference or frame)")
        self.size, self.fused_as = config.size, config.fused_as
        self.image = SkeletonImage(config.size, config.coordinates, pose)
        self.depth_cnn = create_backbone(config.depth_backbone, 1, depth.channels, min(depth.height, depth.width))
        self.depth_cnn.remove_classifier(hidden=config.fused_as == "map")
        if config.fused_as == "features":
            self.depth_image = nn.Linear(self.depth_cnn.num_features, config.size**2)
        elif config.fused_as == "map":
            self.depth_image = nn.Conv2d(self.depth_cnn.map_channels, 1, 1)
        else:
            raise RecipeError(unknown("fused_as", config.fused_as, ("features", "map")))
        self._attend(config, self.image.channels, num_classes, further=1)

    def forward_features(self, x: Tensor, mask: Tensor | None = None, depth: Tensor | None = None) -> Tensor:
        if self.fused_as == "features":
            seen = self.depth_image(self.depth_cnn.forward_features(depth)).view(-1, 1, self.size, self.size)
        else:
            seen = resize(self.depth_image(self.depth_cnn.forward_map(depth)), self.size)
        image = self.attention(self.normalise(self.image(x, mask)))
        return self.cnn.forward_features(torch.cat([image, seen], 1))

    def forward(self, x: Tensor, mask: Tensor | None = None, depth: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask, depth))


def _pose_and_depth(name: str, shape: Shapes) -> tuple[PoseShape, DepthShape]:
    if shape.pose is None or shape.depth is None:
        raise RecipeError(f"model {name!r} takes skeletons and depth; it was given {shape}")
    return shape.pose, shape.depth


_PAPER = "Siddique, Ailane, Baeka: Deep Learning for Human Activity Recognition; attention after Xie et al., IJCAI 2018"
_POSE = PoseShape(persons=1, frames=50, layout=get_layout("utd-mhad"), channels=3)
_BOTH = Shapes(pose=_POSE, depth=DepthShape(channels=1, height=50, width=50))

register(
    ModelInfo(
        name="memory-attention",
        summary="temporal attention on each coordinate, then ResNet-18 on the image of all",
        paper=_PAPER,
        build=MemoryAttention,
        defaults=MemoryAttentionConfig(),
        example=_POSE,
    )
)
register(
    ModelInfo(
        name="memory-attention-depth",
        summary="the same with a fourth attention on the depth image: early fusion, four channels of one image",
        paper=_PAPER,
        build=MemoryAttentionDepth,
        defaults=MemoryAttentionDepthConfig(),
        inputs="pose+depth",
        example=_BOTH,
    )
)
register(
    ModelInfo(
        name="memory-attention-cnn",
        summary="a CNN on depth images, whose output joins the three attentions' outputs in a second CNN",
        paper=_PAPER,
        build=MemoryAttentionCnn,
        defaults=MemoryAttentionCnnConfig(),
        inputs="pose+depth",
        example=_BOTH,
    )
)
