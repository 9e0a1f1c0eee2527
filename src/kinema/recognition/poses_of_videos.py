"""Videos for a model that takes skeletons, or pictures cut to people: these are estimated first, or their skeletons taken from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.camera import Camera, read_camera
from kinema.clip import IMAGE_POSE, Clip
from kinema.errors import BundleError, KinemaError, unknown

if TYPE_CHECKING:
    from kinema.bundle import Bundle
    from kinema.fused import FusedBundle
    from kinema.recognition.recognizer import Recognizer

_Recording = tuple[Clip, str | None]


def with_poses(recordings: Sequence[_Recording], pose: str | Path | None, recognizer: Recognizer) -> Sequence[_Recording]:
    """The recordings; those that are videos with skeletons, which are estimated when they are asked for, where the bundle takes such.

    `pose`: a backend of `kinema.estimation`, whatever the recording has, or a file with the skeletons of the one video; None: a backend
    that suits the bundle, for videos without skeletons.

    Raises `BundleError` where a pose is named for a bundle that takes none, and `KinemaError` for one that is neither backend nor file.
    """
    if pose is None and not any(clip.has("video") or clip.has("depth") for clip, _ in recordings):
        return recordings  # before the bundle is asked for: of those that ship, which one answers goes by the skeletons
    bundle = recognizer.bundle
    if cuts(bundle):
        recordings = _with_image_poses(recordings, pose, _cut_by(bundle), "pose" in bundle.modalities)
    videos = [clip.has("video") and (pose is not None or not clip.has("pose")) for clip, _ in recordings]
    if pose is None and not any(videos):
        return recordings
    if "pose" not in bundle.modalities:
        if pose is not None and not cuts(bundle):
            raise BundleError(f"bundle {bundle.name!r} takes {' and '.join(bundle.modalities)}; no pose can be given to it")
        return recordings
    if not any(videos):
        return recordings
    add = _adding(pose, recognizer.in_metres, sum(videos))
    return [(add(clip) if seen else clip, label) for (clip, label), seen in zip(recordings, videos, strict=True)]


def cuts(bundle: Bundle | FusedBundle) -> bool:
    """Whether a bundle, or one of those that are fused, is shown pictures that are cut to the people in them."""
    return bool(_cutting(bundle))


def _cutting(bundle: Bundle | FusedBundle) -> list[Bundle]:
    """Those of the fused bundles, or the one, that are shown such pictures."""

    def cut(member: Bundle) -> bool:
        of_depth = member.depth is not None and member.depth.fit == "skeleton"
        return of_depth or (member.video is not None and bool(member.video.crop))

    return [member for member in getattr(bundle, "members", (bundle,)) if cut(member)]


def _cut_by(bundle: Bundle | FusedBundle) -> dict[str, Any]:
    """What the pictures were cut by in training: `data` of the recipe, as far as it is about skeletons."""
    found = [{key: member.recipe.get("data", {}).get(key) or None for key in ("pose", "camera")} for member in _cutting(bundle)]
    if any(other != found[0] for other in found):
        raise BundleError(
            f"bundle {bundle.name!r} is fused of some whose pictures were cut by other skeletons: {found}; one kind is expected"
        )
    return found[0]


def _with_image_poses(
    recordings: Sequence[_Recording], pose: str | Path | None, data: dict[str, Any], takes_pose: bool
) -> Sequence[_Recording]:
    """The recordings with skeletons in pixels of their pictures, found as they were in training: by the same estimator, or camera.

    `takes_pose`: the bundle takes a recording's own skeletons besides, so that these are none to cut by.
    """
    if pose is None and data["camera"]:
        camera = read_camera(data["camera"])
        return [(_seen(clip, camera) if clip.has("pose") and clip.pose.dims == 3 else clip, label) for clip, label in recordings]

    def lacks(clip: Clip) -> bool:
        flat = clip.has("pose") and not takes_pose and clip.pose.dims == 2 and clip.pose.unit == "px"
        return clip.has("video") and (pose is not None or not (clip.has(IMAGE_POSE) or flat))

    lacking = [lacks(clip) for clip, _ in recordings]
    if not any(lacking):
        return recordings
    add = _adding(pose or data["pose"] or "auto", False, sum(lacking), IMAGE_POSE)
    return [(add(clip) if without else clip, label) for (clip, label), without in zip(recordings, lacking, strict=True)]


def _seen(clip: Clip, camera: Camera) -> Clip:
    return replace(clip, modalities={**clip.modalities, IMAGE_POSE: camera.project(clip.pose)})


def _adding(pose: str | Path | None, metres: bool, videos: int, name: str = "pose") -> Callable[[Clip], Clip]:
    """What gives a clip the skeletons of its video, as its modality `name`."""
    # Imported where a video needs it: recognition of skeletons needs no image.
    from kinema.estimation.backends import BACKENDS
    from kinema.estimation.stage import CUT_FPS, Poses

    if pose is None or str(pose) in BACKENDS:
        fps = CUT_FPS if name == IMAGE_POSE else None
        return partial(Poses(str(pose or "auto"), world=metres, fps=fps).added, name=name)
    path = Path(pose).expanduser()
    if not path.exists():
        raise KinemaError(f"{unknown('backend of poses', str(pose), BACKENDS)}; and there is no such file")
    # The readers are imported when a file is opened: recognition itself knows no data set.
    from kinema.datasets._files import open_files

    found = open_files([path], videos=False).clips
    if videos != 1 or len(found) != 1:
        raise KinemaError(f"{pose} has the skeletons of {len(found)} recordings; there are {videos} videos, and one of each is expected")
    return lambda clip: replace(clip, modalities={**clip.modalities, name: found[0].pose})
