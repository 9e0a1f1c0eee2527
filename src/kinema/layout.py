"""Joint layouts (names, bones, mirror pairs, root) and conversion between any two of them by joint name.

One vocabulary of joint names serves all layouts, so that the same body part has the same name everywhere: OpenNI's torso,
Kinect v2's spine-mid and JHMDB's belly are all `spine`; spine-base and mid-hip are `hip_center`; spine-shoulder is
`shoulder_center`. Left and right are the names that the recording gives; a sensor that mirrors is not corrected here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from kinema.errors import LayoutError, unknown


@dataclass(frozen=True)
class Layout:
    """The joints of a skeleton, in the order in which arrays hold them.

    `joints`: V names. `bones`: (child, parent) index pairs, a tree over all V joints (V - 1 of them).
    `root`: index of the joint that a sequence is centred on.
    """

    name: str
    joints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    root: int
    title: str = ""

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Index of a joint by name; `LayoutError` with the nearest name otherwise."""
        try:
            return self.joints.index(joint)
        except ValueError:
            raise LayoutError(f"layout {self.name!r}: {unknown('joint', joint, self.joints)}") from None

    def has(self, *joints: str) -> bool:
        return all(joint in self.joints for joint in joints)

    @cached_property
    def parents(self) -> np.ndarray:
        """(V,) parent of each joint; the root of the tree is its own parent."""
        parents = np.arange(len(self.joints))
        for child, parent in self.bones:
            parents[child] = parent
        return parents

    @cached_property
    def mirror(self) -> np.ndarray:
        """(V,) permutation that swaps the left joints with the right ones; applying it twice is the identity."""
        return np.array([self.joints.index(_other_side(joint)) for joint in self.joints])

    @cached_property
    def mirror_pairs(self) -> tuple[tuple[int, int], ...]:
        """(left, right) index pairs."""
        return tuple((i, int(j)) for i, j in enumerate(self.mirror) if i != j and self.joints[i].startswith("left_"))


def _other_side(joint: str) -> str:
    if joint.startswith("left_"):
        return "right_" + joint[5:]
    if joint.startswith("right_"):
        return "left_" + joint[6:]
    return joint


def _layout(name: str, title: str, joints: str, bones: str, root: str) -> Layout:
    """`bones`: `child-parent` pairs; `L`/`R` in front of a name stands for left_/right_, `*` for one pair a side."""
    names = tuple(_full(word) for word in joints.split())
    pairs = []
    for word in bones.split():
        for side in ("L", "R") if "*" in word else ("",):
            child, parent = (_full(part.replace("*", side)) for part in word.split("-"))
            pairs.append((names.index(child), names.index(parent)))
    return Layout(name, names, tuple(pairs), names.index(root), title)


def _full(word: str) -> str:
    return {"L": "left_", "R": "right_"}.get(word[0], word[0]) + word[1:]


_KINECT_LIMBS = "*shoulder-shoulder_center *elbow-*shoulder *wrist-*elbow *hand-*wrist *hip-hip_center *knee-*hip *ankle-*knee *foot-*ankle"
_KINECT_ARMS = "Lshoulder Lelbow Lwrist Lhand Rshoulder Relbow Rwrist Rhand"
_KINECT_LEGS = "Lhip Lknee Lankle Lfoot Rhip Rknee Rankle Rfoot"
_OPENPOSE_ARMS = "Rshoulder Relbow Rwrist Lshoulder Lelbow Lwrist"
_OPENPOSE_LEGS = "Rhip Rknee Rankle Lhip Lknee Lankle"
_OPENPOSE_BONES = "nose-neck *eye-nose *ear-*eye *shoulder-neck *elbow-*shoulder *wrist-*elbow *knee-*hip *ankle-*knee"

