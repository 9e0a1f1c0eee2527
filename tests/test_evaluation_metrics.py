"""Metrics agree with scikit-learn and with figures worked out by hand; intervals with published examples."""

import numpy as np
import pytest
import sklearn.metrics as sk

from kinema.errors import DataError
from kinema.evaluation.intervals import mcnemar, wilson
from kinema.evaluation.metrics import clip_scores, evaluate_scores


def scores(n=300, k=7, seed=0, classes_present=None):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes_present if classes_present is not None else k, n)
    logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[labels]
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(1, keepdims=True), labels


@pytest.mark.parametrize("present", [None, (0, 2, 3, 6)], ids=["all classes", "three classes absent"])
def test_metrics_agree_with_scikit_learn(present):
    probabilities, labels = scores(classes_present=present)
    names = [f"c{i}" for i in range(7)]
    found = evaluate_scores(probabilities, labels, names)
    predicted = probabilities.argmax(1)
    seen = sorted(set(labels.tolist()))
    macro = dict(labels=seen, average="macro", zero_division=0)
    assert found["n"] == len(labels)
    assert found["top1"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert found["top5"] == pytest.approx(sk.top_k_accuracy_score(labels, probabilities, k=5, labels=range(7)))
    assert found["precision"] == pytest.approx(sk.precision_score(labels, predicted, **macro), abs=1e-6)
    assert found["recall"] == pytest.approx(sk.recall_score(labels, predicted, **macro), abs=1e-6)
    assert found["mean_class"] == found["recall"]
    assert found["f1"] == pytest.approx(sk.f1_score(labels, predicted, **macro), abs=1e-6)
    assert found["loss"] == pytest.approx(sk.log_loss(labels, probabilities, labels=range(7)))
    assert found["mse"] == pytest.approx(((probabilities - np.eye(7)[labels]) ** 2).mean())
    assert found["confusion"] == sk.confusion_matrix(labels, predicted, labels=range(7)).tolist()
    assert found["interval"] == list(wilson(found["correct"], len(labels)))
    for i, entry in enumerate(found["per_class"]):
        assert entry["class"] == names[i] and entry["n"] == (labels == i).sum()
        assert (entry["recall"] is None) == (i not in seen)
        assert sum(found["confusion"][i]) == entry["n"]
        wrong = [(c["class"], c["n"]) for c in entry["confusions"]]
        assert all(found["confusion"][i][names.index(name)] == n for name, n in wrong) and names[i] not in dict(wrong)
        assert [n for _, n in wrong] == sorted((n for _, n in wrong), reverse=True)


def test_a_class_that_is_never_predicted_has_precision_zero_and_counts():
    found = evaluate_scores(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), ["a", "b"])
    assert [entry["precision"] for entry in found["per_class"]] == [0.5, 0.0]
    assert found["precision"] == 0.25 and found["top5"] == 1.0


def test_a_certain_but_wrong_sample_has_a_finite_loss():
    assert np.isfinite(evaluate_scores(np.array([[1.0, 0.0]]), np.array([1]), ["a", "b"])["loss"])


@pytest.mark.parametrize(
    "probabilities, labels, message",
    [
        (np.zeros((0, 2)), np.zeros(0, int), "at least one sample"),
        (np.ones((3, 2)), np.zeros(3, int), "sums to 2"),
        (np.array([[np.nan, 1.0]]), np.zeros(1, int), "sample 0"),
        (np.array([[1.5, -0.5]]), np.zeros(1, int), "sample 0"),
        (np.full((2, 2), 0.5), np.array([0, 2]), "sample 1 has label 2"),
        (np.full((2, 2), 0.5), np.array([0, -1]), "sample 1 has label -1"),
        (np.full((2, 3), 1 / 3), np.array([0, 1]), "samples x 2 classes"),
        (np.full((2, 2), 0.5), np.array([0.0, 1.0]), "whole numbers"),
    ],
)
def test_a_table_that_is_no_table_of_probabilities_is_refused(probabilities, labels, message):
    with pytest.raises(DataError, match=message):
        evaluate_scores(probabilities, labels, ["a", "b"])


def test_clip_scores_are_the_mean_of_each_clips_windows():
    windows = np.array([[1.0, 0.0], [0.0, 1.0], [0.4, 0.6], [0.2, 0.8]])
    np.testing.assert_allclose(clip_scores(windows, np.array([1, 0, 1, 1])), [[0, 1], [1.6 / 3, 1.4 / 3]])
    with pytest.raises(DataError, match="clip 0 has no sample"):
        clip_scores(windows, np.array([1, 1, 1, 2]))
    with pytest.raises(DataError, match="one index a sample"):
        clip_scores(windows, np.array([0, 1]))


@pytest.mark.parametrize(
    "successes, n, low, high",
    # The first two: Newcombe 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilson_gives_the_published_intervals(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_refuses_what_is_no_proportion():
    for successes, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError):
            wilson(successes, n)


def test_mcnemar_is_the_binomial_test_over_the_clips_that_differ():
    from scipy.stats import binomtest

    first = np.array([True] * 50 + [True] * 9 + [False] * 2 + [False] * 5)
    second = np.array([True] * 50 + [False] * 9 + [True] * 2 + [False] * 5)
    found = mcnemar(first, second)
    assert (found["both"], found["only_first"], found["only_second"], found["neither"]) == (50, 9, 2, 5)
    assert found["p"] == pytest.approx(binomtest(9, 11).pvalue)
    assert mcnemar(first, first)["p"] == 1.0
