"""RTMDet, a person detector (Lyu et al., "RTMDet: An Empirical Study of Designing Real-Time Object Detectors", 2022), as an ONNX file
of MMDeploy's, which suppresses what overlaps by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from kinema.errors import DataError, KinemaError
from kinema.estimation._runtimes import OnnxModel

# Of the blue, green and red of a pixel, as in training.
_MEAN = np.array([103.53, 116.28, 123.675], np.float32)
_STD = np.array([57.375, 57.12, 58.395], np.float32)
_PAD = 114
_STRIDE = 32


class RTMDet:
    """Finds the persons in an image.

    Args:
        path: `dets` (1, N, 5) and `labels` (1, N) of an image (1, 3, H, W); class 0 is a person.
        size: pixels of the square that an image is fitted into, a multiple of 32. A larger one finds smaller persons, and takes longer.
        least: boxes with a lower score are left out.
        threads: of the processor; None: all.
        device: "auto", "cpu" or "cuda".
    """

    def __init__(self, path: str | Path, *, size: int = 320, least: float = 0.3, threads: int | None = None, device: str = "auto"):
        if size < _STRIDE or size % _STRIDE:
            raise KinemaError(f"the detector's image size is {size}; a multiple of {_STRIDE} is expected")
        self._model, self._least = OnnxModel(Path(path), threads, device), least
        sides = [side for side in self._model.shape[2:] if isinstance(side, int)]
        self._size = sides[0] if sides else size

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 4) float32 boxes in pixels of (H, W, 3) uint8 RGB and (N,) float32 scores in 0..1, the best first."""
        height, width = image.shape[:2]
        scale = self._size / max(height, width)
        # Padded no farther than the network needs: an image of 4:3 is a quarter less to look at.
        inside = max(1, round(width * scale)), max(1, round(height * scale))
        free = not isinstance(self._model.shape[2], int)
        shape = [-(-side // _STRIDE) * _STRIDE if free else self._size for side in inside[::-1]]
        canvas = np.full((*shape, 3), _PAD, np.uint8)
        fitted = Image.fromarray(np.ascontiguousarray(image)).resize(inside, Image.Resampling.BILINEAR, reducing_gap=2.0)
        canvas[: inside[1], : inside[0]] = np.asarray(fitted)
        given = (canvas[..., ::-1] - _MEAN) / _STD
        outputs = self._model.run(np.ascontiguousarray(given.transpose(2, 0, 1)[None]))
        if len(outputs) < 2 or outputs[0].ndim != 3 or outputs[0].shape[2] != 5:
            raise DataError("is no RTMDet: boxes of 5 numbers and labels are expected of it", self._model.path)
        dets, labels = outputs[0][0], outputs[1][0]
        # Often closed by a row of zeros.
        dets = dets[(labels == 0) & (dets[:, 4] >= self._least) & (dets[:, 2] > dets[:, 0]) & (dets[:, 3] > dets[:, 1])]
        dets = dets[np.argsort(-dets[:, 4], kind="stable")]
        boxes = dets[:, :4] / np.array([inside[0] / width, inside[1] / height] * 2, np.float32)
        return boxes.astype(np.float32), np.clip(dets[:, 4], 0, 1).astype(np.float32)
