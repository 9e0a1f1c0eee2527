"""What can be a source of pictures, what cannot, and what is said then."""

import numpy as np
import pytest
from make_streams import film_over_rtsp, pictures_over_http, served, transport_stream
from make_videos import write_sound, write_video

from kinema.capture import sources
from kinema.capture.newest import Capture
from kinema.capture.sources import open_source, parse_source
from kinema.errors import KinemaError


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0", "camera"),
        ("/dev/video2", "camera"),
        ("video=Integrated Webcam", "camera"),
        ("film.mp4", "file"),
        ("C:\\films\\a.mp4", "file"),
        ("rtsp://10.0.0.7:554/live", "network"),
        ("HTTP://host/cam.mjpg", "network"),
    ],
)
def test_what_a_user_types_is_a_camera_a_file_or_an_address(text, kind):
    assert parse_source(text).kind == kind


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no source"),
        ("ftp://host/film.mp4", "unknown kind of address 'ftp'"),
        ("rtsp://", "no host"),
        ("file:///etc/passwd", "address 'file'"),
    ],
)
def test_what_is_none_of_these_is_told(text, says):
    with pytest.raises(KinemaError, match=says):
        parse_source(text)


def test_a_password_is_never_shown():
    source = parse_source("rtsp://me:secret@127.0.0.1:1/x")
    assert source.name == "rtsp://127.0.0.1:1/x"
    with pytest.raises(KinemaError, match="refused") as error, open_source(source):
        pass
    assert "secret" not in str(error.value)


def test_a_source_that_is_not_there_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.sys, "platform", "linux")
    monkeypatch.setattr(sources, "cameras", lambda: ["/dev/video0"])
    sound = write_sound(tmp_path / "sound.m4a")
    cases = {"7777": "no /dev/video7777; there are: /dev/video0", str(tmp_path / "no.mp4"): "no such file", str(sound): "no video in it"}
    for text, says in cases.items():
        with pytest.raises(KinemaError, match=says) as error:
            Capture(text).start()
        assert "\n" not in str(error.value)


def test_a_file_is_shown_as_it_says_and_made_smaller_where_it_is_large(tmp_path):
    path = write_video(tmp_path / "turned.mp4", frames=3, height=48, width=64, rotation=90)
    with open_source(parse_source(path), longest=32) as opened:
        images = [image for _, image, _ in opened.pictures]
    assert [image.shape for image in images] == [(32, 24, 3)] * 3 and images[0].dtype == np.uint8


@pytest.mark.parametrize("kind", ["http", "rtsp"])
def test_network_streams_give_pictures(kind):
    talk = pictures_over_http() if kind == "http" else film_over_rtsp(transport_stream())
    with served(talk) as server, Capture(f"{kind}://127.0.0.1:{server.port}/live") as capture:
        frames = [capture.read(5) for _ in range(4)]
        assert all(frame.image.shape == (64, 96, 3) for frame in frames)
        times = [frame.time for frame in frames]
        assert times == sorted(times) and times[-1] < 30
        assert frames[0].image.std() > 20
