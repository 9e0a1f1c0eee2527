"""From probabilities over time to actions: smoothing, two thresholds, least duration."""

import numpy as np
import pytest

from kinema.errors import KinemaError
from kinema.recognition.episodes import Episodes, Rule

SHARP = Rule(enter=0.6, leave=0.4, least=0.0, smoothing=0.0)


def run(rule, shares, step=0.1):
    """Episodes that end, and the one that goes on, of a stream of (seconds, share of class 0, share of class 1) or None parts."""
    episodes, found, time = Episodes(3, rule), [], 0.0
    for seconds, *share in shares:
        for _ in range(round(seconds / step)):
            answer = None if share == [None] else np.array([*share, 1 - sum(share)])
            closed, _ = episodes.update(time, answer)
            found += [closed] if closed else []
            time += step
    return found, episodes


def test_two_thresholds_keep_an_action_that_wavers():
    found, _ = run(SHARP, [(1, 0.3, 0.3), (1, 0.7, 0.0), (1, 0.45, 0.1), (1, 0.7, 0.0), (1, 0.3, 0.3)])
    assert [(each.index, round(each.start, 1), round(each.end, 1)) for each in found] == [(0, 1.0, 4.0)]
    # 30 steps: 1 s of .7 (less its first step), 1 s of .45, 1 s of .7
    assert found[0].confidence == pytest.approx((0.7 * 19 + 0.45 * 10) / 29)


def test_what_is_shorter_than_the_least_is_no_action():
    rule = Rule(enter=0.6, leave=0.4, least=0.5, smoothing=0.0)
    found, episodes = run(rule, [(1, 0.3, 0.3), (0.4, 0.9, 0.0), (1, 0.3, 0.3)])
    assert found == [] and episodes.open is None
    found, episodes = run(rule, [(1, 0.3, 0.3), (0.7, 0.9, 0.0), (1, 0.3, 0.3)])
    assert [(each.index, round(each.start, 1), round(each.end, 1)) for each in found] == [(0, 1.0, 1.7)]


def test_one_action_follows_another_without_overlap():
    rule = Rule(enter=0.6, leave=0.1, least=0.3, smoothing=0.0)
    found, episodes = run(rule, [(1, 0.9, 0.0), (1, 0.2, 0.8)])
    assert [(each.index, round(each.start, 1), round(each.end, 1)) for each in found] == [(0, 0.0, 1.0)]
    assert episodes.open.index == 1 and episodes.open.start == pytest.approx(1.0)


def test_nothing_known_ends_an_action_in_the_time_of_the_smoothing():
    rule = Rule(enter=0.6, leave=0.4, least=0.0, smoothing=1.0)
    found, _ = run(rule, [(5, 1.0, 0.0), (5, None)], step=0.01)
    assert found[0].end - 5 == pytest.approx(np.log(1 / 0.4), abs=0.05)


@pytest.mark.parametrize("step", [0.01, 0.05, 0.2])
def test_smoothing_is_in_seconds_whatever_the_rate(step):
    _, episodes = run(Rule(smoothing=1.0), [(2, 0.0, 1.0), (1, 1.0, 0.0)], step)
    assert episodes.shares[0] == pytest.approx(1 - np.exp(-1), abs=0.02)
    assert episodes.shares.sum() == pytest.approx(1)


def test_the_first_answer_counts_as_it_is():
    _, episodes = run(Rule(smoothing=10.0), [(0.1, 0.8, 0.1)])
    assert episodes.shares == pytest.approx([0.8, 0.1, 0.1])


@pytest.mark.parametrize(
    "wrong", [{"enter": 0.3, "leave": 0.4}, {"leave": 0}, {"enter": 1.1}, {"least": -1}, {"smoothing": float("nan")}, {"least": 1e9}]
)
def test_impossible_rules_are_refused(wrong):
    with pytest.raises(KinemaError, match="expected"):
        Rule(**wrong)
