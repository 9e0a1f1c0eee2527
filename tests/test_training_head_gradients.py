"""`kinema hierarchy ...`: superclasses from a run or a file, and pictures of a run that trained with them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_training_hierarchy import recipe_of
from training_toys import CLASSES, register_toy, toy_dataset, use_toy_data

from kinema.cli import main
from kinema.evaluation.confusions import read_confusion
from kinema.hierarchy import Hierarchy, load_hierarchy, save_hierarchy
from kinema.training import head_gradients as module
from kinema.training.fit import fit
from kinema.training.head_gradients import head_gradients, last_convolution
from kinema.training.recipe import HierarchyConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        use_toy_data(toy_dataset(), patch.setattr)
        register_toy()
        file = save_hierarchy(Hierarchy(CLASSES, ((0, 0, 1),), source="by hand"), folder / "pairs.json")
        return fit(recipe_of(HierarchyConfig(counts=(2, 0), file=str(file))), folder / "made" / "run", progress=False).out


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    use_toy_data(toy_dataset(), monkeypatch.setattr)


def matrix_file(path, **changes):
    value = {"classes": list("abcd"), "confusion": [[9, 3, 0, 0], [2, 9, 0, 1], [0, 0, 9, 4], [1, 0, 2, 9]], **changes}
    path.write_text(json.dumps({key: entry for key, entry in value.items() if entry is not None}))
    return str(path)


def test_superclasses_from_a_file_of_a_matrix(tmp_path, capsys):
    out, picture = tmp_path / "made.json", tmp_path / "made.png"
    asked = ["--counts", "2,3", "--restarts", "20", "--out", str(out), "--picture", str(picture)]
    assert main(["hierarchy", "build", matrix_file(tmp_path / "m.json"), *asked]) == 0
    text = capsys.readouterr().out
    made = load_hierarchy(out)
    assert made.members(0) == (("a", "b"), ("c", "d")) and made.costs[0] == 2 and made.source == "confusion matrix m.json"
    assert "level 1: 2 superclasses, confusions between them: 2" in text and str(picture) in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "m.csv").write_text("true \\ answered,a,b,c,d\na,9,3,0,0\nb,2,9,0,1\nc,0,0,9,4\nd,1,0,2,9\n")
    np.testing.assert_array_equal(read_confusion(tmp_path / "m.csv").matrix, read_confusion(tmp_path / "m.json").matrix)
    assert main(["hierarchy", "show", str(out), "--json"]) == 0
    assert Hierarchy.of(json.loads(capsys.readouterr().out)) == made


def test_superclasses_from_a_run_by_its_validation_clips(run, tmp_path, capsys):
    assert (
        main(["hierarchy", "build", str(run), "--counts", "2", "--of", "probabilities", "--out", str(tmp_path / "m.json"), "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["source"].startswith("probabilities of 12 validation clips (run)") and told["classes"] == list(CLASSES)
    assert main(["hierarchy", "show", str(run / "bundle.safetensors")]) == 0
    assert "raise left, raise right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confusion": None}, "no confusion matrix"),
        ({"confusion": [[1, "x"], [0, 1]]}, "no confusion matrix"),
        ({"confusion": [[1, 0], [0]]}, "a square matrix"),
        ({"confusion": []}, "4 class names, 0 rows"),
        ({"classes": ["a", "b"]}, "2 class names, 4 rows"),
        ({"classes": None}, "no class names"),
        ({"part": "test"}, "confusions of the test part"),
        ({"confusion": [[0] * 4] * 4}, "empty"),
        ({"confusion": [[-1] * 4] * 4}, "a number from 0 on"),
    ],
)
def test_what_is_no_matrix_is_refused_in_a_line(tmp_path, capsys, changes, message):
    file = matrix_file(tmp_path / "m.json", **changes)
    assert main(["hierarchy", "build", file, "--counts", "2", "--out", str(tmp_path / "out.json")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_other_requests_that_cannot_be_followed(run, tmp_path, capsys):
    file = matrix_file(tmp_path / "m.json")
    (tmp_path / "bad.csv").write_text("x,a,b\na,1,2\nc,3,4\n")
    for asked, message in (
        (["build", file, "--counts", "2,x"], "whole numbers joined by commas"),
        (["build", file, "--counts", "5"], "5 superclasses of 4 classes"),
        (["build", str(tmp_path / "bad.csv"), "--counts", "2"], "row 3 is of 'c'; 'b'"),
        (["build", str(tmp_path), "--counts", "2"], "no val_scores.npz"),
        (["build", str(run / "result.json"), "--counts", "2"], "confusions of the test part"),
        (["gradients", str(tmp_path)], "no recipe.yaml"),
        (["draw", str(tmp_path)], "no recipe.yaml"),
        (["show", "utd-mhad-skeleton"], "has no superclasses"),
    ):
        assert main(["hierarchy", *asked]) == 2
        assert message in capsys.readouterr().err


def test_pictures_of_a_run(run, tmp_path, capsys):
    assert main(["hierarchy", "draw", str(run), str(tmp_path / "network.svg")]) == 0
    drawn = (tmp_path / "network.svg").read_text()
    assert "2 superclasses" in drawn and "3 classes" in drawn and "loss x 0.25" in drawn
    assert main(["hierarchy", "gradients", str(run), str(tmp_path / "g.png"), "--clips", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["clips"] == 5 and [row["classifier"] for row in told["classifiers"]] == [
        "stage 1: 2 superclasses",
        "stage 2: 3 superclasses",
        "own classifier",
    ]
    assert max(row["largest"] for row in told["classifiers"]) == pytest.approx(1)


def test_gradients_are_those_of_each_classifiers_loss_alone(run):
    found = head_gradients(run, clips=2)
    recipe, network, hierarchy = module._read(run)
    samples = module.prepare(recipe).train
    heads = module.make_heads(recipe, network, samples, hierarchy)
    module.load_heads(heads, run / "heads.safetensors")
    assert found.conv == "motion.conv4" == last_convolution(network, samples)
    expected = []
    for i in range(2):
        network.zero_grad()
        batch = samples.batch([i])
        torch.nn.functional.cross_entropy(network(**batch.inputs), batch.labels).backward()
        expected.append(network.get_submodule(found.conv).weight.grad.abs().mean((2, 3)).clone())
    own = sum(expected).numpy()
    np.testing.assert_allclose(found.values[-1] / found.values[-1].max(), own / own.max(), rtol=1e-3, atol=1e-5)
    assert all((values >= 0).all() and (values <= 1).all() for values in found.values)


def test_a_recipe_of_other_stages_draws_its_heads_there(run, tmp_path):
    recipe = recipe_of(HierarchyConfig(counts=(2,), stages=(1,), weights=(0.5, 1.0), file=str(run)))
    made = fit(replace(recipe, fit=replace(recipe.fit, epochs=1)), tmp_path / "a" / "b" / "run", progress=False)
    _, stages, classes, weight = module.drawn_stages(made.out)
    assert [stage.weight for stage in stages] == [0.5, None, None] and (classes, weight) == (3, 1.0)


def test_the_report_shows_the_superclasses(run, tmp_path, capsys):
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Superclasses</h2>" in page and "by hand" in page and "level 1" in page
