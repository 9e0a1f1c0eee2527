"""How long HCN takes on a CPU: forward pass and training step, batch 64, 64 frames, 25 joints, 2 persons.

    python benchmarks/hcn_speed.py [--out results/hcn_speed.json] [--threads 2]
        [--peer PEERS.json --calibration CALIBRATION.json|CALIBRATE.py]

A training step is forward, backward, clipping of the gradients and Adam, as `kinema train` does it. Every row is measured in a
process of its own, as the process starts and with freed memory kept (see `kinema --help`), in single precision and under
bfloat16 autocast; the rows take turns in several rounds. `--peer` is a list of rows with `name`, `ms_median`,
`ms_median_memory_kept` and `kind`, what another implementation took for `hcn_forward_b64` and `hcn_train_b64`, per clip;
`--calibration` says how much slower this machine is for that kind of work, `{kind: {"ratio": ...}}`; a script that prints this
with `--json` is run before and after the measurement. With both, rows state the peer's time on this machine and the factor.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

BATCH, CLASSES = 64, 60
WORKS = ("forward", "train")
DTYPES = ("float32", "bfloat16")


def works(model, dtype):
    """The work of each kind, as functions without arguments."""
    import torch
    from torch.nn.functional import cross_entropy

    from kinema.training.optimizers import make_optimizer
    from kinema.training.recipe import FitConfig

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, 2, 64, 25, 3, generator=generator)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    optimizer = make_optimizer(model, FitConfig(optimizer="adam"))

    def forward():
        with torch.inference_mode(), autocast:
            model.eval()(x)

    def train():
        model.train()
        with autocast:
            loss = cross_entropy(model(x), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return {"forward": forward, "train": train}


def measure(name, work, dtype, threads, seconds) -> list[float]:
    """Milliseconds of each run within `seconds`, two runs at first not counted."""
    import torch

    from kinema.models.registry import create_model, model_info

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    run = works(create_model(name, CLASSES, model_info(name).example), dtype)[work]
    run()
    run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return times


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
    parser.add_argument("--out", type=Path, default=Path("results/hcn_speed.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["hcn", "hcn-gap"])
    parser.add_argument("--peer", type=Path, help="what the peer took")
    parser.add_argument("--calibration", type=Path, help="this machine against the peer's")
    args = parser.parse_args()
    if (args.peer is None) != (args.calibration is None):
        parser.error("--peer and --calibration go together")

    from kinema.evaluation.results import speed_row, write_results

    peers = {row["name"]: row for row in json.loads(args.peer.read_text())} if args.peer else {}
    ratios = [calibration(args.calibration)] if peers else []
    keys = [(name, work, dtype, keep) for name in args.models for dtype in DTYPES for work in WORKS for keep in (False, True)]
    times: dict[tuple, list[float]] = {key: [] for key in keys}
    for _ in range(args.rounds):
        for name, work, dtype, keep in keys:
            times[name, work, dtype, keep] += measure_apart(keep, name, work, dtype, args.threads, args.seconds)
    if peers:
        ratios.append(calibration(args.calibration))

    rows = []
    for name, work, dtype, keep in keys:
        # The peer has the paper's form and computes in single precision; bfloat16 is no equal arithmetic.
        peer = peers.get(f"hcn_{work}_b{BATCH}") if (name, dtype) == ("hcn", "float32") else None
        against = peer and {
            "name": "HCN-pytorch",
            "ms": peer["ms_median_memory_kept" if keep else "ms_median"],
            "calibration": [ratio[peer["kind"]]["ratio"] for ratio in ratios],
        }
        what = {"forward": "forward pass", "train": "training step (forward, backward, clip, Adam)"}[work]
        row = speed_row(
            f"{name} {work}",
            f"{what}, T=64 V=25 M=2, batch {BATCH}, per clip",
            args.threads,
            dtype,
            times[name, work, dtype, keep],
            items=BATCH,
            peer=against,
            memory="kept" if keep else "as it is",
        )
        rows.append(row)
        factor = f", {row['factor']:.2f} times as fast as {against['name']}" if against else ""
        print(f"{row['name']:16} {dtype:9} memory {row['memory']:8} {row['ms']['median']:7.3f} ms a clip{factor}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    print(write_results(args.out, f"HCN on {args.threads} threads", rows))


def measure_alone(name, work, dtype, threads, seconds):
    from kinema._memory import keep_freed_memory

    keep_freed_memory()
    print(json.dumps(measure(name, work, dtype, int(threads), float(seconds))))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure_alone(*sys.argv[2:])
    else:
        main()
