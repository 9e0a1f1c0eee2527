"""OpenPose's folders: joints and scores of each frame, who is who from frame to frame, gaps, and what is wrong with a file."""

import json

import numpy as np
import pytest

from kinema.datasets import _openpose
from kinema.datasets._files import open_files, read_clips
from kinema.errors import DataError

JOINTS = {"openpose18": 18, "openpose25": 25}


def body(joints: int = 18, at: float = 200.0, seed: int = 0) -> np.ndarray:
    """(V, 3): somebody about 100 pixels large."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(at, at + 100, (joints, 2)), rng.uniform(0.3, 1, joints)])


def write(folder, people_of, name="clip", ids=False):
    """`people_of`: frame number -> (V, 3) arrays."""
    folder.mkdir(exist_ok=True, parents=True)
    for number, people in people_of.items():
        listed = [
            {"person_id": [i if ids else -1], "pose_keypoints_2d": np.asarray(points).ravel().tolist(), "face_keypoints_2d": []}
            for i, points in (people.items() if isinstance(people, dict) else enumerate(people))
        ]
        (folder / f"{name}_{number:012d}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": listed}))
    return folder


def read(folder):
    (clip,) = read_clips(folder)
    return clip.pose


@pytest.mark.parametrize("layout", JOINTS)
def test_joints_and_scores_are_those_of_the_files(tmp_path, layout):
    frames = {number: [body(JOINTS[layout], 200 + number)] for number in range(5)}
    frames[2][0][4] = 0  # not found
    (clip,) = open_files(write(tmp_path / "walk", frames)).clips
    pose = clip.pose
    assert (clip.id, clip.label, pose.layout.name, pose.unit, pose.y_axis, pose.fps) == ("clip", None, layout, "px", "down", 30)
    assert pose.points.shape == (1, 5, JOINTS[layout], 2) and pose.times is None
    for number, (points,) in frames.items():
        np.testing.assert_allclose(pose.points[0, number], points[:, :2], rtol=1e-6)
        np.testing.assert_allclose(pose.score[0, number], points[:, 2], rtol=1e-6)
    assert not pose.mask[0, 2, 4] and pose.mask.sum() == pose.mask.size - 1
    assert pose.to_layout("coco17").frames == 5


def test_gaps_between_frame_numbers_are_gaps_in_time(tmp_path):
    pose = read(write(tmp_path, {number: [body(at=200 + number)] for number in (7, 8, 11, 10**15)}))
    np.testing.assert_allclose(pose.times * 30, [0, 1, 4, 10**15 - 7])


def test_a_frame_without_anybody_is_an_empty_one(tmp_path):
    pose = read(write(tmp_path, {0: [body()], 1: [], 2: [np.zeros((18, 3))], 3: [body(at=203)]}))
    assert pose.observed.any((0, 2)).tolist() == [True, False, False, True] and pose.persons == 1


def two_who_swap(ids=False):
    """Two people, the second of whom is missing in frames 4 and 5, listed in another order in every other frame."""
    frames = {}
    for number in range(10):
        people = {3: body(seed=1, at=100 + 3 * number), 8: body(seed=2, at=400 - 3 * number)}
        if number in (4, 5):
            del people[8]
        frames[number] = people if number % 2 == 0 else dict(reversed(people.items()))
    return frames


@pytest.mark.parametrize("ids", [False, True])
def test_people_stay_who_they_are_whatever_order_they_are_listed_in(tmp_path, ids):
    frames = two_who_swap()
    pose = read(write(tmp_path, frames if ids else {n: list(people.values()) for n, people in frames.items()}, ids=ids))
    assert pose.persons == 2
    for person, key in enumerate((3, 8)):
        for number, people in frames.items():
            assert pose.observed[person, number].any() == (key in people)
            if key in people:
                np.testing.assert_allclose(pose.points[person, number], people[key][:, :2], rtol=1e-6)


def test_somebody_far_away_is_somebody_else(tmp_path):
    pose = read(write(tmp_path, {n: [body(at=100 if n < 5 else 900)] for n in range(10)}))
    assert pose.persons == 2 and pose.observed.any(2).sum(1).tolist() == [5, 5]


def test_of_a_crowd_those_stay_who_are_seen_most(tmp_path):
    frames = {n: [body(at=150 * p) for p in range(12) if n >= p] for n in range(13)}
    pose = read(write(tmp_path, frames))
    assert pose.persons == _openpose.MOST_PERSONS
    assert pose.observed.any(2).sum(1).tolist() == [13 - p for p in range(_openpose.MOST_PERSONS)]


def test_coordinates_that_openpose_scaled_have_no_unit(tmp_path):
    scaled = {n: [body() * [1e-3, 1e-3, 1]] for n in range(3)}
    assert read(write(tmp_path, scaled)).unit == "norm"


def test_one_folder_may_hold_several_recordings_and_other_files(tmp_path):
    write(tmp_path / "out", {0: [body()], 1: [body()]}, "a_b")
    write(tmp_path / "out", {5: [body()], 6: [body()]}, "c")
    for number in range(2):
        source = tmp_path / "out" / f"a_b_{number:012d}_keypoints.json"
        (tmp_path / "deep").mkdir(exist_ok=True)
        (tmp_path / "deep" / f"{number}_keypoints.json").write_bytes(source.read_bytes())
    (tmp_path / "out" / "settings.json").write_text("{}")
    assert [(clip.id, clip.pose.frames) for clip in read_clips(tmp_path)] == [("deep", 2), ("a_b", 2), ("c", 2)]


def one(values, **more):
    return {"people": [{"pose_keypoints_2d": values, **more}]}


GOOD = body().ravel().tolist()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"people": 3}, "a list 'people' is expected"),
        ([], "a JSON object is expected"),
        ({"people": [3]}, "person 0: a list 'pose_keypoints_2d'"),
        ({"people": [{}] * 100}, "has 100 people; at most 64"),
        (one(GOOD[:51]), r"has 51 numbers; .* 54 \(openpose18\) or 75 \(openpose25\)"),
        (one([*GOOD[:4], "x", *GOOD[5:]]), "person 0, joint 1: 'x' is not a number"),
        (one([*GOOD[:4], None, *GOOD[5:]]), "person 0, joint 1: None is not a number"),
        (one([*GOOD[:3], 1e300, *GOOD[4:]]), "person 0, joint 1: is not a finite position"),
        (one([*GOOD[:3], 10**400, *GOOD[4:]]), "is not a finite position"),
        (one([*GOOD[:2], 7, *GOOD[3:]]), "person 0, joint 0: has score 7; 0 to 1 is expected"),
        (one([*GOOD[:2], -0.5, *GOOD[3:]]), "joint 0: has score -0.5"),
        (one(body(25).ravel().tolist()), "people of 25 joints; in the frames before they have 18"),
    ],
)
def test_what_is_wrong_is_told_with_the_file_and_the_place(tmp_path, content, words):
    write(tmp_path, {0: [body()]})
    (tmp_path / "clip_1_keypoints.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"clip_1_keypoints.json.*{words}") as error:
        read_clips(tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    assert len(open_files(tmp_path, on_error="skip").skipped) == 1


def test_damaged_and_huge_files_twins_single_frames_and_empty_recordings_are_refused(tmp_path):
    folder = write(tmp_path / "a", {0: [body()], 1: [body()]})
    last = folder / "clip_000000000001_keypoints.json"
    for text, words in (("{", "no whole JSON"), ("", "is empty"), (" " * (5 << 20), "one frame takes"), ('{"people": [NaN]}', "NaN")):
        last.write_text(text)
        with pytest.raises(DataError, match=f"clip_000000000001_keypoints.json.*{words}"):
            read_clips(folder)
    last.rename(folder / "clip_0_keypoints.json")
    with pytest.raises(DataError, match="are the same frame"):
        read_clips(folder)
    with pytest.raises(DataError, match="nobody is found in any of 2 frames"):
        read_clips(write(tmp_path / "b", {0: [], 1: []}))
    with pytest.raises(DataError, match="one frame of OpenPose's; name the folder"):
        read_clips(folder / "clip_0_keypoints.json")
