"""Fitting a calibration: a temperature, and a threshold for what the model knows nothing of; and what both are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kinema.calibration import NOVELTIES, Calibration, Novelty
from kinema.errors import DataError
from kinema.evaluation.intervals import wilson

_LEAST = 20  # samples without which a number fitted to them says nothing
_FOLDS = 5
_BINS = 15


@dataclass(frozen=True, eq=False)
class Looks:
    """What a model said: `logits` (views, N, K) of N samples, `labels` (N,), -1 for what shows none of its classes; `group` (N,) text:
    whose they are, so that nobody's samples are both fitted to and measured on."""

    logits: np.ndarray
    labels: np.ndarray
    group: np.ndarray

    def __post_init__(self):
        n = self.logits.shape[1] if self.logits.ndim == 3 else -1
        if self.labels.shape != (n,) or self.group.shape != (n,) or not np.isfinite(self.logits).all():
            raise DataError(f"logits {self.logits.shape}, labels {self.labels.shape} and groups {self.group.shape} do not fit together")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, kept: np.ndarray) -> Looks:
        return Looks(self.logits[:, kept], self.labels[kept], self.group[kept])


def fit(known: Looks, unknown: Looks | None = None, *, keep: float = 0.95, novelty: Novelty | None = None) -> Calibration:
    """A calibration from validation samples.

    `known`: of the model's classes; the temperature minimises their negative log-likelihood, the threshold keeps the share `keep` of them.
    `unknown`: samples of other classes. `novelty`: how strangeness is measured; by default energy, or, with `unknown`, what tells them
    apart better. `measured` holds how well that does, each sample measured by what was fitted without its group (in five parts).

    Raises `DataError` for too few samples.
    """
    if not 0.5 <= keep < 1:
        raise DataError(f"keep is {keep}; a share from 0.5 to below 1 is expected")
    for name, looks in (("known", known), ("unknown", unknown)):
        if looks is not None and len(looks) < _LEAST:
            raise DataError(f"there are {len(looks)} validation samples of {name} actions; {_LEAST} at least are expected")
    if len(np.unique(known.labels)) < 2:
        raise DataError("all validation samples are of one class; a temperature needs several")
    areas = {} if unknown is None else {name: auroc(*_apart(name, known, unknown)) for name in NOVELTIES}
    measure: Novelty = novelty or (max(areas, key=areas.get) if areas else "energy")
    fitted = _fitted(known, keep, measure)
    return replace(fitted, measured={"keep": keep, **_measured(known, unknown, keep, measure), "auroc": areas})


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What minimises the negative log-likelihood of `labels` (N,) under `logits` (views, N, K), whose probabilities are averaged."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda log: loss(logits, labels, float(np.exp(log))), bounds=np.log([0.05, 20]), method="bounded")
    return float(np.exp(found.x))


def loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood in nats."""
    p = probabilities(logits, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(p, 1e-12)).mean())


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """(N, K), averaged over the views of (views, N, K)."""
    from scipy.special import softmax

    return softmax(logits / temperature, axis=-1).mean(0)


def strangeness(logits: np.ndarray, calibration: Calibration) -> np.ndarray:
    """(N,), averaged over the views; as `Calibration.strangeness` has it."""
    from scipy.special import logsumexp

    if calibration.novelty == "energy":
        return -logsumexp(logits, axis=-1).mean(0)
    from scipy.special import softmax

    return -softmax(logits / calibration.temperature, axis=-1).max(-1).mean(0)


def calibration_error(p: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: how far confidence and accuracy are apart, in fifteen bins of equally many samples."""
    sure, right = p.max(1), p.argmax(1) == labels
    order = np.argsort(sure, kind="stable")
    bins = np.array_split(order, min(_BINS, len(order)))
    return float(sum(len(each) * abs(sure[each].mean() - right[each].mean()) for each in bins) / len(labels))


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Probability that something unknown is stranger than something known; (N,) and (N',) strangeness."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.repeat([0, 1], [len(known), len(unknown)]), np.concatenate([known, unknown])))


def text(calibration: Calibration) -> str:
    """What was fitted and how well it does, for people."""
    m = calibration.measured
    lines = [
        f"fitted on {m['n_known']} samples" + (f" of {m['clips']}" if "clips" in m else "") + f": {calibration.describe()}",
        f"loss {m['loss_before']:.3f} -> {m['loss']:.3f}, calibration error {100 * m['ece_before']:.1f} % -> {100 * m['ece']:.1f} %",
        "misses (taken for nothing known, though it is): " + _share(m["miss"]),
    ]
    if m.get("false_alarm"):
        areas = ", ".join(f"{name} {area:.3f}" for name, area in m["auroc"].items())
        lines += ["false alarms (taken for something known, though it is not): " + _share(m["false_alarm"]), f"AUROC: {areas}"]
    return "\n".join([*lines, "each sample measured by what was fitted without its person"])


def _share(of: dict[str, Any]) -> str:
    low, high = of["interval"]
    return f"{100 * of['share']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {of['n']}"


def _fitted(known: Looks, keep: float, novelty: Novelty) -> Calibration:
    fitted = Calibration(fit_temperature(known.logits, known.labels), novelty)
    return replace(fitted, threshold=float(np.quantile(strangeness(known.logits, fitted), keep)))


def _apart(novelty: Novelty, known: Looks, unknown: Looks) -> tuple[np.ndarray, np.ndarray]:
    by = Calibration(fit_temperature(known.logits, known.labels), novelty)
    return strangeness(known.logits, by), strangeness(unknown.logits, by)


def _measured(known: Looks, unknown: Looks | None, keep: float, novelty: Novelty) -> dict[str, Any]:
    """How a calibration does on samples that it was not fitted to: each part of the groups by what the others give."""
    p, missed, alarms = np.zeros(known.logits.shape[1:]), np.zeros(len(known), bool), []
    for part in _parts(known.group):
        fitted = _fitted(known.select(~part), keep, novelty)
        p[part] = probabilities(known.logits[:, part], fitted.temperature)
        missed[part] = strangeness(known.logits[:, part], fitted) > fitted.threshold
        if unknown is not None:
            alarms.append(strangeness(unknown.logits, fitted) <= fitted.threshold)
    before = probabilities(known.logits, 1.0)
    return {
        "n_known": len(known),
        "n_unknown": 0 if unknown is None else len(unknown),
        "accuracy": float((p.argmax(1) == known.labels).mean()),
        "loss_before": loss(known.logits, known.labels, 1.0),
        "loss": float(-np.log(np.maximum(p[np.arange(len(p)), known.labels], 1e-12)).mean()),
        "ece_before": calibration_error(before, known.labels),
        "ece": calibration_error(p, known.labels),
        "miss": _rate(missed.sum(), len(known)),
        "false_alarm": None if unknown is None else _rate(np.mean(alarms, 0).sum(), len(unknown)),
    }


def _rate(count: float, n: int) -> dict[str, Any]:
    return {"share": float(count / n), "n": n, "interval": list(wilson(float(count), n))}


def _parts(group: np.ndarray) -> Sequence[np.ndarray]:
    """(N,) bool each: the samples of some of the groups, so that each sample is in one part; single samples where there is one group."""
    names, index = np.unique(group, return_inverse=True)
    if len(names) < 2:
        names, index = np.arange(len(group)), np.arange(len(group))
    of = np.random.default_rng(0).permutation(len(names)) % min(_FOLDS, len(names))
    return [of[index] == part for part in range(of.max() + 1)]
