"""Decoded frames are kept between runs: what is kept, when it is decoded anew, how much of it, and that it can never do harm."""

import mmap
import os
import threading

import numpy as np
import pytest
from test_transforms_video import encoded, noise

from kinema import _frames_cache, video
from kinema._frames_cache import Frames, Resize
from kinema._frames_pack import About, Damaged, Pack, PackWriter
from kinema.clip import Clip, VideoSource
from kinema.errors import DataError, KinemaError
from kinema.transforms.video_config import VideoInput
from kinema.transforms.video_samples import VideoSamples

AS_IS = Resize(30, 40)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of the kept frames."""
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    _frames_cache._store_of.cache_clear()
    _frames_cache._say_once.cache_clear()
    yield tmp_path / "cache" / "frames"
    _frames_cache._store_of.cache_clear()


@pytest.fixture
def sources(tmp_path) -> list[VideoSource]:
    return [encoded(tmp_path / f"{number}.mp4", noise(5 + number, 32, 48, number)) for number in range(3)]


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files whose frames were decoded, so far."""
    seen = []
    read = video.read_frames
    monkeypatch.setattr(video, "read_frames", lambda source, *rest: (seen.append(source.path.name), read(source, *rest))[1])
    return seen


def frames_of(sources, resize, head=0, keep=True) -> Frames:
    """As training makes them."""
    return Frames(sources, resize, head, keep)


def anew() -> None:
    """What a new process knows of the kept files: nothing."""
    _frames_cache._store_of.cache_clear()


def everything(frames: Frames) -> list[np.ndarray]:
    return [frames.read(i, np.arange(length)) for i, length in enumerate(frames.lengths)]


@pytest.mark.parametrize("resize", [AS_IS, Resize(16, 16), Resize(20, 20, 24), Resize(11, 13, stretch=True), Resize(100, 100)])
def test_what_is_kept_is_what_is_decoded(sources, decoded, resize, monkeypatch):
    kept = everything(frames_of(sources, resize))
    anew()
    decoded.clear()
    again = frames_of(sources, resize)
    assert again.kept == 3 and again.lengths == [5, 6, 7]
    for some, others, source in zip(kept, everything(again), sources, strict=True):
        assert np.array_equal(some, others)
        assert np.array_equal(some, video.read_frames(source, range(len(some)), resize.kept(32, 48)))
    assert len(decoded) == 3  # those of the line before


def test_frames_are_read_in_the_order_asked_for(sources):
    frames = frames_of(sources, AS_IS)
    whole = everything(frames)[2]
    wanted = np.array([6, 0, 3, 3])
    assert np.array_equal(frames.read(2, wanted), whole[wanted])


def test_frames_lie_in_a_memory_map(sources):
    frames = frames_of(sources, AS_IS)
    assert len({record.pack for record in frames._records.values()}) == 1

    assert isinstance(frames._records[0].pack._data, mmap.mmap)


def test_a_changed_file_is_decoded_anew(sources, decoded):
    before = everything(frames_of(sources, AS_IS))
    encoded(sources[1].path, noise(9, 32, 48, 7))
    os.utime(sources[1].path, ns=(1, 1))
    anew()
    decoded.clear()
    after = frames_of(sources, AS_IS)
    assert decoded == ["1.mp4"] and after.lengths == [5, 9, 7] and after.kept == 3
    assert np.array_equal(before[0], everything(after)[0])


def test_a_changed_picture_of_a_folder_is_noticed(tmp_path, decoded):
    from PIL import Image

    (tmp_path / "folder").mkdir()
    for number, picture in enumerate(noise(4)):
        Image.fromarray(picture).save(tmp_path / "folder" / f"{number}.png")
    source = VideoSource(tmp_path / "folder")
    before = everything(frames_of([source], AS_IS))[0]
    Image.fromarray(noise(1, seed=9)[0]).save(tmp_path / "folder" / "2.png")
    os.utime(tmp_path / "folder" / "2.png", ns=(1, 1))
    after = everything(frames_of([source], AS_IS))[0]
    assert [np.array_equal(*pair) for pair in zip(before, after, strict=True)] == [True, True, False, True]


def test_other_code_decodes_anew(sources, decoded, monkeypatch):
    frames_of(sources, AS_IS)
    anew()
    decoded.clear()
    monkeypatch.setattr(_frames_cache, "_decoder", lambda: "another")
    frames_of(sources, AS_IS)
    assert len(decoded) == 3


