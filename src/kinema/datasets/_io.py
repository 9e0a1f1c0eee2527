"""What the parsers of all formats share: reading a file whole, and saying which file it was that could not be used."""

from __future__ import annotations

import functools
import io
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kinema.datasets.base import OnError
from kinema.errors import DataError, LayoutError, unknown

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


def located(error: DataError | LayoutError, path: str | Path) -> DataError:
    """The same error with the file put before it, unless it names one already."""
    if isinstance(error, LayoutError):
        return DataError(str(error), path)
    return error if error.path is not None else DataError(error.reason, path, error.where)


def parser(parse: Callable[..., T]) -> Callable[..., T]:
    """Decorates `parse(path, ...)`: errors of the values it makes get the file's name."""

    @functools.wraps(parse)
    def wrapper(path, *args, **kwargs):
        try:
            return parse(path, *args, **kwargs)
        except (DataError, LayoutError) as error:
            raise located(error, path) from error

    return wrapper


def read_bytes(path: str | Path) -> bytes:
    """The whole file; `DataError` where it cannot be read or holds nothing but white space."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path) from error
    if not data or data.isspace():
        raise DataError("the file is empty", path)
    return data


def read_text(path: str | Path) -> str:
    """The whole file as text (UTF-8, with or without a byte order mark)."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("is no text: it holds bytes that are not UTF-8", path, f"byte {error.start}") from error


def read_json(path: str | Path) -> dict[str, Any]:
    """A file of one JSON object. NaN and Infinity, which JSON does not have, are refused."""

    def refuse(name: str) -> None:
        raise DataError(f"{name} is not a finite number; null stands for a value that is missing", path)

    try:
        content = json.loads(read_text(path), parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise DataError(f"is no whole JSON: {error.msg}", path, f"line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise DataError("is nested too deeply", path) from error
    if not isinstance(content, dict):
        raise DataError(f"holds a {type(content).__name__}; a JSON object is expected", path)
    return content


def numbers(words: Iterable[str], where: Callable[[int], str]) -> list[float]:
    """Words as numbers. The first that is none, or that is not finite, is named, with `where(its index)` as its place."""
    words = list(words)
    try:
        return list(map(float, words))
    except ValueError:
        for index, word in enumerate(words):
            try:
                float(word)
            except ValueError:
                raise DataError(f"{word.strip()[:40]!r} is not a number", where=where(index)) from None
        raise


def read_mat(path: str | Path, *names: str) -> dict[str, np.ndarray]:
    """Those of the named variables that a MATLAB file (up to version 7) holds, as numeric arrays; at least one of them."""
    import scipy.io

    data = read_bytes(path)
    try:
        content = scipy.io.loadmat(io.BytesIO(data), variable_names=names)
    except Exception as error:  # a damaged file makes scipy's reader raise whatever it stumbles over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"is no whole MATLAB file (up to version 7): {reason[:120]}", path) from error
    found = {name: content[name] for name in names if name in content}
    if not found:
        raise DataError(f"there is no variable {' or '.join(names)} in it", path)
    for name, value in found.items():
        if value.dtype.kind not in "fiu":
            raise DataError(f"{name} is not numeric", path)
    return found


def check_on_error(on_error: OnError) -> None:
    if on_error not in ("raise", "skip"):
        raise DataError(unknown("way to treat errors", str(on_error), ("raise", "skip")))


class Skipped(list[DataError]):
    """Collects errors where the user asked to skip what cannot be read, and raises the first where not."""

    def __init__(self, on_error: OnError):
        check_on_error(on_error)
        self.on_error = on_error

    def add(self, error: DataError) -> None:
        if self.on_error == "raise":
            raise error
        self.append(error)


def names_in(folder: str | Path) -> list[str]:
    """Names of what is in a folder, unsorted; none where there is no such folder."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"the folder cannot be read: {error.strerror or error}", folder) from error
