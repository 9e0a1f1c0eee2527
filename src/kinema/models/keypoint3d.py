"""3-D convolutions over key points as they are, without heatmaps: a C3D-like network over frames, persons, joints and coordinates.

A students' project of EPFL's VITA group (CIVIL-459, 2023) made it of PoseConv3D's C3D to save the cost of heatmaps; as published it
stayed at chance. The defaults here are that network; the settings after `hidden` are what was wrong, or is missing, one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kinema.errors import RecipeError, unknown
from kinema.layout import get_layout
from kinema.models._masks import fill_missing, present
from kinema.models._stages import Tap, tap_names
from kinema.models._volumes import ConvNorm
from kinema.models.registry import ModelInfo, PoseShape, register
from kinema.transforms.boxes import tight_box

# What the channels are, the axes of the convolutions, their kernel, and how far poolings move along each axis.
_ORDERS = {
    "joints": (("frames", "persons", "coordinates"), (3, 2, 2), (2, 1, 1)),
    "persons": (("frames", "joints", "coordinates"), (3, 2, 2), (2, 2, 1)),
    "coordinates": (("frames", "joints", "persons"), (3, 3, 1), (2, 2, 1)),
}
_AXES = {"persons": 1, "frames": 2, "joints": 3, "coordinates": 4}  # of (B, M, T, V, C)
_POOLED_BEFORE = (1, 2, 4, 6)  # layers, counted from 0, in front of which an average is taken
_SHOWN = (0, 1, 3, 5, 7)  # layers, the last ones before the poolings and at the end, whose maps are stages
_NORMALISED = ("none", "image", "box")


@dataclass(frozen=True)
class KeypointCNN3DConfig:
    """Settings of the network on raw key points; the defaults are the published network's.

    Args:
        order: what the channels are: joints, with convolutions over frames, persons and coordinates (the published first form), or
            persons, over frames, joints and coordinates (the second); or coordinates, over frames, joints and persons (ours).
        widths: channels of the eight convolutions.
        hidden: units of the first fully connected layer; 0 leaves it out.
        activation: ReLU between the fully connected layers.
        batch_statistics: norms use the statistics of the batch when testing too, as in the published code, where they never switch: an
            answer then depends on what else is in the batch.
        normalise: "image" divides by `image_size`, the same for all clips, "box" moves and scales the clip's tight box to -1..1,
            "none" takes coordinates as they come.
        image_size: (width, height) in pixels, for "image".
        pool_space: poolings also average over pairs of neighbours along the other axes than time.
        mix_joints: learnt weighted sums of all joints that take the place of joints as an axis, for neighbouring joints in a list
            need not be neighbours on the body; 0 keeps the joints.
        motion: differences between frames as further coordinates; 0 in the first frame.
        dropout: probability before the fully connected layers.
    """

    order: Literal["joints", "persons", "coordinates"] = "joints"
    widths: tuple[int, ...] = (64, 128, 256, 256, 512, 512, 512, 512)
    hidden: int = 512
    activation: bool = False
    batch_statistics: bool = False
    normalise: Literal["none", "image", "box"] = "image"
    image_size: tuple[int, int] = (1920, 1080)
    pool_space: bool = True
    mix_joints: int = 0
    motion: bool = False
    dropout: float = 0.0


class KeypointCNN3D(nn.Module):
    """Input (B, M, T, V, C), 2-D or 3-D points (a score behind them is one coordinate more); all but B as built.

    Convolutions with batch norm and ReLU, average poolings over 3 frames before the 2nd, 3rd, 5th and 7th of them, and over 2
    neighbours along the other axes; two fully connected layers. Kernels of 2 with padding 1 make those axes longer by one at every
    layer. The answer is logits; the published code takes their softmax, and the mean squared error to one-hot labels of that
    (`fit.loss: mse`).

    Unobserved joints hold their last observed values (`fill_missing`), absent persons are zeros.
    """

    def __init__(self, config: KeypointCNN3DConfig, shape: PoseShape, num_classes: int):
        super().__init__()
        if config.order not in _ORDERS:
            raise RecipeError(unknown("order", config.order, _ORDERS))
        if config.normalise not in _NORMALISED:
            raise RecipeError(unknown("normalise", config.normalise, _NORMALISED))
        if len(config.widths) != 8 or min(config.widths) < 1:
            raise RecipeError(f"keypoint-cnn3d: widths {list(config.widths)} must be eight channel numbers")
        if config.normalise == "image" and (len(config.image_size) != 2 or min(config.image_size) <= 0):
            raise RecipeError(f"keypoint-cnn3d: image_size {list(config.image_size)}; width and height in pixels are expected")
        self.config = config
        axes, kernel, self.strides = _ORDERS[config.order]
        sizes = {
            "persons": shape.persons,
            "frames": shape.frames,
            "joints": config.mix_joints or len(shape.layout),
            "coordinates": shape.channels * (2 if config.motion else 1),
        }
        self.places = [_AXES[axis] for axis in (*axes, config.order)]
        self.mix = nn.Linear(len(shape.layout), config.mix_joints, bias=False) if config.mix_joints else None
        self.layers = nn.ModuleList()
        width, extent = sizes[config.order], [sizes[axis] for axis in axes]
        for i, out in enumerate(config.widths):
            if i in _POOLED_BEFORE:
                extent = [(size - kernel) // stride + 1 for size, kernel, stride in zip(extent, *self._pool(extent), strict=True)]
            self.layers.append(ConvNorm(width, out, kernel))
            extent = [size + 2 * (side // 2) - side + 1 for size, side in zip(extent, kernel, strict=True)]
            width = out
        self.any_image_unit = config.normalise == "box"  # pixels and scaled coordinates are the same to it
        self.taps = nn.ModuleList(Tap() for _ in _SHOWN)
        self.dropout = nn.Dropout(config.dropout)
        self.num_features = width * extent[0] * extent[1] * extent[2]
        self.reset_classifier(num_classes)
        self.train()

    def _pool(self, extent: list[int]) -> tuple[list[int], list[int]]:
        """Kernel and stride of a pooling of that extent."""
        time, *space = self.strides
        kernel = [3, *(2 if stride > 1 or self.config.order != "coordinates" else 1 for stride in space)]
        strides = [time, *space]
        if not self.config.pool_space:
            kernel, strides = [3, 1, 1], [time, 1, 1]
        return [min(side, size) for side, size in zip(kernel, extent, strict=True)], strides

    def train(self, mode: bool = True) -> KeypointCNN3D:
        super().train(mode)
        if self.config.batch_statistics:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.train()
        return self

    def reset_classifier(self, num_classes: int) -> None:
        like, hidden = self.layers[0].conv.weight, self.config.hidden
        self.fc1 = nn.Linear(self.num_features, hidden).to(like.device, like.dtype) if hidden else None
        self.fc2 = nn.Linear(hidden or self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("fc1.", "fc2.") if self.config.hidden else ("fc2.",)

    def _points(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.config.normalise == "box":
            begin, size = tight_box(torch.where(mask.unsqueeze(-1), x, 0) if mask is not None else x, mask, padding=0.0).unbind(1)
        if mask is not None:
            x = fill_missing(x, mask)
        if self.config.normalise == "box":
            x = 2 * (x - begin[:, None, None, None]) / size[:, None, None, None] - 1
        elif self.config.normalise == "image":
            x = x / x.new_tensor([*self.config.image_size, *[1] * (x.shape[-1] - 2)])
        if mask is not None:
            x = x * present(mask)[:, :, None, None, None]
        if self.config.motion:
            x = torch.cat([x, F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 0, 1, 0))], -1)
        if self.mix is not None:
            x = self.mix(x.transpose(3, 4)).transpose(3, 4)
        return x

    def stages(self) -> tuple[str, ...]:
        return tap_names(self.taps)

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self._points(x, mask).permute(0, *self.places).contiguous()
        for i, layer in enumerate(self.layers):
            if i in _POOLED_BEFORE:
                x = F.avg_pool3d(x.permute(0, 4, 1, 2, 3), *self._pool(list(x.shape[1:4]))).permute(0, 2, 3, 4, 1)
            x = layer(x)
            if i in _SHOWN:
                self.taps[_SHOWN.index(i)](x.permute(0, 4, 1, 2, 3))
        return x.permute(0, 4, 1, 2, 3).flatten(1)

    def forward_head(self, features: Tensor) -> Tensor:
        x = self.dropout(features)
        if self.fc1 is not None:
            x = self.fc1(x)
            x = self.dropout(F.relu(x) if self.config.activation else x)
        return self.fc2(x)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask))


register(
    ModelInfo(
        name="keypoint-cnn3d",
        summary="3-D convolutions over raw 2-D or 3-D key points, C3D-like; the published form, and what makes it learn",
        paper="after PoseConv3D (Duan et al., CVPR 2022) without its heatmaps, a project of the course CIVIL-459, EPFL, 2023",
        build=KeypointCNN3D,
        defaults=KeypointCNN3DConfig(),
        example=PoseShape(persons=2, frames=32, layout=get_layout("coco17"), channels=2),
    )
)
