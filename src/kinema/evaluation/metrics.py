"""What a table of class probabilities is worth: accuracy, macro means, loss, confusion, all from one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema.errors import DataError
from kinema.evaluation.intervals import wilson

MOST_CONFUSED = 3


def evaluate_scores(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict:
    """All metrics of a classifier's probabilities, as plain numbers that JSON can hold.

    `probabilities`: (N, K), each row non-negative and summing to 1. `labels`: (N,) indices into the K `classes`.

    Accuracies and macro means are fractions. Precision, recall and F1 are averaged over the classes that the labels
    hold: a class without a test sample has no recall, and so does not count (its false positives still cost precision
    of no other class; they show in the confusion matrix). A class that is never predicted has precision 0.
    `mean_class` is the mean recall, so it equals `recall`; both names are in use.
    `mse`: mean over samples and classes of (probability - one-hot)^2. `loss`: mean cross-entropy in nats.
    `interval`: 95 % Wilson of top-1. `confusion`: K x K counts, rows are the truth. `per_class`: one entry a class, with
    None where the class has no sample, and its most frequent confusions.
    Raises `DataError` where the table is not of that form.
    """
    # torchmetrics brings torch along; reading a table of results must not.
    import torch
    from torchmetrics.functional import mean_squared_error
    from torchmetrics.functional.classification import (
        multiclass_confusion_matrix,
        multiclass_f1_score,
        multiclass_precision,
        multiclass_recall,
    )

    probabilities, labels = _checked(probabilities, labels, len(classes))
    n, k = probabilities.shape
    ranking = np.argsort(-probabilities, axis=1, kind="stable")
    hits = ranking == labels[:, None]
    correct = int(hits[:, 0].sum())

    predicted, truth = torch.from_numpy(ranking[:, 0].copy()), torch.from_numpy(labels)
    of_each = {"num_classes": k, "average": None, "zero_division": 0}
    precision = multiclass_precision(predicted, truth, **of_each).double().numpy()
    recall = multiclass_recall(predicted, truth, **of_each).double().numpy()
    f1 = multiclass_f1_score(predicted, truth, **of_each).double().numpy()
    confusion = multiclass_confusion_matrix(predicted, truth, num_classes=k).numpy()
    counts = confusion.sum(1)
    present = counts > 0
    one_hot = np.eye(k)[labels]
    of_truth = probabilities[np.arange(n), labels]

    return {
        "n": n,
        "top1": correct / n,
        "top5": float(hits[:, :5].any(1).mean()),
        "mean_class": float(recall[present].mean()),
        "precision": float(precision[present].mean()),
        "recall": float(recall[present].mean()),
        "f1": float(f1[present].mean()),
        "mse": float(mean_squared_error(torch.from_numpy(probabilities), torch.from_numpy(one_hot))),
        # A probability that underflowed to 0 must not make the mean infinite.
        "loss": float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean()),
        "interval": list(wilson(correct, n)),
        "correct": correct,
        "confusion": confusion.tolist(),
        "per_class": [
            {
                "class": name,
                "n": int(counts[i]),
                "precision": float(precision[i]) if present[i] else None,
                "recall": float(recall[i]) if present[i] else None,
                "f1": float(f1[i]) if present[i] else None,
                "confusions": _most_confused(confusion[i], i, classes),
            }
            for i, name in enumerate(classes)
        ],
    }


def _checked(probabilities: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = np.ascontiguousarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or probabilities.shape[1] != k or not len(probabilities):
        raise DataError(f"probabilities have shape {probabilities.shape}; samples x {k} classes, at least one sample, is expected")
    if labels.shape != probabilities.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(f"labels have shape {labels.shape} and type {labels.dtype}; {len(probabilities)} whole numbers are expected")
    sums = probabilities.sum(1)
    bad = np.flatnonzero(~(np.isfinite(sums) & (probabilities >= 0).all(1) & (np.abs(sums - 1) < 1e-2)))
    if len(bad):
        raise DataError(f"sample {bad[0]}: the row {probabilities[bad[0]][:4]}... sums to {sums[bad[0]]:.4g}; probabilities sum to 1")
    outside = np.flatnonzero((labels < 0) | (labels >= k))
    if len(outside):
        raise DataError(f"sample {outside[0]} has label {labels[outside[0]]}; there are {k} classes")
    return probabilities, labels.astype(np.int64)


def _most_confused(row: np.ndarray, own: int, classes: Sequence[str]) -> list[dict]:
    order = sorted((j for j in np.flatnonzero(row) if j != own), key=lambda j: -row[j])
    return [{"class": classes[j], "n": int(row[j])} for j in order[:MOST_CONFUSED]]


def clip_scores(probabilities: np.ndarray, clip_of: np.ndarray) -> np.ndarray:
    """(C, K) mean of the probabilities of each clip's samples. `clip_of`: (N,) clip index of each sample, 0..C-1, none left out."""
    probabilities, clip_of = np.asarray(probabilities, np.float64), np.asarray(clip_of)
    if probabilities.ndim != 2 or clip_of.shape != probabilities.shape[:1] or clip_of.dtype.kind not in "iu" or not len(clip_of):
        raise DataError(f"clip indices have shape {clip_of.shape}, probabilities {probabilities.shape}; one index a sample is expected")
    if clip_of.min() < 0:
        raise DataError(f"clip index {clip_of.min()}; 0 or more is expected")
    counts = np.bincount(clip_of)
    if not counts.all():
        raise DataError(f"clip {int(np.argmin(counts))} has no sample")
    sums = np.zeros((len(counts), probabilities.shape[1]))
    np.add.at(sums, clip_of, probabilities)
    return sums / counts[:, None]
