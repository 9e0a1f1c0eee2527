"""Files that others have published: downloaded whole, and checked by a known checksum before anybody uses them."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from kinema.errors import KinemaError


def download(url: str, largest: int) -> bytes:
    """What is at an address, `largest` bytes at most. `OSError` where it cannot be fetched; its text is the reason."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            data = answer.read(largest + 1)
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from error
    if len(data) > largest:
        raise OSError(f"it has more than {largest >> 20} MB")
    return data


def check(data: bytes, sha256: str, name: str, where: str | Path) -> None:
    """Raise `KinemaError` unless the SHA-256 of `data` begins with `sha256`, in hexadecimal."""
    if not hashlib.sha256(data).hexdigest().startswith(sha256):
        raise KinemaError(f"{where}: is damaged, or not the published {name}: its SHA-256 does not begin with {sha256[:8]}")


def check_file(path: Path, sha256: str, name: str) -> Path:
    """As `check`, of a file; once as long as it does not change. Returns its path."""
    about = path.stat()
    _check_file(path, sha256, name, about.st_mtime_ns, about.st_size)
    return path


@lru_cache(maxsize=16)
def _check_file(path: Path, sha256: str, name: str, modified: int, size: int) -> None:
    check(path.read_bytes(), sha256, name, path)


def member_of(archive: bytes, ending: str, largest: int, where: str) -> bytes:
    """The file in a .zip or .tar.gz whose name ends so, `largest` bytes at most; `KinemaError` where there is none."""
    try:
        if zipfile.is_zipfile(io.BytesIO(archive)):
            with zipfile.ZipFile(io.BytesIO(archive)) as opened:
                names = [name for name in opened.namelist() if name.endswith(ending)]
                if names:
                    with opened.open(names[0]) as file:
                        return file.read(largest)
        else:
            with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
                for entry in opened:
                    if entry.isfile() and entry.name.endswith(ending):
                        return opened.extractfile(entry).read(largest)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise KinemaError(f"{where}: is no whole .zip or .tar.gz ({' '.join(str(error).split())[:80]})") from error
    raise KinemaError(f"{where}: holds no {ending}")
