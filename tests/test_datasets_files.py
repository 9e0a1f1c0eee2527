"""Opening files of any known format: what is found, what it is called, what is passed over, what is an error."""

import numpy as np
import pytest
from make_files import cad_folder, moving, ntu_file, own_folder, pickled, pyskl_annotation, ucla_file, utd_file, utd_folder

from kinema.datasets._files import open_files, read_clips
from kinema.errors import DataError


def every_format(root):
    """A file of each format -> (id, layout, class name)."""
    own = own_folder(root / "own", [{"id": "x", "label": "run"}])
    cad = cad_folder(root / "cad", {"1": {"0512164529": "brushing teeth"}})
    poses = {"pose": [moving(4, 15, 2)], "label": ["golf"]}
    return {
        utd_file(root / "utd", "a2_s3_t1"): ("a2_s3_t1", "utd-mhad", "swipe right"),
        cad / "data1" / "0512164529.txt": ("0512164529", "cad60", "brushing teeth"),
        ucla_file(root / "ucla", "a08_s02_e00_v01", label=7): ("a08_s02_e00_v01", "kinect20", "donning"),
        ntu_file(root / "ntu", "S001C001P001R001A002"): ("S001C001P001R001A002", "ntu25", "eat meal/snack"),
        own / "x.npz": ("x", "coco17", None),
        own / "clips.csv": ("x", "coco17", "run"),
        pickled(root / "a.pkl", {"split": {}, "annotations": [pyskl_annotation("clip", 1)]}): ("clip", "coco17", "1"),
        pickled(root / "b.pkl", poses): ("b-0", "jhmdb15", "golf"),
    }


def test_a_file_of_each_format_is_opened(tmp_path):
    for path, (clip_id, layout, label) in every_format(tmp_path).items():
        dataset = open_files(path)
        (clip,) = dataset.clips
        assert (clip.id, clip.pose.layout.name) == (clip_id, layout), path
        assert (None if clip.label is None else dataset.classes[clip.label]) == label, path
        assert [found.id for found in read_clips([str(path)])] == [clip_id]


def test_several_paths_keep_their_order_and_share_the_classes(tmp_path):
    expected = every_format(tmp_path)
    dataset = open_files([path for path in expected if path.name != "clips.csv"])
    assert [clip.id for clip in dataset.clips] == [clip_id for path, (clip_id, _, _) in expected.items() if path.name != "clips.csv"]
    assert list(dataset.classes) == sorted({"swipe right", "brushing teeth", "donning", "eat meal/snack", "1", "golf"})


def test_a_folder_is_searched_and_other_files_are_passed_over(tmp_path):
    every_format(tmp_path)
    for name, text in {"README.txt": "hello", "settings.json": '{"a": 1}', "table.csv": "a,b\n1,2\n", "notes.md": "x"}.items():
        (tmp_path / name).write_text(text)
    assert {clip.id for clip in read_clips(tmp_path)} == {"x", "a2_s3_t1", "0512164529", "a08_s02_e00_v01", "S001C001P001R001A002"}


def test_the_parts_of_a_recording_become_one_clip(tmp_path):
    clips = read_clips(utd_folder(tmp_path, ["a10_s1_t1", "a9_s1_t1"]))
    assert [clip.id for clip in clips] == ["a9_s1_t1", "a10_s1_t1"]
    assert set(clips[0].modalities) == {"pose", "depth", "inertial"} and clips[0].source.name == "a9_s1_t1_skeleton.mat"
    assert clips[0].depth.frames.shape == (6, 4, 5)


def test_a_renamed_file_is_known_by_what_it_holds(tmp_path):
    utd_file(tmp_path).rename(tmp_path / "mine.mat")
    (tmp_path / "mine.json").write_bytes(ucla_file(tmp_path / "u", points=moving(3, 20).tolist()).read_bytes())
    clip, other = read_clips([tmp_path / "mine.mat", tmp_path / "mine.json"])
    assert clip.pose.layout.name == "utd-mhad" and other.pose.layout.name == "kinect20"


