"""A picture of what networks see of one depth recording: descriptors in three views, parts in time, single frames, video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema.clip import Clip
from kinema.datasets.base import Dataset
from kinema.errors import DataError, unknown
from kinema.evaluation.plots import LIGHT, Colours, save
from kinema.transforms.depth_config import DepthInput, DepthView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TILES = 6  # a row
_PARTS = 3
_VIEWS: tuple[DepthView, ...] = ("front", "side", "top")
_ORDER = ("first", "second", "third")
_TILE, _GAP, _BETWEEN, _HEADING, _CAPTION, _MARGIN = 1.42, 0.1, 0.3, 0.44, 0.22, 0.3  # inches
_Group = tuple[str, Sequence[str], np.ndarray]  # heading, captions, pictures


def draw_depth(dataset: Dataset, clip_id: str, out: str | Path) -> Path:
    """Draw the depth inputs of one clip of a data set into `out` (.png, .svg or .pdf). `DataError` where there is no such clip."""
    if clip_id not in dataset.by_id:
        raise DataError(unknown("clip", clip_id, dataset.by_id), dataset.root)
    clip = dataset.by_id[clip_id]
    label = "" if clip.label is None else f"{dataset.classes[clip.label]}: "
    return save(depth_figure(clip, f"{label}{clip.id}"), out)


def depth_figure(clip: Clip, title: str = "", colours: Colours = LIGHT) -> Figure:
    """Every depth input made of one clip, as `kinema.transforms.depth_samples` makes them. White is near, black is background.

    Raises `DataError` naming the clip where it has no depth, nobody in it, or a single frame.
    """
    rows = [
        [
            ("Depth motion image: the nearest that each pixel ever was", _VIEWS, _pictures(clip, DepthInput(views=_VIEWS))),
            ("Difference image: summed change from frame to frame", _VIEWS, _pictures(clip, DepthInput("difference", _VIEWS))),
        ],
        [
            ("Depth motion image of each third of the clip", _ORDER, _pictures(clip, DepthInput(segments=_PARTS))),
            ("Difference image of each third", _ORDER, _pictures(clip, DepthInput("difference", segments=_PARTS))),
        ],
    ]
    frames = _pictures(clip, DepthInput("frame", frames=_TILES))
    video = _pictures(clip, DepthInput("video", frames=_TILES, size=64, fit="square", features=("depth", "motion")))
    times = [f"{100 * (i + 0.5) / _TILES:.0f} %" for i in range(_TILES)]
    rows.append([("Single frames, stretched as the images above are; the place in the clip", times, frames)])
    rows.append([("Video, the proportions kept: depth", times, video[:_TILES])])
    rows.append([("Video: change since the frame before (grey is none)", times, (video[_TILES:] + 1) / 2)])
    return _drawn(rows, title, colours)


def _pictures(clip: Clip, input: DepthInput) -> np.ndarray:
    """(channels x frames, or samples; H, W) that a model would be given."""
    from kinema.transforms.depth_samples import DepthSamples

    samples = DepthSamples.from_clips([clip], input)
    return samples.batch(range(len(samples))).inputs["depth"].reshape(-1, input.size, input.size).numpy()


def _drawn(rows: Sequence[Sequence[_Group]], title: str, colours: Colours) -> Figure:
    # Not pyplot: it keeps every figure, and asks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = 2 * _MARGIN + _TILES * _TILE + (_TILES - 2) * _GAP + _BETWEEN
    head = 0.3 if title else 0.0
    height = _MARGIN + head + len(rows) * (_HEADING + _TILE + _CAPTION)
    figure = Figure((width, height), facecolor=colours.paper)
    FigureCanvasAgg(figure)
    if title:
        place = (_MARGIN / width, 1 - 0.75 * _MARGIN / height)
        figure.text(*place, title, fontsize=13, color=colours.ink, va="top", weight="bold", parse_math=False)
    top = height - 0.6 * _MARGIN - head
    for row in rows:
        left = _MARGIN
        gap = _GAP if len(row) > 1 else (_GAP * (_TILES - 2) + _BETWEEN) / (_TILES - 1)
        for heading, captions, pictures in row:
            figure.text(left / width, (top - 0.3) / height, heading, fontsize=9.5, color=colours.ink, va="center", parse_math=False)
            for caption, picture in zip(captions, pictures, strict=True):
                axes = figure.add_axes((left / width, (top - _HEADING - _TILE) / height, _TILE / width, _TILE / height))
                axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axes.set_axis_off()
                below = (top - _HEADING - _TILE - 0.12) / height
                figure.text((left + _TILE / 2) / width, below, caption, fontsize=8.5, color=colours.faint, ha="center", va="center")
                left += _TILE + gap
            left += _BETWEEN - gap
        top -= _HEADING + _TILE + _CAPTION
    return figure
