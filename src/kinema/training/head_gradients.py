"""What each classifier sends back to the first stage of a network: figure 5 of Davoodikakhki and Yin, 2020."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from kinema import bundle as bundles
from kinema.errors import DataError
from kinema.evaluation.hierarchy_plots import DrawnStage
from kinema.hierarchy import Hierarchy, load_hierarchy
from kinema.shape import Shapes
from kinema.training.data import prepare
from kinema.training.hierarchy import (
    HEADS,
    HIERARCHY,
    Heads,
    WithHeads,
    load_heads,
    loss_weights,
    make_heads,
    shown,
    stages_of,
)
from kinema.training.load import load_recipe
from kinema.training.recipe import Recipe
from kinema.training.run_folder import RECIPE
from kinema.transforms.batches import Samples

CLIPS = 500


@dataclass(frozen=True, eq=False)
class HeadGradients:
    """`conv`: name of the convolution; for each classifier, the network's own last, what it is called (`names`) and (filters, inputs)
    `values` from 0 to 1; `clips`: how many were looked at."""

    conv: str
    names: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    clips: int


def head_gradients(run: str | Path, clips: int = CLIPS) -> HeadGradients:
    """Mean absolute gradients of the losses of all classifiers, each with weight 1, at the last convolution of the first stage, over
    the first `clips` training samples of a run with superclasses; averaged over the kernel, and divided by the largest of all.

    Raises `DataError` for a folder that is no such run, `KinemaError` where its data cannot be read.
    """
    run = Path(run)
    recipe, network, hierarchy = _read(run)
    samples = prepare(recipe).train
    heads = make_heads(recipe, network, samples, hierarchy)
    load_heads(heads, run / HEADS)
    count = min(clips, len(samples))
    if count < 1:
        raise DataError(f"{clips} clips; at least 1 is expected", run)
    conv, sums = _sums(WithHeads(network, heads).eval(), samples, count)
    largest = float(max(total.max() for total in sums)) or 1.0
    names = (*(f"stage {stage_number(network, heads, i)}: {n} superclasses" for i, n in enumerate(hierarchy.counts)), "own classifier")
    return HeadGradients(conv, names, tuple((total / largest).numpy() for total in sums), count)


def _read(run: Path) -> tuple[Recipe, nn.Module, Hierarchy]:
    for name in (RECIPE, HIERARCHY, HEADS):
        if not (run / name).is_file():
            raise DataError(f"no {name}: a finished run that trained with superclasses is expected", run)
    return load_recipe(run / RECIPE), bundles.load(run).build(), load_hierarchy(run / HIERARCHY)


def stage_number(network: nn.Module, heads: Heads, level: int) -> int:
    """On which stage, from 1, a level's classifier stands."""
    return network.stages().index(heads.stages[level]) + 1


def _sums(model: WithHeads, samples: Samples, count: int) -> tuple[str, list[Tensor]]:
    """The convolution's name, and for each classifier (filters, inputs) sums over the samples."""
    heads, network = model.heads, model.network
    conv = last_convolution(network, samples)
    model.requires_grad_(False)
    weight = network.get_submodule(conv).weight.requires_grad_(True)
    sums = [torch.zeros(weight.shape[:2]) for _ in range(len(heads.stages) + 1)]
    for i in range(count):
        batch = samples.batch([i])
        logits, levels = model(**batch.inputs)
        own = F.one_hot(batch.labels, logits.shape[1]).float()
        groups = [own @ torch.tensor(heads.hierarchy.matrix(level), dtype=own.dtype) for level in range(len(levels))]
        for k, (answer, truth) in enumerate(zip([*levels, logits], [*groups, own], strict=True)):
            (gradient,) = torch.autograd.grad(F.cross_entropy(answer, truth), weight, retain_graph=True)
            sums[k] += gradient.abs().flatten(2).mean(2)
    return conv, sums


def last_convolution(network: nn.Module, samples: Samples) -> str:
    """Name of the last convolution that the map of the first stage depends on."""
    stage = network.stages()[0]
    convolutions = {name: module.weight for name, module in network.named_modules() if isinstance(module, _ConvNd)}
    network.requires_grad_(True)
    with shown(network, [stage]) as maps:
        network(**samples.batch([0]).inputs)
    gradients = torch.autograd.grad(maps[stage].sum(), list(convolutions.values()), allow_unused=True)
    reached = [name for name, gradient in zip(convolutions, gradients, strict=True) if gradient is not None]
    if not reached:
        raise DataError("no convolution stands before the first stage of this network")
    return reached[-1]


def drawn_stages(run: str | Path) -> tuple[str, list[DrawnStage], int, float]:
    """What `network_figure` draws of a run with superclasses: its input in words, its stages, classes, and its own loss's weight."""
    run = Path(run)
    recipe, network, hierarchy = _read(run)
    bundle, names = bundles.load(run), network.stages()
    shape, watched = bundle.shape, stages_of(recipe, network, len(hierarchy.levels))
    weights = loss_weights(recipe.hierarchy, len(watched))
    with torch.no_grad(), shown(network, names) as maps:
        network(**shape.example(1))
    stages = []
    for number, name in enumerate(names, 1):
        drawn = DrawnStage(f"stage {number}", tuple(maps[name].shape[1:]))
        if name in watched:
            level = watched.index(name)
            count = hierarchy.counts[level]
            told = f"{count} superclasses" if count < len(hierarchy.classes) else f"{count} classes"
            drawn = replace(drawn, head=told, weight=weights[level])
        stages.append(drawn)
    given = "\n".join(str(shape).split(", ")) if not isinstance(shape, Shapes) else bundle.takes
    return given, stages, len(hierarchy.classes), weights[-1]
