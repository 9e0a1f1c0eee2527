"""A camera is found from marked joints, with its signs; it is written, read, refused where it is none, and drawn."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from make_files import standing, utd_file
from make_videos import write_video
from PIL import Image

from kinema.camera import CAMERAS, Camera, fit_camera, read_camera
from kinema.cli import main
from kinema.clip import PoseSequence
from kinema.datasets._image_poses import with_camera
from kinema.datasets.base import read_dataset
from kinema.errors import DataError

MADE = Camera(558.1, -579.5, 320.0, 240.0, 640, 480)
MARKS = Path(__file__).parents[1] / "recipes" / "cameras" / "utd_mhad_depth.csv"


def joints(count=40, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-1, 1, count), rng.uniform(-1, 1, count), rng.uniform(2, 4, count)], 1)


def seen(points, camera=MADE):
    return points[:, :2] / points[:, 2:] * (camera.cx, camera.cy) + (camera.bx, camera.by)


@pytest.mark.parametrize("centre", [(320, 240), None], ids=["the centre known", "the centre fitted"])
@pytest.mark.parametrize("signs", [(1, -1), (1, 1), (-1, -1)])
def test_made_constants_are_recovered(centre, signs):
    made = Camera(signs[0] * MADE.cx, signs[1] * abs(MADE.cy), MADE.bx, MADE.by, 640, 480)
    points = joints()
    noise = np.random.default_rng(1).normal(scale=0.2, size=(len(points), 2))
    fitted = fit_camera(points, seen(points, made) + noise, (640, 480), centre)
    for name in ("cx", "cy", "bx", "by"):
        assert getattr(fitted.camera, name) == pytest.approx(getattr(made, name), rel=1e-3), name
    assert 0.1 < np.sqrt(np.mean(fitted.residuals**2)) < 0.4
    exact = fit_camera(points, seen(points, made), (640, 480), centre)
    assert exact.residuals.max() < 1e-6


@pytest.mark.parametrize(
    ("points", "marks", "centre", "words"),
    [
        (joints(1), np.zeros((1, 2)), None, "1 joints are marked; 2 at least"),
        (joints(4), np.full((4, 2), np.nan), None, "not a finite number"),
        (joints(4) * (1, 1, 0), np.zeros((4, 2)), None, "camera's plane"),
        (joints(4) * np.array([[1, 1, 1], [1, 1, -1]] * 2), np.zeros((4, 2)), None, "both sides of it"),
        (np.tile([0.0, 1.0, 2.0], (5, 1)), np.zeros((5, 2)), (1, 1), "all have the same X/Z"),
        (joints(4), np.zeros((3, 2)), None, "N x 3 and N x 2"),
    ],
)
def test_marks_that_determine_no_camera_are_refused(points, marks, centre, words):
    with pytest.raises(DataError, match=words):
        fit_camera(points, marks, (640, 480), centre)


def test_joints_outside_the_picture_or_behind_the_camera_are_not_seen():
    points = np.array([[[[0, 0, 2], [0, 0, 0], [0, 0, -2], [9, 0, 1], [0.5, 0.5, 2]]]], float)
    pose = PoseSequence(np.concatenate([points, np.tile([[[[0, 0, 2.0]]]], (1, 1, 15, 1))], 2), "kinect20")
    projected = MADE.project(pose)
    assert projected.observed[0, 0, :5].tolist() == [True, False, False, False, True]
    assert (projected.unit, projected.y_axis, projected.image_size) == ("px", "down", (640, 480))
    np.testing.assert_allclose(projected.points[0, 0, [0, 4]], [[320, 240], [459.525, 95.125]], atol=1e-3)
    with pytest.raises(DataError, match="these are 2-D"):
        MADE.project(projected)


def test_a_camera_of_other_pictures_sees_the_same():
    half, points = MADE.scaled(320, 240), joints()
    np.testing.assert_allclose(seen(points, half) * 2, seen(points))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no camera's JSON file"),
        ("[1]", "is no camera; an object with cx, cy"),
        ('{"camera": {"cx": 1}}', "is no camera; an object with cx, cy"),
        (json.dumps({"cx": 1, "cy": 1, "bx": 1, "by": 1, "width": 10**9, "height": 1}), "width is 1000000000"),
        (json.dumps({"cx": "1", "cy": 1, "bx": 1, "by": 1, "width": 9, "height": 1}), "cx is '1'"),
    ],
)
def test_what_is_no_camera_is_refused(tmp_path, content, words):
    path = tmp_path / "camera.json"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        read_camera(path)


def test_an_unknown_camera_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'kinect-v1'"):
        read_camera("kinect-v2")


@pytest.fixture
def marked(tmp_path):
    """A data set of one clip, and marks where the made camera sees three joints of four frames."""
    points = standing(20)[:, :20] * (1, 1, 1) + (0.1, 0, 3)
    utd_file(tmp_path, points=points)
    pose = read_dataset("utd-mhad", tmp_path).clips[0].pose
    rows = ["clip,frame,joint,u,v"]
    for frame in (0, 5, 10, 15):
        for joint in ("head", "left_hand", "right_foot"):
            u, v = seen(pose.points[0, frame, pose.layout.index(joint)][None].astype(float))[0]
            rows.append(f"a1_s1_t1,{frame},{joint},{u:.3f},{v:.3f}")
    (tmp_path / "marks.csv").write_text("\n".join(rows))
    return tmp_path


def test_the_command_writes_and_draws_a_camera_that_recipes_can_name(marked, capsys):
    (marked / "RGB").mkdir()
    write_video(marked / "RGB" / "a1_s1_t1_color.avi", codec="mpeg4", frames=20, height=480, width=640)
    out, drawn = marked / "camera.json", marked / "drawn.png"
    arguments = ["utd-mhad", str(marked / "marks.csv"), str(out), "--root", str(marked), "--draw", str(drawn), "--centre", "fit"]
    assert main(["data", "fit-camera", *arguments]) in (0, None)
    told = capsys.readouterr().out
    assert "for pictures of 640 x 480" in told and "12 marks" in told and "cy is negative" in told
    found = read_camera(out)
    assert found.cx == pytest.approx(MADE.cx, rel=1e-3) and found.cy == pytest.approx(MADE.cy, rel=1e-3)
    with Image.open(drawn) as picture:
        assert picture.size == (960, 720)
    clip = with_camera(read_dataset("utd-mhad", marked), found).clips[0]
    assert clip.pose.dims == 3 and clip.modality("image_pose").dims == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a1_s1_t2,0,head,1,1", r"line 2: unknown clip 'a1_s1_t2'; did you mean 'a1_s1_t1'"),
        ("a1_s1_t1,20,head,1,1", "line 2: clip 'a1_s1_t1' has frames 0 to 19; there is no frame 20"),
        ("a1_s1_t1,0,hed,1,1", "did you mean 'head'"),
        ("a1_s1_t1,0,head,left,1", "frame, u, v are 0, left, 1"),
        ("a1_s1_t1,-1,head,1,1", "a frame number from 0 on"),
        ("", "has no marks"),
    ],
)
def test_a_wrong_mark_is_named_with_its_line(marked, row, words, capsys):
    (marked / "marks.csv").write_text(f"clip,frame,joint,u,v\n{row}\n")
    out = marked / "camera.json"
    assert main(["data", "fit-camera", "utd-mhad", str(marked / "marks.csv"), str(out), "--root", str(marked), "--size", "[640,480]"]) == 2
    assert re.search(words, capsys.readouterr().err) and not out.exists()


def test_a_table_without_its_columns_is_refused(marked, capsys):
    (marked / "marks.csv").write_text("clip,u,v\n")
    assert main(["data", "fit-camera", "utd-mhad", str(marked / "marks.csv"), str(marked / "c.json"), "--root", str(marked)]) == 2
    assert "clip, frame, joint, u, v are expected" in capsys.readouterr().err


def test_the_camera_of_utd_mhads_depth_is_what_its_marks_give(data_root, tmp_path):
    root = data_root("utd-mhad")
    assert main(["data", "fit-camera", "utd-mhad", str(MARKS), str(tmp_path / "camera.json"), "--root", str(root)]) in (0, None)
    found, known = read_camera(tmp_path / "camera.json"), CAMERAS["utd-mhad-depth"]
    assert found == known
    assert 2 * known.cx == pytest.approx(CAMERAS["kinect-v1"].cx, rel=0.01)
    assert 2 * known.cy == pytest.approx(CAMERAS["kinect-v1"].cy, rel=0.01)
