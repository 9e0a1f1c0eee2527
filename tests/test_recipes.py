"""Every shipped recipe trains: a few real clips, one epoch, and a bundle that answers."""

from pathlib import Path

import pytest

import kinema
from kinema.datasets.base import read_dataset
from kinema.training.fit import fit
from kinema.training.load import load_recipe

RECIPES = {path.stem: path for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))}
ONE_EPOCH = {"fit.epochs": 1, "fit.warmup": 0, "fit.views": 1, "fit.early_stop": 0, "engine.threads": 1, "engine.accelerator": "cpu"}
FEW_WINDOWS = {"data.fold": "1", "input.stride": 2000}
AT_ONCE = {"data.fold": "1", "input.phases": [0]}
VIDEOS = ONE_EPOCH | {"data.fold": "1", "fit.batch_size": 4}
TWO_PASSES = ONE_EPOCH | {"fit.batch_size": 3, "hierarchy.restarts": 10}
PARTIAL = {"init.bundle": "$KINEMA_MODELS/resnet18_imagenet_partial.pt", "init.arch": "resnet18"}
CHANGES = {
    "cad60_svm": AT_ONCE,
    "robocomp_svm_cad60": AT_ONCE,
    "cad60_activities": {"input.phases": [0]},
    "hcn_cad60": ONE_EPOCH | FEW_WINDOWS,
    "hcn_cad60_published": ONE_EPOCH | FEW_WINDOWS,
    "efficientgcn_cad60": ONE_EPOCH | FEW_WINDOWS,
    **{name: TWO_PASSES for name in ("hierarchical_utd_mhad_skeleton", "hierarchical_nw_ucla_skeleton")},
    "actions_2d": ONE_EPOCH,
    "everyday": ONE_EPOCH,
    **{
        name: ONE_EPOCH | {"input.frames": 8, "model.config.size": 16, "model.config.width": 4, "model.config.blocks": [1, 1, 1]}
        for name in ("poseconv3d_utd_mhad_2d", "poseconv3d_nw_ucla_2d")
    },
    **{
        name: ONE_EPOCH | {"fit.batch_size": 3}
        for name in (
            "hcn_utd_mhad",
            "hcn_pretrain_cad_joints",
            "temporal_cnn_utd_mhad",
            "inertial_utd_mhad",
            "inertial_gru_utd_mhad",
            "depth_cnn_utd_mhad",
            "depth_cnn_utd_mhad_published",
            "depth_video_utd_mhad",
            "feature_fusion_utd_mhad",
            "memory_attention_utd_mhad",
            "memory_attention_utd_mhad_published",
            "memory_attention_depth_utd_mhad",
            "hierarchical_utd_mhad_depth",
            "hierarchical_utd_mhad_depth_crop",
        )
    },
    **{name: VIDEOS for name in ("cnn3d_ucf9", "cnn3d_ucf9_published", "cnn3d_ucf101", "cnn_rnn_ucf9", "motion_histograms_ucf9")},
    **{
        name: VIDEOS
        for name in (
            "crnn_resnet18_ucf9",
            "crnn_resnet18_ucf9_frozen",
            "crnn_resnet18_ucf9_statistics",
            "crnn_resnet18_jhmdb",
            "resnet3d_ucf9",
            "hierarchical_jhmdb",
            "hierarchical_jhmdb_crop",
            "hierarchical_ucf9",
            "hierarchical_ucf9_crop",
        )
    },
    # The weights that it names are fetched from their publisher; those at hand stand in for them.
    "crnn_resnet101_ucf101": VIDEOS | PARTIAL | {"model.config.encoder": "resnet18", "model.config.stages": 3},
}
# These run where what they need is made: files of NTU's and PYSKL's form, poses of JHMDB.
ELSEWHERE = {
    "hcn_ntu60_cad_joints": "test_training_cad60.py",
    "memory_attention_ntu60": "test_datasets_ntu_depth.py",
    "memory_attention_depth_ntu60": "test_datasets_ntu_depth.py",
    "keypoint_cnn3d_jhmdb": "test_training_poseconv3d.py",
    "keypoint_cnn3d_jhmdb_published": "test_training_poseconv3d.py",
    "poseconv3d_jhmdb": "test_training_poseconv3d.py",
    "poseconv3d_ntu60_hrnet": "test_training_poseconv3d.py",
    "poseconv3d_ntu120_hrnet": "test_training_poseconv3d.py",
    "rgbpose_conv3d_ntu60": "test_models_rgbpose.py",
    "two_stream_ntu60": "test_models_two_stream.py",
    **{name: "test_training_crop.py" for name in (f"hierarchical_{data}" for data in ("ntu60", "ntu120", "nw_ucla", "utd_mhad"))},
}


