"""A calibration fitted on validation clips: probabilities that mean what they say, and a threshold for what is not known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_bundles import moving_pose, tiny_bundle

from kinema import bundle as bundles
from kinema.calibration import Calibration
from kinema.cli import main
from kinema.clip import Clip
from kinema.datasets._convert import convert
from kinema.datasets.base import Dataset
from kinema.datasets.protocols import by_values, leave_one_out
from kinema.errors import BundleError, DataError, ProtocolError
from kinema.evaluation import calibration
from kinema.evaluation.calibrate import calibrate, take_over, validation_clips
from kinema.evaluation.calibrate import trained_on as recipe_data_sets
from kinema.evaluation.calibration import Looks
from kinema.recognition.live import LiveRecognizer
from kinema.recognition.recognizer import Recognizer
from kinema.recognition.steps import steps


def looks(n=2000, temperature=3.0, seed=0, views=1, strange=0):
    """Logits whose softmax at `temperature` is the true distribution of the labels; and `strange` flat ones of no class."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, 6))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    labels = np.array([rng.choice(6, p=row) for row in p])
    group = np.array([f"p{i % 8}" for i in range(n)])
    known = Looks(np.repeat(temperature * logits[None], views, 0), labels, group)
    flat = Looks(rng.normal(0, 0.5, (views, strange, 6)), np.full(strange, -1), np.array([f"q{i}" for i in range(strange)]))
    return (known, flat) if strange else known


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("views", [1, 3])
def test_the_temperature_is_found(temperature, views):
    known = looks(temperature=temperature, views=views)
    assert calibration.fit_temperature(known.logits, known.labels) == pytest.approx(temperature, rel=0.1)


def test_probabilities_mean_what_they_say_afterwards():
    fitted = calibration.fit(looks()).measured
    assert fitted["ece_before"] > 0.1 > 0.03 > fitted["ece"] and fitted["loss"] < fitted["loss_before"]
    assert fitted["miss"]["share"] == pytest.approx(0.05, abs=0.02)
    assert fitted["false_alarm"] is None and fitted["auroc"] == {}


def test_what_is_unknown_is_told_apart_by_the_better_measure():
    known, strange = looks(strange=500)
    fitted = calibration.fit(known, strange, keep=0.9)
    m = fitted.measured
    assert fitted.novelty == max(m["auroc"], key=m["auroc"].get) and m["auroc"]["energy"] > 0.9
    assert m["miss"]["share"] == pytest.approx(0.1, abs=0.03) and m["false_alarm"]["share"] < 0.3 and m["n_unknown"] == 500
    assert json.loads(json.dumps(m)) == m
    assert "AUROC" in calibration.text(fitted) and "2000 samples" in calibration.text(fitted)


def test_the_model_and_the_fit_agree_on_what_is_strange():
    known = looks(50, views=2)
    for novelty in ("energy", "confidence"):
        by = Calibration(2.0, novelty)
        expected = by.strangeness(torch.from_numpy(known.logits)).numpy().mean(0)
        np.testing.assert_allclose(calibration.strangeness(known.logits, by), expected)
        expected = by.probabilities(torch.from_numpy(known.logits)).numpy().mean(0)
        np.testing.assert_allclose(calibration.probabilities(known.logits, 2.0), expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"known": looks(10)}, "there are 10 validation samples of known actions; 20 at least"),
        ({"unknown": looks(5)}, "5 validation samples of unknown"),
        ({"known": replace(looks(100), labels=np.zeros(100, int))}, "all validation samples are of one class"),
        ({"keep": 1.0}, "keep is 1.0"),
    ],
)
def test_too_little_to_fit_to_is_an_error(change, says):
    with pytest.raises(DataError, match=says):
        calibration.fit(**{"known": looks(100), **change})


