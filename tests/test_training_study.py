"""Studies: recipes over folds and seeds become one results file, and finished runs are not run again."""

import json
from pathlib import Path

import numpy as np
import pytest
from training_toys import register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema.errors import DataError, RecipeError
from kinema.evaluation.scores import load_scores
from kinema.training import fit as fit_module
from kinema.training.load import dump_recipe
from kinema.training.study import run_study
from kinema.training.study_plan import find_studies, load_study

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


FUSED = """
title: Toys
result: fused
seeds: [0, 1]
rows:
  - {name: one, recipe: ../toy.yaml}
  - {name: other, recipe: ../toy.yaml, set: {fit.epochs: 1}, seeds: [0]}
  - {name: both, fuse: [one, other], published: 0.9, note: averaged}
  - name: folds
    recipe: ../toy.yaml
    set: &set {data.protocol: leave-one-out, data.val_share: 0.3, fit.epochs: 1}
    folds: ["1", "3"]
    seeds: [0]
  - {name: other folds, recipe: ../toy.yaml, set: {<<: *set, model.config: {width: 8}}, folds: ["1", "3"], seeds: [0]}
  - {name: by fold, fuse: [folds, other folds], rule: weighted}
  - {name: windows, recipe: ../toy.yaml, set: {input: {window: 10, stride: 5}}, seeds: [0]}
  - {name: by clip, fuse: [one, windows], rule: product, units: [clips]}
"""


def test_a_row_fuses_the_answers_of_others_seed_by_seed_and_fold_by_fold(study, tmp_path):
    path = run_study(study(FUSED), tmp_path / "runs", tmp_path / "results", progress=False)
    rows = {row["name"]: row for row in json.loads(path.read_text())["rows"]}
    both, one = rows["both"], rows["one"]
    assert both["seeds"] == [0, 1] and (both["fusion"], both["published"], both["note"]) == ("average", 0.9, "averaged")
    assert both["parameters"] == one["parameters"] + rows["other"]["parameters"] and both["macs"] == 2 * one["macs"]
    assert (both["n_train"], both["n_test"], both["unit"], both["selection"]) == (6, 12, "clips", "validation")
    folds = rows["by fold"]
    assert [fold["name"] for fold in folds["folds"]] == ["1", "3"]
    assert sum(float(weight) for weight in folds["weights"].split(" / ")) == pytest.approx(1, abs=0.011)
    assert 0 <= both["validation_top1"] <= 1
    assert rows["by clip"]["unit"] == "clips" and rows["by clip"]["n_test"] == 12

    def scores(row: str, seed: int):
        return load_scores(next((tmp_path / "runs" / "fused" / row).glob(f"seed{seed}*/scores.npz")))

    # The row with one seed has its training taken again for the second.
    for seed in (0, 1):
        mean = (scores("one", seed).probabilities + scores("other", 0).probabilities) / 2
        np.testing.assert_allclose(scores("both", seed).probabilities, mean)
    about = json.loads((tmp_path / "runs" / "fused" / "by-fold" / "1-seed0" / "fusion.json").read_text())
    assert about["members"] == ["folds", "other folds"] and about["missing"] == {"folds": 0, "other folds": 0}


def test_rows_of_another_study_are_fused_without_training_them_again(study, tmp_path, monkeypatch):
    first = study("title: t\nresult: first\nrows: [{name: a, recipe: ../toy.yaml}, {name: b, recipe: ../toy.yaml, set: {fit.lr: 0.02}}]")
    first.rename(first.with_name("first.yaml"))
    run_study(first.with_name("first.yaml"), tmp_path / "runs", tmp_path / "results", progress=False)
    monkeypatch.setattr(fit_module, "_fit", lambda *given: pytest.fail("trained again"))
    text = 'title: t\nresult: second\nrows: [{name: c, fuse: ["first.yaml: a", "first.yaml: b"], rule: maximum}]'
    path = run_study(study(text), tmp_path / "runs", tmp_path / "results", progress=False)
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == ["c"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("{name: c, fuse: [a, b], recipe: ../toy.yaml}", "row 'c': recipe is that of the rows that it fuses"),
        ("{name: c, fuse: [a, b], seeds: [1]}", "row 'c': seeds is that of the rows"),
        ("{name: c, fuse: [a]}", "two or more different rows"),
        ("{name: c, fuse: [a, a]}", "two or more different rows"),
        ("{name: c, fuse: [a, bb]}", "unknown row 'bb'; did you mean 'b'"),
        ("{name: c, fuse: [a, b], rule: mean}", "unknown rule 'mean'; known: average, maximum, product, stacked, weighted"),
        ('{name: c, fuse: [a, "none.yaml: b"]}', "none.yaml: no such file"),
        (
            "{name: l, recipe: ../toy.yaml, set: {fit.selection: last}}, {name: c, fuse: [a, l], rule: stacked}",
            "'l' has none with fit.selection: last",
        ),
        ("{name: c, fuse: [a, b]}, {name: d, fuse: [a, c]}", "row 'c' is fused itself"),
    ],
)
def test_a_wrong_fusion_is_told_before_anything_runs(study, more, message):
    with pytest.raises(RecipeError, match=message):
        load_study(study(f"title: t\nresult: r\nrows: [{{name: a, recipe: ../toy.yaml}}, {{name: b, recipe: ../toy.yaml}}, {more}]"))


