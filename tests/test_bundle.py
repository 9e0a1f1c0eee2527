"""A bundle comes back as it was written, or is refused in one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_bundles import CLASSES, tiny_bundle

from kinema import bundle as bundles
from kinema.bundle import load, save, shipped
from kinema.errors import BundleError, KinemaError


@pytest.fixture(scope="module")
def made():
    return tiny_bundle()


@pytest.fixture
def file(made, tmp_path):
    return save(made, tmp_path / "tiny.safetensors")


def test_a_bundle_comes_back_as_it_was_written(made, file):
    found = load(file)
    for name in ("name", "model", "config", "classes", "input", "channels", "recipe", "result", "views", "fps", "seconds", "unit"):
        assert getattr(found, name) == getattr(made, name), name
    assert found.state.keys() == made.state.keys()
    assert all(torch.equal(found.state[key], made.state[key]) for key in made.state)
    assert found.hash == made.hash == load(str(file)).hash
    x = torch.randn(2, *(found.shape.persons, found.shape.frames, len(found.shape.layout), found.shape.channels))
    with torch.inference_mode():
        assert torch.equal(found.build()(x), made.build()(x))
    assert not found.build().training


def test_the_same_bundle_is_the_same_file_and_another_has_another_hash(made, file, tmp_path):
    assert save(load(file), tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert replace(made, notes="other").hash != made.hash


def test_any_changed_byte_is_noticed(file):
    data = file.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    digest = data.index(b'sha256\\": \\"') + len(b'sha256\\": \\"')
    places = {*range(8), header, len(data) - 1, digest, digest + 63, *range(8, header, 37), *range(header, len(data), 40001)}
    for place in places:
        for change in (1, 0x20, 0x80):
            changed = bytearray(data)
            changed[place] ^= change
            file.write_bytes(changed)
            with pytest.raises(BundleError, match=r"tiny\.safetensors") as error:
                load(file)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: (1 << 62).to_bytes(8, "little") + data[8:],
        lambda data: b"not a bundle at all",
        lambda data: bytes(5000),
    ],
)
def test_truncated_and_foreign_files_are_refused(file, damage):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BundleError, match=r"tiny\.safetensors"):
        load(file)


def _forge(file: Path, change) -> None:
    """Change the metadata and write a digest that fits: what a stranger with bad intent would hand over."""
    import hashlib

    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header["__metadata__"]["kinema"])
    change(about)
    about["sha256"] = "0" * 64
    header["__metadata__"]["kinema"] = json.dumps(about)
    text = json.dumps(header, separators=(",", ":")).encode()
    data = len(text).to_bytes(8, "little") + text + data[8 + size :]
    digest = hashlib.sha256(data).hexdigest().encode()
    file.write_bytes(data.replace(b"0" * 64, digest, 1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda about: about.update(format=99), "form"),
        (lambda about: about.update(classes="drink"), "classes"),
        (lambda about: about.update(classes=["a", "a"]), "classes"),
        (lambda about: about.update(channels=-3), "channels"),
        (lambda about: about.update(extra=1), "extra"),
        (lambda about: about.pop("recipe"), "recipe"),
        (lambda about: about["input"].update(frames=10**9), "frames"),
        (lambda about: about["input"].update(layout="kinect"), "layout"),
        (lambda about: about["input"].update(streams=[]), "streams"),
        (lambda about: about["input"].update(samplin="resize"), "did you mean 'sampling'"),
        (lambda about: about["input"].update(sampling="all"), "sampling"),
        (lambda about: about.update(fps=0), "fps"),
    ],
)
def test_a_forged_field_is_refused(file, change, says):
    _forge(file, change)
    with pytest.raises(BundleError, match=says):
        load(file)


def test_a_model_that_the_weights_do_not_fit_is_refused_before_it_takes_memory(made):
    for wrong, says in (
        (replace(made, classes=(*CLASSES, "more")), "do not fit"),
        (replace(made, model="hcnn"), "unknown model 'hcnn'"),
        (replace(made, config={"nonsense": 1}), "unknown setting"),
        (replace(made, state={key: value for key, value in list(made.state.items())[1:]}), "do not fit"),
        (replace(made, state={**made.state, "more": torch.zeros(1)}), "more"),
        (replace(made, input=replace(made.input, layout="ntu25", persons=100, frames=100_000)), "tiny"),
    ):
        with pytest.raises(BundleError, match=says):
            wrong.build()


def test_weights_that_are_not_finite_are_not_saved(made, tmp_path):
    key = next(key for key, value in made.state.items() if value.is_floating_point())
    broken = replace(made, state={**made.state, key: torch.full_like(made.state[key], float("nan"))})
    with pytest.raises(BundleError, match="finite"):
        save(broken, tmp_path / "b.safetensors")
    with pytest.raises(BundleError, match="JSON"):
        save(replace(made, result={"top1": float("nan")}), tmp_path / "b.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_not_shipped_names_the_nearest(monkeypatch, made, tmp_path):
    monkeypatch.setattr(bundles, "WEIGHTS", tmp_path)
    save(made, tmp_path / "utd-mhad-skeleton.safetensors")
    assert shipped() == ["utd-mhad-skeleton"]
    assert load("utd-mhad-skeleton").hash == made.hash
    with pytest.raises(BundleError, match="did you mean 'utd-mhad-skeleton'"):
        load("utd-mhad-skelton")
    with pytest.raises(BundleError, match="no such file"):
        load("runs/x.safetensors")


def test_a_runs_folder_stands_for_its_bundle(made, tmp_path):
    save(made, tmp_path / "run" / "bundle.safetensors")
    assert load(tmp_path / "run").hash == made.hash


def test_a_failed_write_is_one_line_and_leaves_what_was_there(made, file, tmp_path, monkeypatch):
    before = file.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KinemaError, match="No space left on device"):
        save(replace(made, notes="other"), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
    monkeypatch.undo()
    with pytest.raises(KinemaError, match="cannot be written"):
        save(made, file / "inside-a-file.safetensors")


def test_a_bundle_describes_itself(made):
    text = made.describe()
    for part in ("tiny", "hcn", "drink", "0.5", made.hash[:16]):
        assert part in text
