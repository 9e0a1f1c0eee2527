"""Results files have one form; the tables of the documentation are made of them and are found out when they are stale."""

import json

import numpy as np
import pytest

from kinema.errors import DataError, KinemaError
from kinema.evaluation.intervals import wilson
from kinema.evaluation.results import accuracy_row, command_line, environment, read_results, speed_row, write_results
from kinema.evaluation.tables import render, render_folder, update_docs


def a_row(**changes):
    row = dict(name="HCN", dataset="utd-mhad", protocol="cross-subject", n_train=431, n_test=430, seeds=[0, 1], correct=[400, 410])
    row |= {"published": 0.7625, "parameters": 1_047_000} | changes
    return accuracy_row(row.pop("name"), row.pop("dataset"), row.pop("protocol"), **row)


def test_an_accuracy_row_is_the_mean_over_seeds_with_an_interval_over_clips():
    row = a_row()
    assert row["top1"]["mean"] == pytest.approx(405 / 430)
    assert row["top1"]["std"] == pytest.approx(np.std([400 / 430, 410 / 430], ddof=1))
    assert row["top1"]["runs"] == [400 / 430, 410 / 430]
    assert row["top1"]["interval"] == list(wilson(405, 430))
    assert a_row(seeds=[0], correct=[400])["top1"]["std"] is None


def test_a_row_over_folds_gives_both_means():
    row = a_row(n_train=[90, 10], n_test=[10, 90], correct=[[10, 45], [8, 45]], folds=["1", "2"], unit="windows")
    assert row["n_test"] == 100 and row["n_train"] == 50
    assert row["top1"]["runs"] == [0.55, 0.53]
    assert row["top1_by_fold"]["runs"] == [0.75, 0.65]
    assert row["folds"][1] == {"name": "2", "n_train": 10, "n_test": 90, "top1": row["folds"][1]["top1"]}
    assert row["folds"][1]["top1"]["mean"] == 0.5


def test_a_speed_row_counts_per_item_and_compares_with_a_peer_on_this_machine():
    row = speed_row(
        "hcn", "forward, batch 64", 1, "float32", [640, 320, 960], items=64, peer={"name": "P", "ms": 12.8, "calibration": [2, 4]}
    )
    assert row["ms"] == {"median": 10, "min": 5, "runs": 3}
    assert row["per_second"] == 100
    assert row["peer"]["ms_here"] == pytest.approx(38.4) and row["factor"] == pytest.approx(3.84)


@pytest.mark.parametrize(
    "make",
    [
        lambda: a_row(correct=[400]),
        lambda: a_row(seeds=[], correct=[]),
        lambda: a_row(n_train=[1], n_test=[1, 2], correct=[[1, 1], [1, 1]], folds=["1", "2"]),
        lambda: a_row(correct=[431, 0]),
        lambda: speed_row("x", "y", 1, "float32", []),
    ],
)
def test_rows_that_do_not_add_up_are_refused(make):
    with pytest.raises(ValueError):
        make()


