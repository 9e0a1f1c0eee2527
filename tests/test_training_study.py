"""Studies: recipes over folds and seeds become one results file, and finished runs are not run again."""

import json
from pathlib import Path

import pytest
from training_toys import register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema.errors import RecipeError
from kinema.training import fit as fit_module
from kinema.training.load import dump_recipe
from kinema.training.study import find_studies, load_study, run_study

STUDIES = sorted((Path(__file__).parents[1] / "recipes" / "studies").glob("*.yaml"))


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    register_toy()
    use_toy_data(toy_dataset(takes=2), monkeypatch.setattr)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "toy.yaml").write_text(dump_recipe(toy_recipe(epochs=2)))

    def write(text: str) -> Path:
        path = tmp_path / "studies" / "s.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


TEXT = """
title: Toys
result: toys
seeds: [0, 1]
rows:
  - {name: plain, recipe: ../toy.yaml, published: 0.5}
  - name: as the paper
    recipe: ../toy.yaml
    set: {fit.selection: paper, fit.epochs: 3}
    seeds: [4]
  - name: folds
    recipe: ../toy.yaml
    set: {data.protocol: leave-one-out, data.val_share: 0.3}
    folds: all
    seeds: [0]
  - name: windows
    recipe: ../toy.yaml
    set: {input: {window: 10, stride: 5}}
    seeds: [0]
  - name: phases
    recipe: ../toy.yaml
    set: {input: {window: 10, stride: 5, sampling: skip, step: 1, phases: [0, 1]}}
    units: [samples, cuts, clips]
    published: 0.9
    seeds: [0]
"""


def test_a_study_runs_its_rows_once_and_writes_their_table(study, tmp_path, monkeypatch):
    path = run_study(study(TEXT), tmp_path / "runs", tmp_path / "results", progress=False)
    written = json.loads(path.read_text())
    rows = {row["name"]: row for row in written["rows"]}
    assert path.name == "toys.json" and written["title"] == "Toys"
    assert rows["plain"]["seeds"] == [0, 1] and len(rows["plain"]["top1"]["runs"]) == 2 and rows["plain"]["published"] == 0.5
    assert (rows["plain"]["n_train"], rows["plain"]["n_test"], rows["plain"]["selection"]) == (6, 12, "validation")
    assert rows["as the paper"]["selection"] == "test part, as published" and rows["as the paper"]["n_train"] == 12
    assert [fold["name"] for fold in rows["folds"]["folds"]] == ["1", "2", "3", "4"] and "top1_by_fold" in rows["folds"]
    assert (rows["windows"]["unit"], rows["windows"]["n_test"], rows["windows"]["n_train"]) == ("windows", 36, 18)
    by_unit = {unit: rows[f"phases ({unit})"] for unit in ("samples", "cuts", "clips")}
    assert [(row["unit"], row["n_train"], row["n_test"]) for row in by_unit.values()] == [
        ("samples", 36, 72),
        ("cuts", 18, 36),
        ("clips", 6, 12),
    ]
    assert by_unit["cuts"]["protocol"].endswith(", cuts") and [row.get("published") for row in by_unit.values()] == [0.9, None, None]
    assert rows["plain"]["parameters"] > 0

    trained = []
    original = fit_module._fit
    monkeypatch.setattr(fit_module, "_fit", lambda recipe, *more: trained.append(recipe) or original(recipe, *more))
    run_study(study(TEXT), tmp_path / "runs", tmp_path / "results", progress=False)
    assert not trained
    run_study(study(TEXT.replace("fit.epochs: 3", "fit.epochs: 1")), tmp_path / "runs", tmp_path / "results", progress=False)
    assert [(recipe.fit.selection, recipe.fit.epochs) for recipe in trained] == [("paper", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: t\nresult: r\nrows: [{name: a, recipe: ../toy.yaml, fold: all}]", r"unknown key 'rows\[0\].fold'; did you mean"),
        ("title: t\nresult: r\nrows: []", "at least one row"),
        ("title: t\nresult: a/b\nrows: [{name: a, recipe: ../toy.yaml}]", "result is 'a/b'"),
        ("title: t\nresult: r\nrows: [{name: a, recipe: ../none.yaml}]", "none.yaml: no such file"),
        ("title: t\nresult: r\nrows: [{name: a, recipe: ../toy.yaml, set: {fit.lrr: 1}}]", "did you mean 'fit.lr'"),
        ("title: t\nresult: r\nrows: [{name: a, recipe: ../toy.yaml, folds: some}]", "folds is 'some'"),
        ("title: t\nresult: r\nrows: [{name: a, recipe: ../toy.yaml}, {name: a, recipe: ../toy.yaml}]", "two rows are called 'a'"),
        ("title: t\nrows: [{name: a, recipe: ../toy.yaml}]", "key 'result' is missing"),
        ("title: t\nresult: r\nrows: [{name: a}]", r"key 'rows\[0\].recipe' is missing"),
    ],
)
def test_a_wrong_study_is_told_before_anything_runs(study, text, message):
    with pytest.raises(RecipeError, match=message):
        load_study(study(text))


def test_studies_are_found_by_path_by_name_and_by_system(tmp_path):
    for name, system in (("a1", "alpha"), ("a2", "alpha"), ("b1", "")):
        (tmp_path / f"{name}.yaml").write_text(f"title: t\nresult: {name}\nsystem: {system}\nrows: []")
    found = {name: [path.stem for path in find_studies(name, tmp_path)] for name in ("a1", "b1", "alpha", str(tmp_path / "b1.yaml"))}
    assert list(found.values()) == [["a1"], ["b1"], ["a1", "a2"], ["b1"]]
    with pytest.raises(RecipeError, match=r"unknown study 'alpho'; did you mean 'alpha'\?"):
        find_studies("alpho", tmp_path)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_names_recipes_that_parse(path):
    assert load_study(path).rows
