"""How fast UTD-MHAD's depth recordings open, the first time and later, and become what a network is given; and in how much memory.

    python benchmarks/depth_speed.py [--data $KINEMA_DATA/utd-mhad] [--out results/depth_speed.json] [--runs 3]

The first opening decodes all recordings (9 GB as they come) and keeps them cropped; a later one finds them kept. Each is measured in
a new process, from `read_dataset(...)` until every frame has been read, importing not counted; first openings have an empty cache
folder each, and the recordings lie in the system's cache of files. Inputs are made in batches of 64 by one thread, on kept crops;
descriptors are counted when they are first made. Memory is the peak of the process (kept crops count as far as they were read) and,
where it starts helpers, of the largest one of them.
"""

import argparse
import importlib
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from _measure import apart, memory, start

BATCH = 64
INPUTS = {
    "motion": ("depth motion images, front, 50 x 50", {}),
    "motion in three views": ("depth motion images, front, side and top, 50 x 50", {"views": ("front", "side", "top")}),
    "difference": ("difference images, front, 50 x 50", {"form": "difference"}),
    "frame": ("single frames, 50 x 50", {"form": "frame", "frames": 1}),
    "video": ("videos of 16 frames, 64 x 64", {"form": "video", "size": 64, "fit": "square"}),
}


def open_all(root: str) -> dict:
    """Milliseconds, clips and frames of one opening."""
    from kinema.datasets import read_dataset
    from kinema.depth_crop import depth_crop

    importlib.import_module("kinema.datasets.utd_mhad")
    start = time.perf_counter()
    frames = clips = 0
    for clip in read_dataset("utd-mhad", root).clips:
        crop = depth_crop(clip)
        crop.frames.max()
        clips, frames = clips + 1, frames + len(crop.frames)
    return {"ms": 1e3 * (time.perf_counter() - start), "clips": clips, "frames": frames}


def make_inputs(root: str, name: str) -> dict:
    """Milliseconds in which the batches of all clips are made, once."""
    import torch

    from kinema.datasets import read_dataset
    from kinema.transforms.depth_config import DepthInput
    from kinema.transforms.depth_samples import DepthSamples

    torch.set_num_threads(1)
    samples = DepthSamples.from_clips(read_dataset("utd-mhad", root).clips, DepthInput(**INPUTS[name][1]))
    start = time.perf_counter()
    for first in range(0, len(samples), BATCH):
        samples.batch(range(first, min(first + BATCH, len(samples))))
    return {"ms": 1e3 * (time.perf_counter() - start), "clips": len(samples)}


def measure(root: str, what: str) -> dict:
    """One opening, or one making of inputs, and the mebibytes that it took at most."""
    found = open_all(root) if what == "open" else make_inputs(root, what)
    for name, whom in (("mib", resource.RUSAGE_SELF), ("helper_mib", resource.RUSAGE_CHILDREN)):
        found[name] = resource.getrusage(whom).ru_maxrss / (1 << 10 if sys.platform != "darwin" else 1 << 20)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="the folder of UTD-MHAD; default: utd-mhad in $KINEMA_DATA")
    parser.add_argument("--out", default="results/depth_speed.json")
    parser.add_argument("--runs", type=int, default=3, help="of each kind")
    options = parser.parse_args()
    root = options.data or Path(os.environ.get("KINEMA_DATA", "")) / "utd-mhad"
    if not (root / "Depth").is_dir():
        sys.exit(f"{root}/Depth is not there. Give --data DIR, or set KINEMA_DATA")
    from kinema.evaluation.results import environment, speed_row, write_results

    kinds: dict[str, list[dict]] = {"first": [], "later": [], **{name: [] for name in INPUTS}}
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="kinema-") as cache:
            for kind in kinds:
                what = kind if kind in INPUTS else "open"
                kinds[kind].append(apart(__file__, str(root), what, KINEMA_CACHE=cache, **memory(False)))
    clips, frames = kinds["first"][0]["clips"], kinds["first"][0]["frames"]
    about = {
        "first": (
            "UTD-MHAD depth, first opening",
            f"decode, crop and keep {clips} clips, {frames} frames; per clip",
            environment()["cores"],
        ),
        "later": ("UTD-MHAD depth, later opening", f"read {clips} kept clips, {frames} frames; per clip", 1),
        **{name: (f"UTD-MHAD depth, {name}", f"{text}, batches of {BATCH}; per clip", 1) for name, (text, _) in INPUTS.items()},
    }
    rows = []
    for kind, runs in kinds.items():
        name, work, threads = about[kind]
        peak = {key: round(median(run[key] for run in runs)) for key in ("mib", "helper_mib") if runs[0][key]}
        rows.append(
            speed_row(
                name,
                work,
                threads,
                "uint8" if kind in ("first", "later") else "float32",
                [run["ms"] for run in runs],
                items=clips,
                **peak,
            )
        )
        print(f"{name}: {rows[-1]['per_second']:.0f} clips a second, {' + '.join(map(str, peak.values()))} MiB")
    print(write_results(options.out, "Depth recordings of UTD-MHAD", rows))


if __name__ == "__main__":
    start(main, measure)
