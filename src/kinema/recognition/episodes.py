"""From answers that follow one another to actions with a start and an end: smoothing in time, hysteresis, least duration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinema.errors import KinemaError


@dataclass(frozen=True)
class Rule:
    """When an action begins and ends. Times in seconds, shares of the smoothed probability in 0..1.

    Args:
        enter: an action begins when its share reaches this,
        least: and stays there for this long,
        leave: and ends when it falls below this one.
        smoothing: time constant of the exponential mean over the answers; 0 takes each as it is.
    """

    enter: float = 0.6
    leave: float = 0.4
    least: float = 0.5
    smoothing: float = 0.3

    def __post_init__(self):
        if not 0 < self.leave <= self.enter <= 1:
            raise KinemaError(f"leave is {self.leave}, enter {self.enter}; 0 < leave <= enter <= 1 is expected")
        for name in ("least", "smoothing"):
            if not 0 <= getattr(self, name) <= 600:
                raise KinemaError(f"{name} is {getattr(self, name)}; 0 to 600 seconds are expected")


@dataclass(frozen=True)
class Episode:
    """One action: class `index`, from `start` to `end` (None: it goes on), `confidence`: its mean share so far."""

    index: int
    start: float
    end: float | None
    confidence: float


class Episodes:
    """The actions of one person, one after the other; two never overlap.

    `shares`: (K,) float64, the smoothed probabilities. They sum to 1 at most: the rest is for nothing that is known.
    """

    def __init__(self, classes: int, rule: Rule):
        self.rule, self.shares = rule, np.zeros(classes)
        self.open: Episode | None = None
        self._time: float | None = None
        self._mean = _Mean()
        self._candidate, self._since, self._candidate_mean = -1, 0.0, _Mean()

    def update(self, time: float, probabilities: np.ndarray | None) -> tuple[Episode | None, Episode | None]:
        """Take the answer at a moment, (K,), or None where nothing is known; the episode that ended thereby and the one that began.

        An episode begins when its class first reached `enter`, which is told once it has stayed there for `least` seconds.
        """
        passed = 0.0 if self._time is None else max(time - self._time, 0.0)
        first, self._time = self._time is None, time
        target = np.zeros_like(self.shares) if probabilities is None else probabilities
        weight = 1.0 if first or not self.rule.smoothing else 1 - math.exp(-passed / self.rule.smoothing)
        self.shares = self.shares + weight * (target - self.shares)
        closed = self._follow(time, passed)
        self._look_for_next(time, passed)
        opened = None
        if self._candidate >= 0 and time - self._since >= self.rule.least:
            if self.open is not None:
                closed = self.end(self._since)
            self._mean = self._candidate_mean
            opened = self.open = Episode(self._candidate, self._since, None, self._mean.value)
            self._candidate = -1
        return closed, opened

    def end(self, time: float) -> Episode | None:
        """End what goes on, at `time`."""
        if self.open is None:
            return None
        episode = Episode(self.open.index, self.open.start, max(time, self.open.start), self._mean.value)
        self.open = None
        return episode

    def _follow(self, time: float, passed: float) -> Episode | None:
        if self.open is None:
            return None
        share = float(self.shares[self.open.index])
        if share < self.rule.leave:
            return self.end(time)
        self._mean.add(share, passed)
        self.open = Episode(self.open.index, self.open.start, None, self._mean.value)
        return None

    def _look_for_next(self, time: float, passed: float) -> None:
        best = int(self.shares.argmax())
        share = float(self.shares[best])
        if share < self.rule.enter or (self.open is not None and best == self.open.index):
            self._candidate = -1
        elif best != self._candidate:
            self._candidate, self._since, self._candidate_mean = best, time, _Mean()
            self._candidate_mean.add(share, 0.0)
        else:
            self._candidate_mean.add(share, passed)


class _Mean:
    """Over time."""

    def __init__(self):
        self._sum, self._seconds, self._first = 0.0, 0.0, 0.0

    def add(self, value: float, seconds: float) -> None:
        if not self._seconds:
            self._first = value
        self._sum += value * seconds
        self._seconds += seconds

    @property
    def value(self) -> float:
        return self._sum / self._seconds if self._seconds else self._first
