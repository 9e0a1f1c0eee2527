"""Cropped depth is kept between runs: what is kept, when it is made anew, and that it can never do harm."""

import os
import pickle

import numpy as np
import pytest
import scipy.io
from make_files import UTD_KEYS, utd_file

from kinema.datasets import _cache, _depth, _parallel, _ragged, read_dataset
from kinema.depth_crop import LazyDepth, crop_depth, depth_crop
from kinema.errors import DataError

NAMES = ("a1_s1_t1", "a1_s2_t1", "a2_s1_t1")


def depth_file(root, name, frames=5, seed=None):
    path = root / "Depth" / f"{name}_depth.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(map(ord, name)) if seed is None else seed)
    value = np.zeros((40, 60, frames), np.uint16)
    value[5:35, 20:40] = rng.integers(2000, 3000, (30, 20, frames))
    scipy.io.savemat(path, {UTD_KEYS["Depth"]: value}, do_compression=True)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("KINEMA_CACHE", str(folder))
    return folder


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(_depth, "FEW", 0)
    for number, name in enumerate(NAMES):
        utd_file(tmp_path / "data", name)
        depth_file(tmp_path / "data", name, 4 + number)
    return tmp_path / "data"


@pytest.fixture
def decoded(monkeypatch):
    """Depth files that were decoded, so far."""
    seen = []
    attempt = _parallel._attempt
    monkeypatch.setattr(
        _parallel, "_attempt", lambda parse, file: (seen.append(file) if "depth" in file else None, attempt(parse, file))[1]
    )
    return seen


def crops(root, **options):
    return [depth_crop(clip) for clip in read_dataset("utd-mhad", root, **options).clips]


def same(some, others):
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        assert all(getattr(one, name) == getattr(other, name) for name in (*_ragged._NUMBERS, "box", "fps"))


def depths_file(cache):
    (path,) = cache.glob("*.depths")
    return path


def test_a_second_start_decodes_nothing_and_sees_the_same(cache, root, decoded):
    first = crops(root)
    assert len(decoded) == 3
    same(first, crops(root))
    assert len(decoded) == 3
    same(first, crops(root, cache=False))
    same(first, [crop_depth(clip.depth) for clip in read_dataset("utd-mhad", root).clips])


def test_nothing_is_decoded_before_depth_is_asked_for(cache, root, decoded):
    dataset = read_dataset("utd-mhad", root)
    assert dataset.clips[0].pose.frames and not decoded and not list(cache.glob("*.depths"))
    assert dataset.clips[0].depth.frames.shape == (4, 40, 60)  # the recording itself, as it is
    assert not list(cache.glob("*.depths"))


def test_whoever_wants_a_few_clips_does_not_wait_for_all(cache, root, monkeypatch):
    monkeypatch.setattr(_depth, "FEW", 2)
    dataset = read_dataset("utd-mhad", root)
    few = [depth_crop(clip) for clip in dataset.clips[:2]]
    assert not list(cache.glob("*.depths"))
    few.append(depth_crop(dataset.clips[2]))
    assert depths_file(cache)
    same(few, crops(root))


def test_a_kept_file_serves_the_first_clip_too(cache, root, monkeypatch):
    first = crops(root)
    monkeypatch.setattr(_depth, "FEW", 2)
    monkeypatch.setattr(_depth._Crops, "__init__", refusing(_depth._Crops.__init__))
    same(first, crops(root))


def refusing(init):
    def without_parser(self, reader, root, files, parse):
        init(self, reader, root, files, parse)
        self._parse = None

    return without_parser


@pytest.mark.parametrize("change", ["content", "name", "more", "fewer", "code"])
def test_changed_files_are_decoded_anew_and_the_old_content_goes(cache, root, decoded, monkeypatch, change):
    crops(root)
    old = depths_file(cache)
    if change == "content":
        depth_file(root, NAMES[0], 9, seed=99)
    elif change == "more":
        utd_file(root, "a3_s1_t1")
        depth_file(root, "a3_s1_t1")
    elif change == "code":
        code = _cache._code
        monkeypatch.setattr(_cache, "_code", lambda build: "other" if build is crop_depth else code(build))
    else:
        for kind in ("Skeleton", "Depth"):
            path = root / kind / f"{NAMES[0]}_{kind.lower()}.mat"
            path.rename(path.with_name(path.name.replace("a1", "a5"))) if change == "name" else path.unlink()
    decoded.clear()
    again = crops(root)
    assert len(decoded) == len(again) and depths_file(cache) != old
    same(again, crops(root, cache=False))


def test_touched_or_moved_files_are_known_by_their_content(cache, root, decoded):
    first = crops(root)
    for path in (root / "Depth").iterdir():
        os.utime(path, (1, 1))
    same(first, crops(root))
    same(first, crops(root.rename(root.with_name("elsewhere"))))
    assert len(decoded) == 3 and depths_file(cache)


DAMAGE = {
    "a changed number": lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:],
    "a changed index": lambda data: data[:-400] + bytes([data[-400] ^ 1]) + data[-399:],
    "truncated": lambda data: data[:-1000],
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_file_is_made_anew_without_a_word(cache, root, monkeypatch, case, large, recwarn):
    crops(root)
    first = crops(root, cache=False)
    if large:
        monkeypatch.setattr(_ragged, "_CHECKED_WHOLE", 0)
    path = depths_file(cache)
    path.write_bytes(DAMAGE[case](path.read_bytes()))
    same(first, crops(root))
    same(first, crops(root))
    assert not recwarn.list


def test_a_folder_that_cannot_be_written_means_no_cache(root, tmp_path, monkeypatch):
    expected = crops(root, cache=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "file" / "cache"))
    same(expected, crops(root))


def test_a_clip_without_anybody_is_told_at_every_start(cache, root, monkeypatch):
    path = root / "Depth" / f"{NAMES[1]}_depth.mat"
    scipy.io.savemat(path, {UTD_KEYS["Depth"]: np.zeros((40, 60, 4), np.uint16)})
    for _ in range(2):
        good, bad, other = read_dataset("utd-mhad", root).clips
        with pytest.raises(DataError, match=r"a1_s2_t1_depth\.mat.*clip 'a1_s2_t1': there is nobody"):
            depth_crop(bad)
        assert depth_crop(good).frames.any() and depth_crop(other).frames.any()


def test_crops_cannot_be_changed_and_travel_to_other_processes(cache, root):
    clips = read_dataset("utd-mhad", root).clips
    first = [depth_crop(clip) for clip in clips]
    with pytest.raises(ValueError):
        first[0].frames[0, 0, 0] = 1
    assert all(isinstance(clip.modalities["depth"], LazyDepth) for clip in clips)
    same(first, [depth_crop(clip) for clip in pickle.loads(pickle.dumps(clips))])


def test_helpers_hand_over_what_they_crop(root):
    from kinema.datasets.utd_mhad import read_depth_crop

    files = [str(path) for path in sorted((root / "Depth").iterdir())]
    same(_parallel.parse_files(files, read_depth_crop, 1), list(_parallel.parse_files(files, read_depth_crop, 2, 1)))
