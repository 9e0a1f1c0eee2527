"""How long the networks of a study's rows take for a clip on a CPU: the forward pass, from what the loader gives to the logits.

    python benchmarks/study_speed.py STUDY [--runs runs] [--out results/STUDY_speed.json] [--threads 1 2] [--seconds 2] [--rounds 3]

STUDY is one that was trained (`kinema reproduce STUDY`): each row's network is that of its first run's bundle, with its weights, as
`kinema predict` builds it. One clip at a time, single precision, freed memory kept; heatmaps are drawn within that time. Rows that fuse
others are left out. The rows take turns in several rounds.
"""

import argparse
from pathlib import Path

from _measure import apart, in_turns, memory, memory_name, row_text, start, times_of


def measure(path, threads, seconds) -> list[float]:
    import torch

    from kinema import bundle

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    loaded = bundle.load(path)
    model, inputs = loaded.build(), loaded.shape.example()

    def run():
        with torch.inference_mode():
            model(**inputs)

    return times_of(run, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement in each round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    from kinema.evaluation.results import speed_row, write_results
    from kinema.training.study_plan import find_studies, load_study, planned_runs

    (path,) = find_studies(args.study)
    study = load_study(path)
    bundles = {}
    for row in study.rows:
        if row.fuse:
            continue
        found = next(planned_runs(study, row, path.parent, args.runs)).out / "bundle.safetensors"
        if not found.exists():
            parser.error(f"row {row.name!r} is not trained: {found} is not there; `kinema reproduce {args.study}` trains it")
        bundles[row.name] = str(found)
    keys = [(name, threads) for name in bundles for threads in args.threads]
    times = in_turns(keys, args.rounds, lambda name, threads: apart(__file__, bundles[name], threads, args.seconds, **memory(True)))
    rows = []
    for (name, threads), rounds in times.items():
        taken = [ms for of_round in rounds for ms in of_round]
        rows.append(speed_row(name, "forward pass of one clip", threads, "float32", taken, memory=memory_name(True)))
        print(row_text(rows[-1]))
    out = args.out or Path("results") / f"{study.result}_speed.json"
    print(write_results(out, f"Networks of {study.result}: one clip at a time", rows))


if __name__ == "__main__":
    start(main, measure)
