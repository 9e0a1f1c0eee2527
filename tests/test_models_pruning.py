"""Filters that go, stay away in training, and are really gone once a network is compact."""

import copy
from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from kinema.bundle import Bundle, load, save
from kinema.errors import BundleError
from kinema.layout import get_layout
from kinema.models._compact import compact, compacted
from kinema.models._count import count
from kinema.models._prune import Layer, PruningError, choose, hold, prunable, pruned_of, zero
from kinema.models.registry import VideoShape, create_model, model_infos
from kinema.models.resnet import ResNet
from kinema.pruned import Pruned, PrunedLayer
from kinema.shape import DepthShape, InertialShape, PoseShape, Shapes
from kinema.training.optimizers import MovingAverage
from kinema.transforms.config import PoseInput
from kinema.transforms.video_config import VideoInput

# Small ones of the kinds that models take, and settings that make them small.
POSE = PoseShape(2, 20, get_layout("ntu25"), 3)
SHORT = {"frames": 0, "size": 32, "length": 0}
EXAMPLES = {
    "poseconv3d": PoseShape(1, 8, get_layout("coco17"), 3),
    "rgbpose-conv3d": Shapes(pose=PoseShape(1, 8, get_layout("coco17"), 3), video=VideoShape(3, 2, 128, 128)),
    "cnn3d-lineage": VideoShape(1, 9, 64, 64),
}
MODELS = [name for name, info in model_infos().items() if not hasattr(info.build, "fit_samples") and name != "motion-histograms"]


def small_shape(name):
    example = model_infos()[name].example
    if name in EXAMPLES:
        return EXAMPLES[name]
    return {
        "VideoShape": lambda s: replace(s, frames=5, height=40, width=40),
        "DepthShape": lambda s: replace(s, frames=s.frames and 6, height=min(s.height, 64), width=min(s.width, 64)),
        "PoseShape": lambda s: s if s.channels != 3 else replace(s, frames=min(s.frames, 16)),
        "InertialShape": lambda s: s,
        "Shapes": lambda s: s,
    }[type(example).__name__](example)


