"""The published models by name: where their files are found, how they are fetched, and trackers made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from kinema._cache_folder import cache_folder
from kinema._published import check, check_file, download, member_of
from kinema._write import write_whole
from kinema.errors import DataError, KinemaError, unknown
from kinema.estimation.poses import PoseEstimator
from kinema.estimation.tracker import PoseTracker

Backend = Literal["auto", "rtmpose", "movenet", "blazepose"]
BACKENDS: tuple[str, ...] = get_args(Backend)
_LARGEST = 128 << 20  # bytes of a file, and of what it is fetched in; the largest has 58 million


@dataclass(frozen=True)
class ModelFile:
    """A published file. `name`: under which it is looked for. `addresses`: (URL, ending of its name in the archive there, if it is one).
    `sha256`: of the file itself."""

    name: str
    sha256: str
    addresses: tuple[tuple[str, str], ...]


_MMPOSE = "https://download.openmmlab.com/mmpose/v1/projects/rtmpose/rtmpose-cpu.zip"
_MOVENET = "google/movenet/tfLite/singlepose-lightning-tflite-int8/1/download"
_MEDIAPIPE = "https://storage.googleapis.com/mediapipe-assets/pose_landmark_lite.tflite?generation=1661875901231143"
DETECTOR = ModelFile(
    "rtmdet_nano_person.onnx",
    "b8585adb6d1352796f6e86337e09c3459b830645a7e7192d9381670bea2facbd",
    ((_MMPOSE, "rtmdet-nano/end2end.onnx"),),
)
ESTIMATORS = {
    "rtmpose": ModelFile(
        "rtmpose_m.onnx",
        "8ed9cd4724582d00e7978c297472365946277185ecc448d4ad47f4f376ae3208",
        ((_MMPOSE, "rtmpose-m/end2end.onnx"),),
    ),
    "movenet": ModelFile(
        "movenet_lightning_int8.tflite",
        "cd7cc22fa946e5d146a7b98d496853e1923e22828d3972d579973f27f91bb105",
        ((f"https://www.kaggle.com/api/v1/models/{_MOVENET}", "4.tflite"),),
    ),
    "blazepose": ModelFile(
        "blazepose_lite.tflite",
        "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
        ((_MEDIAPIPE, ""),),
    ),
}


def make_tracker(
    backend: Backend = "auto",
    *,
    models: str | Path | None = None,
    detector: str | Path | None = None,
    estimator: str | Path | None = None,
    world: bool = False,
    every: int = 10,
    max_persons: int = 10,
    size: int = 320,
    keep: float = 2.0,
    threads: int | None = None,
    device: str = "auto",
) -> PoseTracker:
    """A tracker of published models.

    Args:
        backend: of the poses: rtmpose, movenet (17 COCO key points) or blazepose (33 landmarks, in metres too); auto takes rtmpose
            where its file is at hand, else movenet, and blazepose for `world`.
        models: folder of the files. Default: $KINEMA_MODELS, then models/ in the cache folder, into which they are fetched.
        detector: file of an RTMDet, in place of the published nano.
        estimator: file of the backend's kind, in place of the published one: another RTMPose of 17 joints, MoveNet Thunder,
            BlazePose full or heavy.
        world: points in metres are needed.
        every, max_persons, keep: as of `PoseTracker`.
        size: pixels of the square that the detector sees the image in; a multiple of 32.
        threads: of the processor; None: all.
        device: "auto", "cpu" or "cuda", for ONNX models.

    Raises `KinemaError` for a file that is neither at hand nor can be fetched, and where a runtime is not installed.
    """
    name = choose(backend, models, world)
    if estimator is not None and backend == "auto":
        raise KinemaError(f"{estimator} is of which backend? Name one of {', '.join(ESTIMATORS)}")
    from kinema.estimation.rtmdet import RTMDet

    file = _named(estimator) or find(ESTIMATORS[name], models)
    made: PoseEstimator
    if name == "rtmpose":
        from kinema.estimation.rtmpose import RTMPose

        made = RTMPose(file, threads=threads, device=device)
    elif name == "movenet":
        from kinema.estimation.movenet import MoveNet

        made = MoveNet(file, threads=threads)
    else:
        from kinema.estimation.blazepose import BlazePose

        made = BlazePose(file, threads=threads)
    persons = RTMDet(_named(detector) or find(DETECTOR, models), size=size, threads=threads, device=device)
    return PoseTracker(made, persons, every=every, max_persons=max_persons, keep=keep)


def choose(backend: str, models: str | Path | None = None, world: bool = False) -> str:
    """The backend that "auto" stands for; `KinemaError` for one that is not known, or gives no points in metres where they are needed."""
    if backend not in BACKENDS:
        raise KinemaError(unknown("backend of poses", str(backend), BACKENDS))
    if world and backend not in ("auto", "blazepose"):
        raise KinemaError(f"{backend} gives no points in metres; blazepose does")
    if backend != "auto":
        return backend
    if world:
        return "blazepose"
    at_hand = [name for name in ("rtmpose", "movenet") if any(place.is_file() for place in _places(ESTIMATORS[name], models))]
    # The detector and RTMPose are published in one archive.
    return at_hand[0] if at_hand else "rtmpose"


def find(file: ModelFile, models: str | Path | None = None) -> Path:
    """The file of a published model, fetched into the cache folder where it is not at hand.

    Where it lies in the cache folder it is checked by its checksum; elsewhere it is whatever its owner put there under the name.
    """
    places = _places(file, models)
    kept = places[-1] if models is None and cache_folder() is not None else None
    for place in places:
        if place.is_file():
            return check_file(place, file.sha256, file.name) if place == kept else place
    if models is not None:
        raise KinemaError(f"{places[0]}: there is no such file")
    reasons: Sequence[str] = ()
    for url, ending in file.addresses:
        try:
            data = download(url, _LARGEST)
        except OSError as error:
            reasons = [*reasons, f"{url} cannot be fetched ({error})"]
            continue
        if kept is None:
            raise KinemaError(f"there is no cache folder to keep {file.name} in; set KINEMA_CACHE to one")
        content = member_of(data, ending, _LARGEST, url) if ending else data
        check(content, file.sha256, file.name, url)
        _keep_others(data, url, file)
        return write_whole(kept, content)
    places_told = f"put the file at {kept or '$KINEMA_MODELS/' + file.name}, or into a folder that KINEMA_MODELS names"
    raise KinemaError(f"{file.name}: {'; '.join(reasons)}; {places_told}")


def _keep_others(archive: bytes, url: str, but: ModelFile) -> None:
    """What else is in the same archive is kept too: it has been fetched."""
    for other in (DETECTOR, *ESTIMATORS.values()):
        for address, ending in other.addresses:
            place = _places(other, None)[-1]
            if other is not but and address == url and not place.exists():
                content = member_of(archive, ending, _LARGEST, url)
                check(content, other.sha256, other.name, url)
                write_whole(place, content)


def _places(file: ModelFile, models: str | Path | None) -> list[Path]:
    """Where a file may lie, best first."""
    if models is not None:
        return [Path(models).expanduser() / file.name]
    folders = [os.environ.get("KINEMA_MODELS"), cache_folder() and cache_folder() / "models"]
    return [Path(folder).expanduser() / file.name for folder in folders if folder]


def _named(path: str | Path | None) -> Path | None:
    if path is None:
        return None
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError("there is no such file", path)
    return path
