"""Northwestern-UCLA Multiview 3D Event: 10 actions by 10 subjects seen by 3 Kinects (Wang et al., CVPR 2014), in the usual JSON form.

    all_sqe/aAA_sSS_eEE_vVV.json               {"file_name", "skeletons": T x 20 x 3, "label": 1-10}
    multiview_action/view_V/aAA_sSS_eEE/       numbered images, where wanted: colour, and whatever lies beside them

Metres, y up, joints in the order of the Kinect SDK. Action numbers run over 1-6, 8, 9, 11, 12; labels are their places in that
list. A joint that lies exactly at the origin, inside the camera, was not tracked (one frame each of two clips): it is masked.
Two clips have one frame: they are read as they are, and training refuses them. Many clips of view 3 are copies of view 2,
and some clips share frames under different labels: `kinema data audit` tells which, and what it means for each protocol.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from kinema.clip import Clip, PoseSequence, VideoSource
from kinema.datasets._cache import read_poses
from kinema.datasets._io import names_in, parser, read_json
from kinema.datasets._skeletons import nested_points
from kinema.datasets.base import Dataset, DatasetInfo, OnError
from kinema.datasets.protocols import by_values, leave_one_out
from kinema.errors import DataError

CLASSES = (
    "pick up with one hand",
    "pick up with two hands",
    "drop trash",
    "walk around",
    "sit down",
    "stand up",
    "donning",
    "doffing",
    "throw",
    "carry",
)
ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
INFO = DatasetInfo(
    "nw-ucla",
    "Northwestern-UCLA: 10 actions, 10 subjects, 3 views, Kinect v1",
    ("pose", "video"),
    len(CLASSES),
    "https://wangjiangb.github.io/my_data.html",
    "folder with all_sqe/ of .json files, and multiview_action/ of image folders where wanted",
)

_VIDEOS = "multiview_action"
NAME = re.compile(r"a(\d\d)_s(\d\d)_e(\d\d)_v(\d\d)\.json")


@parser
def read_skeleton(path: str | Path) -> PoseSequence:
    """The pose of one file: 1 person, 20 joints, metres. Its `label`, if there is one, must be that of the action in the file's name."""
    content = read_json(path)
    if "skeletons" not in content:
        raise DataError(f"has {', '.join(content) or 'no field'}; 'skeletons' is expected", path)
    named = NAME.fullmatch(os.path.basename(path))
    label = content.get("label")
    if label is not None and label not in range(1, len(CLASSES) + 1):
        raise DataError(f"label {label!r} is outside the classes 1 to {len(CLASSES)}", path, "field 'label'")
    if label is not None and named and int(named[1]) in ACTIONS and ACTIONS[label - 1] != int(named[1]):
        raise DataError(f"label {label} is action {ACTIONS[label - 1]}; the name says action {int(named[1])}", path, "field 'label'")
    points = nested_points(content["skeletons"], "skeletons", persons=False)
    return PoseSequence(points, "kinect20", "m", mask=(points != 0).any(-1), fps=30.0)


def read(root: str | Path, *, on_error: OnError = "raise", cache: bool = True) -> Dataset:
    """1 484 clips: views 1 and 2 1 020, view 3 464. `root` holds `all_sqe/`, or is that folder."""
    root = Path(root)
    folder = root / "all_sqe" if (root / "all_sqe").is_dir() else root
    found = sorted((name, match) for name in names_in(folder) if (match := NAME.fullmatch(name)))
    if not found:
        raise DataError("no clips: all_sqe/a01_s01_e00_v01.json and its like are expected here", root)
    files = [f"{folder}{os.sep}{name}" for name, _ in found]
    poses, skipped = read_poses(INFO.name, root, files, read_skeleton, on_error=on_error, cache=cache)
    videos = _videos(next((place for place in (root, folder.parent) if (place / _VIDEOS).is_dir()), root) / _VIDEOS)
    clips = []
    for (name, match), pose in zip(found, poses, strict=True):
        if pose is None:
            continue
        action, subject, _, view = map(int, match.groups())
        if action not in ACTIONS:
            skipped.add(DataError(f"action {action} is none of the classes; {', '.join(map(str, ACTIONS))} are", folder / name))
            continue
        modalities = {"pose": pose, **({"video": videos[name[:-5]]} if name[:-5] in videos else {})}
        clips.append(Clip(name[:-5], modalities, ACTIONS.index(action), str(subject), str(view), source=folder / name))
    protocols = (
        by_values("cross-view", "views 1 and 2 train, view 3 tests (the usual one)", "view", ("1", "2")),
        by_values("cross-view-2", "views 1 and 3 train, view 2 tests", "view", ("1", "3")),
        by_values("cross-view-1", "views 2 and 3 train, view 1 tests", "view", ("2", "3")),
        leave_one_out("cross-subject", "each of the 10 subjects tests once, the other nine train"),
    )
    return Dataset(INFO.name, tuple(clips), CLASSES, {protocol.name: protocol for protocol in protocols}, tuple(skipped), root)


def _videos(folder: Path) -> dict[str, VideoSource]:
    """The image folders view_V/aAA_sSS_eEE by the names of the clips. They are not looked into."""
    views = ((view, match[1]) for view in names_in(folder) if (match := re.fullmatch(r"view_([1-9])", view)))
    clips = ((view, number, name) for view, number in views for name in names_in(folder / view))
    return {f"{name}_v0{number}": VideoSource(folder / view / name) for view, number, name in clips if NAME.fullmatch(f"{name}_v01.json")}
