"""Answers are written into videos: where, when, and how the video goes on otherwise."""

import numpy as np
import pytest
from make_videos import write_video
from test_recognition_timeline import CLASSES, answered

from kinema import video
from kinema.clip import VideoSource
from kinema.errors import DataError, KinemaError
from kinema.recognition.overlay import draw_answers, write_labels
from kinema.recognition.prediction import Prediction


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "a.mp4", frames=40, height=256, width=320)


def answer(path, **fields):
    return answered([(0, 2, "wave", 0.7), (2, 4, "walk", 0.9)], video=VideoSource(path), source=path, **fields)


def test_labels_are_in_a_corner_and_change_with_the_answer(path, tmp_path):
    out = write_labels(answer(path), tmp_path / "deep" / "out.mp4")
    about = video.index(out)
    assert (about.width, about.height, about.codec) == (320, 256, "h264")
    np.testing.assert_allclose(about.times, video.index(path).times, atol=1e-3)
    before, after = (video.read_frames(each, range(40)).astype(int) for each in (path, out))
    changed = np.abs(before - after).mean(-1)
    assert changed[:, :100].mean() < 6 and changed[:, -60:, 190:].mean() < 8
    assert changed[:, -90:, :150].mean() > 30
    corner = after[:, -90:, :160]
    same, other = np.abs(corner[5] - corner[15]).mean(), np.abs(corner[15] - corner[25]).mean()
    assert other > 1.3 * same


def test_the_true_label_is_green(path, tmp_path):
    with_truth, without = (write_labels(answer(path, truth=truth), tmp_path / f"{truth}.mp4") for truth in (2, None))
    found = [video.read_frames(each, [5])[0][-110:, :160].astype(int) for each in (with_truth, without)]
    green = [(picture[..., 1] - picture[..., 0] > 60).sum() for picture in found]
    assert green[0] > green[1] + 100


def test_times_sizes_and_rates(tmp_path):
    times = np.cumsum([0, 40, 40, 300, 20, 55, 1000, 33, 33, 33, 500, 10, 40, 40, 40, 40, 250, 40, 40, 41])
    path = write_video(tmp_path / "uneven.mkv", frames=20, times=times, height=49, width=67, pixels="yuv444p")
    out = write_labels(answer(path), tmp_path / "a.mp4")
    np.testing.assert_allclose(video.index(out).times, video.index(path).times, atol=1e-3)
    assert min(video.index(out).height, video.index(out).width) == 240
    out = write_labels(answer(path), tmp_path / "b.mp4", size=(101, 77), fps=5)
    about = video.index(out)
    assert (about.width, about.height) == (100, 76) and np.diff(about.times).min() >= 0.19


def test_a_part_of_a_video_and_a_folder_of_images(path, tmp_path):
    part = answered([(0, 1, "wave", 0.7)], video=VideoSource(path, 1, 2))
    assert len(video.index(write_labels(part, tmp_path / "a.mp4"))) == 10
    from test_video_images import write_images

    folder = write_images(tmp_path / "images", [f"{i}.png" for i in range(6)])
    assert len(video.index(write_labels(answer(folder), tmp_path / "b.mp4"))) == 6


def test_several_get_a_file_each(path, tmp_path):
    nothing = Prediction.nothing("lost", CLASSES, "because")
    found = draw_answers([answer(path), nothing, answer(path)], tmp_path / "out.mp4")
    assert [each.name for each in found] == ["out-clip-1.mp4", "out-clip-2.mp4"]
    assert [each.name for each in draw_answers([answer(path)], tmp_path / "one.mp4")] == ["one.mp4"]


def test_what_cannot_be_written_is_said_and_nothing_is_left(path, tmp_path):
    nothing = Prediction.nothing("lost", CLASSES, "because")
    for run, said in (
        (lambda: write_labels(answer(path), tmp_path / "a.gif"), r"as \.mp4"),
        (lambda: write_labels(answered([(0, 1, "wave", 0.7)]), tmp_path / "a.mp4"), "no video"),
        (lambda: write_labels(answer(path), tmp_path / "a.mp4", fps=0), "fps is 0"),
        (lambda: write_labels(answer(path), tmp_path / "a.mp4", size=(10, 10)), "10 x 10"),
        (lambda: write_labels(answer(tmp_path / "absent.mp4"), tmp_path / "a.mp4"), "no such file"),
        (lambda: draw_answers([nothing], tmp_path / "a.mp4"), "no skeleton and no video"),
    ):
        with pytest.raises((DataError, KinemaError), match=said):
            run()
    (tmp_path / "file").write_text("x")
    with pytest.raises(KinemaError, match="cannot be written"):
        write_labels(answer(path), tmp_path / "file" / "a.mp4")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
