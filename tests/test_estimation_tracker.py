"""Identities: who is followed, who was hidden for a moment, who is new; and how often anybody looks."""

import numpy as np
import pytest
from made_people import SIZE, Stage, follow, standing, who_stands_at

from kinema.errors import DataError, KinemaError
from kinema.estimation.matching import assign, inside, likeness, overlap
from kinema.estimation.tracker import PoseTracker

IMAGE = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)


def walking(start, speed):
    return lambda time: start + speed * time


def crossing(time):
    """One walks to the right in front of one who walks to the left; where they overlap, the one behind is not seen."""
    front, back = 120 + 130 * time, 520 - 130 * time
    return [standing(front)] + ([standing(back, height=190)] if abs(front - back) > 60 else [])


@pytest.mark.parametrize("fps", [10, 30, 60])
def test_who_crosses_behind_another_one_is_the_same_afterwards(fps):
    seen = follow(Stage(crossing), 3.0, fps)
    first, last = seen[0][1], seen[-1][1]
    assert who_stands_at(last, 120 + 130 * seen[-1][0]) == who_stands_at(first, 120)
    assert who_stands_at(last, 520 - 130 * seen[-1][0]) == who_stands_at(first, 520)
    assert {pose.person for _, poses in seen for pose in poses} == {0, 1}
    hidden = [pose for _, poses in seen for pose in poses if not pose.observed]
    assert hidden and {pose.person for pose in hidden} == {who_stands_at(first, 520)}


@pytest.mark.parametrize("fps", [8, 30])
@pytest.mark.parametrize(("away", "same"), [(1.0, True), (3.5, False)])
def test_who_comes_back_within_seconds_is_the_same(fps, away, same):
    def people(time):
        return [] if 1.0 <= time < 1.0 + away else [standing(300)]

    seen = follow(Stage(people), away + 2.5, fps)
    assert (seen[-1][1][0].person == seen[0][1][0].person) == same
    missing = [poses for time, poses in seen if 1.0 <= time < 1.0 + away]
    assert all(not pose.observed for poses in missing for pose in poses)
    assert bool(missing[-1]) == same


def test_who_walked_out_is_not_the_one_who_comes_in():
    def people(time):
        return [standing(560 + 200 * time)] if time < 0.6 else [standing(60)] if time > 1.2 else []

    seen = follow(Stage(people), 2.0)
    assert seen[0][1][0].person != seen[-1][1][0].person
    assert [poses for time, poses in seen if time == pytest.approx(1.0)] == [[]]


def test_two_boxes_round_one_person_are_one_person():
    seen = follow(Stage(lambda time: [standing(200), standing(420)], twice=True), 1.0)
    assert all(len(poses) == 2 for _, poses in seen)
    assert {pose.person for _, poses in seen for pose in poses} == {0, 1}


def test_two_who_stand_close_to_each_other_are_two():
    seen = follow(Stage(lambda time: [standing(280), standing(345)]), 1.0)
    assert all([pose.observed for pose in poses] == [True, True] for _, poses in seen)


