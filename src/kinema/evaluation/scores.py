"""What a model answered, kept as it was: class probabilities with the truth, sample by sample, and whose sample each is."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema._write import write_whole
from kinema.errors import DataError
from kinema.evaluation.metrics import clip_scores, evaluate_scores

if TYPE_CHECKING:
    from kinema.transforms.batches import Samples


@dataclass(frozen=True, eq=False)
class Scores:
    """Probabilities of one part of a data set.

    `probabilities`: (N, K). `labels`: (N,) indices into `classes`, K names. `clip`: (N,) index into `clip_ids`, C ids: from
    which clip each sample was taken. `unit`: what a sample is ("clips", "windows", "samples").
    Raises `DataError` where these do not fit together.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    clip: np.ndarray
    clip_ids: tuple[str, ...]
    classes: tuple[str, ...]
    unit: str = "clips"

    def __post_init__(self):
        n, k = self.probabilities.shape if self.probabilities.ndim == 2 else (0, 0)
        if not n or k != len(self.classes) or self.labels.shape != (n,) or self.clip.shape != (n,):
            raise DataError(
                f"probabilities {self.probabilities.shape}, labels {self.labels.shape} and clips {self.clip.shape} "
                f"of {len(self.classes)} classes do not fit together"
            )
        if self.labels.dtype.kind not in "iu" or not 0 <= self.labels.min() <= self.labels.max() < k:
            raise DataError(f"labels are not whole numbers of 0..{k - 1}")
        if self.clip.dtype.kind not in "iu" or set(self.clip.tolist()) != set(range(len(self.clip_ids))):
            raise DataError(f"clip indices do not name each of the {len(self.clip_ids)} clips")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> np.ndarray:
        """(N,) whether the most probable class is the true one."""
        return self.probabilities.argmax(1) == self.labels

    @property
    def present(self) -> tuple[str, ...]:
        """The classes that are the true one of some sample."""
        return tuple(self.classes[label] for label in np.unique(self.labels))

    def metrics(self) -> dict:
        return evaluate_scores(self.probabilities, self.labels, self.classes)

    @classmethod
    def from_samples(
        cls,
        probabilities: np.ndarray,
        samples: Samples,
        classes: Sequence[str],
        labels: np.ndarray | None = None,
        by_phase: bool = False,
    ) -> Scores:
        """Scores of what a model answered to `samples`, one row each. `labels`: (N,), where they are not those of the samples.

        The phases of one window are looks at the same frames: their probabilities are averaged, so that a row is a window
        ("windows"), or a clip where the preparation takes clips as a whole ("clips"). With `by_phase` they stay apart ("samples").
        """
        labels = np.asarray(samples.labels if labels is None else labels)
        places = np.stack([np.asarray(samples.clip_of), np.asarray(samples.starts)], 1)
        if by_phase:
            clips, clip = np.unique(places[:, 0], return_inverse=True)
            return cls(probabilities, labels, clip, tuple(samples.clip_ids[i] for i in clips), tuple(classes), "samples")
        _, first, window = np.unique(places, axis=0, return_index=True, return_inverse=True)
        window = window.reshape(-1)
        clips, clip = np.unique(places[first, 0], return_inverse=True)
        return cls(
            clip_scores(probabilities, window),
            labels[first],
            clip,
            tuple(samples.clip_ids[i] for i in clips),
            tuple(classes),
            samples.unit,
        )

    def by_clip(self) -> Scores:
        """One row a clip: the mean of its samples' probabilities."""
        labels = np.zeros(len(self.clip_ids), np.int64)
        labels[self.clip] = self.labels
        order = np.arange(len(labels))
        return replace(self, probabilities=clip_scores(self.probabilities, self.clip), labels=labels, clip=order, unit="clips")

    def select(self, kept: np.ndarray) -> Scores:
        """The samples where `kept` (N,) is true; clips that keep none are left out."""
        clips, clip = np.unique(self.clip[kept], return_inverse=True)
        ids = tuple(self.clip_ids[i] for i in clips)
        return replace(self, probabilities=self.probabilities[kept], labels=self.labels[kept], clip=clip, clip_ids=ids)

    def without(self, clip_ids: Collection[str]) -> Scores:
        """The samples of all clips but these."""
        unwanted = set(clip_ids)
        left_out = np.array([clip_id in unwanted for clip_id in self.clip_ids])
        return self.select(~left_out[self.clip])

    def restrict(self, classes: Collection[str]) -> Scores:
        """The samples of these classes, with the probabilities of the other classes taken away: what the model would have
        answered had it been told that only these are possible. Order of the classes as it was."""
        kept = np.array([i for i, name in enumerate(self.classes) if name in classes])
        if len(kept) != len(set(classes)):
            raise DataError(f"the scores have no class {sorted(set(classes) - set(self.classes))}; they have {', '.join(self.classes)}")
        part = self.select(np.isin(self.labels, kept))
        # A floor far below any probability that matters: rows where all that is left underflowed stay probabilities.
        left = part.probabilities[:, kept] + 1e-30
        index = np.full(len(self.classes), -1)
        index[kept] = np.arange(len(kept))
        return replace(
            part,
            probabilities=left / left.sum(1, keepdims=True),
            labels=index[part.labels],
            classes=tuple(self.classes[i] for i in kept),
        )

    def save(self, path: str | Path, **more: np.ndarray) -> Path:
        """Write an `.npz` of the fields (and of further arrays), whole or not at all."""
        data = io.BytesIO()
        fields = {"probabilities": self.probabilities, "labels": self.labels, "clip": self.clip, "unit": np.array(self.unit)}
        np.savez_compressed(data, **fields, clip_ids=np.array(self.clip_ids), classes=np.array(self.classes), **more)
        return write_whole(path, data.getvalue())


def load_scores(path: str | Path) -> Scores:
    """Read what `Scores.save` wrote; `DataError` for a file of another form."""
    path = Path(path)
    try:
        with np.load(path) as file:
            data = {name: file[name] for name in ("probabilities", "labels", "clip", "clip_ids", "classes", "unit")}
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path) from error
    except (KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"holds no scores: {error}", path) from error
    try:
        return Scores(
            data["probabilities"],
            data["labels"],
            data["clip"],
            tuple(data["clip_ids"].tolist()),
            tuple(data["classes"].tolist()),
            str(data["unit"]),
        )
    except DataError as error:
        raise DataError(error.reason, path) from error


def pool(parts: Collection[Scores]) -> Scores:
    """The samples of several parts (folds) in one; `DataError` where their classes or units differ.

    A clip that is in two parts stays two clips, for it was answered by two models.
    """
    first = next(iter(parts))
    for part in parts:
        if part.classes != first.classes or part.unit != first.unit:
            raise DataError(f"parts of {part.unit} and {first.unit} with classes {part.classes} and {first.classes} cannot be pooled")
    starts = np.cumsum([0, *(len(part.clip_ids) for part in parts)])
    return replace(
        first,
        probabilities=np.concatenate([part.probabilities for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        clip=np.concatenate([part.clip + start for part, start in zip(parts, starts[:-1], strict=True)]),
        clip_ids=tuple(clip_id for part in parts for clip_id in part.clip_ids),
    )