def test_rows_that_cannot_be_fused_say_why(study, tmp_path):
    text = """
title: t
result: r
rows:
  - {name: a, recipe: ../toy.yaml, set: {fit.epochs: 1}}
  - {name: w, recipe: ../toy.yaml, set: {fit.epochs: 1, input: {window: 10, stride: 5}}}
  - {name: f, recipe: ../toy.yaml, set: {fit.epochs: 1, data.protocol: leave-one-out, data.val_share: 0.3}, folds: ["1"]}
"""
    for fused, says in (
        ("fuse: [a, w]", "row 'c', seed 0: .* they can be fused by clip"),
        ("fuse: [a, f]", "'a' has protocol 'cross-subject', 'f' has 'leave-one-out'; the same is expected"),
    ):
        with pytest.raises(RecipeError, match=says):
            run_study(study(text + f"  - {{name: c, {fused}}}"), tmp_path / "runs", tmp_path / "results", progress=False)


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


def test_of_several_data_sets_each_is_a_row_too(study, tmp_path):
    path = study(
        "title: Two\nresult: two\nrows:\n  - {name: both, recipe: ../toy.yaml, folds: ['1', '2'],"
        " set: {data.name: one+two, data.protocol: leave-one-out+leave-one-out, fit.selection: last}}"
    )
    rows = json.loads(run_study(path, tmp_path / "runs", tmp_path / "results").read_text())["rows"]
    assert [(row["name"], row["dataset"], row["protocol"], row["n_test"]) for row in rows] == [
        ("both", "one+two", "leave-one-out+leave-one-out", 24),
        ("both: one", "one", "leave-one-out", 12),
        ("both: two", "two", "leave-one-out", 12),
    ]
    runs = [row["top1"]["runs"][0] for row in rows]
    assert runs[0] == pytest.approx((runs[1] + runs[2]) / 2)


def test_some_classes_may_be_counted_in_a_row_of_their_own(study, tmp_path):
    text = (
        "title: Some\nresult: some\nrows:\n  - {name: three, recipe: ../toy.yaml, folds: ['1', '2'], among: [%s],"
        " set: {data.name: one, data.protocol: leave-one-out, fit.selection: last}}"
    )
    whole, some = json.loads(run_study(study(text % "raise left, bow"), tmp_path / "runs", tmp_path / "results").read_text())["rows"]
    assert some["name"] == "three, among 2 labels" and (whole["n_test"], some["n_test"]) == (12, 8)
    assert whole["top1"]["mean"] <= (12 - 8 * (1 - some["top1"]["mean"])) / 12
    with pytest.raises(DataError, match=r"the scores have no class \['swim'\]"):
        run_study(study(text % "swim"), tmp_path / "runs", tmp_path / "results")


def test_a_data_set_that_only_trains_is_no_row(study, tmp_path):
    path = study(
        "title: Two\nresult: two\nrows:\n  - {name: both, recipe: ../toy.yaml, folds: ['1', '2'],"
        " set: {data.name: one+two, data.protocol: train+leave-one-out, fit.selection: last}}"
    )
    rows = json.loads(run_study(path, tmp_path / "runs", tmp_path / "results").read_text())["rows"]
    assert [(row["name"], row["dataset"], row["n_test"]) for row in rows] == [("both", "one+two", 12)]
