"""Compact ResNets: blocks that carry the kept channels alone, and meet in the residual stream of their stage.

Within a block the next convolution takes just what the one before it kept. The blocks of a stage add to one stream, which holds every
channel that any of them makes; its channels stand in such an order that what a block adds is one stretch of them or a few, so that
adding needs no scattering. Batch norms are in the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from kinema.models._fuse import folded
from kinema.models._prune import remaining
from kinema.models._shift import shift_in_time
from kinema.models.resnet import ResNet

# A 1x1 convolution is cheap: rather than adding to more stretches than these, it makes the missing channels too, as zeros.
_MOST_RUNS = 4
Gone = Mapping[nn.Module, Sequence[int]]


def compact_resnet(network: ResNet, gone: Gone) -> set[nn.Module]:
    """Make a ResNet compact where filters of its convolutions are gone; the convolutions that are dealt with.

    What it gives to the layers behind it has the width that it had.
    """
    convolutions = {module for module in network.modules() if isinstance(module, _ConvNd)}
    if not any(gone.get(conv) for conv in convolutions):
        return set()
    stream = list(range(network.conv1.out_channels))
    names = network.stages()
    for name in names:
        stage = network.get_submodule(name)
        orders = _order(list(stage), stream, gone)
        if stage[0].downsample is None:
            network.conv1 = _layer(network.conv1, network.bn1, orders, None)
            network.bn1 = nn.Identity()
            stream = orders
        for i, block in enumerate(stage):
            stage[i] = _CompactBlock(block, stream, orders, gone)
            stream = orders
    if network.bn1.__class__ is not nn.Identity:
        network.conv1, network.bn1 = _layer(network.conv1, network.bn1, None, None), nn.Identity()
    width = network.map_channels
    if stream != list(range(width)):
        network.get_submodule(names[-1])[-1].widen_to(stream, width)
    return convolutions


class _CompactBlock(nn.Module):
    """A basic or bottleneck block, from a dense one.

    Args:
        stream: channels of its input, by their numbers in the dense network, in the order in which they stand.
        order: channels of its output, likewise.
    """

    def __init__(self, block: nn.Module, stream: Sequence[int], order: Sequence[int], gone: Gone):
        super().__init__()
        self.width, self.shifted = block.width, block.shifted
        pairs = _pairs(block)
        inputs: Sequence[int] = stream
        for i, (conv, norm) in enumerate(pairs, start=1):
            kept = remaining(conv.out_channels, gone.get(conv, ()))
            if i == len(pairs):
                kept, self.runs = _meeting(kept, order, conv)
            self.add_module(f"conv{i}", _layer(conv, norm, kept, inputs))
            inputs = kept
        self.layers = len(pairs)
        shortcut = block.downsample
        self.downsample = None if shortcut is None else _layer(shortcut[0], shortcut[1], order, stream)
        self.register_buffer("places", None, persistent=False)

    def widen_to(self, order: Sequence[int], width: int) -> None:
        """Give `width` channels, those of `order` in their places and the others zero."""
        self.width = width
        self.places = torch.tensor(order, device=self.conv1.weight.device)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        y = self.conv1(shift_in_time(x, frames, self.shifted)).relu_()
        for i in range(2, self.layers):
            y = self.get_submodule(f"conv{i}")(y).relu_()
        y = self.get_submodule(f"conv{self.layers}")(y)
        if self.runs is None:
            out = y.add_(x if self.downsample is None else self.downsample(x))
        else:
            # Without gradients nobody needs the block's input any more.
            fresh = self.downsample is not None or not torch.is_grad_enabled()
            out = self.downsample(x) if self.downsample is not None else x
            out = out if fresh else out.clone()
            for here, there, length in self.runs:
                out.narrow(1, here, length).add_(y.narrow(1, there, length))
        out = out.relu_()
        if self.places is None:
            return out
        return out.new_zeros(len(out), self.width, *out.shape[2:]).index_copy_(1, self.places, out)


def _pairs(block: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The convolutions of a dense block with their norms."""
    named = [name for name, _ in block.named_children() if name.startswith("conv")]
    return [(block.get_submodule(name), block.get_submodule(name.replace("conv", "bn"))) for name in named]


def _order(blocks: Sequence[nn.Module], stream: Sequence[int], gone: Gone) -> list[int]:
    """The channels of a stage's stream, in the order in which they stand.

    Those that the same blocks make stand together, and from one such group to the next the blocks change one at a time where it can
    be (a Gray code). Channels that are shifted in time stay in their places.
    """
    width, first = blocks[0].width, blocks[0].downsample
    if any(block.shifted for block in blocks):
        return list(range(width))
    carried = set(stream if first is None else remaining(width, gone.get(first[0], ())))
    made = [set(remaining(width, gone.get(_pairs(block)[-1][0], ()))) for block in blocks]

    def rank(channel: int) -> int:
        code = sum((channel in own) << i for i, own in enumerate(made))
        place = 0
        while code:
            place, code = place ^ code, code >> 1
        return place

    return sorted(carried.union(*made), key=lambda channel: (rank(channel), channel))


def _meeting(kept: Sequence[int], order: Sequence[int], conv: _ConvNd) -> tuple[list[int], list[tuple[int, int, int]] | None]:
    """The filters that a block's last convolution makes, in the stream's order, and which stretches of the stream they are added to:
    (place in the stream, place in the block's output, length); None where it makes all channels of the stream."""
    some = set(kept)
    places = [place for place, channel in enumerate(order) if channel in some]
    begins = [i for i, place in enumerate(places) if i == 0 or place != places[i - 1] + 1]
    cheap = all(size == 1 for size in conv.kernel_size)
    if len(places) == len(order) or (cheap and len(begins) > _MOST_RUNS):
        return list(order), None
    return [order[place] for place in places], [(places[i], i, j - i) for i, j in pairwise([*begins, len(places)])]


def _layer(conv: _ConvNd, norm: nn.Module, filters: Sequence[int] | None, inputs: Sequence[int] | None) -> _ConvNd:
    """A convolution with its norm in it, of these filters and inputs alone (None: all)."""
    with torch.no_grad():
        weight, bias = folded(conv, norm)
        for axis, numbers in enumerate((filters, inputs)):
            if numbers is not None:
                some = torch.tensor(numbers, device=weight.device)
                weight = weight.index_select(axis, some)
                bias = bias.index_select(0, some) if axis == 0 else bias
        order = {4: torch.channels_last, 5: torch.channels_last_3d}[weight.ndim]
        weight = weight.contiguous(memory_format=order)
    layer = copy(conv)
    layer._parameters = {"weight": nn.Parameter(weight), "bias": nn.Parameter(bias)}
    layer.out_channels, layer.in_channels = weight.shape[:2]
    return layer
