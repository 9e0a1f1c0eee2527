"""How a skeleton is drawn: the camera that looks at it, its limbs, and the list of labels beside it. `render` puts these into files.

Everything is drawn `OVERSAMPLE` times larger and reduced at the end, since Pillow's lines have hard edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema.clip import PoseSequence

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

OVERSAMPLE = 3
Place = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Colors:
    """What a picture is drawn in. `persons`: (left, right, trunk) of each person in turn; the two sides differ for every kind of
    colour vision. `right_answer` is the true label's, `other` that of the bars of other labels, `track` what lies behind bars."""

    ink: str
    faint: str
    paper: str
    panel: str
    floor: str
    right_answer: str
    other: str
    track: str
    persons: tuple[tuple[str, str, str], ...]


LIGHT = Colors(
    *("#1f2733", "#7b8696", "#ffffff", "#f3f5f8", "#dde2ea", "#2f9e63", "#8fa3bf", "#e8ecf2"),
    (("#2b6fd6", "#ee7b1c", "#39424f"), ("#12958f", "#c2408f", "#6b5b4b"), ("#6d55c9", "#a98a12", "#4f5d4f")),
)
BLACK = Colors(
    *("#e8ecf2", "#8f9aa8", "#000000", "#000000", "#2a3038", "#3fbf7a", "#64799a", "#22282f"),
    (("#4f8df0", "#f5924a", "#c3ccd8"), ("#2dbab3", "#dd6cb0", "#c9b49c"), ("#9a86ef", "#d1b13a", "#a9bba9")),
)
_AZIMUTH, _ELEVATION, _DISTANCE = np.deg2rad(-24), np.deg2rad(11), 5.0
_TRAIL_SECONDS = 1.1
_TRAIL_JOINTS = (("left_hand", "left_wrist"), ("right_hand", "right_wrist"))