_ALL = (
    _layout(
        "utd-mhad",
        "Kinect v1, 20 joints, in UTD-MHAD's order",
        f"head shoulder_center spine hip_center {_KINECT_ARMS} {_KINECT_LEGS}",
        f"head-shoulder_center shoulder_center-spine spine-hip_center {_KINECT_LIMBS}",
        "hip_center",
    ),
    _layout(
        "kinect20",
        "Kinect v1, 20 joints, in the order of the SDK and of N-UCLA",
        f"hip_center spine shoulder_center head {_KINECT_ARMS} {_KINECT_LEGS}",
        f"spine-hip_center shoulder_center-spine head-shoulder_center {_KINECT_LIMBS}",
        "hip_center",
    ),
    _layout(
        "ntu25",
        "Kinect v2, 25 joints, in the order of NTU RGB+D",
        f"hip_center spine neck head {_KINECT_ARMS} {_KINECT_LEGS} shoulder_center Lhand_tip Lthumb Rhand_tip Rthumb",
        f"spine-hip_center shoulder_center-spine neck-shoulder_center head-neck {_KINECT_LIMBS} *hand_tip-*hand *thumb-*wrist",
        "spine",
    ),
    _layout(
        "cad60",
        "OpenNI, 15 joints, in CAD-60's order",
        "head neck spine Lshoulder Lelbow Rshoulder Relbow Lhip Lknee Rhip Rknee Lhand Rhand Lfoot Rfoot",
        "neck-spine head-neck *shoulder-neck *elbow-*shoulder *hand-*elbow *hip-spine *knee-*hip *foot-*knee",
        "spine",
    ),
    _layout(
        "coco17",
        "COCO, 17 key points",
        "nose Leye Reye Lear Rear Lshoulder Rshoulder Lelbow Relbow Lwrist Rwrist Lhip Rhip Lknee Rknee Lankle Rankle",
        "*eye-nose *ear-*eye *shoulder-nose *elbow-*shoulder *wrist-*elbow *hip-*shoulder *knee-*hip *ankle-*knee",
        "nose",
    ),
    _layout(
        "coco15",
        "COCO without eyes and ears, with the middles of shoulders and hips: what estimators and depth sensors have in common",
        "nose Lshoulder Rshoulder Lelbow Relbow Lwrist Rwrist Lhip Rhip Lknee Rknee Lankle Rankle mid_shoulder mid_hip",
        "nose-mid_shoulder mid_shoulder-mid_hip *shoulder-mid_shoulder *elbow-*shoulder *wrist-*elbow *hip-mid_hip *knee-*hip *ankle-*knee",
        "mid_hip",
    ),
    _layout(
        "openpose18",
        "OpenPose, 18 key points (COCO model)",
        f"nose neck {_OPENPOSE_ARMS} {_OPENPOSE_LEGS} Reye Leye Rear Lear",
        f"{_OPENPOSE_BONES} *hip-neck",
        "neck",
    ),
    _layout(
        "openpose25",
        "OpenPose, 25 key points (BODY_25 model)",
        f"nose neck {_OPENPOSE_ARMS} hip_center {_OPENPOSE_LEGS} Reye Leye Rear Lear Lbig_toe Lsmall_toe Lheel Rbig_toe Rsmall_toe Rheel",
        f"{_OPENPOSE_BONES} hip_center-neck *hip-hip_center *heel-*ankle *big_toe-*ankle *small_toe-*big_toe",
        "hip_center",
    ),
    _layout(
        "jhmdb15",
        "JHMDB, 15 joints",
        "neck spine face Rshoulder Lshoulder Rhip Lhip Relbow Lelbow Rknee Lknee Rwrist Lwrist Rankle Lankle",
        "neck-spine face-neck *shoulder-neck *elbow-*shoulder *wrist-*elbow *hip-spine *knee-*hip *ankle-*knee",
        "spine",
    ),
    _layout(
        "blazepose33",
        "BlazePose, 33 landmarks",
        "nose Leye_inner Leye Leye_outer Reye_inner Reye Reye_outer Lear Rear Lmouth Rmouth Lshoulder Rshoulder Lelbow "
        "Relbow Lwrist Rwrist Lpinky Rpinky Lindex Rindex Lthumb Rthumb Lhip Rhip Lknee Rknee Lankle Rankle Lheel Rheel "
        "Lfoot_index Rfoot_index",
        "*eye_inner-nose *eye-*eye_inner *eye_outer-*eye *ear-*eye_outer *mouth-nose *shoulder-nose *elbow-*shoulder "
        "*wrist-*elbow *pinky-*wrist *index-*wrist *thumb-*wrist *hip-*shoulder *knee-*hip *ankle-*knee *heel-*ankle "
        "*foot_index-*ankle",
        "nose",
    ),
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ALL}

