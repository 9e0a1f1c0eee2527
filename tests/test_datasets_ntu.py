"""NTU RGB+D: bodies, cleaning, lists of missing samples, protocols, and the ten real samples."""

import numpy as np
import pytest
from make_files import ntu_file, ntu_text, standing

from kinema.datasets import read_dataset
from kinema.datasets.ntu import CLASSES_60, CLASSES_120, read_skeleton
from kinema.errors import DataError


def read(root, **options):
    return read_dataset("ntu", root, **{"cache": False, **options})


def write(path, bodies: dict[str, dict[int, np.ndarray]], frames: int, state: int = 2):
    """`bodies`: id -> frame -> (25, 3) points."""
    path.write_text(ntu_text([[(body, at[t]) for body, at in bodies.items() if t in at] for t in range(frames)], state))
    return path


def always(points: np.ndarray) -> dict[int, np.ndarray]:
    return dict(enumerate(points))


def test_names_tell_who_where_and_what(tmp_path):
    ntu_file(tmp_path / "deep" / "er", "S004C003P027R002A060")
    clip = read(tmp_path).clips[0]
    assert (clip.id, clip.setup, clip.view, clip.subject, clip.label) == ("S004C003P027R002A060", "4", "3", "27", 59)


def test_version_60_leaves_out_the_actions_of_120(tmp_path):
    ntu_file(tmp_path, "S001C001P001R001A060")
    ntu_file(tmp_path, "S018C001P001R001A061")
    assert [clip.label for clip in read(tmp_path).clips] == [59]
    both = read(tmp_path, version=120)
    assert [clip.label for clip in both.clips] == [59, 60] and both.classes == CLASSES_120
    with pytest.raises(DataError, match="version 90 is none; 60 and 120 are"):
        read(tmp_path, version=90)


def test_samples_on_the_list_of_missing_skeletons_are_left_out(tmp_path):
    folder = tmp_path / "skeletons"
    for name in ("S001C001P001R001A001", "S001C001P002R001A001"):
        ntu_file(folder, name)
    (tmp_path / "NTU_RGBD_samples_with_missing_skeletons.txt").write_text("S001C001P002R001A001\nS009C001P002R001A001\n")
    assert [clip.subject for clip in read(folder).clips] == ["1"]
    assert len(read(folder, clean=False)) == 2
    (tmp_path / "mine.txt").write_text("S001C001P001R001A001\n")
    assert [clip.subject for clip in read(folder, missing=tmp_path / "mine.txt").clips] == ["2"]


def test_protocols_of_60_and_120(tmp_path):
    for name in ("S001C001P001R001A001", "S002C002P003R001A001", "S002C003P045R001A001"):
        ntu_file(tmp_path, name)
    small, large = read(tmp_path), read(tmp_path, version=120)

    def trains(dataset, protocol):
        return [dataset.by_id[clip_id].subject for clip_id in dataset.splits(protocol)[0].train]

    assert list(small.protocols) == ["cross-subject", "cross-view"] and list(large.protocols) == ["cross-subject", "cross-setup"]
    assert trains(small, "cross-subject") == ["1"] and trains(large, "cross-subject") == ["1", "45"]
    assert trains(small, "cross-view") == ["3", "45"] and trains(large, "cross-setup") == ["3", "45"]


def test_the_first_frame_of_the_first_person_is_at_the_origin(tmp_path):
    points = standing(20)
    pose = read_skeleton(write(tmp_path / "x.skeleton", {"7": always(points)}, 20))
    np.testing.assert_allclose(pose.points[0], points - points[0, 1], atol=2e-6)
    raw = read_skeleton(tmp_path / "x.skeleton", clean=False)
    np.testing.assert_allclose(raw.points[0], points, atol=2e-6)


def test_cleaning_drops_short_and_wide_bodies_and_keeps_the_two_that_move_most(tmp_path):
    wide = standing(20)[:, :, [1, 0, 2]] + [0, 0, 1]
    bodies = {
        "short": {t: standing(20, move=5)[t] for t in range(11)},
        "wide": always(wide + np.linspace(0, 5, 20)[:, None, None]),
        "still": always(standing(20, seed=1, move=0)),
        "calm": always(standing(20, seed=1, move=0.5)),
        "lively": always(standing(20, seed=1, move=2)),
    }
    path = write(tmp_path / "x.skeleton", bodies, 20)
    pose = read_skeleton(path)
    assert pose.persons == 2
    travel = np.abs(pose.points[:, -1] - pose.points[:, 0]).mean((1, 2))
    np.testing.assert_allclose(travel, [2, 0.5], atol=1e-4)
    assert read_skeleton(path, clean=False).persons == 5


@pytest.mark.parametrize("frames", [3, 20])
def test_the_only_body_is_never_dropped(tmp_path, frames):
    wide = standing(frames)[:, :, [1, 0, 2]]
    assert read_skeleton(write(tmp_path / "x.skeleton", {"7": always(wide)}, frames)).frames == frames