@pytest.mark.parametrize("count", [0, 1, 20])
def test_nobody_and_many(count):
    rows = [standing(40 + 62 * (i % 10), 120 + 240 * (i // 10), 110) for i in range(count)]
    seen = follow(Stage(lambda time: rows), 0.5, max_persons=30)
    assert all(len(poses) == count for _, poses in seen)
    assert all([pose.person for pose in poses] == list(range(count)) for _, poses in seen)


def test_no_more_than_so_many_are_followed_and_remembered():
    def people(time):  # everybody is somewhere else every second
        return [standing(40 + 62 * i, 120 + 240 * (int(time) % 2), 110) for i in range(10)]

    stage = Stage(people)
    seen = follow(stage, 4.0, max_persons=4)
    assert max(sum(pose.observed for pose in poses) for _, poses in seen) == 4
    assert max(len(poses) for _, poses in seen) <= 8


def test_a_detection_every_so_many_frames_and_when_somebody_is_lost():
    stage = Stage(lambda time: [standing(300)])
    follow(stage, 2.0, 30, every=15)
    assert stage.detections <= 5 and stage.estimates >= 60
    stage = Stage(lambda time: [standing(300)] if time < 0.6 else [standing(100)])
    seen = follow(stage, 1.0, 30, every=15)
    moved = [poses for time, poses in seen if time >= 0.6]
    assert any(pose.observed for pose in moved[0]) and stage.detections < 12


def test_a_low_rate_of_frames_is_looked_at_twice_a_second():
    stage = Stage(lambda time: [standing(300)])
    follow(stage, 4.0, 5, every=100)
    assert stage.detections >= 7


def test_who_was_found_by_mistake_is_forgotten_when_detections_do_not_see_him():
    stage = Stage(lambda time: [standing(300)])
    tracker = stage.tracker(every=5)
    for i in range(10):
        tracker.step(IMAGE, i / 30)
    stage.detect = lambda image: (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    assert tracker.step(IMAGE, 11 / 30)[0].observed
    assert not any(pose.observed for i in range(12, 60) for pose in tracker.step(IMAGE, i / 30)[-1:] if i > 40)


def test_a_pause_makes_nobody_jump():
    stage = Stage(lambda time: [standing(150)] if time < 1 else [standing(450)])
    tracker = stage.tracker()
    before = [tracker.step(IMAGE, i / 30) for i in range(20)][-1]
    after = tracker.step(IMAGE, 9.0)
    assert [pose.observed for pose in after] == [True] and after[0].person != before[0].person


def test_poses_boxes_and_times_are_told():
    stage = Stage(lambda time: [standing(300)])
    tracker = stage.tracker()
    pose = tracker.step(IMAGE, 0.0)[0]
    np.testing.assert_allclose(pose.points, standing(300))
    assert pose.points.dtype == pose.scores.dtype == pose.box.dtype == np.float32 and pose.world is None
    assert (pose.box[:2] <= pose.points.min(0)).all() and (pose.box[2:] >= pose.points.max(0)).all()
    assert set(tracker.timings) == {"detect", "pose", "track"} and min(tracker.timings.values()) >= 0
    assert tracker.layout.name == "coco17"


def test_another_video_begins_anew():
    stage = Stage(lambda time: [standing(300)])
    tracker = stage.tracker()
    tracker.step(IMAGE, 5.0)
    with pytest.raises(DataError, match="an image of second 4 comes after one of second 5"):
        tracker.step(IMAGE, 4.0)
    tracker.reset()
    assert tracker.step(IMAGE, 4.0)[0].person == 0


@pytest.mark.parametrize("image", [IMAGE[..., 0], IMAGE.astype(np.float32), IMAGE[:0], IMAGE[..., [0, 1]]])
def test_what_is_no_image_is_refused(image):
    with pytest.raises(DataError, match="height x width x 3 of uint8 is expected"):
        Stage(lambda time: []).tracker().step(image, 0.0)


@pytest.mark.parametrize("settings", [{"every": 0}, {"max_persons": 0}, {"keep": -1}, {"keep": float("nan")}])
def test_settings_that_mean_nothing_are_refused(settings):
    stage = Stage(lambda time: [])
    with pytest.raises(KinemaError, match=f"{next(iter(settings))} is"):
        PoseTracker(stage, stage, **settings)


def test_overlaps():
    one, other = np.array([[0, 0, 10, 10.0]]), np.array([[5, 0, 15, 10.0], [20, 20, 30, 30], [0, 0, 20, 20]])
    np.testing.assert_allclose(overlap(one, other), [[1 / 3, 0, 0.25]])
    np.testing.assert_allclose(inside(one, other), [[0.5, 0, 1]])


def test_likeness_falls_with_the_distance_and_needs_joints_that_are_sure():
    pose, sure, deviation = standing(0), np.ones(17), np.full(17, 0.07)
    area = 200.0 * 60
    near, far = (likeness(pose, sure, pose + shift, sure, area, deviation) for shift in (3, 60))
    assert likeness(pose, sure, pose, sure, area, deviation) == pytest.approx(1)
    assert near > 0.8 and far < 0.05
    assert likeness(pose, sure, pose, np.r_[1, 1, np.zeros(15)], area, deviation) == 0


def test_pairs_cost_the_least_in_sum_and_none_is_too_dear():
    assert assign(np.array([[1.0, 2.0], [1.1, 5.0]]), 3.0) == [(0, 1), (1, 0)]
    assert assign(np.array([[1.0, np.inf], [np.inf, 9.0]]), 3.0) == [(0, 0)]
    assert assign(np.zeros((0, 3)), 1.0) == []
