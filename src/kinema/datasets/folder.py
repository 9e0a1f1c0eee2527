"""Your own data: a folder with `clips.csv` over skeleton files, videos or both, or a folder of class folders of videos. `kinema data
convert` writes the first form.

**clips.csv** has a header and one row a clip. Columns, in any order:

    id       name of the clip, different for each
    path     its skeleton file, relative to the folder; empty, or no such column: it has a video alone
    label    name of its class; empty: not known
    video    optional: its video, relative to the folder: a file of any container and codec that FFmpeg knows, or a folder of
             numbered images
    start, end    optional: seconds of the video between which the clip lies; empty: from its start, to its end
    fps      optional: frames per second of a folder of images; 30 if not given
    subject, view, setup, group    optional: who was recorded, from which side, in which arrangement, and what clips share that
             were cut from the same recording; they make protocols, and `kinema data audit` warns where a split shares them
    split    optional: train, val or test

**classes.txt**, optional, names the classes, one a line, in the order of their numbers; a label outside it is an error. Without it
the classes are the labels in alphabetical order. **protocols.json**, optional, holds lists of clips:
`{protocol: {"description": text, "splits": [{"name", "train": [ids], "val": [ids], "test": [ids], "classes": [names] or null}]}}`.

**Class folders**, where there is no clips.csv: `CLASS/clip.mp4` or `CLASS/clip/` of numbered images; or `train/CLASS/...`, `val/...` and
`test/...`, which make the protocol "split". Ids are these paths without the suffix. Who and where is not known then: a table tells it.

**Skeleton files** hold persons M, frames T, joints V and coordinates C = 2 or 3 under these names:

    points      (M x) T x V x C numbers; without M: one person. Needed
    layout      name of the joint layout (`kinema.layout.LAYOUTS`). Needed
    unit        "m", "mm", "px" or "norm" (scaled image coordinates). Needed
    fps         frames per second; 30 if not given
    times       T seconds, where the rate varies
    mask        (M x) T x V, true where the joint was observed; everywhere if not given
    score       (M x) T x V confidences, 0 to 1
    image_size  width and height in pixels, for "px"
    y_axis      "up" or "down"; if not given, down for "px" and "norm", up for "m" and "mm"
    joints, bones, root    for a layout of your own, with a name of its own: V joint names (left_x has a right_x), V - 1 pairs of
                           (child, parent) names that join them into one tree, and the name of the joint to centre on

- `.npz`: arrays of these names (`numpy.savez`); text as text arrays. Never pickled objects.
- `.json`: one object with these names, arrays as nested lists. A joint that was not observed may be null instead of numbers.
- `.csv`: first a comment line such as `# layout=coco17 unit=px fps=25 image_size=640x480`, then a header, then one row for each
  person in each frame. Columns `<joint>_x`, `<joint>_y` and, in 3-D, `<joint>_z` for every joint of the layout, optionally
  `<joint>_score`; `frame` (a number that orders the rows; without it one row is one frame) and, where there are several persons,
  `person` (any number); optionally `time` in seconds. Empty cells: the joint was not observed. Layouts of your own need .npz or
  .json.

NaN and infinity are errors: a joint that is not there is masked, never placed.

**Protocols**, the first that applies is the default: "split" (the column), those of protocols.json, then for each of subject, group,
setup and view that all labelled clips name: "cross-<it>" (every third value tests) and "leave-one-<it>-out"; last "holdout" (about a
quarter of each class, chosen by the ids: clips of the same person on both sides say little about new persons).
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from kinema.clip import Clip, Modality, VideoSource
from kinema.datasets._cache import read_poses
from kinema.datasets._class_folders import class_folders
from kinema.datasets._io import Skipped, read_json, read_text
from kinema.datasets._skeletons import SUFFIXES, read_skeleton
from kinema.datasets._videos import is_video
from kinema.datasets.base import Dataset, DatasetInfo, OnError, Protocol, Split
from kinema.datasets.protocols import by_values, leave_one_out, natural
from kinema.errors import DataError, unknown

INFO = DatasetInfo(
    "folder",
    "Your own data: a folder with clips.csv over .npz, .json or .csv skeletons and videos, or class folders of videos",
    ("pose", "video"),
    None,
    form="folder with clips.csv, or of class folders",
)
TABLE, CLASS_LIST, PROTOCOL_LIST = "clips.csv", "classes.txt", "protocols.json"
ATTRIBUTES = ("subject", "group", "setup", "view")
COLUMNS = ("id", "path", "label", *ATTRIBUTES, "split", "video", "start", "end", "fps")
PARTS = ("train", "val", "test")
_RECORDING = ("path", "video", "start", "end")


def read(root: str | Path, *, on_error: OnError = "raise", cache: bool = True) -> Dataset:
    """The clips of `root/clips.csv`, or of class folders. The module's docstring tells the form of everything. No video is opened."""
    root = Path(root)
    if root.name == TABLE and root.is_file():
        root = root.parent
    skipped = Skipped(on_error)
    rows = _rows(root / TABLE, skipped) if (root / TABLE).is_file() else _of_folders(root)
    classes = _classes(root, rows, skipped)
    posed = [row for row in rows if row["path"]]
    files = [str(root / row["path"]) for row in posed]
    poses, failed = read_poses(INFO.name, root, files, read_skeleton, on_error=on_error, cache=cache)
    pose_of = {row["id"]: pose for row, pose in zip(posed, poses, strict=True)}
    clips = []
    for row in rows:
        modalities: dict[str, Modality] = {"pose": pose_of[row["id"]]} if row["path"] else {}
        try:
            modalities |= {"video": _video(root, row)} if row["video"] else {}
        except DataError as error:
            skipped.add(error)
            continue
        if None not in modalities.values():
            who = {name: row[name] or None for name in ATTRIBUTES}
            label = classes.index(row["label"]) if row["label"] else None
            clips.append(Clip(row["id"], modalities, label, source=root / (row["path"] or row["video"]), **who))
    if not clips:
        raise DataError("no clips could be read", root / TABLE)
    return Dataset(INFO.name, tuple(clips), classes, _protocols(root, rows, clips, classes), (*skipped, *failed), root)


