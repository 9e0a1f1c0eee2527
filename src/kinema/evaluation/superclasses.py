"""Balanced superclasses from a confusion matrix: classes that are confused go together.

Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 3.3. An edge between two classes costs what
they are confused, e_ij = c_ij + c_ji; superclasses of equal size minimise the cost of the edges between classes that are apart, each level
by itself. Superclasses whose number does not divide that of the classes differ in size by one at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from kinema.errors import DataError, unknown
from kinema.hierarchy import Hierarchy

Optimiser = Literal["swap", "annealing"]
RESTARTS = 1000
_AT_ONCE = 16  # searches side by side: their tables stay in the cache
_EXACT = 1 << 22  # whole numbers below it, and their sums here, are exact in 32-bit floats
_SWEEPS, _COLDEST = 40, 0.02  # of annealing: proposals for each class, and the last temperature as a share of the first


def build_hierarchy(
    confusion: np.ndarray,
    classes: Sequence[str],
    counts: Sequence[int],
    *,
    restarts: int = RESTARTS,
    seed: int = 0,
    optimiser: Optimiser = "swap",
    source: str = "",
) -> Hierarchy:
    """Superclasses of each level, the best of `restarts` searches from random balanced divisions.

    `confusion`: (K, K) counts or sums of probabilities, rows are the truth; of clips that neither trained nor test. `counts`:
    superclasses of each level, rising. `optimiser`: "swap", steepest descent by swaps, as published; or "annealing". `source`: what the
    matrix is of.

    Raises `DataError` for a matrix that is not of this form or tells of no confusion, fewer than two classes, or numbers of
    superclasses that the classes cannot fill.
    """
    costs = edge_costs(confusion, len(classes))
    check_counts(counts, len(classes))
    if restarts < 1:
        raise DataError(f"restarts is {restarts}; at least 1 is expected")
    if not costs.any() and any(count < len(classes) for count in counts):
        raise DataError("no two classes are confused in this matrix: every division would be as good as any other")
    searches: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {"swap": swap_descent, "annealing": annealing}
    if optimiser not in searches:
        raise DataError(unknown("optimiser", optimiser, searches))
    levels, totals = [], []
    for number, count in enumerate(counts):
        if count == len(classes):
            best, total = np.arange(count), costs.sum() / 2
        else:
            rng = np.random.default_rng([seed, number])
            divisions, found = searches[optimiser](costs, random_divisions(len(classes), count, restarts, rng), rng)
            winner = int(found.argmin())
            best, total = divisions[winner], found[winner]
        levels.append(_canonical(best))
        totals.append(float(total))
    return Hierarchy(tuple(classes), tuple(levels), tuple(totals), source)


def edge_costs(confusion: np.ndarray, classes: int) -> np.ndarray:
    """(K, K) e_ij = c_ij + c_ji, 0 on the diagonal; `DataError` for a matrix that is not one of K classes' confusions."""
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or confusion.dtype.kind not in "biuf":
        raise DataError(f"a confusion matrix of shape {confusion.shape} and type {confusion.dtype}; a square one of numbers is expected")
    if len(confusion) != classes:
        raise DataError(f"a confusion matrix of {len(confusion)} classes, and {classes} class names; as many are expected")
    if classes < 2:
        raise DataError(f"{classes} class cannot be put into superclasses; at least 2 are expected")
    confusion = confusion.astype(np.float64)
    bad = np.argwhere(~(np.isfinite(confusion) & (confusion >= 0)))
    if len(bad):
        row, column = bad[0]
        raise DataError(f"confusion matrix, row {row + 1}, column {column + 1}: {confusion[row, column]:g}; a number from 0 on is expected")
    if not confusion.any():
        raise DataError("the confusion matrix is empty: all its counts are 0")
    costs = confusion + confusion.T
    np.fill_diagonal(costs, 0)
    return costs


