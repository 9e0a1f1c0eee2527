"""What every registered pose model does, whatever its architecture."""

from dataclasses import asdict, fields, replace

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models._count import count
from kinema.models._table import model_rows, models_text
from kinema.models.registry import PoseShape, create_model, model_config, model_infos

# Networks: what a solver fits at once has no gradients to look at.
INFOS = {name: info for name, info in model_infos().items() if info.inputs == "pose" and not hasattr(info.build, "fit_samples")}
CLASSES = 5
SHAPES = {
    "one person, OpenNI joints": PoseShape(1, 16, get_layout("cad60"), 3),
    "two persons, Kinect v2 joints": PoseShape(2, 20, get_layout("ntu25"), 3),
    "two persons, COCO joints in the plane": PoseShape(2, 16, get_layout("coco17"), 2),
}
SOLID = SHAPES["two persons, Kinect v2 joints"]


def make(name, shape, classes=CLASSES):
    """A model with fresh weights; without padding to a published length and with small maps, as size only costs time here."""
    torch.manual_seed(0)
    short = {"frames": 0, "size": 32}
    known = {field.name for field in fields(INFOS[name].defaults)}
    return create_model(name, classes, shape, **{key: value for key, value in short.items() if key in known})


def clips(shape, batch=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    still = torch.randn(batch, shape.persons, 1, len(shape.layout), shape.channels, generator=generator)
    moving = torch.randn(batch, shape.persons, shape.frames, len(shape.layout), shape.channels, generator=generator)
    return still + 0.1 * moving


def answer(model, x, mask=None):
    with torch.no_grad():
        return model.eval()(x, mask)


@pytest.fixture(params=sorted(INFOS))
def name(request):
    return request.param


@pytest.mark.parametrize("kind", SHAPES)
def test_logits_for_every_layout_or_a_clear_refusal(name, kind):
    shape = SHAPES[kind]
    try:
        model = make(name, shape)
    except RecipeError as error:
        assert shape.channels == 2 and "2 channels" in str(error) and "3 coordinates" in str(error)
        return
    x = clips(shape)
    before = x.clone()
    logits = answer(model, x)
    assert logits.shape == (3, CLASSES) and logits.isfinite().all()
    assert torch.equal(x, before), "the input was changed"


def test_every_parameter_gets_a_gradient(name):
    model = make(name, SOLID).train()
    torch.nn.functional.cross_entropy(model(clips(SOLID)), torch.tensor([0, 1, 2])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name


def test_it_trains_in_half_the_digits_too(name):
    model = make(name, SOLID).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(model(clips(SOLID)), torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert all(p.dtype == torch.float32 for p in model.state_dict().values() if p.is_floating_point())


def test_forward_is_head_of_features(name):
    model, x = make(name, SOLID), clips(SOLID)
    whole = answer(model, x)
    with torch.no_grad():
        features = model.forward_features(x)
        assert features.ndim == 2 and len(features) == len(x)
        torch.testing.assert_close(model.forward_head(features), whole)


def test_weights_survive_saving(name):
    model, x = make(name, SOLID).train(), clips(SOLID)
    model(x)  # batch statistics differ from those of a new model
    other = make(name, SOLID)
    other.load_state_dict(load_tensors(save_tensors({key: value.contiguous() for key, value in model.state_dict().items()})), strict=True)
    assert torch.equal(answer(model, x), answer(other, x))


def test_a_row_is_the_same_alone_and_in_a_batch(name):
    model, x = make(name, SOLID), clips(SOLID, batch=20)
    torch.testing.assert_close(answer(model, x[7:8]), answer(model, x)[7:8], rtol=1e-4, atol=1e-5)


def test_reset_classifier_makes_the_head_anew_and_nothing_else(name):
    model = make(name, SOLID)
    prefixes = tuple(model.head_prefixes())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.reset_classifier(9)
    assert answer(model, clips(SOLID)).shape == (3, 9)
    for key, value in model.state_dict().items():
        if key.startswith(prefixes):
            assert value.shape != before[key].shape or not torch.equal(value, before[key]), key
        else:
            assert torch.equal(value, before[key]), key


def test_head_prefixes_name_exactly_the_parameters_behind_the_features(name):
    model = make(name, SOLID).eval()
    with torch.no_grad():
        features = model.forward_features(clips(SOLID))
    model.forward_head(features).sum().backward()
    used = {key for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert used == {key for key, _ in model.named_parameters() if key.startswith(tuple(model.head_prefixes()))}


def test_a_full_mask_is_no_mask(name):
    model, x = make(name, SOLID), clips(SOLID)
    torch.testing.assert_close(answer(model, x, torch.ones(x.shape[:-1], dtype=torch.bool)), answer(model, x))


@pytest.mark.parametrize(
    "hide",
    [
        lambda mask: mask[:, 1].fill_(False),
        lambda mask: mask[:, :, :, 3].fill_(False),
        lambda mask: mask[:, :, 5:9].fill_(False),
        lambda mask: mask[1, 0, 2:18, 7:].fill_(False),
        lambda mask: mask[1].fill_(False),
    ],
    ids=["a person", "a joint", "frames", "joints for a while", "everybody in one clip"],
)
def test_what_was_not_observed_has_no_influence(name, hide):
    model, x = make(name, SOLID), clips(SOLID)
    mask = torch.ones(x.shape[:-1], dtype=torch.bool)
    hide(mask)
    logits = answer(model, x, mask)
    assert logits.isfinite().all()
    nonsense = torch.where(mask[..., None], x, torch.tensor(1e4))
    assert torch.equal(answer(model, nonsense, mask), logits)
    assert torch.equal(answer(model, torch.where(mask[..., None], x, torch.nan), mask), logits)


def test_an_unobserved_joint_is_not_a_joint_at_the_origin(name):
    model, x = make(name, SOLID), clips(SOLID) + 5
    mask = torch.ones(x.shape[:-1], dtype=torch.bool)
    mask[:, :, 4:12, 7] = False
    zeroed = torch.where(mask[..., None], x, 0)
    distance = [float((answer(model, *given) - answer(model, x)).norm()) for given in ((zeroed, mask), (zeroed,))]
    assert distance[0] < 0.5 * distance[1]


def test_settings_come_back_from_yaml_lists(name):
    defaults = INFOS[name].defaults
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(defaults).items()}
    assert model_config(name, **plain) == defaults
    with pytest.raises(RecipeError, match=f"did you mean '{next(iter(plain))}'"):
        model_config(name, **{next(iter(plain)) + "s": 1})


def test_example_shape_is_what_the_figures_are_for(name):
    info = INFOS[name]
    parameters, multiply_adds = count(make(name, info.example, 60), info.example)
    assert parameters > 1e4 and multiply_adds > 1e6


def test_table_names_every_model_with_its_figures():
    rows = model_rows("hcn")
    assert [row["name"] for row in rows] == ["hcn", "hcn-gap"]
    assert rows[0]["parameters"] == 1_047_036
    text = models_text(rows)
    assert "1.047 M parameters" in text and "0.194 G multiply-adds" in text and "IJCAI 2018" in text
    assert "2 persons x 64 frames x 25 joints (ntu25) x 3" in text
    assert [row["name"] for row in model_rows("hcn-*")] == ["hcn-gap"]
    with pytest.raises(RecipeError, match="did you mean 'hcn"):
        model_rows("hnc")


def test_counting_leaves_the_mode_alone_and_knows_recurrent_layers():
    class Recurrent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = torch.nn.GRU(6, 8, bidirectional=True, batch_first=True)
            self.lstm = torch.nn.LSTM(16, 4, batch_first=True)

        def forward(self, x):
            return self.lstm(self.gru(x[:, 0].flatten(2)[..., :6])[0])[0]

    model = Recurrent().train()
    _, multiply_adds = count(model, replace(SOLID, frames=10))
    assert model.training
    assert multiply_adds == 10 * (2 * 3 * 8 * (6 + 8) + 4 * 4 * (16 + 4))
