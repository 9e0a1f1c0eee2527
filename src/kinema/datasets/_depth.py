"""Depth recordings are kept cropped, beside the poses: UTD-MHAD's 861 clips are 9 GB as they come and half a gigabyte as they are kept.

One `.depths` file holds the crops of all depth files under a root, with the rules of `_cache`: made anew when a file or the
code changes, of no consequence when damaged or impossible to write. It is made when more than `FEW` crops have been asked for;
whoever wants one clip does not wait for hundreds.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kinema._cache_folder import cache_folder
from kinema._cores import cores
from kinema.clip import DepthSequence, Lazy
from kinema.datasets._cache import kept_file
from kinema.datasets._parallel import file_size, parse_files
from kinema.datasets._ragged import RaggedFile, Record
from kinema.depth_crop import DepthCrop, LazyDepth, crop_depth

FEW = 16
_PROCESSES = 4  # at most, of a hundred megabytes each
_BYTES_PER_PROCESS = 8 << 20  # of compressed files: two seconds of decoding
Read = Callable[[str], DepthSequence]
Crop = Callable[[str], DepthCrop]


def lazy_depths(reader: str, root: str | Path, files: Mapping[str, str], read: Read, crop: Crop, cache: bool) -> dict[str, Lazy]:
    """The depth of each file, by the keys of `files`: recordings by `read`, and with `cache` crops, kept. `read` and `crop` are
    functions of a module."""
    if not cache:
        return {key: Lazy(partial(read, file)) for key, file in files.items()}
    crops = _Crops(reader, str(root), list(files.values()), crop)
    return {key: LazyDepth(partial(read, file), partial(crops.crop, i)) for i, (key, file) in enumerate(files.items())}


class _Crops:
    """The crops of many files. A copy that is sent to another process opens the kept file by itself."""

    def __init__(self, reader: str, root: str, files: Sequence[str], parse: Crop):
        self._about = reader, root, files, parse
        self._files, self._parse = files, parse
        self._kept: RaggedFile | None = None
        self._asked = 0
        self._lock = threading.Lock()

    def __reduce__(self):
        return _Crops, self._about

    def crop(self, i: int) -> DepthCrop:
        """The crop of file `i`. Raises the `DataError` that says why there is none."""
        with self._lock:
            if self._kept is None and self._asked in (0, FEW):
                self._kept = self._open(write=self._asked == FEW)
            self._asked += 1
        return self._parse(self._files[i]) if self._kept is None else self._kept.record(i)

    def _open(self, write: bool) -> RaggedFile | None:
        folder = cache_folder()
        if folder is None:
            return None
        reader, root, files, parse = self._about
        build = partial(_build, files, parse)
        return kept_file(folder, reader, root, files, build, "depth", {}, "skip", "depths", write, (crop_depth,))


def _build(files: Sequence[str], parse: Crop, put: Callable[[Record], None]) -> dict[str, Any]:
    processes = min(cores(), _PROCESSES, sum(map(file_size, files)) // _BYTES_PER_PROCESS)
    with contextlib.closing(parse_files(files, parse, processes, _BYTES_PER_PROCESS)) as records:
        for record in records:
            put(record)
    return {}