def _of_folders(root: Path) -> list[dict[str, str]]:
    rows = [dict.fromkeys(COLUMNS, "") | row for row in class_folders(root)]
    if not rows:
        said = (
            f"there is no {TABLE}; a header with {', '.join(COLUMNS[:3])} and a row for each clip are expected, or class folders of videos"
        )
        raise DataError(said, root)
    return rows


def _video(root: Path, row: Mapping[str, str]) -> VideoSource:
    """The video of a row. `DataError` where it is not there, or its times are none."""
    path = root / row["video"]
    if "line" not in row:
        return VideoSource(path)
    try:
        if not path.exists():
            raise DataError(f"video {row['video']!r} is not there")
        start, end, fps = (_number(row, name) for name in ("start", "end", "fps"))
        return VideoSource(path, start or 0.0, end, fps)
    except DataError as error:
        raise DataError(error.reason, root / TABLE, f"line {row['line']}") from error


def _number(row: Mapping[str, str], name: str) -> float | None:
    try:
        return float(row[name]) if row[name] else None
    except ValueError:
        raise DataError(f"{name} is {row[name]!r}; a number is expected") from None


def _rows(path: Path, skipped: Skipped) -> list[dict[str, str]]:
    """The usable rows, with all columns ("" where there is none) and the number of the line."""
    table = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    rows: list[dict[str, str]] = []
    ids: set[str] = set()
    files: dict[tuple[str, ...], dict[str, str]] = {}
    header: list[str] = []
    while True:
        try:
            fields = next(table, None)
        except csv.Error as error:
            raise DataError(f"is no table: {error}", path, f"line {table.line_num}") from error
        if fields is None:
            break
        number = table.line_num
        if not any(field.strip() for field in fields):
            continue
        if not header:
            header = [name.strip() for name in fields]
            _check_header(header, path, number)
            continue
        row = dict.fromkeys(COLUMNS, "") | dict(zip(header, (field.strip() for field in fields), strict=False))
        fault = _fault(row, len(fields), len(header), ids) or _contradiction(row, files)
        if fault:
            skipped.add(DataError(fault, path, f"line {number}"))
            continue
        ids.add(row["id"])
        rows.append({**row, "line": str(number)})
        files.setdefault(tuple(row[name] for name in _RECORDING), rows[-1])
    if not rows:
        raise DataError("there are no clips in it", path)
    return rows


def _check_header(header: Sequence[str], path: Path, line: int) -> None:
    for name in COLUMNS[:3]:
        if name not in header and not (name == "path" and "video" in header):
            raise DataError(f"column {name!r} is missing; {', '.join(COLUMNS[:3])} are needed", path, f"line {line}")
    for name in header:
        # A column of notes is no harm, a misspelt `subject` would hide who is on both sides of a split.
        if header.count(name) > 1 or (name not in COLUMNS and difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.75)):
            raise DataError(f"column {name!r} occurs twice" if name in COLUMNS else unknown("column", name, COLUMNS), path, f"line {line}")


def _fault(row: Mapping[str, str], fields: int, expected: int, ids: set[str]) -> str | None:
    if fields != expected:
        return f"{fields} fields; the header has {expected}"
    if not row["id"] or not (row["path"] or row["video"]):
        return f"{'id' if not row['id'] else 'path'} is empty"
    if not row["video"] and (row["start"] or row["end"] or row["fps"]):
        return "start, end and fps are those of a video, and the row has none"
    if row["id"] in ids:
        return f"id {row['id']!r} occurs twice"
    if row["path"] and not row["path"].lower().endswith(SUFFIXES):
        hint = "; a video belongs into the column 'video'" if is_video(row["path"]) else ""
        return f"path {row['path']!r} ends in none of {', '.join(SUFFIXES)}{hint}"
    if row["split"] and row["split"] not in PARTS:
        return unknown("split", row["split"], PARTS)
    return None


