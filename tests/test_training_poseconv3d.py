"""The recipes for PoseConv3D and for the network on raw key points: each runs, limbs and joints are fused, and the sanity check tells
what learns from what does not. Networks are narrow and clips few, so that this takes seconds."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from make_files import pickled, pyskl_annotation

from kinema import bundle as bundles
from kinema.cli import main
from kinema.datasets._files import read_clips
from kinema.datasets.jhmdb import CLASSES, read_sequences
from kinema.layout import get_layout
from kinema.models._count import count
from kinema.models.registry import PoseShape, create_model
from kinema.recognition.recognizer import Recognizer
from kinema.training.fit import fit
from kinema.training.load import load_recipe
from kinema.training.overfit import overfit
from kinema.training.study import load_study
from kinema.transforms.config import channels_of

RECIPES = Path(__file__).parents[1] / "recipes"
QUICK = {"fit.epochs": 1, "fit.warmup": 0, "fit.repeats": 1, "fit.batch_size": 14, "fit.views": 2, "fit.lr": 1e-3, "input.frames": 8}
ENGINE = {"engine.accelerator": "cpu", "engine.threads": 1}
NARROW = {"model.config.width": 4, "model.config.blocks": [1, 1, 1], "model.config.size": 16}
THIN = {"model.config.widths": [8, 16, 16, 16, 32, 32, 32, 32], "model.config.hidden": 32}


@pytest.fixture(scope="module")
def jhmdb(data_root, tmp_path_factory) -> Path:
    """The first sequences of each class of split 1: two to train on, one to test."""
    root, real = tmp_path_factory.mktemp("jhmdb"), data_root("jhmdb") / "poses"
    for part, number in (("train", 2), ("test", 1)):
        found = read_sequences(real / f"GT_{part}_1.pkl")
        some = [[points for points, name in found if name == label][:number] for label in CLASSES]
        content = {"pose": [points for each in some for points in each], "label": [label for label in CLASSES for _ in range(number)]}
        pickled(root / "poses" / f"GT_{part}_1.pkl", content)
    return root


@pytest.fixture(scope="module")
def ntu60(tmp_path_factory) -> Path:
    """A pickle in the form of ntu60_hrnet.pkl: two persons, three actions; one listed clip is not there."""
    names = [f"S001C001P{person:03}R001A{action:03}" for person in (1, 2, 3, 4) for action in (1, 2, 58)]
    annotations = [pyskl_annotation(name, int(name[-3:]) - 1, persons=2, frames=12) for name in names]
    splits = {"xsub_train": [name for name in names if "P003" not in name], "xsub_val": [name for name in names if "P003" in name]}
    splits["xsub_train"].append("S001C002P001R001A001")
    return pickled(tmp_path_factory.mktemp("ntu") / "ntu60_hrnet.pkl", {"split": splits, "annotations": annotations})


@pytest.fixture(scope="module")
def ntu120(tmp_path_factory) -> Path:
    """A pickle in the form of ntu120_hrnet.pkl, of both protocols: two persons, three of the 60 later actions and one of the earlier."""
    names = [
        f"S{setup:03}C001P{person:03}R001A{action:03}" for setup, person in ((2, 1), (3, 103), (18, 106)) for action in (7, 61, 99, 120)
    ]
    annotations = [pyskl_annotation(name, int(name[-3:]) - 1, persons=2, frames=12) for name in names]
    splits = {
        "xsub_train": [name for name in names if "P106" not in name],
        "xsub_val": [name for name in names if "P106" in name],
        "xset_train": [name for name in names if "S003" not in name],
        "xset_val": [name for name in names if "S003" in name],
    }
    return pickled(tmp_path_factory.mktemp("ntu") / "ntu120_hrnet.pkl", {"split": splits, "annotations": annotations})


def run(name: str, root: Path, out: Path, **overrides):
    return fit(load_recipe(RECIPES / f"{name}.yaml", {"data.root": str(root)} | QUICK | ENGINE | overrides), out, progress=False)


def test_ntu60s_pickle_trains_joints_and_limbs_which_are_then_fused(ntu60, tmp_path, capsys):
    runs = []
    for heatmap in ("joints", "limbs"):
        result = run("poseconv3d_ntu60_hrnet", ntu60, tmp_path / heatmap, **NARROW, **{"model.config.heatmap": heatmap}).result
        assert (result["n_train"], result["n_test"], result["protocol"]) == (9, 3, "cross-subject")
        runs.append(str(tmp_path / heatmap))
    loaded = bundles.load(tmp_path / "limbs" / "bundle.safetensors")
    assert (loaded.unit, loaded.channels, loaded.views, len(loaded.classes)) == ("px", 3, 2, 60)
    assert Recognizer(loaded).predict(read_clips(ntu60)[0]).known
    assert main(["fuse", *runs, "--rule", "average", "--out", str(tmp_path / "both.safetensors")]) == 0
    assert main(["predict", str(ntu60), "--bundle", str(tmp_path / "both.safetensors")]) == 0
    assert "ntu60_hrnet.pkl, S001C001P001R001A001 (true: drink water)" in capsys.readouterr().out


@pytest.mark.parametrize("protocol", ["cross-subject", "cross-setup"])
@pytest.mark.parametrize("heatmap", ["joints", "limbs"])
def test_ntu120s_pickle_trains_joints_and_limbs_by_either_protocol(ntu120, tmp_path, heatmap, protocol):
    changes = {"model.config.heatmap": heatmap, "data.protocol": protocol}
    result = run("poseconv3d_ntu120_hrnet", ntu120, tmp_path / "run", **NARROW, **changes).result
    assert (result["n_train"], result["n_test"], result["protocol"]) == (8, 4, protocol)
    loaded = bundles.load(tmp_path / "run" / "bundle.safetensors")
    assert (len(loaded.classes), loaded.config["heatmap"]) == (120, heatmap)
    assert Recognizer(loaded).predict(read_clips(ntu120)[0]).known


def test_an_unknown_split_of_a_pickle_names_those_there(ntu120, tmp_path, capsys):
    recipe = str(RECIPES / "poseconv3d_ntu120_hrnet.yaml")
    given = ["--data.root", str(ntu120), "--data.protocol", "frames", "--out", str(tmp_path / "run")]
    assert main(["train", recipe, *given]) == 2
    assert "unknown protocol 'frames'; known: cross-setup, cross-subject" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["poseconv3d_ntu60_hrnet", "poseconv3d_ntu120_hrnet"])
def test_ntus_recipes_are_the_published_network(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert (recipe.fit.lr / recipe.fit.batch_size, recipe.fit.epochs, recipe.fit.repeats) == (0.4 / 256, 24, 10)
    assert (recipe.input.frames, recipe.input.persons, recipe.fit.views, recipe.input.mirror_views) == (48, 2, 20, True)


@pytest.mark.parametrize("change", [{}, {"model.config.heatmap": "limbs"}, {"model.config.heatmap": "one-layer"}], ids=str)
def test_jhmdbs_recipe_runs_in_every_form(jhmdb, tmp_path, change):
    result = run("poseconv3d_jhmdb", jhmdb, tmp_path / "run", **NARROW, **change).result
    assert (result["n_train"], result["n_test"]) == (28, 14)
    assert bundles.load(tmp_path / "run" / "bundle.safetensors").unit == "norm"


@pytest.mark.parametrize("name", ["keypoint_cnn3d_jhmdb_published", "keypoint_cnn3d_jhmdb"])
def test_recipes_for_raw_key_points_run(jhmdb, tmp_path, name):
    assert run(name, jhmdb, tmp_path / "run", **THIN).result["n_test"] == 14


def test_the_sanity_check_fails_the_published_form_and_passes_ours(jhmdb):
    """An eighth of the published width, the same sample, as many epochs: one hardly leaves chance, the other learns it by heart."""
    small = {"data.root": str(jhmdb)} | ENGINE
    ours = overfit(load_recipe(RECIPES / "keypoint_cnn3d_jhmdb.yaml", small), samples=28, epochs=25)
    eighth = {"model.config.widths": [8, 16, 32, 32, 64, 64, 64, 64]}
    published = overfit(load_recipe(RECIPES / "keypoint_cnn3d_jhmdb_published.yaml", small | eighth), samples=28, epochs=25)
    assert ours.passed
    assert not published.passed and max(published.accuracy) < 0.2


def cost(name: str) -> int:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    shape = PoseShape(recipe.input.persons, recipe.input.frames, get_layout(recipe.input.layout), channels_of(recipe.input.streams, 2))
    return count(create_model(recipe.model.name, 14, shape, **recipe.model.config), shape)[1]


def test_the_improved_network_on_key_points_costs_less_than_a_fiftieth_of_poseconv3d():
    assert 50 * cost("keypoint_cnn3d_jhmdb") < cost("poseconv3d_jhmdb")


def settings(value, path: str = "") -> set[tuple[str, str]]:
    """All settings of a row, keys dotted."""
    if not isinstance(value, dict):
        return {(path, str(value))}
    return {pair for key, item in value.items() for pair in settings(item, f"{path}.{key}" if path else key)}


def test_every_row_of_the_ablation_changes_one_thing_more():
    rows = load_study(RECIPES / "studies" / "jhmdb_keypoints.yaml").rows
    steps = [rows[0], *(row for row in rows[2:] if row.recipe == rows[0].recipe)]
    assert len(steps) > 9 and rows[-1].recipe.endswith("keypoint_cnn3d_jhmdb.yaml")
    for before, after in pairwise(steps):
        changed = {key for key, _ in settings(after.set) ^ settings(before.set)}
        assert len(changed) == 1, after.name


def test_the_python_of_the_guide_runs(capsys):
    page = (RECIPES.parent / "docs" / "systems" / "poseconv3d.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "poseconv3d.md", "exec"), {})
    shapes = re.findall(r"\[(.*?)\]", capsys.readouterr().out)
    assert shapes == ["17, 30, 56, 56", "17, 30, 56, 56", "1, 30, 56, 56", "17, 30, 48, 64"]
