"""docs/live.md: its commands and its Python do what the page says, here with stand-ins for camera and models."""

import re
import shlex
import time
from pathlib import Path

import pytest
from make_live import LABELS, opener, swaying_models
from make_videos import picture, write_video

from kinema.capture import newest
from kinema.cli import main
from kinema.serving.following import Models

PAGE = (Path(__file__).parent.parent / "docs/live.md").read_text("utf-8")
COMMANDS = [line.split("  #")[0].strip() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where the page's reader works: a film lies there, a camera shows ten pictures, there is no display."""
    write_video(tmp_path / "film.mp4", frames=8, rate=4)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINEMA_TOKEN", "a-token-of-the-tests")
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Models, "load", classmethod(lambda cls, *bundle, **settings: swaying_models()))
    monkeypatch.setattr("kinema.serving.run_live.display", lambda: None)
    original = newest.open_source

    def ten_pictures(source, *settings):
        if source.kind == "file":
            return original(source, *settings)
        return _ending(opener(_ten_pictures)(source))

    monkeypatch.setattr(newest, "open_source", ten_pictures)
    return tmp_path


def _ten_pictures():
    for i in range(10):
        yield i / 4, picture(i, 48, 64)
        time.sleep(0.1)


def _ending(life):
    from contextlib import contextmanager
    from dataclasses import replace

    @contextmanager
    def opened():
        with life as pictures:
            yield replace(pictures, endless=False)

    return opened()


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("kinema live") and "--events" not in line])
def test_what_is_followed_live_is_told(line, place, capsys):
    assert main(shlex.split(line)[1:]) == 0
    told = capsys.readouterr()
    assert any(label in told.out for label in LABELS) and "pictures" in told.err
    assert ("no display" in told.err) != ("--headless" in line or "--json" in line)
    if "--render" in line:
        assert (place / "drawn.mp4").exists()


def test_what_is_followed_live_is_kept(place, capsys, monkeypatch):
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    from types import SimpleNamespace

    line = next(line for line in COMMANDS if "--events" in line)
    models = swaying_models()
    models.bundle = SimpleNamespace(name="tiny", hash="0" * 64, classes=models.classes)
    monkeypatch.setattr(Models, "load", classmethod(lambda cls, *bundle, **settings: models))
    assert main(shlex.split(line)[1:]) == 0
    capsys.readouterr()
    assert main(["events", "list", "--db", "events.db"]) == 0
    kept = capsys.readouterr().out
    assert any(label in kept for label in LABELS)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("kinema serve")])
def test_what_is_served_tells_where(line, place, capsys, monkeypatch):
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    from kinema.serving.run_web import WebServer

    monkeypatch.setattr(WebServer, "run", lambda server: server._socket.close())
    monkeypatch.setattr("uvicorn.Config.load", lambda config: None)
    assert main([*shlex.split(line)[1:], "--port", "0"]) == 0
    assert re.search(r"Kinema: https?://[\d.]+:\d+/\?token=", capsys.readouterr().out)


def test_the_python_shown_runs(place, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "live.md", "exec"), {})
    assert "person 0, " in capsys.readouterr().out


def test_the_pictures_shown_are_there():
    for name in re.findall(r'(?:\]\(|src=")([\w-]+\.png)', PAGE):
        assert (Path(__file__).parent.parent / "docs" / name).stat().st_size < 600_000
