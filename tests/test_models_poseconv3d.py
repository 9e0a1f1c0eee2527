"""PoseConv3D: sizes, what it sees, faster inference with the same answers, published checkpoints."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kinema import bundle
from kinema.errors import DataError, RecipeError
from kinema.layout import get_layout
from kinema.models._count import count
from kinema.models._fuse import folded, fuse
from kinema.models._volumes import ConvNorm, average_pool, max_pool
from kinema.models.registry import PoseShape, create_model, model_info
from kinema.training.importing import import_checkpoint

NAMES = ("poseconv3d", "poseconv3d-c3d", "poseconv3d-x3d")
SHAPE = PoseShape(2, 6, get_layout("coco17"), 3)


def make(name, shape=SHAPE, classes=5, **config):
    """A model whose norms have statistics and weights of their own, as after training."""
    torch.manual_seed(0)
    model = create_model(name, classes, shape, **{"size": 24, **config})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def clips(batch=2, shape=SHAPE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, shape.persons, shape.frames, len(shape.layout), 3, generator=generator)
    return x * torch.tensor([400.0, 300.0, 1.0]) + torch.tensor([100.0, 50.0, 0.0])


@pytest.mark.parametrize(
    ("name", "size", "parameters", "multiply_adds"),
    [
        # 15.9 and 20.6 G are published for these two sizes; they count norms, activations and pooling as well.
        ("poseconv3d", 56, 2_024_860, 15_630_858_240),
        ("poseconv3d", 64, 2_024_860, 20_415_805_440),
        ("poseconv3d-c3d", 56, 3_404_892, 16_777_264_128),
        ("poseconv3d-x3d", 56, 254_508, 568_950_624),
    ],
)
def test_sizes_are_the_published_ones(name, size, parameters, multiply_adds):
    shape = model_info(name).example
    assert count(create_model(name, 60, shape, test_size=size), shape) == (parameters, multiply_adds)


def reference(model, x):
    """SlowOnly by PyTorch's own 3-D layers, one after the other, from a volume (B, C, T, H, W)."""

    def layer(part, x, relu=True):
        norm = part.norm
        x = F.conv3d(x, part.conv.weight, None, part.conv.stride, part.conv.padding)
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.1, norm.eps)
        return F.relu(x) if relu else x

    x = F.max_pool3d(layer(model.stem, x), (1, 3, 3), 1, (0, 1, 1))
    for stage in model.stages:
        for block in stage:
            residual = x if block.downsample is None else layer(block.downsample, x, relu=False)
            x = layer(block.conv3, layer(block.conv2, layer(block.conv1, x)), relu=False)
            x = F.relu(x + residual)
    return model.fc(x.mean((2, 3, 4)))


@pytest.mark.parametrize("heatmap", ["joints", "limbs", "one-layer"])
def test_fast_layers_answer_as_plain_ones(heatmap):
    shape = PoseShape(2, 37, get_layout("coco17"), 3)
    model = make("poseconv3d", shape, heatmap=heatmap, blocks=[2, 1, 1])
    x = clips(2, shape)
    with torch.no_grad():
        wanted = reference(model, model.volume(x).permute(0, 4, 1, 2, 3).contiguous())
        answer = model(x)
    assert (answer - wanted).abs().max() < 1e-4 * max(1, float(wanted.abs().max()))
    torch.testing.assert_close(model(x), answer, rtol=1e-4, atol=1e-4)  # with gradients: no chunks of frames, the library's max-pool


@pytest.mark.parametrize("name", NAMES)
def test_half_the_digits_give_nearly_the_same_answers(name):
    model, x = make(name), clips(4)
    with torch.no_grad():
        exact = model(x).softmax(1)
        with torch.autocast("cpu", torch.bfloat16):
            short = model(x).float().softmax(1)
    assert (exact - short).abs().max() < 0.05


@pytest.mark.parametrize(
    ("kernel", "stride", "groups"),
    [((1, 7, 7), (1, 1, 1), 1), ((3, 1, 1), (1, 1, 1), 1), ((1, 1, 1), (2, 2, 2), 1), ((1, 3, 3), (2, 2, 2), 2), ((5, 1, 1), (2, 1, 1), 4),
     ((3, 3, 3), (1, 2, 2), 4)],
)  # fmt: skip
def test_layers_of_volumes_are_3d_convolutions_with_norm(kernel, stride, groups):
    torch.manual_seed(0)
    layer = ConvNorm(8, 4, kernel, stride, groups)
    x = torch.randn(2, 7, 9, 11, 8)
    for training in (True, False, True):
        layer.train(training)
        twin = nn.BatchNorm3d(4).train(training)
        twin.load_state_dict(layer.norm.state_dict())
        given = x.permute(0, 4, 1, 2, 3)
        wanted = F.relu(twin(F.conv3d(given, layer.conv.weight, None, stride, layer.conv.padding, groups=groups)))
        torch.testing.assert_close(layer(x).permute(0, 4, 1, 2, 3), wanted, rtol=1e-4, atol=1e-5)
        for key, value in twin.state_dict().items():
            torch.testing.assert_close(layer.norm.state_dict()[key], value)


