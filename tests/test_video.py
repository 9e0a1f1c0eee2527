import pickle

import av
import numpy as np
import pytest
from make_videos import decode_all, picture, write_sound, write_video

from kinema import _video_decoder, _video_file, video
from kinema.clip import VideoSource
from kinema.errors import DataError

# Two reference frames deep, B-frames that lean on both sides, one of them a reference, key frames at odd places.
B_FRAMES = {"bf": "3", "g": "11", "refs": "3"}
KINDS = {
    "h264.mp4": ("libx264", {}),
    "h264 with B-frames.mp4": ("libx264", B_FRAMES),
    "open groups.mp4": ("libx264", {**B_FRAMES, "x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}),
    "h264.mkv": ("libx264", B_FRAMES),
    "h264.ts": ("libx264", B_FRAMES),
    "h264.avi": ("libx264", B_FRAMES),
    "h264.flv": ("libx264", B_FRAMES),
    "h264.h264": ("libx264", B_FRAMES),
    "mpeg4.avi": ("mpeg4", {"g": "9"}),
    "mpeg4 with B-frames.avi": ("mpeg4", {"g": "9", "bf": "2"}),
    "mpeg4 with B-frames.mp4": ("mpeg4", {"g": "9", "bf": "2"}),
    "mpeg2.mpg": ("mpeg2video", {"g": "9", "bf": "2"}),
    "mpeg2.ts": ("mpeg2video", {"g": "9", "bf": "2"}),
    "mjpeg.avi": ("mjpeg", {"pixels": "yuvj420p"}),
    "ffv1.mkv": ("ffv1", {"pixels": "yuv444p"}),
    "hevc.mp4": ("libx265", {"x265-params": "log-level=none:keyint=11:bframes=3:pools=1"}),
    "vp8.webm": ("libvpx", {"g": "11"}),
    "vp9.webm": ("libvpx-vp9", {"g": "11"}),
    "av1.mkv": ("libsvtav1", {"svtav1-params": "lp=1:keyint=11", "preset": "12", "height": 64}),
    "odd sizes.mp4": ("libx264", {"pixels": "yuv444p", "height": 49, "width": 67, **B_FRAMES}),
    "4-2-2.mkv": ("libx264", {"pixels": "yuv422p", **B_FRAMES}),
    "10 bits.mkv": ("libx264", {"pixels": "yuv420p10le", **B_FRAMES}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Writes a video of KINDS once."""
    folder, paths = tmp_path_factory.mktemp("videos"), {}

    def get(name):
        if name not in paths:
            codec, options = KINDS[name]
            paths[name] = write_video(folder / name, codec, **options)
        return paths[name]

    return get


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_those_of_a_plain_pass_through_the_file(name, made):
    path = made(name)
    whole, about = decode_all(path), video.index(path)
    assert len(about) == len(whole) == 40
    assert (about.height, about.width) == whole.shape[1:3]
    assert about.complete and about.rotation == 0
    np.testing.assert_allclose(about.times, np.arange(40) / 10, atol=2e-3)
    assert about.fps == pytest.approx(10, rel=1e-2)
    rng = np.random.default_rng(0)
    for frames in (range(40), [39], [0], [12], [30, 3, 3, 17, 0], np.sort(rng.choice(40, 8, False)), rng.integers(0, 40, 5), []):
        np.testing.assert_array_equal(video.read_frames(path, frames), whole[list(frames)].reshape(-1, *whole.shape[1:]))
    for i in range(40):  # each by itself, from its own key frame
        np.testing.assert_array_equal(video.read_frames(path, [i])[0], whole[i])


@pytest.mark.parametrize(
    "name", ["h264 with B-frames.mp4", "open groups.mp4", "mpeg2.ts", "mjpeg.avi", "hevc.mp4", "vp9.webm", "h264.h264"]
)
def test_frames_are_the_same_however_many_threads_decode(name, made, monkeypatch):
    monkeypatch.setattr(_video_decoder, "_WORTH_SHARING", 0)
    monkeypatch.setattr(_video_decoder, "_WORTH_HANDING_ON", 0)
    whole = decode_all(made(name))
    for threads in (1, 2, 5):
        for frames in (list(range(40)), [5], [2, 14, 25, 38], [0, 10, 11, 12, 39]):
            np.testing.assert_array_equal(video.read_frames(made(name), frames, threads=threads), whole[frames])


@pytest.mark.parametrize("name", ["h264 with B-frames.mp4", "h264.ts", "mpeg2.mpg", "h264.avi"])
def test_frames_far_apart_are_sought_not_read_over(name, made, monkeypatch):
    monkeypatch.setattr(_video_decoder, "_NEAR", 0)
    whole = decode_all(made(name))
    for frames in ([25], [39], [13, 35], [36, 12, 24]):
        np.testing.assert_array_equal(video.read_frames(made(name), frames, threads=1), whole[frames])


def test_a_few_frames_of_a_long_video_need_a_few_packets(tmp_path, monkeypatch):
    path = write_video(tmp_path / "long.mp4", frames=600, g="12", bf="2")
    video.index(path)
    decoded = []
    decode = _video_decoder.decode
    monkeypatch.setattr(_video_decoder, "decode", lambda context, packet: decoded.append(packet) or decode(context, packet))
    asked = [37, 112, 187, 262, 337, 412, 487, 562]
    assert len(video.read_frames(path, asked, threads=1)) == 8
    assert len(decoded) < 8 * 14


def test_frames_that_no_other_needs_are_skipped(made, monkeypatch):
    path, given = made("h264 with B-frames.mp4"), []
    decode = _video_decoder.decode
    monkeypatch.setattr(_video_decoder, "decode", lambda context, packet: given.append(decode(context, packet)) or given[-1])
    video.read_frames(path, [10], threads=1)
    assert sum(map(len, given)) < 9


@pytest.mark.parametrize(("size", "shape"), [((30, 20), (30, 20)), (24, (24, 32)), (31, (31, 41)), (96, (96, 128)), (None, (48, 64))])
def test_pictures_are_resized_as_they_are_decoded(size, shape, made):
    path = made("h264 with B-frames.mp4")
    found = video.read_frames(path, [3, 20], size)
    assert found.shape == (2, *shape, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found, decode_all(path, *shape)[[3, 20]])


def test_making_smaller_averages(tmp_path):
    path = write_video(tmp_path / "a.mkv", "ffv1", 2, 96, 128, "bgr0")
    small = video.read_frames(path, [1], 12)[0].astype(float)
    blocks = picture(1, 96, 128).reshape(12, 8, 16, 8, 3).mean((1, 3))
    assert np.abs(small - blocks)[1:-1, 1:-1].mean() < 6


def test_colours_survive(tmp_path):
    path = write_video(tmp_path / "a.mkv", "ffv1", 3, 48, 64, "bgr0")
    np.testing.assert_array_equal(video.read_frames(path, [2])[0], picture(2, 48, 64))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_are_turned_as_the_file_says(rotation, mirrored, tmp_path):
    path = write_video(tmp_path / "turned.mp4", frames=3, height=48, width=64, rotation=rotation, mirrored=mirrored)
    shown = np.rot90(decode_all(path), rotation // 90, axes=(1, 2))
    if mirrored:
        shown = shown[:, :, ::-1]
    about = video.index(path)
    assert (about.height, about.width) == shown.shape[1:3]
    assert mirrored or about.rotation == rotation
    np.testing.assert_array_equal(video.read_frames(path, [0, 2]), shown[[0, 2]])
    resized = video.read_frames(path, [0], 24)
    assert resized.shape[1:3] == ((32, 24) if rotation in (90, 270) else (24, 32))


def test_times_are_the_files_own(tmp_path):
    times = np.cumsum([0, 40, 40, 300, 20, 55, 1000, 33, 33, 33, 500, 10, 40, 40, 40, 40, 250, 40, 40, 40])
    for name in ("uneven.mp4", "uneven.mkv"):
        path = write_video(tmp_path / name, frames=20, times=times, bf="2", g="8")
        about = video.index(path)
        np.testing.assert_allclose(about.times, times / 1000, atol=1.5e-3)
        assert about.fps == pytest.approx(19 / (times[-1] / 1000), rel=1e-3)
        np.testing.assert_array_equal(video.frames_at(path, [0, 0.1, 0.379, 0.4, 1.4, 99, -1]), [0, 2, 2, 4, 5, 19, 0])
        np.testing.assert_array_equal(video.read_frames(path, [7, 6]), decode_all(path)[[7, 6]])


@pytest.mark.parametrize("name", ["h264 with B-frames.mp4", "h264.ts", "h264.h264"])
def test_a_part_is_a_video_by_itself(name, made):
    path, whole = made(name), decode_all(made(name))
    part = VideoSource(path, start=1.2, end=2.0)
    about = video.index(part)
    np.testing.assert_allclose(about.times, np.arange(8) / 10, atol=1e-3)
    np.testing.assert_array_equal(video.read_frames(part, [0, 7]), whole[[12, 19]])
    np.testing.assert_array_equal(video.frames_at(part, [0.35]), [3])
    np.testing.assert_array_equal([image for _, image in video.stream(part)], whole[12:20])
    assert [seconds for seconds, _ in video.stream(part)] == list(about.times)
    assert set(about.key_frames) <= set(range(8))
    between = VideoSource(path, start=1.22, end=1.27)  # while frame 12 is shown
    np.testing.assert_array_equal(video.read_frames(between, [0]), whole[[12]])
    last = VideoSource(path, start=3.5)
    assert len(video.index(last)) == 5
    with pytest.raises(DataError, match=r"from 4.5 s on is empty; the video ends after 4 s"):
        video.index(VideoSource(path, start=4.5))


@pytest.mark.parametrize("name", ["h264 with B-frames.mp4", "mpeg4 with B-frames.avi", "h264.h264", "vp9.webm"])
def test_streaming_shows_every_frame_in_order(name, made):
    seen = list(video.stream(made(name), size=24))
    np.testing.assert_array_equal([seconds for seconds, _ in seen], video.index(made(name)).times)
    np.testing.assert_array_equal([image for _, image in seen], video.read_frames(made(name), range(40), 24))


@pytest.mark.parametrize("name", ["h264 with B-frames.mp4", "mpeg4 with B-frames.avi", "mjpeg.avi", "vp9.webm"])
def test_some_frames_alone_are_streamed(name, made):
    some = [3, 4, 17, 18, 19, 38]
    seen = list(video.stream(made(name), frames=some))
    np.testing.assert_array_equal([seconds for seconds, _ in seen], video.index(made(name)).times[some])
    np.testing.assert_array_equal([image for _, image in seen], video.read_frames(made(name), some))
    part = VideoSource(made(name), start=1)
    np.testing.assert_array_equal([image for _, image in video.stream(part, frames=[7, 8])], video.read_frames(made(name), [17, 18]))
    assert list(video.stream(part, frames=[])) == []
    with pytest.raises(DataError, match="an order in which they are not shown"):
        next(video.stream(part, frames=[8, 7]))


def test_streaming_may_be_left(made):
    frames = video.stream(made("h264 with B-frames.mp4"))
    next(frames)
    frames.close()


def test_sources_travel_to_other_processes(made):
    source = pickle.loads(pickle.dumps(VideoSource(made("h264.mp4"), 1, 2)))
    assert len(video.index(source)) == 10


def test_an_index_is_made_once_and_anew_when_the_file_changes(made, tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", frames=5)
    looked = []
    look = _video_file.look
    monkeypatch.setattr(_video_file, "look", lambda path: looked.append(path) or look(path))
    assert len(video.index(path)) == len(video.index(VideoSource(path, end=9))) == 5
    assert len(looked) == 1
    write_video(path, frames=7)
    assert len(video.index(path)) == 7
    assert len(looked) == 2


def test_what_is_kept_of_indices_is_bounded(made, monkeypatch):
    monkeypatch.setattr(video, "_MOST_KEPT", 50)
    monkeypatch.setattr(video, "_kept", video._Kept())
    for name in ("h264.mp4", "h264.mkv", "h264.ts"):
        video.index(made(name))
    assert len(video._kept._of) == 1


def test_a_request_that_cannot_be_met_is_said(made):
    path = made("h264.mp4")
    for frames, said in (([40], "frame 40 is asked for; there are 40"), ([-1], "frame -1"), ([[1]], "a row"), ([0.5], "whole numbers")):
        with pytest.raises(DataError, match=said):
            video.read_frames(path, frames)
    for size in (0, -3, (0, 5), (5, 99999), (1, 2, 3)):
        with pytest.raises(DataError, match="size is"):
            video.read_frames(path, [0], size)
    with pytest.raises(DataError, match="size is"):
        next(video.stream(path, 0))


def _directory(path):
    path.mkdir()


def _too_large(path):
    write_video(path.with_suffix(".mkv"), "ffv1", 1, 16, 17000)
    path.with_suffix(".mkv").rename(path)


def _header_alone(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()


def _cut_off(path):
    write_video(path)
    path.write_bytes(path.read_bytes()[:-1500])  # the table at the end is lost


def _noise(path):
    write_video(path)
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = np.random.default_rng(0).bytes(end - start)
    path.write_bytes(data)


BAD = {
    "directory": (_directory, "no numbered images in this folder"),
    "text": (lambda path: path.write_text("not a video\n" * 200), "a video file that FFmpeg can decode"),
    "empty": (lambda path: path.write_bytes(b""), "a video file that FFmpeg can decode"),
    "absent": (lambda path: None, "no such file"),
    "sound": (write_sound, "there is no video in it, only audio"),
    "no frames": (_header_alone, "video"),
    "cut off": (_cut_off, "a video file that FFmpeg can decode"),
    "noise": (_noise, "no frame of it can be decoded"),
    "too large": (_too_large, "17000 x 16 pixels; up to 16384"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_video_is_said_with_its_name(kind, tmp_path, capfd):
    make, said = BAD[kind]
    path = tmp_path / "some.mp4"
    make(path)
    for read in (video.index, lambda path: video.read_frames(path, [0]), lambda path: list(video.stream(path))):
        with pytest.raises(DataError, match=said) as caught:
            read(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_text_is_not_taken_for_a_picture_of_text(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a video\n" * 200)
    with pytest.raises(DataError, match="expected"):
        video.index(path)


@pytest.mark.parametrize("name", ["h264.mkv", "h264.ts", "mpeg4.avi", "mjpeg.avi", "mpeg2.mpg"])
def test_a_file_that_was_cut_off_is_used_as_far_as_it_goes(name, made, tmp_path):
    codec, options = KINDS[name]
    path = write_video(tmp_path / name, codec, **{**options, "height": 144, "width": 176})
    whole, data = decode_all(path), path.read_bytes()
    for share in (0.6, 0.75, 0.9):
        path.write_bytes(data[: int(share * len(data))])
        about = video.index(path)
        sound = len(about) - 2  # the last may be cut where a format does not say how long it was
        assert 2 < len(about) < 40
        np.testing.assert_array_equal(video.read_frames(path, range(len(about)))[:sound], whole[:sound])


def test_a_table_that_promises_more_than_the_file_holds_is_not_believed(tmp_path):
    path = write_video(tmp_path / "a.mp4", g="8")
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mp4"), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    path = tmp_path / "b.mp4"
    assert video.index(path).complete
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    about = video.index(path)
    assert not about.complete and 5 < len(about) < 40
    np.testing.assert_array_equal(video.read_frames(path, range(len(about))), decode_all(tmp_path / "a.mp4")[: len(about)])


@pytest.mark.parametrize("name", ["h264.mkv", "h264 with B-frames.mp4", "mjpeg.avi", "mpeg4.avi", "vp9.webm", "hevc.mp4"])
def test_damage_ends_in_pictures_or_in_a_data_error(name, made, tmp_path):
    data = np.frombuffer(made(name).read_bytes(), np.uint8)
    rng, outcomes = np.random.default_rng(0), []
    path = tmp_path / made(name).name
    for _ in range(12):
        damaged = data.copy()
        for start in rng.integers(0, len(data) - 400, 6):
            damaged[start : start + 200] = rng.integers(0, 256, 200)
        path.write_bytes(damaged.tobytes())
        try:
            about = video.index(path)
            found = video.read_frames(path, [0, len(about) // 2, len(about) - 1])
            outcomes.append(found.shape[1:] == (about.height, about.width, 3))
            assert sum(1 for _ in video.stream(path, 8)) <= len(about)
        except DataError as error:
            assert str(path) in str(error)
    assert all(outcomes)


def test_a_frame_that_cannot_be_decoded_is_the_one_before_it(tmp_path):
    path = write_video(tmp_path / "a.mov", "png", 8, pixels="rgb24")
    whole, data = decode_all(path), bytearray(path.read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 4] == b"\x89PNG"]
    assert len(starts) == 8
    data[starts[3] : starts[3] + 200] = bytes(200)
    path.write_bytes(data)
    np.testing.assert_array_equal(video.read_frames(path, [2, 3, 4]), whole[[2, 2, 4]])
    np.testing.assert_array_equal(video.read_frames(path, [3]), whole[[2]])
    np.testing.assert_array_equal([image for _, image in video.stream(path)], whole[[0, 1, 2, 4, 5, 6, 7]])


def test_files_are_closed(made, tmp_path):
    import os

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc")

    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    bad = tmp_path / "bad.mp4"
    _noise(bad)
    for _ in range(5):
        video._kept.__init__()
        video.read_frames(made("h264.mp4"), [3, 20])
        next(video.stream(made("h264.mp4")))
        with pytest.raises(DataError):
            video.index(bad)
    assert count() == before
