"""A bundle is measured on the split that was asked for, by class names, with and without copies of training clips."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from kinema.bundle import Bundle
from kinema.clip import Clip, PoseSequence
from kinema.datasets.base import Dataset
from kinema.datasets.protocols import by_values, leave_one_out
from kinema.errors import BundleError, DataError, ProtocolError
from kinema.evaluation.evaluate import evaluate, evaluation_text
from kinema.layout import get_layout
from kinema.models import registry
from kinema.transforms.config import PoseInput

LAYOUT = get_layout("ntu25")
CLASSES = ("sit", "stand", "walk")


@dataclass(frozen=True)
class NearestConfig:
    pass


class Nearest(torch.nn.Module):
    """Answers with the class whose height is nearest to that of the head; heights are its weights."""

    def __init__(self, classes):
        super().__init__()
        self.heights = torch.nn.Parameter(torch.arange(float(classes)))

    def forward(self, x, mask=None):
        return -50 * (x[:, 0, :, LAYOUT.index("head"), 1].mean(1, keepdim=True) - self.heights) ** 2


@pytest.fixture(autouse=True)
def nearest(monkeypatch):
    registry.model_infos()
    info = registry.ModelInfo("nearest", "", "", lambda config, shape, classes: Nearest(classes), NearestConfig())
    monkeypatch.setitem(registry._MODELS, "nearest", info)


def pose(height, frames=20, seed=0, dims=3):
    points = np.random.default_rng(seed).normal(0, 0.05, (1, frames, len(LAYOUT), dims)).astype(np.float32)
    points[0, :, LAYOUT.index("head"), 1] += np.broadcast_to(height, frames)
    return PoseSequence(points, LAYOUT)


def bundle(classes=CLASSES, input=None, recipe=None):
    input = input or PoseInput("ntu25", frames=8, center="none")
    return Bundle("b", "nearest", {}, classes, input, 3, {"heights": torch.arange(float(len(classes)))}, recipe or {})


def dataset(classes=CLASSES, extra=()):
    """Four subjects, three classes, two clips each; what subject 4 does first is mistaken for the next class."""
    clips = [
        Clip(f"{s}{k}{t}", {"pose": pose(CLASSES.index(name) + (s == 4 and t == 0 and k < 2), seed=100 * s + 10 * k + t)}, k, str(s))
        for s in (1, 2, 3, 4)
        for k, name in enumerate(classes)
        for t in (0, 1)
    ]
    protocols = {
        "cross-subject": by_values("cross-subject", "", "subject", ["1", "2"]),
        "leave-one-out": leave_one_out("leave-one-out", ""),
    }
    return Dataset("toy", (*clips, *extra), classes, protocols)


def test_the_result_holds_what_it_promises():
    result, scores = evaluate(bundle(), dataset())
    assert {"dataset", "protocol", "top1", "top5", "mean_class", "precision", "recall", "f1", "mse", "loss", "interval"} <= result.keys()
    assert (result["dataset"], result["protocol"], result["part"], result["unit"]) == ("toy", "cross-subject", "test", "clips")
    assert (result["n_train"], result["n_val"], result["n_test"], result["n"]) == (12, 0, 12, 12)
    assert result["correct"] == 10 and result["confusion"] == [[3, 1, 0], [0, 3, 1], [0, 0, 4]]
    assert result["bundle"]["name"] == "b" and len(result["bundle"]["hash"]) == 64
    assert result["seen"] is None and result["clean"]["excluded"] == [] and "clips" not in result
    assert len(scores) == 12 and scores.clip_ids[0] == "300"
    assert "top-1 83.33 %" in evaluation_text(result)


def test_classes_are_matched_by_name_in_any_order_and_spelling():
    other = dataset(("walk", "sit", "stand"))
    plain, _ = evaluate(bundle(), dataset(), part="train")
    assert plain["top1"] == 1 and evaluate(bundle(), other, part="train")[0]["top1"] == 1
    assert evaluate(bundle(("Sit", " stand ", "WALK")), dataset(), part="train")[0]["top1"] == 1


def test_a_class_that_the_bundle_does_not_know_is_named():
    with pytest.raises(DataError, match=r"4 of 12 clips .*does not know \(walk\).*sit, stand, run"):
        evaluate(bundle(("sit", "stand", "run")), dataset())


def test_a_fold_is_asked_for_where_there_are_several():
    with pytest.raises(ProtocolError, match="there are 4 folds; name one of 1, 2, 3, 4"):
        evaluate(bundle(), dataset(), "leave-one-out")
    with pytest.raises(ProtocolError, match="unknown fold '9'"):
        evaluate(bundle(), dataset(), "leave-one-out", "9")
    result, scores = evaluate(bundle(), dataset(), "leave-one-out", "4")
    assert result["fold"] == "4" and result["n_train"] == 18 and result["correct"] == 4
    assert {clip_id[0] for clip_id in scores.clip_ids} == {"4"}


def test_copies_of_training_clips_are_found_and_the_result_without_them_given():
    copied = dataset().by_id["100"].modalities
    result, _ = evaluate(bundle(), dataset(extra=[Clip("copy", copied, 0, "3")]))
    assert result["n"] == 13 and result["correct"] == 11
    assert result["clean"]["excluded"] == ["copy"] and result["clean"]["n"] == 12 and result["clean"]["correct"] == 10
    assert "without the 1 clips that are copies" in evaluation_text(result)


def test_windows_and_their_phases_are_counted_as_windows_and_by_clip():
    half = np.repeat([0.0, 1.0], 10)
    clips = [Clip(name, {"pose": pose(half, seed=i)}, 0, subject) for i, (name, subject) in enumerate((("x", "1"), ("y", "3")))]
    data = Dataset("toy", tuple(clips), CLASSES, {"p": by_values("p", "", "subject", ["1"])})
    windows = PoseInput("ntu25", frames=4, center="none", window=8, stride=4, sampling="skip", step=2, phases=(0, 1))
    result, scores = evaluate(bundle(input=windows), data)
    # Windows start at 0, 4, 8 and 12; the second one's frames 4-11 lie mostly before the change.
    assert result["unit"] == "windows" and result["n"] == 4 and result["correct"] == 2 and len(scores) == 4
    assert (
        result["samples"]["n"] == 8
        and result["clips"]["n"] == 1
        and result["clips"]["unit"] == "clips"
        and "by clip" in evaluation_text(result)
    )


def test_a_bundle_measured_on_what_it_was_trained_on_says_so():
    recipe = {"data": {"name": "toy", "protocol": "leave-one-out", "fold": "1"}, "fit": {"selection": "last"}, "seed": 0}
    result, _ = evaluate(bundle(recipe=recipe), dataset())
    assert result["seen"] == 12 and "not a test: 12 of these clips" in evaluation_text(result)
    recipe["data"] = {"name": "toy", "protocol": None, "fold": None}
    assert evaluate(bundle(recipe=recipe), dataset())[0]["seen"] == 0


def test_the_validation_part_is_the_one_that_the_recipe_cuts():
    with pytest.raises(ProtocolError, match="cuts no validation part"):
        evaluate(bundle(), dataset(), part="val")
    data = {"name": "toy", "protocol": None, "fold": None, "val_by": "subject", "val_share": 0.5}
    recipe = {"data": data, "fit": {"selection": "validation"}, "seed": 0}
    result, scores = evaluate(bundle(recipe=recipe), dataset(), part="val")
    assert (result["n_train"], result["n_val"], result["n"]) == (6, 6, 6) and len({clip_id[0] for clip_id in scores.clip_ids}) == 1
    assert "clean" not in result


def test_clips_that_cannot_be_used_stop_it_or_are_counted():
    short = Clip("short", {"pose": pose(0, frames=1)}, 0, "3")
    with pytest.raises(DataError, match="short"):
        evaluate(bundle(), dataset(extra=[short]))
    result, _ = evaluate(bundle(), dataset(extra=[short]), on_error="skip")
    assert result["n"] == 12 and result["n_test"] == 13 and "short" in result["skipped"][0]
    assert "1 clips were left out" in evaluation_text(result)


def test_skeletons_that_the_bundle_cannot_take_are_refused():
    flat = Clip("flat", {"pose": pose(0, dims=2)}, 0, "3")
    with pytest.raises(BundleError, match="3-D"):
        evaluate(bundle(), dataset(extra=[flat]))
