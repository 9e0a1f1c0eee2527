"""The audit finds by content what inflates a result, says where it matters, and does not cry wolf."""

import json
import time

import numpy as np
import pytest

from kinema.clip import Clip, DepthSequence, InertialSequence, Lazy, PoseSequence
from kinema.datasets import Dataset, read_dataset
from kinema.datasets.audit import audit, clean_test_ids
from kinema.datasets.base import Protocol, Split
from kinema.datasets.protocols import by_values, leave_one_out
from kinema.errors import DataError, ProtocolError

TRAIN_ODD = by_values("cross-subject", "", "subject", ("1", "3"))
V = 15


def points(seed, frames=12, persons=1):
    return np.random.default_rng(seed).normal(size=(persons, frames, V, 3)).astype(np.float32)


def clip(clip_id, what, subject="1", label=0, **said):
    """A clip of points, or of any modality."""
    if isinstance(what, np.ndarray):
        what = PoseSequence(what, "cad60")
    name = {PoseSequence: "pose", InertialSequence: "inertial", DepthSequence: "depth"}.get(type(what), "pose")
    return Clip(clip_id, {name: what}, label, subject, **said)


def dataset(*clips, classes=("a",), protocols=(TRAIN_ODD,), **more):
    """The given clips, and for each class one clip on either side, so that the protocol can be filled."""
    fill = [clip(f"fill{s}_{k}", points(1000 + 10 * s + k), subject=str(s), label=k) for s in (1, 2) for k in range(len(classes))]
    return Dataset("made", (*clips, *fill), classes, {protocol.name: protocol for protocol in protocols}, **more)


def kinds(report):
    return {finding.kind for finding in report.findings}


def test_a_clean_data_set_has_no_findings():
    report = audit(dataset(clip("x", points(1)), clip("y", points(2), subject="2")))
    assert report.findings == ()
    assert report.read == {"pose": 4}
    assert (report.splits[0].train, report.splits[0].test, report.splits[0].copied, report.splits[0].sharing) == (2, 2, 0, 0)
    assert "Nothing found" in report.text()


def test_a_copy_in_training_is_found_whatever_it_is_called():
    x = points(1)
    found = dataset(clip("x", x), clip("y", x, subject="2", label=1), clip("again", x, subject="3"), classes=("a", "b"))
    report = audit(found)
    copies = report.find("copies")
    assert kinds(report) == {"copies"}
    assert [(item.clips, item.other_label) for item in copies.items] == [(("x", "y", "again"), True)]
    (touch,) = copies.touches
    assert (touch.protocol, touch.split, touch.test, touch.of_test) == ("cross-subject", "cross-subject", 1, 3)
    assert (touch.train, touch.of_train) == (2, 4)  # training holds it twice
    assert (report.splits[0].copied, report.splits[0].sharing) == (1, 1)


@pytest.mark.parametrize(
    "same",
    [
        lambda x: np.concatenate([x, np.zeros_like(x)]),  # a second person who is not there
        lambda x: np.concatenate([np.zeros_like(x), x]),
        lambda x: np.concatenate([x, np.zeros_like(x)], axis=1),  # padded in time
        lambda x: PoseSequence(np.where(x == 0, -0.0, x), "cad60", fps=15),
        lambda x: PoseSequence(
            np.concatenate([x, points(9)]), "cad60", mask=np.broadcast_to([[[True]], [[False]]], (2, 12, V))
        ),  # a person who was not observed
    ],
)
def test_a_copy_is_found_under_padding(same):
    x = points(1)
    x[0, 0, 0, 0] = 0
    assert kinds(audit(dataset(clip("x", x), clip("y", same(x), subject="2")))) == {"copies"}


def test_copies_of_two_persons_are_found_in_any_order_of_persons():
    x = points(1, persons=2)
    assert kinds(audit(dataset(clip("x", x), clip("y", x[::-1], subject="2")))) == {"copies"}


