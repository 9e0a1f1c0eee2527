"""The actor: people with bones of fixed length, who do what the label says, the same way for the same seed."""

import numpy as np
import pytest

from kinema.datasets import dataset_infos, read_dataset
from kinema.datasets._actor_moves import MOVES
from kinema.datasets.actor import CLASSES, VIEWS, perform, person, read
from kinema.datasets.base import dataset_root
from kinema.datasets.utd_mhad import CLASSES as UTD_MHAD
from kinema.errors import DataError
from kinema.layout import get_layout

LAYOUT = get_layout("utd-mhad")
JOINT = {name: i for i, name in enumerate(LAYOUT.joints)}


@pytest.fixture(scope="module")
def exact():
    """Points (T, 20, 3) of each action without sensor noise, by a person who faces the camera."""
    return {action: perform(action, "1", noise=0).points[0] for action in MOVES}


def track(points: np.ndarray, joint: str, origin: str = "hip_center") -> np.ndarray:
    """(T, 3) right, up and ahead of the joint as seen from another joint."""
    return (points[:, JOINT[joint]] - points[:, JOINT[origin]]) * (1, 1, -1)


def test_it_says_that_it_is_synthetic_and_uses_the_names_of_utd_mhad():
    info = {info.name: info for info in dataset_infos()}["actor"]
    assert "synthetic" in info.title
    assert info.generated
    assert CLASSES == UTD_MHAD
    assert set(MOVES) <= set(CLASSES)
    assert str(len(MOVES)) in info.title


@pytest.mark.parametrize("action", MOVES)
def test_a_performance_looks_like_a_recording_of_utd_mhad(action):
    for who, view in (("1", "front"), ("2", "left"), ("3", "right")):
        pose = perform(action, who, view)
        assert (pose.persons, pose.layout.name, pose.unit, pose.y_axis, pose.mask) == (1, "utd-mhad", "m", "up", None)
        assert 41 <= pose.frames <= 125
        depth = pose.points[..., 2]
        assert 1.8 < depth.min() < depth.max() < 4.1
        first = pose.points[0, 0]
        assert all(first[JOINT[f"left_{name}"], 0] < first[JOINT[f"right_{name}"], 0] for name in ("shoulder", "hip", "elbow", "hand"))
        assert 1.1 < np.ptp(first[:, 1]) < 1.9


@pytest.mark.parametrize("action", MOVES)
def test_bones_keep_their_length_and_knees_bend_forwards(exact, action):
    points = exact[action]
    for child, parent in LAYOUT.bones:
        if LAYOUT.joints[child].endswith("shoulder") or {child, parent} == {JOINT["spine"], JOINT["hip_center"]}:
            continue  # the collar bone rises with the arm; the spine stands behind the hips
        lengths = np.linalg.norm(points[:, child] - points[:, parent], axis=-1)
        assert np.ptp(lengths) < 1e-4, LAYOUT.joints[child]
    for side in ("left", "right"):
        hip, knee, ankle = (points[:, JOINT[f"{side}_{name}"]] for name in ("hip", "knee", "ankle"))
        assert ((knee - (hip + ankle) / 2)[:, 2] < 0.02).all()


def gap(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, JOINT["left_hand"]] - points[:, JOINT["right_hand"]], axis=-1)


def turns(values: np.ndarray, least: float) -> int:
    """How often a curve turns round after having gone `least` at least."""
    count, last, heading = 0, values[0], 0.0
    for value in values:
        if heading == 0 and abs(value - last) > least:
            heading, last = np.sign(value - last), value
        elif heading and (value - last) * heading > 0:
            last = value
        elif heading and (last - value) * heading > least:
            count, heading, last = count + 1, -heading, value
    return count


def area(across: np.ndarray, up: np.ndarray) -> float:
    """Area that a curve encloses, positive for anticlockwise as the camera sees it."""
    return float((across * np.roll(up, -1) - np.roll(across, -1) * up).sum() / 2)


