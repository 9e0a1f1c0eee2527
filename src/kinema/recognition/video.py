"""Long videos, window by window: decoded once, in order, and held no longer than the windows that are being answered need them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from kinema import video
from kinema._frames_cache import Resize, pixels_of
from kinema.calibration import Calibration
from kinema.clip import Clip, VideoSource
from kinema.errors import DataError
from kinema.recognition.answers import sample_answers
from kinema.recognition.prediction import WindowPrediction
from kinema.transforms.batches import Batch
from kinema.transforms.skeleton_box import at_times, pose_for_cutting, skeleton_place
from kinema.transforms.video_config import VideoInput
from kinema.transforms.video_samples import VideoSamples

_AT_ONCE = 16 << 20  # bytes of windows, decoded and prepared, that go through a model together; its maps are many times as large
_NOTHING = 1e-6  # seconds
# A recording that is so many times longer than the clips of training is told to be.
_MUCH_LONGER = 5


@dataclass(frozen=True)
class Cut:
    """Windows of `window` seconds, the next one `stride` seconds after the start of the last."""

    window: float
    stride: float

    def spans(self, duration: float) -> list[tuple[float, float]]:
        """(start, end) of the windows of a recording: as many as lie in it, one more at its end where something would be left out, and
        all of a shorter one."""
        count = max(math.floor((duration - self.window + _NOTHING) / self.stride) + 1, 0)
        spans = [(i * self.stride, i * self.stride + self.window) for i in range(count)]
        end = spans[-1][1] if spans else 0.0
        if duration - end > _NOTHING * duration + _NOTHING:
            spans.append((max(duration - self.window, 0.0), duration))
        return spans


def answer_windows(
    model: nn.Module,
    clip: Clip,
    input: VideoInput,
    cut: Cut,
    views: int,
    batch_size: int,
    device: torch.device,
    calibration: Calibration | None = None,
) -> list[tuple[WindowPrediction, float]]:
    """The model's answer to each window of a video, in order, and how strange the window is.

    Raises `DataError` for a video that cannot be read.
    """
    spans = cut.spans(video.index(clip.video).duration)
    samples = WindowSamples(clip, input, spans)
    answers = sample_answers(model, samples, views, min(batch_size, samples.at_once), device, calibration=calibration)
    return [(WindowPrediction(start, end, row), float(strange)) for (start, end), row, strange in zip(spans, *answers, strict=True)]


def seconds_of(source: VideoSource) -> np.ndarray:
    """(N + 1,) when each frame is first shown, and when the last one ends, from the beginning of the video."""
    about = video.index(source)
    return np.append(about.times, about.duration)


def length_note(seconds: float, usual: float) -> str:
    """What to tell of a recording that was answered as one action."""
    if not usual or seconds <= _MUCH_LONGER * usual:
        return ""
    return f"it lasts {seconds:.0f} s, the clips of training {usual:.1f} s: windows tell what happens when"


def samples_at_once(input: VideoInput, height: int = 0, width: int = 0) -> int:
    """Samples of a batch that takes little memory; `height`, `width`: of the decoded pictures, where they are larger than the input's."""
    decoded = 3 * max(height, input.height) * max(width, input.width)
    each = max(input.frames, input.test_frames) * (decoded + 4 * input.shape.channels * input.height * input.width)
    return max(1, _AT_ONCE // each)


class WindowSamples(VideoSamples):
    """Samples of windows of one video, to be drawn in order; otherwise as `VideoSamples`.

    `spans`: (start, end) of each in seconds. Whatever is asked for, the video is read forwards; it is begun anew for an earlier window.
    """

    unit = "windows"

    def __init__(self, clip: Clip, input: VideoInput, spans: Sequence[tuple[float, float]]):
        source = clip.video
        times = video.index(source).times
        starts, stops = (np.searchsorted(times, [span[i] - _NOTHING for span in spans]) for i in (0, 1))
        starts = np.minimum(starts, np.maximum(stops - 1, 0))  # where none begins within it, the one that is shown then
        lengths = np.maximum(stops - starts, 1)
        places = _places(clip, input, spans, times, starts, lengths) if input.crop else None
        passing = _Passing(source, Resize(input.height, input.width, input.short, input.fit == "stretch"), lengths, starts, places)
        super().__init__(input, [clip] * len(spans), passing, range(len(spans)))
        self.clip_of = torch.zeros(len(spans), dtype=torch.long)
        self.starts = torch.from_numpy(starts)
        self._passing = passing

    @property
    def at_once(self) -> int:
        """Windows of a batch that takes little memory."""
        return samples_at_once(self.input, *self._passing.size)

    def batch(self, indices: Sequence[int] | Tensor, *, augment=None, generator=None, view=0, views=1, device=None) -> Batch:
        indices = torch.as_tensor(indices, dtype=torch.long)
        if view == 0:
            wanted = self._wanted(indices, views)
            self._passing.hold(wanted, lambda: self._wanted(torch.arange(int(indices.min()), len(self)), views))
        return super().batch(indices, augment=augment, generator=generator, view=view, views=views, device=device)

    def _wanted(self, indices: Tensor, views: int) -> np.ndarray:
        """The frames of these windows that any view shows, increasing."""
        moments = -(-views // self.input.places)
        return np.unique(np.concatenate([self._times(indices, None, None, i / moments).numpy().ravel() for i in range(moments)]))


def _places(
    clip: Clip, input: VideoInput, spans: Sequence[tuple[float, float]], times: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> list[np.ndarray | None]:
    """Where the people are in each window, by the skeletons that are seen in it; for a moving box in each of its frames."""
    pose = pose_for_cutting(clip)
    if pose is None:
        return [None] * len(spans)
    seconds = np.arange(pose.frames) / pose.fps if pose.times is None else pose.times
    about, found = video.index(clip.video), []
    for (begin, end), start, length in zip(spans, starts, lengths, strict=True):
        within = np.flatnonzero((seconds >= begin - _NOTHING) & (seconds < end))
        shown = pose.select_frames(within) if len(within) else None
        place = None if shown is None else skeleton_place(shown, (about.width, about.height), input.crop_of, input.crop_margin)
        moving = place is not None and input.crop_of == "moving"
        if moving:
            shown = replace(shown, times=seconds[within])
            place = at_times(place, shown, times[start : start + length])
        found.append(place)
    return found


class _Passing:
    """The frames of a video as it passes by: those that were asked for last are held. `places`: what is cut out of them in each window, as
    in `kinema._frames_cache.Frames`."""

    kept = 0

    def __init__(
        self,
        source: VideoSource,
        resize: Resize,
        lengths: np.ndarray,
        starts: np.ndarray,
        places: Sequence[np.ndarray | None] | None = None,
    ):
        self._source, self._about = source, video.index(source)
        own = self._about.height, self._about.width
        # What is cut out of pictures must stay as sharp as they are.
        self._resize, self._own, self.size = resize, own, own if places is not None else resize.kept(*own)
        self._places, self._starts = places, starts.tolist()
        self.lengths = lengths.tolist()
        self.errors: dict[int, DataError] = {}
        self._stream: Iterator[tuple[float, np.ndarray]] = iter(())
        self._numbers: list[int] = []
        self._pictures: list[np.ndarray] = []
        self._from = self._read = len(self._about)

    def whole(self, i: int) -> tuple[int, int]:
        place = None if self._places is None else self._places[i]
        return self._resize.whole(*(self._own if place is None else pixels_of(place, *self._own)[1]))

    def hold(self, frames: np.ndarray, coming) -> None:
        """Have these frames (increasing) at hand, and forget earlier ones. `coming()`: these and all that will be asked for later."""
        first, last = int(frames[0]), int(frames[-1])
        if first < self._from:
            self._stream = video.stream(self._source, self.size, coming())
            self._numbers, self._pictures, self._read = [], [], -1
        self._from = first
        # One that is earlier stays, in case the first cannot be decoded.
        gone = max(bisect.bisect_right(self._numbers, first) - 1, 0)
        del self._numbers[:gone], self._pictures[:gone]
        while self._read < last:
            seconds, picture = next(self._stream, (None, None))
            if picture is None:
                self._read = len(self._about)
                break
            self._read = int(np.searchsorted(self._about.times, seconds))
            self._numbers.append(self._read)
            self._pictures.append(picture)

    def read(self, i: int, frames: np.ndarray, threads: int | None = 1) -> np.ndarray:
        """(n, H, W, 3) uint8 of held frames; for one that could not be decoded, the one before it."""
        if not self._numbers:
            raise DataError("none of its frames can be decoded", self._source.path)
        pictures = [self._pictures[max(bisect.bisect_right(self._numbers, int(frame)) - 1, 0)] for frame in frames]
        place = None if self._places is None else self._places[i]
        if place is None:
            return np.stack(pictures)
        corners, (height, width) = pixels_of(place[frames - self._starts[i]] if place.ndim == 2 else place, *self._own)
        corners = np.broadcast_to(corners, (len(pictures), 2))
        cut = [picture[top : top + height, left : left + width] for picture, (top, left) in zip(pictures, corners, strict=True)]
        return np.stack(cut)
