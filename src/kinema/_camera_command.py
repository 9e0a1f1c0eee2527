"""What `kinema data fit-camera` does: marked joints and a data set's joints in space in, a camera out, and a picture that shows whether
it is right."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema import video
from kinema._write import write_whole
from kinema.camera import Camera, CameraFit, fit_camera
from kinema.clip import Clip, PoseSequence
from kinema.datasets.base import Dataset
from kinema.errors import DataError, KinemaError, unknown

COLUMNS = ("clip", "frame", "joint", "u", "v")
_MOST_BYTES = 16 << 20  # of a table of marks; nobody marks a hundred thousand joints by hand
_DRAWN_WIDTH = 960  # pixels of the picture, at least
_NEARNESS = (500, 4500)  # millimetres that depth images are drawn over


@dataclass(frozen=True)
class Mark:
    """A joint marked at a pixel; `frame` counts the skeleton's frames from 0."""

    clip: str
    frame: int
    joint: str
    u: float
    v: float
    line: int


def read_marks(path: str | Path) -> list[Mark]:
    """The marks of a CSV file with the columns clip, frame, joint, u, v. `DataError` names the line that is wrong."""
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"is larger than {_MOST_BYTES >> 20} MiB; a table of marked joints is expected", path)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error}); a CSV file with the columns {', '.join(COLUMNS)} is expected", path) from None
    rows = csv.DictReader(lines)
    if not set(COLUMNS) <= set(rows.fieldnames or ()):
        raise DataError(f"has the columns {', '.join(rows.fieldnames or ()) or 'none'}; {', '.join(COLUMNS)} are expected", path, "line 1")
    marks = [_mark(row, rows.line_num, path) for row in rows]
    if not marks:
        raise DataError("has no marks; a line for each marked joint is expected", path)
    return marks


def _mark(row: dict[str, str | None], line: int, path: Path) -> Mark:
    try:
        frame, u, v = int(row["frame"] or ""), float(row["u"] or ""), float(row["v"] or "")
    except ValueError:
        frame, u, v = -1, math.nan, math.nan
    if frame < 0 or not (math.isfinite(u) and math.isfinite(v)):
        found = ", ".join(str(row[name]) for name in ("frame", "u", "v"))
        raise DataError(f"frame, u, v are {found:.60}; a frame number from 0 on and two pixels are expected", path, f"line {line}")
    return Mark(str(row["clip"]), frame, str(row["joint"]), u, v, line)


def marked_points(dataset: Dataset, marks: Sequence[Mark], path: str | Path) -> np.ndarray:
    """(N, 3): the joints in space that are marked. `DataError` naming the line of a mark of what is not there."""
    poses: dict[str, PoseSequence] = {}
    points = np.empty((len(marks), 3))
    for row, mark in zip(points, marks, strict=True):

        def wrong(reason: str, mark: Mark = mark) -> DataError:
            return DataError(reason, path, f"line {mark.line}")

        if mark.clip not in dataset.by_id:
            raise wrong(unknown("clip", mark.clip, dataset.by_id))
        pose = poses.setdefault(mark.clip, dataset.by_id[mark.clip].pose)
        if pose.dims != 3:
            raise wrong(f"clip {mark.clip!r} has {pose.dims}-D skeletons; joints in space are needed")
        if not pose.layout.has(mark.joint):
            raise wrong(unknown(f"joint of {pose.layout.name}", mark.joint, pose.layout.joints))
        if mark.frame >= pose.frames:
            raise wrong(f"clip {mark.clip!r} has frames 0 to {pose.frames - 1}; there is no frame {mark.frame}")
        joint = pose.layout.index(mark.joint)
        if not pose.observed[0, mark.frame, joint]:
            raise wrong(f"clip {mark.clip!r}, frame {mark.frame}: {mark.joint} was not observed")
        row[:] = pose.points[0, mark.frame, joint]
    return points


def picture_size(clip: Clip) -> tuple[int, int]:
    """(width, height) of a clip's pictures: of its video, else of its depth images."""
    if clip.has("video"):
        about = video.index(clip.video)
        return about.width, about.height
    if clip.has("depth"):
        return clip.depth.frames.shape[2], clip.depth.frames.shape[1]
    raise DataError(f"clip {clip.id!r} has neither video nor depth images; give --size WIDTH HEIGHT of the pictures that were marked")