def test_a_person_is_masked_where_absent_and_empty_frames_are_left_out_in_time(tmp_path):
    first, second = standing(20), standing(20, seed=1, at=1)
    bodies = {"a": {t: first[t] for t in range(20) if t != 9}, "b": {t: second[t] for t in range(5, 19) if t != 9}}
    pose = read_skeleton(write(tmp_path / "x.skeleton", bodies, 25), clean=False)
    assert pose.points.shape == (2, 19, 25, 3)
    assert pose.observed[0].all() and pose.observed[1].all(-1).tolist() == [False] * 5 + [True] * 13 + [False]
    np.testing.assert_allclose(pose.times * 30, [t for t in range(20) if t != 9])


@pytest.mark.parametrize(("state", "score"), [(2, None), (1, 0.5)])
def test_the_tracking_state_becomes_a_score(tmp_path, state, score):
    pose = read_skeleton(write(tmp_path / "x.skeleton", {"7": always(standing(15))}, 15, state))
    assert pose.score is None if score is None else (pose.score == score).all()


def lines(change):
    def apply(text):
        rows = text.split("\n")
        change(rows)
        return "\n".join(rows)

    return apply


BAD = {
    "empty": (lambda text: "", "the file is empty"),
    "truncated": (lambda text: text[: len(text) * 2 // 3], r"cut short: it ends in frame \d+ of 15|fields; 12 are expected"),
    "cut between lines": (
        lines(lambda rows: rows.__delitem__(slice(100, None))),
        "line 100: the file is cut short: it ends in frame 4 of 15",
    ),
    "no number": (lambda text: "x" + text, "line 1: 'x15' is not a number of frames"),
    "24 joints": (lambda text: text.replace("\n25\n", "\n24\n", 1), "line 4: a body has 24 joints; 25 are expected"),
    "short joint": (lines(lambda rows: rows.__setitem__(6, "1 2 3")), "line 7: a joint's line has 3 fields; 12 are expected"),
    "a word": (lines(lambda rows: rows.__setitem__(6, "1 here 3 1 2 3 4 0 0 0 0 2")), "line 7: 'here' is not a number"),
    "NaN": (lines(lambda rows: rows.__setitem__(6, "1 nan 3 1 2 3 4 0 0 0 0 2")), "nan is not a finite number"),
    "body line": (lines(lambda rows: rows.__setitem__(2, "7 0 1")), "line 3: a body's line has 3 fields; 10"),
    "no body": (lambda text: "3\n0\n0\n0\n", "no body in any of its 3 frames; the official list of missing skeletons"),
    "no frames": (lambda text: "0\n", "no body in any of its 0 frames"),
    "more": (lambda text: text + "1\n", "there is more after the last of 15 frames"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_its_line_or_skipped(tmp_path, case):
    ntu_file(tmp_path, "S001C001P002R001A001")
    path = ntu_file(tmp_path)
    change, message = BAD[case]
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    dataset = read(tmp_path, on_error="skip")
    assert len(dataset) == 1 and len(dataset.skipped) == 1


@pytest.mark.parametrize(
    ("name", "message"), [("mine", "not of the form SsssCcccPpppRrrrAaaa"), ("S001C001P001R001A121", "outside the 120")]
)
def test_a_strange_name_is_an_error(tmp_path, name, message):
    ntu_file(tmp_path)
    ntu_file(tmp_path, name)
    with pytest.raises(DataError, match=message):
        read(tmp_path)
    assert len(read(tmp_path, on_error="skip")) == 1


def test_a_folder_without_clips_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no clips: files such as"):
        read(tmp_path)


def test_the_class_names_are_the_official_ones(data_root):
    folder = data_root("ntu")
    for names, classes in (("class_names_60.txt", CLASSES_60), ("class_names_120.txt", CLASSES_120)):
        assert tuple((folder / names).read_text(encoding="utf-8").replace("’", "'").splitlines()) == classes


def test_the_real_samples(data_root):
    dataset = read_dataset("ntu", data_root("ntu") / "samples")
    assert [clip.label for clip in dataset.clips] == [*range(9), 57]
    assert [clip.pose.persons for clip in dataset.clips] == [1] * 9 + [2]
    assert [clip.pose.frames for clip in dataset.clips] == [103, 158, 104, 99, 54, 75, 86, 71, 67, 70]
    assert dataset.classes[dataset.clips[-1].label] == "handshaking"
    assert all((clip.pose.points[0, 0, 1] == 0).all() for clip in dataset.clips)
    assert (
        len(read_dataset("ntu", data_root("ntu") / "samples", missing=data_root("ntu") / "NTU_RGBD_samples_with_missing_skeletons.txt"))
        == 10
    )
