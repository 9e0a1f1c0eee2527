"""Training on pictures that are cut to the people in them: where the skeletons come from, what is told, and that prediction cuts alike."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from make_files import ntu_file, standing, ucla_file, utd_file
from make_videos import picture, write_video

import kinema
from kinema import bundle as bundles
from kinema.cli import main
from kinema.clip import Clip, PoseSequence, VideoSource
from kinema.datasets import _image_poses
from kinema.datasets._image_poses import with_image_poses
from kinema.datasets.base import Dataset, read_dataset
from kinema.errors import BundleError, RecipeError
from kinema.recognition import video as windows
from kinema.recognition.poses_of_videos import with_poses
from kinema.training.data import crop_text, prepare
from kinema.training.fit import fit
from kinema.training.load import load_recipe
from kinema.transforms.video_config import VideoInput

RECIPES = Path(__file__).parents[1] / "recipes"
TINY = {
    "fit.epochs": 1,
    "fit.warmup": 0,
    "fit.views": 2,
    "fit.batch_size": 3,
    "fit.selection": "last",
    "fit.schedule": "constant",
    "video.frames": 2,
    "video.height": 32,
    "video.width": 32,
    "video.short": 40,
    "model.config.depth": 18,
    "fit.lr": 1e-5,
    "engine.precision": "32-true",
    "engine.threads": 1,
    "engine.accelerator": "cpu",
}

PLAIN = {"hierarchy.counts": [], "hierarchy.stages": [], "hierarchy.weights": []}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))


def ntu(root):
    for person in (1, 2, 3, 4, 6, 7):
        name = f"S001C001P{person:03}R001A{1 + person % 2:03}"
        ntu_file(root, name, frames=12)
        write_video(root / f"{name}_rgb.avi", frames=12)


def utd_mhad(root):
    (root / "RGB").mkdir(parents=True)
    for subject in (1, 2, 3, 4, 5):
        name = f"a{1 + subject % 2}_s{subject}_t1"
        utd_file(root, name, points=standing(12)[:, :20])
        write_video(root / "RGB" / f"{name}_color.avi", codec="mpeg4", frames=12)


def nw_ucla(root):
    from PIL import Image

    for view, action in itertools.product((1, 2, 3), (1, 2)):
        name = f"a{action:02}_s01_e00"
        ucla_file(root, f"{name}_v{view:02}", action, standing(6)[:, :20].tolist())
        folder = root / "multiview_action" / f"view_{view}" / name
        folder.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(picture(i, 48, 64)).save(folder / f"frame_{i:03}_rgb.jpg")


SETS = {
    "hierarchical_ntu60": ntu,
    "hierarchical_ntu120": ntu,
    "hierarchical_utd_mhad": utd_mhad,
    "hierarchical_nw_ucla": nw_ucla,
}


@pytest.mark.parametrize("name", SETS)
def test_the_recipes_for_who_has_the_data_sets_train_on_files_of_their_form(name, tmp_path):
    root = tmp_path / "data"
    SETS[name](root)
    changes = TINY | {"data.root": root, "init.bundle": None, "init.arch": None, "init.layers": "all"} | PLAIN
    run = fit(load_recipe(RECIPES / f"{name}.yaml", changes), tmp_path / "run", progress=False)
    told = run.result["crop"]
    assert told["train"]["clips"] == run.result["n_train"] > 0 and told["test"]["clips"] == run.result["n_test"]
    assert told["train"]["uncropped"] == 0, "the sensor sees somebody in every clip"
    dataset = read_dataset(load_recipe(RECIPES / f"{name}.yaml").data.name, root)
    answered = kinema.load(run.out).predict(next(clip for clip in dataset.clips if clip.has("video")))
    assert answered.known and answered.probabilities.sum() == pytest.approx(1)


def test_a_camera_where_nothing_is_cut_is_refused(tmp_path):
    utd_mhad(tmp_path / "data")
    recipe = load_recipe(RECIPES / "hierarchical_utd_mhad.yaml", TINY | {"data.root": tmp_path / "data", "video.crop": ""})
    with pytest.raises(RecipeError, match=r"video.crop or depth.fit: skeleton cuts them"):
        prepare(recipe)
    both = load_recipe(RECIPES / "hierarchical_utd_mhad.yaml", TINY | {"data.root": tmp_path / "data", "data.pose": "movenet"})
    with pytest.raises(RecipeError, match="one of the two is expected"):
        prepare(both)


def somebody(source, seen=True) -> PoseSequence:
    """What an estimator sees: somebody in the left half of the pictures, or nobody."""
    points = np.random.default_rng(0).uniform((4, 10), (28, 40), (1, 10, 17, 2))
    mask = np.full((1, 10, 17), seen)
    return PoseSequence(points, "coco17", "px", mask, mask.astype(float), fps=10.0, image_size=(64, 48), y_axis="down")


@pytest.fixture
def estimated(monkeypatch):
    """Videos are looked at by a stand-in, which notes them; it sees nobody in those called empty."""
    looked_at = []

    def estimate(source, tracker, *, fps=None, **settings):
        looked_at.append((source.path.stem, fps))
        clip = Clip("", {"pose": somebody(source, "empty" not in source.path.stem)})
        return type("Found", (), {"clip": clip})()

    monkeypatch.setattr(_image_poses, "make_tracker", lambda backend: None)
    monkeypatch.setattr(_image_poses, "estimate", estimate)
    monkeypatch.setattr("kinema.estimation.stage.make_tracker", lambda backend, **settings: None)
    monkeypatch.setattr("kinema.estimation.stage.estimate", estimate)
    return looked_at


def films(root, names=("a", "b", "empty")) -> Dataset:
    root.mkdir(exist_ok=True)
    clips = [
        Clip(name, {"video": VideoSource(write_video(root / f"{name}.mp4", frames=10))}, label=i % 2, subject=str(i))
        for i, name in enumerate(names)
    ]
    return Dataset("films", tuple(clips), ("one", "two"), root=root)


def test_every_video_is_looked_at_once_by_one_estimator_and_nobody_is_left_out(tmp_path, estimated):
    dataset = films(tmp_path / "films")
    found = with_image_poses(dataset, "movenet")
    assert [clip.id for clip in found.clips] == ["a", "b", "empty"] and estimated == [("a", 10.0), ("b", 10.0), ("empty", 10.0)]
    assert all(clip.modality("image_pose").frames == 10 and not clip.has("pose") for clip in found.clips)
    again = with_image_poses(dataset, "movenet")
    assert len(estimated) == 3
    np.testing.assert_array_equal(again.clips[0].modality("image_pose").points, found.clips[0].modality("image_pose").points)
    write_video(tmp_path / "films" / "b.mp4", frames=12)
    with_image_poses(dataset, "movenet")
    assert estimated[3:] == [("b", 10.0)], "a changed file is looked at anew"
    for kept in (tmp_path / "cache" / "image-poses").rglob("*.npz"):
        kept.write_bytes(b"damaged")
    with_image_poses(dataset, "movenet")
    assert len(estimated) == 7, "and so is every one whose skeletons were damaged"


def test_one_that_cannot_be_read_has_none(tmp_path, monkeypatch):
    dataset = films(tmp_path / "films", ("a",))
    (tmp_path / "films" / "a.mp4").write_bytes(b"\0" * 100)
    monkeypatch.setattr(_image_poses, "make_tracker", lambda backend: None)
    assert not with_image_poses(dataset, "movenet").clips[0].has("image_pose")


@pytest.fixture
def run(tmp_path, estimated):
    """A training on pictures that are cut to the people whom an estimator sees, with nobody in one training clip."""
    root = tmp_path / "films"
    names = ("a1", "a2", "a3", "a4", "empty5", "a6")
    films(root, names)
    rows = [f"{name},{('one', 'two')[i % 2]},{name}.mp4,{i}" for i, name in enumerate(names)]
    (root / "clips.csv").write_text("\n".join(["id,label,video,subject", *rows]))
    changes = TINY | {"data.name": "folder", "data.root": root, "data.pose": "movenet", "model.config.norm": "batch"}
    changes |= {"init.bundle": None, "init.arch": None, "init.freeze": [], "init.slow": []}
    protocol = next(iter(read_dataset("folder", root).protocols))
    changes |= {"data.protocol": protocol, "data.fold": read_dataset("folder", root).splits(protocol)[0].name, "data.val_by": "clip"}
    recipe = load_recipe(RECIPES / "hierarchical_jhmdb_crop.yaml", changes)
    return fit(recipe, tmp_path / "run", progress=False)


def test_clips_without_anybody_are_told_by_class(run):
    told = run.result["crop"]
    of = {name: about["uncropped"] for name, about in told.items()}
    assert sum(of.values()) == 1 and {"one": 1} in [about["by_class"] for about in told.values()]
    assert "clips in which nobody is seen are shown whole" in crop_text(told) and "(one 1)" in crop_text(told)


def test_the_bundle_says_how_pictures_are_cut_and_prediction_cuts_alike(run, estimated, tmp_path):
    bundle = bundles.load(run.out)
    assert bundle.video.crop == "skeleton" and bundle.recipe["data"]["pose"] == "movenet"
    stranger = write_video(tmp_path / "stranger.mp4", frames=10)
    recognizer = kinema.load(run.out)
    answered = recognizer.predict(str(stranger))
    assert estimated[-1] == ("stranger", 10.0)
    cut = Clip("stranger", {"video": VideoSource(stranger), "image_pose": somebody(None)})
    torch.testing.assert_close(recognizer.predict(cut).probabilities, answered.probabilities)
    nobody = Clip("stranger", {"video": VideoSource(stranger), "image_pose": somebody(None, False)})
    whole = kinema.load(replace(bundle, video=replace(bundle.video, crop=""))).predict(str(stranger))
    np.testing.assert_allclose(recognizer.predict(nobody).probabilities, whole.probabilities, atol=1e-6)
    assert not np.allclose(answered.probabilities, whole.probabilities)
    many = recognizer.predict(str(stranger), window=0.4)
    assert len(many.windows) > 1 and many.probabilities.sum() == pytest.approx(1)


def test_measuring_a_bundle_cuts_as_training_did(run, estimated, capsys, monkeypatch):
    before = len(estimated)
    recipe = bundles.load(run.out).recipe["data"]
    arguments = ["--data.root", str(run.out.parent / "films"), "--protocol", recipe["protocol"], "--fold", recipe["fold"], "--json"]
    assert main(["evaluate", "--bundle", str(run.out), *arguments]) in (0, None)
    measured = json.loads(capsys.readouterr().out)
    assert measured["uncropped"] == run.result["crop"]["test"]["uncropped"] and len(estimated) == before
    assert measured["top1"] == run.result["top1"]


@pytest.mark.parametrize("of", ["clip", "person", "moving"])
def test_windows_are_cut_each_by_itself(tmp_path, of):
    source = VideoSource(write_video(tmp_path / "a.mp4", frames=40))
    points = np.random.default_rng(0).uniform((4, 10), (12, 40), (1, 40, 17, 2))
    points[..., 0] += np.arange(40)[None, :, None]
    pose = PoseSequence(points, "coco17", "px", fps=10.0, image_size=(64, 48), y_axis="down")
    input = replace(load_recipe(RECIPES / "hierarchical_jhmdb_crop.yaml").video, crop_of=of, height=24, width=24, short=0)
    spans = [(0.0, 1.0), (2.0, 3.0), (3.0, 4.0)]
    samples = windows.WindowSamples(Clip("a", {"video": source, "image_pose": pose}), input, spans)
    video = samples.batch([0, 1, 2]).inputs["video"]
    assert video.shape == (3, 3, 8, 24, 24) and video.isfinite().all()
    lefts = [place[..., 1].mean() for place in samples._passing._places]
    assert lefts == sorted(lefts) and lefts[2] - lefts[0] > 0.3


def test_depth_pictures_are_cut_to_projected_joints(data_root, tmp_path):
    root = tmp_path / "utd-mhad"
    for file in sorted(data_root("utd-mhad").rglob("a1_s[12]_t1_*.mat")):
        (root / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file.parent.name)
    shares = {}
    for name in ("hierarchical_utd_mhad_depth", "hierarchical_utd_mhad_depth_crop"):
        recipe = load_recipe(RECIPES / f"{name}.yaml", {"data.root": root})
        prepared = prepare(recipe)
        shares[name] = [float((part.batch([0]).inputs["depth"] > 0).float().mean()) for part in (prepared.train, prepared.test)]
        assert (prepared.uncropped == {}) == (name == "hierarchical_utd_mhad_depth")
    whole, cut = shares.values()
    assert min(cut) > 2.5 * max(whole)


def member(pose: str, crop: str = "skeleton") -> SimpleNamespace:
    """As much of a bundle as says what its pictures were cut by."""
    return SimpleNamespace(name=pose, depth=None, video=VideoInput(crop=crop), recipe={"data": {"pose": pose}})


def test_fused_bundles_have_their_pictures_cut_by_one_kind_of_skeletons(tmp_path, estimated):
    clip = films(tmp_path / "films", names=("a",)).clips[0]

    def seen(*members) -> Clip:
        fused = SimpleNamespace(name="fused", members=members, modalities=("video",))
        ((answer, _),) = with_poses([(clip, None)], None, SimpleNamespace(bundle=fused, in_metres=False))
        return answer

    assert not seen(member("movenet", crop=""), member("movenet", crop="")).has("image_pose")
    assert seen(member("movenet", crop=""), member("movenet")).modality("image_pose").frames == 10
    with pytest.raises(BundleError, match="'fused' is fused of some whose pictures were cut by other skeletons"):
        seen(member("movenet"), member("blazepose"))
