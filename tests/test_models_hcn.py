"""HCN: the paper's layers, and the arrangement for CPUs, which must not change the arithmetic."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models._cpu import Dropout, conv2d, embed_joints
from kinema.models._masks import fill_missing
from kinema.models.registry import PoseShape, create_model

NTU = PoseShape(2, 64, get_layout("ntu25"), 3)
SMALL = PoseShape(2, 32, get_layout("cad60"), 3)


def plain(model, x):
    """The table of layers, one after the other, as PyTorch has them; dropout left out."""
    batch, persons, frames, joints, channels = x.shape
    x = x.reshape(batch * persons, frames, joints, channels).permute(0, 3, 1, 2).contiguous()
    motion = torch.zeros_like(x)
    motion[:, :, 1:] = x[:, :, 1:] - x[:, :, :-1]
    maps = []
    for stream, part in ((model.joint, x), (model.motion, motion)):
        part = stream.conv1(part)
        part = stream.conv2(F.relu(part if stream.norm1 is None else stream.norm1(part)))
        part = part.permute(0, 3, 2, 1).contiguous()
        part = F.max_pool2d(stream.conv3(part), 2)
        maps.append(F.max_pool2d(stream.conv4(part), 2))
    x = F.max_pool2d(F.relu(model.conv5(torch.cat(maps, 1))), 2)
    x = F.max_pool2d(F.relu(model.conv6(x)), 2)
    x = x.view(batch, persons, *x.shape[1:]).amax(1)
    x = x.mean(2).flatten(1) if model.config.mean_time else x.flatten(1)
    return model.fc8(x if model.fc7 is None else F.relu(model.fc7(x)))


def test_papers_form_has_1047_thousand_parameters():
    model = create_model("hcn", 60, NTU)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_047_036
    half = create_model("hcn-gap", 60, NTU)
    assert sum(parameter.numel() for parameter in half.parameters()) == pytest.approx(1_047_036 / 2, rel=0.05)
    assert model.head_prefixes() == ("fc7.", "fc8.") and half.head_prefixes() == ("fc8.",)


@pytest.mark.parametrize("name", ["hcn", "hcn-gap"])
@pytest.mark.parametrize("train", [False, True])
def test_same_logits_gradients_and_statistics_as_layer_by_layer(name, train):
    torch.manual_seed(0)
    model = create_model(name, 7, SMALL, dropout=0, widths=(12, 16, 8, 10, 14, 18), hidden=20 * (name == "hcn"))
    model = model.double().train(train)  # in single precision, pools break near ties by chance
    twin = copy.deepcopy(model)
    x = torch.randn(11, 2, 32, 15, 3).double() + 0.5  # 22 sequences: more than go through at a time, and not a multiple
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    logits, expected = model(ours), plain(twin, theirs)
    torch.testing.assert_close(logits, expected)
    labels = torch.arange(11) % 7
    F.cross_entropy(logits, labels).backward()
    F.cross_entropy(expected, labels).backward()
    for (key, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=key)
    torch.testing.assert_close(ours.grad, theirs.grad)
    for (key, buffer), other in zip(model.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=key)


@pytest.mark.parametrize("name", ["hcn", "hcn-gap"])
def test_single_precision_is_within_1e_4_of_layer_by_layer(name):
    torch.manual_seed(0)
    model = create_model(name, 60, NTU).eval()
    x = torch.randn(9, 2, 64, 25, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain(model, x), rtol=0, atol=1e-6)


def test_frozen_layers_get_no_gradient_and_the_others_the_same():
    x = torch.randn(2, 2, 32, 15, 3)
    grads = []
    for frozen in ((), ("joint.", "motion.conv1", "conv5.")):
        torch.manual_seed(0)
        model = create_model("hcn", 4, SMALL, dropout=0).train()
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(not (frozen and key.startswith(frozen)))
        model(x).square().sum().backward()
        grads.append({key: parameter.grad for key, parameter in model.named_parameters()})
        assert {key for key, value in grads[-1].items() if value is None} == {key for key in grads[-1] if frozen and key.startswith(frozen)}
    for key, value in grads[1].items():
        if value is not None:
            torch.testing.assert_close(value, grads[0][key])


@pytest.mark.parametrize("name", ["hcn", "hcn-gap"])
def test_an_absent_person_neither_wins_the_maximum_nor_enters_statistics(name):
    torch.manual_seed(0)
    model = create_model(name, 4, SMALL, dropout=0).train()
    alone = copy.deepcopy(model)
    x = torch.randn(3, 2, 32, 15, 3)
    mask = torch.ones(3, 2, 32, 15, dtype=torch.bool)
    mask[:, 1] = False
    torch.testing.assert_close(model(x, mask), alone(x[:, :1]))
    for ours, theirs in zip(model.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_persons_are_interchangeable():
    model = create_model("hcn", 4, SMALL).eval()
    x = torch.randn(3, 2, 32, 15, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x.flip(1)))


def test_autocast_to_bfloat16_gives_nearly_the_same():
    torch.manual_seed(0)
    model = create_model("hcn-gap", 4, SMALL, dropout=0).train()
    x = torch.randn(3, 2, 32, 15, 3)
    full = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(x)
    assert half.dtype == torch.bfloat16
    half.float().sum().backward()
    torch.testing.assert_close(half.float(), full, rtol=0.1, atol=0.02)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({}, PoseShape(1, 15, get_layout("cad60"), 3), "15 frames are too few"),
        ({"widths": (64, 32, 32)}, NTU, "must be six"),
        ({"widths": (64, 8, 32, 64, 128, 256)}, NTU, "at least 16"),
    ],
)
def test_impossible_settings_are_refused(settings, shape, message):
    with pytest.raises(RecipeError, match=message):
        create_model("hcn", 4, shape, **settings)


def test_embedding_of_joints_is_two_convolutions():
    x = torch.randn(3, 9, 5, 2, dtype=torch.float32)
    first, second = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 4, (3, 1), padding=(1, 0))
    with torch.no_grad():
        expected = second(F.relu(first(x.permute(0, 3, 1, 2)))).permute(0, 2, 3, 1)
        torch.testing.assert_close(embed_joints(x, first.weight, first.bias, second.weight, second.bias), expected)


def test_convolution_has_the_gradients_of_pytorchs():
    layer = nn.Conv2d(3, 5, 3, padding=1)
    x = torch.randn(2, 3, 8, 6, requires_grad=True)
    inputs = (x, layer.weight, layer.bias)
    for ours, theirs in zip(
        torch.autograd.grad(conv2d(x, layer.weight, layer.bias, 1).square().sum(), inputs),
        torch.autograd.grad(layer(x).square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("layout", ["rows", "channels last", "transposed"])
def test_dropout_drops_its_share_and_keeps_the_mean(p, layout):
    x = torch.ones(16, 32, 20, 10)
    x = {"rows": x, "channels last": x.to(memory_format=torch.channels_last), "transposed": x.transpose(0, 3)}[layout].requires_grad_()
    torch.manual_seed(3)
    y = Dropout(p)(x)
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=0.01)
    assert y.detach().unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())  # x is all ones
    torch.manual_seed(3)
    assert torch.equal(Dropout(p)(x), y)


def test_dropout_passes_everything_when_evaluating():
    x = torch.randn(4, 5, requires_grad=True)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert not Dropout(1.0)(x).any()


def test_missing_joints_hold_their_last_values():
    x = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(1, 1, 5, 3, 2) * torch.tensor([1.0, 10.0, 100.0]).view(3, 1)
    mask = torch.tensor([[True, True, False, False, True], [False, False, True, True, False], [False] * 5]).T[None, None]
    filled = fill_missing(x, mask)[0, 0, :, :, 0]
    assert filled[:, 0].tolist() == [0, 1, 1, 1, 4]  # the last observed
    assert filled[:, 1].tolist() == [20, 20, 20, 30, 30]  # before the first: that one
    assert filled[:, 2].tolist() == [10, 10.5, 10.5, 15.5, 17]  # never seen: the mean of the others
    assert not fill_missing(x + 1, torch.zeros_like(mask)).any()
