"""What the readers of videos share: which files are videos, finding them by name, and official lists of names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from kinema._video_images import SUFFIXES as IMAGES
from kinema.datasets._io import Skipped, names_in, read_text
from kinema.errors import DataError

SUFFIXES = (
    *(".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".mts", ".m2ts", ".ts", ".vob"),
    ".gif",
)
_FEW = 20  # absent clips that are named one by one

Place = tuple[Path, int]  # a file and the number of a line in it


def is_video(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def holds_images(names: Iterable[str]) -> bool:
    """Whether a folder of these files is a video: numbered images."""
    return any(name.lower().endswith(tuple(IMAGES)) and re.search(r"\d", name) and not name.startswith(".") for name in names)


def find_videos(root: Path, skipped: Skipped, named: Callable[[str], str | None] = lambda stem: stem) -> dict[str, Path]:
    """The video files below a folder, by the clip's name in the order of the names. Nothing is opened.

    `named`: the clip's name for a file's name without suffix, None for a file that is no clip. Two files of one clip are an error.
    """
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(filter(is_video, names)):
            clip, path = named(os.path.splitext(name)[0]), Path(folder, name)
            if clip is None:
                continue
            if clip in found:
                skipped.add(DataError(f"clip {clip!r} is there twice: {found[clip]} too", path))
            else:
                found[clip] = path
    return dict(sorted(found.items()))


def videos_in(folder: Path, ending: str = "") -> dict[str, Path]:
    """The videos of one folder by their names without `ending` and suffix; none where there is no such folder."""
    stems = {os.path.splitext(name)[0]: name for name in sorted(names_in(folder)) if is_video(name)}
    return {stem.removesuffix(ending): folder / name for stem, name in stems.items() if stem.endswith(ending)}


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that say something, with their numbers from 1."""
    yield from ((number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip())


class Lists:
    """Which clips train and which test in each split, as lists of files say; `places` of clips that are listed somewhere."""

    def __init__(self, skipped: Skipped):
        self._skipped = skipped
        self._parts: dict[str, dict[str, dict[str, Place]]] = {}
        self.places: dict[str, Place] = {}

    def __bool__(self) -> bool:
        return any(all(parts.values()) for parts in self._parts.values())

    def add(self, split: str, part: str, clip: str, place: Place) -> None:
        """`part` is "train" or "test". A clip that is in the other part already is an error."""
        parts = self._parts.setdefault(split, {"train": {}, "test": {}})
        other = parts["test" if part == "train" else "train"].get(clip)
        if other is not None:
            said = f"clip {clip!r} both trains and tests in split {split}: it is in {other[0].name}, line {other[1]}, too; one is expected"
            self._skipped.add(DataError(said, place[0], f"line {place[1]}"))
            return
        parts[part].setdefault(clip, place)
        self.places.setdefault(clip, place)

    @property
    def splits(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Split -> clips that train, clips that test; without splits of which one list is missing."""
        whole = {split: parts for split, parts in sorted(self._parts.items()) if all(parts.values())}
        return {split: (tuple(parts["train"]), tuple(parts["test"])) for split, parts in whole.items()}


def note_absent(skipped: Skipped, listed: Mapping[str, Place], here: Iterable[str]) -> None:
    """Tells of listed clips that are not there, and goes on: data sets lose clips, and their lists stay."""
    here = set(here)
    absent = {clip: place for clip, place in listed.items() if clip not in here}
    notes = [DataError(f"clip {clip!r} is listed and not there", path, f"line {line}") for clip, (path, line) in absent.items()]
    if len(notes) > _FEW:
        path, line = next(iter(absent.values()))
        said = f"{len(absent)} of {len(listed)} listed clips are not there, such as {next(iter(absent))!r}"
        notes = [DataError(said, path, f"line {line}")]
    skipped.extend(notes)
