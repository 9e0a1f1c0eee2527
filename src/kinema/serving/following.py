"""From pictures to answers: the models that all streams share, and what follows one stream with them."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kinema.recognition.live import ActionEvent, LiveAnswer, LiveRecognizer
from kinema.recognition.shipped import BUNDLES

if TYPE_CHECKING:
    from kinema.estimation.poses import TrackedPose
    from kinema.estimation.tracker import PoseTracker
    from kinema.layout import Layout

STAGES = ("decode", "wait", "detect", "pose", "track", "recognise")
DEFAULT_BUNDLE = BUNDLES[2]


@dataclass(frozen=True, eq=False)
class Step:
    """What one picture told. `poses`: everybody in it; `answer`: what they do; `seconds`: by stage."""

    poses: Sequence[TrackedPose]
    answer: LiveAnswer
    seconds: dict[str, float]


class Follower:
    """Follows one stream of pictures: who is in it, and what they do. Not safe for several threads at once."""

    def __init__(self, tracker: PoseTracker, recognizer: LiveRecognizer):
        self.tracker, self.recognizer = tracker, recognizer

    @property
    def layout(self) -> Layout:
        return self.tracker.layout

    def step(self, time: float, image: np.ndarray) -> Step:
        """The next picture, (H, W, 3) uint8 RGB, shown at `time` seconds, which never run backwards."""
        poses = self.tracker.step(image, time)
        began = clock.perf_counter()
        answer = self.recognizer.step(time, poses, image_size=image.shape[:2])
        return Step(poses, answer, {**self.tracker.timings, "recognise": clock.perf_counter() - began})

    def finish(self) -> tuple[ActionEvent, ...]:
        """End the actions that go on: no more pictures come, or none for a while. What comes next is new."""
        self.tracker.reset()
        return self.recognizer.finish()


class Models:
    """What all followers share: detector, pose estimator and recogniser are loaded once.

    Args:
        tracker: makes a tracker of its own for each stream; trackers may share their models.
        recognizer: makes a recogniser for a stream of this name, of poses in this layout.
    """

    def __init__(self, tracker: Callable[[], PoseTracker], recognizer: Callable[[str, Layout], LiveRecognizer]):
        self._tracker, self._recognizer = tracker, recognizer
        sample = self.follower("")  # what does not fit together is found before the first picture
        self.layout: Layout = sample.layout
        self.classes: tuple[str, ...] = sample.recognizer.classes
        self.bundle = sample.recognizer.bundle

    def follower(self, source: str) -> Follower:
        """For one more stream; `source` is what its events are marked with."""
        tracker = self._tracker()
        return Follower(tracker, self._recognizer(source, tracker.layout))

    @classmethod
    def load(
        cls,
        bundle: str | Path | None = None,
        backend: str = "auto",
        *,
        models: str | Path | None = None,
        max_persons: int = 10,
        device: str = "cpu",
        **recognition: Any,
    ) -> Models:
        """Load a bundle of skeletons and a pose estimator that suits it.

        `backend`, `models`, `max_persons`: as of `kinema.estimation.backends.make_tracker`. `recognition`: settings of `LiveRecognizer`.
        Raises `KinemaError` for what cannot be loaded.
        """
        from kinema.estimation.backends import make_tracker
        from kinema.estimation.tracker import PoseTracker
        from kinema.recognition.recognizer import Recognizer

        recognizer = Recognizer(bundle or DEFAULT_BUNDLE, device)
        world = getattr(recognizer.bundle, "dims", 2) == 3
        first = make_tracker(backend, models=models, world=world, max_persons=max_persons)

        def tracker() -> PoseTracker:
            return PoseTracker(first.estimator, first.detector, every=first.every, max_persons=first.max_persons, keep=first.keep)

        def recogniser(source: str, layout: Layout) -> LiveRecognizer:
            return LiveRecognizer(recognizer, layout=layout, source=source, **recognition)

        return cls(tracker, recogniser)
