"""Compaction: a network without the filters that pruning made zero, which answers what the network with the zeros answers.

ResNets get a form of their own (`kinema.models._compact_resnet`). Elsewhere the kept filters of each convolution are computed and put in
their places among zeros, and inputs that are zero whatever the network is given are not read: exact in every network, whatever stands
between its convolutions, and smaller; how much faster it is depends on how much of the time its convolutions take.

A module that does not call a convolution of its own but computes with its weight names it in `reads_weights`. There the stored weight
is that of the kept filters, from which the whole one is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from kinema.models._compact_resnet import compact_resnet
from kinema.models._prune import filters_of, parts, remaining, zero
from kinema.models._volumes import ConvNorm
from kinema.models.resnet import ResNet
from kinema.pruned import Pruned, PrunedLayer
from kinema.shape import Shape

_DRAWS = 3


def compacted(model: nn.Module, pruned: Pruned, shape: Shape) -> tuple[nn.Module, Pruned]:
    """A compact copy of a network whose removed filters are zero, in eval mode, and what a bundle says of it.

    Raises `ValueError` where the copy would answer otherwise on an example of `shape`.
    """
    model = deepcopy(model).eval()
    pruned = replace(pruned, layers=_with_unread(model, pruned, shape), compact=True)
    small = compact(deepcopy(model), pruned)
    example = _example(model, shape)
    with torch.no_grad():
        before, after = model(**example), small(**example)
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-4 * max(1.0, float(before.abs().max()))):
        raise ValueError(f"{type(model).__name__} answers otherwise once it is compact")
    return small, pruned


def compact(model: nn.Module, pruned: Pruned) -> nn.Module:
    """The network itself, made compact as `pruned` says, in eval mode; also without weights, on the meta device.

    Raises `BundleError` for layers that the network does not have so.
    """
    layers = list(parts(model, pruned))
    done: set[nn.Module] = set()
    for module in list(model.modules()):
        if isinstance(module, ResNet):
            done |= compact_resnet(module, {conv: layer.removed for layer, conv, _ in layers})
    owners = {conv: module for module in model.modules() for conv in module.children() if isinstance(conv, _ConvNd)}
    for layer, conv, norm in layers:
        if conv not in done:
            _shrink(owners[conv], conv, norm, layer)
    return model.eval()


def _shrink(owner: nn.Module, conv: _ConvNd, norm: _BatchNorm | None, layer: PrunedLayer) -> None:
    filters, inputs = len(filters_of(conv)), conv.in_channels
    kept, read = remaining(filters, layer.removed), remaining(inputs, layer.unread)
    by_channel = conv.groups == filters == inputs
    if conv.groups > 1 and not by_channel:  # groups of several channels would come apart; its filters stay as zeros
        return
    first = int(isinstance(conv, _ConvTransposeNd))
    weight = _select(conv.weight, kept, first)
    if by_channel:
        read, conv.groups = kept, len(kept)
    else:
        weight = _select(weight, read, 1 - first)
    conv.weight = nn.Parameter(_stored(weight))
    if _reads_weight(owner, conv):
        parametrize.register_parametrization(conv, "weight", _Among(kept, filters, read, inputs), unsafe=True)
    elif type(owner) is ConvNorm:
        if norm is not None:
            for name in ("weight", "bias", "running_mean", "running_var"):
                values = _select(getattr(norm, name), kept)
                setattr(norm, name, nn.Parameter(values) if name in ("weight", "bias") else values)
            norm.num_features = len(kept)
        _remember(owner, kept, filters, read, inputs)
        owner.rectify, owner.relu = owner.relu, False
        owner.__class__ = _CompactConvNorm
    else:
        if conv.bias is not None:
            conv.bias = nn.Parameter(_select(conv.bias, kept))
        _remember(conv, kept, filters, read, inputs)
        conv.__class__ = _compact_class(type(conv))


def _reads_weight(owner: nn.Module, conv: _ConvNd) -> bool:
    return any(getattr(owner, name) is conv for name in getattr(owner, "reads_weights", ()))


def _remember(module: nn.Module, kept: Sequence[int], filters: int, read: Sequence[int], inputs: int) -> None:
    """What `_read` and `_put` need: where the kept filters stand, and which inputs are read; None for all."""
    device = next(module.parameters()).device
    for name, numbers, count in (("kept", kept, filters), ("read", read, inputs)):
        some = None if len(numbers) == count else torch.tensor(numbers, device=device)
        module.register_buffer(name, some, persistent=False)
    module.filters = filters


def _read(module: nn.Module, x: Tensor, axis: int) -> Tensor:
    return x if module.read is None else x.index_select(axis, module.read)


def _put(module: nn.Module, y: Tensor, axis: int) -> Tensor:
    if module.kept is None:
        return y
    shape = list(y.shape)
    shape[axis] = module.filters
    return y.new_zeros(shape).index_copy_(axis, module.kept, y)


@lru_cache
def _compact_class(kind: type) -> type:
    """A kind of convolution that reads some inputs and puts its filters among zeros; the rest is as it was, names included."""

    def forward(self, x: Tensor, *arguments, **keywords) -> Tensor:
        axis = x.ndim - len(self.kernel_size) - 1
        return _put(self, kind.forward(self, _read(self, x, axis), *arguments, **keywords), axis)

    return type(f"Compact{kind.__name__}", (kind,), {"forward": forward})


class _CompactConvNorm(ConvNorm):
    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y = _put(self, super().forward(_read(self, x, x.ndim - 1)), x.ndim - 1)
        if residual is not None:
            y = y.add_(residual)
        return y.relu_() if self.rectify else y


class _Among(nn.Module):
    """The whole weight of a convolution, from that of the kept filters and the inputs that are read."""

    def __init__(self, kept: Sequence[int], filters: int, read: Sequence[int], inputs: int):
        super().__init__()
        self.sizes = filters, inputs
        self.register_buffer("kept", torch.tensor(kept), persistent=False)
        self.register_buffer("read", torch.tensor(read), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        for axis, numbers in enumerate((self.kept, self.read)):
            shape = list(weight.shape)
            shape[axis] = self.sizes[axis]
            weight = weight.new_zeros(shape).index_copy_(axis, numbers.to(weight.device), weight)
        return weight


def _select(values: Tensor, numbers: Sequence[int], axis: int = 0) -> Tensor:
    return values.detach().index_select(axis, torch.tensor(numbers, device=values.device))


def _stored(weight: Tensor) -> Tensor:
    order = {4: torch.channels_last, 5: torch.channels_last_3d}.get(weight.ndim)
    return weight.contiguous() if order is None else weight.contiguous(memory_format=order)


def _with_unread(model: nn.Module, pruned: Pruned, shape: Shape) -> tuple[PrunedLayer, ...]:
    """The pruned layers, and such as need not read all that these make, each with the inputs that are always zero.

    These are found by watching the network on random examples, its weights drawn anew but for the removed filters: what is zero then,
    in every draw, sample and place, is so by structure. The first draw's weights are positive, which keeps rectified units alive.
    """
    probe, generator = deepcopy(model), torch.Generator().manual_seed(0)
    names = {module: name for name, module in probe.named_modules()}
    inside = {part for module in probe.modules() if isinstance(module, ResNet) for part in module.modules()}
    zeros: dict[str, Tensor] = {}

    def watch(module: nn.Module, given: tuple, keywords: dict) -> None:
        x = given[0]
        conv = module.conv if isinstance(module, ConvNorm) else module
        x = x.movedim(-1 if isinstance(module, ConvNorm) else x.ndim - len(conv.kernel_size) - 1, 0).flatten(1)
        silent = (x == 0).all(1)
        name = names[conv]
        zeros[name] = silent & zeros[name] if name in zeros else silent

    for module in probe.modules():
        if module not in inside and (type(module) is ConvNorm or (isinstance(module, _ConvNd) and module.groups == 1)):
            module.register_forward_pre_hook(watch, with_kwargs=True)
    with torch.no_grad():
        for draw in range(_DRAWS):
            _draw_weights(probe, generator, positive=draw == 0)
            zero(probe, pruned)
            probe(**_example(probe, shape))
    known = {layer.conv: layer for layer in pruned.layers}
    for name, silent in zeros.items():
        conv = model.get_submodule(name)
        if silent.any() and conv.groups == 1:
            unread = tuple(silent.nonzero().flatten().tolist())[: conv.in_channels - 1]  # a convolution reads something
            known[name] = replace(known.get(name, PrunedLayer(name)), unread=unread)
    return tuple(known.values())


def _draw_weights(model: nn.Module, generator: torch.Generator, positive: bool) -> None:
    """New weights of convolutions and norms: positive ones that keep the size of what they are given, or of both signs with norms over
    the batch."""
    for module in model.modules():
        if isinstance(module, _ConvNd):
            drawn = torch.randn(module.weight.shape, generator=generator).to(module.weight)
            count = filters_of(module)[0].numel()
            module.weight.copy_(drawn.abs() / count if positive else drawn / count**0.5)
            if module.bias is not None:
                module.bias.copy_(0.1 * torch.randn(module.bias.shape, generator=generator).abs())
        elif isinstance(module, _BatchNorm):
            module.train(not positive)
            if module.track_running_stats:
                module.reset_running_stats()
            if module.affine:
                module.weight.copy_(1 + torch.rand(module.weight.shape, generator=generator))
                module.bias.copy_(0.1 * torch.rand(module.bias.shape, generator=generator))


def _example(model: nn.Module, shape: Shape) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in shape.example(2).items()}
