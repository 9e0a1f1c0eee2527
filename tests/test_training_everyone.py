"""Models trained on every clip, which quote the figure of folds; and rows of studies that start from an earlier row's weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from training_toys import register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema import bundle
from kinema.datasets.base import Dataset
from kinema.errors import DataError, ProtocolError, RecipeError
from kinema.evaluation.evaluate import evaluate, evaluation_text
from kinema.evaluation.report import report
from kinema.evaluation.results import accuracy_row, write_results
from kinema.training import data as data_module
from kinema.training.fit import fit
from kinema.training.load import check_recipe, dump_recipe, load_recipe, recipe_hash
from kinema.training.recipe import DataConfig
from kinema.training.run_folder import read_run
from kinema.training.study import run_study
from kinema.training.study_plan import load_study, planned_runs


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    register_toy()
    use_toy_data(toy_dataset(takes=2), monkeypatch.setattr)


def everyone(**fit):
    return replace(toy_recipe(epochs=2, selection="last", **fit), data=DataConfig("toy", use="all"))


@pytest.fixture
def table(tmp_path):
    row = accuracy_row("ours", "toy", "leave-one-out", n_train=[6, 6], n_test=[6, 6], seeds=[0], correct=[[6, 5]], folds=["1", "2"])
    return write_results(tmp_path / "toys.json", "Toys", [row])


def test_a_model_trained_on_everybody_carries_the_figure_of_folds(tmp_path, table):
    recipe = replace(everyone(), quotes=f"{table}: ours")
    run = fit(recipe, tmp_path / "run", progress=False)
    assert (run.result["n_train"], run.result["n_val"], run.result["n_test"], run.result["protocol"]) == (24, 0, 0, "all clips")
    assert "top1" not in run.result and not (tmp_path / "run" / "scores.npz").exists()
    assert "all 24 clips trained" in run.text() and "91.67 % of 12 clips, leave-one-out" in run.text()
    kept = bundle.load(tmp_path / "run")
    assert kept.result["quoted"]["top1"]["mean"] == pytest.approx(11 / 12) and kept.result["quoted"]["name"] == "ours"
    assert "Trained on all clips; the figure is that of folds: 91.67 %" in kept.notes
    assert read_run(tmp_path / "run") == run
    with pytest.raises(DataError, match="this run trained on every clip"):
        report(tmp_path / "run")


def test_measuring_such_a_model_on_its_own_clips_is_told_to_be_no_test(tmp_path):
    fit(everyone(), tmp_path / "run", progress=False)
    result, _ = evaluate(bundle.load(tmp_path / "run"), toy_dataset(takes=2), "cross-subject")
    assert result["seen"] == 12 and "not a test: 12 of these clips trained the bundle" in evaluation_text(result)


def test_several_data_sets_train_together_without_a_test_part(monkeypatch):
    sets = {name: toy_dataset(takes=1, name=name) for name in ("one", "two")}
    monkeypatch.setattr(data_module, "read_dataset", lambda name, root=None, *, on_error="raise": sets[name])
    parts = data_module.read_parts(DataConfig("one+two", use="all"), validate=False)
    assert (len(parts.train), len(parts.test), len(parts.classes)) == (24, 0, 6)


def test_clips_without_label_do_not_train(monkeypatch):
    whole = toy_dataset(takes=1)
    clips = (replace(whole.clips[0], label=None), *whole.clips[1:])
    use_toy_data(Dataset("toy", clips, whole.classes, whole.protocols), monkeypatch.setattr)
    assert len(data_module.read_parts(DataConfig("toy", use="all"), validate=False).train) == 11


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            everyone(early_stop=0) and replace(everyone(), fit=toy_recipe().fit),
            "data.use: all trains on every clip; it needs fit.selection",
        ),
        (replace(everyone(), data=DataConfig("toy", use="all", fold="1")), "and neither protocol nor fold"),
        (replace(everyone(), quotes="results.json"), '"FILE: ROW" is expected'),
        (replace(toy_recipe(), quotes="a: b"), "only with data.use: all"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(recipe, message):
    with pytest.raises(RecipeError, match=message):
        check_recipe(recipe)


def test_a_row_that_is_not_there_is_told_before_training(tmp_path, table):
    with pytest.raises(RecipeError, match="quotes: unknown row 'our'; did you mean 'ours'"):
        fit(replace(everyone(), quotes=f"{table}: our"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_what_is_quoted_does_not_decide_the_result():
    assert recipe_hash(everyone()) == recipe_hash(replace(everyone(), quotes="a: b")) != recipe_hash(toy_recipe(epochs=2, selection="last"))


STUDY = """
title: Toys
result: started
seeds: [0, 1]
rows:
  - {name: first, recipe: toy.yaml, seeds: [1]}
  - {name: then, recipe: toy.yaml, start: first, set: {init.layers: backbone}}