def test_parts_of_a_data_set_share_what_is_kept(sources, decoded):
    frames_of(sources[:2], AS_IS)
    frames_of(sources[1:], AS_IS)
    frames_of(sources[::-1], AS_IS)
    assert sorted(decoded) == ["0.mp4", "1.mp4", "2.mp4"]


def test_other_sizes_are_kept_beside(sources, decoded):
    for _ in range(2):
        for resize in (AS_IS, Resize(16, 16)):
            assert frames_of(sources, resize).kept == 3
    assert len(decoded) == 6


def test_the_first_frames_are_kept_and_the_others_can_be_read(sources, decoded, cache):
    whole = everything(frames_of(sources, AS_IS))
    for path in cache.iterdir():
        path.unlink()
    anew()
    frames = frames_of(sources, AS_IS, head=2)
    assert sum(path.stat().st_size for path in cache.iterdir()) < 1.1 * 3 * 2 * 30 * 45 * 3
    decoded.clear()
    assert np.array_equal(frames.read(2, np.array([0, 1])), whole[2][:2]) and not decoded
    assert np.array_equal(frames.read(2, np.array([0, 5])), whole[2][[0, 5]]) and decoded
    assert frames_of(sources, AS_IS).kept == 3  # all of them, now
    anew()
    decoded.clear()
    assert frames_of(sources, AS_IS, head=2).kept == 3 and not decoded


def test_who_wants_one_answer_leaves_nothing_behind_and_uses_what_is_there(sources, cache):
    assert len(everything(frames_of(sources, AS_IS, keep=False))) == 3
    assert not cache.exists()
    frames_of(sources[:2], AS_IS)
    assert frames_of(sources, AS_IS, keep=False).kept == 2


@pytest.mark.parametrize("limit", ["0", "0.00001"])
def test_without_room_videos_are_decoded_when_asked_for(sources, cache, monkeypatch, capsys, limit):
    expected = everything(frames_of(sources, AS_IS))
    for path in cache.iterdir():
        path.unlink()
    anew()
    monkeypatch.setenv("KINEMA_FRAMES_GB", limit)
    for _ in range(2):
        frames = frames_of(sources, AS_IS)
        assert frames.kept == 0 and all(map(np.array_equal, everything(frames), expected))
    said = capsys.readouterr().err
    assert said.count("decoded whenever they are needed") == (limit != "0")
    assert sum(path.stat().st_size for path in cache.iterdir()) < 1000


def test_what_the_videos_are_about_is_kept_where_their_frames_are_not(sources, monkeypatch):
    monkeypatch.setenv("KINEMA_FRAMES_GB", "0.00001")
    frames_of(sources, AS_IS)
    anew()
    monkeypatch.setattr(video, "index", None)
    assert frames_of(sources, AS_IS).lengths == [5, 6, 7]


def test_what_was_not_used_for_longest_makes_room(sources, cache, monkeypatch):
    for number, source in enumerate(sources[:2]):
        frames_of([source], AS_IS)
        for path in cache.iterdir():
            os.utime(path, (path.stat().st_mtime - 100,) * 2)
        assert len(list(cache.iterdir())) == number + 1
    anew()
    monkeypatch.setenv("KINEMA_FRAMES_GB", "60e-6")  # 11 and 7 frames of 4 kB do not fit
    assert frames_of([sources[2]], AS_IS).kept == 1
    anew()
    monkeypatch.delenv("KINEMA_FRAMES_GB")
    assert [frames_of([source], AS_IS, keep=False).kept for source in sources] == [0, 1, 1]


def test_what_this_process_uses_does_not_make_room(sources, monkeypatch):
    monkeypatch.setenv("KINEMA_FRAMES_GB", "40e-6")
    one, other = frames_of(sources[:1], AS_IS), frames_of(sources[1:], AS_IS)
    assert (one.kept, other.kept) == (1, 0)


@pytest.mark.parametrize("gigabytes", ["much", "-1", "nan"])
def test_an_impossible_limit(sources, monkeypatch, gigabytes):
    monkeypatch.setenv("KINEMA_FRAMES_GB", gigabytes)
    with pytest.raises(KinemaError, match=r"KINEMA_FRAMES_GB is .*gigabytes, such as 8, are expected"):
        frames_of(sources, AS_IS)


