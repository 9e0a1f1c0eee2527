"""NTU RGB+D 120: all 120 actions of `kinema.datasets.ntu`, whose files it shares (Liu et al., TPAMI 2020)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kinema.datasets import ntu
from kinema.datasets.base import Dataset, OnError

INFO = replace(
    ntu.INFO,
    name="ntu120",
    title="NTU RGB+D 120: 120 actions, 106 subjects, up to 2 persons, Kinect v2",
    folder="ntu",
)


def read(
    root: str | Path, *, on_error: OnError = "raise", cache: bool = True, clean: bool = True, missing: str | Path | None = None
) -> Dataset:
    """As `kinema.datasets.ntu.read`, version 120: protocols "cross-subject" and "cross-setup"."""
    return replace(ntu.read(root, on_error=on_error, cache=cache, version=120, clean=clean, missing=missing), name=INFO.name)
