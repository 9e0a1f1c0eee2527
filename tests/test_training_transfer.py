"""Transfer: what is loaded, made anew and frozen, and that exactly the rest moves."""

import pytest
import torch
from training_toys import Toy, ToyConfig, register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema import bundle
from kinema.bundle import Bundle
from kinema.errors import BundleError, RecipeError
from kinema.layout import get_layout
from kinema.models import registry
from kinema.models.registry import PoseShape
from kinema.training.fit import make_fabric, make_model
from kinema.training.loop import Stage
from kinema.training.optimizers import make_optimizer
from kinema.training.recipe import FitConfig, InitConfig
from kinema.training.transfer import initialise, training_mode
from kinema.transforms.config import PoseInput
from kinema.transforms.samples import PoseSamples

INPUT = PoseInput(layout="cad60", frames=16)
SHAPE = PoseShape(1, 16, get_layout("cad60"), 3)


@pytest.fixture
def saved(tmp_path):
    """A bundle of a toy network with five classes."""
    register_toy()
    torch.manual_seed(1)
    model = Toy(ToyConfig(), SHAPE, 5)
    with torch.no_grad():
        model.backbone[1].running_mean.fill_(0.5)
    path = tmp_path / "pre.safetensors"
    bundle.save(Bundle("pre", "toy", {}, tuple("abcde"), INPUT, 3, model.state_dict()), path)
    return path


def test_what_fits_is_loaded_and_a_head_of_other_classes_is_made_anew(saved):
    model = Toy(ToyConfig(), SHAPE, 3)
    before = model.head.weight.clone()
    account = initialise(model, InitConfig(bundle=str(saved)))
    source = bundle.load(saved).state
    assert set(account.remade) == {"head.weight", "head.bias"}
    assert "5x32 in the bundle, 3x32 here" in account.remade["head.weight"]
    assert all(torch.equal(model.state_dict()[name], source[name]) for name in account.loaded)
    assert "backbone.1.running_mean" in account.loaded
    assert torch.equal(model.head.weight, before)
    text = str(account)
    assert "pre (" in text and "backbone.0.weight 16x45x3" in text and "made anew: 2 tensors" in text


@pytest.mark.parametrize(
    ("init", "remade"),
    [
        ({"layers": "all"}, set()),
        ({"layers": "backbone"}, {"head.weight", "head.bias"}),
        ({"remake": ("backbone.0.",)}, {"backbone.0.weight", "backbone.0.bias"}),
    ],
)
def test_the_recipe_says_what_is_made_anew_although_it_fits(saved, init, remade):
    assert set(initialise(Toy(ToyConfig(), SHAPE, 5), InitConfig(bundle=str(saved), **init)).remade) == remade


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"freeze": ("backbon3",)}, r"init.freeze: unknown parameter prefix 'backbon3'; did you mean 'backbone'\?"),
        ({"remake": ("tail",)}, "init.remake: unknown parameter prefix"),
        ({"freeze": ("head",)}, "init.freeze would freeze 'head.weight' at random values: 5x32 in the bundle, 3x32 here"),
    ],
)
def test_a_wrong_init_is_refused(saved, init, message):
    with pytest.raises(RecipeError, match=message):
        initialise(Toy(ToyConfig(), SHAPE, 3), InitConfig(bundle=str(saved), **init))


def test_a_bundle_of_which_nothing_fits_is_refused(saved):
    with pytest.raises(RecipeError, match="no parameter of pre"):
        initialise(torch.nn.Linear(2, 2), InitConfig(bundle=str(saved)))
    with pytest.raises(BundleError):
        initialise(torch.nn.Linear(2, 2), InitConfig(bundle="none-such"))


@pytest.mark.parametrize(
    ("freeze", "still"),
    [
        ((), set()),
        (("backbone",), {"backbone.0.weight", "backbone.0.bias", "backbone.1.weight", "backbone.1.bias"}),
        (("backbone.0",), {"backbone.0.weight", "backbone.0.bias"}),
    ],
)
def test_exactly_the_parameters_that_are_not_frozen_move(saved, freeze, still, monkeypatch):
    use_toy_data(toy_dataset(), monkeypatch.setattr)
    base = toy_recipe(epochs=2, weight_decay=0.1)
    recipe = type(base)(**{**vars(base), "init": InitConfig(bundle=str(saved), freeze=freeze)})
    samples = PoseSamples.from_clips(toy_dataset().clips, recipe.input)
    model, account = make_model(recipe, samples, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Stage(recipe, make_fabric(recipe.engine), model, samples, None, 3).run(lambda stage: None, lambda share: None)
    after = model.state_dict()
    same = {name for name, _ in model.named_parameters() if torch.equal(before[name], after[name])}
    assert same == still == set(account.frozen)
    assert set(account.trained) == {name for name, _ in model.named_parameters()} - still
    # The running statistics of a norm stand still exactly where the norm is frozen.
    assert torch.equal(before["backbone.1.running_mean"], after["backbone.1.running_mean"]) == ("backbone" in freeze)


def pose_models() -> list[str]:
    return [name for name, info in registry.model_infos().items() if info.inputs == "pose" and info.example is not None]


@pytest.mark.parametrize("name", pose_models())
def test_every_model_can_be_trained_with_all_but_its_head_frozen(name):
    shape = PoseShape(1, 32, get_layout("cad60"), registry.model_info(name).example.channels)
    torch.manual_seed(0)
    model = registry.create_model(name, 4, shape)
    if not list(model.parameters()):
        pytest.skip("nothing of it is trained by gradient")
    head = tuple(model.head_prefixes())
    freeze = tuple({key.rpartition(".")[0] + "." if "." in key else key for key in model.state_dict() if not key.startswith(head)})
    initialise(model, InitConfig(freeze=freeze))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = make_optimizer(model, FitConfig(optimizer="sgd", lr=0.1))
    for _ in range(2):
        training_mode(model, freeze)
        model(torch.randn(4, 1, 32, 15, shape.channels)).log_softmax(1)[:, 0].sum().backward()
        optimizer.step()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved and all(key.startswith(head) for key in moved)
    assert {key for key, _ in model.named_parameters() if key.startswith(head)} == moved
