"""Pictures of skeleton sequences with their labels: a strip of moments (PNG) or the movement itself (GIF, MP4)."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from kinema._write import write_whole
from kinema.clip import PoseSequence, VideoSource
from kinema.errors import DataError, KinemaError, unknown
from kinema.recognition._drawing import BLACK, LIGHT, OVERSAMPLE, Camera, Canvas, draw_labels, draw_persons, draw_skeletons, palette
from kinema.recognition._film import Film, copy_sound, open_sound, sound_stream

if TYPE_CHECKING:
    from PIL.Image import Image

    from kinema.recognition._drawing import Colors
    from kinema.recognition.prediction import Prediction

SUFFIXES = (".png", ".gif", ".mp4")
Background = Literal["light", "black"]
_COLORS = {"light": LIGHT, "black": BLACK}
_GAP, _HEAD = 12, 30


@dataclass(frozen=True, eq=False)
class Scene:
    """A sequence and what stands beside it: a title, the most probable labels with their probabilities (0..1), the true label; and the
    video that it is drawn on, if there is one: the points are then in pixels of it."""

    pose: PoseSequence
    title: str = ""
    top: tuple[tuple[str, float], ...] = ()
    truth: str | None = None
    video: VideoSource | None = None


def render(
    pose: PoseSequence,
    path: str | Path,
    *,
    title: str = "",
    top: Sequence[tuple[str, float]] = (),
    truth: str | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    background: Background = "light",
    video: VideoSource | str | Path | None = None,
) -> Path:
    """Draw a 2-D or 3-D sequence into a file, the kind of which its suffix tells: `.png`, `.gif` or `.mp4` (H.264).

    A PNG shows several moments in a row. 3-D is seen from slightly above; left and right limbs differ in colour, joints
    that were not observed are not drawn. `top`: the most probable labels with their probabilities, drawn as bars (five at
    most). `size`: (width, height) in pixels. `fps`: frames per second of a GIF (default 15 at most) or MP4 (default 30 at
    most), at the speed of the recording in either case. `background`: light, or black as a video without its image. `video`:
    2-D points in pixels are drawn on it, at its rate and with its sound unless told otherwise; before and after them it goes on. The
    file appears whole or not at all.

    Raises `KinemaError` for another suffix or a place that cannot be written.
    """
    source = VideoSource(Path(video)) if isinstance(video, (str, Path)) else video
    return render_scenes([Scene(pose, title, tuple(top), truth, source)], path, columns=1, size=size, fps=fps, background=background)


def render_scenes(
    scenes: Sequence[Scene],
    path: str | Path,
    *,
    columns: int = 1,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    background: Background = "light",
) -> Path:
    """Like `render`, for several sequences in one picture, `columns` beside each other; `size` is that of one of them.

    Shorter sequences wait at their last frame in an animation.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"pictures are written as {', '.join(SUFFIXES)}; {path.suffix or 'no suffix'!r} is none of them", path)
    if not scenes:
        raise KinemaError("there is no sequence to draw")
    if fps is not None and not (math.isfinite(fps) and 0 < fps <= 120):
        raise KinemaError(f"fps is {fps}; a number in 0..120 is expected")
    if background not in _COLORS:
        raise KinemaError(unknown("background", background, _COLORS))
    still = path.suffix.lower() == ".png"
    films = [None if scene.video is None else Film(scene.video, scene.pose) for scene in scenes]
    size = size or _natural_size(scenes, films, still)
    if min(size) < 32 or max(size) > 8192:
        raise KinemaError(f"size is {size[0]} x {size[1]} pixels; 32 to 8192 are expected")
    grounds = [_COLORS[background] if film is None else BLACK for film in films]
    views = [_View(scene, film, size, still, colors) for scene, film, colors in zip(scenes, films, grounds, strict=True)]
    columns = max(1, min(columns, len(scenes)))
    encode = {".png": _png, ".gif": _gif, ".mp4": _mp4}[path.suffix.lower()]
    return write_whole(path, encode(views, columns, fps))


def render_predictions(
    predictions: Sequence[Prediction],
    path: str | Path,
    top: int = 5,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    video: str | Path | None = None,
) -> list[Path]:
    """Draw recognised recordings with their answers, at most five labels each and the true one; several go to one file each, named
    after the recordings. They are drawn on the video that they come from: `video`, which is of one recording, or the one that lies
    beside a recording's file; without one, 2-D skeletons on black.

    Returns the files. `size`, `fps` and errors as for `render`.
    """
    path = Path(path)
    shown = [prediction for prediction in predictions if prediction.pose is not None]
    if not shown:
        raise KinemaError("there is no skeleton to draw")
    paths = [path]
    if len(predictions) > 1:
        names = [re.sub(r"[^\w.-]+", "_", prediction.clip_id) for prediction in shown]
        names = [name if names.count(name) == 1 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)]
        paths = [path.with_name(f"{path.stem}-{name}{path.suffix}") for name in names]
    if video is not None and len(shown) > 1:
        raise KinemaError(f"{video} is one video; there are {len(shown)} recordings to draw on it")
    return [
        _render_prediction(prediction, target, top, size, fps, VideoSource(Path(video)) if video is not None else prediction.video)
        for prediction, target in zip(shown, paths, strict=True)
    ]


