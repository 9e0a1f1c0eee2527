"""Small ONNX models, written byte by byte: no package for writing them is needed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

Value = int | str | bytes | float
FLOAT, INT64 = 1, 7


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _message(*fields: tuple[int, Value]) -> bytes:
    """A protocol buffer message of (number of the field, value)."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        elif isinstance(value, float):
            out += _varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def _tensor(name: str, value: np.ndarray) -> bytes:
    kind = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}[value.dtype]
    return _message(*((1, side) for side in value.shape), (2, kind), (8, name), (9, value.tobytes()))


def _info(name: str, shape: Sequence[int | str], kind: int = FLOAT) -> bytes:
    sides = [(1, _message((1, side) if isinstance(side, int) else (2, side))) for side in shape]
    return _message((1, name), (2, _message((1, _message((1, kind), (2, _message(*sides)))))))


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | Sequence[int]) -> bytes:
    given = []
    for name, value in attributes.items():
        one = [(3, value), (20, 2)] if isinstance(value, int) else [*((8, item) for item in value), (20, 7)]
        given.append((5, _message((1, name), *one)))
    return _message(*((1, name) for name in inputs), *((2, name) for name in outputs), (4, kind), *given)


def write_model(
    path: Path,
    nodes: Sequence[bytes],
    shape: Sequence[int | str],
    outputs: dict[str, tuple[Sequence[int | str], int]],
    constants: dict[str, np.ndarray],
) -> Path:
    """A model of one input, `input`, of that shape."""
    graph = _message(
        *((1, each) for each in nodes),
        (2, "tiny"),
        *((5, _tensor(name, value)) for name, value in constants.items()),
        (11, _info("input", shape)),
        *((12, _info(name, *about)) for name, about in outputs.items()),
    )
    path.write_bytes(_message((1, 7), (8, _message((1, ""), (2, 11))), (7, graph)))
    return path


def write_rtmpose(path: Path, width: int = 48, height: int = 64, joints: int = 17, batch: int | str = "batch") -> Path:
    """All joints are where the image is reddest, with a tenth of the normalised red as their score in x, a ninth in y."""
    nodes = [node("Gather", ["input", "red"], ["reds"], axis=1)]
    constants = {"red": np.array([0]), "joints": np.array([1, joints, 1])}
    for axis, (side, share) in {"x": (2, 10.0), "y": (3, 9.0)}.items():
        constants |= {
            f"share_{axis}": np.float32([1 / share]),
            f"half_{axis}": np.float32([0.5 / share]),
            f"flat_{axis}": np.array([0, 1, -1]),
        }
        nodes += [
            node("ReduceMax", ["reds"], [f"most_{axis}"], axes=[1, side], keepdims=0),
            node("Unsqueeze", [f"most_{axis}"], [f"column_{axis}"], axes=[2]),
            # Two bins to a pixel, the first of them the higher one.
            node("Mul", [f"column_{axis}", f"share_{axis}"], [f"first_{axis}"]),
            node("Mul", [f"column_{axis}", f"half_{axis}"], [f"second_{axis}"]),
            node("Concat", [f"first_{axis}", f"second_{axis}"], [f"bins_{axis}"], axis=2),
            node("Reshape", [f"bins_{axis}", f"flat_{axis}"], [f"row_{axis}"]),
            node("Tile", [f"row_{axis}", "joints"], [f"simcc_{axis}"]),
        ]
    outputs = {f"simcc_{axis}": ((batch, joints, 2 * side), FLOAT) for axis, side in (("x", width), ("y", height))}
    return write_model(path, nodes, (batch, 3, height, width), outputs, constants)


def write_rtmdet(path: Path, dets: Sequence[Sequence[float]], labels: Sequence[int], shape: Sequence[int | str] = (1, 3, "h", "w")) -> Path:
    """It sees these boxes in every image."""
    nodes = [node("Identity", ["boxes"], ["dets"]), node("Identity", ["kinds"], ["labels"])]
    constants = {"boxes": np.float32([dets]), "kinds": np.array([labels])}
    return write_model(path, nodes, shape, {"dets": ((1, len(dets), 5), FLOAT), "labels": ((1, len(dets)), INT64)}, constants)