def fit(
    dataset: Dataset, marks: str | Path, size: Sequence[int] | None = None, centre: Sequence[float] | str | None = None
) -> tuple[CameraFit, list[Mark]]:
    """The camera by which a data set's joints are where they are marked.

    `size`: (width, height) of the marked pictures, by default of the first marked clip's video or depth images. `centre`: (bx, by), by
    default the middle of the picture; "fit" fits them too. `DataError` for marks that cannot be used or determine no camera.
    """
    found = read_marks(marks)
    points = marked_points(dataset, found, marks)
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise KinemaError(f"--size is {list(size)}; the width and the height of the marked pictures are expected")
    width, height = size or picture_size(dataset.by_id[found[0].clip])
    if isinstance(centre, str) and centre != "fit":
        raise KinemaError(f"--centre is {centre!r}; fit or nothing is expected")
    middle = None if centre == "fit" else centre or (width / 2, height / 2)
    return fit_camera(points, np.array([(mark.u, mark.v) for mark in found]), (width, height), middle), found


def draw(dataset: Dataset, fitted: CameraFit, marks: Sequence[Mark], out: str | Path) -> Path:
    """Draw the joints of the first marked frame where the camera sees them, over the picture, with crosses at that frame's marks; a PNG
    file."""
    from kinema.recognition._drawing import Canvas, draw_persons

    clip, frame = dataset.by_id[marks[0].clip], marks[0].frame
    camera: Camera = fitted.camera
    scale = max(1.0, _DRAWN_WIDTH / camera.width)
    canvas = Canvas(round(camera.width * scale), round(camera.height * scale))
    canvas.picture(_picture(clip, frame, camera), 0, 0, canvas.width, canvas.height)
    pose = camera.project(clip.pose.select_frames(slice(frame, frame + 1)))
    draw_persons(canvas, pose, 0, lambda points: (points * scale, np.zeros(len(points))), 2 * scale)
    for mark in marks:
        if (mark.clip, mark.frame) == (clip.id, frame):
            at, reach = np.array([mark.u, mark.v]) * scale, 4 * scale
            for step in ((reach, reach), (reach, -reach)):
                canvas.line(np.array([at - step, at + step]), "#ffffff", scale, caps=False)
    data = io.BytesIO()
    canvas.finished().save(data, "PNG")
    return write_whole(out, data.getvalue())


def _picture(clip: Clip, frame: int, camera: Camera) -> np.ndarray:
    """(H, W, 3) uint8: the picture of a skeleton's frame, grey for depth images, black where a clip has no pictures."""
    frames = clip.pose.frames
    if clip.has("video"):
        about = video.index(clip.video)
        number = frame if abs(len(about) - frames) <= 2 else round(frame / max(frames - 1, 1) * (len(about) - 1))
        return video.read_frames(clip.video, np.array([min(number, len(about) - 1)]))[0]
    if clip.has("depth"):
        images = clip.depth.frames
        image = images[min(frame, len(images) - 1)].astype(np.float32)
        near, far = _NEARNESS
        grey = np.where(image > 0, np.clip(230 - 180 * (image - near) / (far - near), 50, 230), 0)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, -1)
    return np.zeros((camera.height, camera.width, 3), np.uint8)


def fit_text(found: dict[str, Any], path: Path) -> str:
    """What was found, in a few lines."""
    camera, residual = found["camera"], found["residual"]
    lines = [
        f"cx {camera['cx']:.2f}, cy {camera['cy']:.2f}, bx {camera['bx']:.2f}, by {camera['by']:.2f} "
        f"for pictures of {camera['width']} x {camera['height']}",
        f"{residual['marks']} marks lie {residual['rms_px']:.2f} px (root mean square) from where it sees them, "
        f"{residual['largest_px']:.2f} at most",
    ]
    if camera["cy"] < 0:
        lines.append("cy is negative: y grows upwards in these skeletons")
    return "\n".join([*lines, f"camera    {path}"])


def write_camera(found: dict[str, Any], path: str | Path) -> Path:
    return write_whole(path, (json.dumps(found, indent=1) + "\n").encode())
