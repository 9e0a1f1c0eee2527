"""Handcrafted features of motion, and the inflated residual network that they are fused with."""

import pytest
import torch
from video_models import answer, check, make

from kinema.errors import RecipeError
from kinema.models.registry import VideoShape
from kinema.training.recipe import InitConfig
from kinema.training.transfer import initialise

SHAPE = VideoShape(3, 8, 32, 40)


def test_histograms_do_what_every_model_of_videos_does():
    check("motion-histograms", SHAPE)


def test_the_inflated_network_does_what_every_model_of_videos_does():
    check("resnet3d", VideoShape(3, 4, 32, 32), stages=2, norm="fixed", time_kernels=(3, 3, 3, 1, 1))


def moving(direction: tuple[int, int], frames: int = 8) -> torch.Tensor:
    """A blurred square that moves (rows, columns) pixels a frame."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    pictures = []
    for t in range(frames):
        y, x = 32 + direction[0] * (t - frames / 2), 32 + direction[1] * (t - frames / 2)
        pictures.append(torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 60))
    return torch.stack(pictures)[None, None].expand(1, 3, -1, -1, -1)


@pytest.mark.parametrize(("direction", "bin_"), [((0, 1), 0), ((1, 0), 2), ((0, -1), 4), ((-1, 0), 6)], ids=["right", "down", "left", "up"])
def test_normal_flow_points_where_things_go(direction, bin_):
    model = make("motion-histograms", VideoShape(3, 8, 64, 64), cells=(1, 1, 1)).eval()
    flow = model._histograms(moving(direction))[0, 16:24]
    assert int(flow.argmax()) == bin_
    still = model._histograms(moving((0, 0)))[0, 16:]
    assert still[8] == pytest.approx(1) and float(still[:8].sum()) == pytest.approx(0)


def test_neither_brightness_nor_contrast_counts():
    model = make("motion-histograms", SHAPE)
    video = moving((0, 1))
    torch.testing.assert_close(answer(model, video=3 * video + 1), answer(model, video=video), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("config", "shape"), [({"bins": 1}, SHAPE), ({"cells": (1, 1)}, SHAPE), ({}, VideoShape(3, 1, 32, 32))])
def test_impossible_settings_are_refused(config, shape):
    with pytest.raises(RecipeError, match="at least 2"):
        make("motion-histograms", shape, **config)


def test_weights_of_images_are_repeated_over_time(models):
    model = make("resnet3d", VideoShape(3, 4, 32, 32), norm="fixed", stages=3)
    path = models("resnet18_imagenet_partial.pt")
    account = initialise(model, InitConfig(bundle=str(path), arch="resnet18"))
    assert {name for name in account.remade} == {"network.fc.weight", "network.fc.bias"}
    weight = torch.load(path, weights_only=True)["layer2.0.conv1.weight"]
    torch.testing.assert_close(model.network.layer2[0].conv1.weight.sum(2), weight)
