"""Image networks without shortcuts: VGG-16, AlexNet modified for small images, and a small one of our own."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models._image import ImageNetwork, initialise

_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: halve by the maximum
_HIDDEN = 4096


class _Hidden(ImageNetwork):
    """Two hidden layers between the last map, brought to `side` x `side`, and the last layer."""

    last = "classifier.6"
    side: int

    def pool(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, self.side).flatten(1)
        for layer in self.classifier[:6]:
            x = layer(x)
        return x


class Vgg16(_Hidden):
    """VGG-16 (Simonyan, Zisserman, ICLR 2015), published without batch norm; `norm` puts one behind every convolution.

    Names and shapes of the parameters are those of torchvision's vgg16 and vgg16_bn. Maps other than 7 x 7 are averaged or
    repeated to that. The hidden layers have their own dropout of .5.
    """

    side = 7

    def __init__(self, num_classes: int, in_channels: int, dropout: float = 0.0, norm: bool = False):
        super().__init__(dropout)
        layers, width = [], in_channels
        for out in _VGG16:
            if out == 0:
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers += [nn.Conv2d(width, out, 3, padding=1), *([nn.BatchNorm2d(out)] if norm else []), nn.ReLU(inplace=True)]
            width = out
        self.features = nn.Sequential(*layers)
        self.map_channels, self.num_features = width, _HIDDEN
        self.classifier = nn.Sequential(
            nn.Linear(width * self.side**2, _HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(_HIDDEN, num_classes),
        )
        initialise(self)

    def forward_map(self, x: Tensor) -> Tensor:
        return self.features(x)


class ModifiedAlexNet(_Hidden):
    """AlexNet (Krizhevsky, NIPS 2012; in the form of 2014 with one column) for images of any size from 32 on.

    Departs: batch norm behind every convolution; poolings are padded by one; below 128 pixels the first convolution's stride
    is 2 rather than 4, for otherwise nothing is left of a 50 x 50 image. The source that compares with a "modified AlexNet"
    does not say how it was modified: this is our modification. Names and shapes of all parameters besides the norms (`norms`)
    are those of torchvision's alexnet. The hidden layers have their own dropout of .5.
    """

    side = 6

    def __init__(self, num_classes: int, in_channels: int, size: int, dropout: float = 0.0):
        super().__init__(dropout)
        convolutions = (
            nn.Conv2d(in_channels, 64, 11, 4 if size >= 128 else 2, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.Conv2d(256, 256, 3, padding=1),
        )
        # Indices of torchvision's sequence, whose other members (ReLU, pooling) have no parameters.
        self.features = nn.ModuleDict({str(index): layer for index, layer in zip((0, 3, 6, 8, 10), convolutions, strict=True)})
        self.norms = nn.ModuleList(nn.BatchNorm2d(layer.out_channels) for layer in convolutions)
        self.map_channels, self.num_features = 256, _HIDDEN
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * self.side**2, _HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(_HIDDEN, num_classes),
        )
        initialise(self)

    def forward_map(self, x: Tensor) -> Tensor:
        for index, norm in zip(self.features, self.norms, strict=True):
            x = F.relu(norm(self.features[index](x)), inplace=True)
            if index in ("0", "3", "10"):
                x = F.max_pool2d(x, 3, 2, 1)
        return x


class SmallCnn(ImageNetwork):
    """Ours: six convolutions with batch norm, .3 M parameters, for images of 50 x 50, whose last map is 7 x 7."""

    def __init__(self, num_classes: int, in_channels: int, dropout: float = 0.0):
        super().__init__(dropout)
        layers, width = [], in_channels
        for out, kernel, stride in ((32, 5, 2), (32, 3, 1), (64, 3, 2), (64, 3, 1), (128, 3, 2), (128, 3, 1)):
            layers += [
                nn.Conv2d(width, out, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(inplace=True),
            ]
            width = out
        self.features = nn.Sequential(*layers)
        self.map_channels = self.num_features = width
        initialise(self)
        self.reset_classifier(num_classes)

    def forward_map(self, x: Tensor) -> Tensor:
        return self.features(x)