def test_pooling_is_that_of_the_library():
    x = torch.rand(2, 3, 8, 9, 4)
    with torch.no_grad():
        wanted = F.max_pool3d(x.permute(0, 4, 1, 2, 3), (1, 3, 3), 1, (0, 1, 1)).permute(0, 2, 3, 4, 1)
        assert torch.equal(max_pool(x), wanted)
    assert torch.equal(max_pool(x.requires_grad_()), wanted)
    torch.testing.assert_close(average_pool(x), F.avg_pool3d(x.permute(0, 4, 1, 2, 3), (1, 2, 2)).permute(0, 2, 3, 4, 1))


class Plain(nn.Module):
    """An ordinary network with every place where a norm may stand, and one where a norm must stay."""

    def __init__(self, shared: bool):
        super().__init__()
        self.first, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
        self.last, self.norm = nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5)
        self.shared = shared

    def forward(self, x, mask=None):
        first = self.first(x.flatten(0, 1).permute(0, 3, 1, 2))
        x = self.second(F.relu(self.bn1(first))) + (first if self.shared else 0)
        return self.norm(self.last(x.mean((2, 3))))


def test_norms_of_any_network_can_be_fused():
    torch.manual_seed(0)
    shape = PoseShape(1, 4, get_layout("coco17"), 3)
    model = Plain(shared=False).train()
    x = shape.example(8)["x"]
    for _ in range(3):
        model(x)
    fused = fuse(model, shape)
    kept = [module for module in fused.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert kept == [fused.second[3]] and model.training and not fused.training
    torch.testing.assert_close(fused(x), model.eval()(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="another layer uses what one of them is given"):
        fuse(
            Plain(shared=True).train().requires_grad_(False).apply(lambda m: hasattr(m, "running_mean") and m.running_mean.fill_(0.5)),
            shape,
        )
    weight, bias = folded(model.first, model.bn1)
    assert weight.shape == model.first.weight.shape and bias.shape == (4,)


@pytest.mark.parametrize("name", ["efficientgcn-b0", *NAMES])
def test_fused_models_answer_as_they_did(name):
    shape = PoseShape(2, 8, get_layout("coco17"), 3)
    model = make(name, shape) if name in NAMES else create_model(name, 5, shape, frames=0).eval()
    x = clips(2, shape) / 100
    with torch.no_grad():
        torch.testing.assert_close(fuse(model, shape)(x), model(x), rtol=1e-4, atol=1e-4)


def test_unit_place_and_size_of_the_persons_do_not_matter():
    model, x = make("poseconv3d"), clips()
    moved = x * torch.tensor([0.004, 0.004, 1]) + torch.tensor([-7.0, 3, 0])
    torch.testing.assert_close(model.volume(moved), model.volume(x), rtol=1e-3, atol=1e-3)


def test_training_looks_at_random_parts_and_testing_at_all_of_it():
    model, x = make("poseconv3d", test_size=32), clips()
    assert model.volume(x).shape == (2, 6, 32, 32, 17) and torch.equal(model.volume(x), model.volume(x))
    model.train()
    assert model.volume(x).shape == (2, 6, 24, 24, 17) and not torch.equal(model.volume(x), model.volume(x))
    whole = make("poseconv3d", area=[1, 1]).train()
    assert torch.equal(whole.volume(x), whole.eval().volume(x))


def test_scores_weigh_maps_and_can_be_left_out():
    x = clips()
    faint = x * torch.tensor([1, 1, 0.5])
    weighed, unweighed = make("poseconv3d"), make("poseconv3d", use_score=False)
    torch.testing.assert_close(weighed.volume(faint), 0.5 * weighed.volume(x), rtol=1e-3, atol=1e-3)
    assert torch.equal(unweighed.volume(faint), unweighed.volume(x))
    flat = make("poseconv3d", PoseShape(2, 6, get_layout("coco17"), 2))
    assert torch.equal(flat.volume(x[..., :2]), unweighed.volume(x))


@pytest.mark.parametrize("bad", ["nobody is observed", "all scores are 0"])
def test_without_anybody_maps_are_empty_and_answers_finite(bad):
    model, x = make("poseconv3d"), clips()
    mask = torch.ones(x.shape[:4], dtype=torch.bool)
    if bad == "all scores are 0":
        x[0, ..., 2] = 0
    else:
        mask[0] = False
    volume = model.volume(x, mask)
    assert not volume[0].any() and volume[1].any()
    with torch.no_grad():
        assert model(x, mask).isfinite().all()


@pytest.mark.parametrize(
    ("config", "channels", "message"),
    [
        ({}, 6, r"points have 6 channels; x and y, or x, y and score are expected \(streams: \[joint\] or \[joint, score\]"),
        ({"heatmap": "limb"}, 3, "unknown heatmap 'limb'; did you mean 'limbs'"),
        ({"size": 4}, 3, "maps of 4 pixels are too small"),
        ({"area": [0.9, 0.5]}, 3, "area .* is no range of shares"),
        ({"blocks": [1, 1]}, 3, "must name as many stages"),
    ],
)
def test_impossible_settings_say_what_would_be_right(config, channels, message):
    with pytest.raises(RecipeError, match=message):
        create_model("poseconv3d", 5, PoseShape(1, 8, get_layout("coco17"), channels), **config)


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def published_slowonly(classes=60, channels=17):
    """A state dict of the names and shapes that PYSKL and MMAction2 give SlowOnly-R50 on heatmaps, written down from theirs."""
    state = {}

    def layer(name, out, *shape):
        state[f"{name}.conv.weight"] = torch.randn(out, *shape) * 0.05
        state.update({f"{name}.bn.{key}": torch.rand(out) + 0.5 for key in NORM[:4]})
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)

    layer("backbone.conv1", 32, channels, 1, 7, 7)
    width = 32
    for stage, (blocks, planes, time) in enumerate(((4, 32, 1), (6, 64, 3), (3, 128, 3)), 1):
        for block in range(blocks):
            name = f"backbone.layer{stage}.{block}"
            layer(f"{name}.conv1", planes, width, time, 1, 1)
            layer(f"{name}.conv2", planes, planes, 1, 3, 3)
            layer(f"{name}.conv3", 4 * planes, planes, 1, 1, 1)
            if block == 0:
                layer(f"{name}.downsample", 4 * planes, width, 1, 1, 1)
            width = 4 * planes
    return state | {"cls_head.fc_cls.weight": torch.randn(classes, 512), "cls_head.fc_cls.bias": torch.randn(classes)}


@pytest.mark.parametrize("arch", ["poseconv3d", "poseconv3d-limb"])
def test_published_checkpoints_become_bundles(arch, tmp_path):
    state = published_slowonly()
    torch.save({"meta": {"epoch": 24, "env": "some text"}, "state_dict": state}, tmp_path / "joint.pth")
    imported = import_checkpoint(tmp_path / "joint.pth", tmp_path / "b.safetensors", arch=arch, labels="ntu60")
    loaded = bundle.load(tmp_path / "b.safetensors")
    assert (loaded.unit, loaded.views, loaded.dims, loaded.channels) == ("px", 20, 2, 3) and len(loaded.classes) == 60
    model = loaded.build()
    assert len(imported.bundle.state) == len(state)
    assert torch.equal(model.stages[1][0].downsample.conv.weight, state["backbone.layer2.0.downsample.conv.weight"])
    assert torch.equal(model.stages[2][1].conv1.norm.running_var, state["backbone.layer3.1.conv1.bn.running_var"])
    assert torch.equal(model.stem.conv.weight, state["backbone.conv1.conv.weight"])
    assert model.config.heatmap == ("limbs" if arch.endswith("limb") else "joints") and model.config.test_size == 64


@pytest.mark.parametrize("name", ["poseconv3d-c3d", "poseconv3d-x3d"])
def test_checkpoints_of_the_light_networks_load_by_name_too(name, tmp_path):
    theirs = {}
    for key, value in create_model(name, 60, SHAPE).state_dict().items():
        key = key.replace(".norm.", ".bn.").replace("fc.", "cls_head.fc_cls.")
        key = re.sub(r"^stages\.(\d)", lambda match: f"layer{int(match[1]) + 1}", key)
        key = key.replace("stem_space", "conv1_s").replace("stem_time", "conv1_t").replace("last.", "conv5.")
        theirs[key if key.startswith("cls_head") else f"backbone.{key}"] = value
    torch.save({"state_dict": theirs}, tmp_path / "light.pth")
    assert import_checkpoint(tmp_path / "light.pth", tmp_path / "b.safetensors", arch=name).bundle.model == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("backbone.layer3.2.conv3.conv.weight"), "stages.2.2.conv3.conv.weight is nothing; .* needs 512x128x1x1x1"),
        (
            lambda state: state.update({"backbone.layer4.0.conv1.conv.weight": torch.zeros(1)}),
            "stages.3.0.conv1.conv.weight is 1; .* needs nothing",
        ),
        (lambda state: state.update({"backbone.conv1.conv.weight": torch.zeros(32, 1, 1, 7, 7)}), "stem.conv.weight is 32x1x1x7x7"),
        (lambda state: state.pop("cls_head.fc_cls.weight"), "no PoseConv3D weights"),
    ],
)
def test_every_tensor_of_a_checkpoint_is_accounted_for(change, message, tmp_path):
    state = published_slowonly()
    change(state)
    torch.save({"state_dict": state}, tmp_path / "c.pth")
    with pytest.raises(DataError, match=message):
        import_checkpoint(tmp_path / "c.pth", tmp_path / "b.safetensors", arch="poseconv3d")
    assert not (tmp_path / "b.safetensors").exists()


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"state_dict": nn.Linear(1, 1)}, tmp_path / "c.pth")
    with pytest.raises(DataError, match="not a readable file of PyTorch weights"):
        import_checkpoint(tmp_path / "c.pth", tmp_path / "b.safetensors", arch="poseconv3d")
