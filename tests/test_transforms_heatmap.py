"""Heatmaps of key points: PYSKL's own volumes, plain loops, mirror images, odd input; boxes; scores and mirrored views of samples."""

import math

import numpy as np
import pytest
import torch

from kinema.clip import Clip, PoseSequence
from kinema.errors import DataError, RecipeError
from kinema.layout import LAYOUTS, get_layout
from kinema.transforms.boxes import random_part, tight_box, to_pixels
from kinema.transforms.config import PoseAugment, PoseInput
from kinema.transforms.heatmap import KINDS, check_scores, flip, heatmap_channels, heatmaps, limbs_of, mirror_channels, pose_heatmaps
from kinema.transforms.samples import PoseSamples

COCO = get_layout("coco17")


def points(batch=2, persons=2, frames=3, seed=0, size=56, layout=COCO):
    """Key points within and a little beyond the map, and scores, some of them nearly 0."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(batch, persons, frames, len(layout), 2, generator=generator) * 1.3 - 0.15) * size
    return x, torch.rand(batch, persons, frames, len(layout), generator=generator).pow(4)


def plain(x, score, kind, layout, size, sigma=0.6):
    """One clip (M, T, V, 2) pixel by pixel, as the reference describes it: (C, T, height, width)."""
    height, width = size
    pairs = limbs_of(layout) if kind == "limbs" else [(v, v) for v in range(len(layout))]
    volume = np.zeros((len(pairs) if kind != "one-layer" else 1, x.shape[1], height, width), np.float32)
    for person, frame, (channel, (i, j)) in ((m, t, c) for m in range(len(x)) for t in range(x.shape[1]) for c in enumerate(pairs)):
        a, b = x[person, frame, i].double().numpy(), x[person, frame, j].double().numpy()
        factor = min(float(score[person, frame, i]), float(score[person, frame, j]))
        if factor < 1e-3:
            continue
        if ((a - b) ** 2).sum() < 1:
            b, factor = a, float(score[person, frame, i])
        low, high = (np.trunc(np.minimum(a, b) - 3 * sigma), np.trunc(np.maximum(a, b) + 3 * sigma))
        plane = volume[0 if kind == "one-layer" else channel, frame]
        for py in range(max(int(low[1]), 0), min(int(high[1]), height - 1) + 1):
            for px in range(max(int(low[0]), 0), min(int(high[0]), width - 1) + 1):
                along = b - a
                share = np.clip(np.dot([px, py] - a, along) / max(np.dot(along, along), 1e-12), 0, 1)
                distance = (([px, py] - a - share * along) ** 2).sum()
                plane[py, px] = max(plane[py, px], factor * math.exp(-distance / (2 * sigma**2)))
    return volume


@pytest.mark.parametrize(
    ("file", "kind", "name"),
    [
        ("heatmap_1person.npz", "joints", "imgs"),
        ("heatmap_2person.npz", "joints", "imgs"),
        ("heatmap_hard.npz", "joints", "joint"),
        ("heatmap_hard.npz", "limbs", "limb"),
    ],
)
def test_volumes_are_those_of_pyskl(golden, file, kind, name):
    reference = np.load(golden(file))
    x, score = (torch.from_numpy(reference[key])[None].float() for key in ("keypoint", "keypoint_score"))
    volume = heatmaps(x, score, kind=kind, size=tuple(reference["img_shape"].tolist()))
    assert np.abs(volume[0].transpose(0, 1).numpy() - reference[name]).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layout", "size", "sigma"), [("coco17", (20, 30), 0.6), ("jhmdb15", (16, 12), 1.3), ("ntu25", (3, 40), 0.9)])
def test_volumes_are_those_of_plain_loops(kind, layout, size, sigma):
    layout = get_layout(layout)
    x, score = points(1, 2, 2, size=max(size), layout=layout)
    volume = heatmaps(x, score, kind=kind, layout=layout, size=size, sigma=sigma)
    assert volume.shape == (1, heatmap_channels(kind, layout), 2, *size) and volume.max() > 0.1
    np.testing.assert_allclose(volume[0].numpy(), plain(x[0], score[0], kind, layout, size, sigma), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_channels_given_memory_and_batches_change_nothing(kind):
    x, score = points()
    volume = heatmaps(x, score, kind=kind)
    assert torch.equal(heatmaps(x, score, kind=kind, channels_last=True).permute(0, 4, 1, 2, 3), volume)
    used = torch.full_like(volume, 7)
    assert heatmaps(x, score, kind=kind, out=used) is used and torch.equal(used, volume)
    for i in range(len(x)):
        assert torch.equal(heatmaps(x[i : i + 1], score[i : i + 1], kind=kind)[0], volume[i])


@pytest.mark.parametrize("kind", KINDS)
def test_persons_are_merged_by_the_maximum(kind):
    x, score = points()
    apart = [heatmaps(x[:, m : m + 1], score[:, m : m + 1], kind=kind) for m in range(2)]
    torch.testing.assert_close(heatmaps(x, score, kind=kind), torch.maximum(*apart))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_observed_or_has_no_score_draws_nothing(kind):
    x, score = points()
    mask = torch.rand(x.shape[:4], generator=torch.Generator().manual_seed(5)) < 0.6
    wanted = heatmaps(x, score * mask, kind=kind)
    for nonsense in (1e9, -1e9, torch.nan, torch.inf):
        assert torch.equal(heatmaps(torch.where(mask[..., None], x, nonsense), score, mask, kind=kind), wanted)
    assert not heatmaps(x, torch.zeros_like(score), kind=kind).any()
    assert not heatmaps(x + 1000, score, kind=kind).any() and not heatmaps(x - 1e12, score, kind=kind).any()


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_volume_is_that_of_the_mirrored_points(kind, layout):
    layout = get_layout(layout)
    x, score = points(1, 1, 2, size=24, layout=layout)
    x = x.clamp(4, 19)  # windows are cut off towards zero: they are not the same at the left and the right border
    x = torch.where((x % 1 - 0.5).abs() > 0.45, x + 0.3, x)
    mirrored = torch.cat([23 - x[..., :1], x[..., 1:]], -1)[:, :, :, layout.mirror]
    swapped = score[:, :, :, layout.mirror]
    given, other = (
        heatmaps(x, score, kind=kind, layout=layout, size=(24, 24)),
        heatmaps(mirrored, swapped, kind=kind, layout=layout, size=(24, 24)),
    )
    # The windows themselves are not symmetric; what is at their edges is below .012.
    assert (flip(given, kind, layout) - other).abs().max() < 0.012
    assert torch.equal(flip(flip(given, kind, layout), kind, layout), given)
    assert sorted(mirror_channels(kind, layout)) == list(range(heatmap_channels(kind, layout)))


def test_limbs_of_coco_are_in_the_published_order():
    assert limbs_of("coco17")[:4] == ((0, 1), (0, 2), (1, 3), (2, 4)) and limbs_of("coco17")[-1] == (11, 12)
    # PYSKL's left and right limbs, by number.
    pairs = zip((0, 2, 4, 5, 6, 10, 11, 12), (1, 3, 7, 8, 9, 13, 14, 15), strict=True)
    swap = mirror_channels("limbs", "coco17")
    assert all(swap[left] == right and swap[right] == left for left, right in pairs) and swap[16] == 16


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "joint"}, RecipeError, "unknown heatmap 'joint'; did you mean 'joints'"),
        ({"layout": "jhmdb15"}, DataError, "points have shape .* x 15 joints x 2 is expected"),
        ({"size": (0, 56)}, DataError, "a map of 56 x 0 pixels"),
        ({"sigma": 0.0}, DataError, "sigma 0.0 cannot be drawn"),
        ({"out": torch.zeros(1)}, DataError, "out is .*; a contiguous float32 tensor of shape"),
    ],
)
def test_what_cannot_be_drawn_is_told(change, error, message):
    with pytest.raises(error, match=message):
        heatmaps(*points(), **change)


@pytest.mark.parametrize("bad", [1.5, -0.1, math.nan])
def test_scores_outside_0_to_1_are_told(bad):
    check_scores(torch.tensor([0.0, 1.0]))
    with pytest.raises(DataError, match=r"scores lie in .*; 0\.\.1 is expected"):
        check_scores(torch.tensor([0.5, bad]))


def test_the_tight_box_is_a_square_around_all_that_was_observed():
    x = torch.tensor([[10.0, 20.0], [30.0, 60.0], [1000.0, 1000.0]]).view(1, 1, 1, 3, 2)
    mask = torch.tensor([True, True, False]).view(1, 1, 1, 3)
    begin, size = tight_box(x, mask)[0]
    assert size.tolist() == [50, 50] and begin.tolist() == [20 - 25, 40 - 25]
    pixels = to_pixels(x, tight_box(x, mask), (64, 32))[0, 0, 0, :2]
    torch.testing.assert_close(pixels, torch.tensor([[15 / 50 * 32, 5 / 50 * 64], [35 / 50 * 32, 45 / 50 * 64]]))


@pytest.mark.parametrize("x", [torch.zeros(1, 1, 2, 3, 2), torch.full((1, 1, 2, 3, 2), 5.0)], ids=["nobody", "one place"])
def test_a_box_is_never_empty(x):
    mask = (x != 0).any(-1)
    box = tight_box(x, mask)
    assert box[0, 1].tolist() == [2, 2]
    assert torch.equal(to_pixels(x, box, (56, 56)), torch.full_like(x, 28))


def test_random_parts_lie_in_the_box_and_have_the_wanted_area_and_shape():
    box = torch.tensor([[[5.0, -3.0], [4.0, 2.0]]]).expand(500, 2, 2)
    part = random_part(box, (0.3, 0.6), generator=torch.Generator().manual_seed(0))
    inside = (part[:, 0] >= box[:, 0]) & (part[:, 0] + part[:, 1] <= box[:, 0] + box[:, 1] + 1e-5)
    assert inside.all()
    share = (part[:, 1] / box[:, 1]).double()
    area, shape = share.prod(1), share[:, 0] / share[:, 1]
    assert 0.3 <= area.min() < 0.32 and 0.58 < area.max() <= 0.6 + 1e-6
    assert 0.75 - 1e-5 <= shape.min() < 0.77 and 1.3 < shape.max() <= 4 / 3 + 1e-5
    assert torch.equal(
        random_part(box, generator=torch.Generator().manual_seed(1)), random_part(box, generator=torch.Generator().manual_seed(1))
    )


@pytest.mark.parametrize("y_axis", ["down", "up"])
def test_a_recording_is_drawn_in_its_box_or_in_its_image(y_axis):
    points = np.full((1, 2, 17, 2), 20.0)
    points[0, 0, 3] = [60, 40]
    if y_axis == "up":
        points[..., 1] = 60 - points[..., 1]
    pose = PoseSequence(points, "coco17", "px", image_size=(80, 60), y_axis=y_axis)
    image = pose_heatmaps(pose, size=(60, 80), box=False)
    assert image[3, 0].argmax() == 40 * 80 + 60 and image[3, 1].argmax() == 20 * 80 + 20
    boxed = pose_heatmaps(pose, size=(50, 50))
    assert boxed.shape == (17, 2, 50, 50) and boxed[3, 0].argmax() != boxed[3, 1].argmax()
    unscored = PoseSequence(points, "coco17", "px", score=np.zeros((1, 2, 17)), image_size=(80, 60), y_axis=y_axis)
    assert not pose_heatmaps(unscored).any()


@pytest.mark.parametrize(
    ("dims", "options", "message"),
    [
        (3, {}, "drawn of 2-D key points; these are 3-D"),
        (2, {"box": False}, "the size of the image is not known; give the sequence an image_size"),
    ],
)
def test_a_recording_that_cannot_be_drawn_is_told(dims, options, message):
    with pytest.raises(DataError, match=message):
        pose_heatmaps(PoseSequence(np.ones((1, 2, 17, dims)), "coco17", "px", y_axis="down"), **options)


def sample_clips(persons=2, frames=30, scores=True):
    rng = np.random.default_rng(0)
    x = rng.normal(300, 60, (persons, 1, 17, 2)) + rng.normal(0, 2, (persons, frames, 17, 2)).cumsum(1)
    mask = rng.random((persons, frames, 17)) < 0.9
    score = rng.uniform(0.1, 1, mask.shape) if scores else None
    return [Clip("a", {"pose": PoseSequence(x, "coco17", "px", mask, score, image_size=(640, 480), y_axis="down")}, label=0)]


INPUT = PoseInput("coco17", 12, 2, "segments", center="none", streams=("joint", "score"))


def test_scores_are_the_last_channel_and_0_where_nothing_was_observed():
    samples = PoseSamples.from_clips(sample_clips(), INPUT)
    assert samples.channels == samples.shape.channels == 3 and samples.dims == 2
    batch, pose = samples.batch([0]), sample_clips()[0].pose
    frames = ((torch.arange(12) + 0.5) / 12 * 30).long()
    np.testing.assert_allclose(batch.x[0, ..., 2], (pose.score * pose.mask)[:, frames])
    np.testing.assert_array_equal(batch.x[0, ..., :2], pose.points[:, frames])
    unscored = PoseSamples.from_clips(sample_clips(scores=False), INPUT).batch([0])
    assert torch.equal(unscored.x[..., 2], unscored.mask.float())


def test_scores_go_with_their_joints_when_sides_are_swapped():
    samples = PoseSamples.from_clips(sample_clips(), INPUT)
    plain, swap = samples.batch([0]), COCO.mirror
    for mirrored in (
        samples.with_mirrored().batch([1]),
        PoseSamples.from_clips(sample_clips(), PoseInput(**{**vars(INPUT), "mirror_views": True})).batch([0], view=1, views=2),
    ):
        assert torch.equal(mirrored.x[..., 2], plain.x[..., 2][..., swap]) and torch.equal(mirrored.mask, plain.mask[..., swap])
    drawn = samples.batch([0], augment=PoseAugment(mirror=1.0), generator=torch.Generator().manual_seed(0))
    unswapped = samples.batch([0], augment=PoseAugment(mirror=1.0, mirror_swaps=False), generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn.x[..., 2], unswapped.x[..., 2][..., swap])


def test_half_of_the_views_are_mirror_images_where_they_are_asked_for():
    samples = PoseSamples.from_clips(sample_clips(), PoseInput(**{**vars(INPUT), "mirror_views": True}))
    for view in range(3):
        given, mirrored = (samples.batch([0], view=which, views=6) for which in (view, view + 3))
        assert torch.equal(given.x, PoseSamples.from_clips(sample_clips(), INPUT).batch([0], view=view, views=3).x)
        a, b = (
            heatmaps(to_pixels(x[..., :2], tight_box(x[..., :2], mask), (56, 56)), x[..., 2], mask)
            for x, mask in ((given.x, given.mask), (mirrored.x, mirrored.mask))
        )
        # The mirror image of a map is one pixel to the side: its first column is at 0, not at half a pixel.
        assert (flip(a, "joints", COCO)[..., :-1] - b[..., 1:]).abs().max() < 0.02
    with pytest.raises(RecipeError, match="an even number of views; there are 3"):
        samples.batch([0], view=0, views=3)


def test_the_score_alone_is_no_input():
    with pytest.raises(RecipeError, match="streams holds the score alone"):
        PoseSamples.from_clips(sample_clips(), PoseInput("coco17", streams=("score",)))
