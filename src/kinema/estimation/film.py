"""A whole video as skeletons: tracked frame by frame, gathered person by person, one clip in the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from kinema import video
from kinema.clip import Clip, PoseSequence, VideoSource
from kinema.errors import DataError, KinemaError
from kinema.estimation.backends import Backend, make_tracker
from kinema.estimation.poses import TrackedPose
from kinema.estimation.recorded import RecordedPoses
from kinema.estimation.tracker import PoseTracker
from kinema.layout import Layout

LEAST_SCORE = 0.1  # joints with a lower one are missing
_LEAST_SEEN = 0.3  # seconds for which somebody is seen, who is a person; of a short video half of it
_MOST_JOINTS = 64_000_000  # of a clip, persons x frames x joints: 800 MB with scores
_UPSIDE_DOWN = 0.6  # share of the sights in which shoulders lie below hips


@dataclass(eq=False)
class _Gathered:
    """One person's sights: frame numbers, and x, y (z) and score of every joint, as bytes that grow."""

    frames: list[int] = field(default_factory=list)
    values: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, eq=False)
class Estimated:
    """The skeletons of a video, and what is to be told of them.

    `clip`: with `pose` and `video`. `persons`: how many were seen; 0: the clip has one person who is nowhere. `left_out`: persons who
    are not in the clip, because they were seen for a moment alone, or because there were too many. `notes`: warnings, a line each.
    `timings`: seconds by stage.
    """

    clip: Clip
    persons: int
    left_out: int
    frames: int
    notes: tuple[str, ...]
    timings: dict[str, float]


def estimate_poses(
    source: VideoSource | str | Path,
    backend: Backend = "auto",
    *,
    world: bool = False,
    every: int = 10,
    max_persons: int = 10,
    fps: float | None = None,
    mirrored: bool = False,
    models: str | Path | None = None,
) -> Clip:
    """The skeletons of everybody in a video: a clip with `pose` and `video`.

    Persons keep their row as long as they are followed (`kinema.estimation.tracker`). Points are pixels, x to the right and y down;
    with `world` metres round the middle of the hips. A joint is missing in frames in which its person was not seen, and where the
    estimator's score is below 0.1. Where nobody is in the video, the clip has one person, who is missing in every frame.

    Args:
        source: a video.
        backend: "auto", "rtmpose", "movenet" or "blazepose".
        world: points in metres, by BlazePose.
        every: a detection every so many frames.
        max_persons: persons followed at a time.
        fps: frames a second that are looked at, where the video has more.
        mirrored: the video is a mirror image, as those of a Kinect and of some cameras of phones and computers are: what looks like a left
            hand is a right one. Points stay where they are in the picture; metres are mirrored back.
        models: folder of the models' files. Default: $KINEMA_MODELS, then the cache folder.

    Raises `DataError` for what is no video, and `KinemaError` where a model cannot be had.
    """
    tracker = make_tracker(backend, models=models, world=world, every=every, max_persons=max_persons)
    return estimate(source, tracker, world=world, fps=fps, mirrored=mirrored).clip


