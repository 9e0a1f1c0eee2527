"""What docs/events.md shows can be done as it is shown."""

import json
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from dataclasses import fields

from kinema.cli import main
from kinema.datasets._convert import convert
from kinema.datasets.base import read_dataset
from kinema.serving.events import Action, EventStore
from kinema.serving.rules import read_rules

PAGE = (Path(__file__).parents[1] / "docs" / "events.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("kinema events")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the page's reader works: two recordings of somebody who waves, and the page's rules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALARM_TOKEN", "x")
    convert(read_dataset("actor", None, people=1, views=("front",), actions=("wave", "squat")), tmp_path / "recordings")
    (tmp_path / "rules.yaml").write_text(blocks("yaml")[0])
    return tmp_path


def test_the_commands_do_what_is_said(folder, capsys):
    said = {}
    for line in commands():
        assert main(shlex.split(line)[1:]) == 0, line
        said[line] = capsys.readouterr().out
    assert len(said) == 8
    assert said[commands()[0]].count(" actions in ") == len(list((folder / "recordings").rglob("*.npz")))
    assert "fall: fall down or lie down for 5 s -> POST https://alarm.example.org/events" in said["kinema events rules rules.yaml"]
    assert json.loads((folder / "events.json").read_text()) == {"events": []}  # nothing was recorded at "hall"
    assert (folder / "events.csv").read_text().startswith("id,person,label,start,end,seconds")


def test_the_python_example_records_what_somebody_does(folder, capsys):
    exec(blocks("python")[0], {})
    assert "wave" in capsys.readouterr().out
    assert {action.status for action in EventStore("events.db").each()} == {"closed"}


def test_the_columns_are_those_of_a_row():
    table = PAGE[PAGE.index("| Column |") :].partition("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`([a-z]+)`", row.split("|")[1])]
    assert named == [field.name for field in fields(Action)]


def test_the_rules_and_the_message_are_of_their_form(folder):
    assert len(read_rules("rules.yaml")) == 2
    assert set(json.loads(blocks("json")[0])) >= {"id", "rule", "label", "person", "source", "start", "time", "seconds", "confidence"}