def link(files, root: Path) -> None:
    for file in files:
        there = root / file.parent.name / file.name
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(file)


@pytest.fixture
def few(data_root, tmp_path):
    """A folder with a few clips of the data set: one of three actions by four people, or all of CAD-60."""

    def make(name: str) -> Path:
        root = tmp_path / name
        if name in ("cad60", "jhmdb"):
            root.symlink_to(data_root(name))
            return root
        if name.startswith("ucf101"):
            videos = data_root("ucf101-9")
            few = [f"v_{label}_g{group}_c01.mp4" for label in ("Archery", "PushUps") for group in ("01", "08", "09", "15", "22")]
            link([file for file in sorted(videos.rglob("*.mp4")) if file.name in few], root)
            link(sorted((videos / "splits").iterdir()), root)
            return root
        if name == "jhmdb-video":
            videos = data_root("jhmdb")
            several = [file for label in ("clap", "golf") for file in sorted((videos / label).glob("*.mp4"))[::4]]
            one_each = [min(folder.glob("*.mp4")) for folder in videos.iterdir() if any(folder.glob("*.mp4"))]
            link({*several, *one_each}, root)
            link(sorted(videos.rglob("*_test_split1.txt")), root)
            return root
        if name == "nw-ucla":
            link(sorted(data_root(name).rglob("a0[1-3]_s0[1-3]_e00_v0[1-3].json")), root)
            return root
        link((file for file in sorted(data_root(name).rglob("a[1-3]_s[1-4]_t1_*.mat"))), root)
        return root

    return make


def test_every_recipe_is_run_by_a_test():
    assert sorted(RECIPES) == sorted([*CHANGES, *ELSEWHERE])
    for name, module in ELSEWHERE.items():
        assert name in Path(__file__).with_name(module).read_text(encoding="utf-8"), name


@pytest.mark.parametrize("name", CHANGES)
def test_it_trains_and_leaves_a_bundle_that_answers(name, few, tmp_path, models, monkeypatch):
    monkeypatch.chdir(RECIPES[name].parents[1])  # recipes quote results by their path from there
    if name == "efficientgcn_cad60":
        models("efficientgcn_b0_ntu60_xsub.pt")
    if name.startswith(("crnn", "resnet3d", "hierarchical")):
        models("resnet18_imagenet_partial.pt")
    if load_recipe(RECIPES[name]).data.pose == "movenet":
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        for file in ("rtmdet_nano_person.onnx", "movenet_lightning_int8.tflite"):
            models(file)
    sets = load_recipe(RECIPES[name]).data.name.split("+")
    roots = [few(each) for each in sets]
    recipe = load_recipe(RECIPES[name], {**CHANGES[name], "data.root": roots[0] if len(sets) == 1 else tmp_path})
    run = fit(recipe, tmp_path / "run", progress=False)
    measured = run.result["quoted"]["top1"]["mean"] if recipe.data.use == "all" else run.result["top1"]
    assert run.result["n_train"] > 0 and 0 <= measured <= 1
    dataset = read_dataset(sets[0], roots[0])
    clip = next(clip for clip in dataset.clips if clip.label is not None)
    answer = kinema.load(run.out).predict(clip, classes=dataset.classes)
    assert answer.known and answer.probabilities.sum() == pytest.approx(1)
