"""Score-level fusion: answers of several models to the same clips put side by side, and a rule learned from validation clips.

The rules themselves are `kinema.fused.Fusion`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kinema.errors import DataError
from kinema.evaluation.scores import Scores
from kinema.fused import Fusion, Rule, log_probabilities, plain

# A validation part is small: equal weights (and no constants) count as if so many further clips spoke for them.
PRIOR = 10.0
_STEPS = 20_000
_PARTS = 5
_STILL = 1e-10


@dataclass(frozen=True, eq=False)
class Aligned:
    """Answers of n members to the same samples. `probabilities`: (n, N, K), a row of NaN where a member has no answer.

    The rest as in `Scores`; `names`: of the members.
    """

    names: tuple[str, ...]
    probabilities: np.ndarray
    labels: np.ndarray
    clip: np.ndarray
    clip_ids: tuple[str, ...]
    classes: tuple[str, ...]
    unit: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def missing(self) -> dict[str, int]:
        """How many samples each member has no answer to."""
        return dict(zip(self.names, np.isnan(self.probabilities).any(2).sum(1).tolist(), strict=True))

    def fused(self, fusion: Fusion) -> Scores:
        return Scores(fusion(self.probabilities), self.labels, self.clip, self.clip_ids, self.classes, self.unit)

    def select(self, kept: np.ndarray) -> Aligned:
        """The samples where `kept` (N,) is true, and their clips."""
        clips, clip = np.unique(self.clip[kept], return_inverse=True)
        ids = tuple(self.clip_ids[i] for i in clips)
        return replace(self, probabilities=self.probabilities[:, kept], labels=self.labels[kept], clip=clip, clip_ids=ids)

    def by_clip(self) -> Aligned:
        """One row a clip: the mean of what each member answered to its samples."""
        each = []
        for p in self.probabilities:
            there = ~np.isnan(p).any(1)
            sums, counts = np.zeros((len(self.clip_ids), len(self.classes))), np.bincount(self.clip[there], minlength=len(self.clip_ids))
            np.add.at(sums, self.clip[there], p[there])
            each.append(np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], np.nan))
        labels = np.zeros(len(self.clip_ids), np.int64)
        labels[self.clip] = self.labels
        order = np.arange(len(labels))
        return Aligned(self.names, np.stack(each), labels, order, self.clip_ids, self.classes, "clips")


def align(members: Mapping[str, Scores], absent: Literal["refuse", "allow", "drop"] = "refuse") -> Aligned:
    """The members' answers sample by sample: classes matched by name (ignoring case and runs of spaces), clips by id, several
    samples of one clip by their order in it. Order of classes and clips: the first member's.

    `absent`: what happens to a clip that only some members answered: "refuse" raises, "allow" keeps it with rows of NaN,
    "drop" leaves it out. Raises `DataError` for other classes, another truth, another count of samples in a clip, another
    unit, and where no clip is common to all.
    """
    names = tuple(members)
    if not names:
        raise DataError("there are no scores to fuse")
    tables = {name: _Table(name, scores) for name, scores in members.items()}
    first = tables[names[0]]
    for other in tables.values():
        other.match(first)
    common = [clip_id for clip_id in first.rows if all(clip_id in other.rows for other in tables.values())]
    if not common:
        raise DataError(f"{' and '.join(names)} have no clip in common; scores of the same part of the same split are expected")
    every = list(dict.fromkeys(clip_id for table in tables.values() for clip_id in table.rows))
    if absent == "refuse" and len(every) > len(common):
        clip_id = next(clip_id for clip_id in every if clip_id not in set(common))
        without = next(name for name, table in tables.items() if clip_id not in table.rows)
        raise DataError(f"{len(every) - len(common)} clips are not in all scores: {without} lacks {clip_id!r}")
    kept = every if absent == "allow" else common
    labels, clip, rows = [], [], {name: [] for name in names}
    for index, clip_id in enumerate(kept):
        holding = {name: table for name, table in tables.items() if clip_id in table.rows}
        truths = {name: table.truth(clip_id) for name, table in holding.items()}
        counts = {name: len(table.rows[clip_id]) for name, table in holding.items()}
        _agree(clip_id, {name: tuple(first.scores.classes[label] for label in truth) for name, truth in truths.items()}, counts)
        count = next(iter(counts.values()))
        labels += next(iter(truths.values()))
        clip += [index] * count
        for name, table in tables.items():
            rows[name] += table.rows.get(clip_id, [-1] * count)
    probabilities = np.stack([table.probabilities(rows[name]) for name, table in tables.items()])
    return Aligned(names, probabilities, np.array(labels), np.array(clip), tuple(kept), first.scores.classes, first.scores.unit)


class _Table:
    """One member's scores by clip; labels and columns in the first member's order of classes, once matched."""

    def __init__(self, name: str, scores: Scores):
        self.name, self.scores = name, scores
        self.rows: dict[str, list[int]] = {clip_id: [] for clip_id in scores.clip_ids}
        if len(self.rows) < len(scores.clip_ids):
            raise DataError(f"{name}: a clip occurs twice, as in scores of several folds; the scores of one split are expected")
        for row, clip in enumerate(scores.clip.tolist()):
            self.rows[scores.clip_ids[clip]].append(row)

    def match(self, first: _Table) -> None:
        own, wanted = [[plain(name) for name in table.scores.classes] for table in (self, first)]
        if set(own) != set(wanted):
            only = sorted(set(own) - set(wanted))[:3] or sorted(set(wanted) - set(own))[:3]
            raise DataError(
                f"{self.name} has {len(own)} classes and {first.name} {len(wanted)}; the same are expected; not all have {', '.join(only)}"
            )
        if self.scores.unit != first.scores.unit:
            raise DataError(
                f"{self.name} has scores of {self.scores.unit} and {first.name} of {first.scores.unit}; they can be fused by clip"
            )
        self.columns = [own.index(name) for name in wanted]
        self.place = {column: place for place, column in enumerate(self.columns)}

    def truth(self, clip_id: str) -> list[int]:
        return [self.place[int(self.scores.labels[row])] for row in self.rows[clip_id]]

    def probabilities(self, rows: Sequence[int]) -> np.ndarray:
        """(len(rows), K), NaN for the rows -1."""
        p = self.scores.probabilities[:, self.columns].astype(np.float64)
        return np.vstack([p, np.full(p.shape[1], np.nan)])[list(rows)]


def _agree(clip_id: str, truths: Mapping[str, tuple[str, ...]], counts: Mapping[str, int]) -> None:
    (one, count), truth = next(iter(counts.items())), next(iter(truths.values()))
    for name in counts:
        if counts[name] != count:
            raise DataError(f"clip {clip_id!r} has {count} samples in {one} and {counts[name]} in {name}; they can be fused by clip")
        if truths[name] != truth:
            raise DataError(f"clip {clip_id!r} shows {truth[0]!r} according to {one} and {truths[name][0]!r} according to {name}")


def learn(rule: Rule, validation: Aligned | None = None) -> Fusion:
    """The rule, with what it has to learn learned from `validation`: clips that no member trained on, nor any of the test part.

    "weighted" maximises the likelihood of the true classes under the weighted mean; the likelihood is concave, so the weights
    found are the best there are. "stacked" minimises the log-loss, which is convex. Both lean towards equal weights as if
    `PRIOR` further clips spoke for those. Samples that a member has no answer to are left aside.
    Raises `DataError` where a rule needs validation and there is none.
    """
    if rule not in ("weighted", "stacked"):
        return Fusion(rule)
    whole = None if validation is None else ~np.isnan(validation.probabilities).any((0, 2))
    if whole is None or not whole.any():
        raise DataError(f"rule {rule!r} is learned from validation clips that every member answered; there are none")
    p, labels = validation.probabilities[:, whole], validation.labels[whole]
    if rule == "weighted":
        return Fusion(rule, tuple(_mixture_weights(p[:, np.arange(len(labels)), labels]).tolist()))
    weights, bias = _stacking(log_probabilities(p), labels)
    return Fusion(rule, tuple(weights.tolist()), tuple(bias.tolist()))


def validated(rule: Rule, validation: Aligned) -> float:
    """Accuracy of the rule on the validation part, by which one may be chosen; what it learns, it learns from the other clips.

    Every fifth clip in turn is answered by what was learned from the rest. Samples that a member has no answer to count too.
    """
    correct = np.zeros(len(validation), bool)
    for part in range(_PARTS):
        tested = validation.clip % _PARTS == part
        if tested.any():
            rest = validation.select(~tested) if (~tested).any() else validation
            p = learn(rule, rest)(validation.probabilities[:, tested])
            correct[tested] = p.argmax(1) == validation.labels[tested]
    return float(correct.mean())


def _mixture_weights(of_truth: np.ndarray) -> np.ndarray:
    """(n,) weights on the simplex from the members' probabilities (n, N) of the true class, by expectation maximisation under a
    Dirichlet prior whose `PRIOR` pseudo-clips are shared out evenly."""
    n, clips = of_truth.shape
    of_truth = np.maximum(of_truth, np.finfo(np.float32).tiny)
    weights = np.full(n, 1 / n)
    for _ in range(_STEPS):
        owed = weights[:, None] * of_truth
        new = ((owed / owed.sum(0)).sum(1) + PRIOR / n) / (clips + PRIOR)
        if np.abs(new - weights).max() < _STILL:
            break
        weights = new
    return new / new.sum()


def _stacking(logs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (n,) from 0 on and constants (K,) of the logits sum_m w_m log p_m + b, from log-probabilities (n, N, K).

    The classes share the members' coefficients: n + K numbers, where a regression without that has n K^2 to learn from a hundred
    clips. The penalty is 0 at the product rule (w = 1/n, b = 0).
    """
    from scipy.optimize import minimize

    n, clips, k = logs.shape
    truth = np.eye(k)[labels]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scaled, bias = parameters[:n], parameters[n:]
        logits = np.einsum("m,mnk->nk", scaled / n, logs) + bias
        logits = logits - logits.max(1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(1))
        error = np.exp(logits - log_sum[:, None]) - truth
        value = (log_sum - (logits * truth).sum(1)).sum() + PRIOR / 2 * (((scaled - 1) ** 2).sum() + (bias**2).sum())
        gradient = [np.einsum("nk,mnk->m", error, logs) / n + PRIOR * (scaled - 1), error.sum(0) + PRIOR * bias]
        return value / clips, np.concatenate(gradient) / clips

    start = np.concatenate([np.ones(n), np.zeros(k)])
    bounds = [(0, None)] * n + [(None, None)] * k
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-9})
    # All coefficients at 0 would be no answer; only a validation part of noise asks for that.
    scaled = found.x[:n] if found.x[:n].sum() > 1e-6 else np.full(n, 1e-3)
    return scaled / n, found.x[n:]
