"""Which part of a video's pictures shows its people: the box round their joints, larger by a margin, within the border.

Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 3.1. Places are (top, left, height, width) as
shares of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema import video
from kinema.clip import IMAGE_POSE, Clip, PoseSequence, VideoSource
from kinema.depth_crop import DepthCrop
from kinema.errors import DataError, RecipeError

SURE = 0.3  # score of a joint from which on it is one
_LEAST = 1 / 16  # of a picture's side, that is shown at least
_STEADY = 0.5  # seconds over which a moving box is held still


MARGIN = 0.1  # of the publication, on each side


def places_of(clips: Sequence[tuple[Clip, VideoSource]], of: str = "clip", margin: float = MARGIN) -> list[np.ndarray | None]:
    """Where in its video each clip shows its people, see `skeleton_place`; for `of` "moving" a place for each frame of the video.

    Raises `RecipeError` where no clip has skeletons, or they are no pixels of the pictures.
    """
    if not any(clip.has(IMAGE_POSE) or clip.has("pose") for clip, _ in clips):
        raise RecipeError("video.crop 'skeleton' needs skeletons, and no clip has one; data.pose: movenet, for one, estimates them")
    return [_place_of(clip, source, of, margin) for clip, source in clips]


def depth_places(clips: Sequence[tuple[Clip, DepthCrop]]) -> list[np.ndarray | None]:
    """Where in its depth images each clip shows its people; errors as of `places_of`."""
    poses = [pose_for_cutting(clip) for clip, _ in clips]
    sizes = [(2 * crop.center_x, 2 * crop.center_y) for _, crop in clips]
    return [None if pose is None else skeleton_place(pose, size) for pose, size in zip(poses, sizes, strict=True)]


def _place_of(clip: Clip, source: VideoSource, of: str, margin: float) -> np.ndarray | None:
    pose = pose_for_cutting(clip)
    try:
        if pose is None:
            return None
        about = video.index(source) if of == "moving" or pose.image_size is None else None
    except DataError:  # of a video that cannot be read; whoever reads it says so
        return None
    place = skeleton_place(pose, pose.image_size or (about.width, about.height), of, margin)
    return at_times(place, pose, about.times) if place is not None and of == "moving" else place


def pose_for_cutting(clip: Clip) -> PoseSequence | None:
    """The skeletons of a clip in pixels of its pictures, y downwards; None where there is nobody, or they cannot be read.

    Raises `RecipeError` for skeletons in space, of which nobody has said where in the pictures they are.
    """
    name = IMAGE_POSE if clip.has(IMAGE_POSE) else "pose"
    if not clip.has(name):
        return None
    try:
        pose = clip.modality(name)
    except DataError:  # whoever needs the skeleton itself says so
        return None
    if pose.dims != 2 or pose.unit != "px" or pose.y_axis != "down":
        raise RecipeError(
            f"clip {clip.id!r} cannot be cut to its skeletons: they are {pose.dims}-D in {pose.unit!r}, y {pose.y_axis}wards, where pixels "
            "of its pictures are needed, y downwards; data.camera projects joints in space, and data.pose estimates skeletons"
        )
    return pose


def skeleton_place(pose: PoseSequence, size: Sequence[int], of: str = "clip", margin: float = MARGIN) -> np.ndarray | None:
    """(4,) the place of the people in pictures of `size` (width, height), for `of` "moving" (T, 4), one for each frame of `pose`; None
    where no joint is sure and within the picture.

    Args:
        pose: 2-D, in pixels of those pictures, or of others of its `image_size`.
        of: "clip": the box of all joints of all persons and frames; "person": of the one who is largest and seen for longest; "moving": the
            box of each frame, as large as the largest of them and held steady over half a second.
        margin: by which the box grows on each of the four sides, as a share of its own.
    """
    width, height = pose.image_size or size
    points = pose.points[..., ::-1] / (height, width)  # down, then across
    sure = pose.observed & ((points >= 0) & (points <= 1)).all(-1)
    if pose.score is not None:
        sure &= pose.score >= SURE
    if of == "person" and len(points) > 1:
        main = _main(points, sure)
        points, sure = points[main : main + 1], sure[main : main + 1]
    if not sure.any():
        return None
    if of == "moving":
        return _moving(points, sure, margin, pose.fps)
    return _within(*_grown(points[sure].min(0), points[sure].max(0), margin))


def _main(points: np.ndarray, sure: np.ndarray) -> int:
    """Who covers most of the pictures, summed over the frames."""
    low, high = _extents(points, sure, axis=2)
    seen = sure.any(2)
    area = np.where(seen, np.prod(np.where(seen[..., None], high - low, 0), -1), 0)
    return int(np.argmax(area.sum(1) + 1e-9 * seen.sum(1)))


def _extents(points: np.ndarray, sure: np.ndarray, axis: int | tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    low = np.where(sure[..., None], points, np.inf).min(axis)
    return low, np.where(sure[..., None], points, -np.inf).max(axis)


def _grown(low: np.ndarray, high: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    half = np.maximum((high - low) * (0.5 + margin), _LEAST / 2)
    return (low + high) / 2 - half, (low + high) / 2 + half


def _within(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    return np.concatenate([low, high - low], -1)


def _moving(points: np.ndarray, sure: np.ndarray, margin: float, fps: float) -> np.ndarray:
    seen = np.flatnonzero(sure.any((0, 2)))
    low, high = _extents(points[:, seen], sure[:, seen], axis=(0, 2))
    size = np.clip((high - low).max(0) * (1 + 2 * margin), _LEAST, 1)
    frames = np.arange(points.shape[1])
    # Between frames in which somebody is seen the box moves evenly.
    centre = np.stack([np.interp(frames, seen, (low + high)[:, axis] / 2) for axis in (0, 1)], -1)
    reach = round(_STEADY * fps / 2)
    if reach:
        ends = np.pad(centre, ((reach, reach), (0, 0)), "edge").cumsum(0)
        ends = np.concatenate([np.zeros((1, 2)), ends])
        centre = (ends[2 * reach + 1 :] - ends[: -2 * reach - 1]) / (2 * reach + 1)
    low = np.clip(centre - size / 2, 0, 1 - size)
    return np.concatenate([low, np.broadcast_to(size, low.shape)], -1)


def at_times(places: np.ndarray, pose: PoseSequence, seconds: np.ndarray) -> np.ndarray:
    """(N, 4): of places (T, 4), a frame of `pose` each, those of the frames nearest to `seconds` (N,) from the beginning."""
    times = np.arange(pose.frames) / pose.fps if pose.times is None else pose.times
    return places[np.searchsorted((times[1:] + times[:-1]) / 2, seconds)]
