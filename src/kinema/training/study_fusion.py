"""The rows of a study's table that fuse the answers of others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from kinema import bundle
from kinema._write import write_whole
from kinema.errors import DataError, KinemaError, RecipeError
from kinema.evaluation.fusion import Aligned, align, learn, validated
from kinema.evaluation.scores import Scores, load_scores
from kinema.evaluation.summary import scores_row
from kinema.fused import LEARNED, Fusion
from kinema.models._count import count
from kinema.training.run_folder import BUNDLE, SCORES, VALIDATION, RunResult
from kinema.training.study_plan import Row
from kinema.training.study_rows import CHOSEN_BY, Runs, by_unit, leak_of, scores_in, trained_on


def fused_rows(row: Row, members: Mapping[str, Runs], out: Path) -> list[dict[str, Any]]:
    """The rows that a fused row makes, one for each unit. `members`: runs of each fused row, by seed and fold.

    The scores of each seed and fold are left in a folder under `out`, with what was learned for them in fusion.json.
    Raises `RecipeError` where the members were not measured on the same, or lack the validation that the rule learns from.
    """
    sets = _sets(row, members)
    return by_unit(row, lambda name, unit, published: [_row_of_unit(row, name, unit, sets, published, out)])


def _sets(row: Row, members: Mapping[str, Runs]) -> dict[tuple[int, str], dict[str, RunResult]]:
    """The runs that are fused with each other, by the seed and fold that they make. Seeds: of the row that has most of them."""
    seeds = {name: list(dict.fromkeys(seed for seed, _ in runs)) for name, runs in members.items()}
    folds = {name: list(dict.fromkeys(fold for _, fold in runs)) for name, runs in members.items()}
    first = next(iter(members))
    for name, runs in members.items():
        measured, expected = next(iter(runs.values())).result, next(iter(members[first].values())).result
        for key in ("dataset", "protocol"):
            if measured[key] != expected[key]:
                raise RecipeError(
                    f"row {row.name!r}: {first!r} has {key} {expected[key]!r}, {name!r} has {measured[key]!r}; the same is expected"
                )
        if set(folds[name]) != set(folds[first]):
            raise RecipeError(
                f"row {row.name!r}: {first!r} has the folds {folds[first]}, {name!r} has {folds[name]}; the same are expected"
            )
    longest = max(seeds.values(), key=len)
    return {
        (seed, fold): {name: runs[seeds[name][i % len(seeds[name])], fold] for name, runs in members.items()}
        for i, seed in enumerate(longest)
        for fold in folds[first]
    }


def _row_of_unit(
    row: Row, name: str, unit: str, sets: Mapping[tuple[int, str], Mapping[str, RunResult]], published: float | str | None, out: Path
) -> dict[str, Any]:
    of_seed: dict[int, dict[str, Scores]] = {}
    learned, figures, missing = [], [], 0
    for (seed, fold), runs in sets.items():
        try:
            test = align({member: scores_in(unit, run, member) for member, run in runs.items()}, "allow")
            validation = _validation(row, runs, unit)
            fusion = learn(row.rule, validation)
        except KinemaError as error:
            where = f", fold {fold}" if fold else ""
            raise RecipeError(f"row {row.name!r}{where}, seed {seed}: {error}") from error
        of_seed.setdefault(seed, {})[fold] = test.fused(fusion)
        learned.append(fusion)
        figures.append(None if validation is None else validated(row.rule, validation))
        missing += sum(test.missing.values())
        if unit in row.units[:1] or not unit:
            _write(out / "-".join(filter(None, (fold.replace("/", "-"), f"seed{seed}"))), of_seed[seed][fold], test, fusion)
    some = next(iter(sets.values()))
    trained = {
        fold: round(fmean(max(trained_on(run.result, unit) for run in runs.values()) for (_, of), runs in sets.items() if of == fold))
        for fold in dict.fromkeys(fold for _, fold in sets)
    }
    sizes = [count(kept.build(), kept.shape) for kept in (bundle.load(run.out / BUNDLE) for run in some.values())]
    about = {
        "published": published,
        "selection": " and ".join(dict.fromkeys(CHOSEN_BY[run.result["selection"]] for run in some.values() if run.result["epoch"]))
        or None,
        # The size of what is fitted at once is that of the data.
        "parameters": sum(size for size, _ in sizes) if all(size for size, _ in sizes) else None,
        "macs": sum(macs for _, macs in sizes) if all(size for size, _ in sizes) else None,
        "fusion": row.rule,
        "weights": " / ".join(f"{fmean(each):.2f}" for each in zip(*(fusion.weights for fusion in learned), strict=True)) or None,
        # By this a rule may be chosen without a look at the test part.
        "validation_top1": None if None in figures else fmean(figures),
        "missing": missing or None,
        "leak": leak_of({key: next(iter(members.values())) for key, members in sets.items()}),
        "note": row.note,
    }
    result = next(iter(some.values())).result
    protocol = result["protocol"] + (f", {unit}" if unit else "")
    if trained.keys() == {""}:
        return scores_row(name, result["dataset"], protocol, {seed: by_fold[""] for seed, by_fold in of_seed.items()}, trained[""], **about)
    return scores_row(name, result["dataset"], protocol, of_seed, trained, **about)


def _validation(row: Row, runs: Mapping[str, RunResult], unit: str) -> Aligned | None:
    """What the members answered to the clips that validated all of them; None where there are none, if the rule needs none."""
    scores = {}
    for member, run in runs.items():
        if not (run.out / VALIDATION).exists():
            if row.rule not in LEARNED:
                return None
            raise RecipeError(
                f"rule {row.rule!r} learns from validation clips, and {run.out} has no {VALIDATION}; train {member!r} anew with "
                "fit.selection validation or refit"
            )
        scores[member] = load_scores(run.out / VALIDATION)
        if unit == "clips":
            scores[member] = scores[member].by_clip()
        elif unit != "samples" and unit:
            scores[member] = replace(scores[member], unit=unit)
    try:
        return align(scores, "drop")
    except DataError:
        if row.rule in LEARNED:
            raise
        return None


def _write(out: Path, scores: Scores, test: Aligned, fusion: Fusion) -> None:
    scores.save(out / SCORES)
    about = {"rule": fusion.rule, "members": list(test.names), "weights": fusion.weights, "bias": fusion.bias, "missing": test.missing}
    write_whole(out / "fusion.json", json.dumps(about, indent=1).encode())
