"""A synthetic data set: a procedural actor performs actions of UTD-MHAD. It serves the demo and the tests; it holds no recorded data.

Every clip is made from a seed: a person of some size and habits (a kinematic skeleton, see `_actor_body`) goes through
key poses designed by hand (`_actor_moves`), is seen from one of three places, and a sensor adds its noise.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from kinema.clip import Clip, Lazy, PoseSequence
from kinema.datasets._actor_body import SIDES, Body, direction, pose
from kinema.datasets._actor_moves import MOVES, ArmKey, Move
from kinema.datasets.base import Dataset, DatasetInfo, OnError
from kinema.datasets.protocols import by_values, leave_one_out
from kinema.datasets.utd_mhad import CLASSES
from kinema.errors import DataError, unknown

INFO = DatasetInfo(
    "actor",
    "synthetic: a procedural actor performs 21 of UTD-MHAD's actions; nothing of it was recorded",
    ("pose",),
    len(CLASSES),
    form="made from a seed; needs no folder",
    generated=True,
)
FPS = 30.0
VIEWS = {"front": 0.0, "left": 18.0, "right": -18.0}  # degrees by which the person is turned to their left
_FOOT_NAMES = [f"{side}_{part}" for side in SIDES for part in ("step", "lift", "out")]
_BODY_NAMES = ("lean", "tilt", "turn", "twist", "ahead", "aside", "drop", *_FOOT_NAMES)
_ANGLES = frozenset(("lean", "tilt", "turn", "twist"))


def read(
    root: object = None,
    *,
    on_error: OnError = "raise",
    cache: bool = True,
    people: int = 8,
    trials: int = 1,
    views: Sequence[str] = tuple(VIEWS),
    actions: Sequence[str] = tuple(MOVES),
    seed: int = 0,
) -> Dataset:
    """Synthetic clips of every action by `people` persons, `trials` times, from every view; each is made when it is asked for.

    Labels index UTD-MHAD's 27 classes, of which 21 can be performed. Nothing is read, so `root`, `on_error` and `cache` change
    nothing. The same `seed` gives the same clips; persons, trials and views are numbered, so more of them leave the others as
    they are. Raises `DataError` for an action or view that there is not.
    """
    for kind, asked, known in (("action", actions, MOVES), ("view", views, VIEWS)):
        for name in asked:
            if name not in known:
                raise DataError(unknown(f"{kind} of the actor", name, known))
    if people < 1 or trials < 1:
        raise DataError(f"{people} people and {trials} trials are asked for; at least one of each is expected")
    clips = [
        clip(action, str(who), view, trial, seed)
        for action in actions
        for who in range(1, people + 1)
        for trial in range(1, trials + 1)
        for view in views
    ]
    protocols = (
        by_values(
            "cross-subject", "persons with odd numbers train, with even numbers test", "subject", [str(i) for i in range(1, people + 1, 2)]
        ),
        by_values(
            "cross-view", "persons who face the camera or are turned to the left train, to the right test", "view", ("front", "left")
        ),
        leave_one_out("leave-one-subject-out", "each person tests once, the others train"),
    )
    return Dataset(INFO.name, tuple(clips), CLASSES, {protocol.name: protocol for protocol in protocols})


def clip(action: str, who: str = "1", view: str = "front", trial: int = 1, seed: int = 0) -> Clip:
    """One performance as a clip, labelled among UTD-MHAD's classes and made when its pose is asked for."""
    label = CLASSES.index(action)
    pose = Lazy(partial(perform, action, who, view, trial, seed))
    return Clip(f"a{label + 1}_s{who}_t{trial}_{view}", {"pose": pose}, label, subject=who, view=view)


@dataclass(frozen=True)
class Person:
    """A body and how it moves: `tempo` and `reach` of the arms (1 is average), `habit` (degrees off the key poses), `posture` (lean)."""

    name: str
    seed: int
    body: Body
    tempo: float
    reach: float
    habit: float
    posture: float


@lru_cache(maxsize=64)
def person(name: str, seed: int = 0) -> Person:
    rng = _rng(seed, "person", name)
    body = Body().varied(float(np.clip(rng.normal(1, 0.06), 0.88, 1.14)), rng)
    return Person(name, seed, body, rng.uniform(0.9, 1.12), rng.uniform(0.94, 1.06), 4.0, rng.normal(-2, 1.5))


def perform(action: str, who: str = "1", view: str = "front", trial: int = 1, seed: int = 0, noise: float = 1.0) -> PoseSequence:
    """One performance as a depth sensor would report it: layout "utd-mhad", metres in camera coordinates, 30 frames a second.

    The same arguments give the same numbers; another view or noise shows the same movement. `noise`: multiple of what is
    usual. Raises `DataError` for an unknown action or view.
    """
    if action not in MOVES:
        raise DataError(unknown("action of the actor", action, MOVES))
    if view not in VIEWS:
        raise DataError(unknown("view of the actor", view, VIEWS))
    actor = person(who, seed)
    rng = _rng(seed, action, who, str(trial))
    move = MOVES[action](int(rng.integers(1, 3)))
    frames = int(np.clip(round(move.seconds * actor.tempo * rng.uniform(0.93, 1.07) * FPS), 41, 125))
    points = pose(actor.body, _arms(move, actor, action, frames, rng), _trunk(move, actor, frames, rng))
    return PoseSequence(_seen(points, view, noise, rng)[None], "utd-mhad", fps=FPS)


