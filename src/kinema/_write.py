"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from kinema.errors import KinemaError


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write `data` beside `path` and rename it into place, so that nobody ever sees half a file.

    Folders on the way are made. Raises `KinemaError` where it cannot be written (read-only folder, full disk); what was
    there before then stays as it was.
    """
    path = Path(path).expanduser()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise KinemaError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path