def estimate(
    source: VideoSource | str | Path,
    tracker: PoseTracker | RecordedPoses,
    *,
    world: bool = False,
    fps: float | None = None,
    mirrored: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Estimated:
    """As `estimate_poses`, with a tracker that is at hand, and with what there is to tell.

    However long the video is, a few pictures are in memory at a time. `progress(done, of)`: called after each frame.
    """
    source = source if isinstance(source, VideoSource) else VideoSource(Path(source))
    about = video.index(source)
    wanted = _wanted(about, fps)
    tracker.reset()
    gathered: dict[int, _Gathered] = {}
    shown, upright, timings = [], [], {"detect": 0.0, "pose": 0.0, "track": 0.0}
    for seconds, picture in video.stream(source, frames=wanted):
        poses = [pose for pose in tracker.step(picture, seconds) if pose.observed]
        for pose in poses:
            _gather(gathered.setdefault(pose.person, _Gathered()), pose, len(shown), world)
        upright += _upright(poses, tracker.layout)
        shown.append(seconds)
        for stage in timings:
            timings[stage] += tracker.timings[stage]
        if progress is not None:
            progress(len(shown), len(wanted))
    notes = [] if about.complete else ["the file was cut off; it is used up to its last whole frame"]
    if len(upright) >= 10 and np.mean(upright) < 1 - _UPSIDE_DOWN:
        notes.append("most people in it are upside down; turn the video, estimators are poor at that")
    rate = min(fps or math.inf, about.fps)
    kept = _longest(gathered, len(shown), len(tracker.layout), rate)
    pose = _sequence([gathered[number] for number in kept], shown, tracker.layout, (about.width, about.height), rate, world)
    if mirrored:
        pose = _mirrored(pose)
    if len(gathered) > len(kept):
        notes.append(f"{len(gathered) - len(kept)} more were seen for a moment, and are left out")
    clip = Clip(source.path.stem, {"pose": pose, "video": source}, source=source.path)
    return Estimated(clip, len(kept), len(gathered) - len(kept), len(shown), tuple(notes), timings)


def _wanted(about: video.VideoIndex, fps: float | None) -> np.ndarray:
    """Numbers of the frames that are looked at."""
    if fps is None:
        return np.arange(len(about))
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise KinemaError(f"fps is {fps}; a positive number is expected")
    # The frame that is shown at each tick; a video with fewer frames has them all.
    ticks = np.floor(about.times * fps + 1e-6)
    return np.flatnonzero(np.diff(ticks, prepend=-1) > 0)


def _gather(person: _Gathered, pose: TrackedPose, frame: int, world: bool) -> None:
    points = pose.points
    if world:
        if pose.world is None:
            raise KinemaError("this estimator gives no points in metres; blazepose does")
        points = pose.world
    person.frames.append(frame)
    person.values += np.concatenate([points, pose.scores[:, None]], 1).astype(np.float32).tobytes()


def _upright(poses: Iterable[TrackedPose], layout: Layout) -> list[bool]:
    """Of each pose with a torso that stands rather than lies: whether the shoulders are above the hips."""
    joints = [[layout.index(f"{side}_{joint}") for side in ("left", "right")] for joint in ("shoulder", "hip")]
    found = []
    for pose in poses:
        shoulders, hips = (pose.points[pair].mean(0) for pair in joints)
        across, down = hips - shoulders
        if abs(down) > abs(across) and pose.scores[np.ravel(joints)].min() >= 0.3:
            found.append(bool(down > 0))
    return found


def _longest(gathered: dict[int, _Gathered], frames: int, joints: int, rate: float) -> list[int]:
    """Who is a person, in the order of their appearance; the ones seen for longest, where they are too many to be held."""
    least = max(1, min(math.ceil(_LEAST_SEEN * rate), frames // 2))
    numbers = sorted((number for number, person in gathered.items() if len(person.frames) >= least), key=lambda i: -len(gathered[i].frames))
    return sorted(numbers[: max(1, _MOST_JOINTS // max(1, frames * joints))])


def _mirrored(pose: PoseSequence) -> PoseSequence:
    """With left and right exchanged, in an image; in metres seen from the other side of the mirror."""
    swap = pose.layout.mirror
    points = pose.points[:, :, swap] * np.float32([-1, 1, 1]) if pose.dims == 3 else pose.points[:, :, swap]
    return replace(pose, points=points, mask=pose.observed[:, :, swap], score=pose.score[:, :, swap])


def _sequence(
    persons: list[_Gathered], times: list[float], layout: Layout, size: tuple[int, int], rate: float, world: bool
) -> PoseSequence:
    if not times:
        raise DataError("there are no frames")
    dims, shape = 3 if world else 2, (max(1, len(persons)), len(times), len(layout))
    points, score, mask = np.zeros((*shape, dims), np.float32), np.zeros(shape, np.float32), np.zeros(shape, bool)
    for row, person in enumerate(persons):
        values = np.frombuffer(person.values, np.float32).reshape(len(person.frames), len(layout), dims + 1)
        points[row, person.frames], score[row, person.frames] = values[..., :dims], values[..., dims]
        mask[row, person.frames] = values[..., dims] >= LEAST_SCORE
    if not world:  # farther from the image than it is large, no estimate is a place
        far = ((points < -np.array(size)) | (points > 2 * np.array(size))).any(-1)
        mask &= ~far
    unit: Literal["m", "px"] = "m" if world else "px"
    return PoseSequence(
        points, layout, unit, mask, score, fps=rate, times=np.array(times), image_size=None if world else size, y_axis="down"
    )
