"""Geometry of skeleton batches: what each function promises, on random skeletons with and without unobserved joints."""

import pytest
import torch

from kinema.errors import LayoutError, RecipeError
from kinema.layout import LAYOUTS, custom_layout, get_layout
from kinema.transforms import pose

NTU = get_layout("ntu25")
SEED = 3


def generator(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def skeletons(masked: bool = False, clips: int = 4, persons: int = 2, dims: int = 3):
    """Random walks of random skeletons, all joints but the first clip's observed with probability .7 where `masked`."""
    g = generator(0)
    x = torch.randn(clips, persons, 1, len(NTU), dims, generator=g)
    x = x + 0.1 * torch.randn(clips, persons, 9, len(NTU), dims, generator=g).cumsum(2)
    if not masked:
        return x, None
    mask = torch.rand(x.shape[:4], generator=g) < 0.7
    mask[0] = True
    return pose.zero_unobserved(x, mask), mask


def bone_lengths(x):
    return (x - x[..., NTU.parents, :]).norm(dim=-1)


def assert_unobserved_are_zero(x, mask):
    assert not x[~mask].any()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("center", [pose.center_root, pose.center_first])
def test_centring_makes_the_place_irrelevant(center, masked):
    x, mask = skeletons(masked)
    moved = pose.zero_unobserved(x + torch.tensor([3.0, -1.0, 2.0]), mask)
    torch.testing.assert_close(center(moved, mask, NTU.root), center(x, mask, NTU.root), atol=1e-5, rtol=0)


def test_centring_on_the_root_puts_each_persons_root_at_the_origin_in_every_frame():
    x, _ = skeletons()
    assert pose.center_root(x, None, NTU.root)[..., NTU.root, :].abs().max() == 0


def test_centring_on_the_first_frame_keeps_distances_between_persons():
    x, _ = skeletons()
    centred = pose.center_first(x, None, NTU.root)
    torch.testing.assert_close(centred[:, 0] - centred[:, 1], x[:, 0] - x[:, 1], atol=1e-6, rtol=0)
    assert centred[:, 0, 0, NTU.root].abs().max() == 0


def test_an_unobserved_root_is_taken_from_the_nearest_frame_or_else_from_the_other_joints():
    x, _ = skeletons(clips=1, persons=2)
    mask = torch.ones(x.shape[:4], dtype=torch.bool)
    mask[0, 0, :4, NTU.root] = False
    mask[0, 1, :, NTU.root] = False
    x = pose.zero_unobserved(x, mask)
    track = pose.root_track(x, mask, NTU.root)
    assert torch.equal(track[0, 0, 0], x[0, 0, 4, NTU.root])
    torch.testing.assert_close(track[0, 1], x[0, 1].sum(-2) / 24)


def test_the_first_person_who_was_observed_is_the_centre():
    x, _ = skeletons(clips=2)
    mask = torch.ones(x.shape[:4], dtype=torch.bool)
    mask[1, 0] = False
    x = pose.zero_unobserved(x, mask)
    assert torch.equal(pose.first_root(x, mask, NTU.root), torch.stack([x[0, 0, 0, NTU.root], x[1, 1, 0, NTU.root]]))


def test_nearest_observed_prefers_the_earlier_of_two():
    seen = torch.tensor([[0, 1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    assert pose.nearest_observed(seen).tolist() == [[1, 1, 1, 1, 5, 5, 5], [0] * 7]


@pytest.mark.parametrize("dims", [2, 3])
def test_torso_length_scales_with_the_person_and_survives_missing_joints(dims):
    x, _ = skeletons(dims=dims)
    length = pose.torso_length(x, None, NTU)
    torch.testing.assert_close(pose.torso_length(2.5 * x, None, NTU), 2.5 * length)
    still = x[:, :, :1].expand_as(x)
    mask = torch.ones(x.shape[:4], dtype=torch.bool)
    mask[:, :, 2:5] = False
    torch.testing.assert_close(pose.torso_length(pose.zero_unobserved(still, mask), mask, NTU), pose.torso_length(still, None, NTU))
    assert pose.torso_length(torch.zeros_like(x), torch.zeros_like(mask), NTU).isnan().all()
    assert pose.torso_length(torch.zeros_like(x), None, NTU).isnan().all()


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_a_torso_and_a_facing(name):
    layout = get_layout(name)
    x = torch.randn(2, 1, 3, len(layout), 3, generator=generator())
    assert pose.torso_length(x, None, layout).isfinite().all()
    assert pose.view_rotation(x, None, layout).isfinite().all()


def test_a_layout_without_hips_says_what_it_would_need():
    layout = custom_layout(("neck", "head"), [("head", "neck")], root="neck", name="bust")
    with pytest.raises(LayoutError, match="hips: left_hip and right_hip or hip_center"):
        pose.torso_length(torch.zeros(1, 1, 2, 2, 3), None, layout)


@pytest.mark.parametrize("masked", [False, True])
def test_alignment_turns_about_the_vertical_until_the_shoulders_lie_along_x(masked):
    x, mask = skeletons(masked)
    aligned = pose.align_view(x, mask, NTU)
    torch.testing.assert_close(aligned[..., 1], x[..., 1])
    line = (aligned[..., NTU.index("right_shoulder"), :] - aligned[..., NTU.index("left_shoulder"), :])[0, 0, 0]
    assert line[0] > 0 and abs(line[2]) < 1e-5
    turned = pose.linear(x, pose.random_rotation(len(x), 3, rotate=180, generator=generator()))
    torch.testing.assert_close(pose.align_view(turned, mask, NTU), aligned, atol=1e-4, rtol=0)


def test_alignment_leaves_a_clip_without_shoulders_as_it_is():
    x, _ = skeletons(clips=1)
    mask = torch.ones(x.shape[:4], dtype=torch.bool)
    mask[..., NTU.index("left_shoulder")] = False
    x = pose.zero_unobserved(x, mask)
    assert torch.equal(pose.align_view(x, mask, NTU), x)


@pytest.mark.parametrize("dims", [2, 3])
def test_mirroring_twice_is_the_identity_and_leaves_y_alone(dims):
    x, mask = skeletons(masked=True, dims=dims)
    once, once_mask = pose.mirror(x, mask, NTU.mirror)
    twice, twice_mask = pose.mirror(once, once_mask, NTU.mirror)
    assert torch.equal(twice, x) and torch.equal(twice_mask, mask)
    left, right = NTU.index("left_hand"), NTU.index("right_hand")
    assert torch.equal(once[..., left, 1:], x[..., right, 1:]) and torch.equal(once[..., left, 0], -x[..., right, 0])
    assert torch.equal(once_mask[..., left], mask[..., right])
    assert_unobserved_are_zero(once, once_mask)


def test_mirroring_some_clips_leaves_the_others():
    x, mask = skeletons(masked=True)
    which = torch.tensor([True, False, False, True])
    some, some_mask = pose.mirror(x, mask, NTU.mirror, which)
    every, every_mask = pose.mirror(x, mask, NTU.mirror)
    assert torch.equal(some[which], every[which]) and torch.equal(some[~which], x[~which])
    assert torch.equal(some_mask[which], every_mask[which]) and torch.equal(some_mask[~which], mask[~which])


def test_swapping_sides_changes_the_hand_but_not_the_way_that_a_body_faces():
    x, mask = skeletons(masked=True)
    every = torch.ones(len(x), dtype=torch.bool)
    once, once_mask = pose.swap_sides(x, mask, NTU, every)
    twice, twice_mask = pose.swap_sides(once, once_mask, NTU, every)
    torch.testing.assert_close(twice, x)
    assert torch.equal(twice_mask, mask)
    assert_unobserved_are_zero(once, once_mask)
    shoulders = [NTU.index("left_shoulder"), NTU.index("right_shoulder")]

    def facing(x, mask):
        seen = mask[..., shoulders].all(-1, keepdim=True)
        line = ((x[..., shoulders[0], :] - x[..., shoulders[1], :]) * seen).sum(2)
        return torch.atan2(line[..., 2], line[..., 0])

    torch.testing.assert_close(facing(once, once_mask), facing(x, mask))
    some, _ = pose.swap_sides(x, mask, NTU, torch.tensor([True, False, False, True]))
    assert torch.equal(some[1:3], x[1:3]) and torch.equal(some[[0, 3]], once[[0, 3]])


def test_swapping_the_sides_of_who_faces_the_camera_is_mirroring():
    x, mask = skeletons(masked=True)
    left, right = NTU.index("left_shoulder"), NTU.index("right_shoulder")
    mask[..., [left, right]] = True
    x[..., left, :] = torch.tensor([0.2, 1.4, 0.0])
    x[..., right, :] = torch.tensor([-0.2, 1.4, 0.0])
    swapped, swapped_mask = pose.swap_sides(x, mask, NTU, torch.ones(len(x), dtype=torch.bool))
    mirrored, mirrored_mask = pose.mirror(x, mask, NTU.mirror)
    torch.testing.assert_close(swapped, mirrored)
    assert torch.equal(swapped_mask, mirrored_mask)
    with pytest.raises(RecipeError, match="swapping sides needs 3-D points"):
        pose.swap_sides(x[..., :2], mask, NTU, torch.ones(len(x), dtype=torch.bool))


TURNS = {
    "rotate": (3, lambda n: pose.random_rotation(n, 3, 40, 0, generator())),
    "tilt": (3, lambda n: pose.random_rotation(n, 3, 0, 15, generator())),
    "both": (3, lambda n: pose.random_rotation(n, 3, 40, 15, generator())),
    "roll": (3, lambda n: pose.random_roll(n, 3, 20, generator())),
    "roll in the picture": (2, lambda n: pose.random_roll(n, 2, 20, generator())),
}


@pytest.mark.parametrize("turn", TURNS)
def test_rotation_keeps_bone_lengths_and_turns_every_clip_its_own_way(turn):
    dims, make = TURNS[turn]
    x, _ = skeletons(dims=dims)
    matrix = make(len(x))
    turned = pose.linear(x, matrix)
    torch.testing.assert_close(bone_lengths(turned), bone_lengths(x))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(len(x), dtype=torch.float64))
    assert not torch.allclose(matrix[0], matrix[1])


def test_rotation_about_the_vertical_keeps_heights_and_its_limit():
    matrix = pose.random_rotation(1000, 3, rotate=30, generator=generator())
    angles = torch.rad2deg(torch.atan2(matrix[:, 0, 2], matrix[:, 0, 0]))
    assert 29 < angles.abs().max() <= 30 and abs(angles.mean()) < 2
    assert torch.equal(matrix[:, 1], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand(1000, 3))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_roll_keeps_its_limit_and_whatever_lies_in_depth(dims):
    matrix = pose.random_roll(1000, dims, 10, generator())
    angles = torch.rad2deg(torch.atan2(matrix[:, 0, 1], matrix[:, 0, 0]))
    assert 9.5 < angles.abs().max() <= 10 and abs(angles.mean()) < 1
    assert dims == 2 or torch.equal(matrix[:, 2], torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(1000, 3))


def test_an_image_shows_the_left_hand_of_who_faces_the_camera_on_its_right():
    seen = pose.project(torch.tensor([-0.3, 1.0, 2.0]))  # his left hand, 1 m up
    assert seen.tolist() == pytest.approx([0.3, -1.0])


@pytest.mark.parametrize("turn", [{"rotate": 10}, {"tilt": 10}], ids=str)
def test_flat_points_cannot_turn_about_the_axes_of_space(turn):
    with pytest.raises(RecipeError, match="3-D points"):
        pose.random_rotation(2, 2, **turn)
    with pytest.raises(RecipeError, match="3-D points"):
        pose.view_rotation(torch.zeros(1, 1, 2, 25, 2), None, NTU)


def test_the_smallest_rotation_takes_a_direction_to_another():
    g = torch.randn(50, 3, generator=generator(), dtype=torch.float64)
    goal = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    source = torch.cat([g, goal[None], -goal[None], torch.zeros(1, 3, dtype=torch.float64)])
    matrix = pose.rotation_onto(source, (0.0, 0.0, 1.0))
    unit = source[:-1] / source[:-1].norm(dim=-1, keepdim=True)
    torch.testing.assert_close((matrix[:-1] @ unit.unsqueeze(-1)).squeeze(-1), goal.expand(52, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(53, dtype=torch.float64))
    torch.testing.assert_close(matrix[-1], torch.eye(3, dtype=torch.float64))
    angle = torch.arccos(unit[:50, 2])
    trace = matrix[:50].diagonal(dim1=1, dim2=2).sum(-1)
    torch.testing.assert_close(trace, 1 + 2 * angle.cos())  # the angle of the rotation is the angle between the two


def test_scaling_and_shear_stay_within_their_limits():
    scaling = pose.random_scaling(500, 3, 0.2, generator())
    assert ((scaling[:, 0, 0] >= 0.8) & (scaling[:, 0, 0] <= 1.2)).all() and scaling[:, 0, 1].abs().max() == 0
    assert torch.equal(scaling[:, 0, 0], scaling[:, 2, 2])
    shear = pose.random_shear(500, 2, 0.3, generator())
    assert torch.equal(shear.diagonal(dim1=1, dim2=2), torch.ones(500, 2, dtype=torch.float64))
    assert 0.29 < shear[:, 0, 1].abs().max() <= 0.3


RANDOM = {
    "jitter": lambda x, mask, g: (pose.jitter(x, mask, 0.05, g), mask),
    "drop_joints": lambda x, mask, g: pose.drop_joints(x, mask, 0.3, g),
    "drop_frames": lambda x, mask, g: pose.drop_frames(x, mask, 0.3, g),
    "limbs": lambda x, mask, g: (pose.shorten_limbs(x, mask, NTU, 0.5, g), mask),
    "hide_legs": lambda x, mask, g: pose.hide_legs(x, mask, NTU, 0.6, g),
    "rotation": lambda x, mask, g: (pose.linear(x, pose.random_rotation(len(x), 3, 30, 10, g)), mask),
    "scaling": lambda x, mask, g: (pose.linear(x, pose.random_scaling(len(x), 3, 0.3, g)), mask),
    "shear": lambda x, mask, g: (pose.linear(x, pose.random_shear(len(x), 3, 0.3, g)), mask),
    "mixing": lambda x, mask, g: pose.mix_points(x, mask, *pose.draw_mix(len(x), 1.0, g)),
}


def test_limbs_become_shorter_alike_on_both_sides_and_keep_their_directions():
    x, _ = skeletons(clips=300)
    changed = pose.shorten_limbs(x, None, NTU, 0.4, generator())
    torch.testing.assert_close(changed[..., NTU.root, :], x[..., NTU.root, :])
    parts, kept = (points - points[..., NTU.parents, :] for points in (x, changed))
    bones = [child for child, _ in NTU.bones]
    factor = (kept.norm(dim=-1) / parts.norm(dim=-1))[..., bones]
    torch.testing.assert_close(kept[..., bones, :], factor[..., None] * parts[..., bones, :], atol=1e-4, rtol=1e-4)
    assert 0.6 - 1e-3 <= factor.min() < 0.62 and 0.98 < factor.max() <= 1 + 1e-3
    torch.testing.assert_close(factor, factor[:, :1, :1].expand_as(factor), atol=1e-2, rtol=1e-2)  # of all persons, throughout
    whole = torch.ones(300, len(NTU))
    whole[:, bones] = factor[:, 0, 0]
    torch.testing.assert_close(whole, whole[:, NTU.mirror], atol=1e-3, rtol=1e-3)


def test_a_bone_of_which_an_end_is_hidden_keeps_its_place():
    x, _ = skeletons()
    mask = torch.ones(x.shape[:4], dtype=torch.bool)
    elbow, hand = NTU.index("left_elbow"), NTU.index("left_hand")
    mask[..., elbow] = False
    x = pose.zero_unobserved(x, mask)
    changed = pose.shorten_limbs(x, mask, NTU, 0.5, generator())
    assert_unobserved_are_zero(changed, mask)
    assert (changed[..., hand, :] - x[..., hand, :]).abs().max() < 20  # moves with the arm above, not towards the hidden joint's zero


def test_legs_are_hidden_as_often_as_asked_for_and_half_of_the_time_with_the_knees():
    x, _ = skeletons(clips=400)
    _, mask = pose.hide_legs(x, None, NTU, 0.4, generator())
    hidden = {
        joint: 1 - mask[..., NTU.index(joint)].float().mean() for joint in ("left_foot", "right_ankle", "left_knee", "left_hip", "head")
    }
    expected = {"left_foot": 0.4, "right_ankle": 0.4, "left_knee": 0.2, "left_hip": 0, "head": 0}
    assert all(abs(share - expected[joint]) < 0.06 for joint, share in hidden.items())
    assert torch.equal(mask[:, 0, 0], mask[:, 1, 5])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", RANDOM)
def test_the_same_seed_gives_the_same_result_and_another_seed_another(name, masked):
    x, mask = skeletons(masked)
    one, two, other = (RANDOM[name](x.clone(), mask, generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


@pytest.mark.parametrize("name", RANDOM)
def test_unobserved_joints_stay_zero(name):
    x, mask = skeletons(masked=True)
    assert_unobserved_are_zero(*RANDOM[name](x, mask, generator()))


def test_dropping_masks_about_the_share_that_was_asked_for():
    x, _ = skeletons(clips=200)
    _, joints = pose.drop_joints(x, None, 0.25, generator())
    _, frames = pose.drop_frames(x, None, 0.25, generator())
    assert abs(joints[:, 0, 0].float().mean() - 0.75) < 0.03 and torch.equal(joints[:, 0, 0], joints[:, 1, 5])
    assert abs(frames[:, 0, :, 0].float().mean() - 0.75) < 0.04 and torch.equal(frames[:, 0, :, 0], frames[:, 1, :, 7])
