"""Cornell's convention for CAD-60: precision and recall in each environment, averaged over the five (Sung et al. 2012)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from statistics import fmean
from typing import Any

from kinema.errors import DataError
from kinema.evaluation.results import accuracy_row
from kinema.evaluation.scores import Scores, pool
from kinema.evaluation.summary import mean_std, scores_row


def cornell(folds: Mapping[str, Scores]) -> dict:
    """Precision, recall and accuracy by environment, each averaged over the environments.

    `folds`: scores by "environment/person", as the protocol "per-environment" names its splits: one model for each
    environment and each person left out. Within an environment the persons' test samples are pooled, and precision and recall
    are means over its activities. An activity that belongs to several environments is tested in each of them.
    """
    if not folds:
        raise DataError("there are no folds to combine")
    rooms: dict[str, list[Scores]] = {}
    for name, scores in folds.items():
        room, slash, _ = name.rpartition("/")
        if not slash:
            raise DataError(f'fold {name!r} names no environment; "environment/person" is expected')
        rooms.setdefault(room, []).append(scores)
    return _average({room: pool(parts) for room, parts in rooms.items()})


def cornell_joint(scores: Scores, environments: Mapping[str, Collection[str]]) -> dict:
    """The same figures for one model of all activities that is told the environment: in each, the probabilities of the
    activities that do not belong there are taken away. `environments`: activity names by environment."""
    return _average({room: scores.restrict(activities) for room, activities in environments.items()})


def told(folds: Mapping[str, Scores], environments: Mapping[str, Collection[str]]) -> dict[str, Scores]:
    """Scores by "environment/fold" from those of one model of all activities by fold, as if it had been told the environment."""
    return {f"{room}/{fold}": scores.restrict(activities) for room, activities in environments.items() for fold, scores in folds.items()}


def cornell_rows(
    name: str,
    dataset: str,
    protocol: str,
    runs: Mapping[int, Mapping[str, Scores]],
    n_train: Mapping[str, int],
    published: float | str | None = None,
    **extra: Any,
) -> list[dict[str, Any]]:
    """Rows of results from scores by seed and "environment/person": one an environment, with precision and recall, and the mean.

    `n_train`: training samples by "environment/person". `published`: goes to the mean, as do all columns of `extra` to every row.
    """
    figures = {seed: cornell(folds) for seed, folds in runs.items()}
    first = next(iter(runs.values()))
    rows = []
    for i, found in enumerate(next(iter(figures.values()))["environments"]):
        room = found["environment"]
        kept = {fold: fold.rpartition("/")[2] for fold in first if fold.rpartition("/")[0] == room}
        of_room = {seed: {person: folds[fold] for fold, person in kept.items()} for seed, folds in runs.items()}
        each = {key: mean_std([figure["environments"][i][key] for figure in figures.values()]) for key in ("precision", "recall")}
        trained = {person: n_train[fold] for fold, person in kept.items()}
        rows.append(scores_row(f"{name}, {room}", dataset, protocol, of_room, trained, **each, **extra))
    mean = {key: mean_std([figure[key] for figure in figures.values()]) for key in ("precision", "recall")}
    rows.append(
        accuracy_row(
            f"{name}, mean of {len(rows)} environments",
            dataset,
            protocol,
            n_train=[n_train[fold] for fold in first],
            n_test=[len(scores) for scores in first.values()],
            seeds=list(runs),
            correct=[[int(folds[fold].correct.sum()) for fold in first] for folds in runs.values()],
            folds=list(first),
            unit=next(iter(first.values())).unit,
            published=published,
            environment_top1=mean_std([figure["top1"] for figure in figures.values()]),
            **mean,
            **extra,
        )
    )
    return rows


def _average(rooms: Mapping[str, Scores]) -> dict:
    keys = ("n", "correct", "top1", "interval", "precision", "recall", "f1", "confusion")
    metrics = {room: scores.metrics() for room, scores in rooms.items()}
    return {
        "unit": next(iter(rooms.values())).unit,
        **{key: fmean(found[key] for found in metrics.values()) for key in ("precision", "recall", "f1", "top1")},
        "environments": [
            {"environment": room, "classes": list(rooms[room].classes), **{key: found[key] for key in keys}}
            for room, found in metrics.items()
        ],
    }
