"""The support vector machine: at one with scikit-learn, faults as published and corrected, from recipe to bundle."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics.pairwise import laplacian_kernel
from sklearn.model_selection import PredefinedSplit
from sklearn.svm import SVC
from training_toys import toy_clip, toy_dataset, use_toy_data

from kinema import bundle as bundles
from kinema.datasets.base import Dataset, read_dataset
from kinema.datasets.protocols import leave_one_out
from kinema.errors import RecipeError
from kinema.evaluation.evaluate import evaluate
from kinema.layout import get_layout
from kinema.models.registry import PoseShape, create_model, model_info
from kinema.recognition.recognizer import Recognizer
from kinema.training.fit import fit
from kinema.training.overfit import overfit
from kinema.training.recipe import DataConfig, EngineConfig, FitConfig, InitConfig, ModelConfig, Recipe
from kinema.transforms.config import PoseAugment, PoseInput
from kinema.transforms.handcrafted import FEATURES
from kinema.transforms.samples import PoseSamples

LAYOUT = get_layout("cad60")
INPUT = PoseInput(layout="cad60", frames=4, window=10, stride=10, sampling="skip", step=2, phases=(0, 1, 2, 3))
OURS = {"features": "posture", "kernel": "laplacian", "scale": "deviation", "c": 10.0}
FORMS = {"published": {"scale_on": "all", "floor": True}, "honest": {}, "positions": {**OURS, "features": "positions"}, "posture": OURS}


def clips(labels=(0, 1, 2), subjects=(1, 2, 3), takes=2):
    return [toy_clip(label, subject, take) for label in labels for subject in subjects for take in range(takes)]


def machine(classes=3, frames=4, layout=LAYOUT, **config):
    return create_model("handcrafted-svm", classes, PoseShape(1, frames, layout, 3), **config)


def fitted(samples, classes=3, others=None, **config):
    model = machine(classes, **config)
    model.fit_samples(samples, others)
    return model.eval()


def everything(samples):
    return samples.batch(range(len(samples)))


def answers(model, samples):
    batch = everything(samples)
    with torch.no_grad():
        return model(batch.x, batch.mask).exp().numpy()


def by_scikit_learn(model, train, test):
    """Probabilities of scikit-learn's own pipeline on the same columns."""
    columns = [model.columns(batch.x, batch.mask).numpy() for batch in (everything(train), everything(test))]
    a, b = columns[0], columns[1]
    span = a.std(0) if model.config.scale == "deviation" else a.max(0) - a.min(0)
    span[span == 0] = 1
    a, b = a / span, b / span
    if model.config.kernel == "laplacian":
        svc = SVC(C=model.config.c, kernel=lambda x, y: laplacian_kernel(x, y, gamma=1 / a.shape[1]))
    else:
        svc = SVC(C=model.config.c, gamma=1 / (a.shape[1] * (1 if model.config.scale == "deviation" else a.var())))
    labels, recordings = train.labels.numpy(), train.clip_of.numpy()
    held = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        for i, recording in enumerate(np.unique(recordings[labels == label])):
            held[recordings == recording] = i % 3
    calibrated = CalibratedClassifierCV(svc, method="temperature", cv=PredefinedSplit(held), ensemble=False).fit(a, labels)
    return calibrated.predict_proba(b)


@pytest.mark.parametrize("labels", [(0, 1), (0, 1, 2)], ids=["two classes", "three classes"])
@pytest.mark.parametrize("form", ["honest", "positions", "posture"])
def test_answers_agree_with_scikit_learn(form, labels):
    train, test = (PoseSamples.from_clips(clips(labels, subjects), INPUT) for subjects in ((1, 2, 3), (4,)))
    model = fitted(train, len(labels), **FORMS[form])
    np.testing.assert_allclose(answers(model, test), by_scikit_learn(model, train, test), atol=1e-6)


def test_answers_agree_with_scikit_learn_on_cad60(data_root):
    dataset = read_dataset("cad60", data_root("cad60"))
    cuts = replace(INPUT, window=120, stride=120, step=30, phases=(0, 15))
    labelled = [clip for clip in dataset.clips if clip.label is not None]
    train, test = (PoseSamples.from_clips([clip for clip in labelled if (clip.subject == "4") == held], cuts) for held in (False, True))
    train = train.with_mirrored()
    model = fitted(train, 12)
    found = answers(model, test)
    np.testing.assert_allclose(found, by_scikit_learn(model, train, test), atol=1e-6)
    assert (found.argmax(1) == test.labels.numpy()).mean() > 0.7


