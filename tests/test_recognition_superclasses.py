"""Superclasses at prediction: sums of the classes' probabilities, in answers, JSON, text, and through a bundle's file."""

import json

import numpy as np
import pytest
from tiny_bundles import CLASSES, moving_pose, tiny_bundle

from kinema import bundle as bundles
from kinema.errors import BundleError, DataError
from kinema.hierarchy import Hierarchy
from kinema.recognition.prediction import Prediction
from kinema.recognition.recognizer import load
from kinema.recognition.report import predictions_text

LEVELS = Hierarchy(CLASSES, ((0, 0, 1, 1), (0, 1, 2, 2)), (3, 5.5), "confusions of 12 validation clips")


def answer(*p, hierarchy=LEVELS):
    return Prediction("clip", CLASSES, np.array(p), hierarchy=hierarchy)


def test_probabilities_are_sums_of_those_of_the_classes_on_every_level():
    levels = answer(0.4, 0.1, 0.15, 0.35).superclasses()
    assert levels[0] == [("drink / phone", pytest.approx(0.5)), ("wave / walk", pytest.approx(0.5))]
    assert dict(levels[1]) == {"drink": pytest.approx(0.4), "phone": pytest.approx(0.1), "wave / walk": pytest.approx(0.5)}
    assert all(sum(p for _, p in level) == pytest.approx(1) for level in levels)


@pytest.mark.parametrize(
    ("p", "surest"),
    [
        ((0.7, 0.1, 0.1, 0.1), "drink"),
        ((0.1, 0.1, 0.4, 0.4), "wave / walk"),
        ((0.4, 0.35, 0.15, 0.1), "drink / phone"),
        ((0.3, 0.3, 0.2, 0.2), "drink / phone"),
    ],
)
def test_the_surest_answer_is_the_narrowest_that_is_probable_enough(p, surest):
    label, probability = answer(*p).surest()
    assert label == surest and probability >= 0.5
    assert answer(*p).surest(1.0) is None


def test_unsure_answers_are_told_as_such():
    text = predictions_text([answer(0.1, 0.1, 0.45, 0.35)], top=2)
    assert "superclasses  wave / walk, 80.0 %" in text and "sure of: wave / walk" in text
    assert "unsure" not in predictions_text([answer(0.8, 0.1, 0.05, 0.05)])
    assert "superclasses" not in predictions_text([answer(0.1, 0.1, 0.45, 0.35, hierarchy=None)])
    nothing = Prediction.nothing("clip", CLASSES, "why not")
    assert nothing.superclasses() == [] and nothing.surest() is None


def test_json_has_the_superclasses_with_their_members():
    entry = json.loads(json.dumps(answer(0.4, 0.1, 0.15, 0.35).to_dict(1)))["superclasses"]
    assert [level["of"] for level in entry] == [2, 3]
    assert entry[1]["top"] == [{"label": "wave / walk", "probability": 0.5, "classes": ["wave", "walk"]}]
    assert "superclasses" not in answer(0.4, 0.1, 0.15, 0.35, hierarchy=None).to_dict()


def test_a_bundle_keeps_its_superclasses_and_answers_with_them(tmp_path):
    made = tiny_bundle(fields={"hierarchy": LEVELS})
    path = bundles.save(made, tmp_path / "tiny.safetensors")
    read = bundles.load(path)
    assert read.hierarchy == LEVELS and "2, 3 superclasses" in read.describe()
    assert read.to_dict()["hierarchy"] == LEVELS.to_dict()
    prediction = load(read).predict(moving_pose())
    best = dict(prediction.superclasses()[0])
    assert best["drink / phone"] == pytest.approx(prediction.probabilities[:2].sum())
    assert bundles.save(tiny_bundle(), tmp_path / "plain.safetensors").read_bytes().find(b'"hierarchy"') == -1


def test_superclasses_of_other_classes_are_refused():
    other = Hierarchy(("wave", "walk"), ((0, 1),))
    with pytest.raises(BundleError, match="no Hierarchy of its classes"):
        tiny_bundle(fields={"hierarchy": other})
    about = json.loads(json.dumps(bundles.about_of(tiny_bundle(fields={"hierarchy": LEVELS}))))
    about["hierarchy"]["levels"][0]["superclasses"][0] = ["drink"]
    with pytest.raises(BundleError, match="'phone' belongs to no superclass"):
        bundles.bundle_of(about, tiny_bundle().state)


@pytest.mark.parametrize(
    ("classes", "levels", "costs"), [((), ((0,),), ()), (("a", "a"), ((0, 1),), ()), (("a", "b"), ((0, 2),), ()), (("a", "b"), (), ())]
)
def test_what_is_no_hierarchy_is_refused(classes, levels, costs):
    with pytest.raises(DataError):
        Hierarchy(classes, levels, costs)


def test_order_of_classes_may_differ():
    turned = LEVELS.ordered(CLASSES[::-1])
    assert [set(map(frozenset, turned.members(i))) for i in range(2)] == [set(map(frozenset, LEVELS.members(i))) for i in range(2)]
    assert turned.levels[1][0] == 0 and turned.ordered(CLASSES) == LEVELS
