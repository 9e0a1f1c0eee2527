"""Confusion matrices from wherever they are: a run's folder, or a file of one."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kinema.errors import DataError
from kinema.evaluation.scores import Scores, load_scores
from kinema.evaluation.superclasses import edge_costs
from kinema.hierarchy import Hierarchy

Counted = Literal["counts", "probabilities"]
VALIDATION = "val_scores.npz"
_LARGEST_FILE = 64 << 20


@dataclass(frozen=True, eq=False)
class Confusion:
    """(K, K) `matrix`, rows are the truth, of K `classes`; `source`: what was counted; `clip_ids`: of the clips, where they are known."""

    matrix: np.ndarray
    classes: tuple[str, ...]
    source: str
    clip_ids: tuple[str, ...] = ()


def confusion_of(scores: Scores, of: Counted = "counts", source: str = "scores") -> Confusion:
    """Confusions of clips: how often each was taken for each class, or the probabilities that it got ("probabilities").

    Where not one clip was taken for another class, counts tell nothing, and probabilities are taken too; `source` says so.
    """
    clips = scores.by_clip()
    k, told = len(clips.classes), f"{len(clips)} {source}"
    if of == "counts":
        taken = np.eye(k, dtype=np.int64)[clips.probabilities.argmax(1)]
        if (clips.probabilities.argmax(1) != clips.labels).any():
            return Confusion(_sums(taken, clips.labels, k), clips.classes, f"confusions of {told}", clips.clip_ids)
        told += ", none of which was taken for another class"
    return Confusion(_sums(clips.probabilities, clips.labels, k), clips.classes, f"probabilities of {told}", clips.clip_ids)


def _sums(rows: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(K, K): sums of the (N, K) rows of each class."""
    return np.stack([rows[labels == label].sum(0) for label in range(classes)])


def read_confusion(path: str | Path, of: Counted = "counts") -> Confusion:
    """The confusions of a run's validation clips (`path`: its folder), or a matrix from a file.

    A `.json` file: an object with "confusion", rows of the matrix, and "classes", their names; or what `kinema evaluate --part val --json`
    printed. A `.csv` file: class names in the first row and the first column, as `kinema evaluate --figures` writes it.

    Raises `DataError` for a file that cannot be read or holds something else, and for confusions of a test part: superclasses that were
    made of these would make the test part a part of training.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if not (path / VALIDATION).exists():
            raise DataError(
                f"no {VALIDATION}: a run with fit.selection: validation or refit leaves the answers to its validation clips", path
            )
        return confusion_of(load_scores(path / VALIDATION), of, f"validation clips ({path.resolve().name})")
    if of != "counts":
        raise DataError("a file of a matrix is taken as it is; probabilities are those of a run's folder", path)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise DataError(f"larger than {_LARGEST_FILE >> 20} MiB; no confusion matrix", path)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path) from error
    except UnicodeDecodeError:
        raise DataError("is no text; a run's folder, a .json or a .csv file is expected", path) from None
    rows, classes = _of_json(text, path) if path.suffix.lower() == ".json" else _of_csv(text, path)
    if any(len(row) != len(rows) for row in rows) or len(rows) != len(classes):
        sizes = ", ".join(sorted({str(len(row)) for row in rows}))
        raise DataError(
            f"{len(classes)} class names, {len(rows)} rows of {sizes or 'no'} numbers; a square matrix of them is expected", path
        )
    matrix = np.array(rows).reshape(len(rows), len(rows))
    try:
        edge_costs(matrix, len(classes))
    except DataError as error:
        raise DataError(error.reason, path) from None
    return Confusion(matrix, tuple(classes), f"confusion matrix {path.name}")


def _of_json(text: str, path: Path) -> tuple[list[list[float]], list[str]]:
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise DataError(f"is no JSON: {error}", path) from error
    matrix = value.get("confusion") if isinstance(value, dict) else None
    if not isinstance(matrix, list) or not all(isinstance(row, list) and all(map(_is_number, row)) for row in matrix):
        raise DataError('no confusion matrix: "confusion", a list of rows of numbers, is expected', path)
    if value.get("part") == "test" or "test_ids" in value:
        raise DataError("these are confusions of the test part; superclasses are made of validation clips (--part val)", path)
    named = value.get("classes") or [entry.get("class") for entry in value.get("per_class") or () if isinstance(entry, dict)]
    if not named or not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise DataError('no class names: "classes", a list of them, is expected', path)
    return matrix, named


def _of_csv(text: str, path: Path) -> tuple[list[list[float]], list[str]]:
    lines = [line for line in csv.reader(text.splitlines()) if line]
    if len(lines) < 2:
        raise DataError("no confusion matrix: class names in the first row and a row for each class are expected", path)
    classes, rows = [name.strip() for name in lines[0][1:]], []
    for number, (name, *cells) in enumerate(lines[1:], 2):
        if number - 2 < len(classes) and name.strip() != classes[number - 2]:
            raise DataError(f"row {number} is of {name.strip()!r}; {classes[number - 2]!r}, as in the first row, is expected", path)
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            raise DataError(f"row {number}: {error}; numbers are expected behind the class name", path) from None
    return rows, classes


def superclass_scores(hierarchy: Hierarchy, scores: Scores) -> list[float]:
    """Accuracy of each level over the rows of `scores`: how often the most probable superclass is that of the true class."""
    hierarchy = hierarchy.ordered(scores.classes)
    found = []
    for i, level in enumerate(hierarchy.levels):
        best = hierarchy.probabilities(scores.probabilities, i).argmax(1)
        found.append(float((best == np.array(level)[scores.labels]).mean()))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
