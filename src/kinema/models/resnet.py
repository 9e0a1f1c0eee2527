"""ResNet of images, and the same inflated to clips.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016. Inflation: Carreira, Zisserman: Quo Vadis, Action
Recognition? A New Model and the Kinetics Dataset, CVPR 2017; of every 3x3 convolution: Baradel, Wolf, Mille, Taylor: Glimpse Clouds,
CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import DataError, RecipeError, unknown
from kinema.models._image import ImageNetwork, initialise
from kinema.models._shift import shift_in_time

Norm = Literal["batch", "fixed"]
Inflate = Literal["first", "3x3"]
Ends = Literal["repeat", "zeros"]

# Blocks of each stage; the deeper ones' blocks are bottlenecks of three convolutions.
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_BOTTLENECK = 4  # factor by which a bottleneck's output is wider


class ResNet(ImageNetwork):
    """(B, in_channels, H, W) images, or with `dims=3` (B, in_channels, T, H, W) clips, to (B, num_classes).

    Names and shapes of the parameters are torchvision's, whose published weights load; the stride of a bottleneck is in its
    second convolution, as there. Clips have convolutions over time too: in the stem and in each block.

    Args:
        depth: layers: 18, 34, 50, 101 or 152.
        dropout: probability before the last layer.
        dims: 2 for images, 3 for clips.
        time_kernels: frames that a convolution spans, for the stem and the four stages; odd, 1 leaves a stage to single frames.
        time_strides: frames between one output and the next, for the stem and the first blocks of the four stages.
        stages: how many of the four there are; the last map is that of the last one.
        norm: "batch"; "fixed" norms keep their running statistics in training too (see `FixedNorm2d`), as weights need whose norms
            are folded into the convolutions, and small batches of frames that are alike.
        shift: share of the channels that each block's first convolution sees of the frame before, and as many of the one after; images
            are then the frames of clips, one clip after the other, as many as `forward_map` is told. At most .5.
        inflate: which convolutions of a block span time: "first", the first one; "3x3", all of 3 x 3 pixels.
        ends: what convolutions see before a clip's first frame and after its last one: that frame, "repeat"ed, so that a still clip stays
            still whatever the kernels are; or "zeros".
        alternate: every other block alone spans time, from the first one on, in the last stage from the second one on; in stage 1 all do.
        time_pools: frames from one to the next of the pool behind the stem, and how many frames become one in a pool behind stage 1.
    """

    def __init__(
        self,
        depth: int = 18,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        dropout: float = 0.0,
        dims: int = 2,
        time_kernels: Sequence[int] = (5, 3, 3, 3, 3),
        time_strides: Sequence[int] = (1, 1, 2, 2, 2),
        stages: int = 4,
        norm: Norm = "batch",
        shift: float = 0.0,
        inflate: Inflate = "first",
        ends: Ends = "repeat",
        alternate: bool = False,
        time_pools: Sequence[int] = (1, 1),
    ):
        super().__init__(dropout)
        if depth not in _BLOCKS:
            raise RecipeError(unknown("ResNet depth", str(depth), [str(known) for known in _BLOCKS]))
        if dims not in (2, 3) or len(time_kernels) != 5 or len(time_strides) != 5 or any(kernel % 2 == 0 for kernel in time_kernels):
            raise RecipeError(f"resnet{depth}: dims 2 or 3, and five odd time_kernels and five time_strides are expected")
        if not 1 <= stages <= 4 or norm not in ("batch", "fixed") or not 0 <= shift <= 0.5 or (shift and dims == 3):
            raise RecipeError(f"resnet{depth}: 1 to 4 stages, norm batch or fixed, and a shift from 0 to .5, of images alone, are expected")
        if inflate not in ("first", "3x3") or ends not in ("repeat", "zeros") or len(time_pools) != 2 or min(time_pools) < 1:
            raise RecipeError(f"resnet{depth}: inflate first or 3x3, ends repeat or zeros, and two time_pools, 1 or more, are expected")
        form = _Form(dims, norm == "fixed", shift, inflate, ends == "zeros")
        self.num_stages = stages
        self.centred = form.zeros
        self.conv1 = form.convolution(in_channels, 64, 7, 2, time_kernels[0], time_strides[0])
        self.bn1 = form.norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if dims == 2 else nn.MaxPool3d((1, 3, 3), (time_pools[0], 2, 2), (0, 1, 1))
        self.pool2 = nn.MaxPool3d((time_pools[1], 1, 1)) if dims == 3 and time_pools[1] > 1 else None
        block, width = _Basic if depth < 50 else _Bottleneck, 64
        for stage, blocks in enumerate(_BLOCKS[depth][:stages]):
            layers = []
            for i in range(blocks):
                spans = not alternate or stage == 0 or i % 2 == (stage == 3)
                stride, time_stride = (1 if stage == 0 else 2, time_strides[stage + 1]) if i == 0 else (1, 1)
                layers.append(block(form, width, 64 << stage, stride, time_kernels[stage + 1] if spans else 1, time_stride))
                width = layers[-1].width
            self.add_module(f"layer{stage + 1}", _Stage(*layers))
        self.map_channels = self.num_features = width
        initialise(self)
        self.reset_classifier(num_classes)

    def stages(self) -> tuple[str, ...]:
        """Names of the submodules that are its stages, in order; their outputs are (B, C, ...)."""
        return tuple(f"layer{stage + 1}" for stage in range(self.num_stages))

    def forward_map(self, x: Tensor, frames: int = 1) -> Tensor:
        """`frames`: of each clip, where images are the frames of clips and channels are shifted in time."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage, name in enumerate(self.stages()):
            x = self.get_submodule(name)(x, frames)
            if stage == 0 and self.pool2 is not None:
                x = self.pool2(x)
        return x


