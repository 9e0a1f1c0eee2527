"""Videos as samples: which frames, which part of them, in which colours; and that all frames of a sample are treated alike."""

import threading
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from kinema.clip import Clip, VideoSource
from kinema.errors import DataError, RecipeError
from kinema.shape import DepthShape, Shapes
from kinema.transforms import sampling, video
from kinema.transforms.batches import Batch, ahead, cutmix
from kinema.transforms.video_config import VideoAugment, VideoInput
from kinema.transforms.video_samples import VideoSamples

RAW = VideoInput(6, height=30, width=40, scale="unit")
ALL = VideoAugment(
    offset="shared", place="area", mirror=0.5, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2, crop=0.6, area=(0.3, 0.9)
)


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(folder, pictures, name="a", label=0) -> Clip:
    """A clip of the given (T, H, W, 3) pictures, as they are."""
    from PIL import Image

    (folder / name).mkdir(parents=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / name / f"{number:04}.png")
    return Clip(name, {"video": VideoSource(folder / name)}, label=label)


def encoded(path, pictures, rate=10) -> VideoSource:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(rate))
        stream.height, stream.width = pictures.shape[1:3]
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return VideoSource(path)


def numbered(frames, height=30, width=40) -> np.ndarray:
    """Pictures whose every value is the number of the frame."""
    return np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, height, width, 3)).copy()


def noise(frames=1, height=30, width=40, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def shown(clip, input, **options) -> list[int]:
    """The numbers of the frames that a sample of a numbered clip is made of."""
    x = VideoSamples.from_clips([clip], input).batch([0], **options).inputs["video"]
    return (x[0, 0, :, 0, 0] * 255).round().long().tolist()


def everything(clips, input=RAW, **options):
    samples = VideoSamples.from_clips(clips, input)
    return samples.batch(range(len(samples)), **options).inputs["video"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 4, 7, 10, 13, 16]),
        ({"sampling": "dense", "step": 2}, [4, 6, 8, 10, 12, 14]),
        ({"sampling": "first"}, [0, 1, 2, 3, 4, 5]),
        ({"sampling": "every", "step": 3}, [0, 3, 6, 9, 12, 15]),
        ({"sampling": "every", "step": 4}, [0, 4, 8, 12, 16, 17]),
        ({"sampling": "dense", "step": 5}, [0, 5, 10, 15, 17, 17]),
        ({"frames": 9, "test_frames": 2}, [4, 13]),
    ],
)
def test_frames_of_a_test_sample(tmp_path, options, expected):
    assert shown(images(tmp_path, numbered(18)), replace(RAW, **options)) == expected


@pytest.mark.parametrize("sampling", ["dense", "first", "every"])
def test_a_short_clip_repeats_its_last_frame(tmp_path, sampling):
    clip = images(tmp_path, numbered(4))
    for augment in (None, VideoAugment()):
        assert shown(clip, replace(RAW, sampling=sampling), augment=augment, generator=generator()) == [0, 1, 2, 3, 3, 3]


def test_a_short_clip_is_spread_over_the_segments(tmp_path):
    assert shown(images(tmp_path, numbered(3)), RAW) == [0, 0, 1, 1, 2, 2]
    assert shown(images(tmp_path, numbered(1), "b"), RAW) == [0] * 6


@pytest.mark.parametrize("offset", ["each", "shared"])
@pytest.mark.parametrize("way", ["segments", "dense", "first", "every"])
@pytest.mark.parametrize("crop", [1.0, 0.3])
@pytest.mark.parametrize("length", [1, 5, 18, 250])
def test_random_frames_are_in_range_and_in_order(tmp_path, way, offset, crop, length):
    clip = images(tmp_path, numbered(length, 8, 8))
    input = VideoInput(7, 3, height=8, width=8, sampling=way, step=2 if way in ("dense", "every") else 1, scale="unit")
    drawn = [shown(clip, input, augment=VideoAugment(offset=offset, crop=crop), generator=generator(seed)) for seed in range(3)]
    for frames in drawn:
        assert len(frames) == 7 and frames == sorted(frames) and frames[0] >= 0 and frames[-1] < length
    assert length < 18 or (len(set(map(tuple, drawn))) > 1) == (way in ("segments", "dense") or crop < 1)


