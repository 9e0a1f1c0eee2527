"""Image networks by name: published sizes and names, both image sizes, one way to take the head off."""

import pytest
import torch

from kinema.errors import RecipeError
from kinema.models.backbones import BACKBONES, create_backbone

# With 1000 classes and 3 channels. Ours of AlexNet has 2 304 more in batch norms.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "alexnet": 61_100_840 + 2_304,
}
# Some of torchvision's names.
NAMES = {
    "vgg16": {
        "features.0.weight": (64, 3, 3, 3),
        "features.28.bias": (512,),
        "classifier.0.weight": (4096, 25088),
        "classifier.6.bias": (1000,),
    },
    "vgg16_bn": {"features.1.running_mean": (64,), "features.40.weight": (512, 512, 3, 3), "classifier.3.weight": (4096, 4096)},
    "densenet121": {
        "features.conv0.weight": (64, 3, 7, 7),
        "features.denseblock1.denselayer1.norm1.weight": (64,),
        "features.denseblock4.denselayer16.conv2.weight": (32, 128, 3, 3),
        "features.transition1.conv.weight": (128, 256, 1, 1),
        "features.norm5.weight": (1024,),
        "classifier.weight": (1000, 1024),
    },
    "densenet161": {"features.denseblock3.denselayer36.conv1.weight": (192, 2064, 1, 1), "classifier.weight": (1000, 2208)},
    "alexnet": {
        "features.0.weight": (64, 3, 11, 11),
        "features.3.weight": (192, 64, 5, 5),
        "features.6.weight": (384, 192, 3, 3),
        "features.8.weight": (256, 384, 3, 3),
        "features.10.bias": (256,),
        "classifier.1.weight": (4096, 9216),
        "classifier.4.weight": (4096, 4096),
        "classifier.6.weight": (1000, 4096),
    },
}
KINDS = ("resnet18", "vgg16_bn", "densenet121", "alexnet", "small")
LIGHT = ("resnet18", "densenet121", "small")  # those that are quick to make


def meta(name, classes=1000, channels=3, size=224):
    with torch.device("meta"):
        return create_backbone(name, classes, channels, size)


@pytest.mark.parametrize("name", PARAMETERS)
def test_sizes_and_names_as_published(name):
    network = meta(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    state = network.state_dict()
    for key, shape in NAMES.get(name, {}).items():
        assert state[key].shape == shape, key


@pytest.mark.parametrize("name, size", [*((name, 50) for name in BACKBONES), *((name, 224) for name in KINDS)])
@torch.no_grad()
def test_both_sizes_and_any_number_of_channels(name, size):
    network = meta(name, classes=27, channels=5, size=size).eval()
    features = network.forward_features(torch.empty(2, 5, size, size, device="meta"))
    assert features.shape == (2, network.num_features)
    assert network.forward_head(features).shape == (2, 27)


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_the_head_is_what_its_prefixes_say(name):
    network = meta(name, classes=27, channels=1, size=50).eval()
    before = {key: parameter for key, parameter in network.named_parameters()}
    network.reset_classifier(4)
    changed = {key for key, parameter in network.named_parameters() if parameter is not before[key]}
    assert changed == {key for key in before if key.startswith(network.head_prefixes())} != set()
    images = torch.empty(2, 1, 50, 50, device="meta")
    assert network(images).shape == (2, 4)
    network.remove_classifier()
    assert network(images).shape == (2, network.num_features)
    assert not [key for key, _ in network.named_parameters() if key.startswith(network.head_prefixes())]
    network.remove_classifier(hidden=True)
    assert network.forward_map(images).shape[1] == network.map_channels
    assert not [key for key, _ in network.named_parameters() if key.startswith("classifier")]


@pytest.mark.parametrize("name", LIGHT)
def test_trains_on_small_images(name):
    torch.manual_seed(0)
    network = create_backbone(name, 3, 2, 50)
    images = torch.randn(4, 2, 50, 50)
    torch.nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 0])).backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0 for parameter in network.parameters())
    with torch.no_grad():
        whole = network.eval()(images)
        torch.testing.assert_close(network.forward_head(network.forward_features(images)), whole)
        torch.testing.assert_close(network(images[1:2]), whole[1:2], rtol=1e-4, atol=1e-5)


def test_alexnet_trains_on_small_images_and_is_the_published_one_at_224_but_for_norms_and_padding():
    small, large = meta("alexnet", size=50), meta("alexnet", size=224)
    assert small.features["0"].stride == (2, 2) and large.features["0"].stride == (4, 4)
    assert small.forward_map(torch.empty(1, 3, 50, 50, device="meta")).shape == (1, 256, 3, 3)
    assert large.forward_map(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 256, 7, 7)


def test_densenets_published_files_number_norms_and_convolutions():
    network = create_backbone("densenet121", 3, 3, 50)
    published = {}
    for key, tensor in network.state_dict().items():
        for part in ("norm", "conv"):
            for i in "12":
                key = key.replace(f".{part}{i}.", f".{part}.{i}.") if "denselayer" in key else key
        published[key] = torch.full_like(tensor, 0.25) if tensor.is_floating_point() else tensor
    assert "features.denseblock1.denselayer1.norm.1.weight" in published
    network.load_state_dict(published)
    assert all((parameter == 0.25).all() for parameter in network.parameters())


def test_dropout_is_before_the_last_layer():
    network = create_backbone("small", 3, 1, 50, dropout=0.5).train()
    features = torch.randn(4, network.num_features)
    assert not torch.equal(network.forward_head(features), network.forward_head(features))
    assert torch.equal(network.eval().forward_head(features), network.forward_head(features))


@pytest.mark.parametrize("name, size, words", [("resnet19", 50, "did you mean 'resnet1"), ("small", 20, "at least 32")])
def test_impossible_settings_are_refused(name, size, words):
    with pytest.raises(RecipeError, match=words):
        create_backbone(name, 3, 1, size)
