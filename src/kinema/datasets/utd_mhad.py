"""UTD-MHAD: 27 actions by 8 subjects, up to 4 times each, recorded by a Kinect v1 and one worn sensor (Chen et al., ICIP 2015).

    Skeleton/aA_sS_tT_skeleton.mat   `d_skel` 20 x 3 x T, metres
    Depth/aA_sS_tT_depth.mat         `d_depth` 240 x 320 x T, millimetres, background removed (0)
    Inertial/aA_sS_tT_inertial.mat   `d_iner` T' x 6: acceleration (g) and turning rate (degrees/s)
    RGB*/aA_sS_tT_color.avi          colour video, 640 x 480, any container; RGB-part1/ and so on as they are handed out

Camera coordinates, y up. Skeleton and depth have the same frames. The rates are nominal: if the sensor ran at its 50 Hz the
camera ran at about 20, which is what the clips say; align the two by relative time, never by rate. Depth and inertial signals
are read when they are asked for; depth is also kept cropped, because all of it is 9 GB.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from kinema.clip import Clip, DepthSequence, InertialSequence, Lazy, PoseSequence, VideoSource
from kinema.datasets._cache import read_poses
from kinema.datasets._depth import lazy_depths
from kinema.datasets._io import names_in, parser, read_mat
from kinema.datasets._videos import videos_in
from kinema.datasets.base import Dataset, DatasetInfo, OnError
from kinema.datasets.protocols import by_values, leave_one_out
from kinema.depth_crop import DepthCrop, crop_depth
from kinema.errors import DataError

CLASSES = (
    "swipe left",
    "swipe right",
    "wave",
    "clap",
    "throw",
    "arm cross",
    "basketball shoot",
    "draw x",
    "draw circle clockwise",
    "draw circle counter-clockwise",
    "draw triangle",
    "bowling",
    "boxing",
    "baseball swing",
    "tennis swing",
    "arm curl",
    "tennis serve",
    "push",
    "knock",
    "catch",
    "pickup and throw",
    "jog",
    "walk",
    "sit to stand",
    "stand to sit",
    "lunge",
    "squat",
)
CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
INFO = DatasetInfo(
    "utd-mhad",
    "UTD-MHAD: 27 actions, 8 subjects, Kinect v1 and a worn sensor",
    ("pose", "depth", "inertial", "video"),
    len(CLASSES),
    "https://personal.utdallas.edu/~kehtar/UTD-MHAD.html",
    "folder with Skeleton/, Depth/ and Inertial/ of .mat files, and RGB/ of videos where wanted",
)

_NAME = re.compile(r"^a([1-9]\d*)_s([1-9]\d*)_t([1-9]\d*)_skeleton\.mat$", re.MULTILINE)
_THIGH = 22  # from this action on the sensor was worn on the right thigh


@parser
def read_skeleton(path: str | Path) -> PoseSequence:
    """The pose of one skeleton file: 1 person, 20 joints, metres."""
    skeleton = read_mat(path, "d_skel")["d_skel"]
    if skeleton.ndim == 2:  # MATLAB drops a last axis of one
        skeleton = skeleton[..., None]
    if skeleton.ndim != 3 or skeleton.shape[1] != 3:
        raise DataError(f"d_skel has shape {skeleton.shape}; 20 joints x 3 coordinates x frames is expected", path)
    return PoseSequence(skeleton.transpose(2, 0, 1)[None], "utd-mhad", "m", fps=20.0)


@parser
def read_depth(path: str | Path) -> DepthSequence:
    """The depth frames of one depth file, millimetres, 0 where there is no person."""
    depth = read_mat(path, "d_depth")["d_depth"]
    if depth.ndim == 2:
        depth = depth[..., None]
    if depth.ndim != 3:
        raise DataError(f"d_depth has shape {depth.shape}; height x width x frames is expected", path)
    return DepthSequence(depth.transpose(2, 0, 1), fps=20.0)


@parser
def read_inertial(path: str | Path) -> InertialSequence:
    """The signals of one inertial file. The action in its name tells where the sensor was worn."""
    action = re.match(r"a(\d+)_", Path(path).name)
    placement = "" if action is None else "right thigh" if int(action[1]) >= _THIGH else "right wrist"
    return InertialSequence(read_mat(path, "d_iner")["d_iner"], CHANNELS, 50.0, placement)


@parser
def read_depth_crop(path: str | Path) -> DepthCrop:
    """The part of one depth file that shows the person."""
    return crop_depth(read_depth(path))


def read(root: str | Path, *, on_error: OnError = "raise", cache: bool = True) -> Dataset:
    """861 clips: odd subjects 431, even subjects 430. `root` holds `Skeleton/` and, where wanted, `Depth/`, `Inertial/` and `RGB/`."""
    root = Path(root)
    folder = root / "Skeleton"
    found = sorted(tuple(map(int, match)) for match in _NAME.findall("\n".join(names_in(folder))))
    if not found:
        raise DataError("no clips: Skeleton/a1_s1_t1_skeleton.mat and its like are expected here", root)
    ids = [f"a{action}_s{subject}_t{trial}" for action, subject, trial in found]
    prefix = f"{folder}{os.sep}"
    poses, skipped = read_poses(
        INFO.name, root, [f"{prefix}{clip_id}_skeleton.mat" for clip_id in ids], read_skeleton, on_error=on_error, cache=cache
    )
    depths = _present(root / "Depth", ids, "depth")
    depths = lazy_depths(INFO.name, root, depths, read_depth, read_depth_crop, cache)
    inertials = {clip_id: Lazy(partial(read_inertial, file)) for clip_id, file in _present(root / "Inertial", ids, "inertial").items()}
    parts = (videos_in(part, "_color") for part in sorted(root.glob("RGB*/")))
    videos = {clip_id: VideoSource(file) for part in parts for clip_id, file in part.items()}
    clips = []
    for clip_id, (action, subject, _), pose in zip(ids, found, poses, strict=True):
        if pose is None:
            continue
        source = folder / f"{clip_id}_skeleton.mat"
        if not 1 <= action <= len(CLASSES):
            skipped.add(DataError(f"action {action} is outside the {len(CLASSES)} classes", source))
            continue
        modalities = {"pose": pose}
        for name, of in (("depth", depths), ("inertial", inertials), ("video", videos)):
            if clip_id in of:
                modalities[name] = of[clip_id]
        clips.append(Clip(clip_id, modalities, action - 1, str(subject), source=source))
    protocols = (
        by_values("cross-subject", "subjects 1, 3, 5, 7 train, 2, 4, 6, 8 test (the data set's authors)", "subject", ("1", "3", "5", "7")),
        leave_one_out("leave-one-subject-out", "each of the 8 subjects tests once, the other seven train"),
    )
    return Dataset(INFO.name, tuple(clips), CLASSES, {protocol.name: protocol for protocol in protocols}, tuple(skipped), root)


def _present(folder: Path, ids: Iterable[str], name: str) -> dict[str, str]:
    """The files of one modality that are there, by the clip's id."""
    there, prefix = set(names_in(folder)), f"{folder}{os.sep}"
    files = ((clip_id, f"{clip_id}_{name}.mat") for clip_id in ids)
    return {clip_id: prefix + file for clip_id, file in files if file in there}
