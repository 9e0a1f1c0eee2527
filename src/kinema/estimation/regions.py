"""Parts of an image as a network is given them: cut out, turned, stretched; and points in them back in the image."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image

from kinema.estimation.poses import Region

_FARTHEST = 2  # times the image's longer side: beyond it everything is black


def square(box: np.ndarray, padding: float) -> Region:
    """The upright square round the middle of a box, `padding` times as large as its longer side."""
    side = padding * max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0)
    return Region((float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2), (side, side))


def cut(image: np.ndarray, region: Region, size: tuple[int, int], outside: Literal["black", "edge"] = "black") -> np.ndarray:
    """(height, width, 3) uint8: the region, sampled bilinearly at `size` = (width, height) pixels.

    `outside`: what is shown beyond the image: black, or its outermost pixels again.
    """
    height, width = image.shape[:2]
    corners = to_image(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64), region)
    limit = _FARTHEST * max(width, height)
    # Only the part of the image that the region lies on is handed over; two pixels more for the interpolation.
    low = np.floor(np.clip(corners.min(0) - 2, -limit, limit)).astype(int)
    high = np.ceil(np.clip(corners.max(0) + 2, -limit, limit)).astype(int)
    left, top = np.clip(low, 0, (width - 1, height - 1))
    right, bottom = np.clip(high, (left + 1, top + 1), (width, height))
    part = image[top:bottom, left:right]
    if outside == "edge" and ((low < 0).any() or (high > (width, height)).any()):
        rows = max(0, int(top - low[1])), max(0, int(high[1] - bottom))
        columns = max(0, int(left - low[0])), max(0, int(high[0] - right))
        part = np.pad(part, (rows, columns, (0, 0)), "edge")
        left, top = left - columns[0], top - rows[0]
    cos, sin = math.cos(region.angle), math.sin(region.angle)
    x, y = region.size[0] / size[0], region.size[1] / size[1]
    # Of a pixel of the output (u, v), its place in the part that is handed over.
    matrix = (cos * x, -sin * y, corners[0, 0] - left, sin * x, cos * y, corners[0, 1] - top)
    picture = Image.fromarray(np.ascontiguousarray(part))
    return np.asarray(picture.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def to_image(points: np.ndarray, region: Region) -> np.ndarray:
    """(N, 2) points in the region, 0..1 from its left to its right and its upper to its lower side, in pixels of the image."""
    x, y = ((points - 0.5) * region.size).T
    cos, sin = math.cos(region.angle), math.sin(region.angle)
    return np.stack([region.center[0] + cos * x - sin * y, region.center[1] + sin * x + cos * y], 1)
