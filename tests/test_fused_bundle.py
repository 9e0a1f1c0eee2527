"""A fused bundle comes back as it was written, answers as its members do together, and with those that can."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bundles import CLASSES, moving_pose, tiny_bundle

import kinema
from kinema import bundle as bundles
from kinema import fused
from kinema.bundle import Bundle
from kinema.cli import main
from kinema.clip import Clip, DepthSequence, InertialSequence
from kinema.datasets._skeletons import npz_bytes
from kinema.errors import BundleError
from kinema.fused import FusedBundle, Fusion
from kinema.models.registry import create_model
from kinema.recognition.fused import FusedRecognizer
from kinema.recognition.recognizer import Recognizer
from kinema.recognition.report import predictions_text
from kinema.transforms.config import PoseInput
from kinema.transforms.inertial_config import InertialInput

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
RULES = {
    "average": {},
    "product": {},
    "maximum": {},
    "weighted": {"weights": (0.7, 0.3)},
    "stacked": {"weights": (1.2, 0.4), "bias": (0.1, 0.0, -0.2, 0.3)},
}


def inertial_bundle() -> Bundle:
    """Of a worn sensor; it has its classes in another order."""
    bundle = Bundle(
        name="watch",
        model="inertial-gru",
        config={"width": 8, "hidden": 8},
        classes=tuple(reversed(CLASSES)),
        input=PoseInput(layout="cad60"),
        channels=0,
        state={},
        inertial=InertialInput(samples=32),
    )
    torch.manual_seed(1)
    return replace(bundle, state=create_model(bundle.model, len(CLASSES), bundle.shape, **bundle.config).state_dict())


def signals(seed: int = 0) -> InertialSequence:
    return InertialSequence(np.random.default_rng(seed).normal(size=(100, 6)).astype(np.float32), CHANNELS)


@pytest.fixture(scope="module")
def parts():
    return tiny_bundle(), inertial_bundle()


@pytest.fixture(scope="module")
def made(parts):
    return FusedBundle("both", parts, Fusion("weighted", (0.6, 0.4)), {"top1": 0.9, "dataset": "made"}, "for tests")


@pytest.fixture
def file(made, tmp_path):
    return fused.save(made, tmp_path / "both.safetensors")


@pytest.fixture
def clip():
    return Clip("c", {"pose": moving_pose(), "inertial": signals()}, label=1)


def test_a_fused_bundle_comes_back_as_it_was_written(made, file, tmp_path):
    found = fused.load(file)
    assert (found.name, found.fusion, found.result, found.notes) == (made.name, made.fusion, made.result, made.notes)
    assert found.hash == made.hash == fused.load(str(file)).hash
    assert (found.classes, found.modalities) == (CLASSES, ("pose", "inertial"))
    for member, original in zip(found.members, made.members, strict=True):
        assert bundles.about_of(member) == bundles.about_of(original) and member.hash == original.hash
        assert member.state.keys() == original.state.keys()
        assert all(torch.equal(member.state[key], original.state[key]) for key in original.state)
    assert fused.save(found, tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_single_bundles_are_loaded_beside_them_and_fused_ones_refused_where_one_is_needed(made, file, parts, tmp_path):
    one = bundles.save(parts[0], tmp_path / "one.safetensors")
    assert fused.load(one).hash == parts[0].hash and fused.load(made) is made
    with pytest.raises(BundleError, match=r"both\.safetensors: several bundles fused into one"):
        bundles.load(file)
    with pytest.raises(BundleError, match="a stream takes a single one"):
        kinema.ActivityRecognizer(kinema.load(file))
    with pytest.raises(BundleError, match="a fused one is expected"):
        FusedRecognizer(one)


def test_any_changed_byte_is_noticed(file):
    data = file.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for place in {*range(8), *range(8, header, 101), *range(header, len(data), 20011), len(data) - 1}:
        changed = bytearray(data)
        changed[place] ^= 0x20
        file.write_bytes(changed)
        with pytest.raises(BundleError, match=r"both\.safetensors"):
            fused.load(file)


def forge(file: Path, change) -> None:
    """Change the metadata and write a digest that fits."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header["__metadata__"]["kinema"])
    change(about["fused"])
    about["sha256"] = "0" * 64
    header["__metadata__"]["kinema"] = json.dumps(about)
    text = json.dumps(header, separators=(",", ":")).encode()
    data = len(text).to_bytes(8, "little") + text + data[8 + size :]
    file.write_bytes(data.replace(b"0" * 64, hashlib.sha256(data).hexdigest().encode(), 1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda about: about.update(rule="mean"), "unknown rule 'mean'"),
        (lambda about: about.update(rule=["average"]), "rule is not text"),
        (lambda about: about.update(weights=[0.5]), "weights"),
        (lambda about: about.update(weights=["0.6", 0.4]), "no list of numbers"),
        (lambda about: about.update(weights=[1.0, 0.0, 0.0]), "3 weights"),
        (lambda about: about.update(members=about["members"][:1]), "of no member"),
        (lambda about: about.update(members=7), "no list"),
        (lambda about: about["members"][0].pop("hash"), "without its hash"),
        (lambda about: about["members"][0].update(classes=["a", "b", "c", "d"]), "other classes"),
        (lambda about: about["members"][1].update(model=1), "model is not text"),
        (lambda about: about.update(extra=1), "form"),
        (lambda about: about.update(name=""), "has a name"),
    ],
)
def test_a_forged_field_is_refused(file, change, says):
    forge(file, change)
    with pytest.raises(BundleError, match=says):
        fused.load(file)


