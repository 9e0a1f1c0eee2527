"""UCF-101, or any of its classes: official lists, groups that stay together, and what a random split would be worth."""

import pytest

from kinema.clip import VideoSource
from kinema.datasets import read_dataset
from kinema.datasets.protocols import leaking
from kinema.errors import DataError, ProtocolError

CLASSES = ("ApplyEyeMakeup", "Archery", "HandstandPushups")
NAMES = [(name, group, clip) for name in CLASSES for group in (1, 8, 15, 22) for clip in (1, 2)]


def stem(name, group, clip):
    return f"v_{name.replace('stand', 'Stand')}_g{group:02}_c{clip:02}"  # as the real files are named


def write(root, names=NAMES, suffix=".avi", flat=False, lists="ucfTrainTestlist"):
    """Empty files: listing opens none of them."""
    for name in names:
        path = root / ("" if flat else name[0]) / f"{stem(*name)}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if lists is not None:
        folder = root / lists
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "classInd.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(CLASSES, 1)))
        for split, tested in enumerate((range(1, 8), range(8, 15), range(15, 22)), 1):
            lines = {False: [], True: []}
            for name in NAMES:
                label = "" if name[1] in tested else f" {CLASSES.index(name[0]) + 1}"
                lines[name[1] in tested].append(f"{name[0]}/{stem(*name)}.avi{label}\n")
            (folder / f"trainlist0{split}.txt").write_text("".join(lines[False]))
            (folder / f"testlist0{split}.txt").write_text("".join(lines[True]))
    return root


def read(root, **options):
    return read_dataset("ucf101", root, **options)


def sizes(dataset, protocol="official"):
    return {split.name: (len(split.train), len(split.test)) for split in dataset.splits(protocol)}


@pytest.mark.parametrize(
    "form", [{}, {"flat": True}, {"suffix": ".mp4"}, {"suffix": ".MKV"}, {"lists": ""}, {"lists": "splits"}, {"lists": None}], ids=str
)
def test_clips_classes_groups_and_splits_do_not_depend_on_where_files_lie(tmp_path, form):
    dataset = read(write(tmp_path, **form))
    assert len(dataset) == 24 and not dataset.skipped
    clip = dataset.by_id["v_HandStandPushups_g08_c02"]
    assert (
        clip.group[-4:] == "_g08" and clip.video == VideoSource(clip.source) and dataset.classes[clip.label].lower() == CLASSES[2].lower()
    )
    assert len({clip.group for clip in dataset.clips}) == 12  # group 1 of one class is not group 1 of another
    assert sizes(dataset) == {"1": (18, 6), "2": (18, 6), "3": (18, 6)}
    assert all("_g08_" in clip_id for clip_id in dataset.split("official", "2").test)


def test_a_folder_of_some_classes_has_those_alone(tmp_path):
    dataset = read(write(tmp_path, [name for name in NAMES if name[0] != "Archery"]))
    assert dataset.classes == ("ApplyEyeMakeup", "HandstandPushups") and not dataset.skipped
    assert sizes(dataset)["1"] == (12, 4)
    chosen = read(tmp_path, classes=["HandstandPushups"])
    assert chosen.classes == ("HandstandPushups",) and {clip.label for clip in chosen.clips} == {0}
    with pytest.raises(DataError, match="unknown class 'Archry'; did you mean 'Archery'"):
        read(tmp_path, classes=["Archry"])


def test_listed_clips_that_are_not_there_are_noted_and_the_rest_is_read(tmp_path):
    dataset = read(write(tmp_path, [name for name in NAMES if name != ("Archery", 8, 1)]))
    assert len(dataset) == 23
    (note,) = dataset.skipped
    assert str(note) == f"{tmp_path}/ucfTrainTestlist/testlist02.txt, line 3: clip 'v_Archery_g08_c01' is listed and not there"


def test_many_absent_clips_are_one_note(tmp_path):
    for split in (1, 2):
        (write(tmp_path) / "ucfTrainTestlist" / f"trainlist0{split}.txt").write_text(
            "".join(f"Archery/v_Archery_g{group:02}_c01.avi 2\n" for group in range(26, 70))
        )
    (note,) = read(tmp_path).skipped
    assert "44 of 68 listed clips are not there, such as 'v_Archery_g26_c01'" in str(note)


