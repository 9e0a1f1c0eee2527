"""The 3-D CNN: its sizes, and one rule for clips of any length."""

import pytest
import torch
from video_models import answer, check, check_example, make

from kinema.errors import RecipeError
from kinema.models.registry import VideoShape

SMALL = VideoShape(3, 29, 36, 48)
NARROW = {"channels": (4, 6), "hidden": (16, 12)}


@pytest.mark.parametrize(
    "config",
    [{}, {"norm": True, "grid": (2, 3), "bins": 1, "dropout": 0.5, "drop_channels": 0.1}, {"padding": "none", "pool": False, "bins": 3}],
    ids=["document", "pooled to a grid", "unpadded"],
)
def test_it_does_what_every_model_of_videos_does(config):
    check("cnn3d", SMALL, **NARROW, **config)


def test_three_convolutions_are_as_good_as_two():
    check("cnn3d", SMALL, channels=(4, 6, 8), kernels=(5, 3, 3), hidden=(16,), norm=True)


def maps(model, frames, height=90, width=120):
    """Shapes of the maps behind each convolution, and of the last one when it is pooled over time."""
    found = []
    hooks = [
        convolution.register_forward_hook(lambda *given: found.append(tuple(given[2].shape[1:]))) for convolution in model.convolutions
    ]
    channels = model.convolutions[0].in_channels
    with torch.no_grad():
        model.eval().forward_features(torch.zeros(1, channels, frames, height, width))
    for hook in hooks:
        hook.remove()
    return found


def test_sizes_are_those_of_the_document_and_time_goes_by_one_rule():
    model = make("cnn3d", VideoShape(3, 29, 90, 120), 101)
    assert [layer.out_features for layer in [*model.hidden, model.classifier]] == [2048, 2048, 101]
    assert model.hidden[0].in_features == 128 * 2 * 6 * 8
    assert [layer.kernel_size for layer in model.convolutions] == [(5, 5, 5), (3, 3, 3)]
    assert maps(model, 29) == [(64, 15, 45, 60), (128, 4, 12, 15)]
    assert maps(model, 19) == [(64, 10, 45, 60), (128, 3, 12, 15)]
    assert maps(model, 1) == [(64, 1, 45, 60), (128, 1, 12, 15)]


def test_sizes_of_the_lineage():
    with torch.device("meta"):
        model = make("cnn3d-lineage", VideoShape(1, 28, 256, 342), 101)
        assert model.hidden[0].in_features == 48 * 5 * 62 * 84
        assert [layer.out_features for layer in [*model.hidden, model.classifier]] == [256, 256, 101]
        features = [model.forward_features(torch.empty(2, 1, frames, 256, 342)) for frames in (28, 29, 19)]
    assert {each.shape for each in features} == {(2, 256)}


def test_what_a_clip_lasts_longer_it_does_not_forget():
    model = make("cnn3d", SMALL, **NARROW)
    still = torch.randn(1, 3, 1, 36, 48).expand(-1, -1, 29, -1, -1)
    last = still.clone()
    last[:, :, -1] += 3
    assert not torch.allclose(answer(model, video=still), answer(model, video=last))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"kernels": (5,)}, "as many odd kernels as channels"),
        ({"kernels": (5, 4)}, "odd kernels"),
        ({"hidden": (0,)}, "at least 1"),
        ({"padding": "same"}, "half or none"),
        ({"grid": (1, 0)}, "rows and columns"),
        ({"padding": "none", "kernels": (29, 29)}, "nothing is left of 29 frames x 36 x 48 pixels"),
    ],
)
def test_impossible_settings_are_refused(config, words):
    with pytest.raises(RecipeError, match=words):
        make("cnn3d", SMALL, **{**NARROW, **config})


def test_figures():
    parameters, multiply_adds = check_example("cnn3d")
    assert parameters == 29_628_041 + 92 * 2049 and 1.1e9 < multiply_adds < 1.2e9
