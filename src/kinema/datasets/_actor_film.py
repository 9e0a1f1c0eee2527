"""The actor as a camera would see him: pictures of a drawn figure in a room, for demonstrations that show nobody's face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema.datasets.actor import FPS, perform
from kinema.layout import get_layout

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_FINER = 2  # drawn so many times larger, since Pillow's edges are hard
_FOCAL = 0.98  # of the picture's height
_HEIGHT = 0.28  # metres by which the camera hangs above the place that the actor's numbers start from
_SKIN, _HAIR, _SHIRT, _SLEEVE, _TROUSERS, _SHOES = "#d9a384", "#3b2b23", "#2f6f8f", "#2a6380", "#3a4152", "#20242c"
_WALL, _FLOOR, _SKIRTING, _SHADOW = (214, 219, 224), (176, 160, 142), (240, 240, 238), (0, 0, 0, 60)
# (radius in metres at both ends) of what is drawn as a tube
_LIMBS = (
    ("hip", "knee", 0.085, 0.065, _TROUSERS),
    ("knee", "ankle", 0.065, 0.048, _TROUSERS),
    ("ankle", "foot", 0.05, 0.042, _SHOES),
    ("shoulder", "elbow", 0.062, 0.05, _SLEEVE),
    ("elbow", "wrist", 0.043, 0.033, _SKIN),
    ("wrist", "hand", 0.038, 0.044, _SKIN),
)


def film_frames(actions: Sequence[str], who: str = "1", size: tuple[int, int] = (640, 480), fps: float = FPS) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB of the actor who performs one action after another. `size`: (width, height) in pixels.

    Raises `DataError` for an action that he does not know.
    """
    for action in actions:
        points = perform(action, who, noise=0.2).points[0]
        for moment in np.arange(0, len(points) - 1, FPS / fps):
            before, share = int(moment), moment % 1
            yield draw_actor((1 - share) * points[before] + share * points[before + 1], size)


def write_film(path: str | Path, frames: Iterator[np.ndarray], fps: float, codec: str = "libx264", pixels: str = "yuv420p") -> Path:
    """Write pictures as a film; a `.y4m`, which is large, is what Chromium takes for its camera."""
    import av

    path, stream = Path(path), None
    with av.open(str(path), "w", format="yuv4mpegpipe" if path.suffix == ".y4m" else None) as container:
        for image in frames:
            if stream is None:
                stream = container.add_stream("wrapped_avframe" if path.suffix == ".y4m" else codec, rate=round(fps))
                stream.height, stream.width, stream.pix_fmt = *image.shape[:2], pixels
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image).reformat(format=pixels)))
        container.mux(stream.encode(None))
    return path


def draw_actor(points: np.ndarray, size: tuple[int, int] = (640, 480)) -> np.ndarray:
    """One picture of `points` (20, 3): layout "utd-mhad", metres in camera coordinates."""
    from PIL import Image, ImageDraw, ImageFilter

    width, height = size[0] * _FINER, size[1] * _FINER
    image = _room(width, height)
    layout = get_layout("utd-mhad")
    place = {name: _project(points[layout.index(name)], width, height) for name in layout.joints}
    zoom = _FOCAL * height / float(points[:, 2].mean())
    feet = np.array([place["left_ankle"], place["right_ankle"]])
    shadow = Image.new("RGBA", image.size, (0, 0, 0, 0))
    x, y, wide = feet[:, 0].mean(), feet[:, 1].max() + 0.06 * zoom, 0.34 * zoom
    ImageDraw.Draw(shadow).ellipse((x - wide, y - 0.22 * wide, x + wide, y + 0.22 * wide), fill=_SHADOW)
    image = Image.alpha_composite(image.convert("RGBA"), shadow.filter(ImageFilter.GaussianBlur(0.03 * zoom))).convert("RGB")
    draw = ImageDraw.Draw(image)
    depth = {name: float(points[layout.index(name), 2]) for name in layout.joints}
    parts = [
        (np.mean([depth[f"{side}_{a}"], depth[f"{side}_{b}"]]), side, a, b, r, s, c)
        for side in ("left", "right")
        for a, b, r, s, c in _LIMBS
    ]
    trunk = depth["spine"]
    for near in (False, True):
        for _, side, a, b, start, end, color in sorted((part for part in parts if (part[0] < trunk) == near), key=lambda part: -part[0]):
            _tube(draw, place[f"{side}_{a}"], place[f"{side}_{b}"], start * zoom, end * zoom, color)
        if not near:
            _trunk(draw, place, zoom)
            _head(draw, place, zoom)
    return np.asarray(image.resize(size, Image.Resampling.BOX))