BAD = {
    "no clip": ("trainlist01.txt", "Archery g08\n", r"trainlist01.txt, line 19: 'Archery g08' names no clip; a line such as 'Archery/v_"),
    "no number": ("trainlist01.txt", "Archery/v_Archery_g08_c01.avi x\n", r"trainlist01.txt, line 19: .* names no clip"),
    "unknown class": ("trainlist02.txt", "Arch/v_Archry_g01_c01.avi 2\n", r"line 19: unknown class 'Archry'; did you mean 'Archery'"),
    "two labels": (
        "trainlist01.txt",
        "Archery/v_Archery_g08_c01.avi 3\n",
        r"line 19: two labels for one clip: .* of class 2, Archery, by its name, of 3 by",
    ),
    "both sides": (
        "testlist01.txt",
        "Archery/v_Archery_g08_c01.avi\n",
        r"trainlist01.txt, line 7: clip 'v_Archery_g08_c01' both trains and tests in split 1: it is in testlist01.txt, line 7",
    ),
    "classes": ("classInd.txt", "5 Biking\n", r"classInd.txt, line 4: '5 Biking' is no class; number 4 and the name of a new class"),
    "class twice": ("classInd.txt", "4 Archery\n", r"classInd.txt, line 4: '4 Archery' is no class"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_list_that_cannot_be_right_is_named_with_its_line(tmp_path, case):
    name, line, message = BAD[case]
    with (write(tmp_path) / "ucfTrainTestlist" / name).open("a") as file:
        file.write(line)
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path)
    assert "\n" not in str(raised.value)
    if "classInd" not in name:
        dataset = read(tmp_path, on_error="skip")
        assert len(dataset) == 24 and len(dataset.skipped) == 1 and len(dataset.splits()) == 3


FILES = {
    "other name": ("Archery/film.avi", "the name is not of the form v_Class_g01_c01"),
    "unknown class": ("Biking/v_Biking_g01_c01.avi", "unknown class 'Biking'"),
    "two labels": ("Archery/v_ApplyEyeMakeup_g02_c01.avi", "two labels for one clip: its name says ApplyEyeMakeup, its folder Archery"),
    "twice": ("Archery/v_Archery_g01_c01.mp4", "clip 'v_Archery_g01_c01' is there twice"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_right_is_named_or_skipped(tmp_path, case):
    name, message = FILES[case]
    path = write(tmp_path) / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path)
    assert str(path.with_suffix("")) in str(raised.value)
    dataset = read(tmp_path, on_error="skip")
    assert len(dataset) == 24 and len(dataset.skipped) == 1


def test_what_is_no_video_is_passed_over(tmp_path):
    for name in ("Archery/._v_Archery_g01_c01.avi", "Archery/notes.txt", "README"):
        (write(tmp_path) / name).touch()
    assert len(read(tmp_path)) == 24


def test_a_folder_without_clips_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no clips: v_Archery_g01_c01.avi and its like"):
        read(tmp_path)


def test_the_random_protocol_has_the_same_sizes_and_leaks(tmp_path):
    dataset = read(write(tmp_path))
    assert sizes(dataset, "random") == sizes(dataset)
    assert [split.test for split in dataset.splits("random")] == [split.test for split in read(tmp_path).splits("random")]
    for official, random in zip(dataset.splits(), dataset.splits("random"), strict=True):
        assert not leaking(official, dataset.clips) and leaking(random, dataset.clips)
        assert {*random.train, *random.test} == {*official.train, *official.test} and not {*random.train} & {*random.test}


def test_a_part_of_the_set_is_found_by_a_name_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_DATA", str(tmp_path))
    write(tmp_path / "ucf101-mine")
    assert read_dataset("ucf101-mine", None).name == "ucf101-mine"
    with pytest.raises(DataError, match=r"ucf101-yours: no such file or folder"):
        read_dataset("ucf101-yours", None)
    with pytest.raises(DataError, match="unknown data set 'ucf-9'; did you mean 'ucf101'"):
        read_dataset("ucf-9", None)


def test_clips_that_say_their_group_alone_tell_so(tmp_path):
    from kinema.datasets.protocols import cut_validation

    dataset = read(write(tmp_path))
    with pytest.raises(ProtocolError, match=r"do not say their subject, such as .*; all say their group"):
        cut_validation(dataset.split(fold="1"), dataset.clips)
    split = cut_validation(dataset.split(fold="1"), dataset.clips, by="group")
    groups = [{dataset.by_id[clip_id].group for clip_id in part} for part in (split.train, split.val)]
    assert all(groups) and not groups[0] & groups[1]


def test_the_nine_classes_at_hand(data_root):
    dataset = read_dataset("ucf101-9", data_root("ucf101-9"))
    assert (dataset.name, len(dataset), len(dataset.classes)) == ("ucf101-9", 1124, 9)
    assert sizes(dataset) == {"1": (818, 306), "2": (810, 314), "3": (798, 326)} == sizes(dataset, "random")
    assert len({clip.group for clip in dataset.clips}) == 9 * 25
    (note,) = dataset.skipped
    assert "'v_BasketballDunk_g08_c04' is listed and not there" in str(note)
    assert [len(leaking(split, dataset.clips)) for split in dataset.splits()] == [0, 0, 0]
    assert all(len(leaking(split, dataset.clips)) > 0.9 * len(split.test) for split in dataset.splits("random"))
