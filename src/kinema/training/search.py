"""A search, with a budget, for how many superclasses there should be, how their losses weigh, and how much to prune.

Davoodikakhki and Yin, 2020, section 6.1, leave it as a next step: theirs were chosen by hand. Settings are proposed by Optuna's
tree-structured Parzen estimator (Akiba et al.: Optuna, KDD 2019) and judged on validation clips alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kinema import bundle as bundles
from kinema._write import write_whole
from kinema.errors import DataError, RecipeError
from kinema.training.fit import fit
from kinema.training.hierarchy import FIRST_PASS, first_pass
from kinema.training.load import check_recipe, dump_recipe, recipe_hash
from kinema.training.loop import derived_seed
from kinema.training.pruning import Plan, prune
from kinema.training.recipe import HierarchyConfig, Recipe

TRIALS, BEST = "search.json", "best.yaml"
_COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 60)
_DECAYS = (0.25, 1 / 3, 0.5, 1.0)  # from one level's weight to that of the one before; the publication's table
_RATIOS = (0.0, 0.05, 0.1, 0.15)
_REPEATS = 50  # proposals in a row of what was tried before, after which there is nothing left to try
_DRAWN = 5  # trials drawn at random before the estimator proposes


@dataclass(frozen=True)
class Budget:
    """How much is tried.

    Args:
        trials: trainings with superclasses.
        minutes: after which no further one begins; 0 is no limit.
        passes: of pruning after each of them, at most, where a share of filters is proposed; 0 searches without pruning.
        scope: of pruning, see `kinema.training.pruning`.
    """

    trials: int = 20
    minutes: float = 0.0
    passes: int = 0
    scope: Literal["layer", "all", "group"] = "layer"


@dataclass(frozen=True)
class Search:
    """A search's folder and its trials: `number`, `counts`, `weights`, `ratio`, `val_top1`, `seconds` and `folder` of each, number 0
    without superclasses; `best` is one of them, `test_top1` what it reached on the test part, by which nothing was chosen."""

    out: Path
    trials: tuple[dict[str, Any], ...]
    best: dict[str, Any] = field(default_factory=dict)
    test_top1: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"out": str(self.out), "trials": list(self.trials), "best": self.best, "test_top1": self.test_top1}

    def text(self) -> str:
        lines = [_line(trial) for trial in self.trials]
        lines.append(f"best: {_line(self.best)}")
        lines.append(f"  on the test part, by which nothing was chosen: {100 * self.test_top1:.2f} %")
        return "\n".join(
            [*lines, f"  its recipe: {self.out / BEST}", f"  its bundle: {self.out / self.best['folder'] / 'bundle.safetensors'}"]
        )


def search(recipe: Recipe, out: str | Path, budget: Budget, progress: bool = True) -> Search:
    """Try settings of `hierarchy`, and of pruning, on a recipe; what is finished in the folder `out` is not done again.

    All trials share one first pass, whose confusions of validation clips make their superclasses. Trials, their validation figures and the
    best recipe are written to `out` after each.

    Raises `RecipeError` where Optuna is missing, the recipe does not choose on validation clips, or the folder holds another search.
    """
    _optuna()
    check_recipe(recipe)
    if recipe.fit.selection != "validation":
        raise RecipeError(
            f"fit.selection is {recipe.fit.selection}; a search judges on validation clips, fit.selection: validation is expected"
        )
    if budget.trials < 1 or budget.minutes < 0 or budget.passes < 0:
        raise RecipeError(
            f"a budget of {budget.trials} trials, {budget.minutes:g} minutes; at least 1 trial is expected, and no time below 0"
        )
    out = Path(out).expanduser()
    plain = replace(recipe, hierarchy=HierarchyConfig())
    about = {"recipe": recipe_hash(plain), "passes": budget.passes, "scope": budget.scope}
    trials = _opened(out / TRIALS, about)
    first = fit(first_pass(plain), out / FIRST_PASS, resume=True, progress=progress)
    made = bundles.load(first.out)
    network = made.build()
    if not hasattr(network, "stages"):
        raise RecipeError(f"model {recipe.model.name!r} has no stages that classifiers of superclasses could look at")
    if not trials:
        trials = [_trial(0, {"counts": [], "weights": [], "ratio": 0.0}, first.result["val_top1"], first.result["seconds"], FIRST_PASS)]
    space = _space(len(network.stages()) - 1, len(made.classes), budget.passes)
    repeats = 0
    while len(trials) <= budget.trials and repeats < _REPEATS:
        if budget.minutes and sum(trial["seconds"] for trial in trials) >= 60 * budget.minutes:
            break
        parameters = _proposed(space, trials, derived_seed(recipe.seed, len(trials), repeats) % 2**32)
        settings = _settings(parameters)
        if any(all(trial[key] == value for key, value in settings.items()) for trial in trials):
            repeats += 1
            continue
        repeats = 0
        trials.append(_tried(recipe, settings, out, len(trials), budget, progress) | {"parameters": parameters})
        _write(out, about, trials, recipe)
    _write(out, about, trials, recipe)
    best = _best(trials)
    result = json.loads((out / best["folder"] / "result.json").read_text(encoding="utf-8"))
    return Search(out, tuple(trials), best, result["top1"])


def _proposed(space: Mapping[str, Any], trials: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Parameters for the next trial. Made anew of the trials so far, so that an interrupted search goes on as it would have."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=_DRAWN))
    for trial in trials:
        if "parameters" in trial:
            told = {"params": dict(trial["parameters"]), "distributions": dict(space), "value": trial["val_top1"]}
            study.add_trial(optuna.trial.create_trial(**told))
    return dict(study.ask(dict(space)).params)


def _space(levels: int, classes: int, passes: int) -> dict[str, Any]:
    optuna = _optuna()
    categorical, counts = optuna.distributions.CategoricalDistribution, [count for count in _COUNTS if count <= classes // 2] or [2]
    space: dict[str, Any] = {"levels": optuna.distributions.IntDistribution(1, max(levels, 1)), "decay": categorical(_DECAYS)}
    space |= {f"count{i}": categorical(counts) for i in range(max(levels, 1))}
    return space | ({"ratio": categorical(_RATIOS)} if passes else {})


def _settings(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Superclasses of each level, weights of their losses and of the network's own, and the share of filters that each pass removes."""
    levels = parameters["levels"]
    counts = sorted(parameters[f"count{i}"] for i in range(levels))
    weights = [parameters["decay"] ** (levels - i) for i in range(levels + 1)]
    return {"counts": counts, "weights": weights, "ratio": parameters.get("ratio", 0.0)}


