"""The ways to divide a data set that papers use, built from what the clips say of themselves or from official lists."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

import numpy as np

from kinema.clip import Clip
from kinema.datasets.base import Protocol, Split
from kinema.errors import ProtocolError, unknown

Attribute = Literal["subject", "view", "setup", "group"]


def by_values(name: str, description: str, attribute: Attribute, train: Collection[str]) -> Protocol:
    """One split: clips whose `attribute` is among `train` train, all others test. Raises `ProtocolError` where a clip does not say."""
    return Protocol(name, description, partial(_by_values, name, attribute, frozenset(train)))


def leave_one_out(
    name: str, description: str, attribute: Attribute = "subject", classes: Mapping[str, tuple[int, ...]] | None = None
) -> Protocol:
    """One split for each value of `attribute`, named by it: that value tests, all others train.

    With `classes` (group of classes -> labels) one split for each group and value, named "group/value", which holds the
    clips of those classes alone.
    """
    return Protocol(name, description, partial(_leave_one_out, attribute, dict(classes or {})))


def listed(
    name: str,
    description: str,
    splits: Mapping[str, tuple[Collection[str], Collection[str]]],
    val: Mapping[str, Collection[str]] | None = None,
) -> Protocol:
    """Official lists: split name -> (ids that train, ids that test); `val`: split name -> ids that validate, where there are any.

    Listed clips that are not at hand are left out.
    """
    lists = {split: (tuple(a), tuple(b), tuple((val or {}).get(split, ()))) for split, (a, b) in splits.items()}
    return Protocol(name, description, partial(_listed, name, lists))


def regardless(name: str, description: str, of: Protocol) -> Protocol:
    """The splits of protocol `of` with clips exchanged at random within each class, whatever recording they are cut from.

    As many of each class train and test. It shows what it is worth to have seen the recording (`leaking`).
    """
    return Protocol(name, description, partial(_regardless, of))


def leaking(split: Split, clips: Sequence[Clip]) -> tuple[str, ...]:
    """Test clips that are cut from the same recording (`group`) as a training or validation clip, in the split's order."""
    group = {clip.id: clip.group for clip in clips}
    seen = {group.get(clip_id) for clip_id in (*split.train, *split.val)} - {None}
    return tuple(clip_id for clip_id in split.test if group.get(clip_id) in seen)


def leak_note(test: int, of: int) -> str:
    """The words that a result on such a split carries; `test`: clips of `leaking`, `of`: all test clips."""
    return f"leak: {test} of {of} test clips are cut from recordings that train"


def cut_validation(
    split: Split, clips: Sequence[Clip], by: Attribute | Literal["clip"] = "subject", share: float = 0.25, seed: int = 0
) -> Split:
    """The split with a validation part cut from its training part, never from the test part.

    Whole subjects (or views, setups, groups) move, drawn at random with `seed` until about `share` of the training clips
    validate; at least one moves and one stays, and every class keeps training clips. `by="clip"` draws single clips, class by
    class, for data that names no subjects. `clips`: those of the data set. A split that has a validation part keeps it.

    Raises `ProtocolError` where that cannot be done.
    """
    if split.val:
        return split
    if not 0 < share < 1:
        raise ProtocolError(f"the validation share is {share}; a fraction between 0 and 1 is expected")
    ids = set(split.train)
    train = [clip for clip in clips if clip.id in ids]
    rng = np.random.default_rng(seed)
    val = _draw_clips(train, share, rng) if by == "clip" else _draw_values(split, train, by, share, rng)
    return replace(
        split,
        train=tuple(clip_id for clip_id in split.train if clip_id not in val),
        val=tuple(clip_id for clip_id in split.train if clip_id in val),
    )


def validation_keys(by: str, names: Sequence[str]) -> dict[str, Attribute | Literal["clip"]]:
    """What the validation part of each of the data sets `names` is cut by: one key for all of them, or one each, joined by "+".

    Raises `ProtocolError` for another number of keys than of data sets, and for a key that clips do not have.
    """
    known = (*get_args(Attribute), "clip")
    keys = by.split("+")
    if len(keys) not in (1, len(names)):
        raise ProtocolError(f"validation is cut by {by!r}: {len(keys)} keys for {len(names)} data sets; one for all or one each")
    for key in keys:
        if key not in known:
            raise ProtocolError(f"validation: {unknown('key', key, known)}")
    return dict(zip(names, keys * len(names) if len(keys) == 1 else keys, strict=True))