def _rng(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def _tween(times: Sequence[float], values: np.ndarray, frames: int) -> np.ndarray:
    """Through the keys without overshooting, slow at every turning point."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(times, values, axis=0)(np.linspace(0, 1, frames))


def _arms(move: Move, actor: Person, action: str, frames: int, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    style = _rng(actor.seed, "style", action, actor.name)
    arms = {}
    for name, side in SIDES.items():
        keys: tuple[ArmKey, ...] = move.left if name == "left" else move.right
        first, last = move.ends
        keys = ((0.0, *first), (0.1, *first), *keys, *(((0.97, *last),) if keys[-1:] and keys[-1][0] < 0.95 else ()), (1.0, *last))
        poses = np.array([key[1:] for key in keys])
        offsets = np.array([style.normal(0, actor.habit, 4) for _ in keys]) + rng.normal(0, 2.5, poses.shape)
        # an arm that hangs keeps hanging: only what is raised is held higher or lower
        raised = np.clip(poses[:, [0, 0, 2, 2]] / 60, 0.15, 1)
        poses = poses + offsets * raised
        poses[:, [0, 2]] *= 1 + (actor.reach - 1) * raised[:, [0, 2]]
        times = _shifted([key[0] for key in keys], rng)
        arms[name] = tuple(_unit(_tween(times, direction(poses[:, i], poses[:, i + 1], side), frames)) for i in (0, 2))
    return arms


def _shifted(times: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Key times that vary a little from one performance to the next, in their order."""
    times = np.asarray(times, float)
    gaps = np.diff(times)
    room = np.minimum(gaps[:-1], gaps[1:])
    times[1:-1] += np.clip(rng.normal(0, 0.008, len(room)), -0.3 * room, 0.3 * room)
    return times


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _trunk(move: Move, actor: Person, frames: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    trunk = {}
    for name in _BODY_NAMES:
        keys = [(time, values[name]) for time, values in move.body if name in values]
        if keys:
            keys = [(0.0, keys[0][1]), *keys, (1.0, keys[-1][1])]
            values = np.array([value for _, value in keys], float) * rng.normal(1, 0.06)
            trunk[name] = _tween(_shifted([time for time, _ in keys], rng), values, frames)
        else:
            trunk[name] = np.zeros(frames)
        if name in _ANGLES:
            trunk[name] = trunk[name] + 1.2 * _wander(frames, 0.8, rng)
    trunk["lean"] = trunk["lean"] + actor.posture
    trunk["turn"] = trunk["turn"] + rng.normal(0, 3)
    trunk["aside"] = trunk["aside"] + 0.005 * _wander(frames, 1.0, rng)
    return trunk


def _wander(frames: int, seconds: float, rng: np.random.Generator, count: tuple[int, ...] = ()) -> np.ndarray:
    """(T, ...) smooth noise of unit variance that forgets itself within about `seconds`."""
    from scipy.ndimage import gaussian_filter1d

    noise = gaussian_filter1d(rng.normal(size=(frames, *count)), max(seconds * FPS / 3, 1e-3), axis=0, mode="reflect")
    return noise / np.sqrt(np.mean(noise**2, axis=0, keepdims=True) + 1e-12)


def _seen(points: np.ndarray, view: str, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Camera coordinates (x to the right of the picture, y up, z away) of a person who faces the camera 2.4 to 3.3 m away."""
    turn, pitch = np.deg2rad(VIEWS[view] + rng.normal(0, 2)), np.deg2rad(rng.normal(-1, 1.5))
    x, y, z = points[..., 0], points[..., 1], -points[..., 2]
    x, z = np.cos(turn) * x + np.sin(turn) * z, np.cos(turn) * z - np.sin(turn) * x
    y, z = np.cos(pitch) * y - np.sin(pitch) * z, np.cos(pitch) * z + np.sin(pitch) * y
    place = np.array([rng.normal(-0.08, 0.06), rng.normal(-0.1, 0.1), rng.uniform(2.5, 3.2)])
    # hands and feet are what a depth sensor places worst
    loose = np.ones(points.shape[1])
    loose[[6, 7, 10, 11, 14, 15, 18, 19]] = 1.6
    shape = points.shape[1:]
    error = 0.006 * _wander(len(points), 0.5, rng, shape) + 0.002 * rng.normal(size=points.shape)
    return (np.stack([x, y, z], -1) + place + noise * error * loose[:, None]).astype(np.float32)
