"""Opening somebody's pickle without running somebody's code: numpy arrays, plain containers, text and numbers alone.

Three measures. Nothing that a pickle names is ever looked up: the few names that numpy writes are answered by functions of this
module, every other name is refused. Arrays are made here from their bytes, of numeric types only, so that neither numpy's own
reconstruction nor an odd data type is trusted. And memory is bounded by the size of the file: arrays may not claim more bytes
than it has, shared parts are walked once, and the interpreter of pickles is Python's own in place of the C one, which reserves
gigabytes for a made-up memo index.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kinema.errors import DataError

_DEEPEST = 32
_NUMERIC = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_PLAIN = (str, bytes, int, float, bool, type(None))


class _Refused(Exception):
    """Something that has no place in a file of arrays."""


class _DType:
    """A numeric data type on its way: numpy names it, then sets its byte order."""

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str) or not _NUMERIC.fullmatch(code):
            raise _Refused(f"an array of type {code!r:.40}; numbers are expected")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise _Refused("a data type of unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array on its way: numpy makes an empty one first and gives it shape, type and bytes afterwards."""

    def __init__(self, make: Callable[..., np.ndarray]):
        self._make = make
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.array = self._make(data, dtype, shape, "F" if fortran else "C")


class _Name:
    """What a pickle gets for a name. It can be called and nothing else: no pickle may change it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]):
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("a change to a function")


class _Unpickler(pickle._Unpickler):
    def __init__(self, file: Any, size: int):
        super().__init__(file, encoding="latin1")
        self._left = 2 * size  # bytes that come as text are counted twice
        self._names = {
            "numpy.core.multiarray._reconstruct": self._reconstruct,
            "numpy._core.multiarray._reconstruct": self._reconstruct,
            "numpy.core.numeric._frombuffer": self._array,
            "numpy._core.numeric._frombuffer": self._array,
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy._core.multiarray.scalar": self._scalar,
            "numpy.ndarray": _not_called,
            "numpy.dtype": _DType,
            "_codecs.encode": self._encode,
            "collections.OrderedDict": _ordered,
            "builtins.set": self._set,
            "__builtin__.set": self._set,
        }

    def find_class(self, module: str, name: str) -> _Name:
        full = f"{module}.{name}"
        if full not in self._names:
            raise _Refused(f"the name {full}")
        return _Name(self._names[full])

    def get_extension(self, code: int) -> None:
        raise _Refused(f"the extension {code}")

    def persistent_load(self, pid: Any) -> None:
        raise _Refused("a reference to something outside")

    def _reconstruct(self, *_: Any) -> _Array:
        return _Array(self._array)

    def _array(self, data: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
        if isinstance(data, str):  # Python 2 had no bytes
            data = data.encode("latin1")
        shape = (shape,) if isinstance(shape, int) else shape
        if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _DType) or not isinstance(shape, tuple):
            raise _Refused("an array that is not given by its bytes")
        self._spend(len(data))
        return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")

    def _spend(self, items: int) -> None:
        self._left -= items
        if self._left < 0:
            raise _Refused("arrays that claim more bytes than the file has")

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        """How Python 3 writes bytes for Python 2 to read."""
        if not isinstance(text, str) or encoding != "latin1":
            raise _Refused("bytes in an unknown coding")
        self._spend(len(text))
        return text.encode("latin1")

    def _set(self, items: Any) -> set:
        if not isinstance(items, list):
            raise _Refused("a set in an unknown form")
        self._spend(len(items))
        return set(items)

    def _scalar(self, dtype: Any, data: Any) -> bool | int | float:
        return self._array(data, dtype, ()).item()


def _not_called(*_: Any) -> None:
    raise _Refused("an array made in an unknown way")


def _ordered(*args: Any) -> dict:
    if any(args):
        raise _Refused("an ordered dictionary in an unknown form")
    return {}


def _settled(value: Any, done: dict[int, Any], depth: int = 0) -> Any:
    """The same containers with finished arrays in place of those on their way. `done`: what each container became, by its id."""
    if isinstance(value, (*_PLAIN, np.ndarray)):
        return value
    if isinstance(value, _Array):
        if value.array is None:
            raise _Refused("an array without content")
        return value.array
    if id(value) in done:
        return done[id(value)]
    if depth > _DEEPEST:
        raise _Refused(f"containers more than {_DEEPEST} deep")
    made: Any
    if isinstance(value, list):
        made = done[id(value)] = []
        made.extend(_settled(item, done, depth + 1) for item in value)
    elif isinstance(value, dict):
        made = done[id(value)] = {}
        for key, item in value.items():
            made[_settled(key, done, depth + 1)] = _settled(item, done, depth + 1)
    elif isinstance(value, tuple | set | frozenset):
        made = done[id(value)] = type(value)(_settled(item, done, depth + 1) for item in value)
    else:
        raise _Refused(f"a {type(value).__name__}")
    return made


def load_pickle(path: str | Path) -> Any:
    """What a pickle of numeric arrays, containers, text and numbers holds. Python 2's text is read as Latin-1.

    `DataError` for an empty or damaged file, for one that holds anything else, such as a name of code to run, and for one
    that claims more memory than it is large.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise DataError("the file is empty", path)
            return _settled(_Unpickler(file, size).load(), {})
    except _Refused as error:
        raise DataError(f"holds {error}; only pickles of numeric arrays, lists, dictionaries, text and numbers are opened", path) from error
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path) from error
    except Exception as error:  # damaged bytes lead the interpreter of pickles into any error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"is no whole pickle: {reason[:120]}", path) from error
