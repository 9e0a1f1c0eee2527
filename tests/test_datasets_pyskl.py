"""Pickles in PYSKL's form: layouts, masks, scores, splits as protocols, and what is wrong with an annotation."""

import os
import pickle

import numpy as np
import pytest
from make_files import pickled, pyskl_annotation

from kinema.datasets import read_dataset
from kinema.errors import DataError, LayoutError, ProtocolError


def read(root, **options):
    return read_dataset("pyskl", root, **{"cache": False, **options})


def whole(annotations, **splits):
    return {"split": splits, "annotations": annotations}


@pytest.mark.parametrize(
    ("joints", "dims", "layout", "unit", "y_axis", "size"),
    [
        (17, 2, "coco17", "px", "down", (1920, 1080)),
        (18, 2, "openpose18", "px", "down", (1920, 1080)),
        (25, 3, "ntu25", "m", "up", None),
        (25, 2, "ntu25", "px", "down", (1920, 1080)),
    ],
)
def test_the_number_of_joints_tells_the_layout(tmp_path, joints, dims, layout, unit, y_axis, size):
    annotation = pyskl_annotation("x", 3, joints, dims, persons=2)
    clip = read(pickled(tmp_path / "x.pkl", whole([annotation]))).clips[0]
    pose = clip.pose
    assert (clip.id, clip.label) == ("x", 3)
    assert (pose.layout.name, pose.unit, pose.y_axis, pose.image_size) == (layout, unit, y_axis, size)
    np.testing.assert_array_equal(pose.points, annotation["keypoint"].astype(np.float32))
    if dims == 2:
        np.testing.assert_array_equal(pose.score, annotation["keypoint_score"].astype(np.float32))


def test_another_layout_can_be_named(tmp_path):
    path = pickled(tmp_path / "x.pkl", whole([pyskl_annotation("x", 0, 15)]))
    with pytest.raises(
        DataError, match=r"x.pkl, annotation 0 \(x\), 'keypoint': has 15 joints; 25 \(ntu25\), 17 \(coco17\), 18 \(openpose18\)"
    ):
        read(path)
    assert read(path, layout="jhmdb15").clips[0].pose.layout.name == "jhmdb15"
    with pytest.raises(LayoutError, match="did you mean 'jhmdb15'"):
        read(path, layout="jhmdb")
    with pytest.raises(DataError, match="15 joints; layout 'coco17' has 17"):
        read(path, layout="coco17")


def test_zeros_are_no_positions_and_padding_is_no_person(tmp_path):
    annotation = pyskl_annotation("x", 0, 25, 3, persons=2)
    annotation["keypoint"][1] = 0
    annotation["keypoint"][0, 2, 5] = 0
    pose = read(pickled(tmp_path / "x.pkl", whole([annotation]))).clips[0].pose
    assert pose.persons == 1 and not pose.mask[0, 2, 5] and pose.mask.sum() == pose.mask.size - 1


def test_scores_are_cut_to_the_unit_interval(tmp_path):
    annotation = pyskl_annotation("x", 0)
    annotation["keypoint_score"][0, 0, :2] = [1.02, -0.01]
    score = read(pickled(tmp_path / "x.pkl", whole([annotation]))).clips[0].pose.score
    assert score[0, 0, :2].tolist() == [1, 0]


def test_splits_become_protocols(tmp_path):
    annotations = [pyskl_annotation(name, 0) for name in "abcd"]
    splits = {
        "xsub_train": ["a", "b"],
        "xsub_val": ["c", "d"],
        "train1": ["a", "c"],
        "test1": ["b", "d"],
        "train2": ["b", "d"],
        "test2": ["a", "c"],
        "mine_train": ["a"],
        "mine_test": ["d"],
        "spare": ["a"],
    }
    dataset = read(pickled(tmp_path / "x.pkl", whole(annotations, **splits)))
    made = {name: {split.name: (split.train, split.test) for split in dataset.splits(name)} for name in dataset.protocols}
    assert made == {
        "cross-subject": {"cross-subject": (("a", "b"), ("c", "d"))},
        "official": {"1": (("a", "c"), ("b", "d")), "2": (("b", "d"), ("a", "c"))},
        "mine": {"mine": (("a",), ("d",))},
    }


def test_any_two_splits_can_be_requested_and_unknown_ones_name_those_there(tmp_path):
    path = pickled(tmp_path / "x.pkl", whole([pyskl_annotation(name, 0) for name in "ab"], one=["a"], two=["b"]))
    dataset = read(path, train="one", test="two")
    assert [(split.train, split.test) for split in dataset.splits()] == [(("a",), ("b",))]
    for options, message in [
        ({"train": "one", "test": "tow"}, "unknown split 'tow'; did you mean 'two'"),
        ({"train": "one"}, "unknown split 'None'"),
        ({"train": "xsub_train", "test": "two"}, "unknown split 'xsub_train'; known: one, two"),
    ]:
        with pytest.raises(ProtocolError, match=message):
            read(path, **options)