def _project(point: np.ndarray, width: int, height: int) -> np.ndarray:
    focal = _FOCAL * height / max(float(point[2]), 0.5)
    # A depth sensor's x grows to its own left, as in a mirror; a camera's picture is none.
    return np.array([width / 2 - focal * point[0], 0.42 * height - focal * (point[1] - _HEIGHT)])


def _room(width: int, height: int):
    from PIL import Image, ImageDraw

    rows = np.linspace(-14, 10, height)[:, None, None]
    wall = np.clip(np.array(_WALL) + rows, 0, 255)
    floor = np.clip(np.array(_FLOOR) + 2 * rows - 8, 0, 255)
    edge = int(0.74 * height)
    pixels = np.where(np.arange(height)[:, None, None] < edge, wall, floor).repeat(width, 1).astype(np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, edge - 0.022 * height, width, edge), fill=_SKIRTING)
    left, top, right, bottom = 0.06 * width, 0.12 * height, 0.25 * width, 0.4 * height
    draw.rectangle((left, top, right, bottom), fill=(250, 250, 248))
    draw.rectangle((left + 0.015 * width, top + 0.02 * height, right - 0.015 * width, bottom - 0.02 * height), fill=(150, 178, 190))
    return image


def _tube(draw: ImageDraw, start: np.ndarray, end: np.ndarray, first: float, second: float, color: str) -> None:
    line = end - start
    across = np.array([-line[1], line[0]]) / max(float(np.linalg.norm(line)), 1e-6)
    corners = (start + first * across, end + second * across, end - second * across, start - first * across)
    draw.polygon([tuple(corner) for corner in corners], fill=color)
    for point, radius in ((start, first), (end, second)):
        _disc(draw, point, radius, color)


def _disc(draw: ImageDraw, point: np.ndarray, radius: float, color: str) -> None:
    draw.ellipse((point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius), fill=color)


def _trunk(draw: ImageDraw, place: dict[str, np.ndarray], zoom: float) -> None:
    _tube(draw, place["shoulder_center"] + (0, 0.01 * zoom), place["head"], 0.055 * zoom, 0.05 * zoom, _SKIN)
    left, right, hip_left, hip_right = (place[name] for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip"))
    wide = 0.1 * zoom
    for a, b in ((left, hip_left), (right, hip_right)):
        inside = (place["spine"] - a) * (0.12, 0.0)
        _tube(draw, a + inside, b, 0.075 * zoom, wide, _SHIRT)
    draw.polygon([tuple(point) for point in (left - (0, 0.06 * zoom), right - (0, 0.06 * zoom), hip_right, hip_left)], fill=_SHIRT)
    _tube(draw, hip_left, hip_right, wide, wide, _TROUSERS)


def _head(draw: ImageDraw, place: dict[str, np.ndarray], zoom: float) -> None:
    up = place["head"] - place["shoulder_center"]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    side, middle, radius = np.array([-up[1], up[0]]), place["head"] - 0.02 * zoom * up, 0.115 * zoom
    _disc(draw, middle + 0.03 * zoom * up, 1.06 * radius, _HAIR)
    _disc(draw, middle - 0.012 * zoom * up, 0.95 * radius, _SKIN)
    for sign in (-1, 1):
        _disc(draw, middle + sign * 0.96 * radius * side - 0.1 * radius * up, 0.2 * radius, _SKIN)
        eye = middle + sign * 0.38 * radius * side + 0.08 * radius * up
        _disc(draw, eye, 0.14 * radius, "#f4f4f2")
        _disc(draw, eye, 0.085 * radius, "#2a2320")
        brow = eye + 0.24 * radius * up
        draw.line([tuple(brow - 0.17 * radius * side), tuple(brow + 0.17 * radius * side)], fill=_HAIR, width=max(round(0.07 * radius), 1))
    _disc(draw, middle - 0.2 * radius * up, 0.1 * radius, "#c68c6d")
    mouth = middle - 0.52 * radius * up
    draw.line(
        [tuple(mouth - 0.26 * radius * side), tuple(mouth + 0.26 * radius * side)], fill="#9c5a4a", width=max(round(0.09 * radius), 1)
    )
