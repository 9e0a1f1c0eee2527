"""A recognizer answers for clips, poses and files alike, and refuses what its bundle cannot take."""

import json

import numpy as np
import pytest
import torch
from tiny_bundles import CLASSES, moving_pose, tiny_bundle

from kinema.bundle import save
from kinema.clip import Clip, Lazy, PoseSequence
from kinema.errors import BundleError, DataError, KinemaError
from kinema.recognition.prediction import Prediction, WindowPrediction
from kinema.recognition.recognizer import Recognizer, load
from kinema.recognition.report import predictions_text
from kinema.transforms.samples import PoseSamples


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(tiny_bundle())


@pytest.fixture(scope="module")
def windowed():
    return Recognizer(tiny_bundle(window=30, stride=15, sampling="skip", step=2, phases=(0, 1)))


def _expected(recognizer, clip):
    samples = PoseSamples.from_clips([clip], recognizer.bundle.input)
    batch = samples.batch(torch.arange(len(samples)))
    with torch.inference_mode():
        return recognizer.model(batch.x, batch.mask).double().softmax(-1).mean(0).numpy()


def test_a_pose_gets_the_models_probabilities(recognizer):
    pose = moving_pose()
    answer = recognizer.predict(pose)
    np.testing.assert_allclose(answer.probabilities, _expected(recognizer, Clip("c", {"pose": pose})), atol=1e-9)
    assert answer.known and answer.label == CLASSES[answer.probabilities.argmax()]
    assert answer.top(2)[0] == (answer.label, answer.probability)
    assert len(answer.top(99)) == len(CLASSES) and answer.windows == ()
    assert answer.pose is pose


def test_several_recordings_get_a_list_in_their_order_whatever_the_batch(recognizer):
    clips = [Clip(f"c{i}", {"pose": moving_pose(seed=i, frames=20 + i)}) for i in range(5)]
    single = [recognizer.predict(clip).probabilities for clip in clips]
    answers = Recognizer(recognizer.bundle, batch_size=2).predict(clips)
    assert [answer.clip_id for answer in answers] == [clip.id for clip in clips]
    np.testing.assert_allclose([answer.probabilities for answer in answers], single, atol=1e-6)
    assert recognizer.predict([]) == []


def test_windows_are_averaged_and_kept_with_their_times(windowed):
    pose = moving_pose(frames=80)
    answer = windowed.predict(pose)
    assert [(round(w.start, 3), round(w.end, 3)) for w in answer.windows] == [(0, 1), (0.5, 1.5), (1, 2), (1.5, 2.5)]
    np.testing.assert_allclose(answer.probabilities, np.mean([w.probabilities for w in answer.windows], 0))
    np.testing.assert_allclose(answer.probabilities, _expected(windowed, Clip("c", {"pose": pose})), atol=1e-9)
    rows = answer.to_pandas()
    assert len(rows) == 4 and list(rows.columns[:4]) == ["clip", "start", "end", "label"]


def test_a_bundle_without_windows_cuts_long_recordings_when_asked(recognizer):
    pose = moving_pose(frames=90)
    answer = recognizer.predict(pose, window=1.0, stride=1.0)
    assert [(w.start, w.end) for w in answer.windows] == [(0, 1), (1, 2), (2, 3)]
    np.testing.assert_allclose(answer.windows[1].probabilities, recognizer.predict(pose.select_frames(slice(30, 60))).probabilities)
    with pytest.raises(KinemaError, match="window"):
        recognizer.predict(pose, stride=1.0)
    with pytest.raises(KinemaError, match="positive"):
        recognizer.predict(pose, window=-1.0)


