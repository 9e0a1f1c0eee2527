"""Where NTU's skeletons are in their colour images: the columns colorX and colorY of .skeleton files, and the videos beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinema.clip import PoseSequence, VideoSource
from kinema.datasets._io import names_in, parser, read_text
from kinema.datasets._videos import is_video
from kinema.datasets.ntu import Body, bodies_in, cleaned
from kinema.errors import DataError

_IMAGE = (1920, 1080)
_FIELDS = 12


@parser
def read_image_points(path: str | Path) -> PoseSequence:
    """The persons of one file as `kinema.datasets.ntu.read_skeleton` keeps them, in pixels of the colour image, 1920 x 1080.

    `times` count from the first frame of the recording, as those of its video do.
    """
    lines = read_text(path).splitlines()
    _, bodies = bodies_in(lines, path)
    kept = cleaned(bodies)
    _, seen = bodies_in([_in_image(line) for line in lines], path)
    chosen: list[Body] = [next(image for body, image in zip(bodies, seen, strict=True) if body is one) for one in kept]
    if not chosen:
        raise DataError("there is no body in any of its frames", path)
    frames = np.unique(np.concatenate([number for number, _ in chosen]))
    points = np.full((len(chosen), len(frames), chosen[0][1].shape[1], 2), np.nan, np.float32)
    for person, (number, values) in enumerate(chosen):
        points[person, np.searchsorted(frames, number)] = values[..., :2]
    # Nor are joints taken that the sensor placed far outside its picture.
    there = np.isfinite(points).all(-1) & (np.abs(np.nan_to_num(points)) < 2 * np.array(_IMAGE)).all(-1)
    points = np.where(there[..., None], points, 0)
    there &= (points > -np.array(_IMAGE)).all(-1)
    return PoseSequence(points, "ntu25", "px", there, fps=30.0, times=frames / 30.0, image_size=_IMAGE, y_axis="down")


def _in_image(line: str) -> str:
    """The line of a joint with its place in the image in front; any other line as it is."""
    fields = line.split()
    return " ".join([*fields[5:7], *fields[2:]]) if len(fields) == _FIELDS else line


def video_beside(path: Path) -> VideoSource | None:
    """The colour video of a .skeleton file, where it lies beside it: the same name and _rgb."""
    if path.suffix.lower() != ".skeleton":
        return None
    name = next((name for name in sorted(names_in(path.parent)) if is_video(name) and Path(name).stem == f"{path.stem}_rgb"), None)
    return None if name is None else VideoSource(path.with_name(name))