def test_interrupted_decoding_leaves_nothing_broken(sources, cache, monkeypatch):
    monkeypatch.setattr(_frames_cache, "PACK_BYTES", 1)
    read = video.read_frames

    def interrupted(source, *rest):
        if source.path.name == "2.mp4":
            raise KeyboardInterrupt
        return read(source, *rest)

    monkeypatch.setattr(video, "read_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        frames_of(sources, AS_IS)
    assert not [path for path in cache.iterdir() if path.suffix != ".frames"]
    monkeypatch.setattr(video, "read_frames", read)
    anew()
    assert frames_of(sources, AS_IS).kept == 3


@pytest.mark.parametrize("where", [10, 5000, -200, -20, -3])
def test_a_damaged_file_does_no_harm(sources, cache, where):
    expected = everything(frames_of(sources, AS_IS))
    (path,) = cache.iterdir()
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    anew()
    frames = frames_of(sources, AS_IS)
    assert all(map(np.array_equal, everything(frames), expected))


@pytest.mark.parametrize("left", [0, 8, 100, -1])
def test_a_file_that_was_cut_short_does_no_harm(sources, cache, left):
    expected = everything(frames_of(sources, AS_IS))
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:left])
    anew()
    assert all(map(np.array_equal, everything(frames_of(sources, AS_IS)), expected))
    for path in cache.iterdir():
        Pack(path)


def test_a_folder_that_is_removed_meanwhile_does_no_harm(sources, cache):
    frames = frames_of(sources, AS_IS)
    expected = everything(frames)
    for path in cache.iterdir():
        path.unlink()
    assert all(map(np.array_equal, everything(frames), expected))
    assert frames_of(sources, AS_IS).kept == 3


def test_a_folder_that_cannot_be_written_means_nothing_kept(sources, cache):
    cache.parent.mkdir()
    cache.write_text("a file")
    frames = frames_of(sources, AS_IS)
    assert frames.kept == 0 and len(everything(frames)) == 3


def test_a_file_that_cannot_be_read_spoils_none_of_the_others(sources, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"nothing" * 1000)
    frames = frames_of([VideoSource(tmp_path / "bad.mp4"), *sources, VideoSource(tmp_path / "absent.mp4")], AS_IS)
    assert set(frames.errors) == {0, 4} and frames.lengths == [0, 5, 6, 7, 0] and frames.kept == 3
    assert all(isinstance(error, DataError) for error in frames.errors.values())


def test_a_video_whose_frames_cannot_be_decoded_is_left_out(sources, monkeypatch):
    read = video.read_frames

    def broken(source, *rest):
        if source.path.name == "1.mp4":
            raise DataError("none of its frames can be decoded", source.path)
        return read(source, *rest)

    monkeypatch.setattr(video, "read_frames", broken)
    clips = [Clip(str(number), {"video": source}) for number, source in enumerate(sources)]
    input = VideoInput(4, height=30, width=40)
    samples = VideoSamples.from_clips(clips, input, on_error="skip", keep=True)
    assert samples.clip_ids == ("0", "2") and samples.kept == 2
    with pytest.raises(DataError, match="clip '1': none of its frames can be decoded"):
        VideoSamples.from_clips(clips, input, keep=True)


def test_threads_read_at_once(sources):
    frames = frames_of(sources, AS_IS)
    expected = everything(frames)
    wrong = []

    def read():
        for _ in range(20):
            if not all(map(np.array_equal, everything(frames), expected)):
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_pack_gives_what_was_put_into_it(tmp_path):
    pictures = noise(3, 5, 7)
    writer = PackWriter(tmp_path)
    writer.append((1, -2), About(9, 50, 70), pictures)
    writer.append((3, 4), About(2, 50, 70), None)
    pack = Pack(writer.close())
    (key, record), (other, empty) = pack.records()
    assert key == (1, -2) and other == (3, 4) and record.about == About(9, 50, 70) and record.kept == 3 and empty.kept == 0
    assert np.array_equal(pack.read(record, np.array([2, 0])), pictures[[2, 0]])
    with pytest.raises(Damaged):
        (tmp_path / "empty").write_bytes(b"")
        Pack(tmp_path / "empty")


def test_ucf_clips_are_kept_and_given(data_root, cache):
    root = data_root("ucf101-9")
    clips = [Clip(path.stem, {"video": VideoSource(path)}, label=0) for path in sorted(root.rglob("*.mp4"))[::100]]
    input = VideoInput(29, 19, "first", height=90, width=120, fit="stretch")
    samples = VideoSamples.from_clips(clips, input, keep=True)
    before = samples.batch(range(len(samples))).inputs["video"]
    assert samples.kept == len(clips) and before.shape[1:] == (3, 19, 90, 120)
    os.environ["KINEMA_FRAMES_GB"] = "0"
    try:
        after = VideoSamples.from_clips(clips, input).batch(range(len(samples))).inputs["video"]
    finally:
        del os.environ["KINEMA_FRAMES_GB"]
    assert (before - after).abs().max() < 1e-6
