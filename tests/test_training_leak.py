"""Recordings that both train and test: refused, or allowed, and then every result carries the word."""

import json
from dataclasses import replace

import pytest
from training_toys import register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema.bundle import load
from kinema.datasets.base import Dataset
from kinema.datasets.protocols import leaking, listed, regardless
from kinema.errors import ProtocolError
from kinema.evaluation.evaluate import evaluate, evaluation_text
from kinema.evaluation.report import report
from kinema.evaluation.tables import render
from kinema.training.data import read_parts
from kinema.training.fit import fit
from kinema.training.load import dump_recipe
from kinema.training.study import run_study


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Clips of one class and subject are cut from one recording; "official" keeps them together, "random" does not."""
    register_toy()
    toy = toy_dataset()
    clips = tuple(replace(clip, group=f"{clip.label}-{clip.subject}") for clip in toy.clips)
    ids = {odd: [clip.id for clip in clips if int(clip.subject) % 2 == odd] for odd in (0, 1)}
    official = listed("official", "", {"1": (ids[1], ids[0])})
    protocols = {"official": official, "random": regardless("random", "", official)}
    dataset = Dataset("toy", clips, toy.classes, protocols)
    use_toy_data(dataset, monkeypatch.setattr)
    return dataset


def recipe(protocol, allow=False):
    made = toy_recipe(epochs=2)
    return replace(made, data=replace(made.data, protocol=protocol, val_by="clip", allow_leak=allow))


def test_a_leak_is_refused_unless_it_is_allowed(toys):
    assert not read_parts(recipe("official").data).leak
    with pytest.raises(ProtocolError, match=r"leak: 2\d of 24 test clips are cut from recordings that train, .* data.allow_leak: true"):
        read_parts(recipe("random").data)
    assert read_parts(recipe("random", allow=True).data).leak == leaking(toys.split("random"), toys.clips)


def test_everything_of_a_run_on_a_leak_says_so(toys, tmp_path):
    run = fit(recipe("random", allow=True), tmp_path / "run", progress=False)
    result = json.loads((run.out / "result.json").read_text())
    assert result["leak"] == len(leaking(toys.split("random"), toys.clips))
    words = f"leak: {result['leak']} of 24 test clips"
    bundle = load(run.out)
    found, _ = evaluate(bundle, toys, "random")
    assert found["leak"] == result["leak"] == bundle.result["leak"]
    for text in (run.text(), bundle.notes, evaluation_text(found), report(run.out).read_text()):
        assert words in text


def test_a_run_without_leak_does_not_speak_of_it(toys, tmp_path):
    run = fit(recipe("official", allow=True), tmp_path / "run", progress=False)
    assert "leak" not in run.result and "recordings" not in run.text() and "leak" not in evaluate(load(run.out), toys)[0]


def test_a_table_has_a_column_for_it(tmp_path):
    for protocol in ("official", "random"):
        (tmp_path / f"{protocol}.yaml").write_text(dump_recipe(recipe(protocol, allow=True)))
    path = tmp_path / "s.yaml"
    path.write_text("title: t\nresult: r\nrows: [{name: apart, recipe: official.yaml}, {name: mixed, recipe: random.yaml}]")
    results = json.loads(run_study(path, tmp_path / "runs", tmp_path / "results", progress=False).read_text())
    apart, mixed = results["rows"]
    assert "leak" not in apart and mixed["leak"].startswith("leak: 2")
    assert "| Leak |" in render(results) and mixed["leak"] in render(results)
