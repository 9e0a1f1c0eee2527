"""The commands and the Python shown about skeletons of videos do what is said, with somebody made instead of networks."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from made_people import Stage, standing
from make_videos import write_video

from kinema import bundle as bundles
from kinema.cli import main
from kinema.datasets._skeletons import read_skeleton
from kinema.estimation import backends, film, stage

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/pose.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8").split("\n## Videos of people\n")[1].split("\n## ")[0]


class Deep(Stage):
    """Somebody with points in metres too."""

    def tracker(self, **settings):
        tracker = super().tracker(**settings)
        step = tracker.step

        def with_metres(image, time):
            return [_with(pose, world=np.c_[pose.points / 100, pose.scores].astype(np.float32)) for pose in step(image, time)]

        tracker.step = with_metres
        return tracker


def _with(pose, **fields):
    return type(pose)(**{**{name: getattr(pose, name) for name in pose.__dataclass_fields__}, **fields})


@pytest.fixture
def room(tmp_path, monkeypatch):
    def make(backend="auto", **settings):
        return Deep(lambda time: [standing(60 + 8 * np.sin(5 * time), 60, 90)]).tracker()

    for module in (backends, film, stage):
        monkeypatch.setattr(module, "make_tracker", make)
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "film.mp4", frames=30, height=120, width=160)
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings/other.mp4").write_bytes((tmp_path / "film.mp4").read_bytes())
    return tmp_path


def commands(text):
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.startswith("kinema ")]


@pytest.mark.parametrize("text", [PAGE, README], ids=["pose.md", "README.md"])
def test_the_commands_shown_run(text, room, capsys):
    if "everyday" not in bundles.shipped():
        pytest.skip("no bundle ships yet")
    lines = commands(text)
    assert len(lines) == (6 if text is PAGE else 2)
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, (line, capsys.readouterr().err)
    assert read_skeleton(room / "OUT/film.npz").observed.all()
    if text is PAGE:
        assert (room / "OUT/other.mp4").exists() and (room / "answer.mp4").exists()
        assert read_skeleton(room / "OUT3D/film.npz").unit == "m"
    else:
        assert (room / "OUT/film.mp4").exists()


def test_the_python_shown_runs(room, capsys):
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], {})
    assert capsys.readouterr().out.strip() == "(1, 30, 17, 2)"


def test_the_files_are_those_that_are_looked_for():
    named = re.findall(r"^\| `([\w.]+\.(?:onnx|tflite))` \|", PAGE, re.MULTILINE)
    assert named == [file.name for file in (backends.DETECTOR, *backends.ESTIMATORS.values())]
