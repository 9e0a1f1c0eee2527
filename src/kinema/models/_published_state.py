"""Weights as others publish them: PyTorch files with a state dict, and names that become ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kinema.errors import DataError

# A pattern, and what stands in its place.
Rename = tuple[str, str | Callable[[re.Match[str]], str]]


def read_published(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file, under `state_dict` or `model_state` where it holds more. `DataError` for a file that cannot be read, or
    that holds something else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError("there is no such file", path) from None
    except Exception as error:
        raise DataError(f"not a readable file of PyTorch weights ({type(error).__name__})", path) from error
    state = content
    for key in ("state_dict", "model_state"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            state = content[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError("there is no state dict in it: names and tensors are expected", path)
    return dict(state)


def renamed(name: str, renames: Sequence[Rename]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name
