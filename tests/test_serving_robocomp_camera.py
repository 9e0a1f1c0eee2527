"""The component with a camera: who is seen where, what they do, and what is said when the camera goes away."""

import time
from dataclasses import replace

import numpy as np
import pytest
from make_live import CAMERA, SwayingTracker, TimedRecognizer, opener, swaying_models
from make_videos import picture

from kinema.capture.newest import Capture
from kinema.errors import KinemaError
from kinema.serving._ice import interface
from kinema.serving.following import Models
from kinema.serving.robocomp_camera import CameraServer
from kinema.serving.robocomp_client import RemoteRecognizer
from kinema.serving.robocomp_watch import watch

try:
    interface()
except KinemaError as error:
    pytest.skip(str(error), allow_module_level=True)


class SolidTracker(SwayingTracker):
    """Poses in metres too."""

    def step(self, image, time):
        return [replace(pose, world=np.full((17, 3), 0.25, np.float32)) for pose in super().step(image, time)]


def life(start=0.0, frames=100_000):
    for i in range(frames):
        yield start + i * 0.1, picture(i % 20, 48, 64)
        time.sleep(0.01)


def served(*lives, models=None):
    capture = Capture(CAMERA, opener=opener(*lives), back_off=(0.6, 0.6))
    return CameraServer(capture, models or swaying_models(persons=2), port=0)


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def test_everybody_is_told_with_points_for_drawing_joints_in_metres_and_what_they_do():
    models = Models(lambda: SolidTracker(2), lambda source, layout: TimedRecognizer(source))
    with served(life, models=models) as server, RemoteRecognizer(port=server.port) as remote:
        scene = until(lambda: (found := remote.scene()).people and found.people[0].present.known and found)
        assert (scene.width, scene.height, scene.state) == (64, 48, "running") and [each.number for each in scene.people] == [0, 1]
        person = scene.people[1]
        assert len(person.points) == 17 and 32 <= person.points["nose"].x < 64 and person.points["nose"].confidence == pytest.approx(0.9)
        assert len(person.joints) == 17 and person.joints["left_hip"].y == pytest.approx(0.25)
        assert len(person.present.best) == 5
        activity = remote.current_activity()
        assert activity.known and activity.label in TimedRecognizer.classes
        with pytest.raises(KinemaError, match="takes no skeletons"):
            remote.add_skeleton({"head": (0.0, 0.0, 0.0)})
        remote.reset()


def test_a_camera_that_goes_away_is_told_and_followed_again():
    gone = KinemaError("camera 0: no such device")
    with served(lambda: life(0.0, 20), gone, lambda: life(500.0)) as server, RemoteRecognizer(port=server.port) as remote:
        lost = until(lambda: (found := remote.scene()).state == "lost" and found)
        assert not lost.people and lost.reason
        assert "the camera is lost" in remote.current_activity().reason
        assert until(lambda: remote.scene().people)


def test_it_is_watched_line_by_line_and_drawn(tmp_path):
    shown = []
    with served(life) as server:
        watch(port=server.port, draw=tmp_path / "now.png", interval=0.3, times=3, show=shown.append)
    assert len(shown) == 3 and "person 1" in shown[-1]
    assert (tmp_path / "now.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_is_told(tmp_path):
    with pytest.raises(KinemaError, match="no such device"):
        served(KinemaError("camera 0: no such device"))
    with pytest.raises(KinemaError, match=r"draws a \.png"):
        watch(draw=tmp_path / "now.jpg")
    with pytest.raises(KinemaError, match="no activity recogniser answers"):
        watch(port=1)
