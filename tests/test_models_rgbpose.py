"""What the network on video and heatmaps together promises beyond what every model does."""

import csv
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from make_files import ntu_file
from make_videos import write_video

import kinema
from kinema.datasets.base import read_dataset
from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models._count import count
from kinema.models.registry import PoseShape, Shapes, VideoShape, create_model, model_info
from kinema.training.fit import fit
from kinema.training.load import load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
COCO = get_layout("coco17")
SHAPE = Shapes(pose=PoseShape(2, 8, COCO, 3), video=VideoShape(3, 2, 64, 64))
SMALL = {"size": 16, "width": 8, "video_width": 16, "blocks": (1, 1, 1), "video_blocks": (1, 1, 1, 1)}
CLASSES = 5


def make(shape=SHAPE, **config):
    torch.manual_seed(0)
    return create_model("rgbpose-conv3d", CLASSES, shape, **(SMALL | config))


def inputs(shape=SHAPE, batch=3):
    torch.manual_seed(1)
    pose, video = shape.pose, shape.video
    points = torch.rand(batch, pose.persons, pose.frames, len(pose.layout), pose.channels)
    return {"x": points, "video": torch.randn(batch, 3, video.frames, video.height, video.width)}


def answer(model, **given):
    with torch.no_grad():
        return model.eval()(**given)


def test_the_published_network_has_a_slowonly_50_on_frames_and_poseconv3d_on_heatmaps():
    info = model_info("rgbpose-conv3d")
    model = create_model("rgbpose-conv3d", 60, info.example)
    parameters, _ = count(model, info.example)
    # SlowOnly-R50 of 2048 features has 31.6 M without its head, PoseConv3D 2 M; the rest are connections and what takes them in.
    assert 35e6 < parameters < 37e6
    assert model.num_features == 2048 + 512
    assert {head: getattr(model, head).in_features for head in ("fc_pose", "fc_video")} == {"fc_pose": 512, "fc_video": 2048}


def test_it_answers_with_the_mean_of_its_heads_probabilities_and_trains_each():
    model = make()
    given = inputs()
    answered = answer(model, **given)
    with torch.no_grad():
        pose, video = model.forward_features(**given).split([128, 512], 1)
        heads = [model.fc_pose(pose), model.fc_video(video)]
    torch.testing.assert_close(answered.softmax(1), torch.stack(heads).softmax(2).mean(0))
    trained = model.train()(**given)
    assert trained.shape == (2, 3, CLASSES)
    torch.stack([F.cross_entropy(head, torch.tensor([0, 1, 2])) for head in trained]).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("lateral", "told"), [(True, True), (False, False)])
def test_each_pathway_is_told_of_the_other_where_they_are_connected(lateral, told):
    model, given = make(lateral=lateral), inputs()
    other = {"pose": given | {"video": given["video"].flip(0)}, "video": given | {"x": given["x"].flip(0)}}
    with torch.no_grad():
        features = model.eval().forward_features(**given)
        for part, columns in {"pose": slice(0, 128), "video": slice(128, None)}.items():
            changed = model.forward_features(**other[part])
            assert torch.equal(features[:, columns], changed[:, columns]) != told, part


@pytest.mark.parametrize("frames", [2, 4, 6, 8])
def test_any_number_of_heatmaps_to_a_frame(frames):
    shape = Shapes(pose=PoseShape(2, frames, COCO, 3), video=VideoShape(3, 2, 64, 64))
    assert answer(make(shape), **inputs(shape)).shape == (3, CLASSES)


def test_the_recipe_for_who_has_the_data_set_trains_both_heads_on_files_of_its_form(tmp_path):
    root = tmp_path / "ntu"
    for person in (1, 2, 3, 4, 6, 7):
        name = f"S001C001P{person:03}R001A{1 + person % 2:03}"
        ntu_file(root, name, frames=12)
        write_video(root / f"{name}_rgb.avi", frames=12)
    changes = {
        "data.root": root,
        "input.frames": 8,
        "video.frames": 2,
        "video.height": 64,
        "video.width": 64,
        "fit.epochs": 1,
        "fit.warmup": 0,
        "fit.lr": 1e-6,
        "fit.views": 1,
        "fit.batch_size": 3,
        "engine.threads": 1,
        "engine.accelerator": "cpu",
    }
    recipe = load_recipe(RECIPES / "rgbpose_conv3d_ntu60.yaml", changes | {f"model.config.{key}": value for key, value in SMALL.items()})
    run = fit(recipe, tmp_path / "run", progress=False)
    assert run.result["n_train"] == 3 and run.result["n_test"] == 3
    # Two fresh heads, each as good as guessing.
    with open(tmp_path / "run" / "log.csv", encoding="utf-8", newline="") as file:
        (epoch,) = csv.DictReader(file)
    assert float(epoch["train_loss"]) == pytest.approx(2 * math.log(60), rel=0.05)
    clip = read_dataset("ntu", root).clips[0]
    answered = kinema.load(run.out).predict(clip)
    assert answered.known and answered.probabilities.sum() == pytest.approx(1)


REFUSED = {
    "frames that are no multiple": ({"pose": PoseShape(2, 9, COCO, 3)}, {}, "input.frames 9 is no multiple of video.frames 2"),
    "video of another size": ({"video": VideoShape(3, 2, 90, 120)}, {}, "video of 90 x 120 does not fit heatmaps of 16"),
    "other maps when testing": ({}, {"test_size": 20}, "video of 64 x 64 does not fit heatmaps of 16"),
    "video alone": ({"pose": None}, {}, "takes key points and video"),
    "too few stages": ({}, {"blocks": (1, 1)}, "three blocks and four video_blocks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_built_is_refused(case):
    shapes, config, message = REFUSED[case]
    with pytest.raises(RecipeError, match=message):
        make(Shapes(**({"pose": SHAPE.pose, "video": SHAPE.video} | shapes)), **config)
