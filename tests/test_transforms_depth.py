"""Depth clips: crops, views, descriptors and batches, on a ball that moves in front of a camera and on UTD-MHAD's own recordings."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.clip import Clip, DepthSequence
from kinema.depth_crop import SIDE, STEP, crop_depth, depth_crop
from kinema.errors import DataError, RecipeError
from kinema.transforms import depth
from kinema.transforms.depth_config import DepthAugment, DepthInput
from kinema.transforms.depth_samples import DepthSamples

VIEWS = ("front", "side", "top")
VIDEO = DepthInput("video", size=32, frames=8, fit="square")
ALL = DepthAugment(shift=0.1, scale=0.2, stretch=0.1, rotate=15, distance=0.1, noise=0.05, erase=0.5, crop=0.6, warp=0.3, mirror=0.5)
FOCAL = 285.0


def recording(way, radius=150.0, shape=(240, 320)) -> np.ndarray:
    """(T, H, W) of a ball whose centre goes through the points `way` (T, 3), millimetres, y up, before a Kinect."""
    frames = np.zeros((len(way), *shape), np.uint16)
    v, u = np.indices(shape)
    for frame, (x, y, z) in zip(frames, way, strict=True):
        across, up = (u + 0.5 - shape[1] / 2) * z / FOCAL - x, (shape[0] / 2 - v - 0.5) * z / FOCAL - y
        left = radius**2 - across**2 - up**2
        frame[:] = np.where(left > 0, z - np.sqrt(np.maximum(left, 0)), 0)
    return frames


def ball(start=(-300, 0, 2500), end=(300, 0, 2500), frames=12) -> np.ndarray:
    return recording(np.linspace(start, end, frames))


def clip(frames=None, name="a", label=0) -> Clip:
    return Clip(name, {"depth": DepthSequence(ball() if frames is None else frames)}, label=label)


def everything(samples, **options):
    return samples.batch(range(len(samples)), **options).inputs["depth"]


def test_a_crop_is_the_square_that_holds_all_foreground():
    frames = ball()
    crop = crop_depth(DepthSequence(frames))
    rows, columns = np.nonzero(frames.any(0))
    assert crop.frames.shape == (12, SIDE, SIDE)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert crop.zoom == width / SIDE and crop.left == columns.min()
    assert crop.box == pytest.approx(((width - height) / 2 / crop.zoom, 0, (width + height) / 2 / crop.zoom, SIDE))
    assert crop.pixel == pytest.approx(900 / SIDE, rel=0.06)  # the ball goes 600 mm and is 300 mm wide


def test_a_crop_keeps_millimetres():
    frames = ball((0, 0, 2300), (0, 0, 2600))
    crop = crop_depth(DepthSequence(frames))
    kept, nearest = crop.millimetres()[crop.frames], [np.min(frame[frame > 0]) for frame in frames]
    assert [np.min(frame[frame > 0]) for frame in kept] == pytest.approx(nearest, abs=STEP)
    assert (kept > 0).mean((1, 2)) == pytest.approx((frames > 0).sum((1, 2)) / (crop.zoom * crop.side) ** 2, rel=0.02)


def test_a_small_recording_is_not_enlarged():
    crop = crop_depth(DepthSequence(np.pad(np.full((3, 20, 10), 900, np.uint16), ((0, 0), (2, 2), (2, 2)))))
    assert crop.frames.shape == (3, 20, 20) and crop.zoom == 1
    assert (crop.frames[:, :, 5:15] == 255).all() and not crop.frames[:, :, :5].any()


@pytest.mark.parametrize(
    ("way", "view", "path"),
    [
        # left to right in front; near to far seen from the side; both from above, where far is up
        ([(-300, 0, 2500), (300, 0, 2500)], "front", [(0.5, 0.2), (0.5, 0.8)]),
        ([(-300, 0, 2500), (300, 0, 2500)], "top", [(0.5, 0.2), (0.5, 0.8)]),
        ([(0, 0, 2300), (0, 0, 2700)], "side", [(0.5, 0.1), (0.5, 0.9)]),
        ([(0, 0, 2300), (0, 0, 2700)], "top", [(0.9, 0.5), (0.1, 0.5)]),
        ([(0, 300, 2500), (0, -300, 2500)], "side", [(0.2, 0.5), (0.8, 0.5)]),
    ],
)
def test_views_show_where_things_go_in_space(way, view, path):
    crop = crop_depth(DepthSequence(recording(np.linspace(*way, 5))))
    seen = depth.project(crop, crop.frames, view)
    for frame, (row, column) in zip(seen[[0, -1]], path, strict=True):
        rows, columns = np.nonzero(frame)
        for place, expected in ((rows.mean(), row), (columns.mean(), column)):
            assert place / crop.side == pytest.approx(expected, abs=0.15)


def test_views_have_one_scale():
    crop = crop_depth(DepthSequence(ball((0, -200, 2500), (0, 200, 2500))))
    for view in VIEWS:
        rows, columns = np.nonzero(depth.project(crop, crop.frames[:1], view)[0])
        wide, high = (np.ptp(part) * crop.pixel for part in (columns, rows))
        expected = {"front": (300, 300), "side": (150, 300), "top": (300, 150)}[view]  # a camera sees half of a ball
        assert (wide, high) == pytest.approx(expected, abs=35), view


def test_the_nearest_point_is_seen():
    frames = np.stack([ball((0, 0, z), (0, 0, z), 1)[0] for z in (2300, 2700)])
    crop = crop_depth(DepthSequence(frames))
    front, side = (depth.project(crop, crop.frames, view) for view in ("front", "side"))
    assert front[0].max() == 255 and 195 <= front[1].max() <= 207  # 400 mm are 50 steps
    assert side[0].max() == pytest.approx(side[1].max(), abs=2)


def test_the_motion_image_is_the_nearest_that_each_pixel_ever_was():
    values = np.random.default_rng(0).integers(0, 256, (9, 8, 8)).astype(np.uint8)
    assert (depth.motion_image(values) == 255 - (255 - values).min(0)).all()


def test_the_difference_image_is_the_sum_of_changes():
    values = np.random.default_rng(0).integers(0, 256, (9, 8, 8)).astype(np.uint8)
    total = np.abs(np.diff(values.astype(int), axis=0)).sum(0)
    np.testing.assert_allclose(depth.difference_image(values), 255 * total / total.max(), atol=0.5)
    assert not depth.difference_image(np.repeat(values[:1], 5, 0)).any()


def test_what_rests_is_in_motion_images_and_not_in_difference_images():
    frames = ball()
    frames[:, 20:40, 150:170] = 2400  # something at rest, above the ball
    motion, difference = (everything(DepthSamples.from_clips([clip(frames)], DepthInput(form)))[0, 0] for form in ("motion", "difference"))
    assert motion[:4, 20:30].max() > 0.05 and difference[:4, 20:30].max() == 0
    assert motion[-5:].max() > 0.5 and difference[-5:].max() > 0.5


def test_segments_follow_one_another():
    samples = DepthSamples.from_clips([clip()], DepthInput(segments=3, views=("front", "top")))
    image = everything(samples)[0]
    columns = (image * torch.arange(50)).sum((1, 2)) / image.sum((1, 2))
    assert len(image) == 6 and (columns[:3].diff() > 5).all() and (columns[3:].diff() > 5).all()
    whole = everything(DepthSamples.from_clips([clip()], DepthInput()))[0, 0]
    assert ((image[:3].amax(0) - whole).abs() < 0.35).all() and (image[:3].amax(0) - whole).abs().mean() < 0.01


@pytest.mark.parametrize("form", ["motion", "difference", "frame", "video"])
@pytest.mark.parametrize("views", [("front",), VIEWS])
@pytest.mark.parametrize("fit", ["stretch", "square", "metric"])
def test_batches_have_the_shape_that_is_told(form, views, fit):
    features = ("depth", "motion") if form == "video" else ("depth",)
    wanted = DepthInput(form, views, size=24, frames=5, fit=fit, features=features)
    samples = DepthSamples.from_clips([clip(label=3), clip(ball(frames=7), "b", None)], wanted)
    batch = samples.batch(range(len(samples)))
    x = batch.inputs["depth"]
    assert x.shape == (len(samples), *samples.shape.example(1)["depth"].shape[1:]) and x.dtype == torch.float32
    assert x.max() <= 1 and x.min() >= (-1 if form == "video" else 0) and x.std() > 0.01
    each = 5 if form == "frame" else 1
    assert samples.clip_ids == ("a", "b") and samples.clip_of.tolist() == [0] * each + [1] * each
    assert samples.phases.tolist() == list(range(each)) * 2 and samples.lengths.tolist() == [12] * each + [7] * each
    assert batch.labels.tolist() == [3] * each + [-1] * each


def test_stretched_pictures_are_filled_and_square_ones_keep_proportions():
    stretched, square = (everything(DepthSamples.from_clips([clip()], DepthInput(fit=fit)))[0, 0] > 0.02 for fit in ("stretch", "square"))
    assert stretched.any(1).all() and stretched.any(0).all()
    assert square.any(0).all() and square.any(1).sum() == pytest.approx(50 / 3, abs=2)


def test_the_metric_fit_and_scale_show_equal_bodies_alike():
    near, far = (ball((-300, 0, z), (300, 0, z)) for z in (2200, 2800))
    wanted = replace(VIDEO, fit="metric", scale="metric")
    x = everything(DepthSamples.from_clips([clip(near, "near"), clip(far, "far")], wanted))
    sizes = (x > 0.1).sum((1, 2, 3, 4)).tolist()
    assert sizes[0] == pytest.approx(sizes[1], rel=0.15)
    assert x.amax((1, 2, 3, 4)).tolist() == pytest.approx([0.52, 0.52], abs=0.01)


def test_frames_are_the_same_as_those_of_a_video():
    clips = [clip(), clip(ball(frames=30), "b")]
    frames = everything(DepthSamples.from_clips(clips, replace(VIDEO, form="frame")))
    video = everything(DepthSamples.from_clips(clips, VIDEO))
    assert torch.equal(frames.view(2, 8, 1, 32, 32).transpose(1, 2), video)


def test_motion_is_the_change_from_frame_to_frame():
    x = everything(DepthSamples.from_clips([clip()], replace(VIDEO, features=("depth", "motion"))))[0]
    assert torch.allclose(x[1, 1:], x[0].diff(dim=0)) and not x[1, 0].any()


@pytest.mark.parametrize("form", ["motion", "difference", "frame", "video"])
def test_only_augmented_samples_are_random_and_a_seed_repeats_them(form):
    samples = DepthSamples.from_clips([clip(), clip(ball(frames=40), "b")], replace(VIDEO, form=form))
    augment = ALL if form in ("frame", "video") else replace(ALL, warp=0)

    def drawn(seed):
        return everything(samples, augment=augment, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(everything(samples), everything(samples))
    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert drawn(1).min() >= 0 and drawn(1).max() <= 1


@pytest.mark.parametrize(
    ("augment", "moves"),
    [(DepthAugment(), False), (DepthAugment(shift=0.2), True), (DepthAugment(rotate=30), True), (DepthAugment(crop=0.5), True)],
)
def test_each_change_does_what_it_says(augment, moves):
    samples = DepthSamples.from_clips([clip()], DepthInput())
    plain, changed = everything(samples), everything(samples, augment=augment, generator=torch.Generator().manual_seed(3))
    assert torch.equal(plain, changed) != moves


def test_a_mirrored_ball_goes_the_other_way():
    samples = DepthSamples.from_clips([clip()], VIDEO)
    plain, mirrored = everything(samples), everything(samples, augment=DepthAugment(mirror=1), generator=torch.Generator())
    column = torch.arange(32.0)
    there, back = ((x * column).sum((0, 1, 3, 4)) / x.sum((0, 1, 3, 4)) for x in (plain, mirrored))
    assert there[-1] > there[0] + 10 and back[-1] < back[0] - 10
    assert torch.allclose(there + back, torch.tensor(31.0), atol=4)


def test_resampling_with_and_without_rotation_agree():
    pictures = torch.rand(2, 3, 48, 48)
    boxes = torch.tensor([[4.0, 0, 40, 44], [-5, 3, 50, 30]])
    straight = torch.tensor([[[0.9, 0, 0.1], [0, 1.1, -0.05]]]).expand(2, 2, 3)
    turned = straight.clone()
    turned[:, 0, 1] = 1e-7
    difference = depth.resample(pictures, boxes, 12, straight) - depth.resample(pictures, boxes, 12, turned)
    assert difference.abs().max() < 0.12 and difference.abs().mean() < 0.03


@pytest.mark.parametrize("form", ["motion", "difference", "frame", "video"])
def test_test_time_views_differ_and_are_not_random(form):
    samples = DepthSamples.from_clips([clip(ball(frames=60))], replace(VIDEO, form=form))
    looks = [everything(samples, view=i, views=3) for i in range(3)]
    assert torch.equal(looks[0], everything(samples)) and torch.equal(looks[1], everything(samples, view=1, views=3))
    assert not torch.equal(looks[0], looks[1]) and not torch.equal(looks[1], looks[2])
    with pytest.raises(RecipeError, match="view 3 is not one of 3"):
        everything(samples, view=3, views=3)


@pytest.mark.parametrize("form", ["motion", "frame", "video"])
def test_one_frame_is_enough_where_nothing_is_compared(form):
    samples = DepthSamples.from_clips([clip(ball(frames=1))], replace(VIDEO, form=form))
    assert everything(samples).amax() > 0.5


@pytest.mark.parametrize("form", ["motion", "video"])
def test_batches_are_made_on_the_device_that_is_wanted(form):
    samples = DepthSamples.from_clips([clip()], replace(VIDEO, form=form, views=VIEWS))
    batch = samples.batch([0], augment=replace(ALL, warp=0, mirror=0), device="meta")  # a device without numbers: none of others gets in
    assert batch.inputs["depth"].device.type == batch.labels.device.type == "meta"


def test_crops_of_different_sizes_make_one_batch():
    small = np.pad(np.full((3, 20, 10), 900, np.uint16), ((0, 0), (2, 2), (2, 2)))
    clips = [clip(), clip(small, "b"), clip(ball(frames=5), "c")]
    together = everything(DepthSamples.from_clips(clips, VIDEO))
    assert torch.equal(together, torch.cat([everything(DepthSamples.from_clips([one], VIDEO)) for one in clips]))


BAD = {
    "nobody": (
        {"depth": DepthSequence(np.zeros((3, 8, 8), np.uint16))},
        "clip 'bad': there is nobody in the depth images: every pixel of all 3 is 0",
    ),
    "no depth": ({}, "clip 'bad' has no depth"),
    "one frame": ({"depth": DepthSequence(ball(frames=1))}, "clip 'bad' has 1 depth image; a difference image needs at least 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_clip_that_cannot_be_used_is_named_or_left_out(case):
    modalities, message = BAD[case]
    clips = [clip(), Clip("bad", modalities)]
    with pytest.raises(DataError, match=message):
        DepthSamples.from_clips(clips, DepthInput("difference"))
    samples = DepthSamples.from_clips(clips, DepthInput("difference"), "skip")
    assert samples.clip_ids == ("a",) and len(samples.skipped) == 1
    with pytest.raises(DataError, match="none of 1 clips can be used; the first one: "):
        DepthSamples.from_clips(clips[1:], DepthInput("difference"), "skip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "motoin"}, "unknown depth.form 'motoin'; did you mean 'motion'"),
        ({"views": ("front", "back")}, "unknown depth.views 'back'"),
        ({"views": ()}, "depth.views is .*each once"),
        ({"views": ("top", "top")}, "depth.views is .*each once"),
        ({"segments": 0}, "depth.segments is 0; 1 to"),
        ({"size": 0}, "depth.size is 0; 1 to"),
        ({"form": "video", "segments": 2}, "depth.form 'video' has no segments"),
        ({"features": ("motion",)}, "only depth.form 'video'"),
    ],
)
def test_settings_that_cannot_be_are_told(change, message):
    with pytest.raises(RecipeError, match=message):
        DepthSamples.from_clips([clip()], replace(DepthInput(), **change))


@pytest.mark.parametrize(("augment", "message"), [(DepthAugment(warp=0.1), "warp needs"), (DepthAugment(mirror=0.5), "side view")])
def test_changes_that_cannot_be_are_told(augment, message):
    samples = DepthSamples.from_clips([clip()], DepthInput(views=VIEWS))
    with pytest.raises(RecipeError, match=message):
        everything(samples, augment=augment)


def test_utd_mhads_people_fill_the_picture(data_root):
    from kinema.datasets.utd_mhad import read_depth

    path = data_root("utd-mhad") / "Depth" / "a5_s2_t1_depth.mat"
    thrown = Clip("a5_s2_t1", {"depth": read_depth(path)}, 4, source=path)
    crop = depth_crop(thrown)
    assert 2000 < crop.near < crop.middle < crop.far < 3500 and 1500 < crop.pixel * SIDE < 2600
    image = everything(DepthSamples.from_clips([thrown], DepthInput(views=VIEWS)))[0]
    assert ((image > 0).float().mean((1, 2)) > 0.3).all()


def test_the_picture_of_all_inputs_can_be_drawn(tmp_path):
    from kinema.datasets.base import Dataset
    from kinema.evaluation.depth_plots import depth_figure, draw_depth

    dataset = Dataset("balls", (clip(ball(frames=20), "ball"),), ("rolling",), {}, (), tmp_path)
    assert len(depth_figure(dataset.clips[0]).axes) == 30
    assert draw_depth(dataset, "ball", tmp_path / "ball.png").stat().st_size > 10_000
    with pytest.raises(DataError, match="unknown clip 'bal'; did you mean 'ball'"):
        draw_depth(dataset, "bal", tmp_path / "ball.png")
