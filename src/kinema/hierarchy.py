"""Superclasses: the classes of a data set put together, level by level, into fewer and fewer groups of about the same size.

Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 3.3. Levels need not nest: each is a division
of all classes by itself. How divisions are found: `kinema.evaluation.superclasses`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinema._write import write_whole
from kinema.errors import DataError

_NAMED = 2  # members whose names stand for a superclass
_MOST_CLASSES, _MOST_LEVELS, _LARGEST_FILE = 100_000, 64, 64 << 20


@dataclass(frozen=True)
class Hierarchy:
    """Superclasses of K classes, in levels of rising number of superclasses.

    Args:
        classes: K class names.
        levels: for each level the superclass of each class, numbers from 0 on.
        costs: for each level how often classes were confused that it puts apart; None where nobody counted.
        source: what the divisions were made of.

    Raises `DataError` for levels that do not number all classes, or superclasses without a member.
    """

    classes: tuple[str, ...]
    levels: tuple[tuple[int, ...], ...]
    costs: tuple[float | None, ...] = ()
    source: str = ""

    def __post_init__(self):
        object.__setattr__(self, "costs", self.costs or (None,) * len(self.levels))
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise DataError("a hierarchy's classes are none, or one occurs twice")
        if not self.levels or len(self.costs) != len(self.levels):
            raise DataError(
                f"a hierarchy has {len(self.levels)} levels and {len(self.costs)} costs; at least one, and as many, are expected"
            )
        for number, level in enumerate(self.levels, 1):
            if len(level) != len(self.classes) or set(level) != set(range(max(level) + 1)):
                raise DataError(
                    f"level {number}: each of the {len(self.classes)} classes in one superclass is expected, numbered from 0 on"
                )

    @property
    def counts(self) -> tuple[int, ...]:
        """Superclasses of each level."""
        return tuple(max(level) + 1 for level in self.levels)

    def members(self, level: int) -> tuple[tuple[str, ...], ...]:
        """Class names of each superclass of a level, in the order of the classes."""
        groups: list[list[str]] = [[] for _ in range(self.counts[level])]
        for name, group in zip(self.classes, self.levels[level], strict=True):
            groups[group].append(name)
        return tuple(map(tuple, groups))

    def names(self, level: int) -> tuple[str, ...]:
        """What the superclasses of a level are called: by their first members, and how many more they have."""
        called = []
        for names in self.members(level):
            more = len(names) - _NAMED
            called.append(" / ".join(names) if more <= 0 else f"{' / '.join(names[:_NAMED])} and {more} more")
        return tuple(called)

    def matrix(self, level: int) -> np.ndarray:
        """(K, M) of 0 and 1: which class belongs to which of a level's M superclasses."""
        return np.eye(self.counts[level])[list(self.levels[level])]

    def probabilities(self, p: np.ndarray, level: int) -> np.ndarray:
        """(..., M) probabilities of a level's superclasses: sums of the (..., K) probabilities of their members."""
        return np.asarray(p) @ self.matrix(level)

    def ordered(self, classes: Sequence[str]) -> Hierarchy:
        """The same for class names in another order. Raises `DataError` where the names differ."""
        ours, theirs = set(self.classes), set(classes)
        if ours != theirs:
            lacking, strange = sorted(theirs - ours), sorted(ours - theirs)
            parts = [f"it lacks {lacking[0]!r}" + (f" and {len(lacking) - 1} more" if len(lacking) > 1 else "")] if lacking else []
            parts += [f"it has {strange[0]!r}" + (f" and {len(strange) - 1} more" if len(strange) > 1 else "")] if strange else []
            raise DataError(f"the hierarchy ({self.source or 'of unknown source'}) is of other classes than the data: {'; '.join(parts)}")
        place = {name: i for i, name in enumerate(self.classes)}
        levels = tuple(_renumbered([level[place[name]] for name in classes]) for level in self.levels)
        return replace(self, classes=tuple(classes), levels=levels)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values: superclasses by the names of their members."""
        levels = [
            {"count": count, **({} if cost is None else {"cost": cost}), "superclasses": [list(names) for names in self.members(i)]}
            for i, (count, cost) in enumerate(zip(self.counts, self.costs, strict=True))
        ]
        return {"source": self.source, "classes": list(self.classes), "levels": levels}

    @classmethod
    def of(cls, value: Any) -> Hierarchy:
        """What `to_dict` gave, every value checked; `DataError` for anything else."""
        if not isinstance(value, Mapping) or not _is_names(value.get("classes")) or not isinstance(value.get("levels"), list):
            raise DataError('no hierarchy: "classes", a list of names, and "levels", a list, are expected')
        classes, source = value["classes"], value.get("source", "")
        if len(classes) > _MOST_CLASSES or not 1 <= len(value["levels"]) <= _MOST_LEVELS or not isinstance(source, str):
            raise DataError(
                f"no hierarchy: at most {_MOST_CLASSES} classes and 1 to {_MOST_LEVELS} levels are expected, and a source in words"
            )
        levels, costs = [], []
        for number, level in enumerate(value["levels"], 1):
            levels.append(_level_of(level, number, classes))
            cost = level.get("cost")
            if cost is not None and (isinstance(cost, bool) or not isinstance(cost, (int, float)) or not 0 <= cost < float("inf")):
                raise DataError(f"level {number}: cost is {cost!r}; a number from 0 on is expected")
            costs.append(cost)
        return cls(tuple(classes), tuple(levels), tuple(costs), source)

    def text(self) -> str:
        """A few lines for people: the superclasses of each level with all their members."""
        lines = [f"{len(self.classes)} classes, from {self.source}" if self.source else f"{len(self.classes)} classes"]
        for i, (count, cost) in enumerate(zip(self.counts, self.costs, strict=True)):
            lines.append(f"level {i + 1}: {count} superclasses" + ("" if cost is None else f", confusions between them: {cost:g}"))
            lines += [f"  {', '.join(names)}" for names in self.members(i)]
        return "\n".join(lines)


def save_hierarchy(hierarchy: Hierarchy, path: str | Path) -> Path:
    """Write JSON, whole or not at all."""
    return write_whole(path, (json.dumps(hierarchy.to_dict(), indent=1, ensure_ascii=False) + "\n").encode())


def load_hierarchy(path: str | Path) -> Hierarchy:
    """Read what `save_hierarchy` wrote; `DataError` for anything else."""
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise DataError(f"larger than {_LARGEST_FILE >> 20} MiB; no hierarchy", path)
        return Hierarchy.of(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path) from error
    except ValueError as error:
        raise DataError(f"is no JSON: {error}", path) from error
    except DataError as error:
        raise error if error.path else DataError(error.reason, path) from error


def _level_of(level: Any, number: int, classes: Sequence[str]) -> tuple[int, ...]:
    if not isinstance(level, Mapping) or not isinstance(level.get("superclasses"), list):
        raise DataError(f'level {number}: "superclasses", lists of class names, are expected')
    group_of: dict[str, int] = {}
    known = set(classes)
    for group, names in enumerate(level["superclasses"]):
        if not _is_names(names) or not names:
            raise DataError(f"level {number}, superclass {group + 1}: a list of class names is expected")
        for name in names:
            if name not in known:
                raise DataError(f"level {number}, superclass {group + 1}: {name!r} is none of the hierarchy's classes")
            if name in group_of:
                raise DataError(f"level {number}: {name!r} belongs to two superclasses")
            group_of[name] = group
    missing = [name for name in classes if name not in group_of]
    if missing:
        raise DataError(f"level {number}: {missing[0]!r} belongs to no superclass")
    return tuple(group_of[name] for name in classes)


def _renumbered(groups: Sequence[int]) -> tuple[int, ...]:
    """The same division, its groups numbered in the order of their first members."""
    number: dict[int, int] = {}
    return tuple(number.setdefault(group, len(number)) for group in groups)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
