"""Runs and bundles fused by `kinema fuse`: what is measured, what is refused, and the bundle that is left."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_toys import register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema import fused
from kinema.cli import main
from kinema.evaluation import fuse_runs
from kinema.evaluation.scores import load_scores
from kinema.training.fit import fit


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of four small runs: two with a validation part, a refit, one that took the last epoch, and one of another fold."""
    folder = tmp_path_factory.mktemp("runs")
    register_toy()
    patch = pytest.MonkeyPatch()
    use_toy_data(toy_dataset(takes=2), patch.setattr)
    recipe = toy_recipe(epochs=2)
    windows = replace(recipe, input=replace(recipe.input, window=10, stride=5))
    wanted = {
        "a": recipe,
        "b": replace(recipe, fit=replace(recipe.fit, lr=0.003, selection="refit")),
        "last": replace(recipe, fit=replace(recipe.fit, selection="last", epochs=1)),
        "windows": replace(windows, fit=replace(windows.fit, epochs=1)),
        "fold": replace(recipe, data=replace(recipe.data, protocol="leave-one-out", fold="1", val_share=0.3)),
    }
    for name, each in wanted.items():
        fit(each, folder / name, progress=False)
    patch.undo()
    return folder


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setattr(fuse_runs, "read_dataset", lambda name, root=None, *, on_error="raise": toy_dataset(takes=2))


def words(runs: Path, *names: str) -> list[str]:
    return [str(runs / name) for name in names]