class Camera:
    """Looks at a sequence from one fixed place that shows all of it.

    2-D poses are seen as they are, 3-D ones from slightly above and from one side, which keeps movements towards the sensor
    visible; from the side on which a right hand that reaches out does not hide behind the body.
    """

    def __init__(self, pose: PoseSequence):
        seen = pose.points[pose.observed]
        if not len(seen):
            seen = np.zeros((1, pose.dims), np.float32)
        self.up = 1.0 if pose.y_axis == "up" else -1.0
        self.solid = pose.dims == 3
        # single wild joints must not make the person tiny
        low, high = np.percentile(seen, (0.5, 99.5), axis=0)
        self.middle, self.extent = (low + high) / 2, max(float((high - low).max()), 1e-6)
        self.floor = self._find_floor(pose) if self.solid else None
        plane, _ = self.project(seen)
        low, high = np.percentile(plane, (0.5, 99.5), axis=0)
        self.center, self.span = (low + high) / 2, np.maximum(high - low, 1e-6)

    def _find_floor(self, pose: PoseSequence) -> float | None:
        feet = [pose.layout.index(joint) for joint in pose.layout.joints if joint.endswith(("ankle", "foot"))]
        heights = pose.points[:, :, feet, 1][pose.observed[:, :, feet]] * self.up if feet else np.zeros(0)
        return float(np.percentile(heights, 2)) if heights.size else None

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(..., 2 or 3) points -> (..., 2) on the picture plane, y growing downwards, and (...) distance behind the middle."""
        centred = (points - self.middle) / self.extent
        x, y = centred[..., 0], centred[..., 1] * self.up
        if not self.solid:
            return np.stack([x, -y], -1), np.zeros(x.shape)
        z = centred[..., 2]
        x, z = np.cos(_AZIMUTH) * x + np.sin(_AZIMUTH) * z, np.cos(_AZIMUTH) * z - np.sin(_AZIMUTH) * x
        y, z = np.cos(_ELEVATION) * y + np.sin(_ELEVATION) * z, np.cos(_ELEVATION) * z - np.sin(_ELEVATION) * y
        nearness = _DISTANCE / np.maximum(_DISTANCE + z, 0.5)
        return np.stack([x * nearness, -y * nearness], -1), z

    def floor_grid(self) -> np.ndarray:
        """(lines, points, 3): a square of lines on the floor under the persons."""
        reach = np.linspace(-0.36, 0.36, 7) * self.extent
        along = np.linspace(-0.36, 0.36, 13) * self.extent
        a, b = np.meshgrid(reach, along, indexing="ij")
        x, z = np.concatenate([a, b]), np.concatenate([b, a])
        return np.stack([x + self.middle[0], np.full_like(x, self.floor * self.up), z + self.middle[2]], -1)


class Canvas:
    """A picture under way; all lengths are in pixels of the finished picture."""

    def __init__(self, width: int, height: int, colors: Colors = LIGHT):
        from PIL import Image, ImageDraw

        self.width, self.height, self.colors = width, height, colors
        self.image = Image.new("RGB", (width * OVERSAMPLE, height * OVERSAMPLE), colors.paper)
        self.draw = ImageDraw.Draw(self.image)

    def finished(self, size: tuple[int, int] | None = None) -> Image:
        """The picture, in its own size or in another one."""
        from PIL import Image

        how = Image.Resampling.BOX if size is None else Image.Resampling.LANCZOS
        return self.image.resize(size or (self.width, self.height), how)

    def picture(self, pixels: np.ndarray, left: float, top: float, width: float, height: float) -> None:
        """(H, W, 3) uint8 pixels, stretched to a place."""
        from PIL import Image

        size = max(round(width * OVERSAMPLE), 1), max(round(height * OVERSAMPLE), 1)
        self.image.paste(
            Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), (round(left * OVERSAMPLE), round(top * OVERSAMPLE))
        )

    def line(self, points: np.ndarray, color: str | tuple, width: float, caps: bool = True) -> None:
        """A line with round corners and, with `caps`, round ends."""
        scaled = [tuple(point) for point in np.asarray(points, float) * OVERSAMPLE]
        self.draw.line(scaled, fill=color, width=max(1, round(width * OVERSAMPLE)), joint="curve")
        if caps and width > 1.5:
            for point in (scaled[0], scaled[-1]):
                self._circle(point, width / 2 * OVERSAMPLE, color)

    def disc(self, point: np.ndarray, radius: float, color: str | tuple) -> None:
        self._circle(tuple(np.asarray(point, float) * OVERSAMPLE), radius * OVERSAMPLE, color)

    def _circle(self, point: tuple, radius: float, color: str | tuple) -> None:
        self.draw.ellipse((point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius), fill=color)

    def box(self, left: float, top: float, right: float, bottom: float, color: str, radius: float) -> None:
        corners = tuple(round(value * OVERSAMPLE) for value in (left, top, right, bottom))
        if corners[2] > corners[0] and corners[3] > corners[1]:
            self.draw.rounded_rectangle(corners, radius=radius * OVERSAMPLE, fill=color)

    def text(
        self, x: float, y: float, words: str, size: float, color: str | None = None, anchor: str = "lm", bold: bool = False, room=None
    ) -> None:
        """Words at a point (Pillow's anchors), in ink unless a colour is given; where they are longer than `room`, they are set smaller,
        then cut with an ellipsis."""
        font = sans(round(size * OVERSAMPLE), bold)
        if room is not None and font.getlength(words) > room * OVERSAMPLE:
            smaller = size * OVERSAMPLE * max(room * OVERSAMPLE / font.getlength(words), 0.7)
            font = sans(int(smaller), bold)
            words = _shorten(words, font, room * OVERSAMPLE)
        self.draw.text((x * OVERSAMPLE, y * OVERSAMPLE), words, fill=color or self.colors.ink, font=font, anchor=anchor)


@lru_cache(maxsize=64)
def sans(size: int, bold: bool) -> FreeTypeFont:
    """DejaVu Sans as it comes with matplotlib, so that pictures are alike on every machine."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), max(size, 1))


def _shorten(words: str, font: FreeTypeFont, room: float) -> str:
    if font.getlength(words) <= room:
        return words
    while words and font.getlength(words + "…") > room:
        words = words[:-1]
    return words.rstrip() + "…"


def mix(color: str, other: str, share: float) -> tuple[int, int, int]:
    """`share` of the first colour, the rest of the other."""
    from PIL.ImageColor import getrgb

    return tuple(round(share * a + (1 - share) * b) for a, b in zip(getrgb(color), getrgb(other), strict=True))


def palette(colors: Colors = LIGHT) -> Image:
    """A picture that holds the 256 found of a GIF: those that are drawn with, and their blends with the grounds at edges."""
    from PIL import Image

    people = [color for person in colors.persons for color in person]
    paper, panel = colors.paper, colors.panel
    blends = [(colors.ink, paper, 16), (colors.faint, panel, 8), (colors.faint, paper, 12), (colors.right_answer, paper, 16)]
    blends += [(colors.other, colors.track, 6), (colors.floor, panel, 4), (colors.track, paper, 4)]
    blends += [*((color, panel, 14) for color in people), *((color, paper, 5) for color in people)]
    found = [mix(color, ground, (i + 1) / levels) for color, ground, levels in blends for i in range(levels)]
    # Pillow takes the nearest colour but roughly, so the grounds themselves have no neighbours
    grounds = [mix(paper, paper, 1), mix(panel, panel, 1)]
    found = [color for color in found if min(np.abs(np.subtract(color, ground)).max() for ground in grounds) > 10] + grounds
    image = Image.new("P", (1, 1))
    image.putpalette([value for color in (found + found[-1:] * 256)[:256] for value in color])
    return image


def draw_skeletons(canvas: Canvas, pose: PoseSequence, camera: Camera, frame: int, box: tuple[float, float, float, float]) -> None:
    """The persons of one frame inside `box` (left, top, right, bottom), with the way that their hands have come."""
    left, top, right, bottom = box
    canvas.box(left, top, right, bottom, canvas.colors.panel, 8)
    room = np.array([right - left, bottom - top]) * (0.86, 0.86)
    zoom = float((room / camera.span).min())
    middle = np.array([(left + right) / 2, (top + bottom) / 2])

    def place(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        plane, depth = camera.project(points)
        return (plane - camera.center) * zoom + middle, depth

    if camera.floor is not None:
        for line in camera.floor_grid():
            points = place(line)[0]
            inside = ((points > (left, top)) & (points < (right, bottom))).all(-1)
            for step in np.flatnonzero(inside[:-1] & inside[1:]):
                canvas.line(points[step : step + 2], canvas.colors.floor, 1)
    draw_persons(canvas, pose, frame, place, float(np.clip(min(room) / 29, 2.0, 11.0)))


def draw_persons(canvas: Canvas, pose: PoseSequence, frame: int, place: Place, thick: float) -> None:
    """The persons of one frame, far ones first, with the way that their hands have come. `place`: from points to the canvas, and depth."""
    for person in range(pose.persons):
        _draw_trails(canvas, pose, person, frame, place, thick)
    nearness = [place(pose.points[m, frame])[1][pose.observed[m, frame]] for m in range(pose.persons)]
    for person in sorted(range(pose.persons), key=lambda m: -nearness[m].mean() if nearness[m].size else 0):
        _draw_person(canvas, pose, person, frame, place, thick)


def _color(joint: str, person: int, colors: Colors) -> str:
    left, right, trunk = colors.persons[person % len(colors.persons)]
    return left if joint.startswith("left_") else right if joint.startswith("right_") else trunk


def _draw_person(canvas: Canvas, pose: PoseSequence, person: int, frame: int, place: Place, thick: float) -> None:
    """Far parts first; a rim in the panel's colour parts limbs that cross."""
    layout, seen = pose.layout, pose.observed[person, frame]
    points, depth = place(pose.points[person, frame])
    head = next((layout.index(name) for name in ("head", "face") if layout.has(name)), None)
    for child, parent in sorted(layout.bones, key=lambda bone: -depth[list(bone)].mean()):
        color = _color(layout.joints[child], person, canvas.colors)
        if seen[child] and seen[parent]:
            ends = points[[parent, child]]
            inner = ends + (ends[::-1] - ends) * min(0.45, thick / max(np.linalg.norm(ends[1] - ends[0]), 1e-6))
            canvas.line(inner, canvas.colors.panel, thick + 2.5, caps=False)
            canvas.line(ends, color, thick)
        for joint in (parent, child):
            if seen[joint] and joint != head:
                _draw_joint(canvas, points[joint], thick, _color(layout.joints[joint], person, canvas.colors))
        if child == head and seen[child]:
            radius = max(0.5 * float(np.linalg.norm(points[child] - points[parent])), 1.5 * thick) if seen[parent] else 1.5 * thick
            canvas.disc(points[child], radius + 1, canvas.colors.panel)
            canvas.disc(points[child], radius, color)


def _draw_joint(canvas: Canvas, point: np.ndarray, thick: float, color: str) -> None:
    canvas.disc(point, thick * 0.72, color)
    canvas.disc(point, thick * 0.34, canvas.colors.paper)


def _draw_trails(canvas: Canvas, pose: PoseSequence, person: int, frame: int, place: Place, thick: float) -> None:
    start = max(0, frame - round(_TRAIL_SECONDS * pose.fps))
    for names in _TRAIL_JOINTS:
        name = next((name for name in names if pose.layout.has(name)), None)
        if name is None or frame == start:
            continue
        joint = pose.layout.index(name)
        points, _ = place(pose.points[person, start : frame + 1, joint])
        seen = pose.observed[person, start : frame + 1, joint]
        for step in range(frame - start):
            if seen[step] and seen[step + 1]:
                fresh = (step + 1) / (frame - start)
                canvas.line(
                    points[step : step + 2],
                    mix(_color(name, person, canvas.colors), canvas.colors.panel, 0.05 + 0.4 * fresh),
                    thick * (0.3 + 0.35 * fresh),
                )


def draw_labels(canvas: Canvas, box: tuple[float, float, float, float], top: Sequence[tuple[str, float]], truth: str | None) -> None:
    """The most probable labels as bars; the true one is green, and is named below where it is not among them."""
    left, upper, right, lower = box
    missed = truth is not None and truth not in [label for label, _ in top]
    row = min((lower - upper) / (len(top) + missed or 1), 46.0)
    size = float(np.clip(row * 0.36, 6.0, 13.5))
    y = (upper + lower - row * (len(top) + missed)) / 2
    for rank, (label, p) in enumerate(top):
        right_one = label == truth
        p = float(np.clip(p, 0, 1))
        middle = y + row * 0.36
        color = canvas.colors.right_answer if right_one else canvas.colors.ink
        room = right - left - (5.2 if right_one else 4.0) * size  # beside a tick and "100 %"
        canvas.text(left, middle, label, size, color, bold=right_one or rank == 0, room=room)
        if right_one:
            canvas.text(right - 3.7 * size, middle, "✓", size, color, anchor="rm", bold=True)
        canvas.text(right, middle, f"{100 * p:.0f} %", size, canvas.colors.faint, anchor="rm")
        edge, thin = y + row * 0.68, max(row * 0.15, 3.0)
        canvas.box(left, edge, right, edge + thin, canvas.colors.track, thin / 2)
        if p >= 0.005:
            canvas.box(
                left,
                edge,
                left + max((right - left) * p, thin),
                edge + thin,
                canvas.colors.right_answer if right_one else canvas.colors.other,
                thin / 2,
            )
        y += row
    if missed:
        canvas.text(left, y + row * 0.5, f"true: {truth}", size, canvas.colors.right_answer, bold=True, room=right - left)
