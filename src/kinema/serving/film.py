"""Answered pictures into a video file, as they come."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

from kinema._write import writing_whole
from kinema.errors import DataError, KinemaError
from kinema.layout import Layout
from kinema.serving.drawing import draw_step
from kinema.serving.live import Background, Moment

_CLOCK = 90_000
_CODING = {"crf": "22", "preset": "veryfast", "threads": "1"}


class FilmWriter(Background):
    """Writes an `.mp4` (H.264) at the pictures' own times, in a thread of its own.

    `waits`: the engine waits for it, so that every picture is in the film; else pictures are left out where it cannot follow.
    The file is there once it is closed. Raises `KinemaError` for another suffix, and on `close` for what could not be written.
    """

    def __init__(self, path: str | Path, layout: Layout, *, waits: bool = False):
        self.path, self._layout = Path(path), layout
        if self.path.suffix.lower() != ".mp4":
            raise DataError(f"pictures are written as .mp4; {self.path.suffix or 'no suffix'!r} is not that", self.path)
        self._open, self._container, self._stream, self._last = contextlib.ExitStack(), None, None, -1
        super().__init__(self._add, waits=waits)

    def close(self) -> None:
        with self._open:
            super().close()
            if self._container is None:
                raise KinemaError(f"{self.path}: not written, since no picture came")
            self._container.mux(self._stream.encode())

    def _add(self, moment: Moment) -> None:
        import av

        picture = draw_step(moment.frame.image, moment.step, self._layout)
        if self._container is None:
            self._begin(picture.size)
        frame = av.VideoFrame.from_image(picture).reformat(self._stream.width, self._stream.height, "yuv420p")
        self._last = max(round(moment.frame.time * _CLOCK), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, _CLOCK)
        self._container.mux(self._stream.encode(frame))

    def _begin(self, size: tuple[int, int]) -> None:
        import av

        part = self._open.enter_context(writing_whole(self.path))
        try:
            self._container = self._open.enter_context(av.open(str(part), "w", format="mp4"))
            self._stream = self._container.add_stream("libx264", rate=30, options=_CODING)
        except av.codec.codec.UnknownCodecError as error:
            raise KinemaError("this PyAV has no H.264 encoder (libx264)") from error
        # 4:2:0 has one colour sample for two pixels each way, so both sides must be even.
        self._stream.width, self._stream.height, self._stream.pix_fmt = size[0] & ~1, size[1] & ~1, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
