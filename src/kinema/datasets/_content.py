"""What a clip contains, as hashes of its frames: the ground on which copies are found, whatever the files are called.

Equal means bit for bit (after reading, as float32): a copy that was re-scaled, re-encoded or smoothed is not found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import combinations

import numpy as np

from kinema import video
from kinema.clip import DepthSequence, InertialSequence, Modality, PoseSequence, VideoSource

# A frame found in more different clips than this is a value that the sensor or the estimator puts in, not a recording
# that somebody cut; listing all pairs of such clips would tell nothing and grow with the square of their number.
COMMON = 20


@dataclass(frozen=True, eq=False)
class Content:
    """Hashes of the frames of one modality of one clip: `hashes` (T,) uint64, 0 where a frame shows nothing.

    A pose frame shows nothing where no joint is observed or all of them lie in one place (padding by zeros); a depth frame
    where it is all 0, a frame of a video where it has one colour. Persons are taken in any order, those who are not there do not count.
    """

    hashes: np.ndarray

    @property
    def frames(self) -> int:
        return len(self.hashes)

    @cached_property
    def shown(self) -> np.ndarray:
        """The hashes of the frames that show something, in order."""
        return self.hashes[self.hashes != 0]

    @cached_property
    def distinct(self) -> frozenset[int]:
        return frozenset(self.shown.tolist())


@dataclass(frozen=True)
class Overlap:
    """Two clips with `shared` different frames in common. `contained`: which of them (0 or 1) has no frame that the other has not."""

    clips: tuple[str, str]
    shared: int
    contained: int | None = None


def content_of(modality: Modality) -> Content:
    """What a modality shows. Videos are decoded, which is slow; a few frames are in memory at a time."""
    rows = _ROWS[type(modality)](modality)
    hashes = [int.from_bytes(blake2b(row, digest_size=8).digest(), "little") if row else 0 for row in rows]
    return Content(np.array(hashes, np.uint64))


def joints_at_origin(pose: PoseSequence) -> dict[str, int]:
    """Joint -> number of frames in which it is observed at exactly 0, in frames where other joints are elsewhere."""
    at = (pose.points == 0).all(-1) & pose.observed
    at &= (~at & pose.observed).any(-1, keepdims=True)
    counts = at.any(0).sum(0)
    return {pose.layout.joints[i]: int(counts[i]) for i in np.flatnonzero(counts)}


def copies(contents: Mapping[str, Content]) -> list[tuple[str, ...]]:
    """Groups of clips whose frames are the same in the same order; clips that show nothing are in none."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    for clip_id, content in contents.items():
        if len(content.shown):
            groups[content.shown.tobytes()].append(clip_id)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def overlaps(contents: Mapping[str, Content]) -> tuple[list[Overlap], list[tuple[str, ...]]]:
    """Pairs of clips with frames in common, most first, and groups of more than `COMMON` clips that have a frame in common.

    Give one clip of each group of copies: otherwise every pair of copies is an overlap too.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    crowds: set[tuple[str, ...]] = set()
    for owners in _owners(contents):
        if len(owners) > COMMON:
            crowds.add(owners)
        else:
            pairs.update(combinations(owners, 2))
    found = []
    for (a, b), shared in pairs.most_common():
        sizes = [len(contents[a].distinct), len(contents[b].distinct)]
        found.append(Overlap((a, b), shared, sizes.index(shared) if shared in sizes else None))
    return found, sorted(crowds)


def _owners(contents: Mapping[str, Content]) -> Sequence[tuple[str, ...]]:
    """For each frame that is in more than one clip: those clips, in the order given."""
    if not contents:
        return []
    ids = list(contents)
    parts = [np.unique(contents[clip_id].shown) for clip_id in ids]
    hashes, clips = np.concatenate(parts), np.repeat(np.arange(len(ids)), [len(part) for part in parts])
    order = np.argsort(hashes, kind="stable")
    hashes, clips = hashes[order], clips[order]
    starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]]) if len(hashes) else np.zeros(0, int)
    ends = np.r_[starts[1:], len(hashes)]
    several = ends - starts > 1
    return [tuple(ids[i] for i in clips[a:b]) for a, b in zip(starts[several], ends[several], strict=True)]


def _pose_rows(pose: PoseSequence) -> list[bytes]:
    points, observed = pose.points + np.float32(0), pose.observed  # adding 0 makes -0 and 0 the same
    low = np.where(observed[..., None], points, np.inf).min(2)
    high = np.where(observed[..., None], points, -np.inf).max(2)
    shows = (high > low).any(-1)
    persons = range(pose.persons)
    return [b"".join(sorted(points[m, t].tobytes() + observed[m, t].tobytes() for m in persons if shows[m, t])) for t in range(pose.frames)]


def _depth_rows(depth: DepthSequence) -> list[bytes]:
    return [frame.tobytes() if frame.any() else b"" for frame in depth.frames]


def _signal_rows(inertial: InertialSequence) -> list[bytes]:
    return [row.tobytes() for row in inertial.signals + np.float32(0)]


def _video_rows(source: VideoSource) -> Iterator[bytes]:
    for _, picture in video.stream(source):
        yield b"" if (picture == picture[0, 0]).all() else picture.tobytes()


_ROWS = {PoseSequence: _pose_rows, DepthSequence: _depth_rows, InertialSequence: _signal_rows, VideoSource: _video_rows}
