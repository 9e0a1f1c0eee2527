"""Pictures of a result: confusion matrix, learning curves, recall by class: matplotlib figures, which `save` writes as PNG, SVG or PDF."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kinema._write import write_whole
from kinema.errors import KinemaError, unknown
from kinema.evaluation.intervals import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Colours:
    """What a figure is drawn in. `first` and `second` stay apart for every kind of colour vision."""

    ink: str = "#1f2733"
    faint: str = "#66717f"
    grid: str = "#dde2ea"
    first: str = "#2b6fd6"
    second: str = "#d9661f"
    paper: str = "#ffffff"
    on_first: str = "#ffffff"


LIGHT = Colours()
# Stand-ins that `inline_svg` turns into the page's own CSS variables, so that a figure follows light and dark.
_THEMED = Colours("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "none", "#0a0b07")


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str = "", colours: Colours = LIGHT) -> Figure:
    """The confusion matrix: rows are the truth, columns the answer; counts, shaded by their share of the row. Readable up to 60 classes."""
    counts = np.asarray(confusion)
    k = len(classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell = 0.46 if k <= 15 else 0.3 if k <= 30 else 0.22
    font = 9.0 if k <= 15 else 7.5 if k <= 30 else 5.5
    names = 0.075 * font / 9 * max(len(name) for name in classes) + 0.35
    figure, axes = new_figure((cell * k + names + 0.2, cell * k + names + (0.5 if title else 0.2)), colours)
    axes.set_position(_box(figure, names, names, 0.15, 0.45 if title else 0.15))
    axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5))
    from matplotlib.patches import Rectangle

    for i, j in np.argwhere(counts > 0):
        share = float(shares[i, j])
        colour = colours.first if i == j else colours.second
        # Even a single stray must be seen; beyond that the shade grows with the share.
        shade = 0.12 + 0.88 * share
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour, alpha=shade, linewidth=0))
        over = colours.on_first if shade > 0.6 else colours.ink
        size = font if len(str(counts[i, j])) < 4 else font * 0.75
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=size, color=over)
    axes.set_xticks(range(k), classes, rotation=90, fontsize=font, parse_math=False)
    axes.set_yticks(range(k), classes, fontsize=font, parse_math=False)
    axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=colours.grid, linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("answered", fontsize=font + 1, color=colours.faint)
    axes.set_ylabel("true", fontsize=font + 1, color=colours.faint)
    _title(axes, title, colours)
    return figure


def curves_figure(
    log: Sequence[Mapping[str, float]],
    best: int | None = None,
    title: str = "",
    colours: Colours = LIGHT,
    val_name: str = "validation",
) -> Figure:
    """Loss and accuracy over epochs. `log`: one mapping an epoch with `epoch`, `train_loss`, `train_top1` and, where the epoch
    was chosen on some part (`val_name`), `val_loss`, `val_top1` (fractions). `best`: the epoch whose weights were kept; it is marked."""
    figure, left = new_figure((8.0, 3.2 if title else 2.9), colours, columns=2)
    axes = [left, *figure.axes[1:]]
    for ax, key, name, scale in zip(axes, ("loss", "top1"), ("loss (nats)", "top-1 (%)"), (1, 100), strict=True):
        ends, values = [], [0.0]
        for part, colour in (("train", colours.first), ("val", colours.second)):
            points = [(row["epoch"], row[f"{part}_{key}"] * scale) for row in log if math.isfinite(row.get(f"{part}_{key}", math.nan))]
            if points:
                x, y = zip(*points, strict=True)
                values += y
                ax.plot(x, y, color=colour, linewidth=1.8, marker="o" if len(points) == 1 else None)
                ends.append((y[-1], "training" if part == "train" else val_name, colour))
        if key == "top1":
            ax.set_ylim(0, 102)
        else:  # a few wild epochs at the start would press all others flat
            usual, most = 1.5 * float(np.quantile(values, 0.95)), max(values)
            ax.set_ylim(0, usual if most > 2 * usual else None)
            name += f", at most {most:.3g}" if most > 2 * usual else ""
        if best is not None and log:
            ax.axvline(best, color=colours.faint, linewidth=0.9, linestyle=(0, (4, 3)))
        _line_names(ax, ends)
        ax.set_xlabel("epoch", fontsize=9, color=colours.faint)
        ax.set_title(name, fontsize=10, loc="left", color=colours.ink)
        ax.grid(axis="y", color=colours.grid, linewidth=0.6)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.margins(x=0.01)
    if best is not None and log:
        axes[1].annotate(
            f"kept: {best}",
            (best, 0),
            xycoords=("data", "axes fraction"),
            xytext=(-4, 5),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=colours.faint,
        )
    figure.subplots_adjust(left=0.06, right=0.9, bottom=0.17, top=0.8 if title else 0.89, wspace=0.42)
    if title:
        figure.suptitle(title, x=0.06, ha="left", fontsize=11, color=colours.ink, parse_math=False)
    return figure


def classes_figure(per_class: Sequence[Mapping], title: str = "", colours: Colours = LIGHT) -> Figure:
    """Recall of each class with its 95 % Wilson interval, the weakest first; classes without a test sample are left out."""
    entries = sorted((entry for entry in per_class if entry["n"]), key=lambda entry: entry["recall"])
    names = 0.075 * max(len(entry["class"]) for entry in entries) + 0.2
    figure, axes = new_figure((names + 4.2, 0.23 * len(entries) + (0.95 if title else 0.65)), colours)
    axes.set_position(_box(figure, names, 0.5, 0.75, 0.45 if title else 0.1))
    recalls = 100 * np.array([entry["recall"] for entry in entries])
    rows = np.arange(len(entries))
    ends = 100 * np.array([wilson(entry["recall"] * entry["n"], entry["n"]) for entry in entries])
    axes.barh(rows, recalls, height=0.66, color=colours.first, alpha=0.25, linewidth=0)
    axes.hlines(rows, ends[:, 0], ends[:, 1], color=colours.first, linewidth=1.4)
    axes.plot(recalls, rows, "o", color=colours.first, markersize=5, clip_on=False)
    for row, entry in zip(rows, entries, strict=True):
        axes.text(102, row, f"{round(entry['recall'] * entry['n'])} of {entry['n']}", va="center", fontsize=8, color=colours.faint)
    axes.set_yticks(rows, [entry["class"] for entry in entries], fontsize=8.5, parse_math=False)
    axes.set(xlim=(0, 100), ylim=(len(entries) - 0.4, -0.6))
    axes.grid(axis="x", color=colours.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("recall (%) and its 95 % interval", fontsize=9, color=colours.faint)
    _title(axes, title, colours)
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as `.png`, `.svg` or `.pdf`, whole or not at all."""
    path = Path(path)
    form = path.suffix.lower().lstrip(".")
    if form not in ("png", "svg", "pdf"):
        raise KinemaError(f"{path}: {unknown('picture format', form, ('png', 'svg', 'pdf'))}")
    return write_whole(path, _bytes(figure, form))


