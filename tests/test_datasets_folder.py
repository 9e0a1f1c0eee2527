"""The user's own data: the table, the three forms of skeleton files, protocols, and what is wrong with any of them."""

import json

import numpy as np
import pytest
from make_files import moving, own_folder

from kinema.clip import PoseSequence
from kinema.datasets import read_dataset
from kinema.datasets._skeletons import npz_bytes, read_skeleton
from kinema.errors import DataError, ProtocolError
from kinema.layout import LAYOUTS, custom_layout

POINTS = moving(5, 17, 2)


def read(root, **options):
    return read_dataset("folder", root, **{"cache": False, **options})


# --- skeleton files ---------------------------------------------------------------------------------------------------


def write_npz(path, **fields):
    np.savez(path, **{"points": POINTS, "layout": "coco17", "unit": "px", **fields})
    return path


def write_json(path, **fields):
    path.write_text(json.dumps({"points": POINTS.tolist(), "layout": "coco17", "unit": "px", **fields}))
    return path


def csv_text(points=POINTS, header="# layout=coco17 unit=px fps=25\n", scores=False, extra=()) -> str:
    joints = LAYOUTS["coco17"].joints
    columns = [name for name, _ in extra]
    columns += [f"{joint}_{axis}" for joint in joints for axis in "xyz"[: points.shape[2]]]
    columns += [f"{joint}_score" for joint in joints] if scores else []
    rows = [",".join(columns)]
    for t, frame in enumerate(points):
        cells = [str(values[t]) for _, values in extra] + ["" if np.isnan(value) else repr(float(value)) for value in frame.ravel()]
        rows.append(",".join(cells + ["0.5"] * len(joints) * scores))
    return header + "\n".join(rows) + "\n"


def write_csv(path, **options):
    path.write_text(csv_text(**options))
    return path


@pytest.mark.parametrize(("name", "write"), [("x.npz", write_npz), ("x.json", write_json), ("X.CSV", write_csv)])
def test_each_form_gives_the_same_pose(tmp_path, name, write):
    pose = read_skeleton(write(tmp_path / name))
    np.testing.assert_allclose(pose.points[0], POINTS, rtol=1e-6)
    assert (pose.layout.name, pose.unit, pose.y_axis, pose.mask, pose.score) == ("coco17", "px", "down", None, None)


