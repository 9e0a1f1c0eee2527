"""Converting any data set into a folder of one's own form: everything comes back, nothing is half-written."""

import numpy as np
import pytest
from make_files import cad_folder, ntu_file, pickled, pyskl_annotation, ucla_file, utd_folder

from kinema.clip import Clip
from kinema.datasets import Dataset, read_dataset
from kinema.datasets._convert import convert
from kinema.errors import DataError, KinemaError

CAD = {"1": {"0512164529": "brushing teeth", "0512164800": None}, "2": {"0510160858": "drinking water"}}


def make(name, root):
    if name == "utd-mhad":
        return utd_folder(root, ["a1_s1_t1", "a27_s2_t1"])
    if name == "cad60":
        return cad_folder(root, CAD)
    if name == "nw-ucla":
        ucla_file(root)
        return ucla_file(root, "a02_s02_e00_v03", label=2).parents[1]
    if name == "ntu":
        ntu_file(root)
        return ntu_file(root, "S001C001P003R001A058", bodies=2).parent
    annotations = [pyskl_annotation(clip_id, 0, persons=2) for clip_id in ("a/b", "a_b", "A_b", "v_Archery_g01_c01")]
    annotations[0]["keypoint"][0, 1, 2] = 0
    return pickled(root / "x.pkl", {"split": {"train": ["a/b", "A_b"], "test": ["a_b"]}, "annotations": annotations})


@pytest.mark.parametrize("name", ["utd-mhad", "cad60", "nw-ucla", "ntu", "pyskl"])
def test_every_data_set_comes_back(tmp_path, name):
    dataset = read_dataset(name, make(name, tmp_path / "data"), cache=False)
    convert(dataset, tmp_path / "out")
    back = read_dataset("folder", tmp_path / "out", cache=False)
    assert back.classes == dataset.classes and [clip.id for clip in back.clips] == [clip.id for clip in dataset.clips]
    for clip, other in zip(dataset.clips, back.clips, strict=True):
        assert (other.label, other.subject, other.view, other.setup, other.group) == (
            clip.label,
            clip.subject,
            clip.view,
            clip.setup,
            clip.group,
        )
        for field in ("points", "mask", "score", "times"):
            np.testing.assert_array_equal(getattr(other.pose, field), getattr(clip.pose, field))
        for field in ("layout", "unit", "fps", "image_size", "y_axis"):
            assert getattr(other.pose, field) == getattr(clip.pose, field)


def test_protocols_come_back_with_their_splits(tmp_path):
    dataset = read_dataset("pyskl", make("pyskl", tmp_path / "data"), cache=False)
    convert(dataset, tmp_path / "out")
    assert read_dataset("folder", tmp_path / "out", cache=False).splits("official") == dataset.splits("official")
    environments = read_dataset("cad60", make("cad60", tmp_path / "cad"), cache=False)
    convert(environments, tmp_path / "out2")
    back = read_dataset("folder", tmp_path / "out2", cache=False)
    assert back.splits("leave-one-person-out") == environments.splits("leave-one-person-out")


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    dataset = read_dataset("utd-mhad", make("utd-mhad", tmp_path / "data"), cache=False)
    out = tmp_path / "out"
    out.mkdir()
    convert(dataset, out)
    before = sorted(path.name for path in out.rglob("*"))
    for target in (out, out / "clips.csv"):
        with pytest.raises(DataError, match="is there already and not an empty folder"):
            convert(dataset, target)
    assert sorted(path.name for path in out.rglob("*")) == before


def test_nothing_stays_behind_where_writing_fails(tmp_path, monkeypatch):
    dataset = read_dataset("utd-mhad", make("utd-mhad", tmp_path / "data"), cache=False)
    (tmp_path / "there").mkdir()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kinema.datasets._convert.npz_bytes", full)
    with pytest.raises(KinemaError, match=r"out: cannot be written: No space left on device"):
        convert(dataset, tmp_path / "there" / "out")
    assert not list((tmp_path / "there").iterdir())
    (tmp_path / "file").write_text("x")
    with pytest.raises(KinemaError, match="cannot be written"):
        convert(dataset, tmp_path / "file" / "out")


def test_clips_without_a_pose_are_left_out(tmp_path):
    with pytest.raises(DataError, match="has no clip with a pose"):
        convert(Dataset("x", (Clip("a"),), ()), tmp_path / "out")