def test_what_is_written_is_read_back(tmp_path):
    rows = [a_row(precision=np.float64(0.9)), speed_row("x", "y", 1, "float32", [1.0])]
    path = write_results(tmp_path / "new" / "r.json", "A title", rows, command="kinema study x")
    found = read_results(path)
    assert found["title"] == "A title" and found["command"] == "kinema study x"
    assert found["rows"][0]["precision"] == 0.9 and found["rows"][1]["ms"]["runs"] == 1
    assert list(tmp_path.glob("new/*")) == [path]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda r: r.pop("title"), "'title' is missing"),
        (lambda r: r["rows"][0].pop("n_test"), r"row 0 \(HCN\): 'n_test' is missing"),
        (lambda r: r["rows"][0].update(n_train="431"), "'n_train' is '431'"),
        (lambda r: r["rows"][0]["top1"].update(mean=94.2), "fractions"),
        (lambda r: r["rows"][0].update(published=76.25), "fractions"),
        (lambda r: r["rows"][0]["top1"].update(runs=[0.5]), "one run a seed"),
        (lambda r: r["rows"].append("row"), "row 1"),
        (lambda r: r["rows"].append({"name": "x"}), "'work' is missing"),
    ],
)
def test_a_file_of_another_form_is_refused_with_row_and_key(tmp_path, damage, message):
    path = write_results(tmp_path / "r.json", "t", [a_row()], command="c")
    results = json.loads(path.read_text())
    damage(results)
    path.write_text(json.dumps(results))
    with pytest.raises(DataError, match=message) as error:
        read_results(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_no_json_or_not_there_is_refused(tmp_path):
    (tmp_path / "r.json").write_text("{")
    for name in ("r.json", "none.json"):
        with pytest.raises(DataError, match=name):
            read_results(tmp_path / name)


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KinemaError, match="cannot be written"):
        write_results(tmp_path / "file" / "r.json", "t", [a_row()], command="c")
    with pytest.raises(ValueError):
        write_results(tmp_path / "r.json", "t", [a_row(note={"x": float("nan")})], command="c")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_environment_and_command_tell_nothing_of_the_machines_folders(tmp_path, monkeypatch):
    import getpass
    import socket

    text = json.dumps(environment())
    assert socket.gethostname() not in text and str(tmp_path) not in text
    assert f'"{getpass.getuser()}"' not in text
    monkeypatch.setenv("KINEMA_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    words = ["/opt/env/bin/kinema", "evaluate", f"--data.root={tmp_path}/utd", "--out", "/somewhere/else/x.json", "--lr", "1e-3", "a b"]
    assert command_line(words) == "kinema evaluate --data.root=utd --out x.json --lr 1e-3 'a b'"
    monkeypatch.chdir("/")
    monkeypatch.delenv("HOME", raising=False)
    assert "utd" in command_line(words) and str(tmp_path) not in command_line(words)


def test_tables_hold_the_figures_of_the_file(tmp_path):
    rows = [
        a_row(selection="validation", mean_class=0.9, loss=0.25),
        a_row(name="Ours|2", published="about 93"),
        speed_row("x", "y", 1, "float32", [2.0]),
    ]
    results = read_results(write_results(tmp_path / "r.json", "t", rows, command="c"))
    table = render(results)
    assert (
        "| HCN | utd-mhad, cross-subject | 431 / 430 clips | 94.19 ± 1.64 | 91.6–96.0 | 2 | validation | 76.25 | 1.047 M | 90.00 | 0.25 |"
        in table
    )
    assert "| Mean class % | Loss |" in table
    assert "| Ours\\|2 |" in table and "about 93" in table
    assert "| x | y | 1 | float32 | 2 | 2 | 1 | 500 |" in table
    assert "Multiply-adds" not in table
    assert "## t" in render_folder(tmp_path)


def test_stale_tables_are_found_and_renewed(tmp_path):
    write_results(tmp_path / "r.json", "t", [a_row()], command="c")
    page = tmp_path / "page.md"
    page.write_text(
        '# A\n\n<!-- results:r -->\nold\n<!-- /results -->\n\nIt reaches <!-- results:r row="HCN" value="top1" -->99<!-- /results --> %.\n'
    )
    before = page.read_text()
    stale = [f"{page}: line 3: r", f"{page}: line 7: r"]
    assert update_docs([page], tmp_path, check=True) == stale and page.read_text() == before
    assert update_docs([page], tmp_path) == stale
    assert 'It reaches <!-- results:r row="HCN" value="top1" -->94.19 ± 1.64<!-- /results --> %.\n' in page.read_text()
    assert "old" not in page.read_text() and page.read_text().startswith("# A\n\n<!-- results:r -->\n\n| Name |")
    assert update_docs([page], tmp_path, check=True) == []
    write_results(tmp_path / "r.json", "t", [a_row(correct=[400, 411])], command="c")
    assert len(update_docs([page], tmp_path, check=True)) == 2


@pytest.mark.parametrize(
    "text, message",
    [
        ("<!-- results:r -->\n", "no partner"),
        ("<!-- /results -->\n", "no partner"),
        ("<!-- results:r -->\n<!-- results:r -->\n<!-- /results -->", "no partner"),
        ("<!-- results:r -->\n<!-- /results -->\n<!-- /results -->", "no partner"),
        ("<!--results: r -->\n<!-- /results -->\n", "no partner"),
        ("\n<!-- results:none -->\n<!-- /results -->\n", "line 2.*none.json"),
        ('<!-- results:r row="HC" value="top1" --><!-- /results -->', "did you mean 'HCN'"),
        ('<!-- results:r row="HCN" value="top2" --><!-- /results -->', "did you mean 'top1'"),
    ],
)
def test_marks_that_lead_nowhere_are_errors(tmp_path, text, message):
    write_results(tmp_path / "r.json", "t", [a_row()], command="c")
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(DataError, match=message):
        update_docs([page], tmp_path, check=True)
