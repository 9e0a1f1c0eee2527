"""Readers of videos: lists, classes and groups as the files say, joined to skeletons by name, and nothing opened when listing."""

import json
import shutil

import numpy as np
import pytest
from make_files import moving, own_folder, utd_folder
from make_videos import write_video

from kinema import video
from kinema.clip import VideoSource
from kinema.datasets import read_dataset
from kinema.datasets.protocols import leaking
from kinema.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def sizes(dataset, protocol=None):
    return {split.name: (len(split.train), len(split.val), len(split.test)) for split in dataset.splits(protocol)}


# HMDB51 and JHMDB: class folders, one list a class and split.

DOG, DOG_AGAIN, FILM = "My_Dog_wave_u_nm_np1_fr_goo_0", "My_Dog_wave_u_nm_np1_fr_goo_1", "Film_wave_f_cm_np1_ba_med_0"
HMDB = {"wave": {DOG: 1, DOG_AGAIN: 1, FILM: 2}, "sit": {"a_sit_x": 1, "b_sit_x": 2}}  # of the first split


def hmdb(root, lists="splits", suffix=".avi"):
    for name, clips in HMDB.items():
        touch(root, *(f"{name}/{clip}{suffix}" for clip in clips))
        for split in (1, 2):
            touch(root, f"{lists}/{name}_test_split{split}.txt")
            text = "".join(f"{clip}.avi {part if split == 1 else 3 - part} \n" for clip, part in clips.items())
            (root / lists / f"{name}_test_split{split}.txt").write_text(text)
    return root


@pytest.mark.parametrize("name", ["hmdb51", "jhmdb-video"])
@pytest.mark.parametrize("form", [{}, {"suffix": ".mp4"}, {"lists": "testTrainMulti_7030_splits"}, {"lists": "../splits of it"}], ids=str)
def test_lists_of_classes(tmp_path, name, form):
    dataset = read_dataset(name, hmdb(tmp_path / "set", **form))
    assert dataset.classes == ("sit", "wave") and not dataset.skipped
    assert sizes(dataset, "official") == {"1": (3, 0, 2), "2": (2, 0, 3)}
    groups = {clip.id: clip.group for clip in dataset.clips}
    assert groups[DOG] == groups[DOG_AGAIN] == "wave/My_Dog"
    assert groups[FILM] == "wave/Film" and groups["a_sit_x"] is None


def test_a_clip_that_neither_trains_nor_tests_is_there_all_the_same(tmp_path):
    (hmdb(tmp_path) / "splits" / "sit_test_split1.txt").write_text("a_sit_x.avi 1\nb_sit_x.avi 0\n")
    dataset = read_dataset("hmdb51", tmp_path)
    assert len(dataset) == 5 and sizes(dataset)["1"] == (3, 0, 1)


HMDB_BAD = {
    "no part": ("c_sit_x.avi\n", "sit_test_split1.txt, line 3: 'c_sit_x.avi' is no clip and its part; a line such as"),
    "other part": ("c_sit_x.avi 3\n", "line 3: 'c_sit_x.avi 3' is no clip and its part"),
    "both": ("a_sit_x.avi 2\n", "line 3: clip 'a_sit_x' both trains and tests in split 1: it is in sit_test_split1.txt, line 1, too"),
    "two labels": (f"{FILM}.avi 1\n", "line 3: two labels for one clip: .* lies in wave, and is listed as sit"),
}


@pytest.mark.parametrize("case", HMDB_BAD)
def test_a_list_that_cannot_be_right_is_named_with_its_line(tmp_path, case):
    line, message = HMDB_BAD[case]
    with (hmdb(tmp_path) / "splits" / "sit_test_split1.txt").open("a") as file:
        file.write(line)
    with pytest.raises(DataError, match=message):
        read_dataset("hmdb51", tmp_path)
    dataset = read_dataset("hmdb51", tmp_path, on_error="skip")
    assert len(dataset) == 5 and len(dataset.skipped) == 1


