"""UCF-101: 101 actions in 13 320 videos of users, or any of its classes (Soomro et al., CRCV-TR-12-01, 2012).

    [Class/]v_Class_gXX_cYY.avi             any container; an .mp4 stands for the .avi that the lists name
    [ucfTrainTestlist/ or splits/]
        classInd.txt                        lines "1 ApplyEyeMakeup"
        trainlist01.txt                     lines "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1"
        testlist01.txt                      lines "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi"; so 02 and 03

Classes are those of classInd.txt of which there are clips, in its order; without that file, those of the names. Each class has 25
groups, and clips of one group are cut from the same source. Group 1 of one class has nothing to do with group 1 of another, so that
a clip's `group` is "Archery_g01": of nine classes, no frame was found in two groups.

The official splits test groups 1-7, 8-14 and 15-21; where the lists are missing, they are made by that rule. The protocol "random"
exchanges clips regardless of groups. Most of its test clips then show the source of a training clip, which is what results on
random splits are made of: training refuses it unless `data.allow_leak` is true, and the result says so.

Listed clips that are not there are noted in `skipped`, whatever `on_error` says. Nothing is opened when listing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from kinema.clip import Clip, VideoSource
from kinema.datasets._io import Skipped
from kinema.datasets._videos import Lists, find_videos, lines, note_absent
from kinema.datasets.base import Dataset, DatasetInfo, OnError, Protocol, Split
from kinema.datasets.protocols import listed, regardless
from kinema.errors import DataError, unknown

INFO = DatasetInfo(
    "ucf101",
    "UCF-101: 101 actions in videos of users, or any of its classes",
    ("video",),
    101,
    "https://www.crcv.ucf.edu/data/UCF101.php",
    "folder of v_Class_gXX_cYY videos and its lists; ucf101-ANY is a part of it in a folder of that name",
)

_NAME = re.compile(r"v_(.+)_g(\d+)_c(\d+)")
_LISTS = re.compile(r"(train|test)list0?([1-9])\.txt")
_TESTED = {"1": range(1, 8), "2": range(8, 15), "3": range(15, 22)}


def read(root: str | Path, *, on_error: OnError = "raise", cache: bool = True, classes: Sequence[str] | None = None) -> Dataset:
    """Protocols "official" (splits "1" to "3"; all classes: 9 537 / 3 783, 9 586 / 3 734, 9 624 / 3 696 clips) and "random".

    `classes`: those alone. `DataError` names file and line of a list that cannot be read, a clip under two labels and one that both
    trains and tests.
    """
    root, skipped = Path(root), Skipped(on_error)
    found = find_videos(root, skipped)
    if not found:
        raise DataError("no clips: v_Archery_g01_c01.avi and its like are expected here, in class folders or not", root)
    folder = _lists_folder(root)
    names = _class_names(folder / "classInd.txt" if folder else None, skipped) or _names_of(found)
    number = {name.casefold(): i for i, name in enumerate(names)}  # HandstandPushups holds files of v_HandStandPushups
    wanted = _wanted(names, classes)
    labels: dict[str, int] = {}
    for clip_id, path in found.items():
        label = _label(clip_id, path, names, number, skipped)
        if label in wanted:
            labels[clip_id] = label
    here = sorted(set(labels.values()))
    clips = tuple(
        Clip(clip_id, {"video": VideoSource(found[clip_id])}, here.index(label), group=_group(clip_id, names[label]), source=found[clip_id])
        for clip_id, label in labels.items()
    )
    if not clips:
        raise DataError("no clips of these classes could be read", root)
    lists = _lists(folder, names, number, here, skipped)
    note_absent(skipped, lists.places, found)
    description = "the three splits of the data set's authors, whole groups apart"
    official = listed("official", description, lists.splits) if lists else Protocol("official", description, partial(_by_rule))
    random = regardless("random", "clips exchanged regardless of groups: test clips show the sources of training clips", official)
    protocols = {protocol.name: protocol for protocol in (official, random)}
    return Dataset(INFO.name, clips, tuple(names[label] for label in here), protocols, tuple(skipped), root)


def _lists_folder(root: Path) -> Path | None:
    """Where the lists are: in the folder, in one within it, or in one beside it."""
    for folder in (root, *sorted(root.glob("*/")), root.parent, root.parent / "ucfTrainTestlist"):
        if (folder / "classInd.txt").is_file() or any(_LISTS.fullmatch(path.name) for path in folder.glob("*list0?.txt")):
            return folder
    return None


def _class_names(path: Path | None, skipped: Skipped) -> tuple[str, ...]:
    names: list[str] = []
    for number, line in lines(path) if path is not None and path.is_file() else ():
        words = line.split()
        if len(words) != 2 or words[0] != str(len(names) + 1) or words[1] in names:
            wanted = f"number {len(names) + 1} and the name of a new class, such as '{len(names) + 1} Archery', are expected"
            raise DataError(f"{line[:60]!r} is no class; {wanted}", path, f"line {number}")
        names.append(words[1])
    return tuple(names)


def _names_of(found: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted({match[1] for stem in found if (match := _NAME.fullmatch(stem))}))


def _wanted(names: Sequence[str], classes: Sequence[str] | None) -> set[int]:
    for name in classes or ():
        if name not in names:
            raise DataError(unknown("class", name, names))
    return {i for i, name in enumerate(names) if classes is None or name in classes}


def _label(clip_id: str, path: Path, names: Sequence[str], number: dict[str, int], skipped: Skipped) -> int | None:
    """The class that a file's name tells; None, and an error, where it tells none or its folder tells another."""
    match, place = _NAME.fullmatch(clip_id), path.parent.name
    if match is None:
        skipped.add(DataError("the name is not of the form v_Class_g01_c01", path))
    elif match[1].casefold() not in number:
        skipped.add(DataError(unknown("class", match[1], names), path))
    elif number.get(place.casefold(), number[match[1].casefold()]) != number[match[1].casefold()]:
        skipped.add(DataError(f"two labels for one clip: its name says {match[1]}, its folder {place}", path))
    else:
        return number[match[1].casefold()]
    return None


