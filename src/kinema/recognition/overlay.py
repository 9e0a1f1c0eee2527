"""A video's answers written into it: at every moment the most probable labels, in a corner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema import video
from kinema._write import writing_whole
from kinema.clip import VideoSource
from kinema.errors import DataError, KinemaError
from kinema.recognition._drawing import BLACK, OVERSAMPLE, Canvas, draw_labels
from kinema.recognition._film import copy_sound, open_sound, sound_stream
from kinema.recognition.timeline import Timeline

if TYPE_CHECKING:
    from kinema.recognition.prediction import Prediction

_MOST = 5
_SMALLEST = 240  # the shorter side of what is written, where no size is asked for: words must be readable
_SHADE = 0.28  # of the picture behind the words
_ROW = 24  # pixels of a line, before it is enlarged
_CLOCK = 90_000  # ticks a second
_CODING = {"crf": "20", "preset": "veryfast"}


def write_labels(
    prediction: Prediction, path: str | Path, top: int = _MOST, *, size: tuple[int, int] | None = None, fps: float | None = None
) -> Path:
    """The video of an answer with its most probable labels (five at most) and the true one, into an `.mp4` file (H.264).

    Each moment shows the mean of the answers to the windows that cover it. Pictures keep their times, and the sound stays. The video is
    read and written picture by picture, however long it is. `size`: (width, height) in pixels. `fps`: at most so many pictures a second.

    Raises `KinemaError` for another suffix or a place that cannot be written, `DataError` for an answer without video.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise DataError(f"labels are written into videos as .mp4; {path.suffix or 'no suffix'!r} is not that", path)
    if prediction.video is None:
        raise DataError("there is no video to write its labels into", prediction.source)
    if fps is not None and not (math.isfinite(fps) and 0 < fps <= 120):
        raise KinemaError(f"fps is {fps}; a number in 0..120 is expected")
    about = video.index(prediction.video)
    height, width = _size(about.height, about.width) if size is None else size[::-1]
    if min(height, width) < 32 or max(height, width) > 8192:
        raise KinemaError(f"size is {width} x {height} pixels; 32 to 8192 are expected")
    labels = _Labels(prediction, min(top, _MOST), height, width)
    # 4:2:0 has one colour sample for two pixels each way, so both sides must be even.
    with writing_whole(path) as part:
        _encode(part, prediction.video, labels, (height & ~1, width & ~1), min(fps or 120.0, about.fps), fps)
    return path


def _size(height: int, width: int) -> tuple[int, int]:
    scale = max(1.0, _SMALLEST / min(height, width))
    return round(height * scale), round(width * scale)


class _Labels:
    """What is laid over the pictures; drawn anew only where the answer changes."""

    def __init__(self, prediction: Prediction, top: int, height: int, width: int):
        self._line, self._truth, self._top = Timeline.of(prediction), prediction.true_label, max(top, 1)
        zoom = float(np.clip(min(height, width) / 360, 1, OVERSAMPLE))
        self._zoom, self._room = zoom, (height / zoom, width / zoom)
        self._number, self._picture = -1, np.zeros((0, 0, 3), np.uint8)

    def lay_over(self, picture: np.ndarray, seconds: float) -> None:
        """Into the lower left corner of (H, W, 3) uint8."""
        number = self._line.number(seconds)
        if number != self._number:
            self._number, self._picture = number, self._drawn(self._line.probabilities[number])
        height, width = self._picture.shape[:2]
        corner = picture[-height:, :width]
        words = self._picture[: corner.shape[0], : corner.shape[1]]
        np.maximum(words, (corner * _SHADE).astype(np.uint8), out=corner)

    def _drawn(self, probabilities: np.ndarray) -> np.ndarray:
        if np.isnan(probabilities).any():
            return np.zeros((1, 1, 3), np.uint8)
        best = np.argsort(-probabilities, kind="stable")[: self._top]
        top = [(self._line.classes[index], float(probabilities[index])) for index in best]
        rows = len(top) + (self._truth is not None and self._truth not in dict(top))
        height, width = self._room
        canvas = Canvas(round(min(max(0.5 * width, 180), width, 260)), round(min(height, _ROW * rows + 12)), BLACK)
        draw_labels(canvas, (10, 6, canvas.width - 10, canvas.height - 6), top, self._truth)
        return np.asarray(canvas.finished((round(canvas.width * self._zoom), round(canvas.height * self._zoom))))


def _encode(part: Path, source: VideoSource, labels: _Labels, size: tuple[int, int], rate: float, fps: float | None) -> None:
    import av

    sound, last, due = open_sound(source.path), -1, -1.0
    try:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000), options=_CODING)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            stream.codec_context.time_base = Fraction(1, _CLOCK)
            voice = sound_stream(container, sound)
            for seconds, picture in video.stream(source, size):
                if seconds < due:
                    continue
                due = -1.0 if fps is None else seconds + 1 / fps - 1e-3
                picture = np.require(picture, requirements="W")
                labels.lay_over(picture, seconds)
                last = max(round(seconds * _CLOCK), last + 1)
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts, frame.time_base = last, Fraction(1, _CLOCK)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if voice is not None:
                copy_sound(source, container, voice, sound)
    except av.codec.codec.UnknownCodecError as error:
        raise KinemaError("this PyAV has no H.264 encoder (libx264)") from error
    except av.error.FFmpegError as error:
        raise KinemaError(f"{source.path}: its labels cannot be written: {error.strerror}") from error
    finally:
        if sound is not None:
            sound.close()


def draw_answers(
    predictions: Sequence[Prediction],
    path: str | Path,
    top: int = _MOST,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    video: str | Path | None = None,
) -> list[Path]:
    """Draw recognised recordings with their answers: skeletons as `kinema.recognition.render` does, videos with `write_labels`; several go
    to one file each, named after the recordings. Returns the files."""
    from kinema.recognition.render import render_predictions
    from kinema.recognition.timeline import file_of_each

    if any(prediction.pose is not None for prediction in predictions):
        return render_predictions(predictions, path, top, size=size, fps=fps, video=video)
    seen = [prediction for prediction in predictions if prediction.video is not None and prediction.known]
    if not seen:
        raise KinemaError("there is no skeleton and no video to draw")
    places = file_of_each(Path(path), seen) if len(predictions) > 1 else [Path(path)]
    return [write_labels(prediction, place, top, size=size, fps=fps) for prediction, place in zip(seen, places, strict=True)]
