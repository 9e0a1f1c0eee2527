"""Pictures show the skeletons and their labels, at the speed of the recording, and appear whole or not at all."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from kinema.clip import PoseSequence
from kinema.datasets.actor import perform
from kinema.errors import KinemaError
from kinema.recognition._drawing import BLACK, LIGHT
from kinema.recognition.prediction import Prediction
from kinema.recognition.render import Scene, parse_size, render, render_predictions, render_scenes

INK, PERSONS, RIGHT_ANSWER = LIGHT.ink, LIGHT.persons, LIGHT.right_answer
TOP = (("wave", 0.7), ("clap", 0.2), ("draw circle counter-clockwise", 0.06), ("throw", 0.03), ("knock", 0.01))


@pytest.fixture(scope="module")
def wave() -> PoseSequence:
    return perform("wave")


def flat(pose: PoseSequence) -> PoseSequence:
    """The same persons as a camera sees them, in pixels."""
    x, y, z = np.moveaxis(pose.points, -1, 0)
    points = np.stack([320 + 500 * x / z, 240 - 500 * y / z], -1)
    return replace(pose, points=points, unit="px", y_axis="down", image_size=(640, 480))


def several(pose: PoseSequence) -> PoseSequence:
    points = np.concatenate([pose.points, pose.points + np.float32([0.9, 0, 0.4])])
    return replace(pose, points=points)


def pixels(path, color: str) -> int:
    """How many pixels of a picture have a colour, or nearly."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(np.asarray(Image.open(path).convert("RGB"), int) - wanted).max(-1) < 12).sum())


def decoded(path):
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.to_image() for frame in container.decode(stream)], stream.codec_context.name, stream.average_rate, stream.pix_fmt


@pytest.mark.parametrize("form", [lambda pose: pose, flat, several, lambda pose: flat(several(pose))], ids=["3-D", "2-D", "two", "2-D two"])
def test_a_strip_shows_both_sides_of_every_person_in_their_colours(wave, tmp_path, form):
    pose = form(wave)
    path = render(pose, tmp_path / "strip.png", title="somebody", top=TOP, truth="wave")
    assert Image.open(path).size == (1200, 280)
    for person, colors in enumerate(PERSONS):
        for color in colors:
            assert (pixels(path, color) > 150) == (person < pose.persons), (person, color)


@pytest.mark.parametrize("layout", ["coco17", "cad60", "ntu25", "jhmdb15"])
def test_every_layout_can_be_drawn(wave, tmp_path, layout):
    pose = wave.to_layout(layout, allow_missing=True)
    assert pixels(render(pose, tmp_path / "strip.png"), PERSONS[0][0]) > 150


def test_joints_that_were_not_observed_are_not_drawn(wave, tmp_path):
    mask = np.ones(wave.points.shape[:3], bool)
    mask[:, :, [i for i, name in enumerate(wave.layout.joints) if name.startswith("left_")]] = False
    path = render(replace(wave, mask=mask), tmp_path / "strip.png")
    assert pixels(path, PERSONS[0][0]) == 0
    assert pixels(path, PERSONS[0][1]) > 150


def test_a_sequence_in_which_nobody_is_seen_is_drawn_empty(wave, tmp_path):
    path = render(replace(wave, mask=np.zeros(wave.points.shape[:3], bool)), tmp_path / "strip.png")
    assert not any(pixels(path, color) for color in PERSONS[0])


def test_downward_y_is_drawn_like_upward_y(wave, tmp_path):
    down = replace(wave, points=wave.points * np.float32([1, -1, 1]), y_axis="down")
    pictures = [np.asarray(Image.open(render(pose, tmp_path / f"{i}.png")), int) for i, pose in enumerate((wave, down))]
    assert (pictures[0] != pictures[1]).mean() < 0.001


def test_a_single_wild_joint_does_not_make_the_person_tiny(wave, tmp_path):
    points = wave.points.copy()
    points[0, 10, 7] += 50
    before, after = (pixels(render(replace(wave, points=p), tmp_path / "a.png"), PERSONS[0][1]) for p in (wave.points, points))
    assert after > 0.5 * before


@pytest.mark.parametrize(("truth", "green", "taller"), [(None, False, False), ("wave", True, False), ("squat", True, True)])
def test_the_true_label_is_green_and_named_where_it_is_not_among_the_most_probable(wave, tmp_path, truth, green, taller):
    path = render(wave, tmp_path / "a.png", top=TOP, truth=truth)
    assert (pixels(path, RIGHT_ANSWER) > 50) == green
    assert (pixels(path, RIGHT_ANSWER) > 800) == (green and not taller)  # the long bar of the right answer


def test_five_labels_at_most_and_long_words_stay_inside(wave, tmp_path):
    words = "a very long title " * 30
    path = render(wave, tmp_path / "a.png", title=words, top=[(words + str(i), 0.1) for i in range(9)], truth=words, size=(400, 200))
    margin = np.asarray(Image.open(path).convert("RGB"))[:, -6:]
    assert (margin == 255).all()
    assert pixels(path, INK) > 100


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
@pytest.mark.parametrize("fps", [None, 10.0])
def test_an_animation_runs_at_the_speed_of_the_recording(wave, tmp_path, suffix, fps):
    path = render(wave, tmp_path / f"move{suffix}", top=TOP, fps=fps, size=(240, 120))
    if suffix == ".gif":
        image = Image.open(path)
        lengths = []
        for frame in range(image.n_frames):
            image.seek(frame)
            lengths.append(image.info["duration"] / 1000)
        seconds, most = sum(lengths), 16
    else:
        frames, codec, rate, form = decoded(path)
        assert (codec, form) == ("h264", "yuv420p")
        seconds, most = len(frames) / float(rate), 30
    assert seconds == pytest.approx(wave.duration, abs=0.2)
    assert seconds * (fps or most) == pytest.approx(len(frames) if suffix == ".mp4" else image.n_frames, rel=0.15)


