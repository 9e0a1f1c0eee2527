"""A client of the component that has a camera: says once a second who is seen and what they do, and draws their skeletons."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kinema._write import write_whole
from kinema.errors import KinemaError
from kinema.estimation.poses import TrackedPose
from kinema.layout import LAYOUTS
from kinema.recognition.live import LiveAnswer, PersonAnswer
from kinema.serving.drawing import draw_step
from kinema.serving.following import Step
from kinema.serving.robocomp_client import RemoteRecognizer


def watch(
    host: str = "127.0.0.1",
    port: int = 10240,
    *,
    draw: str | Path | None = None,
    interval: float = 1.0,
    times: int | None = None,
    show: Callable[[str], None] = print,
) -> None:
    """Ask a server with a camera every `interval` seconds who is seen and what they are doing, a line each time, until Ctrl-C.

    `draw`: a PNG that is made anew every time, with the skeletons where they are in the picture. `times`: end after so many.
    """
    if not interval > 0:
        raise KinemaError(f"interval is {interval}; a positive number of seconds is expected")
    if draw is not None and Path(draw).suffix.lower() != ".png":
        raise KinemaError(f"{draw}: the client draws a .png")
    with RemoteRecognizer(host, port) as remote:
        while times is None or times > 0:
            scene = remote.scene()
            show(_scene_line(scene))
            if draw is not None and scene.people:
                _draw_scene(scene, Path(draw))
            times = None if times is None else times - 1
            if times != 0:
                time.sleep(interval)


def _scene_line(scene: Any) -> str:
    if scene.state != "running":
        return f"{'':9}the camera is {scene.state}{f': {scene.reason}' if scene.reason else ''}"
    told = [f"person {each.number}: {_activity_line(each.present)}" for each in scene.people]
    return f"{scene.time:6.1f} s  {'; '.join(told) or 'nobody is seen'}"


def _activity_line(activity: Any) -> str:
    return f"{activity.label} {activity.probability:.0%}" if activity.known else activity.reason


def _draw_scene(scene: Any, path: Path) -> None:
    """The skeletons alone: pictures do not go over the line."""
    joints = set(scene.people[0].points)
    layout = next((each for each in LAYOUTS.values() if set(each.joints) == joints), None)
    if layout is None:
        raise KinemaError(f"skeletons of {len(joints)} joints are of no layout that is known here; nothing is drawn")
    poses, answers = [], []
    for each in scene.people:
        rows = np.array([(each.points[name].x, each.points[name].y, each.points[name].confidence) for name in layout.joints], np.float32)
        seen = rows[rows[:, 2] > 0, :2]
        box = np.concatenate([seen.min(0), seen.max(0)]) if len(seen) else np.zeros(4, np.float32)
        poses.append(TrackedPose(each.number, rows[:, :2], rows[:, 2], box))
        top = tuple((score.label, score.probability) for score in each.present.best)
        label = each.present.label if each.present.known else None
        answers.append(PersonAnswer(each.number, label, each.present.probability, top, None))
    blank, out = np.zeros((scene.height, scene.width, 3), np.uint8), io.BytesIO()
    draw_step(blank, Step(poses, LiveAnswer(scene.time, tuple(answers)), {}), layout).save(out, "PNG")
    write_whole(path, out.getvalue())