def test_listed_clips_that_are_not_there_are_reported(tmp_path):
    dataset = read(pickled(tmp_path / "x.pkl", whole([pyskl_annotation(name, 0) for name in "ab"], train=["a", "z"], test=["b", "y", "x"])))
    assert [error.reason for error in dataset.skipped] == [
        "split 'train' lists 1 clips that are not there, such as 'z'",
        "split 'test' lists 2 clips that are not there, such as 'y'",
    ]
    assert dataset.splits()[0].train == ("a",)


def test_names_tell_subject_view_setup_and_group(tmp_path):
    names = {"S003C002P011R001A005": 4, "v_Archery_g07_c03": 1}
    for i, (name, label) in enumerate(names.items()):
        clip = read(pickled(tmp_path / f"{i}.pkl", whole([pyskl_annotation(name, label)]))).clips[0]
        expected = ("11", "2", "3", None) if name[0] == "S" else (None, None, None, "v_Archery_g07")
        assert (clip.subject, clip.view, clip.setup, clip.group) == expected


def test_class_names(tmp_path):
    ntu = [pyskl_annotation(f"S001C001P001R001A00{action}", action - 1) for action in (1, 2)]
    assert read(pickled(tmp_path / "ntu.pkl", whole(ntu))).classes[:2] == ("drink water", "eat meal/snack")
    path = pickled(tmp_path / "own.pkl", whole([pyskl_annotation("a", 0), pyskl_annotation("b", 2)]))
    assert read(path).classes == ("0", "1", "2")
    assert read(path, classes=["run", "sit", "jump"]).classes == ("run", "sit", "jump")
    (tmp_path / "names.txt").write_text("run\nsit\n")
    with pytest.raises(DataError, match=r"own.pkl, clip 'b': label 2 is outside the 2 classes"):
        read(path, classes=tmp_path / "names.txt")
    assert [clip.id for clip in read(path, classes=tmp_path / "names.txt", on_error="skip").clips] == ["a"]


def test_the_older_form_without_splits_and_a_folder_with_one_file(tmp_path):
    pickled(tmp_path / "x.pkl", [pyskl_annotation("a", 0)])
    assert [clip.id for clip in read(tmp_path).clips] == ["a"]
    pickled(tmp_path / "y.pkl", [])
    with pytest.raises(DataError, match=r"holds x.pkl, y.pkl; name one .pkl file"):
        read(tmp_path)


BAD = {
    "no dictionary": ({}, lambda a: "text", "is a str; a dictionary is expected"),
    "no name": ({"frame_dir": None}, None, "'frame_dir', the name of the clip, is missing"),
    "no points": ({"keypoint": None}, None, "'keypoint': is missing"),
    "flat points": ({"keypoint": np.ones((8, 17, 2))}, None, r"'keypoint': has shape \(8, 17, 2\)"),
    "four coordinates": ({"keypoint": np.ones((1, 8, 17, 4)), "keypoint_score": None}, None, "persons x frames x joints x 2 or 3"),
    "frames that do not agree": ({"total_frames": 9}, None, "'total_frames' is 9; 'keypoint' has 8 frames"),
    "a label of text": ({"label": "run"}, None, "label 'run' is outside the classes"),
    "a negative label": ({"label": -1}, None, "label -1 is outside the classes"),
    "scores of another shape": ({"keypoint_score": np.ones((1, 8, 16))}, None, "'keypoint_score': an array of shape"),
    "NaN": ({"keypoint": np.full((1, 8, 17, 2), np.nan)}, None, "frame 0, joint nose: nan is not a finite number"),
    "infinity": ({"keypoint": np.full((1, 8, 17, 2), np.inf)}, None, "inf is not a finite number"),
    "nobody": ({"keypoint": np.zeros((1, 8, 17, 2))}, None, "no joint is observed in any frame"),
    "no frames": ({"keypoint": np.zeros((1, 0, 17, 2)), "total_frames": 0}, None, "no joint is observed"),
    "a name twice": ({"frame_dir": "good"}, None, "another annotation has this name already"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_annotation_is_named_or_skipped(tmp_path, case):
    fields, replace, message = BAD[case]
    bad = pyskl_annotation("bad", 0) | fields
    path = pickled(tmp_path / "x.pkl", whole([pyskl_annotation("good", 0), replace(bad) if replace else bad]))
    with pytest.raises(DataError, match=message) as raised:
        read(path)
    assert f"{path}, annotation 1" in str(raised.value) and "\n" not in str(raised.value)
    dataset = read(path, on_error="skip")
    assert [clip.id for clip in dataset.clips] == ["good"] and len(dataset.skipped) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text", "a dictionary with a list 'annotations'"),
        ({"annotations": []}, "there are no annotations"),
        ({"annotations": [], "split": []}, "a dictionary 'split' is expected"),
        ({"annotations": [{}], "split": {"train": "abc"}}, "split 'train': is no list of clip names"),
    ],
)
def test_a_file_of_another_form_is_an_error(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(pickled(tmp_path / "x.pkl", content))


class Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_pickle_that_would_run_code_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"holds the name (posix|nt|os).mkdir"):
        read(pickled(tmp_path / "x.pkl", whole([Runs()])))
    assert not (tmp_path / "ran").exists()
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(whole([pyskl_annotation("a", 0)]))[:500])
    with pytest.raises(DataError, match="no whole pickle"):
        read(tmp_path / "x.pkl")