def _group(clip_id: str, name: str) -> str:
    return f"{name}_g{int(_NAME.fullmatch(clip_id)[2]):02}"


def _lists(folder: Path | None, names: Sequence[str], number: dict[str, int], here: Collection[int], skipped: Skipped) -> Lists:
    """What the lists say of the classes at hand."""
    found = Lists(skipped)
    numbered = folder is not None and (folder / "classInd.txt").is_file()
    for path in sorted(folder.glob("*list*.txt")) if folder else ():
        match = _LISTS.fullmatch(path.name)
        for line_number, line in lines(path) if match else ():
            try:
                clip_id, label = _listed(line, names, number, numbered)
            except DataError as error:
                skipped.add(DataError(error.reason, path, f"line {line_number}"))
                continue
            if label in here:
                found.add(match[2], match[1], clip_id, (path, line_number))
    return found


def _listed(line: str, names: Sequence[str], number: dict[str, int], numbered: bool) -> tuple[str, int | None]:
    """The clip that a line names, and its class; None where the classes are not `numbered` by a list, but those at hand."""
    file, _, said = line.partition(".avi")
    clip_id = file.replace("\\", "/").rpartition("/")[2]
    name, said = _NAME.fullmatch(clip_id), said.strip()
    if name is None or not (said.isdecimal() or not said):
        raise DataError(f"{line[:80]!r} names no clip; a line such as 'Archery/v_Archery_g08_c01.avi 3' is expected")
    label = number.get(name[1].casefold())
    if not numbered:
        return clip_id, label
    if label is None:
        raise DataError(unknown("class", name[1], names))
    if said and int(said) != label + 1:
        raise DataError(f"two labels for one clip: {clip_id} is of class {label + 1}, {names[label]}, by its name, of {said} by this line")
    return clip_id, label


def _by_rule(clips: Sequence[Clip]) -> list[Split]:
    sides = {name: {True: [], False: []} for name in _TESTED}
    for clip in clips:
        for name, groups in _TESTED.items():
            sides[name][int(clip.group.rpartition("_g")[2]) in groups].append(clip.id)
    return [Split(name, tuple(parts[False]), tuple(parts[True])) for name, parts in sides.items()]