def check_counts(counts: Sequence[int], classes: int) -> None:
    """`DataError` for numbers of superclasses that K classes cannot fill, or that do not rise from level to level."""
    if not counts:
        raise DataError("no number of superclasses is given; such as 2,6,20 is expected, one for each level")
    for count in counts:
        if not 2 <= count <= classes:
            raise DataError(f"{count} superclasses of {classes} classes; 2 to {classes} are possible")
    if list(counts) != sorted(counts):
        raise DataError(f"{', '.join(map(str, counts))} superclasses; each level has as many as the one before it, or more")


def division_cost(costs: np.ndarray, division: Sequence[int]) -> float:
    """The sum of the edges between classes that a division (K,) puts apart."""
    division = np.asarray(division)
    return float(costs[division[:, None] != division].sum() / 2)


def random_divisions(classes: int, count: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, K): divisions into `count` superclasses whose sizes differ by one at most."""
    return rng.permuted(np.tile(np.arange(classes) % count, (number, 1)), axis=1)


def swap_descent(costs: np.ndarray, starts: np.ndarray, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """From each start (R, K) the pair of classes whose swap lowers the cost most is swapped until no swap lowers it.

    Where superclasses differ in size and no swap helps, a class may also move from a larger one to a smaller one, if that lowers the
    cost; then swaps go on. Returns the divisions (R, K) and their costs (R,). Ties go to the first pair. `rng` is not used.
    """
    classes, count = starts.shape[1], int(starts.max()) + 1
    padded, groups = _padded(costs, starts, count)
    done = [_descend(padded, groups[i : i + _AT_ONCE], count, classes) for i in range(0, len(groups), _AT_ONCE)]
    divisions = np.concatenate(done)[:, :classes]
    return divisions, _costs_of(costs, divisions, count)


def _padded(costs: np.ndarray, starts: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Costs and starts with an empty place in each smaller superclass, so that a move is a swap with an empty place. Two empty places
    repel each other by more than all edges together, so that no superclass gets two of them."""
    classes = len(costs)
    empty = -classes % count
    total = float(costs.sum())
    whole = total < _EXACT and bool((costs == np.round(costs)).all())
    padded = np.zeros((classes + empty, classes + empty), np.float32 if whole else np.float64)
    padded[:classes, :classes] = costs
    padded[classes:, classes:] = -(total + 1) * (1 - np.eye(empty))
    sizes = (starts[:, :, None] == np.arange(count)).sum(1)
    places = np.argsort(sizes, axis=1, kind="stable")[:, :empty]
    return padded, np.concatenate([starts, places], 1)


def _descend(costs: np.ndarray, groups: np.ndarray, count: int, classes: int) -> np.ndarray:
    """Steepest descent of a few searches side by side; `groups` (R, N) are changed."""
    searches = len(groups)
    # gains[r, i, j]: what swapping i and j saves. Of one superclass: -2 times their edge, never a gain.
    joined = costs @ np.eye(count, dtype=costs.dtype)[groups]  # (R, N, count): cost of the edges from a node to a superclass
    gains = _gains(costs, joined, groups)
    least = 1e-9 * float(np.abs(costs[:classes, :classes]).max()) if costs.dtype == np.float64 else 0.0  # rounding is no gain
    running = np.arange(searches)
    while True:
        first, second, gain = _best_pairs(gains, classes, least)
        going = gain > least
        if not going.all():
            running, gains, joined = running[going], gains[going], joined[going]
            first, second = first[going], second[going]
            if not len(running):
                return groups
        _swap(costs, groups, joined, gains, running, first, second)


def _gains(costs: np.ndarray, joined: np.ndarray, groups: np.ndarray) -> np.ndarray:
    to = np.take_along_axis(joined, groups[:, None, :].repeat(groups.shape[1], 1), 2)  # to[r, i, j]: from i to the superclass of j
    own = np.diagonal(to, axis1=1, axis2=2)
    moved = to - own[:, :, None]
    return moved + moved.transpose(0, 2, 1) - 2 * costs


