"""Pruning of filters: which there are, which go, and how they stay away.

Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 3.4. A filter is one output channel of one
convolution; all are chosen one by one, also where a residual sum joins layers. Departs in what the text leaves open: with a filter its
bias and the scale and shift of the batch norm right behind it become zero, so that its channel is zero and not a constant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from kinema.errors import BundleError, KinemaError
from kinema.models.resnet import ResNet
from kinema.pruned import Pruned, PrunedLayer
from kinema.shape import Shape

Scope = Literal["layer", "all", "group"]
SCOPES = get_args(Scope)
Removed = Mapping[str, Sequence[int]]


class PruningError(KinemaError):
    """Pruning that would leave nothing, or that a network has nothing for."""


@dataclass(frozen=True)
class Layer:
    """A convolution that is pruned: names of it and of the batch norm right behind it ("" for none), and its number of filters."""

    conv: str
    norm: str
    filters: int


def filters_of(conv: _ConvNd) -> Tensor:
    """The weight with its filters along the first axis."""
    return conv.weight.transpose(0, 1) if isinstance(conv, _ConvTransposeNd) else conv.weight


def prunable(model: nn.Module, shape: Shape) -> list[Layer]:
    """The convolutions of the stacks, in the order in which they are at work: all but stems and heads.

    A stem is a convolution that no other one stands before, as one sees from the gradients of an example of `shape`, and the first
    one of any ResNet; heads are those that the model names (`head_prefixes`). Raises `PruningError` where nothing is left.
    """
    if not any(isinstance(module, _ConvNd) for module in model.modules()):
        raise PruningError(f"{type(model).__name__} has no convolutions; there is nothing to prune")
    model = deepcopy(model).eval().requires_grad_(True)
    weights = {id(module.weight) for module in model.modules() if isinstance(module, _ConvNd)}
    deep: dict[nn.Module, bool] = {}  # does a convolution stand before this module? In the order in which they are called
    made: dict[int, tuple[nn.Module, Tensor]] = {}  # by the id of the output, kept alive so that no other one gets its id
    norms: dict[nn.Module, nn.Module] = {}

    def before(module: nn.Module, given: tuple, keywords: dict) -> None:
        if module not in deep:
            # The first tensor is the map; what follows may be a weight that the module is to use.
            maps = [value for value in (*given, *keywords.values()) if isinstance(value, Tensor)][: 1 if given else None]
            deep[module] = any(_depends(value, weights) for value in maps)

    def behind(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, _ConvNd):
            made[id(output)] = (module, output)
        elif id(given[0]) in made:
            norms[made[id(given[0])][0]] = module

    hooks = []
    for module in model.modules():
        if isinstance(module, _ConvNd) or any(isinstance(child, _ConvNd) for child in module.children()):
            hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
        if isinstance(module, (_ConvNd, _BatchNorm)):
            hooks.append(module.register_forward_hook(behind))
    with torch.enable_grad():
        logits = model(**{name: value.to(next(model.parameters()).device) for name, value in shape.example(1).items()})
    for hook in hooks:
        hook.remove()
    _add_those_read_by_owners(logits, deep, norms)
    names = {module: name for name, module in model.named_modules()}
    heads = tuple(model.head_prefixes())
    for module in model.modules():
        if isinstance(module, ResNet):
            deep[module.conv1] = False
    found = [
        Layer(names[module], names.get(norms.get(module), ""), len(filters_of(module)))
        for module, follows in deep.items()
        if isinstance(module, _ConvNd) and follows and not f"{names[module]}.".startswith(heads)
    ]
    if not found:
        raise PruningError(f"{type(model).__name__} has no convolutions between its stem and its head; there is nothing to prune")
    return found


def _add_those_read_by_owners(logits: Tensor, deep: dict[nn.Module, bool], norms: dict[nn.Module, nn.Module]) -> None:
    """Convolutions that are never called, for the module that owns them computes with their weights itself, which the logits tell.

    The first one stands where the owner does, the others behind it. A sole norm that is not called either is that of a sole convolution.
    """
    for owner in [module for module in deep if not isinstance(module, _ConvNd)]:
        idle = [child for child in owner.children() if isinstance(child, _ConvNd) and child not in deep]
        own = [conv for conv in idle if _depends(logits, {id(conv.weight)})]
        for i, conv in enumerate(own):
            deep[conv] = deep[owner] or i > 0
        free = [child for child in owner.children() if isinstance(child, _BatchNorm) and child not in norms.values()]
        if len(own) == len(free) == 1 and free[0].num_features == own[0].out_channels:
            norms[own[0]] = free[0]


def _depends(value: Tensor, weights: set[int]) -> bool:
    """Is one of these parameters part of how `value` was made?"""
    seen, waiting = set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if id(getattr(node, "variable", None)) in weights:
            return True
        waiting += [following for following, _ in node.next_functions]
    return False


def choose(model: nn.Module, layers: Sequence[Layer], share: float, scope: Scope) -> dict[str, tuple[int, ...]]:
    """The filters to remove, by convolution: a `share` of all of them, those with the smallest l2 norms of their raw weights.

    `scope`: "all" ranks the filters of all layers together, "layer" takes the share of each layer. Filters that are zero already
    come first, so that a larger share of the same network takes them too.
    Raises `PruningError` for a share outside (0, 1), and where a layer would lose its last filter.
    """
    if not 0 < share < 1:
        raise PruningError(f"{100 * share:g} % of all filters are to be removed; more than 0 and less than 100 % is expected")
    norms = [filters_of(model.get_submodule(layer.conv)).detach().double().flatten(1).norm(dim=1).cpu() for layer in layers]
    if scope == "layer":
        picked = [norm.argsort(stable=True)[: round(share * len(norm))] for norm in norms]
    else:
        ranked = torch.cat(norms).argsort(stable=True)
        gone = torch.zeros(len(ranked), dtype=torch.bool)
        gone[ranked[: round(share * len(ranked))]] = True
        picked = [part.nonzero().flatten() for part in gone.split([len(norm) for norm in norms])]
    removed = {layer.conv: tuple(sorted(each.tolist())) for layer, each in zip(layers, picked, strict=True) if len(each)}
    return left_over(layers, removed, share)


def left_over(layers: Iterable[Layer], removed: dict[str, tuple[int, ...]], share: float) -> dict[str, tuple[int, ...]]:
    """`removed` itself; `PruningError` where it empties a layer, or is empty."""
    for layer in layers:
        if len(removed.get(layer.conv, ())) == layer.filters:
            raise PruningError(f"{100 * share:g} % of the filters would be all {layer.filters} of {layer.conv}; prune less, or by layer")
    if not removed:
        raise PruningError(f"{100 * share:g} % of the filters is less than one; prune more")
    return removed


def pruned_of(layers: Sequence[Layer], removed: Removed) -> Pruned:
    """What a bundle says of a network that has these filters removed, as zeros."""
    return Pruned(tuple(PrunedLayer(each.conv, each.norm, tuple(removed[each.conv])) for each in layers if each.conv in removed))


def parts(model: nn.Module, pruned: Pruned) -> Iterator[tuple[PrunedLayer, _ConvNd, _BatchNorm | None]]:
    """Each pruned layer with its modules; `BundleError` where the network does not have it so."""
    modules = dict(model.named_modules())
    for layer in pruned.layers:
        conv, norm = modules.get(layer.conv), modules.get(layer.norm) if layer.norm else None
        if not isinstance(conv, _ConvNd) or (layer.norm and not isinstance(norm, _BatchNorm)):
            raise BundleError(f"pruned filters of {layer.conv!r} and norm {layer.norm!r}, which the network does not have")
        filters, inputs = len(filters_of(conv)), conv.in_channels
        if max(layer.removed, default=-1) >= filters or len(layer.removed) >= filters or (norm and norm.num_features != filters):
            raise BundleError(f"{layer.conv}: {len(layer.removed)} pruned filters, which do not fit its {filters}")
        if max(layer.unread, default=-1) >= inputs or len(layer.unread) >= inputs:
            raise BundleError(f"{layer.conv}: {len(layer.unread)} inputs that are not read, which do not fit its {inputs}")
        yield layer, conv, norm


@torch.no_grad()
def zero(model: nn.Module, pruned: Pruned) -> None:
    """Set the removed filters to zero: weights, bias, and scale and shift of the norm behind them."""
    for layer, conv, norm in parts(model, pruned):
        for values in _values(conv, norm):
            values[list(layer.removed)] = 0


def hold(model: nn.Module, pruned: Pruned) -> None:
    """Set the removed filters to zero and keep them there: no gradient reaches them.

    Without gradients, zeros stay zeros under every optimiser here (momentum, Adam's moments and weight decay of zero are zero), in
    the moving average of the weights and in checkpoints. `model.pruned` then tells which they are. Call it before the optimiser is made.
    """
    zero(model, pruned)
    for layer, conv, norm in parts(model, pruned):
        for parameter in _parameters(conv, norm):
            if parameter.requires_grad:
                mask = torch.ones(len(filters_of(conv)), dtype=torch.bool)
                mask[list(layer.removed)] = False
                axis = 1 if parameter is conv.weight and isinstance(conv, _ConvTransposeNd) else 0
                mask = mask.view(*[1] * axis, -1, *[1] * (parameter.ndim - axis - 1))
                parameter.register_hook(lambda gradient, mask=mask: torch.where(mask.to(gradient.device), gradient, 0))
    model.pruned = pruned


def _parameters(conv: _ConvNd, norm: _BatchNorm | None) -> list[nn.Parameter]:
    of_norm = [] if norm is None else [norm.weight, norm.bias]
    return [parameter for parameter in (conv.weight, conv.bias, *of_norm) if parameter is not None]


def _values(conv: _ConvNd, norm: _BatchNorm | None) -> list[Tensor]:
    """The same, each with its filters along the first axis."""
    return [filters_of(conv) if parameter is conv.weight else parameter for parameter in _parameters(conv, norm)]


def remaining(count: int, removed: Collection[int]) -> list[int]:
    """Numbers below `count` that are not removed."""
    gone = set(removed)
    return [i for i in range(count) if i not in gone]
