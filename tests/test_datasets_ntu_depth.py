"""NTU RGB+D's masked depth images, joined to their skeletons, and the recipes that see them."""

from pathlib import Path

import numpy as np
import pytest
from make_files import ntu_file
from PIL import Image

from kinema.datasets import ntu
from kinema.datasets._ntu_depth import read_depth
from kinema.errors import DataError
from kinema.training.fit import fit
from kinema.training.load import load_recipe

NAME = "S001C001P001R001A001"
RECIPES = Path(__file__).parents[1] / "recipes"
SMALL = {
    "fit.epochs": 1,
    "fit.warmup": 0,
    "fit.batch_size": 4,
    "fit.views": 1,
    "data.val_share": 0.3,
    "engine.threads": 1,
    "engine.accelerator": "cpu",
}


def depth_folder(root: Path, name: str = NAME, frames: int = 6, size: tuple[int, int] = (106, 128)) -> Path:
    """Images of a square that comes nearer and moves to the right."""
    folder = root / "nturgb+d_depth_masked" / name
    folder.mkdir(parents=True)
    for i in range(frames):
        image = np.zeros(size, np.uint16)
        image[40:70, 30 + 4 * i : 50 + 4 * i] = 3000 - 100 * i
        Image.fromarray(image).save(folder / f"MDepth-{i + 1:08}.png")
    return folder


def test_depth_images_join_the_skeleton_of_their_name(tmp_path):
    ntu_file(tmp_path)
    ntu_file(tmp_path, "S001C001P002R001A001")
    depth_folder(tmp_path)
    clips = {clip.id: clip for clip in ntu.read(tmp_path).clips}
    depth = clips[NAME].depth
    assert depth.frames.shape == (6, 106, 128) and depth.fps == 30
    assert depth.frames[0].max() == 3000 and depth.frames[5].max() == 2500
    assert not clips["S001C001P002R001A001"].has("depth")


def test_images_come_in_the_order_of_their_numbers(tmp_path):
    folder = depth_folder(tmp_path, frames=12)
    assert [int(frame.max()) for frame in read_depth(folder).frames] == [3000 - 100 * i for i in range(12)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "MDepth-00000003.png").write_bytes(b"no image"), "00000003.png: is no image that can be read"),
        (lambda folder: Image.new("RGB", (128, 106)).save(folder / "MDepth-00000003.png"), "a 16-bit grey image"),
        (lambda folder: Image.fromarray(np.zeros((10, 10), np.uint16)).save(folder / "MDepth-00000003.png"), "10 x 10 pixels, where"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no depth images"),
    ],
)
def test_what_is_no_depth_image_is_named(tmp_path, spoil, message):
    folder = depth_folder(tmp_path)
    spoil(folder)
    with pytest.raises(DataError, match=message):
        read_depth(folder)


# ResNet-101 twice takes its time; the second recipe runs with smaller networks in their places.
@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("memory_attention_ntu60", {}),
        ("memory_attention_depth_ntu60", {"model.config.backbone": "resnet18", "model.config.depth_backbone": "resnet18"}),
    ],
)
def test_the_recipe_for_who_has_the_data_set_runs_on_files_of_its_form(tmp_path, recipe, changes):
    for person in (1, 2, 3, 4, 6, 7):
        for action in (1, 2):
            name = f"S001C001P{person:03}R001A{action:03}"
            ntu_file(tmp_path / "ntu", name, frames=6)
            depth_folder(tmp_path / "ntu", name)
    loaded = load_recipe(RECIPES / f"{recipe}.yaml", {"data.root": tmp_path / "ntu", **SMALL, **changes})
    run = fit(loaded, tmp_path / "run", progress=False)
    assert run.result["n_train"] + run.result["n_val"] == 6 and run.result["n_test"] == 6
