"""The commands as a user types them: what they print, where, and how they end."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_bundles
from make_videos import write_video

from kinema import bundle as bundles
from kinema.cli import COMMANDS, main
from kinema.datasets._convert import convert
from kinema.datasets.base import read_dataset

RECIPE = """
title: a small HCN on the actor
data: {name: actor}
input: {layout: cad60, frames: 16, scale: true}
model: {name: hcn, config: {widths: [8, 16, 8, 8, 16, 16], hidden: 16}}
fit: {epochs: 2, batch_size: 64, lr: 3e-3, selection: last}
engine: {accelerator: cpu, threads: 1}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a bundle, a recipe and the actor's recordings as files."""
    folder = tmp_path_factory.mktemp("cli")
    bundles.save(tiny_bundles.tiny_bundle(), folder / "tiny.safetensors")
    (folder / "recipe.yaml").write_text(RECIPE)
    actor = read_dataset("actor", None, people=2, views=("front",), actions=("wave", "clap", "squat"))
    convert(actor, folder / "clips")
    return folder


NAMES = [
    words
    for name, command in COMMANDS.items()
    for words in ([[name, inner] for inner in command] if isinstance(command, dict) else [[name]])
]


@pytest.mark.parametrize("command", NAMES, ids=" ".join)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert "usage: kinema " + " ".join(command) in text
    assert "help: None" not in text


