"""The values that everything speaks: what they accept, what they refuse, and how they change into one another."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kinema.clip import Clip, DepthSequence, InertialSequence, Lazy, PoseSequence
from kinema.errors import DataError, LayoutError
from kinema.layout import LAYOUTS

POINTS = np.random.default_rng(0).normal(size=(2, 6, 17, 3))
EVERYWHERE = np.ones((2, 6, 17), bool)


def but(value, *where):
    changed = np.array(value)
    changed[where[:-1]] = where[-1]
    return changed


def test_a_pose_is_kept_as_read_only_single_precision():
    pose = PoseSequence(POINTS, "coco17")
    assert (pose.persons, pose.frames, pose.dims, pose.layout.name) == (2, 6, 3, "coco17")
    assert pose.points.dtype == np.float32 and not pose.points.flags.writeable
    written = POINTS.copy()
    held = PoseSequence(written, "coco17")
    written[:] = 0
    assert held.points.any()
    assert pose.duration == pytest.approx(5 / 30)


def test_a_read_only_array_is_not_copied():
    points = POINTS.astype(np.float32)
    points.setflags(write=False)
    assert PoseSequence(points, "coco17").points is points


BAD_POSES = {
    "three axes": ({"points": POINTS[0]}, "persons x frames x joints x 2 or 3"),
    "four coordinates": ({"points": np.ones((1, 2, 17, 4))}, "persons x frames x joints x 2 or 3"),
    "16 joints": ({"points": POINTS[:, :, :16]}, "16 joints; layout 'coco17' has 17"),
    "nobody": ({"points": POINTS[:0]}, "0 persons and 6 frames"),
    "no frames": ({"points": POINTS[:, :0]}, "2 persons and 0 frames"),
    "NaN": ({"points": but(POINTS, 1, 2, 0, 1, np.nan)}, "person 1, frame 2, joint nose: nan is not a finite number"),
    "infinity": ({"points": but(POINTS, 0, 0, 16, 0, -np.inf)}, "joint right_ankle: -inf is not a finite number"),
    "too large for single precision": ({"points": POINTS * 1e300}, "is not a finite number"),
    "unit": ({"unit": "cm"}, "unit 'cm' is not one of m, mm, px, norm"),
    "y axis": ({"y_axis": "left"}, "y_axis 'left' is not one of up, down"),
    "mask shape": ({"mask": EVERYWHERE[:1]}, r"mask has shape \(1, 6, 17\); 2 x 6 x 17 is expected"),
    "NaN that is observed": ({"points": but(POINTS, 0, 0, 0, 0, np.nan), "mask": but(EVERYWHERE, 0, 0, 1, False)}, "not a finite number"),
    "score shape": ({"score": np.ones((2, 6))}, "score has shape"),
    "score above 1": ({"score": EVERYWHERE * 1.1}, "scores must lie in 0..1"),
    "score NaN": ({"score": EVERYWHERE * np.nan}, "scores must lie in 0..1"),
    "rate": ({"fps": 0.0}, "fps is 0.0; a positive number"),
    "rate NaN": ({"fps": float("nan")}, "fps is nan"),
    "times too few": ({"times": np.arange(5)}, r"times has shape \(5,\); 6 is expected"),
    "times backwards": ({"times": [0, 1, 2, 1, 3, 4]}, "must not run backwards"),
    "times infinite": ({"times": [0, 1, 2, 3, 4, np.inf]}, "times must be finite"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("case", BAD_POSES)
def test_what_is_no_pose_is_refused(case):
    fields, message = BAD_POSES[case]
    with pytest.raises(DataError, match=message):
        PoseSequence(**{"points": POINTS, "layout": "coco17", **fields})


def test_an_unknown_layout_is_refused():
    with pytest.raises(LayoutError, match="did you mean 'coco17'"):
        PoseSequence(POINTS, "coco_17")


def test_unobserved_joints_are_masked_and_cleared():
    pose = PoseSequence(but(POINTS, 0, 1, 2, np.nan), "coco17", mask=but(EVERYWHERE, 0, 1, 2, False))
    assert (pose.points[0, 1, 2] == 0).all() and not pose.observed[0, 1, 2] and pose.observed.sum() == pose.observed.size - 1
    assert PoseSequence(POINTS, "coco17", mask=EVERYWHERE).mask is None
    assert PoseSequence(POINTS, "coco17").observed.all()


def test_converting_the_layout_moves_points_masks_and_scores():
    mask = but(EVERYWHERE, 0, 0, 11, False)  # the left hip
    score = np.full(EVERYWHERE.shape, 0.8)
    score[:, :, 12] = 0.3
    pose = PoseSequence(POINTS, "coco17", mask=mask, score=score).to_layout("cad60")
    joints = LAYOUTS["cad60"].index
    np.testing.assert_allclose(pose.points[:, :, joints("right_knee")], POINTS[:, :, 14], rtol=1e-6)
    np.testing.assert_allclose(pose.points[1, :, joints("neck")], POINTS[1, :, 5:7].mean(1), rtol=1e-5)
    assert not pose.mask[0, 0, joints("left_hip")] and not pose.mask[0, 0, joints("spine")] and pose.mask[0, 0, joints("right_hip")]
    assert pose.score[1, 0, joints("spine")] == pytest.approx(0.3) and pose.score[1, 0, joints("neck")] == pytest.approx(0.8)
    assert pose.to_layout("cad60") is pose


def test_a_joint_that_cannot_be_derived_is_an_error_or_masked():
    pose = PoseSequence(POINTS, "coco17", score=EVERYWHERE * 0.5)
    with pytest.raises(LayoutError, match="nothing to derive"):
        pose.to_layout("openpose25")
    with_gaps = pose.to_layout("openpose25", allow_missing=True)
    gap = LAYOUTS["openpose25"].index("left_heel")
    assert not with_gaps.mask[:, :, gap].any() and (with_gaps.points[:, :, gap] == 0).all() and (with_gaps.score[:, :, gap] == 0).all()
    assert with_gaps.mask[:, :, 0].all()


def test_units_convert_between_metres_and_millimetres_alone():
    pose = PoseSequence(POINTS, "coco17", "m")
    np.testing.assert_allclose(pose.to_unit("mm").points, POINTS * 1000, rtol=1e-6)
    np.testing.assert_allclose(pose.to_unit("mm").to_unit("m").points, POINTS, rtol=1e-6)
    assert pose.to_unit("m") is pose
    with pytest.raises(DataError, match="unit 'm' cannot be converted to 'px'"):
        pose.to_unit("px")
    with pytest.raises(DataError, match="unit 'norm' cannot be converted to 'm'"):
        PoseSequence(POINTS, "coco17", "norm").to_unit("m")


def test_frames_and_persons_are_selected_with_everything_that_goes_with_them():
    pose = PoseSequence(POINTS, "coco17", mask=but(EVERYWHERE, 1, 4, 0, False), score=EVERYWHERE * 0.5, times=np.arange(6) / 10)
    part = pose.select_frames(np.array([0, 4, 4]))
    np.testing.assert_array_equal(part.points, pose.points[:, [0, 4, 4]])
    assert part.times.tolist() == [0, 0.4, 0.4] and not part.mask[1, 1, 0] and part.score.shape == (2, 3, 17)
    assert pose.select_frames(slice(1, 3)).frames == 2 and pose.duration == pytest.approx(0.5)
    second = pose.select_persons(slice(1, 2))
    assert second.persons == 1 and not second.mask[0, 4, 0]
    with pytest.raises(DataError, match="0 frames"):
        pose.select_frames(slice(0, 0))


def test_depth_frames():
    depth = DepthSequence(np.ones((3, 4, 5), np.int32))
    assert depth.frames.dtype == np.uint16 and not depth.frames.flags.writeable
    for frames, message in [(np.ones((3, 4)), "depth frames has shape"), (np.ones((0, 4, 5)), "at least one frame of one pixel")]:
        with pytest.raises(DataError, match=message):
            DepthSequence(frames)
    with pytest.raises(DataError, match="fps is -1"):
        DepthSequence(np.ones((3, 4, 5)), fps=-1)


def test_signals():
    signals = InertialSequence(np.ones((7, 2)), ("acc_x", "acc_y"))
    assert signals.signals.shape == (7, 2) and signals.rate == 50
    for value, message in [
        (np.ones((7, 3)), "signals has shape"),
        (np.ones((0, 2)), "there are no samples"),
        (but(np.ones((7, 2)), 3, 1, np.inf), "sample 3, channel acc_y: inf is not a finite number"),
    ]:
        with pytest.raises(DataError, match=message):
            InertialSequence(value, ("acc_x", "acc_y"))
    with pytest.raises(DataError, match="fps is 0"):
        InertialSequence(np.ones((7, 2)), ("a", "b"), rate=0)


def make_pose(layout="coco17"):
    return PoseSequence(POINTS, layout)


def test_a_clip_reads_what_is_lazy_when_it_is_asked_for():
    clip = Clip("a", {"pose": Lazy(make_pose)}, source=Path("a.npz"))
    assert clip.has("pose") and not clip.has("depth") and clip.pose.frames == 6
    assert pickle.loads(pickle.dumps(clip)).pose.frames == 6
    with pytest.raises(DataError, match=r"a.npz: clip 'a' has no depth; it has pose"):
        _ = clip.depth
    with pytest.raises(DataError, match="clip 'b' has no pose; it has nothing"):
        _ = Clip("b").pose
    with pytest.raises(DataError, match=r"a.npz: unknown joint layout 'coco'"):
        _ = Clip("a", {"pose": Lazy(partial(make_pose, "coco"))}, source=Path("a.npz")).pose


def test_errors_name_the_place_and_survive_other_processes():
    error = DataError("is bad", "x.mat", "line 3")
    assert str(error) == "x.mat, line 3: is bad"
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.path, back.where, back.reason) == (str(error), "x.mat", "line 3", "is bad")
