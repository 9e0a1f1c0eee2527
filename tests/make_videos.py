"""Small videos that tests make for themselves."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np


def picture(i: int, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: a textured square that wanders over a gradient; different for each i."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 200 // height, columns * 200 // width, (rows + columns + 5 * i) % 200], -1).astype(np.uint8)
    y, x, side = (3 * i) % (height - height // 4), (5 * i) % (width - width // 4), min(height, width) // 4
    image[y : y + side, x : x + side] = np.random.default_rng(i).integers(0, 255, (side, side, 3), np.uint8)
    return image


def write_video(
    path: Path,
    codec: str = "libx264",
    frames: int = 40,
    height: int = 48,
    width: int = 64,
    pixels: str = "yuv420p",
    rate: int = 10,
    times: Sequence[int] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    **options: str,
) -> Path:
    """A video of `picture`s. `times`: milliseconds of each frame, where they are not even."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt, stream.options = height, width, pixels, options
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(i, height, width))
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file of half a second of silence, without pictures."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def decode_all(path: Path, height: int | None = None, width: int | None = None) -> np.ndarray:
    """(N, height, width, 3): every frame of a file, decoded in one plain pass by one thread."""
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        size = {"height": height, "width": width, "interpolation": "BILINEAR"} if height else {}
        return np.stack([frame.reformat(format="rgb24", **size).to_ndarray() for frame in container.decode(video=0)])
