"""The actor's body: bones of fixed length, posed by angles. What it performs is in `_actor_moves`.

Directions are told as a person would: `raised` degrees from hanging straight down (90 is horizontal, 180 straight up),
`swung` degrees from straight ahead outwards (90 is sideways, negative across the body). Inside, vectors are
(right, up, ahead) of the person; the camera that the person faces has right as +x, up as +y and ahead as -z.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

SIDES = {"left": -1.0, "right": 1.0}
# A depth sensor sees the front of the belly and takes it for the hips: feet (leg lengths) and spine (m) are behind them.
_HIPS_AHEAD, _SPINE_BEHIND = 0.1, 0.035


@dataclass(frozen=True)
class Body:
    """Lengths in metres of one person's bones."""

    head: float = 0.185
    chest: float = 0.33  # spine to shoulder_center
    belly: float = 0.075  # hip_center to spine
    shoulder_out: float = 0.16
    shoulder_down: float = 0.11
    upper_arm: float = 0.265
    forearm: float = 0.22
    hand: float = 0.06
    hip_out: float = 0.072
    hip_down: float = 0.075
    thigh: float = 0.45
    shin: float = 0.35
    foot: float = 0.075

    @property
    def leg(self) -> float:
        return self.thigh + self.shin

    def varied(self, size: float, rng: np.random.Generator) -> Body:
        """A person of another size, each bone a little off the average."""
        return replace(self, **{bone.name: getattr(self, bone.name) * size * rng.normal(1, 0.03) for bone in fields(self)})


def direction(raised: np.ndarray, swung: np.ndarray, side: float) -> np.ndarray:
    """(..., 3) unit vectors (right, up, ahead) of angles in degrees."""
    raised, swung = np.deg2rad(raised), np.deg2rad(swung)
    return np.stack([side * np.sin(raised) * np.sin(swung), -np.cos(raised), np.sin(raised) * np.cos(swung)], -1)


def pose(body: Body, arms: dict[str, tuple[np.ndarray, np.ndarray]], trunk: dict[str, np.ndarray]) -> np.ndarray:
    """Joints of a movement, (T, 20, 3) in metres: right, up, ahead, the standing hips at the origin.

    `arms`: per side the directions (T, 3) of upper arm and forearm, in the frame that the shoulders are turned to.
    `trunk`: (T,) each. In degrees `lean` (forwards), `tilt` (to the right), `turn` (whole body, to the left), `twist`
    (shoulders against the hips, to the left); in leg lengths `ahead`, `aside`, `drop` of the hips and, per side,
    `left_step` (foot ahead), `left_lift`, `left_out`. Knees and hips bend so that the feet are where they should be.
    """
    ahead, aside, drop = (trunk[name] * body.leg for name in ("ahead", "aside", "drop"))
    hips = np.stack([aside, -drop, ahead], -1)
    pelvis = _turned(trunk["turn"] + 0.3 * trunk["twist"])
    chest = _turned(trunk["turn"] + trunk["twist"])
    upright = _leaning(trunk["lean"], trunk["tilt"])
    up = np.einsum("tij,tj->ti", chest, upright)

    spine = hips + body.belly * up - _SPINE_BEHIND * pelvis[:, :, 2]
    shoulders = spine + body.chest * up
    joints = [shoulders + body.head * np.einsum("tij,tj->ti", chest, _leaning(0.6 * trunk["lean"], 0.6 * trunk["tilt"]))]
    joints += [shoulders, spine, hips]
    for name, side in SIDES.items():
        upper, fore = (np.einsum("tij,tj->ti", chest, part) for part in arms[name])
        # the collar bone rises with the arm
        rise = 0.25 * np.clip(upper[:, 1:2], 0, None) - 1
        shoulder = shoulders + body.shoulder_down * rise * up + side * body.shoulder_out * chest[:, :, 0]
        elbow = shoulder + body.upper_arm * upper
        wrist = elbow + body.forearm * fore
        joints += [shoulder, elbow, wrist, wrist + body.hand * fore]
    for name, side in SIDES.items():
        hip = hips - body.hip_down * np.array([0, 1, 0]) + side * body.hip_out * pelvis[:, :, 0]
        spread, lift, step = (trunk[f"{name}_{part}"] * body.leg for part in ("out", "lift", "step"))
        home = np.stack([side * (0.85 * body.hip_out + spread), lift - body.hip_down - 0.996 * body.leg, step - _HIPS_AHEAD * body.leg], -1)
        ankle = np.einsum("tij,tj->ti", _turned(trunk["turn"]), home)
        toes = np.einsum("tij,tj->ti", pelvis, direction(np.full(len(hip), 40.0), np.full(len(hip), 15.0), side))
        knee, ankle = _bend(hip, ankle, body.thigh, body.shin, pelvis[:, :, 2] + 0.2 * side * pelvis[:, :, 0])
        joints += [hip, knee, ankle, ankle + body.foot * toes]
    return np.stack(joints, 1)


def _turned(degrees: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations about the vertical, to the person's left; their columns are right, up, ahead."""
    angle = np.deg2rad(degrees)
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, 0, 0], matrix[:, 0, 2] = np.cos(angle), -np.sin(angle)
    matrix[:, 2, 0], matrix[:, 2, 2] = np.sin(angle), np.cos(angle)
    matrix[:, 1, 1] = 1
    return matrix


def _leaning(lean: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """(T, 3) where the trunk's top points to."""
    lean, tilt = np.deg2rad(lean), np.deg2rad(tilt)
    return np.stack([np.sin(tilt) * np.cos(lean), np.cos(lean) * np.cos(tilt), np.sin(lean)], -1)


def _bend(start: np.ndarray, end: np.ndarray, first: float, second: float, towards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle joint of two bones between two points, bent `towards`; the end is drawn in where it is out of reach."""
    line = end - start
    distance = np.linalg.norm(line, axis=-1, keepdims=True)
    line = line / distance
    distance = np.clip(distance, abs(first - second) * 1.02, (first + second) * 0.999)
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    towards = towards - (towards * line).sum(-1, keepdims=True) * line
    towards = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    return start + along * line + np.sqrt(first**2 - along**2) * towards, start + distance * line