def _render_prediction(
    prediction: Prediction, path: Path, top: int, size: tuple[int, int] | None, fps: float | None, video: VideoSource | None
) -> Path:
    pose = prediction.pose
    if pose.dims == 3 and prediction.source is not None:
        # The readers are imported when a file is opened: recognition itself knows no data set.
        from kinema.datasets._files import seen_in_video

        pose, video = seen_in_video(prediction.source, video) or (pose, video)
    return render(
        pose,
        path,
        title=prediction.clip_id,
        top=prediction.top(top),
        truth=prediction.true_label,
        size=size,
        fps=fps,
        background="black" if pose.dims == 2 else "light",
        video=video,
    )


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from words such as "1280x720"."""
    match = re.fullmatch(r"\s*(\d{1,6})\s*[x×]\s*(\d{1,6})\s*", text)
    if match is None:
        raise KinemaError(f"size {text[:40]!r}: width and height in pixels are expected, such as 1280x720")
    return int(match[1]), int(match[2])


def _natural_size(scenes: Sequence[Scene], films: Sequence[Film | None], still: bool) -> tuple[int, int]:
    labels = any(scene.top or scene.truth is not None for scene in scenes)
    shown = [film for film in films if film is not None]
    if shown and not still:
        height = min(max(max(film.height for film in shown), 240), 2160)
        wide = max(film.width / film.height for film in shown)
        return round(height * (wide + (0.75 if labels else 0.0))), height
    if still:
        return (1200, 280) if labels else (960, 280)
    return (640, 400) if labels else (400, 400)


class _View:
    """Where things are in the picture of one scene: title, panels of moments, labels."""

    def __init__(self, scene: Scene, film: Film | None, size: tuple[int, int], still: bool, colors: Colors):
        self.scene, self.film, self.size, self.colors = scene, film, size, colors
        # Words and lines grow with a video's picture.
        zoom = 1.0 if film is None else float(np.clip(size[1] / 400, 1, OVERSAMPLE))
        self.width, self.height = round(size[0] / zoom), round(size[1] / zoom)
        self.top = tuple(scene.top)[:5]
        self.camera = Camera(scene.pose)
        self.seconds = _seconds(scene.pose) if film is None else film.seconds
        labels = bool(self.top or scene.truth is not None)
        self.label_width = min(0.42 * self.width, 270) if labels else 0
        self.upper = _HEAD if scene.title else _GAP
        room = self.width - 2 * _GAP - (self.label_width + 2 * _GAP if labels else 0)
        panels = max(1, round(room / (0.72 * (self.height - self.upper)))) if still else 1
        self.panels = min(panels, scene.pose.frames)
        self.panel_width = (room - (self.panels - 1) * _GAP / 2) / self.panels

    def draw(self, frames: Sequence[int]) -> Image:
        canvas, scene = Canvas(self.width, self.height, self.colors), self.scene
        if scene.title:
            canvas.text(_GAP, _HEAD / 2 + 1, scene.title, 14, bold=True, room=self.width - 2 * _GAP)
        bottom = self.height - _GAP
        for panel, frame in enumerate(frames):
            left = _GAP + panel * (self.panel_width + _GAP / 2)
            box = (left, self.upper, left + self.panel_width, bottom)
            if self.film is None:
                draw_skeletons(canvas, scene.pose, self.camera, frame, box)
            else:
                _draw_on(canvas, self.film, frame, box)
            canvas.text(left + 7, self.upper + 11, f"{self.seconds[frame]:.1f} s", 10, self.colors.faint, room=self.panel_width - 10)
        if self.label_width:
            left = self.width - _GAP - self.label_width
            draw_labels(canvas, (left, self.upper, self.width - _GAP, bottom), self.top, scene.truth)
        return canvas.finished(None if self.film is None else self.size)

    def moments(self) -> list[int]:
        """What the panels of a still picture show."""
        frames = _moments(self.scene.pose, self.panels)
        return frames if self.film is None else [self.film.showing(frame) for frame in frames]


def _draw_on(canvas: Canvas, film: Film, number: int, box: tuple[float, float, float, float]) -> None:
    """One picture of a video, as large as it fits, and who is seen in it."""
    left, top, right, bottom = box
    zoom = min((right - left) / film.width, (bottom - top) / film.height)
    width, height = zoom * film.width, zoom * film.height
    corner = np.array([(left + right - width) / 2, (top + bottom - height) / 2])
    canvas.picture(film.picture(number), *corner, width, height)
    frame = film.frame(number)
    if frame >= 0:
        persons = film.pose.points[:, frame][film.pose.observed[:, frame]]
        tall = zoom * float(np.ptp(persons[:, 1] * film.scale[1])) if len(persons) else 0.0
        draw_persons(
            canvas,
            film.pose,
            frame,
            lambda points: (points * film.scale * zoom + corner, np.zeros(points.shape[:-1])),
            np.clip(tall / 45, 1, 8),
        )


def _seconds(pose: PoseSequence) -> np.ndarray:
    return np.arange(pose.frames) / pose.fps if pose.times is None else pose.times - pose.times[0]


def _moments(pose: PoseSequence, count: int) -> list[int]:
    """Frames that divide the movement, rather than the time, into equal parts, so that few show the person at rest."""
    if pose.frames == 1:
        return [0] * count
    both = pose.observed[:, 1:] & pose.observed[:, :-1]
    steps = np.linalg.norm(np.diff(pose.points, axis=1), axis=-1) * both
    steps = steps.sum((0, 2)) / np.maximum(both.sum((0, 2)), 1)
    steps = np.concatenate([[0.0], steps + 0.25 * steps.mean() + 1e-9])
    travelled = np.cumsum(steps)
    return [int(i) for i in np.searchsorted(travelled, (np.arange(count) + 0.5) / count * travelled[-1]).clip(0, pose.frames - 1)]


def _sheet(pictures: Sequence[Image], columns: int, paper: str) -> Image:
    from PIL import Image

    width, height = pictures[0].size
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (width * columns, height * rows), paper)
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * width, index // columns * height))
    return sheet


def _animation(views: Sequence[_View], columns: int, fps: float) -> Iterator[Image]:
    """Pictures at a constant rate; each shows the frame that was current at its time."""
    shown: list[tuple[int, Image] | None] = [None] * len(views)
    for tick in range(max(1, round(max(view.seconds[-1] for view in views) * fps) + 1)):
        for index, view in enumerate(views):
            frame = max(int(np.searchsorted(view.seconds, tick / fps + 1e-6, side="right")) - 1, 0)
            if shown[index] is None or shown[index][0] != frame:
                shown[index] = frame, view.draw([frame])
        yield _sheet([picture for _, picture in shown], columns, views[0].colors.paper)


def _rate(views: Sequence[_View], fps: float | None, most: float) -> float:
    return fps or min(most, max(view.scene.pose.fps if view.film is None else view.film.fps for view in views))


def _png(views: Sequence[_View], columns: int, fps: float | None) -> bytes:
    file = io.BytesIO()
    pictures = [view.draw(view.moments()) for view in views]
    _sheet(pictures, columns, views[0].colors.paper).save(file, format="PNG", optimize=True)
    return file.getvalue()


def _gif(views: Sequence[_View], columns: int, fps: float | None) -> bytes:
    """A GIF counts in hundredths of a second, and viewers slow down anything below two."""
    from PIL import Image

    delay = max(2, round(100 / _rate(views, fps, 15)))
    pictures = _animation(views, columns, 100 / delay)
    # A video has colours of its own.
    how = {"colors": 256} if any(view.film for view in views) else {"palette": palette(views[0].colors)}
    first, *rest = (picture.quantize(**how, dither=Image.Dither.NONE) for picture in pictures)
    file = io.BytesIO()
    first.save(file, format="GIF", save_all=True, append_images=rest, duration=10 * delay, loop=0)
    return file.getvalue()


def _mp4(views: Sequence[_View], columns: int, fps: float | None) -> bytes:
    import av

    film = views[0].film if len(views) == 1 else None
    rate = Fraction(_rate(views, fps, 30 if film is None else 120)).limit_denominator(1000)
    sound = None if film is None else open_sound(film.source.path)
    pictures = _animation(views, columns, float(rate))
    first = next(pictures)
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
            stream.pix_fmt = "yuv420p"
            # 4:2:0 has one colour sample for two pixels each way, so both sides must be even
            stream.width, stream.height = first.width & ~1, first.height & ~1
            voice = sound_stream(container, sound)
            for picture in itertools.chain([first], pictures):
                whole = picture.crop((0, 0, stream.width, stream.height))
                container.mux(stream.encode(av.VideoFrame.from_image(whole)))
            container.mux(stream.encode())
            if voice is not None:
                copy_sound(film.source, container, voice, sound)
    except av.codec.codec.UnknownCodecError as error:
        raise KinemaError("this PyAV has no H.264 encoder (libx264); write a .gif or .png instead") from error
    finally:
        if sound is not None:
            sound.close()
    return file.getvalue()
