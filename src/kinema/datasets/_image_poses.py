"""Skeletons in pixels of a data set's pictures, beside whatever skeletons its clips have: what pictures are cut by.

They are estimated, by one estimator for all clips of a data set, or 3-D joints that a camera shows. Nobody is left out: a clip in which
nobody is seen keeps its video.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path

from kinema._cache_folder import cache_folder
from kinema._frames_cache import shown
from kinema._write import write_whole
from kinema.camera import Camera
from kinema.clip import IMAGE_POSE, Clip, Lazy, PoseSequence, VideoSource
from kinema.datasets._skeletons import npz_bytes, read_skeleton
from kinema.datasets.base import Dataset
from kinema.errors import DataError, KinemaError
from kinema.estimation.backends import Backend, choose, make_tracker
from kinema.estimation.film import estimate
from kinema.estimation.stage import CUT_FPS
from kinema.estimation.tracker import PoseTracker


def with_camera(dataset: Dataset, camera: Camera) -> Dataset:
    """A data set whose clips with a skeleton have it in pixels of the camera's pictures too. `DataError` where no clip's is 3-D."""
    first = next((clip for clip in dataset.clips if clip.has("pose")), None)
    if first is None or first.pose.dims != 3:
        raise DataError(f"data set {dataset.name!r} has no joints in space, which a camera (data.camera) could see")
    clips = (_with(clip, Lazy(partial(_projected, clip, camera))) if clip.has("pose") else clip for clip in dataset.clips)
    return replace(dataset, clips=tuple(clips))


def _projected(clip: Clip, camera: Camera) -> PoseSequence:
    return camera.project(clip.pose)


def with_image_poses(dataset: Dataset, backend: Backend = "auto") -> Dataset:
    """A data set whose clips that are videos have the skeletons that an estimator sees there, in ten pictures a second.

    What was estimated is kept in the cache folder, video by video: whoever interrupts this loses one of them. Of a video that cannot be
    read there are none; whoever reads the video says so.
    """
    sources = {clip.id: clip.video for clip in dataset.clips if clip.has("video")}
    if not sources:
        return dataset
    estimated = _Estimated(choose(backend, None, False))
    looked_at = shown(sources.items(), len(sources), "Looking for people in the videos (kept for the next time)")
    poses = {clip_id: estimated.of(source) for clip_id, source in looked_at}
    clips = ((clip if poses.get(clip.id) is None else _with(clip, poses[clip.id])) for clip in dataset.clips)
    return replace(dataset, clips=tuple(clips))


def _with(clip: Clip, pose: PoseSequence | Lazy) -> Clip:
    return replace(clip, modalities={**clip.modalities, IMAGE_POSE: pose})


class _Estimated:
    """The skeletons of videos by one estimator, kept in a file each."""

    def __init__(self, backend: str):
        folder = cache_folder()
        self._folder = None if folder is None else folder / "image-poses" / f"{backend}-{CUT_FPS:g}"
        self._make: Callable[[], PoseTracker] = partial(make_tracker, backend)
        self._tracker: PoseTracker | None = None

    def of(self, source: VideoSource) -> PoseSequence | Lazy | None:
        path = self._file(source)
        if path is not None and path.is_file():
            with contextlib.suppress(DataError):
                read_skeleton(path)
                return Lazy(partial(read_skeleton, path))
        self._tracker = self._tracker or self._make()
        try:
            pose = estimate(source, self._tracker, fps=CUT_FPS).clip.pose
        except DataError:
            return None
        if path is not None:
            with contextlib.suppress(KinemaError):  # a full or read-only cache folder
                return Lazy(partial(read_skeleton, write_whole(path, npz_bytes(pose))))
        return pose

    def _file(self, source: VideoSource) -> Path | None:
        """By path, size and time of change of a video and the part of it."""
        if self._folder is None:
            return None
        path = source.path.absolute()
        try:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            stats = [(file.name, stat.st_size, stat.st_mtime_ns) for file in files if (stat := file.stat())]
        except OSError:
            return None
        about = repr((str(path), source.start, source.end, source.fps, stats))
        return self._folder / f"{blake2b(about.encode(), digest_size=16).hexdigest()}.npz"
