"""CAD-60: 12 activities of daily life by 4 persons, OpenNI skeletons (Sung et al., ICRA 2012).

    data1 .. data4/           one folder a person
        activityLabel.txt     lines `id,activity,`, last line `END`
        <10 digits>.txt       one frame a line, 171 fields and a closing comma, last line `END`

The fields are the frame's number; 11 joints of 9 orientations, confidence, x, y, z, confidence; 4 joints of x, y, z, confidence.
Millimetres, y up. Orientations are not read. One joint in twelve has confidence 0, and the tracker fills its position all the
same: such joints count as observed, as in all published work on this set, and `score` holds the confidence (0 or 1) for whoever
wants to leave them out.

Recordings that the label files do not name, or name "still" or "random" (the data set's negative examples), have no label.
"""

from __future__ import annotations

import re
from operator import itemgetter
from pathlib import Path

import numpy as np

from kinema.clip import Clip, PoseSequence
from kinema.datasets._cache import read_poses
from kinema.datasets._io import Skipped, names_in, numbers, parser, read_text
from kinema.datasets.base import Dataset, DatasetInfo, OnError
from kinema.datasets.protocols import leave_one_out
from kinema.errors import DataError, unknown

CLASSES = (
    "rinsing mouth with water",
    "brushing teeth",
    "wearing contact lenses",
    "talking on the phone",
    "drinking water",
    "opening pill container",
    "cooking (chopping)",
    "cooking (stirring)",
    "talking on couch",
    "relaxing on couch",
    "writing on whiteboard",
    "working on computer",
)
NEGATIVE = ("still", "random")
ENVIRONMENTS = {
    "bathroom": ("rinsing mouth with water", "brushing teeth", "wearing contact lenses"),
    "bedroom": ("talking on the phone", "drinking water", "opening pill container"),
    "kitchen": ("cooking (chopping)", "cooking (stirring)", "drinking water", "opening pill container"),
    "living room": ("talking on the phone", "drinking water", "talking on couch", "relaxing on couch"),
    "office": ("talking on the phone", "writing on whiteboard", "drinking water", "working on computer"),
}
INFO = DatasetInfo(
    "cad60",
    "CAD-60: 12 activities, 4 persons, OpenNI skeletons",
    ("pose",),
    len(CLASSES),
    "https://www.cs.cornell.edu/~asaxena/",
    "folder with data1/ .. data4/ of .txt files",
)

_FIELDS = 171
# Where x, y, z and the confidence of each joint stand in a line.
_POSITIONS = [1 + 14 * joint + 10 + i for joint in range(11) for i in range(4)] + [
    155 + 4 * joint + i for joint in range(4) for i in range(4)
]
_pick = itemgetter(*_POSITIONS)


@parser
def read_skeleton(path: str | Path) -> PoseSequence:
    """The pose of one recording: 1 person, 15 joints, millimetres, `score` 0 or 1. `DataError` names line and field."""
    values: list[float] = []
    ended = False
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split(",")
        if len(fields) == _FIELDS + 1 and not ended:
            try:
                values += map(float, _pick(fields))
            except ValueError:
                numbers(_pick(fields), lambda i, number=number: f"line {number}, field {_POSITIONS[i] + 1}")
        elif line.strip() == "END":
            ended = True
        elif line.strip():
            after = " after END" if ended else ""
            raise DataError(f"{len(fields) - 1} fields{after}; {_FIELDS} and a closing comma, or END, are expected", path, f"line {number}")
    if not ended:
        raise DataError("the closing line END is missing: the file is cut short", path)
    if not values:
        raise DataError("there are no frames", path)
    joints = np.array(values, np.float32).reshape(1, -1, 15, 4)
    return PoseSequence(joints[..., :3], "cad60", "mm", score=joints[..., 3], fps=30.0)


def read_labels(path: str | Path) -> dict[str, tuple[str, int]]:
    """Recording -> (activity, line) of one `activityLabel.txt`. `DataError` for an activity that the data set does not have."""
    labels = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip() in ("", "END"):
            continue
        recording, *rest = (field.strip() for field in line.split(","))
        activity = rest[0] if rest else ""
        if activity not in CLASSES and activity not in NEGATIVE:
            raise DataError(unknown("activity", activity, (*CLASSES, *NEGATIVE)), path, f"line {number}")
        labels[recording] = (activity, number)
    return labels


def read(root: str | Path, *, on_error: OnError = "raise", cache: bool = True) -> Dataset:
    """72 recordings, 60 of them labelled (68 928 frames), 18 a person. `root` holds `data1/` .. `data4/`."""
    root = Path(root)
    found: list[tuple[str, Path]] = []
    labels: dict[str, int | None] = {}
    skipped = Skipped(on_error)
    for person in ("1", "2", "3", "4"):
        folder = root / f"data{person}"
        names = sorted(name for name in names_in(folder) if re.fullmatch(r"\d{10}\.txt", name))
        found += [(person, folder / name) for name in names]
        if names:
            labels |= _labels_of(folder, {name[:-4] for name in names}, skipped)
    if not found:
        raise DataError("no clips: data1/ .. data4/ with files of ten digits, such as data1/0512164529.txt, are expected here", root)
    poses, failed = read_poses(INFO.name, root, [str(path) for _, path in found], read_skeleton, on_error=on_error, cache=cache)
    clips = tuple(
        Clip(path.stem, {"pose": pose}, labels.get(path.stem), person, source=path)
        for (person, path), pose in zip(found, poses, strict=True)
        if pose is not None
    )
    groups = {name: tuple(CLASSES.index(activity) for activity in activities) for name, activities in ENVIRONMENTS.items()}
    protocols = (
        leave_one_out("leave-one-person-out", "each of the 4 persons tests once, the other three train; all 12 activities"),
        leave_one_out("per-environment", "the same in each of the 5 environments by itself, with its 3 or 4 activities", classes=groups),
    )
    return Dataset(INFO.name, clips, CLASSES, {protocol.name: protocol for protocol in protocols}, (*skipped, *failed), root)


def _labels_of(folder: Path, there: set[str], skipped: Skipped) -> dict[str, int | None]:
    path = folder / "activityLabel.txt"
    try:
        found = read_labels(path)
    except DataError as error:
        skipped.add(error)
        return {}
    for recording, (activity, line) in found.items():
        if recording not in there:
            skipped.append(DataError(f"recording {recording!r} ({activity}) has no file {recording}.txt beside it", path, f"line {line}"))
    return {recording: CLASSES.index(activity) if activity in CLASSES else None for recording, (activity, _) in found.items()}
