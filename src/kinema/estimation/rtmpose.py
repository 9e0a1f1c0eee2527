"""RTMPose (Jiang et al., "RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose", 2023), as an ONNX file of MMDeploy's: a
distribution over places in x and one in y for each joint (SimCC), whose maxima are taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinema.errors import DataError
from kinema.estimation._runtimes import OnnxModel
from kinema.estimation.poses import Estimate, Region, presence_of
from kinema.estimation.regions import cut, to_image
from kinema.layout import get_layout

# Of the red, green and blue of a pixel, as in training.
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_PADDING = 1.25  # of the person's box
_BINS = 2.0  # of the distributions to a pixel of the network's image (`simcc_split_ratio`)
_USUAL = 256, 192
_AT_ONCE = 16


class RTMPose:
    """Estimates 17 COCO key points of each person.

    Args:
        path: `simcc_x` (N, 17, 2 W) and `simcc_y` (N, 17, 2 H) of images (N, 3, H, W). Where the file takes several at once, the
            persons of an image go through the network together.
        threads: of the processor; None: all.
        device: "auto", "cpu" or "cuda".
    """

    layout = get_layout("coco17")
    least_presence = 0.3

    def __init__(self, path: str | Path, *, threads: int | None = None, device: str = "auto"):
        self._model = OnnxModel(Path(path), threads, device)
        batch, _, *sides = self._model.shape
        self._height, self._width = (side if isinstance(side, int) else usual for side, usual in zip(sides, _USUAL, strict=True))
        self._at_once = batch if isinstance(batch, int) else _AT_ONCE

    def region(self, box: np.ndarray) -> Region:
        """A quarter more than the box, and as much wider or higher as the network's image is."""
        width, height = _PADDING * max(float(box[2] - box[0]), 1.0), _PADDING * max(float(box[3] - box[1]), 1.0)
        aspect = self._width / self._height
        center = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
        return Region(center, (max(width, height * aspect), max(height, width / aspect)))

    def begin(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[Estimate]:
        """One estimate for each detected box."""
        return self.estimate(image, [self.region(box) for box in boxes])

    def estimate(self, image: np.ndarray, regions: Sequence[Region]) -> list[Estimate]:
        """One estimate for each region of (H, W, 3) uint8 RGB."""
        found: list[Estimate] = []
        for start in range(0, len(regions), self._at_once):
            some = regions[start : start + self._at_once]
            given = np.stack([cut(image, region, (self._width, self._height)) for region in some])
            given = ((given - _MEAN) / _STD).transpose(0, 3, 1, 2)
            places, scores = self._decoded(self._model.run(np.ascontiguousarray(given)), len(some))
            for region, own, score in zip(some, places, scores, strict=True):
                found.append(Estimate(to_image(own, region).astype(np.float32), score, presence_of(score), None))
        return found

    def _decoded(self, outputs: list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, 17, 2) places, 0..1 of the region's width and height, and (N, 17) scores: the lower one of the two maxima."""
        shapes = [(count, len(self.layout), round(_BINS * side)) for side in (self._width, self._height)]
        if [out.shape for out in outputs] != shapes:
            raise DataError(
                f"is no RTMPose of {len(self.layout)} COCO key points: it answers {[out.shape for out in outputs]}", self._model.path
            )
        places = np.stack([out.argmax(-1) for out in outputs], -1) / _BINS
        # A bin is the place of a pixel's middle; points count from the corner of the first pixel.
        places = (places + 0.5) / (self._width, self._height)
        scores = np.minimum(outputs[0].max(-1), outputs[1].max(-1))
        return places, np.clip(scores, 0, 1).astype(np.float32)
