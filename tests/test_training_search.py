"""The search for superclasses, weights and pruning: within its budget, judged on validation clips, going on where it stopped."""

import json
from dataclasses import replace

import pytest
from test_training_hierarchy import recipe_of
from training_toys import register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema.errors import DataError, KinemaError, RecipeError
from kinema.training import search as module
from kinema.training.load import load_recipe
from kinema.training.recipe import HierarchyConfig
from kinema.training.search import Budget, search

pytest.importorskip("optuna", reason="Optuna is not installed")


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    register_toy()
    use_toy_data(toy_dataset(), monkeypatch.setattr)


def test_a_search_keeps_its_budget_and_its_best_is_the_best_on_validation(tmp_path):
    recipe = recipe_of(HierarchyConfig(restarts=5), epochs=1)
    found = search(recipe, tmp_path / "s" / "search", Budget(trials=3), progress=False)
    assert [trial["number"] for trial in found.trials] == [0, 1, 2, 3] and found.trials[0]["counts"] == []
    assert all(len(trial["weights"]) == len(trial["counts"]) + 1 and trial["weights"][-1] == 1 for trial in found.trials[1:])
    assert found.best["val_top1"] == max(trial["val_top1"] for trial in found.trials)
    result = json.loads((found.out / found.best["folder"] / "result.json").read_text())
    assert (result["val_top1"], result["top1"]) == (found.best["val_top1"], found.test_top1)
    assert load_recipe(found.out / "best.yaml").hierarchy.counts == tuple(found.best["counts"])
    assert not list(found.out.glob("trial-*/first-pass")), "all trials share the first pass"
    assert "by which nothing was chosen" in found.text() and json.dumps(found.to_dict())

    more = search(recipe, found.out, Budget(trials=4), progress=False)
    assert more.trials[:4] == found.trials and len(more.trials) == 5
    whole = search(recipe, tmp_path / "w" / "search", Budget(trials=4), progress=False)
    assert [trial["counts"] for trial in whole.trials] == [trial["counts"] for trial in more.trials]
    with pytest.raises(RecipeError, match="holds another search"):
        search(replace(recipe, seed=1), found.out, Budget(trials=4), progress=False)


def test_pruning_is_searched_for_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_RATIOS", (0.25,))
    found = search(recipe_of(HierarchyConfig(restarts=5), epochs=1), tmp_path / "s" / "search", Budget(1, passes=1), progress=False)
    assert found.trials[1]["ratio"] == 0.25 and found.trials[1]["val_top1"] >= 0
    assert (found.out / found.trials[1]["folder"] / "result.json").exists()


def test_time_ends_a_search(tmp_path):
    found = search(recipe_of(epochs=40), tmp_path / "s" / "search", Budget(trials=5, minutes=1e-6), progress=False)
    assert len(found.trials) == 1 and found.best["counts"] == []


@pytest.mark.parametrize(
    ("recipe", "budget", "message"),
    [
        (recipe_of(selection="last"), Budget(1), "judges on validation clips"),
        (recipe_of(), Budget(0), "at least 1 trial"),
        (toy_recipe(epochs=1), Budget(1), "has no stages"),
    ],
)
def test_what_cannot_be_searched_is_told(tmp_path, recipe, budget, message):
    with pytest.raises(KinemaError, match=message):
        search(recipe, tmp_path / "s" / "search", budget, progress=False)


def test_a_damaged_file_of_trials_is_refused(tmp_path):
    (tmp_path / "search.json").write_text("[1]")
    with pytest.raises(DataError, match="no file of a search"):
        search(recipe_of(), tmp_path, Budget(1), progress=False)
    assert not (tmp_path / "first-pass").exists()
