"""Convolutions over volumes (B, T, H, W, C), channels last in memory: the layers of networks on heatmaps and on video.

A kernel that spans space alone is a 2-D convolution of all frames at once, one that spans time alone a 2-D convolution over
(time, pixels): both are views of the same memory, and on a CPU their kernels are up to three times as fast as 3-D ones. Without
training a batch norm costs nothing: `folded` puts it into the weights. Parameters have the shapes of `nn.Conv3d`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models._fuse import folded


class ConvNorm(nn.Module):
    """Convolution, batch norm and ReLU, the latter two where asked for; padded so that stride 1 keeps the size."""

    def __init__(
        self,
        width: int,
        out: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        stride: tuple[int, int, int] = (1, 1, 1),
        groups: int = 1,
        norm: bool = True,
        relu: bool = True,
    ):
        super().__init__()
        padding = tuple(size // 2 for size in kernel)
        self.conv = nn.Conv3d(width, out, kernel, stride, padding, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm3d(out) if norm else None
        self.relu = relu

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, T, H, W, C) -> the same, with `residual` added before the ReLU."""
        norm = self.norm
        if norm is not None and norm.training:
            x = convolve(x, self.conv, self.conv.weight)
            # One long row of pixels, channels last: what a batch norm sees of any volume.
            rows = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
            norm.num_batches_tracked.add_(1)
            rows = F.batch_norm(rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, True, norm.momentum, norm.eps)
            x = rows.permute(0, 2, 3, 1).reshape(x.shape)
        else:
            x = convolve(x, self.conv, *folded(self.conv, norm))
        if residual is not None:
            x = x.add_(residual)
        return x.relu_() if self.relu else x


def convolve(x: Tensor, conv: nn.Conv3d, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`conv` of a volume (B, T, H, W, C), with the weight and bias that are given."""
    batch, frames, height, width, channels = x.shape
    (time, *space), (stride, *strides), (padding, *paddings) = conv.kernel_size, conv.stride, conv.padding
    if time == 1:
        if stride > 1:
            x = x[:, ::stride]
            frames = x.shape[1]
        x = x.reshape(batch * frames, height, width, channels).permute(0, 3, 1, 2)
        x = F.conv2d(x, _last(weight[:, :, 0]), bias, strides, paddings, groups=conv.groups)
        return x.permute(0, 2, 3, 1).unflatten(0, (batch, frames))
    if space == [1, 1] and strides == [1, 1]:
        x = x.reshape(batch, frames, height * width, channels).permute(0, 3, 1, 2)
        x = F.conv2d(x, _last(weight[:, :, :, 0]), bias, (stride, 1), (padding, 0), groups=conv.groups)
        return x.permute(0, 2, 3, 1).unflatten(2, (height, width))
    weight = weight.contiguous(memory_format=torch.channels_last_3d)
    x = F.conv3d(x.permute(0, 4, 1, 2, 3), weight, bias, conv.stride, conv.padding, groups=conv.groups)
    return x.permute(0, 2, 3, 4, 1)


def _last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def max_pool(x: Tensor) -> Tensor:
    """The largest of the 3 x 3 pixels around each one, (B, T, H, W, C) of numbers that are not negative."""
    if torch.is_grad_enabled() or x.device.type != "cpu":
        rows = x.flatten(0, 1).permute(0, 3, 1, 2)
        return F.max_pool2d(rows, 3, 1, 1).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
    for axis in (2, 3):  # the same, and several times as fast, from neighbours along one axis and then along the other
        size = x.shape[axis]
        wide = x.clone()
        for here, there in ((0, 1), (1, 0)):
            some = wide.narrow(axis, here, size - 1)
            torch.maximum(some, x.narrow(axis, there, size - 1), out=some)
        x = wide
    return x


def average_pool(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels, (B, T, H, W, C) -> (B, T, H // 2, W // 2, C)."""
    rows = x.flatten(0, 1).permute(0, 3, 1, 2)
    return F.avg_pool2d(rows, 2).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
