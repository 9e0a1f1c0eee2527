"""Opening single files of any known format, and folders of them, by what they are named and what they hold."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from kinema import video
from kinema._video_images import list_images
from kinema.clip import Clip, Lazy, PoseSequence, VideoSource
from kinema.datasets import _openpose, cad60, folder, jhmdb, ntu, nw_ucla, pyskl, utd_mhad
from kinema.datasets._io import Skipped, located, read_bytes, read_mat
from kinema.datasets._ntu_image import read_image_points, video_beside
from kinema.datasets._skeletons import read_skeleton
from kinema.datasets._unpickle import load_pickle
from kinema.datasets._videos import holds_images, is_video
from kinema.datasets.base import Dataset, OnError
from kinema.datasets.protocols import natural
from kinema.errors import DataError, LayoutError

SUFFIXES = (".mat", ".txt", ".json", ".skeleton", ".npz", ".csv", ".pkl")
_UTD = re.compile(r"(a(\d+)_s(\d+)_t\d+)_(skeleton|depth|inertial|color)")
_NTU = re.compile(rf"({ntu.NAME.pattern})(_rgb)?")
_UCF = re.compile(r"v_(.+)_g\d+_c\d+")
_FEWEST_IMAGES = 4  # of a folder that is taken for a video without having been named
_UTD_READERS = {
    "d_skel": ("pose", utd_mhad.read_skeleton),
    "d_depth": ("depth", utd_mhad.read_depth),
    "d_iner": ("inertial", utd_mhad.read_inertial),
}

Found = tuple[Clip, str | None]  # a clip and the name of its class, where the file or its name tells


def read_clips(paths: str | Path | Iterable[str | Path], *, on_error: OnError = "raise") -> list[Clip]:
    """The clips of files and folders of any known format, in order. `open_files` tells more about them."""
    return list(open_files(paths, on_error=on_error).clips)


def open_files(paths: str | Path | Iterable[str | Path], *, on_error: OnError = "raise", videos: bool = True) -> Dataset:
    """The clips of files and folders, as a data set without protocols; `classes` are the labels that files and names tell.

    Known are UTD-MHAD's .mat, CAD-60's .txt, N-UCLA's .json, NTU's .skeleton, Kinema's own .npz, .json and .csv, a folder with
    clips.csv, pickles of PYSKL and JHMDB, and folders of OpenPose's _keypoints.json, one clip for each recording in them; videos, and
    folders of numbered images. Folders are searched to their depth: what is of another kind is passed over there (pickles too, and
    with `videos` false videos), while a file that was named must be of a known one, whatever its name ends in if it is a video.
    Skeleton, depth, signals and video of one UTD-MHAD recording become one clip, and skeleton and video of an NTU or N-UCLA one.

    `DataError` for a path that is not there, a file that cannot be used and a folder without clips; with
    `on_error="skip"` they are listed in `skipped`.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    skipped = Skipped(on_error)
    found: dict[str, Found] = {}
    for path in map(Path, paths):
        path = path.expanduser()
        before = len(found) + len(skipped)
        for clip, label in _open(path, skipped, videos):
            _add(found, clip, label)
        if len(found) + len(skipped) == before and path.is_dir():
            skipped.add(
                DataError(f"no clips: files that end in {', '.join(SUFFIXES[:-1])}{', or videos,' * videos} are expected here", path)
            )
    classes = tuple(sorted({label for _, label in found.values() if label is not None}))
    clips = tuple(replace(clip, label=None if label is None else classes.index(label)) for clip, label in found.values())
    return Dataset("files", clips, classes, {}, tuple(skipped))


def _add(found: dict[str, Found], clip: Clip, label: str | None) -> None:
    """One more clip; parts of the same recording become one, other clips of the same name are told apart by their path."""
    same = found.get(clip.id)
    if same is None:
        found[clip.id] = (clip, label)
    elif _is_part(clip) and _is_part(same[0]) and not set(clip.modalities) & set(same[0].modalities):
        source = clip.source if clip.has("pose") else same[0].source
        found[clip.id] = (replace(same[0], modalities={**same[0].modalities, **clip.modalities}, source=source), label)
    else:
        name, number = f"{clip.source}:{clip.id}", 1
        while name in found:
            number += 1
            name = f"{clip.source}:{clip.id}:{number}"
        found[name] = (replace(clip, id=name), label)


