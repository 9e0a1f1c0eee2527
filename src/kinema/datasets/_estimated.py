"""Data sets of videos with the skeletons that an estimator finds in them, which are kept in the cache folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from kinema.clip import Clip, Lazy, PoseSequence, VideoSource
from kinema.datasets._cache import read_records
from kinema.datasets._ragged import Record
from kinema.datasets.base import Dataset, OnError
from kinema.errors import DataError
from kinema.estimation.backends import Backend, choose, make_tracker
from kinema.estimation.film import estimate


def with_poses(dataset: Dataset, backend: Backend = "auto", *, on_error: OnError = "raise") -> Dataset:
    """A data set whose clips that are videos without a skeleton have one, estimated; other clips stay as they are.

    What was estimated is kept in the cache folder. A video that cannot be read, or in which nobody is seen, is a `DataError`, or with
    `on_error="skip"` stands among the skipped.
    """
    backend = choose(backend, None, False)
    videos = [clip.video for clip in dataset.clips if clip.has("video") and not clip.has("pose")]
    if not videos:
        return dataset
    parts = [(source.start, source.end, source.fps) for source in videos]
    poses, _, skipped = read_records(
        f"{dataset.name}-{backend}",
        dataset.root or videos[0].path.parent,
        [str(source.path) for source in videos],
        partial(_estimated, videos, backend),
        on_error=on_error,
        cache=True,
        options={"backend": backend, "parts": parts},
    )
    found = iter(poses)
    clips = [clip if clip.has("pose") or not clip.has("video") else _posed(clip, next(found)) for clip in dataset.clips]
    return replace(dataset, clips=tuple(clip for clip in clips if clip is not None), skipped=(*dataset.skipped, *skipped))


def _posed(clip: Clip, pose: PoseSequence | Lazy | None) -> Clip | None:
    return None if pose is None else replace(clip, modalities={**clip.modalities, "pose": pose})


def _estimated(videos: list[VideoSource], backend: Backend, put: Callable[[Record], None]) -> dict[str, Any]:
    tracker = make_tracker(backend)
    for source in videos:
        try:
            found = estimate(source, tracker)
            put(found.clip.pose if found.persons else DataError("nobody is seen in it; a video of a person is expected", source.path))
        except DataError as error:
            put(error)
    return {}
