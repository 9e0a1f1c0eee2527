"""Scores by window, clip, fold and seed add up; Cornell's convention gives figures worked out by hand."""

import numpy as np
import pytest

from kinema.errors import DataError
from kinema.evaluation.cornell import cornell, cornell_joint
from kinema.evaluation.scores import Scores, load_scores, pool
from kinema.evaluation.summary import combine_folds, combine_seeds, scores_row


def scores(answers, labels, clip=None, classes=("a", "b", "c"), unit="clips"):
    """Scores whose most probable classes are `answers`."""
    probabilities = np.full((len(answers), len(classes)), 0.4 / (len(classes) - 1))
    probabilities[np.arange(len(answers)), answers] = 0.6
    clip = np.arange(len(answers)) if clip is None else np.array(clip)
    ids = tuple(f"clip{i}" for i in range(clip.max() + 1))
    return Scores(probabilities, np.array(labels), clip, ids, tuple(classes), unit)


def test_clips_average_their_windows():
    windows = scores([0, 0, 1, 2], [0, 0, 0, 2], [0, 0, 0, 1], unit="windows")
    clips = windows.by_clip()
    assert clips.unit == "clips" and len(clips) == 2
    assert clips.correct.tolist() == [True, True] and clips.labels.tolist() == [0, 2]
    np.testing.assert_allclose(clips.probabilities[0], [(0.6 + 0.6 + 0.2) / 3, (0.2 + 0.2 + 0.6) / 3, 0.2])


def test_clips_are_left_out_by_name():
    left = scores([0, 1, 2, 0], [0, 1, 2, 1], [0, 1, 1, 2], unit="windows").without(["clip1"])
    assert left.clip_ids == ("clip0", "clip2") and left.labels.tolist() == [0, 1] and left.clip.tolist() == [0, 1]


def test_restricting_the_classes_takes_away_what_is_impossible():
    whole = scores([1, 2, 0], [0, 2, 1])
    part = whole.restrict(["c", "a"])
    assert part.classes == ("a", "c") and part.clip_ids == ("clip0", "clip1") and part.labels.tolist() == [0, 1]
    np.testing.assert_allclose(part.probabilities, [[0.5, 0.5], [0.25, 0.75]])
    with pytest.raises(DataError, match="no class"):
        whole.restrict(["a", "x"])


def test_scores_are_read_as_they_were_written(tmp_path):
    kept = scores([0, 1, 1], [0, 1, 2], [0, 0, 1], unit="windows")
    found = load_scores(kept.save(tmp_path / "s.npz"))
    assert (found.clip_ids, found.classes, found.unit) == (kept.clip_ids, kept.classes, kept.unit)
    for name in ("probabilities", "labels", "clip"):
        np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))


