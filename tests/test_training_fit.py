"""A run from recipe to bundle: its folder, its selection of weights, resumption, and what goes wrong."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_toys import CLASSES, hard_recipe, register_toy, steady_recipe, toy_clip, toy_dataset, toy_recipe, use_toy_data

from kinema import bundle
from kinema.clip import Clip, PoseSequence
from kinema.datasets.base import Dataset
from kinema.errors import DataError, KinemaError, ProtocolError, RecipeError
from kinema.evaluation.scores import load_scores
from kinema.training import data as data_module
from kinema.training import fit as fit_module
from kinema.training.checkpoint import load_checkpoint
from kinema.training.data import prepare
from kinema.training.fit import Interrupted, fit
from kinema.training.load import load_recipe
from kinema.training.monitor import Monitor
from kinema.training.recipe import DataConfig
from kinema.training.run_folder import read_run
from kinema.transforms.config import PoseAugment, PoseInput

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    register_toy()
    use_toy_data(toy_dataset(), monkeypatch.setattr)


def run_log(out: Path) -> list[dict]:
    return list(csv.DictReader((out / "log.csv").open()))


def test_a_run_leaves_everything_that_its_result_needs(tmp_path):
    recipe = toy_recipe(epochs=10, lr=0.02)
    run = fit(recipe, tmp_path / "run", progress=False)
    out = tmp_path / "run"
    assert load_recipe(out / "recipe.yaml") == recipe
    assert [int(row["epoch"]) for row in run_log(out)] == list(range(1, 11))
    assert list((out / "tensorboard").iterdir())

    result = json.loads((out / "result.json").read_text())
    assert (result["dataset"], result["protocol"], result["fold"], result["unit"]) == ("toy", "cross-subject", "cross-subject", "clips")
    assert (result["n_train"], result["n_val"], result["n_test"], result["selection"], result["seed"]) == (12, 12, 24, "validation", 0)
    assert {clip_id.split("_")[1] for clip_id in result["test_ids"]} == {"s2", "s4"}
    assert {clip_id.split("_")[1] for clip_id in result["train_ids"] + result["val_ids"]} == {"s1", "s3"}
    assert result["clean"]["excluded"] == [] and result["clean"]["top1"] == result["top1"]
    assert run == read_run(out) and run.top1 == result["top1"]
    assert f"{100 * run.top1:.2f} % of 24 clips" in run.text()
    assert json.dumps(run.to_dict())

    scores = load_scores(out / "scores.npz")
    assert scores.metrics()["top1"] == result["top1"] and scores.classes == CLASSES

    made = bundle.load(out)
    assert (made.name, made.model, made.fps, made.seconds, made.unit) == ("run", "toy", 10.0, 2.0, "m")
    samples = prepare(recipe).test
    x = samples.batch(range(len(samples)))
    with torch.no_grad():
        p = made.build()(x.x, x.mask).double().softmax(1).numpy()
    np.testing.assert_allclose(p, scores.probabilities, atol=1e-6)


def test_weights_are_those_of_the_epoch_that_the_result_names(tmp_path):
    run = fit(toy_recipe(lr=0.02), tmp_path / "run", progress=False)
    rows = run_log(run.out)
    best = max(rows, key=lambda row: (float(row["val_top1"]), -float(row["val_loss"])))
    assert run.result["epoch"] == int(best["epoch"]) and run.result["val_top1"] == float(best["val_top1"])


@pytest.mark.parametrize(
    ("selection", "sizes", "validated"),
    [("validation", (12, 12), True), ("refit", (12, 12), True), ("last", (24, 0), False), ("paper", (24, 0), True)],
)
def test_the_selection_decides_what_trains_and_what_chooses(tmp_path, selection, sizes, validated):
    run = fit(toy_recipe(epochs=4, selection=selection), tmp_path / "run", progress=False)
    rows = run_log(run.out)
    assert (run.result["n_train"], run.result["n_val"]) == sizes
    assert bool(rows[0]["val_top1"]) == validated
    assert run.result["selection"] == selection
    refit = [row for row in rows if row["stage"] == "refit"]
    assert len(refit) == (run.result["epoch"] if selection == "refit" else 0)
    assert not any(row["val_top1"] for row in refit)
    if selection == "paper":
        assert "TEST part" in run.text()
        assert max(float(row["val_top1"]) for row in rows) == run.top1
    if selection == "last":
        assert run.result["epoch"] == 4


def test_windows_are_scored_by_themselves_and_by_clip(tmp_path):
    recipe = toy_recipe(epochs=2)
    windows = PoseInput(layout="cad60", frames=4, sampling="skip", step=2, phases=(0, 1), window=10, stride=5)
    result = fit(replace(recipe, input=windows), tmp_path / "run", progress=False).result
    assert (result["unit"], result["n"], result["n_test"]) == ("windows", 24 * 3, 24)
    assert (result["clips"]["n"], result["samples"]["n"]) == (24, 24 * 3 * 2)
    assert result["units"] == {"train": 12 * 3, "val": 12 * 3, "test": 24 * 3}
    assert len(load_scores(tmp_path / "run" / "scores.npz")) == 24 * 3


def test_a_fold_is_one_of_the_protocols(tmp_path):
    recipe = replace(toy_recipe(epochs=1), data=DataConfig("toy", protocol="leave-one-out", fold="3", val_share=0.3))
    assert {i.split("_")[1] for i in fit(recipe, tmp_path / "run", progress=False).result["test_ids"]} == {"s3"}
    for fold in (None, "9"):
        with pytest.raises(ProtocolError, match=r"name one|unknown fold"):
            fit(replace(recipe, data=replace(recipe.data, fold=fold)), tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


def test_the_classes_of_a_split_are_renumbered(monkeypatch):
    dataset = toy_dataset()
    make = dataset.protocols["cross-subject"].make

    def without_first(clips):
        return [replace(split, classes=(2, 1)) for split in make(clips)]

    protocol = replace(dataset.protocols["cross-subject"], make=without_first)
    use_toy_data(replace(dataset, protocols={"cross-subject": protocol}), monkeypatch.setattr)
    prepared = prepare(toy_recipe())
    assert prepared.classes == (CLASSES[2], CLASSES[1])
    assert [clip.label for clip in prepared.parts.test] == [{2: 0, 1: 1}[int(clip.id[1])] for clip in prepared.parts.test]
    assert len(prepared.test) == 16


def test_joined_data_sets_share_layout_and_keep_their_classes_apart(monkeypatch):
    other_clips = tuple(toy_clip(label, subject, 0, layout="ntu25") for label in range(3) for subject in range(1, 5))
    sets = {"one": toy_dataset(name="one"), "two": replace(toy_dataset(name="two"), clips=other_clips)}
    monkeypatch.setattr(data_module, "read_dataset", lambda name, root, on_error: sets[name])
    prepared = prepare(replace(toy_recipe(), data=DataConfig("one+two", val_share=0.5)))
    assert prepared.classes == tuple(f"{name}/{label}" for name in sets for label in CLASSES)
    sides = [{clip.id for clip in part} for part in (prepared.parts.train, prepared.parts.val, prepared.parts.test)]
    assert all(clip_id.startswith(("one/", "two/")) for side in sides for clip_id in side)
    assert len(set.union(*sides)) == sum(map(len, sides)) == 48 + 12
    assert not {clip.subject for clip in prepared.parts.train} & {clip.subject for clip in prepared.parts.val}
    assert {clip.label for clip in prepared.parts.val} == set(range(6))
    assert {clip.label for clip in prepared.parts.test if clip.id.startswith("two/")} == {3, 4, 5}
    assert prepared.train.layout.name == "cad60"


def test_joined_data_sets_may_have_protocols_folds_and_a_vocabulary_of_their_own(monkeypatch):
    sets = {name: toy_dataset(name=name) for name in ("one", "two")}
    monkeypatch.setattr(data_module, "read_dataset", lambda name, root, on_error: sets[name])
    a, b, _ = CLASSES
    words = {"first": (f"one/{a}", f"two/{a}"), f"two/{b}": ()}
    data = DataConfig("one+two", protocol="cross-subject+leave-one-out", fold="2", classes=words)
    assert data_module.fold_names(data) == ("1", "2", "3", "4")
    parts = data_module.read_parts(data, validate=False)
    assert (parts.classes, parts.protocol, parts.split.name) == (("first", f"two/{b}"), "cross-subject+leave-one-out", "2")
    assert {(clip.id[:6], clip.label) for clip in parts.test} == {("one/c0", 0), ("two/c0", 0), ("two/c1", 1)}
    assert {clip.subject for clip in parts.train} == {"one/1", "one/3", "two/1", "two/3", "two/4"}
    whole = data_module.read_parts(replace(data, use="all", protocol=None, fold=None), validate=False)
    assert not whole.test and len(whole.train) == len(parts.train) + len(parts.test)
    for classes, message in (
        ({"first": (f"one/{a}s",)}, f"'first': unknown class 'one/{a}s'; did you mean 'one/{a}'"),
        ({"first": (f"one/{a}",), f"one/{a}": ()}, f"'one/{a}' is given twice"),
    ):
        with pytest.raises(RecipeError, match=re.escape(message)):
            data_module.read_parts(replace(data, classes=classes), validate=False)
    with pytest.raises(ProtocolError, match="there are 4 folds"):
        data_module.read_parts(replace(data, fold=None), validate=False)


def broken() -> Dataset:
    """The toy data with one clip of a single frame in training, and one that could not be read."""
    dataset = toy_dataset()
    pose = dataset.clips[0].pose
    short = Clip("short", {"pose": PoseSequence(pose.points[:, :1], layout=pose.layout)}, 0, subject="1")
    return replace(dataset, clips=(*dataset.clips, short), skipped=(DataError("no numbers", "bad.csv"),))


def test_clips_that_cannot_be_used_stop_it_or_are_counted_and_named(tmp_path, monkeypatch):
    use_toy_data(broken(), monkeypatch.setattr)
    recipe = toy_recipe(epochs=1, selection="last")
    with pytest.raises(DataError, match="'short' has 1 frame"):
        fit(recipe, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    run = fit(replace(recipe, data=replace(recipe.data, on_error="skip")), tmp_path / "run", progress=False)
    assert [("short" in line, "bad.csv" in line) for line in run.result["skipped"]] == [(False, True), (True, False)]
    assert run.result["n_train"] == 24
    assert "skipped   2 clips" in run.text() and "bad.csv" in run.text()


def test_copies_of_training_clips_are_found_and_left_out_of_the_clean_figure(tmp_path, monkeypatch):
    dataset = toy_dataset()
    test = next(i for i, clip in enumerate(dataset.clips) if clip.subject == "2")
    clips = list(dataset.clips)
    clips[test] = replace(clips[test], modalities=dataset.clips[0].modalities)
    use_toy_data(replace(dataset, clips=tuple(clips)), monkeypatch.setattr)
    clean = fit(toy_recipe(epochs=1), tmp_path / "run", progress=False).result["clean"]
    assert clean["excluded"] == [clips[test].id] and clean["n"] == 23


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    register_toy()
    use_toy_data(toy_dataset(), patch.setattr)
    run = fit(hard_recipe(), tmp_path_factory.mktemp("whole") / "run", progress=False)
    patch.undo()
    return run


def same_run(out: Path, whole: Path) -> None:
    states = [bundle.load(path).state for path in (out, whole)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    logs = [[{key: row[key] for key in row if key != "seconds"} for row in run_log(path)] for path in (out, whole)]
    assert logs[0] == logs[1]
    np.testing.assert_array_equal(*(load_scores(path / "scores.npz").probabilities for path in (out, whole)))


KILLS = [("train", 0), ("train", 3), ("refit", 1)]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folder of a run that was killed within an epoch, by stage and epoch."""
    folder = tmp_path_factory.mktemp("killed")
    arguments = [f"{folder}/{stage}{epoch}:{stage}:{epoch}" for stage, epoch in KILLS]
    subprocess.run([sys.executable, HERE / "training_kill.py", *arguments], timeout=200, cwd=HERE, check=True)
    return {(stage, epoch): folder / f"{stage}{epoch}" for stage, epoch in KILLS}


