"""How long a data set takes to open: the first parse of its files, and a second start that finds the poses kept.

    python benchmarks/read_times.py [--data $KINEMA_DATA] [--out results/read_times.json] [--runs 7]

Each time is that of a new process, from `read_dataset(...)` until every pose has been touched and each of its numbers read.
Starting Python and importing Kinema are not counted; what a parser imports for itself (SciPy for .mat files) is, because only a
first parse needs it. The files lie in the system's cache of files in both cases: from a cold disk a first parse takes longer still.
First parses have an empty cache folder of their own each.
"""

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from _measure import apart, memory, start

DATASETS = {"cad60": "CAD-60", "utd-mhad": "UTD-MHAD", "nw-ucla": "N-UCLA"}


def measure(name: str, root: str) -> dict:
    """Milliseconds, clips and frames of one opening."""
    from kinema.datasets import read_dataset

    importlib.import_module(f"kinema.datasets.{name.replace('-', '_')}")
    start = time.perf_counter()
    dataset = read_dataset(name, root)
    frames = 0
    for clip in dataset.clips:
        points = clip.pose.points
        points.sum()
        frames += points.shape[1]
    return {"ms": 1e3 * (time.perf_counter() - start), "clips": len(dataset), "frames": frames}


def rows_of(name: str, root: Path, runs: int) -> list[dict]:
    """The rows of one data set. First parses and second starts take turns, so that both see the same machine."""
    from kinema.evaluation.results import environment, speed_row

    first, second = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="kinema-") as cache:
            for kind in (first, second):
                kind.append(apart(__file__, name, str(root), KINEMA_CACHE=cache, **memory(False)))
    size = f"{first[0]['clips']} clips, {first[0]['frames']} frames"
    threads = environment()["cores"]
    times = [[run["ms"] for run in some] for some in (first, second)]
    faster = median(times[0]) / median(times[1])
    return [
        speed_row(f"{DATASETS[name]}, first parse", f"read all files: {size}", threads, "float32", times[0]),
        speed_row(f"{DATASETS[name]}, second start", f"open the kept poses: {size}", 1, "float32", times[1], times_faster=faster),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("KINEMA_DATA"), help="folder that holds cad60, utd-mhad and nw-ucla")
    parser.add_argument("--out", default="results/read_times.json")
    parser.add_argument("--runs", type=int, default=7, help="openings of each kind")
    options = parser.parse_args()
    if not options.data:
        sys.exit("where are the data sets? Give --data DIR, or set KINEMA_DATA")
    from kinema.evaluation.results import write_results

    rows = []
    for name in DATASETS:
        root = Path(options.data) / name
        if not root.is_dir():
            print(f"{root} is not there: left out", file=sys.stderr)
            continue
        rows += rows_of(name, root, options.runs)
        first, second = rows[-2:]
        print(f"{name}: {first['ms']['median']:.0f} ms, then {second['ms']['median']:.1f} ms: {second['times_faster']:.0f} times faster")
    if rows:
        write_results(options.out, "Opening a data set", rows)


if __name__ == "__main__":
    start(main, measure)