def test_a_bundle_keeps_its_calibration_and_one_without_keeps_its_bytes(tmp_path):
    plain = tiny_bundle()
    made = replace(plain, calibration=Calibration(2.0, "confidence", -0.5, {"n": 3}))
    again = bundles.load(bundles.save(made, tmp_path / "made.safetensors"))
    assert again.calibration == made.calibration and again.hash != plain.hash
    assert again.to_dict()["calibration"]["threshold"] == -0.5 and "calibrated: temperature 2.000" in again.describe()
    assert b'\\"calibration\\"' not in bundles.save(plain, tmp_path / "plain.safetensors").read_bytes()
    assert bundles.load(tmp_path / "plain.safetensors").calibration is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"temperature": True}, "temperature is True"),
        ({"novelty": "mood"}, "unknown measure of novelty"),
        ({"threshold": "low"}, "threshold is 'low'"),
        ({"measured": []}, "measured is not a mapping"),
        ({"more": 1}, "not of its form"),
    ],
)
def test_a_calibration_of_another_form_is_refused(wrong, says):
    with pytest.raises(BundleError, match=says):
        Calibration.of({**Calibration().to_dict(), **wrong})


def test_a_recognizer_uses_it():
    plain, pose = tiny_bundle(), moving_pose(frames=30)
    before = Recognizer(plain).predict(pose)
    warm = Recognizer(replace(plain, calibration=Calibration(5.0))).predict(pose)
    assert warm.label == before.label and warm.probability < before.probability and warm.known
    strict = replace(plain, calibration=Calibration(1.0, "energy", -1e6))
    nothing = Recognizer(strict).predict(pose)
    assert not nothing.known and nothing.label is None and "it is like none of the 4 actions" in nothing.reason and nothing.pose is not None
    np.testing.assert_array_equal(Recognizer(strict, reject=False).predict(pose).probabilities, before.probabilities)


def test_windows_that_show_nothing_known_do_not_count():
    bundle, pose = tiny_bundle(), moving_pose(frames=90)
    windows = Recognizer(bundle).predict(pose, window=1.0, stride=1.0).windows
    sure = sorted(window.probabilities.max() for window in windows)
    middle = -(sure[0] + sure[1]) / 2
    answer = Recognizer(replace(bundle, calibration=Calibration(1.0, "confidence", middle))).predict(pose, window=1.0, stride=1.0)
    assert [window.novel for window in answer.windows].count(True) == 1
    expected = np.mean([window.probabilities for window in windows if window.probabilities.max() > -middle], 0)
    np.testing.assert_allclose(answer.probabilities, expected)


def test_live_recognition_answers_nothing_known():
    bundle = tiny_bundle(layout="coco17", dims=2, unit="px", scale=True, fields={"calibration": Calibration(1.0, "energy", -1e6)})
    live = LiveRecognizer(bundle)
    for time, people in steps(moving_pose("coco17", frames=40, dims=2, size=200, unit="px", y_axis="down")):
        answer = live.step(time, people)
    assert answer.persons[0].label is None and answer.persons[0].top == () and "it is like none of" in answer.persons[0].flaw


def dataset(name="toy", classes=("drink", "phone", "wave", "walk"), people=8, protocol=True):
    clips = [
        Clip(f"{person}{label}{take}", {"pose": moving_pose(frames=30, seed=100 * person + 10 * label + take)}, label, str(person))
        for person in range(people)
        for label in range(len(classes))
        for take in range(3)
    ]
    protocols = {"cross-subject": by_values("cross-subject", "", "subject", ["0", "1", "2", "3"])} if protocol else {}
    return Dataset(name, tuple(clips), classes, protocols)


def trained_on(names, selection="validation", **data):
    fields = {"protocol": None, "fold": None, "use": "split", "val_by": "subject", "val_share": 0.5, **data}
    return tiny_bundle(fields={"recipe": {"seed": 1, "data": {"name": names, **fields}, "fit": {"selection": selection}}})


def test_of_its_own_data_set_only_the_validation_part_is_used():
    data = dataset()
    found = {clip.subject for clip in validation_clips(trained_on("toy"), data)}
    assert len(found) == 2 and found <= {"0", "1", "2", "3"}
    assert found == {clip.subject for clip in validation_clips(trained_on("other+toy"), data)}


