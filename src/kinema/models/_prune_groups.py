"""Pruning of coupled channels: what a residual sum joins goes together, in every layer that makes it.

Another method than the paper's, which chooses filters one by one. The groups, and how much each of their channels matters (the mean of
the l2 norms over the group's layers, whatever reads the channel included), are torch-pruning's: Fang, Ma, Song, Bi Mi, Wang: DepGraph:
Towards Any Structural Pruning, CVPR 2023. What goes is zeroed and made compact like any other choice of filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from kinema.errors import KinemaError
from kinema.models._prune import Layer, PruningError, filters_of, left_over
from kinema.shape import Shape

Channel = dict[str, int]  # the filter of each layer that makes one channel of a group


def choose_groups(model: nn.Module, layers: Sequence[Layer], shape: Shape, share: float) -> dict[str, tuple[int, ...]]:
    """The filters to remove, by convolution: at least a `share` of all of them, channels of groups that matter least first.

    Channels that stems or heads make too stay, and so does the last one of every layer.
    Raises `PruningError` for a share outside (0, 1), or a network whose layers torch-pruning does not follow; `KinemaError` where that
    is not installed.
    """
    if not 0 < share < 1:
        raise PruningError(f"{100 * share:g} % of all filters are to be removed; more than 0 and less than 100 % is expected")
    wanted, left = round(share * sum(layer.filters for layer in layers)), {layer.conv: layer.filters for layer in layers}
    removed: dict[str, set[int]] = {layer.conv: set() for layer in layers}
    ranked = sorted(_channels(deepcopy(model).eval().requires_grad_(True), layers, shape), key=lambda each: each[0])
    for _, channel in ranked:
        if sum(map(len, removed.values())) >= wanted:
            break
        if all(left[conv] > 1 for conv in channel):
            for conv, number in channel.items():
                removed[conv].add(number)
                left[conv] -= 1
    else:
        gone = 100 * sum(map(len, removed.values())) / sum(layer.filters for layer in layers)
        raise PruningError(f"{100 * share:g} % of the filters is more than the groups have: {gone:.0f} % leaves one channel a layer")
    return left_over(layers, {conv: tuple(sorted(numbers)) for conv, numbers in removed.items() if numbers}, share)


def _channels(model: nn.Module, layers: Sequence[Layer], shape: Shape) -> list[tuple[float, Channel]]:
    """Every channel of every group, with how much it matters; one that is zero already matters less than all others."""
    try:
        import torch_pruning
    except ImportError as error:
        raise KinemaError('groups of channels are found by torch-pruning, which is not installed: pip install "kinema[prune]"') from error

    names = {module: name for name, module in model.named_modules()}
    zero = {layer.conv: ~filters_of(model.get_submodule(layer.conv)).detach().flatten(1).any(1) for layer in layers}
    device = next(model.parameters()).device
    example = {name: value.to(device) for name, value in shape.example(1).items()}
    try:
        with torch.enable_grad():
            graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example, verbose=False)
        groups = list(graph.get_all_groups(root_module_types=[_ConvNd]))
        importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
        values = [importance(group) for group in groups]
    except Exception as error:  # whatever a network's way of computing makes the library stumble over
        raise PruningError(f"torch-pruning does not follow {type(model).__name__}: {str(error).splitlines()[0][:100]}") from error
    found = []
    for group, matters in zip(groups, values, strict=True):
        channels: list[Channel] = [{} for _ in range(len(group[0].idxs))]
        free = matters is not None
        for item in group:
            makes = isinstance(item.dep.target.module, (_ConvNd, nn.Linear)) and "out" in item.dep.handler.__name__
            if not makes:
                continue
            name = names[item.dep.target.module]
            free = free and name in zero and len(item.idxs) == len(channels)
            for channel, number in zip(channels, item.idxs, strict=False):
                channel[name] = int(number)
        if free:
            for value, channel in zip(matters.tolist(), channels, strict=True):
                gone = all(bool(zero[name][number]) for name, number in channel.items())
                found.append((-1.0 if gone else value, channel))
    if not found:
        raise PruningError(f"torch-pruning finds no groups of channels in {type(model).__name__} that are free to go")
    return found
