"""How long handcrafted features take, on one thread: of CAD-60 as a whole, 16 410 samples of 4 frames, and of one sample as a live
stream asks for it.

    python benchmarks/handcrafted_features.py [--root DATA/cad60] [--out results/handcrafted_features.json]

Reading the files is not counted: the recordings are in memory; cutting, centring and the features themselves are.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from kinema.datasets.base import read_dataset
from kinema.evaluation.results import speed_row, write_results
from kinema.transforms.config import PoseInput
from kinema.transforms.handcrafted import features, posture
from kinema.transforms.samples import PoseSamples

CUTS = PoseInput(layout="cad60", frames=4, window=120, stride=120, sampling="skip", step=30, phases=tuple(range(30)))


def columns(samples: PoseSamples, make: Callable, indices: torch.Tensor) -> int:
    count = 0
    for part in indices.split(1024):
        count += make(samples.batch(part).x[:, 0].double(), samples.layout).flatten(1).shape[0]
    return count


def measure(work: Callable, runs: int) -> list[float]:
    """Milliseconds of each of `runs` runs; two at first are not counted."""
    times = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return times[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of CAD-60; default: the one under $KINEMA_DATA")
    parser.add_argument("--out", type=Path, default=Path("results/handcrafted_features.json"))
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = [clip for clip in read_dataset("cad60", options.root).clips if clip.label is not None]
    frames = sum(clip.pose.frames for clip in clips)  # reads them, before anything is timed
    samples = PoseSamples.from_clips(clips, CUTS)
    everything, one = torch.arange(len(samples)), torch.arange(1)
    rows = [
        speed_row(
            "cutting",
            f"60 recordings, {frames} frames, cut into 547 windows and {len(samples)} samples",
            1,
            "float32",
            measure(lambda: PoseSamples.from_clips(clips, CUTS), options.runs),
        )
    ]
    for name, make, count in (("16 features", features, 64), ("posture", posture, 252)):
        for indices, what in ((everything, f"the whole set, {len(samples)} samples"), (one, "one sample")):
            work = f"{what} of 4 frames -> {count} columns, centring included"
            times = measure(lambda make=make, indices=indices: columns(samples, make, indices), options.runs if len(indices) > 1 else 200)
            rows.append(speed_row(f"{name}, {'whole set' if len(indices) > 1 else 'one sample'}", work, 1, "float64", times))
    print(write_results(options.out, "Handcrafted features of CAD-60", rows))
    for row in rows:
        print(f"{row['name']:24} {row['ms']['median']:10.3f} ms  ({row['work']})")


if __name__ == "__main__":
    main()
