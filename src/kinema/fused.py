"""Several bundles that answer as one: the rule that makes one answer of their probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kinema.errors import DataError, unknown

Rule = Literal["average", "product", "maximum", "weighted", "stacked"]
RULES: tuple[Rule, ...] = get_args(Rule)
# Weights and stacking are learned from clips that no member trained on.
LEARNED: tuple[Rule, ...] = ("weighted", "stacked")
# Below this a float32 softmax says no more than "not at all"; a single member must not veto a class by an underflow.
_FLOOR = 1e-7


@dataclass(frozen=True)
class Fusion:
    """How the probabilities of n members become one answer.

    Args:
        rule: "average": mean of the probabilities. "product": their geometric mean. "maximum": the largest of each class.
            "weighted": mean with `weights`. "stacked": multinomial logistic regression on the members' log-probabilities with
            one coefficient a member (`weights`) and one constant a class (`bias`).
        weights: (n,), of the learned rules only; those of "weighted" sum to 1.
        bias: (K,), of "stacked" only.

    All but the constants of "stacked" are renormalised to sum to 1. Raises `DataError` for numbers that are no weights.
    """

    rule: Rule = "average"
    weights: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()

    def __post_init__(self):
        if self.rule not in RULES:
            raise DataError(unknown("rule", str(self.rule), RULES))
        numbers = np.array([*self.weights, *self.bias], float)
        if bool(self.weights) != (self.rule in LEARNED) or bool(self.bias) != (self.rule == "stacked") or not np.isfinite(numbers).all():
            raise DataError(f"rule {self.rule!r} with weights {self.weights} and {len(self.bias)} constants is not possible")
        weights = np.array(self.weights)
        if self.weights and (weights.min() < 0 or not weights.sum() > 0 or (self.rule == "weighted" and abs(weights.sum() - 1) > 1e-6)):
            raise DataError(f"the weights are {self.weights}; numbers from 0 on, of which those of 'weighted' sum to 1, are expected")

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """(N, K) from (n, N, K). A member without an answer has a row of NaN there: the others answer, and share its weight.

        Raises `DataError` where no member answers, or the members are not as many as the weights.
        """
        p = np.asarray(probabilities, np.float64)
        if p.ndim != 3 or len(self.weights) not in (0, len(p)) or len(self.bias) not in (0, p.shape[2]):
            raise DataError(f"probabilities have shape {p.shape}; members x samples x classes, as the rule has them, is expected")
        there = ~np.isnan(p).any(2)
        if not there.any(0).all():
            raise DataError(f"sample {int(np.argmin(there.any(0)))}: no member has an answer")
        p = np.where(there[..., None], p, 0)
        if self.rule == "maximum":
            return _normalised(p.max(0))
        weights = np.array(self.weights) if self.weights else np.full(len(p), 1 / len(p))
        share = weights[:, None] * there
        # Where those that answer weigh nothing, they count alike.
        share = np.where(share.sum(0) > 0, share, there)
        share = share / share.sum(0)
        if self.rule in ("average", "weighted"):
            return _normalised(np.einsum("mn,mnk->nk", share, p))
        logits = np.einsum("mn,mnk->nk", share, log_probabilities(p))
        if self.rule == "stacked":
            logits = logits * weights.sum() + np.array(self.bias)
        return _normalised(np.exp(logits - logits.max(1, keepdims=True)))


def log_probabilities(p: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(p, _FLOOR))


def _normalised(p: np.ndarray) -> np.ndarray:
    return p / p.sum(1, keepdims=True)
