"""A study run and put into one table of results. What is finished is not run again."""

from __future__ import annotations

import sys
from pathlib import Path

from kinema.evaluation.results import write_results
from kinema.training.data import class_groups
from kinema.training.fit import fit
from kinema.training.load import load_recipe
from kinema.training.run_folder import RunResult
from kinema.training.study_fusion import fused_rows
from kinema.training.study_plan import Row, Study, load_study, members, planned_runs, slug
from kinema.training.study_pruning import pruned_rows
from kinema.training.study_rows import table_rows


def run_study(path: str | Path, out_runs: str | Path = "runs", results_dir: str | Path = "results", progress: bool = True) -> Path:
    """Run what is not finished yet, then write `results_dir/<result>.json`; returns its path.

    A run's folder carries a hash of its recipe (and of the bundle that it starts from): one whose recipe changed is run
    anew beside the old one, one that was interrupted goes on.
    """
    path, out_runs = Path(path), Path(out_runs)
    study = load_study(path)
    for row in study.rows:
        if row.told:
            class_groups(load_recipe(path.parent / row.recipe, row.set).data, row.told)
    rows = []
    for row in study.rows:
        if row.fuse:
            runs = {
                name: _finished(member.study, member.row, member.path.parent, out_runs, progress)
                for name, member in zip(row.fuse, members(study, row, path), strict=True)
            }
            rows += fused_rows(row, runs, out_runs / study.result / slug(row.name))
        elif row.prune.passes:
            base = next(each for each in study.rows if each.name == row.start)
            runs = _finished(study, base, path.parent, out_runs, progress)
            rows += pruned_rows(row, runs, out_runs / study.result / slug(row.name), progress)
        else:
            runs = _finished(study, row, path.parent, out_runs, progress)
            rows += table_rows(row, runs, load_recipe(path.parent / row.recipe, row.set).data)
    return write_results(Path(results_dir) / f"{study.result}.json", study.title, rows)


def _finished(study: Study, row: Row, folder: Path, out_runs: Path, progress: bool) -> dict[tuple[int, str], RunResult]:
    """The runs of a row by seed and fold, trained now where they were not before."""
    results = {}
    for run in planned_runs(study, row, folder, out_runs):
        results[run.seed, run.fold] = fit(run.recipe, run.out, resume=True, progress=progress)
        if progress:
            where = f", fold {run.fold}" if run.fold else ""
            print(f"{row.name}{where}, seed {run.seed}: {100 * results[run.seed, run.fold].top1:.2f} %", file=sys.stderr)
    return results
