"""Reading one modality of many clips, in parallel where it is still in files, and going on past those that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from kinema.clip import Clip, Lazy, Modality, VideoSource
from kinema.errors import DataError

T = TypeVar("T")


def each(
    clips: Sequence[Clip], modality: str, look: Callable[[Modality], T], progress: bool = False
) -> Iterator[tuple[Clip, T | DataError]]:
    """What `look` sees in each clip that has the modality, or the error that reading it raised. `progress` shows a bar on stderr."""
    clips = [clip for clip in clips if clip.has(modality)]
    lazy = any(isinstance(clip.modalities[modality], Lazy | VideoSource) for clip in clips)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1)) if lazy else None  # unpacking and hashing let other threads run
    try:
        results: Iterable[T | DataError] = (pool.map if pool else map)(partial(_look, modality, look), clips)
        if progress and clips:
            from rich.console import Console
            from rich.progress import track

            results = track(results, f"reading {modality}", len(clips), console=Console(stderr=True), transient=True)
        yield from zip(clips, results, strict=True)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


def _look(modality: str, look: Callable[[Modality], T], clip: Clip) -> T | DataError:
    try:
        return look(clip.modality(modality))
    except DataError as error:
        return error
