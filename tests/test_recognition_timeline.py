"""What happens when: over overlapping windows, in files of every kind; lengths of time as words."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from kinema.errors import DataError, KinemaError
from kinema.recognition.prediction import Prediction, WindowPrediction
from kinema.recognition.timeline import Timeline, parse_seconds, timeline_figure, write_timeline

CLASSES = ("drink", "phone", "wave", "walk")


def answered(windows, **fields) -> Prediction:
    """`windows`: (start, end, best class, its probability)."""
    made = []
    for start, end, best, p in windows:
        row = np.full(4, (1 - p) / 3)
        row[CLASSES.index(best)] = p
        made.append(WindowPrediction(start, end, row))
    return Prediction("clip", CLASSES, np.mean([window.probabilities for window in made], 0), windows=tuple(made), **fields)


OVERLAPPING = [(0, 3, "wave", 0.7), (1, 4, "wave", 0.4), (2, 5, "walk", 0.9), (3, 6, "walk", 0.85)]


def test_a_moment_has_the_mean_of_the_windows_that_cover_it():
    line = Timeline.of(answered(OVERLAPPING))
    np.testing.assert_allclose(line.edges, range(7))
    np.testing.assert_allclose(line.at(0.5)[2], 0.7)
    np.testing.assert_allclose(line.at(1.5)[2], 0.55)
    np.testing.assert_allclose(line.at(3.5)[3], (0.2 + 0.9 + 0.85) / 3)
    np.testing.assert_allclose(line.at(99), line.at(5.9))
    np.testing.assert_allclose(line.probabilities.sum(1), 1)
    spans = line.spans()
    assert [span[:3] for span in spans] == [(0, 2, "wave"), (2, 6, "walk")]
    assert spans[0][3] == pytest.approx((0.7 + 0.55) / 2)


def test_where_no_window_looks_nothing_is_said():
    line = Timeline.of(answered([(0, 1, "wave", 0.7), (5, 6, "wave", 0.7)]))
    assert np.isnan(line.at(3)).all()
    assert [span[:3] for span in line.spans()] == [(0, 1, "wave"), (5, 6, "wave")]


def test_a_recording_without_windows_is_one_span():
    answer = Prediction("clip", CLASSES, np.array([0.1, 0.2, 0.6, 0.1]))
    assert Timeline.of(answer).spans() == [(0, 0, "wave", pytest.approx(0.6))]
    answer = Prediction("clip", CLASSES, np.array([0.1, 0.2, 0.6, 0.1]), seconds=4.0)
    assert Timeline.of(answer).spans() == [(0, 4, "wave", pytest.approx(0.6))]
    with pytest.raises(DataError, match="nothing is known of it: because"):
        Timeline.of(Prediction.nothing("clip", CLASSES, "because"))


def test_files_of_every_kind(tmp_path):
    answers = [answered(OVERLAPPING, seconds=6.0), Prediction.nothing("other", CLASSES, "because")]
    paths = write_timeline(answers, tmp_path / "deep" / "out", top=2)
    assert [path.name for path in paths] == ["out.json", "out.csv", "out.png"]
    found = json.loads(paths[0].read_text())["recordings"]
    assert [span["label"] for span in found[0]["spans"]] == ["wave", "walk"]
    assert [window["start"] for window in found[0]["windows"]] == [0, 1, 2, 3]
    assert found[1]["spans"] == [] and found[1]["reason"] == "because"
    rows = list(csv.DictReader(paths[1].open()))
    assert [row["label"] for row in rows] == ["wave", "wave", "walk", "walk", None]
    assert float(rows[2]["probability"]) == pytest.approx(0.9) and float(rows[2]["end"]) == 5 and rows[2]["label_2"] in CLASSES
    assert min(Image.open(paths[2]).size) > 300
    for suffix in (".svg", ".pdf"):
        assert write_timeline(answers, tmp_path / f"x{suffix}")[0].stat().st_size > 1000
    several = write_timeline([answers[0], answers[0]], tmp_path / "y.png")
    assert [path.name for path in several] == ["y-clip-1.png", "y-clip-2.png"]
    for path, wrong, said in ((tmp_path / "a.txt", answers, r"\.json, \.csv"), (tmp_path / "a", answers[1:], "no answer")):
        with pytest.raises(KinemaError, match=said):
            write_timeline(wrong, path)


def test_many_labels_and_a_short_recording_can_be_drawn():
    many = tuple(f"class {i}" for i in range(30))
    rng = np.random.default_rng(0)
    windows = tuple(WindowPrediction(i, i + 2, rng.dirichlet(np.ones(30))) for i in range(40))
    figure = timeline_figure(Prediction("clip", many, windows[0].probabilities, windows=windows))
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "another"
    timeline_figure(Prediction("clip", CLASSES, np.full(4, 0.25)))


def test_lengths_of_time_are_read():
    for text, seconds in (("3s", 3), ("3", 3), (" .5 s ", 0.5), ("250ms", 0.25), ("2min", 120), (1.5, 1.5), (None, None)):
        assert parse_seconds(text) == seconds
    for text in ("", "s", "3 parsecs", "-1", "1e3", "3s4"):
        with pytest.raises(KinemaError, match="no length of time; seconds are expected, such as 3 or 3s"):
            parse_seconds(text)
