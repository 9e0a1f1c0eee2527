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
import json
import os
import subprocess
import sys
import time
from pathlib import Path

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
    """Milliseconds of each run within `seconds`, two runs at first not counted."""
    import torch

    torch.set_num_threads(threads)
    model, x = make(name)
    times = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        model(x)
        model(x)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            model(x)
            times.append(1e3 * (time.perf_counter() - start))
    return times


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


def measure_apart(keep: bool, *arguments) -> list[float]:
    """`measure` in a process of its own; keeping freed memory has to be settled before torch is loaded."""
    environment = {**os.environ, "KINEMA_KEEP_MEMORY": "1" if keep else "0"}
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def calibration(path: Path) -> dict:
    if path.suffix != ".py":
        return json.loads(path.read_text())
    return json.loads(subprocess.run([sys.executable, str(path), "--json"], capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/poseconv3d_speed.json"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--peer", type=Path, help="what the peer took")
    parser.add_argument("--calibration", type=Path, help="this machine against the peer's")
    args = parser.parse_args()
    if (args.peer is None) != (args.calibration is None):
        parser.error("--peer and --calibration go together")

    from kinema.evaluation.results import speed_row, write_results
    from kinema.models._count import count
    from kinema.models.registry import create_model, model_info

    peers = {(row["name"], row["threads"]): row for row in json.loads(args.peer.read_text())} if args.peer else {}
    ratios = [calibration(args.calibration)] if peers else []
    keys = [(name, dtype, threads, keep) for name in args.models for threads in args.threads for dtype in DTYPES for keep in (False, True)]
    times: dict[tuple, list[float]] = {key: [] for key in keys}
    for _ in range(args.rounds):
        for name, dtype, threads, keep in keys:
            times[name, dtype, threads, keep] += measure_apart(keep, name, dtype, threads, args.seconds)
    if peers:
        ratios.append(calibration(args.calibration))

    rows = []
    for name, dtype, threads, keep in keys:
        peer = peers.get(("posec3d_forward", threads)) if name == "poseconv3d" else None
        against = peer and {
            "name": "PYSKL, float32" if dtype != "float32" else "PYSKL",
            "ms": peer["ms_median_memory_kept" if keep else "ms_median"],
            "calibration": [ratio[peer["kind"]]["ratio"] for ratio in ratios],
        }
        shape = model_info(name).example
        parameters, multiply_adds = count(create_model(name, 60, shape), shape)
        row = speed_row(
            name,
            f"forward pass of one clip, {shape}, {parameters / 1e6:.3g} M parameters, {multiply_adds / 1e9:.3g} G multiply-adds",
            threads,
            dtype,
            times[name, dtype, threads, keep],
            peer=against,
            memory="kept" if keep else "as it is",
        )
        rows.append(row)
        factor = f", {row['factor']:.2f} times as fast as {against['name']}" if against else ""
        print(f"{name:16} {threads} threads {dtype:9} memory {row['memory']:8} {row['ms']['median']:7.1f} ms{factor}")
    print(f"largest difference of logits from plain layers: {largest_difference():.1e}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    print(write_results(args.out, "PoseConv3D and raw key points on a CPU, one clip", rows))


def measure_alone(name, dtype, threads, seconds):
    from kinema._memory import keep_freed_memory

    keep_freed_memory()
    print(json.dumps(measure(name, dtype, int(threads), float(seconds))))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure_alone(*sys.argv[2:])
    else:
        main()
