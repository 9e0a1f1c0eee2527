"""Videos are recognised as a whole and window by window, read once from their beginning to their end."""

import numpy as np
import pytest
import torch
from make_videos import write_video
from tiny_bundles import CLASSES, moving_pose, tiny_video_bundle

from kinema import video
from kinema.clip import Clip, VideoSource
from kinema.errors import BundleError, DataError, KinemaError
from kinema.recognition.recognizer import Recognizer, load
from kinema.recognition.report import predictions_text
from kinema.recognition.video import Cut, WindowSamples
from kinema.transforms.video_samples import VideoSamples


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(tiny_video_bundle(fields={"seconds": 1.0}))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Seven seconds."""
    return write_video(tmp_path_factory.mktemp("videos") / "v_wave_g01_c01.mp4", frames=70, bf="2", g="12")


def expected(recognizer, source):
    samples = VideoSamples.from_clips([Clip("c", {"video": source})], recognizer.bundle.video)
    with torch.inference_mode():
        return recognizer.model(**samples.batch([0]).inputs).double().softmax(-1)[0].numpy()


def test_a_video_gets_the_models_probabilities_and_the_truth_of_its_name(recognizer, path):
    answer = recognizer.predict(path)
    np.testing.assert_allclose(answer.probabilities, expected(recognizer, VideoSource(path)), atol=1e-6)
    assert (answer.clip_id, answer.true_label, answer.source, answer.windows) == ("v_wave_g01_c01", "wave", path, ())
    assert answer.seconds == pytest.approx(7) and answer.video == VideoSource(path)
    assert "it lasts 7 s, the clips of training 1.0 s" in answer.notes
    assert answer.to_dict()["seconds"] == pytest.approx(7)
    np.testing.assert_allclose(recognizer.predict(Clip("c", {"video": VideoSource(path)})).probabilities, answer.probabilities)


@pytest.mark.parametrize(
    ("window", "stride", "duration", "spans"),
    [
        (3, 1, 7, [(0, 3), (1, 4), (2, 5), (3, 6), (4, 7)]),
        (3, None, 7, [(0, 3), (1.5, 4.5), (3, 6), (4, 7)]),
        (3, 3, 7, [(0, 3), (3, 6), (4, 7)]),
        (3, 1, 2, [(0, 2)]),
        (0.1, 0.1, 0.3, [(0, 0.1), (0.1, 0.2), (0.2, 0.3)]),
        (2, 5, 12, [(0, 2), (5, 7), (10, 12)]),
    ],
)
def test_windows_cover_a_recording(window, stride, duration, spans):
    np.testing.assert_allclose(Cut(window, stride or window / 2).spans(duration), spans, atol=1e-9)


@pytest.mark.parametrize("settings", [{}, {"sampling": "dense", "step": 2}, {"sampling": "first"}, {"fit": "stretch", "test_frames": 6}])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_window_is_answered_as_that_part_of_the_video(path, settings, batch_size):
    recognizer = Recognizer(tiny_video_bundle(**settings), batch_size=batch_size)
    answer = recognizer.predict(path, window=2, stride=1)
    assert [(round(w.start, 6), round(w.end, 6)) for w in answer.windows] == [(i, i + 2) for i in range(6)]
    for window in answer.windows:
        part = expected(recognizer, VideoSource(path, window.start, window.end))
        np.testing.assert_allclose(window.probabilities, part, atol=1e-5)
    np.testing.assert_allclose(answer.probabilities, np.mean([w.probabilities for w in answer.windows], 0))


def test_several_views_of_windows_are_averaged(path):
    recognizer = Recognizer(tiny_video_bundle(places=3, fields={"views": 6}), batch_size=4)
    answer = recognizer.predict(path, window=2, stride=1)
    samples = VideoSamples.from_clips([Clip("c", {"video": VideoSource(path, 3, 5)})], recognizer.bundle.video)
    with torch.inference_mode():
        rows = [recognizer.model(**samples.batch([0], view=view, views=6).inputs).double().softmax(-1)[0] for view in range(6)]
    np.testing.assert_allclose(answer.windows[3].probabilities, torch.stack(rows).mean(0).numpy(), atol=1e-5)


def test_a_long_video_is_decoded_once_and_never_held(path, recognizer, monkeypatch):
    monkeypatch.setattr("kinema.recognition.video._AT_ONCE", 1)
    begun, held = [], []
    stream, hold = video.stream, WindowSamples.batch

    def batch(self, *args, **options):
        made = hold(self, *args, **options)
        held.append(len(self._passing._pictures))
        return made

    monkeypatch.setattr(video, "stream", lambda *args, **options: begun.append(args) or stream(*args, **options))
    monkeypatch.setattr(WindowSamples, "batch", batch)
    answer = recognizer.predict(path, window=1, stride=0.25)
    assert len(answer.windows) == len(held) == 25
    assert len(begun) == 1 and max(held) <= 12


def test_samples_may_be_asked_for_again(path, recognizer):
    samples = WindowSamples(Clip("c", {"video": VideoSource(path)}), recognizer.bundle.video, [(0, 2), (2, 4), (4, 6)])
    assert samples.unit == "windows" and len(samples) == 3 and samples.at_once > 100
    once = samples.batch([0, 1, 2]).inputs["video"]
    torch.testing.assert_close(samples.batch([2]).inputs["video"][0], once[2])
    torch.testing.assert_close(samples.batch([0]).inputs["video"][0], once[0])


def test_a_window_between_two_frames_shows_the_one_before_it(tmp_path, recognizer):
    path = write_video(tmp_path / "slow.mp4", frames=4, times=[0, 2000, 4000, 6000], rate=1)
    answer = recognizer.predict(path, window=0.5, stride=0.5)
    assert len(answer.windows) >= 12
    np.testing.assert_allclose(answer.windows[5].probabilities, answer.windows[4].probabilities, atol=1e-6)


def test_files_folders_and_parts_of_them(tmp_path, recognizer):
    write_video(tmp_path / "b.avi", "mpeg4", frames=12)
    write_video(tmp_path / "a.webm", "libvpx", frames=12)
    (tmp_path / "notes.txt").write_text("x")
    answers = recognizer.predict_files([tmp_path])
    assert [answer.clip_id for answer in answers] == ["a", "b"]
    assert all(answer.known for answer in answers)
    (tmp_path / "c.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"c\.mp4"):
        recognizer.predict_files([tmp_path])
    answers = recognizer.predict_files([tmp_path], on_error="skip", window=1)
    assert [answer.known for answer in answers] == [True, True, False] and "c.mp4" in answers[2].reason


def test_who_takes_videos_takes_no_skeletons(path, recognizer):
    with pytest.raises(BundleError, match="takes video; no pose can be given to it"):
        recognizer.predict(path, pose="movenet")
    with pytest.raises(BundleError, match="takes video; this recording has pose"):
        recognizer.predict(moving_pose())
    for wrong in ({"window": 0}, {"stride": 1}):
        with pytest.raises(KinemaError, match="window"):
            recognizer.predict(path, **wrong)


def test_the_text_tells_what_happens_when(path, recognizer):
    text = predictions_text([recognizer.predict(path, window=2, stride=1)])
    assert str(path) in text and "(true: wave)" in text and " s  " in text


def test_it_is_loaded_like_any_other(tmp_path, path):
    from kinema.bundle import save

    save(tiny_video_bundle(), tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").predict(path).label in CLASSES
