"""Folders of numbered images as videos."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kinema._video_file import check_size
from kinema.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
_DIGITS = re.compile(r"\d+")
_EXPECTED = "a folder of numbered images (jpg, png, bmp) is expected"


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in the order of the numbers in their names.

    Where there are several sequences, names alike but for their numbers, that of the colour pictures is taken: the one with "rgb" or
    "color" in its name. `DataError` where there is none, or it cannot be told which.
    """
    sequences: dict[str, list[Path]] = {}
    try:
        for path in folder.iterdir():
            if path.suffix.lower() in SUFFIXES and _DIGITS.search(path.stem) and not path.name.startswith("."):
                sequences.setdefault(_DIGITS.sub("#", path.name), []).append(path)
    except OSError as error:
        raise DataError(f"{error.strerror}; {_EXPECTED}", folder) from error
    if not sequences:
        raise DataError(f"there are no numbered images in this folder; a video file or {_EXPECTED}", folder)
    names = list(sequences)
    if len(names) > 1:
        names = [name for name in names if "rgb" in name.lower() or "color" in name.lower()]
    if len(names) != 1:
        shown = ", ".join(sorted(sequences)[:3])
        raise DataError(f"there are {len(sequences)} sequences of images in it ({shown}...); one, or one with 'rgb' in its names", folder)
    return sorted(sequences[names[0]], key=lambda path: ([int(digits) for digits in _DIGITS.findall(path.stem)], path.name))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) as shown."""
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if image.getexif().get(0x0112, 1) >= 5 else (height, width)


def read_image(path: Path, size: tuple[int, int], shown: tuple[int, int]) -> np.ndarray:
    """(height, width, 3) uint8 RGB of an image that is shown at `shown`, resized to `size`."""
    from PIL import Image, ImageOps

    with _opened(path) as image:
        if image.mode[0] in "IF":
            raise DataError("it is no colour image of 8 bits but of mode " + image.mode, path)
        if size != shown:
            image.draft("RGB", size[::-1])  # JPEG alone: decoded at a half, quarter or eighth where that is still large enough
        image = ImageOps.exif_transpose(image).convert("RGB")
        if image.size != size[::-1]:
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from PIL import Image

    try:
        with Image.open(path, formats=("JPEG", "PNG", "BMP")) as image:
            check_size(*image.size, path)
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).replace(f" {str(path)!r}", "")
        raise DataError(f"{reason[:1].lower()}{reason[1:]}; an image (jpg, png, bmp) is expected", path) from error
