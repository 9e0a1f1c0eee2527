"""A recording as a stream of what a pose estimator would have told; and what a bundle makes of its confidences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_bundles import moving_pose, tiny_bundle

from kinema.bundle import Bundle
from kinema.clip import PoseSequence
from kinema.models.registry import create_model
from kinema.recognition.live import LiveRecognizer
from kinema.recognition.recognizer import Recognizer
from kinema.recognition.steps import steps
from kinema.transforms.config import PoseInput


def test_times_persons_and_scores_are_those_of_the_recording():
    pose = moving_pose("coco17", frames=5, fps=10.0, dims=2, size=100, unit="px", y_axis="down")
    points = np.concatenate([pose.points, pose.points + 300])
    mask = np.ones((2, 5, 17), bool)
    mask[1, 2] = False  # the second person is gone for a frame
    mask[0, 3, 4] = False
    score = np.full((2, 5, 17), 0.5, np.float32)
    told = list(steps(PoseSequence(points, "coco17", "px", mask, score, fps=10.0, y_axis="down")))
    assert [time for time, _ in told] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [[each.person for each in people] for _, people in told] == [[0, 1], [0, 1], [0], [0, 1], [0, 1]]
    first = told[3][1][0]
    np.testing.assert_array_equal(first.points[5], points[0, 3, 5])
    assert first.world is None and first.scores[4] == 0 and first.scores[5] == 0.5


def test_recorded_times_are_kept_from_the_first_on():
    pose = replace(moving_pose(frames=3), times=np.array([7.0, 7.5, 9.0]))
    assert [time for time, _ in steps(pose)] == [0.0, 0.5, 2.0]


def test_three_dimensions_become_metres_with_y_down_and_left_stays_left():
    pose = moving_pose("cad60", frames=2)
    (_, (skeleton,)), _ = steps(PoseSequence(pose.points * 1000, pose.layout, "mm"), "cad60")
    np.testing.assert_allclose(skeleton.world, pose.points[0, 0] * [-1, -1, 1], atol=1e-5)
    np.testing.assert_array_equal(skeleton.points, skeleton.world[:, :2])
    down = PoseSequence(pose.points, pose.layout, y_axis="down")
    np.testing.assert_array_equal(next(steps(down))[1][0].world, pose.points[0, 0])


def test_an_image_counted_from_below_is_turned_over():
    pose = moving_pose("coco17", frames=2, dims=2, size=100, unit="px", y_axis="up")
    np.testing.assert_array_equal(next(steps(pose))[1][0].points, pose.points[0, 0] * [1, -1])


def test_joints_are_converted_by_name():
    (skeleton,) = next(steps(moving_pose("ntu25", frames=2), "cad60"))[1]
    assert skeleton.world.shape == (15, 3)


def test_a_bundle_that_looks_at_confidences_is_given_them():
    prepared = PoseInput("coco17", frames=16, scale=True, streams=("joint", "score"))
    own = tiny_bundle(layout="coco17", dims=2, unit="px", scale=True)
    fields = {name: getattr(own, name) for name in own.__dataclass_fields__}
    bundle = Bundle(**{**fields, "input": prepared, "channels": 3, "state": {}})
    torch.manual_seed(0)
    bundle = replace(bundle, state=create_model("hcn", 4, bundle.shape, **bundle.config).state_dict())
    pose = moving_pose("coco17", frames=30, dims=2, size=200, unit="px", y_axis="down")
    score = np.linspace(0.3, 0.9, 17, dtype=np.float32) * np.ones((1, 30, 17), np.float32)
    scored = replace(pose, score=score)
    live, recognizer = LiveRecognizer(bundle), Recognizer(replace(bundle, views=1))
    for time, people in steps(scored):
        answer = live.step(time, people)
    told = dict(answer.persons[0].top)
    smoothed = dict(recognizer.predict(scored).top())
    assert max(told, key=told.get) == max(smoothed, key=smoothed.get)
    seen = live._persons[0].stream._window().pose
    np.testing.assert_allclose(seen.score[0, 3], score[0, 0], atol=1e-6)
