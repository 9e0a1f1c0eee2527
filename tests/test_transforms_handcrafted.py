"""Handcrafted features: what each column is, on skeletons made here; and the cuts of CAD-60's recordings."""

import numpy as np
import pytest
import torch

from kinema.datasets.base import read_dataset
from kinema.errors import LayoutError
from kinema.layout import get_layout
from kinema.transforms.config import PoseInput
from kinema.transforms.handcrafted import FEATURES, column_names, features, positions, posture
from kinema.transforms.samples import PoseSamples

LAYOUT = get_layout("cad60")
CUTS = PoseInput(layout="cad60", frames=4, window=120, stride=120, sampling="skip", step=30, phases=tuple(range(30)))


def skeletons(batch=5, frames=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.5, (batch, frames, len(LAYOUT), 3)))


def plain(x, first):
    """The 16 features of one frame, written out; `first`: the first frame."""
    at = {joint: x[i].numpy() for i, joint in enumerate(LAYOUT.joints)}
    start = {joint: first[i].numpy() for i, joint in enumerate(LAYOUT.joints)}

    def far(a, b):
        return float(np.sqrt(((at[a] - at[b]) ** 2).sum()))

    moved = {joint: (at[joint] - at["spine"]) - (start[joint] - start["spine"]) for joint in ("left_hand", "right_hand", "head")}
    across = at["left_shoulder"] - at["right_shoulder"]
    return [
        far("left_hand", "spine"),
        far("right_hand", "spine"),
        far("left_elbow", "spine"),
        far("right_elbow", "spine"),
        far("left_hand", "right_hand"),
        far("head", "spine"),
        far("left_shoulder", "left_foot") + far("right_shoulder", "right_foot"),
        far("left_knee", "spine") + far("right_knee", "spine"),
        *(moved[joint][axis] for joint in moved for axis in (0, 1)),
        np.hypot(across[0], across[1]) / np.sqrt((across**2).sum()),
        far("left_hand", "left_knee") + far("right_hand", "right_knee"),
    ]


def test_features_are_what_their_names_say():
    x = skeletons()
    found = features(x, LAYOUT)
    assert found.shape == (5, 4, 16) and len(FEATURES) == 16
    expected = [[plain(frame, sample[0]) for frame in sample] for sample in x]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_sixty_four_columns_each_with_a_name_of_its_own():
    names = column_names(4)
    assert len(names) == len(set(names)) == 64
    assert names[0] == "frame1_left_hand_to_torso" and names[16 + 8] == "frame2_left_hand_dx"


def test_a_floor_loses_every_movement_in_the_negative_direction():
    x = skeletons(seed=1)
    signed, floored = features(x, LAYOUT), features(x, LAYOUT, floor=1e-6)
    moving = [i for i, name in enumerate(FEATURES) if name.endswith(("dx", "dy"))]
    assert len(moving) == 6 and (signed[..., moving] < 0).any()
    torch.testing.assert_close(floored[..., moving], signed[..., moving].clamp(min=1e-6))
    others = [i for i in range(16) if i not in moving]
    torch.testing.assert_close(floored[..., others], signed[..., others])


@pytest.mark.parametrize(("line", "turn"), [((1, 0, 0), 1), ((0, 0, 1), 0), ((1, 0, 1), 0.5**0.5), ((0, 0, 0), 0)])
def test_body_turn_is_one_facing_the_camera_and_none_in_profile(line, turn):
    x = torch.zeros(1, 1, len(LAYOUT), 3, dtype=torch.float64)
    x[..., LAYOUT.index("left_shoulder"), :] = torch.tensor(line, dtype=torch.float64)
    assert features(x, LAYOUT)[0, 0, FEATURES.index("body_turn")].item() == pytest.approx(turn)


@pytest.mark.parametrize("make", [features, positions, posture])
def test_it_does_not_matter_where_the_person_stands(make):
    x = skeletons(seed=2)
    torch.testing.assert_close(make(x + torch.tensor([1.0, -2, 3]), LAYOUT), make(x, LAYOUT))


def test_positions_are_seen_from_the_root_and_posture_adds_how_the_arms_reach():
    x = skeletons(seed=3)
    spine, head, hand = (x[:, :, LAYOUT.index(joint)] for joint in ("spine", "head", "left_hand"))
    place, more = positions(x, LAYOUT), posture(x, LAYOUT)
    assert place.shape == (5, 4, 42) and more.shape == (5, 4, 63)
    torch.testing.assert_close(place[..., :3], head - spine)
    torch.testing.assert_close(more[..., :42], place)
    torch.testing.assert_close(more[..., 42:45], hand - head)


def test_joints_that_a_layout_lacks_are_told():
    with pytest.raises(LayoutError, match="coco17"):
        features(torch.zeros(1, 1, 17, 3), get_layout("coco17"))


def test_cad60_has_547_cuts_and_16410_samples(data_root):
    dataset = read_dataset("cad60", data_root("cad60"))
    samples = PoseSamples.from_clips([clip for clip in dataset.clips if clip.label is not None], CUTS)
    cuts = {}
    for clip, start, length in zip(samples.clip_of.tolist(), samples.starts.tolist(), samples.lengths.tolist(), strict=True):
        cuts.setdefault(samples.clip_ids[clip], set()).add((start, length))
    frames = {clip.id: clip.pose.frames for clip in dataset.clips}
    person = {clip.id: clip.subject for clip in dataset.clips}
    assert len(samples) == 16410 and len(cuts) == 60
    assert all(found == {(120 * i, 120) for i in range(frames[clip_id] // 120)} for clip_id, found in cuts.items())
    counts = {name: sum(len(found) for clip_id, found in cuts.items() if person[clip_id] == name) for name in "1234"}
    assert counts == {"1": 136, "2": 128, "3": 130, "4": 153} and sum(counts.values()) == 547
