"""Several bundles over the same recordings, their answers fused into one; who cannot answer is left out, and the answer says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema.clip import Clip, PoseSequence
from kinema.errors import BundleError
from kinema.fused import FusedBundle
from kinema.fused import load as load_any
from kinema.recognition.prediction import Prediction, WindowPrediction
from kinema.recognition.recognizer import Recognizer

# Windows of two members that begin and end this near each other, in seconds, are the same.
_NEAR = 0.05
_Windows = tuple[float | None, float | None]  # window and stride in seconds, as they were asked for


class FusedRecognizer(Recognizer):
    """Says what the people in recordings are doing, by all members of a fused bundle together.

    A member whose modality a recording lacks, or that cannot use it, is left out: the others answer and share its weight, and
    `Prediction.notes` tells who is missing and why. Where no member can answer, that is a `BundleError`.
    Where all that answer cut the same windows, the answers are fused window by window, else those for the whole recording.

    Args: as of `Recognizer`; `bundle`: a fused one, or its name or path.
    """

    def __init__(self, bundle: FusedBundle | str | Path, device: str = "cpu", batch_size: int = 64):
        self.bundle = load_any(bundle)
        if not isinstance(self.bundle, FusedBundle):
            raise BundleError(f"bundle {self.bundle.name!r} is a single one; a fused one is expected")
        # What is like nothing that one member knows is not left to the others, who may know it no better.
        self.members = [Recognizer(member, device, batch_size, reject=False) for member in self.bundle.members]
        self.device, self.batch_size = self.members[0].device, batch_size

    def check(self, pose: PoseSequence) -> None:
        """Raise `BundleError` with the reason where a member that takes skeletons cannot take such."""
        for member in self.members:
            if "pose" in member.bundle.modalities:
                member.check(pose)

    @property
    def least_frames(self) -> int:
        """Frames below which every member that takes skeletons refuses a recording."""
        return min((member.least_frames for member in self.members if "pose" in member.bundle.modalities), default=1)

    @property
    def in_metres(self) -> bool:
        return any(member.in_metres for member in self.members if "pose" in member.bundle.modalities)

    def _settings(self, window: float | None, stride: float | None) -> _Windows:
        for member in self.members:
            member._settings(window, stride)
        return window, stride

    def _predict(self, recordings: Sequence[tuple[Clip, str | None]], settings: _Windows) -> list[Prediction]:
        window, stride = settings
        clips = [clip for clip, _ in recordings]
        answers: list[list[Prediction]] = [[] for _ in clips]
        for member in self.members:
            lacking = [[name for name in member.bundle.modalities if not clip.has(name)] for clip in clips]
            able = [clip for clip, names in zip(clips, lacking, strict=True) if not names]
            found = iter(member.predict_clips(able, window=window, stride=stride, on_error="skip"))
            for i, names in enumerate(lacking):
                reason = f"this recording has no {' and no '.join(names)}"
                answers[i].append(Prediction.nothing(clips[i].id, member.bundle.classes, reason) if names else next(found))
        return [self._fused(clip, of_clip, self._truth(label)) for (clip, label), of_clip in zip(recordings, answers, strict=True)]

    def _fused(self, clip: Clip, answers: Sequence[Prediction], truth: int | None) -> Prediction:
        names = [f"{member.bundle.name} ({' and '.join(member.bundle.modalities)})" for member in self.members]
        missing = [f"without {name}: {answer.reason}" for name, answer in zip(names, answers, strict=True) if not answer.known]
        if len(missing) == len(answers):
            reasons = "; ".join(f"{name}: {answer.reason}" for name, answer in zip(names, answers, strict=True))
            raise BundleError(f"clip {clip.id!r}: no member of bundle {self.bundle.name!r} can answer: {reasons}")
        shared = self._shared_windows(answers)
        # (members, windows, classes); one window where these are not the same for all.
        rows = np.full((len(answers), len(shared) or 1, len(self.bundle.classes)), np.nan)
        for i, (member, answer) in enumerate(zip(self.bundle.members, answers, strict=True)):
            if answer.known:
                each = [window.probabilities for window in answer.windows] if shared else [answer.probabilities]
                rows[i] = np.stack(each)[:, self.bundle.columns(member)]
        fused = self.bundle.fusion(rows)
        windows = tuple(replace(window, probabilities=row) for window, row in zip(shared, fused, strict=False))
        notes = [*missing, *dict.fromkeys(answer.notes for answer in answers if answer.known and answer.notes)]
        pose = next((answer.pose for answer in answers if answer.pose is not None), None)
        return Prediction(
            clip.id, self.bundle.classes, fused.mean(0), truth, windows, source=clip.source, pose=pose, notes="; ".join(notes)
        )

    def _shared_windows(self, answers: Sequence[Prediction]) -> tuple[WindowPrediction, ...]:
        """The windows that all members cut, where all that answer cut the same; otherwise none."""
        known = [answer.windows for answer in answers if answer.known]
        places = [np.array([(window.start, window.end) for window in windows]) for windows in known]
        same = all(len(place) and place.shape == places[0].shape and np.abs(place - places[0]).max() < _NEAR for place in places)
        return known[0] if same else ()
