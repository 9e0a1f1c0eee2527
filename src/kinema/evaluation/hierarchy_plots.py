"""Pictures of superclasses: who belongs where, the network with its classifiers, and what these send back to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kinema.evaluation.plots import LIGHT, Colours, new_figure
from kinema.hierarchy import Hierarchy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LETTER = 0.075  # inches of a letter of 9 points


def memberships_figure(hierarchy: Hierarchy, title: str = "", colours: Colours = LIGHT) -> Figure:
    """A row for each class, a column for each level: cells of one number and colour are one superclass. Classes are in the order of
    their superclasses, the broadest level first; levels need not nest, so that a superclass may lie in several pieces."""
    import matplotlib
    from matplotlib.patches import Rectangle

    levels, k = hierarchy.levels, len(hierarchy.classes)
    order = sorted(range(k), key=lambda i: [level[i] for level in levels])
    font = 8.5 if k <= 30 else 7 if k <= 70 else 5.5
    cell = 0.024 * font
    names = _LETTER * font / 9 * max(len(name) for name in hierarchy.classes) + 0.2
    width, height = 0.9 * len(levels) + names + 0.2, cell * k + (0.85 if title else 0.55)
    figure, axes = new_figure((max(width, _LETTER * len(title) + 0.4), height), colours)
    axes.set_position((0.1 / figure.get_figwidth(), 0.1 / height, 0.9 * len(levels) / figure.get_figwidth(), cell * k / height))
    axes.set(xlim=(0, len(levels)), ylim=(k, 0))
    shades = matplotlib.colormaps["tab20"].colors
    for column, level in enumerate(levels):
        numbers = [level[i] for i in order]
        starts = [row for row in range(k) if row == 0 or numbers[row] != numbers[row - 1]]
        for start, end in zip(starts, [*starts[1:], k], strict=True):
            shade = shades[(2 * numbers[start]) % 20 + numbers[start] // 10 % 2]
            axes.add_patch(Rectangle((column + 0.03, start + 0.04), 0.94, end - start - 0.08, facecolor=shade, alpha=0.45, linewidth=0))
            axes.text(column + 0.5, (start + end) / 2, str(numbers[start] + 1), ha="center", va="center", fontsize=font, color=colours.ink)
    axes.yaxis.tick_right()
    axes.set_yticks(np.arange(k) + 0.5, [hierarchy.classes[i] for i in order], fontsize=font, parse_math=False)
    axes.xaxis.tick_top()
    heads = [f"level {i + 1}\n{count} superclasses" for i, count in enumerate(hierarchy.counts)]
    axes.set_xticks(np.arange(len(levels)) + 0.5, heads, fontsize=6.5)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        figure.text(0.1 / figure.get_figwidth(), 1 - 0.08 / height, title, va="top", fontsize=10, color=colours.ink, parse_math=False)
    return figure


@dataclass(frozen=True)
class DrawnStage:
    """One stage of a network that is drawn: its name, the shape of what it gives of one clip, and what its classifier tells apart."""

    name: str
    shape: tuple[int, ...]
    head: str = ""
    weight: float | None = None


def network_figure(
    given: str, stages: Sequence[DrawnStage], classes: int, weight: float, title: str = "", colours: Colours = LIGHT
) -> Figure:
    """The network from left to right, stage by stage, with the classifiers that look at it below. `given`: its input in words;
    `weight`: of the loss of its own classifier, of `classes` classes."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    columns = [
        ("input", given.replace(" x ", "\n"), "", None),
        *((s.name, " x ".join(map(str, s.shape)), s.head, s.weight) for s in stages),
    ]
    columns.append(("classifier", f"{classes} classes", f"{classes} classes", weight))
    figure, axes = new_figure((1.55 * len(columns) + 0.3, 3.1 if title else 2.8), colours)
    axes.set_position((0.01, 0.02, 0.98, 0.84 if title else 0.96))
    axes.set(xlim=(0, len(columns)), ylim=(0, 2.6))
    axes.axis("off")

    def box(x: float, y: float, height: float, text: str, colour: str) -> None:
        shape = FancyBboxPatch(
            (x - 0.42, y), 0.84, height, boxstyle="round,pad=0,rounding_size=.06", facecolor=colour, alpha=0.16, linewidth=0
        )
        axes.add_patch(shape)
        axes.text(x, y + height / 2, text, ha="center", va="center", fontsize=7, color=colours.ink, linespacing=1.5, parse_math=False)

    def arrow(a: tuple[float, float], b: tuple[float, float]) -> None:
        axes.add_patch(FancyArrowPatch(a, b, arrowstyle="-|>", mutation_scale=9, color=colours.faint, linewidth=1, shrinkA=0, shrinkB=0))

    for i, (name, shape, head, loss) in enumerate(columns):
        own = i == len(columns) - 1
        if not own:
            box(i + 0.5, 1.6, 0.8, f"{name}\n{shape}", colours.first)
        if head:
            form = "the network's own" if own else "mean, linear, softmax"
            box(i + 0.5, 0.2, 0.8, f"{head}\n{form}\nloss x {loss:g}", colours.second)
            arrow((i + 0.5, 1.58), (i + 0.5, 1.02)) if not own else None
        if 0 < i < len(columns) - 1:
            arrow((i - 0.07, 2.0), (i + 0.07, 2.0))
    last = len(columns) - 1.5
    arrow((last + 0.44, 2.0), (last + 1, 1.02))
    if title:
        figure.text(0.02, 0.93, title, fontsize=10, color=colours.ink, parse_math=False)
    return figure


def gradients_figure(gradients: Sequence[np.ndarray], names: Sequence[str], title: str = "", colours: Colours = LIGHT) -> Figure:
    """One panel for each classifier: (filters, inputs) values from 0, pure blue, to 1, pure red."""
    from matplotlib.colors import LinearSegmentedColormap

    blue_to_red = LinearSegmentedColormap.from_list("blue to red", [(0, 0, 1), (1, 0, 0)])
    rows, columns = gradients[0].shape
    height = 2.6 * min(max(rows / columns, 0.5), 2)
    figure, _ = new_figure((2.7 * len(gradients) + 0.2, height + (1.0 if title else 0.7)), colours, columns=len(gradients))
    for axes, values, name in zip(figure.axes, gradients, names, strict=True):
        axes.imshow(values, cmap=blue_to_red, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(name, fontsize=8.5, color=colours.ink, parse_math=False)
        axes.set_xlabel("input channel", fontsize=7.5, color=colours.faint)
        axes.tick_params(labelsize=6.5)
    figure.axes[0].set_ylabel("filter", fontsize=7.5, color=colours.faint)
    total, above = figure.get_figheight(), 0.6 if title else 0.3
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.4 / total, top=1 - above / total, wspace=0.28)
    if title:
        figure.suptitle(title, x=0.02, y=1 - 0.1 / total, va="top", ha="left", fontsize=10, color=colours.ink, parse_math=False)
    return figure
