"""How sure a measured accuracy is: Wilson's interval of one model, and McNemar's exact test between two on the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from statistics import NormalDist

import numpy as np


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), as fractions (low, high).

    `successes` of `n` independent trials; it may be a mean over seeds and need not be whole. Samples cut from the same clip
    are not independent: over windows the interval is too narrow, over clips it holds.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials; 0 <= successes <= n and n >= 1 are expected")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; a number between 0 and 1 is expected")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At 0 and n the ends are exactly 0 and 1; rounding would leave them a hair inside or outside.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return max(0.0, low), min(1.0, high)


def mcnemar(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> dict[str, float]:
    """Do two models differ on the same clips? McNemar's exact test (two-sided binomial over the clips where they disagree).

    `first`, `second`: (N,) whether each model was right, clip by clip. Returns `both`, `only_first`, `only_second`,
    `neither` (counts that sum to N) and `p`: the probability of at least such a difference if the models are equally good.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise ValueError(f"shapes {first.shape} and {second.shape}; two equally long, non-empty rows are expected")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(differ, k) for k in range(fewer + 1))
    return {
        "both": int((first & second).sum()),
        "only_first": only_first,
        "only_second": only_second,
        "neither": int((~first & ~second).sum()),
        # Whole numbers until the division: exact for any number of clips.
        "p": min(1.0, 2 * tail / 2**differ),
    }
