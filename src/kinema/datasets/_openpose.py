"""OpenPose's output (`--write_json`): a folder with one file for each frame, in which every person is a list of x, y, score.

    <recording>_000000000012_keypoints.json    {"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, score, ...], ...}, ...]}

54 numbers are 18 joints ("openpose18", its COCO model), 75 are 25 ("openpose25", BODY_25). A joint with score 0 was not found: it is
masked. Pixels, y downwards; what lies within -1..1 altogether was scaled by OpenPose (`--keypoint_scale`) and is "norm". The files tell
neither the size of the image nor the rate: 30 frames per second are assumed, of the numbers in the files' names, which may have gaps.

OpenPose lists the people of each frame in any order. Where it was told to track them, their `person_id` says who is who; elsewhere a
person goes on as whoever was nearest in the frame before, for as long as somebody is near enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kinema.clip import PoseSequence
from kinema.datasets._io import located, read_json
from kinema.errors import DataError

LAYOUTS = {54: "openpose18", 75: "openpose25"}
FPS = 30.0
MOST_FRAMES, MOST_PEOPLE, MOST_BYTES = 200_000, 64, 4 << 20  # of a recording, in a frame, of a file
MOST_PERSONS = 8  # that are kept of a recording: those whose joints were found most often

NAME = re.compile(r"(?P<recording>.*?)[_-]?(?P<number>\d{1,18})_keypoints\.json", re.IGNORECASE)
_HIGHEST_SCORE = 1.25  # maps that a network draws overshoot a little
_SCALED = 1.5
_REACH, _REACH_PER_FRAME, _MOST_GAP = 0.5, 0.05, 30  # how far somebody may have moved, in body sizes, and for how many frames be away


def recordings(names: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    """What a folder with files of these names holds: recording ("" where names are numbers alone) -> (frame number, name), in order."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if match := NAME.fullmatch(name):
            found.setdefault(match["recording"], []).append((int(match["number"]), name))
    return {recording: sorted(found[recording]) for recording in sorted(found)}


def read_recording(folder: str | Path, frames: Sequence[tuple[int, str]], fps: float = FPS) -> PoseSequence:
    """The poses of the files `frames` (frame number, name) of one recording.

    Raises `DataError` naming the file that cannot be used, and where in it; for two files of the same frame; and for a recording
    in which nobody is found, or that is longer than `MOST_FRAMES`.
    """
    folder = Path(folder)
    if len(frames) > MOST_FRAMES:
        raise DataError(f"{len(frames)} frames; at most {MOST_FRAMES} are read as one recording", folder)
    for (number, name), (after, other) in pairwise(frames):
        if number == after:
            raise DataError(f"{name} and {other} are the same frame", folder)
    numbers = np.array([number for number, _ in frames])
    joints, found = 0, []
    for number, name in frames:
        people = _people(folder / name)
        for person in people:
            if joints and len(person.points) != joints:
                raise DataError(f"has people of {len(person.points)} joints; in the frames before they have {joints}", folder / name)
            joints = len(person.points)
        found.append((number, people))
    if not joints:
        raise DataError(f"nobody is found in any of {len(frames)} frames", folder / frames[0][1])
    tracks = _by_id(found) if all(person.id is not None for _, people in found for person in people) else _by_place(found)
    tracks = sorted(tracks, key=lambda track: -sum(int(person.seen.sum()) for person in track.values()))[:MOST_PERSONS]
    tracks.sort(key=lambda track: next(iter(track)))
    points = np.zeros((len(tracks), len(frames), joints, 3), np.float32)
    places = {number: i for i, (number, _) in enumerate(frames)}
    for m, track in enumerate(tracks):
        for number, person in track.items():
            points[m, places[number]] = person.points
    mask = points[..., 2] > 0
    try:
        return PoseSequence(
            points[..., :2],
            LAYOUTS[3 * joints],
            "norm" if np.abs(points[..., :2][mask]).max() <= _SCALED else "px",
            mask,
            points[..., 2].clip(0, 1),
            fps,
            None if (np.diff(numbers) == 1).all() else (numbers - numbers[0]) / fps,
            y_axis="down",
        )
    except DataError as error:
        raise located(error, folder) from error


@dataclass(frozen=True, eq=False)
class _Person:
    """Somebody in one frame: (V, 3) x, y, score, and the number that OpenPose tracks them by, if it does."""

    points: np.ndarray
    id: int | None

    @property
    def seen(self) -> np.ndarray:
        return self.points[:, 2] > 0


_Track = dict[int, _Person]  # by frame number


