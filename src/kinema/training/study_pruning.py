"""The rows of a study's table that prune the networks of another row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from kinema.evaluation.summary import scores_row
from kinema.training.pruning import Pass, Plan, Pruning, prune
from kinema.training.study_plan import Row
from kinema.training.study_rows import CHOSEN_BY, Runs, leak_of, scores_in, trained_on

Passes = Mapping[tuple[int, str], Pass]


def pruned_rows(row: Row, runs: Runs, out: Path, progress: bool = True) -> list[dict[str, Any]]:
    """A row for each pass, and one for the passes that validation keeps. `runs`: of the row that is pruned, by seed and fold.

    Where some trainings ended before others, later passes are those of the seeds that reached them with all folds. The prunings stand in
    folders under `out`; what is finished is not done again.
    """
    plan = Plan(row.prune.ratio, row.prune.passes, row.prune.scope)
    about = [plan.ratio, plan.scope, row.set]
    found: dict[tuple[int, str], Pruning] = {}
    for key, run in runs.items():
        settings = hashlib.sha256(json.dumps([*about, run.out.name], sort_keys=True).encode()).hexdigest()[:8]
        found[key] = prune(run.out, out / f"{run.out.name}-{settings}", plan, row.set, progress)
    rows = []
    for number in range(1, max(len(each.passes) for each in found.values())):
        reached = {key: each.passes[number] for key, each in found.items() if len(each.passes) > number}
        seeds = [seed for seed in dict.fromkeys(seed for seed, _ in found) if all(key in reached for key in found if key[0] == seed)]
        if seeds:
            some = {key: each for key, each in reached.items() if key[0] in seeds}
            rows.append(_row(f"{row.name}, pass {number}", some, runs))
    best = {key: each.passes[each.best] for key, each in found.items()}
    chosen = " / ".join(str(each.number) for each in best.values())
    return [*rows, _row(row.name, best, runs, published=row.published, note=row.note, kept_pass=chosen)]


def _row(name: str, passes: Passes, runs: Runs, **about: Any) -> dict[str, Any]:
    """A row of results. A pass 0 is the run that was pruned."""
    of = {key: each.run if each.number else runs[key] for key, each in passes.items()}
    folds = list(dict.fromkeys(fold for _, fold in of))
    scores: dict[int, dict[str, Any]] = {}
    for (seed, fold), run in of.items():
        scores.setdefault(seed, {})[fold] = scores_in("", run, name)
    trained = {fold: round(fmean(trained_on(run.result, "") for (_, own), run in of.items() if own == fold)) for fold in folds}
    figures = [each.figures for each in passes.values()]
    result = next(iter(of.values())).result
    columns = {
        "selection": CHOSEN_BY["validation"],
        **{key: fmean(each[key] for each in figures) for key in figures[0]},
        "validation_top1": fmean(each.validation for each in passes.values()),
        "leak": leak_of(of),
        **about,
    }
    columns |= {key: round(columns[key]) for key in ("parameters", "macs")}
    given = {key: value for key, value in columns.items() if value is not None}
    data = result["dataset"], result["protocol"]
    if folds == [""]:
        return scores_row(name, *data, {seed: own[""] for seed, own in scores.items()}, trained[""], **given)
    return scores_row(name, *data, scores, trained, **given)
