"""What an audit says: findings, the splits that they touch, and the text that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby

TIED = ("copies", "shared-frames", "contained", "common-frames")
FOLDS = 10  # of a protocol with more splits, those in which nothing is shared are told in one line


@dataclass(frozen=True)
class Touch:
    """What a finding means for one split.

    Where clips are tied to each other (copies, frames in common, the same person), `test` counts the test clips tied to a
    training (or validation) clip. For copies and common frames `train` counts the training clips tied to another training
    clip; otherwise `test` and `train` count the clips concerned on either side.
    """

    protocol: str
    split: str
    test: int
    of_test: int
    train: int
    of_train: int


@dataclass(frozen=True)
class Item:
    """One case: the clips, what there is to say, different frames in common, and whether the clips have different labels."""

    clips: tuple[str, ...] = ()
    detail: str = ""
    shared: int | None = None
    other_label: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that was found, with all its cases.

    `kind`: copies, shared-frames, contained, common-frames, too-short, empty, frozen, cut-off, zeros, saturated, same-clip,
    same-subject, same-group, same-setup, unlabelled, untrained-class, imbalance or unreadable. `modality`: in which it was
    seen, None where it is about clips as such.
    """

    kind: str
    message: str
    items: tuple[Item, ...]
    touches: tuple[Touch, ...] = ()
    modality: str | None = None

    @property
    def clips(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(clip for item in self.items for clip in item.clips))


@dataclass(frozen=True)
class SplitAudit:
    """One split: sizes, test clips with an exact copy in training, and test clips with any frame in training (copies among them)."""

    protocol: str
    split: str
    train: int
    test: int
    copied: int
    sharing: int


@dataclass(frozen=True)
class AuditReport:
    """What an audit read and found. `read`: clips read, by modality. `unfilled`: protocols that the clips cannot fill, and why."""

    dataset: str
    clips: int
    read: Mapping[str, int]
    splits: tuple[SplitAudit, ...]
    findings: tuple[Finding, ...]
    unfilled: Mapping[str, str] = field(default_factory=dict)

    def find(self, kind: str, modality: str | None = None) -> Finding | None:
        """The finding of that kind (and modality, if given); None where there is none."""
        return next((f for f in self.findings if f.kind == kind and modality in (None, f.modality)), None)

    def to_dict(self) -> dict:
        """Plain dicts, lists, strings and numbers, fit for JSON."""
        return asdict(self)

    def text(self, limit: int = 5) -> str:
        """The report to read; at most `limit` cases of each finding are named (0: all)."""
        read = ", ".join(f"{modality} of {count}" for modality, count in self.read.items()) or "nothing"
        lines = [f"{self.dataset}: {self.clips} clips; read: {read}", "", *self._splits_table(), *self._unfilled(), ""]
        if not self.findings:
            lines.append("Nothing found.")
        for finding in self.findings:
            lines += [f"[{finding.kind}] {finding.message}", *_touch_lines(finding), *_item_lines(finding.items, limit)]
        return "\n".join(lines)

    def _splits_table(self) -> list[str]:
        rows = [("protocol / split", "train", "test", "copied", "sharing", "clean")]
        for protocol, group in groupby(self.splits, key=lambda one: one.protocol):
            splits = list(group)
            quiet = [one for one in splits if not one.sharing] if len(splits) > FOLDS else []
            for one in splits:
                if one not in quiet:
                    name = protocol if one.split == protocol else f"{protocol} / {one.split}"
                    rows.append((name, *map(str, (one.train, one.test, one.copied, one.sharing, one.test - one.copied))))
            if quiet:
                tested = str(sum(one.test for one in quiet))
                rows.append((f"{protocol}, {len(quiet)} splits", "", tested, "0", "0", tested))
        width = max(len(row[0]) for row in rows)
        table = [f"{row[0]:<{width}}" + "".join(f"{cell:>9}" for cell in row[1:]) for row in rows]
        legend = "copied: test clips with an exact copy in training; sharing: with any frame in training; clean: test clips without copy"
        return [*table, legend]

    def _unfilled(self) -> list[str]:
        return [f"not checked: {reason}" for reason in self.unfilled.values()]


def _touch_lines(finding: Finding) -> list[str]:
    """A line a protocol: its one split, or all of them together. A training clip is in many splits, so the most are told."""
    tied = finding.kind in TIED
    seen, again = (" have a counterpart in training", " are repeated") if tied else ("", "")
    lines = []
    for protocol, group in groupby(finding.touches, key=lambda touch: touch.protocol):
        touches = list(group)
        one = touches[0]
        test, of_test, train = sum(t.test for t in touches), sum(t.of_test for t in touches), max(t.train for t in touches)
        if len(touches) > 1:
            lines.append(
                f"    {protocol}, {len(touches)} splits: {test} of {of_test} test clips{seen}; up to {train} training clips a split{again}"
            )
            continue
        where = protocol if one.split == protocol else f"{protocol} / {one.split}"
        lines.append(f"    {where}: {test} of {of_test} test clips{seen}; {train} of {one.of_train} training clips{again}")
    return lines


def _item_lines(items: tuple[Item, ...], limit: int) -> list[str]:
    shown = items[:limit] if limit else items
    lines = []
    for item in shown:
        clips = (" = " if item.shared is None else " & ").join(item.clips[:4])
        if len(item.clips) > 4:
            clips += f" and {len(item.clips) - 4} more"
        parts = [clips, item.detail]
        lines.append("      " + ": ".join(part for part in parts if part) + (" (other label)" if item.other_label else ""))
    if len(items) > len(shown):
        lines.append(f"      and {len(items) - len(shown)} more")
    return lines
