"""Networks on signals of worn sensors, (B, channels, samples), or on their spectrograms: a convolutional and a recurrent one.

Small on purpose: a minute of training on one CPU thread. The residual network follows Wang, Yan, Oates: Time Series Classification from
Scratch with Deep Neural Networks (IJCNN 2017); kernels of several sizes side by side follow Ismail Fawaz et al.: InceptionTime (2020).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.models.registry import InertialShape, ModelInfo, register


@dataclass(frozen=True)
class InertialCNNConfig:
    """Settings of the convolutional network.

    Args:
        widths: channels of the residual blocks, of two convolutions each; every block halves the samples.
        kernels: sizes of the kernels that share the channels of each convolution among them, odd.
        pool: what the samples become: their "mean", or "both" the mean and the maximum side by side.
        parts: stretches of time, of equal length, that are pooled by themselves and put side by side; 1 forgets the order.
        dropout: probability before the head.
        block_dropout: probability with which a channel within a block is 0.
    """

    widths: tuple[int, ...] = (64, 96, 128)
    kernels: tuple[int, ...] = (5,)
    pool: str = "mean"
    parts: int = 1
    dropout: float = 0.3
    block_dropout: float = 0.0


@dataclass(frozen=True)
class InertialGRUConfig:
    """Settings of the recurrent network.

    Args:
        width: channels of the convolutions before it, which quarter the samples.
        hidden: units of the GRU in each direction.
        layers: of the GRU.
        dropout: probability between layers and before the head.
    """

    width: int = 64
    hidden: int = 96
    layers: int = 1
    dropout: float = 0.3


class _OnSignals(nn.Module, ABC):
    """A network (B, channels, samples) to `num_features`, which a subclass makes, with dropout and one linear layer behind."""

    num_features: int
    dropout: nn.Dropout

    @abstractmethod
    def forward_features(self, inertial: Tensor) -> Tensor: ...

    def reset_classifier(self, num_classes: int) -> None:
        like = next(self.parameters())
        self.head = nn.Linear(self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("head.",)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(self.dropout(features))

    def forward(self, inertial: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(inertial))


class InertialCNN(_OnSignals):
    """Residual blocks of 1-D convolutions, pooled over time. Input (B, channels, samples), any number of samples."""

    def __init__(self, config: InertialCNNConfig, shape: InertialShape, num_classes: int):
        super().__init__()
        if not config.widths or min(config.widths) < len(config.kernels):
            raise RecipeError(f"inertial-cnn: widths {config.widths} must be numbers of channels, at least one for each kernel")
        if not config.kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in config.kernels):
            raise RecipeError(f"inertial-cnn: kernels {config.kernels} must be odd sizes")
        if config.pool not in ("mean", "both") or config.parts < 1:
            raise RecipeError(f"inertial-cnn: pool {config.pool!r} of {config.parts} parts; mean or both, of at least 1, is expected")
        self.config = config
        widths = (shape.channels, *config.widths)
        self.blocks = nn.ModuleList(
            _Block(widths[i], widths[i + 1], config.kernels, 2, config.block_dropout) for i in range(len(config.widths))
        )
        self.dropout = nn.Dropout(config.dropout)
        self.num_features = config.widths[-1] * config.parts * (2 if config.pool == "both" else 1)
        self.reset_classifier(num_classes)

    def forward_features(self, inertial: Tensor) -> Tensor:
        x = inertial
        for block in self.blocks:
            x = block(x)
        pooled = [F.adaptive_avg_pool1d(x, self.config.parts)]
        if self.config.pool == "both":
            pooled.append(F.adaptive_max_pool1d(x, self.config.parts))
        return torch.cat(pooled, 1).flatten(1)


class _Convolution(nn.Module):
    """Convolutions of several kernel sizes side by side, which share `width` channels among them; batch norm."""

    def __init__(self, channels: int, width: int, kernels: tuple[int, ...], stride: int):
        super().__init__()
        shares = [width // len(kernels) + (i < width % len(kernels)) for i in range(len(kernels))]
        self.parts = nn.ModuleList(
            nn.Conv1d(channels, share, kernel, stride, kernel // 2, bias=False) for share, kernel in zip(shares, kernels, strict=True)
        )
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat([part(x) for part in self.parts], 1))


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, kernels: tuple[int, ...], stride: int, dropout: float):
        super().__init__()
        self.first = _Convolution(channels, width, kernels, stride)
        self.second = _Convolution(width, width, kernels, 1)
        self.dropout = nn.Dropout1d(dropout)
        self.shortcut = nn.Identity() if channels == width and stride == 1 else _Convolution(channels, width, (1,), stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.dropout(F.relu(self.first(x)))) + self.shortcut(x))


class InertialGRU(_OnSignals):
    """Two strided convolutions, then a GRU in both directions, averaged over time. Input (B, channels, samples), any number of samples."""

    def __init__(self, config: InertialGRUConfig, shape: InertialShape, num_classes: int):
        super().__init__()
        if min(config.width, config.hidden, config.layers) < 1:
            raise RecipeError("inertial-gru: width, hidden and layers must be at least 1")
        self.config = config
        self.stem = nn.ModuleList(_Convolution(channels, config.width, (5,), 2) for channels in (shape.channels, config.width))
        between = config.dropout if config.layers > 1 else 0.0
        self.gru = nn.GRU(config.width, config.hidden, config.layers, batch_first=True, bidirectional=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)
        self.num_features = 2 * config.hidden
        self.reset_classifier(num_classes)

    def forward_features(self, inertial: Tensor) -> Tensor:
        x = inertial
        for layer in self.stem:
            x = F.relu(layer(x))
        return self.gru(x.transpose(1, 2))[0].mean(1)


_EXAMPLE = InertialShape(channels=6, samples=128)

register(
    ModelInfo(
        name="inertial-cnn",
        summary="residual network of 1-D convolutions on signals of a worn sensor",
        paper="Wang, Yan, Oates, Time Series Classification from Scratch with Deep Neural Networks, IJCNN 2017; smaller",
        build=InertialCNN,
        defaults=InertialCNNConfig(),
        inputs="inertial",
        example=_EXAMPLE,
    )
)
register(
    ModelInfo(
        name="inertial-gru",
        summary="convolutions and a bidirectional GRU on signals of a worn sensor",
        paper="own; Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014",
        build=InertialGRU,
        defaults=InertialGRUConfig(),
        inputs="inertial",
        example=_EXAMPLE,
    )
)