def lively(model, seed=0):
    """Weights as after training: norms with scales, shifts and statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.weight.copy_(0.5 + torch.rand(module.num_features, generator=generator))
                module.bias.copy_(0.3 * torch.randn(module.num_features, generator=generator))
                module.running_mean.copy_(0.3 * torch.randn(module.num_features, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return model.eval()


def made(name, shape, **config):
    torch.manual_seed(0)
    known = {field.name for field in fields(model_infos()[name].defaults)}
    return lively(create_model(name, 4, shape, **{key: value for key, value in SHORT.items() if key in known} | config))


def pruned(model, shape, share=0.4, scope="layer"):
    layers = prunable(model, shape)
    found = pruned_of(layers, choose(model, layers, share, scope))
    zero(model, found)
    return found


def answers(model, shape, batch=3, seed=1):
    torch.manual_seed(seed)
    inputs = shape.example(batch)
    with torch.no_grad():
        return model(**inputs)


@pytest.mark.parametrize("name", MODELS)
def test_every_network_answers_the_same_once_it_is_compact(name):
    shape = small_shape(name)
    model = made(name, shape)
    about = pruned(model, shape)
    before = answers(model, shape)
    small, told = compacted(model, about, shape)
    torch.testing.assert_close(answers(small, shape), before, rtol=1e-4, atol=1e-4)
    assert told.compact and told.removed == about.removed
    (whole, work), (fewer, less) = count(model, shape), count(small, shape)
    assert fewer < whole and less <= work
    # Another network of the same kind, made compact as it is told, takes the weights.
    other = compact(made(name, shape), told)
    other.load_state_dict(small.state_dict())
    torch.testing.assert_close(answers(other, shape), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize("kind", ["images", "clips", "shifted"])
@pytest.mark.parametrize("scope", ["layer", "all"])
def test_a_compact_resnet_has_lost_as_many_weights_as_filters(depth, kind, scope):
    torch.manual_seed(0)
    settings = {"images": {}, "clips": {"dims": 3, "inflate": "3x3", "ends": "zeros"}, "shifted": {"shift": 0.25}}[kind]
    model = lively(ResNet(depth, 5, stages=3, **settings))
    x = torch.randn(2, 3, 3, 32, 32) if kind == "clips" else torch.randn(4, 3, 32, 32)
    features = {"clips": lambda m: m.forward_map(x), "images": lambda m: m.forward_map(x), "shifted": lambda m: m.forward_map(x, 2)}[kind]
    shape = VideoShape(3, 3, 32, 32) if kind == "clips" else DepthShape(3, 32, 32)
    wrapped = _Takes(model, "video" if kind == "clips" else "depth")
    layers = prunable(wrapped, shape)
    assert {layer.conv for layer in layers} == {f"network.{name}" for name, _ in _convolutions(model) if name != "conv1"}
    assert all(layer.norm for layer in layers)
    share = 0.3 if scope == "layer" else 0.05
    about = pruned_of(layers, choose(wrapped, layers, share, scope))
    zero(wrapped, about)
    small = compact(copy.deepcopy(wrapped), replace(about, compact=True))
    with torch.no_grad():
        expected = features(model)
        torch.testing.assert_close(features(small.network), expected, rtol=1e-4, atol=1e-4 * max(1, expected.abs().max().item()))
    # With gradients too, whose graph must not be spoilt by sums in place.
    small.network.forward_features(x[:2]).sum().backward() if kind != "shifted" else None
    kept = sum(value.numel() for value in small.parameters())
    assert kept < (0.75 if scope == "layer" else 1) * sum(value.numel() for value in model.parameters())


def test_channels_that_no_block_of_a_stage_makes_leave_its_stream():
    model = lively(ResNet(18, 5, stages=2))
    gone = tuple(range(0, 128, 4))
    names = ["layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv2"]
    norms = ["layer2.0.bn2", "layer2.0.downsample.1", "layer2.1.bn2"]
    about = Pruned(tuple(PrunedLayer(conv, norm, gone) for conv, norm in zip(names, norms, strict=True)))
    zero(model, about)
    small = compact(copy.deepcopy(model), replace(about, compact=True))
    assert small.layer2[1].conv1.in_channels == small.layer2[0].conv2.out_channels == small.layer2[0].downsample.out_channels == 96
    x = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-4)


class _Takes(nn.Module):
    """A network under the name of what it takes."""

    def __init__(self, network, name):
        super().__init__()
        self.network, self.name = network, name

    def forward(self, **inputs):
        return self.network(inputs[self.name])

    def head_prefixes(self):
        return ("network.fc.",)


def _convolutions(model):
    return [(name, module) for name, module in model.named_modules() if isinstance(module, _ConvNd)]


def test_stems_and_heads_are_left_alone():
    left = {
        "resnet3d": {"network.conv1"},
        "hcn": {"joint.conv1", "motion.conv1"},
        "hcn-gap": {"joint.conv1", "motion.conv1"},
        "poseconv3d-c3d": {"conv1a.conv"},
        "memory-attention-cnn": {"cnn.conv1", "depth_cnn.conv1"},
    }
    for name, stems in left.items():
        shape = small_shape(name)
        model = made(name, shape)
        assert {conv for conv, _ in _convolutions(model)} - {layer.conv for layer in prunable(model, shape)} == stems, name


class _Plain(nn.Module):
    """Three layers whose filters' norms are known: 1, 2, 3 ... in the first that is pruned, ten times as much in the second."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(3, 4, 3, padding=1)
        self.one, self.norm = nn.Conv1d(4, 10, 3, padding=1), nn.BatchNorm1d(10)
        self.two = nn.Conv1d(10, 20, 3, padding=1)
        self.fc = nn.Linear(20, 5)
        with torch.no_grad():
            for conv, factor in ((self.one, 1), (self.two, 10)):
                size = torch.arange(1, conv.out_channels + 1) * factor
                conv.weight.mul_((size / conv.weight.flatten(1).norm(dim=1)).view(-1, 1, 1))

    def forward(self, inertial):
        return self.fc(self.two(self.norm(self.one(self.stem(inertial))).relu()).relu().mean(2))

    def head_prefixes(self):
        return ("fc.",)


SIGNALS = InertialShape(3, 16)
LAYERS = [Layer("one", "norm", 10), Layer("two", "", 20)]


@pytest.mark.parametrize(
    ("share", "scope", "one", "two"),
    [
        (0.1, "layer", 1, 2),
        (0.3, "layer", 3, 6),
        (0.1, "all", 3, 0),
        (0.3, "all", 9, 0),
        (0.04, "all", 1, 0),
        (0.5, "layer", 5, 10),
    ],
)
def test_the_smallest_filters_go_by_layer_or_altogether(share, scope, one, two):
    model = _Plain()
    assert prunable(model, SIGNALS) == LAYERS
    expected = {name: tuple(range(number)) for name, number in (("one", one), ("two", two)) if number}
    assert choose(model, LAYERS, share, scope) == expected


