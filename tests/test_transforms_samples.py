"""Samples of clips: windows, views and preparation, on clips made here and on CAD-60's own recordings."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.clip import Clip, PoseSequence
from kinema.errors import DataError, LayoutError, RecipeError
from kinema.layout import get_layout
from kinema.transforms.config import STREAMS, PoseAugment, PoseInput
from kinema.transforms.samples import PoseSamples, window_starts

LAYOUT = get_layout("utd-mhad")
PLAIN = PoseInput(layout="utd-mhad", frames=16, center="none")
ALL = PoseAugment(rotate=20, tilt=10, scale=0.1, shear=0.1, jitter=0.01, crop=0.7, warp=0.2, mirror=0.5, drop_joints=0.1, drop_frames=0.1)


def clip(name="a", frames=40, persons=1, dims=3, label=0, seed=0, mask=None, layout=LAYOUT, **pose):
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 0.4, (persons, 1, len(layout), dims)) + rng.normal(0, 0.02, (persons, frames, len(layout), dims)).cumsum(1) + 2
    return Clip(name, {"pose": PoseSequence(points, layout, mask=mask, **pose)}, label=label)


def random_mask(frames=40, persons=1, share=0.7, seed=0):
    return np.random.default_rng(seed).random((persons, frames, len(LAYOUT))) < share


def everything(samples, **options):
    return samples.batch(range(len(samples)), **options)


@pytest.mark.parametrize(
    ("frames", "window", "stride", "starts"),
    [
        (100, 0, 0, [0]),
        (99, 100, 50, [0]),
        (100, 100, 50, [0]),
        (149, 100, 50, [0]),
        (150, 100, 50, [0, 50]),
        (30, 10, 0, [0, 10, 20]),
    ],
)
def test_windows_start_every_stride_while_they_lie_within_the_clip(frames, window, stride, starts):
    assert window_starts(frames, window, stride) == starts


def test_a_plain_input_gives_the_recording_itself():
    source = clip(frames=16)
    batch = everything(PoseSamples.from_clips([source], PLAIN))
    assert batch.mask is None and batch.labels.tolist() == [0]
    np.testing.assert_array_equal(batch.x[0], source.pose.points)


def test_samples_know_their_clips_labels_and_windows():
    samples = PoseSamples.from_clips([clip("a", 40, label=3), clip("b", 15, label=None)], replace(PLAIN, window=20, stride=10))
    assert samples.clip_ids == ("a", "b") and samples.channels == 3
    assert samples.clip_of.tolist() == [0, 0, 0, 1] and samples.labels.tolist() == [3, 3, 3, -1]
    assert samples.starts.tolist() == [0, 10, 20, 0] and samples.lengths.tolist() == [20, 20, 20, 15]


@pytest.mark.parametrize("sampling", ["resize", "segments", "skip"])
def test_a_batch_is_its_samples_one_by_one(sampling):
    clips = [clip("a", 40, 2), clip("b", 55, 1, mask=random_mask(55)), clip("c", 9, 3, seed=2)]
    settings = PoseInput("utd-mhad", 12, 2, sampling, 2, (0, 1), 20, 10, "first", scale=True, align=True, streams=STREAMS)
    samples = PoseSamples.from_clips(clips, settings)
    together = everything(samples)
    assert together.x.shape == (len(samples), 2, 12, 20, 12) and together.x.dtype == torch.float32
    for i in range(len(samples)):
        one = samples.batch([i])
        torch.testing.assert_close(one.x[0], together.x[i])
        assert together.mask[i].all() if one.mask is None else torch.equal(one.mask[0], together.mask[i])


@pytest.mark.parametrize("sampling", ["resize", "segments", "skip"])
def test_what_was_not_observed_leaks_nowhere(sampling):
    mask = random_mask(40, 2)
    dirty = clip(persons=2, mask=mask)
    settings = PoseInput(
        "utd-mhad", 12, 2, sampling, 3, (0,), 0, 0, "root", scale=True, align=True, streams=("bone", "joint", "joint_motion")
    )
    augment = ALL if sampling != "skip" else replace(ALL, crop=1, warp=0)
    sequence = dirty.pose
    wild = np.where(mask[..., None], sequence.points, 1e5)  # the sequence itself clears these
    other = Clip("b", {"pose": PoseSequence(wild, LAYOUT, mask=mask)})
    for options in ({}, {"augment": augment}):
        made = []
        for source in (dirty, other):
            generator = torch.Generator().manual_seed(1)
            made.append(everything(PoseSamples.from_clips([source], settings), generator=generator, **options))
        assert torch.equal(made[0].x, made[1].x) and not made[0].x[~made[0].mask].any()
        assert made[0].x.abs().max() < 50


def test_place_size_and_direction_do_not_matter_after_preparation():
    settings = PoseInput("utd-mhad", 16, center="first", scale=True, align=True)
    source = clip()
    points = source.pose.points
    angle = 1.1
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    moved = Clip("b", {"pose": PoseSequence(1.7 * points @ turn.T + [1, -2, 3], LAYOUT)})
    x = everything(PoseSamples.from_clips([source, moved], settings)).x
    torch.testing.assert_close(x[0], x[1], atol=1e-4, rtol=0)


def test_units_and_axes_are_made_alike():
    up = clip()
    points = up.pose.points
    down = Clip("b", {"pose": PoseSequence(points * [-1, -1, 1] * 1000, LAYOUT, unit="mm", y_axis="down")})
    x = everything(PoseSamples.from_clips([up, down], PLAIN)).x
    torch.testing.assert_close(x[0], x[1])
    flat = Clip("c", {"pose": PoseSequence(points[..., :2] * [1, -1], LAYOUT, unit="px", y_axis="up")})
    image = Clip("d", {"pose": PoseSequence(points[..., :2], LAYOUT, unit="px", y_axis="down")})
    x = everything(PoseSamples.from_clips([flat, image], PLAIN)).x
    torch.testing.assert_close(x[0], x[1])


def test_the_persons_who_move_most_are_kept_in_their_order():
    still = clip(frames=16).pose.points[:, :1].repeat(16, 1)
    lively = clip(frames=16, seed=1).pose.points
    livelier = still[:, :1] + 3 * (clip(frames=16, seed=2).pose.points - still[:, :1])
    both = Clip("a", {"pose": PoseSequence(np.concatenate([lively, still, livelier]), LAYOUT)})
    x = everything(PoseSamples.from_clips([both], replace(PLAIN, persons=2))).x[0]
    np.testing.assert_array_equal(x, np.concatenate([lively, livelier]).astype(np.float32))
    x = everything(PoseSamples.from_clips([both], PLAIN)).x[0]
    np.testing.assert_array_equal(x, livelier.astype(np.float32))


def test_persons_who_are_not_there_are_masked_zeros():
    batch = everything(PoseSamples.from_clips([clip(persons=1), clip("b", persons=2)], replace(PLAIN, persons=2, center="root")))
    assert batch.mask[1].all() and batch.mask[0, 0].all()
    assert not batch.mask[0, 1].any() and not batch.x[0, 1].any()


@pytest.mark.parametrize("sampling", ["resize", "segments"])
def test_the_same_seed_draws_the_same_batch(sampling):
    samples = PoseSamples.from_clips([clip(), clip("b", seed=1)], replace(PLAIN, sampling=sampling, center="root"))
    one, two, other = (everything(samples, augment=ALL, generator=torch.Generator().manual_seed(seed)).x for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


@pytest.mark.parametrize(
    "field",
    ["rotate", "tilt", "roll", "scale", "shear", "jitter", "warp", "mirror", "limbs", "drop_joints", "drop_frames", "hide_legs", "crop"],
)
@pytest.mark.parametrize("center", ["none", "first"])
def test_every_augmentation_changes_the_sample_and_only_its_own_way(field, center):
    value = {"rotate": 30, "tilt": 30, "roll": 30, "mirror": 1.0, "crop": 0.5, "hide_legs": 1.0}.get(field, 0.3)
    samples = PoseSamples.from_clips([clip()], replace(PLAIN, center=center))
    plain, changed = (
        everything(samples).x,
        everything(samples, augment=PoseAugment(**{field: value}), generator=torch.Generator().manual_seed(0)).x,
    )
    assert not torch.allclose(plain, changed, atol=1e-3)
    if field in ("rotate", "tilt", "roll", "scale", "shear", "mirror"):  # the first frame's root stays where it is
        torch.testing.assert_close(changed[0, 0, 0, LAYOUT.root], plain[0, 0, 0, LAYOUT.root])


def test_augmentation_with_everything_off_is_the_deterministic_preparation():
    samples = PoseSamples.from_clips([clip()], replace(PLAIN, align=True))
    torch.testing.assert_close(everything(samples, augment=PoseAugment()).x, everything(samples).x)


@pytest.mark.parametrize("sampling", ["resize", "segments", "skip"])
def test_views_are_deterministic_and_differ_and_the_first_is_the_plain_one(sampling):
    samples = PoseSamples.from_clips([clip(frames=100)], replace(PLAIN, sampling=sampling, step=6))
    views = [everything(samples, view=view, views=3).x for view in range(3)]
    assert torch.equal(views[0], everything(samples).x)
    assert torch.equal(views[1], everything(samples, view=1, views=3).x)
    assert not torch.equal(views[0], views[1]) and not torch.equal(views[1], views[2])
    with pytest.raises(RecipeError, match=r"0\.\.2"):
        everything(samples, view=3, views=3)


BAD_CLIPS = {
    "one frame": (clip("bad", 1), PLAIN, "'bad' has 1 frame; at least 2"),
    "nothing observed": (clip("bad", mask=np.zeros((1, 40, 20), bool)), PLAIN, "'bad': no joint is observed"),
    "nothing in a window": (
        clip("bad", mask=np.arange(40)[None, :, None] > np.full(20, 35)),
        replace(PLAIN, window=30, stride=30),
        "'bad': no joint is observed within its windows",
    ),
    "two dimensions among three": (clip("bad", dims=2), PLAIN, "'bad' has 2-D points; the clips before it have 3-D"),
    "another unit": (clip("bad", unit="px"), PLAIN, "'bad' is in px, the clips before it in m"),
    "no torso": (
        clip("bad", mask=np.broadcast_to([joint != "left_hip" and joint != "right_hip" for joint in LAYOUT.joints], (1, 40, 20))),
        replace(PLAIN, scale=True),
        "'bad': shoulders and hips are never observed together",
    ),
    "no frame of any phase": (clip("bad", 3), replace(PLAIN, sampling="skip", phases=(5, 7)), "'bad' has 3 frames; more than 6"),
}


@pytest.mark.parametrize("name", BAD_CLIPS)
def test_a_clip_that_cannot_be_used_is_named(name):
    bad, settings, message = BAD_CLIPS[name]
    with pytest.raises(DataError, match=message):
        PoseSamples.from_clips([clip("good"), bad], settings)
    samples = PoseSamples.from_clips([clip("good"), bad], settings, on_error="skip")
    assert samples.clip_ids == ("good",) and len(samples.skipped) == 1 and "'bad'" in str(samples.skipped[0])
    with pytest.raises(DataError, match="none of 0 clips"):
        PoseSamples.from_clips([], settings)


def test_joints_that_cannot_be_converted_are_an_error_of_the_layout():
    with pytest.raises(LayoutError, match=r"clip 'a'.*hand_tip"):
        PoseSamples.from_clips([clip()], replace(PLAIN, layout="ntu25"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "input.frames is 0"),
        ({"window": 1}, "input.window is 1"),
        ({"sampling": "skipp"}, "did you mean 'skip'"),
        ({"center": "rot"}, "did you mean 'root'"),
        ({"streams": ("bones",)}, "did you mean 'bone'"),
        ({"streams": ()}, "input.streams is empty"),
        ({"sampling": "skip", "phases": ()}, "input.phases"),
    ],
)
def test_impossible_settings_say_what_would_be_right(change, message):
    with pytest.raises(RecipeError, match=message):
        PoseSamples.from_clips([clip()], replace(PLAIN, **change))


def test_cropping_does_not_go_with_skipping():
    samples = PoseSamples.from_clips([clip()], replace(PLAIN, sampling="skip"))
    with pytest.raises(RecipeError, match="resize or segments"):
        everything(samples, augment=PoseAugment(crop=0.5))


@pytest.fixture(scope="module")
def cad60(data_root):
    from kinema.datasets.base import read_dataset

    return read_dataset("cad60", data_root("cad60"))


@pytest.mark.parametrize(
    ("settings", "per_person"),
    [
        (PoseInput("cad60", 32, window=100, stride=50), (313, 302, 307, 364)),
        (PoseInput("cad60", 32, sampling="skip", step=3, phases=(0, 2), window=100, stride=50), (626, 604, 614, 728)),
    ],
)
def test_cad60_gives_exactly_the_windows_of_the_published_system(cad60, settings, per_person):
    labelled = [clip for clip in cad60.clips if clip.label is not None]
    samples = PoseSamples.from_clips(labelled, settings)
    subjects = np.array([clip.subject for clip in labelled])[samples.clip_of]
    assert tuple((subjects == person).sum() for person in "1234") == per_person
    batch = samples.batch(range(0, len(samples), 100))
    assert batch.x.shape[1:] == (1, 32, 15, 3) and batch.x.abs().max() < 3  # metres about the torso
    if settings.sampling == "skip":
        assert (samples.lengths == 100).all() and samples.phases.unique().tolist() == [0, 2]


@pytest.mark.parametrize("center", ["root", "first", "none"])
@pytest.mark.parametrize("swaps", [True, False])
def test_mirrored_copies_stand_behind_the_samples_and_mirror_them(center, swaps):
    samples = PoseSamples.from_clips(
        [clip("a", label=3, mask=random_mask()), clip("b", 30, label=1)], replace(PLAIN, center=center, scale=True, window=20)
    )
    both = samples.with_mirrored(swaps)
    size = len(samples)
    assert len(both) == 2 * size and both.labels.tolist() == 2 * samples.labels.tolist()
    assert both.mirrored.tolist() == [False] * size + [True] * size and not samples.mirrored.any()
    plain, batch = everything(samples), everything(both)
    torch.testing.assert_close(batch.x[:size], plain.x)
    mirror = PoseAugment(mirror=1, mirror_swaps=swaps)
    expected = everything(samples, augment=mirror)
    torch.testing.assert_close(batch.x[size:], expected.x)
    assert torch.equal(batch.mask, torch.cat([plain.mask, expected.mask]))


def test_a_mirrored_copy_of_a_left_hand_is_a_right_hand_unless_sides_are_not_swapped():
    source = clip(frames=16)
    samples = PoseSamples.from_clips([source], replace(PLAIN, center="root"))
    left, right = LAYOUT.index("left_hand"), LAYOUT.index("right_hand")
    flip = torch.tensor([-1.0, 1, 1])
    for swaps, joint in ((True, right), (False, left)):
        own, copy = everything(samples.with_mirrored(swaps)).x
        torch.testing.assert_close(copy[:, :, joint], own[:, :, left] * flip)
