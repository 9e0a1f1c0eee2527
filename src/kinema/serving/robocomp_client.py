"""A client of the component: sends skeletons, draws them, and asks once a second what the person is doing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kinema.clip import PoseSequence
from kinema.errors import KinemaError
from kinema.recognition.prediction import Prediction
from kinema.recognition.recognizer import read_recordings
from kinema.recognition.render import render
from kinema.serving._ice import IDENTITY, communicator, endpoint, interface, reason

_CONNECT_MILLISECONDS = 3000
_CALL_MILLISECONDS = 10000
_TRAIL_SECONDS = 3.0


class RemoteRecognizer:
    """A recogniser that runs elsewhere, with the two calls of `ActivityRecognizer`; a context manager that hangs up.

    Raises `KinemaError` where nobody answers, where the server refuses, and for what it says of a skeleton.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 10240):
        ice, slice_module = interface()
        address = endpoint(host, port)
        self._where = f"{host} port {port}"
        self._communicator = communicator(**{"Ice.Override.ConnectTimeout": str(_CONNECT_MILLISECONDS), "Ice.RetryIntervals": "-1"})
        try:
            proxy = self._communicator.stringToProxy(f"{IDENTITY}:{address}").ice_invocationTimeout(_CALL_MILLISECONDS)
            self._proxy = slice_module.HumanActivityRecognitionPrx.checkedCast(proxy)
            if self._proxy is None:
                raise KinemaError(f"{self._where}: what answers there is no activity recogniser")
            self.classes, self._camera = tuple(self._proxy.getLabels()), None
        except ice.Exception as error:
            self.close()
            raise KinemaError(f"{self._where}: no activity recogniser answers: {reason(error)}") from error
        except KinemaError:
            self.close()
            raise

    def add_skeleton(self, skeleton: Mapping[str, Sequence[float] | None], time: float | None = None) -> bool:
        """Send joints by name: x, y, and if wanted z and a confidence; None for a joint that was not seen. `time`: seconds, from 0 on."""
        _, slice_module = interface()
        if time is not None and not time >= 0:
            raise KinemaError(f"time is {time}; 0 or a positive number of seconds is expected")
        joints = {name: _joint(slice_module, value) for name, value in skeleton.items()}
        return self._call("addSkeleton", slice_module.Skeleton(-1.0 if time is None else time, joints))

    def current_activity(self) -> Prediction:
        """The answer with the five most probable classes; the others' probabilities are 0 here."""
        activity = self._call("getCurrentActivity")
        if not activity.known:
            return Prediction.nothing("live", self.classes, activity.reason or "the server gave no reason")
        probabilities = np.zeros(len(self.classes))
        for score in activity.best:
            probabilities[self.classes.index(score.label)] = score.probability
        return Prediction("live", self.classes, probabilities)

    def scene(self) -> Any:
        """What the server's own camera sees: a `Scene` of activity.ice. `KinemaError` for a server without a camera."""
        _, slice_module = interface()
        if self._camera is None:
            self._camera = slice_module.HumanActivityCameraPrx.checkedCast(self._proxy)
        if self._camera is None:
            raise KinemaError(f"{self._where}: that recogniser has no camera; start it with kinema robocomp serve --camera 0")
        return self._call("getScene", proxy=self._camera)

    def reset(self) -> None:
        """A new stream begins."""
        self._call("reset")

    def close(self) -> None:
        self._communicator.destroy()

    def __enter__(self) -> RemoteRecognizer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, *arguments: Any, proxy: Any = None) -> Any:
        ice, slice_module = interface()
        try:
            return getattr(proxy or self._proxy, method)(*arguments)
        except (slice_module.RecognitionError, slice_module.TooManyClients) as error:
            raise KinemaError(f"{self._where}: {error.reason}") from error
        except (ice.Exception, ValueError) as error:
            raise KinemaError(f"{self._where}: {method} has failed: {reason(error)}") from error


def client(
    recording: PoseSequence | str | Path,
    host: str = "127.0.0.1",
    port: int = 10240,
    *,
    draw: str | Path | None = None,
    speed: float = 1.0,
    interval: float = 1.0,
    show: Callable[[str], None] = print,
) -> list[Prediction]:
    """Play a recording to a server as a camera would, and ask every `interval` seconds what its first person is doing.

    `recording`: a pose sequence, or a file of one.
    `draw`: a PNG that is made anew with every answer: the last seconds of the skeleton, and the five most probable activities.
    `speed`: how many times faster than it was recorded; `interval` then counts seconds of the recording. Returns all answers.
    """
    for name, value in (("speed", speed), ("interval", interval)):
        if not value > 0:
            raise KinemaError(f"{name} is {value}; a positive number is expected")
    if draw is not None and Path(draw).suffix.lower() != ".png":
        raise KinemaError(f"{draw}: the client draws a .png")
    pose = recording if isinstance(recording, PoseSequence) else read_recordings([recording]).clips[0].pose
    if pose.unit == "mm":
        pose = pose.to_unit("m")  # what the component takes unless it is told otherwise
    times = np.arange(pose.frames) / pose.fps if pose.times is None else pose.times - pose.times[0]
    answers = []
    with RemoteRecognizer(host, port) as remote:
        began, due = time.monotonic(), interval
        for frame, moment in enumerate(times):
            time.sleep(max(0.0, began + moment / speed - time.monotonic()))
            remote.add_skeleton(_skeleton(pose, frame), float(moment))
            if moment < due and frame < pose.frames - 1:
                continue
            due += interval
            answers.append(remote.current_activity())
            show(f"{moment:6.1f} s  {_line(answers[-1])}")
            if draw is not None:
                recent = pose.select_persons(slice(0, 1)).select_frames(
                    slice(int(np.searchsorted(times, moment - _TRAIL_SECONDS)), frame + 1)
                )
                render(recent, draw, title=_line(answers[-1]), top=answers[-1].top(5))
    return answers


def _line(answer: Prediction) -> str:
    return f"{answer.label} {answer.probability:.0%}" if answer.known else answer.reason


def _skeleton(pose: PoseSequence, frame: int) -> dict[str, tuple[float, ...] | None]:
    """Person 0 in one frame, by joint name."""
    seen = pose.observed[0, frame]
    return {joint: tuple(pose.points[0, frame, v].tolist()) if seen[v] else None for v, joint in enumerate(pose.layout.joints)}


def _joint(slice_module: Any, value: Sequence[float] | None) -> Any:
    if value is None:
        return slice_module.Joint(0.0, 0.0, 0.0, 0.0)
    numbers = [float(number) for number in value]
    if not 2 <= len(numbers) <= 4:
        raise KinemaError(f"a joint has x, y, and if wanted z and a confidence; this one has {len(numbers)} numbers")
    x, y, z = [*numbers, 0.0][:3]
    return slice_module.Joint(x, y, z, numbers[3] if len(numbers) == 4 else 1.0)