def test_runs_are_fused_and_measured_beside_each_of_them(runs, capsys):
    assert main(["fuse", *words(runs, "a", "b"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    mean = (load_scores(runs / "a/scores.npz").probabilities + load_scores(runs / "b/scores.npz").probabilities) / 2
    assert result["top1"] == np.mean(mean.argmax(1) == load_scores(runs / "a/scores.npz").labels)
    assert [row["top1"] for row in result["members"]] == [load_scores(runs / name / "scores.npz").metrics()["top1"] for name in "ab"]
    assert (result["rule"], result["n_test"], result["unit"]) == ("average", 12, "clips")
    assert [row["missing"] for row in result["members"]] == [0, 0] and result["clean"]["excluded"] == []
    val = (load_scores(runs / "a/val_scores.npz").probabilities + load_scores(runs / "b/val_scores.npz").probabilities) / 2
    right = val.argmax(1) == load_scores(runs / "a/val_scores.npz").labels
    assert result["validation"] == {"unit": "clips", "n": 6, "top1": right.mean()}
    assert main(["fuse", *words(runs, "a", "last"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["validation"] is None
    assert main(["fuse", *words(runs, "a", "b"), "--rule", "maximum"]) == 0
    text = capsys.readouterr().out
    assert text.count("top-1") == 3 and "fused, maximum" in text and str(runs / "a") in text


@pytest.mark.parametrize("rule", ["weighted", "stacked"])
def test_weights_are_learned_from_the_validation_part(runs, rule, capsys):
    assert main(["fuse", *words(runs, "a", "b"), "--rule", rule, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["validation"].items() >= {"unit": "clips", "n": 6}.items() and 0 <= result["validation"]["top1"] <= 1
    weights = [row["weight"] for row in result["members"]]
    assert min(weights) > 0 and (rule == "stacked" or sum(weights) == pytest.approx(1))
    labels = load_scores(runs / "a/val_scores.npz").clip_ids
    assert not set(labels) & set(load_scores(runs / "a/scores.npz").clip_ids)


def test_bundles_are_measured_on_the_spot(runs, capsys):
    bundles = [f"{word}/bundle.safetensors" for word in words(runs, "a", "b")]
    for given in (bundles, words(runs, "a", "b")):
        assert main(["fuse", *given, "--json"]) == 0
    one, other = map(json.loads, capsys.readouterr().out.splitlines())
    assert one["top1"] == other["top1"] and one["loss"] == pytest.approx(other["loss"], abs=1e-6)
    assert main(["fuse", bundles[0], str(runs / "b"), "--rule", "weighted"]) == 0


def test_windows_are_fused_by_clip_where_only_some_have_them(runs, capsys):
    assert main(["fuse", *words(runs, "a", "windows")]) == 2
    assert "they can be fused by clip" in capsys.readouterr().err
    assert main(["fuse", *words(runs, "a", "windows"), "--clips", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unit"] == "clips"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["a"], "two or more different runs"),
        (["a", "a/bundle.safetensors"], "two or more different runs"),
        (["a", "fold"], "protocol 'cross-subject', .* on 'leave-one-out'; the same is expected"),
        (["a", "last", "--rule", "weighted"], "last has none: fit.selection: last has no validation part; train it with"),
        (["a", "b/bundle.safetensors", "--rule", "stacked"], "give its run's folder, which has the answers from before"),
        (["a", "none"], "unknown bundle|no such file"),
        (["a", "."], "no finished run"),
    ],
)
def test_what_cannot_be_fused_is_told_in_one_line(runs, given, says, capsys):
    given = [word if word.startswith("-") or word in fused.RULES else str(runs / word) for word in given]
    assert main(["fuse", *given]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and re.search(says, error)


def test_a_run_of_an_earlier_version_is_told_what_it_lacks(runs, tmp_path, capsys):
    shutil.copytree(runs / "b", tmp_path / "b")
    (tmp_path / "b" / "val_scores.npz").unlink()
    assert main(["fuse", str(runs / "a"), str(tmp_path / "b"), "--rule", "weighted"]) == 2
    assert "train it anew" in capsys.readouterr().err


def test_a_clip_that_one_member_left_out_is_answered_by_the_others_and_counted(runs, tmp_path, capsys):
    shutil.copytree(runs / "b", tmp_path / "b")
    scores = load_scores(runs / "b/scores.npz")
    scores.without(scores.clip_ids[:2]).save(tmp_path / "b" / "scores.npz")
    assert main(["fuse", str(runs / "a"), str(tmp_path / "b"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["missing"] for row in result["members"]] == [0, 2] and result["n"] == 12
    assert main(["fuse", str(runs / "a"), str(tmp_path / "b")]) == 0
    assert "no answer to 2" in capsys.readouterr().out


def test_the_bundle_that_is_left_answers_as_was_measured(runs, tmp_path, capsys):
    out = tmp_path / "both.safetensors"
    assert main(["fuse", *words(runs, "a", "b"), "--rule", "stacked", "--out", str(out)]) == 0
    members = [fuse_runs.read_member(word) for word in words(runs, "a", "b")]
    result, scores, _ = fuse_runs.fuse(members, "stacked")
    bundle = fused.load(out)
    assert bundle.result["top1"] == result["top1"] and bundle.fusion.rule == "stacked"
    assert bundle.fusion(np.stack([member.test.probabilities for member in members])) == pytest.approx(scores.probabilities)
    capsys.readouterr()
    assert main(["bundles", str(out)]) == 0
    text = capsys.readouterr().out
    assert "2 bundles fused by rule 'stacked'" in text and "weight" in text


def test_evaluate_takes_a_fused_bundle(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("kinema.training.data.read_dataset", lambda name, root=None, *, on_error="raise": toy_dataset(takes=2))
    out = str(tmp_path / "both.safetensors")
    assert main(["fuse", *words(runs, "a", "b"), "--rule", "weighted", "--out", out, "--json"]) == 0
    assert main(["evaluate", "--bundle", out, "--json"]) == 0
    fused_now, measured = map(json.loads, capsys.readouterr().out.splitlines())
    assert (measured["top1"], measured["n"], measured["seen"]) == (fused_now["top1"], 12, 0)
    assert measured["loss"] == pytest.approx(fused_now["loss"], abs=1e-5)
    assert main(["evaluate", "--bundle", out]) == 0
    assert "bundle both (" in capsys.readouterr().out
