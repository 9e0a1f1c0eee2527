"""A folder of class folders of videos, with no table: `CLASS/clip.mp4`, `CLASS/clip/` of numbered images, or `PART/CLASS/...` with the
parts train, val and test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kinema.datasets._io import names_in
from kinema.datasets._videos import holds_images, is_video

_PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}


def class_folders(root: Path) -> list[dict[str, str]]:
    """The rows that a table of these clips would have: id, video (relative to the folder), label, split. None: no such folder.

    An id is "class/clip", or "part/class/clip", without the file's suffix unless there are two such files.
    """
    tops = _folders(root)
    if {"train", "test"} <= {_PARTS.get(name) for name in tops} and all(name in _PARTS for name in tops):
        return [row for part in tops for row in _rows(root / part, f"{part}/", _PARTS[part])]
    return list(_rows(root, "", ""))


def _rows(root: Path, prefix: str, part: str) -> Iterator[dict[str, str]]:
    for label in _folders(root):
        names = [name for name in sorted(names_in(root / label)) if is_video(name) or _is_images(root / label / name)]
        same = Counter(os.path.splitext(name)[0] for name in names)
        for name in names:
            stem = os.path.splitext(name)[0]
            clip = f"{prefix}{label}/{stem if is_video(name) and same[stem] == 1 else name}"
            yield {"id": clip, "video": f"{prefix}{label}/{name}", "label": label, "split": part}


def _folders(root: Path) -> list[str]:
    return sorted(name for name in names_in(root) if not name.startswith(".") and (root / name).is_dir())


def _is_images(path: Path) -> bool:
    return path.is_dir() and holds_images(names_in(path))
