"""MoveNet, single pose (Google, 2021), as a .tflite file: 17 key points of the person in the middle of a square image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinema.errors import DataError
from kinema.estimation._runtimes import LiteModel
from kinema.estimation.poses import Estimate, Region, again, presence_of
from kinema.estimation.regions import cut, square, to_image
from kinema.layout import get_layout

# The rule of Google's tutorial for the next image's crop: round the middle of the hips, so far as these times the farthest joint of
# the torso and of the whole body, among those with such a score.
_TORSO, _BODY, _SURE = 1.9, 1.2, 0.2
_PADDING = 1.25  # of a detected box
_LAYOUT = get_layout("coco17")
_HIPS, _SHOULDERS = ([_LAYOUT.index(f"{side}_{joint}") for side in ("left", "right")] for joint in ("hip", "shoulder"))


class MoveNet:
    """Estimates 17 COCO key points of each person, one after another.

    Args:
        path: (1, 1, 17, 3), y, x and score in 0..1, of an image (1, S, S, 3) with values 0..255: Lightning or Thunder.
        threads: of the processor; None: all.
    """

    layout = _LAYOUT
    least_presence = 0.3

    def __init__(self, path: str | Path, *, threads: int | None = None):
        self._model = LiteModel(Path(path), threads)
        self._output = self._model.output("StatefulPartitionedCall:0", 1, 1, len(self.layout), 3)
        if self._model.height != self._model.width:
            raise DataError("is no MoveNet: a square image is expected", self._model.path)

    def region(self, box: np.ndarray) -> Region:
        """The square round the box, a quarter larger."""
        return square(box, _PADDING)

    def begin(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[Estimate]:
        """One estimate for each detected box, in the crop that a first look at it says."""
        return again(self, image, self.estimate(image, [self.region(box) for box in boxes]))

    def estimate(self, image: np.ndarray, regions: Sequence[Region]) -> list[Estimate]:
        """One estimate for each region of (H, W, 3) uint8 RGB."""
        return [self._one(image, region) for region in regions]

    def _one(self, image: np.ndarray, region: Region) -> Estimate:
        side = self._model.width
        given = cut(image, region, (side, side)).astype(self._model.dtype)
        found = self._model.run(given, self._output)[0].reshape(len(self.layout), 3)
        points, scores = to_image(found[:, 1::-1].astype(np.float64), region), np.clip(found[:, 2], 0, 1).astype(np.float32)
        next_region = next_crop(points, scores, image.shape[1], image.shape[0])
        return Estimate(points.astype(np.float32), scores, presence_of(scores), next_region)


def next_crop(points: np.ndarray, scores: np.ndarray, width: int, height: int) -> Region | None:
    """The square in which to look for a person in the next image, by the published rule.

    None where no hip or no shoulder is sure. Departs: the rule takes the whole image then, in which it knows of one person alone.
    """
    sure = scores > _SURE
    if not (sure[_HIPS].any() and sure[_SHOULDERS].any()):
        return None
    middle = points[_HIPS].mean(0)
    apart = np.abs(points - middle)
    half = max(_TORSO * apart[[*_HIPS, *_SHOULDERS]].max(), _BODY * apart[sure].max())
    half = min(half, max(middle[0], width - middle[0], middle[1], height - middle[1]))
    longer = max(width, height)
    if half > longer / 2:
        return Region((width / 2, height / 2), (longer, longer))
    side = 2 * max(float(half), 1.0)
    return Region((float(middle[0]), float(middle[1])), (side, side))