WHAT_HAPPENS = {
    "wave": lambda p: track(p, "right_hand", "head")[:, 1].max() > -0.15 and turns(track(p, "right_hand")[:, 0], 0.12) >= 3,
    "swipe left": lambda p: track(p, "right_hand")[:, 0].argmax() < track(p, "right_hand")[:, 0].argmin(),
    "swipe right": lambda p: track(p, "right_hand")[:, 0].argmin() < track(p, "right_hand")[:, 0].argmax(),
    "clap": lambda p: gap(p).min() < 0.15 and turns(gap(p), 0.08) >= 3,
    "arm cross": lambda p: (track(p, "right_hand")[:, 0] - track(p, "left_hand")[:, 0]).min() < -0.05,
    "draw circle clockwise": lambda p: area(*track(p, "right_hand")[:, :2].T) < -0.05,
    "draw circle counter-clockwise": lambda p: area(*track(p, "right_hand")[:, :2].T) > 0.05,
    "boxing": lambda p: np.ptp(track(p, "right_hand")[:, 2] - track(p, "left_hand")[:, 2]) > 0.4,
    "arm curl": lambda p: np.ptp(track(p, "left_wrist")[:, 1]) > 0.35 and np.ptp(track(p, "left_elbow")[:, 1]) < 0.25,
    "push": lambda p: min(track(p, f"{side}_hand")[:, 2].max() for side in ("left", "right")) > 0.35,
    "jog": lambda p: turns(p[:, JOINT["left_knee"], 2] - p[:, JOINT["right_knee"], 2], 0.1) >= 5,
    "walk": lambda p: turns(track(p, "right_hand")[:, 2], 0.2) >= 2,
    "stand to sit": lambda p: p[0, JOINT["hip_center"], 1] - p[-1, JOINT["hip_center"], 1] > 0.25,
    "sit to stand": lambda p: p[-1, JOINT["hip_center"], 1] - p[0, JOINT["hip_center"], 1] > 0.25,
    "squat": lambda p: np.ptp(p[:, JOINT["hip_center"], 1]) > 0.3 and np.ptp(p[:, JOINT["left_ankle"]], axis=0).max() < 0.03,
    "lunge": lambda p: np.ptp(p[:, JOINT["left_ankle"], 2]) > 0.45 and np.ptp(p[:, JOINT["hip_center"], 1]) > 0.25,
    "throw": lambda p: track(p, "right_hand", "head")[:, 1].max() > 0 and np.ptp(track(p, "right_hand")[:, 2]) > 0.4,
}


@pytest.mark.parametrize("action", WHAT_HAPPENS)
def test_the_actor_does_what_the_label_says(exact, action):
    assert WHAT_HAPPENS[action](exact[action])


@pytest.mark.parametrize("action", ["wave", "throw", "knock", "catch", "swipe left", "draw x"])
def test_the_other_arm_and_the_feet_rest(exact, action):
    points = exact[action]
    assert np.ptp(track(points, "left_hand"), axis=0).max() < 0.15
    assert np.ptp(points[:, JOINT["left_ankle"]], axis=0).max() < 0.03


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others():
    first = perform("wave", "2", "left", 3, seed=5)
    person.cache_clear()
    assert np.array_equal(first.points, perform("wave", "2", "left", 3, seed=5).points)
    for other in (("wave", "3", "left", 3, 5), ("wave", "2", "left", 4, 5), ("wave", "2", "left", 3, 6)):
        pose = perform(*other)
        assert pose.frames != first.frames or np.abs(pose.points - first.points).max() > 0.02


def test_another_view_shows_the_same_movement():
    def inner(view):
        points = perform("boxing", "4", view, noise=0).points[0]
        return np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)

    assert np.abs(inner("left") - inner("right")).max() < 1e-4
    turned = {view: track(perform("boxing", "4", view, noise=0).points[0], "right_shoulder", "left_shoulder")[0, 2] for view in VIEWS}
    assert turned["left"] - turned["front"] > 0.05 > -0.05 > turned["right"] - turned["front"]


def test_people_differ_in_size():
    heights = [perform("wave", str(who), noise=0).points[0, 0, :, 1] for who in range(1, 9)]
    assert 0.05 < np.ptp([np.ptp(height) for height in heights]) < 0.6


def test_the_data_set_needs_no_folder_and_has_people_on_one_side_of_a_split_only():
    assert dataset_root("actor") is None
    data = read_dataset("actor", None, people=4, trials=2)
    assert len(data) == len(MOVES) * 4 * 2 * len(VIEWS)
    assert data.classes == UTD_MHAD
    (split,) = data.splits()
    assert {clip.subject for clip in data.select(split.train)} == {"1", "3"}
    assert {clip.subject for clip in data.select(split.test)} == {"2", "4"}
    (split,) = data.splits("cross-view")
    assert {clip.view for clip in data.select(split.test)} == {"right"}
    assert len(data.splits("leave-one-subject-out")) == 4
    clip = data.by_id["a3_s2_t1_front"]
    assert (data.classes[clip.label], clip.subject, clip.view) == ("wave", "2", "front")
    assert np.array_equal(clip.pose.points, perform("wave", "2", "front").points)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"actions": ["wafe"]}, "did you mean 'wave'"),
        ({"actions": ["bowling"]}, "unknown action of the actor 'bowling'"),
        ({"views": ["top"]}, "known: front, left, right"),
        ({"people": 0}, "at least one"),
    ],
)
def test_what_the_actor_cannot_do_is_told(options, words):
    with pytest.raises(DataError, match=words):
        read(**options)


def test_actions_can_be_told_apart_across_people_and_views():
    """The nearest of the odd persons' clips, joint by joint, tells what the even ones do."""

    def features(ids):
        rows, labels = [], []
        for clip in data.select(ids):
            points = clip.pose.points[0]
            points = points[np.linspace(0, len(points) - 1, 24).round().astype(int)]
            rows.append((points - points[:, JOINT["hip_center"], None]).ravel())
            labels.append(clip.label)
        return np.array(rows), np.array(labels)

    data = read(people=6, views=("front", "left"))
    (split,) = data.splits()
    (known, labels), (asked, truth) = features(split.train), features(split.test)
    distances = ((asked[:, None] - known[None]) ** 2).sum(-1)
    assert (labels[distances.argmin(1)] == truth).mean() > 0.85