def test_a_class_without_a_list_and_absent_clips(tmp_path):
    touch(hmdb(tmp_path), "waves/x.avi")
    (tmp_path / "sit" / "a_sit_x.avi").unlink()
    with pytest.raises(DataError, match=r"waves: unknown class 'waves'; did you mean 'wave'"):
        read_dataset("hmdb51", tmp_path)
    dataset = read_dataset("hmdb51", tmp_path, on_error="skip")
    assert dataset.classes == ("sit", "wave") and len(dataset.skipped) == 2
    assert "clip 'a_sit_x' is listed and not there" in str(dataset.skipped[1])


def test_the_videos_of_jhmdb_at_hand(data_root):
    dataset = read_dataset("jhmdb-video", data_root("jhmdb"))
    assert (len(dataset), len(dataset.classes), len(dataset.skipped)) == (928, 21, 0)
    assert sizes(dataset) == {"1": (660, 0, 268), "2": (658, 0, 270), "3": (663, 0, 265)}
    assert all(clip.group for clip in dataset.clips)
    assert [len(leaking(split, dataset.clips)) for split in dataset.splits()] == [0, 0, 0]


def test_jhmdb_has_one_folder_for_poses_and_videos(tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_DATA", str(tmp_path))
    hmdb(tmp_path / "jhmdb")
    assert read_dataset("jhmdb-video", None).name == "jhmdb-video"


# Kinetics: lists of times in videos.

HEAD = "label,youtube_id,time_start,time_end,split\n"
TRAIN = HEAD + "riding a bike,-aaaaaaaaaa,5,15,train\nriding a bike,bb_bbbbbbbb,0,10,train\ntango,ccccccccccc,7,17,train\n"
VALIDATE = HEAD + "riding a bike,ddddddddddd,1,11,validate\ntango,eeeeeeeeeee,2,12,validate\n"


FILES = ("train/riding a bike/-aaaaaaaaaa_000005_000015.mp4", "bb_bbbbbbbb.mkv", "val/ddddddddddd_000001_000011.mp4")


def kinetics(root, train=TRAIN, files=FILES):
    touch(root, *files, "annotations/train.csv", "annotations/validate.csv")
    (root / "annotations" / "train.csv").write_text(train)
    (root / "annotations" / "validate.csv").write_text(VALIDATE)
    (root / "other.csv").write_text("a,b\n1,2\n")
    return root


def test_kinetics_takes_clips_and_parts_of_whole_videos(tmp_path):
    dataset = read_dataset("kinetics", kinetics(tmp_path))
    assert dataset.classes == ("riding a bike",) and sizes(dataset) == {"official": (2, 0, 1)}
    cut, whole = dataset.by_id["-aaaaaaaaaa_000005_000015"], dataset.by_id["bb_bbbbbbbb_000000_000010"]
    assert cut.video == VideoSource(cut.source) and whole.video == VideoSource(tmp_path / "bb_bbbbbbbb.mkv", 0, 10)
    assert (cut.group, whole.group) == ("-aaaaaaaaaa", "bb_bbbbbbbb")
    assert [str(note).partition(": ")[2] for note in dataset.skipped] == [
        "clip 'ccccccccccc_000007_000017' is listed and not there",
        "clip 'eeeeeeeeeee_000002_000012' is listed and not there",
    ]


def test_kinetics_validates_where_the_test_part_is_there(tmp_path):
    touch(kinetics(tmp_path), "fffffffffff_000000_000010.mp4")
    (tmp_path / "test.csv").write_text("label,youtube_id,time_start,time_end\ntango,fffffffffff,0,10\n")
    assert sizes(read_dataset("kinetics", tmp_path), "test") == {"test": (2, 1, 1)}


KINETICS_BAD = {
    "column": (TRAIN.replace("time_end", "end"), "train.csv, line 1: column 'time_end' is missing"),
    "number": (TRAIN.replace("5,15", "x,15"), "line 2: time_start is 'x'; seconds are expected"),
    "backwards": (TRAIN.replace("5,15", "15,5"), "line 2: time_start is 15 and time_end 5"),
    "NaN": (TRAIN.replace("5,15", "nan,15"), "line 2: time_start is nan"),
    "empty": (TRAIN.replace("tango", ""), "line 4: label is empty"),
    "part": (TRAIN.replace("7,17,train", "7,17,trian"), "line 4: unknown split 'trian'; did you mean 'train'"),
    "two labels": (
        TRAIN + "tango,-aaaaaaaaaa,5,15,train\n",
        "line 5: two labels for one clip: .* is 'tango' here and 'riding a bike'",
    ),
    "two parts": (
        TRAIN + "tango,eeeeeeeeeee,2,12,train\n",
        "validate.csv, line 3: one clip in two parts: .* is 'val' here and 'train'",
    ),
    "folder": (
        TRAIN.replace("riding a bike,-", "tango,-"),
        "two labels for one clip: its folder says 'riding a bike', train.csv, line 2",
    ),
}


@pytest.mark.parametrize("case", KINETICS_BAD)
def test_a_list_of_kinetics_that_cannot_be_right_is_named_with_its_line(tmp_path, case):
    train, message = KINETICS_BAD[case]
    with pytest.raises(DataError, match=message):
        read_dataset("kinetics", kinetics(tmp_path, train))
    assert read_dataset("kinetics", tmp_path, on_error="skip").skipped


def test_kinetics_without_lists_or_clips(tmp_path):
    with pytest.raises(DataError, match=r"there is no list: a .csv with the columns label, youtube_id"):
        read_dataset("kinetics", touch(tmp_path / "a", "x.mp4"))
    with pytest.raises(DataError, match=r"none of the listed clips is there: ID_000010_000020.mp4 or ID.mp4"):
        read_dataset("kinetics", kinetics(tmp_path / "b", files=("x.mp4",)))


# A folder of class folders, and clips.csv.


def test_class_folders_of_videos_and_images(tmp_path):
    touch(
        tmp_path,
        "sit/a.mp4",
        "sit/b/0001.jpg",
        "sit/b/0002.jpg",
        "stand/a.avi",
        "stand/a.mkv",
        "stand/notes.txt",
        "empty/x.txt",
        ".git/x/1.jpg",
    )
    dataset = read_dataset("folder", tmp_path)
    assert dataset.classes == ("sit", "stand")
    assert [(clip.id, clip.label) for clip in dataset.clips] == [("sit/a", 0), ("sit/b", 0), ("stand/a.avi", 1), ("stand/a.mkv", 1)]
    assert dataset.by_id["sit/b"].video == VideoSource(tmp_path / "sit" / "b")
    assert list(dataset.protocols) == ["holdout"]


def test_class_folders_in_parts(tmp_path):
    touch(tmp_path, "train/sit/1.mp4", "train/stand/1.mp4", "validation/sit/1.mp4", "test/stand/1.mp4")
    dataset = read_dataset("folder", tmp_path)
    assert list(dataset.by_id) == ["test/stand/1", "train/sit/1", "train/stand/1", "validation/sit/1"]
    assert sizes(dataset) == {"split": (2, 1, 1)}
    (tmp_path / "classes.txt").write_text("sit\n")
    with pytest.raises(DataError, match=r"test/stand/1.mp4: unknown label 'stand'; did you mean 'sit'\? \(classes.txt\)"):
        read_dataset("folder", tmp_path)


def table(root, text, *files):
    touch(root, *files)
    (root / "clips.csv").write_text(text)
    return root


def test_a_table_of_videos(tmp_path):
    text = "id,label,video,start,end,fps,group\na,sit,a.mp4,1.5,4,,g\nb,stand,b,,,12.5,h\nc,,a.mp4,4,,,g\n"
    dataset = read_dataset("folder", table(tmp_path, text, "a.mp4", "b/1.png"))
    sources = [clip.video for clip in dataset.clips]
    assert sources == [VideoSource(tmp_path / "a.mp4", 1.5, 4), VideoSource(tmp_path / "b", fps=12.5), VideoSource(tmp_path / "a.mp4", 4)]
    assert [clip.group for clip in dataset.clips] == ["g", "h", "g"] and dataset.clips[2].label is None


def test_a_table_of_skeletons_with_videos(tmp_path):
    own_folder(tmp_path, [{"id": "a", "label": "sit", "video": "a.mp4"}, {"id": "b", "label": "stand", "video": ""}])
    dataset = read_dataset("folder", touch(tmp_path, "a.mp4"), cache=False)
    assert [sorted(clip.modalities) for clip in dataset.clips] == [["pose", "video"], ["pose"]]


TABLE_BAD = {
    "absent": ("id,label,video\nx,sit,x.mp4\n", "clips.csv, line 2: video 'x.mp4' is not there"),
    "start": ("id,label,video,start\nx,sit,a.mp4,one\n", "clips.csv, line 2: start is 'one'; a number is expected"),
    "end": ("id,label,video,start,end\nx,sit,a.mp4,3,2\n", "clips.csv, line 2: end is 2.0; seconds after the start, 3, are expected"),
    "fps": ("id,label,video,fps\nx,sit,a.mp4,0\n", "clips.csv, line 2: fps is 0.0; a positive number is expected"),
    "no video": ("id,path,label,video,end\nx,a.npz,sit,,3\n", "line 2: start, end and fps are those of a video, and the row has none"),
    "neither": ("id,label,video\nx,sit,\n", "line 2: path is empty"),
    "column": ("id,label\nx,sit\n", "line 1: column 'path' is missing"),
    "in path": ("id,path,label\nx,a.mp4,sit\n", "line 2: path 'a.mp4' ends in none of .*; a video belongs into the column 'video'"),
    "two labels": (
        "id,label,video\nx,sit,a.mp4\ny,stand,a.mp4\n",
        "line 3: two labels for one clip: 'a.mp4' is 'stand' here",
    ),
    "two parts": (
        "id,label,video,split\nx,sit,a.mp4,train\ny,sit,a.mp4,test\n",
        "line 3: one clip in two parts: 'a.mp4' is 'test' here and 'train' in line 2",
    ),
}


@pytest.mark.parametrize("case", TABLE_BAD)
def test_a_table_that_cannot_be_right_is_named_with_its_line(tmp_path, case):
    text, message = TABLE_BAD[case]
    with pytest.raises(DataError, match=message) as raised:
        read_dataset("folder", table(tmp_path, text, "a.mp4"))
    assert "\n" not in str(raised.value)


def test_rows_that_cannot_be_right_are_skipped_where_wanted(tmp_path):
    text = "id,label,video,start\na,sit,a.mp4,\nb,sit,b.mp4,\nc,sit,a.mp4,x\nd,stand,a.mp4,\n"
    dataset = read_dataset("folder", table(tmp_path, text, "a.mp4"), on_error="skip")
    assert list(dataset.by_id) == ["a"] and len(dataset.skipped) == 3


# Joined to skeletons by name.


def test_utd_mhad_joins_its_videos(tmp_path):
    utd_folder(tmp_path, ["a1_s1_t1", "a1_s2_t1", "a1_s3_t1"])
    touch(tmp_path, "RGB/a1_s1_t1_color.avi", "RGB/a9_s9_t9_color.avi", "RGB/a1_s2_t1_color.txt")
    touch(tmp_path, "RGB-part2/a1_s3_t1_color.mp4")
    first, second, third = read_dataset("utd-mhad", tmp_path, cache=False).clips
    assert third.video == VideoSource(tmp_path / "RGB-part2" / "a1_s3_t1_color.mp4")
    assert first.video == VideoSource(tmp_path / "RGB" / "a1_s1_t1_color.avi")
    assert sorted(first.modalities) == ["depth", "inertial", "pose", "video"] and not second.has("video")


@pytest.mark.parametrize("inside", [True, False])
def test_n_ucla_joins_its_image_folders(tmp_path, inside):
    for name in ("a01_s01_e00_v01", "a01_s01_e00_v02"):
        path = tmp_path / "all_sqe" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"skeletons": moving(3, 20).tolist(), "label": 1}))
    folder = tmp_path / "multiview_action" / "view_2" / "a01_s01_e00"
    folder.mkdir(parents=True)
    touch(tmp_path / "multiview_action", "view_1/notes/x", "README")
    first, second = read_dataset("nw-ucla", tmp_path if inside else tmp_path / "all_sqe", cache=False).clips
    assert not first.has("video") and second.video == VideoSource(folder)


