"""How long a pruned network takes on a CPU for one clip: as it is with zeros in the place of filters, and compact.

    python benchmarks/pruning_speed.py [--out results/pruning_speed.json] [--threads 2] [--size 112] [--depths 18]
    python benchmarks/pruning_speed.py --pruning FOLDER ...

Without `--pruning` inflated ResNets of 8 frames are measured, whose weights are drawn (how long they take does not depend on them) and
whose filters go in passes of `--ratio`, by layer and altogether; with it the passes that `kinema prune` left in FOLDER. Each network
stands in three forms: "masked", as PyTorch runs it, whose time is the dense network's; "fused", the same with its norms in its
convolutions, which is what compaction owes to that alone; and "compact". Every form is measured in a process of its own, with freed memory
kept; all take turns in several rounds. Answers of the compact network are compared with the masked one's.
"""

import argparse
from pathlib import Path

from _measure import apart, in_turns, memory, memory_name, row_text, start, times_of

FORMS = ("masked", "fused", "compact")
FRAMES = 8


def drawn(depth, size, share, scope):
    """A network whose filters are gone to that share, and what a bundle would say of it."""
    import torch

    from kinema.models._prune import choose, prunable, pruned_of, zero
    from kinema.models.registry import VideoShape, create_model

    torch.manual_seed(0)
    shape = VideoShape(channels=3, frames=FRAMES, height=size, width=size)
    model = create_model("inflated-resnet", 21, shape, depth=depth).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv3d):  # norms of filters as different as those of trained networks
                module.weight.mul_(torch.empty(module.out_channels, 1, 1, 1, 1).uniform_(0.5, 1.5) * (module.weight[0].numel() ** 0.5))
                module.weight.div_(module.weight.flatten(1).norm(dim=1).mean())
            elif isinstance(module, torch.nn.BatchNorm3d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, std=0.1)
    if not share:
        return model, None, shape
    layers = prunable(model, shape)
    pruned = pruned_of(layers, choose(model, layers, share, scope))
    zero(model, pruned)
    return model, pruned, shape


def kept(folder):
    """The network of a pass, likewise."""
    from kinema.bundle import load

    bundle = load(folder)
    return bundle.build(), bundle.pruned, bundle.shape


def form_of(form, model, pruned, shape):
    from kinema.models._compact import compacted
    from kinema.models._fuse import fuse

    if form == "masked":
        return model
    return fuse(model, shape) if form == "fused" else compacted(model, pruned, shape)[0]


def measure(source, form, dtype, threads, seconds) -> dict:
    import torch

    from kinema.models._count import count

    torch.set_num_threads(threads)
    model, pruned, shape = kept(source) if isinstance(source, str) else drawn(*source)
    made = form_of(form, model, pruned, shape)
    inputs = shape.example(1)
    with torch.inference_mode():
        apart_by = float((made(**inputs) - model(**inputs)).abs().max() / model(**inputs).abs().max())
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            times = times_of(lambda: made(**inputs), seconds)
    parameters, multiply_adds = count(made, shape)
    return {"times": times, "apart": apart_by, "parameters": parameters, "macs": multiply_adds, "shape": str(shape)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/pruning_speed.json"))
    parser.add_argument("--pruning", type=Path, help="a folder that kinema prune wrote")
    parser.add_argument("--depths", type=int, nargs="+", default=[18])
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--ratio", type=float, default=0.1)
    parser.add_argument("--passes", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5, 6])
    parser.add_argument("--scopes", nargs="+", choices=("layer", "all"), default=["layer", "all"])
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement in each round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    from kinema.evaluation.results import speed_row, write_results

    sources = {}
    if args.pruning:
        from kinema.bundle import load

        for folder in sorted(args.pruning.glob("pass[0-9]*"), key=lambda path: int(path.name[4:])):
            sources[f"{load(folder).model}, {folder.name}"] = str(folder)
    else:
        for depth in args.depths:
            for scope in args.scopes:
                for number in args.passes:
                    name = f"inflated-resnet {depth}, pass {number} by {scope}" if number else f"inflated-resnet {depth}, not pruned"
                    sources[name] = (depth, args.size, round(number * args.ratio, 6), scope)
    keys = [
        (name, form, dtype, threads)
        for name, source in sources.items()
        for form in (FORMS if isinstance(source, str) or source[2] else FORMS[:2])
        for dtype in args.dtypes
        for threads in args.threads
    ]

    def measured(name, form, dtype, threads):
        return apart(__file__, sources[name], form, dtype, threads, args.seconds, **memory(True))

    found = in_turns(keys, args.rounds, measured)
    rows, medians = [], {}
    for (name, form, dtype, threads), rounds in found.items():
        some = rounds[0]
        work = f"forward pass of one clip, {some['shape']}"
        times = [ms for of_round in rounds for ms in of_round["times"]]
        sizes = {"parameters": some["parameters"], "macs": some["macs"], "apart": some["apart"], "memory": memory_name(True)}
        row = speed_row(f"{name}: {form}", work, threads, dtype, times, **sizes)
        medians[name, form, dtype, threads] = row["ms"]["median"]
        if form != "masked":
            row["speedup"] = medians[name, "masked", dtype, threads] / row["ms"]["median"]
        rows.append(row)
        print(row_text(row), f"{row.get('speedup', 1):.2f} x, apart by {some['apart']:.0e}")
    print(write_results(args.out, "A pruned network on a CPU, one clip: with zeros, and compact", rows))


if __name__ == "__main__":
    start(main, measure)
