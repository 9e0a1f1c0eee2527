"""C-RNN: each frame of a video through a CNN encoder, the sequence of their features through a recurrent decoder.

Mangal, Jain: Transfer Learning Based Activity Recognition using ResNet 101 C-RNN Model, IJATCSE 2020; details that it does not tell
are those of the code that it descends from (H. T. Tseng, Five video classification methods, 2018: "the lineage" below).

Departs: the text calls ResNet-101 the decoder and names no recurrent cell. Here ResNet encodes the frames, its fc replaced by
fully connected layers, and a recurrent network decodes, as in the lineage.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError, unknown
from kinema.models._decoders import make_decoder
from kinema.models._image import ImageNetwork, initialise
from kinema.models.registry import ModelInfo, VideoShape, register
from kinema.models.resnet import Norm, ResNet

_PAPER = "Mangal, Jain: Transfer Learning Based Activity Recognition using ResNet 101 C-RNN Model, IJATCSE 2020"
_RESNETS = {f"resnet{depth}": depth for depth in (18, 34, 50, 101, 152)}
_FRAMES_AT_ONCE = 256  # of a frozen encoder: bounds the memory of its maps


@dataclass(frozen=True)
class CrnnConfig:
    """Settings of C-RNN.

    Args:
        encoder: "cnn", four convolutions; or resnet18, resnet34, resnet50, resnet101, resnet152, whose parameters have torchvision's names
            under `encoder.`, so that its ImageNet weights load (`init.arch`).
        stages: of a ResNet's four; 3 leaves out layer4.
        norm: of a ResNet: "batch", or "fixed" at the statistics that were loaded, in training too.
        shift: of a ResNet: share of the channels that each block takes of the frame before, and as many of the one after (TSM).
        grid: rows and columns into which the encoder's last map is averaged; (0, 0) takes all places of it, at one size of picture.
        peaks: give the largest value of each channel over the map too, beside the means of the grid.
        embed: units of the fully connected layers between encoder and decoder; the last gives the frame's vector z(t). With none z(t) is
            what the encoder gives.
        embed_norm: batch norm in all of them but the last.
        embed_dropout: probability before the last one.
        decoder: "lstm" or "gru", of which the last step counts; "attention" or "mean" over the frames; "statistics", mean, deviation and
            change from one frame to the next.
        units: of a recurrent layer, or of the attention.
        layers: recurrent layers.
        hidden: units of the fully connected layer behind the decoder; 0 is none.
        dropout: probability before the last layer, and between recurrent layers.
    """

    encoder: Literal["cnn", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet18"
    stages: int = 4
    norm: Norm = "batch"
    shift: float = 0.0
    grid: tuple[int, ...] = (1, 1)
    peaks: bool = False
    embed: tuple[int, ...] = (1024, 768, 512)
    embed_norm: bool = True
    embed_dropout: float = 0.3
    decoder: Literal["lstm", "gru", "attention", "mean", "statistics"] = "lstm"
    units: int = 512
    layers: int = 3
    hidden: int = 256
    dropout: float = 0.3


class Crnn(nn.Module):
    """(B, C, T, H, W) videos to (B, num_classes), any number of frames T.

    `encode` gives (B, T, F), `encoded_features` a frame; `forward(features=...)` goes on from there. So the answers of an encoder
    that does not train (all names that begin with `encoder_prefix`) need be computed only once.
    """

    encoder_prefix = "encoder."

    def __init__(self, config: CrnnConfig, shape: VideoShape, num_classes: int):
        super().__init__()
        _check(config)
        self.config = config
        self.encoder = _make_encoder(config, shape.channels)
        rows, columns = config.grid if any(config.grid) else _map_size(self.encoder, shape)
        self.encoded_features = self.encoder.map_channels * (rows * columns + config.peaks)
        self.embed = _Embed(self.encoded_features, config)
        z = config.embed[-1] if config.embed else self.encoded_features
        self.decoder = make_decoder(config.decoder, z, config.units, config.layers, config.dropout)
        self.num_features = config.hidden or self.decoder.num_features
        self.hidden = nn.Linear(self.decoder.num_features, config.hidden) if config.hidden else None
        self.head_dropout = nn.Dropout(config.dropout)
        self.reset_classifier(num_classes)

    @property
    def encoder_settings(self) -> tuple:
        """What, beside the weights, decides the answers of `encode`."""
        return self.config.encoder, self.config.stages, self.config.shift, self.config.grid, self.config.peaks

    def reset_classifier(self, num_classes: int) -> None:
        like = next(self.parameters())
        self.classifier = nn.Linear(self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("classifier.",)

    def stages(self) -> tuple[str, ...]:
        """Those of the encoder, whose rows are frames."""
        return tuple(f"encoder.{name}" for name in self.encoder.stages())

    def encode(self, video: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, T, encoded_features): the encoder's last map of each frame, averaged into the grid, and its peaks."""
        batch, _, frames = video.shape[:3]
        # All frames of all clips as one batch of images, channels last in memory.
        x = video.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)
        trains = any(parameter.requires_grad for parameter in self.encoder.parameters())
        # Norms that train look at the whole batch; otherwise clips, a few at a time, give the same.
        whole = trains and self.training
        parts = [x] if whole else x.split(max(_FRAMES_AT_ONCE // frames, 1) * frames)
        maps = [self._pool(self.encoder.forward_map(part, frames)) for part in parts]
        return torch.cat(maps).unflatten(0, (batch, frames))

    def _pool(self, maps: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(maps, self.config.grid) if any(self.config.grid) else maps
        parts = [pooled.flatten(1), maps.amax((2, 3))] if self.config.peaks else [pooled.flatten(1)]
        return torch.cat(parts, 1)

    def forward_features(self, video: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Of `video`, or of what `encode` gave of it."""
        features = self.decoder(self.embed(self.encode(video) if features is None else features))
        return features if self.hidden is None else F.relu(self.hidden(features))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.classifier(self.head_dropout(features))

    def forward(self, video: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(video, features))


class _Embed(nn.Sequential):
    """Fully connected layers of each frame, (B, T, F) -> (B, T, z): norm and ReLU after all but the last, dropout before it."""

    def __init__(self, features: int, config: CrnnConfig):
        layers: list[nn.Module] = []
        for i, (given, units) in enumerate(itertools.pairwise((features, *config.embed))):
            last = i == len(config.embed) - 1
            layers += [nn.Dropout(config.embed_dropout)] if last else []
            layers += [nn.Linear(given, units)]
            if not last:
                layers += [*([nn.BatchNorm1d(units)] if config.embed_norm else []), nn.ReLU(inplace=True)]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class _FrameCnn(ImageNetwork):
    """The encoder of the document: four convolutions of 5 x 5 and 3 x 3 with stride 2, unpadded, 32, 64, 128 and 256 channels.

    Pictures of 90 x 120 become 43 x 58, 21 x 28, 10 x 13 and 4 x 6. Departs: the text prints the widths as "32x32 ... 256x256" and leaves
    kernels and strides open; batch norm and ReLU behind each of them are the lineage's.
    """

    map_channels = 256

    def __init__(self, channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        for given, width, kernel in zip((channels, 32, 64, 128), (32, 64, 128, 256), (5, 3, 3, 3), strict=True):
            layers += [nn.Conv2d(given, width, kernel, 2), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        initialise(self)

    def stages(self) -> tuple[str, ...]:
        return tuple(f"convolutions.{i}" for i, layer in enumerate(self.convolutions) if isinstance(layer, nn.ReLU))

    def forward_map(self, x: Tensor, frames: int = 1) -> Tensor:
        return self.convolutions(x)


def _make_encoder(config: CrnnConfig, channels: int) -> ImageNetwork:
    if config.encoder == "cnn":
        return _FrameCnn(channels).to(memory_format=torch.channels_last)
    encoder = ResNet(_RESNETS[config.encoder], 1, channels, stages=config.stages, norm=config.norm, shift=config.shift)
    encoder.remove_classifier()
    return encoder.to(memory_format=torch.channels_last)


def _map_size(encoder: ImageNetwork, shape: VideoShape) -> tuple[int, int]:
    """Rows and columns of the encoder's last map."""
    example = next(encoder.parameters()).new_zeros(1, shape.channels, shape.height, shape.width)
    try:
        with torch.no_grad():
            return encoder.eval().forward_map(example).shape[2:]
    except RuntimeError as error:
        raise RecipeError(
            f"crnn: pictures of {shape.height} x {shape.width} pixels are too small for the encoder's convolutions"
        ) from error
    finally:
        encoder.train()


def _check(config: CrnnConfig) -> None:
    encoders = ("cnn", *_RESNETS)
    if config.encoder not in encoders:
        raise RecipeError(unknown("encoder", config.encoder, encoders))
    if config.encoder == "cnn" and (config.stages, config.norm, config.shift) != (4, "batch", 0.0):
        raise RecipeError("crnn: stages, norm and shift are settings of a ResNet; the encoder is 'cnn'")
    if len(config.grid) != 2 or min(config.grid) < 0 or (0 in config.grid and any(config.grid)):
        raise RecipeError(f"crnn: grid is {list(config.grid)}; rows and columns are expected, or [0, 0] for all places of the map")
    if min((*config.embed, config.units, config.layers)) < 1 or config.hidden < 0:
        raise RecipeError("crnn: embed, units and layers are numbers of units, at least 1 each; hidden is 0 or more")


register(
    ModelInfo(
        name="crnn",
        summary="ResNet on each frame, fully connected layers, LSTM over the frames; other encoders and decoders are settings",
        paper=f"{_PAPER}; cell and sizes as in the code that it descends from (H. T. Tseng, 2018)",
        build=Crnn,
        defaults=CrnnConfig(),
        inputs="video",
        example=VideoShape(channels=3, frames=29, height=90, width=120),
    )
)
register(
    ModelInfo(
        name="cnn-rnn",
        summary="four convolutions on each frame, three fully connected layers, LSTM over the frames",
        paper=f"{_PAPER}; kernels, cell and sizes as in the code that it descends from (H. T. Tseng, 2018)",
        build=Crnn,
        defaults=CrnnConfig(encoder="cnn", grid=(0, 0), embed=(512, 512, 300)),
        inputs="video",
        example=VideoShape(channels=3, frames=29, height=90, width=120),
    )
)
