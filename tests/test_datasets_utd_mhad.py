"""UTD-MHAD: what a clip holds, what is wrong with a file, and the facts of the real recordings."""

import numpy as np
import pytest
import scipy.io
from make_files import moving, utd_file, utd_folder

from kinema.clip import Lazy
from kinema.datasets import read_dataset
from kinema.datasets.utd_mhad import read_inertial, read_skeleton
from kinema.errors import DataError


def read(root, **options):
    return read_dataset("utd-mhad", root, **{"cache": False, **options})


def test_clips_have_what_their_names_and_files_tell(tmp_path):
    dataset = read(utd_folder(tmp_path, ["a27_s2_t1", "a2_s1_t3", "a10_s1_t1"]))
    assert [clip.id for clip in dataset.clips] == ["a2_s1_t3", "a10_s1_t1", "a27_s2_t1"]
    first, _, last = dataset.clips
    assert (first.label, first.subject, dataset.classes[first.label]) == (1, "1", "swipe right")
    assert dataset.classes[last.label] == "squat"
    assert first.pose.layout.name == "utd-mhad" and first.pose.unit == "m" and first.pose.points.shape == (1, 6, 20, 3)
    assert first.source == tmp_path / "Skeleton" / "a2_s1_t3_skeleton.mat"


def test_points_come_in_the_files_order(tmp_path):
    points = moving(3, 20)
    pose = read_skeleton(utd_file(tmp_path, points=points))
    np.testing.assert_allclose(pose.points[0], points, rtol=1e-6)


def test_depth_and_signals_are_read_when_asked_for(tmp_path):
    clip = read(utd_folder(tmp_path, ["a1_s1_t1"])).clips[0]
    assert isinstance(clip.modalities["depth"], Lazy) and isinstance(clip.modalities["inertial"], Lazy)
    assert clip.depth.frames.shape == (6, 4, 5) and clip.depth.frames[1, 2, 3] == 2 * 30 + 3 * 6 + 1
    assert clip.inertial.signals.shape == (9, 6) and clip.inertial.rate == 50
    (tmp_path / "Depth" / "a1_s1_t1_depth.mat").write_bytes(b"")
    with pytest.raises(DataError, match=r"a1_s1_t1_depth.mat: the file is empty"):
        _ = clip.depth


def test_a_recording_without_depth_has_none(tmp_path):
    utd_file(tmp_path)
    clip = read(tmp_path).clips[0]
    assert list(clip.modalities) == ["pose"]


@pytest.mark.parametrize(("action", "placement"), [(21, "right wrist"), (22, "right thigh")])
def test_the_action_tells_where_the_sensor_was(tmp_path, action, placement):
    path = tmp_path / f"a{action}_s1_t1_inertial.mat"
    scipy.io.savemat(path, {"d_iner": np.zeros((4, 6))})
    assert read_inertial(path).placement == placement


def test_one_frame_is_read(tmp_path):
    assert read_skeleton(utd_file(tmp_path, frames=1)).frames == 1


BAD = {
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:300]), "no whole MATLAB file"),
    "text": (lambda path: path.write_text("not a mat file\n" * 20), "no whole MATLAB file"),
    "another variable": (lambda path: scipy.io.savemat(path, {"x": np.ones(3)}), "there is no variable d_skel in it"),
    "words": (lambda path: scipy.io.savemat(path, {"d_skel": "abc"}), "d_skel is not numeric"),
    "19 joints": (lambda path: scipy.io.savemat(path, {"d_skel": np.ones((19, 3, 4))}), "19 joints; layout 'utd-mhad' has 20"),
    "flat": (lambda path: scipy.io.savemat(path, {"d_skel": np.ones((20, 2, 4))}), "20 joints x 3 coordinates x frames is expected"),
    "no frames": (lambda path: scipy.io.savemat(path, {"d_skel": np.ones((20, 3, 0))}), "0 frames"),
    "NaN": (lambda path: utd_file(path.parents[1], points=np.full((2, 20, 3), np.nan)), "frame 0, joint head: nan is not a finite number"),
    "infinity": (lambda path: utd_file(path.parents[1], points=np.full((2, 20, 3), np.inf)), "inf is not a finite number"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_in_one_line_or_skipped(tmp_path, case):
    utd_file(tmp_path, "a2_s1_t1")
    path = utd_file(tmp_path, "a1_s1_t1")
    spoil, message = BAD[case]
    spoil(path)
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    dataset = read(tmp_path, on_error="skip")
    assert [clip.id for clip in dataset.clips] == ["a2_s1_t1"]
    assert [error.path for error in dataset.skipped] == [str(path)]


def test_an_action_outside_the_classes_is_an_error(tmp_path):
    utd_file(tmp_path, "a1_s1_t1")
    utd_file(tmp_path, "a28_s1_t1")
    with pytest.raises(DataError, match=r"a28_s1_t1_skeleton.mat: action 28 is outside the 27 classes"):
        read(tmp_path)
    assert len(read(tmp_path, on_error="skip").skipped) == 1


def test_a_folder_without_clips_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no clips: Skeleton/a1_s1_t1_skeleton.mat"):
        read(tmp_path)


def test_the_real_recordings(data_root):
    dataset = read_dataset("utd-mhad", data_root("utd-mhad"))
    assert len(dataset) == 861 and len(dataset.classes) == 27 and not dataset.skipped
    (split,) = dataset.splits()
    assert (split.name, len(split.train), len(split.test)) == ("cross-subject", 431, 430)
    assert {dataset.by_id[clip_id].subject for clip_id in split.train} == {"1", "3", "5", "7"}
    folds = dataset.splits("leave-one-subject-out")
    assert len(folds) == 8 and sum(len(fold.test) for fold in folds) == 861
    assert not {"a8_s1_t4", "a23_s6_t4", "a27_s8_t4"} & set(dataset.by_id)
    assert all(clip.has("depth") and clip.has("inertial") for clip in dataset.clips)
    frames = [clip.pose.frames for clip in dataset.clips]
    assert (min(frames), max(frames)) == (41, 125)


def test_the_real_joints_are_where_their_names_say(data_root):
    dataset = read_dataset("utd-mhad", data_root("utd-mhad"))
    mean = np.mean([clip.pose.points[0].mean(0) for clip in dataset.clips], 0)
    joints = dict(zip(dataset.clips[0].pose.layout.joints, mean, strict=True))
    heights = [joints[name][1] for name in ("head", "shoulder_center", "spine", "hip_center", "left_knee", "left_foot")]
    assert heights == sorted(heights, reverse=True)
    for part in ("shoulder", "hip", "foot"):
        assert joints[f"left_{part}"][0] < joints[f"right_{part}"][0]


def test_real_depth_has_the_frames_of_its_skeleton(data_root):
    clip = read_dataset("utd-mhad", data_root("utd-mhad")).by_id["a1_s1_t1"]
    assert clip.depth.frames.shape == (clip.pose.frames, 240, 320)
    assert clip.depth.frames.max() < 4000 and (clip.depth.frames == 0).mean() > 0.9
    assert clip.inertial.signals.shape[1] == 6 and clip.inertial.placement == "right wrist"