def test_clips_cut_from_the_same_recording_share_frames():
    x = points(1, frames=30)
    report = audit(dataset(clip("x", x[:, :20]), clip("y", x[:, 17:], subject="2")))
    assert kinds(report) == {"shared-frames"}
    (item,) = report.find("shared-frames").items
    assert (item.clips, item.shared, item.detail) == (("x", "y"), 3, "3 frames of 20 and 13")
    assert (report.splits[0].copied, report.splits[0].sharing) == (0, 1)


def test_a_clip_within_another_is_named_and_so_is_its_other_label():
    x = points(1, frames=30)
    report = audit(dataset(clip("whole", x), clip("part", x[:, 5:20], subject="2", label=1), classes=("a", "b")))
    assert kinds(report) == {"shared-frames", "contained"}
    (item,) = report.find("contained").items
    assert item.other_label and item.detail.endswith("the whole of part")
    assert report.find("contained").touches[0].test == 1


def test_a_shared_frame_counts_for_every_copy_of_the_clips_that_share_it():
    x = points(1, frames=30)
    report = audit(dataset(clip("x", x[:, :20]), clip("copy", x[:, :20], subject="3"), clip("y", x[:, 17:], subject="2")))
    assert len(report.find("shared-frames").items) == 1
    assert report.find("shared-frames").touches[0].test == 1
    assert report.find("shared-frames").touches[0].train == 0
    assert report.find("copies").touches[0].train == 2


def padded(x, frames):
    out = np.zeros((1, frames, V, 3), np.float32)
    out[:, : x.shape[1]] = x
    return out


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (padded(points(1), 40), padded(points(2), 40)),  # zero frames in common
        (np.repeat(points(1), 3, axis=1), points(2)),  # frames repeated within a clip, as by 10 to 30 fps
        (PoseSequence(np.full((1, 9, V, 3), 2.0), "cad60", mask=np.zeros((1, 9, V), bool)), points(2)),
    ],
)
def test_padding_and_repeated_frames_are_no_copies(one, other):
    assert not kinds(audit(dataset(clip("x", one), clip("y", other, subject="2")))) & {"copies", "shared-frames", "contained", "frozen"}


def test_a_frame_in_very_many_clips_is_told_once_and_not_in_pairs():
    default = points(0, frames=1)
    clips = [clip(f"c{i}", np.concatenate([default, points(i + 1)], axis=1), subject="12"[i % 2]) for i in range(30)]
    report = audit(dataset(*clips))
    assert kinds(report) == {"common-frames"}
    assert len(report.find("common-frames").items[0].clips) == 30
    assert report.find("common-frames").touches[0].test == 15
    assert "and 26 more" in report.text()


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (points(1, frames=1), "too-short"),
        (np.repeat(points(1, frames=1), 20, axis=1), "frozen"),
        (padded(np.repeat(points(1, frames=1), 20, axis=1), 40), "frozen"),
        (np.zeros((1, 20, V, 3)), "empty"),
        (InertialSequence(np.ones((40, 2)), ("acc_x", "acc_y")), "frozen"),
        (InertialSequence(np.ones((1, 2)), ("acc_x", "acc_y")), "too-short"),
    ],
)
def test_broken_clips_are_found_and_counted_on_their_side(what, kind):
    report = audit(dataset(clip("x", what, subject="2")))
    assert kinds(report) == {kind}
    assert report.find(kind).clips == ("x",)
    assert (report.find(kind).touches[0].test, report.find(kind).touches[0].train) == (1, 0)


def _with_zeros(seed, joints, frames=slice(3, 5)):
    x = points(seed)
    x[:, frames, joints] = 0
    return x


