"""N-UCLA: views, labels that must agree with names, and the facts of the real recordings."""

import json

import numpy as np
import pytest
from make_files import moving, ucla_file

from kinema.datasets import read_dataset
from kinema.errors import DataError


def read(root, **options):
    return read_dataset("nw-ucla", root, **{"cache": False, **options})


def test_names_tell_action_subject_and_view(tmp_path):
    points = moving(4, 20)
    ucla_file(tmp_path, "a08_s10_e02_v03", label=7, points=points.tolist())
    clip = read(tmp_path).clips[0]
    assert (clip.id, clip.label, clip.subject, clip.view) == ("a08_s10_e02_v03", 6, "10", "3")
    assert clip.pose.layout.name == "kinect20" and clip.pose.unit == "m"
    np.testing.assert_allclose(clip.pose.points[0], points, rtol=1e-6)


def test_a_clip_of_one_frame_is_read(tmp_path):
    ucla_file(tmp_path, points=moving(1, 20).tolist())
    assert read(tmp_path).clips[0].pose.frames == 1


def test_a_joint_at_the_origin_was_not_observed(tmp_path):
    points = moving(4, 20)
    points[2, 5] = 0
    ucla_file(tmp_path, points=points.tolist())
    assert [tuple(place) for place in (~read(tmp_path).clips[0].pose.observed).nonzero()] == [(0,), (2,), (5,)]


RAGGED = moving(3, 20).tolist()
RAGGED[2] = RAGGED[2][:19]
WORD = moving(3, 20).tolist()
WORD[1][4][2] = "far"
NULL = moving(3, 20).tolist()
NULL[1][4][2] = None
BAD = {
    "empty": ("", "the file is empty"),
    "truncated": ('{"skeletons": [[[0.1, 0.2', "is no whole JSON"),
    "a list": ("[1, 2]", "holds a list; a JSON object is expected"),
    "another key": ('{"points": []}', "has points; 'skeletons' is expected"),
    "no frames": ('{"skeletons": []}', "has shape 0; frames x joints x coordinates is expected"),
    "NaN": ('{"skeletons": [[[NaN, 0, 0]]]}', "NaN is not a finite number"),
    "null": (json.dumps({"skeletons": NULL}), "frame 1, joint left_shoulder: nan is not a finite number"),
    "too large": ('{"skeletons": [[' + ",".join(["[1e999, 0, 0]"] * 20) + "]]}", "inf is not a finite number"),
    "19 joints": (json.dumps({"skeletons": moving(3, 19).tolist()}), "19 joints; layout 'kinect20' has 20"),
    "19 joints in one frame": (json.dumps({"skeletons": RAGGED}), "field 'skeletons': item 2 is a list of 19, item 0 is a list of 20"),
    "a word": (json.dumps({"skeletons": WORD}), r"field 'skeletons'\[1\]\[4\]\[2\]: 'far' is not a number"),
    "label 11": (json.dumps({"skeletons": moving(3, 20).tolist(), "label": 11}), "label 11 is outside the classes 1 to 10"),
    "label of another action": (
        json.dumps({"skeletons": moving(3, 20).tolist(), "label": 2}),
        "label 2 is action 2; the name says action 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_or_skipped(tmp_path, case):
    ucla_file(tmp_path, "a02_s01_e00_v01", label=2)
    path = ucla_file(tmp_path)
    content, message = BAD[case]
    path.write_text(content)
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    dataset = read(tmp_path, on_error="skip")
    assert len(dataset) == 1 and len(dataset.skipped) == 1


def test_an_action_that_is_no_class_is_an_error(tmp_path):
    ucla_file(tmp_path, "a07_s01_e00_v01", label=None)
    with pytest.raises(DataError, match="action 7 is none of the classes"):
        read(tmp_path)


def test_a_folder_without_clips_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no clips: all_sqe/"):
        read(tmp_path)


def test_the_real_recordings(data_root):
    dataset = read_dataset("nw-ucla", data_root("nw-ucla"))
    assert len(dataset) == 1484 and not dataset.skipped
    sizes = {name: [(len(split.train), len(split.test)) for split in dataset.splits(name)] for name in dataset.protocols}
    assert next(iter(sizes.items())) == ("cross-view", [(1020, 464)])
    assert sizes["cross-view-2"][0][1] == 504 and len(sizes["cross-subject"]) == 10
    frames = {clip.id: clip.pose.frames for clip in dataset.clips}
    assert (min(frames.values()), max(frames.values())) == (1, 201)
    assert [name for name, count in frames.items() if count == 1] == ["a02_s09_e04_v02", "a02_s09_e04_v03"]
    gaps = {clip.id: int((~clip.pose.observed).sum()) for clip in dataset.clips if clip.pose.mask is not None}
    assert gaps == {"a04_s01_e01_v01": 6, "a04_s04_e02_v01": 6}
