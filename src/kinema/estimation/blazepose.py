"""BlazePose (Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking", 2020; metric landmarks: "BlazePose GHUM
Holistic", 2022), as MediaPipe's .tflite file: 33 landmarks in the image and in metres, and the next image's region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema.errors import DataError
from kinema.estimation._runtimes import LiteModel
from kinema.estimation.matching import box_of, overlap
from kinema.estimation.poses import Estimate, Region, again
from kinema.estimation.regions import cut, square, to_image
from kinema.layout import get_layout

# As MediaPipe's graphs have it. Landmarks beyond the 33 are auxiliary: 33 the middle of the hips, 34 on the circle round the person.
_LANDMARKS, _CENTER, _ON_CIRCLE = 39, 33, 34
_MARGIN = 1.25
# How certain an upright body is, and how much more certain a turned one must be: a body upside down has a certainty of .6 to .93 as if
# it stood, one that stands .94 to .98.
_UPRIGHT, _MARGIN_OF_TURNS = 0.94, 0.02
# Of the image's height, below which a box ends at its edge; so much of a box's height may be missing then; a joints' box that is right.
_LOW, _CUT_OFF, _FITS = 0.98, (0.5, 1.2, 2.0), 0.4
_HEATMAP, _KERNEL, _SURE = 64, 7, 0.5


class BlazePose:
    """Estimates 33 landmarks of each person, one after another, in the image and in metres.

    The region turns with the person, so that lying and bending bodies are upright in it.

    Args:
        path: pose_landmark_lite, _full or _heavy.
        threads: of the processor; None: all.
    """

    layout = get_layout("blazepose33")
    least_presence = 0.5

    def __init__(self, path: str | Path, *, threads: int | None = None):
        self._model = model = LiteModel(Path(path), threads)
        if model.height != model.width or model.dtype != np.float32:
            raise DataError("is no BlazePose: a square image of float32 is expected", model.path)
        self._outputs = [
            model.output("Identity", 1, 5 * _LANDMARKS),
            model.output("Identity_1", 1, 1),
            model.output("Identity_3", 1, _HEATMAP, _HEATMAP, _LANDMARKS),
            model.output("Identity_4", 1, 3 * _LANDMARKS),
        ]

    def region(self, box: np.ndarray) -> Region:
        """The upright square round the box, a quarter larger; the landmarks found in it say where the circle is."""
        return square(box, _MARGIN)

    def begin(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[Estimate]:
        """One estimate for each detected box. Of a body that the image's lower edge cuts off, the region must reach beyond it; one that
        does not stand upright is looked for in the other three directions too.

        Departs: MediaPipe's own detector says how large a body is and how it is turned; any other one gives boxes alone.
        """
        return [self._first(image, box) for box in boxes]

    def _first(self, image: np.ndarray, box: np.ndarray) -> Estimate:
        height, width = image.shape[:2]
        region, best = self.region(box), None
        if box[3] >= _LOW * height:
            regions = [square(box + np.array([0, 0, 0, more * (box[3] - box[1])]), _MARGIN) for more in _CUT_OFF]
            looks = [self._twice(image, region), *(self._twice(image, larger) for larger in regions)]
            fits = [_fit(look, box, width, height) * look.presence for look in looks]
            best = max(range(len(looks)), key=lambda i: fits[i] * looks[i].scores.mean())
            if fits[best] >= _FITS:
                return looks[best]
            best = looks[best]
        best = best or self._twice(image, region)
        if _certainty(best) < _UPRIGHT:
            turns = [self._twice(image, replace(region, angle=turn * math.pi / 2)) for turn in (1, 2, 3)]
            turned = max(turns, key=_certainty)
            best = turned if _certainty(turned) > _certainty(best) + _MARGIN_OF_TURNS else best
        return best

    def _twice(self, image: np.ndarray, region: Region) -> Estimate:
        return again(self, image, [self._one(image, region)])[0]

    def estimate(self, image: np.ndarray, regions: Sequence[Region]) -> list[Estimate]:
        """One estimate for each region of (H, W, 3) uint8 RGB."""
        return [self._one(image, region) for region in regions]

    def _one(self, image: np.ndarray, region: Region) -> Estimate:
        side = self._model.width
        given = cut(image, region, (side, side), "edge").astype(np.float32) / np.float32(255)
        landmarks, presence, heatmaps, world = self._model.run(given, *self._outputs)
        landmarks = landmarks.reshape(_LANDMARKS, 5)
        places = refined(landmarks[:, :2].astype(np.float64) / side, heatmaps[0])
        points, count = to_image(places, region), len(self.layout)
        scores = sigmoid(landmarks[:count, 3])
        return Estimate(
            points[:count].astype(np.float32),
            scores.astype(np.float32),
            float(np.clip(presence.reshape(-1)[0], 0, 1)),
            next_region(points[_CENTER], points[_ON_CIRCLE]),
            turned(world.reshape(_LANDMARKS, 3)[:count], region.angle),
        )


def _certainty(estimate: Estimate) -> float:
    return estimate.presence * float(estimate.scores.mean())


def _fit(estimate: Estimate, box: np.ndarray, width: int, height: int) -> float:
    """Overlap of the joints' box, as far as it lies in the image, and the detected one."""
    own = box_of(estimate.points, estimate.scores)
    return 0.0 if own is None else float(overlap(np.clip(own, 0, [width, height] * 2)[None], box[None])[0, 0])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def next_region(center: np.ndarray, on_circle: np.ndarray) -> Region | None:
    """The square round the circle, a quarter larger, turned so that the second point is straight above the first."""
    across = on_circle - center
    radius = float(np.hypot(*across))
    if not radius >= 1:
        return None
    angle = math.atan2(float(across[1]), float(across[0])) + math.pi / 2
    side = 2 * _MARGIN * radius
    return Region((float(center[0]), float(center[1])), (side, side), math.remainder(angle, 2 * math.pi))


def turned(world: np.ndarray, angle: float) -> np.ndarray:
    """(V, 3) float32 metres as the image shows them, of those in a region turned by `angle`."""
    cos, sin = math.cos(angle), math.sin(angle)
    x, y, z = world.T
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], 1).astype(np.float32)


def refined(places: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """(39, 2) places, 0..1: each the mean of its heatmap's 7 x 7 cells round it, where one of them is sure.

    `heatmaps`: (64, 64, 39) logits.
    """
    refined = places.copy()
    reach = (_KERNEL - 1) // 2
    cells = (places * _HEATMAP).astype(int)
    for number, (column, row) in enumerate(cells):
        if not (0 <= column < _HEATMAP and 0 <= row < _HEATMAP) or (places[number] < 0).any():
            continue
        top, left = max(0, row - reach), max(0, column - reach)
        weights = sigmoid(heatmaps[top : row + reach + 1, left : column + reach + 1, number].astype(np.float64))
        if weights.max() >= _SURE:
            total = weights.sum()
            refined[number, 0] = (weights.sum(0) @ np.arange(left, left + weights.shape[1])) / total / _HEATMAP
            refined[number, 1] = (weights.sum(1) @ np.arange(top, top + weights.shape[0])) / total / _HEATMAP
    return refined