def test_ntu_joins_its_videos(data_root):
    dataset = read_dataset("ntu", data_root("ntu") / "samples")
    joined = [clip for clip in dataset.clips if clip.has("video")]
    assert [clip.id[-3:] for clip in joined] == ["001", "006", "009"]
    assert [len(video.index(clip.video)) for clip in joined] == [clip.pose.frames for clip in joined]


# What is told of them.


@pytest.fixture
def films(tmp_path):
    """Videos of two classes by two people: two are the same file, one is cut off, one has a single frame, one is none at all."""
    write_video(tmp_path / "a.mp4", frames=12)
    write_video(tmp_path / "long.mp4", frames=20, rate=5)
    shutil.copy(tmp_path / "a.mp4", tmp_path / "copy.mp4")
    write_video(tmp_path / "one.mp4", frames=1)
    whole = write_video(tmp_path / "whole.avi", frames=30).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.mp4").write_bytes(b"\0" * 500)
    rows = ("a sit mp4 1 g1", "long sit mp4 2 g2", "copy stand mp4 2 g1", "one stand mp4 2 g3", "none stand mp4 1 g4", "cut sit avi 1 g5")
    lines = [f"{name},{label},{name}.{kind},{subject},{group}" for name, label, kind, subject, group in map(str.split, rows)]
    (tmp_path / "clips.csv").write_text("\n".join(["id,label,video,subject,group", *lines]) + "\n")
    return tmp_path