def _is_part(clip: Clip) -> bool:
    if clip.source is None:
        return False
    stem = clip.source.stem
    return any(pattern.fullmatch(name) for pattern, name in ((_UTD, stem), (_NTU, stem), (nw_ucla.NAME, f"{stem}.json")))


def _open(path: Path, skipped: Skipped, videos: bool) -> Iterator[Found]:
    if not path.exists():
        skipped.add(DataError("no such file or folder", path))
    elif path.is_dir():
        for top, folders, names in os.walk(path):
            folders.sort(key=natural)
            if folder.TABLE in names:
                folders.clear()
                yield from _of_dataset(folder.read, Path(top), skipped)
                continue
            yield from _openpose_clips(Path(top), names, skipped)
            files = [Path(top, name) for name in sorted(names, key=natural)]
            files = [file for file in files if _is_clip(file) or (videos and is_video(file.name))]
            if videos and not files and holds_images(names) and _is_sequence(Path(top)):
                yield _video(Path(top))
            for file in files:
                yield from _open_file(file, skipped)
    else:
        yield from _open_file(path, skipped)


def _openpose_clips(path: Path, names: list[str], skipped: Skipped) -> Iterator[Found]:
    for recording, frames in _openpose.recordings(names).items():
        try:
            pose = _openpose.read_recording(path, frames)
        except DataError as error:
            skipped.add(error)
        else:
            yield Clip(recording or path.resolve().name, {"pose": pose}, source=path), None


def _is_sequence(path: Path) -> bool:
    try:
        return len(list_images(path)) >= _FEWEST_IMAGES
    except DataError:
        return False


def _is_clip(path: Path) -> bool:
    """Whether a file that lies in a folder looks like a clip; files that users keep beside their clips do not."""
    suffix = path.suffix.lower()
    if suffix in (".mat", ".skeleton", ".npz"):
        return True
    if suffix not in (".txt", ".json", ".csv") or _openpose.NAME.fullmatch(path.name):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
    except OSError:
        return True  # the parser says what is the matter
    if suffix == ".txt":
        return re.fullmatch(r"\d{10}", path.stem) is not None or start.split(b"\n")[0].count(b",") == 171
    return (suffix == ".json" and (b'"skeletons"' in start or b'"points"' in start)) or (suffix == ".csv" and b"layout=" in start)


def _open_file(path: Path, skipped: Skipped) -> Iterator[Found]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".pkl":
            yield from _pickle(path, skipped)
        elif path.name == folder.TABLE:
            yield from _of_dataset(folder.read, path, skipped)
        else:
            yield _OPENERS.get(suffix, _unknown)(path)
    except (DataError, LayoutError) as error:
        if skipped.on_error == "raise":
            raise
        skipped.add(located(error, path))


def _unknown(path: Path) -> Found:
    if not is_video(path.name):
        try:
            video.index(path)
        except DataError as error:
            raise DataError(f"is of no known format; {', '.join(SUFFIXES)} and videos are known", path) from error
    return _video(path)


def _video(path: Path) -> Found:
    """A video's clip, not opened, and what its name tells."""
    stem, modalities = path.name if path.is_dir() else path.stem, {"video": VideoSource(path)}
    if named := _UTD.fullmatch(stem):
        return Clip(named[1], modalities, subject=str(int(named[3])), source=path), _utd_label(named[2])
    if named := _NTU.fullmatch(stem):
        who, label = _ntu_names(named[1])
        return Clip(named[1], modalities, source=path, **who), label
    if named := nw_ucla.NAME.fullmatch(f"{stem}.json"):
        return Clip(stem, modalities, subject=str(int(named[2])), view=str(int(named[4])), source=path), _ucla_label(named[1])
    named = _UCF.fullmatch(stem)
    return Clip(stem, modalities, source=path), named and named[1]