def test_clips_of_the_same_name_are_told_apart(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "x.npz", points=moving(3, 17, 2), layout="coco17", unit="px")
    assert [clip.id for clip in read_clips(tmp_path)] == ["x", f"{tmp_path}/b/x.npz:x"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.xyz", b"text", "x.xyz: is of no known format; .mat, .txt, .json"),
        ("x.txt", b"hello\n", "x.txt, line 1: 0 fields; 171"),
        ("x.json", b'{"a": 1}', "x.json: unknown field 'a'"),
        ("x.npz", b"", "x.npz: the file is empty"),
        ("x.pkl", b"text", "x.pkl: is no whole pickle"),
        (None, None, "no such file or folder"),
    ],
)
def test_a_named_file_that_is_no_clip_is_an_error(tmp_path, name, content, message):
    path = tmp_path / (name or "missing")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_clips(path)
    good = utd_file(tmp_path / "good")
    dataset = open_files([path, good], on_error="skip")
    assert [clip.id for clip in dataset.clips] == ["a1_s1_t1"] and len(dataset.skipped) == 1


def test_a_folder_without_clips_is_an_error(tmp_path):
    (tmp_path / "README.txt").write_text("nothing here")
    with pytest.raises(DataError, match="no clips: files that end in"):
        read_clips(tmp_path)


def test_videos_and_folders_of_images_become_clips(tmp_path):
    from make_videos import picture, write_video
    from PIL import Image

    write_video(tmp_path / "v_Archery_g01_c01.avi", "mpeg4", frames=3)
    for folder, count in (("walk", 5), ("plots", 2)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            Image.fromarray(picture(i, 16, 16)).save(tmp_path / folder / f"{i}.png")
    dataset = open_files(tmp_path)
    assert [(clip.id, clip.label) for clip in dataset.clips] == [("v_Archery_g01_c01", 0), ("walk", None)]
    assert dataset.classes == ("Archery",) and dataset.clips[1].video.path == tmp_path / "walk"
    with pytest.raises(DataError, match="no clips"):
        open_files(tmp_path, videos=False)
    assert [clip.id for clip in open_files(tmp_path / "v_Archery_g01_c01.avi", videos=False).clips] == ["v_Archery_g01_c01"]
    (tmp_path / "walk" / "a.npz").write_bytes(b"")  # with clips beside them, images are none
    assert len(open_files(tmp_path, on_error="skip").clips) == 1


def test_a_named_file_may_be_a_video_whatever_it_is_called(tmp_path):
    from make_videos import write_video

    write_video(tmp_path / "a.mp4", frames=3).rename(tmp_path / "a.recording")
    assert read_clips(tmp_path / "a.recording")[0].has("video")


def test_videos_are_joined_to_their_skeletons(tmp_path):
    names = {
        utd_file(tmp_path, "a2_s3_t1"): "a2_s3_t1_color.avi",
        ntu_file(tmp_path, "S001C001P001R001A002"): "S001C001P001R001A002_rgb.avi",
        ucla_file(tmp_path, "a08_s02_e00_v01", label=7): "a08_s02_e00_v01.avi",
    }
    for name in names.values():
        (tmp_path / name).write_bytes(b"not opened")
    dataset = open_files(tmp_path)
    assert {clip.source.name for clip in dataset.clips} == {path.name for path in names}
    assert all(set(clip.modalities) == {"pose", "video"} and clip.label is not None for clip in dataset.clips)
    assert all(set(clip.modalities) == {"pose"} for clip in open_files(tmp_path, videos=False).clips)
    alone = open_files([tmp_path / name for name in names.values()])
    assert [alone.classes[clip.label] for clip in alone.clips] == ["swipe right", "eat meal/snack", "donning"]
