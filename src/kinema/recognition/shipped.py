"""The bundles that ship with Kinema, each for the recordings that it takes, where nobody names one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from kinema.bundle import Bundle
from kinema.clip import Clip, PoseSequence
from kinema.recognition.prediction import Prediction
from kinema.recognition.recognizer import Recognizer

# By the coordinates of a point; what has no skeletons goes to the first, which says what it takes.
BUNDLES = {3: "utd-mhad-skeleton", 2: "everyday"}
_Windows = tuple[float | None, float | None]  # window and stride in seconds, as they were asked for


class ShippedRecognizer(Recognizer):
    """Says what the people in recordings are doing, by the shipped bundle for skeletons of so many dimensions.

    Each bundle answers with its own classes; recordings of both kinds may come together. `name`: the bundles that have answered.

    Args: as of `Recognizer`.
    """

    def __init__(self, device: str = "cpu", batch_size: int = 64):
        self.device, self.batch_size = device, batch_size
        self._made: dict[str, Recognizer] = {}

    def __repr__(self) -> str:
        return f"<ShippedRecognizer {' or '.join(BUNDLES.values())} on {self.device}>"

    @cached_property
    def bundle(self) -> Bundle:
        """That of 3-D skeletons."""
        return self._by(BUNDLES[3]).bundle

    @property
    def name(self) -> str:
        return ", ".join(name for name in BUNDLES.values() if name in self._made) or BUNDLES[3]

    @property
    def least_frames(self) -> int:
        return min(self._by(name).least_frames for name in BUNDLES.values())

    def check(self, pose: PoseSequence) -> None:
        self._by(BUNDLES[pose.dims]).check(pose)

    @property
    def in_metres(self) -> bool:
        return False

    def _by(self, name: str) -> Recognizer:
        if name not in self._made:
            self._made[name] = Recognizer(name, self.device, self.batch_size)
        return self._made[name]

    def _settings(self, window: float | None, stride: float | None) -> _Windows:
        return window, stride

    def _predict(self, recordings: Sequence[tuple[Clip, str | None]], settings: _Windows) -> list[Prediction]:
        names = [BUNDLES[clip.pose.dims if clip.has("pose") else 3] for clip, _ in recordings]
        answers: list[Prediction | None] = [None] * len(recordings)
        for name in dict.fromkeys(names):
            recognizer = self._by(name)
            own = [i for i, other in enumerate(names) if other == name]
            found = recognizer._predict([recordings[i] for i in own], recognizer._settings(*settings))
            for i, answer in zip(own, found, strict=True):
                answers[i] = answer
        return [answer for answer in answers if answer is not None]
