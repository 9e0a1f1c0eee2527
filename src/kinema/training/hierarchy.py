"""Training with superclasses: further classifiers on earlier stages of a network, whose losses are added to its own.

Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 3.3: after a stage the average over space and
time, a linear layer, softmax over the superclasses of its level. They belong to training alone: the network stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from kinema import bundle as bundles
from kinema._write import write_whole
from kinema.errors import KinemaError, RecipeError
from kinema.evaluation.confusions import VALIDATION, read_confusion
from kinema.evaluation.scores import load_scores
from kinema.evaluation.superclasses import build_hierarchy, check_counts
from kinema.hierarchy import Hierarchy, load_hierarchy
from kinema.training.load import load_recipe, recipe_hash
from kinema.training.optimizers import Loss
from kinema.training.recipe import FitConfig, HierarchyConfig, Recipe

if TYPE_CHECKING:
    from kinema.transforms.batches import Samples

HIERARCHY, HEADS, FIRST_PASS = "hierarchy.json", "heads.safetensors", "first-pass"


class Heads(nn.Module):
    """A linear classifier for each level of superclasses.

    Args:
        stages: names of the submodules of the network whose outputs they look at.
        widths: channels of these.
        hierarchy: the superclasses of the classes, level by level.
        weights: of the levels' losses, and of the network's own.
        dropout: probability before each of them.
    """

    def __init__(self, stages: Sequence[str], widths: Sequence[int], hierarchy: Hierarchy, weights: Sequence[float], dropout: float = 0.0):
        super().__init__()
        self.stages, self.weights, self.hierarchy = tuple(stages), tuple(weights), hierarchy
        self.dropout = nn.Dropout(dropout)
        self.classifiers = nn.ModuleList(nn.Linear(width, count) for width, count in zip(widths, hierarchy.counts, strict=True))
        for level in range(len(stages)):
            members = torch.tensor(hierarchy.matrix(level), dtype=torch.float32)
            self.register_buffer(f"members{level}", members, persistent=False)
        self.losses = nn.ModuleList()

    def prepare(self, fit: FitConfig, counts: Tensor) -> None:
        """Make the losses. `counts`: (K,) training samples of each class."""
        self.losses = nn.ModuleList(Loss(fit, (counts.float() @ self._members(i)).round().long()) for i in range(len(self.stages)))

    def forward(self, maps: Sequence[Tensor], batch: int) -> list[Tensor]:
        """(B, M) logits of each level, of the stages' maps (R, C, ...), R a multiple of B."""
        found = []
        for classifier, shown in zip(self.classifiers, maps, strict=True):
            features = shown.flatten(2).mean(2) if shown.ndim > 2 else shown
            found.append(classifier(self.dropout(features.unflatten(0, (batch, -1)).mean(1))))
        return found

    def loss(self, own: Tensor, levels: Sequence[Tensor], targets: Tensor) -> Tensor:
        """(B,) the weighted sum of the losses: `own` (B,), the network's, and those of the levels' logits. `targets`: (B, K)."""
        total = own * self.weights[-1]
        for i, (loss, weight) in enumerate(zip(self.losses, self.weights, strict=False)):
            total = total + weight * loss(levels[i], targets @ self._members(i))
        return total

    def _members(self, level: int) -> Tensor:
        return self.get_buffer(f"members{level}")


