"""Pruning in passes: zero the weakest filters, fine-tune, measure on validation clips, and again; the best network is kept, compact.

Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 3.4. Pass n has n times `ratio` of all filters
zeroed (of a network that was pruned before, so many more), starts from the weights of the pass before, and is trained as the bundle's own
recipe says. Departs: passes are judged on validation clips that were cut from the training part, where the paper looks at the test part;
what the test part says is reported.

The folder of a pruning holds pass1/, pass2/ ..., each a training run that starts from its start/ and leaves a compact.safetensors beside
its bundle, whose filters are zeros; passes.json, the table; and bundle.safetensors, the best network, compact.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from kinema import bundle as bundles
from kinema._write import write_whole
from kinema.bundle import Bundle
from kinema.errors import KinemaError, RecipeError, unknown
from kinema.evaluation.results import accuracy_row, write_results
from kinema.models._compact import compacted
from kinema.models._count import count
from kinema.models._prune import SCOPES, Layer, PruningError, Scope, choose, left_over, prunable, pruned_of, zero
from kinema.pruned import Pruned
from kinema.training import typed
from kinema.training.fit import fit
from kinema.training.hierarchy import HEADS, HIERARCHY
from kinema.training.load import recipe_from_mapping
from kinema.training.recipe import Recipe
from kinema.training.run_folder import BUNDLE, RESULT, RunResult, read_run

COMPACT, SIZES, SETTINGS, TABLE, START = "compact.safetensors", "sizes.json", "pruning.json", "passes.json", "start"
# What decides which clips train, validate and test; pruning goes on with the same ones.
_FIXED = ("seed", "data.name", "data.protocol", "data.fold", "data.classes", "data.use", "data.val_by", "data.val_share")


@dataclass(frozen=True)
class Plan:
    """How much goes, and how it is chosen.

    Args:
        ratio: share of all filters of the stacks that each pass adds to those that are gone.
        passes: how many at most; they end when two running stay below the best so far.
        scope: "layer" takes the share of each layer, "all" ranks all filters together (both choose filters one by one); "group" takes
            channels that layers share as one, which is another method (torch-pruning's groups).
    """

    ratio: float = 0.1
    passes: int = 6
    scope: Scope = "layer"

    def __post_init__(self):
        if not 0 < self.ratio < 1:
            raise PruningError(f"ratio is {self.ratio:g}; a share of the filters, above 0 and below 1, is expected")
        if not 1 <= self.passes <= 100:
            raise PruningError(f"passes is {self.passes}; 1 to 100 are expected")
        if self.scope not in SCOPES:
            raise PruningError(unknown("scope", self.scope, SCOPES))


@dataclass(frozen=True)
class Pass:
    """One network of a pruning; number 0 is the one that it starts from.

    Args:
        number: of the pass.
        run: its training, with what was measured.
        removed: filters that are gone, of `filters` in the stacks.
        parameters: of the compact network; macs: multiply-adds of one clip; bytes: of its bundle's file.
    """

    number: int
    run: RunResult
    removed: int
    filters: int
    parameters: int
    macs: int
    bytes: int

    @property
    def validation(self) -> float:
        """Top-1 on the validation clips."""
        return self.run.result["val_top1"]

    @property
    def sizes(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("removed", "filters", "parameters", "macs", "bytes")}

    @property
    def figures(self) -> dict[str, Any]:
        """Columns of a row of results: the share of filters that is gone, and sizes."""
        share, megabytes = self.removed / self.filters, self.bytes / 1e6
        return {"removed_share": share, "parameters": self.parameters, "macs": self.macs, "file_mb": megabytes}

    def row(self) -> dict[str, Any]:
        """A row of results."""
        result = self.run.result
        return accuracy_row(
            f"pass {self.number}" if self.number else "not pruned",
            result["dataset"],
            result["protocol"],
            unit=result["unit"],
            n_train=result["units"]["train"],
            n_test=result["n"],
            seeds=[result["seed"]],
            correct=[result["correct"]],
            validation_top1=self.validation,
            **self.figures,
        )


@dataclass(frozen=True)
class Pruning:
    """A finished pruning: its folder, its passes from the network that it began with on, the best one's number, and why it ended."""

    out: Path
    passes: tuple[Pass, ...]
    best: int
    ended: str

    def to_dict(self) -> dict[str, Any]:
        passes = [{"pass": each.number, **each.row(), "out": str(each.run.out)} for each in self.passes]
        return {"out": str(self.out), "bundle": str(self.out / BUNDLE), "best": self.best, "ended": self.ended, "passes": passes}

    def text(self) -> str:
        lines = [f"{'pass':>4}  {'filters':>11}  {'parameters':>11}  {'multiply-adds':>14}  {'file':>9}  {'validation':>10}  {'test':>7}"]
        for each in self.passes:
            result = each.run.result
            lines.append(
                f"{each.number:>4}  {each.filters - each.removed:>5}/{each.filters:<5}  {each.parameters:>11,}  {each.macs:>14,}  "
                f"{each.bytes / 1e6:>6.1f} MB  {100 * each.validation:>8.2f} %  {100 * result['top1']:>5.2f} %"
                + ("  kept" if each.number == self.best else "")
            )
        return "\n".join([*lines, self.ended, f"bundle    {self.out / BUNDLE}"])


def prune(source: str | Path, out: str | Path, plan: Plan, overrides: Mapping[str, Any] | None = None, progress: bool = True) -> Pruning:
    """Prune a bundle in passes and leave the best network, compact, in the folder `out`; what is finished there is not done again.

    `source`: a bundle, or the folder of its training. `overrides`: of its recipe, keys dotted; how it is divided into parts stays.

    Raises `KinemaError` before anything is written: `BundleError`; `PruningError` for a network without convolutions, or a first pass that
    would empty a layer; `RecipeError` for a bundle whose weights were not chosen on validation clips, or overrides that do not fit.
    """
    out = Path(out).expanduser()
    given = bundles.load(source)
    recipe = _recipe(given, overrides or {})
    model = given.build()
    layers = prunable(model, given.shape)
    first = _first(given, layers, Path(source))
    shares = [first.removed / first.filters + number * plan.ratio for number in range(plan.passes + 1)]
    _chosen(given, model, layers, shares[1], plan.scope)
    _open(out, given, recipe, plan)
    done, ended = [first], ""
    for number in range(1, plan.passes + 1):
        try:
            before = done[-1].run.out, given if number == 1 else None
            done.append(_pass(number, out / f"pass{number}", *before, layers, shares[number], recipe, plan.scope, progress))
        except PruningError as error:
            if number == 1:
                raise
            ended = f"ended before pass {number}: {error}"
            break
        if progress:
            figures = f"{100 * done[-1].validation:.2f} % on validation, {100 * done[-1].run.result['top1']:.2f} % on the test part"
            print(f"pass {number}: {done[-1].removed} of {done[-1].filters} filters gone; {figures}", file=sys.stderr)
        if number - _best(done) >= 2:
            ended = f"ended after pass {number}: two passes running below the best so far"
            break
    best = _best(done)
    found = Pruning(out, tuple(done), best, ended or f"ended after pass {done[-1].number}, the last that was asked for")
    if best:
        write_whole(out / BUNDLE, (done[best].run.out / COMPACT).read_bytes())
    else:
        bundles.save(given, out / BUNDLE)
    title = f"{given.name}: {100 * plan.ratio:g} % of the filters a pass, by {plan.scope}"
    write_results(out / TABLE, title, [each.row() for each in done])
    return found


def _best(passes: Sequence[Pass]) -> int:
    """The best on validation; of several alike the smallest."""
    return max(range(len(passes)), key=lambda i: (passes[i].validation, i))


def _recipe(given: Bundle, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe that fine-tunes, but for where it starts."""
    if not given.recipe.get("data") or given.result.get("selection") != "validation" or "val_top1" not in given.result:
        raise RecipeError(
            f"bundle {given.name!r}: pruning is judged on clips that its weights have not trained on; a bundle that was trained with "
            "fit.selection: validation is expected"
        )
    if given.pruned is not None and given.pruned.compact:
        raise RecipeError(f"bundle {given.name!r} is compact; pruning goes on from the one that has its pruned filters as zeros")
    own = recipe_from_mapping(given.recipe, f"bundle {given.name!r}")
    recipe = recipe_from_mapping(typed.merged(given.recipe, overrides), "override")
    for key in _FIXED:
        if _at(recipe, key) != _at(own, key):
            raise RecipeError(f"{key} is {_at(recipe, key)!r}; the bundle's weights have trained on the parts that {_at(own, key)!r} gives")
    starts = [(each.model, each.init.bundle, each.init.layers, each.init.remake, each.init.arch) for each in (recipe, own)]
    if starts[0] != starts[1]:
        raise RecipeError("the model, and where its weights come from, are those of the bundle that is pruned; they are not overridden")
    if recipe.fit.selection != "validation":
        raise RecipeError(f"fit.selection is {recipe.fit.selection}; passes are judged on validation")
    if recipe.hierarchy.two_passes and given.hierarchy is None:
        raise RecipeError(f"bundle {given.name!r}: its recipe asks for superclasses, which it does not have; hierarchy.file names them")
    return recipe


def _at(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _open(out: Path, given: Bundle, recipe: Recipe, plan: Plan) -> None:
    """Begin a folder, or find that it is of the same pruning; more passes may be asked for."""
    settings = typed.plain(recipe)
    settings["data"]["root"] = None
    settings = {"start": given.hash, "ratio": plan.ratio, "scope": plan.scope, "recipe": settings}
    path = out / SETTINGS
    if not path.exists():
        if (out / RESULT).exists() or (out / BUNDLE).exists():
            raise KinemaError(f"{out} holds something else than a pruning; choose another --out")
        write_whole(path, json.dumps(settings, indent=1).encode())
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise KinemaError(f"{path}: is damaged: {error}") from error
    differing = [key for key, value in settings.items() if not isinstance(known, dict) or known.get(key) != value]
    if differing:
        raise KinemaError(f"{out} holds a pruning with another {', '.join(differing)}; go on with the same, or choose another --out")


def _first(given: Bundle, layers: Sequence[Layer], source: Path) -> Pass:
    folder = source if source.is_dir() else source.parent
    parameters, macs = count(given.build(), given.shape)
    removed = given.pruned.count if given.pruned is not None else 0
    size = bundles.size_of(given)
    return Pass(0, RunResult(folder, dict(given.result)), removed, sum(layer.filters for layer in layers), parameters, macs, size)


def _chosen(start: Bundle, model: nn.Module, layers: Sequence[Layer], share: float, scope: Scope) -> Pruned:
    """The filters that are gone once their share is this: those of `start`, and the weakest others."""
    if scope == "group":
        from kinema.models._prune_groups import choose_groups

        removed = choose_groups(model, layers, start.shape, share)
    else:
        removed = choose(model, layers, share, scope)
    for conv, gone in (start.pruned.removed if start.pruned is not None else {}).items():
        removed[conv] = tuple(sorted({*gone, *removed.get(conv, ())}))
    return pruned_of(layers, left_over(layers, removed, share))


def _pass(
    number: int,
    out: Path,
    before: Path,
    given: Bundle | None,
    layers: Sequence[Layer],
    share: float,
    recipe: Recipe,
    scope: Scope,
    progress: bool,
) -> Pass:
    """A pass, trained now where it was not before. `before`: folder of the one before; `given`: its network, where that is not in there."""
    if not (out / SIZES).exists():
        if not (out / RESULT).exists():
            start = bundles.load(before) if given is None else given
            model = start.build()
            pruned = _chosen(start, model, layers, share, scope)
            zero(model, pruned)
            bundles.save(replace(start, state=model.state_dict(), pruned=pruned), out / START / BUNDLE)
            for name in (HEADS, HIERARCHY):
                if (before / name).is_file():
                    shutil.copyfile(before / name, out / START / name)
            fit(_from(recipe, out / START, start), out, resume=True, progress=progress)
        trained = bundles.load(out)
        small, pruned = compacted(trained.build(), trained.pruned, trained.shape)
        path = bundles.save(replace(trained, state=small.state_dict(), pruned=pruned), out / COMPACT)
        parameters, macs = count(small, trained.shape)
        filters = sum(layer.filters for layer in layers)
        sizes = {"removed": pruned.count, "filters": filters, "parameters": parameters, "macs": macs, "bytes": path.stat().st_size}
        write_whole(out / SIZES, json.dumps(sizes).encode())
    return Pass(number, read_run(out), **json.loads((out / SIZES).read_text(encoding="utf-8")))


def _from(recipe: Recipe, start: Path, bundle: Bundle) -> Recipe:
    """The recipe of a pass: from the weights in the folder `start`, with the superclasses that they were trained with."""
    init = replace(recipe.init, bundle=str(start), layers="all", remake=(), arch=None)
    hierarchy = recipe.hierarchy
    if hierarchy.wanted and ((start / HIERARCHY).is_file() or bundle.hierarchy is not None):
        named = start if (start / HIERARCHY).is_file() else start / BUNDLE
        hierarchy = replace(hierarchy, file=str(named))
    return replace(recipe, init=init, hierarchy=hierarchy)
