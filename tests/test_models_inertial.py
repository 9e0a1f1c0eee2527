"""The networks on signals of worn sensors."""

import pytest
import torch

from kinema.errors import RecipeError
from kinema.models.inertial import InertialCNN, InertialCNNConfig, InertialGRU, InertialGRUConfig
from kinema.shape import InertialShape

SHAPE = InertialShape(6, 64)
MODELS = {
    "inertial-cnn": lambda shape=SHAPE: InertialCNN(InertialCNNConfig(), shape, 5),
    "inertial-cnn, kernels side by side": lambda shape=SHAPE: InertialCNN(
        InertialCNNConfig(widths=(16, 25), kernels=(3, 7, 15), pool="both", parts=2), shape, 5
    ),
    "inertial-gru": lambda shape=SHAPE: InertialGRU(InertialGRUConfig(width=16, hidden=12, layers=2), shape, 5),
}


@pytest.fixture(params=MODELS)
def make(request):
    torch.manual_seed(0)
    return MODELS[request.param]


@pytest.mark.parametrize("shape", [SHAPE, InertialShape(6, 61), InertialShape(1, 9), InertialShape(102, 25)], ids=str)
def test_signals_and_spectrograms_of_any_length_get_logits(make, shape):
    model = make(shape).eval()
    inputs = shape.example(3)
    logits = model(**inputs)
    assert logits.shape == (3, 5) and logits.isfinite().all()
    features = model.forward_features(**inputs)
    assert features.shape == (3, model.num_features)
    torch.testing.assert_close(model.forward_head(features), logits)


def test_a_clip_gets_the_same_answer_by_itself(make):
    model, inputs = make().eval(), SHAPE.example(4)["inertial"]
    together = model(inertial=inputs)
    torch.testing.assert_close(together, torch.cat([model(inertial=inputs[i : i + 1]) for i in range(4)]), rtol=1e-4, atol=1e-5)


def test_every_parameter_learns(make):
    model = make().train()
    torch.nn.functional.cross_entropy(model(**SHAPE.example(3)), torch.tensor([0, 1, 2])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_only_the_head_is_made_anew(make):
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.reset_classifier(9)
    assert model.eval()(**SHAPE.example(2)).shape == (2, 9)
    changed = {
        name for name, value in model.state_dict().items() if value.shape != before[name].shape or not torch.equal(value, before[name])
    }
    assert changed and all(name.startswith(model.head_prefixes()) for name in changed)


@pytest.mark.parametrize(
    "config",
    [
        InertialCNNConfig(widths=()),
        InertialCNNConfig(widths=(2,), kernels=(3, 5, 7)),
        InertialCNNConfig(kernels=(4,)),
        InertialCNNConfig(pool="max"),
        InertialCNNConfig(parts=0),
    ],
)
def test_settings_that_cannot_be_are_refused(config):
    with pytest.raises(RecipeError, match="inertial-cnn: "):
        InertialCNN(config, SHAPE, 5)
    with pytest.raises(RecipeError, match="inertial-gru: "):
        InertialGRU(InertialGRUConfig(hidden=0), SHAPE, 5)