def test_layout_unit_and_rate_are_converted(windowed):
    pose = moving_pose("ntu25", frames=60)
    expected = windowed.predict(pose).probabilities
    millimetres = PoseSequence(pose.points * 1000, pose.layout, "mm")
    np.testing.assert_allclose(windowed.predict(millimetres).probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(windowed.predict(pose.to_layout("cad60")).probabilities, expected, atol=1e-5)
    double = moving_pose("ntu25", frames=119, fps=60.0)
    np.testing.assert_allclose(double.points[:, ::2], pose.points, atol=1e-6)
    np.testing.assert_allclose(windowed.predict(double).probabilities, expected, atol=1e-4)


def test_views_are_averaged():
    one, three = (Recognizer(tiny_bundle(fields={"views": views})) for views in (1, 3))
    pose = moving_pose()
    assert not np.allclose(one.predict(pose).probabilities, three.predict(pose).probabilities)
    assert three.predict(pose).probabilities.sum() == pytest.approx(1)


def _one_frame_seen() -> PoseSequence:
    return moving_pose(frames=40, mask=np.arange(40)[None, :, None] < np.ones((1, 1, 15)))


@pytest.mark.parametrize(
    ("layout", "make", "says"),
    [
        ("ntu25", lambda: moving_pose("jhmdb15"), "'jhmdb15' cannot be converted to 'ntu25'"),
        ("cad60", lambda: moving_pose(dims=2, unit="px"), "3-D points; these are 2-D"),
        ("cad60", lambda: moving_pose(unit="norm"), "in 'm'; these are in 'norm'"),
        ("cad60", lambda: moving_pose(frames=1), "too short: it has 1 frames"),
        ("cad60", _one_frame_seen, "too short: it has 1 frames"),
        ("cad60", lambda: moving_pose(size=1700), "is it really in 'm'"),
        ("cad60", lambda: moving_pose(size=1.7, unit="mm"), "is it really in 'mm'"),
        ("cad60", lambda: moving_pose(size=1e38), "is it really in 'm'"),
    ],
)
def test_what_the_bundle_cannot_take_is_refused_with_the_reason(layout, make, says):
    with pytest.raises(BundleError, match=says) as error:
        Recognizer(tiny_bundle(layout=layout)).predict(make())
    assert "\n" not in str(error.value) and "clip 'pose'" in str(error.value)


def test_skipping_says_why_instead_of_stopping(recognizer):
    def broken():
        raise DataError("truncated", "a.mat")

    clips = [Clip("good", {"pose": moving_pose()}), Clip("bad", {"pose": Lazy(broken)}), Clip("short", {"pose": moving_pose(frames=1)})]
    with pytest.raises(DataError, match=r"a\.mat: truncated"):
        recognizer.predict_clips(clips)
    answers = recognizer.predict_clips(clips, on_error="skip")
    assert [answer.known for answer in answers] == [True, False, False]
    assert answers[1].reason == "a.mat: truncated" and "too short" in answers[2].reason


def test_an_answer_that_is_no_number_is_refused():
    recognizer = Recognizer(tiny_bundle())
    recognizer.model.forward = lambda x, mask=None: torch.full((len(x), len(CLASSES)), torch.nan)
    with pytest.raises(DataError, match=r"clip 'pose': .* not a number"):
        recognizer.predict(moving_pose())


def test_the_truth_is_found_by_name(recognizer):
    clip = Clip("c", {"pose": moving_pose()}, label=1)
    assert recognizer.predict(clip).truth is None
    assert recognizer.predict(clip, classes=("walk", "Wave ")).true_label == "wave"
    assert recognizer.predict(clip, classes=("walk", "swim")).truth is None


def test_an_answer_is_plain_json_and_reads_well(recognizer):
    clip = Clip("c7", {"pose": moving_pose()}, label=0)
    answer = recognizer.predict(clip, classes=CLASSES)
    found = json.loads(json.dumps(answer.to_dict(2)))
    assert found["clip"] == "c7" and found["truth"] == "drink" and len(found["top"]) == 2
    assert "c7" in repr(answer) and "true: drink" in repr(answer)
    assert len(answer.to_pandas()) == 1


def test_answers_read_as_text(recognizer):
    rows = [np.array(row) for row in ([0.1, 0.2, 0.7, 0.0], [0.1, 0.3, 0.6, 0.0], [0.1, 0.5, 0.4, 0.0])]
    windows = tuple(WindowPrediction(i * 1.0, i + 2.0, row) for i, row in enumerate(rows))
    answer = Prediction("c7", CLASSES, np.mean(rows, 0), 2, windows)
    assert predictions_text([answer], 2).splitlines() == [
        "c7 (true: wave)",
        "  wave    56.7 %",
        "  phone   33.3 %",
        "     0.0 to    3.0 s  wave",
        "     3.0 to    4.0 s  phone",
    ]
    assert predictions_text([Prediction.nothing("live", CLASSES, "nobody there")]) == "live\n  nothing known: nobody there"


def test_files_and_folders_are_read(recognizer, tmp_path):
    pose = moving_pose()
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b"):
        np.savez(folder / f"{name}.npz", points=pose.points, layout=pose.layout.name, unit="m", fps=pose.fps)
    bundle = save(recognizer.bundle, tmp_path / "tiny.safetensors")
    loaded = load(bundle)
    one = loaded.predict(folder / "a.npz")
    np.testing.assert_allclose(one.probabilities, recognizer.predict(pose).probabilities, atol=1e-6)
    assert one.source == folder / "a.npz"
    assert len(loaded.predict(folder)) == 2
    assert len(loaded.predict_files([folder / "a.npz", folder])) == 3
    (folder / "c.npz").write_bytes(b"nothing")
    answers = loaded.predict_files([folder, tmp_path / "none.npz"], on_error="skip")
    assert [answer.known for answer in answers] == [True, True, False, False] and "none.npz" in answers[-1].reason
    with pytest.raises(DataError, match=r"none\.npz"):
        loaded.predict(tmp_path / "none.npz")


def test_a_file_may_tell_the_truth(recognizer, tmp_path):
    pose = moving_pose()
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", points=pose.points, layout=pose.layout.name, unit="m", fps=pose.fps)
    (tmp_path / "clips.csv").write_text("id,path,label\nfirst,a.npz,walk\nsecond,b.npz,swim\n")
    assert [answer.true_label for answer in recognizer.predict(tmp_path)] == ["walk", None]


def test_other_things_and_other_devices_are_refused(recognizer):
    with pytest.raises(KinemaError, match="int cannot be recognised"):
        recognizer.predict([3])
    with pytest.raises(KinemaError, match="device 'gpu'"):
        Recognizer(recognizer.bundle, device="gpu")
