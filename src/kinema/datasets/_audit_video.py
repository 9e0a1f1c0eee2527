"""What an audit sees of videos without decoding them: how long they are, which are cut off, which files are the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from kinema import video
from kinema.clip import Clip, VideoSource
from kinema.datasets._audit_checks import Named, clip_touches, some
from kinema.datasets._audit_report import Finding, Item
from kinema.datasets._content import Content

_CHUNK = 1 << 20


def check_indices(indices: Mapping[str, video.VideoIndex], splits: Named) -> list[Finding]:
    """Videos of a single frame, and files that end before they should."""
    short = {clip: index for clip, index in indices.items() if len(index) < 2}
    cut = {clip: index for clip, index in indices.items() if not index.complete}
    found = (
        ("too-short", short, f"{some(len(short), 'clip')} with a single frame of video: no motion can be seen"),
        ("cut-off", cut, f"{some(len(cut), 'video')} cut off: the file ends before it says it does, and is used up to there"),
    )
    findings = []
    for kind, clips, message in found:
        if clips:
            items = tuple(Item((clip,), some(len(index), "frame")) for clip, index in clips.items())
            findings.append(Finding(kind, message, items, clip_touches(splits, clips), "video"))
    return findings


def same_files(clips: Sequence[Clip]) -> dict[str, Content]:
    """A content for each video that may be a copy of another: equal where files are, byte for byte, and the parts of them.

    Only files of equal size are read. Folders of images are not looked at.
    """
    of_size: dict[tuple, list[tuple[str, Path]]] = defaultdict(list)
    for clip in clips:
        source = clip.modalities.get("video")
        if isinstance(source, VideoSource) and source.path.is_file():
            key = source.path.stat().st_size, source.start, source.end
            of_size[key].append((clip.id, source.path))
    digests: dict[Path, bytes] = {}
    contents = {}
    for (_, *part), files in of_size.items():
        for clip_id, path in files if len(files) > 1 else ():
            if path not in digests:
                digests[path] = _digest(path)
            mark = blake2b(digests[path] + repr(part).encode(), digest_size=8).digest()
            contents[clip_id] = Content(np.array([int.from_bytes(mark, "little")], np.uint64))
    return contents


def _digest(path: Path) -> bytes:
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return str(path).encode()  # like no other file; that it cannot be read is said elsewhere
    return digest.digest()
