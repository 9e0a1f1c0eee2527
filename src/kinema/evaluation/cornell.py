"""Cornell's convention for CAD-60: precision and recall in each environment, averaged over the five (Sung et al. 2012)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from statistics import fmean

from kinema.errors import DataError
from kinema.evaluation.scores import Scores, pool


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
