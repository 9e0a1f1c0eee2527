"""Protocols divide clips as papers do; validation comes from the training part by whole subjects."""

import pickle
from collections import Counter

import pytest

from kinema.clip import Clip
from kinema.datasets import Dataset
from kinema.datasets.base import Split
from kinema.datasets.protocols import by_values, cut_validation, leak_note, leaking, leave_one_out, listed, regardless, validation_keys
from kinema.errors import ProtocolError

# Three classes, subjects 1..10, views 1..2
CLIPS = tuple(
    Clip(f"a{label}_s{subject}_v{view}", label=label, subject=str(subject), view=str(view), group=f"g{subject % 3}")
    for subject in range(1, 11)
    for label in range(3)
    for view in (1, 2)
)


def dataset(*protocols, clips=CLIPS):
    return Dataset("made", clips, ("a", "b", "c"), {protocol.name: protocol for protocol in protocols})


def subjects(ids):
    return {clip.subject for clip in CLIPS if clip.id in ids}


def test_by_values_trains_on_the_values_given_and_tests_on_all_others():
    (split,) = dataset(by_values("cross-subject", "", "subject", ("1", "3", "5", "99"))).splits()
    assert split.name == "cross-subject"
    assert subjects(split.train) == {"1", "3", "5"}
    assert len(split.train) + len(split.test) == len(CLIPS)
    assert not set(split.train) & set(split.test)


def test_leave_one_out_has_a_split_per_value_in_natural_order():
    splits = dataset(leave_one_out("loso", "")).splits()
    assert [split.name for split in splits] == [str(i) for i in range(1, 11)]
    assert all(subjects(split.test) == {split.name} and split.name not in subjects(split.train) for split in splits)


def test_leave_one_out_by_classes_holds_only_their_clips():
    splits = dataset(leave_one_out("rooms", "", "view", {"kitchen": (0, 2), "office": (1, 2)})).splits()
    assert [split.name for split in splits] == ["kitchen/1", "kitchen/2", "office/1", "office/2"]
    assert splits[0].classes == (0, 2)
    assert {clip_id[:2] for clip_id in splits[0].train + splits[0].test} == {"a0", "a2"}
    assert {clip_id[-1] for clip_id in splits[0].test} == {"1"}


def test_listed_leaves_out_what_is_not_at_hand_and_unlabelled_clips():
    clips = (Clip("x", label=0), Clip("y", label=1), Clip("z"))
    (split,) = dataset(listed("official", "", {"1": (["x", "z"], ["y", "absent"])}), clips=clips).splits()
    assert (split.name, split.train, split.test) == ("1", ("x",), ("y",))


def test_a_clip_listed_on_both_sides_is_an_error():
    with pytest.raises(ProtocolError, match=r"train and test, such as 'a0_s1_v1'"):
        dataset(listed("official", "", {"1": (["a0_s1_v1"], ["a0_s1_v1", "a0_s2_v1"])})).splits()


@pytest.mark.parametrize("protocol", [by_values("p", "", "setup", ("1",)), leave_one_out("p", "", "setup")])
def test_clips_that_do_not_say_the_attribute_are_an_error(protocol):
    with pytest.raises(ProtocolError, match="60 of 60 clips do not say their setup, such as"):
        dataset(protocol).splits()


def test_a_protocol_that_leaves_a_part_empty_is_an_error():
    with pytest.raises(ProtocolError, match="0 clips train and 60 test"):
        dataset(by_values("p", "", "subject", ("99",))).splits()


def test_protocols_can_be_sent_to_another_process():
    for protocol in (by_values("p", "", "view", ("1",)), leave_one_out("p", ""), listed("p", "", {"1": (["a0_s1_v1"], ["a0_s2_v1"])})):
        assert pickle.loads(pickle.dumps(protocol)).make(CLIPS) == protocol.make(CLIPS)


HALF = Split("p", tuple(clip.id for clip in CLIPS if int(clip.subject) <= 8), tuple(clip.id for clip in CLIPS if int(clip.subject) > 8))


def test_validation_takes_whole_subjects_of_the_training_part():
    cut = cut_validation(HALF, CLIPS)
    assert len(subjects(cut.val)) == 2  # a quarter of eight
    assert not subjects(cut.val) & subjects(cut.train)
    assert set(cut.val) | set(cut.train) == set(HALF.train)
    assert cut.test == HALF.test and cut.name == HALF.name
    assert cut == cut_validation(HALF, CLIPS)
    assert len({cut_validation(HALF, CLIPS, seed=seed).val for seed in range(10)}) > 3


