"""The audit of a data set: what in it inflates results or spoils training, found by looking at the recordings themselves.

Each finding says which protocols it touches and how many of their clips. Nothing is looked up in a list of known faults.
"""

from __future__ import annotations

from kinema.clip import InertialSequence, Modality, PoseSequence, VideoSource
from kinema.datasets._audit_checks import (
    Link,
    Named,
    check_clips,
    check_copies,
    check_labels,
    check_saturation,
    check_sides,
    check_zeros,
    clip_touches,
    on_both_sides,
    some,
    tied,
)
from kinema.datasets._audit_report import AuditReport, Finding, Item, SplitAudit, Touch
from kinema.datasets._audit_video import check_indices, same_files
from kinema.datasets._content import Content, content_of, copies, joints_at_origin
from kinema.datasets._each import each
from kinema.datasets.base import Dataset, Split
from kinema.errors import DataError, ProtocolError
from kinema.video import VideoIndex, index

__all__ = ["AuditReport", "Finding", "Item", "SplitAudit", "Touch", "audit", "clean_test_ids"]


def audit(
    dataset: Dataset, protocol: str | None = None, *, depth: bool = False, video: bool = False, progress: bool = False
) -> AuditReport:
    """Look through a data set for copies, shared frames, the same people on both sides of a split, and broken clips.

    `protocol`: that one alone; by default all that the clips can fill. Poses and inertial signals are read; depth images, a thousand
    times larger, only with `depth`. Of videos the index is read and whole files are compared; with `video` they are decoded, and
    copies and shared frames are found in what they show. Read the data set with `on_error="skip"`, then files that cannot be
    read are findings instead of errors. `progress` shows a bar on stderr.

    Raises `ProtocolError` for a protocol that is unknown or cannot be filled.
    """
    splits, unfilled = _splits(dataset, protocol)
    findings: list[Finding] = []
    unreadable = [Item((), str(error)) for error in dataset.skipped]
    read: dict[str, int] = {}
    by_copy: list[Link] = []
    by_frame: list[Link] = []
    for modality in ("pose", "inertial", *(["depth"] if depth else []), "video"):
        clips = [clip for clip in dataset.clips if clip.has(modality)]
        if not clips:
            continue
        contents, zeros, signals, indices = {}, {}, {}, {}
        for clip, seen in each(clips, modality, _look if video else _look_or_index, progress):
            if isinstance(seen, DataError):
                unreadable.append(Item((clip.id,), str(seen)))
                continue
            if isinstance(seen, VideoIndex):
                indices[clip.id] = seen
                continue
            contents[clip.id], zeros[clip.id], signal = seen
            if signal is not None:
                signals[clip.id] = signal
        read[modality] = len(contents) + len(indices)
        if indices:
            contents = same_files([clip for clip in clips if clip.id in indices])
        found, copied, sharing = check_copies(contents, {clip.id: clip.label for clip in clips}, modality, splits)
        by_copy += copied
        by_frame += sharing
        checked = check_indices(indices, splits) if indices else check_clips(contents, modality, splits)
        findings += [*found, *checked, *check_zeros(zeros, splits), *check_saturation(signals, splits)]
    findings += [*check_sides(dataset, splits), *check_labels(dataset, splits)]
    if unreadable:
        touches = clip_touches(splits, [clip for item in unreadable for clip in item.clips])
        message = f"{some(len(unreadable), 'clip')} that cannot be read, or listed but absent"
        findings.append(Finding("unreadable", message, tuple(unreadable), touches))
    sizes = []
    for name, split in splits:
        copied, sharing = (len(tied(split, links)[0] | on_both_sides(split)) for links in (by_copy, by_frame))
        sizes.append(SplitAudit(name, split.name, len(split.train) + len(split.val), len(split.test), copied, sharing))
    return AuditReport(dataset.name, len(dataset.clips), read, tuple(sizes), tuple(findings), unfilled)


def clean_test_ids(dataset: Dataset, split: Split, modality: str = "pose") -> tuple[str, ...]:
    """The test clips of a split that have no exact copy in its training or validation part, in the split's order.

    Copies agree bit for bit in `modality`, or as whole files where clips have no such thing but videos, whatever they are called
    and however they are labelled. A clip that cannot be read is a copy of none.
    """
    clips = dataset.select(dict.fromkeys((*split.train, *split.val, *split.test)))
    contents = {clip.id: seen for clip, seen in each(clips, modality, content_of) if not isinstance(seen, DataError)}
    contents |= same_files([clip for clip in clips if not clip.has(modality)])
    seen_before = tied(split, [(group, group) for group in copies(contents)])[0] | on_both_sides(split)
    return tuple(clip for clip in split.test if clip not in seen_before)


def _splits(dataset: Dataset, protocol: str | None) -> tuple[Named, dict[str, str]]:
    """(protocol name, split) of the protocol asked for, or of all; and why the others cannot be filled."""
    if protocol is not None:
        return [(protocol, split) for split in dataset.splits(protocol)], {}
    splits, unfilled = [], {}
    for name in dataset.protocols:
        try:
            splits += [(name, split) for split in dataset.splits(name)]
        except ProtocolError as error:
            unfilled[name] = str(error)
    return splits, unfilled


def _look_or_index(value: Modality) -> tuple[Content, dict[str, int], InertialSequence | None] | VideoIndex:
    return index(value) if isinstance(value, VideoSource) else _look(value)


def _look(value: Modality) -> tuple[Content, dict[str, int], InertialSequence | None]:
    """The content, joints at the origin of a pose, and inertial signals themselves: those are small and looked at together."""
    zeros = joints_at_origin(value) if isinstance(value, PoseSequence) else {}
    return content_of(value), zeros, value if isinstance(value, InertialSequence) else None
