"""Writing the poses of any data set in the form that `kinema.datasets.folder` reads."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import tempfile
from pathlib import Path

from kinema.clip import Clip
from kinema.datasets._skeletons import npz_bytes
from kinema.datasets.base import Dataset
from kinema.datasets.folder import ATTRIBUTES, CLASS_LIST, PROTOCOL_LIST, TABLE, write_protocols
from kinema.errors import DataError, KinemaError


def convert(dataset: Dataset, out: str | Path) -> None:
    """Write `clips.csv`, `classes.txt`, `protocols.json` and one `.npz` a clip into `out`, whole or not at all.

    Poses are written as they are held (float32, masks, scores and times with them); clips without a pose and other modalities
    are left out. `DataError` where `out` holds something already or no clip has a pose, `KinemaError` where it cannot be written.
    """
    out = Path(out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("is there already and not an empty folder; name a new one", out)
    clips = [clip for clip in dataset.clips if clip.has("pose")]
    if not clips:
        raise DataError(f"data set {dataset.name!r} has no clip with a pose", dataset.root)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise KinemaError(f"{out}: cannot be written: {error.strerror or error}") from error
    try:
        _write(dataset, clips, part)
        part.chmod(0o755)  # a temporary folder is closed to others
        if out.exists():
            out.rmdir()
        os.rename(part, out)
    except OSError as error:
        raise KinemaError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(dataset: Dataset, clips: list[Clip], part: Path) -> None:
    (part / "clips").mkdir()
    used = [name for name in ATTRIBUTES if any(getattr(clip, name) is not None for clip in clips)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "path", "label", *used])
    taken: set[str] = set()
    for clip in clips:
        name = _file_name(clip.id, taken)
        (part / "clips" / name).write_bytes(npz_bytes(clip.pose))
        label = "" if clip.label is None else dataset.classes[clip.label]
        table.writerow([clip.id, f"clips/{name}", label, *(getattr(clip, attribute) or "" for attribute in used)])
    (part / TABLE).write_text(text.getvalue(), encoding="utf-8")
    (part / CLASS_LIST).write_text("".join(f"{name}\n" for name in dataset.classes), encoding="utf-8")
    if dataset.protocols:
        (part / PROTOCOL_LIST).write_bytes(write_protocols(dataset))


def _file_name(clip_id: str, taken: set[str]) -> str:
    """A file name made of the id that no earlier clip has, on file systems that do not tell capitals apart either."""
    stem = re.sub(r"[^\w.-]", "_", clip_id)[:100].strip(".") or "clip"
    name, number = f"{stem}.npz", 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}.npz"
    taken.add(name.lower())
    return name
