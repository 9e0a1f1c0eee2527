"""Superclasses from a confusion matrix: balanced, as good as a plain search and, on small cases, as good as can be."""

import itertools

import numpy as np
import pytest

from kinema.errors import DataError
from kinema.evaluation.superclasses import (
    annealing,
    build_hierarchy,
    division_cost,
    edge_costs,
    random_divisions,
    swap_descent,
)


def confusions(classes: int, seed: int = 0, rate: float = 0.4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(rate, (classes, classes)) + 20 * np.eye(classes, dtype=int)


def names(count: int) -> list[str]:
    return [f"class {i}" for i in range(count)]


def plain_descent(costs: np.ndarray, division: np.ndarray) -> np.ndarray:
    """The published search, one pair after the other: swap the pair that lowers the cost most, until none does."""
    division = division.copy()
    while True:
        now, best, pair = division_cost(costs, division), 0.0, None
        for i, j in itertools.combinations(range(len(division)), 2):
            other = division.copy()
            other[[i, j]] = other[[j, i]]
            saved = now - division_cost(costs, other)
            if saved > best:
                best, pair = saved, (i, j)
        if pair is None:
            return division
        division[list(pair)] = division[list(pair)[::-1]]


def all_divisions(classes: int, count: int):
    """Every division into superclasses whose sizes differ by one at most, each once."""
    size, larger = divmod(classes, count)

    def fill(place: int, division: list[int]):
        if place == classes:
            sizes = np.bincount(division, minlength=count)
            if sizes.min() >= size and sizes.max() <= size + (larger > 0):
                yield np.array(division)
            return
        for group in range(min(count, max(division, default=-1) + 2)):
            if division.count(group) < size + (larger > 0):
                yield from fill(place + 1, [*division, group])

    yield from fill(0, [])


@pytest.mark.parametrize(("classes", "count"), [(12, 2), (12, 3), (12, 6), (10, 4), (11, 3), (9, 9)])
@pytest.mark.parametrize("whole", [True, False])
def test_never_worse_than_the_plain_search_from_the_same_start(classes, count, whole):
    matrix = confusions(classes, seed=classes * count)
    costs = edge_costs(matrix if whole else matrix * np.random.default_rng(1).random(matrix.shape), classes)
    starts = random_divisions(classes, count, 6, np.random.default_rng(3))
    divisions, found = swap_descent(costs, starts)
    for start, division, cost in zip(starts, divisions, found, strict=True):
        plain = plain_descent(costs, start)
        assert cost == pytest.approx(division_cost(costs, division))
        assert cost <= division_cost(costs, plain) + 1e-9
        if whole and classes % count == 0:
            np.testing.assert_array_equal(division, plain)


@pytest.mark.parametrize("optimiser", ["swap", "annealing"])
@pytest.mark.parametrize(("classes", "count"), [(8, 2), (8, 4), (9, 3), (8, 3), (7, 2), (10, 4)])
def test_the_best_of_all_divisions_is_found(classes, count, optimiser):
    matrix = confusions(classes, seed=classes + count)
    costs = edge_costs(matrix, classes)
    best = min(division_cost(costs, division) for division in all_divisions(classes, count))
    hierarchy = build_hierarchy(matrix, names(classes), [count], restarts=50, optimiser=optimiser)
    assert hierarchy.costs == (best,)
    assert division_cost(costs, hierarchy.levels[0]) == best


@pytest.mark.parametrize("classes", [21, 27])
def test_sizes_differ_by_one_at_most_whatever_the_number(classes):
    hierarchy = build_hierarchy(confusions(classes), names(classes), [2, 4, 5, 10], restarts=20)
    assert hierarchy.counts == (2, 4, 5, 10)
    for level in hierarchy.levels:
        sizes = np.bincount(level)
        assert sizes.max() - sizes.min() <= 1


def test_a_level_of_all_classes_is_each_class_by_itself():
    assert build_hierarchy(confusions(5), names(5), [5]).levels == ((0, 1, 2, 3, 4),)


def test_classes_that_are_confused_go_together():
    matrix = np.kron(np.eye(3, dtype=int), np.ones((4, 4), int)) + confusions(12, rate=0.05)
    order = np.random.default_rng(0).permutation(12)
    hierarchy = build_hierarchy(matrix[np.ix_(order, order)], [f"{i // 4}{i % 4}" for i in order], [3], restarts=20)
    assert all(len({name[0] for name in members}) == 1 for members in hierarchy.members(0))


def test_the_same_seed_gives_the_same_superclasses_and_a_level_does_not_depend_on_the_others():
    matrix = confusions(20, rate=0.2)
    one, two = (build_hierarchy(matrix, names(20), [2, 5], restarts=30, seed=4) for _ in range(2))
    assert one == two
    assert build_hierarchy(matrix, names(20), [2], restarts=30, seed=4).levels[0] == one.levels[0]


def test_optimisers_do_alike():
    costs = edge_costs(confusions(40, rate=0.3), 40)
    starts = random_divisions(40, 8, 60, np.random.default_rng(0))
    swaps, cooled = swap_descent(costs, starts)[1], annealing(costs, starts, np.random.default_rng(1))[1]
    assert abs(swaps.min() - cooled.min()) <= 0.02 * swaps.min()


def test_costs_do_not_depend_on_which_way_classes_are_confused():
    matrix = confusions(10)
    assert build_hierarchy(matrix, names(10), [2], restarts=9).levels == build_hierarchy(matrix.T, names(10), [2], restarts=9).levels


@pytest.mark.parametrize(
    ("matrix", "classes", "counts", "message"),
    [
        (np.ones((3, 4)), 3, [2], "shape"),
        (np.ones((3, 3)), 4, [2], "4 class names"),
        (np.ones((1, 1)), 1, [1], "at least 2"),
        (np.zeros((4, 4)), 4, [2], "empty"),
        (np.zeros((0, 0)), 0, [2], "at least 2"),
        (np.eye(4), 4, [2], "no two classes are confused"),
        (np.array([[1, -1], [0, 1]]), 2, [2], "row 1, column 2: -1"),
        (np.array([[1, np.nan], [0, 1]]), 2, [2], "row 1, column 2: nan"),
        (np.array([["a", "b"], ["c", "d"]]), 2, [2], "of numbers"),
        (np.ones((4, 4)), 4, [5], "5 superclasses of 4 classes"),
        (np.ones((4, 4)), 4, [1], "1 superclasses of 4"),
        (np.ones((4, 4)), 4, [], "no number of superclasses"),
        (np.ones((4, 4)), 4, [4, 2], "as many as the one before"),
    ],
)
def test_what_is_no_confusion_of_these_classes_is_refused(matrix, classes, counts, message):
    with pytest.raises(DataError, match=message):
        build_hierarchy(matrix, names(classes), counts, restarts=3)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="restarts is 0"):
        build_hierarchy(confusions(4), names(4), [2], restarts=0)
    with pytest.raises(DataError, match=r"unknown optimiser 'swaps'; did you mean 'swap'"):
        build_hierarchy(confusions(4), names(4), [2], optimiser="swaps")
