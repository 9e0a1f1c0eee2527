"""How long PoseConv3D takes on a CPU for one clip of 48 frames, from key points to logits, maps of 56 x 56 pixels.

    python benchmarks/poseconv3d_speed.py [--out results/poseconv3d_speed.json] [--threads 1 2]
        [--peer PEERS.json --calibration CALIBRATION.json|CALIBRATE.py]

Every row is measured in a process of its own, as the process starts and with freed memory kept (see `kinema --help`), in single
precision and under bfloat16 autocast; the rows take turns in several rounds. Drawing the volume is part of what is measured.
The network's answers are compared with those of PyTorch's plain 3-D layers, norms apart, and the largest difference is printed.
`--peer` is a list of rows with `name`, `threads`, `ms_median`, `ms_median_memory_kept` and `kind`: what PYSKL took for the forward
pass `posec3d_forward`, from a volume; `--calibration` says how much slower this machine is for that kind of work,
`{kind: {"ratio": ...}}`; a script that prints this with `--json` is run before and after the measurement. With both, rows state
the peer's time on this machine and the factor.
"""

import argparse
from pathlib import Path

from _measure import Peers, apart, in_turns, memory, memory_name, row_text, start, times_of

DTYPES = ("float32", "bfloat16")
MODELS = ("poseconv3d", "poseconv3d-c3d", "poseconv3d-x3d", "keypoint-cnn3d")


def clip(shape):
    """Key points of a clip, somewhere in a square, drifting; all scores near 1."""
    import torch

    generator = torch.Generator().manual_seed(0)
    still = torch.rand(1, shape.persons, 1, len(shape.layout), shape.channels, generator=generator)
    drift = 0.02 * torch.randn(1, shape.persons, shape.frames, len(shape.layout), shape.channels, generator=generator).cumsum(2)
    x = still + drift
    x[..., 2:] = 0.9
    return x


def make(name):
    import torch

    from kinema.models.registry import create_model, model_info

    torch.manual_seed(0)
    shape = model_info(name).example
    return create_model(name, 60, shape).eval(), clip(shape)


def measure(name, dtype, threads, seconds) -> list[float]:
    import torch

    torch.set_num_threads(threads)
    model, x = make(name)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        return times_of(lambda: model(x), seconds)


def largest_difference() -> float:
    """Between the logits of `poseconv3d` and of PyTorch's own layers, one by one, norms with statistics of their own."""
    import torch
    import torch.nn.functional as F

    model, x = make("poseconv3d")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)

    def layer(part, x, relu=True):
        norm = part.norm
        x = F.conv3d(x, part.conv.weight, None, part.conv.stride, part.conv.padding)
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return F.relu(x) if relu else x

    with torch.inference_mode():
        y = layer(model.stem, model.volume(x).permute(0, 4, 1, 2, 3).contiguous())
        y = F.max_pool3d(y, (1, 3, 3), 1, (0, 1, 1))
        for block in (block for stage in model.stages for block in stage):
            residual = y if block.downsample is None else layer(block.downsample, y, relu=False)
            y = F.relu(layer(block.conv3, layer(block.conv2, layer(block.conv1, y)), relu=False) + residual)
        return float((model.fc(y.mean((2, 3, 4))) - model(x)).abs().max())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/poseconv3d_speed.json"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    Peers.add_options(parser)
    args = parser.parse_args()
    peers = Peers.given(parser, args, key=lambda row: (row["name"], row["threads"]))

    from kinema.evaluation.results import speed_row, write_results
    from kinema.models._count import count
    from kinema.models.registry import create_model, model_info

    keys = [(name, dtype, threads, keep) for name in args.models for threads in args.threads for dtype in DTYPES for keep in (False, True)]

    def measured(name, dtype, threads, keep):
        return apart(__file__, name, dtype, threads, args.seconds, **memory(keep))

    with peers.compared():
        times = in_turns(keys, args.rounds, measured)
    rows = []
    for (name, dtype, threads, keep), rounds in times.items():
        peer = "PYSKL, float32" if dtype != "float32" else "PYSKL"
        shape = model_info(name).example
        parameters, multiply_adds = count(create_model(name, 60, shape), shape)
        row = speed_row(
            name,
            f"forward pass of one clip, {shape}, {parameters / 1e6:.3g} M parameters, {multiply_adds / 1e9:.3g} G multiply-adds",
            threads,
            dtype,
            [ms for of_round in rounds for ms in of_round],
            peer=peers.against(("posec3d_forward", threads), peer, keep) if name == "poseconv3d" else None,
            memory=memory_name(keep),
        )
        rows.append(row)
        print(row_text(row))
    print(f"largest difference of logits from plain layers: {largest_difference():.1e}")
    print(write_results(args.out, "PoseConv3D and raw key points on a CPU, one clip", rows))


if __name__ == "__main__":
    start(main, measure)
