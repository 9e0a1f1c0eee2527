"""The live recogniser: skeletons come in one by one, the present activity can be asked for at any time."""

from __future__ import annotations

import bisect
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kinema.bundle import Bundle
from kinema.clip import Clip, PoseSequence, Unit
from kinema.errors import BundleError, DataError, KinemaError
from kinema.layout import Layout, conversion, get_layout
from kinema.recognition.prediction import Prediction
from kinema.recognition.recognizer import Recognizer
from kinema.recognition.resample import resample
from kinema.recognition.skeleton import SkeletonReader, flaw_in_size
from kinema.transforms.config import SCORE

# A window counts as full from this share on; what lies before the first skeleton is not made up, the rest is stretched.
_FULL = 0.9
# Share of the joints that must be seen for a skeleton to count as a person.
_SEEN = 0.5
# Skeletons that come faster than this many times the bundle's rate tell nothing new and are passed over.
_DENSEST = 4
_LONGEST = 600.0


@dataclass(frozen=True, eq=False)
class _Frame:
    time: float
    points: np.ndarray  # (V, C) in the bundle's layout and unit
    observed: np.ndarray  # (V,) bool
    score: np.ndarray  # (V,) confidence, 0..1


class ActivityRecognizer:
    """Recognises what one person is doing from a stream of skeletons, over a window that slides along.

    Args:
        bundle: a recognizer, a bundle, or a bundle's name or path.
        layout: the stream's joint layout. Needed for arrays. For mappings it may be left out: then every skeleton must name the
            same joints as the first. With it, a joint that a mapping leaves out is missing.
        unit: "m" or "mm"; "px" or "norm" for a bundle of 2-D points.
        y_axis: whether y grows upwards, or downwards as in images.
        window: seconds of motion that an answer is made from; by default what the bundle was trained on.
        max_gap: seconds without a person after which what was seen before is forgotten.
        min_confidence: joints whose confidence is not above it are missing.
        image_size: (width, height) of the image that 2-D joints lie in, where it is known; it may be set anew at any time.
        device: where the model runs, where `bundle` is no recognizer yet.

    Times are seconds on any clock that does not run backwards; without them the moment of the call counts. Of two skeletons at
    the same time the first counts. A late one, up to `max_gap` behind the newest, is put where it belongs; one still older is an
    error. Memory is bounded by the window, however fast skeletons come. Not safe for several threads at once.
    """

    def __init__(
        self,
        bundle: Recognizer | Bundle | str | Path = "cad60-activities",
        *,
        layout: str | Layout | None = None,
        unit: Unit = "m",
        y_axis: Literal["up", "down"] = "up",
        window: float | None = None,
        max_gap: float = 1.0,
        min_confidence: float = 0.0,
        image_size: tuple[int, int] | None = None,
        device: str = "cpu",
    ):
        self.recognizer = bundle if isinstance(bundle, Recognizer) else Recognizer(bundle, device)
        self.bundle = self.recognizer.bundle
        if not isinstance(self.bundle, Bundle):
            raise BundleError(f"bundle {self.bundle.name!r} is several fused into one; a stream takes a single one")
        if self.bundle.modalities != ("pose",):
            raise BundleError(f"bundle {self.bundle.name!r} takes {' and '.join(self.bundle.modalities)}; a stream has skeletons alone")
        self.window = self.bundle.window_seconds if window is None else window
        for name, value in (("window", self.window), ("max_gap", max_gap)):
            if not 0 < value <= _LONGEST:
                raise KinemaError(f"{name} is {value}; more than 0 and at most {_LONGEST:g} seconds are expected")
        self.max_gap, self.unit, self.y_axis, self.image_size = max_gap, unit, y_axis, image_size
        self._target = get_layout(self.bundle.input.layout)
        self._frames = max(2, round(self.window * self.bundle.fps))
        self._least = min(self._frames, self.recognizer.least_frames)
        self._reader = SkeletonReader(layout, self.bundle.dims, min_confidence)
        self._checked: Layout | None = None
        self._check(self._target if layout is None else get_layout(layout))
        self.reset()

    def reset(self) -> None:
        """Forget everything: what comes next is a new stream."""
        self._held: list[_Frame] = []
        self._newest: float | None = None
        self._timed: bool | None = None
        self._flaw = "no skeleton has come yet"
        self._answer: Prediction | None = None
        self._reader.reset()

    def __len__(self) -> int:
        """Skeletons that are held."""
        return len(self._held)

    @property
    def ready(self) -> bool:
        """Whether enough is held for an answer."""
        return len(self._held) >= self._least and self._span >= _FULL * self._seconds

    @property
    def newest(self) -> float | None:
        """Time of the newest skeleton, whether it showed a person or not; None before the first."""
        return self._newest

    @property
    def last_seen(self) -> float | None:
        """Time of the newest skeleton that showed a person; None where none is held."""
        return self._held[-1].time if self._held else None

    @property
    def seconds_held(self) -> float:
        """Seconds from the first skeleton held to the last."""
        return self._span

    def add_skeleton(self, skeleton: Mapping[str, Any] | Any, time: float | None = None) -> bool:
        """Take one skeleton; true once enough is held for an answer.

        `skeleton`: a mapping from joint name to coordinates, or an array (V, C) in the stream's layout; each joint has the
        bundle's 2 or 3 coordinates and, if there is one more number, a confidence. A joint that is None, not finite, or without
        confidence is missing, and so is one exactly at the origin, which is what sensors write for "not seen", unless the other
        joints lie around it. `time`: seconds.

        Raises `KinemaError` for joints that change midway or are not numbers, and for a time that runs backwards; the stream
        then is as it was before the call.
        """
        layout, points, observed, score = self._reader.read(skeleton)
        self._check(layout)
        moment = self._moment(time)
        self._timed = time is not None
        self._reader.accept(layout)
        self._newest = moment if self._newest is None else max(moment, self._newest)
        frame = self._frame(moment, layout, points, observed, score)
        if frame is not None:
            self._hold(frame)
        return self.ready

    def current_activity(self, time: float | None = None) -> Prediction:
        """What the person is doing now; a prediction with `known` false and a `reason` where that cannot be said.

        `time`: now, on the stream's clock; by default the present moment, or that of the newest skeleton where times are given.
        """
        return current_activities([self], time)[0]

    def _check(self, layout: Layout) -> None:
        """`BundleError` where the bundle cannot take the stream's joints or unit."""
        if layout is self._checked:
            return
        sample = PoseSequence(np.zeros((1, 1, len(layout), self.bundle.dims)), layout, self.unit, y_axis=self.y_axis)
        self.recognizer.check(sample)
        self._checked = layout

    def _moment(self, time: float | None) -> float:
        if self._timed is not None and self._timed != (time is not None):
            raise KinemaError("skeletons came with and without a time; give all of them one, or none")
        if time is None:
            return clock.monotonic()
        try:
            moment = float(time)
        except (TypeError, ValueError):
            moment = np.nan
        if not np.isfinite(moment):
            raise DataError(f"time is {time!r}; a finite number of seconds is expected")
        if self._newest is not None and moment < self._newest - self.max_gap:
            raise DataError(
                f"time runs backwards, from {self._newest:g} s to {moment:g} s; a late skeleton may be {self.max_gap:g} s behind, a new "
                "stream begins with reset()"
            )
        return moment

    def _frame(self, moment: float, layout: Layout, points: np.ndarray, observed: np.ndarray, score: np.ndarray) -> _Frame | None:
        """The skeleton as the bundle knows it, or None, with `_flaw` saying why, where it shows no person."""
        weights = conversion(layout, self._target)
        used = weights > 0
        seen = (observed | ~used).all(1)
        if seen.mean() < _SEEN:
            self._flaw = f"nobody is seen ({seen.sum()} of {len(seen)} joints)"
            return None
        scale = 1e-3 if self.unit == "mm" else 1.0
        placed = np.where(observed[:, None], points, 0) * scale
        placed = np.where(seen[:, None], weights @ placed, 0)
        extent = float(np.ptp(placed[seen], axis=0).max())
        flaw = flaw_in_size(extent, "m" if self.unit == "mm" else self.unit, self.unit)
        if flaw:
            self._flaw = flaw
            return None
        score = np.where(seen, np.where(used, score, np.inf).min(1), 0)
        return _Frame(moment, placed.astype(np.float32), seen, score.astype(np.float32))

    def _hold(self, frame: _Frame) -> None:
        held = self._held
        if held and frame.time - held[-1].time > self.max_gap:
            held.clear()
            self._answer = None
        place = bisect.bisect_left(held, frame.time, key=lambda other: other.time)
        nearest = min((abs(other.time - frame.time) for other in held[max(0, place - 1) : place + 1]), default=np.inf)
        if nearest < 1 / (_DENSEST * self.bundle.fps):
            return
        if held and held[0].time - frame.time > self.max_gap:
            return
        held.insert(place, frame)
        self._answer = None
        oldest = held[-1].time - self._seconds
        while len(held) > 1 and held[1].time <= oldest:
            held.pop(0)

    @property
    def _seconds(self) -> float:
        """From the first frame of a window to its last."""
        return (self._frames - 1) / self.bundle.fps

    @property
    def _span(self) -> float:
        return self._held[-1].time - self._held[0].time if self._held else 0.0

    def _lack(self, now: float | None) -> str:
        """Why there is no answer now; empty where there is one."""
        if not self._held:
            return self._flaw
        absent = now - self._held[-1].time
        if absent > self.max_gap:
            return f"nobody has been seen for {absent:.1f} s" + (f"; {self._flaw}" if self._newest > self._held[-1].time else "")
        if self._span < _FULL * self._seconds:
            return f"{self._span:.1f} of {self._seconds:.1f} s have been seen"
        if len(self._held) < self._least:
            return f"{len(self._held)} skeletons in {self._span:.1f} s; {self._least} at least are needed"
        points, observed = np.stack([frame.points for frame in self._held]), np.stack([frame.observed for frame in self._held])
        moved = (points[1:] != points[:-1]).any(-1) & observed[1:] & observed[:-1]
        if not moved.any():
            return "the skeleton does not move in the least; is the sensor stuck?"
        return ""

    def _now(self, time: float | None) -> float | None:
        if time is None:
            return clock.monotonic() if self._timed is False else self._newest
        return time

    def _window(self) -> Clip:
        """What is held, at the bundle's rate; `DataError` where it cannot be used."""
        times = np.array([frame.time for frame in self._held])
        points, observed = np.stack([frame.points for frame in self._held]), np.stack([frame.observed for frame in self._held])
        scored = SCORE in self.bundle.input.streams
        if scored:
            points = np.concatenate([points, np.stack([frame.score for frame in self._held])[..., None]], -1)
        moments = np.linspace(max(times[0], times[-1] - self._seconds), times[-1], self._frames)
        reach = max(0.51 / self.bundle.fps, 0.75 * float(np.median(np.diff(times))), 0.1)
        points, observed = resample(times, points, observed, moments, reach)
        score = points[None, ..., -1].clip(0, 1) if scored else None
        about = {"fps": self.bundle.fps, "y_axis": self.y_axis, "image_size": self.image_size}
        pose = PoseSequence(points[None, ..., : self.bundle.dims], self._target, self.bundle.unit, observed[None], score, **about)
        return Clip("live", {"pose": pose})


def current_activities(streams: Sequence[ActivityRecognizer], time: float | None = None) -> list[Prediction]:
    """What each of several persons is doing, as `ActivityRecognizer.current_activity` tells of one, in one pass of the network.

    `streams`: of one and the same `recognizer`, each with its person.
    """
    answers: dict[int, Prediction] = {}
    asked: list[ActivityRecognizer] = []
    clips: list[Clip] = []
    for stream in streams:
        reason = stream._lack(stream._now(time))
        if not reason and stream._answer is None:
            try:
                clips.append(stream._window())
                asked.append(stream)
            except (BundleError, DataError) as error:
                reason = str(error)
        if reason:
            answers[id(stream)] = Prediction.nothing("live", stream.bundle.classes, reason)
    for stream, answer in zip(asked, asked[0].recognizer.predict_clips(clips, on_error="skip") if asked else (), strict=True):
        stream._answer = replace(answer, windows=())
    return [answers.get(id(stream)) or stream._answer for stream in streams]