"""


@pytest.fixture
def study(tmp_path):
    def write(text: str) -> Path:
        (tmp_path / "toy.yaml").write_text(dump_recipe(toy_recipe(epochs=2)))
        (tmp_path / "s.yaml").write_text(text)
        return tmp_path / "s.yaml"

    return write


def test_a_row_starts_from_the_weights_of_an_earlier_one(study, tmp_path):
    path = study(STUDY)
    written = run_study(path, tmp_path / "runs", tmp_path / "results", progress=False)
    assert [row["name"] for row in json.loads(written.read_text())["rows"]] == ["first", "then"]
    loaded = load_study(path)
    first, then = (list(planned_runs(loaded, row, tmp_path, tmp_path / "runs")) for row in loaded.rows)
    assert [run.recipe.init.bundle for run in then] == [str(first[0].out / "bundle.safetensors")] * 2
    account = read_run(then[0].out).result["init"]
    assert account["source"].startswith("seed1-") and account["remade"] == ["head.bias", "head.weight"]
    assert load_recipe(then[0].out / "recipe.yaml") == then[0].recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (STUDY.replace("start: first", "start: frist"), "start: unknown earlier row without folds 'frist'; did you mean 'first'"),
        (STUDY.replace("seeds: [1]}", "folds: all}"), "start: unknown earlier row"),
        (STUDY.replace("{init.layers: backbone}", "{data.use: all, fit.selection: last}"), "leaves nothing to measure"),
    ],
)
def test_a_row_that_cannot_start_so_is_refused(study, text, message):
    with pytest.raises(RecipeError, match=message):
        load_study(study(text))


@pytest.fixture
def two_sets(monkeypatch):
    """Set one has the toys' three classes, set two another one in place of the last."""
    sets = {name: toy_dataset(takes=1, name=name) for name in ("one", "two")}
    sets["two"] = replace(sets["two"], classes=(*sets["two"].classes[:2], "other"))
    monkeypatch.setattr(data_module, "read_dataset", lambda name, root=None, *, on_error="raise": sets[name])
    first, second, third = sets["one"].classes
    shared = {name: (f"one/{name}", f"two/{name}") for name in (first, second)}
    return shared | {third: (f"one/{third}",), "other": ("two/other",)}


def test_a_data_set_that_never_trains_tests_by_the_classes_that_do(two_sets):
    data = DataConfig("one+two", protocol="train+test", classes=two_sets)
    parts = data_module.read_parts(data, validate=False)
    assert parts.classes == tuple(two_sets) and parts.protocol == "train+test"
    assert {clip.id.partition("/")[0] for clip in parts.train} == {"one"} and len(parts.train) == 12
    assert {clip.id.partition("/")[0] for clip in parts.test} == {"two"}
    assert {parts.classes[clip.label] for clip in parts.test} == set(tuple(two_sets)[:2])
    validated = data_module.read_parts(data, validate=True)
    assert {clip.id.partition("/")[0] for clip in validated.val} == {"one"} and len(validated.test) == len(parts.test)
    assert data_module.fold_names(data) == ("joined",)


def test_a_data_set_of_which_no_class_trains_cannot_test(two_sets):
    apart = {"a": two_sets["other"], "b": tuple(two_sets.values())[2]}
    with pytest.raises(ProtocolError, match="no class of 'two' is among those that train"):
        data_module.read_parts(DataConfig("one+two", protocol="train+test", classes=apart), validate=False)


def test_a_vocabulary_may_name_data_sets_that_are_not_there(two_sets):
    wider = {"swim": ("ucf101/Swim",), **two_sets, "x": ("hmdb51/y", "one/nothing")}
    with pytest.raises(RecipeError, match="'x': unknown class 'one/nothing'"):
        data_module.read_parts(DataConfig("one+two", use="all", classes=wider), validate=False)
    del wider["x"]
    assert data_module.read_parts(DataConfig("one+two", use="all", classes=wider), validate=False).classes == tuple(two_sets)
