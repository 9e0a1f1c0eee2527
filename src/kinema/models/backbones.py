"""Image networks by name: what a skeleton's or a depth map's image is given to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from kinema.errors import RecipeError, unknown
from kinema.models._densenet import DenseNet
from kinema.models._image import ImageNetwork
from kinema.models._plain_cnns import ModifiedAlexNet, SmallCnn, Vgg16
from kinema.models.resnet import ResNet

_SMALLEST = 32


def _resnet(depth: int, num_classes: int, in_channels: int, size: int, dropout: float) -> ImageNetwork:
    return ResNet(depth, num_classes, in_channels, dropout=dropout)


def _densenet(depth: int, num_classes: int, in_channels: int, size: int, dropout: float) -> ImageNetwork:
    return DenseNet(depth, num_classes, in_channels, dropout)


def _vgg16(norm: bool, num_classes: int, in_channels: int, size: int, dropout: float) -> ImageNetwork:
    return Vgg16(num_classes, in_channels, dropout, norm)


def _small(num_classes: int, in_channels: int, size: int, dropout: float) -> ImageNetwork:
    return SmallCnn(num_classes, in_channels, dropout)


BACKBONES: dict[str, Callable[[int, int, int, float], ImageNetwork]] = {
    **{f"resnet{depth}": partial(_resnet, depth) for depth in (18, 34, 50, 101, 152)},
    "vgg16": partial(_vgg16, False),
    "vgg16_bn": partial(_vgg16, True),
    **{f"densenet{depth}": partial(_densenet, depth) for depth in (121, 161)},
    "alexnet": ModifiedAlexNet,
    "small": _small,
}


def create_backbone(name: str, num_classes: int, in_channels: int, size: int, dropout: float = 0.0) -> ImageNetwork:
    """An image network with fresh weights, for images (B, in_channels, size, size), sizes 50 and 224 above all.

    Names: resnet18, resnet34, resnet50, resnet101, resnet152; vgg16 (as published, without batch norm) and vgg16_bn;
    densenet121, densenet161; alexnet (modified, see `ModifiedAlexNet`); small (ours, for 50 x 50). Parameters of all but the
    last have torchvision's names and shapes, so that its published weights load where in_channels is 3.

    `dropout`: probability before the last layer, besides that which VGG and AlexNet have in their hidden layers.
    Raises `RecipeError` for an unknown name, or images below 32 pixels.
    """
    if name not in BACKBONES:
        raise RecipeError(unknown("backbone", name, BACKBONES))
    if size < _SMALLEST:
        raise RecipeError(f"backbone {name!r}: images of {size} pixels are too small; give at least {_SMALLEST}")
    # Channels last in memory, weights and images: a tenth less time for a training step on a CPU.
    return BACKBONES[name](num_classes, in_channels, size, dropout).to(memory_format=torch.channels_last)