def test_scores_are_a_vote_of_the_pairs_and_probabilities_a_softmax_of_them():
    samples = PoseSamples.from_clips(clips(), INPUT)
    model = fitted(samples)
    batch = everything(samples)
    scores = model._scores(model.forward_features(batch.x, batch.mask)).numpy()
    assert ((scores > -0.5) & (scores < 2.5)).all()
    np.testing.assert_allclose(answers(model, samples), softmax(model.sharpness.item() * scores, axis=1), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_machine_comes_back_from_its_bundle(form, tmp_path):
    samples = PoseSamples.from_clips(clips(), INPUT)
    model = fitted(samples, **FORMS[form])
    config = {**FORMS[form], **model.fitted_config}
    kept = bundles.Bundle("svm", "handcrafted-svm", config, ("a", "b", "c"), INPUT, 3, model.state_dict(), fps=10)
    again = bundles.load(bundles.save(kept, tmp_path / "svm.safetensors") or tmp_path / "svm.safetensors").build()
    np.testing.assert_array_equal(answers(again, samples), answers(model, samples))


def test_scaling_on_all_looks_at_the_test_part_and_scaling_on_train_does_not():
    train, test = (PoseSamples.from_clips(clips(subjects=subjects), INPUT) for subjects in ((1, 2, 3), (9,)))
    alone, leaking = (fitted(train, others=test, scale_on=scale_on).range for scale_on in ("train", "all"))
    torch.testing.assert_close(alone, fitted(train).range)
    assert (leaking >= alone).all() and (leaking > alone).any()


def test_the_floor_is_a_setting_of_the_machine():
    batch = everything(PoseSamples.from_clips(clips(), INPUT))
    signed, floored = (machine(floor=floor).columns(batch.x) for floor in (False, True))
    moving = [i for i, name in enumerate(FEATURES * 4) if name.endswith(("dx", "dy"))]
    assert (signed[:, moving] < 0).any() and floored[:, moving].min() == 1e-6
    torch.testing.assert_close(floored, torch.where(torch.isin(torch.arange(64), torch.tensor(moving)), signed.clamp(min=1e-6), signed))


def test_features_of_a_joint_that_was_not_seen_are_the_mean_of_the_training_part():
    samples = PoseSamples.from_clips(clips(), INPUT)
    model = fitted(samples)
    batch = everything(samples)
    mask = torch.ones(batch.x.shape[:4], dtype=torch.bool)
    mask[0, 0, 1, LAYOUT.index("left_knee")] = False
    x = batch.x * mask[..., None]
    found, whole = model.forward_features(x, mask), model.forward_features(batch.x)
    unknown = [16 + FEATURES.index(name) for name in ("knees_to_torso", "hands_to_knees")]
    torch.testing.assert_close(found[0, unknown], (model.middle / model.range)[unknown])
    others = [i for i in range(64) if i not in unknown]
    torch.testing.assert_close(found[0, others], whole[0, others])
    torch.testing.assert_close(found[1:], whole[1:])
    nobody = model(torch.zeros_like(x), torch.zeros_like(mask))
    assert nobody.isfinite().all()


def test_a_share_of_the_phases_trains():
    samples = PoseSamples.from_clips(clips(), INPUT)
    some = PoseSamples.from_clips(clips(), replace(INPUT, phases=(0, 2)))
    np.testing.assert_allclose(answers(fitted(samples, every=2), samples), answers(fitted(some), samples), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": get_layout("coco17")}, "lacks some of the joints"),
        ({"c": 0.0}, "c above 0"),
        ({"every": 0}, "every from 1"),
    ],
)
def test_settings_that_cannot_be_are_told(options, message):
    with pytest.raises(RecipeError, match=message):
        machine(**options)


def test_what_it_is_not_made_for_is_told():
    with pytest.raises(RecipeError, match="one person in 3-D"):
        create_model("handcrafted-svm", 3, PoseShape(2, 4, LAYOUT, 3))
    few = PoseSamples.from_clips(clips((0, 1)) + clips((2,), (1,), 1), INPUT)
    with pytest.raises(RecipeError, match="class 2 has 1 training recordings"):
        machine().fit_samples(few)


def test_the_register_tells_that_it_takes_skeletons():
    assert model_info("handcrafted-svm").modalities == ("pose",)


def recipe(augment=None, fit_settings=None, **config):
    return Recipe(
        data=DataConfig("toy", protocol="leave-one-out", fold="4"),
        input=INPUT,
        augment=augment or PoseAugment(mirror_copies=True),
        model=ModelConfig("handcrafted-svm", config),
        fit=FitConfig(selection="last", **(fit_settings or {})),
        engine=EngineConfig(accelerator="cpu", threads=1),
    )


@pytest.fixture
def toys(monkeypatch):
    dataset = toy_dataset(takes=2)
    use_toy_data(dataset, monkeypatch.setattr)
    return dataset