def write_figures(result: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """The confusion matrix as picture and as data, and recall by class, of what `evaluate` or a run gives: confusion.png,
    confusion.csv (rows are the truth), classes.png."""
    folder, names = Path(folder), [entry["class"] for entry in result["per_class"]]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["true \\ answered", *names])
    writer.writerows([name, *row] for name, row in zip(names, result["confusion"], strict=True))
    title = ", ".join(str(result[key]) for key in ("dataset", "protocol") if key in result)
    return [
        save(confusion_figure(result["confusion"], names, title), folder / "confusion.png"),
        write_whole(folder / "confusion.csv", table.getvalue().encode()),
        save(classes_figure(result["per_class"], title), folder / "classes.png"),
    ]


def inline_svg(draw: Callable[..., Figure], *args: Any, name: str, label: str, **kwargs: Any) -> str:
    """The figure that `draw` makes, as an `<svg>` element for an HTML page: real text, colours from the page's CSS variables
    (--ink, --faint, --grid, --first, --second, --on-first). `name`: keeps ids apart; `label`: what a screen reader says."""
    figure = draw(*args, colours=_THEMED, **kwargs)
    text = _bytes(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for field in ("ink", "faint", "grid", "first", "second", "on_first"):
        text = text.replace(getattr(_THEMED, field), f"var(--{field.replace('_', '-')})")
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1; font-family: inherit", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    width = 96 * figure.get_figwidth()
    size = f"width:100%;max-width:{width:.0f}px;min-width:{0.9 * width:.0f}px"
    head = f'<svg role="img" aria-label="{html.escape(label)}" style="{size}" viewBox='
    return re.sub(r"<svg [^>]*?viewBox=", lambda _: head, text, count=1)


def new_figure(size: tuple[float, float], colours: Colours, columns: int = 1) -> tuple[Figure, Axes]:
    """An empty figure of `size` inches, and its first axes, in these colours."""
    # Not pyplot: it keeps every figure, and asks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(size, facecolor=colours.paper)
    FigureCanvasAgg(figure)
    for axes in np.ravel(figure.subplots(1, columns)):
        axes.set_facecolor("none")
        axes.tick_params(colors=colours.ink, labelsize=8.5)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(colours.grid)
    return figure, figure.axes[0]


def _box(figure: Figure, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
    """Axes position from margins in inches."""
    width, height = figure.get_size_inches()
    return left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height


def _title(axes: Axes, title: str, colours: Colours) -> None:
    if title:
        axes.set_title(title, fontsize=11, loc="left", color=colours.ink, parse_math=False)


def _line_names(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """The name of each line at its end; two that would overlap are moved apart."""
    low, high = axes.get_ylim()
    least = 0.09 * (high - low)
    places = [y for y, _, _ in ends]
    if len(places) == 2 and abs(places[0] - places[1]) < least:
        middle, up = sum(places) / 2, places[0] >= places[1]
        middle = min(max(middle, low + least / 2), high - least / 2)
        places = [middle + least / 2, middle - least / 2] if up else [middle - least / 2, middle + least / 2]
    for place, (_, name, colour) in zip(places, ends, strict=True):
        axes.annotate(
            name,
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=colour,
        )


def _bytes(figure: Figure, form: str) -> bytes:
    import matplotlib

    data = io.BytesIO()
    # A fixed salt and no date: the same figures give the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kinema"}):
        figure.savefig(data, format=form, dpi=160, metadata={"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[form])
    return data.getvalue()
