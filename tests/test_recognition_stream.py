"""The live recogniser answers when it knows enough, and says so when it does not."""

import numpy as np
import pytest
from tiny_bundles import moving_pose, tiny_bundle

from kinema.errors import BundleError, KinemaError
from kinema.recognition import stream
from kinema.recognition.recognizer import Recognizer
from kinema.recognition.stream import ActivityRecognizer


@pytest.fixture(scope="module")
def recognizer():
    """A window of one second, 30 frames of which 16 are looked at."""
    return Recognizer(tiny_bundle())


def skeletons(pose, start=0.0, missing=()):
    """(skeleton by name, time) for each frame; `missing` joints are None."""
    for frame in range(pose.frames):
        named = {joint: pose.points[0, frame, v] for v, joint in enumerate(pose.layout.joints)}
        yield {**named, **dict.fromkeys(missing)}, start + frame / pose.fps


def feed(live, pose, start=0.0, missing=()):
    return [live.add_skeleton(skeleton, time) for skeleton, time in skeletons(pose, start, missing)]


def test_it_is_ready_once_a_window_is_full_and_answers_like_the_recognizer(recognizer):
    pose = moving_pose(frames=30)
    live = ActivityRecognizer(recognizer)
    ready = feed(live, pose)
    assert not any(ready[:26]) and all(ready[27:])
    np.testing.assert_allclose(live.current_activity().probabilities, recognizer.predict(pose).probabilities, atol=1e-5)
    assert live.current_activity() is live.current_activity()


def test_before_it_is_ready_it_says_what_is_lacking(recognizer):
    live = ActivityRecognizer(recognizer)
    assert "no skeleton" in live.current_activity().reason
    feed(live, moving_pose(frames=10))
    answer = live.current_activity()
    assert not answer.known and answer.label is None and answer.top() == [] and "0.3 of 1.0 s" in answer.reason


def test_the_window_slides(recognizer):
    pose = moving_pose(frames=200)
    live = ActivityRecognizer(recognizer)
    feed(live, pose)
    last = pose.select_frames(slice(170, 200))
    np.testing.assert_allclose(live.current_activity().probabilities, recognizer.predict(last).probabilities, atol=1e-4)


@pytest.mark.parametrize("fps", [10, 15, 25, 60, 120])
def test_any_frame_rate_gives_about_the_same_answer(recognizer, fps):
    live = ActivityRecognizer(recognizer)
    feed(live, moving_pose(frames=int(1.5 * fps), fps=float(fps)))
    other = ActivityRecognizer(recognizer)
    feed(other, moving_pose(frames=int(1.5 * fps) * 2, fps=2.0 * fps).select_frames(slice(0, int(1.5 * fps) * 2 - 1)))
    np.testing.assert_allclose(live.current_activity().probabilities, other.current_activity().probabilities, atol=0.05)


@pytest.mark.parametrize("layout", ["cad60", "ntu25", "kinect20", "utd-mhad"])
def test_layouts_units_arrays_and_names_agree(recognizer, layout):
    pose = moving_pose(layout, frames=30)
    named, array = ActivityRecognizer(recognizer), ActivityRecognizer(recognizer, layout=layout)
    scored = ActivityRecognizer(recognizer, layout=layout, unit="mm")
    for frame, (skeleton, time) in enumerate(skeletons(pose)):
        named.add_skeleton(skeleton, time)
        array.add_skeleton(pose.points[0, frame], time)
        scored.add_skeleton(np.column_stack([pose.points[0, frame] * 1000, np.ones(len(pose.layout))]).tolist(), time)
    expected = recognizer.predict(pose).probabilities
    for live in (named, array, scored):
        np.testing.assert_allclose(live.current_activity().probabilities, expected, atol=1e-5)


def test_two_dimensional_streams_have_pixels_and_confidences():
    recognizer = Recognizer(tiny_bundle(layout="coco17", dims=2, unit="px"))
    pose = moving_pose("coco17", frames=30, dims=2, size=200, unit="px", y_axis="down")
    live = ActivityRecognizer(recognizer, unit="px", y_axis="down")
    for skeleton, time in skeletons(pose):
        live.add_skeleton({joint: (*point, 0.9) for joint, point in skeleton.items()}, time)
    np.testing.assert_allclose(live.current_activity().probabilities, recognizer.predict(pose).probabilities, atol=1e-5)


@pytest.mark.parametrize("missing", [None, (np.nan, 0, 1), (1, 2, 3, 0), (0, 0, 0), (np.inf, 1, 1)])
def test_missing_joints_are_masked_never_taken_for_positions(recognizer, missing):
    pose = moving_pose(frames=30)
    seen, live = ActivityRecognizer(recognizer), ActivityRecognizer(recognizer)
    feed(seen, pose, missing=["left_hand"])
    for skeleton, time in skeletons(pose):
        live.add_skeleton({**skeleton, "left_hand": missing}, time)
    np.testing.assert_array_equal(live.current_activity().probabilities, seen.current_activity().probabilities)


