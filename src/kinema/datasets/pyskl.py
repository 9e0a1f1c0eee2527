"""Pickles of key points in the form of PYSKL and MMAction2: one file holds a whole data set and its splits.

    {"split": {name: [frame_dir, ...]},
     "annotations": [{"frame_dir", "label", "total_frames", "keypoint": M x T x V x C, "keypoint_score": M x T x V,
                      "img_shape": (height, width), "original_shape"}, ...]}

C is 2 (pixels, y down; `img_shape` is taken along) or 3 (metres, y up). V tells the layout: 25 joints are NTU's, 17 COCO's, 18
OpenPose's; `layout` names another one. A joint whose coordinates are all 0 was not observed, and a person without any observed
joint is padding and left out; so are joints and persons with score 0. Scores are cut to 0..1, which what a network draws exceeds by
a little; those beyond -0.25..1.25 are no scores.

Splits become protocols: xsub_train and xsub_val make "cross-subject", train1 and test1, train2 and test2 ... the splits of
"official". `train` and `test` take any two of the file's splits as the protocol "requested". Names such as S001C001P001R001A001
tell subject, view and setup, names such as v_Archery_g01_c02 the group of clips cut from the same video.

The files are opened without running anything that they may hold (`kinema.datasets._unpickle`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kinema.clip import Clip, PoseSequence
from kinema.datasets import ntu
from kinema.datasets._cache import read_records
from kinema.datasets._io import located, read_text
from kinema.datasets._ragged import Record
from kinema.datasets._unpickle import load_pickle
from kinema.datasets.base import Dataset, DatasetInfo, OnError, Protocol
from kinema.datasets.protocols import listed
from kinema.errors import DataError, LayoutError, ProtocolError, unknown
from kinema.layout import get_layout

INFO = DatasetInfo(
    "pyskl",
    "PYSKL and MMAction2 pickles: key points in 2-D or 3-D, whole data sets with their splits",
    ("pose",),
    None,
    "https://github.com/kennymckormick/pyskl/tree/main/tools/data",
    "one .pkl file",
)
LAYOUTS = {25: "ntu25", 17: "coco17", 18: "openpose18"}

_TRAIN = re.compile(r"(?P<before>.*?)[_-]?train[_-]?(?P<after>.*)")
_PROTOCOLS = {"xsub": "cross-subject", "xview": "cross-view", "xset": "cross-setup", "": "official"}
_SCORES = (-0.25, 1.25)
_GROUP = re.compile(r"(v_.+_g\d+)_c\d+")


def read(
    root: str | Path,
    *,
    on_error: OnError = "raise",
    cache: bool = True,
    layout: str | None = None,
    classes: str | Path | Sequence[str] | None = None,
    train: str | None = None,
    test: str | None = None,
) -> Dataset:
    """The clips of one pickle. `root`: the file, or a folder that holds one.

    `layout`: the joints, where their number does not tell. `classes`: the names that labels number, as a list or as a text file
    of one name a line; default: NTU's for NTU's clips, else the numbers. `train`, `test`: two splits of the file to
    divide the clips by; `ProtocolError` with the names there are for one that is unknown.
    """
    path = _file(Path(root))
    if layout is not None:
        get_layout(layout)
    options = {"layout": layout}
    build = partial(_build, str(path), layout)
    poses, facts, skipped = read_records(INFO.name, path, [str(path)], build, on_error=on_error, cache=cache, options=options)
    names = _class_names(classes, facts["clips"])
    clips = []
    for (clip_id, label), pose in zip(facts["clips"], poses, strict=True):
        if pose is None:
            continue
        if label is not None and label >= len(names):
            skipped.add(DataError(f"label {label} is outside the {len(names)} classes", path, f"clip {clip_id!r}"))
            continue
        who = ntu.recording(clip_id) or {}
        group = _GROUP.fullmatch(clip_id)
        clips.append(
            Clip(clip_id, {"pose": pose}, label, who.get("subject"), who.get("view"), who.get("setup"), group and group[1], source=path)
        )
    if not clips:
        raise DataError("no clips could be read", path)
    known = {clip.id for clip in clips}
    for name, ids in facts["splits"].items():
        absent = [clip_id for clip_id in ids if clip_id not in known]
        if absent:  # reported, not raised: published files list clips that they do not hold
            skipped.append(DataError(f"split {name!r} lists {len(absent)} clips that are not there, such as {absent[0]!r}", path))
    protocols = _protocols(facts["splits"], train, test, path)
    return Dataset(INFO.name, tuple(clips), names, protocols, tuple(skipped), path)


def _file(root: Path) -> Path:
    if not root.is_dir():
        return root
    found = sorted(root.glob("*.pkl")) + sorted(root.glob("*.pickle"))
    if len(found) != 1:
        raise DataError(f"holds {', '.join(path.name for path in found) or 'no .pkl file'}; name one .pkl file", root)
    return found[0]


def _build(path: str, layout: str | None, put: Callable[[Record], None]) -> dict[str, Any]:
    annotations, splits = read_annotations(path)
    clips: list[tuple[str | None, int | None]] = []
    ids: set[str] = set()
    for i, annotation in enumerate(annotations):
        try:
            clip_id, label, pose = _clip(annotation, layout)
            if clip_id in ids:
                raise DataError("another annotation has this name already")
        except (DataError, LayoutError) as error:
            name = annotation.get("frame_dir") if isinstance(annotation, Mapping) else None
            place = f"annotation {i}" + (f" ({name})" if isinstance(name, str) else "")
            error = located(error, path)
            put(DataError(error.reason, path, f"{place}, {error.where}" if error.where else place))
            clips.append((None, None))
        else:
            put(pose)
            ids.add(clip_id)
            clips.append((clip_id, label))
    return {"clips": clips, "splits": splits}


def read_annotations(path: str | Path) -> tuple[list[Any], dict[str, list[str]]]:
    """Annotations and splits of one file; the older form, a list of annotations alone, has no splits."""
    content = load_pickle(path)
    if isinstance(content, list):
        content = {"annotations": content}
    annotations = content.get("annotations") if isinstance(content, Mapping) else None
    splits = content.get("split", {}) if isinstance(content, Mapping) else None
    if not isinstance(annotations, list) or not isinstance(splits, Mapping):
        raise DataError("a dictionary with a list 'annotations' and a dictionary 'split' is expected", path)
    if not annotations:
        raise DataError("there are no annotations", path)
    for name, ids in splits.items():
        if not isinstance(ids, Sequence | set) or isinstance(ids, str) or not all(isinstance(item, str) for item in ids):
            raise DataError("is no list of clip names", path, f"split {name!r}")
    return annotations, {str(name): sorted(ids) if isinstance(ids, set) else list(ids) for name, ids in splits.items()}


def _clip(annotation: Any, layout: str | None) -> tuple[str, int | None, PoseSequence]:
    if not isinstance(annotation, Mapping):
        raise DataError(f"is a {type(annotation).__name__}; a dictionary is expected")
    clip_id, label, points = (annotation.get(key) for key in ("frame_dir", "label", "keypoint"))
    if not isinstance(clip_id, str) or not clip_id:
        raise DataError("'frame_dir', the name of the clip, is missing")
    if label is not None and (not isinstance(label, int) or isinstance(label, bool) or label < 0):
        raise DataError(f"label {label!r:.40} is outside the classes; 0 or more is expected")
    if not isinstance(points, np.ndarray) or points.ndim != 4:
        shape = f"has shape {points.shape}" if isinstance(points, np.ndarray) else "is missing"
        raise DataError(f"{shape}; an array of persons x frames x joints x 2 or 3 is expected", where="'keypoint'")
    frames = annotation.get("total_frames", points.shape[1])
    if frames != points.shape[1]:
        raise DataError(f"'total_frames' is {frames!r}; 'keypoint' has {points.shape[1]} frames")
    if layout is None and points.shape[2] not in LAYOUTS:
        known = ", ".join(f"{joints} ({name})" for joints, name in LAYOUTS.items())
        raise DataError(f"has {points.shape[2]} joints; {known} are known, `layout` names another one", where="'keypoint'")
    return clip_id, label, _pose(points, annotation, layout or LAYOUTS[points.shape[2]])


def _pose(points: np.ndarray, annotation: Mapping[str, Any], layout: str) -> PoseSequence:
    mask = (points != 0).any(-1)
    if not mask.any():
        raise DataError("no joint is observed in any frame", where="'keypoint'")
    score = _scores(annotation.get("keypoint_score"), points.shape[:3])
    if score is not None:
        mask &= score > 0
        if not mask.any():
            raise DataError("the scores of all joints are 0: nobody was found", where="'keypoint_score'")
    persons = mask.any((1, 2))
    flat = points.shape[3] == 2
    return PoseSequence(
        points[persons],
        layout,
        "px" if flat else "m",
        mask[persons],
        None if score is None else score[persons],
        image_size=_image_size(annotation.get("img_shape")) if flat else None,
        y_axis="down" if flat else "up",
    )


def _scores(score: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    if score is None:
        return None
    if not isinstance(score, np.ndarray) or score.shape != shape:
        raise DataError(f"an array of shape {shape} is expected", where="'keypoint_score'")
    if not ((score >= _SCORES[0]) & (score <= _SCORES[1])).all():
        raise DataError(f"scores lie in {score.min():.3g}..{score.max():.3g}; 0..1 is expected", where="'keypoint_score'")
    return score.astype(np.float32).clip(0, 1)


def _image_size(shape: Any) -> tuple[int, int] | None:
    """(width, height) from `img_shape`; None where the file does not say."""
    if shape is None:
        return None
    try:
        height, width = (int(side) for side in tuple(shape)[:2])
    except (TypeError, ValueError, OverflowError):
        height = width = 0
    if height < 1 or width < 1:
        raise DataError(f"{shape!r:.40} is no height and width in pixels", where="'img_shape'")
    return width, height


def _class_names(classes: str | Path | Sequence[str] | None, clips: Sequence[tuple[str | None, int | None]]) -> tuple[str, ...]:
    if isinstance(classes, str | Path):
        return tuple(line.strip() for line in read_text(Path(classes).expanduser()).splitlines() if line.strip())
    if classes is not None:
        return tuple(classes)
    labelled = [(clip_id, label) for clip_id, label in clips if label is not None]
    actions = [(ntu.recording(clip_id) or {}).get("action") for clip_id, _ in labelled]
    if labelled and all(action == label + 1 for action, (_, label) in zip(actions, labelled, strict=True)):
        return ntu.CLASSES_60 if max(actions) <= len(ntu.CLASSES_60) else ntu.CLASSES_120
    return tuple(str(label) for label in range(1 + max((label for _, label in labelled), default=-1)))


def _protocols(splits: Mapping[str, list[str]], train: str | None, test: str | None, path: Path) -> dict[str, Protocol]:
    found: dict[str, Protocol] = {}
    if train is not None or test is not None:
        for name in (train, test):
            if name not in splits:
                raise ProtocolError(f"{path}: {unknown('split', str(name), splits)}; `train` and `test` must each name one")
        found["requested"] = listed("requested", f"{train} trains, {test} tests", {f"{train}/{test}": (splits[train], splits[test])})
    pairs: dict[str, dict[str, tuple[list[str], list[str]]]] = {}
    for name, ids in splits.items():
        match = _TRAIN.fullmatch(name)
        if match is None:
            continue
        other = next((other for part in ("test", "val") if (other := name.replace("train", part)) in splits), None)
        if other is not None:
            protocol = _PROTOCOLS.get(match["before"], match["before"])
            pairs.setdefault(protocol, {})[match["after"] or protocol] = (ids, splits[other])
    return found | {name: listed(name, f"the file's own splits: {', '.join(parts)}", parts) for name, parts in pairs.items()}