def test_of_another_data_set_all_but_the_test_part_is_used():
    assert {clip.subject for clip in validation_clips(trained_on("other"), dataset())} == {"0", "1", "2", "3"}
    assert {clip.subject for clip in validation_clips(trained_on("other"), dataset(protocol=False))} == set("01234567")


def test_of_joined_data_sets_each_has_its_own_protocol():
    bundle = trained_on("toy+other+far", protocol="train+cross-subject+test")
    assert recipe_data_sets(bundle) == ["toy", "other"]
    assert len({clip.subject for clip in validation_clips(bundle, dataset())}) == 4  # of all eight, half
    assert {clip.subject for clip in validation_clips(bundle, dataset("other"))} <= {"0", "1", "2", "3"}
    with pytest.raises(ProtocolError, match="'far' tests bundle 'tiny', all of it"):
        validation_clips(bundle, dataset("far"))


def test_of_joined_data_sets_each_may_be_cut_by_a_key_of_its_own():
    bundle = trained_on("toy+other", protocol="train+train", val_by="clip+subject")
    assert {clip.subject for clip in validation_clips(bundle, dataset())} == set("01234567")
    assert len({clip.subject for clip in validation_clips(bundle, dataset("other"))}) == 4


@pytest.mark.parametrize("recipe", [{}, {"data": {}}])
def test_a_bundle_that_does_not_tell_what_trained_it_asks_for_data(recipe, tmp_path, capsys):
    path = bundles.save(tiny_bundle(fields={"recipe": recipe}), tmp_path / "b.safetensors")
    assert main(["calibrate", str(path)]) == 2
    assert "does not tell what it was trained on; give --data" in capsys.readouterr().err


def test_of_several_folds_the_trained_one_counts():
    data = replace(dataset(), protocols={"leave-one-out": leave_one_out("leave-one-out", "")})
    bundle = trained_on("toy", fold="3")
    assert "3" not in {clip.subject for clip in validation_clips(bundle, data)}


@pytest.mark.parametrize(
    ("bundle", "says"),
    [(trained_on("toy", use="all"), r"all of it; .*--like"), (trained_on("toy", "last"), "all but the test part; .*selection: validation")],
)
def test_clips_that_trained_it_are_refused(bundle, says):
    with pytest.raises(ProtocolError, match=says):
        calibrate(bundle, [dataset()])


def test_the_command_fits_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = dataset(classes=("drink", "phone", "wave", "walk", "fly", "swim"))
    convert(data, tmp_path / "own")
    bundles.save(trained_on("other"), tmp_path / "b.safetensors")
    own = ["--data", "folder", "--root", "own", "--unknown", "folder", "--unknown_root", "own"]
    assert main(["calibrate", "b.safetensors", *own, "--keep", "0.9"]) == 0
    said = capsys.readouterr().out
    assert "nothing known where the" in said and "bundle    tiny-calibrated.safetensors" in said
    made = bundles.load("tiny-calibrated.safetensors")
    assert made.calibration.measured["keep"] == 0.9 and made.calibration.measured["unknown"] == "folder"
    assert main(["calibrate", "b.safetensors", "--like", "tiny-calibrated.safetensors", "--out", "c.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["temperature"] == made.calibration.temperature
    assert bundles.load("c.safetensors").calibration == made.calibration
    assert main(["calibrate", "b.safetensors", "--like", "c.safetensors", "--data", "folder"]) == 2


def test_a_bundle_is_calibrated_and_another_takes_it_over():
    bundle, data = trained_on("toy"), dataset(classes=("drink", "phone", "wave", "walk", "fly", "swim"))
    made = calibrate(bundle, [data], [data])
    assert made.calibration.measured["n_known"] == 24 and made.calibration.measured["clips"] == "toy"
    assert made.calibration.threshold is not None and made.calibration.measured["n_unknown"] == 24
    whole = trained_on("toy", use="all")
    assert take_over(whole, made).calibration == made.calibration
    with pytest.raises(BundleError, match="differ in model"):
        take_over(tiny_bundle(frames=24), made)
    with pytest.raises(BundleError, match="has no calibration"):
        take_over(whole, bundle)