def natural(value: str) -> list[tuple[int, int | str]]:
    """Sorting key that puts "10" after "9" and "person2" before "person10"."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", value) if part]


def values_of(clips: Sequence[Clip], attribute: Attribute) -> list[str]:
    """The values that the clips have for an attribute, in natural order; `ProtocolError` where a clip has none."""
    silent = [clip.id for clip in clips if getattr(clip, attribute) is None]
    if silent:
        told = [name for name in get_args(Attribute) if all(getattr(clip, name) is not None for clip in clips)]
        hint = f"; all say their {' and '.join(told)}" if told else ""
        raise ProtocolError(f"{len(silent)} of {len(clips)} clips do not say their {attribute}, such as {silent[0]!r}{hint}")
    return sorted({getattr(clip, attribute) for clip in clips}, key=natural)


def _by_values(name: str, attribute: Attribute, train: frozenset[str], clips: Sequence[Clip]) -> list[Split]:
    values_of(clips, attribute)
    sides: dict[bool, list[str]] = {True: [], False: []}
    for clip in clips:
        sides[getattr(clip, attribute) in train].append(clip.id)
    return [Split(name, tuple(sides[True]), tuple(sides[False]))]


def _leave_one_out(attribute: Attribute, classes: Mapping[str, tuple[int, ...]], clips: Sequence[Clip]) -> list[Split]:
    splits = []
    for group, labels in classes.items() if classes else [("", None)]:
        part = [clip for clip in clips if labels is None or clip.label in labels]
        for value in values_of(part, attribute):
            train = tuple(clip.id for clip in part if getattr(clip, attribute) != value)
            test = tuple(clip.id for clip in part if getattr(clip, attribute) == value)
            splits.append(Split(f"{group}/{value}" if group else value, train, test, classes=labels and tuple(labels)))
    return splits


def _listed(name: str, lists: Mapping[str, tuple[tuple[str, ...], ...]], clips: Sequence[Clip]) -> list[Split]:
    here = {clip.id for clip in clips}
    splits = []
    for split, (train, test, val) in lists.items():
        both = sorted({*train, *val} & set(test))
        if both:
            raise ProtocolError(f"protocol {name!r}, split {split!r}: {len(both)} clips train and test, such as {both[0]!r}")
        splits.append(Split(split, *(tuple(i for i in part if i in here) for part in (train, test, val))))
    return splits


def _regardless(of: Protocol, clips: Sequence[Clip]) -> list[Split]:
    label, splits = {clip.id: clip.label for clip in clips}, []
    for number, split in enumerate(of.make(clips)):
        rng, test, every = np.random.default_rng(number), set(), (*split.train, *split.test)
        count = Counter(label[clip_id] for clip_id in split.test)
        members: dict[int | None, list[str]] = defaultdict(list)
        for clip_id in sorted(every, key=natural):
            members[label[clip_id]].append(clip_id)
        for of_class, ids in sorted(members.items()):
            test.update(ids[i] for i in rng.permutation(len(ids))[: count[of_class]])
        splits.append(replace(split, train=tuple(i for i in every if i not in test), test=tuple(i for i in every if i in test)))
    return splits


def _draw_values(split: Split, train: Sequence[Clip], by: Attribute, share: float, rng: np.random.Generator) -> set[str]:
    """Ids of the clips of randomly drawn values, as near to the share as whole values come."""
    values = values_of(train, by)
    if len(values) < 2:
        hint = "cut validation by clip instead, or train without one"
        raise ProtocolError(f"split {split.name!r} trains on {len(values)} {by}; two are needed to validate on another one; {hint}")
    members: dict[str, list[Clip]] = defaultdict(list)
    for clip in train:
        members[getattr(clip, by)].append(clip)
    left = Counter(clip.label for clip in train)
    goal, stay, val = share * len(train), len(values), set()
    for index in rng.permutation(len(values)):
        part = members[values[index]]
        labels = Counter(clip.label for clip in part)
        worse = val and abs(len(val) + len(part) - goal) >= abs(len(val) - goal)
        if stay == 1 or worse or any(left[label] == count for label, count in labels.items()):
            continue
        val.update(clip.id for clip in part)
        left -= labels
        stay -= 1
    if not val:
        raise ProtocolError(
            f"split {split.name!r}: no {by} can validate, because each alone has some class; cut validation by clip instead"
        )
    return val


def _draw_clips(train: Sequence[Clip], share: float, rng: np.random.Generator) -> set[str]:
    """Ids of about that share of each class's clips; classes with a single clip give none."""
    members: dict[int | None, list[str]] = defaultdict(list)
    for clip in train:
        members[clip.label].append(clip.id)
    val: set[str] = set()
    for ids in members.values():
        count = min(max(round(share * len(ids)), 1), len(ids) - 1)
        val.update(ids[i] for i in rng.permutation(len(ids))[:count])
    if not val:
        raise ProtocolError(f"no clip can validate: each of the {len(train)} training clips is the only one of its class")
    return val
