"""ResNet: torchvision's names and sizes, and the network of clips that a network of images inflates to."""

import pytest
import torch

from kinema.errors import DataError, RecipeError
from kinema.models.resnet import ResNet, inflate


def test_names_and_shapes_are_those_of_published_weights(models):
    published = torch.load(models("resnet18_imagenet_partial.pt"), weights_only=True)
    network = ResNet(18)
    ours = network.state_dict()
    assert {name: tensor.shape for name, tensor in published.items()} == {name: ours[name].shape for name in published}
    missing = {f"layer4.{block}.conv{i}.weight" for block in (0, 1) for i in (1, 2)}
    assert set(ours) - set(published) == missing
    assert set(network.load_state_dict(published, strict=False).missing_keys) == missing
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 64, 64)).isfinite().all()


def test_names_of_bottlenecks():
    with torch.device("meta"):
        state = ResNet(50).state_dict()
    for name, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.conv2.weight": (64, 64, 3, 3),
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.bn3.running_var": (256,),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.bias": (256,),
        "layer4.2.conv1.weight": (512, 2048, 1, 1),
        "fc.weight": (1000, 2048),
    }.items():
        assert state[name].shape == shape, name
    assert len(state) == 320


def pair(depth=18, **clips):
    """A network of images with some statistics in its norms, and the network of clips inflated from it."""
    torch.manual_seed(0)
    flat = ResNet(depth, 7).train()
    with torch.no_grad():
        for _ in range(2):
            flat(torch.randn(2, 3, 32, 32))
    solid = ResNet(depth, 7, dims=3, **clips)
    solid.load_state_dict(inflate(flat.state_dict(), solid))
    return flat.eval(), solid.eval()


@pytest.mark.parametrize(
    "depth, clips",
    [(18, {}), (50, {"time_kernels": (3, 3, 1, 3, 1)}), (18, {"time_kernels": (7, 1, 1, 3, 3), "time_strides": (2, 1, 1, 1, 1)})],
    ids=["18", "50", "other kernels and strides"],
)
@torch.no_grad()
def test_a_still_clip_gets_the_pictures_logits(depth, clips):
    flat, solid = pair(depth, **clips)
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(solid(image.unsqueeze(2).expand(-1, -1, 5, -1, -1)), flat(image), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_order_of_frames_counts_where_kernels_span_several():
    clip = torch.randn(1, 3, 8, 32, 32)
    _, solid = pair()
    torch.nn.init.normal_(solid.layer1[0].conv1.weight, std=0.1)  # an inflated kernel has no direction
    assert not torch.allclose(solid(clip), solid(clip.flip(2)), rtol=1e-2)
    _, frames = pair(time_kernels=(1,) * 5, time_strides=(1,) * 5)
    torch.testing.assert_close(frames(clip), frames(clip.flip(2)), rtol=1e-4, atol=1e-4)


def test_strides_over_time_shorten_the_map():
    with torch.device("meta"):
        network = ResNet(18, dims=3, time_strides=(2, 1, 1, 2, 2))
        assert network.forward_map(torch.empty(1, 3, 16, 64, 64)).shape == (1, 512, 2, 2, 2)


def test_inflating_leaves_out_what_is_not_there_and_refuses_other_shapes():
    flat, solid = ResNet(18, 7).state_dict(), ResNet(18, 7, dims=3)
    del flat["layer4.0.conv1.weight"]
    assert set(solid.state_dict()) - set(inflate(flat, solid)) == {"layer4.0.conv1.weight"}
    with pytest.raises(DataError, match=r"'fc.weight' has shape \(9, 512\)"):
        inflate(ResNet(18, 9).state_dict(), solid)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"depth": 19}, "unknown ResNet depth '19'"),
        ({"dims": 4}, "dims 2 or 3"),
        ({"dims": 3, "time_kernels": (2, 3, 3, 3, 3)}, "odd time_kernels"),
        ({"dims": 3, "time_strides": (1, 1)}, "five time_strides"),
    ],
)
def test_impossible_settings_are_refused(wrong, words):
    with pytest.raises(RecipeError, match=words):
        ResNet(**wrong)
