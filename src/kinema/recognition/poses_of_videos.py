"""Videos for a model that takes skeletons: the people in them are estimated first, or their skeletons taken from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.clip import Clip
from kinema.errors import BundleError, KinemaError, unknown

if TYPE_CHECKING:
    from kinema.recognition.recognizer import Recognizer

_Recording = tuple[Clip, str | None]


def with_poses(recordings: Sequence[_Recording], pose: str | Path | None, recognizer: Recognizer) -> Sequence[_Recording]:
    """The recordings; those that are videos with skeletons, which are estimated when they are asked for, where the bundle takes such.

    `pose`: a backend of `kinema.estimation`, whatever the recording has, or a file with the skeletons of the one video; None: a backend
    that suits the bundle, for videos without skeletons.

    Raises `BundleError` where a pose is named for a bundle that takes none, and `KinemaError` for one that is neither backend nor file.
    """
    videos = [clip.has("video") and (pose is not None or not clip.has("pose")) for clip, _ in recordings]
    if pose is None and not any(videos):
        return recordings
    bundle = recognizer.bundle
    if "pose" not in bundle.modalities:
        if pose is not None:
            raise BundleError(f"bundle {bundle.name!r} takes {' and '.join(bundle.modalities)}; no pose can be given to it")
        return recordings
    if not any(videos):
        return recordings
    add = _adding(pose, recognizer.in_metres, sum(videos))
    return [(add(clip) if seen else clip, label) for (clip, label), seen in zip(recordings, videos, strict=True)]


def _adding(pose: str | Path | None, metres: bool, videos: int) -> Callable[[Clip], Clip]:
    """What gives a clip the skeletons of its video."""
    # Imported where a video needs it: recognition of skeletons needs no image.
    from kinema.estimation.backends import BACKENDS
    from kinema.estimation.stage import Poses

    if pose is None or str(pose) in BACKENDS:
        return Poses(str(pose or "auto"), world=metres).added
    path = Path(pose).expanduser()
    if not path.exists():
        raise KinemaError(f"{unknown('backend of poses', str(pose), BACKENDS)}; and there is no such file")
    # The readers are imported when a file is opened: recognition itself knows no data set.
    from kinema.datasets._files import open_files

    found = open_files([path], videos=False).clips
    if videos != 1 or len(found) != 1:
        raise KinemaError(f"{pose} has the skeletons of {len(found)} recordings; there are {videos} videos, and one of each is expected")
    return lambda clip: replace(clip, modalities={**clip.modalities, "pose": found[0].pose})