def test_without_a_command_all_are_listed(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all("  " + " ".join(name) in text for name in NAMES)


def first_clip(place: Path) -> str:
    return str(sorted((place / "clips").rglob("*.npz"))[0])


def test_predict_names_labels_with_probabilities(place, capsys):
    assert main(["predict", first_clip(place), "--bundle", str(place / "tiny.safetensors"), "--top", "2"]) == 0
    out = capsys.readouterr().out
    assert sum(label in out for label in tiny_bundles.CLASSES) == 2


def test_predict_prints_one_json_object_and_nothing_else(place, capsys):
    assert main(["predict", str(place / "clips"), "--bundle", str(place / "tiny.safetensors"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["predictions"]) == 6
    for prediction in answer["predictions"]:
        assert sum(p["probability"] for p in prediction["top"]) == pytest.approx(1, abs=1e-5)


def test_predict_answers_a_video_window_by_window_and_writes_it_down(tmp_path, capsys):
    bundles.save(tiny_bundles.tiny_video_bundle(), tmp_path / "tiny.safetensors")
    path = write_video(tmp_path / "a.mp4", frames=60)
    words = ["--window", "2s", "--stride", "1s", "--timeline", str(tmp_path / "line"), "--render", str(tmp_path / "out.mp4"), "--json"]
    assert main(["predict", str(path), "--bundle", str(tmp_path / "tiny.safetensors"), *words]) == 0
    out, err = capsys.readouterr()
    (found,) = json.loads(out)["predictions"]
    assert [window["start"] for window in found["windows"]] == [0, 1, 2, 3, 4] and len(found["top"]) == 4
    for name in ("line.json", "line.csv", "line.png", "out.mp4"):
        assert (tmp_path / name).stat().st_size > 100 and name in err
    assert main(["predict", str(path), "--bundle", str(tmp_path / "tiny.safetensors"), "--window", "soon"]) == 2
    assert capsys.readouterr().err.startswith("kinema: 'soon' is no length of time")


def test_predict_draws_what_it_answers(place, tmp_path, capsys):
    assert main(["predict", first_clip(place), "--bundle", str(place / "tiny.safetensors"), "--render", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_train_report_evaluate_predict_follow_one_another(place, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(place / "recipe.yaml"), "--out", str(run), "--fit.epochs", "1", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["report", str(run)]) == 0
    assert "<html" in Path(capsys.readouterr().out.strip()).read_text()
    assert main(["evaluate", "--bundle", str(run / "bundle.safetensors"), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["top1"] == pytest.approx(trained["top1"])
    wanted = {"dataset", "protocol", "top1", "top5", "mean_class", "precision", "recall", "f1", "mse", "loss", "interval"}
    assert wanted | {"confusion", "per_class", "n_train", "n_test"} <= measured.keys()
    assert main(["train", str(place / "recipe.yaml"), "--out", str(run)]) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["models"], "hcn-gap"),
        (["models", "hcn"], "M parameters"),
        (["bundles", "{bundle}"], "tiny"),
        (["data", "list"], "utd-mhad"),
        (["data", "inspect", "folder", "{clips}"], "6 clips"),
        (["data", "audit", "folder", "{clips}"], "6 clips"),
        (["predict", "{clips}", "--bundle", "{bundle}"], "wave"),
    ],
    ids=str,
)
def test_commands_answer_in_text_and_as_one_json_object(command, says, place, capsys):
    values = {"bundle": place / "tiny.safetensors", "clips": place / "clips"}
    command = [word.format(**values) for word in command]
    assert main(command) == 0
    assert says in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_overfit_fails_with_status_1_what_cannot_learn(place, capsys):
    command = ["overfit", str(place / "recipe.yaml"), "--samples", "24", "--epochs", "1", "--fit.lr", "1e-9"]
    assert main(command) == 1
    assert "FAILED" in capsys.readouterr().out


def broken_npz(folder: Path) -> Path:
    path = folder / "nan.npz"
    np.savez(path, points=np.full((10, 15, 3), np.nan), layout="cad60", unit="m", fps=30)
    return path


BAD = [
    (["predict", "nothing.mat"], "nothing.mat"),
    (["predict", "{empty}"], "no clips"),
    (["predict", "{nan}", "--bundle", "{bundle}"], "nan.npz"),
    (["predict", "{clip}", "--bundle", "utd-mhad-skelton"], "unknown bundle"),
    (["predict", "{clip}", "--bundle", "{damaged}"], "damaged"),
    (["predict", "{clip}", "--bundle", "{bundle}", "--render", "{folder}/a.bmp"], ".png"),
    (["train", "no.yaml"], "no.yaml"),
    (["train", "{recipe}", "--fit.epohs", "3"], "'--fit.epochs'"),
    (["train", "{recipe}", "--fit.lr", "fast"], "fit.lr: a number is expected, not fast"),
    (["train", "{recipe}", "--model.name", "hnc"], "'hcn'"),
    (["train", "{recipe}", "--data.name", "actr"], "'actor'"),
    (["train", "{recipe}", "--data.protocol", "cros-subject"], "'cross-subject'"),
    (["train", "{recipe}", "--input.layout", "cad61"], "'cad60'"),
    (["train", "{recipe}", "--model.config.droput", ".3"], "'dropout'"),
    (["train", "{recipe}", "--out", "/proc/kinema/run"], "/proc"),
    (["evaluate", "--bundle", "{bundle}", "--data.name", "actor"], "class"),
    (["data", "inspect", "utd-mhat", "."], "'utd-mhad'"),
    (["data", "inspect", "folder", "{empty}"], "clips.csv"),
    (["data", "audit", "folder", "nowhere"], "nowhere"),
    (["report", "{empty}"], "run"),
    (["import", "{recipe}", "{folder}/run"], "recipe.yaml"),
    (["import", "{bundle}", "{folder}/run", "--arch", "efficientgcn-bo"], "'efficientgcn-b0'"),
    (["reproduce", "nothing-like-this"], "nothing-like-this"),
    (["predct"], "'predict'"),
    (["models", "--jsn"], "'--json'"),
]


@pytest.mark.parametrize(("command", "says"), BAD, ids=[" ".join(command) for command, _ in BAD])
def test_bad_input_gets_one_clear_line_and_status_2(command, says, place, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    damaged = bytearray((place / "tiny.safetensors").read_bytes())
    damaged[-7] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    values = {
        "empty": tmp_path / "empty",
        "nan": broken_npz(tmp_path),
        "clip": first_clip(place),
        "bundle": place / "tiny.safetensors",
        "damaged": tmp_path / "damaged.safetensors",
        "recipe": place / "recipe.yaml",
        "folder": tmp_path,
    }
    command = [word.format(**values) if "{" in word else word for word in command]
    if command[0] == "train" and "--out" not in command:
        command += ["--out", str(tmp_path / "run")]
    try:
        status = main(command)
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    assert status == 2
    assert says in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert "Traceback" not in captured.err
    assert not (tmp_path / "run").exists(), "nothing is half-written"


def test_the_program_itself_runs(place):
    command = [sys.executable, "-m", "kinema.cli", "data", "list", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "utd-mhad" in {each["name"] for each in json.loads(done.stdout)["datasets"]}
