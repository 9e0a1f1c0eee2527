"""From recordings to answers: a bundle's model over clips, poses, files and folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from kinema.bundle import Bundle
from kinema.bundle import load as load_bundle
from kinema.clip import IMAGE_POSE, Clip, PoseSequence
from kinema.depth_crop import DepthCrop, LazyDepth, depth_crop
from kinema.errors import BundleError, DataError, KinemaError, LayoutError
from kinema.fused import FusedBundle
from kinema.fused import load as load_any
from kinema.layout import conversion, get_layout
from kinema.recognition.answers import sample_answers
from kinema.recognition.poses_of_videos import cuts, with_poses
from kinema.recognition.prediction import Prediction, WindowPrediction
from kinema.recognition.resample import at_rate
from kinema.recognition.skeleton import flaw_in_size
from kinema.recognition.video import Cut, answer_windows, length_note, samples_at_once, seconds_of
from kinema.transforms.batches import Samples
from kinema.transforms.config import PoseInput
from kinema.transforms.joined import samples_of

# A rate that differs by less than this share is taken for the same.
_SAME_RATE = 0.05
_CLIPS_AT_ONCE = 64

OnError = Literal["raise", "skip"]
Settings = PoseInput | Cut
_Recording = tuple[Clip, str | None]  # and the name of its true class


class Recordings(NamedTuple):
    """Clips, the classes that their labels index, and the errors of files that were left out."""

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    skipped: tuple[DataError, ...]


class Recognizer:
    """Says what the people in recordings are doing.

    Args:
        bundle: a bundle, the name of one that ships with Kinema, or the path of one.
        device: where the model runs, such as "cpu" or "cuda"; "auto" takes the GPU where there is one.
        batch_size: samples that go through the model together.
        reject: whether a calibrated bundle may answer that it knows nothing like what it is shown.
    """

    def __init__(self, bundle: Bundle | str | Path, device: str = "cpu", batch_size: int = 64, reject: bool = True):
        self.bundle = load_bundle(bundle)
        self.batch_size, self.reject = batch_size, reject
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model = self.bundle.build()
        try:
            self.device = torch.device(device)
            self.model = model.to(self.device)
        except (RuntimeError, AssertionError) as error:
            raise KinemaError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error

    def __repr__(self) -> str:
        return f"<Recognizer {self.name} on {self.device}>"

    @property
    def name(self) -> str:
        """That of the bundle."""
        return self.bundle.name

    def predict(
        self,
        what: Clip | PoseSequence | str | Path | Iterable[Clip | PoseSequence | str | Path],
        *,
        classes: Sequence[str] | None = None,
        window: float | None = None,
        stride: float | None = None,
        pose: str | Path | None = None,
    ) -> Prediction | list[Prediction]:
        """The answer for one recording, or the list of answers for several (an iterable, a folder, a file that holds several).

        Skeletons may be in any layout, unit and rate that can be converted to the bundle's. `classes`: the names that the
        labels of given clips index, so that answers carry the true class; files tell theirs themselves. `window`, `stride`:
        seconds; a longer recording is cut into windows whose answers are averaged, and kept in `Prediction.windows`. Without
        them, the bundle's own windows are used, if it has any, else the whole recording is one action.

        A video without skeletons is given them first where the bundle takes skeletons, by an estimator that suits it; `pose`: by this
        one, whatever the recording has (a backend of `kinema.estimation`, or a file with the skeletons of the video).

        Raises `DataError` for a recording that cannot be used and `BundleError` for one that this bundle cannot take.
        """
        several = not isinstance(what, (Clip, PoseSequence, str, Path))
        recordings: list[_Recording] = []
        for item in what if several else [what]:
            if isinstance(item, (str, Path)):
                found = read_recordings([item], videos=self._takes_video or pose is not None)
                recordings += _labelled(found.clips, found.classes)
                several = several or len(found.clips) != 1 or Path(item).expanduser().is_dir()
            else:
                recordings += _labelled([_clip(item)], classes)
        answers = self._answers(recordings, self._settings(window, stride), "raise", pose)
        return answers if several else answers[0]

    def predict_files(
        self,
        paths: Iterable[str | Path],
        *,
        window: float | None = None,
        stride: float | None = None,
        pose: str | Path | None = None,
        on_error: OnError = "raise",
    ) -> list[Prediction]:
        """One answer for each recording in files and folders, with the true class where a file or its name tells.

        `window`, `stride`, `pose` and errors as for `predict`, `on_error` as for `predict_clips`; files that cannot be read come last.
        """
        settings = self._settings(window, stride)
        found = read_recordings(list(paths), on_error, self._takes_video or pose is not None)
        unread = [Prediction.nothing(str(error.path or "files"), self.bundle.classes, str(error)) for error in found.skipped]
        return self._answers(_labelled(found.clips, found.classes), settings, on_error, pose) + unread

    def predict_clips(
        self,
        clips: Iterable[Clip],
        *,
        classes: Sequence[str] | None = None,
        window: float | None = None,
        stride: float | None = None,
        on_error: OnError = "raise",
    ) -> list[Prediction]:
        """One answer for each clip, in their order; options and errors as for `predict`.

        With `on_error="skip"` a clip that cannot be used or taken gets an answer that says so: `known` is false, `reason` the error.
        """
        return self._answers(_labelled(clips, classes), self._settings(window, stride), on_error)

    @property
    def _takes_video(self) -> bool:
        return "video" in self.bundle.modalities

    @property
    def in_metres(self) -> bool:
        """Whether skeletons that are estimated for it must have points in metres."""
        return self.bundle.dims == 3

    def _answers(
        self, recordings: Sequence[_Recording], settings: Settings, on_error: OnError, pose: str | Path | None = None
    ) -> list[Prediction]:
        answers = []
        recordings = with_poses(recordings, pose, self)
        for start in range(0, len(recordings), _CLIPS_AT_ONCE):
            some = recordings[start : start + _CLIPS_AT_ONCE]
            try:
                answers += self._predict(some, settings)
            except KinemaError:
                if on_error != "skip":
                    raise
                answers += [self._predict_or_say_why(recording, settings) for recording in some]
        return answers

    def _predict(self, recordings: Sequence[_Recording], settings: Settings) -> list[Prediction]:
        if isinstance(settings, Cut):
            return [self._predict_video(*recording, settings) for recording in recordings]
        poses = [clip.pose if clip.has("pose") else None for clip, _ in recordings]
        prepared = [self._prepared(clip, pose, settings) for (clip, _), pose in zip(recordings, poses, strict=True)]
        samples = samples_of(prepared, self.bundle.modalities, replace(self.bundle, input=settings))
        answers = []
        for (clip, label), pose, windows in zip(recordings, poses, self._windows(prepared, samples), strict=True):
            truth = self._truth(label)
            notes = "its signals reach the end of the sensor's range" if clip.id in samples.saturated else ""
            length = windows[-1].end if self.bundle.modalities == ("video",) else None
            seen = {"pose": pose, "video": clip.video if clip.has("video") else None, "seconds": length}
            seen["hierarchy"] = self.bundle.hierarchy
            notes = notes or length_note(length or 0.0, self.bundle.seconds)
            answers.append(Prediction.over(clip.id, self.bundle.classes, windows, truth=truth, source=clip.source, notes=notes, **seen))
        return answers

    def _predict_video(self, clip: Clip, label: str | None, cut: Cut) -> Prediction:
        """One video, window by window, however long it is."""
        given = self._prepared(clip, None, self.bundle.input)
        fitted = self.bundle.calibration
        windows = answer_windows(self.model, given, self.bundle.video, cut, self.bundle.views, self.batch_size, self.device, fitted)
        windows = [replace(window, novel=self._novel(strange)) for window, strange in windows]
        seen = {"source": clip.source, "video": given.video, "seconds": windows[-1].end, "hierarchy": self.bundle.hierarchy}
        return Prediction.over(clip.id, self.bundle.classes, windows, truth=self._truth(label), **seen)

    def _novel(self, strangeness: float) -> bool:
        return self.reject and self.bundle.calibration is not None and self.bundle.calibration.novel(strangeness)

    def _predict_or_say_why(self, recording: _Recording, settings: Settings) -> Prediction:
        clip, label = recording
        try:
            return self._predict([recording], settings)[0]
        except KinemaError as error:
            nothing = Prediction.nothing(clip.id, self.bundle.classes, str(error))
            return replace(nothing, truth=self._truth(label), source=clip.source)

    def _prepared(self, clip: Clip, pose: PoseSequence | None, settings: PoseInput) -> Clip:
        """A clip of what the bundle takes, and nothing else."""
        wants = self.bundle.modalities
        lacking = [name for name in wants if not clip.has(name)]
        if lacking:
            has = " and ".join(clip.modalities) or "nothing"
            raise BundleError(f"clip {clip.id!r}: bundle {self.bundle.name!r} takes {' and '.join(wants)}; this recording has {has}")
        own = {name: self._prepare(clip, pose, settings) if name == "pose" else clip.modalities[name] for name in wants}
        if "depth" in own:  # the recording is decoded once, and only what shows somebody is held
            own["depth"] = LazyDepth(partial(clip.modality, "depth"), partial(_same, depth_crop(clip)))
        if cuts(self.bundle) and (known := [name for name in (IMAGE_POSE, "pose") if clip.has(name)]):
            own[IMAGE_POSE] = clip.modalities[known[0]]
        return Clip(clip.id, own, source=clip.source)

    def check(self, pose: PoseSequence) -> None:
        """Raise `BundleError` with the reason where this bundle cannot take such skeletons."""
        bundle = self.bundle
        wants = f"bundle {bundle.name!r} takes {bundle.dims}-D points"
        seen = bundle.input.project and pose.dims == 3  # as an image would show them
        if pose.dims != bundle.dims and not seen:
            raise BundleError(f"{wants}; these are {pose.dims}-D")
        if seen and pose.unit not in ("m", "mm"):
            raise BundleError(f"{wants}, and makes them of 3-D points in 'm'; these are in {pose.unit!r}")
        if not seen and pose.unit != bundle.unit and not (pose.unit == "mm" and bundle.unit == "m") and not self._any_image_unit(pose):
            raise BundleError(f"{wants} in {bundle.unit!r}; these are in {pose.unit!r}")
        try:
            conversion(pose.layout, get_layout(bundle.input.layout))
        except LayoutError as error:
            raise BundleError(f"bundle {bundle.name!r}: {error}") from error

    def _any_image_unit(self, pose: PoseSequence) -> bool:
        """Pixels and scaled image coordinates are the same to a model whose input is divided by the torso's length, or that itself
        looks at the box around the points."""
        free = self.bundle.input.scale or getattr(self.model, "any_image_unit", False)
        return free and {pose.unit, self.bundle.unit} == {"px", "norm"}

    def _settings(self, window: float | None, stride: float | None) -> Settings:
        """The bundle's preparation, with the caller's windows in place of its own."""
        settings = self.bundle.input
        if (window is not None or stride is not None) and self.bundle.modalities not in (("pose",), ("video",)):
            raise KinemaError(
                f"bundle {self.bundle.name!r} takes {' and '.join(self.bundle.modalities)}; windows are cut from skeletons or videos alone"
            )
        for name, value in (("window", window), ("stride", stride)):
            if value is not None and not 0 < value < 1e5:
                raise KinemaError(f"{name} is {value}; a positive number of seconds is expected")
        if self._takes_video and window is not None:
            return Cut(window, stride or window / 2)
        if window is not None:
            frames = max(2, round(window * self.bundle.fps))
            settings = replace(settings, window=frames, stride=max(1, frames // 2))
        if stride is not None:
            if not settings.window:
                raise KinemaError(f"bundle {self.bundle.name!r} has no windows of its own; give a window too")
            settings = replace(settings, stride=max(1, round(stride * self.bundle.fps)))
        return settings

    def _prepare(self, clip: Clip, pose: PoseSequence, settings: PoseInput) -> PoseSequence:
        """The pose in the bundle's layout and rate, checked."""
        bundle = self.bundle
        try:
            self.check(pose)
        except BundleError as error:
            raise BundleError(f"clip {clip.id!r}: {error}") from error
        given, pose = pose, pose.to_layout(settings.layout)
        if pose.unit == "mm":
            pose = pose.to_unit("m")
        # The rate matters to what counts in frames: windows, and every so many-th frame.
        if (settings.window or settings.sampling == "skip") and pose.frames > 1:
            rate = pose.fps if pose.times is None or not pose.duration else (pose.frames - 1) / pose.duration
            if abs(rate / bundle.fps - 1) > _SAME_RATE:
                pose = at_rate(pose, bundle.fps)
        frames, least = int(pose.observed.any((0, 2)).sum()), self.least_frames
        if frames < least:
            raise BundleError(
                f"clip {clip.id!r} is too short: it has {frames} frames with a person; bundle {bundle.name!r} needs {least} at least"
            )
        flaw = flaw_in_size(_extent(pose), pose.unit, given.unit)
        if flaw:
            raise BundleError(f"clip {clip.id!r}: {flaw}")
        # Recordings of both image units go through the model together; what it is given must not depend on which came first.
        return pose if pose.unit == bundle.unit or pose.dims != bundle.dims else replace(pose, unit=bundle.unit)

    @property
    def least_frames(self) -> int:
        """Frames below which a recording is refused: a quarter of a window, an eighth of what the model is given, two."""
        return max(2, self.bundle.input.window // 4, self.bundle.input.frames // 8)

    def _windows(self, clips: Sequence[Clip], samples: Samples) -> list[list[WindowPrediction]]:
        """The windows of each clip with their probabilities: the mean over the window's samples and views."""
        size = min(self.batch_size, samples_at_once(self.bundle.video)) if self.bundle.video else self.batch_size
        probabilities, strange = sample_answers(
            self.model, samples, self.bundle.views, size, self.device, calibration=self.bundle.calibration
        )
        rows = np.column_stack([probabilities, strange])
        parts: dict[tuple[int, int, int], list[np.ndarray]] = {}
        for *key, row in zip(samples.clip_of.tolist(), samples.starts.tolist(), samples.lengths.tolist(), rows, strict=True):
            parts.setdefault(tuple(key), []).append(row)
        windows: list[list[WindowPrediction]] = [[] for _ in clips]
        times = [_seconds(clip) for clip in clips]
        for (index, start, length), found in parts.items():
            seconds, mean = times[index], np.mean(found, 0)
            span = float(seconds[start]), float(seconds[start + length])
            windows[index].append(WindowPrediction(*span, mean[:-1], self._novel(mean[-1])))
        return windows

    def _truth(self, label: str | None) -> int | None:
        """The bundle's class of that name, or of its vocabulary."""
        return None if label is None else self.bundle.class_of(label)


def load(bundle: Bundle | FusedBundle | str | Path | None = None, device: str = "cpu") -> Recognizer:
    """A recognizer from the name or path of a bundle, of one model or of several that are fused; without one, from the shipped bundles:
    `kinema.recognition.shipped` tells which answers what."""
    from kinema.recognition.fused import FusedRecognizer
    from kinema.recognition.shipped import ShippedRecognizer

    if bundle is None:
        return ShippedRecognizer(device)
    loaded = load_any(bundle)
    return FusedRecognizer(loaded, device) if isinstance(loaded, FusedBundle) else Recognizer(loaded, device)


def _same(crop: DepthCrop) -> DepthCrop:
    return crop


def _seconds(clip: Clip) -> np.ndarray:
    """When each frame begins, and the last one ends, from the beginning of the clip."""
    if clip.has("inertial") and len(clip.modalities) == 1:
        signals = clip.inertial
        return np.arange(len(signals.signals) + 1) / signals.rate
    if clip.modalities.keys() - {IMAGE_POSE} == {"video"}:
        return seconds_of(clip.video)
    frames = clip.pose if clip.has("pose") else depth_crop(clip)
    count = frames.frames if isinstance(frames, PoseSequence) else len(frames.frames)
    seconds = np.arange(count + 1) / frames.fps
    if frames.times is not None:
        seconds[:-1] = frames.times - frames.times[0]
        seconds[-1] = seconds[-2] + 1 / frames.fps
    return seconds


def _extent(pose: PoseSequence) -> float:
    """Between the outermost joints along one axis: the median over frames, of the largest person."""
    seen = pose.observed[..., None]
    high = np.where(seen, pose.points, -np.inf).max(2)
    low = np.where(seen, pose.points, np.inf).min(2)
    there = pose.observed.any(2)
    return max(float(np.median((high - low).max(-1)[person][frames])) for person, frames in enumerate(there) if frames.any())


def read_recordings(paths: Sequence[str | Path], on_error: OnError = "raise", videos: bool = True) -> Recordings:
    """The clips in files and folders of any known format; `DataError` for what cannot be read.

    `videos`: whether those that are found in folders are clips too; what is named itself always is.
    """
    # The readers are imported when a file is opened: recognition itself knows no data set.
    from kinema.datasets._files import open_files

    found = open_files(paths, on_error=on_error, videos=videos)
    return Recordings(found.clips, found.classes, found.skipped)


def _labelled(clips: Iterable[Clip], classes: Sequence[str] | None) -> list[_Recording]:
    return [(clip, None if classes is None or clip.label is None else classes[clip.label]) for clip in clips]


def _clip(item: Clip | PoseSequence) -> Clip:
    if isinstance(item, PoseSequence):
        return Clip("pose", {"pose": item})
    if not isinstance(item, Clip):
        raise KinemaError(f"{type(item).__name__} cannot be recognised; a clip, a pose sequence, a file or a folder is expected")
    return item
