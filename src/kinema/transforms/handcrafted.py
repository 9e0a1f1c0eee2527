"""Handcrafted skeleton features of RoboComp's activity recogniser: 16 a frame, made of distances, displacements and body turn;
and plain positions, to put beside them.

Follows the public description of that component (CAD-60, OpenNI's 15 joints); see docs/systems/robocomp.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kinema.layout import Layout

_SIDES = ("left", "right")
_MOVING = ("left_hand", "right_hand", "head")
FEATURES = (
    *(f"{side}_hand_to_torso" for side in _SIDES),
    *(f"{side}_elbow_to_torso" for side in _SIDES),
    "hand_to_hand",
    "head_to_torso",
    "shoulders_to_feet",
    "knees_to_torso",
    *(f"{joint}_d{axis}" for joint in _MOVING for axis in "xy"),
    "body_turn",
    "hands_to_knees",
)


# Joints that the features are made of.
JOINTS = ("head", "spine", *(f"{side}_{joint}" for joint in ("shoulder", "elbow", "hand", "knee", "foot") for side in _SIDES))


def column_names(frames: int) -> tuple[str, ...]:
    """Names of the columns of `features(...).flatten(1)`: frame by frame, counted from 1."""
    return tuple(f"frame{frame}_{name}" for frame in range(1, frames + 1) for name in FEATURES)


def features(x: Tensor, layout: Layout, floor: float | None = None) -> Tensor:
    """(B, T, 16) features, in the order of `FEATURES`, of one person's skeletons `x` (B, T, V, 3), y upwards.

    Distances in the unit of `x`; sums of both sides where the name is plural. Displacements are those of a joint, seen from
    the torso, since the first of the T frames. Body turn is the distance of the shoulders in the image plane over that in
    space: 1 facing the camera, 0 in profile.

    `floor` reproduces a fault of the published code: displacements below it are set to it, which loses every movement in
    the negative direction.
    """
    at = {joint: x[:, :, layout.index(joint)] for joint in JOINTS}
    torso = at["spine"]

    def distance(first: str, second: str) -> Tensor:
        return (at[first] - at[second]).norm(dim=-1)

    def both(first: str, second: str) -> Tensor:
        return sum(distance(f"{side}_{first}", f"{side}_{second}" if second != "spine" else second) for side in _SIDES)

    columns = [distance(f"{side}_{joint}", "spine") for joint in ("hand", "elbow") for side in _SIDES]
    columns += [distance("left_hand", "right_hand"), distance("head", "spine"), both("shoulder", "foot"), both("knee", "spine")]
    for joint in _MOVING:
        place = at[joint] - torso
        moved = place - place[:, :1]
        if floor is not None:
            moved = moved.clamp(min=floor)
        columns += [moved[..., 0], moved[..., 1]]
    across = at["left_shoulder"] - at["right_shoulder"]
    columns.append(across[..., :2].norm(dim=-1) / across.norm(dim=-1).clamp(min=1e-9))
    columns.append(both("hand", "knee"))
    return torch.stack(columns, dim=-1)


def positions(x: Tensor, layout: Layout) -> Tensor:
    """(B, T, 3 (V - 1)) positions of one person's joints `x` (B, T, V, 3) seen from the root, in the unit of `x`, in the order
    of the layout without the root."""
    others = [joint for joint in range(len(layout)) if joint != layout.root]
    return (x[:, :, others] - x[:, :, layout.root, None]).flatten(2)


def posture(x: Tensor, layout: Layout) -> Tensor:
    """(B, T, 3 (V + 6)) `positions`, and how the arms reach: hands and elbows seen from the head, hands from their shoulders,
    one hand from the other."""
    at = {joint: x[:, :, layout.index(joint)] for joint in JOINTS}
    reach = [at[f"{side}_{joint}"] - at["head"] for joint in ("hand", "elbow") for side in _SIDES]
    reach += [at[f"{side}_hand"] - at[f"{side}_shoulder"] for side in _SIDES]
    return torch.cat([positions(x, layout), *reach, at["left_hand"] - at["right_hand"]], dim=-1)
