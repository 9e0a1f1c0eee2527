"""HCN on CAD-60: the windows that are counted, pre-training on NTU RGB+D's files, and what moves when its convolutions are frozen."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from make_files import ntu_file

from kinema.bundle import Bundle, save
from kinema.datasets.base import read_dataset
from kinema.layout import get_layout
from kinema.models.registry import PoseShape, create_model
from kinema.training.data import prepare, window_count
from kinema.training.fit import fit, make_fabric, make_model
from kinema.training.load import load_recipe
from kinema.training.loop import Stage
from kinema.training.optimizers import make_optimizer
from kinema.training.recipe import FitConfig, InitConfig
from kinema.transforms.config import PoseInput
from kinema.transforms.samples import PoseSamples

RECIPES = Path(__file__).parents[1] / "recipes"
CONVOLUTIONS = ("joint.", "motion.", "conv5.", "conv6.")


def labelled(root: Path) -> dict[str, list]:
    clips = [clip for clip in read_dataset("cad60", root).clips if clip.label is not None]
    return {person: [clip for clip in clips if clip.subject == person] for person in "1234"}


def test_cad60_has_1286_windows(data_root):
    wanted = load_recipe(RECIPES / "hcn_cad60_published.yaml").input
    parts = [PoseSamples.from_clips(clips, wanted) for clips in labelled(data_root("cad60")).values()]
    assert [window_count(part) for part in parts] == [313, 302, 307, 364]
    assert [len(part) for part in parts] == [626, 604, 614, 728]


def test_each_fold_trains_on_three_persons_and_tests_on_the_fourth(data_root):
    recipe = load_recipe(RECIPES / "hcn_cad60_published.yaml", {"data.root": data_root("cad60"), "data.fold": "3"})
    prepared = prepare(recipe)
    assert (len(prepared.parts.train), len(prepared.parts.test)) == (45, 15)
    assert {clip.subject for clip in prepared.parts.test} == {"3"} and {clip.subject for clip in prepared.parts.train} == set("124")


def test_joints_of_ntu_come_in_the_order_of_cad60():
    ntu, cad = get_layout("ntu25"), get_layout("cad60")
    assert [ntu.index(joint) for joint in cad.joints] == [3, 2, 1, 4, 5, 8, 9, 12, 13, 16, 17, 7, 11, 15, 19]


def test_pretraining_on_ntu_runs_and_cad60_starts_from_it(tmp_path, data_root):
    for person in (1, 2, 3, 4):  # 3 tests
        for action in (1, 2):
            ntu_file(tmp_path / "ntu", f"S001C001P{person:03}R001A{action:03}", frames=20)
    small = {"fit.epochs": 2, "fit.warmup": 0, "fit.batch_size": 4, "data.val_share": 0.3, "engine.threads": 1, "engine.accelerator": "cpu"}
    recipe = load_recipe(RECIPES / "hcn_ntu60_cad_joints.yaml", {"data.root": tmp_path / "ntu", **small})
    run = fit(recipe, tmp_path / "run", progress=False)
    assert (run.result["n_train"], run.result["n_val"], run.result["n_test"]) == (4, 2, 2)

    tuned = load_recipe(RECIPES / "hcn_cad60_published.yaml", {"data.root": data_root("cad60"), "data.fold": "1"})
    tuned = replace(tuned, init=InitConfig(bundle=str(tmp_path / "run"), layers="backbone", freeze=CONVOLUTIONS))
    model, account = make_model(tuned, prepare(tuned).train, 12)
    assert set(account.remade) == {"fc7.weight", "fc7.bias", "fc8.weight", "fc8.bias"} == set(account.trained)
    assert all(name.startswith(CONVOLUTIONS) for name in account.loaded) and set(account.loaded) == set(account.frozen)
    assert model.fc8.weight.shape == (12, 256)


@pytest.fixture
def pretrained(tmp_path):
    input = PoseInput(layout="cad60", frames=32)
    shape = PoseShape(1, 32, get_layout("cad60"), 3)
    torch.manual_seed(1)
    return save(
        Bundle("pre", "hcn", {}, tuple("abcde"), input, 3, create_model("hcn", 5, shape).state_dict()), tmp_path / "pre.safetensors"
    )


def moved(before: dict, model: torch.nn.Module) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_with_frozen_convolutions_exactly_the_two_last_layers_move(pretrained, data_root):
    recipe = load_recipe(RECIPES / "hcn_cad60_published.yaml", {"fit.epochs": 1, "fit.batch_size": 32, "engine.accelerator": "cpu"})
    recipe = replace(recipe, init=InitConfig(bundle=str(pretrained), layers="backbone", freeze=CONVOLUTIONS))
    samples = PoseSamples.from_clips(labelled(data_root("cad60"))["1"][:2], recipe.input)
    model, _ = make_model(recipe, samples, 12)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Stage(recipe, make_fabric(recipe.engine), model, samples, None, 12).run(lambda stage: None, lambda share: None)
    assert moved(before, model) == {"fc7.weight", "fc7.bias", "fc8.weight", "fc8.bias"}


def test_an_optimiser_made_before_the_last_layers_were_replaced_never_trains_them():
    """The published code's fault, and why its network with frozen convolutions did not learn."""
    shape = PoseShape(1, 32, get_layout("cad60"), 3)
    model = create_model("hcn", 60, shape)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(CONVOLUTIONS))
    optimizer = make_optimizer(model, FitConfig())
    model.reset_classifier(12)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(4, 1, 32, 15, 3)).logsumexp(1).sum().backward()
    optimizer.step()
    assert moved(before, model) == set()