def test_what_is_gone_is_chosen_again_by_a_larger_share():
    model = _Plain()
    with torch.no_grad():
        model.two.weight[[7, 11]] = 0
    assert {7, 11} <= set(choose(model, LAYERS, 0.1, "layer")["two"])
    assert choose(model, LAYERS, 0.1, "all") == {"one": (0,), "two": (7, 11)}


@pytest.mark.parametrize(
    ("share", "scope", "told"),
    [
        (0.0, "all", "0 % of all"),
        (1.0, "layer", "100 % of all"),
        (-0.1, "layer", "-10 %"),
        (0.4, "all", "all 10 of one"),
        (0.96, "layer", "all 10 of one"),
        (0.001, "layer", "less than one"),
    ],
)
def test_shares_that_leave_nothing_or_take_nothing_are_told(share, scope, told):
    with pytest.raises(PruningError, match=told):
        choose(_Plain(), LAYERS, share, scope)


def test_networks_without_anything_to_prune_are_told():
    with pytest.raises(PruningError, match="no convolutions"):
        prunable(nn.Linear(3, 3), SIGNALS)

    class One(_Plain):
        def forward(self, inertial):
            return self.fc(torch.cat([self.stem(inertial).mean(2)] * 5, 1))

    one = One()
    with pytest.raises(PruningError, match="between its stem and its head"):
        prunable(one, SIGNALS)


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1),
    ],
)
def test_filters_that_are_held_stay_zero_under_every_optimiser(optimiser):
    torch.manual_seed(0)
    model = lively(_Plain()).train()
    about = pruned_of(LAYERS, choose(model, LAYERS, 0.3, "layer"))
    hold(model, about)
    assert model.pruned == about
    stepper, average = optimiser(model.parameters()), MovingAverage(model, 0.9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(5):
        model(torch.randn(4, 3, 16)).square().sum().backward()
        stepper.step()
        stepper.zero_grad()
        average.update(model)
    for network in (model, average.model):
        for name, gone in about.removed.items():
            layer = network.get_submodule(name)
            assert not layer.weight[list(gone)].any() and not layer.bias[list(gone)].any()
        assert not network.norm.weight[:3].any() and not network.norm.bias[:3].any()
    for name in ("one.weight", "two.weight", "norm.weight", "fc.weight"):
        assert not torch.equal(model.state_dict()[name], before[name]), f"{name} does not train"


def test_a_transposed_and_a_depthwise_convolution_become_compact():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.up = nn.Conv1d(3, 8, 3, padding=1), nn.ConvTranspose1d(8, 12, 4, 2, 1)
            self.each, self.last = nn.Conv1d(12, 12, 3, padding=1, groups=12), nn.Conv1d(12, 6, 1)
            self.fc = nn.Linear(6, 2)

        def forward(self, inertial):
            return self.fc(self.last(self.each(self.up(self.stem(inertial)).relu())).sigmoid().mean(2))

        def head_prefixes(self):
            return ("fc.",)

    torch.manual_seed(0)
    model = Both().eval()
    about = pruned(model, SIGNALS, 0.5)
    assert {layer.conv: len(layer.removed) for layer in about.layers} == {"up": 6, "each": 6, "last": 3}
    small, _ = compacted(model, about, SIGNALS)
    assert small.up.weight.shape == (8, 6, 4) and small.each.weight.shape == (6, 1, 3) and small.last.weight.shape[0] == 3
    torch.testing.assert_close(answers(small, SIGNALS), answers(model, SIGNALS))


VIDEO = VideoInput(frames=4, height=32, width=32)


def bundle_of(state, about, **changes):
    return replace(Bundle("a", "resnet3d", {"stages": 2}, ("a", "b"), PoseInput(), 0, state, video=VIDEO, pruned=about), **changes)


@pytest.fixture(scope="module")
def compact_bundle():
    torch.manual_seed(0)
    model = lively(create_model("resnet3d", 2, VIDEO.shape, stages=2))
    small, told = compacted(model, pruned(model, VIDEO.shape), VIDEO.shape)
    return bundle_of(small.state_dict(), told), answers(small, VIDEO.shape)


def test_a_compact_bundle_comes_back_and_builds_straight_away(compact_bundle, tmp_path):
    bundle, expected = compact_bundle
    again = load(save(bundle, tmp_path / "small.safetensors"))
    assert again.pruned == bundle.pruned and again.hash == bundle.hash
    assert torch.equal(answers(again.build(), VIDEO.shape), expected)
    assert again.to_dict()["pruned"] == bundle.pruned.to_dict()
    whole = bundle_of(create_model("resnet3d", 2, VIDEO.shape, stages=2).state_dict(), None)
    assert "pruned" not in str(save(whole, tmp_path / "whole.safetensors").read_bytes()[:4000])
    assert (tmp_path / "small.safetensors").stat().st_size < 0.8 * (tmp_path / "whole.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda layers: [replace(layers[0], conv="network.layer9.conv1"), *layers[1:]], "does not have"),
        (lambda layers: [replace(layers[0], norm="network.fc"), *layers[1:]], "does not have"),
        (lambda layers: [replace(layers[0], removed=(0, 999)), *layers[1:]], "do not fit its 64"),
        (lambda layers: [replace(layers[0], removed=tuple(range(64))), *layers[1:]], "do not fit its 64"),
        (lambda layers: [replace(layers[0], unread=(64,)), *layers[1:]], "not read"),
        (lambda layers: layers[1:], "do not fit model"),
        (lambda layers: [replace(layers[0], removed=layers[0].removed[1:]), *layers[1:]], "do not fit model"),
    ],
)
def test_a_bundle_whose_pruned_filters_do_not_fit_is_refused(compact_bundle, change, told):
    bundle, _ = compact_bundle
    about = replace(bundle.pruned, layers=tuple(change(list(bundle.pruned.layers))))
    with pytest.raises(BundleError, match=told):
        replace(bundle, pruned=about).build()


