"""The inflated ResNet: Glimpse Clouds' form, its published sizes, and still clips that get the picture's logits."""

import pytest
import torch
from video_models import check

from kinema.errors import RecipeError
from kinema.models.registry import DepthShape, VideoShape, create_model
from kinema.models.resnet import ResNet, inflate

CLASSES = 5
# Millions, as Davoodikakhki and Yin print them, with heads of 2, 6 and 20 superclasses behind the first three stages.
PUBLISHED = {18: 33.7, 34: 64.0, 50: 46.8, 101: 85.8}
SMALL = VideoShape(3, 8, 32, 32)


def make(depth, shape=SMALL, classes=CLASSES, **config):
    torch.manual_seed(0)
    return create_model("inflated-resnet", classes, shape, depth=depth, **config)


@pytest.mark.parametrize("depth", PUBLISHED)
def test_sizes_are_the_published_ones(depth):
    with torch.device("meta"):
        model = make(depth, VideoShape(3, 8, 224, 224), 60)
        maps = model.network.conv1(torch.empty(1, 3, 8, 64, 64))
        heads = 0
        for name, superclasses in zip(model.network.stages(), (2, 6, 20, 0), strict=True):
            maps = model.network.get_submodule(name)(maps)
            assert maps.shape[2] == 8, "no stride over time"
            heads += (maps.shape[1] + 1) * superclasses
    total = (sum(parameter.numel() for parameter in model.parameters()) + heads) / 1e6
    assert total == pytest.approx(PUBLISHED[depth], rel=0.02)


@pytest.mark.parametrize("depth", [18, 50])
def test_every_3x3_spans_three_frames_and_nothing_else_does(depth):
    with torch.device("meta"):
        network = make(depth).network
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv3d):
            assert module.kernel_size in ((1, 7, 7), (3, 3, 3), (1, 1, 1)), name
            assert module.stride[0] == 1 and (module.kernel_size[0] == 3) == (module.kernel_size[1] == 3), name
    assert network.maxpool.kernel_size == (1, 3, 3)


def flat(depth):
    torch.manual_seed(0)
    network = ResNet(depth, CLASSES).train()
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(2, 3, 32, 32))
    return network.eval()


@pytest.mark.parametrize("depth", [18, 50])
@torch.no_grad()
def test_a_still_clip_gets_the_pictures_logits(depth):
    pictures, model = flat(depth), make(depth).eval()
    model.network.load_state_dict(inflate(pictures.state_dict(), model.network))
    image = torch.randn(2, 3, 32, 32)
    still = image.unsqueeze(2).expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(model(still), pictures(image), rtol=1e-4, atol=1e-4)
    kernel = model.network.get_submodule("layer2.0.conv2").weight
    assert not kernel[:, :, [0, 2]].any() and torch.equal(kernel[:, :, 1], pictures.layer2[0].conv2.weight)


def test_it_does_what_every_model_of_videos_does():
    check("inflated-resnet", VideoShape(3, 4, 32, 32), depth=18, stages=3)


def test_its_stages_are_submodules_whose_outputs_have_channels_second():
    model = make(18, stages=3).eval()
    seen = {}
    for name in model.stages():
        model.get_submodule(name).register_forward_hook(lambda module, given, output, name=name: seen.update({name: output.shape}))
    with torch.no_grad():
        model(torch.randn(2, 3, 4, 32, 32))
    assert {name: tuple(shape) for name, shape in seen.items()} == {
        "network.layer1": (2, 64, 4, 8, 8),
        "network.layer2": (2, 128, 4, 4, 4),
        "network.layer3": (2, 256, 4, 2, 2),
    }


@torch.no_grad()
def test_depth_videos_are_seen_as_grey_pictures():
    torch.manual_seed(0)
    depth = torch.rand(2, 1, 4, 32, 32)
    model = create_model("inflated-resnet-depth", CLASSES, DepthShape(1, 32, 32, 4), depth=18).eval()
    of_videos = make(18).eval()
    of_videos.load_state_dict(model.state_dict())
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1, 1)
    torch.testing.assert_close(model(depth), of_videos((depth - mean) / deviation))


@pytest.mark.parametrize("shape", [DepthShape(2, 32, 32, 4), DepthShape(1, 32, 32)], ids=["two channels", "pictures"])
def test_depth_of_another_form_is_refused(shape):
    with pytest.raises(RecipeError, match="depth videos of one channel"):
        create_model("inflated-resnet-depth", CLASSES, shape)
