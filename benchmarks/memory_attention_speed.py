"""How fast the temporal attention with ResNet-18 trains and answers: clips per second, and peak memory.

    python benchmarks/memory_attention_speed.py [--out results/memory_attention_speed.json] [--threads 2] [--device cpu]

Skeletons of one person, 50 frames, 20 joints, resized to 50 x 50; 27 classes. A training step is forward, backward, clipping of the
gradients and Adam, as `kinema train` does it. "one call" against "three calls": the recurrent part alone for the three coordinates,
forward and backward, as one batch over all of them, as three calls of the same code, and as three of `torch.nn.GRU`.

Every measurement is made in a process of its own, with freed memory kept as the command line does; they take turns in several
rounds. Peak memory on a CPU is what the process occupied at most beyond what it did before the model was made; on a GPU what
PyTorch allocated at most.
"""

import argparse
import resource
from pathlib import Path

from _measure import apart, in_turns, start, times_of

CLASSES = 27
# Besides ResNet-18, which is the default.
BACKBONES = ("small", "alexnet", "resnet34", "resnet50", "resnet101", "vgg16_bn", "densenet121", "densenet161")
MODELS = {
    "memory-attention, document": ("memory-attention", {"form": "document"}),
    "memory-attention, reference": ("memory-attention", {"form": "reference"}),
    "memory-attention, self-attention": ("memory-attention", {"form": "self-attention"}),
    "memory-attention-depth": ("memory-attention-depth", {}),
    "memory-attention-cnn": ("memory-attention-cnn", {}),
    **{f"memory-attention, document, {name}": ("memory-attention", {"backbone": name}) for name in BACKBONES},
}
RECURRENT = ("one call", "three calls", "three calls, torch.nn.GRU")
BATCHES = {"train": 32, "forward": 32, "recurrent": 32}


def model_work(name: str, work: str, device: str):
    """The work as a function without arguments, and the model's parameters."""
    import torch
    from torch.nn.functional import cross_entropy

    from kinema.models.registry import create_model, model_info
    from kinema.training.optimizers import make_optimizer
    from kinema.training.recipe import FitConfig

    registered, config = MODELS[name]
    example = model_info(registered).example
    model = create_model(registered, CLASSES, example, **config).to(device)
    given = {key: value.to(device) for key, value in example.example(BATCHES[work]).items()}
    labels = torch.randint(0, CLASSES, (BATCHES[work],), device=device)
    optimizer = make_optimizer(model, FitConfig(optimizer="adam"))

    def forward():
        with torch.inference_mode():
            model.eval()(**given)

    def train():
        cross_entropy(model.train()(**given), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return {"forward": forward, "train": train}[work], sum(parameter.numel() for parameter in model.parameters())


def recurrent_work(name: str, device: str):
    """The reference form's bidirectional GRU: 3 coordinates, 50 frames, 64 values, 64 units."""
    import torch

    from kinema.models._gru import GroupedBiGRU

    x = torch.randn(3, 50, BATCHES["recurrent"], 64, device=device, requires_grad=True)
    if name == "one call":
        grus, parts = [GroupedBiGRU(3, 64, 64).to(device)], [x]
    else:
        theirs = name.endswith("GRU")
        grus = [(torch.nn.GRU(64, 64, bidirectional=True) if theirs else GroupedBiGRU(1, 64, 64)).to(device) for _ in range(3)]
        parts = [part[0] if theirs else part for part in x.split(1)]

    def run():
        outputs = [gru(part) for gru, part in zip(grus, parts, strict=True)]
        # torch.nn.GRU gives both directions side by side; ours their sum.
        sums = [output[0][..., :64] + output[0][..., 64:] if isinstance(output, tuple) else output for output in outputs]
        torch.cat([total.flatten() for total in sums]).square().mean().backward()

    return run


def measure(name: str, work: str, device: str, threads: int, seconds: float) -> dict:
    """Milliseconds of each run; mebibytes at the peak; parameters of the model."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
    gpu = device != "cpu"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run, parameters = (recurrent_work(name, device), None) if work == "recurrent" else model_work(name, work, device)

    def once():
        run()
        if gpu:
            torch.cuda.synchronize()

    times = times_of(once, seconds)
    used = torch.cuda.max_memory_allocated() / 2**20 if gpu else (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    return {"ms": times, "mib": used, "parameters": parameters, "gpu": torch.cuda.get_device_name() if gpu else None}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/memory_attention_speed.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement in each round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    from kinema.evaluation.results import speed_row, write_results

    keys = [(name, work) for name in MODELS for work in ("train", "forward")] + [(name, "recurrent") for name in RECURRENT]
    found = in_turns(keys, args.rounds, lambda name, work: apart(__file__, name, work, args.device, args.threads, args.seconds))
    what = {
        "train": "training step (forward, backward, clip, Adam)",
        "forward": "forward pass",
        "recurrent": "BiGRU of 64 units for 3 coordinates, 50 frames: forward and backward",
    }
    rows = []
    for (name, work), runs in found.items():
        row = speed_row(
            f"{name}, {work}",
            f"{what[work]}, batch {BATCHES[work]}, per clip",
            args.threads,
            "float32",
            [ms for run in runs for ms in run["ms"]],
            items=BATCHES[work],
            peak_mib=round(max(run["mib"] for run in runs)),
            parameters=runs[0]["parameters"],
            device=runs[0]["gpu"],
        )
        rows.append(row)
        print(f"{row['name']:44} {row['ms']['median']:8.3f} ms a clip, {row['per_second']:8.1f} clips a second, {row['peak_mib']} MiB")
    print(
        write_results(args.out, f"Temporal attention with ResNet-18, {args.device}, {args.threads} thread{'s' * (args.threads > 1)}", rows)
    )


if __name__ == "__main__":
    start(main, measure)
