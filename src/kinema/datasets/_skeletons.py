"""Skeleton files in Kinema's own form: `.npz`, `.json` and `.csv`, one clip a file. `kinema.datasets.folder` tells the form."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kinema.clip import PoseSequence
from kinema.datasets._io import parser, read_bytes, read_json, read_text
from kinema.errors import DataError, LayoutError, unknown
from kinema.layout import LAYOUTS, Layout, custom_layout, get_layout

SUFFIXES = (".npz", ".json", ".csv")
_NEEDED = ("points", "layout", "unit")
_KEYS = (*_NEEDED, "fps", "times", "mask", "score", "image_size", "y_axis", "joints", "bones", "root")
_MOST_BYTES = 4 << 30  # of one unpacked .npz: nobody records a clip of that size, but a small file can claim it


@parser
def read_skeleton(path: str | Path) -> PoseSequence:
    """The pose of one `.npz`, `.json` or `.csv` file. `DataError` says where it departs from the form."""
    read = {".npz": _read_npz, ".json": read_json, ".csv": _read_csv}.get(Path(path).suffix.lower())
    if read is None:
        raise DataError(f"a skeleton file ends in {', '.join(SUFFIXES)}", path)
    return _pose(read(path))


def npz_bytes(pose: PoseSequence) -> bytes:
    """The content of the `.npz` file of a pose; `read_skeleton` gives the same pose back."""
    fields: dict[str, Any] = {"points": pose.points, "layout": pose.layout.name, "unit": pose.unit, "fps": pose.fps, "y_axis": pose.y_axis}
    if LAYOUTS.get(pose.layout.name) != pose.layout:
        joints = pose.layout.joints
        bones = [(joints[child], joints[parent]) for child, parent in pose.layout.bones]
        fields |= {"joints": list(joints), "bones": np.array(bones, str).reshape(-1, 2), "root": joints[pose.layout.root]}
    for name in ("times", "mask", "score", "image_size"):
        if getattr(pose, name) is not None:
            fields[name] = getattr(pose, name)
    buffer = io.BytesIO()
    np.savez(buffer, **fields)
    return buffer.getvalue()


def nested_points(value: Any, field: str, persons: bool = True) -> np.ndarray:
    """Nested lists of points as an (M, T, V, C) array; null (a coordinate or a whole joint) becomes NaN.

    Frames x joints x coordinates is one person; with `persons` there may be another level outside. `DataError` says in which
    frame the lists are not of one shape or hold something that is no number.
    """
    try:
        points = np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        points = _nested(_without_nulls(value), field)
    if points.ndim == 3:
        points = points[None]
    elif points.ndim != 4 or not persons:
        form = "(persons x) frames x joints x coordinates" if persons else "frames x joints x coordinates"
        raise DataError(f"has shape {' x '.join(map(str, points.shape))}; {form} is expected", where=f"field {field!r}")
    return points


def _nested(value: Any, field: str) -> np.ndarray:
    try:
        return np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise DataError(*_fault(value, f"field {field!r}")) from None


def _without_nulls(value: Any) -> Any:
    """The same lists with every joint that is null spelled out as null coordinates."""
    if not isinstance(value, list) or not any(item is None for item in value):
        return [_without_nulls(item) for item in value] if isinstance(value, list) and value and isinstance(value[0], list) else value
    dims = next((len(item) for item in value if isinstance(item, list)), None)
    return value if dims is None else [[None] * dims if item is None else item for item in value]


def _fault(value: Any, place: str) -> tuple[str, None, str]:
    """Message, and place of the first item that breaks the shape of nested lists or is no number."""
    if not isinstance(value, list):
        return f"{value!r:.40} is not a number", None, place
    sizes = [len(item) if isinstance(item, list) else None for item in value]
    for i, size in enumerate(sizes):
        if size != sizes[0]:
            what = [f"a list of {length}" if length is not None else "no list" for length in (size, sizes[0])]
            return f"item {i} is {what[0]}, item 0 is {what[1]}; all must be of one shape", None, place
    for i, item in enumerate(value):
        try:
            np.array(item, np.float64)
        except (ValueError, TypeError, OverflowError):
            return _fault(item, f"{place}[{i}]")
    return "its lists are not all of one shape", None, place


def _pose(fields: Mapping[str, Any]) -> PoseSequence:
    """A pose of the fields of a file, whichever form it had."""
    for name in fields:
        if name not in _KEYS:
            raise DataError(unknown("field", name, _KEYS))
    for name in _NEEDED:
        if name not in fields:
            raise DataError(f"field {name!r} is missing; {', '.join(_NEEDED)} are needed")
    points = fields["points"]
    nulls = not isinstance(points, np.ndarray)
    if nulls:
        points = nested_points(points, "points")
    elif points.ndim == 3:
        points = points[None]
    if points.ndim != 4:
        raise DataError(f"has shape {points.shape}; (persons x) frames x joints x coordinates is expected", where="field 'points'")
    mask = _per_joint(fields.get("mask"), "mask", points)
    if nulls:  # NaN among arrays is no way to say that a joint is missing, as it may come from a division
        there = ~np.isnan(points).all(-1)
        mask = there if mask is None else mask.astype(bool) & there
    unit = fields["unit"]
    size = fields.get("image_size")
    times = fields.get("times")
    return PoseSequence(
        points,
        _layout(fields, points.shape[2]),
        unit,
        mask,
        _per_joint(fields.get("score"), "score", points),
        _number(fields.get("fps", 30.0), "fps"),
        None if times is None else _nested(times, "times"),
        None if size is None else _image_size(size),
        fields.get("y_axis", "down" if unit in ("px", "norm") else "up"),
    )


def _layout(fields: Mapping[str, Any], joints: int) -> Layout:
    name = fields["layout"]
    if not isinstance(name, str):
        raise DataError(f"{name!r:.40} is no name of a joint layout", where="field 'layout'")
    if "joints" not in fields:
        layout = get_layout(name)
        if joints != len(layout):
            raise DataError(f"there are {joints} joints; layout {name!r} has {len(layout)}", where="field 'points'")
        return layout
    if name in LAYOUTS:
        raise LayoutError(f"layout {name!r} is a known one: leave out 'joints', or give yours another name")
    try:
        names, root = [str(joint) for joint in fields["joints"]], str(fields["root"])
        bones = [(str(child), str(parent)) for child, parent in fields.get("bones", ())]
    except (KeyError, TypeError, ValueError):
        raise DataError("a layout of your own needs 'joints' (names), 'bones' (pairs of child and parent) and 'root' (a name)") from None
    return custom_layout(names, bones, root, name)


def _per_joint(value: Any, field: str, points: np.ndarray) -> np.ndarray | None:
    if value is None:
        return None
    array = _nested(value, field)
    array = array[None] if array.ndim == 2 else array
    if array.shape != points.shape[:3]:
        shapes = [" x ".join(map(str, shape)) for shape in (array.shape, points.shape[:3])]
        raise DataError(f"has shape {shapes[0]}; {shapes[1]} is expected, one value a joint", where=f"field {field!r}")
    return array


def _number(value: Any, field: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{value!r:.40} is not a number", where=f"field {field!r}") from None


def _image_size(value: Any) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in value)
    except (TypeError, ValueError, OverflowError):
        width = height = 0
    if width < 1 or height < 1:
        raise DataError(f"{value!r:.40} is no width and height in pixels", where="field 'image_size'")
    return width, height


def _read_npz(path: str | Path) -> dict[str, Any]:
    data = io.BytesIO(read_bytes(path))
    try:
        with zipfile.ZipFile(data) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MOST_BYTES:
            raise DataError(f"unpacks to {size} bytes; at most {_MOST_BYTES} are read", path)
        data.seek(0)
        with np.load(data, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each raise their own on a damaged file
        raise DataError(f"is no whole .npz file of plain arrays: {' '.join(str(error).split())[:120]}", path) from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biufU":
            raise DataError(f"{name} is neither numbers nor text", path)
        if name in ("points", "times", "mask", "score") and array.dtype.kind not in "biuf":
            raise DataError(f"{name} is not numeric", path)
    return {name: array.item() if array.ndim == 0 else array for name, array in arrays.items()}


def _read_csv(path: str | Path) -> dict[str, Any]:
    """Rows of one person in one frame each, under comment lines that hold the other fields."""
    lines = read_text(path).splitlines()
    fields: dict[str, Any] = {}
    start = 0
    while start < len(lines) and (lines[start].startswith("#") or not lines[start].strip()):
        for word in lines[start].lstrip("# \t").split():
            key, _, value = word.partition("=")
            fields[key] = value.lower().split("x") if key == "image_size" else value
        start += 1
    for name in ("layout", "unit"):
        if not fields.get(name):
            raise DataError(f"{name} is missing; a line such as '# layout=coco17 unit=px fps=25' is expected at the top", path)
    rows = csv.reader(lines[start:])
    header = [name.strip() for name in next(rows, [])]
    layout = get_layout(fields["layout"])
    dims = 3 if any(name.endswith("_z") for name in header) else 2
    columns = _columns(header, layout, dims, path)
    table = []
    for number, row in enumerate(rows, start + 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise DataError(f"{len(row)} fields; the header has {len(header)}", path, f"line {number}")
        table.append([_cell(cell, path, number, name) for cell, name in zip(row, header, strict=True)])
    if not table:
        raise DataError("there are no frames", path)
    return fields | _arranged(np.array(table, np.float64), header, columns, dims, path)


def _columns(header: Sequence[str], layout: Layout, dims: int, path: str | Path) -> dict[str, list[int]]:
    """Where x, y (z) of all joints stand, joint by joint, and their scores (empty where there are none)."""
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"column {twice!r} occurs twice", path, "header")
    points = [f"{joint}_{axis}" for joint in layout.joints for axis in "xyz"[:dims]]
    scores = [f"{joint}_score" for joint in layout.joints]
    scored = any(name in header for name in scores)
    needed = points + (scores if scored else [])
    for name in header:
        if name not in needed and name not in ("frame", "person", "time"):
            raise DataError(unknown("column", name, (*points, *scores, "frame", "person", "time")), path, "header")
    missing = [name for name in needed if name not in header]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(f"column {', '.join(missing[:3])}{more} is missing; layout {layout.name!r} has them", path, "header")
    return {"points": [header.index(name) for name in points], "score": [header.index(name) for name in scores] if scored else []}


def _cell(cell: str, path: str | Path, line: int, column: str) -> float:
    """A number; NaN where the cell is empty, which only a joint's may be."""
    if not cell.strip() and column not in ("frame", "person", "time"):
        return np.nan
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        reason = f"{cell.strip()!r:.40} is not a finite number; leave the cell of a missing joint empty"
        raise DataError(reason, path, f"line {line}, {column}")
    return value


