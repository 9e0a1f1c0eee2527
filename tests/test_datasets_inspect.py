"""What is told about a data set agrees with what is in it."""

import json

import numpy as np
import pytest

from kinema.clip import Clip, DepthSequence, InertialSequence, Lazy, PoseSequence
from kinema.datasets import Dataset, dataset_infos, read_dataset
from kinema.datasets._inspect import inspect, inspect_text, list_text
from kinema.datasets.protocols import by_values, leave_one_out
from kinema.errors import DataError


def _pose(frames, fps=10.0, unit="m", layout="cad60", persons=1, missing=0):
    points = np.linspace(-1, 2, persons * frames * 15 * 3).reshape(persons, frames, 15, 3)
    mask = np.ones((persons, frames, 15), bool)
    mask.reshape(-1)[:missing] = False
    return PoseSequence(points, layout, unit, mask=mask, fps=fps)


def _broken():
    raise DataError("it is empty", "clip.txt")


@pytest.fixture
def dataset():
    signal = InertialSequence(np.array([[0, -2], [1, 5]]), ("acc_x", "gyro_x"), placement="wrist")
    depth = DepthSequence(np.array([[[0, 1800], [0, 2500]]], np.uint16))
    clips = (
        Clip("a", {"pose": _pose(10), "inertial": signal, "depth": depth}, 0, subject="1"),
        Clip("b", {"pose": _pose(20, fps=20.0, missing=15)}, 0, subject="2"),
        Clip("c", {"pose": _pose(60, persons=2)}, 1, subject="10"),
        Clip("d", {"pose": _pose(10, unit="mm")}, None, subject="2"),
        Clip("e", {"pose": Lazy(_broken)}, 1, subject="1"),
    )
    protocols = (by_values("cross-subject", "subject 1 trains", "subject", ("1",)), leave_one_out("cross-view", "", "view"))
    return Dataset("made", clips, ("sit", "stand"), {p.name: p for p in protocols}, skipped=(DataError("truncated", "x.txt"),))


def test_counts_forms_and_ranges_are_told(dataset):
    report = inspect(dataset)
    assert (report["clips"], report["unlabelled"], report["skipped"]) == (5, 1, ["x.txt: truncated"])
    assert report["classes"] == {"sit": 2, "stand": 2}
    assert list(report["subject"].items()) == [("1", 2), ("2", 2), ("10", 1)]
    assert "view" not in report
    pose = report["modalities"]["pose"]
    assert (pose["clips"], pose["unreadable"]) == (5, 1)
    assert pose["frames"] == {"min": 10, "median": 15.0, "max": 60, "total": 100}
    assert pose["seconds"] == {"min": 1.0, "median": 1.0, "max": 6.0, "total": 9.0}
    assert pose["fps"] == {"min": 10.0, "median": 10.0, "max": 20.0}
    assert (pose["layout"], pose["unit"], pose["persons"]) == ({"cad60": 4}, {"m": 3, "mm": 1}, {"1": 3, "2": 1})
    assert pose["range"]["x"][0] == -1 and pose["range"]["z"][1] == 2
    assert pose["missing"] == pytest.approx(15 / (160 * 15))
    inertial = report["modalities"]["inertial"]
    assert inertial["range"] == {"acc_x": [0, 1], "gyro_x": [-2, 5]} and inertial["placement"] == {"wrist": 1}
    assert report["modalities"]["depth"] == {"clips": 1}
    assert report["protocols"]["cross-subject"]["splits"] == [{"split": "cross-subject", "train": 2, "test": 2}]
    assert "do not say their view" in report["protocols"]["cross-view"]["error"]


def test_depth_is_read_when_asked_for(dataset):
    depth = inspect(dataset, depth=True)["modalities"]["depth"]
    assert (depth["range"], depth["missing"], depth["size"]) == ({"depth": [1800, 2500]}, 0.5, {"2 x 2": 1})


def test_the_report_is_json_and_text(dataset):
    report = inspect(dataset)
    assert json.loads(json.dumps(report)) == report
    text = inspect_text(report)
    for line in (
        "made: 5 clips",
        "without a label: 1",
        "skipped: 1, such as x.txt: truncated",
        "classes: 2, 2 clips each: sit (2), stand (2)",
        "pose: 5 clips",
        "unreadable: 1",
        "layout: cad60",
        "unit: m (3), mm (1)",
        "frames: min 10, median 15, max 60, total 100",
        "range: acc_x 0 to 1, gyro_x -2 to 5",
        "fps: all 50",
        "range: x -1 to",
        "depth: 1 clips, not read",
        "protocol cross-subject: subject 1 trains",
        "cross-subject: 2 train, 2 test",
    ):
        assert line in text


def test_a_data_set_without_clips_is_told_too():
    report = inspect(Dataset("none", (), ("a",)))
    assert (report["clips"], report["classes"], report["modalities"], report["protocols"]) == (0, {"a": 0}, {}, {})
    assert inspect_text(report).startswith("none: 0 clips")


def test_the_list_names_every_data_set():
    text = list_text(dataset_infos())
    for info in dataset_infos():
        assert any(line.startswith(info.name) and info.title in line for line in text.splitlines())
        assert info.form in text and info.url in text


@pytest.mark.parametrize(
    ("name", "clips", "classes", "subjects", "sizes"),
    [("utd-mhad", 861, 27, 8, ("cross-subject", 431, 430)), ("nw-ucla", 1484, 10, 10, ("cross-view", 1020, 464))],
)
def test_real_sets_have_the_sizes_that_are_known(data_root, name, clips, classes, subjects, sizes):
    report = inspect(read_dataset(name, data_root(name)))
    assert (report["clips"], len(report["classes"]), len(report["subject"])) == (clips, classes, subjects)
    split = report["protocols"][sizes[0]]["splits"][0]
    assert (split["train"], split["test"]) == sizes[1:]
    assert report["modalities"]["pose"]["missing"] < 2e-5  # N-UCLA: 12 joints of two clips lie at the origin


def test_cad60_has_its_labelled_frames_and_doubtful_joints(data_root):
    data = read_dataset("cad60", data_root("cad60"))
    report = inspect(data)
    assert (report["clips"], report["unlabelled"], len(report["classes"])) == (72, 12, 12)
    labelled = [clip for clip in data.clips if clip.label is not None]
    assert sum(clip.pose.frames for clip in labelled) == 68928
    assert report["modalities"]["pose"]["missing"] == 0  # positions are filled where the confidence is 0
    assert report["modalities"]["pose"]["doubtful"] == pytest.approx(0.085, abs=0.005)
