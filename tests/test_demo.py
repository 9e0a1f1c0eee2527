"""The demo recognises the actor's movements, says that they are synthetic, counts honestly, and draws them."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kinema.bundle import shipped
from kinema.datasets.actor import CLASSES
from kinema.demo import ACTIONS, REAL, demo
from kinema.errors import KinemaError
from kinema.recognition.prediction import Prediction


class Answers:
    """A recognizer that is right about every other clip."""

    def __init__(self, classes=CLASSES):
        self.bundle = SimpleNamespace(name="stand-in", classes=classes)

    def predict_clips(self, clips, classes):
        answers = []
        for i, clip in enumerate(clips):
            probabilities = np.full(len(classes), 0.1 / (len(classes) - 1))
            probabilities[(clip.label + i % 2) % len(classes)] = 0.9
            answers.append(Prediction(clip.id, tuple(classes), probabilities, clip.label, pose=clip.pose))
        return answers


@pytest.fixture
def recordings(data_root):
    return data_root("utd-mhad").parent


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr("kinema.recognition.recognizer.load", lambda bundle: Answers())
    monkeypatch.delenv("KINEMA_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def test_it_prints_truth_and_five_labels_counts_and_draws(stand_in, tmp_path, capsys):
    assert demo(str(tmp_path / "out")) == 0
    text = capsys.readouterr().out
    assert "Synthetic" in text
    assert "nobody was recorded" in text
    assert f"{(len(ACTIONS) + 1) // 2} of {len(ACTIONS)} right." in text
    assert "real people" not in text
    (row,) = [line for line in text.replace("\N{NO-BREAK SPACE}", " ").splitlines() if line.split("  ")[0].strip() == "wave"]
    assert "yes" in row
    assert "wave 90" in row
    assert row.count(",") == 1 + 4  # "1, front" and five labels
    assert Image.open(tmp_path / "out" / "demo.png").size[0] == 1200
    assert Image.open(tmp_path / "out" / "demo.gif").n_frames > 30


def test_it_performs_at_least_eight_actions():
    assert len(set(ACTIONS)) == len(ACTIONS) >= 8


def test_recordings_of_test_subjects_are_added_where_they_are_at_hand(recordings, stand_in, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KINEMA_DATA", str(recordings))
    demo(str(tmp_path))
    text = capsys.readouterr().out
    assert "real people" in text
    assert f"{len(REAL) // 2} of {len(REAL)} right." in text
    assert all(clip_id in text for clip_id in REAL)
    assert all(int(clip_id.split("_")[1][1:]) % 2 == 0 for clip_id in REAL)


def test_a_damaged_data_set_does_not_stop_it(stand_in, tmp_path, capsys, monkeypatch):
    (tmp_path / "utd-mhad").mkdir()
    monkeypatch.setenv("KINEMA_DATA", str(tmp_path))
    assert demo(str(tmp_path / "out")) == 0
    assert "left out" in capsys.readouterr().out


def test_a_bundle_of_other_classes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("kinema.recognition.recognizer.load", lambda bundle: Answers(("walk", "drink")))
    with pytest.raises(KinemaError, match="trained on UTD-MHAD"):
        demo(str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_told(stand_in, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(KinemaError, match="cannot be written"):
        demo(str(tmp_path / "file" / "out"))


def test_the_shipped_bundle_recognises_most_of_what_the_actor_does(tmp_path, capsys, monkeypatch):
    if "utd-mhad-skeleton" not in shipped():
        pytest.skip("bundle utd-mhad-skeleton does not ship with this copy")
    monkeypatch.delenv("KINEMA_DATA", raising=False)
    demo(str(tmp_path))
    right, of = capsys.readouterr().out.split(" right.")[0].split()[-3::2]
    assert int(of) == len(ACTIONS)
    assert int(right) >= 0.8 * len(ACTIONS)