LAYER = {"conv": "a", "norm": "", "removed": [0, 2], "unread": []}


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {"compact": True},
        {"compact": 1, "layers": [LAYER]},
        {"compact": True, "layers": []},
        {"compact": True, "layers": "all"},
        {"compact": True, "layers": [LAYER, LAYER]},
        *(
            {"compact": True, "layers": [{**LAYER, **change}]}
            for change in (
                {"conv": ""},
                {"conv": 3},
                {"norm": None},
                {"removed": [2, 0]},
                {"removed": [0, 0]},
                {"removed": [-1]},
                {"removed": [0.0]},
                {"removed": [True]},
                {"removed": "0"},
                {"removed": [10**9]},
                {"unread": {}},
                {"more": 1},
            )
        ),
    ],
)
def test_what_is_no_list_of_pruned_filters_is_refused(values):
    with pytest.raises(BundleError, match="pruned filters"):
        Pruned.of(values)
    assert Pruned.of({"compact": False, "layers": [LAYER]}).count == 2


class TestGroups:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("torch_pruning", reason='needs pip install "kinema[prune]"')

    def test_layers_that_a_sum_joins_lose_the_same_channels_and_the_stem_none(self):
        from kinema.models._prune_groups import choose_groups

        shape = VideoShape(3, 3, 32, 32)
        model = made("resnet3d", shape)
        layers = prunable(model, shape)
        total = sum(layer.filters for layer in layers)
        gone = choose_groups(model, layers, shape, 0.3)
        assert 0.3 * total <= sum(map(len, gone.values())) <= 0.31 * total
        joined = [gone.get(f"network.layer2.{name}", ()) for name in ("0.conv2", "0.downsample.0", "1.conv2")]
        assert joined[0] == joined[1] == joined[2]
        assert not {"network.conv1", "network.layer1.0.conv2", "network.layer1.1.conv2"} & gone.keys()
        about = pruned_of(layers, gone)
        zero(model, about)
        small, _ = compacted(model, about, shape)
        torch.testing.assert_close(answers(small, shape), answers(model, shape), rtol=1e-4, atol=1e-4)
        assert small.network.layer2[1].runs is None, "channels that go together need no scattering"
        more = choose_groups(model, layers, shape, 0.5)
        assert all(set(numbers) <= set(more[conv]) for conv, numbers in gone.items())

    def test_more_than_the_groups_have_and_networks_that_cannot_be_followed_are_told(self):
        from kinema.models._prune_groups import choose_groups

        shape = VideoShape(3, 3, 32, 32)
        model = made("resnet3d", shape)
        layers = prunable(model, shape)
        with pytest.raises(PruningError, match="more than the groups have"):
            choose_groups(model, layers, shape, 0.99)
        for share in (0, 1):
            with pytest.raises(PruningError, match="of all filters"):
                choose_groups(model, layers, shape, share)
        shape = small_shape("poseconv3d-c3d")
        model = made("poseconv3d-c3d", shape)
        with pytest.raises(PruningError, match="torch-pruning"):
            choose_groups(model, prunable(model, shape), shape, 0.3)


def test_without_torch_pruning_the_extra_is_named(monkeypatch):
    import sys

    from kinema.errors import KinemaError
    from kinema.models._prune_groups import choose_groups

    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(KinemaError, match=r"kinema\[prune\]"):
        choose_groups(_Plain(), LAYERS, SIGNALS, 0.3)
