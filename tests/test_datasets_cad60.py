"""CAD-60: labels, confidences, what is wrong with a line, and the facts of the real recordings."""

import numpy as np
import pytest
from make_files import cad_folder, cad_text

from kinema.datasets import read_dataset
from kinema.datasets.cad60 import CLASSES, ENVIRONMENTS, read_skeleton
from kinema.errors import DataError

LABELS = {
    "1": {"0512164529": "brushing teeth", "0512164800": "still", "0512164801": None},
    "2": {"0510160858": "brushing teeth", "0510160859": "drinking water"},
}


def read(root, **options):
    return read_dataset("cad60", root, **{"cache": False, **options})


def test_labelled_still_and_unlabelled_recordings(tmp_path):
    dataset = read(cad_folder(tmp_path, LABELS))
    labels = {clip.id: clip.label for clip in dataset.clips}
    assert labels == {"0512164529": 1, "0512164800": None, "0512164801": None, "0510160858": 1, "0510160859": 4}
    assert dataset.by_id["0510160859"].subject == "2"
    assert [len(fold.test) for fold in dataset.splits("leave-one-person-out")] == [1, 2]


def test_an_uncertain_joint_is_observed_and_its_score_says_how_sure_it_is(tmp_path):
    path = tmp_path / "0512164529.txt"
    path.write_text(cad_text(frames=4))
    pose = read_skeleton(path)
    assert pose.points.shape == (1, 4, 15, 3) and pose.unit == "mm" and pose.mask is None
    assert pose.score[0, :, 0].tolist() == [0, 1, 0, 1]
    assert (pose.points[0, 0] != 0).any(-1).all()


def test_each_joint_is_read_from_its_own_fields(tmp_path):
    fields = [str(value) for value in range(1, 172)]
    for i in [*range(14, 155, 14), *range(158, 171, 4)]:  # confidences
        fields[i] = "1"
    path = tmp_path / "0512164529.txt"
    path.write_text(",".join(fields) + ",\nEND\n")
    points = read_skeleton(path).points[0, 0]
    assert points[0].tolist() == [12, 13, 14] and points[10].tolist() == [152, 153, 154]
    assert points[11].tolist() == [156, 157, 158] and points[14].tolist() == [168, 169, 170]


def spoil(text: str, line: int, change) -> str:
    lines = text.split("\n")
    lines[line] = change(lines[line])
    return "\n".join(lines)


BAD = {
    "empty": (lambda text: "", "the file is empty"),
    "only END": (lambda text: "END\n", "there are no frames"),
    "no END": (lambda text: text.replace("END\n", ""), "the closing line END is missing"),
    "cut in a line": (lambda text: text[: len(text) // 2], r"line \d: \d+ fields; 171 and a closing comma"),
    "14 joints": (lambda text: spoil(text, 2, lambda line: ",".join(line.split(",")[:-5]) + ","), "line 3: 167 fields; 171"),
    "a word": (
        lambda text: spoil(text, 1, lambda line: line.replace(line.split(",")[11], "x", 1)),
        "line 2, field 12: 'x' is not a number",
    ),
    "NaN": (lambda text: spoil(text, 1, lambda line: line.replace(line.split(",")[11], "nan", 1)), "frame 1, joint head: nan"),
    "infinity": (lambda text: spoil(text, 1, lambda line: line.replace(line.split(",")[11], "inf", 1)), "frame 1, joint head: inf"),
    "confidence 2": (lambda text: text.replace(",1,", ",2,"), "scores must lie in 0..1"),
    "bytes": (lambda text: b"\xff\xfe" * 40, "no text"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_its_line_or_skipped(tmp_path, case):
    cad_folder(tmp_path, LABELS)
    path = tmp_path / "data1" / "0512164529.txt"
    change, message = BAD[case]
    content = change(path.read_text())
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    dataset = read(tmp_path, on_error="skip")
    assert len(dataset) == 4 and len(dataset.skipped) == 1


def test_an_unknown_activity_names_the_nearest(tmp_path):
    cad_folder(tmp_path, {"1": {"0512164529": "brushing tooth"}})
    with pytest.raises(DataError, match=r"activityLabel.txt, line 1: unknown activity 'brushing tooth'; did you mean 'brushing teeth'"):
        read(tmp_path)


def test_a_label_without_a_recording_is_reported(tmp_path):
    cad_folder(tmp_path, LABELS)
    (tmp_path / "data2" / "0510160858.txt").unlink()
    dataset = read(tmp_path)
    assert len(dataset) == 4
    assert [str(error.reason) for error in dataset.skipped] == [
        "recording '0510160858' (brushing teeth) has no file 0510160858.txt beside it"
    ]


def test_a_folder_without_clips_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no clips: data1/ .. data4/"):
        read(tmp_path)


def test_the_environments_are_made_of_the_classes():
    assert {activity for group in ENVIRONMENTS.values() for activity in group} == set(CLASSES)


def test_the_real_recordings(data_root):
    dataset = read_dataset("cad60", data_root("cad60"))
    labelled = [clip for clip in dataset.clips if clip.label is not None]
    assert (len(dataset), len(labelled)) == (72, 60) and not dataset.skipped
    frames = [clip.pose.frames for clip in labelled]
    assert (sum(frames), min(frames), max(frames)) == (68928, 147, 1910)
    assert [len(fold.test) for fold in dataset.splits()] == [15, 15, 15, 15]
    folds = dataset.splits("per-environment")
    assert len(folds) == 20 and folds[0].name == "bathroom/1" and folds[-1].name == "office/4"
    assert {name: len(next(fold for fold in folds if fold.name == f"{name}/1").test) for name in ENVIRONMENTS} == {
        "bathroom": 4,
        "bedroom": 5,
        "kitchen": 6,
        "living room": 4,
        "office": 4,
    }


def test_real_confidences_are_kept_and_no_joint_is_hidden(data_root):
    dataset = read_dataset("cad60", data_root("cad60"))
    scores = np.concatenate([clip.pose.score.ravel() for clip in dataset.clips])
    assert set(np.unique(scores)) == {0, 1} and abs((scores == 0).mean() - 0.085) < 0.001
    assert all(clip.pose.mask is None for clip in dataset.clips)
