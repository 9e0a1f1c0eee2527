"""How long the preparation of skeletons takes, on one thread: PYSKL's 3-D pipeline as Kinema has it, and batches of `PoseSamples`.

    python benchmarks/pose_transforms.py [--out results/pose_transforms.json]
        [--peer PEERS.json --calibration CALIBRATION.json|CALIBRATE.py]

Every row is measured as the process starts and again with freed memory kept (see `kinema --help`). `--peer` is a list of rows
with `name`, `ms_median`, `ms_median_memory_kept` and `kind`, what PYSKL took for `streams3d_1p` and `streams3d_2p`;
`--calibration` says how much slower this machine is for that kind of work, `{kind: {"ratio": ...}}`; a script that prints
this with `--json` is run before and after the measurement. With both, rows state the peer's time on this machine and the factor.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from _measure import Peers, in_this_process

from kinema.clip import Clip, PoseSequence
from kinema.evaluation.results import write_results
from kinema.layout import get_layout
from kinema.transforms.config import STREAMS, PoseAugment, PoseInput
from kinema.transforms.pyskl import pad_clips, skeleton_streams
from kinema.transforms.samples import PoseSamples

LAYOUT = get_layout("ntu25")


def skeletons(persons: int, frames: int, seed: int) -> np.ndarray:
    """(persons, frames, 25, 3) float32, metres, three metres away: swinging bones of .2 m, and a sensor's noise."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames)[:, None] / 30
    points = np.zeros((persons, frames, len(LAYOUT), 3))
    for person in points:
        person[:] = np.array([rng.normal(), 0, 3]) + 0.1 * np.sin(seconds * rng.uniform(0.5, 2, 3))[:, None]
        for joint, parent in LAYOUT.bones:  # from the hips outwards
            swing = rng.normal(0, 1, 3) + 0.5 * np.sin(seconds * rng.uniform(1, 6, 3) + rng.uniform(0, 6, 3))
            person[:, joint] = person[:, parent] + 0.2 * swing / np.linalg.norm(swing, axis=1, keepdims=True)
    return (points + rng.normal(0, 0.005, points.shape)).astype(np.float32)


def works():
    """(name, what it is, clips a run, the peer's row, the work)"""
    for persons in (1, 2):
        clips = [skeletons(persons, 103, seed) for seed in range(32)]
        shape = f"103 frames NTU-25 -> normalised joints, bones, motion of both, 2x100x25x12, {persons} person{'s' * (persons > 1)}"
        for size in (32, 1):
            batch = clips[:size]
            yield (
                f"pyskl_streams_{persons}p_b{size}",
                f"PYSKL's 3-D pipeline, {shape}, {size} clip{'s' * (size > 1)} at once",
                size,
                f"streams3d_{persons}p",
                lambda batch=batch: skeleton_streams(*pad_clips(batch)),
            )
    lengths = np.random.default_rng(0).integers(60, 120, 256)
    clips = [Clip(str(i), {"pose": PoseSequence(skeletons(1, int(n), i), LAYOUT)}, label=0) for i, n in enumerate(lengths)]
    samples = PoseSamples.from_clips(clips, PoseInput("ntu25", 64, scale=True, align=True, streams=STREAMS))
    augment = PoseAugment(rotate=30, tilt=10, scale=0.1, shear=0.1, jitter=0.01, crop=0.7, warp=0.2, mirror=0.5, drop_joints=0.05)
    generator, some = torch.Generator().manual_seed(0), torch.arange(0, 256, 4)
    what = "60-119 frames NTU-25, resized to 64, aligned, centred, scaled, four streams, 1 person, 64 samples at once"
    yield "samples_test_b64", what, 64, None, lambda: samples.batch(some)
    yield "samples_train_b64", f"{what}, all augmentations", 64, None, lambda: samples.batch(some, augment=augment, generator=generator)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/pose_transforms.json"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    Peers.add_options(parser)
    args = parser.parse_args()
    rows = in_this_process(works, args.seconds, Peers.given(parser, args))
    print(write_results(args.out, "Preparation of skeletons, one thread", rows))


if __name__ == "__main__":
    main()
