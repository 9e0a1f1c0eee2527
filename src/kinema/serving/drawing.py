"""An answered picture as it is shown: skeletons over it, each person's label, and the five most probable ones as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kinema.layout import Layout
from kinema.recognition._drawing import BLACK, mix, sans

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from kinema.estimation.poses import TrackedPose
    from kinema.recognition.live import PersonAnswer
    from kinema.serving.following import Step

_SEEN = 0.3  # joints with lower scores are not drawn
_SMALLEST = 640  # the longer side: words must be readable


def draw_step(image: np.ndarray, step: Step, layout: Layout, note: str = "") -> Image:
    """(H, W, 3) uint8 RGB with what is known of it, at least 640 pixels on its longer side. `note`: words in the upper right corner."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    zoom = max(1.0, _SMALLEST / max(picture.size))
    if zoom > 1:
        picture = picture.resize((round(picture.width * zoom), round(picture.height * zoom)), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture, "RGBA")
    unit = max(picture.size) / 640
    for pose, answer in zip(step.poses, step.answer.persons, strict=True):
        _draw_skeleton(draw, pose, layout, zoom)
        _draw_label(draw, pose, answer, zoom, unit, picture.width)
    shown = _most_prominent(step)
    if shown is not None:
        _draw_bars(draw, shown, unit, picture.size)
    if note:
        font = sans(round(12 * unit), False)
        width = font.getlength(note) + 12 * unit
        draw.rounded_rectangle((picture.width - width - 6, 6, picture.width - 6, 6 + 20 * unit), 6 * unit, (10, 14, 20, 170))
        draw.text((picture.width - 6 - width / 2, 6 + 10 * unit), note, BLACK.ink, font, anchor="mm")
    return picture


def _draw_skeleton(draw: ImageDraw, pose: TrackedPose, layout: Layout, zoom: float) -> None:
    points, seen = pose.points * zoom, (pose.scores >= _SEEN) & np.isfinite(pose.points).all(1)
    thick = int(np.clip(zoom * (pose.box[3] - pose.box[1]) / 60, 2, 9))
    alpha = 255 if pose.observed else 110
    for child, parent in layout.bones:
        if seen[child] and seen[parent]:
            line = [tuple(points[child].tolist()), tuple(points[parent].tolist())]
            draw.line(line, (0, 0, 0, alpha // 2), thick + 2)
            draw.line(line, (*_color(layout.joints[child], pose.person), alpha), thick)
    for joint in np.flatnonzero(seen):
        x, y = points[joint].tolist()
        radius = 0.8 * thick
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), (*_color(layout.joints[joint], pose.person), alpha))


def _color(joint: str, person: int) -> tuple[int, int, int]:
    left, right, trunk = BLACK.persons[person % len(BLACK.persons)]
    color = left if joint.startswith("left_") else right if joint.startswith("right_") else trunk
    return mix(color, color, 1)


def _draw_label(draw: ImageDraw, pose: TrackedPose, answer: PersonAnswer, zoom: float, unit: float, width: int) -> None:
    words = f"{answer.label}  {100 * answer.confidence:.0f} %" if answer.label else f"person {pose.person}"
    font = sans(round(14 * unit), answer.label is not None)
    size, height = font.getlength(words) + 14 * unit, 22 * unit
    left = float(np.clip(pose.box[0] * zoom, 2, max(width - size - 2, 2)))
    top = max(float(pose.box[1]) * zoom - height - 4, 2)
    draw.rounded_rectangle((left, top, left + size, top + height), 6 * unit, (10, 14, 20, 200))
    draw.text((left + 7 * unit, top + height / 2), words, BLACK.ink if answer.label else BLACK.faint, font, anchor="lm")


def _most_prominent(step: Step) -> PersonAnswer | None:
    """Of the largest person about whom anything is known."""
    known = [
        (float(np.prod(pose.box[2:] - pose.box[:2])), answer)
        for pose, answer in zip(step.poses, step.answer.persons, strict=True)
        if answer.top
    ]
    return max(known, key=lambda each: each[0])[1] if known else None


def _draw_bars(draw: ImageDraw, answer: PersonAnswer, unit: float, size: tuple[int, int]) -> None:
    row, width, pad = 19 * unit, min(230 * unit, 0.6 * size[0]), 8 * unit
    height = row * len(answer.top) + 2 * pad
    left, top = 8 * unit, size[1] - height - 8 * unit
    draw.rounded_rectangle((left, top, left + width, top + height), 8 * unit, (10, 14, 20, 190))
    for rank, (label, share) in enumerate(answer.top):
        y = top + pad + rank * row
        bold = label == answer.label
        small = sans(round(10.5 * unit), bold)
        right = left + width - pad
        draw.text((left + pad, y + row * 0.36), label, BLACK.ink, small, anchor="lm")
        draw.text((right, y + row * 0.36), f"{100 * share:.0f} %", BLACK.faint, small, anchor="rm")
        bar = (left + pad, y + row * 0.72, right, y + row * 0.88)
        draw.rounded_rectangle(bar, unit, BLACK.track)
        if share > 0.01:
            draw.rounded_rectangle((bar[0], bar[1], bar[0] + share * (bar[2] - bar[0]), bar[3]), unit, "#4f8df0" if bold else BLACK.other)
