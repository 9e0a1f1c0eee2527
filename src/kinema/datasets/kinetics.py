"""Kinetics 400, 600 and 700: ten-second actions in videos of users (Kay et al., arXiv:1705.06950, and what followed).

    [annotations/]*.csv        with the columns label, youtube_id, time_start, time_end (seconds) and split
    .../ID_000010_000020.mp4   the clip from 10 s to 20 s of a video, in class folders, folders of splits or none; any container
    .../ID.mp4                 or the whole video, of which start and end are taken

`split` is train, validate (val) or test; where the column is not there, the list's name says it. Classes are those of the lists
of which there are clips, in alphabetical order. `group` is the video that a clip is cut from. Many listed videos are gone: those that
are not there are counted in `skipped`. Files that no list names are passed over. Nothing is opened when listing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kinema.clip import Clip, VideoSource
from kinema.datasets._io import Skipped, read_text
from kinema.datasets._videos import Place, find_videos, note_absent
from kinema.datasets.base import Dataset, DatasetInfo, OnError, Protocol
from kinema.datasets.protocols import listed
from kinema.errors import DataError, unknown

INFO = DatasetInfo(
    "kinetics",
    "Kinetics 400, 600, 700: actions in ten seconds of videos of users",
    ("video",),
    None,
    "https://github.com/cvdfoundation/kinetics-dataset",
    "folder of ID_000010_000020.mp4 or ID.mp4, and its lists, .csv; kinetics-ANY is a part of it in a folder of that name",
)

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_PARTS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class _Row:
    label: str
    video: str
    start: float
    end: float
    part: str
    place: Place

    @property
    def clip(self) -> str:
        return f"{self.video}_{round(self.start):06}_{round(self.end):06}"


def read(root: str | Path, *, on_error: OnError = "raise", cache: bool = True) -> Dataset:
    """Protocols "official" (the validation part tests, as is usual) and "test" (the test part tests, the validation part validates).

    `DataError` names list and line of what cannot be read, of a clip under two labels, and of one that is in two parts.
    """
    root, skipped = Path(root), Skipped(on_error)
    rows = _rows(root, skipped)
    found = find_videos(root, skipped)
    here = {row.clip: path for row in rows.values() if (path := found.get(row.clip, found.get(row.video))) is not None}
    if not here:
        raise DataError("none of the listed clips is there: ID_000010_000020.mp4 or ID.mp4 are expected, in any folder of this one", root)
    note_absent(skipped, {clip: row.place for clip, row in rows.items()}, here)
    _check_folders(rows, here, skipped)
    classes = tuple(sorted({rows[clip].label for clip in here}))
    clips = tuple(
        Clip(clip, {"video": _source(rows[clip], path)}, classes.index(rows[clip].label), group=rows[clip].video, source=path)
        for clip, path in sorted(here.items())
    )
    return Dataset(INFO.name, clips, classes, _protocols(rows), tuple(skipped), root)


def _source(row: _Row, path: Path) -> VideoSource:
    return VideoSource(path) if path.stem == row.clip else VideoSource(path, row.start, row.end)


def _protocols(rows: Mapping[str, _Row]) -> dict[str, Protocol]:
    parts = {part: [clip for clip, row in rows.items() if row.part == part] for part in ("train", "val", "test")}
    found = []
    if parts["train"] and parts["val"]:
        found.append(listed("official", "the validation part tests, as is usual", {"official": (parts["train"], parts["val"])}))
    if parts["train"] and parts["test"]:
        found.append(listed("test", "the test part tests", {"test": (parts["train"], parts["test"])}, {"test": parts["val"]}))
    return {protocol.name: protocol for protocol in found}


def _rows(root: Path, skipped: Skipped) -> dict[str, _Row]:
    """The rows of all lists, by the clip's name."""
    rows: dict[str, _Row] = {}
    lists = [path for folder in (root, *sorted(root.glob("*/"))) for path in sorted(folder.glob("*.csv"))]
    for path in lists:
        for row in _list(path, skipped):
            first = rows.setdefault(row.clip, row)
            if first.label != row.label or first.part != row.part:
                what = "two labels for one clip" if first.label != row.label else "one clip in two parts"
                one, other = (first.label, row.label) if first.label != row.label else (first.part, row.part)
                said = f"{what}: {row.clip!r} is {other!r} here and {one!r} in {first.place[0].name}, line {first.place[1]}"
                skipped.add(DataError(said, path, f"line {row.place[1]}"))
    if not rows:
        raise DataError(f"there is no list: a .csv with the columns {', '.join(_COLUMNS)} and split is expected here", root)
    return rows


def _list(path: Path, skipped: Skipped) -> Iterator[_Row]:
    """The rows of one list; none of a table of something else."""
    table = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    header: list[str] = []
    while True:
        try:
            fields = next(table, None)
            if fields is None:
                return
            if not header:
                header = [name.strip() for name in fields]
                if "youtube_id" not in header:
                    return
                if absent := [name for name in _COLUMNS if name not in header]:
                    raise DataError(f"column {absent[0]!r} is missing; {', '.join(_COLUMNS)} are needed")
            elif any(fields):
                yield _row(dict(zip(header, map(str.strip, fields), strict=False)), path, table.line_num)
        except csv.Error as error:
            raise DataError(f"is no table: {error}", path, f"line {table.line_num}") from error
        except DataError as error:
            skipped.add(DataError(error.reason, path, f"line {table.line_num}"))
            if table.line_num == 1:
                return


def _row(fields: Mapping[str, str], path: Path, line: int) -> _Row:
    for name in _COLUMNS:
        if not fields.get(name):
            raise DataError(f"{name} is empty")
    times = []
    for name in _COLUMNS[2:]:
        try:
            times.append(float(fields[name]))
        except ValueError:
            raise DataError(f"{name} is {fields[name]!r}; seconds are expected") from None
    if not 0 <= times[0] < times[1] < 1e6:
        raise DataError(f"time_start is {times[0]:g} and time_end {times[1]:g}; seconds that run forwards are expected")
    said = fields.get("split") or next((name for name in _PARTS if path.stem.endswith(name)), "")
    if said not in _PARTS:
        raise DataError(unknown("split", said, _PARTS))
    return _Row(fields["label"], fields["youtube_id"], times[0], times[1], _PARTS[said], (path, line))


def _check_folders(rows: Mapping[str, _Row], here: dict[str, Path], skipped: Skipped) -> None:
    """Takes out clips that lie in the folder of another class than the one that the lists tell."""

    def plain(name: str) -> str:
        return name.replace("_", " ").casefold()

    labels = {plain(row.label): row.label for row in rows.values()}
    for clip, path in list(here.items()):
        told = labels.get(plain(path.parent.name), rows[clip].label)
        if told != rows[clip].label:
            list_file, line = rows[clip].place
            said = f"its folder says {told!r}, {list_file.name}, line {line}, says {rows[clip].label!r}"
            skipped.add(DataError(f"two labels for one clip: {said}", path))
            del here[clip]
