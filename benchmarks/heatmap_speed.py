"""How long it takes to make heatmap volumes of key points as training does, on one thread: 103 frames of COCO's 17 key points, one
random frame from each of 48 segments, the tight box, a random part of it, mirrored or not, drawn on 48 maps of 56 x 56 pixels.

    python benchmarks/heatmap_speed.py [--out results/heatmap_speed.json]
        [--peer PEERS.json --calibration CALIBRATION.json|CALIBRATE.py]

What is measured is what `kinema train` runs: `PoseSamples.batch`, then the model's own drawing. The memory of a volume is new for
every batch; the rows "into memory that is there" draw into the same one again. Every row is measured as the process starts and
again with freed memory kept (see `kinema --help`). `--peer` is a list of rows with `name`, `ms_median`, perhaps
`ms_median_memory_kept`, and `kind`: what PYSKL took for `heatmap_joint_1p`, `heatmap_limb_1p` and the same with 2p, a clip;
`--calibration` says how much slower this machine is for that kind of work, `{kind: {"ratio": ...}}`; a script that prints this
with `--json` is run before and after the measurement. With both, rows state the peer's time on this machine and the factor.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from _measure import Peers, in_this_process

from kinema.clip import Clip, PoseSequence
from kinema.evaluation.results import write_results
from kinema.layout import get_layout
from kinema.models.registry import create_model
from kinema.transforms.boxes import random_part, tight_box, to_pixels
from kinema.transforms.config import PoseAugment, PoseInput
from kinema.transforms.heatmap import heatmaps
from kinema.transforms.samples import PoseSamples

LAYOUT = get_layout("coco17")
# A standing person facing the camera, x to the person's left, y up, in body heights, in the order of COCO's joints.
BODY = [(0, 0.93), (0.02, 0.95), (-0.02, 0.95), (0.04, 0.94), (-0.04, 0.94)]
BODY += [(side * x, y) for x, y in ((0.11, 0.82), (0.16, 0.65), (0.18, 0.49), (0.07, 0.52), (0.08, 0.28), (0.09, 0.04)) for side in (1, -1)]
PEERS = {"joints": "heatmap_joint", "limbs": "heatmap_limb"}


def key_points(persons: int, frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(persons, frames, 17, 2) pixels of a 1920 x 1080 video, 600 pixels tall people swinging their limbs, and scores."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames)[:, None, None] / 30
    points = np.tile(np.array(BODY), (persons, frames, 1, 1))
    for person in points:
        rate, phase, reach = rng.uniform(0.4, 1.2, (1, 17, 2)), rng.uniform(0, 2 * np.pi, (1, 17, 2)), rng.uniform(0.01, 0.1, (1, 17, 1))
        person += reach * np.sin(2 * np.pi * rate * seconds + phase)
    points[..., 0] += 0.2 * np.linspace(0, 1, frames)[:, None] + 0.6 * np.arange(persons)[:, None, None]
    points = np.array([700, 850]) + np.array([600, -600]) * points + rng.normal(0, 1, points.shape)
    return points.astype(np.float32), rng.uniform(0.6, 1, points.shape[:3]).astype(np.float32)


def works():
    """(name, what it is, clips a run, the peer's row, the work)"""
    generator = torch.Generator().manual_seed(0)
    for persons in (1, 2):
        clips = []
        for seed in range(16):
            points, score = key_points(persons, 103, seed)
            pose = PoseSequence(points, LAYOUT, "px", score=score, image_size=(1920, 1080), y_axis="down")
            clips.append(Clip(str(seed), {"pose": pose}, label=0))
        wanted = PoseInput("coco17", 48, persons, "segments", center="none", streams=("joint", "score"))
        samples, augment = PoseSamples.from_clips(clips, wanted), PoseAugment(mirror=0.5)

        def draw(model, size, samples=samples, augment=augment):
            batch = samples.batch(torch.randint(16, (size,), generator=generator), augment=augment, generator=generator)
            return model.volume(batch.x, batch.mask)

        for kind in ("joints", "limbs", "one-layer"):
            model = create_model("poseconv3d", 60, samples.shape, heatmap=kind).train()
            what = f"103 frames COCO-17 -> {kind} {model.channels}x48x56x56, training, {persons} person{'s' * (persons > 1)}"
            peer = f"{PEERS[kind]}_{persons}p" if kind in PEERS else None
            for size in (1, 8):
                name = f"{kind}_{persons}p_b{size}"
                yield name, f"{what}, {size} clip{'s' * (size > 1)} at once", size, peer, lambda m=model, n=size: draw(m, n)
            memory = torch.empty(1, model.channels, 48, 56, 56)

            def again(kind=kind, memory=memory, samples=samples, augment=augment):
                batch = samples.batch(torch.randint(16, (1,), generator=generator), augment=augment, generator=generator)
                box = random_part(tight_box(batch.x[..., :2], batch.mask), generator=generator)
                heatmaps(to_pixels(batch.x[..., :2], box, (56, 56)), batch.x[..., 2], batch.mask, kind=kind, out=memory)

            yield f"{kind}_{persons}p_again", f"{what}, 1 clip, into memory that is there", 1, peer, again


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/heatmap_speed.json"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    Peers.add_options(parser)
    args = parser.parse_args()
    # Of some rows the peer's figure with freed memory kept was not taken; on those that have both it makes no difference.
    rows = in_this_process(works, args.seconds, Peers.given(parser, args), stand_in=True)
    print(write_results(args.out, "Heatmap volumes of key points, one thread", rows))


if __name__ == "__main__":
    main()
