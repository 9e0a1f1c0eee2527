"""Published models by name: found where they lie, else fetched, unpacked and checked; and which one "auto" is."""

import hashlib
import io
import tarfile
import urllib.request
import zipfile
from dataclasses import replace
from urllib.error import URLError

import pytest
from tiny_onnx import write_rtmdet, write_rtmpose

from kinema.errors import DataError, KinemaError
from kinema.estimation import backends
from kinema.estimation.backends import BACKENDS, choose, find, make_tracker


@pytest.fixture
def publisher(monkeypatch, tmp_path):
    """A network whose addresses hold what is put into the returned dictionary; no models are at hand but in the cache folder."""
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KINEMA_MODELS", raising=False)
    content, asked = {}, []

    def urlopen(url, timeout):
        asked.append(url)
        if url not in content:
            raise URLError("no network")
        return io.BytesIO(content[url])

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return content, asked


def zipped(**files):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, data in files.items():
            opened.writestr(f"rtmpose-ort/{name}/end2end.onnx", data)
    return archive.getvalue()


def tarred(name, data):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as opened:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        opened.addfile(entry, io.BytesIO(data))
    return archive.getvalue()


@pytest.fixture
def published(publisher, monkeypatch):
    """All models of the publishers, a few bytes each."""
    content, asked = publisher
    data = {"rtmdet-nano": b"detector", "rtmpose-m": b"rtmpose", "movenet": b"movenet", "blazepose": b"blazepose"}
    content[backends._MMPOSE] = zipped(**{name: data[name] for name in ("rtmdet-nano", "rtmpose-m")})
    content[backends.ESTIMATORS["movenet"].addresses[0][0]] = tarred("./4.tflite", data["movenet"])
    content[backends._MEDIAPIPE] = data["blazepose"]

    def known(file, value):
        return replace(file, sha256=hashlib.sha256(value).hexdigest())

    monkeypatch.setattr(backends, "DETECTOR", known(backends.DETECTOR, data["rtmdet-nano"]))
    values = {"rtmpose": data["rtmpose-m"], "movenet": data["movenet"], "blazepose": data["blazepose"]}
    monkeypatch.setattr(backends, "ESTIMATORS", {name: known(file, values[name]) for name, file in backends.ESTIMATORS.items()})
    return content, asked


def test_a_published_file_is_fetched_once(published, tmp_path):
    _, asked = published
    for name, value in (("movenet", b"movenet"), ("blazepose", b"blazepose")):
        path = find(backends.ESTIMATORS[name])
        assert path.parent == tmp_path / "cache/models" and path.read_bytes() == value
        assert find(backends.ESTIMATORS[name]) == path
    assert len(asked) == 2


def test_what_comes_in_one_archive_is_fetched_together(published):
    _, asked = published
    assert choose("auto") == "rtmpose"
    assert find(backends.DETECTOR).read_bytes() == b"detector"
    assert find(backends.ESTIMATORS["rtmpose"]).read_bytes() == b"rtmpose" and len(asked) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"other bytes", "is no whole .zip or .tar.gz"),
        (zipped(**{"rtmdet-nano": b"other detector"}), "its SHA-256 does not begin with"),
        (zipped(**{"rtmdet-s": b"x"}), "holds no rtmdet-nano/end2end.onnx"),
        (zipped(**{"rtmdet-nano": b"detector"})[:60], "is no whole .zip or .tar.gz"),
    ],
)
def test_another_file_than_the_published_one_is_not_kept(published, tmp_path, data, reason):
    content, _ = published
    content[backends._MMPOSE] = data
    with pytest.raises(KinemaError, match=reason) as error:
        find(backends.DETECTOR)
    assert "\n" not in str(error.value) and not list(tmp_path.rglob("*.onnx"))


def test_a_damaged_file_in_the_cache_is_noticed(published):
    find(backends.ESTIMATORS["blazepose"]).write_bytes(b"damaged")
    with pytest.raises(KinemaError, match="is damaged, or not the published blazepose_lite"):
        find(backends.ESTIMATORS["blazepose"])


def test_without_a_network_the_message_says_where_the_file_belongs(publisher, tmp_path):
    with pytest.raises(KinemaError, match="no network") as error:
        make_tracker("movenet")
    assert str(tmp_path / "cache/models/movenet_lightning_int8.tflite") in str(error.value) and "KINEMA_MODELS" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_at_hand_go_before_the_network(publisher, monkeypatch, tmp_path):
    _, asked = publisher
    (tmp_path / "own").mkdir()
    (tmp_path / "own/movenet_lightning_int8.tflite").write_bytes(b"whatever its owner put there")
    monkeypatch.setenv("KINEMA_MODELS", str(tmp_path / "own"))
    assert find(backends.ESTIMATORS["movenet"]).parent == tmp_path / "own"
    assert find(backends.ESTIMATORS["movenet"], tmp_path / "own").parent == tmp_path / "own"
    assert choose("auto") == "movenet" and asked == []
    with pytest.raises(KinemaError, match="there is no such file"):
        find(backends.DETECTOR, tmp_path / "own")


def test_the_best_that_is_at_hand(publisher, tmp_path):
    for name, best in (("movenet", "movenet"), ("blazepose", "movenet"), ("rtmpose", "rtmpose")):
        (tmp_path / backends.ESTIMATORS[name].name).touch()
        assert choose("auto", tmp_path) == best
    assert choose("auto", tmp_path, world=True) == "blazepose"
    assert [choose(name, tmp_path) for name in BACKENDS[1:]] == list(BACKENDS[1:])


@pytest.mark.parametrize(
    ("backend", "world", "reason"),
    [("movnet", False, "did you mean 'movenet'"), ("movenet", True, "movenet gives no points in metres; blazepose does")],
)
def test_what_there_is_not_is_refused(backend, world, reason):
    with pytest.raises(KinemaError, match=reason):
        make_tracker(backend, world=world)


def test_files_may_be_named(tmp_path):
    pytest.importorskip("onnxruntime")
    detector, estimator = write_rtmdet(tmp_path / "d.onnx", [[0, 0, 9, 9, 0.9]], [0]), write_rtmpose(tmp_path / "p.onnx")
    tracker = make_tracker("rtmpose", detector=detector, estimator=estimator, every=7, max_persons=3, threads=1)
    assert (tracker.layout.name, tracker.every, tracker.max_persons) == ("coco17", 7, 3)
    with pytest.raises(DataError, match="there is no such file"):
        make_tracker("rtmpose", detector=tmp_path / "none.onnx", estimator=estimator)
    with pytest.raises(KinemaError, match=r"p\.onnx is of which backend\? Name one of rtmpose, movenet, blazepose"):
        make_tracker(detector=detector, estimator=estimator)
