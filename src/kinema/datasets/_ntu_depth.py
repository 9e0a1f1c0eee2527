"""NTU RGB+D's masked depth maps: for each clip a folder of 16-bit images MDepth-00000001.png, millimetres, 0 where nobody is."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinema.clip import DepthSequence
from kinema.datasets._io import parser
from kinema.depth_crop import DepthCrop, crop_depth
from kinema.errors import DataError

_IMAGE = re.compile(r"M?Depth-(\d+)\.png", re.IGNORECASE)
_FOCAL = 365.0  # of Kinect v2's depth camera, pixels of 512 across
_WIDTH = 512
_MOST_PIXELS = 1 << 22


def holds_depth(names: Sequence[str]) -> bool:
    """Whether a folder of these files is one of depth images."""
    return any(_IMAGE.fullmatch(name) for name in names)


@parser
def read_depth(folder: str | Path) -> DepthSequence:
    """The depth images of one clip, in the order of their numbers. `DataError` for what is no 16-bit image, or of another size."""
    from PIL import Image, UnidentifiedImageError

    numbered = sorted((int(match[1]), file) for file in os.listdir(folder) if (match := _IMAGE.fullmatch(file)))
    if not numbered:
        raise DataError("no depth images: MDepth-00000001.png and its like are expected here", folder)
    frames: list[np.ndarray] = []
    for _, file in numbered:
        path = Path(folder, file)
        try:
            with Image.open(path) as image:
                if image.width * image.height > _MOST_PIXELS or not image.mode.startswith("I"):
                    raise DataError(
                        f"{image.width} x {image.height}, {image.mode}: a 16-bit grey image of a depth camera is expected", path
                    )
                frame = np.asarray(image)
        except (OSError, SyntaxError, UnidentifiedImageError) as error:
            raise DataError(f"is no image that can be read: {error}", path) from error
        if frames and frame.shape != frames[0].shape:
            raise DataError(
                f"{frame.shape[1]} x {frame.shape[0]} pixels, where the images before have {frames[0].shape[1]} x {frames[0].shape[0]}",
                path,
            )
        frames.append(frame.astype(np.uint16))
    return DepthSequence(np.stack(frames), fps=30.0)


@parser
def read_depth_crop(folder: str | Path) -> DepthCrop:
    """The part of one clip's depth images that shows people."""
    depth = read_depth(folder)
    return crop_depth(depth, focal=_FOCAL * depth.frames.shape[2] / _WIDTH)
