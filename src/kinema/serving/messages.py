"""What goes between the page and the server: pictures in, answers out. Whatever is not of this form is refused with a reason."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kinema.layout import Layout
from kinema.recognition.live import ActionEvent
from kinema.serving.following import Step

HEAD = struct.Struct("<d")  # seconds on the sender's clock, before the JPEG


@dataclass(frozen=True)
class Limits:
    """What one client, and all of them, may ask of the server. Sizes in bytes and pixels, times in seconds."""

    clients: int = 16
    message: int = 1 << 20
    picture: int = 1920 * 1920
    longest: int = 960  # pictures with a longer side are made smaller
    silent: float = 60.0  # without a message
    unread: float = 10.0  # until an answer is taken
    film: int = 200 << 20
    film_seconds: float = 600.0
    film_upload: float = 600.0  # until all of it has come
    film_work: float = 3600.0
    films: int = 4  # waiting or worked on
    films_kept: float = 900.0  # after they are answered


class Refused(Exception):
    """A client is dropped: `code` of the WebSocket protocol, and the `reason` that it is told."""

    def __init__(self, code: int, reason: str):
        super().__init__(reason)
        self.code, self.reason = code, reason


def read_head(data: bytes, limits: Limits) -> float:
    """The seconds of a message with a picture."""
    if len(data) > limits.message:
        raise Refused(1009, f"a message of {len(data)} bytes; {limits.message} at most are taken")
    if len(data) <= HEAD.size:
        raise Refused(1003, "a message that is no picture: 8 bytes of time and a JPEG are expected")
    seconds = HEAD.unpack_from(data)[0]
    if not (math.isfinite(seconds) and 0 <= seconds < 1e9):
        raise Refused(1003, f"the time of a picture is {seconds:g}; seconds from 0 on are expected")
    return seconds


def read_picture(data: bytes, limits: Limits) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a message's JPEG."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(memoryview(data)[HEAD.size :]), formats=["JPEG"]) as picture:
            if picture.width * picture.height > limits.picture or min(picture.size) < 16:
                raise Refused(1003, f"a picture of {picture.width} x {picture.height}; 16 a side to {limits.picture} in all are taken")
            if max(picture.size) > limits.longest:
                picture.thumbnail((limits.longest, limits.longest), Image.Resampling.BILINEAR)
            return np.asarray(picture.convert("RGB"))
    except Refused:
        raise
    except Exception as error:  # Pillow raises whatever damaged data leads it to
        raise Refused(1003, "a message that is no picture: what follows the time is no JPEG") from error


def hello(layout: Layout, classes: Iterable[str], limits: Limits) -> dict[str, Any]:
    """The first thing that a client is told."""
    return {
        "type": "hello",
        "joints": layout.joints,
        "bones": layout.bones,
        "labels": tuple(classes),
        "longest": limits.longest,
        "message": limits.message,
    }


def answer_message(step: Step, image: np.ndarray, seconds: Mapping[str, float], **more: Any) -> dict[str, Any]:
    """What one picture told. Points are x, y in pixels of the picture as it was taken (`width`, `height`) and a score, joint by joint."""
    answer = step.answer
    return {
        "type": "answer",
        "time": answer.time,
        "width": image.shape[1],
        "height": image.shape[0],
        "persons": persons_message(step),
        "opened": [asdict(event) for event in answer.opened],
        "closed": [asdict(event) for event in answer.closed],
        "ms": {name: round(1e3 * value, 1) for name, value in seconds.items()},
        **more,
    }


def persons_message(step: Step) -> list[dict[str, Any]]:
    return [
        {
            "person": pose.person,
            "observed": bool(pose.observed),
            "points": points_list(pose.points, pose.scores),
            "box": [round(float(value), 1) for value in pose.box],
            "label": answer.label,
            "confidence": round(answer.confidence, 3),
            "top": [[label, round(share, 3)] for label, share in answer.top],
            "since": answer.since,
            "flaw": answer.flaw,
        }
        for pose, answer in zip(step.poses, step.answer.persons, strict=True)
    ]


def points_list(points: np.ndarray, scores: np.ndarray) -> list[float]:
    """x, y, score of each joint in a row; one that is not finite has score 0."""
    good = np.isfinite(points).all(1) & np.isfinite(scores)
    rows = np.column_stack([points, scores])
    return np.where(good[:, None], rows, 0.0).astype(float).round(2).ravel().tolist()


def ended_message(events: Sequence[ActionEvent]) -> dict[str, Any]:
    return {"type": "ended", "closed": [asdict(event) for event in events]}
