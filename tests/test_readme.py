"""The README tells what is there: data sets, models, protocols, paths and commands."""

import re
import shlex
from pathlib import Path

import pytest
from make_videos import write_video
from tiny_bundles import tiny_video_bundle

from kinema import bundle as bundles
from kinema._commandline import command_parser
from kinema.cli import COMMANDS, main
from kinema.datasets._convert import convert
from kinema.datasets.base import dataset_infos, read_dataset
from kinema.models.registry import model_infos

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_column(title: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", section(title), re.MULTILINE)


def test_the_table_of_data_sets_is_complete():
    assert sorted(first_column("Data sets")) == sorted(info.name for info in dataset_infos())


def test_the_table_of_models_is_complete():
    own = [name for name, info in model_infos().items() if type(info.defaults).__module__.startswith("kinema.")]
    assert sorted(first_column("Models")) == sorted(own)


def test_the_map_names_files_that_are_there():
    paths = first_column("Where things are")
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_room_and_top_level_module_is_on_the_map():
    paths = first_column("Where things are")
    rooms = [f"src/kinema/{room.name}/" for room in (ROOT / "src/kinema").iterdir() if (room / "__init__.py").exists()]
    assert [room for room in rooms if room not in paths] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def shown_commands() -> list[str]:
    """Every `kinema ...` line of the pages' shell examples, without its comment."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += [line.split("  #")[0].strip() for line in block.replace("\\\n", " ").splitlines() if line.startswith("kinema ")]
    return sorted(set(found))


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_shown_is_one_that_can_be_typed(line):
    words = shlex.split(line)[1:]
    command = COMMANDS[words.pop(0)]
    if isinstance(command, dict):
        command = command[words.pop(0)]
    command_parser("kinema", command).parse_args(words)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Where the README's user works: the actor's clips stand for his recordings, a short training for a long one."""
    folder = tmp_path_factory.mktemp("readme")
    actor = read_dataset("actor", None, people=4, views=("front",), actions=("wave", "clap", "squat"))
    convert(actor, folder / "DIR")
    clip = sorted((folder / "DIR").rglob("*.npz"))[0]
    (folder / "recordings").mkdir()
    for place in (folder / "clip.npz", folder / "recordings" / clip.name):
        place.write_bytes(clip.read_bytes())
    write_video(folder / "film.mp4")
    bundles.save(tiny_video_bundle(), folder / "BUNDLE.safetensors")
    return folder


def test_the_readmes_commands_do_what_it_says(room, monkeypatch, capsys):
    """In their order, on small data: `DIR` is a folder of the user's own form, `clip.mat` a file of it, the training is cut short."""
    if "utd-mhad-skeleton" not in bundles.shipped():
        pytest.skip("no bundle ships yet")
    monkeypatch.chdir(room)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    lines = [line for title in ("Recognise a recording", "Train, and get a result that can be trusted") for line in commands_of(title)]
    assert len(lines) == 9
    for line in lines:
        words = shlex.split(line.replace("clip.mat", "clip.npz").replace("audit utd-mhad DIR", "audit folder DIR"))[1:]
        words = [word.replace("BUNDLE", "BUNDLE.safetensors") for word in words]
        if words[0] == "train":
            words[1] = str(ROOT / words[1])
            words += ["--data.name", "folder", "--data.protocol", "cross-subject"]
            words += ["--fit.epochs", "1", "--fit.warmup", "0", "--fit.views", "1", "--engine.threads", "1"]
        assert main(words) == 0, (line, capsys.readouterr().err)
    assert (room / "answer.gif").exists() and (room / "when.csv").exists()
    assert (room / "runs/hcn_utd_mhad/report.html").exists()


def commands_of(title: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", section(title), re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.startswith("kinema ")]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/recognise.md"], ids=lambda page: page.name)
def test_the_python_shown_runs(page, room, monkeypatch):
    if "utd-mhad-skeleton" not in bundles.shipped():
        pytest.skip("no bundle ships yet")
    monkeypatch.chdir(room)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    scope: dict = {}
    exec(compile(blocks[0].replace("clip.mat", "clip.npz"), page.name, "exec"), scope)
    answer = scope["prediction"] if "prediction" in scope else scope["stream"].current_activity()
    assert answer.known
    assert len(answer.top(5)) == 5
