"""A camera that saw 3-D joints: fitted to joints that somebody marked in pictures, it tells where in a picture every joint is.

Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 3.1, equations 1 and 2:
u = cx X / Z + bx, v = cy Y / Z + by. Departs: the signs of cx and cy are found rather than taken for positive. Where y grows upwards,
as in files of Kinects, cy is negative: the printed formula turns people upside down.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinema.clip import PoseSequence
from kinema.errors import DataError, unknown

_LARGEST = 1 << 16  # pixels of a picture's side, and of a focal length
_MOST_BYTES = 1 << 16  # of a camera's file
_NEAREST = 1e-6  # of the depth along Z, in the unit of the points: what lies in or behind the camera is seen nowhere


@dataclass(frozen=True)
class Camera:
    """`cx`, `cy`: pixels, with their signs; `bx`, `by`: the pixel on the axis; `width`, `height`: of the picture, in pixels.

    Raises `DataError` for a number that no camera has.
    """

    cx: float
    cy: float
    bx: float
    by: float
    width: int
    height: int

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.name in ("width", "height")
            number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or abs(value) > _LARGEST or (whole and value < 1):
                wanted = f"a whole number of pixels, 1 to {_LARGEST}" if whole else "a number of pixels"
                raise DataError(f"camera: {field.name} is {value!r:.40}; {wanted} is expected")

    def project(self, pose: PoseSequence) -> PoseSequence:
        """The 3-D joints as pixels of the picture, y downwards. Joints that lie in the camera, behind it or farther beside the picture
        than it is large are not observed. Raises `DataError` for 2-D joints."""
        if pose.dims != 3:
            raise DataError(f"a camera sees joints in space; these are {pose.dims}-D")
        points = pose.points.astype(np.float64)
        seen, far = self._seen(points, pose.observed)
        size = np.array([self.width, self.height])
        inside = far & ~((seen < -size) | (seen > 2 * size)).any(-1)
        points = np.where(inside[..., None], seen, 0)
        return replace(pose, points=points, unit="px", mask=inside, image_size=(self.width, self.height), y_axis="down")

    def _seen(self, points: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        far = observed & (np.abs(points[..., 2]) > _NEAREST)
        # Files differ in where Z points; all that a camera sees lies on one side of it.
        side = np.sign(np.median(points[..., 2][far])) if far.any() else 1.0
        far &= points[..., 2] * side > 0
        over = points[..., :2] / np.where(far, points[..., 2], 1)[..., None]
        return over * (self.cx, self.cy) + (self.bx, self.by), far

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera with pictures of another size."""
        across, down = width / self.width, height / self.height
        return Camera(self.cx * across, self.cy * down, self.bx * across, self.by * down, width, height)


# What is known without a file, of Kinects whose files have y upwards: the published fit for the colour of N-UCLA and UTD-MHAD, and
# what `kinema data fit-camera` makes of recipes/cameras/utd_mhad_depth.csv.
CAMERAS = {
    "kinect-v1": Camera(558.1, -579.5, 320.0, 240.0, 640, 480),
    "utd-mhad-depth": Camera(280.6822, -290.3296, 160.0, 120.0, 320, 240),
}


def read_camera(source: str | Path) -> Camera:
    """A camera by its name (`CAMERAS`) or from a JSON file such as `kinema data fit-camera` writes. `DataError` for anything else."""
    if str(source) in CAMERAS:
        return CAMERAS[str(source)]
    path = Path(source).expanduser()
    if not path.is_file():
        raise DataError(f"camera: {unknown('camera', str(source), CAMERAS)}; and there is no such file")
    if path.stat().st_size > _MOST_BYTES:
        raise DataError("is no camera: it is larger than any camera's file", path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"is no camera's JSON file ({error})", path) from None
    camera = found.get("camera", found) if isinstance(found, dict) else None
    names = [field.name for field in fields(Camera)]
    if not isinstance(camera, dict) or set(camera) != set(names):
        raise DataError(f"is no camera; an object with {', '.join(names)} is expected", path)
    try:
        return Camera(**camera)
    except DataError as error:
        raise DataError(error.reason, path) from None


@dataclass(frozen=True, eq=False)
class CameraFit:
    """A fitted camera. `seen`: (N, 2) where it sees the marked joints; `residuals`: (N,) pixels from there to their marks."""

    camera: Camera
    seen: np.ndarray
    residuals: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        about = {
            "marks": len(self.residuals),
            "rms_px": _rounded(np.sqrt(np.mean(self.residuals**2))),
            "largest_px": _rounded(self.residuals.max()),
        }
        return {"camera": {name: _rounded(value) for name, value in asdict(self.camera).items()}, "residual": about}


def fit_camera(points: np.ndarray, marks: np.ndarray, size: Sequence[int], centre: Sequence[float] | None = None) -> CameraFit:
    """The camera that shows `points` (N, 3) where they are marked, `marks` (N, 2) pixels of pictures of `size` (width, height), by least
    squares for each axis.

    `centre`: (bx, by), which stay as they are; None: they are fitted too.

    Raises `DataError` for marks that determine no camera: too few (one a number that is fitted for each axis), points in the camera or
    on both sides of it, not finite, or all in one direction.
    """
    points, marks = np.asarray(points, np.float64), np.asarray(marks, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or marks.shape != (len(points), 2):
        raise DataError(f"joints {points.shape} and marks {marks.shape}; N x 3 and N x 2 are expected")
    least = 1 if centre is not None else 2
    if len(points) < least:
        raise DataError(f"{len(points)} joints are marked; {least} at least are needed, better 20 and more")
    if not (np.isfinite(points).all() and np.isfinite(marks).all()):
        raise DataError("a marked joint or its mark is not a finite number")
    if (np.abs(points[:, 2]) <= _NEAREST).any() or (np.sign(points[:, 2]) != np.sign(points[0, 2])).any():
        raise DataError("marked joints lie in the camera's plane (Z is 0) or on both sides of it: these are no coordinates of a camera")
    found = []
    for axis, name in enumerate(("X/Z", "Y/Z")):
        over = points[:, axis] / points[:, 2]
        if centre is None:
            columns, target = np.stack([over, np.ones_like(over)], 1), marks[:, axis]
        else:
            columns, target = over[:, None], marks[:, axis] - centre[axis]
        solution, _, rank, _ = np.linalg.lstsq(columns, target, rcond=1e-9)
        if rank < columns.shape[1]:
            raise DataError(f"the marked joints determine no camera: all have the same {name}")
        found.append((float(solution[0]), float(solution[1]) if centre is None else float(centre[axis])))
    (cx, bx), (cy, by) = found
    camera = Camera(cx, cy, bx, by, *map(int, size))
    seen = points[:, :2] / points[:, 2:] * (cx, cy) + (bx, by)
    return CameraFit(camera, seen, np.hypot(*(seen - marks).T))


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else round(float(value), 4)
