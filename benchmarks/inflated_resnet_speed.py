"""How long 3-D ResNets take on a CPU for one clip of 8 pictures of 224 x 224, from pictures to logits.

    python benchmarks/inflated_resnet_speed.py [--out results/inflated_resnet_speed.json] [--threads 1 2]
        [--peer PEERS.json --calibration CALIBRATION.json|CALIBRATE.py]

Networks: the inflated ResNet-50, and SlowOnly-R50 and I3D-R50 in MMAction2's form. Every row is measured in a process of its own, as the
process starts and with freed memory kept (see `kinema --help`), in single precision and under bfloat16 autocast, with batch norms as they
are and put into the convolutions (`kinema.models._fuse`); the rows take turns in several rounds. Each tells its milliseconds for a
thousand million multiply-adds, and under bfloat16 how many times faster it is. `--peer` and `--calibration` as in poseconv3d_speed.py:
MMAction2's `slowonly_forward` and `i3d_forward`; the inflated ResNet is held against SlowOnly for each multiply-add.
"""

import argparse
from pathlib import Path
from statistics import median

from _measure import Peers, apart, in_turns, memory, memory_name, row_text, start, times_of

DTYPES = ("float32", "bfloat16")
FORMS = ("plain", "fused")
MODELS = ("inflated-resnet", "slowonly-r50", "i3d-r50")
PEERS = {"inflated-resnet": "slowonly_forward", "slowonly-r50": "slowonly_forward", "i3d-r50": "i3d_forward"}


def make(name):
    import torch

    from kinema.models.registry import VideoShape, create_model
    from kinema.training.importing import FORMS as published

    torch.manual_seed(0)
    shape = VideoShape(3, 8, 224, 224)
    if name == "inflated-resnet":
        return create_model(name, 60, shape, depth=50).eval(), shape
    return create_model("resnet3d", 400, shape, **published[name].config).eval(), shape


def measure(name, dtype, form, threads, seconds) -> list[float]:
    import torch

    from kinema.models._fuse import fuse
    from kinema.shape import VideoShape

    torch.set_num_threads(threads)
    model, shape = make(name)
    if form == "fused":
        model = fuse(model, VideoShape(3, 8, 64, 64))
    x = shape.example()["video"]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        return times_of(lambda: model(x), seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/inflated_resnet_speed.json"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    Peers.add_options(parser)
    args = parser.parse_args()
    peers = Peers.given(parser, args, key=lambda row: (row["name"], row["threads"]))

    import torch

    from kinema.evaluation.results import speed_row, write_results
    from kinema.models._count import count

    keys = [
        (name, dtype, form, threads, keep)
        for name in args.models
        for threads in args.threads
        for dtype in DTYPES
        for form in FORMS
        for keep in (False, True)
    ]

    def measured(name, dtype, form, threads, keep):
        return apart(__file__, name, dtype, form, threads, args.seconds, **memory(keep))

    with peers.compared():
        times = in_turns(keys, args.rounds, measured)
    sizes = {}
    for name in MODELS:
        with torch.device("meta"):
            sizes[name] = count(*make(name))
    rows, medians = [], {}
    for (name, dtype, form, threads, keep), rounds in times.items():
        parameters, multiply_adds = sizes[name]
        flat = [ms for of_round in rounds for ms in of_round]
        medians[name, dtype, form, threads, keep] = median(flat)
        against = peers.against((PEERS[name], threads), "MMAction2", keep)
        if against and name == "inflated-resnet":  # each multiply-add of the one against each of the other
            share = multiply_adds / sizes["slowonly-r50"][1]
            against |= {"name": "MMAction2's SlowOnly-R50, for as many multiply-adds", "ms": against["ms"] * share}
        row = speed_row(
            f"{name}, norms {'as they are' if form == 'plain' else 'in the convolutions'}",
            f"forward pass of one clip, 3 x 8 x 224 x 224, {parameters / 1e6:.3g} M parameters, {multiply_adds / 1e9:.3g} G multiply-adds",
            threads,
            dtype,
            flat,
            peer=against,
            memory=memory_name(keep),
        )
        row["ms_per_giga_multiply_add"] = round(median(flat) / (multiply_adds / 1e9), 3)
        if dtype == "bfloat16":
            row["times_faster_than_float32"] = round(medians[name, "float32", form, threads, keep] / median(flat), 2)
        rows.append(row)
        print(row_text(row), f"  {row['ms_per_giga_multiply_add']:.2f} ms/G", row.get("times_faster_than_float32", ""))
    print(write_results(args.out, "3-D ResNets on a CPU, one clip of 8 pictures", rows))


if __name__ == "__main__":
    start(main, measure)
