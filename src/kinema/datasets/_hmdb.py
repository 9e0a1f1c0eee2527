"""The form that HMDB51 and JHMDB share: class folders of videos, and for each class and split a list of the clips that train and test.

    Class/Title_class_b_cm_npN_fr_goo_K.avi         any container; an .mp4 stands for the .avi that the lists name
    any folder/Class_test_splitS.txt                lines "NAME.avi 1": 1 trains, 2 tests, 0 does neither

A name tells the source video's title, the class, visible body parts, camera motion, number of people, viewpoint and quality, and
counts the clips cut from the same source. Clips of one class and title share their `group`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from kinema.clip import Clip, VideoSource
from kinema.datasets._io import Skipped
from kinema.datasets._videos import Lists, find_videos, lines, note_absent
from kinema.datasets.base import Dataset, DatasetInfo, OnError
from kinema.datasets.protocols import listed, regardless
from kinema.errors import DataError, unknown

_LIST = re.compile(r"(.+)_test_split(\d+)\.txt")
_PARTS = {"1": "train", "2": "test", "0": None}


def read_hmdb(info: DatasetInfo, root: str | Path, on_error: OnError) -> Dataset:
    """Classes are the folders in which there are clips; protocols "official" and "random", where there are lists."""
    root, skipped = Path(root), Skipped(on_error)
    found = find_videos(root, skipped)
    if not found:
        raise DataError(f"no clips: videos in class folders such as {root.name}/wave/ are expected here", root)
    classes = tuple(sorted({path.parent.name for path in found.values()}))
    files = _list_files(root)
    if files:
        found, classes = _known(found, classes, {name for name, _ in files}, skipped)
    lists = _lists(files, {clip_id: path.parent.name for clip_id, path in found.items()}, classes, skipped)
    note_absent(skipped, lists.places, found)
    clips = tuple(
        Clip(clip_id, {"video": VideoSource(path)}, classes.index(path.parent.name), group=group_of(clip_id, path.parent.name), source=path)
        for clip_id, path in found.items()
    )
    protocols = ()
    if lists:
        official = listed("official", "the splits of the data set's authors, clips of one source together", lists.splits)
        random = "clips exchanged regardless of their sources: test clips show the sources of training clips"
        protocols = (official, regardless("random", random, official))
    return Dataset(info.name, clips, classes, {protocol.name: protocol for protocol in protocols}, tuple(skipped), root)


def group_of(clip_id: str, name: str) -> str | None:
    """ "class/title" for a name of the usual form, None for another."""
    match = re.fullmatch(rf"(.+)_{re.escape(name)}_[a-z]_[a-z]{{2}}_np\d+_[a-z]{{2}}_[a-z]{{3}}_\d+", clip_id)
    return match and f"{name}/{match[1]}"


def _list_files(root: Path) -> dict[tuple[str, str], Path]:
    """The lists by class and split: of the folder itself, of one within it, or of one beside it."""
    for folder in (root, *sorted(root.glob("*/")), *sorted(root.parent.glob("*split*/"))):
        found = {(match[1], match[2]): path for path in sorted(folder.glob("*_test_split*.txt")) if (match := _LIST.fullmatch(path.name))}
        if found:
            return found
    return {}


def _known(
    found: Mapping[str, Path], classes: tuple[str, ...], known: set[str], skipped: Skipped
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Without the folders of which there is no list."""
    for name in classes:
        if name not in known:
            folder = next(path.parent for path in found.values() if path.parent.name == name)
            skipped.add(DataError(f"{unknown('class', name, known)} (by the lists)", folder))
    kept = {clip_id: path for clip_id, path in found.items() if path.parent.name in known}
    return kept, tuple(name for name in classes if name in known)


def _lists(files: Mapping[tuple[str, str], Path], of: Mapping[str, str], classes: tuple[str, ...], skipped: Skipped) -> Lists:
    found = Lists(skipped)
    for (name, split), path in files.items():
        for number, line in lines(path) if name in classes else ():
            file, _, part = line.rpartition(" ")
            clip_id = file.strip().removesuffix(".avi")
            if part not in _PARTS or not clip_id:
                said = f"{line[:80]!r} is no clip and its part; a line such as 'NAME.avi 1' (1 trains, 2 tests, 0 neither) is expected"
                skipped.add(DataError(said, path, f"line {number}"))
            elif of.get(clip_id, name) != name:
                said = f"two labels for one clip: {clip_id!r} lies in {of[clip_id]}, and is listed as {name}"
                skipped.add(DataError(said, path, f"line {number}"))
            elif _PARTS[part]:
                found.add(split, _PARTS[part], clip_id, (path, number))
    return found
