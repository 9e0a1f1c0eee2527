"""3-D skeletons and 2-D poses made one kind of input: 2-D poses, as an image shows them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.clip import Clip, PoseSequence
from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.transforms.config import PoseAugment, PoseInput
from kinema.transforms.samples import PoseSamples

INPUT = PoseInput(layout="coco15", frames=8, sampling="segments", center="none", project=True)
LAYOUT = get_layout("coco15")
LEFT, HIP = LAYOUT.index("left_wrist"), LAYOUT.index("mid_hip")


def facing(name="3-D", seed=0, **changes):
    """Somebody who faces a depth sensor, 3 m away, and moves at random; left is at smaller x there."""
    layout = get_layout("utd-mhad")
    points = np.zeros((1, 8, len(layout), 3), np.float32)
    for i, joint in enumerate(layout.joints):
        side = -1 if joint.startswith("left") else 1 if joint.startswith("right") else 0
        height = {"head": 1.6, "hip": 0.9, "knee": 0.5, "ankle": 0.1, "foot": 0.0, "hand": 0.8, "wrist": 0.9}
        points[:, :, i] = 0.2 * side, next((y for part, y in height.items() if part in joint), 1.4), 3
    points += np.random.default_rng(seed).normal(0, 0.02, points.shape).cumsum(1)
    return Clip(name, {"pose": PoseSequence(**{"points": points, "layout": layout, "unit": "m"} | changes)}, 0)


def picture_of(clip, name="2-D", **changes):
    """The same as an image without perspective shows it, 100 pixels a metre."""
    pose = clip.pose
    points = -100 * pose.points[..., :2] + 300
    return Clip(name, {"pose": PoseSequence(**{"points": points, "layout": pose.layout, "unit": "norm", "y_axis": "down"} | changes)}, 0)


def batch(clips, input=INPUT, seed=0, **augment):
    samples = PoseSamples.from_clips(clips, input)
    changes = PoseAugment(**augment) if augment else None
    return samples.batch(range(len(samples)), augment=changes, generator=torch.Generator().manual_seed(seed))


def test_a_skeleton_becomes_what_an_image_of_it_shows():
    body = facing()
    samples = PoseSamples.from_clips([body], INPUT)
    assert (samples.dims, samples.channels, samples.shape.channels) == (2, 2, 2)
    x = batch([body]).x[0, 0]
    np.testing.assert_allclose(x, -body.pose.to_layout("coco15").points[0, :, :, :2], atol=1e-6)
    assert (x[:, LEFT, 0] > x[:, HIP, 0]).all() and (x[:, LAYOUT.index("nose"), 1] < x[:, HIP, 1]).all()


@pytest.mark.parametrize("center", ["root", "first"])
def test_both_kinds_are_alike_once_they_are_centred_and_scaled(center):
    body = facing()
    x = batch([body, picture_of(body)], replace(INPUT, center=center, scale=True)).x
    torch.testing.assert_close(x[0], x[1], rtol=1e-4, atol=1e-4)


def test_axes_units_and_scores_of_both_kinds_are_read():
    body = facing()
    points = body.pose.points
    upside_down = facing("y down, mm", points=1000 * points * np.float32([-1, -1, 1]), unit="mm", y_axis="down")
    scored = picture_of(body, "scored", score=np.full(points.shape[:3], 0.5, np.float32))
    x = batch([body, upside_down, scored], replace(INPUT, center="root", scale=True, streams=("joint", "score"))).x
    torch.testing.assert_close(x[1], x[0], rtol=1e-4, atol=1e-4)
    assert (x[:2, ..., 2] == 1).all() and (x[2, ..., 2] == 0.5).all()


def test_skeletons_are_seen_from_other_sides_and_pictures_stay_as_they_are():
    body = facing()
    clips = [body, picture_of(body)]
    plain, turned = batch(clips).x, batch(clips, rotate=60, tilt=10).x
    torch.testing.assert_close(turned[1], plain[1], rtol=1e-4, atol=1e-3)
    assert (turned[0] - plain[0]).abs().max() > 0.05
    torch.testing.assert_close(turned[0, 0, 0, HIP], plain[0, 0, 0, HIP])  # about the first frame's root


@pytest.mark.parametrize("change", [{"roll": 20}, {"scale": 0.2}, {"shear": 0.2}, {"jitter": 0.02}, {"mirror": 1.0}], ids=str)
def test_other_changes_happen_to_both_kinds(change):
    clips = [facing(), picture_of(facing())]
    input = replace(INPUT, center="root", scale=True)
    plain, changed = batch(clips, input).x, batch(clips, input, **change).x
    assert ((changed - plain).abs().flatten(1).amax(1) > 0.01).all()


def test_a_mirrored_skeleton_is_the_mirror_image_of_its_picture():
    samples = PoseSamples.from_clips([facing(), picture_of(facing())], replace(INPUT, center="root", scale=True)).with_mirrored()
    x = samples.batch(range(4)).x
    torch.testing.assert_close(x[2], x[3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x[2][..., LEFT, 0], -x[0][..., LAYOUT.index("right_wrist"), 0])


def test_missing_joints_stay_missing():
    mask = np.ones((1, 8, 20), bool)
    mask[0, 3, get_layout("utd-mhad").index("left_wrist")] = False
    found = batch([facing(mask=mask)], rotate=30, jitter=0.1)
    assert not found.mask[0, 0, 3, LEFT] and not found.x[0, 0, 3, LEFT].any() and found.mask.sum() == found.mask.numel() - 1


def test_bodies_cannot_be_turned_to_the_front_where_pictures_cannot():
    with pytest.raises(RecipeError, match=r"input\.align turns 3-D bodies"):
        PoseSamples.from_clips([facing()], replace(INPUT, align=True))
    with pytest.raises(RecipeError, match="swapping sides needs 3-D points"):
        batch([facing()], swap_sides=0.5)


def test_actions_keep_their_sides(data_root):
    """UTD-MHAD's left and right are those of the person: in the picture of somebody who faces it, left is on the right."""
    from kinema.datasets.base import read_dataset

    clips = [clip for clip in read_dataset("utd-mhad", data_root("utd-mhad")).clips if clip.id.endswith("s1_t1")]
    x = batch(clips).x[:, 0].mean(1)
    assert len(clips) == 27 and (x[:, LAYOUT.index("left_shoulder"), 0] > x[:, LAYOUT.index("right_shoulder"), 0]).all()
