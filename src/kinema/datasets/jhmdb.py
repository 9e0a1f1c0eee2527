"""JHMDB poses: 609 clips of 14 everyday actions as 2-D skeletons (Jhuang et al., ICCV 2013), in the form of six pickles.

    poses/GT_{train,test}_{1,2,3}.pkl    {"pose": list of T x 15 x 2, "label": list of class names}

The coordinates are normalised ("norm": neither pixels nor metres, y down); there are no scores, no image sizes and no names of
clips. All three official splits hold the same 609 sequences, so that a clip is known by its content: its id is its class and a
hash of its numbers, the same in every file and on every machine. Nothing ties the poses to the videos, which are a data set of their
own, `jhmdb-video`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from kinema.clip import Clip, PoseSequence
from kinema.datasets._cache import read_records
from kinema.datasets._io import located
from kinema.datasets._ragged import Record
from kinema.datasets._unpickle import load_pickle
from kinema.datasets.base import Dataset, DatasetInfo, OnError
from kinema.datasets.protocols import listed
from kinema.errors import DataError, unknown

CLASSES = ("catch", "clap", "golf", "jump", "pick", "pour", "pullup", "push", "run", "sit", "stand", "throw", "walk", "wave")
INFO = DatasetInfo(
    "jhmdb",
    "JHMDB: 2-D poses of 14 actions, 15 joints",
    ("pose",),
    len(CLASSES),
    "http://jhmdb.is.tue.mpg.de/",
    "folder with poses/ of GT_{train,test}_{1,2,3}.pkl",
)

_FILES = {f"GT_{part}_{split}.pkl": (split, part) for split in "123" for part in ("train", "test")}


def read(root: str | Path, *, on_error: OnError = "raise", cache: bool = True) -> Dataset:
    """609 clips; splits "1" to "3" of the protocol "official" train 433, 433, 434 and test 176, 176, 175."""
    root = Path(root)
    folder = root / "poses" if (root / "poses").is_dir() else root
    files = [str(folder / name) for name in _FILES if (folder / name).is_file()]
    if not files:
        raise DataError("no clips: poses/GT_train_1.pkl, poses/GT_test_1.pkl and their like are expected here", root)
    poses, facts, skipped = read_records(INFO.name, root, files, partial(_build, files), on_error=on_error, cache=cache)
    clips = tuple(
        Clip(clip_id, {"pose": pose}, label, source=Path(file))
        for (clip_id, label, file), pose in zip(facts["clips"], poses, strict=True)
        if pose is not None
    )
    splits = {split: (parts["train"], parts["test"]) for split, parts in facts["splits"].items() if len(parts) == 2}
    official = listed("official", "the three splits of the data set's authors", splits)
    return Dataset(INFO.name, clips, CLASSES, {"official": official} if splits else {}, tuple(skipped), root)


def _build(files: list[str], put: Callable[[Record], None]) -> dict[str, Any]:
    """Puts each sequence once, however many files hold it."""
    clips: list[tuple[str | None, int | None, str]] = []
    splits: dict[str, dict[str, list[str]]] = {}
    known: set[str] = set()
    for file in files:
        split, part = _FILES[Path(file).name]
        try:
            sequences = read_sequences(file)
        except DataError as error:
            put(error)
            clips.append((None, None, file))
            continue
        ids = splits.setdefault(split, {}).setdefault(part, [])
        for i, (points, name) in enumerate(sequences):
            clip_id = f"{name}-{blake2b(np.ascontiguousarray(points, '<f8').tobytes(), digest_size=5).hexdigest()}"
            ids.append(clip_id)
            if clip_id in known:
                continue
            known.add(clip_id)
            try:
                put(pose_of(points))
            except DataError as error:
                put(located(error, file) if error.where else DataError(error.reason, file, f"sequence {i}"))
                clips.append((None, None, file))
            else:
                clips.append((clip_id, CLASSES.index(name), file))
    return {"clips": clips, "splits": splits}


def pose_of(points: np.ndarray) -> PoseSequence:
    """T x 15 x 2 normalised coordinates as the pose of one person, at JHMDB's 25 frames per second."""
    if points.ndim != 3:
        raise DataError(f"has shape {points.shape}; frames x 15 joints x 2 coordinates is expected")
    return PoseSequence(points[None], "jhmdb15", "norm", fps=25.0, y_axis="down")


def read_sequences(path: str | Path) -> list[tuple[np.ndarray, str]]:
    """The (points, class name) of one file. `DataError` where it is not of that form, or names a class that there is not."""
    content = load_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("pose", "label")):
        raise DataError("a dictionary of two lists, 'pose' and 'label', is expected", path)
    points, names = content["pose"], content["label"]
    if len(points) != len(names) or not points:
        raise DataError(f"there are {len(points)} poses and {len(names)} labels; one label a pose, at least one, is expected", path)
    for i, (sequence, name) in enumerate(zip(points, names, strict=True)):
        if not isinstance(sequence, np.ndarray):
            raise DataError(f"a pose is a {type(sequence).__name__}; an array is expected", path, f"sequence {i}")
        if name not in CLASSES:
            raise DataError(unknown("class", str(name), CLASSES), path, f"sequence {i}")
    return list(zip(points, names, strict=True))