class WithHeads(nn.Module):
    """A network and classifiers of superclasses on its stages: forward gives its logits and the list of theirs."""

    def __init__(self, network: nn.Module, heads: Heads):
        super().__init__()
        self.network, self.heads = network, heads

    def forward(self, **inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        with shown(self.network, self.heads.stages) as maps:
            logits = self.network(**inputs)
        return logits, self.heads([maps[name] for name in self.heads.stages], len(logits))


@contextmanager
def shown(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The maps of the submodules `names`, filled in by a forward pass inside; a stage that is passed in several parts gives all rows."""
    maps: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        maps[name] = torch.cat([maps[name], output]) if name in maps else output

    hooks = [network.get_submodule(name).register_forward_hook(lambda _, given, out, name=name: keep(name, out)) for name in names]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def make_heads(recipe: Recipe, model: nn.Module, samples: Samples, hierarchy: Hierarchy) -> Heads:
    """Fresh classifiers for `model`, of which `samples` are some input; those of the bundle that training starts from, where that has
    the same superclasses. Raises `RecipeError` for stages or weights that do not fit."""
    wanted = recipe.hierarchy
    stages = stages_of(recipe, model, len(hierarchy.levels))
    weights = loss_weights(wanted, len(stages))
    training = model.training
    with torch.no_grad(), shown(model.eval(), stages) as maps:
        device = next(model.parameters()).device
        model(**samples.batch([0], device=device).inputs)
    model.train(training)
    widths = [maps[name].shape[1] for name in stages]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        heads = Heads(stages, widths, hierarchy, weights, wanted.dropout)
    _inherit(heads, recipe)
    return heads


def loss_weights(wanted: HierarchyConfig, levels: int) -> tuple[float, ...]:
    """Of the levels' losses and of the network's own; `RecipeError` where the recipe names another number of them."""
    weights = wanted.weights or tuple(0.5**i for i in range(levels, -1, -1))
    if len(weights) != levels + 1:
        raise RecipeError(f"hierarchy.weights has {len(weights)} entries for {levels} levels; one a level and one more is expected")
    return weights


def stages_of(recipe: Recipe, model: nn.Module, levels: int) -> tuple[str, ...]:
    """Names of the submodules that the levels' classifiers look at; `RecipeError` where the model has no such stages."""
    if not hasattr(model, "stages"):
        raise RecipeError(f"hierarchy: model {recipe.model.name!r} has no stages that classifiers of superclasses could look at")
    names = model.stages()
    numbers = recipe.hierarchy.stages or tuple(range(len(names) - levels, len(names)))
    if len(numbers) != levels or not all(1 <= number <= len(names) for number in numbers):
        room = f"it has {len(names)}, the last of which is its own classifier's"
        raise RecipeError(f"hierarchy: {levels} levels on stages {list(numbers)} of model {recipe.model.name!r}: {room}")
    return tuple(names[number - 1] for number in numbers)


def given_hierarchy(recipe: Recipe, classes: Sequence[str], test_ids: Sequence[str] = ()) -> Hierarchy | None:
    """The recipe's superclasses of `classes`, where they need no first pass; None where they do.

    Raises `DataError` for a file that has none, or of other classes; `RecipeError` where it lacks a level that the recipe names, or where
    confusions of test clips (`test_ids`) were counted.
    """
    wanted = recipe.hierarchy
    for count in wanted.counts:
        if count:
            check_counts([count], len(classes))
    if wanted.two_passes:
        return None
    if wanted.file is None:
        return _chosen(None, wanted.counts, classes)
    path = Path(os.path.expandvars(wanted.file)).expanduser()
    if path.is_dir() and not (path / HIERARCHY).exists():
        return found_hierarchy(recipe, path, classes, test_ids)
    if path.suffix == ".safetensors":
        made = bundles.load(path).hierarchy
        if made is None:
            raise RecipeError(f"hierarchy.file: {path} is a bundle without superclasses")
    else:
        made = load_hierarchy(path / HIERARCHY if path.is_dir() else path)
    made = made.ordered(classes)
    return _chosen(made, wanted.counts or made.counts, classes)


def found_hierarchy(recipe: Recipe, run: Path, classes: Sequence[str], test_ids: Sequence[str] = ()) -> Hierarchy:
    """Superclasses by the confusions of a run's validation clips; `RecipeError` where some of these are test clips here."""
    wanted = recipe.hierarchy
    confusion = read_confusion(run, wanted.confusion)
    seen = sorted(set(confusion.clip_ids) & set(test_ids))
    if seen:
        raise RecipeError(f"hierarchy.file: {len(seen)} of the clips whose confusions {run} tells are test clips here, such as {seen[0]!r}")
    counts = [count for count in wanted.counts if count]
    if not counts:
        raise RecipeError("hierarchy.file names a run; hierarchy.counts says how many superclasses are to be made of its confusions")
    settings = {"restarts": wanted.restarts, "seed": recipe.seed, "optimiser": wanted.optimiser, "source": confusion.source}
    return _chosen(build_hierarchy(confusion.matrix, confusion.classes, counts, **settings).ordered(classes), wanted.counts, classes)


def _chosen(made: Hierarchy | None, counts: Sequence[int], classes: Sequence[str]) -> Hierarchy:
    """The levels with these numbers of superclasses; 0 is every class by itself."""
    levels, costs = [], []
    for count in counts:
        if count in (0, len(classes)):
            levels.append(tuple(range(len(classes))))
            costs.append(None)
        elif made is not None and count in made.counts:
            levels.append(made.levels[made.counts.index(count)])
            costs.append(made.costs[made.counts.index(count)])
        else:
            have = ", ".join(map(str, made.counts)) if made is not None else "none"
            raise RecipeError(f"hierarchy.counts: {count} superclasses, and those at hand have levels of {have}")
    return Hierarchy(tuple(classes), tuple(levels), tuple(costs), made.source if made is not None else "")


def proper_levels(hierarchy: Hierarchy | None) -> Hierarchy | None:
    """Without levels of every class by itself, of which nobody needs to be told; None where nothing is left."""
    if hierarchy is None:
        return None
    kept = [i for i, count in enumerate(hierarchy.counts) if count < len(hierarchy.classes)]
    if not kept:
        return None
    return replace(hierarchy, levels=tuple(hierarchy.levels[i] for i in kept), costs=tuple(hierarchy.costs[i] for i in kept))


def first_pass(recipe: Recipe) -> Recipe:
    """The recipe of the first pass: the network's own classifier alone, its epoch chosen on the validation clips that tell its
    confusions."""
    return replace(recipe, hierarchy=HierarchyConfig(), fit=replace(recipe.fit, selection="validation"))


def finished_alike(recipe: Recipe, out: Path, clip_ids: Collection[str]) -> Path | None:
    """A finished run of a first pass like this recipe's: in the folder `out`, beside it, or in a row of its study; None for none.

    `clip_ids`: of the clips that train or validate, for the same recipe may have been run on other files.
    """
    as_it_is = replace(recipe, hierarchy=HierarchyConfig())
    wanted = {recipe_hash(first_pass(recipe)), *({recipe_hash(as_it_is)} if recipe.fit.selection == "refit" else ())}
    out, known = out.absolute(), set(clip_ids)
    beside = (out, *sorted(out.parent.glob("*")), *sorted(out.parent.parent.glob("*/*")))
    for folder in (each for run in beside for each in (run, run / FIRST_PASS)):
        if folder == out or not all(os.path.isfile(folder / name) for name in ("result.json", "recipe.yaml", VALIDATION)):
            continue
        try:
            if recipe_hash(load_recipe(folder / "recipe.yaml")) in wanted and set(load_scores(folder / VALIDATION).clip_ids) <= known:
                return folder
        except KinemaError:  # a run of other times
            continue
    return None


def save_heads(state: Mapping[str, Tensor], path: Path) -> None:
    """Write the state of `Heads.classifiers`, for whoever trains on, or looks at their gradients."""
    write_whole(path, to_bytes({name: value.contiguous() for name, value in state.items()}))


def load_heads(heads: Heads, path: Path) -> None:
    """Raises `KinemaError` for a file that is damaged, or of other classifiers."""
    try:
        heads.classifiers.load_state_dict(from_bytes(path.read_bytes()))
    except OSError as error:
        raise KinemaError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever the damage made the reader stumble over
        raise KinemaError(f"{path}: does not hold these classifiers: {str(error).splitlines()[0]}") from error


def _inherit(heads: Heads, recipe: Recipe) -> None:
    """Take over the classifiers of the run that training starts from, where it has the same superclasses."""
    if recipe.init.bundle is None or recipe.init.arch or recipe.init.layers != "all":
        return
    start = Path(os.path.expandvars(recipe.init.bundle)).expanduser()
    folder = start if start.is_dir() else start.parent
    files = folder / HEADS, folder / HIERARCHY
    if start.exists() and all(file.is_file() for file in files):
        theirs = load_hierarchy(files[1])
        if (theirs.classes, theirs.levels) == (heads.hierarchy.classes, heads.hierarchy.levels):
            load_heads(heads, files[0])