def _arranged(table: np.ndarray, header: list[str], columns: dict[str, list[int]], dims: int, path: str | Path) -> dict[str, Any]:
    """Rows as persons x frames x joints. A person who has no row in a frame was not seen there."""
    if "person" in header and "frame" not in header:
        raise DataError("a column 'person' needs a column 'frame'", path, "header")
    frame_numbers = table[:, header.index("frame")] if "frame" in header else np.arange(len(table))
    person_numbers = table[:, header.index("person")] if "person" in header else np.zeros(len(table))
    frames, frame_of = np.unique(frame_numbers, return_inverse=True)
    persons, person_of = np.unique(person_numbers, return_inverse=True)
    if len({*zip(person_of.tolist(), frame_of.tolist(), strict=True)}) != len(table):
        raise DataError("a person has two rows in the same frame", path)
    joints = len(columns["points"]) // dims
    points = np.full((len(persons), len(frames), joints, dims), np.nan)
    points[person_of, frame_of] = table[:, columns["points"]].reshape(len(table), joints, dims)
    found: dict[str, Any] = {"points": points, "mask": ~np.isnan(points).any(-1)}
    if columns["score"]:
        score = np.zeros(points.shape[:3])
        score[person_of, frame_of] = np.nan_to_num(table[:, columns["score"]])
        found["score"] = score
    if "time" in header:
        times = np.zeros(len(frames))
        times[frame_of] = table[:, header.index("time")]
        found["times"] = times
    return found
