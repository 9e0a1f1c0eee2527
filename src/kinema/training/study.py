"""A study: recipes x folds x seeds, run and put into one table of results. What is finished is not run again.

title: HCN on UTD-MHAD skeletons
result: utd_mhad_hcn              # results/utd_mhad_hcn.json
seeds: [0, 1, 2, 3, 4]
rows:
  - name: HCN
    recipe: ../hcn_utd_mhad.yaml  # seen from the study's file
    set: {fit.selection: refit}   # over the recipe
  - name: HCN, fine-tuned
    recipe: ../hcn_utd_mhad.yaml
    start: pre-training           # an earlier row, whose bundle is init.bundle here
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from kinema.errors import RecipeError, unknown
from kinema.training import typed
from kinema.training.load import load_recipe, recipe_hash
from kinema.training.recipe import Recipe

# What the table says about how the epoch was chosen.
CHOSEN_BY = {"validation": "validation", "refit": "validation, then refit", "last": "last epoch", "paper": "test part, as published"}


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        name: what it is called there.
        recipe: recipe file, seen from the study's file.
        set: values over the recipe's, keys dotted.
        folds: "all" folds of the protocol, or a list of them; none where the protocol has one split.
        by_clip: count clips where the recipe cuts several samples from one.
        start: name of an earlier row without folds; training starts from the bundle of its run with the same seed (the first one
            where it has other seeds).
        published: the published figure, as a fraction or in words.
        note: one line about it.
        seeds: instead of the study's.
    """

    name: str
    recipe: str
    set: dict[str, Any] = field(default_factory=dict)
    folds: tuple[str, ...] | str | None = None
    by_clip: bool = False
    start: str | None = None
    published: float | str | None = None
    note: str | None = None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Study:
    """Rows that make one file of results.

    Args:
        title: of the table.
        result: name of its file, without .json.
        rows: of the table.
        seeds: with which every row is trained.
        system: published system that it belongs to; several studies may share one.
    """

    title: str
    result: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...] = (0,)
    system: str = ""


@dataclass(frozen=True)
class Run:
    """One training of a study: a row's recipe with fold and seed, and its folder."""

    row: Row
    fold: str
    seed: int
    recipe: Recipe
    out: Path


def load_study(path: str | Path) -> Study:
    """A study from YAML, keys as strict as a recipe's; `RecipeError` where it names no rows, or a recipe that is not there."""
    path = Path(path)
    study = typed.parse(Study, typed.read_yaml(path), path)
    if not study.rows or not all(row.seeds or study.seeds for row in study.rows):
        raise RecipeError(f"{path}: at least one row and one seed are expected")
    if not re.fullmatch(r"[\w-]+", study.result):
        raise RecipeError(f"{path}: result is {study.result!r}; the name of a file in the results folder, without .json, is expected")
    names = [row.name for row in study.rows]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"{path}: two rows are called {name!r}")
    for row in study.rows:
        if isinstance(row.folds, str) and row.folds != "all":
            raise RecipeError(f'{path}: row {row.name!r}: folds is {row.folds!r}; "all" or a list of names is expected')
        earlier = [each.name for each in study.rows[: study.rows.index(row)] if each.folds is None]
        if row.start is not None and row.start not in earlier:
            raise RecipeError(f"{path}: row {row.name!r}: start: {unknown('earlier row without folds', row.start, earlier)}")
        if load_recipe(path.parent / row.recipe, row.set).data.use == "all":
            raise RecipeError(f"{path}: row {row.name!r}: data.use is all, which leaves nothing to measure")
    return study


def find_studies(name: str, folder: str | Path | None = None) -> list[Path]:
    """Files of studies: `name` is a path, the name of one in `folder`, or a system, of which all are found.

    `folder`: default recipes/studies here or, if there is none, in the checkout that this package runs from.
    """
    if Path(name).is_file():
        return [Path(name)]
    if folder is None:
        folders = [Path("recipes/studies"), Path(__file__).parents[3] / "recipes" / "studies"]
        folder = next((path for path in folders if path.is_dir()), folders[0])
    paths = sorted(Path(folder).glob("*.yaml"))
    systems: dict[str, list[Path]] = {}
    for path in paths:
        systems.setdefault(str(typed.read_yaml(path).get("system") or ""), []).append(path)
    known = {path.stem: [path] for path in paths} | {system: found for system, found in systems.items() if system}
    if name not in known:
        raise RecipeError(f"{unknown('study', name, known)} (in {folder})")
    return known[name]


