"""What docs/data.md shows can be done as it is shown."""

import re
import shlex
from pathlib import Path

import pytest

from kinema.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands():
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    for block in blocks("python"):
        exec(block, {})
    return tmp_path


def test_own_recordings_can_be_written_looked_at_and_audited(folder, capsys):
    own = [command for command in commands() if " folder " in command]
    assert len(own) == 2
    for command in own:
        assert main(shlex.split(command)[1:]) == 0
    text = capsys.readouterr().out
    assert "layout: coco17" in text and "leave-one-subject-out" in text
    assert "[copies]" in text


@pytest.mark.parametrize("command", [command for command in commands() if " folder " not in command])
def test_commands_on_published_sets_work(command, data_root, tmp_path, monkeypatch, capsys):
    words = shlex.split(command)
    root = data_root(words[3])
    monkeypatch.chdir(tmp_path)
    assert main([word.replace("$KINEMA_DATA", str(root.parent)) for word in words[1:]]) == 0
    text = capsys.readouterr().out
    if "audit" in words:
        audits = [shown for shown in commands() if " audit " in shown and " folder " not in shown]
        assert [line for line in blocks("text")[audits.index(command)].splitlines() if line not in text.splitlines()] == []
