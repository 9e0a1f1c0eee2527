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
from pathlib import Path

from _measure import Peers, apart, in_turns, memory, memory_name, row_text, start, times_of

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
    import torch

    from kinema.models.registry import create_model, model_info

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return times_of(works(create_model(name, CLASSES, model_info(name).example), dtype)[work], seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/hcn_speed.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["hcn", "hcn-gap"])
    Peers.add_options(parser)
    args = parser.parse_args()
    peers = Peers.given(parser, args)

    from kinema.evaluation.results import speed_row, write_results

    keys = [(name, work, dtype, keep) for name in args.models for dtype in DTYPES for work in WORKS for keep in (False, True)]

    def measured(name, work, dtype, keep):
        return apart(__file__, name, work, dtype, args.threads, args.seconds, **memory(keep))

    with peers.compared():
        times = in_turns(keys, args.rounds, measured)
    rows = []
    for (name, work, dtype, keep), rounds in times.items():
        # The peer has the paper's form and computes in single precision; bfloat16 is no equal arithmetic.
        same = (name, dtype) == ("hcn", "float32")
        what = {"forward": "forward pass", "train": "training step (forward, backward, clip, Adam)"}[work]
        row = speed_row(
            f"{name} {work}",
            f"{what}, T=64 V=25 M=2, batch {BATCH}, per clip",
            args.threads,
            dtype,
            [ms for of_round in rounds for ms in of_round],
            items=BATCH,
            peer=peers.against(f"hcn_{work}_b{BATCH}", "HCN-pytorch", keep) if same else None,
            memory=memory_name(keep),
        )
        rows.append(row)
        print(row_text(row))
    print(write_results(args.out, f"HCN on {args.threads} threads", rows))


if __name__ == "__main__":
    start(main, measure)