def test_a_shared_offset_leaves_frames_equally_far_apart():
    starts, lengths = torch.zeros(50, dtype=torch.long), torch.full((50,), 120)
    frames = sampling.segment_frames(starts, lengths, 8, generator=generator(), training=True, shared=True)
    assert (frames.diff() == 15).all() and len(frames[:, 0].unique()) > 10
    frames = sampling.segment_frames(starts, lengths - 7, 8, generator=generator(), training=True, shared=True)
    assert set(frames.diff().unique().tolist()) == {14, 15}
    frames = sampling.segment_frames(starts, lengths, 8, generator=generator(), training=True)
    assert len(frames.diff().unique()) > 10
    assert (frames // 15 == torch.arange(8)).all()


@pytest.mark.parametrize("way", ["segments", "dense", "first", "every"])
def test_views_are_other_moments(tmp_path, way):
    clip = images(tmp_path, numbered(40))
    input = replace(RAW, sampling=way)
    alone = shown(clip, input)
    views = [shown(clip, input, view=view, views=4) for view in range(4)]
    assert views[0] == alone and len(set(map(tuple, views))) == 4
    assert views == [shown(clip, input, view=view, views=4) for view in range(4)]


def test_views_go_over_three_places_of_each_moment(tmp_path):
    across = np.broadcast_to(np.arange(80, dtype=np.uint8)[:, None], (30, 80, 3))
    input = VideoInput(4, height=30, width=20, places=3, scale="unit")
    pictures = np.stack([across + 100 * (frame >= 6) for frame in range(12)]).astype(np.uint8)
    samples = VideoSamples.from_clips([images(tmp_path, pictures)], input)
    x = [samples.batch([0], view=view, views=6).inputs["video"][0, 0, :, 0, 0] * 255 for view in range(6)]
    assert [round(part[0].item()) for part in x] == [30, 0, 60] * 2
    upright = VideoSamples.from_clips([images(tmp_path, pictures.transpose(0, 2, 1, 3), "b")], replace(input, height=20, width=30))
    assert [round(255 * upright.batch([0], view=view, views=3).inputs["video"][0, 0, 0, 0, 0].item()) for view in range(3)] == [30, 0, 60]


@pytest.mark.parametrize("height, width", [(30, 40), (31, 57), (120, 20), (9, 200)])
@pytest.mark.parametrize("fit, short", [("crop", 0), ("crop", 36), ("stretch", 0)])
@pytest.mark.parametrize("place", ["centre", "random", "corners", "area"])
def test_whatever_the_picture_a_sample_has_the_size_asked_for(tmp_path, height, width, fit, short, place):
    clip = images(tmp_path, noise(2, height, width))
    input = VideoInput(2, height=24, width=32, fit=fit, short=short)
    assert everything([clip], input).shape == (1, 3, 2, 24, 32)
    x = everything([clip], input, augment=VideoAugment(place=place), generator=generator())
    assert x.shape == (1, 3, 2, 24, 32) and x.isfinite().all()


@pytest.mark.parametrize("place", ["centre", "random", "corners", "area"])
def test_cuts_lie_within_the_picture(place):
    sizes = torch.tensor([[30, 40], [31, 57], [120, 40], [30, 200]]).repeat(50, 1)
    cuts = video.cut_places(VideoInput(height=30, width=40), sizes, VideoAugment(place=place, area=(0.2, 1.0)), generator())
    assert (cuts >= 0).all() and (cuts[:, 2:] > 0).all() and (cuts[:, :2] + cuts[:, 2:] <= 1 + 1e-9).all()
    if place == "area":
        area = cuts[:, 2:].prod(1)
        assert area[::4].min() > 0.15 and area[::4].max() > 0.8 and area[::4].std() > 0.1
    if place == "corners":
        assert len(cuts[::4, 2].unique()) == 4 and len(cuts[::4, :2].unique(dim=0)) > 10


def test_pictures_that_fit_are_given_as_they_are(tmp_path):
    pictures = noise(6)
    x = everything([images(tmp_path, pictures)])
    assert np.array_equal((x[0] * 255).round().numpy(), pictures.transpose(3, 0, 1, 2))


def test_the_middle_is_cut_out(tmp_path):
    pictures = noise(6, 30, 60)
    x = everything([images(tmp_path, pictures)])
    assert np.array_equal((x[0] * 255).round().numpy(), pictures[:, :, 10:50].transpose(3, 0, 1, 2))


def test_stretching_shows_the_whole_picture(tmp_path):
    pictures = np.repeat(np.repeat(noise(6, 15, 20), 4, 1), 4, 2)[:, :, :40]
    x = everything([images(tmp_path, pictures)], replace(RAW, fit="stretch"))
    smaller = torch.from_numpy(pictures).float().permute(3, 0, 1, 2).unflatten(2, (30, 2)).mean(3)
    assert (255 * x[0] - smaller).abs().mean() < 15


def test_mirroring_twice_is_the_identity(tmp_path):
    samples = VideoSamples.from_clips([images(tmp_path, noise(6))], RAW)
    plain = samples.batch([0]).inputs["video"]
    mirrored = samples.batch([0], augment=VideoAugment(mirror=1.0, offset="shared"), generator=generator()).inputs["video"]
    assert torch.equal(mirrored.flip(-1), plain) and not torch.equal(mirrored, plain)


@pytest.mark.parametrize("scale", video.SCALES)
def test_normalisation_can_be_undone(tmp_path, scale):
    pictures = noise(6)
    x = everything([images(tmp_path, pictures)], replace(RAW, scale=scale))
    means, deviations = (torch.tensor(part).view(3, 1, 1, 1) for part in video.SCALES[scale])
    restored = ((x[0] * deviations + means) * 255).round().numpy()
    assert x.dtype == torch.float32 and np.array_equal(restored, pictures.transpose(3, 0, 1, 2))


def test_grey_is_the_luma(tmp_path):
    pictures = noise(6)
    x = everything([images(tmp_path, pictures)], replace(RAW, colours="grey"))
    expected = pictures.astype(np.float32) @ np.array(video.LUMA, np.float32) / 255
    assert x.shape == (1, 1, 6, 30, 40)
    np.testing.assert_allclose(x[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("colours", ["rgb", "grey"])
@pytest.mark.parametrize("place", ["centre", "random", "corners", "area"])
def test_a_still_video_stays_still(tmp_path, colours, place):
    clips = [images(tmp_path, np.repeat(noise(seed=seed), 9, 0), str(seed)) for seed in range(4)]
    input = VideoInput(6, height=20, width=20, short=26, colours=colours)
    x = everything(clips, input, augment=replace(ALL, place=place), generator=generator())
    assert (x == x[:, :, :1]).all()
    assert not torch.equal(x, everything(clips, input))


def test_the_same_seed_gives_the_same_samples(tmp_path):
    clips = [images(tmp_path, noise(9, seed=seed), str(seed)) for seed in range(4)]
    one, two, other = (everything(clips, augment=ALL, generator=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)


def changed(pictures, **changes):
    """Pictures after the given factors of brightness, contrast and saturation and turn of the hue, 0..255."""
    values = torch.tensor([[changes.get(name, 0 if name == "hue" else 1)] for name in ("brightness", "contrast", "saturation", "hue")])
    return video.normalise(torch.from_numpy(pictures)[None], replace(RAW, scale="unit"), values.float())[0] * 255


def luma(x):
    return torch.einsum("c...,c->...", x, torch.tensor(video.LUMA))


def test_colours_change_as_their_names_say():
    pictures = noise(2, seed=3) // 4 + 96
    plain = torch.from_numpy(pictures).permute(3, 0, 1, 2).float()
    close = {"atol": 0.6, "rtol": 0}  # YIQ's matrix has three digits
    torch.testing.assert_close(changed(pictures), plain, **close)
    torch.testing.assert_close(changed(pictures, brightness=1.2), 1.2 * plain, **close)
    torch.testing.assert_close(changed(pictures, saturation=0.0), luma(plain).expand(3, -1, -1, -1), **close)
    mean = luma(plain[..., ::4, ::4]).mean()
    torch.testing.assert_close(changed(pictures, contrast=0.5), (plain + mean) / 2, **close)
    turned = changed(pictures, hue=2.0)
    torch.testing.assert_close(luma(turned), luma(plain), **close)
    assert (turned - plain).abs().mean() > 5
    torch.testing.assert_close(changed(pictures, hue=2 * torch.pi), plain, **close)


def test_changed_colours_stay_colours(tmp_path):
    augment = VideoAugment(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5)
    clips = [images(tmp_path, noise(9, seed=seed), str(seed)) for seed in range(4)]
    x = everything(clips, augment=augment, generator=generator())
    assert x.min() >= 0 and x.max() <= 1


@pytest.mark.parametrize("colours", ["rgb", "grey"])
def test_samples_are_coloured_alike_one_by_one_and_together(colours):
    pictures = torch.from_numpy(noise(12)).view(3, 4, 30, 40, 3)
    changes = video.colour_changes(3, ALL, generator())
    input = replace(RAW, colours=colours)
    alone = [video.normalise(pictures[i : i + 1], input, changes[:, i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), video.normalise(pictures, input, changes))


def test_another_device_is_given_bytes(tmp_path):
    samples = VideoSamples.from_clips([images(tmp_path, noise(9))], RAW)
    batch = samples.batch([0], device="meta")
    assert batch.inputs["video"].shape == (1, 3, 6, 30, 40) and batch.inputs["video"].device.type == "meta" == batch.labels.device.type


def test_cutmix_mixes_targets_by_area():
    video = torch.arange(8.0).view(8, 1, 1, 1, 1).expand(8, 3, 4, 30, 40).clone()
    mixed, targets = cutmix(Batch({"video": video}, torch.arange(8)), torch.eye(8), 1.0, generator())
    x = mixed.inputs["video"]
    assert (x == x[:, :1, :1]).all()  # the same in all frames
    for own, row in enumerate(targets):
        shown = torch.bincount(x[own, 0, 0].long().flatten(), minlength=8) / (30 * 40)
        torch.testing.assert_close(shown, row)
        assert row[own] >= 0.5
    assert (targets.diagonal() < 1).sum() > 0


def test_cutmix_is_for_videos_alone():
    batch = Batch({"x": torch.zeros(2, 1, 2, 3, 3), "mask": None, "video": torch.zeros(2, 3, 2, 8, 8)}, torch.arange(2))
    with pytest.raises(RecipeError, match=r"video_augment.cutmix is for models of videos alone; this one is given x and mask and video"):
        cutmix(batch, torch.eye(2), 1.0)


class Shown:
    """As much of samples as `ahead` looks at."""

    def __init__(self, shape):
        self.shape = shape


@pytest.mark.parametrize("shape", [RAW.shape, Shapes(video=RAW.shape), DepthShape(1, 8, 8)])
def test_batches_come_in_order_and_those_of_videos_are_made_ahead(shape):
    made, used = [], []
    for one in ahead(Shown(shape), lambda given: (made.append(threading.current_thread()), 2 * given)[1], range(4)):
        used.append(one)
        if len(used) == 1 and not isinstance(shape, DepthShape):
            while len(made) < 2:  # the second, before anybody asked for it
                time.sleep(1e-3)
    assert used == [0, 2, 4, 6]
    assert (threading.main_thread() in made) == isinstance(shape, DepthShape)


def test_what_goes_wrong_ahead_is_raised_when_it_is_used():
    got = []
    with pytest.raises(DataError, match="broken"):
        for one in ahead(Shown(RAW.shape), lambda given: _raise(DataError("broken")) if given == 2 else given, range(4)):
            got.append(one)
    assert got == [0, 1]


def _raise(error):
    raise error


def test_what_samples_tell(tmp_path):
    clips = [images(tmp_path, noise(3), "a", 1), images(tmp_path, noise(7), "b", None)]
    samples = VideoSamples.from_clips(clips, RAW)
    assert samples.clip_ids == ("a", "b") and samples.labels.tolist() == [1, -1] and samples.lengths.tolist() == [3, 7]
    assert samples.unit == "clips" and len(samples) == 2 and samples.clip_of.tolist() == [0, 1]
    batch = samples.batch([1, 0])
    assert batch.labels.tolist() == [-1, 1]
    assert batch.inputs["video"].shape[1:] == tuple(samples.shape.example()["video"].shape[1:])


def test_clips_that_cannot_be_read(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    good = images(tmp_path, noise(3), "good")
    bad = {
        "absent": VideoSource(tmp_path / "nowhere.mp4"),
        "broken": VideoSource(tmp_path / "broken.mp4"),
    }
    clips = [*(Clip(name, {"video": source}) for name, source in bad.items()), Clip("blind", {}), good]
    for clip in clips[:3]:
        with pytest.raises(DataError, match=f"clip '{clip.id}'"):
            VideoSamples.from_clips([good, clip], RAW)
    samples = VideoSamples.from_clips(clips, RAW, on_error="skip")
    assert samples.clip_ids == ("good",) and len(samples.skipped) == 3
    torch.testing.assert_close(samples.batch([0]).inputs["video"], everything([good]))


def test_a_part_of_a_file(tmp_path):
    source = encoded(tmp_path / "a.mp4", numbered(30) * 8)
    part = VideoSource(source.path, 1.0, 2.0)
    samples = VideoSamples.from_clips([Clip("a", {"video": part}), Clip("b", {"video": source})], replace(RAW, sampling="first"))
    assert samples.lengths.tolist() == [10, 30]
    first = samples.batch([0, 1]).inputs["video"].mean((1, 2, 3, 4)) * 255 / 8
    assert abs(first[0] - 12.5) < 0.6 and abs(first[1] - 2.5) < 0.6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling": "segment"}, "did you mean 'segments'"),
        ({"frames": 0}, "video.frames is 0; 1 to 1024"),
        ({"places": 2}, "video.places is 2; 1 or 3"),
        ({"fit": "stretch", "places": 3}, "video.places is 3, but video.fit 'stretch' cuts nothing off"),
        ({"crop": "skeletons"}, "did you mean 'skeleton'"),
        ({"crop_of": "person"}, "nothing is cut; video.crop: skeleton does"),
        ({"crop": "skeleton", "crop_margin": 2.0}, "video.crop_margin is 2.0; 0 to 1"),
        ({"step": 2}, "video.step is 2, but video.sampling 'segments' has no step"),
        ({"scale": "imagnet"}, "did you mean 'imagenet'"),
    ],
)
def test_impossible_settings(tmp_path, changes, words):
    with pytest.raises(RecipeError, match=words):
        VideoSamples.from_clips([images(tmp_path, noise(3))], replace(RAW, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"place": "corner"}, "did you mean 'corners'"),
        ({"area": (0.5,)}, "video_augment.area"),
        ({"hue": 0.7}, "video_augment.hue is 0.7; 0 to 0.5"),
        ({"crop": 0.0}, "video_augment.crop is 0.0"),
    ],
)
def test_impossible_changes(tmp_path, changes, words):
    samples = VideoSamples.from_clips([images(tmp_path, noise(3))], RAW)
    with pytest.raises(RecipeError, match=words):
        samples.batch([0], augment=VideoAugment(**changes))
