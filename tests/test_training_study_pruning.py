"""A study's pruned rows: one for each pass, one for what validation keeps, and what goes wrong."""

from dataclasses import replace

import pytest
from training_toys import register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema.errors import RecipeError
from kinema.evaluation.results import read_results
from kinema.evaluation.tables import render
from kinema.training import pruning, study_pruning
from kinema.training.load import dump_recipe
from kinema.training.recipe import DataConfig, ModelConfig
from kinema.training.study import run_study
from kinema.training.study_plan import load_study

TEXT = """
title: Toys
result: toys
seeds: [0, 1]
rows:
  - {name: whole, recipe: toy.yaml}
  - {name: folds, recipe: folds.yaml, folds: ["2", "3"], seeds: [0]}
  - {name: pruned, start: whole, prune: {ratio: 0.2, passes: 2}, set: {fit.epochs: 1}, published: 0.9}
  - {name: folds pruned, start: folds, prune: {ratio: 0.3, passes: 1, scope: all}, set: {fit.epochs: 1}}
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    register_toy()
    use_toy_data(toy_dataset(takes=2), monkeypatch.setattr)
    small = ModelConfig("hcn", {"widths": [8, 16, 8, 8, 16, 16], "hidden": 16})
    recipe = replace(toy_recipe(epochs=2), model=small)
    (tmp_path / "toy.yaml").write_text(dump_recipe(recipe))
    (tmp_path / "folds.yaml").write_text(dump_recipe(replace(recipe, data=DataConfig("toy", protocol="leave-one-out", val_share=0.5))))

    def write(text: str):
        (tmp_path / "s.yaml").write_text(text)
        return tmp_path / "s.yaml"

    return write


def test_every_pass_is_a_row_and_what_validation_keeps_is_one(study, tmp_path, monkeypatch):
    path = run_study(study(TEXT), tmp_path / "runs", tmp_path / "results", progress=False)
    rows = {row["name"]: row for row in read_results(path)["rows"]}
    assert list(rows) == ["whole", "folds", "pruned, pass 1", "pruned, pass 2", "pruned", "folds pruned, pass 1", "folds pruned"]
    assert rows["pruned, pass 1"]["seeds"] == [0, 1] and rows["pruned"]["published"] == 0.9
    assert rows["pruned, pass 2"]["removed_share"] == pytest.approx(0.4, abs=0.03)
    assert rows["pruned, pass 2"]["parameters"] < rows["pruned, pass 1"]["parameters"] < rows["whole"]["parameters"]
    assert [fold["name"] for fold in rows["folds pruned"]["folds"]] == ["2", "3"]
    assert len(rows["pruned"]["kept_pass"].split(" / ")) == 2
    assert "Removed share %" in render(read_results(path)) and "Validation top1 %" in render(read_results(path))
    monkeypatch.setattr(pruning, "fit", lambda *_, **__: pytest.fail("a finished pass was trained again"))
    assert read_results(run_study(path.parents[1] / "s.yaml", tmp_path / "runs", tmp_path / "results", progress=False))["rows"] == list(
        rows.values()
    )


def test_seeds_that_ended_early_are_not_in_later_passes(study, tmp_path, monkeypatch):
    whole = study_pruning.prune

    def shorter(source, out, plan, *rest):
        plan = replace(plan, passes=1) if "seed1" in str(source) else plan
        return whole(source, out, plan, *rest)

    monkeypatch.setattr(study_pruning, "prune", shorter)
    path = run_study(study(TEXT), tmp_path / "runs", tmp_path / "results", progress=False)
    rows = {row["name"]: row for row in read_results(path)["rows"]}
    assert rows["pruned, pass 1"]["seeds"] == [0, 1] and rows["pruned, pass 2"]["seeds"] == [0] and rows["pruned"]["seeds"] == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("start: whole", "start: hole", "did you mean 'whole'"),
        ("start: whole, ", "", "earlier row with a recipe"),
        ("ratio: 0.2", "ratio: 1", "ratio 1"),
        (", passes: 2", "", "passes 0"),
        ("scope: all", "scope: al", "scope"),
        ("start: whole, prune", "start: whole, seeds: [1], prune", "seeds is that of the row whose networks"),
        ("{name: whole, ", "{name: whole, set: {fit.selection: last}, ", "needs fit.selection: validation"),
        ("{fit.epochs: 1}, published", "{fit.epoch: 1}, published", "did you mean 'fit.epochs'"),
        ("prune: {ratio: 0.2", "recipe: toy.yaml, prune: {ratio: 0.2", "recipe is that of"),
    ],
)
def test_pruned_rows_that_cannot_be_are_told(study, old, new, told):
    assert old in TEXT
    with pytest.raises(RecipeError, match=told):
        load_study(study(TEXT.replace(old, new, 1)))
