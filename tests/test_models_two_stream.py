"""The integrated two-stream network: skeletons through a graph network, their video through an inflated ResNet, one classifier."""

from pathlib import Path

import pytest
import torch
from test_training_crop import TINY, ntu

import kinema
from kinema.datasets.base import read_dataset
from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models.registry import PoseShape, Shapes, VideoShape, create_model
from kinema.training.fit import fit
from kinema.training.load import load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
SHAPE = Shapes(pose=PoseShape(2, 12, get_layout("ntu25"), 3), video=VideoShape(3, 4, 32, 32))
SMALL = {"video_config": {"depth": 18, "stages": 2}, "pose_config": {"frames": 0}}


def make(**config):
    torch.manual_seed(0)
    return create_model("two-stream", 5, SHAPE, **SMALL | config)


def test_both_streams_count_and_train():
    model, given = make().eval(), SHAPE.example(3)
    whole = model(**given)
    assert whole.shape == (3, 5) and whole.isfinite().all()
    for name in given:
        assert not torch.allclose(model(**given | {name: given[name].flip(0)})[0], whole[0])
    trained = make().train()
    torch.nn.functional.cross_entropy(trained(**given), torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained.parameters())


def test_features_and_head_come_apart():
    model, given = make().eval(), SHAPE.example(2)
    with torch.no_grad():
        features = model.forward_features(**given)
        assert features.shape == (2, model.num_features)
        torch.testing.assert_close(model.forward_head(features), model(**given))
    kept = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith(model.head_prefixes())}
    model.reset_classifier(9)
    assert model(**given).shape == (2, 9) and all(torch.equal(model.state_dict()[name], value) for name, value in kept.items())


def test_it_takes_two_modalities_and_branches_of_each():
    with pytest.raises(RecipeError, match="takes two or three modalities"):
        create_model("two-stream", 5, Shapes(pose=SHAPE.pose), **SMALL)
    with pytest.raises(RecipeError, match="'hcn' takes pose; a branch of feature fusion for video"):
        make(video="hcn")


def test_the_recipe_trains_on_files_of_the_data_sets_form_and_its_bundle_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    ntu(tmp_path / "data")
    changes = {key: value for key, value in TINY.items() if key != "model.config.depth"}
    changes |= {"data.root": tmp_path / "data", "init.bundle": None, "init.arch": None, "input.frames": 12}
    changes |= {f"model.config.{key}": value for key, value in SMALL.items()}
    run = fit(load_recipe(RECIPES / "two_stream_ntu60.yaml", changes), tmp_path / "run", progress=False)
    assert run.result["n_train"] == 3 and run.result["crop"]["train"]["uncropped"] == 0
    answered = kinema.load(run.out).predict(read_dataset("ntu", tmp_path / "data").clips[0])
    assert answered.known and answered.probabilities.sum() == pytest.approx(1)
