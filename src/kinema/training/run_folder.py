"""What a run leaves in its folder when training is over, and how it is read again.

bundle.safetensors, scores.npz (probabilities of the test part; samples.npz before the phases of each window were averaged;
val_scores.npz of the validation part, by weights that never trained on it), recipe.yaml and result.json; where superclasses trained
along, hierarchy.json and heads.safetensors, their classifiers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from kinema import bundle as bundles
from kinema._write import write_whole
from kinema.datasets.audit import clean_test_ids
from kinema.datasets.protocols import leak_note
from kinema.errors import KinemaError, RecipeError, unknown
from kinema.evaluation.confusions import VALIDATION, superclass_scores
from kinema.evaluation.evaluate import clean_metrics
from kinema.evaluation.results import environment, read_results
from kinema.evaluation.scores import Scores
from kinema.hierarchy import Hierarchy
from kinema.training import typed
from kinema.training.data import Prepared, modalities, recording, window_count
from kinema.training.hierarchy import proper_levels
from kinema.training.loop import History
from kinema.training.recipe import Recipe
from kinema.training.transfer import Account

BUNDLE, RESULT, RECIPE = "bundle.safetensors", "result.json", "recipe.yaml"
SCORES, SAMPLES = "scores.npz", "samples.npz"
SELECTED = {
    "validation": "best epoch on validation",
    "refit": "best epoch on validation, then trained anew on the whole training part",
    "last": "last epoch",
    "paper": "best epoch on the TEST part, as the publication did",
}


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, and what result.json holds."""

    out: Path
    result: dict[str, Any]

    @property
    def top1(self) -> float:
        return self.result["top1"]

    def to_dict(self) -> dict[str, Any]:
        return {"out": str(self.out), "bundle": str(self.out / BUNDLE), **self.result}

    def text(self) -> str:
        result = self.result
        if "top1" not in result:
            return self._untested()
        low, high = result["interval"]
        lines = [
            f"{result['dataset']}, {result['protocol']}" + (f", fold {result['fold']}" if result["fold"] != result["protocol"] else ""),
            f"  clips     {result['n_train']} train, {result['n_val']} validate, {result['n_test']} test",
            f"  kept      epoch {result['epoch']} of {result['epochs']}: {SELECTED[result['selection']]}"
            if result["epoch"]
            else f"  fitted    at once, in {result['seconds']} s",
            f"  top-1     {100 * result['top1']:.2f} % of {result['n']} {result['unit']} (95 % interval {100 * low:.1f}-{100 * high:.1f})",
            f"  classes   {100 * result['mean_class']:.2f} % mean class accuracy; loss {result['loss']:.3f}",
        ]
        if result["unit"] != "clips":
            clips = result["clips"]
            lines.append(f"  by clip   {100 * clips['top1']:.2f} % of {clips['n']} clips")
        for level in result.get("hierarchy", {}).get("levels", ()):
            lines.append(f"  {level['count']:<9} superclasses: {100 * level['top1']:.2f} %")
        if "leak" in result:
            lines.append(f"  {leak_note(result['leak'], result['n_test'])}")
        if result["skipped"]:
            lines.append(f"  skipped   {len(result['skipped'])} clips:")
            lines += [f"    {line}" for line in result["skipped"]]
        return "\n".join([*lines, f"  bundle    {self.out / BUNDLE}"])

    def _untested(self) -> str:
        result = self.result
        lines = [f"{result['dataset']}: all {result['n_train']} clips trained, {result['epochs']} epochs; nothing is left to test them"]
        if "quoted" in result:
            lines.append(f"  folds     {_figure(result['quoted'])}")
        return "\n".join([*lines, f"  bundle    {self.out / BUNDLE}"])