def test_a_root_at_the_origin_is_a_position_where_the_others_lie_around_it(recognizer):
    pose = moving_pose(frames=30)
    points = pose.points[0] - pose.points[0][:, pose.layout.root, None]
    live, far = ActivityRecognizer(recognizer, layout="cad60"), ActivityRecognizer(recognizer, layout="cad60")
    for frame in range(30):
        live.add_skeleton(points[frame], frame / 30)
        far.add_skeleton(pose.points[0, frame], frame / 30)
    np.testing.assert_allclose(live.current_activity().probabilities, far.current_activity().probabilities, atol=1e-5)


def test_a_joint_that_flickers_is_filled_from_its_neighbours_in_time(recognizer):
    pose = moving_pose(frames=60, fps=60.0)
    live = ActivityRecognizer(recognizer)
    for frame, (skeleton, time) in enumerate(skeletons(pose)):
        live.add_skeleton({**skeleton, "head": None} if frame % 3 else skeleton, time)
    whole = ActivityRecognizer(recognizer)
    feed(whole, pose)
    np.testing.assert_allclose(live.current_activity().probabilities, whole.current_activity().probabilities, atol=0.02)


def test_late_and_doubled_skeletons_are_put_where_they_belong(recognizer):
    pose = moving_pose(frames=40)
    ordered, mixed = ActivityRecognizer(recognizer), ActivityRecognizer(recognizer)
    feed(ordered, pose)
    frames = list(skeletons(pose))
    for i in range(0, 40, 4):
        for index in (i, i + 2, i + 1, i + 3, i + 3):
            mixed.add_skeleton(*frames[index])
    assert len(mixed) == len(ordered)
    np.testing.assert_array_equal(mixed.current_activity().probabilities, ordered.current_activity().probabilities)


def test_time_that_runs_backwards_is_an_error_that_changes_nothing(recognizer):
    pose = moving_pose(frames=60)
    live = ActivityRecognizer(recognizer)
    feed(live, pose, start=100.0)
    before, held = live.current_activity().probabilities, len(live)
    with pytest.raises(KinemaError, match=r"time runs backwards, from 101\.967 s to 3 s"):
        live.add_skeleton(next(iter(skeletons(pose)))[0], 3.0)
    assert len(live) == held
    np.testing.assert_array_equal(live.current_activity().probabilities, before)
    live.reset()
    assert feed(live, pose)[-1]


@pytest.mark.parametrize("time", [np.nan, np.inf, "soon", [1]])
def test_a_time_that_is_none_is_an_error(recognizer, time):
    with pytest.raises(KinemaError, match="time is"):
        ActivityRecognizer(recognizer).add_skeleton(next(iter(skeletons(moving_pose())))[0], time)


def test_times_are_given_for_all_skeletons_or_none(recognizer):
    live = ActivityRecognizer(recognizer)
    skeleton = next(iter(skeletons(moving_pose())))[0]
    live.add_skeleton(skeleton, 0.0)
    with pytest.raises(KinemaError, match="with and without a time"):
        live.add_skeleton(skeleton)


def test_without_times_the_clock_counts(recognizer, monkeypatch):
    now = [50.0]
    monkeypatch.setattr(stream.clock, "monotonic", lambda: now[0])
    live = ActivityRecognizer(recognizer)
    for skeleton, time in skeletons(moving_pose(frames=40)):
        now[0] = 50 + time
        live.add_skeleton(skeleton)
    assert live.current_activity().known
    now[0] += 5
    assert "nobody has been seen for 5.0 s" in live.current_activity().reason


def test_a_person_who_leaves_and_returns_begins_anew(recognizer):
    pose = moving_pose(frames=40)
    live = ActivityRecognizer(recognizer)
    assert feed(live, pose)[-1]
    nobody = dict.fromkeys(pose.layout.joints)
    for frame in range(90):
        live.add_skeleton(nobody, 1.4 + frame / 30)
    answer = live.current_activity()
    assert not answer.known and "nobody has been seen" in answer.reason
    again = moving_pose(frames=40, seed=5)
    ready = feed(live, again, start=10.0)
    assert not any(ready[:26]) and ready[-1]
    np.testing.assert_allclose(
        live.current_activity().probabilities, recognizer.predict(again.select_frames(slice(10, 40))).probabilities, atol=1e-4
    )


def test_a_short_absence_is_bridged(recognizer):
    live = ActivityRecognizer(recognizer)
    for frame, (skeleton, time) in enumerate(skeletons(moving_pose(frames=60))):
        if not 40 <= frame < 50:
            live.add_skeleton(skeleton, time)
    assert live.ready and live.current_activity().known


