"""Checkpoints: written whole or not at all, read without running anybody's code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from kinema._write import write_whole
from kinema.errors import KinemaError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; `KinemaError` where it cannot be written. A kill at any moment leaves the former file or this one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(path, buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU; `KinemaError` for a damaged file."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damage made it stumble over
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise KinemaError(f"{path}: is no checkpoint, or a damaged one: {reason}") from error
