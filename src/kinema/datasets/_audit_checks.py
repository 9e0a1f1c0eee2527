"""The single checks of an audit; each takes what was read and returns findings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from kinema.clip import InertialSequence
from kinema.datasets._audit_report import Finding, Item, Touch
from kinema.datasets._content import COMMON, Content, copies, overlaps
from kinema.datasets.base import Dataset, Split
from kinema.datasets.protocols import natural

UNITS = {"pose": "frame", "inertial": "sample", "depth": "image", "video": "frame"}
IMBALANCE = 3.0  # largest class over smallest
_NAMED = 12  # values of subject, group or setup that are named
Named = Sequence[tuple[str, Split]]  # protocol name, split
Link = tuple[Collection[str], Collection[str]]  # what is said of one clip of the first holds with each clip of the second


def some(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def tied(split: Split, links: Sequence[Link]) -> tuple[set[str], set[str]]:
    """Test clips linked to a training or validation clip, and training clips linked to another training clip."""
    train, test = {*split.train, *split.val}, set(split.test)
    hit_test, hit_train = set(), set()
    for pair in links:
        for one, other in (pair, pair[::-1]):
            there = train.intersection(other)
            if there:
                hit_test.update(test.intersection(one))
                hit_train.update(clip for clip in train.intersection(one) if there != {clip})
    return hit_test, hit_train


def on_both_sides(split: Split) -> set[str]:
    """Clips that a split, wrongly listed, both trains (or validates) and tests."""
    return {*split.train, *split.val}.intersection(split.test)


def _link_touches(splits: Named, links: Sequence[Link]) -> tuple[Touch, ...]:
    touches = []
    for protocol, split in splits:
        test, train = tied(split, links)
        touches.append(_touch(protocol, split, len(test), len(train)))
    return tuple(touch for touch in touches if touch.test or touch.train)


def clip_touches(splits: Named, clips: Collection[str]) -> tuple[Touch, ...]:
    """How many of these clips test and train in each split that has any of them."""
    clips = set(clips)
    touches = [
        _touch(protocol, split, len(clips.intersection(split.test)), len(clips.intersection((*split.train, *split.val))))
        for protocol, split in splits
    ]
    return tuple(touch for touch in touches if touch.test or touch.train)


def _touch(protocol: str, split: Split, test: int, train: int) -> Touch:
    return Touch(protocol, split.name, test, len(split.test), train, len(split.train) + len(split.val))


def check_copies(
    contents: Mapping[str, Content], labels: Mapping[str, int | None], modality: str, splits: Named
) -> tuple[list[Finding], list[Link], list[Link]]:
    """Exact copies, frames in common, whole clips within others; besides, what links clips: by copy, and by any common frame.

    Of inertial signals only whole copies are looked for: single samples of six coarse numbers agree by chance.
    """
    findings = []

    def add(kind: str, message: str, items: Sequence[Item], links: Sequence[Link]) -> None:
        if items:
            findings.append(Finding(kind, message, tuple(items), _link_touches(splits, links), modality))

    unit, groups = UNITS[modality], copies(contents)
    copied = [(group, group) for group in groups]
    message = f"{some(sum(map(len, groups)), 'clip')} in {some(len(groups), 'group')} are exact copies of each other in {modality}"
    add("copies", message, [Item(group, other_label=_differ(group, labels)) for group in groups], copied)
    if modality == "inertial":
        return findings, copied, copied
    members = {group[0]: group for group in groups}
    again = {clip for group in groups for clip in group[1:]}
    pairs, crowds = overlaps({clip: content for clip, content in contents.items() if clip not in again})
    items = []
    for pair in pairs:
        first, second = (contents[clip].frames for clip in pair.clips)
        inner = "" if pair.contained is None else f", the whole of {pair.clips[pair.contained]}"
        detail = f"{some(pair.shared, unit)} of {first} and {second}{inner}"
        items.append(Item(pair.clips, detail, pair.shared, _differ(pair.clips, labels)))
    links = [(members.get(a, (a,)), members.get(b, (b,))) for a, b in (pair.clips for pair in pairs)]
    add("shared-frames", f"{some(len(pairs), 'pair')} of clips have {unit}s in common, equal bit for bit", items, links)
    inside = [i for i, pair in enumerate(pairs) if pair.contained is not None]
    inner = {pairs[i].clips[pairs[i].contained]: items[i].other_label for i in inside}
    message = f"{some(len(inner), 'clip')} wholly contained in another one, {sum(inner.values())} of them under another label"
    add("contained", message, [items[i] for i in inside], [links[i] for i in inside])
    full = [tuple(clip for one in crowd for clip in members.get(one, (one,))) for crowd in crowds]
    message = f"{some(len(full), 'set')} of over {COMMON} clips with one {unit} in common: put in by the sensor, or cuts of one recording"
    crowded = [(crowd, crowd) for crowd in full]
    add("common-frames", message, [Item(crowd) for crowd in full], crowded)
    return findings, copied, [*copied, *links, *crowded]


def _differ(clips: Collection[str], labels: Mapping[str, int | None]) -> bool:
    return len({labels[clip] for clip in clips} - {None}) > 1


def check_clips(contents: Mapping[str, Content], modality: str, splits: Named) -> list[Finding]:
    """Clips too short to hold a motion, clips that show nothing, clips that stand still."""
    unit = UNITS[modality]
    short = [clip for clip, content in contents.items() if content.frames < 2]
    empty = [clip for clip, content in contents.items() if not len(content.shown)]
    frozen = [clip for clip, content in contents.items() if len(content.shown) > 1 and len(content.distinct) == 1]
    found = (
        ("too-short", short, f"{some(len(short), 'clip')} with a single {unit} of {modality}: no motion can be seen"),
        ("empty", empty, f"{some(len(empty), 'clip')} in which {modality} shows nothing"),
        ("frozen", frozen, f"{some(len(frozen), 'clip')} with one {unit} of {modality} repeated from beginning to end"),
    )
    return [
        Finding(
            kind, message, tuple(Item((clip,), some(contents[clip].frames, unit)) for clip in clips), clip_touches(splits, clips), modality
        )
        for kind, clips, message in found
        if clips
    ]


def check_zeros(zeros: Mapping[str, Mapping[str, int]], splits: Named) -> list[Finding]:
    """Joints at exactly 0, which stands for "not seen" in many files. One joint that is there in most clips is the centre of the data."""
    often = Counter(joint for joints in zeros.values() for joint in joints).most_common(1)
    centre = often[0][0] if often and often[0][1] * 2 > len(zeros) else None
    items = []
    for clip, joints in zeros.items():
        wrong = {joint: frames for joint, frames in joints.items() if joint != centre}
        if wrong:
            items.append(Item((clip,), f"{', '.join(wrong)} in up to {some(max(wrong.values()), 'frame')}"))
    if not items:
        return []
    message = f"{some(len(items), 'clip')} with joints at exactly 0: probably not seen, and taken for positions"
    return [Finding("zeros", message, tuple(items), clip_touches(splits, [item.clips[0] for item in items]), "pose")]


def check_saturation(signals: Mapping[str, InertialSequence], splits: Named) -> list[Finding]:
    """Signals cut off at the end of the sensor's range.

    The range is not known beforehand, so it is seen from the pile that cutting leaves: the largest magnitude that a sensor
    (channels with the same name up to the last "_") gives in the whole set is taken for its limit where at least three
    samples stand at it, and more than in the five per cent below it.
    """
    sensors: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for clip, signal in signals.items():
        names = [channel.rpartition("_")[0] or channel for channel in signal.channels]
        moving = np.ptp(signal.signals, axis=0) > 0  # a channel that stands still is frozen, not cut off
        for sensor in dict.fromkeys(names):
            sensors[sensor][clip] = np.abs(signal.signals[:, moving & [name == sensor for name in names]])
    cut: dict[str, list[str]] = defaultdict(list)
    said = []
    for sensor, values in sensors.items():
        limit = max(value.max(initial=0) for value in values.values())
        at = {clip: int((value >= limit * (1 - 1e-4)).sum()) for clip, value in values.items()}
        near = sum(int((value >= limit * 0.95).sum()) for value in values.values()) - sum(at.values())
        if limit == 0 or sum(at.values()) < 3 or sum(at.values()) <= near:
            continue
        clips = [clip for clip, count in at.items() if count]
        said.append(f"{len(clips)} in {sensor} at {limit:g}")
        for clip in clips:
            cut[clip].append(f"{sensor}: {some(at[clip], 'sample')} at {limit:g}")
    if not cut:
        return []
    items = tuple(Item((clip,), ", ".join(details)) for clip, details in sorted(cut.items(), key=lambda pair: natural(pair[0])))
    message = f"{some(len(cut), 'clip')} with saturated inertial signals: {', '.join(said)}"
    return [Finding("saturated", message, items, clip_touches(splits, cut), "inertial")]


def check_sides(dataset: Dataset, splits: Named) -> list[Finding]:
    """The same clip, subject, source group or setup on both sides of a split."""
    findings = []
    twice = [(protocol, split, on_both_sides(split)) for protocol, split in splits]
    twice = [found for found in twice if found[2]]
    if twice:
        items = tuple(
            Item((clip,), f"in {protocol} / {split.name}") for protocol, split, clips in twice for clip in sorted(clips, key=natural)
        )
        message = f"{some(len({item.clips for item in items}), 'clip')} that both train and test"
        touches = tuple(_touch(protocol, split, len(clips), len(clips)) for protocol, split, clips in twice)
        findings.append(Finding("same-clip", message, items, touches))
    for attribute in ("subject", "group", "setup"):
        value = {clip.id: getattr(clip, attribute) for clip in dataset.clips}
        items, touches = [], []
        for protocol, split in splits:
            train = [value[clip] for clip in (*split.train, *split.val)]
            test = [value[clip] for clip in split.test]
            both = set(train) & set(test) - {None}
            if both:
                name = protocol if split.name == protocol else f"{protocol} / {split.name}"
                more = f" and {len(both) - _NAMED} more" if len(both) > _NAMED else ""
                items.append(Item((), f"{name}: {attribute} {', '.join(sorted(both, key=natural)[:_NAMED])}{more}"))
                touches.append(_touch(protocol, split, sum(v in both for v in test), sum(v in both for v in train)))
        if items:
            message = f"the same {attribute} trains and tests in {len(items)} of {some(len(splits), 'split')}"
            if attribute == "group":
                message += ": clips cut from one recording, which training refuses unless data.allow_leak is true"
            findings.append(Finding(f"same-{attribute}", message, tuple(items), tuple(touches)))
    return findings


def check_labels(dataset: Dataset, splits: Named) -> list[Finding]:
    """Recordings without a label, classes that a split tests without training them, and classes of very different size."""
    findings = []
    unlabelled = [clip.id for clip in dataset.clips if clip.label is None]
    if unlabelled:
        message = f"{len(unlabelled)} of {some(len(dataset.clips), 'clip')} without a label; no protocol uses them"
        findings.append(Finding("unlabelled", message, tuple(Item((clip,)) for clip in unlabelled)))
    label = {clip.id: clip.label for clip in dataset.clips if clip.label is not None}
    items, touches = [], []
    for protocol, split in splits:
        new = {label[clip] for clip in split.test} - {label[clip] for clip in (*split.train, *split.val)}
        if new:
            items.append(Item((), f"{protocol} / {split.name}: {', '.join(dataset.classes[i] for i in sorted(new))}"))
            touches.append(_touch(protocol, split, sum(label[clip] in new for clip in split.test), 0))
    if items:
        message = f"classes that are tested and not trained, in {len(items)} of {some(len(splits), 'split')}"
        findings.append(Finding("untrained-class", message, tuple(items), tuple(touches)))
    counts = Counter(label.values())
    if counts and (len(counts) < len(dataset.classes) or max(counts.values()) >= IMBALANCE * min(counts.values())):
        findings.append(_imbalance(dataset, label, counts, splits))
    return findings


def _imbalance(dataset: Dataset, label: Mapping[str, int], counts: Counter[int], splits: Named) -> Finding:
    most, absent = max(counts.values()), len(dataset.classes) - len(counts)
    rare = [i for i in range(len(dataset.classes)) if counts[i] * IMBALANCE <= most]
    items = tuple(Item((), f"{dataset.classes[i]}: {counts[i]}") for i in sorted(rare, key=lambda i: counts[i]))
    without = f"; {absent} of {len(dataset.classes)} classes have no clip" if absent else ""
    sizes = " to ".join(str(size) for size in sorted({min(counts.values()), most}))
    message = f"classes have {sizes} clips: always naming the largest is right for {most / len(label):.1%}{without}"
    return Finding("imbalance", message, items, clip_touches(splits, [clip for clip, one in label.items() if one in rare]))