def read_run(out: str | Path) -> RunResult:
    """The result of a finished run; `KinemaError` where `out` holds none."""
    path = Path(out) / RESULT
    try:
        return RunResult(Path(out), json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise KinemaError(f"{path}: no finished run: {error.strerror or error}") from error
    except ValueError as error:
        raise KinemaError(f"{path}: is no result: {error}") from error


def result_of(
    recipe: Recipe,
    prepared: Prepared,
    history: list[History],
    p: np.ndarray | None,
    account: Account,
    hierarchy: Hierarchy | None = None,
) -> tuple[dict[str, Any], Scores | None]:
    """What result.json holds, and the scores behind it. `p`: (N, K) probabilities of the test samples; None where every clip trained.
    `hierarchy`: the superclasses whose classifiers trained along."""
    parts, test, rows = prepared.parts, prepared.test, [row for stage in history for row in stage.rows]
    scores = None if p is None else Scores.from_samples(p, test, prepared.classes)
    each = {"train": prepared.train, "val": prepared.val, "test": test}
    ids = {name: list(samples.clip_ids) if samples else [] for name, samples in each.items()}
    best = history[0].best
    result = {
        "title": recipe.title,
        "dataset": parts.source.name,
        "protocol": parts.protocol,
        "fold": parts.split.name,
        **{f"n_{name}": len(value) for name, value in ids.items()},
        # In the unit that is scored, where n_train and so on are clips.
        "units": {name: window_count(samples) if samples else 0 for name, samples in each.items()},
        **({"leak": len(parts.leak)} if parts.leak else {}),
        "seed": recipe.seed,
        "selection": recipe.fit.selection,
        "epoch": best["epoch"],
        "epochs": history[0].epochs,
        **{key: best[key] for key in ("val_top1", "val_loss") if key in best},
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        **(_measured(prepared, scores, p) if scores is not None else {}),
        **({"quoted": quoted(recipe.quotes)} if recipe.quotes else {}),
        "skipped": list(prepared.skipped),
        **({"saturated": list(prepared.saturated)} if prepared.saturated else {}),
        **({"crop": prepared.uncropped} if prepared.uncropped else {}),
        "environment": environment(),
        **{f"{name}_ids": value for name, value in ids.items()},
    }
    if recipe.init.bundle:
        result["init"] = account.to_dict()
    if hierarchy is not None:
        result["hierarchy"] = _levels(hierarchy, scores)
    return result, scores


def _levels(hierarchy: Hierarchy, scores: Scores | None) -> dict[str, Any]:
    """What the superclasses were made of and, by level, how many there are and how often the right one was found in the test part."""
    found = superclass_scores(hierarchy, scores) if scores is not None else [None] * len(hierarchy.levels)
    rows = zip(hierarchy.counts, hierarchy.costs, found, strict=True)
    levels = [{"count": count, "cost": cost, **({} if top1 is None else {"top1": top1})} for count, cost, top1 in rows]
    return {"source": hierarchy.source, "levels": levels}


def quoted(quotes: str) -> dict[str, Any]:
    """The row of results that a recipe quotes as "FILE: ROW": what it is, and its figure."""
    path, _, name = quotes.partition(": ")
    rows = {row["name"]: row for row in read_results(path)["rows"] if "top1" in row}
    if name not in rows:
        raise RecipeError(f"quotes: {unknown('row', name, rows)} (in {path})")
    kept = ("name", "dataset", "protocol", "unit", "n_train", "n_test", "seeds", "top1", "top1_by_fold", "selection", "note")
    return {"file": path, **{key: rows[name][key] for key in kept if key in rows[name]}}


def write_run(
    out: Path,
    recipe: Recipe,
    prepared: Prepared,
    model: nn.Module,
    scores: Scores | None,
    p: np.ndarray | None,
    val_p: Tensor | None,
    result: dict[str, Any],
    hierarchy: Hierarchy | None = None,
) -> None:
    """Write the bundle, the scores and, last, result.json, which marks a run as finished, into `out`.

    Arguments as of `result_of`, and what it returned; `val_p`: (N, K) probabilities of the validation samples, if there are any.
    """
    of = modalities(recipe)
    about = recording(prepared.parts, prepared.train, of)
    of_folds = result.get("quoted")
    long = (
        "train_ids",
        "val_ids",
        "test_ids",
        "confusion",
        "per_class",
        "skipped",
        "saturated",
        "init",
        "clips",
        "samples",
        "clean",
        "hierarchy",
    )
    kept = bundles.Bundle(
        name=out.name,
        model=recipe.model.name,
        config={**recipe.model.config, **getattr(model, "fitted_config", {})},
        classes=prepared.classes,
        input=recipe.input,
        channels=getattr(prepared.train.shape, "pose", prepared.train.shape).channels if "pose" in of else 0,
        depth=recipe.depth if "depth" in of else None,
        inertial=recipe.inertial if "inertial" in of else None,
        video=recipe.video if "video" in of else None,
        state=model.state_dict(),
        recipe=typed.plain(replace(recipe, data=replace(recipe.data, root=None))),
        result={key: value for key, value in result.items() if key not in long},
        notes=recipe.title
        + (f". Trained on all clips; the figure is that of folds: {_figure(of_folds)}" if of_folds else "")
        + (f"; {leak_note(result['leak'], result['n_test'])}" if "leak" in result else ""),
        views=recipe.fit.views,
        fps=about.fps,
        seconds=about.seconds,
        unit=about.unit,
        hierarchy=proper_levels(hierarchy),
        pruned=getattr(model, "pruned", None),
    )
    bundles.save(kept, out / BUNDLE)
    if scores is not None:
        scores.save(out / SCORES)
        if len(p) > len(scores):
            _by_phase(prepared, p).save(out / SAMPLES)
    if val_p is not None:
        Scores.from_samples(val_p.numpy(), prepared.val, prepared.classes).save(out / VALIDATION)
    write_whole(out / RESULT, json.dumps(result, indent=1, default=_number).encode())


def _measured(prepared: Prepared, scores: Scores, p: np.ndarray) -> dict[str, Any]:
    parts = prepared.parts
    copies = set(parts.split.test) - set(clean_test_ids(parts.source, parts.split))
    result = {"unit": scores.unit, **scores.metrics(), "clean": clean_metrics(scores, copies)}
    if scores.unit != "clips":
        result["clips"] = {"unit": "clips", **scores.by_clip().metrics()}
    if len(p) > len(scores):  # several phases of each window
        n_train = int((~prepared.train.mirrored).sum())
        result["samples"] = {"unit": "samples", "n_train": n_train, **_by_phase(prepared, p).metrics()}
    return result


def _by_phase(prepared: Prepared, p: np.ndarray) -> Scores:
    return Scores.from_samples(p, prepared.test, prepared.classes, by_phase=True)


def _figure(row: dict[str, Any]) -> str:
    low, high = row["top1"]["interval"]
    return (
        f"{100 * row['top1']['mean']:.2f} % of {row['n_test']} {row.get('unit', 'clips')}, {row['protocol']} "
        f"(95 % interval {100 * low:.1f}-{100 * high:.1f}; {row['file']}, row {row['name']!r})"
    )


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