@pytest.mark.parametrize(("by", "share", "moved"), [("subject", 0.001, 1), ("subject", 0.999, 7), ("group", 0.25, 1), ("view", 0.5, 1)])
def test_at_least_one_value_moves_and_one_stays(by, share, moved):
    cut = cut_validation(HALF, CLIPS, by=by, share=share)
    of = {clip.id: getattr(clip, by) for clip in CLIPS}
    assert len({of[i] for i in cut.val}) == moved
    assert not {of[i] for i in cut.val} & {of[i] for i in cut.train}
    assert cut.train


def test_every_class_keeps_training_clips():
    clips = [*CLIPS, Clip("rare", label=3, subject="2")]
    split = Split("p", tuple(clip.id for clip in clips if clip.subject in ("1", "2")), HALF.test)
    for seed in range(6):
        assert "rare" in cut_validation(split, clips, share=0.5, seed=seed).train


def test_single_clips_are_drawn_class_by_class():
    cut = cut_validation(HALF, CLIPS, by="clip")
    assert [sum(i.startswith(f"a{label}") for i in cut.val) for label in range(3)] == [4, 4, 4]
    assert set(cut.val) | set(cut.train) == set(HALF.train)


def test_a_split_that_has_a_validation_part_keeps_it():
    cut = cut_validation(HALF, CLIPS)
    assert cut_validation(cut, CLIPS, seed=5) is cut


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        (Split("p", ("a0_s1_v1", "a1_s1_v1"), ("a0_s2_v1",)), {}, "trains on 1 subject; two are needed"),
        (Split("p", ("a0_s1_v1", "a1_s2_v1"), ("a0_s3_v1",)), {}, "no subject can validate"),
        (Split("p", ("a0_s1_v1", "a1_s2_v1"), ("a0_s3_v1",)), {"by": "clip"}, "no clip can validate"),
        (HALF, {"by": "setup"}, "do not say their setup"),
        (HALF, {"share": 1.5}, "share is 1.5; a fraction between 0 and 1"),
    ],
)
def test_validation_that_cannot_be_cut_is_an_error(split, options, message):
    with pytest.raises(ProtocolError, match=message):
        cut_validation(split, CLIPS, **options)


@pytest.mark.parametrize(
    ("by", "keys"), [("subject", ("subject", "subject")), ("subject+group", ("subject", "group")), ("clip+view", ("clip", "view"))]
)
def test_several_data_sets_have_one_key_for_their_validation_or_one_each(by, keys):
    assert tuple(validation_keys(by, ["a", "b"]).items()) == (("a", keys[0]), ("b", keys[1]))


@pytest.mark.parametrize(
    ("by", "message"),
    [("subject+group", "2 keys for 3 data sets"), ("subjects", "unknown key 'subjects'.*subject"), ("", "unknown key ''")],
)
def test_a_key_that_validation_cannot_be_cut_by_is_an_error(by, message):
    with pytest.raises(ProtocolError, match=message):
        validation_keys(by, ["a", "b", "c"])


def test_lists_may_name_clips_that_validate():
    lists = listed("official", "", {"1": (["a0_s1_v1"], ["a0_s2_v1"])}, {"1": ["a0_s3_v1", "absent"]})
    (split,) = dataset(lists).splits()
    assert (split.train, split.test, split.val) == (("a0_s1_v1",), ("a0_s2_v1",), ("a0_s3_v1",))
    with pytest.raises(ProtocolError, match="train and test"):
        dataset(listed("official", "", {"1": (["a0_s1_v1"], ["a0_s2_v1"])}, {"1": ["a0_s2_v1"]})).splits()


def test_regardless_keeps_the_sizes_of_each_class_and_mixes_the_groups():
    official = by_values("official", "", "group", ("g0", "g1"))
    apart, mixed = (dataset(protocol).splits()[0] for protocol in (official, regardless("random", "", official)))
    assert not leaking(apart, CLIPS) and len(leaking(mixed, CLIPS)) > 0.9 * len(mixed.test)
    assert Counter(i[:2] for i in mixed.test) == Counter(i[:2] for i in apart.test)
    assert {*mixed.train} | {*mixed.test} == {*apart.train} | {*apart.test} and not {*mixed.train} & {*mixed.test}


def test_validation_clips_leak_as_training_clips_do_and_clips_without_a_group_never():
    clips = (Clip("a", label=0, group="g"), Clip("b", label=0, group="g"), Clip("c", label=0), Clip("d", label=0))
    assert leaking(Split("s", train=("c",), val=("a",), test=("b", "d")), clips) == ("b",)
    assert leak_note(1, 2) == "leak: 1 of 2 test clips are cut from recordings that train"