def test_a_recipe_becomes_a_measured_bundle_at_once(toys, tmp_path):
    done = fit(recipe(**OURS), tmp_path / "run", progress=False)
    result = done.result
    assert (result["unit"], result["n"], result["samples"]["n"], result["clips"]["n"]) == ("windows", 12, 48, 6)
    assert result["samples"]["n_train"] == 144, "mirrored copies are no samples of their own"
    assert result["clips"]["top1"] == 1 and "fitted    at once" in done.text()
    measured, _ = evaluate(bundles.load(tmp_path / "run" / "bundle.safetensors"), toys, "leave-one-out", "4")
    assert measured["samples"]["loss"] == pytest.approx(result["samples"]["loss"], abs=1e-6) and measured["top1"] == result["top1"]
    assert fit(recipe(**OURS), tmp_path / "run", resume=True).result == result, "a finished run is read, not run again"


def test_the_recogniser_serves_it_like_any_model(toys, tmp_path):
    fit(recipe(**OURS), tmp_path / "run", progress=False)
    prediction = Recognizer(bundles.load(tmp_path / "run" / "bundle.safetensors")).predict(toy_clip(1, 4, 0))
    assert prediction.label == "raise right" and prediction.probabilities.sum() == pytest.approx(1)


def test_turned_copies_are_drawn_by_the_seed(toys, tmp_path):
    turned = recipe(PoseAugment(rotate=20), {"repeats": 2}, **OURS)
    runs = [fit(replace(turned, seed=seed), tmp_path / name, progress=False) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    support = [bundles.load(run.out / "bundle.safetensors").state["support"] for run in runs]
    assert torch.equal(support[0], support[1]) and not torch.equal(support[0], support[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit": FitConfig(selection="validation")}, "no epochs to select from"),
        ({"augment": PoseAugment(mixup=0.2)}, "mixup"),
        ({"fit": FitConfig(selection="last", repeats=2)}, "every draw is the same"),
    ],
)
def test_settings_of_gradient_steps_are_refused(toys, tmp_path, change, message):
    with pytest.raises(RecipeError, match=message):
        fit(replace(recipe(), **change), tmp_path / "run", progress=False)


@pytest.mark.parametrize("layers", ["all", "backbone"])
def test_transfer_into_it_is_refused(toys, tmp_path, layers):
    path = fit(recipe(), tmp_path / "run", progress=False).out / "bundle.safetensors"
    with pytest.raises(RecipeError, match="no parameter of"):
        fit(replace(recipe(), init=InitConfig(str(path), layers)), tmp_path / "other", progress=False)


def test_the_overfitting_check_is_not_for_it(toys):
    with pytest.raises(RecipeError, match="fitted at once"):
        overfit(recipe())


def test_groups_of_classes_are_rows_with_precision_and_recall(toys, tmp_path, monkeypatch):
    from kinema.evaluation.results import read_results
    from kinema.training.load import dump_recipe
    from kinema.training.study import run_study

    rooms = leave_one_out("rooms", "arms alone, and all", classes={"arms": (0, 1), "all": (0, 1, 2)})
    use_toy_data(Dataset("toy", toys.clips, toys.classes, {**toys.protocols, "rooms": rooms}), monkeypatch.setattr)
    (tmp_path / "r.yaml").write_text(dump_recipe(replace(recipe(**OURS), data=DataConfig("toy", protocol="rooms"))))
    study = (
        "title: t\nresult: t\nrows:\n"
        "  - {name: apart, recipe: r.yaml, folds: all, units: [samples], published: 0.9}\n"
        "  - {name: told, recipe: r.yaml, set: {data.protocol: leave-one-out}, folds: all, units: [samples], told: rooms}\n"
    )
    (tmp_path / "s.yaml").write_text(study)
    rows = {row["name"]: row for row in read_results(run_study(tmp_path / "s.yaml", tmp_path / "runs", tmp_path, False))["rows"]}
    assert list(rows) == [f"{name}, {part}" for name in ("apart", "told") for part in ("arms", "all", "mean of 2 environments")]
    mean = rows["apart, mean of 2 environments"]
    assert mean["n_test"] == 48 * 4 // 3 * 2 + 48 * 4 and mean["published"] == 0.9 and "published" not in rows["apart, arms"]
    assert [fold["name"] for fold in rows["told, arms"]["folds"]] == ["1", "2", "3", "4"]
    for key in ("precision", "recall"):
        expected = np.mean([rows["told, arms"][key]["mean"], rows["told, all"][key]["mean"]])
        assert rows["told, mean of 2 environments"][key]["mean"] == pytest.approx(expected)
    (tmp_path / "s.yaml").write_text(study.replace("told: rooms", "told: leave-one-out"))
    with pytest.raises(Exception, match="no groups of classes"):
        run_study(tmp_path / "s.yaml", tmp_path / "runs", tmp_path, False)