def _contradiction(row: Mapping[str, str], files: Mapping[tuple[str, ...], Mapping[str, str]]) -> str | None:
    """What is wrong where an earlier row says something else of the same recording."""
    first = files.get(tuple(row[name] for name in _RECORDING), row)
    for name, what in (("label", "two labels for one clip"), ("split", "one clip in two parts")):
        if row[name] != first[name] and row[name] and first[name]:
            return f"{what}: {row['path'] or row['video']!r} is {row[name]!r} here and {first[name]!r} in line {first['line']}"
    return None


def _classes(root: Path, rows: list[dict[str, str]], skipped: Skipped) -> tuple[str, ...]:
    """The class names. Rows whose label is none of them are taken out."""
    path = root / CLASS_LIST
    if not path.is_file():
        return tuple(sorted({row["label"] for row in rows if row["label"]}))
    classes = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if len(set(classes)) < len(classes):
        raise DataError("a class occurs twice", path)
    for row in list(rows):
        if row["label"] and row["label"] not in classes:
            where = (root / TABLE, f"line {row['line']}") if "line" in row else (root / row["video"],)
            skipped.add(DataError(f"{unknown('label', row['label'], classes)} ({CLASS_LIST})", *where))
            rows.remove(row)
    return classes


def _protocols(root: Path, rows: Sequence[Mapping[str, str]], clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, Protocol]:
    found: list[Protocol] = []
    if any(row["split"] for row in rows):
        parts = {part: tuple(row["id"] for row in rows if row["split"] == part) for part in PARTS}
        split = Split("split", parts["train"], parts["test"], parts["val"])
        found.append(Protocol("split", f"the column 'split' of {TABLE}", partial(_present, (split,))))
    if (root / PROTOCOL_LIST).is_file():
        found += _listed(root / PROTOCOL_LIST, classes)
    for attribute in ATTRIBUTES:
        values = {getattr(clip, attribute) for clip in clips if clip.label is not None}
        if None in values or len(values) < 2:
            continue
        train = [value for i, value in enumerate(sorted(values, key=natural)) if i % 3 != 1]
        found += [
            by_values(f"cross-{attribute}", f"every third {attribute} tests, the others train", attribute, train),
            leave_one_out(f"leave-one-{attribute}-out", f"each {attribute} tests once, the others train", attribute),
        ]
    found.append(Protocol("holdout", "about a quarter of the clips of each class test, whoever is in them", _holdout))
    first: dict[str, Protocol] = {}
    for protocol in found:  # what the user lists goes before what is derived
        first.setdefault(protocol.name, protocol)
    return first


def _present(splits: Sequence[Split], clips: Sequence[Clip]) -> list[Split]:
    here = {clip.id for clip in clips}
    parts = [{part: tuple(i for i in getattr(split, part) if i in here) for part in PARTS} for split in splits]
    return [Split(split.name, classes=split.classes, **part) for split, part in zip(splits, parts, strict=True)]


def _listed(path: Path, classes: Sequence[str]) -> list[Protocol]:
    found = []
    for name, protocol in read_json(path).items():
        try:
            splits = tuple(_split(split, classes) for split in protocol["splits"])
            found.append(Protocol(name, str(protocol.get("description", "")), partial(_present, splits)))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            reason = f"is not of the form {{description, splits: [{{name, train, val, test, classes}}]}} ({type(error).__name__}: {error})"
            raise DataError(reason, path, f"protocol {name!r}") from error
    return found


def _split(split: Mapping[str, Any], classes: Sequence[str]) -> Split:
    labels = split.get("classes")
    parts = {part: tuple(map(str, split.get(part, ()))) for part in PARTS}
    return Split(str(split["name"]), classes=None if labels is None else tuple(classes.index(label) for label in labels), **parts)


def _holdout(clips: Sequence[Clip]) -> list[Split]:
    """The order of the ids' hashes stands in for a draw, so that new clips do not move the old ones about much."""
    of_class: dict[int | None, list[str]] = defaultdict(list)
    for clip in clips:
        of_class[clip.label].append(clip.id)
    test: set[str] = set()
    for ids in of_class.values():
        ids.sort(key=lambda clip_id: blake2b(clip_id.encode(), digest_size=8).digest())
        test.update(ids[: max(1, round(len(ids) / 4))] if len(ids) > 1 else ())
    ids = [clip.id for clip in clips]
    return [Split("holdout", tuple(i for i in ids if i not in test), tuple(i for i in ids if i in test))]


def write_protocols(dataset: Dataset) -> bytes:
    """The content of protocols.json for what a data set's protocols make of its clips; those that can make nothing are left out."""
    from kinema.errors import ProtocolError

    written = {}
    for name, protocol in dataset.protocols.items():
        try:
            splits = dataset.splits(name)
        except ProtocolError:
            continue
        written[name] = {
            "description": protocol.description,
            "splits": [
                {
                    "name": split.name,
                    **{part: list(getattr(split, part)) for part in PARTS},
                    "classes": None if split.classes is None else [dataset.classes[label] for label in split.classes],
                }
                for split in splits
            ],
        }
    return json.dumps(written, indent=1, ensure_ascii=False).encode()
