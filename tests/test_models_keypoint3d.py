"""The network on raw key points: its published form, layer by layer, and what each setting changes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models._count import count
from kinema.models.keypoint3d import KeypointCNN3DConfig
from kinema.models.registry import PoseShape, create_model, model_info
from kinema.training.optimizers import Loss
from kinema.training.recipe import FitConfig

SHAPE = PoseShape(2, 32, get_layout("coco17"), 2)
NARROW = (4, 4, 8, 8, 8, 8, 8, 8)
ORDERS = ("joints", "persons", "coordinates")


def make(shape=SHAPE, classes=5, **config):
    torch.manual_seed(0)
    return create_model("keypoint-cnn3d", classes, shape, **{"widths": NARROW, "normalise": "none", **config}).eval()


def clips(shape=SHAPE, batch=3):
    return torch.randn(batch, shape.persons, shape.frames, len(shape.layout), shape.channels, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("order", "dims", "features"),
    [("joints", 2, 18432), ("persons", 2, 12288), ("joints", 3, 512 * 6 * 7), ("persons", 3, 512 * 4 * 7)],
)
def test_fully_connected_layers_are_as_wide_as_published(order, dims, features):
    shape = replace(SHAPE, channels=dims)
    model = create_model("keypoint-cnn3d", 60, shape, order=order)
    assert model.num_features == features and model.fc1.weight.shape == (512, features) and model.fc2.weight.shape == (60, 512)
    widths = [(layer.conv.in_channels, layer.conv.out_channels) for layer in model.layers]
    first = 17 if order == "joints" else 2
    assert widths == [(first, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 512), (512, 512)]
    assert all(layer.conv.kernel_size == (3, 2, 2) and layer.conv.padding == (1, 1, 1) for layer in model.layers)


@pytest.mark.parametrize("order", ["joints", "persons"])
def test_the_published_form_is_that_of_plain_layers(order):
    """Convolution, norm, ReLU; average pools of (3, 2, 2) moving by 2 in time, and by 2 over joints where these are an axis."""
    model, x = make(order=order), clips()
    for layer in model.layers:
        nn.init.normal_(layer.norm.running_mean, std=0.3)
        nn.init.uniform_(layer.norm.running_var, 0.5, 2)
    y = x.permute(0, 3, 2, 1, 4) if order == "joints" else x
    stride = (2, 1, 1) if order == "joints" else (2, 2, 1)
    with torch.no_grad():
        for i, layer in enumerate(model.layers):
            if i in (1, 2, 4, 6):
                y = F.avg_pool3d(y, (3, 2, 2), stride)
            norm = layer.norm
            y = F.conv3d(y, layer.conv.weight, None, 1, (1, 1, 1))
            y = F.relu(F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps))
        wanted = model.fc2(model.fc1(y.flatten(1)))
        torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("frames", [2, 13, 32])
@pytest.mark.parametrize("setting", [{}, {"pool_space": False}, {"mix_joints": 6, "motion": True}, {"hidden": 0}, {"activation": True}])
def test_every_setting_works_with_every_order_and_length(order, frames, setting):
    shape = PoseShape(1, frames, get_layout("jhmdb15"), 3)
    model, x = make(shape, order=order, **setting), clips(shape)
    with torch.no_grad():
        assert model(x).shape == (3, 5) and model(x).isfinite().all()
        assert model.forward_features(x).shape == (3, model.num_features)


def test_norms_never_switch_where_the_published_fault_is_asked_for():
    faulty, sound, x = make(batch_statistics=True), make(), clips()
    sound.load_state_dict(faulty.state_dict())
    with torch.no_grad():
        assert not torch.allclose(faulty(x)[:1], faulty(x[:1]), atol=1e-4), "the rest of the batch should matter"
        torch.testing.assert_close(sound(x)[:1], sound(x[:1]), rtol=1e-4, atol=1e-5)
        assert not faulty.training and all(layer.norm.training for layer in faulty.layers)


def test_one_image_size_for_all_clips_or_the_clips_own_box():
    x = 100 + 30 * clips()
    by_image = make(normalise="image", image_size=[200, 50])
    torch.testing.assert_close(by_image._points(x, None), x / torch.tensor([200.0, 50.0]))
    by_box = make(normalise="box")
    points = by_box._points(x, None)
    assert points.abs().max() <= 1 + 1e-5 and points.flatten(1).abs().amax(1).min() > 1 - 1e-4
    torch.testing.assert_close(by_box._points(7 * x - 3, None), points, rtol=1e-3, atol=1e-3)


def test_motion_is_further_coordinates_and_absent_persons_are_zeros():
    model, x = make(motion=True, normalise="box", order="coordinates"), clips()
    mask = torch.ones(x.shape[:4], dtype=torch.bool)
    mask[0, 1] = False
    points = model._points(x, mask)
    assert points.shape[-1] == 4 and not points[0, 1].any() and not points[:, :, 0, :, 2:].any()
    torch.testing.assert_close(points[:, :, 1:, :, 2:], points[:, :, 1:, :, :2] - points[:, :, :-1, :, :2])


def test_mixing_makes_the_order_of_joints_immaterial_to_what_can_be_learnt():
    model, x = make(order="persons", mix_joints=6), clips()
    order = torch.randperm(17)
    with torch.no_grad():
        answer = model(x)
        model.mix.weight.copy_(model.mix.weight[:, order])
        torch.testing.assert_close(model(x[:, :, :, order]), answer, rtol=1e-4, atol=1e-4)


def test_squared_error_is_that_of_probabilities_and_one_hot_labels():
    logits, labels = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 4, 2, 2])
    loss = Loss(FitConfig(loss="mse"), torch.ones(5))
    wanted = F.mse_loss(logits.softmax(1), F.one_hot(labels, 5).float())
    torch.testing.assert_close(loss(logits, loss.targets(labels)).mean(), wanted)


def test_it_costs_less_than_a_fiftieth_of_poseconv3d_in_its_third_order():
    shape = model_info("poseconv3d").example
    heatmaps = count(create_model("poseconv3d", 60, shape), shape)[1]
    raw = model_info("keypoint-cnn3d").example
    assert 50 * count(create_model("keypoint-cnn3d", 60, raw, order="coordinates"), raw)[1] < heatmaps


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"order": "person"}, "unknown order 'person'; did you mean 'persons'"),
        ({"normalise": "boxes"}, "unknown normalise 'boxes'; did you mean 'box'"),
        ({"widths": [8, 8]}, "widths .* must be eight channel numbers"),
        ({"normalise": "image", "image_size": [0, 0]}, "image_size .* width and height in pixels are expected"),
    ],
)
def test_impossible_settings_say_what_would_be_right(config, message):
    with pytest.raises(RecipeError, match=message):
        make(**config)


def test_defaults_are_the_published_network():
    assert KeypointCNN3DConfig() == model_info("keypoint-cnn3d").defaults and KeypointCNN3DConfig().order == "joints"