def test_joints_at_zero_are_found_unless_they_are_the_centre_or_masked():
    masked = _with_zeros(1, [4])
    hidden = PoseSequence(masked, "cad60", mask=(masked != 0).any(-1))
    clips = [clip("x", _with_zeros(2, [0, 7]), "2"), clip("masked", hidden)]
    report = audit(dataset(*clips))
    assert kinds(report) == {"zeros"}
    assert report.find("zeros").clips == ("x",)
    assert report.find("zeros").items[0].detail == "head, left_hip in up to 2 frames"
    assert report.find("zeros").touches[0].test == 1
    centred = [clip(f"c{i}", _with_zeros(i, [2], slice(None)), "12"[i % 2]) for i in range(6)]
    assert audit(dataset(*centred)).findings == ()
    assert audit(dataset(*centred, clip("y", _with_zeros(9, [2, 3])))).find("zeros").clips == ("y",)


def _not_finite():
    return PoseSequence(np.full((1, 4, V, 3), np.nan), "cad60")


def test_what_cannot_be_read_and_what_was_skipped_is_told_with_the_reason():
    report = audit(
        dataset(clip("x", Lazy(_not_finite), subject="2"), skipped=(DataError("listed, but there is no such file", "gone.avi"),))
    )
    unreadable = report.find("unreadable")
    assert [item.clips for item in unreadable.items] == [(), ("x",)]
    assert "gone.avi: listed, but there is no such file" in unreadable.items[0].detail
    assert "not a finite number" in unreadable.items[1].detail
    assert unreadable.touches[0].test == 1
    assert report.read == {"pose": 2}


def wave(seed, size=300):
    return np.cumsum(np.random.default_rng(seed).normal(size=(size, 2)), axis=0)


def test_saturated_signals_are_found_by_the_pile_at_the_limit():
    signals = [wave(i) for i in range(6)]
    limit = np.abs(signals[2][:, 1]).max() * 0.8
    cut = [np.stack([s[:, 0] * 1e-3, np.clip(s[:, 1], -limit, limit)], axis=1) for s in signals]
    expected = {f"c{i}" for i, s in enumerate(cut) if np.abs(s[:, 1]).max() >= limit * 0.9999}
    report = audit(dataset(*[clip(f"c{i}", InertialSequence(s, ("acc_x", "gyro_x")), subject="12"[i % 2]) for i, s in enumerate(cut)]))
    assert kinds(report) == {"saturated"}
    assert set(report.find("saturated").clips) == expected
    assert "in gyro at" in report.find("saturated").message and "acc" not in report.find("saturated").message


@pytest.mark.parametrize("coarse", [None, 0.5])
def test_signals_within_the_range_are_not_called_saturated(coarse):
    signals = [wave(i) if coarse is None else np.round(wave(i) / coarse) * coarse for i in range(20)]
    assert audit(dataset(*[clip(f"c{i}", InertialSequence(s, ("acc_x", "acc_y"))) for i, s in enumerate(signals)])).findings == ()


def test_copied_inertial_signals_are_found_and_chance_samples_are_not():
    x, y = np.round(wave(1)), np.round(wave(2))
    names = ("acc_x", "acc_y")
    report = audit(dataset(*[clip(i, InertialSequence(s, names), s_) for i, s, s_ in (("x", x, "1"), ("y", y, "2"), ("z", x, "2"))]))
    assert kinds(report) == {"copies"}
    assert report.find("copies", "inertial").items[0].clips == ("x", "z")


def test_depth_is_read_only_when_asked_for():
    frames = np.random.default_rng(0).integers(1, 4000, (5, 6, 8)).astype(np.uint16)
    data = dataset(clip("x", DepthSequence(frames)), clip("y", DepthSequence(frames[1:]), subject="2"))
    assert audit(data).findings == ()
    report = audit(data, depth=True)
    assert kinds(report) == {"shared-frames", "contained"}
    assert report.find("contained", "depth").items[0].detail == "4 images of 5 and 4, the whole of y"