def _mat(path: Path) -> Found:
    named = _UTD.fullmatch(path.stem)
    if named and named[4] != "skeleton":  # depth images are large: they wait until somebody wants them
        modality, read = next(part for part in _UTD_READERS.values() if part[0] == named[4])
        modalities = {modality: Lazy(partial(read, str(path)))}
    else:
        variables = read_mat(path, *_UTD_READERS)
        modalities = {modality: read(path) for name, (modality, read) in _UTD_READERS.items() if name in variables}
    if named is None:
        return Clip(path.stem, modalities, source=path), None
    return Clip(named[1], modalities, subject=str(int(named[3])), source=path), _utd_label(named[2])


def _utd_label(action: str) -> str | None:
    return utd_mhad.CLASSES[int(action) - 1] if 1 <= int(action) <= len(utd_mhad.CLASSES) else None


def _txt(path: Path) -> Found:
    pose = cad60.read_skeleton(path)
    labels = path.with_name("activityLabel.txt")
    label = cad60.read_labels(labels).get(path.stem, (None, 0))[0] if labels.is_file() else None
    return Clip(path.stem, {"pose": pose}, source=path), label if label in cad60.CLASSES else None


def _json(path: Path) -> Found:
    if _openpose.NAME.fullmatch(path.name):
        raise DataError("is one frame of OpenPose's; name the folder that holds all frames of the recording", path)
    if b'"skeletons"' not in read_bytes(path):
        return _own(path)
    pose = nw_ucla.read_skeleton(path)
    named = nw_ucla.NAME.fullmatch(path.name)
    if named is None or int(named[1]) not in nw_ucla.ACTIONS:
        return Clip(path.stem, {"pose": pose}, source=path), None
    return Clip(path.stem, {"pose": pose}, subject=str(int(named[2])), view=str(int(named[4])), source=path), _ucla_label(named[1])


def _ucla_label(action: str) -> str | None:
    return nw_ucla.CLASSES[nw_ucla.ACTIONS.index(int(action))] if int(action) in nw_ucla.ACTIONS else None


def _skeleton(path: Path) -> Found:
    pose = ntu.read_skeleton(path)
    who, label = _ntu_names(path.stem)
    return Clip(path.stem, {"pose": pose}, source=path, **who), label


def _ntu_names(name: str) -> tuple[dict[str, str], str | None]:
    """Who, where and which action a recording's name tells."""
    who = ntu.recording(name) or {}
    action = who.pop("action", 0)
    return who, ntu.CLASSES_120[action - 1] if 1 <= action <= len(ntu.CLASSES_120) else None


def seen_in_video(path: Path, video: VideoSource | None = None) -> tuple[PoseSequence, VideoSource] | None:
    """The skeletons of a file in pixels of the video that they were seen in, `video` or the one beside it, where the file tells (NTU's)."""
    video = video or video_beside(path)
    return None if video is None or path.suffix.lower() != ".skeleton" else (read_image_points(path), video)


def _own(path: Path) -> Found:
    return Clip(path.stem, {"pose": read_skeleton(path)}, source=path), None


_OPENERS = {".mat": _mat, ".txt": _txt, ".json": _json, ".skeleton": _skeleton, ".npz": _own, ".csv": _own}


def _pickle(path: Path, skipped: Skipped) -> Iterator[Found]:
    content = load_pickle(path)
    if not isinstance(content, dict) or "pose" not in content:
        yield from _of_dataset(pyskl.read, path, skipped)
        return
    for i, (points, label) in enumerate(jhmdb.read_sequences(path)):
        yield Clip(f"{path.stem}-{i}", {"pose": jhmdb.pose_of(points)}, source=path), label


def _of_dataset(read: Callable[..., Dataset], root: Path, skipped: Skipped) -> Iterator[Found]:
    dataset = read(root, on_error=skipped.on_error)
    skipped.extend(dataset.skipped)
    for clip in dataset.clips:
        yield clip, None if clip.label is None else dataset.classes[clip.label]
