"""Training with superclasses: two passes from one recipe, their heads, what is kept of them, and what goes wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_toys import CLASSES, register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema import bundle
from kinema.errors import DataError, KinemaError, RecipeError
from kinema.evaluation.scores import load_scores
from kinema.hierarchy import Hierarchy, load_hierarchy, save_hierarchy
from kinema.training import fit as fit_module
from kinema.training import hierarchy as heads_module
from kinema.training.fit import Interrupted, fit
from kinema.training.hierarchy import FIRST_PASS, Heads, WithHeads, first_pass, make_heads, proper_levels
from kinema.training.load import recipe_from_mapping, recipe_hash
from kinema.training.recipe import DataConfig, HierarchyConfig, InitConfig, ModelConfig

SMALL = ModelConfig("hcn", {"widths": [8, 16, 8, 8, 16, 16], "hidden": 16})
LEVELS = HierarchyConfig(counts=(2, 0), restarts=20)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    register_toy()
    use_toy_data(toy_dataset(), monkeypatch.setattr)


def recipe_of(hierarchy: HierarchyConfig = LEVELS, **fit_settings):
    settings = {"epochs": 3, "lr": 0.003, **fit_settings}
    return replace(toy_recipe(**settings), model=SMALL, hierarchy=hierarchy)


def pairs(path):
    """A file of superclasses: both hands, and the bow."""
    return save_hierarchy(Hierarchy(CLASSES, ((0, 0, 1),), source="by hand"), path)


def test_one_recipe_trains_two_passes_and_the_bundle_keeps_the_plain_network(tmp_path):
    recipe = recipe_of()
    run = fit(recipe, tmp_path / "run", progress=False)
    first = tmp_path / "run" / FIRST_PASS
    # The first pass is a run of its own: of the recipe without hierarchy, from its validation clips.
    plain = fit(first_pass(recipe), tmp_path / "elsewhere" / "alone" / "plain", progress=False)
    np.testing.assert_array_equal(
        load_scores(first / "val_scores.npz").probabilities, load_scores(plain.out / "val_scores.npz").probabilities
    )
    made = load_hierarchy(run.out / "hierarchy.json")
    assert made.counts == (2, 3) and made.classes == CLASSES and "12 " in made.source
    kept = bundle.load(run.out)
    assert kept.hierarchy == proper_levels(made) and kept.hierarchy.counts == (2,)
    assert kept.state.keys() == bundle.load(plain.out).state.keys()
    assert "2 superclasses" in kept.describe()
    levels = run.result["hierarchy"]["levels"]
    assert [level["count"] for level in levels] == [2, 3]
    assert levels[1]["top1"] == run.top1 <= levels[0]["top1"]
    assert "2         superclasses" in run.text()
    assert bundle.load(plain.out).hierarchy is None


def test_the_superclasses_are_never_made_of_test_clips(tmp_path):
    recipe = recipe_of()
    run = fit(recipe, tmp_path / "validation" / "of" / "its own", progress=False)
    counted = set(load_scores(run.out / FIRST_PASS / "val_scores.npz").clip_ids)
    assert counted == set(run.result["val_ids"]) and not counted & set(run.result["test_ids"])
    for selection in ("last", "paper"):  # nothing validates there; the first pass cuts validation clips all the same
        run = fit(recipe_of(selection=selection), tmp_path / selection / "of" / "its own", progress=False)
        counted = set(load_scores(run.out / FIRST_PASS / "val_scores.npz").clip_ids)
        assert len(counted) == 12 and counted < set(run.result["train_ids"])


def test_confusions_of_what_is_tested_here_are_refused(tmp_path):
    run = fit(replace(recipe_of(), hierarchy=HierarchyConfig()), tmp_path / "run", progress=False)
    fold = next(iter(run.result["val_ids"])).split("_s")[1][0]
    other = replace(
        recipe_of(HierarchyConfig(counts=(2,), file=str(run.out))),
        data=DataConfig("toy", protocol="leave-one-out", fold=fold, val_share=0.5),
    )
    with pytest.raises(RecipeError, match="are test clips here"):
        fit(other, tmp_path / "leaking", progress=False)
    assert not (tmp_path / "leaking").exists()


def test_a_resumed_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    recipe = recipe_of(HierarchyConfig(counts=(2,), restarts=20, dropout=0.2), ema=0.5, selection="refit", epochs=4)
    whole = fit(recipe, tmp_path / "a" / "b" / "whole", progress=False)
    out = tmp_path / "c" / "d" / "cut"
    for stop in (2, 1, 5):  # in the first pass, in the second, in the refit
        monkeypatch.setattr(fit_module, "save_checkpoint", stopping(stop))
        with pytest.raises(Interrupted):
            fit(recipe, out, resume=True, progress=False)
    monkeypatch.setattr(fit_module, "save_checkpoint", SAVE)
    resumed = fit(recipe, out, resume=True, progress=False)
    np.testing.assert_array_equal(
        load_scores(resumed.out / "scores.npz").probabilities, load_scores(whole.out / "scores.npz").probabilities
    )
    assert (resumed.out / "heads.safetensors").read_bytes() == (whole.out / "heads.safetensors").read_bytes()
    with pytest.raises(KinemaError, match="holds a run already"):
        fit(recipe, out, progress=False)


SAVE = fit_module.save_checkpoint


def stopping(epochs: int):
    left = [epochs]

    def save(path, state):
        SAVE(path, state)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    return save


def test_a_finished_run_beside_it_is_the_first_pass(tmp_path):
    recipe = recipe_of(selection="refit")
    plain = fit(replace(recipe, hierarchy=HierarchyConfig()), tmp_path / "study" / "baseline" / "run", progress=False)
    run = fit(recipe, tmp_path / "study" / "hierarchy" / "run", progress=False)
    assert not (run.out / FIRST_PASS).exists() and run.result["hierarchy"]["source"].endswith("(run)")
    other = fit(replace(recipe, seed=1), tmp_path / "study" / "hierarchy" / "other", progress=False)
    assert (other.out / FIRST_PASS).exists()
    third = replace(recipe, seed=1, hierarchy=replace(recipe.hierarchy, dropout=0.5))
    assert not (fit(third, tmp_path / "study" / "dropout" / "run", progress=False).out / FIRST_PASS).exists()
    again = fit(recipe_of(HierarchyConfig(counts=(2,), file=str(plain.out), restarts=20)), tmp_path / "again", progress=False)
    assert load_hierarchy(again.out / "hierarchy.json").levels == load_hierarchy(run.out / "hierarchy.json").levels[:1]


@pytest.mark.parametrize("form", ["file", "bundle", "run"])
def test_superclasses_may_be_given_and_then_one_pass_is_enough(tmp_path, form):
    file = pairs(tmp_path / "pairs.json")
    run = fit(recipe_of(HierarchyConfig(file=str(file))), tmp_path / "one", progress=False)
    assert not (run.out / FIRST_PASS).exists()
    assert bundle.load(run.out).hierarchy.members(0) == (CLASSES[:2], CLASSES[2:])
    given = {"file": file, "bundle": run.out / "bundle.safetensors", "run": run.out}[form]
    again = fit(recipe_of(HierarchyConfig(counts=(2,), file=str(given))), tmp_path / "two", progress=False)
    np.testing.assert_array_equal(load_scores(again.out / "scores.npz").probabilities, load_scores(run.out / "scores.npz").probabilities)


def test_deep_supervision_needs_no_superclasses_and_changes_the_weights(tmp_path):
    plain = fit(replace(recipe_of(), hierarchy=HierarchyConfig()), tmp_path / "plain", progress=False)
    deep = fit(recipe_of(HierarchyConfig(counts=(0, 0))), tmp_path / "deep", progress=False)
    assert not (deep.out / FIRST_PASS).exists() and bundle.load(deep.out).hierarchy is None
    assert not np.allclose(load_scores(plain.out / "scores.npz").probabilities, load_scores(deep.out / "scores.npz").probabilities)


def test_heads_without_weight_leave_the_network_as_it_would_be(tmp_path):
    plain = fit(replace(recipe_of(), hierarchy=HierarchyConfig()), tmp_path / "p", progress=False)
    idle = fit(recipe_of(HierarchyConfig(counts=(0,), weights=(0.0, 1.0))), tmp_path / "i", progress=False)
    a, b = (load_scores(run.out / "scores.npz").probabilities for run in (plain, idle))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_loss_is_the_weighted_sum_of_cross_entropies_of_superclasses():
    made = Hierarchy(("a", "b", "c", "d"), ((0, 0, 1, 1), (0, 1, 2, 2)))
    heads = Heads(("x", "y"), (5, 6), made, (0.25, 0.5, 2.0))
    heads.prepare(recipe_of().fit, torch.tensor([3, 3, 3, 3]))
    torch.manual_seed(0)
    maps = [torch.randn(6, 5, 4, 4), torch.randn(3, 6)]  # two frames a clip, and one row
    levels = heads(maps, 3)
    assert [tuple(level.shape) for level in levels] == [(3, 2), (3, 3)]
    torch.testing.assert_close(levels[0], heads.classifiers[0](maps[0].mean((2, 3)).view(3, 2, 5).mean(1)))
    labels = torch.tensor([0, 2, 3])
    own = torch.tensor([0.1, 0.2, 0.3])
    found = heads.loss(own, levels, torch.eye(4)[labels])
    expected = 2 * own
    for weight, level, groups in zip((0.25, 0.5), levels, ([0, 1, 1], [0, 2, 2]), strict=True):
        expected = expected + weight * torch.nn.functional.cross_entropy(level, torch.tensor(groups), reduction="none")
    torch.testing.assert_close(found, expected)


def test_training_on_takes_the_heads_over_where_the_superclasses_are_the_same(tmp_path):
    file = pairs(tmp_path / "pairs.json")
    run = fit(recipe_of(HierarchyConfig(file=str(file))), tmp_path / "one", progress=False)
    recipe = replace(recipe_of(HierarchyConfig(file=str(run.out))), init=InitConfig(bundle=str(run.out / "bundle.safetensors")))
    prepared = fit_module.prepare(recipe)
    model, _ = fit_module.make_model(recipe, prepared.train, 3)
    heads = make_heads(recipe, model, prepared.train, load_hierarchy(file))
    saved = heads_module.from_bytes((run.out / "heads.safetensors").read_bytes())
    assert all(torch.equal(value, saved[name]) for name, value in heads.classifiers.state_dict().items())
    other = make_heads(recipe, model, prepared.train, Hierarchy(CLASSES, ((0, 1, 1),)))
    assert not torch.equal(other.classifiers[0].weight, saved["0.weight"])


def test_a_network_with_heads_answers_as_it_does_alone():
    recipe = recipe_of()
    prepared = fit_module.prepare(recipe)
    model, _ = fit_module.make_model(recipe, prepared.train, 3)
    heads = make_heads(recipe, model, prepared.train, Hierarchy(CLASSES, ((0, 0, 1), (0, 1, 2))))
    inputs = prepared.train.batch([0, 1, 2]).inputs
    with torch.no_grad():
        logits, levels = WithHeads(model.eval(), heads)(**inputs)
        assert torch.equal(logits, model(**inputs))
    assert [tuple(level.shape) for level in levels] == [(3, 2), (3, 3)]


def test_a_recipe_without_hierarchy_has_the_hash_that_it_had():
    assert recipe_hash(toy_recipe()) == recipe_hash(replace(toy_recipe(), hierarchy=HierarchyConfig()))
    assert recipe_hash(recipe_of()) != recipe_hash(first_pass(recipe_of()))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (HierarchyConfig(counts=(1,)), "at least 2 each"),
        (HierarchyConfig(counts=(3, 2)), "as many as the one before"),
        (HierarchyConfig(counts=(0, 2)), "as many as the one before"),
        (HierarchyConfig(counts=(2,), stages=(1, 2)), "hierarchy.stages has 2 entries for 1 levels"),
        (HierarchyConfig(counts=(2,), weights=(1.0,)), "hierarchy.weights has 1 entries for 1 levels"),
        (HierarchyConfig(counts=(2,), weights=(-1.0, 1.0)), "at least 0 each"),
        (HierarchyConfig(counts=(2,), restarts=0), "at least 1"),
        (HierarchyConfig(stages=(1,)), "must name"),
        (HierarchyConfig(counts=(2,), stages=(4,)), "it has 3"),
        (HierarchyConfig(counts=(2, 2, 2, 2)), "4 levels on stages"),
        (HierarchyConfig(counts=(4,)), "4 superclasses of 3 classes"),
        (HierarchyConfig(counts=(2,), file="nowhere.json"), "nowhere.json: cannot be read"),
    ],
)
def test_settings_that_cannot_be_are_told_before_anything_is_written(tmp_path, wanted, message):
    with pytest.raises(KinemaError, match=message):
        fit(recipe_of(wanted), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_models_without_stages_and_files_of_other_classes_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="'toy' has no stages"):
        fit(replace(recipe_of(), model=ModelConfig("toy")), tmp_path / "run", progress=False)
    with pytest.raises(RecipeError, match=r"data.use: all leaves no validation clips"):
        recipe_from_mapping(
            {"data": {"name": "toy", "use": "all"}, "fit": {"selection": "last"}, "hierarchy": {"counts": [2]}},
        )
    other = save_hierarchy(Hierarchy(("wave", "bow", "raise left"), ((0, 1, 1),)), tmp_path / "other.json")
    with pytest.raises(DataError, match="it lacks 'raise right'; it has 'wave'"):
        fit(recipe_of(HierarchyConfig(file=str(other))), tmp_path / "run", progress=False)
    file = pairs(tmp_path / "pairs.json")
    with pytest.raises(DataError, match="superclasses of 3 classes"):
        fit(recipe_of(HierarchyConfig(counts=(4,), file=str(file))), tmp_path / "run", progress=False)
    without = fit(toy_recipe(epochs=1), tmp_path / "x" / "y" / "plain", progress=False)
    with pytest.raises(RecipeError, match="is a bundle without superclasses"):
        fit(recipe_of(HierarchyConfig(file=str(without.out / "bundle.safetensors"))), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["levels"][0]["superclasses"][0].append("bow"), "'bow' belongs to two"),
        (lambda v: v["levels"][0]["superclasses"][1].clear(), "a list of class names"),
        (lambda v: v["levels"][0]["superclasses"][0].remove("raise left"), "'raise left' belongs to no superclass"),
        (lambda v: v["levels"][0]["superclasses"][0].append("wave"), "'wave' is none of"),
        (lambda v: v["levels"][0].update(cost=-1), "cost is -1"),
        (lambda v: v["levels"].clear(), "levels"),
        (lambda v: v.update(classes=5), "classes"),
    ],
)
def test_a_damaged_file_of_superclasses_is_refused(tmp_path, change, message):
    path = pairs(tmp_path / "pairs.json")
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=message) as caught:
        load_hierarchy(path)
    assert "pairs.json" in str(caught.value)


def test_a_finished_run_on_other_files_is_not_the_first_pass(tmp_path, monkeypatch):
    recipe = recipe_of(epochs=1)
    use_toy_data(toy_dataset(takes=6), monkeypatch.setattr)
    fit(first_pass(recipe), tmp_path / "study" / "baseline", progress=False)
    use_toy_data(toy_dataset(takes=3), monkeypatch.setattr)
    assert (fit(recipe, tmp_path / "study" / "run", progress=False).out / FIRST_PASS).exists()


def test_mixed_precision_and_other_losses_train_with_superclasses(tmp_path):
    recipe = recipe_of(epochs=1, class_weights=True, clip=1.0, loss="focal", label_smoothing=0.1)
    recipe = replace(recipe, engine=replace(recipe.engine, precision="bf16-mixed"), augment=replace(recipe.augment, mixup=0.2))
    assert fit(recipe, tmp_path / "run", progress=False).result["hierarchy"]["levels"][0]["count"] == 2
