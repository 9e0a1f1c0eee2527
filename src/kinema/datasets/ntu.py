"""NTU RGB+D and NTU RGB+D 120: 60 and 120 actions seen by Kinect v2 (Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2020).

A folder, however deep, of files SsssCcccPpppRrrrAaaa.skeleton: setup, camera, performer, repetition, action. Text: number of
frames; per frame the number of bodies; per body one line of 10 fields, the number of joints (25) and 25 lines of 12
(x y z depthX depthY colorX colorY qw qx qy qz state). Metres, y up. State 0 is not tracked, 1 inferred, 2 tracked: `score` is half
of it, unless all joints are tracked.

`clean=True` (the default) does what published results rest on:

- Samples on the official lists of missing skeletons are left out. The lists come with the data set; they are looked for in the
  folder and beside it (`*samples_with_missing_skeletons.txt`), or named by `missing`.
- Of several bodies, those seen in 11 frames or fewer are dropped, then those of whose frames 69.754 % or more are noise (wider
  than .8 of their height), but never the last one left. The two that move most stay (sum of the variances of x, y and z over the
  frames that are no noise), the one that moves more first.
- All points are moved by the same vector, so that the first person's spine-mid is at the origin where that person first appears.

Where masked depth maps lie below the same folder (a folder SsssCcccPpppRrrrAaaa of MDepth-*.png for each clip), clips have depth too;
where videos do (SsssCcccPpppRrrrAaaa_rgb.avi, any container), clips have video, and `image_pose`, their skeletons in pixels of the colour
image. The colour camera runs with the skeleton.

Frames that show none of the persons kept are left out, with or without cleaning; `times` then tells when the others were.
`clean=False` gives every body of a file where it was, in the order in which they came.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kinema.clip import IMAGE_POSE, Clip, Lazy, PoseSequence, VideoSource
from kinema.datasets._cache import read_poses
from kinema.datasets._depth import lazy_depths
from kinema.datasets._io import numbers, parser, read_text
from kinema.datasets._ntu_depth import holds_depth, read_depth, read_depth_crop
from kinema.datasets._videos import is_video
from kinema.datasets.base import Dataset, DatasetInfo, OnError, Protocol
from kinema.datasets.protocols import by_values
from kinema.errors import DataError

CLASSES_120 = tuple(
    """
drink water; eat meal/snack; brushing teeth; brushing hair; drop; pickup; throw; sitting down; standing up (from sitting position);
clapping; reading; writing; tear up paper; wear jacket; take off jacket; wear a shoe; take off a shoe; wear on glasses; take off
glasses; put on a hat/cap; take off a hat/cap; cheer up; hand waving; kicking something; reach into pocket; hopping (one foot jumping);
jump up; make a phone call/answer phone; playing with phone/tablet; typing on a keyboard; pointing to something with finger; taking a
selfie; check time (from watch); rub two hands together; nod head/bow; shake head; wipe face; salute; put the palms together; cross
hands in front (say stop); sneeze/cough; staggering; falling; touch head (headache); touch chest (stomachache/heart pain); touch back
(backache); touch neck (neckache); nausea or vomiting condition; use a fan (with hand or paper)/feeling warm; punching/slapping other
person; kicking other person; pushing other person; pat on back of other person; point finger at the other person; hugging other person;
giving something to other person; touch other person's pocket; handshaking; walking towards each other; walking apart from each other;
put on headphone; take off headphone; shoot at the basket; bounce ball; tennis bat swing; juggling table tennis balls; hush (quite);
flick hair; thumb up; thumb down; make ok sign; make victory sign; staple book; counting money; cutting nails; cutting paper (using
scissors); snapping fingers; open bottle; sniff (smell); squat down; toss a coin; fold paper; ball up paper; play magic cube; apply
cream on face; apply cream on hand back; put on bag; take off bag; put something into a bag; take something out of a bag; open a box;
move heavy objects; shake fist; throw up cap/hat; hands up (both hands); cross arms; arm circles; arm swings; running on the spot; butt
kicks (kick backward); cross toe touch; side kick; yawn; stretch oneself; blow nose; hit other person with something; wield knife
towards other person; knock over other person (hit with body); grab other person's stuff; shoot at other person with a gun; step on
foot; high-five; cheers and drink; carry something with other person; take a photo of other person; follow other person; whisper in
other person's ear; exchange things with other person; support somebody with hand; finger-guessing game (playing rock-paper-scissors)
""".replace("\n", " ")
    .strip()
    .split("; ")
)
CLASSES_60 = CLASSES_120[:60]
INFO = DatasetInfo(
    "ntu",
    "NTU RGB+D: 60 or 120 actions, 40 or 106 subjects, up to 2 persons, Kinect v2",
    ("pose", "depth", "video"),
    120,
    "https://rose1.ntu.edu.sg/dataset/actionRecognition/",
    "folder of .skeleton files, and folders of masked depth images and _rgb videos where wanted",
)

NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
_TRAIN_60 = {1, 2, 4, 5, 8, 9, *range(13, 20), 25, 27, 28, 31, 34, 35, 38}
_TRAIN_120 = _TRAIN_60 | {45, 46, 47, 49, 50, *range(52, 60), 70, 74, 78, *range(80, 87), 89, *range(91, 96), 97, 98, 100, 103}
_JOINTS = 25
_SPINE_MID = 1
_FEWEST_FRAMES = 12
_MOST_NOISE = 0.69754
_WIDTH = 0.8


def recording(name: str) -> dict[str, Any] | None:
    """What a name such as S001C001P001R001A001 tells: `setup`, `view`, `subject` and `action` (from 1); None if it is no such name."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    setup, camera, performer, _, action = map(int, match.groups())
    return {"setup": str(setup), "view": str(camera), "subject": str(performer), "action": action}


