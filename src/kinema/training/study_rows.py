"""The rows of a study's table, from its finished runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np

from kinema import bundle
from kinema.datasets.protocols import leak_note
from kinema.errors import RecipeError
from kinema.evaluation.cornell import cornell_rows, told
from kinema.evaluation.scores import Scores, load_scores
from kinema.evaluation.summary import scores_row
from kinema.models._count import count
from kinema.training.data import TESTS, TRAINS, class_groups
from kinema.training.recipe import DataConfig
from kinema.training.run_folder import BUNDLE, SAMPLES, SCORES, RunResult
from kinema.training.study_plan import Row

# What the table says about how the epoch was chosen.
CHOSEN_BY = {"validation": "validation", "refit": "validation, then refit", "last": "last epoch", "paper": "test part, as published"}
Runs = Mapping[tuple[int, str], RunResult]


def table_rows(row: Row, runs: Runs, data: DataConfig) -> list[dict[str, Any]]:
    """The rows that one row of a study makes: one for each unit that it counts in, of each group of classes where there are any.

    `runs`: by seed and fold ("" where the protocol has one split). `data`: what the row's recipe is about.
    """
    return by_unit(row, lambda name, unit, published: _rows_of_unit(row, name, unit, runs, data, published))


def by_unit(row: Row, rows_of: Callable[[str, str, float | str | None], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows for each unit: `rows_of` is given a name in the table, the unit ("" for the usual one) and the published figure."""
    rows = []
    for unit in row.units or ("",):
        name = row.name if len(row.units) < 2 else f"{row.name} ({unit})"
        rows += rows_of(name, unit, row.published if not rows else None)
    return rows


def _rows_of_unit(row: Row, name: str, unit: str, runs: Runs, data: DataConfig, published: float | str | None) -> list[dict[str, Any]]:
    first = next(iter(runs.values()))
    seeds, folds = dict.fromkeys(seed for seed, _ in runs), dict.fromkeys(fold for _, fold in runs)
    of_seed = {seed: {fold: scores_in(unit, runs[seed, fold], row.name) for fold in folds} for seed in seeds}
    trained = {fold: round(fmean(trained_on(run.result, unit) for (_, of), run in runs.items() if of == fold)) for fold in folds}
    kept = bundle.load(first.out / BUNDLE)
    parameters, macs = count(kept.build(), kept.shape)
    about = {
        "published": published,
        # A model that was fitted at once has no epochs, and its size is that of the data.
        "selection": CHOSEN_BY[first.result["selection"]] if first.result["epoch"] else None,
        "parameters": parameters or None,
        "macs": macs if parameters else None,
        "note": row.note,
        "skipped": len(first.result["skipped"]) or None,
        "leak": leak_of(runs),
    }
    dataset, protocol = first.result["dataset"], first.result["protocol"] + (f", {unit}" if unit else "")
    if row.told:
        groups = class_groups(data, row.told)
        of_seed = {seed: told(by_fold, groups) for seed, by_fold in of_seed.items()}
        trained = {f"{group}/{fold}": n for group in groups for fold, n in trained.items()}
    if all("/" in fold for fold in trained):
        return cornell_rows(name, dataset, protocol, of_seed, trained, **about)

    def as_row(name: str, dataset: str, protocol: str, runs: Mapping[int, Mapping[str, Scores]]) -> dict[str, Any]:
        if row.folds is None:
            return scores_row(name, dataset, protocol, {seed: of[""] for seed, of in runs.items()}, trained[""], **about)
        return scores_row(name, dataset, protocol, runs, trained, **about)

    if TESTS in protocol.split("+"):
        shared = {seed: {fold: scores.restrict(scores.present) for fold, scores in of.items()} for seed, of in of_seed.items()}
        labels = len(shared[first.result["seed"]][next(iter(folds))].classes)
        return [
            as_row(f"{name}, among the {labels} labels that it shares", dataset, protocol, shared),
            as_row(f"{name}, among all labels", dataset, protocol, of_seed),
        ]
    rows = [as_row(name, dataset, protocol, of_seed)]
    if row.among:
        some = {seed: {fold: scores.restrict(row.among) for fold, scores in of.items()} for seed, of in of_seed.items()}
        rows.append(as_row(f"{name}, among {len(row.among)} labels", dataset, protocol, some))
    sets = dataset.split("+") if "+" in dataset else ()
    own = protocol.split("+") if protocol.count("+") == len(sets) - 1 else [protocol] * len(sets)
    tested = [each for each, of in zip(sets, own, strict=True) if of != TRAINS]
    for each, of in zip(sets, own, strict=True):
        if each in tested and len(tested) > 1:
            alone = {seed: {fold: _of_set(each, scores) for fold, scores in by_fold.items()} for seed, by_fold in of_seed.items()}
            rows.append(as_row(f"{name}: {each}", each, of, alone))
    return rows


def leak_of(runs: Runs) -> str | None:
    """What a table says where recordings both train and test, over the folds; None where none do."""
    of_fold = {fold: run.result for (_, fold), run in runs.items()}
    leak = sum(result.get("leak", 0) for result in of_fold.values())
    return leak_note(leak, sum(result["n_test"] for result in of_fold.values())) if leak else None


def _of_set(name: str, scores: Scores) -> Scores:
    """The answers to the clips of one of several data sets, whose name stands in front of their ids."""
    return scores.select(np.array([clip_id.startswith(f"{name}/") for clip_id in scores.clip_ids])[scores.clip])


def scores_in(unit: str, run: RunResult, name: str) -> Scores:
    """A run's answers to its test part, counted in `unit` ("" for the usual one). `name`: of the row."""
    if unit == "samples":
        if not (run.out / SAMPLES).exists():
            raise RecipeError(f"row {name!r}: its recipe takes one sample of each window; units: [windows] counts them")
        return load_scores(run.out / SAMPLES)
    scores = load_scores(run.out / SCORES)
    if unit == "clips":
        return scores.by_clip()
    return replace(scores, unit=unit or scores.unit)


def trained_on(result: Mapping[str, Any], unit: str) -> int:
    """How many trained; after a refit the weights have seen the validation part too."""
    if unit == "samples":
        return result["samples"]["n_train"]
    parts = ("train", "val") if result["selection"] == "refit" else ("train",)
    return sum(result[f"n_{part}"] if unit == "clips" else result["units"][part] for part in parts)
