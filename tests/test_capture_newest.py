"""The newest frame of a source that is slow, fast, stalls, goes away and comes back."""

import threading
import time

import numpy as np
import pytest
from make_live import CAMERA, opener
from make_streams import pictures_over_http, served
from make_videos import write_video

from kinema.capture.newest import Capture
from kinema.errors import KinemaError

QUICK = {"stall": 0.15, "back_off": (0.02, 0.05)}


def image(value=0):
    return np.full((4, 6, 3), value, np.uint8)


def endless(start=0.0, step=0.01):
    number = 0
    while True:
        yield start + number * step, image(number % 256)
        number += 1
        time.sleep(step)


def until(true, seconds=5):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


def read_until(capture, true, seconds=5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        frame = capture.read(0.02)
        if true(frame):
            return frame
    raise AssertionError("it never came")


def test_a_slow_reader_gets_the_newest_frame_and_the_others_are_counted():
    with Capture(CAMERA, opener=opener(lambda: endless())) as capture:
        capture.read()
        time.sleep(0.2)
        frame = capture.read()
        assert frame.number >= 5 and capture.dropped >= 4
        assert time.monotonic() - frame.arrived < 0.1
        assert capture.state == "running"


def test_a_file_waits_for_its_reader_or_runs_on_without_him(tmp_path):
    path = write_video(tmp_path / "film.mp4", frames=20, rate=40)
    with Capture(path, realtime=False) as capture:
        frames = []
        while (frame := capture.read(1)) is not None:
            frames.append(frame)
            if len(frames) == 3:
                time.sleep(0.1)
        assert [frame.number for frame in frames] == list(range(20)) and capture.dropped == 0
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(20) / 40, atol=1e-3)
        assert capture.state == "ended"
    with Capture(path) as capture:
        capture.read(1)
        time.sleep(0.25)
        assert 8 <= capture.read(1).number <= 19 and capture.dropped >= 6
        assert until(lambda: capture.state == "ended")


def test_a_camera_that_is_unplugged_is_lost_and_comes_back():
    gone = KinemaError("camera 0: no such device")
    first = [(float(i), image(i)) for i in range(3)]
    capture = Capture(CAMERA, opener=opener(first, gone, gone, lambda: endless(5000.0)), **QUICK)
    with capture:
        states, times = set(), []
        while capture.reopened < 3 or capture.state != "running":
            frame = capture.read(0.01)
            states.add(capture.state)
            if frame:
                times.append(frame.time)
        times.append(read_until(capture, lambda frame: frame is not None).time)
        assert "lost" in states
        # the camera's clock began anew at 5000; the stream's goes on
        assert times == sorted(times) and times[-1] < 60
        assert capture.reason == ""


def test_a_reader_that_hangs_is_left_behind_and_another_one_takes_over():
    release = threading.Event()

    def hangs():
        yield 0.0, image(1)
        release.wait(10)
        yield 0.1, image(2)

    with Capture(CAMERA, opener=opener(hangs, lambda: endless()), **QUICK) as capture:
        assert capture.read(1).image[0, 0, 0] == 1
        assert until(lambda: capture.state == "stalled")
        frame = read_until(capture, lambda frame: frame is not None)
        assert capture.state == "running" and capture.reopened == 1
        release.set()
        later = read_until(capture, lambda each: each is not None and each.number > frame.number + 3)
        assert later.image[0, 0, 0] != 2


def over_http(server):
    return Capture(f"http://127.0.0.1:{server.port}/", stall=0.5, back_off=(0.05, 0.1))


def test_a_stream_over_the_network_that_falls_silent_or_dies_is_found_again():
    with served(pictures_over_http(silent_after=5)) as server, over_http(server) as capture:
        seen = set()
        read_until(capture, lambda frame: seen.add(capture.state) or (capture.reopened >= 1 and frame is not None), 10)
        assert seen & {"stalled", "lost"}
    with served(pictures_over_http()) as server, over_http(server) as capture:
        capture.read(1)
        server.stop()
        read_until(capture, lambda frame: capture.state == "lost")
        assert "127.0.0.1" in capture.reason
        server.start()
        read_until(capture, lambda frame: frame is not None and capture.state == "running", 10)


def test_a_first_attempt_that_fails_is_an_error_and_so_is_a_source_that_gives_nothing():
    with pytest.raises(KinemaError, match="no such device"):
        Capture(CAMERA, opener=opener(KinemaError("camera 0: no such device"))).start()
    release = threading.Event()
    with pytest.raises(KinemaError, match="no picture has come within"):
        Capture(CAMERA, opener=opener(lambda: (() for _ in iter(lambda: release.wait(5), True)))).start(patience=0.1)
    release.set()
    with pytest.raises(KinemaError, match="has failed: division"):
        Capture(CAMERA, opener=opener(lambda: (1 / 0 for _ in range(1)))).start()


def test_closing_ends_its_thread_whether_it_waits_for_its_reader_or_for_its_time(tmp_path):
    path = write_video(tmp_path / "film.mp4", frames=20, rate=2)
    for realtime in (False, True):
        before = threading.active_count()
        capture = Capture(path, realtime=realtime).start()
        capture.close()
        assert until(lambda before=before: threading.active_count() <= before)
        assert capture.state == "ended"