def _best_pairs(gains: np.ndarray, classes: int, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each search the pair with the largest gain: two classes, or where none gains, one and an empty place."""
    searches, nodes = gains.shape[:2]
    flat = gains[:, :classes, :classes].reshape(searches, -1)
    place = flat.argmax(1)
    gain = flat[np.arange(searches), place]
    first, second = np.divmod(place, classes)
    if nodes > classes:
        stuck = np.flatnonzero(gain <= least)
        moves = gains[stuck, :classes, classes:].reshape(len(stuck), classes * (nodes - classes))
        place = moves.argmax(1)
        gain[stuck] = moves[np.arange(len(stuck)), place]
        first[stuck], second[stuck] = np.divmod(place, nodes - classes)
        second[stuck] += classes
    return first, second, gain


def _swap(
    costs: np.ndarray, groups: np.ndarray, joined: np.ndarray, gains: np.ndarray, running: np.ndarray, i: np.ndarray, j: np.ndarray
) -> None:
    """Swap nodes i and j of each running search, and bring `joined` and `gains` up to date.

    With d the change of the edges of each node to the superclass that i leaves, and t = 1 for its members, -1 for those of the other one
    and 0 elsewhere, gains change by -(d_k - d_l)(t_k - t_l); rows i and j are made anew.
    """
    rows = np.arange(len(running))
    left, entered = groups[running, i], groups[running, j]
    groups[running, i], groups[running, j] = entered, left
    change = costs[j] - costs[i]  # (R, N): node j came to where i was
    joined[rows, :, left] += change
    joined[rows, :, entered] -= change
    now = groups[running]
    side = (now == left[:, None]).astype(gains.dtype) - (now == entered[:, None])
    ones = np.ones_like(side)
    outer = np.stack([change, side, -change * side, ones], 2) @ np.stack([side, change, ones, -change * side], 1)
    gains += outer
    own = np.take_along_axis(joined, now[:, :, None], 2)[:, :, 0]
    for node in (i, j):
        to_node = np.take_along_axis(joined, now[rows, node][:, None, None].repeat(now.shape[1], 1), 2)[:, :, 0]
        from_node = np.take_along_axis(joined[rows, node], now, 1)
        row = to_node - own + from_node - own[rows, node][:, None] - 2 * costs[node]
        gains[rows, node] = row
        gains[rows, :, node] = row


def annealing(costs: np.ndarray, starts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Simulated annealing by swaps, from each start (R, K); what it ends with goes through `swap_descent`.

    A proposed swap that costs more is taken with probability exp(-increase / temperature); the temperature falls geometrically from the
    mean cost of a class's edges to a small share of it.
    """
    searches, classes = starts.shape
    groups, count = starts.copy(), int(starts.max()) + 1
    joined = costs @ np.eye(count)[groups]
    rows = np.arange(searches)
    warmest = max(float(costs.sum(1).mean()) / count, 1e-12)
    steps = _SWEEPS * classes
    for step in range(steps):
        temperature = warmest * _COLDEST ** (step / steps)
        i, j = rng.integers(classes, size=(2, searches))
        a, b = groups[rows, i], groups[rows, j]
        gain = joined[rows, i, b] - joined[rows, i, a] + joined[rows, j, a] - joined[rows, j, b] - 2 * costs[i, j]
        taken = (a != b) & (rng.random(searches) < np.exp(np.minimum(gain / temperature, 0)))
        r, i, j, a, b = rows[taken], i[taken], j[taken], a[taken], b[taken]
        groups[r, i], groups[r, j] = b, a
        change = costs[j] - costs[i]
        joined[r, :, a] += change
        joined[r, :, b] -= change
    return swap_descent(costs, groups)


def _costs_of(costs: np.ndarray, divisions: np.ndarray, count: int) -> np.ndarray:
    total, found = costs.sum() / 2, np.empty(len(divisions))
    for i in range(0, len(divisions), _AT_ONCE):
        members = np.eye(count)[divisions[i : i + _AT_ONCE]]
        found[i : i + _AT_ONCE] = total - ((costs @ members) * members).sum((1, 2)) / 2
    return found


def _canonical(division: np.ndarray) -> tuple[int, ...]:
    """Superclasses numbered in the order of their first members."""
    _, first, inverse = np.unique(division, return_index=True, return_inverse=True)
    rank = np.empty(len(first), int)
    rank[np.argsort(first)] = np.arange(len(first))
    return tuple(rank[inverse].tolist())
