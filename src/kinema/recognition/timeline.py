"""What happens when in a recording that was answered window by window: as JSON, as a table, as a picture."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kinema._write import write_whole
from kinema.errors import DataError, KinemaError
from kinema.recognition.prediction import Prediction, WindowPrediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".png", ".svg", ".pdf")
SUFFIXES = (".json", ".csv", *PICTURES)
_CURVES = 5
_INK, _FAINT, _GRID, _OTHER = "#1f2733", "#66717f", "#dde2ea", "#b8c2cf"
# They stay apart for every kind of colour vision (Okabe, Ito 2008).
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
_UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0}


@dataclass(frozen=True, eq=False)
class Timeline:
    """The answer at every moment: from `edges[i]` to `edges[i + 1]` seconds it is `probabilities[i]` (n, K), the mean over the windows
    that cover it."""

    classes: tuple[str, ...]
    edges: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def of(cls, prediction: Prediction) -> Timeline:
        """`DataError` for an answer that says nothing."""
        if not prediction.known:
            raise DataError(f"nothing is known of it: {prediction.reason}", prediction.source)
        windows = [window for window in prediction.windows if not window.novel]
        windows = windows or [WindowPrediction(0.0, prediction.seconds or 0.0, prediction.probabilities)]
        spans = np.array([(window.start, window.end) for window in windows])
        # Neighbours are the same moment where arithmetic alone parts them.
        edges = np.unique(spans.round(6))
        first, stop = (np.searchsorted(edges, spans[:, i].round(6)) for i in (0, 1))
        steps = np.zeros((len(edges) + 1, 1 + len(prediction.classes)))
        rows = np.column_stack([np.ones(len(windows)), np.stack([window.probabilities for window in windows])])
        np.add.at(steps, first, rows)
        np.subtract.at(steps, stop, rows)
        sums = steps.cumsum(0)[: max(len(edges) - 1, 1)]
        if len(edges) == 1:  # how long it lasts is not known
            return cls(prediction.classes, np.repeat(edges, 2), rows[:1, 1:])
        count = sums[:, :1].round()
        # Between windows that are far apart nothing was looked at.
        return cls(prediction.classes, edges, np.where(count > 0, (sums[:, 1:] / np.maximum(count, 1)).clip(0, 1), np.nan))

    def at(self, seconds: float) -> np.ndarray:
        """(K,) at a moment; NaN where no window covers it. After the end as at the end."""
        return self.probabilities[self.number(seconds)]

    def number(self, seconds: float) -> int:
        """Of the part in which a moment lies."""
        return int(np.clip(np.searchsorted(self.edges, seconds + 1e-6, "right") - 1, 0, len(self.probabilities) - 1))

    def spans(self) -> list[tuple[float, float, str, float]]:
        """(start, end, label, its mean probability): what is most probable when, one after another."""
        found: list[tuple[float, float, str, float]] = []
        seen = ~np.isnan(self.probabilities[:, 0])
        best = np.where(seen, np.nan_to_num(self.probabilities).argmax(1), -1)
        starts = np.flatnonzero(np.diff(best, prepend=-2))
        for i, j in zip(starts, [*starts[1:], len(best)], strict=True):
            if best[i] >= 0:
                length = np.maximum(np.diff(self.edges[i : j + 1]), 1e-9)
                share = float((self.probabilities[i:j, best[i]] * length).sum() / length.sum())
                found.append((float(self.edges[i]), float(self.edges[j]), self.classes[best[i]], share))
        return found


def parse_seconds(text: str | float | None) -> float | None:
    """Seconds from words such as "3s", "3", "500ms", "2min"."""
    if text is None or isinstance(text, (int, float)):
        return text
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", text)
    if match is None or match[2] not in _UNITS:
        raise KinemaError(f"{text[:40]!r} is no length of time; seconds are expected, such as 3 or 3s")
    return float(match[1]) * _UNITS[match[2]]


def write_timeline(predictions: Sequence[Prediction], path: str | Path, top: int = 5) -> list[Path]:
    """Write what happens when into a file, the kind of which its suffix tells: `.json`, `.csv`, or `.png`, `.svg`, `.pdf` (of several
    recordings one picture each, named after them). Without a suffix: JSON, CSV and PNG, all three.

    Returns the files. Raises `KinemaError` for another suffix, a place that cannot be written, and where nothing is known of any
    recording.
    """
    path = Path(path)
    if path.suffix and path.suffix.lower() not in SUFFIXES:
        raise KinemaError(f"{path}: a timeline is written as {', '.join(SUFFIXES)}, or without suffix as three of them")
    known = [prediction for prediction in predictions if prediction.known]
    if not known:
        raise KinemaError("there is no answer to draw a timeline of")
    written = []
    for suffix in [path.suffix.lower()] if path.suffix else (".json", ".csv", ".png"):
        place = path if path.suffix else path.with_name(path.name + suffix)
        if suffix == ".json":
            written.append(write_whole(place, json.dumps(timeline_dict(predictions, top), indent=1).encode() + b"\n"))
        elif suffix == ".csv":
            written.append(write_whole(place, _table(predictions, top)))
        else:
            for prediction, target in zip(known, file_of_each(place, known), strict=True):
                written.append(write_whole(target, _picture(timeline_figure(prediction), suffix)))
    return written


def file_of_each(path: Path, predictions: Sequence[Prediction]) -> list[Path]:
    """The path itself for one recording, for several one with the recording's name each."""
    if len(predictions) == 1:
        return [path]
    names = [re.sub(r"[^\w.-]+", "_", prediction.clip_id) for prediction in predictions]
    names = [name if names.count(name) == 1 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)]
    return [path.with_name(f"{path.stem}-{name}{path.suffix}") for name in names]