def protocols(version: Literal[60, 120]) -> dict[str, Protocol]:
    """The official ways to divide NTU RGB+D and NTU RGB+D 120, for clips that say their subject, view and setup."""
    train = _TRAIN_60 if version == 60 else _TRAIN_120
    subjects = by_values(
        "cross-subject", f"the {len(train)} official training persons train, the others test", "subject", {*map(str, train)}
    )
    if version == 60:
        other = by_values("cross-view", "cameras 2 and 3 train, camera 1 tests", "view", {"2", "3"})
    else:
        other = by_values("cross-setup", "even setups train, odd ones test", "setup", {str(setup) for setup in range(2, 33, 2)})
    return {protocol.name: protocol for protocol in (subjects, other)}


Body = tuple[np.ndarray, np.ndarray]  # numbers of the frames that show it (N,), and its joints there (N, 25, x y z state)


@parser
def read_skeleton(path: str | Path, clean: bool = True) -> PoseSequence:
    """The pose of one file: up to 2 persons (`clean`) or all bodies, 25 joints, metres. `DataError` names the line at fault."""
    frames, bodies = bodies_in(read_text(path).splitlines(), path)
    if not bodies:
        raise DataError(f"there is no body in any of its {frames} frames; the official list of missing skeletons names such files", path)
    if clean:
        bodies = cleaned(bodies)
    seen = np.unique(np.concatenate([number for number, _ in bodies]))
    joints = np.zeros((len(bodies), len(seen), _JOINTS, 4))
    mask = np.zeros((len(bodies), len(seen), _JOINTS), bool)
    for person, (number, values) in enumerate(bodies):
        where = np.searchsorted(seen, number)
        joints[person, where] = values
        mask[person, where] = True
    points, score = joints[..., :3], joints[..., 3] / 2
    if clean:
        points = points - points[0, np.argmax(mask[0, :, _SPINE_MID]), _SPINE_MID]
    tracked = (score[mask] == 1).all()
    gaps = len(seen) < seen[-1] - seen[0] + 1
    return PoseSequence(points, "ntu25", "m", mask, None if tracked else score, fps=30.0, times=(seen - seen[0]) / 30.0 if gaps else None)


def bodies_in(lines: list[str], path: str | Path) -> tuple[int, list[Body]]:
    """Number of frames, and the bodies in the order in which they came."""
    numbers_of: dict[tuple[str, int], list[int]] = defaultdict(list)
    values_of: dict[tuple[str, int], list[float]] = defaultdict(list)
    at = 0

    def count(what: str) -> int:
        nonlocal at
        word = lines[at].strip()
        if not word.isdecimal():
            raise DataError(f"{word[:40]!r} is not {what}", path, f"line {at + 1}")
        at += 1
        return int(word)

    frames = count("a number of frames")
    frame = 0
    try:
        for frame in range(frames):
            here: list[str] = []
            for _ in range(count("a number of bodies")):
                header = lines[at].split()
                if len(header) != 10:
                    raise DataError(f"a body's line has {len(header)} fields; 10 are expected", path, f"line {at + 1}")
                at += 1
                joints = count("a number of joints")
                if joints != _JOINTS:
                    raise DataError(f"a body has {joints} joints; {_JOINTS} are expected", path, f"line {at}")
                body = (header[0], here.count(header[0]))
                here.append(header[0])
                numbers_of[body].append(frame)
                values_of[body] += _joints(lines, at, path)
                at += _JOINTS
    except IndexError:
        raise DataError(f"the file is cut short: it ends in frame {frame + 1} of {frames}", path, f"line {len(lines)}") from None
    rest = next((i for i in range(at, len(lines)) if lines[i].strip()), None)
    if rest is not None:
        raise DataError(f"there is more after the last of {frames} frames", path, f"line {rest + 1}")
    return frames, [
        (np.array(numbers_of[body]), np.array(values_of[body]).reshape(-1, 4, _JOINTS).transpose(0, 2, 1)) for body in numbers_of
    ]