FIELDS = {
    "fps": (12.5, lambda pose: pose.fps == 12.5),
    "times": ([0, 0.1, 0.3, 0.4, 1], lambda pose: pose.times.tolist() == [0, 0.1, 0.3, 0.4, 1]),
    "mask": (np.arange(85).reshape(5, 17) != 3, lambda pose: pose.mask.sum() == 84 and not pose.mask[0, 0, 3]),
    "score": (np.full((1, 5, 17), 0.25), lambda pose: (pose.score == 0.25).all()),
    "image_size": ([640, 480], lambda pose: pose.image_size == (640, 480)),
    "y_axis": ("up", lambda pose: pose.y_axis == "up"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_optional_fields(tmp_path, field):
    value, right = FIELDS[field]
    assert right(read_skeleton(write_npz(tmp_path / "x.npz", **{field: value})))
    assert right(read_skeleton(write_json(tmp_path / "x.json", **{field: value.tolist() if isinstance(value, np.ndarray) else value})))


@pytest.mark.parametrize(("unit", "y_axis"), [("m", "up"), ("mm", "up"), ("px", "down"), ("norm", "down")])
def test_the_unit_tells_where_y_grows(tmp_path, unit, y_axis):
    assert read_skeleton(write_npz(tmp_path / "x.npz", unit=unit)).y_axis == y_axis


def test_several_persons(tmp_path):
    both = np.stack([POINTS, POINTS + 1])
    assert read_skeleton(write_npz(tmp_path / "x.npz", points=both)).persons == 2
    assert read_skeleton(write_json(tmp_path / "x.json", points=both.tolist())).persons == 2
    rows = np.concatenate([both[0], both[1, 2:]])
    extra = [("frame", [10, 11, 12, 13, 14, 12, 13, 14]), ("person", [4] * 5 + [9] * 3)]
    pose = read_skeleton(write_csv(tmp_path / "x.csv", points=rows, extra=extra))
    np.testing.assert_allclose(pose.points[0], POINTS, rtol=1e-6)
    np.testing.assert_allclose(pose.points[1, 2:], POINTS[2:] + 1, rtol=1e-6)
    assert pose.observed[1].all(-1).tolist() == [False, False, True, True, True]


def test_joints_that_were_not_observed_are_null_or_empty(tmp_path):
    points = POINTS.tolist()
    points[1][3] = None
    points[2][4] = [None, None]
    assert np.argwhere(~read_skeleton(write_json(tmp_path / "x.json", points=points)).mask).tolist() == [[0, 1, 3], [0, 2, 4]]
    gaps = POINTS.copy()
    gaps[1, 3] = np.nan
    assert np.argwhere(~read_skeleton(write_csv(tmp_path / "x.csv", points=gaps)).mask).tolist() == [[0, 1, 3]]


def test_times_and_scores_in_a_csv(tmp_path):
    pose = read_skeleton(write_csv(tmp_path / "x.csv", scores=True, extra=[("frame", range(5)), ("time", [0, 0.1, 0.3, 0.4, 0.5])]))
    assert (pose.score == 0.5).all() and pose.times.tolist() == [0, 0.1, 0.3, 0.4, 0.5]


def test_three_dimensions_in_a_csv(tmp_path):
    points = moving(4, 17)
    pose = read_skeleton(write_csv(tmp_path / "x.csv", points=points, header="# layout=coco17 unit=m y_axis=down\n"))
    np.testing.assert_allclose(pose.points[0], points, rtol=1e-6)
    assert pose.y_axis == "down"


def test_a_layout_of_ones_own(tmp_path):
    layout = {
        "layout": "arm",
        "joints": ["shoulder", "elbow", "wrist"],
        "bones": [["elbow", "shoulder"], ["wrist", "elbow"]],
        "root": "shoulder",
    }
    for pose in (
        read_skeleton(write_npz(tmp_path / "x.npz", points=moving(3, 3), unit="m", **layout)),
        read_skeleton(write_json(tmp_path / "x.json", points=moving(3, 3).tolist(), unit="m", **layout)),
    ):
        assert pose.layout.joints == ("shoulder", "elbow", "wrist") and pose.layout.parents.tolist() == [0, 0, 1]


@pytest.mark.parametrize("own", [False, True])
def test_what_is_written_comes_back(tmp_path, own):
    layout = custom_layout(["a", "b"], [("b", "a")], "a", "two") if own else LAYOUTS["coco17"]
    points = moving(4, len(layout))[None]
    mask = np.arange(4 * len(layout)).reshape(1, 4, -1) != 2
    pose = PoseSequence(points, layout, "mm", mask, np.full(mask.shape, 0.5), 12.0, np.array([0, 1, 2, 4.0]), (3, 4), "down")
    path = tmp_path / "x.npz"
    path.write_bytes(npz_bytes(pose))
    back = read_skeleton(path)
    for name in ("points", "mask", "score", "times"):
        np.testing.assert_array_equal(getattr(back, name), getattr(pose, name))
    for name in ("layout", "unit", "fps", "image_size", "y_axis"):
        assert getattr(back, name) == getattr(pose, name)


RAGGED = POINTS.tolist()
RAGGED[2] = RAGGED[2][:16]
BAD_FIELDS = {
    "no layout": ({"layout": None}, "no name of a joint layout|Object arrays"),
    "unknown layout": ({"layout": "coco18"}, "unknown joint layout 'coco18'; did you mean 'coco17'"),
    "unknown unit": ({"unit": "cm"}, "unit 'cm' is not one of m, mm, px, norm"),
    "16 joints": ({"points": POINTS[:, :16].tolist()}, "field 'points': there are 16 joints; layout 'coco17' has 17"),
    "flat": ({"points": POINTS[0].tolist()}, r"field 'points': has shape .*frames x joints x coordinates is expected"),
    "four coordinates": ({"points": np.ones((3, 17, 4)).tolist()}, "persons x frames x joints x 2 or 3 is expected"),
    "a word for fps": ({"fps": "fast"}, "field 'fps': 'fast' is not a number"),
    "no rate": ({"fps": 0}, "fps is 0"),
    "times backwards": ({"times": [0, 2, 1, 3, 4]}, "times must be finite and must not run backwards"),
    "times too few": ({"times": [0, 1]}, "times has shape"),
    "mask of another shape": ({"mask": [[1, 0]]}, "field 'mask': has shape 1 x 1 x 2; 1 x 5 x 17 is expected"),
    "score above 1": ({"score": np.full((5, 17), 1.5).tolist()}, "scores must lie in 0..1"),
    "no image": ({"image_size": [0, 4]}, "no width and height in pixels"),
    "misspelt field": ({"maks": [[1]]}, "unknown field 'maks'; did you mean 'mask'"),
    "layout without bones": ({"layout": "mine", "joints": ["a"] * 17}, "needs 'joints' .*, 'bones'"),
    "own layout of a known name": ({"joints": ["a"] * 17}, "layout 'coco17' is a known one"),
}


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("case", BAD_FIELDS)
def test_a_bad_field_is_named(tmp_path, case, suffix):
    fields, message = BAD_FIELDS[case]
    path = tmp_path / f"x{suffix}"
    (write_npz if suffix == ".npz" else write_json)(path, **fields)
    with pytest.raises(DataError, match=message) as raised:
        read_skeleton(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def csv_change(old, new):
    return csv_text().replace(old, new, 1)


BAD_FILES = {
    "empty.npz": (b"", "the file is empty"),
    "text.npz": (b"hello", "no whole .npz file"),
    "truncated.npz": (lambda path: write_npz(path).read_bytes()[:-40], "no whole .npz file"),
    "changed.npz": (lambda path: write_npz(path).read_bytes().replace(b"NUMPY", b"NUMPI", 1), "no whole .npz file|'points' is missing"),
    "objects.npz": (lambda path: write_npz(path, points=np.array([None, "x"], object)).read_bytes(), "no whole .npz file of plain arrays"),
    "words.npz": (lambda path: write_npz(path, points=np.array(["x"])).read_bytes(), "points is not numeric"),
    "nothing.npz": (lambda path: np.savez(path, x=1) or path.read_bytes(), "unknown field 'x'"),
    "nan.npz": (lambda path: write_npz(path, points=np.where(POINTS > 0, np.nan, 1)).read_bytes(), "nan is not a finite number"),
    "inf.npz": (lambda path: write_npz(path, points=np.where(POINTS > 0, np.inf, 1)).read_bytes(), "inf is not a finite number"),
    "empty.json": (b" \n", "the file is empty"),
    "truncated.json": (lambda path: write_json(path).read_bytes()[:-9], "no whole JSON"),
    "deep.json": (b'{"points": ' + b"[" * 100000, "nested too deeply|no whole JSON"),
    "nan.json": (b'{"layout": "coco17", "unit": "px", "points": [[[NaN]]]}', "NaN is not a finite number; null stands"),
    "ragged.json": (json.dumps({"layout": "coco17", "unit": "px", "points": RAGGED}).encode(), "'points': item 2 is a list of 16"),
    "half.json": (json.dumps({"layout": "coco17", "unit": "px", "points": [[[1, None]] * 17]}).encode(), "nan is not a finite number"),
    "empty.csv": (b"", "the file is empty"),
    "bare.csv": (csv_text(header="").encode(), "layout is missing; a line such as '# layout=coco17"),
    "unitless.csv": (csv_text(header="# layout=coco17\n").encode(), "unit is missing"),
    "unknown.csv": (csv_text(header="# layout=coco71 unit=px\n").encode(), "did you mean 'coco17'"),
    "column.csv": (csv_change("left_eye_x", "left_eye_c").encode(), "header: unknown column 'left_eye_c'; did you mean 'left_eye_"),
    "joints.csv": (csv_change(",left_eye_x,left_eye_y", "").encode(), "header: column left_eye_x, left_eye_y is missing"),
    "twice.csv": (csv_change("left_eye_x", "nose_x").encode(), "header: column 'nose_x' occurs twice"),
    "headeronly.csv": (csv_text(points=POINTS[:0]).encode(), "there are no frames"),
    "truncated.csv": (csv_text().encode()[:-60], r"line 7: \d+ fields; the header has 34"),
    "word.csv": (csv_text().replace(repr(float(POINTS[0, 0, 0])), "left", 1).encode(), "line 3, nose_x: 'left' is not a finite number"),
    "nan.csv": (csv_text().replace(repr(float(POINTS[0, 0, 0])), "nan", 1).encode(), "line 3, nose_x: 'nan' is not a finite number"),
    "rowtwice.csv": (csv_text(extra=[("frame", [0, 1, 1, 2, 3])]).encode(), "two rows in the same frame"),
    "persons.csv": (csv_text(extra=[("person", [0, 0, 0, 1, 1])]).encode(), "a column 'person' needs a column 'frame'"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named(tmp_path, name):
    content, message = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content(path) if callable(content) else content)
    with pytest.raises(DataError, match=message) as raised:
        read_skeleton(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_small_file_that_claims_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("kinema.datasets._skeletons._MOST_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to"):
        read_skeleton(write_npz(tmp_path / "x.npz"))


# --- the table --------------------------------------------------------------------------------------------------------


def test_rows_become_clips(tmp_path):
    rows = [
        {"id": "a", "label": "run", "subject": "ann", "view": "front", "notes": "fast"},
        {"id": "b", "label": "", "subject": "bob", "view": ""},
        {"id": "c", "label": "jump", "subject": "ann"},
    ]
    dataset = read(own_folder(tmp_path, rows))
    assert dataset.classes == ("jump", "run")
    assert [(clip.id, clip.label, clip.subject, clip.view) for clip in dataset.clips] == [
        ("a", 1, "ann", "front"),
        ("b", None, "bob", None),
        ("c", 0, "ann", None),
    ]
    assert dataset.clips[0].source == tmp_path / "a.npz" and dataset.clips[0].pose.frames == 6
    assert len(read(tmp_path / "clips.csv")) == 3


def test_classes_may_be_listed_in_their_order(tmp_path):
    own_folder(tmp_path, [{"id": "a", "label": "run"}, {"id": "b", "label": "jumps"}])
    (tmp_path / "classes.txt").write_text("run\njump\nsit\n")
    with pytest.raises(DataError, match=r"clips.csv, line 3: unknown label 'jumps'; did you mean 'jump'\? \(classes.txt\)"):
        read(tmp_path)
    dataset = read(tmp_path, on_error="skip")
    assert dataset.classes == ("run", "jump", "sit") and len(dataset) == len(dataset.skipped) == 1


def test_the_split_column_is_the_default_protocol(tmp_path):
    parts = ["train", "train", "val", "test", ""]
    rows = [{"id": f"c{i}", "label": "run", "split": part, "subject": str(i)} for i, part in enumerate(parts)]
    dataset = read(own_folder(tmp_path, rows))
    (split,) = dataset.splits()
    assert (split.train, split.val, split.test) == (("c0", "c1"), ("c2",), ("c3",))
    assert list(dataset.protocols) == ["split", "cross-subject", "leave-one-subject-out", "holdout"]


def test_protocols_follow_from_the_columns(tmp_path):
    rows = [{"id": f"c{i}", "label": "run", "subject": str(i % 4), "view": "v"} for i in range(8)]
    dataset = read(own_folder(tmp_path, rows))
    assert list(dataset.protocols) == ["cross-subject", "leave-one-subject-out", "holdout"]
    assert {dataset.by_id[clip_id].subject for clip_id in dataset.splits()[0].test} == {"1"}
    assert len(dataset.splits("leave-one-subject-out")) == 4
    holdout = dataset.splits("holdout")[0]
    assert len(holdout.test) == 2 and holdout == dataset.splits("holdout")[0]


def test_listed_protocols(tmp_path):
    own_folder(tmp_path, [{"id": name, "label": label} for name, label in zip("abc", ["run", "run", "sit"], strict=True)])
    split = {"name": "1", "train": ["a", "z"], "test": ["b"], "classes": ["run"]}
    (tmp_path / "protocols.json").write_text(json.dumps({"mine": {"description": "by hand", "splits": [split]}}))
    dataset = read(tmp_path)
    (made,) = dataset.splits()
    assert (made.train, made.val, made.test, made.classes) == (("a",), (), ("b",), (0,))
    (tmp_path / "protocols.json").write_text(json.dumps({"mine": {"splits": [{"train": []}]}}))
    with pytest.raises(DataError, match=r"protocols.json, protocol 'mine': is not of the form"):
        read(tmp_path)


def test_too_few_clips_for_any_protocol(tmp_path):
    dataset = read(own_folder(tmp_path, [{"id": "a", "label": "run"}]))
    with pytest.raises(ProtocolError, match="0 test"):
        dataset.splits()


TABLES = {
    "empty": ("", "the file is empty"),
    "no header": ("a,a.npz,run\n", "line 1: column 'id' is missing; id, path, label are needed"),
    "misspelt column": ("id,path,label,subjct\na,a.npz,run,x\n", "unknown column 'subjct'; did you mean 'subject'"),
    "a column twice": ("id,path,label,id\na,a.npz,run,b\n", "column 'id' occurs twice"),
    "no rows": ("id,path,label\n", "there are no clips in it"),
    "a field too few": ("id,path,label\na,a.npz\n", "line 2: 2 fields; the header has 3"),
    "no id": ("id,path,label\n,a.npz,run\n", "line 2: id is empty"),
    "no path": ("id,path,label\na,,run\n", "line 2: path is empty"),
    "an id twice": ("id,path,label\na,a.npz,run\na,b.npz,run\n", "line 3: id 'a' occurs twice"),
    "a video": ("id,path,label\na,a.mp4,run\n", "line 2: path 'a.mp4' ends in none of .npz, .json, .csv"),
    "unknown split": ("id,path,label,split\na,a.npz,run,tset\n", "line 2: unknown split 'tset'; did you mean 'test'"),
    "a file that is not there": ("id,path,label\na,z.npz,run\n", "z.npz: cannot be read: No such file"),
    "an open quote": ('id,path,label\na,"a.npz,run\n', "line 3?2?: is no table"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_bad_table_is_named_with_its_line(tmp_path, case):
    own_folder(tmp_path, [{"id": "a", "label": "run"}])
    table, message = TABLES[case]
    (tmp_path / "clips.csv").write_text(table)
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path)
    assert "\n" not in str(raised.value)


def test_bad_rows_and_files_are_skipped_on_request(tmp_path):
    own_folder(tmp_path, [{"id": name, "label": "run"} for name in "abc"])
    (tmp_path / "b.npz").write_bytes(b"")
    (tmp_path / "clips.csv").write_text((tmp_path / "clips.csv").read_text() + "a,c.npz,run\n")
    dataset = read(tmp_path, on_error="skip")
    assert [clip.id for clip in dataset.clips] == ["a", "c"] and len(dataset.skipped) == 2


def test_a_folder_without_a_table_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"there is no clips.csv; a header with id, path, label"):
        read(tmp_path)


def test_an_option_that_the_reader_does_not_have_is_an_error(tmp_path):
    with pytest.raises(DataError, match="data set 'ntu': unknown option 'versoin'; did you mean 'version'"):
        read_dataset("ntu", tmp_path, versoin=120)
    with pytest.raises(DataError, match="data set 'folder': unknown option 'version'; known: none"):
        read_dataset("folder", tmp_path, version=120)
