"""The component with a camera of its own: pictures to poses to activities, and who is seen where, over ZeroC Ice (see `activity.ice`)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from kinema.capture.newest import Capture, State
from kinema.layout import Layout
from kinema.serving._ice import IDENTITY, interface
from kinema.serving.following import Models
from kinema.serving.live import Engine, Listener, Moment
from kinema.serving.robocomp import IceServer, activity_of

_OWN = "this component looks with a camera of its own; it takes no skeletons"
_SEEN = 0.3  # joints with lower scores are told as not seen


class CameraStage(Listener):
    """Follows a capture in a thread; the newest moment is at hand for any thread. A context manager."""

    def __init__(self, capture: Capture, models: Models):
        self.models, self.capture = models, capture
        self.moment_seen: Moment | None = None
        self.situation: tuple[State, str] = ("opening", "")
        self._forget = threading.Event()
        self.engine = Engine(capture, models.follower(capture.source.name), [self])
        self._thread = threading.Thread(target=self._run, name="camera stage", daemon=True)

    def __enter__(self) -> CameraStage:
        self.capture.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.stop()
        self.capture.close()
        self._thread.join(5)

    def reset(self) -> None:
        """Forget what was seen, with the next picture."""
        self._forget.set()

    def moment(self, moment: Moment) -> None:
        if self._forget.is_set():
            self._forget.clear()
            self.engine.follower.finish()
        self.moment_seen = moment

    def state(self, state: State, reason: str) -> None:
        self.situation = (state, reason)
        if state in ("stalled", "lost", "ended"):
            self.moment_seen = None

    def nearest(self) -> tuple[Any, Any] | None:
        """Pose and answer of the person who is largest in the newest picture."""
        moment = self.moment_seen
        if moment is None or not moment.step.poses:
            return None
        pairs = zip(moment.step.poses, moment.step.answer.persons, strict=True)
        return max(pairs, key=lambda pair: float(np.prod(pair[0].box[2:] - pair[0].box[:2])))

    def _run(self) -> None:
        try:
            self.engine.run()
        except Exception as error:
            logging.getLogger(__name__).error("the camera is not followed any more: %s", error)
            self.state("ended", str(error))


class CameraServer(IceServer):
    """A running component with a camera; a context manager that stops it. The capture is started with it.

    Raises `KinemaError` where Ice is missing, the port cannot be had, or there is no such camera.
    """

    def __init__(self, capture: Capture, models: Models, host: str = "127.0.0.1", port: int = 10240):
        interface()
        self.stage = CameraStage(capture, models)
        self.stage.__enter__()
        try:
            super().__init__(_servant(self.stage), host, port)
        except BaseException:
            self.stage.__exit__()
            raise

    def close(self) -> None:
        super().close()
        self.stage.__exit__()


def serve_camera(capture: Capture, models: Models, host: str = "127.0.0.1", port: int = 10240, show: Callable[[str], None] = print) -> None:
    """Run the component until Ctrl-C."""
    with CameraServer(capture, models, host, port) as server:
        show(f"activity recogniser with {capture.source.name} at {IDENTITY}:tcp -h {server.host} -p {server.port}")
        try:
            server.wait()
        except KeyboardInterrupt:
            show("stopped")


def _servant(stage: CameraStage) -> Any:
    _, slice_module = interface()
    layout, classes = stage.models.layout, stage.models.classes

    class Servant(slice_module.HumanActivityCamera):
        def addSkeleton(self, person, current=None):
            raise slice_module.RecognitionError(_OWN)

        def getCurrentActivity(self, current=None):
            nearest = stage.nearest()
            if nearest is None:
                state, why = stage.situation
                return activity_of(None, 0.0, (), "nobody is seen" if state == "running" else f"the camera is {state}: {why}".rstrip(": "))
            return _present(nearest[1])

        def reset(self, current=None):
            stage.reset()

        def getLabels(self, current=None):
            return list(classes)

        def getScene(self, current=None):
            try:
                return _scene(stage, layout)
            except Exception as error:  # else Ice would send the traceback to whoever has called
                logging.getLogger(__name__).exception("a call has failed")
                raise slice_module.RecognitionError("the server has failed; its log says how") from error

    return Servant()


def _present(answer: Any) -> Any:
    return activity_of(answer.label, answer.confidence, answer.top, answer.flaw)


def _scene(stage: CameraStage, layout: Layout) -> Any:
    _, slice_module = interface()
    (state, why), moment = stage.situation, stage.moment_seen
    if moment is None:
        return slice_module.Scene(0.0, 0, 0, state, why, [])
    people = []
    for pose, answer in zip(moment.step.poses, moment.step.answer.persons, strict=True):
        sure = np.where(np.isfinite(pose.points).all(1) & (pose.scores >= _SEEN) & pose.observed, pose.scores, 0.0).tolist()
        spots = np.nan_to_num(pose.points).tolist()
        points = {name: slice_module.Point(*spot, score) for name, spot, score in zip(layout.joints, spots, sure, strict=True)}
        places = [] if pose.world is None else np.nan_to_num(pose.world).tolist()
        joints = {name: slice_module.Joint(*place, score) for name, place, score in zip(layout.joints, places, sure, strict=False)}
        people.append(slice_module.Person(pose.person, points, joints, _present(answer)))
    height, width = moment.frame.image.shape[:2]
    return slice_module.Scene(moment.frame.time, width, height, state, why, people)


def camera_component(camera: str | None, stream: str | None, bundle: str, backend: str, models: str | None, host: str, port: int) -> None:
    """`kinema robocomp serve` with a camera: load, open and serve."""
    from kinema.serving._ice import endpoint
    from kinema.serving.run_live import chosen_source

    source = chosen_source(stream, camera)
    interface()
    endpoint(host, port)
    loaded = Models.load(bundle, backend, models=models)
    serve_camera(Capture(source), loaded, host, port)
