"""Estimation as a step before another: the skeletons of clips that are videos, estimated when they are asked for, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from kinema.clip import Clip, Lazy, PoseSequence, VideoSource
from kinema.estimation.backends import make_tracker
from kinema.estimation.film import estimate
from kinema.estimation.tracker import PoseTracker

CUT_FPS = 10.0  # pictures a second in which people are looked for, where pictures are only to be cut to them


class Poses:
    """Gives clips that have a video its skeletons.

    Args:
        backend, world, settings: as of `kinema.estimation.backends.make_tracker`, which is asked at the first video.
        fps: pictures a second that are looked at; None: all.
    """

    def __init__(self, backend: str = "auto", *, world: bool = False, fps: float | None = None, settings: Mapping[str, Any] | None = None):
        self.backend, self.world, self.fps, self._settings = backend, world, fps, dict(settings or {})
        self._tracker: PoseTracker | None = None
        self._found: dict[VideoSource, PoseSequence] = {}

    def added(self, clip: Clip, name: str = "pose") -> Clip:
        """The clip with a pose, as its modality `name`, which is estimated when it is asked for the first time, and kept."""
        return replace(clip, modalities={**clip.modalities, name: Lazy(partial(self.of, clip.video))})

    def of(self, source: VideoSource) -> PoseSequence:
        """The skeletons of a video; errors as of `kinema.estimation.film.estimate_poses`."""
        if source not in self._found:
            if self._tracker is None:
                self._tracker = make_tracker(self.backend, world=self.world, **self._settings)
            self._found[source] = estimate(source, self._tracker, world=self.world, fps=self.fps).clip.pose
        return self._found[source]
