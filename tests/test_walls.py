"""The rooms of the package know each other in one direction only, foreign files run no code, and starting up stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import kinema

PACKAGE = Path(kinema.__file__).parent
FILES = {".".join(("kinema", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in sorted(PACKAGE.rglob("*.py"))}
FILES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}

# Room -> rooms that it must not know, directly or through others.
WALLS = {
    "capture": {"datasets", "transforms", "models", "bundle", "training", "evaluation", "recognition", "estimation", "serving", "cli"},
    "datasets": {"transforms", "models", "bundle", "training", "evaluation", "recognition", "serving", "cli"},
    "transforms": {"datasets", "models", "bundle", "training", "evaluation", "recognition", "serving", "cli"},
    "models": {"datasets", "bundle", "training", "evaluation", "recognition", "serving", "cli"},
    "bundle": {"datasets", "training", "evaluation", "recognition", "serving", "cli"},
    "recognition": {"training", "evaluation", "serving", "cli"},
    "evaluation": {"training", "serving", "cli"},
    "training": {"serving", "cli"},
    "estimation": {"datasets", "transforms", "models", "bundle", "training", "evaluation", "recognition", "capture", "serving", "cli"},
    "serving": {"training", "evaluation", "cli"},
}
HEAVY = (
    "torch",
    "scipy",
    "matplotlib",
    "sklearn",
    "torchmetrics",
    "lightning",
    "lightning_fabric",
    "av",
    "PIL",
    "tensorboard",
    "Ice",
    "sqlalchemy",
)


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text("utf-8"), FILES[name])


def imported(name: str) -> Iterator[str]:
    """Full names of the modules that a module imports anywhere in it, also inside functions and for type checking."""
    package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parts, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in FILES else source


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def chain(start: str, forbidden: set[str]) -> list[str] | None:
    """The shortest way from a module to a room that it must not know."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop(0)
        for name in imported(way[-1]):
            if name in FILES and name != "kinema" and name not in seen:
                if room(name) in forbidden:
                    return [*way, name]
                seen.add(name)
                ways.append([*way, name])
    return None


@pytest.mark.parametrize("inside", sorted(WALLS))
def test_a_room_does_not_know_what_comes_after_it(inside):
    modules = [name for name in FILES if room(name) == inside]
    assert modules
    broken = [" -> ".join(way) for name in modules if (way := chain(name, WALLS[inside]))]
    assert not broken, "\n".join(broken)


def test_every_room_has_its_walls():
    assert {room(name) for name in FILES if name.count(".") == 2} <= set(WALLS)


def test_recognition_knows_no_data_set_but_the_reading_of_single_files():
    known = {name for module in FILES if room(module) == "recognition" for name in imported(module) if name.startswith("kinema.datasets")}
    assert known <= {"kinema.datasets._files"}


def test_no_room_reaches_others_through_the_public_names():
    assert {name for name in FILES if "kinema" in imported(name)} <= {"kinema.cli"}


def test_lightning_is_imported_by_training_alone_and_as_the_package_that_is_required():
    users = {(room(name), module.split(".")[0]) for name in FILES for module in imported(name) if module.startswith("lightning")}
    assert users <= {("training", "lightning_fabric")}


def calls(name: str) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.unparse(word.value) for word in call.keywords if word.arg == name), None)


def safe_loader(name: str, call: ast.Call) -> bool:
    """Whether `yaml.load` is given the safe loader or a class made of it in the same module."""
    made = {node.name: [ast.unparse(base) for base in node.bases] for node in ast.walk(tree(name)) if isinstance(node, ast.ClassDef)}
    loader = ast.unparse(call.args[1]) if len(call.args) > 1 else keyword(call, "Loader")
    return "yaml.SafeLoader" in (loader, *made.get(loader, ()))


def test_opening_a_file_runs_no_code_of_its_author():
    found = []
    for name in FILES:
        for call, function in calls(name):
            bad = (
                function in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.unsafe_load", "joblib.load")
                or (function == "yaml.load" and not safe_loader(name, call))
                or (function == "torch.load" and keyword(call, "weights_only") != "True")
                or keyword(call, "allow_pickle") == "True"
            )
            if bad:
                found.append(f"{name}, line {call.lineno}: {function}")
    assert not found, "\n".join(found)


def loaded_by(code: str) -> set[str]:
    """Which heavy packages a fresh Python has loaded after running this code."""
    code += f"\nimport sys; print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import kinema",
        "import kinema; kinema.Clip, kinema.PoseSequence, kinema.Layout, kinema.KinemaError, kinema.read_dataset",
        "from kinema.datasets import dataset_infos; dataset_infos()",
        "from kinema.training.recipe import Recipe",
        "from kinema.datasets.audit import audit",
    ],
)
def test_importing_loads_nothing_heavy(code):
    assert loaded_by(code) == set()


@pytest.mark.parametrize("command", [["--help"], ["data", "--help"], ["predict", "--help"], ["train", "--help"]])
def test_help_loads_nothing_heavy(command):
    code = f"from kinema.cli import main\ntry: status = main({command!r})\nexcept SystemExit as end: status = end.code\nassert not status"
    assert loaded_by(code) == set()
