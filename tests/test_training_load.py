"""Recipes: strict keys, typed values, overrides, and those that are shipped."""

import subprocess
import sys
from pathlib import Path

import pytest

from kinema.datasets.base import dataset_root, read_dataset
from kinema.errors import KinemaError, RecipeError
from kinema.layout import get_layout
from kinema.training.load import dump_recipe, load_recipe, recipe_from_mapping, recipe_hash
from kinema.training.recipe import Recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "r.yaml"
        path.write_text(text)
        return path

    return write


def test_values_of_the_file_fill_the_dataclasses_and_defaults_the_rest(write):
    recipe = load_recipe(
        write("data: {name: utd-mhad, fold: 1}\nfit: {lr: 1e-3, milestones: [3, 5]}\nmodel: {config: {dropout: .5, x: 1e-2}}")
    )
    assert (recipe.data.fold, recipe.fit.lr, recipe.fit.milestones) == ("1", 0.001, (3, 5))
    assert recipe.model.config == {"dropout": 0.5, "x": 0.01}
    assert recipe.augment == Recipe().augment


@pytest.mark.parametrize(
    "overrides",
    [
        ["--fit.lr", "1e-2", "--data.root=/x", "--model.config.dropout", ".3", "--fit.milestones", "[1, 2]", "--data.fold", "2"],
        {"fit.lr": 1e-2, "data": {"root": Path("/x"), "fold": 2}, "model.config.dropout": 0.3, "fit.milestones": [1, 2]},
    ],
    ids=["options", "mapping"],
)
def test_overrides_merge_over_the_file(write, overrides):
    recipe = load_recipe(write("data: {name: utd-mhad}\nmodel: {config: {dropout: .5, width: 8}}"), overrides)
    assert (recipe.fit.lr, recipe.data.root, recipe.data.fold, recipe.fit.milestones) == (0.01, "/x", "2", (1, 2))
    assert recipe.model.config == {"dropout": 0.3, "width": 8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fit: {lrr: 1}", r"r.yaml: unknown key 'fit.lrr'; did you mean 'fit.lr'\?"),
        ("fiit: {}", r"r.yaml: unknown key 'fiit'; did you mean 'fit'\?"),
        ("fit: {lr: fast}", "r.yaml: fit.lr: a number is expected, not fast"),
        ("fit: {lr: true}", "r.yaml: fit.lr: a number is expected"),
        ("fit: {epochs: 2.5}", "r.yaml: fit.epochs: a whole number is expected, not 2.5"),
        ("fit: {balanced: 1}", "r.yaml: fit.balanced: true or false is expected, not 1"),
        ("fit: {milestones: 3}", r"r.yaml: fit.milestones: a list \(a whole number each\) is expected, not 3"),
        ("data: {on_error: skipp}", "r.yaml: data.on_error: one of raise, skip is expected, not skipp"),
        ("title: true", "r.yaml: title: text is expected"),
        ("fit: 3", "r.yaml: fit: keys with values are expected"),
        ("- fit", "r.yaml: .* stands at the top; keys with values are expected"),
        ("fit: [1", "r.yaml, line 1: "),
        ("seed: 1\nseed: 2", "r.yaml, line 2: key 'seed' occurs twice"),
        ("seed: 1", "r.yaml: data.name is missing"),
        ("data: {name: x}\nfit: {lr: -1}", "r.yaml: fit.lr is -1.0; it must be above 0"),
        ("data: {name: x}\naugment: {crop: 0}", "r.yaml: augment.crop is 0.0; it must be above 0 and at most 1"),
        ("data: {name: x}\ninput: {layout: coco71}", "did you mean 'coco17'"),
        ("data: {name: x}\nfit: {selection: last, schedule: plateau}", "plateau needs a validation part"),
        ("data: {name: x}\nfit: {epochs: 5, warmup: 5}", "fit.warmup is 5; it must be less than fit.epochs, 5"),
        ("data: {name: a+b, protocol: x}", "one protocol for each data set of 'a.b' is expected"),
        ("data: {name: a, classes: {walk: 3}}", "data.classes"),
    ],
)
def test_a_wrong_recipe_is_told_what_is_wrong_and_what_would_be_right(write, text, message):
    with pytest.raises(KinemaError, match=message) as error:
        load_recipe(write(text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fit.lrr", "1"], r"unknown option '--fit.lrr'; did you mean '--fit.lr'\?"),
        (["--fit.lr", "fast"], "fit.lr: a number is expected, not fast"),
        (["--fit.lr"], "expected one argument"),
        ({"fit.lrr": 1}, r"unknown key 'fit.lrr'; did you mean 'fit.lr'\?"),
    ],
)
def test_a_wrong_override_is_told_too(write, options, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(write("data: {name: x}"), options)


def test_a_recipe_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe(tmp_path / "none.yaml")


def test_a_dumped_recipe_reads_back_the_same(write):
    recipe = load_recipe(write("data: {name: utd-mhad}\nfit: {lr: 1e-5, milestones: [1]}\nmodel: {config: {a: [1, 2]}}\ntitle: 'é: x'"))
    assert load_recipe(write(dump_recipe(recipe))) == recipe


def test_the_hash_follows_what_decides_the_result_alone():
    base = {"data": {"name": "x"}}
    of = {
        name: recipe_hash(recipe_from_mapping(base | change))
        for name, change in {
            "same": {},
            "elsewhere": {"data": {"name": "x", "root": "/y"}, "title": "t"},
            "other": {"fit": {"lr": 0.5}},
        }.items()
    }
    assert of["same"] == of["elsewhere"] != of["other"]


def test_reading_a_recipe_needs_no_torch(write):
    path = write("data: {name: utd-mhad}")
    code = f"import sys; from kinema.training.load import load_recipe; load_recipe({str(path)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_names_a_model_and_data_sets_that_there_are(path):
    from kinema.models.registry import model_config

    recipe = load_recipe(path)
    assert recipe.title
    get_layout(recipe.input.layout)
    model_config(recipe.model.name, **recipe.model.config)
    for name in recipe.data.name.split("+"):
        assert dataset_root(name, "anywhere") in (Path("anywhere"), None)  # an unknown one is an error


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_names_a_protocol_of_its_data(path, data_root):
    recipe = load_recipe(path)
    for name in recipe.data.name.split("+"):
        dataset = read_dataset(name, data_root(name), on_error=recipe.data.on_error)
        assert recipe.data.protocol is None or recipe.data.protocol in dataset.protocols