def test_people_groups_and_setups_on_both_sides_are_found():
    by_view = by_values("cross-view", "", "view", ("1",))
    clips = [clip(f"c{s}{v}", points(10 * s + v), str(s), view=str(v), group=f"g{s}{v}", setup="lab") for s in (1, 2) for v in (1, 2)]
    data = Dataset("made", tuple(clips), ("a",), {"cross-view": by_view, "cross-subject": TRAIN_ODD})
    report = audit(data)
    assert [touch.protocol for touch in report.find("same-subject").touches] == ["cross-view"]
    assert [item.detail for item in report.find("same-subject").items] == ["cross-view: subject 1, 2"]
    assert [touch.protocol for touch in report.find("same-setup").touches] == ["cross-view", "cross-subject"]
    assert report.find("same-group") is None
    assert audit(data, "cross-subject").find("same-subject") is None


def test_a_clip_listed_on_both_sides_is_found():
    clips = tuple(clip(f"c{i}", points(i)) for i in range(4))
    split = Split("p", ("c0", "c1"), ("c1", "c3", "c2"), val=("c2",))
    data = Dataset("made", clips, ("a",), {"p": Protocol("p", "", lambda clips: [split])})
    report = audit(data)
    assert report.find("same-clip").clips == ("c1", "c2")
    assert (report.find("same-clip").touches[0].test, report.splits[0].copied, report.splits[0].sharing) == (2, 2, 2)
    assert clean_test_ids(data, split) == ("c3",)


def test_labels_are_looked_at():
    clips = [clip(f"c{i}", points(i), label=0) for i in range(8)]
    clips += [clip("rare", points(20), "2", 1), clip("none", points(21), label=None)]
    data = Dataset("made", (*clips, clip("y", points(22), "2", 0)), ("a", "b", "c"), {"cross-subject": TRAIN_ODD})
    report = audit(data)
    assert kinds(report) == {"unlabelled", "untrained-class", "imbalance"}
    assert report.find("unlabelled").clips == ("none",)
    assert report.find("untrained-class").items[0].detail.endswith(": b") and report.find("untrained-class").touches[0].test == 1
    assert [item.detail for item in report.find("imbalance").items] == ["c: 0", "b: 1"]
    assert "right for 90.0%; 1 of 3 classes have no clip" in report.find("imbalance").message


def test_a_protocol_that_cannot_be_filled_is_told_unless_it_was_asked_for():
    data = dataset(protocols=(TRAIN_ODD, leave_one_out("cross-view", "", "view")))
    report = audit(data)
    assert list(report.unfilled) == ["cross-view"] and "do not say their view" in report.text()
    with pytest.raises(ProtocolError, match="do not say their view"):
        audit(data, "cross-view")
    with pytest.raises(ProtocolError, match="did you mean 'cross-view'"):
        audit(data, "crossview")


def test_the_report_is_json_and_text_with_as_many_cases_as_wanted():
    x = [points(i) for i in range(8)]
    report = audit(dataset(*[clip(f"{s}{i}", p, s) for s in "12" for i, p in enumerate(x)]))
    assert json.loads(json.dumps(report.to_dict()))["findings"][0]["items"][7]["clips"] == ["17", "27"]
    assert "and 3 more" in report.text()
    assert "17 = 27" not in report.text() and "17 = 27" in report.text(limit=0)
    assert "cross-subject: 8 of 9 test clips have a counterpart in training" in report.text()


def test_of_many_folds_those_that_share_nothing_are_one_line():
    clips = [clip(f"c{i}", points(i), str(i)) for i in range(20)] + [clip("copy", points(3), "20")]
    text = audit(Dataset("made", tuple(clips), ("a",), {"loso": leave_one_out("loso", "")})).text()
    assert "loso / 3 " in text and "loso / 20" in text and "loso / 4" not in text
    assert "loso, 19 splits" in text