# What a missing joint may be made of, best first: the mean of the joints in the first tuple that are all there.
# Estimators put the head's centre between the ears; a wrist stands in for the hand that a layout ends with.
_DERIVATIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "head": (("left_ear", "right_ear"), ("face",), ("nose",)),
    "face": (("nose",), ("head",)),
    "nose": (("face",), ("head",)),
    "neck": (("shoulder_center",), ("left_shoulder", "right_shoulder")),
    "shoulder_center": (("neck",), ("left_shoulder", "right_shoulder")),
    "spine": (("left_shoulder", "right_shoulder", "left_hip", "right_hip"),),
    "hip_center": (("left_hip", "right_hip"),),
    # Where a sensor puts its own centres differs from one to the next; these are the same of all.
    "mid_shoulder": (("left_shoulder", "right_shoulder"),),
    "mid_hip": (("left_hip", "right_hip"),),
    **{
        f"{side}_{joint}": tuple(tuple(f"{side}_{name}" for name in names) for names in options)
        for side in ("left", "right")
        for joint, options in {
            "wrist": (("hand",),),
            "hand": (("index", "pinky"), ("wrist",)),
            "hand_tip": (("index",),),
            "ankle": (("heel",), ("foot",)),
            "foot": (("foot_index",), ("big_toe",), ("ankle",)),
            "foot_index": (("big_toe",), ("foot",)),
            "big_toe": (("foot_index",), ("foot",)),
        }.items()
    },
}


def get_layout(name: str | Layout) -> Layout:
    """A known layout by name; `LayoutError` with the nearest name otherwise."""
    if isinstance(name, Layout):
        return name
    if name not in LAYOUTS:
        raise LayoutError(unknown("joint layout", name, LAYOUTS))
    return LAYOUTS[name]


def sources(target: str, source: Layout) -> tuple[str, ...] | None:
    """The joints of `source` whose mean stands for joint `target`: itself, a derivation, or None where there is none."""
    if target in source.joints:
        return (target,)
    return next((names for names in _DERIVATIONS.get(target, ()) if source.has(*names)), None)


@lru_cache(maxsize=256)
def conversion(source: Layout, target: Layout, allow_missing: bool = False) -> np.ndarray:
    """(V_target, V_source) float32 weights with rows that sum to 1: target points = weights @ source points.

    A joint that `source` lacks and that cannot be derived raises `LayoutError`, or, with `allow_missing`, leaves a
    row of zeros (the joint is then masked, not placed at the origin).
    """
    weights = np.zeros((len(target), len(source)), np.float32)
    lacking = []
    for row, joint in enumerate(target.joints):
        names = sources(joint, source)
        if names is None:
            lacking.append(joint)
            continue
        for name in names:
            weights[row, source.joints.index(name)] = 1 / len(names)
    if lacking and not allow_missing:
        raise LayoutError(
            f"layout {source.name!r} cannot be converted to {target.name!r}: it has nothing to derive {', '.join(lacking)} from"
        )
    weights.setflags(write=False)
    return weights


def custom_layout(joints: Sequence[str], bones: Sequence[tuple[str, str]], root: str, name: str = "custom") -> Layout:
    """A layout of the user's own from joint names and (child, parent) name pairs; checked to be a tree over all joints."""
    joints = tuple(joints)
    if len(set(joints)) != len(joints) or not joints:
        raise LayoutError(f"layout {name!r}: joint names must be there and differ from one another")
    for joint in joints:
        if _other_side(joint) not in joints:
            raise LayoutError(f"layout {name!r}: {joint!r} has no counterpart {_other_side(joint)!r}")
    missing = sorted({joint for bone in bones for joint in bone} | {root} - set(joints)) if bones else [root]
    missing = [joint for joint in missing if joint not in joints]
    if missing:
        raise LayoutError(f"layout {name!r}: bones or root name {', '.join(missing)}, which is no joint of it")
    pairs = tuple((joints.index(child), joints.index(parent)) for child, parent in bones)
    layout = Layout(name, joints, pairs, joints.index(root))
    children = [child for child, _ in pairs]
    if len(set(children)) != len(children) or not _is_tree(layout):
        raise LayoutError(f"layout {name!r}: bones must join the {len(joints)} joints into one tree ({len(joints) - 1} bones)")
    return layout


def _is_tree(layout: Layout) -> bool:
    if len(layout.bones) != len(layout) - 1:
        return False
    heights = layout.parents.copy()
    for _ in range(len(layout)):
        heights = layout.parents[heights]
    return len(set(heights.tolist())) == 1