def test_a_file_that_holds_no_scores_is_refused(tmp_path):
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("no scores")
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    np.savez(tmp_path / "objects.npz", probabilities=np.array([{}], object))
    good = scores([0], [0]).save(tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(good[:-40])
    fields = {"probabilities": np.full((2, 2), 0.5), "labels": np.array([0, 5]), "clip": np.arange(2)}
    np.savez(tmp_path / "label.npz", **fields, clip_ids=np.array(["x", "y"]), classes=np.array(["a", "b"]), unit=np.array("clips"))
    for name in ("empty", "text", "other", "objects", "cut", "label", "none"):
        with pytest.raises(DataError, match=name):
            load_scores(tmp_path / f"{name}.npz")


def test_folds_are_pooled_and_averaged():
    folds = {"1": scores([0, 1, 2, 2], [0, 1, 2, 0]), "2": scores([0, 0], [1, 0])}
    found = combine_folds(folds)
    assert found["n"] == 6 and found["top1"] == pytest.approx(4 / 6)
    assert found["by_fold"]["top1"]["runs"] == [0.75, 0.5] and found["by_fold"]["top1"]["mean"] == 0.625
    assert np.array(found["confusion"]).sum() == 6
    assert (np.array(found["confusion"]) == sum(np.array(fold["confusion"]) for fold in found["folds"])).all()
    assert [fold["fold"] for fold in found["folds"]] == ["1", "2"] and "clips" not in found


def test_folds_of_windows_are_pooled_by_clip_too():
    folds = {name: scores([0, 0, 1], [0, 0, 0], [0, 0, 0], unit="windows") for name in "12"}
    found = combine_folds(folds)
    assert found["unit"] == "windows" and found["top1"] == pytest.approx(2 / 3)
    assert found["clips"]["n"] == 2 and found["clips"]["top1"] == 1


def test_parts_of_different_kind_are_not_pooled():
    with pytest.raises(DataError, match="pooled"):
        pool([scores([0], [0]), scores([0], [0], classes=("a", "b"))])
    with pytest.raises(DataError, match="no folds"):
        combine_folds({})


def test_seeds_are_summarised_by_mean_and_deviation():
    runs = [scores([0, 1], [0, 1]).metrics(), scores([0, 0], [0, 1]).metrics()]
    found = combine_seeds(runs)
    assert found["top1"] == {"mean": 0.75, "std": pytest.approx(np.std([1, 0.5], ddof=1)), "runs": [1, 0.5]}
    with pytest.raises(DataError, match="same"):
        combine_seeds([runs[0], scores([0], [0]).metrics()])


def test_rows_of_results_are_made_from_scores():
    row = scores_row("x", "d", "p", {0: scores([0, 1], [0, 1]), 7: scores([0, 0], [0, 1])}, 10, published=0.5)
    assert row["seeds"] == [0, 7] and row["top1"]["runs"] == [1, 0.5] and row["n_train"] == 10 and row["n_test"] == 2
    assert row["published"] == 0.5 and row["mean_class"]["runs"] == [1, 0.5]
    windows = {name: scores([0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], unit="windows") for name in "12"}
    folded = scores_row("x", "d", "p", {0: windows}, {"1": 5, "2": 7})
    assert folded["unit"] == "windows" and folded["n_test"] == 8 and folded["n_train"] == 6 and folded["top1"]["mean"] == 0.5
    clips = scores_row("x", "d", "p", {0: windows}, {"1": 5, "2": 7}, by_clip=True)
    assert clips["unit"] == "clips" and clips["n_test"] == 4 and clips["top1_by_fold"]["mean"] == 0.5
    assert "clean" not in row
    apart = scores_row("x", "d", "p", {0: scores([0, 1, 1], [0, 1, 2]), 1: scores([0, 0, 2], [0, 1, 2])}, 9, copies=["clip0"])
    assert apart["clean"]["n_test"] == 2 and apart["clean"]["runs"] == [0.5, 0.5] and apart["n_test"] == 3
    by_fold = scores_row("x", "d", "p", {0: windows}, {"1": 5, "2": 7}, copies={"2": ["clip1"]})
    assert by_fold["clean"]["n_test"] == 7 and by_fold["clean"]["mean"] == pytest.approx(4 / 7)
    with pytest.raises(DataError, match="seed 0 has the folds"):
        scores_row("x", "d", "p", {0: {"1": windows["1"]}}, {"1": 5, "2": 7})


def test_cornells_figures_are_means_over_environments():
    folds = {
        "kitchen/1": scores([0, 1], [0, 1], classes=("drink", "cook")),
        "kitchen/2": scores([0, 0], [0, 1], classes=("drink", "cook")),
        "office/1": scores([0, 1, 1], [0, 1, 0], classes=("drink", "write")),
    }
    found = cornell(folds)
    assert [room["environment"] for room in found["environments"]] == ["kitchen", "office"]
    # Kitchen: drink 2 of 2 with one false, cook 1 of 2; office: drink 1 of 2, write 1 of 1 with one false.
    assert found["precision"] == pytest.approx(((2 / 3 + 1) / 2 + (1 + 1 / 2) / 2) / 2)
    assert found["recall"] == pytest.approx(((1 + 1 / 2) / 2 + (1 / 2 + 1) / 2) / 2)
    assert found["top1"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    with pytest.raises(DataError, match="environment/person"):
        cornell({"kitchen": folds["kitchen/1"]})


def test_one_model_of_all_activities_is_told_the_environment():
    joint = scores([0, 1, 1], [0, 1, 2], classes=("drink", "cook", "write"))
    found = cornell_joint(joint, {"kitchen": ["drink", "cook"], "office": ["drink", "write"]})
    kitchen, office = found["environments"]
    assert kitchen["n"] == 2 and kitchen["top1"] == 1 and kitchen["classes"] == ["drink", "cook"]
    # "write" was answered with "cook"; without "cook" the two that are left are equal, and the first is taken.
    assert office["n"] == 2 and office["confusion"] == [[1, 0], [1, 0]]
