"""The cache of parsed poses: what is kept, when it is made anew, and that it can never do harm."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from make_files import moving, ntu_file, pickled, pyskl_annotation, utd_file

from kinema._cache_folder import cache_folder
from kinema.clip import PoseSequence
from kinema.datasets import _cache, _parallel, _ragged, read_dataset
from kinema.datasets._ragged import Damaged, RaggedFile, RaggedWriter
from kinema.errors import DataError
from kinema.layout import custom_layout


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("KINEMA_CACHE", str(folder))
    return folder


@pytest.fixture
def root(tmp_path):
    for name in ("a1_s1_t1", "a1_s2_t1", "a2_s1_t1"):
        utd_file(tmp_path / "data", name)
    return tmp_path / "data"


@pytest.fixture
def parsed(monkeypatch):
    """How many files were parsed, so far."""
    seen = []
    attempt = _parallel._attempt

    def counting(parse, file):
        seen.append(Path(file).name)
        return attempt(parse, file)

    monkeypatch.setattr(_parallel, "_attempt", counting)
    return seen


def points(dataset):
    return np.concatenate([clip.pose.points[0] for clip in dataset.clips])


def poses_file(cache) -> Path:
    (path,) = cache.glob("*.poses")
    return path


def test_a_second_start_parses_nothing_and_sees_the_same(cache, root, parsed):
    first = points(read_dataset("utd-mhad", root))
    assert len(parsed) == 3
    second = read_dataset("utd-mhad", root)
    np.testing.assert_array_equal(points(second), first)
    assert len(parsed) == 3
    np.testing.assert_array_equal(points(read_dataset("utd-mhad", root, cache=False)), first)
    assert len(parsed) == 6


def test_the_arrays_cannot_be_changed(cache, root):
    pose = read_dataset("utd-mhad", root).clips[0].pose
    with pytest.raises(ValueError):
        pose.points[0, 0, 0, 0] = 1


@pytest.mark.parametrize("change", ["content", "name", "more", "fewer"])
def test_changed_files_are_parsed_anew_and_the_old_content_goes(cache, root, parsed, change):
    read_dataset("utd-mhad", root)
    old = poses_file(cache)
    folder = root / "Skeleton"
    if change == "content":
        utd_file(root, "a1_s1_t1", points=moving(6, 20, seed=99))
    elif change == "name":
        (folder / "a1_s1_t1_skeleton.mat").rename(folder / "a3_s1_t1_skeleton.mat")
    elif change == "more":
        utd_file(root, "a3_s1_t1")
    else:
        (folder / "a1_s1_t1_skeleton.mat").unlink()
    parsed.clear()
    cached = read_dataset("utd-mhad", root)
    assert len(parsed) == len(cached)
    np.testing.assert_array_equal(points(cached), points(read_dataset("utd-mhad", root, cache=False)))
    assert poses_file(cache) != old


def test_touched_or_moved_files_are_known_by_their_content(cache, root, parsed):
    read_dataset("utd-mhad", root)
    for path in (root / "Skeleton").iterdir():
        os.utime(path, (1, 1))
    read_dataset("utd-mhad", root)
    moved = root.rename(root.with_name("elsewhere"))
    dataset = read_dataset("utd-mhad", moved)
    assert len(parsed) == 3 and len(dataset) == 3 and dataset.clips[0].source.exists()
    assert len(list(cache.glob("*.poses"))) == 1


def test_options_and_the_parsers_code_are_part_of_the_key(cache, tmp_path, monkeypatch):
    ntu_file(tmp_path / "ntu")
    clean = read_dataset("ntu", tmp_path / "ntu").clips[0].pose
    raw = read_dataset("ntu", tmp_path / "ntu", clean=False).clips[0].pose
    assert (clean.points[0, 0, 1] == 0).all() and (raw.points[0, 0, 1] != 0).any()
    before = len(list(cache.glob("*.poses")))
    monkeypatch.setattr(_cache, "_code", lambda build: "another version")
    read_dataset("ntu", tmp_path / "ntu")
    assert len(list(cache.glob("*.poses"))) == before  # the old version's file went as the new one came
    assert not list(cache.glob("*.part"))


def test_choices_of_files_are_kept_beside_one_another(cache, tmp_path, parsed):
    for name in ("S001C001P001R001A001", "S018C001P001R001A061"):
        ntu_file(tmp_path / "ntu", name)
    for name in "ab":
        pickled(tmp_path / f"{name}.pkl", [pyskl_annotation(name, 0)])
    for _ in range(2):
        assert [len(read_dataset("ntu", tmp_path / "ntu", version=version)) for version in (60, 120)] == [1, 2]
        assert [read_dataset("pyskl", tmp_path / f"{name}.pkl").clips[0].id for name in "ab"] == ["a", "b"]
        assert len(parsed) == 3 and len(list(cache.glob("*.poses"))) == 4


def spoil_byte(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "a changed number": lambda path: spoil_byte(path, 200),
    "a changed index": lambda path: spoil_byte(path, path.stat().st_size - 900),
    "changed facts": lambda path: spoil_byte(path, path.stat().st_size - 60),
    "a changed end": lambda path: spoil_byte(path, path.stat().st_size - 3),
    "a changed start": lambda path: spoil_byte(path, 2),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a folder in its place": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_cache_is_made_anew_without_a_word(cache, root, case, recwarn):
    expected = points(read_dataset("utd-mhad", root))
    DAMAGE[case](poses_file(cache))
    np.testing.assert_array_equal(points(read_dataset("utd-mhad", root)), expected)
    np.testing.assert_array_equal(points(read_dataset("utd-mhad", root)), expected)
    assert not recwarn


@pytest.mark.parametrize("text", ["", "{", "[]", '{"looks": 1}', '{"content": 5}', "\x00"])
def test_a_damaged_link_is_made_anew(cache, root, text):
    expected = points(read_dataset("utd-mhad", root))
    (link,) = cache.glob("*.json")
    link.write_text(text)
    np.testing.assert_array_equal(points(read_dataset("utd-mhad", root)), expected)
    assert set(json.loads(link.read_text())) == {"looks", "content"}


def test_damage_in_a_large_file_is_mended_when_it_is_met(cache, root, parsed, monkeypatch):
    monkeypatch.setattr(_ragged, "_CHECKED_WHOLE", 0)
    expected = points(read_dataset("utd-mhad", root, cache=False))
    dataset = read_dataset("utd-mhad", root)
    path = poses_file(cache)
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"\xff" * 8)
    parsed.clear()
    np.testing.assert_array_equal(points(dataset), expected)
    assert len(parsed) == 3 and not path.exists()


def test_clips_may_be_sent_to_other_processes_even_when_the_cache_goes(cache, root):
    dataset = read_dataset("utd-mhad", root)
    expected = points(dataset)
    sent = pickle.dumps(dataset.clips)
    np.testing.assert_array_equal(np.concatenate([clip.pose.points[0] for clip in pickle.loads(sent)]), expected)
    poses_file(cache).unlink()
    np.testing.assert_array_equal(np.concatenate([clip.pose.points[0] for clip in pickle.loads(sent)]), expected)


def test_a_folder_that_cannot_be_written_means_no_cache(root, tmp_path, monkeypatch, parsed):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        assert len(read_dataset("utd-mhad", root)) == 3
    assert len(parsed) == 6


def test_a_full_disk_means_no_cache(cache, root, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RaggedWriter, "append", full)
    assert points(read_dataset("utd-mhad", root)).shape == (18, 20, 3)
    assert not list(cache.iterdir())


def test_skipped_files_are_remembered_and_raised_where_asked(cache, root, parsed):
    bad = root / "Skeleton" / "a1_s1_t1_skeleton.mat"
    bad.write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        read_dataset("utd-mhad", root)
    assert not list(cache.glob("*.poses")) and not list(cache.glob(".*.part"))
    for _ in range(2):
        dataset = read_dataset("utd-mhad", root, on_error="skip")
        assert len(dataset) == 2 and [str(error) for error in dataset.skipped] == [f"{bad}: the file is empty"]
    parsed.clear()
    with pytest.raises(DataError, match="the file is empty"):
        read_dataset("utd-mhad", root)
    assert not parsed


def test_leftovers_of_killed_processes_are_removed(cache, root):
    cache.mkdir()
    for name, age in ((".old.poses.1-1.part", 100_000), (".new.poses.1-1.part", 0)):
        (cache / name).write_bytes(b"x")
        now = os.stat(cache / name).st_mtime
        os.utime(cache / name, (now - age, now - age))
    read_dataset("utd-mhad", root)
    assert [path.name for path in cache.glob(".*.part")] == [".new.poses.1-1.part"]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("KINEMA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" / "kinema"


def test_every_field_of_a_pose_is_kept(tmp_path):
    layout = custom_layout(["a", "b", "c"], [("b", "a"), ("c", "b")], "a", "three")
    poses = []
    for i, (persons, frames, dims) in enumerate([(1, 1, 2), (2, 7, 3), (3, 5, 2)]):
        shape = (persons, frames, 3)
        mask = np.arange(np.prod(shape)).reshape(shape) % 4 != 1
        times = np.arange(frames) * 0.1 if i != 1 else None
        score = np.full(shape, 0.25 * i) if i else None
        size = (640, 480) if i == 2 else None
        poses.append(
            PoseSequence(np.random.default_rng(i).normal(size=(*shape, dims)), layout, "mm", mask, score, 5.0 + i, times, size, "down")
        )
    path = tmp_path / "x.poses"
    writer = RaggedWriter(path, tmp_path)
    for pose in poses:
        writer.append(pose)
    writer.append(DataError("bad", tmp_path / "y.mat", "line 3"))
    writer.close({"any": ["thing", 1]})
    kept = RaggedFile(path, tmp_path)
    assert kept.facts == {"any": ["thing", 1]} and len(kept) == 4
    for i, pose in enumerate(poses):
        back = kept.record(i)
        for name in ("points", "mask", "score", "times"):
            np.testing.assert_array_equal(getattr(back, name), getattr(pose, name))
            assert getattr(back, name) is None or not getattr(back, name).flags.writeable
        for name in ("layout", "unit", "fps", "image_size", "y_axis"):
            assert getattr(back, name) == getattr(pose, name)
    assert str(kept.error(3)) == f"{tmp_path / 'y.mat'}, line 3: bad"
    with pytest.raises(DataError, match="bad"):
        kept.record(3)
    spoil_byte(path, 20)
    with pytest.raises(Damaged):
        RaggedFile(path, tmp_path)


def test_helper_processes_give_the_same_as_one(tmp_path):
    for i in range(5):
        ntu_file(tmp_path, f"S001C001P00{i + 1}R001A001", bodies=1 + i % 2)
    (tmp_path / "S001C001P003R001A001.skeleton").write_text("")
    from functools import partial

    from kinema.datasets.ntu import read_skeleton

    files = sorted(map(str, tmp_path.iterdir()))
    parse = partial(read_skeleton, clean=False)
    alone, together = (list(_parallel.parse_files(files, parse, processes)) for processes in (1, 2))
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, DataError):
            assert str(one) == str(other)
        else:
            np.testing.assert_array_equal(one.points, other.points)
    assert sum(isinstance(one, DataError) for one in alone) == 1


def test_the_work_of_a_helper_that_fails_is_done_here(tmp_path, monkeypatch):
    files = [str(ntu_file(tmp_path, f"S001C001P00{i}R001A001")) for i in range(1, 4)]
    from kinema.datasets.ntu import read_skeleton

    monkeypatch.setattr(_parallel.sys, "executable", "/bin/false" if os.path.exists("/bin/false") else "/usr/bin/false")
    assert len(list(_parallel.parse_files(files, read_skeleton, 2))) == 3


@pytest.mark.parametrize("way", ["ignore", "", None])
def test_an_unknown_way_to_treat_errors_is_an_error(root, way):
    with pytest.raises(DataError, match="unknown way to treat errors"):
        read_dataset("utd-mhad", root, on_error=way)


def test_helpers_end_with_the_reading(tmp_path, monkeypatch):
    started = []
    start = _parallel._start
    monkeypatch.setattr(_parallel, "_start", lambda order: started.append(start(order)) or started[-1])
    files = [str(ntu_file(tmp_path, f"S001C001P00{i}R001A001")) for i in range(1, 5)]
    from kinema.datasets.ntu import read_skeleton

    records = _parallel.parse_files(files, read_skeleton, 2)
    next(records)
    records.close()
    assert len(started) >= 2 and all(process.poll() is not None for process in started)