def _tried(recipe: Recipe, settings: Mapping[str, Any], out: Path, number: int, budget: Budget, progress: bool) -> dict[str, Any]:
    """Train, and prune where that is proposed; judged on validation clips."""
    started, name = time.perf_counter(), f"trial-{number:03d}"
    run = fit(_with(recipe, settings), out / name, resume=True, progress=progress)
    value = run.result["val_top1"]
    if settings["ratio"]:
        pruned = prune(run.out, out / f"{name}-pruned", Plan(settings["ratio"], budget.passes, budget.scope), progress=progress)
        best = pruned.passes[pruned.best]
        value, name = best.run.result["val_top1"], str(best.run.out.relative_to(out))
    return _trial(number, settings, value, time.perf_counter() - started, name)


def _with(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with a trial's superclasses; where none are, as it is without."""
    if not settings["counts"]:
        return replace(recipe, hierarchy=HierarchyConfig())
    levels = {"counts": tuple(settings["counts"]), "weights": tuple(settings["weights"]), "stages": (), "file": None}
    return replace(recipe, hierarchy=replace(recipe.hierarchy, **levels))


def _trial(number: int, settings: Mapping[str, Any], value: float, seconds: float, folder: str) -> dict[str, Any]:
    return {"number": number, **settings, "val_top1": value, "seconds": round(seconds, 1), "folder": folder}


def _best(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The best on validation; of several alike the first."""
    return max(trials, key=lambda trial: (trial["val_top1"], -trial["number"]))


def _write(out: Path, about: Mapping[str, Any], trials: list[dict[str, Any]], recipe: Recipe) -> None:
    write_whole(out / TRIALS, json.dumps({**about, "trials": trials}, indent=1).encode())
    write_whole(out / BEST, dump_recipe(_with(recipe, _best(trials))).encode())


def _opened(path: Path, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The trials of an earlier call of the same search; none where there was none."""
    if not path.exists():
        return []
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        found, trials = {key: value[key] for key in about}, value["trials"]
        good = all({"number", "counts", "weights", "ratio", "val_top1", "seconds", "folder"} <= trial.keys() for trial in trials)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"is no file of a search: {error}", path) from error
    if found != about or not good:
        raise RecipeError(f"{path.parent} holds another search; choose another --out")
    return trials


def _line(trial: Mapping[str, Any]) -> str:
    if not trial["counts"]:
        told = "without superclasses"
    else:
        told = f"{', '.join(map(str, trial['counts']))} superclasses, weights {', '.join(f'{weight:.3g}' for weight in trial['weights'])}"
    pruned = f", {100 * trial['ratio']:g} % of the filters pruned a pass" if trial["ratio"] else ""
    return f"trial {trial['number']:>3}: {100 * trial['val_top1']:6.2f} % of the validation clips; {told}{pruned}"


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise RecipeError('a search needs Optuna: pip install "kinema[search]"') from error
    return optuna
