"""The report is one page that needs nothing else, says what its figures mean, and takes class names as text."""

import json
import re

import numpy as np
import pytest

from kinema.errors import DataError, KinemaError
from kinema.evaluation import plots
from kinema.evaluation.report import report
from kinema.evaluation.scores import Scores

CLASSES = ("walk", "<script>alert(1)</script>", "a$b$ & co", "never")


def run(folder, selection="refit", unit="clips", **changes):
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    probabilities = rng.dirichlet(np.ones(4), 30) * 0.5
    probabilities[np.arange(30), labels] += 0.5
    probabilities[:3] = [0.1, 0.2, 0.3, 0.4]
    clip = np.arange(30) if unit == "clips" else np.arange(30) // 6 * 3 + labels
    scores = Scores(probabilities, labels, clip, tuple(f"c<{i}>" for i in range(clip.max() + 1)), CLASSES, unit)
    scores.save(folder / "scores.npz")
    log = ["stage,epoch,lr,train_loss,train_top1,val_loss,val_top1,seconds"]
    log += [f"train,{i},.1,{1 / i},.5,{2 / i},.4,1" for i in range(1, 6)]
    log += [f"refit,{i},.1,{1 / i},.5,,,1" for i in range(1, 5)] if selection == "refit" else []
    (folder / "log.csv").write_text("\n".join(log) + "\n")
    (folder / "recipe.yaml").write_text("title: t\ndata:\n  root: /home/somebody/data\n  name: utd-mhad\n")
    result = {
        "title": "A & B",
        "dataset": "utd-mhad",
        "protocol": "cross-subject",
        "fold": "cross-subject",
        "seed": 3,
        "epoch": 4,
        "epochs": 5,
    }
    result |= {"n_train": 20, "n_val": 10, "n_test": 30, "selection": selection, "unit": unit, "skipped": [], **scores.metrics()}
    if unit != "clips":
        result["clips"] = scores.by_clip().metrics()
    (folder / "result.json").write_text(json.dumps(result | changes))
    return folder


def test_the_page_holds_everything_and_asks_for_nothing(tmp_path):
    page = report(run(tmp_path)).read_text()
    assert (tmp_path / "report.html").exists()
    assert not re.search(r'(?:src|href)="(?!#)', page) and "@import" not in page and "http" not in re.sub(r'xmlns[:\w]*="[^"]*"', "", page)
    for text in (
        "A &amp; B",
        "cross-subject",
        "95 % interval",
        "seed 3",
        "Worst clips",
        "c&lt;0&gt;",
        "without those that the test part lacks (never)",
    ):
        assert text in page
    assert "chosen on 10 validation clips" in page and "Trained anew for 4 epochs" in page
    assert "somebody" not in page and str(tmp_path) not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("<svg") == 3 and "#0a0b0" not in page


def test_class_names_are_text_and_nothing_else(tmp_path):
    page = report(run(tmp_path)).read_text()
    assert "<script>alert" not in page and page.count("<script>") == 1
    assert "a$b$ &amp; co" in page


def test_scores_chosen_on_the_test_part_carry_a_warning(tmp_path):
    page = report(run(tmp_path, "paper")).read_text()
    assert 'class="warn"' in page and "flatter" in page and "used once" not in page


def test_windows_are_reported_by_clip_too_and_copies_set_apart(tmp_path):
    folder = run(tmp_path, unit="windows")
    page = report(folder).read_text()
    assert "too narrow" in page and "By clip" in page
    clean = json.loads((folder / "result.json").read_text()) | {"excluded": ["x", "y"]}
    page = report(run(tmp_path, clean=clean), tmp_path / "other" / "page.html").read_text()
    assert "2 test clips are exact copies of training clips" in page


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="no finished run"):
        report(tmp_path)
    folder = run(tmp_path, n=31)
    with pytest.raises(DataError, match="another run"):
        report(folder)
    (folder / "result.json").write_text("{")
    with pytest.raises(DataError, match="is no result"):
        report(folder)


def test_a_run_without_validation_log_or_recipe_has_a_page(tmp_path):
    folder = run(tmp_path, "last")
    (folder / "log.csv").write_text("stage,epoch,lr,train_loss,train_top1,val_loss,val_top1,seconds\ntrain,1,.1,1,.5,,,1\n")
    assert "Learning curves" in report(folder).read_text()
    for name in ("log.csv", "recipe.yaml"):
        (folder / name).unlink()
    assert "Learning curves" not in report(folder).read_text()


@pytest.mark.parametrize("k", [2, 12, 27, 60])
def test_every_class_and_count_is_in_the_confusion_matrix(tmp_path, k):
    classes = [f"action $number$ {i}" for i in range(k)]
    counts = np.eye(k, dtype=int) * 5
    counts[0, 1] = 1234
    svg = plots.save(plots.confusion_figure(counts, classes, "title $x$"), tmp_path / "c.svg").read_text()
    for name in classes:
        assert svg.count(f">{name}<") == 2
    assert svg.count(">1234<") == 1 and svg.count(">5<") == k


def test_pictures_are_the_same_every_time_and_of_known_formats(tmp_path):
    entries = [{"class": "a", "n": 3, "recall": 1 / 3}, {"class": "b", "n": 0, "recall": None}]
    for form in ("png", "svg", "pdf"):
        once, again = (plots.save(plots.classes_figure(entries), tmp_path / f"{i}.{form}").read_bytes() for i in "ab")
        assert once == again
    assert b">1 of 3<" in (tmp_path / "a.svg").read_bytes() and b">b<" not in (tmp_path / "a.svg").read_bytes()
    with pytest.raises(KinemaError, match="did you mean 'png'"):
        plots.save(plots.classes_figure(entries), tmp_path / "a.pngg")


def test_the_confusion_matrix_is_written_as_picture_and_data(tmp_path):
    result = json.loads((run(tmp_path) / "result.json").read_text())
    written = plots.write_figures(result, tmp_path / "figures")
    assert {path.name for path in written} == {"confusion.png", "confusion.csv", "classes.png"}
    lines = (tmp_path / "figures" / "confusion.csv").read_text().splitlines()
    assert len(lines) == 5 and lines[1] == "walk," + ",".join(map(str, result["confusion"][0]))