def test_bundles_that_do_not_fit_together_are_refused(parts):
    for members, rule, says in (
        (parts[:1], Fusion(), "two at least"),
        ((parts[0], replace(parts[1], classes=("a", "b", "c", "d"))), Fusion(), "other classes"),
        (parts, Fusion("weighted", (0.5, 0.25, 0.25)), "3 weights"),
    ):
        with pytest.raises(BundleError, match=says):
            FusedBundle("x", members, rule)


@pytest.mark.parametrize("rule", RULES)
def test_its_answer_is_the_fusion_of_its_members_answers(parts, clip, rule):
    fusion = Fusion(rule, **RULES[rule])
    answer = kinema.load(FusedBundle("both", parts, fusion)).predict(clip, classes=CLASSES)
    own = [Recognizer(part).predict(clip).probabilities for part in parts]
    expected = fusion(np.stack([own[0], own[1][::-1]])[:, None])[0]
    np.testing.assert_allclose(answer.probabilities, expected)
    assert (answer.classes, answer.truth, answer.notes, answer.pose) == (CLASSES, 1, "", clip.pose)


@pytest.mark.parametrize(("kept", "lost"), [("pose", "inertial"), ("inertial", "pose")])
def test_where_a_modality_is_missing_the_rest_answers_and_says_so(made, parts, clip, kept, lost):
    answer = kinema.load(made).predict(Clip("c", {kept: clip.modality(kept)}))
    alone = Recognizer(parts[0 if kept == "pose" else 1]).predict(clip)
    np.testing.assert_allclose([p for _, p in answer.top(4)], [p for _, p in alone.top(4)])
    name = {"pose": "tiny", "inertial": "watch"}[lost]
    assert answer.label == alone.label and answer.notes == f"without {name} ({lost}): this recording has no {lost}"
    assert answer.notes in predictions_text([answer]) and answer.to_dict()["notes"] == answer.notes and answer.notes in repr(answer)


def test_a_modality_that_cannot_be_used_is_left_out_like_a_missing_one(made, parts, clip):
    short = Clip("c", {"pose": moving_pose(frames=1), "inertial": clip.inertial})
    answer = kinema.load(made).predict(short)
    assert answer.notes.startswith("without tiny (pose): clip 'c' is too short")
    assert answer.label == Recognizer(parts[1]).predict(clip).label


def test_where_no_member_can_answer_that_is_an_error_with_every_reason(made, clip):
    recognizer = kinema.load(made)
    depth = Clip("d", {"depth": DepthSequence(np.ones((3, 4, 4), np.uint16))})
    with pytest.raises(
        BundleError, match=r"clip 'd': no member of bundle 'both' can answer: tiny \(pose\): .*no pose; watch .*no inertial"
    ):
        recognizer.predict(depth)
    answers = recognizer.predict_clips([depth, clip], on_error="skip")
    assert [answer.known for answer in answers] == [False, True] and "no member" in answers[0].reason


def test_members_that_cut_the_same_windows_are_fused_window_by_window():
    one, other = tiny_bundle(window=20, stride=10), tiny_bundle(window=20, stride=10, seed=3)
    clip = Clip("c", {"pose": moving_pose(frames=60)})
    answer = kinema.load(FusedBundle("two", (one, other), Fusion("product"))).predict(clip)
    windows = [Recognizer(each).predict(clip).windows for each in (one, other)]
    expected = Fusion("product")(np.array([[window.probabilities for window in of] for of in windows]))
    np.testing.assert_allclose([window.probabilities for window in answer.windows], expected)
    np.testing.assert_allclose(answer.probabilities, expected.mean(0))
    assert [window.start for window in answer.windows] == [window.start for window in windows[0]]
    uneven = FusedBundle("two", (one, tiny_bundle(seed=3)), Fusion("product"))
    assert kinema.load(uneven).predict(clip).windows == ()


def test_the_commands_take_a_fused_bundle(file, tmp_path, capsys):
    recording = tmp_path / "c.npz"
    recording.write_bytes(npz_bytes(moving_pose()))
    assert main(["predict", str(recording), "--bundle", str(file)]) == 0
    assert "without watch (inertial)" in capsys.readouterr().out
    assert main(["predict", str(recording), "--bundle", str(file), "--json"]) == 0
    assert "without watch" in json.loads(capsys.readouterr().out)["predictions"][0]["notes"]
    assert main(["bundles", str(file)]) == 0
    text = capsys.readouterr().out
    assert all(part in text for part in ("both", "rule 'weighted'", "tiny", "watch", "weight 0.600", "0.9", "drink"))
    assert main(["bundles", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["bundles"][0]
    assert (told["rule"], told["weights"], [member["name"] for member in told["members"]]) == ("weighted", [0.6, 0.4], ["tiny", "watch"])