def test_inspection_tells_lengths_sizes_and_what_cannot_be_read(films):
    from kinema.datasets._inspect import inspect, inspect_text

    report = inspect(read_dataset("folder", films))
    facts = report["modalities"]["video"]
    assert (facts["clips"], facts["unreadable"], facts["frames"]["min"], facts["frames"]["max"]) == (6, 1, 1, 20)
    assert facts["seconds"]["max"] == pytest.approx(4) and facts["fps"]["min"] == pytest.approx(5)
    assert (facts["size"], facts["codec"]) == ({"64 x 48": 5}, {"h264": 5}) and "missing" not in facts
    assert facts["cut off"] == {"yes": 1}
    assert "size: 64 x 48" in inspect_text(report)


@pytest.mark.parametrize("decode", [False, True])
def test_the_audit_finds_copies_leaks_and_broken_videos(films, decode):
    from kinema.datasets.audit import audit, clean_test_ids

    dataset = read_dataset("folder", films)
    report = audit(dataset, "cross-subject", video=decode)
    assert report.read == {"video": 5}
    (copies,) = report.find("copies", "video").items
    assert copies.clips == ("a", "copy") and copies.other_label
    assert report.find("too-short").clips == ("one",) and report.find("unreadable").clips == ("none",)
    assert report.splits[0].copied == 1
    assert "group g1" in report.find("same-group").items[0].detail and "data.allow_leak" in report.find("same-group").message
    assert (report.find("cut-off") is None) is decode
    (split,) = dataset.splits("cross-subject")
    assert {*split.test} - {*clean_test_ids(dataset, split)} == {*split.test} & {"a", "copy"}


def test_the_audit_of_the_nine_classes(data_root):
    from kinema.datasets.audit import audit

    report = audit(read_dataset("ucf101-9", data_root("ucf101-9"), on_error="skip"))
    assert [(split.protocol, split.copied) for split in report.splits[:3]] == [("official", 0)] * 3
    (copies,) = report.find("copies").items
    assert copies.clips == ("v_PlayingViolin_g02_c02", "v_PlayingViolin_g02_c03")
    group = report.find("same-group")
    assert {touch.protocol for touch in group.touches} == {"random"} and len(group.touches) == 3
    assert not report.find("too-short") and len(report.find("unreadable").items) == 1


def test_parts_of_one_file_are_no_copies(tmp_path):
    from kinema.datasets._audit_video import same_files

    text = "id,label,video,start,end\na,sit,a.mp4,0,1\nb,sit,a.mp4,1,2\nc,sit,a.mp4,1,2\n"
    contents = same_files(read_dataset("folder", table(tmp_path, text, "a.mp4")).clips)
    assert np.array_equal(contents["b"].hashes, contents["c"].hashes) and "a" not in contents
