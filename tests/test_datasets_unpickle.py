"""Foreign pickles: arrays and containers come through, code and claims of memory do not."""

import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from make_files import pickled

from kinema.datasets._unpickle import load_pickle
from kinema.errors import DataError

ARRAY = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True, "text"], "b": (1, (2, 3)), "c": {"x", "y"}},
        [np.float64(1.5), np.int64(-3), np.bool_(True)],
        OrderedDict(a=1, b=[2]),
        "ünïcode",
        b"bytes\xff",
    ],
    ids=["containers", "scalars", "ordered", "text", "bytes"],
)
def test_plain_values_come_through(tmp_path, value, protocol):
    assert load_pickle(pickled(tmp_path / "x.pkl", value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<f2", "<i8", "u1", "?", ">i2"])
@pytest.mark.parametrize("order", "CF")
def test_arrays_come_through(tmp_path, dtype, order, protocol):
    array = np.asarray(ARRAY, dtype=dtype, order=order)
    loaded = load_pickle(pickled(tmp_path / "x.pkl", [array, array[1:, ::2]], protocol))
    for got, expected in zip(loaded, [array, array[1:, ::2]], strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


def test_a_file_of_python_2_is_read_as_latin_1(tmp_path):
    text = (
        b"\x80\x02}q\x01(U\x04poseq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nq\x05U\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
        + struct.pack("<2d", 1.5, -2.0)
        + b"tbU\x05labelU\x03\xe9t\xe9u."
    )
    path = tmp_path / "x.pkl"
    path.write_bytes(text)
    loaded = load_pickle(path)
    assert loaded["pose"].tolist() == [1.5, -2.0] and loaded["label"] == "été"


def test_shared_and_circular_containers_stay_shared(tmp_path):
    row = [ARRAY]
    value = {"a": row, "b": row}
    value["self"] = value
    loaded = load_pickle(pickled(tmp_path / "x.pkl", value))
    assert loaded["a"] is loaded["b"] and loaded["self"] is loaded


class Runs:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


class Plain:
    pass


REFUSED = {
    "a call to the shell": lambda path: pickle.dumps(Runs(os.system, f"touch {path}.ran")),
    "eval": lambda path: pickle.dumps(Runs(eval, f"open('{path}.ran', 'w')")),
    "a call in an array's place": lambda path: pickle.dumps({"annotations": [Runs(os.mkdir, f"{path}.ran")]}),
    "getattr of numpy": lambda path: b"cnumpy\nload\n(V" + str(path).encode() + b"\ntR.",
    "an object": lambda path: pickle.dumps(Plain()),
    "a name as value": lambda path: b"cnumpy\nndarray\n.",
    "a change to a function": lambda path: b"cnumpy\ndtype\n}V__call__\nNsb.",
    "an array of objects": lambda path: pickle.dumps(np.array([Plain, "x"], object)),
    "an array of text": lambda path: pickle.dumps(np.array(["x"])),
    "an array of records": lambda path: pickle.dumps(np.zeros(2, [("a", "f8")])),
    "an extension": lambda path: b"\x80\x02\x82\x01.",
    "something outside": lambda path: b"\x80\x02Vx\nQ.",
    "too deep": lambda path: b"]" * 100 + b"a" * 99 + b".",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_array_or_plain_container_is_refused_and_not_run(tmp_path, case):
    path = tmp_path / "x.pkl"
    path.write_bytes(REFUSED[case](path))
    with pytest.raises(DataError, match=r"x.pkl: holds .*; only pickles of numeric arrays") as raised:
        load_pickle(path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "x.pkl.ran").exists()


WHOLE = pickle.dumps({"pose": [ARRAY.astype(float)], "label": ["a"]}, 4)
SHARED = (
    b"\x80\x04cnumpy._core.numeric\n_frombuffer\nq\x00cnumpy\ndtype\nV%s\n\x85Rq\x01B\xe8\x03\x00\x00" % b"u1" + bytes(1000) + b"q\x020]"
)
DAMAGED = {
    "empty": b"",
    "text": b"this is no pickle",
    "truncated in an array": WHOLE[: len(WHOLE) // 2],
    "truncated at the end": WHOLE[:-1],
    "bytes that do not fill the shape": WHOLE.replace(b"K\x02K\x03K\x04", b"K\x02K\x03K\x05"),
    "a huge memo index": b"\x80\x02]r\xff\xff\xff\xff.",
    "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.",
    "a huge shape": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x8a\x06\xff\xff\xff\xff\xff\x00\x85U\x01b\x87R.",
    "the same bytes as many arrays": SHARED + b"h\x00(h\x02h\x01M\xe8\x03VC\ntRa" * 1000 + b".",
    "one long text as many arrays": b"\x80\x02c_codecs\nencode\nq\x00X\x10\x27\x00\x00"
    + b"a" * 10000
    + b"q\x01]("
    + b"h\x00h\x01\x85R" * 2000
    + b"e.",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_or_greedy_file_is_an_error_and_takes_no_memory(tmp_path, case):
    path = tmp_path / "x.pkl"
    path.write_bytes(DAMAGED[case])
    tracemalloc.start()
    try:
        if case == "a huge memo index":
            assert load_pickle(path) == []
        else:
            with pytest.raises(DataError, match=r"x.pkl: ") as raised:
                load_pickle(path)
            assert "\n" not in str(raised.value)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        load_pickle(tmp_path / "x.pkl")
