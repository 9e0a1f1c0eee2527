"""What a data set holds: how much of what, in which form, and how its protocols divide it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.clip import DepthSequence, InertialSequence, Modality, PoseSequence, VideoSource
from kinema.datasets._each import each
from kinema.datasets.base import Dataset, DatasetInfo
from kinema.datasets.protocols import natural
from kinema.errors import DataError, ProtocolError
from kinema.video import index


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one modality of one clip shows. `form`: properties told as "value (clips)"; `low`, `high`: by coordinate or channel."""

    frames: int
    fps: float
    form: dict[str, str]
    axes: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    missing: float
    cells: int
    doubtful: float | None = None
    seconds: float | None = None


def list_text(infos: Sequence[DatasetInfo]) -> str:
    """The data sets that there are readers for, a paragraph each."""
    lines, width = [], max(len(info.name) for info in infos)
    for info in infos:
        classes = "" if info.classes is None else f", {info.classes} classes"
        said = [info.title, f"{', '.join(info.modalities)}{classes}; {info.form or 'no files'}", *([info.url] if info.url else [])]
        lines += [f"{name:<{width}} {line}" for name, line in zip((info.name, "", ""), said, strict=False)]
    return "\n".join(lines)


def inspect(dataset: Dataset, *, depth: bool = False, progress: bool = False) -> dict[str, Any]:
    """Counts, forms and value ranges of a data set, fit for JSON. Poses and inertial signals are read, of videos the index, depth
    images only with `depth`.

    Keys: dataset, root, clips, unlabelled, skipped, classes, subject / view / setup / group (value -> clips, where the data
    set says them), modalities (each with clips, frames, seconds, fps, range, and what is its own), protocols.
    `missing` is the share of joints that were not observed (poses) or of pixels without a measurement (depth), `doubtful` that
    of joints with confidence 0, where the data set gives confidences. Videos tell their size, codec, turn, and which are cut off.
    """
    report: dict[str, Any] = {
        "dataset": dataset.name,
        "root": None if dataset.root is None else str(dataset.root),
        "clips": len(dataset),
        "unlabelled": sum(clip.label is None for clip in dataset.clips),
        "skipped": [str(error) for error in dataset.skipped],
    }
    counts = Counter(clip.label for clip in dataset.clips)
    report["classes"] = {name: counts[i] for i, name in enumerate(dataset.classes)}
    for attribute in ("subject", "view", "setup", "group"):
        values = Counter(value for clip in dataset.clips if (value := getattr(clip, attribute)) is not None)
        if values:
            report[attribute] = {value: values[value] for value in sorted(values, key=natural)}
    report["modalities"] = {}
    for modality in ("pose", "inertial", "depth", "video"):
        clips = [clip for clip in dataset.clips if clip.has(modality)]
        if clips and (modality != "depth" or depth):
            results = [seen for _, seen in each(clips, modality, _look, progress)]
            good = [seen for seen in results if not isinstance(seen, DataError)]
            failed = len(results) - len(good)
            report["modalities"][modality] = {"clips": len(clips), **({"unreadable": failed} if failed else {}), **_together(good)}
        elif clips:
            report["modalities"][modality] = {"clips": len(clips)}
    report["protocols"] = {name: _protocol(dataset, name) for name in dataset.protocols}
    return report


def inspect_text(report: dict[str, Any], limit: int = 30) -> str:
    """What `inspect` returned, to read. Classes and other values beyond `limit` are only counted."""
    lines = [f"{report['dataset']}: {report['clips']} clips" + (f" in {report['root']}" if report["root"] else "")]
    if report["unlabelled"]:
        lines.append(f"  without a label: {report['unlabelled']}")
    if report["skipped"]:
        lines.append(f"  skipped: {len(report['skipped'])}, such as {report['skipped'][0]}")
    for key, title in (("classes", "classes"), ("subject", "subjects"), ("view", "views"), ("setup", "setups"), ("group", "groups")):
        if key in report:
            values = report[key]
            shown = "" if len(values) > limit else ": " + ", ".join(f"{name} ({count})" for name, count in values.items())
            sizes = f", {' to '.join(str(n) for n in sorted({min(values.values()), max(values.values())}))} clips each" if values else ""
            lines.append(f"  {title}: {len(values)}{sizes}{shown}")
    for modality, facts in report["modalities"].items():
        lines.append(f"  {modality}: {facts['clips']} clips" + ("" if "frames" in facts else ", not read"))
        lines += [f"    {name}: {_say(value)}" for name, value in facts.items() if name != "clips"]
    for name, facts in report["protocols"].items():
        lines.append(f"  protocol {name}: {facts.get('error') or facts['description'] or 'no description'}")
        splits = facts.get("splits", [])
        lines += [f"    {split['split']}: {split['train']} train, {split['test']} test" for split in splits[:limit]]
        lines += [f"    and {len(splits) - limit} more splits"] if len(splits) > limit else []
    return "\n".join(lines)


