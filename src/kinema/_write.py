"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from kinema.errors import KinemaError


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write `data` beside `path` and rename it into place, so that nobody ever sees half a file.

    Folders on the way are made. Raises `KinemaError` where it cannot be written (read-only folder, full disk); what was
    there before then stays as it was.
    """
    with writing_whole(path) as part:
        part.write_bytes(data)
    return Path(path).expanduser()


@contextlib.contextmanager
def writing_whole(path: str | Path) -> Iterator[Path]:
    """For what is too large to be held: the file to write to, which takes the place of `path` at the end of the block.

    Nothing takes it where the block raises. Errors as of `write_whole`.
    """
    path = Path(path).expanduser()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise KinemaError(f"{path}: cannot be written: {error.strerror or error}") from error
