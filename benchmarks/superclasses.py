"""How good superclasses are found, and how long that takes: the published search beside simulated annealing, on one core.

    python benchmarks/superclasses.py [--out results/superclasses.json] [--matrix RUN|FILE --counts 4,12,40] [--restarts 1000]

Without `--matrix` a confusion matrix of 120 classes is made: five of each hundred answers go to classes of the same action family, two
to any other. Each row is one way to search: milliseconds for all levels together, and the cost of each, confusions between classes that
are apart.
"""

import argparse
import os
import time
from pathlib import Path


def made_confusions(classes: int = 120, clips: int = 100):
    """Counts: families of five classes are confused with one another most."""
    import numpy as np

    rng = np.random.default_rng(0)
    family = rng.permutation(classes) // 5
    near = (family[:, None] == family) & ~np.eye(classes, dtype=bool)
    shares = 0.93 * np.eye(classes) + 0.05 * near / near.sum(1, keepdims=True) + 0.02 / classes
    return np.stack([rng.multinomial(clips, row / row.sum()) for row in shares])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/superclasses.json"))
    parser.add_argument("--matrix")
    parser.add_argument("--counts", default="4,12,40")
    parser.add_argument("--restarts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    from kinema.evaluation.confusions import Confusion, read_confusion
    from kinema.evaluation.results import speed_row, write_results
    from kinema.evaluation.superclasses import build_hierarchy

    if args.matrix:
        confusion = read_confusion(args.matrix)
    else:
        matrix = made_confusions()
        confusion = Confusion(matrix, tuple(f"class {i}" for i in range(len(matrix))), "made confusions")
    counts, rows = [int(part) for part in args.counts.split(",")], []
    for optimiser, name in (("swap", "superclasses by the best swaps"), ("annealing", "superclasses by annealing, then swaps")):
        times = []
        for _ in range(args.rounds):
            started = time.perf_counter()
            found = build_hierarchy(confusion.matrix, confusion.classes, counts, restarts=args.restarts, optimiser=optimiser)
            times.append(1000 * (time.perf_counter() - started))
        costs = ", ".join(f"{count}: {cost:g}" for count, cost in zip(counts, found.costs, strict=True))
        what = f"{len(confusion.classes)} classes, {args.restarts} restarts a level; cost by number of superclasses {costs}"
        rows.append(speed_row(name, what, 1, "float32", times))
        print(f"{name}: {rows[-1]['ms']['median'] / 1000:.2f} s; {what}")
    print(write_results(args.out, "Superclasses from a confusion matrix, on one core", rows))


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded
    main()
