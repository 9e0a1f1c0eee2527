"""What a recognizer answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kinema.clip import PoseSequence, VideoSource
from kinema.hierarchy import Hierarchy

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class WindowPrediction:
    """The answer for one window of a longer recording: from `start` to `end` (seconds from its first frame), `probabilities` (K,).

    `novel`: a calibrated bundle knows nothing like it; such a window does not count among the others.
    """

    start: float
    end: float
    probabilities: np.ndarray
    novel: bool = False


@dataclass(frozen=True, eq=False)
class Prediction:
    """The probabilities of a bundle's K classes for one recording, or the plain statement that nothing can be said.

    Args:
        clip_id: which recording.
        classes: K class names.
        probabilities: (K,) float64, summing to 1; the mean over windows and views. All 0 where nothing is known.
        truth: index of the true class, where it is known.
        windows: the answers that were averaged, where there are several.
        reason: why nothing is known; empty where `probabilities` are an answer.
        source: the file that it was read from.
        pose: the skeletons as they were read, for drawing.
        video: the video that they were seen in, where it is at hand, for drawing on it.
        notes: what there is to know about the answer, such as which of several models could not take part in it.
        seconds: how long a video lasts.
        hierarchy: superclasses of the classes, where the bundle has them.
    """

    clip_id: str
    classes: tuple[str, ...]
    probabilities: np.ndarray
    truth: int | None = None
    windows: tuple[WindowPrediction, ...] = ()
    reason: str = ""
    source: Path | None = None
    pose: PoseSequence | None = field(default=None, repr=False)
    video: VideoSource | None = field(default=None, repr=False)
    notes: str = ""
    seconds: float | None = None
    hierarchy: Hierarchy | None = field(default=None, repr=False)

    @classmethod
    def nothing(cls, clip_id: str, classes: tuple[str, ...], reason: str) -> Prediction:
        """No answer, and why."""
        return cls(clip_id, classes, np.zeros(len(classes)), reason=reason)

    @classmethod
    def over(cls, clip_id: str, classes: tuple[str, ...], windows: Sequence[WindowPrediction], **about: Any) -> Prediction:
        """The mean over the windows that are not novel; nothing where all are. `about`: further fields."""
        known = [window.probabilities for window in windows if not window.novel]
        shown = tuple(windows) if len(windows) > 1 else ()
        if known:
            return cls(clip_id, classes, np.mean(known, 0), windows=shown, **about)
        reason = f"it is like none of the {len(classes)} actions that are known"
        return cls(clip_id, classes, np.zeros(len(classes)), windows=shown, reason=reason, **about)

    @property
    def known(self) -> bool:
        """Whether there is an answer."""
        return not self.reason

    @property
    def label(self) -> str | None:
        """The most probable class; None where nothing is known."""
        return self.classes[int(self.probabilities.argmax())] if self.known else None

    @property
    def probability(self) -> float:
        """That of `label`; 0 where nothing is known."""
        return float(self.probabilities.max())

    @property
    def true_label(self) -> str | None:
        return None if self.truth is None else self.classes[self.truth]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most probable classes with their probabilities, best first; empty where nothing is known."""
        return _top(self.classes, self.probabilities, k) if self.known else []

    def superclasses(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """Level by level, from few superclasses to many, the `k` most probable ones: what they are called, and the sums of their classes'
        probabilities, so that levels agree with one another. Empty where there are none, or nothing is known."""
        if self.hierarchy is None or not self.known:
            return []
        levels = range(len(self.hierarchy.levels))
        return [_top(self.hierarchy.names(i), self.hierarchy.probabilities(self.probabilities, i), k) for i in levels]

    def surest(self, least: float = 0.5) -> tuple[str, float] | None:
        """The narrowest answer that is at least so probable: the class, else the superclass of the level with the most of them; None where
        not even the broadest one is."""
        answers = [*self.top(1), *(level[0] for level in reversed(self.superclasses(1)))]
        return next((answer for answer in answers if answer[1] >= least), None)

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """The answer as JSON-able values, with the `k` most probable labels."""
        return {
            "clip": self.clip_id,
            "source": None if self.source is None else str(self.source),
            "label": self.label,
            "probability": self.probability,
            "truth": self.true_label,
            "reason": self.reason or None,
            "notes": self.notes or None,
            **({} if self.seconds is None else {"seconds": self.seconds}),
            "top": _entries(self.top(k)),
            **({"superclasses": self._superclass_entries(k)} if self.superclasses(1) else {}),
            "windows": [
                {
                    "start": window.start,
                    "end": window.end,
                    "top": _entries(_top(self.classes, window.probabilities, k)),
                    **({"novel": True} if window.novel else {}),
                }
                for window in self.windows
            ],
        }

    def _superclass_entries(self, k: int) -> list[dict[str, Any]]:
        assert self.hierarchy is not None
        levels = []
        for i, top in enumerate(self.superclasses(k)):
            members = dict(zip(self.hierarchy.names(i), self.hierarchy.members(i), strict=True))
            best = [{**entry, "classes": list(members[entry["label"]])} for entry in _entries(top)]
            levels.append({"of": self.hierarchy.counts[i], "top": best})
        return levels

    def to_pandas(self) -> DataFrame:
        """One row a window, or one for the whole: clip, start, end, label and a column for each class. Needs pandas."""
        import pandas

        windows = self.windows or (WindowPrediction(np.nan, np.nan, self.probabilities),)
        return pandas.DataFrame(
            {
                "clip": self.clip_id,
                "start": [window.start for window in windows],
                "end": [window.end for window in windows],
                "label": [
                    self.classes[int(window.probabilities.argmax())] if self.known and not window.novel else None for window in windows
                ],
                **{name: [float(window.probabilities[k]) for window in windows] for k, name in enumerate(self.classes)},
            }
        )

    def __repr__(self) -> str:
        if not self.known:
            return f"<Prediction {self.clip_id}: nothing known, {self.reason}>"
        best = ", ".join(f"{label} {share:.1%}" for label, share in self.top(3))
        windows = f"; {len(self.windows)} windows" if self.windows else ""
        truth = "" if self.truth is None else f"; true: {self.true_label}"
        notes = f"; {self.notes}" if self.notes else ""
        return f"<Prediction {self.clip_id}: {best}{windows}{truth}{notes}>"


def _top(classes: tuple[str, ...], probabilities: np.ndarray, k: int) -> list[tuple[str, float]]:
    order = np.argsort(-probabilities, kind="stable")[: max(k, 0)]
    return [(classes[index], float(probabilities[index])) for index in order]


def _entries(top: list[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"label": label, "probability": probability} for label, probability in top]
