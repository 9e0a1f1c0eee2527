"""Where nobody names a bundle: the shipped one for skeletons of so many dimensions. And what a vocabulary of several data sets means."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_bundles import CLASSES, moving_pose, tiny_bundle

import kinema
from kinema import bundle as bundles
from kinema.cli import main
from kinema.clip import Clip, DepthSequence
from kinema.datasets.base import Dataset
from kinema.datasets.protocols import by_values
from kinema.errors import BundleError, DataError
from kinema.evaluation.evaluate import evaluate
from kinema.recognition import shipped
from kinema.recognition.recognizer import Recognizer

WORDS = {"drink": ["cups/sip", "glasses/Sip", "cups/gulp"], "phone": [], "walk": ["cups/stroll"], "wave": ["glasses/stroll"]}
VOCABULARY = {"seed": 0, "data": {"name": "cups+glasses", "classes": WORDS}}


@pytest.fixture
def two(tmp_path, monkeypatch):
    """A bundle for 2-D and one for 3-D skeletons in place of the shipped ones."""
    flat = tiny_bundle(layout="coco15", dims=2, unit="norm", seed=1, scale=True, project=True, fields={"recipe": VOCABULARY})
    made = {2: replace(flat, name="flat"), 3: replace(tiny_bundle(), name="solid")}
    names = {dims: str(bundles.save(bundle, tmp_path / f"{bundle.name}.safetensors")) for dims, bundle in made.items()}
    monkeypatch.setattr(shipped, "BUNDLES", names)
    return made


def picture(seed=0, **fields):
    pose = moving_pose("coco17", dims=2, unit="px", y_axis="down", seed=seed, **fields)
    return replace(pose, points=100 * pose.points + np.float32([320, 240]))


def test_each_recording_is_answered_by_the_bundle_for_its_dimensions(two):
    recognizer = kinema.load()
    poses = [picture(0), moving_pose(seed=1), picture(2)]
    answers = recognizer.predict(poses)
    for pose, answer in zip(poses, answers, strict=True):
        wanted = Recognizer(two[pose.dims]).predict(pose)
        np.testing.assert_allclose(answer.probabilities, wanted.probabilities, atol=1e-6)
    assert "solid" in recognizer.name and "flat" in recognizer.name
    alone = kinema.load()
    alone.predict(picture(0))
    assert "solid" not in alone.name
    with pytest.raises(BundleError, match="takes pose; this recording has depth"):
        alone.predict(Clip("d", {"depth": DepthSequence(np.zeros((3, 4, 4), np.uint16))}))


def test_windows_are_asked_of_whoever_answers(two):
    answers = kinema.load().predict([picture(frames=90), moving_pose(frames=90)], window=1.0)
    assert [len(answer.windows) for answer in answers] == [5, 5]


def test_three_dimensions_are_seen_as_an_image_where_the_bundle_says_so(two):
    recognizer = Recognizer(two[2])
    solid = moving_pose("utd-mhad")
    seen = replace(solid, points=-solid.points[..., :2], unit="norm", y_axis="down")
    np.testing.assert_allclose(recognizer.predict(solid).probabilities, recognizer.predict(seen).probabilities, atol=1e-5)
    with pytest.raises(BundleError, match="3-D points in 'm'; these are in 'px'"):
        recognizer.predict(replace(solid, unit="px"))
    plain = tiny_bundle(layout="coco15", dims=2, unit="norm", scale=True)
    with pytest.raises(BundleError, match="takes 2-D points; these are 3-D"):
        Recognizer(plain).predict(solid)


@pytest.mark.parametrize(
    ("label", "dataset", "wanted"),
    [
        ("drink", "", "drink"),
        ("Phone", "mugs", "phone"),
        ("sip", "", "drink"),
        ("SIP", "glasses", "drink"),
        ("gulp", "cups", "drink"),
        ("stroll", "cups", "walk"),
        ("stroll", "glasses", "wave"),
        ("stroll", "", None),  # in one data set this, in the other that
        ("swim", "", None),
    ],
)
def test_labels_of_the_data_sets_go_to_the_class_that_the_vocabulary_made_of_them(label, dataset, wanted):
    bundle = tiny_bundle(fields={"recipe": VOCABULARY})
    found = bundle.class_of(label, dataset)
    assert (None if found is None else CLASSES[found]) == wanted


@pytest.mark.parametrize(
    "recipe", [{}, {"data": 3}, {"data": {"classes": [1]}}, {"data": {"classes": {"drink": 3, "nap": ["swim"]}}}], ids=str
)
def test_a_recipe_without_a_vocabulary_leaves_the_classes_own_names(recipe):
    bundle = tiny_bundle(fields={"recipe": recipe})
    assert bundle.class_of("Wave ") == CLASSES.index("wave") and bundle.class_of("swim") is None


def test_a_bundle_is_measured_on_each_of_its_data_sets_by_its_vocabulary():
    bundle = tiny_bundle(fields={"recipe": VOCABULARY})
    clips = [Clip(f"{i}-{s}", {"pose": moving_pose(seed=i + 3 * s)}, i, subject=str(s)) for i in range(3) for s in (1, 2)]
    cups = Dataset("cups", tuple(clips), ("stroll", "gulp", "phone"), {"p": by_values("p", "", "subject", ("1",))})
    result, scores = evaluate(bundle, cups)
    assert [bundle.classes[label] for label in scores.labels] == ["walk", "drink", "phone"] and result["n"] == 3
    with pytest.raises(DataError, match="does not know"):
        evaluate(bundle, Dataset("mugs", cups.clips, ("stroll", "gulp", "phone"), cups.protocols))


def test_the_command_names_the_bundle_that_answered(two, tmp_path, capsys):
    pose = moving_pose("coco17", dims=2)
    np.savez(tmp_path / "a.npz", points=pose.points, layout="coco17", unit="px", fps=30.0, y_axis="down")
    assert main(["predict", str(tmp_path / "a.npz"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "flat" in answer["bundle"] and answer["predictions"][0]["label"] in CLASSES


def test_both_shipped_bundles_are_there():
    assert set(shipped.BUNDLES.values()) <= set(bundles.shipped())
