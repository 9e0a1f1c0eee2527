"""DenseNet: Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017."""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models._image import ImageNetwork, initialise

# Depth: channels that a layer adds, layers of each block, channels of the stem.
_SIZES = {121: (32, (6, 12, 24, 16), 64), 161: (48, (6, 12, 36, 24), 96)}
_BOTTLENECK = 4


class DenseNet(ImageNetwork):
    """(B, in_channels, H, W) to (B, num_classes). Names and shapes of the parameters are torchvision's; its published files,
    which number the norms and convolutions of a layer ("norm.1"), load as well."""

    last = "classifier"

    def __init__(self, depth: int, num_classes: int, in_channels: int, dropout: float = 0.0):
        super().__init__(dropout)
        growth, blocks, width = _SIZES[depth]
        self.features = nn.Sequential()
        self.features.conv0 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.features.norm0 = nn.BatchNorm2d(width)
        self.features.relu0 = nn.ReLU(inplace=True)
        self.features.pool0 = nn.MaxPool2d(3, 2, 1)
        for i, layers in enumerate(blocks, 1):
            self.features.add_module(f"denseblock{i}", _Block(width, growth, layers))
            width += growth * layers
            if i < len(blocks):
                self.features.add_module(f"transition{i}", _transition(width))
                width //= 2
        self.features.norm5 = nn.BatchNorm2d(width)
        self.map_channels = self.num_features = width
        initialise(self)
        self.reset_classifier(num_classes)
        self.register_load_state_dict_pre_hook(_rename_published)

    def forward_map(self, x: Tensor) -> Tensor:
        return F.relu(self.features(x), inplace=True)


class _Layer(nn.Module):
    def __init__(self, width: int, growth: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, _BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(_BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(_BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.relu(self.norm1(x), inplace=True))
        return self.conv2(F.relu(self.norm2(x), inplace=True))


class _Block(nn.ModuleDict):
    def __init__(self, width: int, growth: int, layers: int):
        super().__init__({f"denselayer{i + 1}": _Layer(width + i * growth, growth) for i in range(layers)})

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat([x, layer(x)], 1)
        return x


def _transition(width: int) -> nn.Sequential:
    layers = nn.Sequential()
    layers.norm = nn.BatchNorm2d(width)
    layers.relu = nn.ReLU(inplace=True)
    layers.conv = nn.Conv2d(width, width // 2, 1, bias=False)
    layers.pool = nn.AvgPool2d(2, 2)
    return layers


def _rename_published(_, state: dict[str, Tensor], prefix: str, *__) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        renamed = re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", name)
        if renamed != name:
            state[renamed] = state.pop(name)