def test_uneven_times_are_shown_when_they_were(wave, tmp_path):
    half = wave.frames // 2
    times = np.concatenate([np.arange(half) / 30, 2 + np.arange(wave.frames - half) / 30])  # a gap in the middle
    path = render(replace(wave, times=times), tmp_path / "gap.mp4", size=(160, 120), fps=20)
    frames, _, _, _ = decoded(path)
    assert len(frames) == pytest.approx(times[-1] * 20, abs=2)
    still = [np.abs(np.asarray(a, int) - np.asarray(b, int)).mean() < 0.3 for a, b in pairwise(frames)]
    gap = range(int(20 * times[half - 1]) + 2, 2 * 20 - 2)
    assert all(still[i] for i in gap)


def test_odd_sizes_are_made_even_for_h264(wave, tmp_path):
    frames, *_ = decoded(render(wave, tmp_path / "odd.mp4", size=(161, 121), fps=5))
    assert frames[0].size == (160, 120)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".mp4"])
def test_one_frame_is_enough(wave, tmp_path, suffix):
    path = render(wave.select_frames(slice(0, 1)), tmp_path / f"one{suffix}", size=(200, 120))
    assert path.stat().st_size > 500


def test_several_sequences_stand_beside_and_below_each_other(wave, tmp_path):
    scenes = [Scene(wave, "one", TOP), Scene(perform("squat"), "two"), Scene(flat(wave), "three")]
    assert Image.open(render_scenes(scenes, tmp_path / "a.png", columns=2, size=(400, 150))).size == (800, 300)
    assert Image.open(render_scenes(scenes, tmp_path / "a.gif", columns=3, size=(100, 80), fps=3)).size == (300, 80)


def test_the_same_sequence_gives_the_same_picture(wave, tmp_path):
    assert render(wave, tmp_path / "a.png").read_bytes() == render(wave, tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a.bmp", {}, ".png, .gif, .mp4; '.bmp'"),
        ("a", {}, "no suffix"),
        ("a.gif", {"fps": 0}, "fps is 0"),
        ("a.mp4", {"fps": float("nan")}, "fps is nan"),
        ("a.png", {"size": (4, 300)}, "size is 4 x 300"),
        ("file/a.png", {}, "cannot be written"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line_and_leaves_nothing(wave, tmp_path, name, options, words):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(KinemaError) as error:
        render(wave, tmp_path / name, **options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_midway_leaves_the_older_picture(wave, tmp_path, monkeypatch):
    path = render(wave, tmp_path / "a.gif", size=(100, 80), fps=2)
    before = path.read_bytes()

    def break_down(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("kinema.recognition.render.draw_skeletons", break_down)
    with pytest.raises(KeyboardInterrupt):
        render(wave, path, size=(100, 80), fps=2)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_answers_are_drawn_one_file_each_named_after_the_recordings(wave, tmp_path):
    answers = [Prediction(name, ("wave", "clap"), np.array([0.8, 0.2]), truth=0, pose=wave) for name in ("x/1", "b", "b")]
    assert render_predictions(answers[:1], tmp_path / "out.png") == [tmp_path / "out.png"]
    paths = render_predictions(answers, tmp_path / "out.png")
    assert [path.name for path in paths] == ["out-x_1.png", "out-b-1.png", "out-b-2.png"]
    assert all(pixels(path, RIGHT_ANSWER) > 800 for path in paths)
    with pytest.raises(KinemaError, match="no skeleton"):
        render_predictions([replace(answers[0], pose=None)], tmp_path / "none.png")


@pytest.mark.parametrize("suffix", [".png", ".gif", ".mp4"])
def test_key_points_of_an_image_are_drawn_on_black_at_any_size_and_rate(wave, tmp_path, suffix):
    answer = Prediction("clip", tuple(label for label, _ in TOP), np.array([p for _, p in TOP]), truth=1, pose=flat(wave))
    (path,) = render_predictions([answer], tmp_path / f"a{suffix}", size=(322, 182), fps=12.5)
    if suffix == ".mp4":
        frames, _, rate, _ = decoded(path)
        assert float(rate) == 12.5 and len(frames) == pytest.approx(12.5 * wave.duration, abs=2)
        picture = frames[len(frames) // 2]
    else:
        picture = Image.open(path)
    assert picture.size == (322, 182)
    values = np.asarray(picture.convert("RGB"), int)
    assert np.median(values.max(-1)) < 16
    left, right, trunk = (np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) for color in BLACK.persons[0])
    for color in (left, right, trunk):
        assert (np.abs(values - color).max(-1) < 40).sum() > 20
    if suffix == ".png":
        assert pixels(path, BLACK.right_answer) > 30 and pixels(path, BLACK.ink) > 20


@pytest.mark.parametrize(("text", "size"), [("1280x720", (1280, 720)), (" 64 x 48 ", (64, 48))])
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1280", "x", "12ax9", "-1x5", "9999999x1"])
def test_what_is_no_size_is_told(text):
    with pytest.raises(KinemaError, match="such as 1280x720"):
        parse_size(text)


def test_an_unknown_background_is_told(wave, tmp_path):
    with pytest.raises(KinemaError, match="unknown background 'blak'; did you mean 'black'"):
        render(wave, tmp_path / "a.png", background="blak")