@pytest.mark.parametrize(
    ("garbage", "says"),
    [
        (lambda points, rng: np.full_like(points, np.nan), "nobody is seen"),
        (lambda points, rng: np.zeros_like(points), "nobody is seen"),
        (lambda points, rng: np.where(np.arange(15)[:, None] < 10, np.nan, points), "nobody is seen (5 of 15 joints)"),
        (lambda points, rng: points * 1000, "large, which is no person"),
        (lambda points, rng: points * 1e-3, "large, which is no person"),
        (lambda points, rng: np.ones_like(points), "large, which is no person"),
        (lambda points, rng: rng.normal(0, 1e30, points.shape), "large, which is no person"),
        (lambda points, rng: np.linspace(0, 1, 45).reshape(15, 3) + 1, "does not move"),
    ],
)
def test_garbage_is_never_an_answer(recognizer, garbage, says):
    live, rng = ActivityRecognizer(recognizer, layout="cad60"), np.random.default_rng(0)
    pose = moving_pose(frames=60)
    for frame in range(60):
        live.add_skeleton(garbage(pose.points[0, frame].astype(float), rng), frame / 30)
    answer = live.current_activity()
    assert not answer.known and answer.label is None and answer.probability == 0
    assert says in answer.reason


def test_too_few_skeletons_are_no_answer(recognizer):
    sparse = ActivityRecognizer(Recognizer(tiny_bundle(frames=64)))
    feed(sparse, moving_pose(frames=5, fps=2.0))
    assert not sparse.ready and "at least are needed" in sparse.current_activity().reason


def _named(joints):
    return {joint: (0.1 * i, 1.0 - 0.1 * i, 2.5) for i, joint in enumerate(joints)}


@pytest.mark.parametrize(
    ("settings", "make", "says"),
    [
        ({}, lambda good: {**good, "tail": (1, 2, 3)}, "changed midway: tail"),
        ({}, lambda good: {joint: good[joint] for joint in list(good)[1:]}, "changed midway: head"),
        ({}, lambda good: np.zeros((15, 3)), "array has no joint names"),
        ({"layout": "cad60"}, lambda good: np.zeros((20, 3)), r"shape \(20, 3\)"),
        ({"layout": "cad60"}, lambda good: np.zeros((15, 2)), r"shape \(15, 2\)"),
        ({"layout": "cad60"}, lambda good: {**good, "left_hnd": (1, 2, 3)}, "did you mean 'left_hand'"),
        ({"layout": "cad60"}, lambda good: [["a"] * 3] * 15, "not an array of numbers"),
        ({}, lambda good: {**good, "head": "up"}, "joint 'head': 'up' are not numbers"),
        ({}, lambda good: {**good, "head": (1, 2)}, r"joint 'head' has shape \(2,\)"),
        ({}, lambda good: {}, "this one has 0"),
        ({}, lambda good: {f"j{i}": (1, 2, 3) for i in range(600)}, "this one has 600"),
        ({}, lambda good: None, "array has no joint names"),
    ],
)
def test_joints_that_change_midway_are_an_error_that_changes_nothing(recognizer, settings, make, says):
    live = ActivityRecognizer(recognizer, **settings)
    pose = moving_pose(frames=40)
    feed(live, pose)
    good, before = next(iter(skeletons(pose)))[0], live.current_activity().probabilities
    with pytest.raises(KinemaError, match=says):
        live.add_skeleton(make(good), 1.35)
    assert live.add_skeleton(list(skeletons(pose))[-1][0], 39 / 30)
    np.testing.assert_array_equal(live.current_activity().probabilities, before)


def test_what_the_bundle_cannot_take_is_refused_at_once(recognizer):
    for settings, says in (
        ({"layout": "kinect"}, "unknown joint layout"),
        ({"unit": "px"}, "'px'"),
        ({"unit": "cm"}, "'cm'"),
        ({"window": 0}, "window"),
        ({"window": float("nan")}, "window"),
        ({"max_gap": -1}, "max_gap"),
    ):
        with pytest.raises(KinemaError, match=says):
            ActivityRecognizer(recognizer, **settings)
    with pytest.raises(BundleError, match="cannot be converted"):
        ActivityRecognizer(recognizer).add_skeleton(_named(["head", "neck"]), 0.0)


@pytest.mark.parametrize("fps", [1e3, 1e5])
def test_memory_is_bounded_whatever_the_frame_rate(recognizer, fps):
    live = ActivityRecognizer(recognizer, layout="cad60")
    points = moving_pose(frames=100).points[0]
    for frame in range(6000):
        live.add_skeleton(points[frame % 100], frame / fps)
    assert len(live) <= 4 * 30 + 2


def test_an_hour_of_skeletons_holds_a_window(recognizer):
    live = ActivityRecognizer(recognizer, layout="cad60")
    points = moving_pose(frames=30).points[0]
    for frame in range(3000):
        live.add_skeleton(points[frame % 30], frame * 0.9)
    assert len(live) <= 4
    for frame in range(3000):
        live.add_skeleton(points[frame % 30], 2700 + frame / 30)
    assert len(live) <= 32 and live.current_activity().known
