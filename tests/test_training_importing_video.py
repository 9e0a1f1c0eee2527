"""Checkpoints of MMAction2's and PySlowFast's I3D and SlowOnly become bundles by their names, every tensor accounted for."""

import re

import pytest
import torch

import kinema
from kinema import bundle as bundles
from kinema.errors import DataError, RecipeError
from kinema.models.registry import VideoShape, create_model
from kinema.training.importing import FORMS, import_checkpoint, start_bundle
from kinema.training.recipe import InitConfig

CLASSES = 7
ARCHS = ("i3d-r50", "slowonly-r50", "i3d-r50-pyslowfast", "slowonly-r50-pyslowfast")


def theirs(arch: str, name: str) -> str:
    """What a tensor of ours is called in their checkpoints."""
    name = name.removeprefix("network.")
    if arch.endswith("pyslowfast"):
        if name.startswith(("conv1.", "bn1.")):
            return f"s1.pathway0_stem.{name.replace('conv1.', 'conv.').replace('bn1.', 'bn.')}"
        if name.startswith("fc."):
            return name.replace("fc.", "head.projection.")
        layer, block, rest = re.fullmatch(r"layer(\d)\.(\d+)\.(.*)", name).groups()
        rest = re.sub(r"^downsample\.0\.", "branch1.", rest)
        rest = re.sub(r"^downsample\.1\.", "branch1_bn.", rest)
        rest = re.sub(r"^conv(\d)\.", lambda match: f"branch2.{'abc'[int(match[1]) - 1]}.", rest)
        rest = re.sub(r"^bn(\d)\.", lambda match: f"branch2.{'abc'[int(match[1]) - 1]}_bn.", rest)
        return f"s{int(layer) + 1}.pathway0_res{block}.{rest}"
    if name.startswith("fc."):
        return f"cls_head.fc_cls.{name.removeprefix('fc.')}"
    name = name.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")
    return "backbone." + re.sub(r"(^|\.)(conv|bn)(\d)\.", r"\1conv\3.\2.", name)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Their checkpoint of an architecture, with random weights, and our model with the same."""

    def make(arch):
        form = FORMS[arch]
        torch.manual_seed(0)
        model = create_model(form.model, CLASSES, VideoShape(3, 8, 32, 32), **form.config)
        state = {theirs(arch, name): tensor for name, tensor in model.state_dict().items()}
        path = tmp_path_factory.mktemp("published") / "weights.pth"
        content = {"model_state": state, "epoch": 3} if arch.endswith("pyslowfast") else {"state_dict": state, "meta": {"epoch": 3}}
        torch.save(content, path)
        return path, model.eval(), state

    return make


# Shapes as in the published files.
SHAPES = {
    "i3d-r50": {
        "backbone.conv1.conv.weight": (64, 3, 5, 7, 7),
        "backbone.conv1.bn.running_mean": (64,),
        "backbone.layer1.2.conv1.conv.weight": (64, 256, 3, 1, 1),
        "backbone.layer2.0.conv1.conv.weight": (128, 256, 3, 1, 1),
        "backbone.layer2.1.conv1.conv.weight": (128, 512, 1, 1, 1),
        "backbone.layer2.1.conv2.conv.weight": (128, 128, 1, 3, 3),
        "backbone.layer3.4.conv1.conv.weight": (256, 1024, 3, 1, 1),
        "backbone.layer4.0.conv1.conv.weight": (512, 1024, 1, 1, 1),
        "backbone.layer4.1.conv1.conv.weight": (512, 2048, 3, 1, 1),
        "backbone.layer1.0.downsample.conv.weight": (256, 64, 1, 1, 1),
        "backbone.layer1.0.downsample.bn.bias": (256,),
        "cls_head.fc_cls.weight": (CLASSES, 2048),
    },
    "slowonly-r50": {
        "backbone.conv1.conv.weight": (64, 3, 1, 7, 7),
        "backbone.layer2.0.conv1.conv.weight": (128, 256, 1, 1, 1),
        "backbone.layer3.1.conv1.conv.weight": (256, 1024, 3, 1, 1),
        "backbone.layer4.2.conv1.conv.weight": (512, 2048, 3, 1, 1),
    },
    "i3d-r50-pyslowfast": {
        "s1.pathway0_stem.conv.weight": (64, 3, 5, 7, 7),
        "s1.pathway0_stem.bn.weight": (64,),
        "s2.pathway0_res0.branch1.weight": (256, 64, 1, 1, 1),
        "s2.pathway0_res0.branch1_bn.running_var": (256,),
        "s3.pathway0_res1.branch2.a.weight": (128, 512, 1, 1, 1),
        "s4.pathway0_res2.branch2.a.weight": (256, 1024, 3, 1, 1),
        "s5.pathway0_res1.branch2.a.weight": (512, 2048, 3, 1, 1),
        "s5.pathway0_res1.branch2.c_bn.bias": (2048,),
        "head.projection.bias": (CLASSES,),
    },
    "slowonly-r50-pyslowfast": {
        "s1.pathway0_stem.conv.weight": (64, 3, 1, 7, 7),
        "s3.pathway0_res0.branch2.a.weight": (128, 256, 1, 1, 1),
        "s4.pathway0_res0.branch2.a.weight": (256, 512, 3, 1, 1),
        "s4.pathway0_res0.branch2.b.weight": (256, 256, 1, 3, 3),
    },
}


@pytest.mark.parametrize("arch", ARCHS)
def test_a_published_checkpoint_becomes_a_bundle(arch, published, tmp_path):
    path, model, state = published(arch)
    for name, shape in SHAPES[arch].items():
        assert state[name].shape == shape, name
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"label {i}" for i in range(CLASSES)))
    imported = import_checkpoint(path, tmp_path / "out.safetensors", arch=arch, labels=labels)
    assert len(imported.bundle.state) == len(state) and "every one of resnet3d\n" in imported.text()
    bundle = bundles.load(tmp_path / "out.safetensors")
    assert bundle.classes[0] == "label 0" and bundle.modalities == ("video",) and bundle.views == 30
    video = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(bundle.build()(video), model(video))


def test_time_shrinks_as_published(published):
    for arch, frames in (("i3d-r50", 4), ("slowonly-r50", 32), ("i3d-r50-pyslowfast", 16)):
        with torch.device("meta"):
            model = create_model("resnet3d", CLASSES, VideoShape(3, 32, 64, 64), **FORMS[arch].config)
            assert model.network.forward_map(torch.empty(1, 3, 32, 64, 64)).shape == (1, 2048, frames, 2, 2), arch


def test_classes_are_numbered_without_names_and_training_can_start_from_it(published):
    path, *_ = published("slowonly-r50")
    bundle = start_bundle(InitConfig(bundle=str(path), arch="slowonly-r50"))
    assert bundle.classes[:2] == ("class 0", "class 1") and len(bundle.classes) == CLASSES


@pytest.mark.parametrize(
    ("change", "arch", "error", "words"),
    [
        (lambda state: state.pop("backbone.layer3.2.conv2.conv.weight"), "slowonly-r50", DataError, "layer3.2.conv2.weight is nothing"),
        (lambda state: state.update({"backbone.extra": torch.ones(3)}), "slowonly-r50", DataError, "extra is 3"),
        (lambda state: None, "i3d-r50", DataError, "conv1.weight is 64x3x1x7x7"),
        (lambda state: state.pop("cls_head.fc_cls.weight"), "slowonly-r50", DataError, "cls_head.fc_cls or head.projection is expected"),
        (lambda state: None, "slowonly-r5", RecipeError, "did you mean 'slowonly-r50'"),
    ],
)
def test_what_does_not_fit_is_told(published, tmp_path, change, arch, error, words):
    _, _, state = published("slowonly-r50")
    change(state)
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": state}, path)
    with pytest.raises(error, match=words):
        import_checkpoint(path, tmp_path / "out.safetensors", arch=arch)
    assert not (tmp_path / "out.safetensors").exists()


def test_weights_of_videos_have_no_layout(published, tmp_path):
    path, *_ = published("slowonly-r50")
    with pytest.raises(RecipeError, match="they have no joints"):
        import_checkpoint(path, tmp_path / "out.safetensors", arch="slowonly-r50", layout="coco17")


def test_a_video_is_answered_by_an_imported_bundle(published, tmp_path):
    from dataclasses import replace

    from make_videos import write_video

    path, *_ = published("slowonly-r50")
    bundle = start_bundle(InitConfig(bundle=str(path), arch="slowonly-r50"))
    small = replace(bundle, views=1, video=replace(bundle.video, height=32, width=32, short=32))
    answered = kinema.load(small).predict(str(write_video(tmp_path / "a.mp4", frames=20)))
    assert answered.known and answered.probabilities.sum() == pytest.approx(1)
