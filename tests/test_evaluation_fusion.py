"""Score-level fusion: what the rules do to probabilities, how scores are put side by side, what is learned from validation."""

from dataclasses import replace

import numpy as np
import pytest

from kinema.errors import DataError
from kinema.evaluation.fusion import align, learn, validated
from kinema.evaluation.scores import Scores
from kinema.fused import RULES, Fusion

CLASSES = ("drink", "wave", "walk", "sit")
NAN = np.nan
LEARNED = {"weighted": {"weights": (0.7, 0.3)}, "stacked": {"weights": (1.2, 0.4), "bias": (0.1, 0.0, -0.2, 0.3)}}


def fusion_of(rule: str) -> Fusion:
    return Fusion(rule, **LEARNED.get(rule, {}))


def answers(skill: float, seed: int = 0, n: int = 60) -> Scores:
    """Probabilities of a member that is the better the greater its `skill`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASSES)
    logits = rng.normal(size=(n, len(CLASSES))) + skill * np.eye(len(CLASSES))[labels]
    p = np.exp(logits)
    return Scores(p / p.sum(1, keepdims=True), labels, np.arange(n), tuple(f"c{i}" for i in range(n)), CLASSES)


def windows(clip: list[int], seed: int = 0) -> Scores:
    scores, clip = answers(1, seed, len(clip)), np.array(clip)
    return replace(scores, clip=clip, labels=clip % 2, clip_ids=tuple(f"c{i}" for i in range(clip.max() + 1)), unit="windows")


@pytest.mark.parametrize("rule", RULES)
def test_answers_are_probabilities(rule):
    p = np.stack([answers(2, seed).probabilities for seed in (1, 2)])
    fused = fusion_of(rule)(p)
    assert fused.shape == p.shape[1:] and (fused >= 0).all()
    np.testing.assert_allclose(fused.sum(1), 1)


@pytest.mark.parametrize("rule", ["average", "product", "maximum", "weighted"])
def test_a_member_fused_with_itself_stays_what_it_was(rule):
    p = answers(2).probabilities
    np.testing.assert_allclose(fusion_of(rule)(np.stack([p, p])), p, atol=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_members_does_not_matter(rule):
    val = {name: answers(skill, seed) for name, skill, seed in (("a", 3, 1), ("b", 1, 2), ("c", 2, 3))}
    test = {name: answers(skill, seed) for name, skill, seed in (("a", 3, 4), ("b", 1, 5), ("c", 2, 6))}
    fused = []
    for order in ("abc", "cab"):
        fusion = learn(rule, align({name: val[name] for name in order}))
        fused.append(align({name: test[name] for name in order}).fused(fusion).probabilities)
    np.testing.assert_allclose(*fused, atol=1e-5)


def test_the_rules_do_what_their_names_say():
    p = np.array([[[0.6, 0.3, 0.1]], [[0.2, 0.7, 0.1]]])
    one, other = p[:, 0]
    geometric = np.sqrt(one * other)
    larger = np.maximum(one, other)
    for fusion, expected in (
        (Fusion("average"), (one + other) / 2),
        (Fusion("product"), geometric / geometric.sum()),
        (Fusion("maximum"), larger / larger.sum()),
        (Fusion("weighted", (0.9, 0.1)), 0.9 * one + 0.1 * other),
        (Fusion("stacked", (1.0, 1.0), (0.0, 0.0, 0.0)), one * other / (one * other).sum()),
    ):
        np.testing.assert_allclose(fusion(p)[0], expected)


def test_the_product_is_the_average_of_logarithms_and_one_zero_is_no_veto():
    p = np.stack([answers(2, seed).probabilities for seed in (1, 2, 3)])
    fused, mean = Fusion("product")(p), np.log(p).mean(0)
    np.testing.assert_allclose(np.log(fused) - np.log(fused[:, :1]), mean - mean[:, :1])
    sure = np.array([[[1.0, 0.0]], [[1e-4, 1 - 1e-4]], [[1e-4, 1 - 1e-4]]])
    assert Fusion("product")(sure)[0].argmax() == 1


@pytest.mark.parametrize("rule", RULES)
def test_where_a_member_is_missing_the_others_answer(rule):
    p = np.stack([answers(2, seed).probabilities for seed in (1, 2)])
    fusion, whole = fusion_of(rule), p.copy()
    p[0, 3] = NAN
    fused = fusion(p)
    np.testing.assert_allclose(np.delete(fused, 3, 0), np.delete(fusion(whole), 3, 0))
    alone = Fusion("stacked", fusion.weights[1:], fusion.bias)(p[1:])[3] if rule == "stacked" else p[1, 3]
    np.testing.assert_allclose(fused[3], alone)
    p[1, 3] = NAN
    with pytest.raises(DataError, match="sample 3: no member"):
        fusion(p)


def test_members_that_weigh_nothing_answer_where_they_are_alone():
    p = np.array([[[NAN, NAN]], [[0.2, 0.8]]])
    np.testing.assert_allclose(Fusion("weighted", (1.0, 0.0))(p), [[0.2, 0.8]])
    np.testing.assert_allclose(Fusion("stacked", (1.0, 0.0), (0.0, 0.0))(p), [[0.2, 0.8]])


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": "mean"},
        {"rule": "weighted"},
        {"rule": "average", "weights": (0.5, 0.5)},
        {"rule": "weighted", "weights": (0.5, 0.6)},
        {"rule": "weighted", "weights": (1.5, -0.5)},
        {"rule": "stacked", "weights": (1.0, 1.0)},
        {"rule": "stacked", "weights": (1.0, NAN), "bias": (0.0,)},
    ],
)
def test_a_rule_that_is_none_is_refused(wrong):
    with pytest.raises(DataError):
        Fusion(**wrong)


def test_weights_find_the_better_of_two_and_lean_to_the_middle_with_few_clips():
    for n, least in ((200, 0.85), (24, 0.6)):
        weights = learn("weighted", align({"good": answers(4, 1, n), "noise": answers(0, 2, n)})).weights
        assert weights[0] > least and sum(weights) == pytest.approx(1)
    assert learn("weighted", align({"one": answers(2), "same": answers(2)})).weights == pytest.approx((0.5, 0.5))


def test_weights_found_are_the_best_there_are():
    from kinema.evaluation.fusion import PRIOR

    val = align({"a": answers(2, 1), "b": answers(1.5, 2)})
    of_truth = val.probabilities[:, np.arange(len(val)), val.labels]

    def objective(w: float) -> float:
        return np.log(w * of_truth[0] + (1 - w) * of_truth[1]).sum() + PRIOR / 2 * (np.log(w) + np.log(1 - w))

    grid = np.linspace(0.001, 0.999, 999)
    assert learn("weighted", val).weights[0] == pytest.approx(grid[np.argmax([objective(w) for w in grid])], abs=2e-3)


@pytest.mark.parametrize("rule", ["weighted", "stacked"])
def test_what_is_learned_is_no_worse_than_the_average_on_new_clips(rule):
    fusion = learn(rule, align({"good": answers(3, 1, 100), "noise": answers(0, 2, 100)}))
    test = align({"good": answers(3, 3, 400), "noise": answers(0, 4, 400)})
    assert test.fused(fusion).metrics()["loss"] < test.fused(Fusion("average")).metrics()["loss"]
    assert fusion.weights[0] > 3 * fusion.weights[1]


def test_stacking_takes_overconfidence_back():
    sure = answers(1, 1, 200)
    p = sure.probabilities**4
    sure = replace(sure, probabilities=p / p.sum(1, keepdims=True))
    fused = align({"sure": sure}).fused(learn("stacked", align({"sure": sure})))
    assert fused.metrics()["loss"] < sure.metrics()["loss"]


@pytest.mark.parametrize("rule", RULES)
def test_a_rules_figure_on_validation_is_of_clips_that_it_did_not_learn_from(rule):
    good, noise = answers(4, 1, 100), answers(0, 2, 100)
    assert validated(rule, align({"good": good, "noise": noise})) > noise.correct.mean() + 0.3
    # Labels without any relation to the answers: whoever learned from them by heart would be right more often than chance.
    random = replace(noise, labels=np.random.default_rng(5).integers(0, 4, 100))
    assert validated(rule, align({"one": random, "other": replace(random, probabilities=good.probabilities[::-1])})) < 0.45


@pytest.mark.parametrize("rule", ["weighted", "stacked"])
def test_nothing_is_learned_without_validation(rule):
    with pytest.raises(DataError, match="validation clips"):
        learn(rule)


def test_classes_are_matched_by_name_and_clips_by_id():
    one = answers(2)
    order, classes = np.random.default_rng(0).permutation(len(one)), [2, 0, 3, 1]
    other = Scores(
        one.probabilities[order][:, classes],
        np.argsort(classes)[one.labels[order]],
        np.arange(len(one)),
        tuple(one.clip_ids[i] for i in order),
        tuple(one.classes[k].upper() for k in classes),
    )
    both = align({"one": one, "other": other})
    np.testing.assert_array_equal(both.probabilities[0], both.probabilities[1])
    np.testing.assert_array_equal(both.labels, one.labels)
    assert both.clip_ids == one.clip_ids and both.missing == {"one": 0, "other": 0}


def test_windows_are_matched_by_their_order_in_the_clip():
    one = windows([0, 0, 1, 1, 1])
    order = [2, 0, 3, 1, 4]
    other = replace(one, probabilities=one.probabilities[order], labels=one.labels[order], clip=one.clip[order])
    both = align({"one": one, "other": other})
    np.testing.assert_array_equal(both.probabilities[0], both.probabilities[1])
    np.testing.assert_allclose(both.by_clip().probabilities[0], one.by_clip().probabilities)
    assert both.by_clip().unit == "clips" and both.unit == "windows"


def test_clips_that_only_some_answered_are_refused_kept_or_dropped():
    one, other = answers(2), answers(2, 1).without(["c3", "c7"])
    with pytest.raises(DataError, match="2 clips are not in all scores: other lacks 'c3'"):
        align({"one": one, "other": other})
    kept = align({"other": other, "one": one}, "allow")
    assert len(kept) == len(one) and kept.missing == {"other": 2, "one": 0}
    assert len(kept.by_clip()) == len(one) and kept.by_clip().missing == kept.missing
    dropped = align({"one": one, "other": other}, "drop")
    assert dropped.clip_ids == other.clip_ids and dropped.missing == {"one": 0, "other": 0}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: replace(s, classes=("drink", "wave", "walk", "lie")), "not all have lie"),
        (lambda s: replace(s, labels=(s.labels + 1) % 4), "clip 'c0' shows 'drink' according to one and 'wave' according to other"),
        (lambda s: replace(s, clip_ids=tuple(f"d{i}" for i in range(len(s)))), "no clip in common"),
        (lambda s: replace(s, unit="windows"), "by clip"),
        (lambda s: replace(s, clip_ids=("c1", *s.clip_ids[1:])), "occurs twice"),
    ],
)
def test_scores_that_do_not_belong_together_are_refused_in_one_line(change, says):
    one = answers(2)
    with pytest.raises(DataError, match=says) as error:
        align({"one": one, "other": change(one)})
    assert "\n" not in str(error.value)


def test_another_count_of_windows_is_refused():
    with pytest.raises(DataError, match="clip 'c0' has 2 samples in one and 3 in other"):
        align({"one": windows([0, 0, 1]), "other": windows([0, 0, 0, 1])})