def timeline_dict(predictions: Sequence[Prediction], top: int = 5) -> dict[str, Any]:
    """As JSON-able values: of each recording `spans`, what is most probable when, and `windows`, each with its most probable labels."""
    recordings = []
    for prediction in predictions:
        spans = Timeline.of(prediction).spans() if prediction.known else []
        named = [{"start": start, "end": end, "label": label, "probability": share} for start, end, label, share in spans]
        recordings.append({**prediction.to_dict(top), "spans": named})
    return {"recordings": recordings}


def _table(predictions: Sequence[Prediction], top: int) -> bytes:
    """A row a window: clip, start, end, and the most probable labels with their probabilities."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    ranks = range(1, max((min(top, len(prediction.classes)) for prediction in predictions), default=1) + 1)
    names = [f"{name}_{rank}" if rank > 1 else name for rank in ranks for name in ("label", "probability")]
    writer.writerow(["clip", "start", "end", *names])
    for prediction in predictions:
        for window in prediction.windows or (WindowPrediction(0.0, prediction.seconds or np.nan, prediction.probabilities),):
            best = np.argsort(-window.probabilities, kind="stable")[: len(ranks)] if prediction.known else []
            cells = [cell for index in best for cell in (prediction.classes[index], f"{window.probabilities[index]:.6g}")]
            end = "" if np.isnan(window.end) else f"{window.end:.6g}"
            writer.writerow([prediction.clip_id, f"{window.start:.6g}", end, *cells])
    return file.getvalue().encode()


def timeline_figure(prediction: Prediction) -> Figure:
    """A band of what is most probable when, and below it the probabilities of the five labels that are most probable at some time."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    line = Timeline.of(prediction)
    end = max(float(line.edges[-1]), 1e-3)
    peaks = np.nan_to_num(line.probabilities).max(0)
    spans = line.spans()
    lasting = np.array([sum(stop - start for start, stop, label, _ in spans if label == name) for name in line.classes])
    shown = sorted(range(len(peaks)), key=lambda k: (-lasting[k], -peaks[k]))[:_CURVES]
    colour = {line.classes[k]: _COLOURS[i] for i, k in enumerate(shown)}
    figure = Figure((9, 3.6), layout="constrained")
    band, curves = figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
    for start, stop, label, _ in spans:
        band.axvspan(start, min(stop, end) if stop > start else end, color=colour.get(label, _OTHER), linewidth=0)
    band.set(yticks=[], ylim=(0, 1), title=prediction.clip_id)
    edges = line.edges if line.edges[-1] > line.edges[0] else np.array([0.0, end])
    for k in shown:
        curves.stairs(line.probabilities[:, k], edges, color=colour[line.classes[k]], linewidth=1.6, baseline=None)
    curves.set(xlim=(0, end), ylim=(0, 1.02), xlabel="seconds", ylabel="probability")
    curves.grid(color=_GRID, linewidth=0.8)
    curves.set_axisbelow(True)
    for axes in (band, curves):
        axes.tick_params(colors=_FAINT)
        axes.title.set_color(_INK)
        for side in axes.spines.values():
            side.set_visible(False)
    keys = [Patch(color=colour[line.classes[k]], label=line.classes[k]) for k in shown]
    if any(label not in colour for _, _, label, _ in spans):
        keys.append(Patch(color=_OTHER, label="another"))
    figure.legend(handles=keys, loc="outside right upper", frameon=False, labelcolor=_INK)
    return figure


def _picture(figure: Figure, suffix: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=suffix[1:], dpi=150)
    return file.getvalue()