def _joints(lines: list[str], at: int, path: str | Path) -> list[float]:
    """x of the 25 joints whose lines start there, then their y, z and state. `IndexError` where the file ends before."""
    rows = lines[at : at + _JOINTS]
    words = " ".join(rows).split()
    if len(words) != _JOINTS * 12:
        for i, row in enumerate(rows):
            if len(row.split()) != 12 and at + i + 1 < len(lines):
                raise DataError(f"a joint's line has {len(row.split())} fields; 12 are expected", path, f"line {at + i + 1}")
        raise IndexError
    picked = words[0::12] + words[1::12] + words[2::12] + words[11::12]
    try:
        return list(map(float, picked))
    except ValueError:
        return numbers(picked, lambda i: f"line {at + i % _JOINTS + 1}")


def cleaned(bodies: list[Body]) -> list[Body]:
    """The two bodies at most that published results rest on, the one that moves more first."""
    if len(bodies) > 1:
        bodies = [body for body in bodies if len(body[0]) >= _FEWEST_FRAMES] or [max(bodies, key=lambda body: len(body[0]))]
    if len(bodies) == 1:
        return bodies
    noise = [_noisy(values) for _, values in bodies]
    shares = [noisy.mean() for noisy in noise]
    left = [i for i, share in enumerate(shares) if share < _MOST_NOISE] or [int(np.argmin(shares))]
    motion = {i: 0.0 if noise[i].all() else bodies[i][1][~noise[i], :, :3].reshape(-1, 3).var(0).sum() for i in left}
    return [bodies[i] for i in sorted(left, key=lambda i: -motion[i])[:2]]


def _noisy(values: np.ndarray) -> np.ndarray:
    """(N,) whether a frame shows something wider than a person, such as a table."""
    spread = np.ptp(values[..., :2], axis=1)
    return spread[:, 0] > _WIDTH * spread[:, 1]


def read(
    root: str | Path,
    *,
    on_error: OnError = "raise",
    cache: bool = True,
    version: Literal[60, 120] = 60,
    clean: bool = True,
    missing: str | Path | None = None,
) -> Dataset:
    """NTU RGB+D (`version=60`: actions 1-60) or NTU RGB+D 120 (`version=120`: all). `clean` and `missing`: see this module."""
    root = Path(root)
    if version not in (60, 120):
        raise DataError(f"version {version!r} is none; 60 and 120 are")
    found: list[tuple[str, str]] = []
    depths: dict[str, str] = {}
    videos: dict[str, VideoSource] = {}
    for folder, _, names in os.walk(root):  # once: a clip's depth images are a hundred files
        found += [(name, folder) for name in names if name.endswith(".skeleton")]
        rgb = (name for name in names if "_rgb." in name and is_video(name))
        videos |= {name.partition("_rgb.")[0]: VideoSource(Path(folder, name)) for name in rgb}
        if NAME.fullmatch(os.path.basename(folder)) and holds_depth(names):
            depths[os.path.basename(folder)] = folder
    found.sort()
    if not found:
        raise DataError("no clips: files such as S001C001P001R001A001.skeleton are expected here", root)
    left_out = _missing(root, missing) if clean else set()
    named: list[tuple[Path, dict[str, Any]]] = []
    strange: list[DataError] = []
    for name, folder in found:
        who = recording(name[: -len(".skeleton")])
        path = Path(folder, name)
        if who is None:
            strange.append(DataError("the name is not of the form SsssCcccPpppRrrrAaaa.skeleton", path))
        elif not 1 <= who["action"] <= len(CLASSES_120):
            strange.append(DataError(f"action {who['action']} is outside the {len(CLASSES_120)} classes", path))
        elif who["action"] <= version and path.stem not in left_out:
            named.append((path, who))
    files = [str(path) for path, _ in named]
    variant = f"{version} {missing}"
    poses, skipped = read_poses(INFO.name, root, files, read_skeleton, on_error=on_error, cache=cache, variant=variant, clean=clean)
    for error in strange:
        skipped.add(error)
    depth_of = lazy_depths(INFO.name, root, depths, read_depth, read_depth_crop, cache)
    from kinema.datasets._ntu_image import read_image_points  # which leans on this module

    image_pose_of = {path.stem: Lazy(partial(read_image_points, path)) for path, _ in named if path.stem in videos}
    others = (("depth", depth_of), ("video", videos), (IMAGE_POSE, image_pose_of))
    clips = tuple(
        Clip(
            path.stem,
            {"pose": pose, **{name: of[path.stem] for name, of in others if path.stem in of}},
            who["action"] - 1,
            who["subject"],
            who["view"],
            who["setup"],
            source=path,
        )
        for (path, who), pose in zip(named, poses, strict=True)
        if pose is not None
    )
    classes = CLASSES_60 if version == 60 else CLASSES_120
    return Dataset(INFO.name, clips, classes, protocols(version), tuple(skipped), root)


def _missing(root: Path, named: str | Path | None) -> set[str]:
    """Names on the official lists of samples with missing skeletons, as far as the lists are at hand."""
    if named is not None:
        lists = [Path(named).expanduser()]
    else:
        lists = sorted(path for folder in (root, root.parent) for path in folder.glob("*samples_with_missing_skeletons*.txt"))
    return {line.strip() for path in lists for line in read_text(path).splitlines() if NAME.fullmatch(line.strip())}