def _people(path: Path) -> list[_Person]:
    """The people of one file of whom at least one joint was found."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path) from error
    if size > MOST_BYTES:
        raise DataError(f"has {size} bytes; one frame takes {MOST_BYTES} at most", path)
    people = read_json(path).get("people")
    if not isinstance(people, list):
        raise DataError("a list 'people' is expected, as OpenPose writes it", path)
    if len(people) > MOST_PEOPLE:
        raise DataError(f"has {len(people)} people; at most {MOST_PEOPLE} are expected in a frame", path)
    found = []
    for i, person in enumerate(people):
        where = f"person {i}"
        values = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
        if not isinstance(values, list):
            raise DataError("a list 'pose_keypoints_2d' is expected", path, where)
        if not values:  # hands or a face without a body
            continue
        points = _points(values, path, where)
        if (points[:, 2] > 0).any():
            found.append(_Person(points, _id(person.get("person_id"))))
    return found


def _points(values: list[Any], path: Path, where: str) -> np.ndarray:
    if len(values) not in LAYOUTS:
        known = " or ".join(f"{count} ({name})" for count, name in LAYOUTS.items())
        raise DataError(f"has {len(values)} numbers; x, y and score of each joint, {known}, are expected", path, where)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        bad = next(i for i, value in enumerate(values) if not isinstance(value, int | float) or isinstance(value, bool))
        raise DataError(f"{values[bad]!r:.40} is not a number", path, f"{where}, joint {bad // 3}")
    try:
        points = np.array(values, np.float64).reshape(-1, 3)
    except OverflowError:
        points = np.full((1, 3), np.inf)
    finite = (np.abs(points) < np.finfo(np.float32).max).all(1)
    if not finite.all():
        raise DataError("is not a finite position", path, f"{where}, joint {int(np.flatnonzero(~finite)[0])}")
    wrong = np.flatnonzero((points[:, 2] < 0) | (points[:, 2] > _HIGHEST_SCORE))
    if len(wrong):
        raise DataError(f"has score {points[wrong[0], 2]:.4g}; 0 to 1 is expected", path, f"{where}, joint {wrong[0]}")
    return points


def _id(value: Any) -> int | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _by_id(frames: Iterable[tuple[int, list[_Person]]]) -> list[_Track]:
    """One track for each number; of several people with the same one in a frame, the one with most joints."""
    tracks: dict[int, _Track] = {}
    for number, people in frames:
        for person in sorted(people, key=lambda person: int(person.seen.sum())):
            tracks.setdefault(person.id, {})[number] = person
    return list(tracks.values())


def _by_place(frames: Iterable[tuple[int, list[_Person]]]) -> list[_Track]:
    """Tracks of people who go on as whoever is nearest, all of a frame at once, each as little as can be in the sum."""
    from scipy.optimize import linear_sum_assignment

    tracks: list[_Track] = []
    open_tracks: list[tuple[int, _Track]] = []  # when last seen
    for number, people in frames:
        open_tracks = [(last, track) for last, track in open_tracks if number - last <= _MOST_GAP]
        left = list(people)
        if people and open_tracks:
            cost = _distances([track[last] for last, track in open_tracks], people)
            away = np.array([number - last for last, _ in open_tracks])[:, None] - 1
            # Pairs that are too far apart cost so much that as few of them as possible are made; these are then undone.
            near = cost <= _REACH + _REACH_PER_FRAME * away
            for row, column in zip(*linear_sum_assignment(np.where(near, cost, 1e6)), strict=True):
                if near[row, column]:
                    track = open_tracks[row][1]
                    track[number] = people[column]
                    open_tracks[row] = (number, track)
                    left.remove(people[column])
        for person in left:
            tracks.append({number: person})
            open_tracks.append((number, tracks[-1]))
    return tracks


def _distances(before: Sequence[_Person], now: Sequence[_Person]) -> np.ndarray:
    """(people before, people now): mean way of the joints that both have, in sizes of the person; of the middles, where none is shared."""
    first, second = (np.stack([person.points for person in people]) for people in (before, now))
    seen = [(points[..., 2] > 0)[..., None] for points in (first, second)]
    sizes, middles = zip(*(_size(points[..., :2], there) for points, there in zip((first, second), seen, strict=True)), strict=True)
    both = seen[0][:, None, :, 0] & seen[1][None, :, :, 0]
    way = np.linalg.norm(first[:, None, :, :2] - second[None, :, :, :2], axis=-1)
    count = both.sum(-1)
    mean = np.where(count > 0, (way * both).sum(-1) / np.maximum(count, 1), np.linalg.norm(middles[0][:, None] - middles[1], axis=-1))
    return mean / np.maximum(np.maximum(sizes[0][:, None], sizes[1]), 1e-6)


def _size(points: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Larger side and middle of the box around what was found of each person."""
    low, high = np.where(seen, points, np.inf).min(1), np.where(seen, points, -np.inf).max(1)
    return (high - low).max(-1), (low + high) / 2