def test_clean_test_clips_have_no_copy_in_training_or_validation():
    x, y = points(1), points(2)
    clips = [clip("x", x), clip("x2", x, "2"), clip("x3", x, "2"), clip("y", y, "2"), clip("y2", y, "2"), clip("z", points(3), "3")]
    data = dataset(*clips, clip("broken", Lazy(_not_finite), "1"))
    (split,) = data.splits()
    assert clean_test_ids(data, split) == ("y", "y2", "fill2_0")
    assert clean_test_ids(data, Split("p", ("z",), ("y", "x3"), val=("x",))) == ("y",)


def test_fifteen_hundred_clips_take_seconds():
    rng = np.random.default_rng(0)
    clips = [clip(f"c{i}", rng.normal(size=(1, 40, V, 3)), str(i % 10)) for i in range(1500)]
    data = Dataset("made", tuple(clips), ("a",), {"loso": leave_one_out("loso", "")})
    start = time.perf_counter()
    assert audit(data).findings == ()
    assert time.perf_counter() - start < 10


# On the real recordings


def test_nw_ucla_copies_overlaps_and_contained_clips(data_root):
    root = data_root("nw-ucla")
    data = read_dataset("nw-ucla", root)
    report = audit(data)
    copies = report.find("copies")
    listed = {name for name in (root / "v03_identical_to_v02.txt").read_text().split() if name.startswith("a")}
    assert {max(item.clips) for item in copies.items} == listed and len(listed) == 95
    assert not any(item.other_label for item in copies.items)
    tests = {touch.protocol: (touch.test, touch.of_test, touch.train) for touch in copies.touches if touch.protocol != "cross-subject"}
    assert tests == {"cross-view": (95, 464, 0), "cross-view-2": (95, 504, 0), "cross-view-1": (0, 516, 190)}
    shared = report.find("shared-frames")
    assert len(shared.items) == 18
    assert (min(item.shared for item in shared.items), max(item.shared for item in shared.items)) == (1, 111)
    inner = {(item.detail.rpartition(" ")[2], *item.clips): item.other_label for item in report.find("contained").items}
    assert inner == {
        ("a08_s01_e00_v01", "a08_s01_e00_v01", "a08_s01_e00_v02"): False,
        ("a09_s01_e00_v02", "a09_s01_e00_v01", "a09_s01_e00_v02"): False,
        ("a09_s01_e03_v02", "a08_s01_e03_v01", "a09_s01_e03_v02"): True,
        ("a09_s01_e04_v02", "a08_s01_e04_v01", "a09_s01_e04_v02"): True,
        ("a08_s01_e04_v02", "a08_s01_e04_v02", "a09_s01_e03_v01"): True,
    }
    assert report.find("too-short").clips == ("a02_s09_e04_v02", "a02_s09_e04_v03")
    (split,) = data.splits("cross-view")
    clean = clean_test_ids(data, split)
    assert len(clean) == 464 - 95 and not listed & set(clean)


def test_utd_mhad_saturated_inertial_files_and_overlapping_cuts(data_root):
    report = audit(read_dataset("utd-mhad", data_root("utd-mhad")))
    assert report.read == {"pose": 861, "inertial": 861}
    saturated = report.find("saturated")
    assert len(saturated.clips) == 31
    assert sum("acc" in item.detail for item in saturated.items) == 22
    assert sum("gyro" in item.detail for item in saturated.items) == 19
    # consecutive repetitions were cut from one recording and overlap by a few frames, always of one subject
    assert len(report.find("shared-frames").items) == 32
    assert all((split.copied, split.sharing) == (0, 0) for split in report.splits)
    assert not kinds(report) - {"saturated", "shared-frames"}


def test_cad60_unlabelled_recordings(data_root):
    report = audit(read_dataset("cad60", data_root("cad60")))
    unlabelled = {clip_id[-10:] for clip_id in report.find("unlabelled").clips}
    without = "0512164333 0512174930 0510165514 0510171947 0511125200 0511125626 0512154740 0512160049"
    assert len(unlabelled) == 12 and set(without.split()) < unlabelled  # and the four that stand still
    assert not kinds(report) & {"copies", "shared-frames", "same-subject"}