def run_study(path: str | Path, out_runs: str | Path = "runs", results_dir: str | Path = "results", progress: bool = True) -> Path:
    """Run what is not finished yet, then write `results_dir/<result>.json`; returns its path.

    A run's folder carries a hash of its recipe (and of the bundle that it starts from): one whose recipe changed is run
    anew beside the old one, one that was interrupted goes on.
    """
    from kinema.evaluation.results import write_results
    from kinema.training.fit import RunResult, fit

    study = load_study(path)
    rows = []
    for row in study.rows:
        results: dict[tuple[int, str], RunResult] = {}
        for run in planned_runs(study, row, Path(path).parent, Path(out_runs)):
            results[run.seed, run.fold] = fit(run.recipe, run.out, resume=True, progress=progress)
            if progress:
                where = f", fold {run.fold}" if run.fold else ""
                print(f"{row.name}{where}, seed {run.seed}: {100 * results[run.seed, run.fold].top1:.2f} %", file=sys.stderr)
        rows.append(_table_row(row, results))
    return write_results(Path(results_dir) / f"{study.result}.json", study.title, rows)


def planned_runs(study: Study, row: Row, folder: Path, out_runs: Path) -> Iterator[Run]:
    """Every fold of every seed of a row. `folder`: where the study's file is."""
    base = load_recipe(folder / row.recipe, row.set)
    for seed in row.seeds or study.seeds:
        start = {"init.bundle": str(_start(study, row, seed, folder, out_runs))} if row.start else {}
        for fold in _folds(row, base):
            changes = {"seed": seed} | start | ({"data.fold": fold} if fold else {})
            recipe = load_recipe(folder / row.recipe, typed.merged(row.set, changes))
            name = "-".join(filter(None, (_slug(fold), f"seed{seed}", _run_hash(recipe))))
            yield Run(row, fold, seed, recipe, out_runs / study.result / _slug(row.name) / name)


def _start(study: Study, row: Row, seed: int, folder: Path, out_runs: Path) -> Path:
    """The bundle that a row's trainings with this seed start from."""
    earlier = next(each for each in study.rows if each.name == row.start)
    runs = list(planned_runs(study, earlier, folder, out_runs))
    return next((run for run in runs if run.seed == seed), runs[0]).out / "bundle.safetensors"


def _folds(row: Row, recipe: Recipe) -> tuple[str, ...]:
    if row.folds is None:
        return ("",)
    from kinema.training.data import fold_names

    names = fold_names(recipe.data)
    if row.folds == "all":
        return names
    for fold in row.folds:
        if fold not in names:
            raise RecipeError(f"row {row.name!r}: {unknown('fold', fold, names)}")
    return tuple(row.folds)


def _run_hash(recipe: Recipe) -> str:
    if recipe.init.bundle is None:
        return recipe_hash(recipe)[:8]
    from kinema.bundle import load

    return hashlib.sha256((recipe_hash(recipe) + load(recipe.init.bundle).hash).encode()).hexdigest()[:8]


def _table_row(row: Row, results: Mapping[tuple[int, str], Any]) -> dict[str, Any]:
    from kinema import bundle
    from kinema.evaluation.scores import load_scores
    from kinema.evaluation.summary import scores_row
    from kinema.models._count import count

    first = next(iter(results.values()))
    seeds, folds = dict.fromkeys(seed for seed, _ in results), dict.fromkeys(fold for _, fold in results)
    scores = {key: load_scores(run.out / "scores.npz") for key, run in results.items()}
    by_fold = row.folds is not None

    def size(part: str, fold: str) -> int:
        """Clips or windows, the mean over the seeds: these may cut different validation parts."""
        runs = [run.result for (_, of), run in results.items() if of == fold]
        return round(fmean(result[f"n_{part}"] if row.by_clip else result["units"][part] for result in runs))

    # After a refit the weights have seen the validation part too.
    seen = ("train", "val") if first.result["selection"] == "refit" else ("train",)
    trained = {fold: sum(size(part, fold) for part in seen) for fold in folds}
    kept = bundle.load(first.out / "bundle.safetensors")
    parameters, macs = count(kept.build(), kept.shape)
    return scores_row(
        row.name,
        first.result["dataset"],
        first.result["protocol"],
        {seed: {fold: scores[seed, fold] for fold in folds} if by_fold else scores[seed, ""] for seed in seeds},
        trained if by_fold else trained[""],
        by_clip=row.by_clip,
        selection=CHOSEN_BY[first.result["selection"]],
        published=row.published,
        parameters=parameters,
        macs=macs,
        note=row.note,
        skipped=len(first.result["skipped"]) or None,
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
