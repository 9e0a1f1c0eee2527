"""One result from several runs: over the folds of a protocol, and over seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from kinema.errors import DataError
from kinema.evaluation.results import accuracy_row, top1_of
from kinema.evaluation.scores import Scores, pool

AVERAGED = ("top1", "top5", "mean_class", "precision", "recall", "f1", "mse", "loss")


def mean_std(values: Sequence[float]) -> dict[str, Any]:
    """`{"mean", "std", "runs"}`; the sample standard deviation, None for a single value."""
    return {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None, "runs": list(values)}


def combine_folds(folds: Mapping[str, Scores]) -> dict:
    """Metrics over all folds together, and fold by fold.

    The metrics at the top are of the pooled samples (so accuracy is weighted by samples, and the confusion matrix is the sum
    of the folds'); `by_fold` holds the plain mean of the folds' metrics; `folds` each fold's own; `clips` the pooled metrics
    of clips where a sample is less than a clip. Wilson's interval treats the folds' models as one.
    """
    if not folds:
        raise DataError("there are no folds to combine")
    pooled = pool(list(folds.values()))
    each = {name: scores.metrics() for name, scores in folds.items()}
    result = {
        "unit": pooled.unit,
        **pooled.metrics(),
        "by_fold": {key: mean_std([metrics[key] for metrics in each.values()]) for key in AVERAGED},
        "folds": [
            {"fold": name, **{key: metrics[key] for key in ("n", "correct", *AVERAGED, "interval", "confusion")}}
            for name, metrics in each.items()
        ],
    }
    if pooled.unit != "clips":
        result["clips"] = {"unit": "clips", **pooled.by_clip().metrics()}
    return result


def combine_seeds(results: Sequence[Mapping[str, Any]]) -> dict[str, dict]:
    """Mean, standard deviation and each run of every averaged metric, from `metrics()` or `combine_folds` of each seed."""
    if not results:
        raise DataError("there are no runs to summarise")
    if len({result["n"] for result in results}) > 1:
        raise DataError(f"the runs have {sorted({result['n'] for result in results})} test samples; they were not tested on the same")
    return {key: mean_std([result[key] for result in results]) for key in AVERAGED}


def scores_row(
    name: str,
    dataset: str,
    protocol: str,
    runs: Mapping[int, Scores] | Mapping[int, Mapping[str, Scores]],
    n_train: int | Mapping[str, int],
    *,
    by_clip: bool = False,
    copies: Collection[str] | Mapping[str, Collection[str]] = (),
    **extra: Any,
) -> dict:
    """An accuracy row of results from the scores of each seed, or of each seed and fold; `n_train` in the same unit, by fold
    where there are folds. Adds mean class accuracy, F1 and loss.

    `by_clip`: count clips, not samples. `copies`: ids of the test clips (by fold where there are folds) that are copies of
    training clips; the row's `clean` is then top-1 without them, with its `n_test`. `extra`: further columns.
    """
    folds = list(n_train) if isinstance(n_train, Mapping) else None
    of_seed = {seed: dict(run) if folds is not None else {"": run} for seed, run in runs.items()}
    if by_clip:
        of_seed = {seed: {fold: scores.by_clip() for fold, scores in run.items()} for seed, run in of_seed.items()}
    for seed, run in of_seed.items():
        if folds is not None and run.keys() != set(folds):
            raise DataError(f"seed {seed} has the folds {sorted(run)}; {sorted(folds)} are expected")
    combined = combine_seeds([combine_folds(run) for run in of_seed.values()])
    one = next(iter(of_seed.values()))
    tested = {fold: len(scores) for fold, scores in one.items()}
    correct = [[int(run[fold].correct.sum()) for fold in tested] for run in of_seed.values()]
    more = {key: combined[key] for key in ("mean_class", "f1")} | {"loss": combined["loss"]["mean"]}
    if folds is None:
        sizes = {"n_train": n_train, "n_test": tested[""], "correct": [counts[0] for counts in correct]}
    else:
        sizes = {
            "n_train": [n_train[fold] for fold in tested],
            "n_test": list(tested.values()),
            "correct": correct,
            "folds": list(tested),
        }
    unit = next(iter(one.values())).unit
    if copies:
        of_fold = copies if isinstance(copies, Mapping) else dict.fromkeys(tested, copies)
        kept = [[scores.without(of_fold.get(fold, ())) for fold, scores in run.items()] for run in of_seed.values()]
        n_kept = sum(map(len, kept[0]))
        more["clean"] = {"n_test": n_kept, **top1_of([sum(int(part.correct.sum()) for part in run) for run in kept], n_kept)}
    return accuracy_row(name, dataset, protocol, seeds=list(runs), unit=unit, **sizes, **(more | extra))
