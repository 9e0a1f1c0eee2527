"""The video that skeletons are drawn on: its pictures in time, which frame of the skeletons belongs to each, and its sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kinema import video
from kinema.clip import PoseSequence, VideoSource
from kinema.errors import DataError

# Key points without times of their own are taken frame by frame; their numbers may differ by so much of the larger one.
_UNLIKE = 0.05


class Film:
    """A video, and 2-D key points in its pixels (or in those of an image of the same shape, `image_size`).

    `seconds`: (N,) when each picture is shown, from the source's start; `fps`, `width`, `height`: of the pictures.
    Raises `DataError` for what is no video, for points that are not in pixels of it, and where the two are not of one recording.
    """

    def __init__(self, source: VideoSource, pose: PoseSequence):
        self.source, self.pose = source, pose
        about = video.index(source)
        self.seconds, self.fps, self.width, self.height = about.times, about.fps, about.width, about.height
        if pose.dims != 2 or pose.unit != "px" or pose.y_axis != "down":
            raise DataError(f"on a video 2-D points in its pixels are drawn; these are {pose.dims}-D in {pose.unit!r}", source.path)
        size = pose.image_size or (about.width, about.height)
        self.scale = np.array([about.width / size[0], about.height / size[1]])
        if not 0.98 < self.scale[0] / self.scale[1] < 1.02:
            raise DataError(f"the video is {about.width} x {about.height}, the image of the points {size[0]} x {size[1]}", source.path)
        self._frames = self._belonging()
        self._pictures: Iterator[tuple[float, np.ndarray]] | None = None
        self._at, self._picture = -1, np.zeros((1, 1, 3), np.uint8)

    def _belonging(self) -> np.ndarray:
        """(N,) index of the frame of the skeletons that each picture shows; -1 for none."""
        pose, count = self.pose, len(self.seconds)
        if pose.times is None:
            if abs(pose.frames - count) > max(_UNLIKE * max(pose.frames, count), 1):
                raise DataError(
                    f"has {count} pictures, the skeletons {pose.frames} frames; these are not of one recording", self.source.path
                )
            frames = np.arange(count)
            return np.where(frames < pose.frames, frames, -1)
        # The earlier or the later neighbour; of two that are as near, the earlier one.
        after = np.searchsorted(pose.times, self.seconds).clip(max=pose.frames - 1)
        before = np.maximum(after - 1, 0)
        nearest = np.where(self.seconds - pose.times[before] <= pose.times[after] - self.seconds, before, after)
        late = np.abs(self.seconds - pose.times[nearest]) > 0.75 * max(1 / self.fps, 1 / pose.fps)
        return np.where(late, -1, nearest)

    def frame(self, picture: int) -> int:
        """The frame of the skeletons that belongs to a picture; -1 where nobody was seen."""
        return int(self._frames[picture])

    def showing(self, frame: int) -> int:
        """A picture that shows this frame of the skeletons."""
        shown = np.flatnonzero(self._frames == frame)
        return int(shown[0]) if len(shown) else int(np.abs(self._frames - frame).argmin())

    def picture(self, number: int) -> np.ndarray:
        """(height, width, 3) uint8. One after the other the file is read once, in constant memory; backwards it begins anew."""
        if number < self._at or self._pictures is None:
            self._pictures, self._at = video.stream(self.source), -1
        for seconds, picture in self._pictures:
            self._picture = picture
            self._at = int(np.searchsorted(self.seconds, seconds - 1e-6))
            if self._at >= number:
                break
        return self._picture


def sound_stream(container: Any, opened: Any) -> Any:
    """A stream of AAC in `container` for the sound of an opened file; None where there is none."""
    if opened is None:
        return None
    heard = opened.streams.audio[0]
    return container.add_stream("aac", rate=heard.rate, layout="mono" if heard.channels == 1 else "stereo")


def copy_sound(source: VideoSource, container: Any, stream: Any, opened: Any) -> None:
    """The sound of the source's part, as AAC, into a stream that `sound_stream` made."""
    import av

    resampler = av.AudioResampler(format=stream.format.name, layout=stream.layout.name, rate=stream.rate)
    for frame in opened.decode(opened.streams.audio[0]):
        if frame.time is None or frame.time < source.start:
            continue
        if source.end is not None and frame.time >= source.end:
            break
        seconds = frame.time - source.start
        for part in resampler.resample(frame):
            if part.pts is None:
                part.pts = round(seconds * stream.rate)
            container.mux(stream.encode(part))
    container.mux(stream.encode())


def open_sound(path: Path) -> Any:
    """The opened file of a video that has sound; None for one without, or for a folder of images."""
    import av

    if path.is_dir():
        return None
    opened = av.open(str(path))
    if opened.streams.audio:
        return opened
    opened.close()
    return None
