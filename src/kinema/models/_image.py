"""What all image networks here have in common: a linear last layer, and features in front of it; and models that make images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError, unknown

Normalise = Literal["none", "batch", "clip"]


class ImageNetwork(nn.Module, ABC):
    """A CNN of images (B, C, H, W). Made by a subclass: `forward_map`, `pool`, and the last layer, named by `last`."""

    last = "fc"
    num_features: int
    map_channels: int

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.head_dropout = nn.Dropout(dropout)

    @abstractmethod
    def forward_map(self, x: Tensor) -> Tensor:
        """(B, map_channels, h, w): the last feature map."""

    def pool(self, x: Tensor) -> Tensor:
        """(B, map_channels, h, w) to (B, num_features)."""
        return x.flatten(2).mean(2)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, num_features): what the last layer is given."""
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.pool(self.forward_map(x))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.get_submodule(self.last)(self.head_dropout(features))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def reset_classifier(self, num_classes: int) -> None:
        """A new, untrained last layer."""
        like = next(self.parameters())
        parent, _, name = self.last.rpartition(".")
        setattr(self.get_submodule(parent), name, nn.Linear(self.num_features, num_classes).to(like.device, like.dtype))

    def remove_classifier(self, hidden: bool = False) -> None:
        """For use as a part of another network, which takes the features; with `hidden` the last map, and no hidden layers."""
        parent, _, name = self.last.rpartition(".") if not hidden else ("", "", self.last.partition(".")[0])
        setattr(self.get_submodule(parent), name, nn.Identity())

    def head_prefixes(self) -> tuple[str, ...]:
        return (self.last + ".",)


class OnImages(nn.Module):
    """A model that makes an image of its input and leaves the rest to the image network `cnn`, its classifier included."""

    cnn: ImageNetwork

    @property
    def num_features(self) -> int:
        return self.cnn.num_features

    def forward_head(self, features: Tensor) -> Tensor:
        return self.cnn.forward_head(features)

    def reset_classifier(self, num_classes: int) -> None:
        self.cnn.reset_classifier(num_classes)

    def head_prefixes(self) -> tuple[str, ...]:
        return tuple(f"cnn.{prefix}" for prefix in self.cnn.head_prefixes())


def initialise(network: nn.Module) -> None:
    """Random weights as in He et al. 2015: normal, by the number of outputs, for convolutions; norms at 1 and 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def resize(image: Tensor, size: int) -> Tensor:
    """(B, C, H, W) to (B, C, size, size), linear between the pixels' centres."""
    if image.shape[2:] == (size, size):
        return image
    return F.interpolate(image, (size, size), mode="bilinear")


def make_normalise(kind: Normalise, channels: int) -> nn.Module:
    """Of images (B, channels, H, W): "none", "batch" (each channel over the batch) or "clip" (each channel of each image)."""
    kinds = {"none": nn.Identity, "batch": lambda: nn.BatchNorm2d(channels), "clip": _Standardise}
    if kind not in kinds:
        raise RecipeError(unknown("normalisation", kind, kinds))
    return kinds[kind]()


class _Standardise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean((2, 3), keepdim=True)
        return x / x.square().mean((2, 3), keepdim=True).sqrt().clamp(min=1e-6)
