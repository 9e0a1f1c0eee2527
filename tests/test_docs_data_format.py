"""docs/data-format.md says what the reader does: the same names, and examples that are read."""

import json
import re
from pathlib import Path

import numpy
from make_files import moving, own_folder

from kinema.datasets import _skeletons, folder, read_dataset
from kinema.layout import LAYOUTS

PAGE = (Path(__file__).parents[1] / "docs" / "data-format.md").read_text("utf-8")


def first_column(heading: str) -> list[str]:
    """The names in the first column of the first table under a heading."""
    table = re.search(r"\n\|.*?\n\n", PAGE[PAGE.index(heading) :], re.DOTALL)[0]
    return [name for row in table.strip().split("\n")[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_columns_fields_and_layouts_are_those_of_the_reader():
    assert sorted(first_column("## clips.csv")) == sorted(folder.COLUMNS)
    assert sorted(first_column("## Skeleton files")) == sorted(_skeletons._KEYS)
    row = next(line for line in PAGE.split("\n") if line.startswith("| `layout`"))
    assert set(re.findall(r"`([^`]+)`", row)) - {"layout"} == set(LAYOUTS)
    for name in (*folder.COLUMNS, *_skeletons._KEYS):
        assert name in folder.__doc__


def test_the_protocols_are_those_of_the_reader(tmp_path):
    rows = [{"id": f"c{i}", "label": "run", "split": "train", **dict.fromkeys(folder.ATTRIBUTES, str(i))} for i in range(5)]
    dataset = read_dataset("folder", own_folder(tmp_path, rows), cache=False)
    told = first_column("## Protocols")
    made = list(dataset.protocols)
    assert made[0] == told[0] and made[-1] == told[-1] == "holdout"
    assert {name for name in made if name.startswith("cross-")} == {name for name in told if name.startswith("cross-")}
    test = {dataset.by_id[clip_id].subject for clip_id in dataset.splits("cross-subject")[0].test}
    assert test == {"1", "4"}  # the second and fifth


def test_the_examples_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    points = moving(4, 17, 2)
    exec(code, {"numpy": numpy, "points": points, "confidences": numpy.ones((4, 17))})
    assert _skeletons.read_skeleton("ann-1.npz").image_size == (640, 480)
    example, protocols = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    Path("x.json").write_text(json.dumps({**example, "points": [[None if i == 1 else [1, 2] for i in range(17)]]}))
    assert not _skeletons.read_skeleton("x.json").mask[0, 0, 1]
    own_folder(tmp_path / "own", [{"id": name, "label": "run"} for name in ("ann-1", "ann-2", "bob-1")])
    (tmp_path / "own" / "protocols.json").write_text(json.dumps(protocols))
    assert [len(split.train) for split in read_dataset("folder", tmp_path / "own", cache=False).splits("mine")] == [2]
