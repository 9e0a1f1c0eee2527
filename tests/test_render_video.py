"""Skeletons drawn on the video that they were seen in: in step with it, at its place, with its sound."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from kinema.clip import PoseSequence, VideoSource
from kinema.errors import DataError, KinemaError
from kinema.recognition._film import Film
from kinema.recognition.prediction import Prediction
from kinema.recognition.render import render, render_predictions

FRAMES, WIDTH, HEIGHT = 20, 160, 120
TOP = (("wave", 0.7), ("walk", 0.3))


@pytest.fixture
def film(tmp_path):
    """A blue video of two seconds whose left half is bright in the second one, with a tone if wanted."""

    def make(sound: bool = False, name: str = "film.mp4"):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            voice = container.add_stream("aac", rate=16000, layout="mono") if sound else None
            for i in range(FRAMES):
                picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
                picture[..., 2] = 120
                picture[:, : WIDTH // 2] += np.uint8(100 * (i >= FRAMES // 2))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
            if voice is not None:
                tone = (8000 * np.sin(np.arange(32000) / 8)).astype(np.int16)[None]
                frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
                resampler = av.AudioResampler(format=voice.format.name, layout="mono", rate=16000, frame_size=1024)
                for part in [*resampler.resample(frame), *resampler.resample(None)]:
                    container.mux(voice.encode(part))
                container.mux(voice.encode())
        return path

    return make


def person(frames=FRAMES, scale=1.0, **fields) -> PoseSequence:
    """Somebody in the right half of the picture."""
    places = np.random.default_rng(0).uniform((100, 20), (150, 110), (17, 2)) * scale
    points = np.broadcast_to(places, (1, frames, 17, 2))
    return PoseSequence(points, "coco17", **{"unit": "px", "fps": 10.0, "y_axis": "down", **fields})


def pictures(path):
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def colored(picture):
    """How much of it is neither blue ground nor bright half nor black."""
    rgb = picture.astype(int)
    return ((rgb[..., 0] > 140) & (rgb[..., 2] < 120)).sum()


def test_the_video_lies_behind_at_its_own_size_and_rate(film, tmp_path):
    out = render(person(), tmp_path / "a.mp4", video=film())
    shown = pictures(out)
    with av.open(str(out)) as file:
        assert file.streams.video[0].average_rate == 10 and not file.streams.audio
    assert len(shown) == FRAMES and shown[0].shape[0] == 240
    left = [picture[120, 70].astype(int) for picture in (shown[2], shown[-2])]
    assert left[0][2] > 80 and left[0][0] < 40 and left[1][0] > 70  # the second half is bright
    assert all(colored(picture[:, picture.shape[1] // 2 :]) > 20 for picture in shown)
    assert not colored(shown[2][:, : shown[2].shape[1] // 2])


@pytest.mark.parametrize(("size", "fps", "count"), [((641, 361), None, 20), ((320, 240), 25.0, 48), ((200, 300), 5.0, 10)])
def test_any_size_and_rate(film, tmp_path, size, fps, count):
    shown = pictures(render(person(), tmp_path / "a.mp4", top=TOP, truth="walk", video=film(), size=size, fps=fps))
    assert shown[0].shape[:2] == (size[1] & ~1, size[0] & ~1) and abs(len(shown) - count) <= 1


def test_the_sound_is_kept(film, tmp_path):
    with av.open(str(render(person(), tmp_path / "a.mp4", video=film(sound=True)))) as file:
        (voice,) = file.streams.audio
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in file.decode(voice)])
    assert voice.rate == 16000 and abs(len(heard) / 16000 - 2) < 0.2 and np.abs(heard).max() > 0.1


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_still_pictures_and_gifs_show_it_too(film, tmp_path, suffix):
    path = render(person(), tmp_path / f"a{suffix}", top=TOP, video=film())
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert (picture[..., 2] - picture[..., 0] > 60).sum() > 1000


def test_points_of_a_larger_image_of_the_same_shape_fit(film, tmp_path):
    small = pictures(render(person(), tmp_path / "a.mp4", video=film()))[3]
    large = pictures(render(person(scale=4, image_size=(640, 480)), tmp_path / "b.mp4", video=film()))[3]
    assert np.abs(small.astype(int) - large).mean() < 1


def test_times_tell_which_picture_belongs_to_which_frame_and_where_nobody_was(film):
    pose = person(3, times=np.array([0.5, 0.6, 1.5]))
    shown = Film(VideoSource(film()), pose)
    assert [shown.frame(i) for i in (0, 5, 6, 10, 15, 19)] == [-1, 0, 1, -1, 2, -1]
    assert shown.showing(2) == 15
    part = Film(VideoSource(film(), start=1.0), person(10))
    assert len(part.seconds) == 10 and part.picture(0)[60, 20, 0] > 70
    assert part.picture(5).shape == (HEIGHT, WIDTH, 3) and part.picture(1).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("pose", "words"),
    [
        (person(9), "has 20 pictures, the skeletons 9 frames; these are not of one recording"),
        (person(unit="norm"), "2-D points in its pixels are drawn; these are 2-D in 'norm'"),
        (person(image_size=(300, 300)), "the video is 160 x 120, the image of the points 300 x 300"),
    ],
)
def test_what_is_not_of_this_video_is_told(film, tmp_path, pose, words):
    with pytest.raises(DataError, match=words):
        render(pose, tmp_path / "a.mp4", video=film())
    assert not (tmp_path / "a.mp4").exists()


def test_one_video_is_not_that_of_several_recordings(film, tmp_path):
    answers = [Prediction(name, ("a", "b"), np.array([0.9, 0.1]), pose=person()) for name in "xy"]
    with pytest.raises(KinemaError, match="one video; there are 2 recordings"):
        render_predictions(answers, tmp_path / "a.mp4", video=film())
    assert render_predictions(answers[:1], tmp_path / "a.png", video=film()) == [tmp_path / "a.png"]


def test_ntus_skeletons_are_drawn_on_the_video_beside_them(data_root, tmp_path):
    from kinema.datasets._files import read_clips

    path = data_root("ntu") / "samples" / "S001C001P001R001A006.skeleton"
    clip = read_clips(path)[0]
    answer = Prediction(clip.id, ("pick up", "throw"), np.array([0.9, 0.1]), 0, pose=clip.pose, source=path)
    (out,) = render_predictions([answer], tmp_path / "a.png")
    picture = np.asarray(Image.open(out)).astype(int)
    assert (picture.min(-1) > 150).mean() > 0.05  # the white wall behind
