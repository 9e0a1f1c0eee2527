"""JHMDB poses: one clip for each different sequence, the same ids in every file, and the facts of the real files."""

import numpy as np
import pytest
from make_files import moving, pickled

from kinema.datasets import read_dataset
from kinema.errors import DataError

SEQUENCES = [(moving(5 + i, 15, 2, seed=i), name) for i, name in enumerate(["run", "walk", "run", "wave"])]


def write(root, name, numbers, protocol=2):
    return pickled(
        root / "poses" / f"GT_{name}.pkl",
        {"pose": [SEQUENCES[i][0] for i in numbers], "label": [SEQUENCES[i][1] for i in numbers]},
        protocol,
    )


def read(root, **options):
    return read_dataset("jhmdb", root, **{"cache": False, **options})


def test_a_sequence_is_one_clip_in_all_splits(tmp_path):
    for name, numbers in {"train_1": [0, 1, 2], "test_1": [3], "train_2": [3, 2, 1], "test_2": [0]}.items():
        write(tmp_path, name, numbers)
    dataset = read(tmp_path)
    assert len(dataset) == 4
    first, second = dataset.splits()
    assert (first.name, len(first.train), len(first.test)) == ("1", 3, 1)
    assert second.train == (first.test[0], first.train[2], first.train[1]) and second.test == (first.train[0],)
    clip = dataset.by_id[first.train[0]]
    assert clip.id.startswith("run-") and dataset.classes[clip.label] == "run"
    assert (clip.pose.unit, clip.pose.y_axis, clip.pose.layout.name, clip.pose.fps) == ("norm", "down", "jhmdb15", 25)
    np.testing.assert_allclose(clip.pose.points[0], SEQUENCES[0][0], rtol=1e-6)


def test_ids_do_not_depend_on_the_other_files(tmp_path):
    write(tmp_path / "a", "train_1", [0, 1])
    write(tmp_path / "b", "test_3", [2, 1, 0], protocol=4)
    assert set(read(tmp_path / "a").by_id) <= set(read(tmp_path / "b").by_id)


def test_a_split_of_one_part_makes_no_protocol(tmp_path):
    write(tmp_path, "train_1", [0, 1])
    assert not read(tmp_path).protocols


BAD = {
    "no lists": ({"pose": 1}, "two lists, 'pose' and 'label'"),
    "a label too few": ({"pose": [SEQUENCES[0][0]], "label": []}, "there are 1 poses and 0 labels"),
    "nothing": ({"pose": [], "label": []}, "there are 0 poses"),
    "no array": ({"pose": [[1, 2]], "label": ["run"]}, "sequence 0: a pose is a list"),
    "unknown class": ({"pose": [SEQUENCES[0][0]], "label": ["runs"]}, "sequence 0: unknown class 'runs'; did you mean 'run'"),
    "14 joints": ({"pose": [moving(4, 14, 2)], "label": ["run"]}, "sequence 0: there are 14 joints; layout 'jhmdb15' has 15"),
    "NaN": ({"pose": [np.full((4, 15, 2), np.nan)], "label": ["run"]}, "frame 0, joint neck: nan is not a finite number"),
    "flat": ({"pose": [np.ones((4, 30))], "label": ["run"]}, r"sequence 0: has shape \(4, 30\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_or_skipped(tmp_path, case):
    write(tmp_path, "test_1", [3])
    content, message = BAD[case]
    path = pickled(tmp_path / "poses" / "GT_train_1.pkl", content)
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    dataset = read(tmp_path, on_error="skip")
    assert len(dataset) == 1 and len(dataset.skipped) == 1


def test_a_folder_without_clips_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no clips: poses/GT_train_1.pkl"):
        read(tmp_path)


def test_the_real_files(data_root):
    dataset = read_dataset("jhmdb", data_root("jhmdb"))
    assert len(dataset) == 609 and len(dataset.classes) == 14 and not dataset.skipped
    splits = dataset.splits()
    assert [(split.name, len(split.train), len(split.test)) for split in splits] == [("1", 433, 176), ("2", 433, 176), ("3", 434, 175)]
    assert all(set(split.train) | set(split.test) == set(dataset.by_id) for split in splits)
    poses = [clip.pose for clip in dataset.clips]
    assert (min(pose.frames for pose in poses), max(pose.frames for pose in poses)) == (15, 40)
    assert min(pose.points.min() for pose in poses) >= -2.81 and max(pose.points.max() for pose in poses) <= 1.81