@pytest.mark.parametrize("moment", KILLS)
def test_a_killed_run_goes_on_to_the_same_result(killed, uninterrupted, moment):
    out, epoch = killed[moment], moment[1]
    saved = load_checkpoint(out / "last.ckpt")["stage"]["history"]["rows"] if (out / "last.ckpt").exists() else []
    assert len(saved) == epoch and not (out / "bundle.safetensors").exists()
    fit(hard_recipe(), out, resume=True, progress=False)
    same_run(out, uninterrupted.out)


def test_ctrl_c_keeps_the_last_epoch_and_says_how_to_go_on(tmp_path, uninterrupted, monkeypatch):
    def interrupt(self, share):
        if self.epochs == 2:
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "run"
    monkeypatch.setattr(Monitor, "after_step", interrupt)
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted, match="interrupted after 2 complete epochs; --resume goes on") as error:
            fit(hard_recipe(), out, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert error.value.status == 130
    monkeypatch.undo()
    use_toy_data(toy_dataset(), monkeypatch.setattr)
    fit(hard_recipe(), out, resume=True, progress=False)
    same_run(out, uninterrupted.out)


def test_resuming_a_finished_run_reads_its_result(tmp_path, monkeypatch):
    run = fit(toy_recipe(epochs=1), tmp_path / "run", progress=False)
    monkeypatch.setattr(fit_module, "prepare", lambda recipe: pytest.fail("it trains again"))
    assert fit(toy_recipe(epochs=1), tmp_path / "run", resume=True, progress=False) == run


def test_a_run_is_not_written_over_nor_resumed_with_another_recipe(tmp_path):
    out = tmp_path / "run"
    fit(toy_recipe(epochs=1), out, progress=False)
    with pytest.raises(KinemaError, match="holds a run already"):
        fit(toy_recipe(epochs=1), out, progress=False)
    with pytest.raises(RecipeError, match=r"started with other values of augment.rotate, fit.epochs"):
        fit(replace(toy_recipe(epochs=2), augment=PoseAugment(rotate=5)), out, resume=True, progress=False)


def test_a_damaged_checkpoint_is_told(tmp_path):
    out = tmp_path / "run"
    fit(toy_recipe(epochs=1), out, progress=False)
    (out / "result.json").unlink()
    content = (out / "last.ckpt").read_bytes()
    (out / "last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(KinemaError, match=r"last.ckpt: is no checkpoint"):
        fit(toy_recipe(epochs=1), out, resume=True, progress=False)


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KinemaError, match="cannot be written") as error:
        fit(toy_recipe(epochs=1), tmp_path / "file" / "run", progress=False)
    assert "\n" not in str(error.value)


def test_a_full_disk_leaves_the_former_checkpoint_whole(tmp_path, monkeypatch):
    out, replaced = tmp_path / "run", os.replace

    def full(source, target):
        if Path(target).name == "last.ckpt" and Path(target).exists():
            raise OSError(28, "No space left on device")
        replaced(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(KinemaError, match=r"last.ckpt: cannot be written: No space left"):
        fit(toy_recipe(epochs=3), out, progress=False)
    assert len(load_checkpoint(out / "last.ckpt")["stage"]["history"]["rows"]) == 1
    assert not [path for path in out.iterdir() if path.name.endswith(".part")]


def test_two_devices_share_the_work_and_reach_the_same_weights(tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    subprocess.run([sys.executable, HERE / "training_two_devices.py", shared], timeout=200, cwd=HERE, check=True, capture_output=True)
    fit(steady_recipe(), alone, progress=False)
    states = [bundle.load(path).state for path in (alone, shared)]
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], atol=1e-4, rtol=1e-3)
    results = [load_scores(path / "scores.npz").probabilities for path in (alone, shared)]
    np.testing.assert_allclose(*results, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"name": "toyy"}}, "unknown model 'toyy'; did you mean 'toy'"),
        ({"model": {"config": {"widht": 3}}}, "did you mean 'width'"),
        ({"engine": {"accelerator": "gpux"}}, "engine: "),
        ({"data": {"protocol": "cross-subjekt"}}, "did you mean 'cross-subject'"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_written(tmp_path, change, message):
    recipe = toy_recipe()
    for section, values in change.items():
        recipe = replace(recipe, **{section: replace(getattr(recipe, section), **values)})
    with pytest.raises(KinemaError, match=message):
        fit(recipe, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_progress_is_lines_on_stderr_where_there_is_no_terminal(tmp_path, capsys):
    fit(toy_recipe(epochs=2), tmp_path / "run")
    captured = capsys.readouterr()
    assert captured.out == "" and "train epoch 2/2: loss" in captured.err
