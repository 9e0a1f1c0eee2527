"""Feature streams: what they are made of, and how what was not observed propagates."""

import pytest
import torch

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.transforms import pose
from kinema.transforms.config import STREAMS
from kinema.transforms.streams import bone, motion, streams

CAD = get_layout("cad60")


def skeletons():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(3, 2, 6, len(CAD), 3, generator=g)
    mask = torch.rand(x.shape[:4], generator=g) < 0.8
    return pose.zero_unobserved(x, mask), mask


def test_bones_point_from_the_parent_and_are_observed_where_both_ends_are():
    x, mask = skeletons()
    bones, seen = bone(x, mask, CAD.parents)
    for child, parent in CAD.bones:
        both = mask[..., child] & mask[..., parent]
        assert torch.equal(seen[..., child], both)
        assert torch.equal(bones[..., child, :], (x[..., child, :] - x[..., parent, :]) * both.unsqueeze(-1))
    assert not bones[..., CAD.root, :].any()


def test_motion_leads_to_the_next_frame_and_ends_at_rest():
    x, mask = skeletons()
    moved, seen = motion(x, mask)
    both = mask[:, :, :-1] & mask[:, :, 1:]
    assert torch.equal(seen[:, :, :-1], both) and not moved[:, :, -1].any()
    assert torch.equal(moved[:, :, :-1], (x[:, :, 1:] - x[:, :, :-1]) * both.unsqueeze(-1))


@pytest.mark.parametrize("names", [("joint",), ("bone", "joint"), ("bone_motion",), STREAMS])
def test_streams_lie_side_by_side_in_the_order_asked_for(names):
    x, _ = skeletons()
    made, _ = streams(x, None, names, CAD.parents)
    assert made.shape == (*x.shape[:4], 3 * len(names))
    single = {"joint": x, "bone": bone(x, None, CAD.parents)[0], "joint_motion": motion(x, None)[0]}
    single["bone_motion"] = motion(single["bone"], None)[0]
    for i, name in enumerate(names):
        torch.testing.assert_close(made[..., 3 * i : 3 * i + 3], single[name])


def test_unobserved_joints_leak_into_no_stream():
    x, mask = skeletons()
    clean, seen = streams(x, mask, STREAMS, CAD.parents)
    dirty, _ = streams(torch.where(mask.unsqueeze(-1), x, 1e6), mask, STREAMS, CAD.parents)
    assert torch.equal(dirty[..., 3:], clean[..., 3:])  # the joint stream is the input itself
    assert torch.equal(seen, mask)
    bones, seen_bones = streams(x, mask, ("bone", "bone_motion"), CAD.parents)
    assert torch.equal(seen_bones, bone(x, mask, CAD.parents)[1]) and not bones[~seen_bones].any()


def test_an_unknown_stream_is_named():
    with pytest.raises(RecipeError, match="did you mean 'bone'"):
        streams(torch.zeros(1, 1, 2, len(CAD), 3), None, ("bones",), CAD.parents)
