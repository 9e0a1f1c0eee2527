"""Pictures cut to the people in them: the box round their joints, where it comes from, and what is shown where there is nobody."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_transforms_video import images

from kinema import _frames_cache
from kinema.clip import Clip, Lazy, PoseSequence
from kinema.errors import DataError, RecipeError
from kinema.transforms.skeleton_box import at_times, skeleton_place
from kinema.transforms.video_config import VideoAugment, VideoInput
from kinema.transforms.video_samples import VideoSamples

WIDTH, HEIGHT, FRAMES = 160, 120, 10
CUT = VideoInput(4, height=24, width=32, scale="unit", fit="stretch", crop="skeleton")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    _frames_cache._store_of.cache_clear()
    yield
    _frames_cache._store_of.cache_clear()


def skeletons(*boxes, frames=FRAMES, score=None, mask=None, **fields) -> PoseSequence:
    """Persons whose joints fill boxes (left, top, right, bottom), in pixels; a box may be one for each frame."""
    rng = np.random.default_rng(0)
    points = np.zeros((len(boxes), frames, 17, 2))
    for person, box in enumerate(boxes):
        left, top, right, bottom = np.broadcast_to(np.asarray(box, float), (frames, 4)).T[..., None]
        share = rng.uniform(size=(17, 2))
        share[:2] = ((0, 0), (1, 1))
        points[person, ..., 0] = left + share[:, 0] * (right - left)
        points[person, ..., 1] = top + share[:, 1] * (bottom - top)
    fields = {"image_size": (WIDTH, HEIGHT), "fps": 10.0, **fields}
    return PoseSequence(points, "coco17", "px", mask, score, y_axis="down", **fields)


def in_pixels(place):
    top, left, height, width = place
    return pytest.approx((left * WIDTH, top * HEIGHT, (left + width) * WIDTH, (top + height) * HEIGHT), abs=0.01)


@pytest.mark.parametrize(
    ("boxes", "shown"),
    [
        ([(40, 30, 80, 90)], (36, 24, 84, 96)),
        ([(40, 30, 60, 60), (70, 50, 80, 90)], (36, 24, 84, 96)),
        ([(0, 0, 160, 120)], (0, 0, 160, 120)),
        ([(100, 60, 158, 118)], (94.2, 54.2, 160, 120)),
        ([(80, 60, 80, 60)], (75, 56.25, 85, 63.75)),
    ],
    ids=["one person", "everybody", "the whole picture", "capped at the border", "one place"],
)
def test_the_box_of_all_joints_grown_by_a_tenth_on_each_side(boxes, shown):
    assert shown == in_pixels(skeleton_place(skeletons(*boxes), (WIDTH, HEIGHT)))


def test_the_box_holds_all_frames():
    boxes = [(40 + 4 * frame, 30, 60 + 4 * frame, 90) for frame in range(FRAMES)]
    assert in_pixels(skeleton_place(skeletons(boxes), (WIDTH, HEIGHT), margin=0.0)) == (40, 30, 96, 90)


def test_pixels_of_other_pictures_are_scaled():
    full = skeletons((480, 360, 960, 1080), image_size=(1920, 1440))
    assert in_pixels(skeleton_place(full, (WIDTH, HEIGHT), margin=0.0)) == (40, 30, 80, 90)


def test_joints_that_are_not_sure_or_outside_the_picture_do_not_count():
    score = np.ones((1, FRAMES, 17), np.float32)
    score[:, 0] = 0.1
    boxes = [(0, 0, 160, 120)] + [(40, 30, 80, 90)] * (FRAMES - 1)
    place = skeleton_place(skeletons(boxes, score=score), (WIDTH, HEIGHT), margin=0.0)
    assert in_pixels(place) == (40, 30, 80, 90)
    mask = np.ones((1, FRAMES, 17), bool)
    mask[:, 0] = False
    assert in_pixels(skeleton_place(skeletons(boxes, mask=mask), (WIDTH, HEIGHT), margin=0.0)) == (40, 30, 80, 90)
    assert skeleton_place(skeletons((-90, -60, -10, -5)), (WIDTH, HEIGHT)) is None
    assert skeleton_place(skeletons((40, 30, 80, 90), score=score * 0.2), (WIDTH, HEIGHT)) is None


def test_the_person_is_the_one_who_is_largest_and_seen_for_longest():
    two = skeletons((10, 10, 30, 40), (60, 20, 140, 110))
    assert in_pixels(skeleton_place(two, (WIDTH, HEIGHT), "person", 0.0)) == (60, 20, 140, 110)
    mask = np.ones((2, FRAMES, 17), bool)
    mask[1, 1:] = False
    briefly = skeletons((10, 10, 50, 70), (60, 20, 140, 110), mask=mask)
    assert in_pixels(skeleton_place(briefly, (WIDTH, HEIGHT), "person", 0.0)) == (10, 10, 50, 70)


def test_a_moving_box_keeps_its_size_and_goes_along():
    boxes = [(10 + 10 * frame, 30, 40 + 10 * frame, 90) for frame in range(FRAMES)]
    places = skeleton_place(skeletons(boxes), (WIDTH, HEIGHT), "moving")
    assert places.shape == (FRAMES, 4) and np.ptp(places[:, 2:], axis=0).max() == 0
    assert (np.diff(places[:, 1]) > 0).all() and (np.diff(places[:, 0]) == 0).all()
    assert (places[:, :2] >= 0).all() and (places[:, :2] + places[:, 2:] <= 1 + 1e-9).all()
    middle = places[FRAMES // 2]
    assert middle[1] + middle[3] / 2 == pytest.approx((25 + 10 * FRAMES // 2) / WIDTH, abs=1e-6)


def test_a_moving_box_passes_evenly_where_nobody_is_seen():
    mask = np.ones((1, FRAMES, 17), bool)
    mask[:, 2:7] = False
    boxes = [(10, 30, 40, 90)] * 5 + [(100, 30, 130, 90)] * 5
    places = skeleton_place(skeletons(boxes, mask=mask), (WIDTH, HEIGHT), "moving")
    assert (np.diff(places[:, 1]) >= 0).all() and np.diff(places[:, 1]).max() < 0.2


def test_places_at_other_times_are_those_of_the_nearest_frames():
    pose = skeletons((40, 30, 80, 90))
    places = np.arange(FRAMES)[:, None].repeat(4, 1)
    assert at_times(places, pose, np.array([0.0, 0.04, 0.06, 0.5, 5.0]))[:, 0].tolist() == [0, 0, 1, 5, 9]
    one = skeletons((40, 30, 80, 90), frames=1)
    assert at_times(places[:1], one, np.array([0.0, 1.0]))[:, 0].tolist() == [0, 0]


def squares(box=(40, 30, 80, 90), moves=0) -> np.ndarray:
    """Black pictures with a person: a white box, red in its left upper quarter."""
    pictures = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for frame, picture in enumerate(pictures):
        left, top, right, bottom = np.add(box, (moves * frame, 0, moves * frame, 0))
        picture[top:bottom, left:right] = 255
        picture[top : (top + bottom) // 2, left : (left + right) // 2, 1:] = 0
    return pictures


def with_pose(clip: Clip, pose, name="pose") -> Clip:
    return replace(clip, modalities={**clip.modalities, name: pose})


@pytest.mark.parametrize("keep", [False, True])
def test_pictures_are_cut_to_the_people(tmp_path, keep):
    clip = with_pose(images(tmp_path, squares()), skeletons((40, 30, 80, 90)))
    samples = VideoSamples.from_clips([clip], replace(CUT, crop_margin=0.0), keep=keep)
    video = samples.batch([0]).inputs["video"][0]
    assert video.shape == (3, 4, 24, 32) and samples.kept == keep and samples.uncropped == ()
    assert (video[0, :, 1:-1, 1:-1] > 0.99).all()
    assert (video[1:, :, 1:10, 1:14] < 0.01).all() and (video[1:, :, 14:-1, 1:-1] > 0.99).all()


@pytest.mark.parametrize("keep", [False, True])
def test_a_moving_box_shows_the_same_all_along(tmp_path, keep):
    boxes = [(40 + 8 * frame, 30, 70 + 8 * frame, 90) for frame in range(FRAMES)]
    clip = with_pose(images(tmp_path, squares((40, 30, 70, 90), 8)), skeletons(boxes, fps=4.0))
    clip = replace(clip, modalities={**clip.modalities, "video": replace(clip.video, fps=4.0)})
    samples = VideoSamples.from_clips([clip], replace(CUT, crop_of="moving", crop_margin=0.5, frames=10), keep=keep)
    video = samples.batch([0]).inputs["video"][0]
    inner = video[:, 1:-1]
    assert (inner - inner[:, :1]).abs().mean() < 0.02 and 0.2 < inner[0].mean() < 0.4


def test_what_is_kept_is_sharp_and_small(tmp_path):
    """A small part of a large picture has as many pixels as the model is given, if the video has them."""
    clip = with_pose(images(tmp_path, squares()), skeletons((40, 30, 80, 90)))
    samples = VideoSamples.from_clips([clip], replace(CUT, crop_margin=0.0, height=60, width=40), keep=True)
    video = samples.batch([0]).inputs["video"][0]
    assert samples._frames.sizes == [(60, 40)]
    torch.testing.assert_close(video[:, 0], torch.from_numpy(squares()[0, 30:90, 40:80] / 255).permute(2, 0, 1).float())
    whole = VideoSamples.from_clips([clip], replace(CUT, crop="", height=60, width=40), keep=True)
    assert whole._frames.sizes == [(60, 40)] and whole.batch([0]).inputs["video"][0, 0].mean() < 0.2


def test_a_stretched_picture_may_be_cut_from_a_larger_one(tmp_path):
    clip = with_pose(images(tmp_path, squares()), skeletons((40, 30, 80, 90)))
    wanted = replace(CUT, crop_margin=0.0, height=28, width=28, short=32)
    samples = VideoSamples.from_clips([clip], wanted)
    assert samples._sizes.tolist() == [[32, 32]]
    augment = VideoAugment(place="random")
    drawn = [samples.batch([0], augment=augment, generator=torch.Generator().manual_seed(seed)).inputs["video"] for seed in range(5)]
    places = {tuple(video[0, 1, 0].sum(1).tolist()) for video in drawn}
    assert len(places) > 1


def test_clips_without_a_person_are_shown_whole_and_told(tmp_path):
    nobody = skeletons((0, 0, 1, 1), mask=np.zeros((1, FRAMES, 17), bool))

    def broken():
        raise DataError("cannot be read")

    pictures = squares()
    clips = [
        with_pose(images(tmp_path, pictures, "seen"), skeletons((40, 30, 80, 90))),
        with_pose(images(tmp_path, pictures, "nobody"), nobody),
        images(tmp_path, pictures, "no skeleton"),
        with_pose(images(tmp_path, pictures, "broken"), Lazy(broken)),
    ]
    samples = VideoSamples.from_clips(clips, CUT)
    assert samples.uncropped == ("nobody", "no skeleton", "broken")
    means = samples.batch(range(4)).inputs["video"].mean((1, 2, 3, 4))
    assert means[0] > 3 * means[1] and torch.equal(means[1:], means[1].expand(3))


def test_the_pose_for_the_picture_goes_before_the_one_in_space(tmp_path):
    solid = PoseSequence(np.ones((1, FRAMES, 20, 3)), "kinect20")
    clip = with_pose(images(tmp_path, squares()), solid)
    with pytest.raises(RecipeError, match=r"they are 3-D in 'm', y upwards.*data\.camera projects.*data\.pose estimates"):
        VideoSamples.from_clips([clip], CUT)
    both = with_pose(clip, skeletons((40, 30, 80, 90)), "image_pose")
    assert VideoSamples.from_clips([both], CUT).uncropped == ()


def test_without_any_skeleton_nothing_can_be_cut(tmp_path):
    with pytest.raises(RecipeError, match=r"no clip has one; data\.pose: movenet"):
        VideoSamples.from_clips([images(tmp_path, squares())], CUT)
