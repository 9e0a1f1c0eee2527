"""What the actor performs: for each action the key poses of the arms and of the body, designed by hand, in the angles of `_actor_body`.

An arm's key is (time, upper arm raised, upper arm swung, forearm raised, forearm swung); the time runs from 0 to 1 over
the clip. A body key is (time, {name: value}); a name that a key leaves out moves on from its last key to its next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

ArmKey = tuple[float, float, float, float, float]
BodyKey = tuple[float, dict[str, float]]
REST = (12.0, 85.0, 15.0, 5.0)  # an arm that hangs, a little bent


@dataclass(frozen=True)
class Move:
    """One performance: `seconds` it takes, keys of the arms (none: they hang) and of the body."""

    seconds: float
    right: tuple[ArmKey, ...] = ()
    left: tuple[ArmKey, ...] = ()
    body: tuple[BodyKey, ...] = ()
    ends: tuple[tuple[float, ...], tuple[float, ...]] = field(default=(REST, REST))  # arms at the start and at the end


def _to_and_fro(start: float, stop: float, turns: int, *poses: tuple[float, ...]) -> tuple[ArmKey, ...]:
    """The poses in turn, `turns` times each, at equal distances in time."""
    times = np.linspace(start, stop, turns * len(poses))
    return tuple((float(time), *poses[i % len(poses)]) for i, time in enumerate(times))


def _swipe_left(repeat: int) -> Move:
    right = (0.24, 22, 85, 50, 40), (0.36, 75, 45, 112, 30), (0.46, 105, 5, 120, -35), (0.56, 98, -38, 107, -82)
    return Move(2.9, (*right, (0.67, 70, -35, 92, -65), (0.82, 22, 50, 32, -5)))


def _swipe_right(repeat: int) -> Move:
    right = (0.24, 35, 25, 80, -35), (0.35, 80, -25, 112, -78), (0.45, 108, -12, 112, -50), (0.55, 97, 30, 110, 22), (0.64, 78, 55, 97, 55)
    return Move(2.9, (*right, (0.74, 45, 68, 60, 35), (0.87, 14, 80, 20, 10)))


def _wave(repeat: int) -> Move:
    swings = _to_and_fro(0.32, 0.72, 2 + repeat, (100, 22, 140, -58), (98, 28, 146, 16))
    return Move(3.2, ((0.22, 50, 50, 112, 15), *swings, (0.82, 40, 50, 80, 0), (0.91, 13, 80, 20, 10)))


def _clap(repeat: int) -> Move:
    together, apart = (38, 6, 126, -50), (32, 14, 126, -18)
    claps = _to_and_fro(0.3, 0.64, repeat, together, apart)
    arm = ((0.2, 22, 50, 85, 0), *claps, (0.68, *together), (0.78, 24, 45, 75, -25), (0.88, 13, 80, 20, 0))
    return Move(3.0, arm, arm)


def _throw(repeat: int) -> Move:
    right = (0.2, 30, 110, 85, 50), (0.32, 85, 88, 145, 70), (0.4, 108, 72, 140, -120), (0.5, 122, 22, 128, -20), (0.58, 108, 8, 112, -12)
    body = (0.2, {"twist": 0}), (0.36, {"twist": -14}), (0.54, {"twist": 8}), (0.8, {"twist": 0})
    return Move(2.9, (*right, (0.7, 78, 25, 88, -18), (0.82, 36, 60, 52, -5), (0.92, 13, 100, 18, 10)), body=body)


def _arm_cross(repeat: int) -> Move:
    right = (0.2, 24, 45, 66, 0), (0.32, 46, 12, 124, -60), (0.44, 54, -2, 128, -68), (0.62, 53, 0, 127, -68), (0.74, 34, 30, 78, -30)
    left = (0.2, 22, 45, 62, 2), (0.32, 40, 5, 112, -62), (0.44, 38, 0, 114, -74), (0.62, 38, 2, 113, -72), (0.74, 30, 30, 72, -32)
    return Move(3.0, (*right, (0.87, 14, 80, 22, 0)), (*left, (0.87, 13, 80, 18, 0)))


def _circle(clockwise: bool) -> Move:
    """One round in front of the body, from the top to the top; the hand goes to the left first unless `clockwise`."""
    top, bottom = (118, 14, 148, -28), (44, 18, 74, -22)
    left, right = (78, -18, 102, -72), (82, 44, 104, 22)
    round_ = (top, right, bottom, left, top) if clockwise else (top, left, bottom, right, top)
    times = np.linspace(0.26, 0.6, len(round_))
    keys = tuple((float(time), *pose) for time, pose in zip(times, round_, strict=True))
    return Move(3.6, ((0.18, 60, 45, 108, 8), *keys, (0.68, 108, 22, 142, -36), (0.78, 60, 45, 78, -12), (0.89, 14, 80, 22, 8)))


def _draw_circle_clockwise(repeat: int) -> Move:
    return _circle(True)


def _draw_circle_counter_clockwise(repeat: int) -> Move:
    return _circle(False)


def _draw_x(repeat: int) -> Move:
    right = (0.2, 55, 52, 105, 20), (0.3, 108, 36, 146, 0), (0.42, 66, -8, 84, -62), (0.52, 98, -22, 132, -80), (0.6, 92, 10, 118, -15)
    return Move(3.3, (*right, (0.68, 58, 45, 70, 10), (0.78, 46, 55, 58, 5), (0.9, 14, 85, 20, 8)))


def _boxing(repeat: int) -> Move:
    """Fists in turn, right first; each is drawn back while the other hits."""
    hit, back = (102, 6, 104, -18), (20, 115, 134, -36)
    times = np.linspace(0.3, 0.74, 4 + repeat)
    right, left = ([(float(time), *(hit if i % 2 == first else back)) for i, time in enumerate(times)] for first in (0, 1))
    start, end = (0.2, 24, 105, 110, -25), ((0.84, 28, 65, 85, -30), (0.92, 14, 85, 22, 0))
    body = tuple((float(time), {"twist": -8.0 if i % 2 else 8.0}) for i, time in enumerate(times))
    return Move(3.3, (start, *right, *end), (start, *left, *end), ((0.15, {"twist": 0}), *body, (0.9, {"twist": 0})))


def _arm_curl(repeat: int) -> Move:
    arm = (0.22, 18, 55, 50, 0), (0.32, 34, 20, 100, -20), (0.42, 44, 15, 148, -62), (0.56, 38, 24, 150, -68), (0.66, 34, 24, 110, -22)
    arm = (*arm, (0.75, 28, 30, 62, -5), (0.86, 15, 55, 22, 8))
    return Move(2.9, arm, arm)


def _tennis_serve(repeat: int) -> Move:
    left = (0.16, 20, 60, 30, -15), (0.25, 80, -4, 112, -40), (0.34, 115, -8, 136, -70), (0.44, 45, 20, 80, -60)
    right = (
        (0.22, 28, 135, 50, 60),
        (0.32, 42, 140, 118, 105),
        (0.41, 100, 105, 146, -150),
        (0.5, 126, 30, 140, -30),
        (0.58, 108, 2, 108, -16),
    )
    body = (0.16, {"twist": 0, "lean": 0}), (0.36, {"twist": -22, "lean": -5}), (0.54, {"twist": 14, "lean": 10})
    body = (*body, (0.72, {"twist": 8, "lean": 6}), (0.92, {"twist": 0, "lean": 0}))
    right = (*right, (0.67, 78, 8, 84, -16), (0.8, 38, 50, 48, -10), (0.92, 14, 110, 20, 10))
    return Move(3.3, right, (*left, (0.56, 20, 40, 36, -20), (0.75, 14, 90, 24, 0)), body)


def _push(repeat: int) -> Move:
    arm = (0.18, 20, 115, 70, -8), (0.28, 30, 110, 128, -25), (0.36, 58, 40, 138, -60), (0.46, 90, 10, 108, -18), (0.58, 92, 8, 102, -8)
    arm = (*arm, (0.68, 66, 30, 98, -20), (0.78, 34, 68, 58, -10), (0.88, 14, 105, 18, 0))
    return Move(3.0, arm, arm)


def _knock(repeat: int) -> Move:
    knocks = _to_and_fro(0.32, 0.7, 2 + repeat, (104, 18, 153, -72), (108, 16, 130, -22))
    return Move(3.2, ((0.2, 42, 55, 108, -10), *knocks, (0.8, 62, 42, 96, -20), (0.9, 16, 85, 30, 0)))


def _catch(repeat: int) -> Move:
    right = (0.2, 30, 70, 112, 0), (0.29, 112, 32, 155, -50), (0.37, 128, 12, 136, -12), (0.5, 118, 18, 132, -14), (0.6, 92, 35, 132, -30)
    return Move(2.9, (*right, (0.7, 46, 55, 84, -15), (0.82, 15, 95, 28, 10)))


def _steps(count: int, start: float, stop: float, lift: float, stride: float, back: float) -> tuple[BodyKey, ...]:
    """Steps on the spot, right foot first; the hips sway over the standing foot."""
    keys: list[BodyKey] = [(start, {"right_lift": 0, "left_lift": 0, "right_step": 0, "left_step": 0, "aside": 0, "twist": 0, "drop": 0})]
    width = (stop - start) / (count + 1)
    for step in range(count):
        middle, side, other = start + (step + 1) * width, *(("right", "left") if step % 2 == 0 else ("left", "right"))
        sway = -1.0 if side == "right" else 1.0
        keys.append((middle - width / 2, {f"{side}_lift": 0, f"{other}_lift": 0, "drop": 0.012}))
        keys.append(
            (
                middle,
                {
                    f"{side}_lift": lift,
                    f"{other}_lift": 0,
                    f"{side}_step": stride,
                    f"{other}_step": back,
                    "aside": 0.03 * sway,
                    "twist": 7 * sway,
                    "drop": 0.0,
                },
            )
        )
    return (*keys, (stop, keys[0][1]))


def _jog(repeat: int) -> Move:
    count = 5 + 2 * repeat
    times = [time for time, values in _steps(count, 0.1, 0.9, 0, 0, 0) if "right_step" in values][1:-1]
    fore, back = (22, 40, 115, -42), (38, 150, 38, 5)
    right = tuple((time, *(back if i % 2 == 0 else fore)) for i, time in enumerate(times))
    left = tuple((time, *(fore if i % 2 == 0 else back)) for i, time in enumerate(times))
    return Move(3.3, right, left, _steps(count, 0.1, 0.9, 0.16, 0.09, -0.02))


def _walk(repeat: int) -> Move:
    count = 2 + repeat
    times = [time for time, values in _steps(count, 0.1, 0.9, 0, 0, 0) if "right_step" in values][1:-1]
    fore, back = (28, 20, 58, -18), (36, 152, 30, 140)
    right = tuple((time, *(back if i % 2 == 0 else fore)) for i, time in enumerate(times))
    left = tuple((time, *(fore if i % 2 == 0 else back)) for i, time in enumerate(times))
    return Move(3.5, right, left, _steps(count, 0.1, 0.9, 0.11, 0.07, -0.04))


_SEATED = {"drop": 0.43, "ahead": -0.4, "lean": 3.0, "left_out": 0.03, "right_out": 0.03}
_STANDING = {"drop": 0.0, "ahead": 0.0, "lean": 0.0, "left_out": 0.0, "right_out": 0.0}
_ON_THIGHS = (16.0, 40.0, 50.0, -12.0)


def _stand_to_sit(repeat: int) -> Move:
    body = (0.24, _STANDING), (0.36, {"drop": 0.12, "ahead": -0.12, "lean": 20}), (0.48, {"drop": 0.34, "ahead": -0.26, "lean": 32})
    body = (*body, (0.58, {"drop": 0.46, "ahead": -0.34, "lean": 26}), (0.74, _SEATED))
    arm = (0.3, 12, 80, 18, 5), (0.48, 18, 55, 40, -5), (0.72, *_ON_THIGHS)
    return Move(2.9, arm, arm, body, (REST, _ON_THIGHS))


def _sit_to_stand(repeat: int) -> Move:
    body = (0.2, _SEATED), (0.34, {"drop": 0.45, "ahead": -0.36, "lean": 26}), (0.44, {"drop": 0.3, "ahead": -0.2, "lean": 32})
    body = (*body, (0.54, {"drop": 0.1, "ahead": -0.06, "lean": 14}), (0.66, _STANDING))
    arm = (0.22, *_ON_THIGHS), (0.42, 16, 60, 36, 0), (0.64, 12, 80, 20, 10)
    return Move(2.8, arm, arm, body, (_ON_THIGHS, REST))


def _lunge(repeat: int) -> Move:
    """The left foot steps ahead, the right knee goes down."""
    body = (0.12, {"ahead": 0, "drop": 0, "left_step": 0, "left_lift": 0, "right_step": 0, "lean": 0, "right_lift": 0})
    down = {"ahead": 0.48, "drop": 0.42, "left_step": 0.78, "left_lift": 0, "lean": 9, "right_step": -0.12, "right_lift": 0.06}
    keys = body, (0.24, {"ahead": 0.16, "drop": 0.06, "left_step": 0.44, "left_lift": 0.1, "lean": 8})
    keys = (*keys, (0.34, {"left_lift": 0, "left_step": 0.76}), (0.48, down), (0.58, down), (0.7, {"ahead": 0.26, "drop": 0.1}))
    arm = (0.2, 14, 80, 18, 8), (0.5, 14, 75, 30, 5), (0.8, 13, 80, 18, 8)
    return Move(3.7, arm, arm, (*keys, (0.78, {"left_step": 0.4, "left_lift": 0.1}), (0.9, body[1])))


def _squat(repeat: int) -> Move:
    """The arms are held out ahead, the hips go down and come up again."""
    up, down = {"drop": 0, "ahead": 0, "lean": 0}, {"drop": 0.46, "ahead": -0.08, "lean": 16}
    arm = (0.12, 14, 80, 20, 5), (0.24, 92, 6, 94, -8), (0.5, 88, 4, 90, -8), (0.76, 92, 6, 94, -8), (0.9, 14, 80, 20, 5)
    return Move(3.8, arm, arm, ((0.24, up), (0.45, down), (0.55, down), (0.74, up)))


# Names as in UTD-MHAD; the number that a performance is given is how often a repeated part is repeated.
MOVES: dict[str, Callable[[int], Move]] = {
    "swipe left": _swipe_left,
    "swipe right": _swipe_right,
    "wave": _wave,
    "clap": _clap,
    "throw": _throw,
    "arm cross": _arm_cross,
    "draw x": _draw_x,
    "draw circle clockwise": _draw_circle_clockwise,
    "draw circle counter-clockwise": _draw_circle_counter_clockwise,
    "boxing": _boxing,
    "arm curl": _arm_curl,
    "tennis serve": _tennis_serve,
    "push": _push,
    "knock": _knock,
    "catch": _catch,
    "jog": _jog,
    "walk": _walk,
    "sit to stand": _sit_to_stand,
    "stand to sit": _stand_to_sit,
    "lunge": _lunge,
    "squat": _squat,
}
