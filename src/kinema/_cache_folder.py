"""Where Kinema keeps what is costly to make anew: parsed poses, cropped depth, decoded frames. Everything there may be deleted."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path


def cache_folder() -> Path | None:
    """$KINEMA_CACHE, else kinema/ in the user's cache folder; None where there is no place for it."""
    named = os.environ.get("KINEMA_CACHE")
    if named:
        return Path(named).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kinema"
    except RuntimeError:  # no home folder
        return None


def unfinished(path: Path) -> Path:
    """Where `path` is written until it is whole, by this thread of this process."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")


def remove_leftovers(folder: Path) -> None:
    """Unfinished files of processes that were killed more than a day ago."""
    for part in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > 86400:
                part.unlink()