def _say(value: Any) -> str:
    """Spreads as "min 1, median 2, max 3", ranges as "x -1 to 1", forms as "m" or, where clips differ, "m (3), mm (1)"."""
    if isinstance(value, list):
        return " to ".join(_say(one) for one in value)
    if not isinstance(value, dict):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if "min" in value and value["min"] == value["max"]:
        value = {"all": value["min"], **{name: one for name, one in value.items() if name not in ("min", "median", "max")}}
    if "min" in value or "all" in value or any(isinstance(one, list) for one in value.values()):
        return ", ".join(f"{name} {_say(one)}" for name, one in value.items())
    return next(iter(value)) if len(value) == 1 else ", ".join(f"{name} ({count})" for name, count in value.items())


def _protocol(dataset: Dataset, name: str) -> dict[str, Any]:
    description = dataset.protocols[name].description
    try:
        splits = dataset.splits(name)
    except ProtocolError as error:
        return {"description": description, "error": str(error)}
    sizes = [{"split": s.name, "train": len(s.train) + len(s.val), "test": len(s.test)} for s in splits]
    return {"description": description, "splits": sizes}


def _look(value: Modality) -> _Seen:
    if isinstance(value, PoseSequence):
        observed = value.observed
        form = {"layout": value.layout.name, "unit": value.unit, "y axis": value.y_axis}
        form |= {"coordinates": str(value.dims), "persons": str(value.persons)}
        points = value.points[observed]
        missing, fps = float((~observed).sum()), value.fps
        doubtful = None if value.score is None else float((value.score == 0).sum())
        return _seen(value.frames, fps, form, tuple("xyz"[: value.dims]), points, missing, observed.size, doubtful)
    if isinstance(value, InertialSequence):
        form = {"placement": value.placement} if value.placement else {}
        return _seen(len(value.signals), value.rate, form, value.channels, value.signals, 0.0, value.signals.size)
    return _look_video(value) if isinstance(value, VideoSource) else _look_depth(value)


def _look_video(value: VideoSource) -> _Seen:
    found = index(value)
    form = {"size": f"{found.width} x {found.height}", "codec": found.codec}
    form |= ({"turned": f"{found.rotation} degrees"} if found.rotation else {}) | ({} if found.complete else {"cut off": "yes"})
    none = np.zeros(0)
    return _Seen(len(found), found.fps, form, (), none, none, 0.0, 0, seconds=found.duration)


def _look_depth(value: DepthSequence) -> _Seen:
    frames, height, width = value.frames.shape
    measured = value.frames[value.frames > 0][:, None]
    form = {"unit": "mm", "size": f"{width} x {height}"}
    return _seen(frames, value.fps, form, ("depth",), measured, float(value.frames.size - len(measured)), value.frames.size)


def _seen(
    frames: int,
    fps: float,
    form: dict[str, str],
    axes: tuple[str, ...],
    values: np.ndarray,
    missing: float,
    cells: int,
    doubtful: float | None = None,
) -> _Seen:
    low, high = (values.min(0), values.max(0)) if len(values) else (np.full(len(axes), np.inf), np.full(len(axes), -np.inf))
    return _Seen(frames, fps, form, axes, low.astype(float), high.astype(float), missing, cells, doubtful)


def _together(seen: Sequence[_Seen]) -> dict[str, Any]:
    """One account of many clips; what differs between them is told with the number of clips."""
    if not seen:
        return {}
    frames = np.array([one.frames for one in seen])
    seconds = np.array([one.frames / one.fps if one.seconds is None else one.seconds for one in seen])
    report: dict[str, Any] = {
        "frames": {**_spread(frames), "total": int(frames.sum())},
        "seconds": {**_spread(seconds), "total": float(seconds.sum())},
        "fps": _spread(np.array([one.fps for one in seen])),
    }
    for name in dict.fromkeys(name for one in seen for name in one.form):
        report[name] = dict(Counter(one.form[name] for one in seen if name in one.form).most_common())
    if not any(one.cells for one in seen):
        return report
    report["range"] = {}
    for axis in dict.fromkeys(axis for one in seen for axis in one.axes):
        low = min(one.low[one.axes.index(axis)] for one in seen if axis in one.axes)
        high = max(one.high[one.axes.index(axis)] for one in seen if axis in one.axes)
        if low <= high:
            report["range"][axis] = [float(low), float(high)]
    report["missing"] = sum(one.missing for one in seen) / sum(one.cells for one in seen)
    scored = [one for one in seen if one.doubtful is not None]
    if scored:
        report["doubtful"] = sum(one.doubtful for one in scored) / sum(one.cells for one in scored)
    return report


def _spread(values: np.ndarray) -> dict[str, int | float]:
    kind = int if values.dtype.kind == "i" else float
    return {"min": kind(values.min()), "median": float(np.median(values)), "max": kind(values.max())}