class _Stage(nn.Sequential):
    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        for block in self:
            x = block(x, frames)
        return x


class _KeepsStatistics:
    """A batch norm that is never in training mode: its running statistics are constants, its scale and shift train."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.training = False

    def train(self, mode: bool = True):
        return super().train(False)


class FixedNorm2d(_KeepsStatistics, nn.BatchNorm2d):
    """Of images, under the names and shapes of `nn.BatchNorm2d`. Fresh, it changes nothing: mean 0, variance 1."""


class FixedNorm3d(_KeepsStatistics, nn.BatchNorm3d):
    """Of clips."""


@dataclass(frozen=True)
class _Form:
    """What all layers of one network have in common."""

    dims: int
    fixed: bool
    shift: float
    inflate: Inflate
    zeros: bool

    def convolution(self, width: int, out: int, kernel: int, stride: int = 1, time_kernel: int = 1, time_stride: int = 1) -> nn.Module:
        space = kernel // 2
        if self.dims == 2:
            return nn.Conv2d(width, out, kernel, stride, space, bias=False)
        if self.zeros:
            sizes = (time_kernel, kernel, kernel), (time_stride, stride, stride), (time_kernel // 2, space, space)
            return nn.Conv3d(width, out, *sizes, bias=False)
        return _TimeConv3d(width, out, kernel, stride, time_kernel, time_stride)

    def norm(self, width: int) -> nn.Module:
        if self.fixed:
            return FixedNorm2d(width) if self.dims == 2 else FixedNorm3d(width)
        return nn.BatchNorm2d(width) if self.dims == 2 else nn.BatchNorm3d(width)

    def shortcut(self, width: int, out: int, stride: int, time_stride: int) -> nn.Sequential | None:
        if (width, stride, time_stride) == (out, 1, 1):
            return None
        return nn.Sequential(self.convolution(width, out, 1, stride, time_stride=time_stride), self.norm(out))


class _Basic(nn.Module):
    def __init__(self, form: _Form, width: int, inner: int, stride: int, time_kernel: int, time_stride: int):
        super().__init__()
        self.width, self.shifted = inner, int(width * form.shift)
        self.conv1 = form.convolution(width, inner, 3, stride, time_kernel, time_stride)
        self.bn1 = form.norm(inner)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = form.convolution(inner, inner, 3, time_kernel=time_kernel if form.inflate == "3x3" else 1)
        self.bn2 = form.norm(inner)
        self.downsample = form.shortcut(width, inner, stride, time_stride)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(shift_in_time(x, frames, self.shifted))))))
        return self.relu(y.add_(x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    def __init__(self, form: _Form, width: int, inner: int, stride: int, time_kernel: int, time_stride: int):
        super().__init__()
        self.width, self.shifted = inner * _BOTTLENECK, int(width * form.shift)
        first, second = (time_kernel, 1) if form.inflate == "first" else (1, time_kernel)
        self.conv1 = form.convolution(width, inner, 1, time_kernel=first)
        self.bn1 = form.norm(inner)
        self.conv2 = form.convolution(inner, inner, 3, stride, second, time_stride)
        self.bn2 = form.norm(inner)
        self.conv3 = form.convolution(inner, self.width, 1)
        self.bn3 = form.norm(self.width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = form.shortcut(width, self.width, stride, time_stride)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        y = self.relu(self.bn1(self.conv1(shift_in_time(x, frames, self.shifted))))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y.add_(x if self.downsample is None else self.downsample(x)))


class _TimeConv3d(nn.Conv3d):
    """A convolution that sees the first and last frame repeated beyond the ends, and zeros beyond the picture's edges."""

    def __init__(self, width: int, out: int, kernel: int, stride: int, time_kernel: int, time_stride: int):
        space = kernel // 2
        super().__init__(width, out, (time_kernel, kernel, kernel), (time_stride, stride, stride), (0, space, space), bias=False)
        self.ends = time_kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.ends:
            x = F.pad(x, (0, 0, 0, 0, self.ends, self.ends), mode="replicate")
        return super().forward(x)


def inflate(state: Mapping[str, Tensor], network: ResNet) -> dict[str, Tensor]:
    """Weights for a network of clips from those of the network of images: a still clip then gets the picture's logits.

    A kernel is repeated over time and divided by the number of frames that it spans; in a network that sees zeros beyond a clip's ends
    it stands in the middle of zeros. The rest is taken as it is. Names that `state` lacks, or has and `network` lacks, are left out:
    `load_state_dict(..., strict=False)` says which.

    Raises `DataError` for a tensor whose shape is not that of the network's, time apart.
    """
    weights = {}
    for name, ours in network.state_dict().items():
        if name not in state:
            continue
        weights[name] = inflated(state[name], ours, network.centred)
        if weights[name].shape != ours.shape:
            raise DataError(f"weight {name!r} has shape {tuple(state[name].shape)}, the inflated network's is {tuple(ours.shape)}")
    return weights


def inflated(tensor: Tensor, like: Tensor, centred: bool = False) -> Tensor:
    """A kernel over pictures as one over clips, where `like` is one, and every other tensor as it is. `centred`: in the middle of zeros,
    rather than repeated over time."""
    if like.ndim != 5 or tensor.ndim != 4:
        return tensor
    frames = like.shape[2]
    if not centred:
        return tensor.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames
    return F.pad(tensor.unsqueeze(2), (0, 0, 0, 0, frames // 2, frames // 2))
