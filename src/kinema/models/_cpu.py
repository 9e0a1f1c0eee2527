"""Training on a CPU: the same arithmetic as PyTorch's own layers, arranged so that less memory is moved.

What would not help falls back to PyTorch's own: on a GPU, without gradients, convolutions under autocast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_backward = torch.ops.aten.convolution_backward


def _trains_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _helps(x: Tensor) -> bool:
    return _trains_on_cpu(x) and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


def conv2d(x: Tensor, weight: Tensor, bias: Tensor, padding: int = 0) -> Tensor:
    """`F.conv2d`; its bias gradient is a plain sum, where the library's convolution kernel takes several times as long."""
    if not _helps(x):
        return F.conv2d(x, weight, bias, padding=padding)
    return _Convolution.apply(x, weight, bias, padding)


def embed_joints(x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    """Two convolutions, 1x1 with ReLU and k x 1 along time, joint by joint: (N, T, V, C) to (N, T, V, `weight2` channels).

    Time and joints are one axis to the second one, whose taps lie V apart: long rows keep the vector units busy. Its input,
    the largest tensor of the network, is not kept for the backward pass but made again.

    Args:
        weight1: (hidden, C, 1, 1). weight2: (out, hidden, k, 1), k odd.
    """
    n, t, v, c = x.shape
    x = x.reshape(n, 1, t * v, c).permute(0, 3, 1, 2)  # channels last in memory
    weight2 = weight2.transpose(2, 3)
    function = _EmbedJoints.apply if _helps(x) else _embed_joints
    return function(x, weight1, bias1, weight2, bias2, v).permute(0, 2, 3, 1).reshape(n, t, v, -1)


class Dropout(nn.Dropout):
    """`nn.Dropout` from 16 random bits an element (`p` to the nearest 1/65536), as drawing them one by one is slow on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and 0 < self.p < 1 and _trains_on_cpu(x):
            return _Dropout.apply(x, self.p)
        return super().forward(x)


def _sum_to_bias(gradient: Tensor) -> Tensor:
    return gradient.permute(0, 2, 3, 1).reshape(-1, gradient.shape[1]).sum(0)


class _Convolution(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        into_x, into_weight, _ = _backward(
            gradient, x, weight, None, [1, 1], [ctx.padding] * 2, [1, 1], False, [0, 0], 1, [needs_x, needs_weight, False]
        )
        return into_x, into_weight, _sum_to_bias(gradient) if needs_bias else None, None


def _hidden(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.relu_(F.conv2d(x, weight, bias))


def _embed_joints(x, weight1, bias1, weight2, bias2, joints):
    taps = weight2.shape[3]
    return F.conv2d(_hidden(x, weight1, bias1), weight2, bias2, padding=(0, taps // 2 * joints), dilation=(1, joints))


class _EmbedJoints(Function):
    @staticmethod
    def forward(ctx, x, weight1, bias1, weight2, bias2, joints):
        ctx.save_for_backward(x, weight1, bias1, weight2)
        ctx.joints = joints
        return _embed_joints(x, weight1, bias1, weight2, bias2, joints)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight1, bias1, weight2 = ctx.saved_tensors
        needs_x, needs_weight1, needs_bias1, needs_weight2, needs_bias2, _ = ctx.needs_input_grad
        needs_hidden = needs_x or needs_weight1 or needs_bias1
        hidden = _hidden(x, weight1, bias1)
        padding, dilation = [0, weight2.shape[3] // 2 * ctx.joints], [1, ctx.joints]
        into_hidden, into_weight2, _ = _backward(
            gradient, hidden, weight2, None, [1, 1], padding, dilation, False, [0, 0], 1, [needs_hidden, needs_weight2, False]
        )
        into_x = into_weight1 = None
        if needs_hidden:
            torch.ops.aten.threshold_backward.grad_input(into_hidden, hidden, 0, grad_input=into_hidden)
            into_x, into_weight1, _ = _backward(
                into_hidden, x, weight1, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [needs_x, needs_weight1, False]
            )
        into_bias1 = _sum_to_bias(into_hidden) if needs_bias1 else None
        return into_x, into_weight1, into_bias1, into_weight2, _sum_to_bias(gradient) if needs_bias2 else None, None


class _Dropout(Function):
    @staticmethod
    def forward(ctx, x, p):
        threshold = min(round(p * 2**16), 2**16 - 1)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        keep = words.view(torch.int16)[: x.numel()] >= threshold - 2**15
        factors = keep.to(x.dtype).mul_(2**16 / (2**16 - threshold))
        # One factor an element, in the order in which x lies in memory.
        dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
        factors = factors.as_strided(x.shape, x.stride()) if dense else factors.view(x.shape)
        ctx.save_for_backward(factors)
        return x * factors

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None
