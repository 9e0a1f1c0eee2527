"""Human action recognition from skeletons, depth, wearable sensors and video.

    import kinema
    print(kinema.load("utd-mhad-skeleton").predict("clip.mat").top(5))

Names are loaded when they are first used, so that `import kinema` stays fast and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "ActivityRecognizer": "kinema.recognition.stream",
    "Bundle": "kinema.bundle",
    "Clip": "kinema.clip",
    "KinemaError": "kinema.errors",
    "Layout": "kinema.layout",
    "PoseSequence": "kinema.clip",
    "Prediction": "kinema.recognition.prediction",
    "LiveRecognizer": "kinema.recognition.live",
    "Recognizer": "kinema.recognition.recognizer",
    "create_model": "kinema.models.registry",
    "estimate_poses": "kinema.estimation.film",
    "load": "kinema.recognition.recognizer",
    "read_dataset": "kinema.datasets.base",
    "render": "kinema.recognition.render",
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from kinema.bundle import Bundle
    from kinema.clip import Clip, PoseSequence
    from kinema.datasets.base import read_dataset
    from kinema.errors import KinemaError
    from kinema.estimation.film import estimate_poses
    from kinema.layout import Layout
    from kinema.models.registry import create_model
    from kinema.recognition.live import LiveRecognizer
    from kinema.recognition.prediction import Prediction
    from kinema.recognition.recognizer import Recognizer, load
    from kinema.recognition.render import render
    from kinema.recognition.stream import ActivityRecognizer


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'kinema' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
