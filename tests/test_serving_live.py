"""The engine from source to listeners: nothing waits for drawing, nothing is lost that was begun, and figures tell where time goes."""

import io
import json
import threading
import time

import av
import numpy as np
import pytest
from make_live import CAMERA, LABELS, opener, swaying_models
from make_videos import write_video

from kinema.capture.newest import Capture
from kinema.errors import KinemaError
from kinema.serving import run_live as live_command
from kinema.serving.console import Console
from kinema.serving.drawing import draw_step
from kinema.serving.film import FilmWriter
from kinema.serving.live import Background, Engine, Listener
from kinema.serving.run_live import chosen_source, run_live
from kinema.serving.timing import Timing, summary_text
from kinema.serving.window import display


class Ears(Listener):
    def __init__(self):
        self.moments, self.events, self.states, self.closed = [], [], [], 0

    def moment(self, moment):
        self.moments.append(moment)
        self.events += [*moment.step.answer.closed, *moment.step.answer.opened]

    def ended(self, events):
        self.events += events

    def state(self, state, reason):
        self.states.append(state)

    def close(self):
        self.closed += 1


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("live") / "film.mp4", frames=36, rate=12)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("live") / "short.mp4", frames=8, rate=4)


def follow(film, *listeners, models=None):
    with Capture(film, realtime=False) as capture:
        return Engine(capture, (models or swaying_models()).follower("film"), listeners).run()


def test_every_picture_of_a_file_is_answered_and_actions_are_ended_with_it(film):
    ears = Ears()
    timing = follow(film, ears)
    assert [moment.frame.number for moment in ears.moments] == list(range(36)) and timing.frames == 36
    ended = [event for event in ears.events if event.end is not None]
    assert [event.label for event in ended] == list(LABELS[:3]) and {event.source for event in ended} == {"film"}
    assert ears.states == ["running", "ended"] and ears.closed == 1


def test_what_draws_slowly_sees_the_newest_and_holds_nobody_up(film):
    seen = []
    release = threading.Event()
    slow = Background(lambda moment: (release.wait(20), seen.append(moment.frame.number)))

    class Last(Listener):
        def moment(self, moment):
            if moment.frame.number == 35:
                release.set()

    follow(film, slow, Last())
    assert len(seen) <= 3 and seen[-1] == 35 and slow.passed_over + len(seen) == 36


def test_a_listener_that_fails_is_heard_no_more_and_the_others_go_on(film, caplog):
    class Broken(Ears):
        def moment(self, moment):
            raise ValueError("disc full")

    def fails(moment):
        raise KinemaError("no room")

    broken, ears = Broken(), Ears()
    follow(film, broken, ears)
    assert broken.closed == 1 and len(ears.moments) == 36
    assert "disc full" in caplog.text
    with pytest.raises(KinemaError, match="no room"):
        follow(film, Background(fails))


def test_a_camera_that_goes_away_ends_the_actions_and_comes_back_with_new_ones():
    image = np.zeros((48, 64, 3), np.uint8)

    def life(start):
        for i in range(30):
            yield start + i * 0.1, image
            time.sleep(0.005)

    ears, lives = Ears(), opener(lambda: life(0.0), KinemaError("camera 0: gone"), lambda: life(100.0), KinemaError("camera 0: gone"))
    with Capture(CAMERA, opener=lives, stall=2.0, back_off=(0.5, 0.5)) as capture:
        engine = Engine(capture, swaying_models().follower("camera 0"), [ears])
        thread = threading.Thread(target=engine.run)
        thread.start()
        end = time.monotonic() + 10
        while ears.states.count("lost") < 2 and time.monotonic() < end:
            time.sleep(0.01)
        engine.stop()
        thread.join(5)
    assert ears.states[:4] == ["running", "lost", "running", "lost"]
    opened, ended = [[event for event in ears.events if (event.end is None) == going] for going in (True, False)]
    assert len(opened) == len(ended) >= 2


@pytest.mark.parametrize("persons", [0, 1, 20])
def test_nobody_somebody_half_out_of_the_picture_and_a_crowd_are_drawn(persons):
    models = swaying_models(persons)
    image = np.full((90, 120, 3), 40, np.uint8)
    step = models.follower("").step(1.0, image)
    for pose in step.poses[:1]:
        pose.points[:8] = (-50, np.nan)
        pose.points[8:] += 70
    picture = np.asarray(draw_step(image, step, models.layout, "25 pictures/s"))
    assert picture.shape == (480, 640, 3)
    assert (picture[40:400] != 40).any() == (persons > 0)


def test_a_film_is_written_with_the_pictures_own_times(short, tmp_path):
    models = swaying_models(persons=2)
    follow(short, FilmWriter(tmp_path / "out.mp4", models.layout, waits=True), models=models)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = [(frame.time, frame.width) for frame in container.decode(video=0)]
    assert len(frames) == 8 and frames[0][1] == 640
    np.testing.assert_allclose([seconds for seconds, _ in frames], np.arange(8) / 4, atol=2e-3)
    with pytest.raises(KinemaError, match=r"written as \.mp4"):
        FilmWriter(tmp_path / "out.avi", models.layout)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_events_are_told_a_line_each_or_as_json(film):
    words, data = io.StringIO(), io.StringIO()
    follow(film, Console(out=words), Console(True, data))
    lines = words.getvalue().splitlines()
    assert "person 0: wave begins" in lines[0] and "person 0: wave, 0.5 to 1.0 s, 80 %" in lines[1] and len(lines) == 6
    rows = [json.loads(line) for line in data.getvalue().splitlines()]
    assert [row["event"] for row in rows] == ["began", "ended"] * 3
    assert rows[1] | {"start": 0, "end": 0} == {
        **{"event": "ended", "person": 0, "label": "wave", "start": 0, "end": 0, "confidence": 0.8, "source": "film"}
    }


def test_without_a_display_it_goes_on_line_by_line_and_says_so(short, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(live_command, "display", lambda: None)
    run_live(chosen_source(str(short), None), swaying_models(), render=tmp_path / "a.mp4")
    told = capsys.readouterr()
    assert "wave begins" in told.out
    assert "no display here" in told.err and "8 pictures" in told.err and "recognise" not in told.out
    assert (tmp_path / "a.mp4").exists()


def test_a_window_shows_the_pictures_until_the_film_ends(film, capsys):
    root = display()
    if root is None:
        pytest.skip("there is no display")
    root.destroy()
    run_live(chosen_source(str(film), None), swaying_models(), realtime=False)
    assert "36 pictures" in capsys.readouterr().err


def test_a_source_is_named_once():
    assert chosen_source(None, "0").kind == "camera"
    for given in ((None, None), ("film.mp4", "0")):
        with pytest.raises(KinemaError, match="expected"):
            chosen_source(*given)


def test_figures_of_speed_add_up():
    timing = Timing()
    assert summary_text(timing.summary()) == "0 pictures"
    for i in range(11):
        timing.add(0.05, {"pose": 0.04, "wait": 0.01}, done=i * 0.1)
    found = timing.summary()
    assert found["fps"] == pytest.approx(10) and found["latency_ms"]["p95"] == pytest.approx(50)
    assert found["shares"] == pytest.approx({"pose": 0.8, "wait": 0.2})
    assert "10.0 a second" in summary_text(found)
