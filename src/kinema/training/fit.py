"""From a recipe to a measured bundle: one run and its folder.

The folder holds recipe.yaml, log.csv, tensorboard/, last.ckpt (the whole state after the last complete epoch) and, at the end,
bundle.safetensors, scores.npz (probabilities of the test part; samples.npz before the phases of each window were averaged;
val_scores.npz of the validation part, by weights that never trained on it) and result.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from kinema import bundle as bundles
from kinema._write import write_whole
from kinema.datasets.audit import clean_test_ids
from kinema.errors import KinemaError, RecipeError, unknown
from kinema.evaluation.evaluate import clean_metrics
from kinema.evaluation.results import environment, read_results
from kinema.evaluation.scores import Scores
from kinema.models.registry import create_model, model_config
from kinema.training import typed
from kinema.training.checkpoint import load_checkpoint, save_checkpoint
from kinema.training.closed_form import fit_at_once, is_fitted_at_once
from kinema.training.data import Prepared, modalities, prepare, prepare_whole, recording, window_count
from kinema.training.importing import start_bundle
from kinema.training.load import check_recipe, dump_recipe, load_recipe
from kinema.training.loop import History, Stage, probabilities
from kinema.training.monitor import Monitor
from kinema.training.recipe import EngineConfig, Recipe
from kinema.training.transfer import Account, initialise
from kinema.transforms.batches import Samples

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECKPOINT, BUNDLE, RESULT, RECIPE = "last.ckpt", "bundle.safetensors", "result.json", "recipe.yaml"
SCORES, SAMPLES, VALIDATION = "scores.npz", "samples.npz", "val_scores.npz"
SELECTED = {
    "validation": "best epoch on validation",
    "refit": "best epoch on validation, then trained anew on the whole training part",
    "last": "last epoch",
    "paper": "best epoch on the TEST part, as the publication did",
}


class Interrupted(KinemaError):
    """Training was stopped by its user; its state is saved."""

    status = 130


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


def fit(recipe: Recipe, out: str | Path, resume: bool = False, progress: bool = True) -> RunResult:
    """Train what `recipe` describes, measure it on the test part, and write the run's folder `out`.

    `resume` goes on after the last complete epoch of an earlier call with the same recipe, to the same result; where nothing was
    saved yet it starts from the beginning. `progress` shows it on stderr.

    Raises `KinemaError`: `RecipeError`, `DataError` and so on before anything is written; `Interrupted` on Ctrl-C.
    """
    check_recipe(recipe)
    model_config(recipe.model.name, **recipe.model.config)  # told before minutes are spent on reading
    if recipe.init.bundle:
        start_bundle(recipe.init, recipe.input.layout)
    if recipe.quotes:
        _quoted(recipe.quotes)
    out = Path(out).expanduser()
    fabric = make_fabric(recipe.engine)
    checkpoint = _open(out, recipe, resume)
    if checkpoint is not None and (out / RESULT).exists():
        return read_run(out)
    fabric.barrier()
    with reproducible(recipe, fabric):
        return _fit(recipe, out, fabric, checkpoint, progress)


def read_run(out: str | Path) -> RunResult:
    """The result of a finished run; `KinemaError` where `out` holds none."""
    path = Path(out) / RESULT
    try:
        return RunResult(Path(out), json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise KinemaError(f"{path}: no finished run: {error.strerror or error}") from error
    except ValueError as error:
        raise KinemaError(f"{path}: is no result: {error}") from error


def make_fabric(engine: EngineConfig) -> Fabric:
    """The devices that a recipe asks for, launched; `RecipeError` where they are not there."""
    from lightning_fabric import Fabric

    several = engine.devices * engine.nodes > 1
    try:
        fabric = Fabric(
            accelerator=engine.accelerator,
            devices=engine.devices,
            num_nodes=engine.nodes,
            precision=engine.precision,
            strategy="ddp" if several else "auto",
        )
        fabric.launch()
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(f"engine: {' '.join(str(error).split())}") from error
    return fabric


@contextmanager
def reproducible(recipe: Recipe, fabric: Fabric) -> Iterator[None]:
    """The same seed gives the same result here; the caller's random state, threads and settings come back afterwards."""
    deterministic, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, threads = torch.backends.cudnn.benchmark, torch.get_num_threads()
    devices = [fabric.device.index or 0] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            if devices:
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                torch.use_deterministic_algorithms(True, warn_only=True)
                torch.backends.cudnn.benchmark = False
            if recipe.engine.threads:
                torch.set_num_threads(recipe.engine.threads)
            torch.manual_seed(recipe.seed)
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn)
            torch.backends.cudnn.benchmark = benchmark
            torch.set_num_threads(threads)


def make_model(recipe: Recipe, samples: Samples, classes: int) -> tuple[nn.Module, Account]:
    """The recipe's network for these samples, initialised; the seed decides its random weights."""
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model.name, classes, samples.shape, **recipe.model.config)
    return model, initialise(model, recipe.init, recipe.input.layout)


def _open(out: Path, recipe: Recipe, resume: bool) -> dict[str, Any] | None:
    """Check the folder before any work; the checkpoint to go on from, or None."""
    path = out / CHECKPOINT
    if not resume:
        if path.exists() or (out / RESULT).exists():
            raise KinemaError(f"{out} holds a run already; --resume goes on with it, another --out starts a new one")
        return None
    if not path.exists():
        return None
    checkpoint = load_checkpoint(path)
    saved = dict(_leaves(typed.plain(load_recipe(out / RECIPE))))
    free = ("data.root", "title", "paper", "quotes")
    differing = [key for key, value in _leaves(typed.plain(recipe)) if key not in free and value != saved[key]]
    if differing:
        raise RecipeError(f"{out} was started with other values of {', '.join(differing)}; resume with the same, or choose another --out")
    return checkpoint


def _leaves(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a recipe's sections."""
    for key, entry in value.items():
        if isinstance(entry, dict):
            yield from ((f"{key}.{name}", leaf) for name, leaf in entry.items())
        else:
            yield key, entry


def _fit(recipe: Recipe, out: Path, fabric: Fabric, checkpoint: dict[str, Any] | None, progress: bool) -> RunResult:
    prepared = prepare(recipe)
    model, account = make_model(recipe, prepared.train, len(prepared.classes))
    if fabric.is_global_zero and checkpoint is None:
        write_whole(out / RECIPE, dump_recipe(recipe).encode())
    with Monitor(out, recipe, enabled=progress and fabric.is_global_zero, writes=fabric.is_global_zero) as monitor:
        if recipe.init.bundle or recipe.init.freeze:
            monitor.say(str(account))
        if prepared.skipped:
            monitor.say("\n".join([f"{len(prepared.skipped)} clips skipped:", *prepared.skipped]))
        saturated = _saturated(prepared)
        if saturated:
            monitor.say(f"{len(saturated)} clips have signals at the end of the sensor's range; they are used as they are")
        try:
            history = _train(recipe, out, fabric, prepared, model, checkpoint, monitor)
            model.load_state_dict(history[-1].best["state"])
            p = None
            if prepared.test is not None:
                p = probabilities(model.to(fabric.device), prepared.test, fabric, recipe.fit.batch_size, recipe.fit.views).numpy()
        except KeyboardInterrupt:
            kept = f"--resume goes on from {out / CHECKPOINT}" if (out / CHECKPOINT).exists() else "nothing was saved yet"
            raise Interrupted(f"interrupted after {monitor.epochs} complete epochs; {kept}") from None
    result, scores = _result(recipe, prepared, history, p, account)
    if fabric.is_global_zero:
        _write_run(out, recipe, prepared, model, scores, p, result)
        if "val_p" in history[0].best:
            Scores.from_samples(history[0].best["val_p"].numpy(), prepared.val, prepared.classes).save(out / VALIDATION)
    fabric.barrier()
    return RunResult(out, result)


def _train(
    recipe: Recipe, out: Path, fabric: Fabric, prepared: Prepared, model: nn.Module, checkpoint: dict[str, Any] | None, monitor: Monitor
) -> list[History]:
    """The histories of the stages: one, or with `selection: refit` the search and the refit."""
    if is_fitted_at_once(model):
        history = fit_at_once(recipe, prepared, model)
        if fabric.is_global_zero:
            save_checkpoint(out / CHECKPOINT, {})
        return [history]
    finished = [History(**stage) for stage in checkpoint["finished"]] if checkpoint else []
    selection, count = recipe.fit.selection, len(prepared.classes)

    def train(stage: Stage, name: str) -> History:
        def after_epoch(stage: Stage) -> None:
            if fabric.is_global_zero:
                save_checkpoint(out / CHECKPOINT, {"finished": [vars(history) for history in finished], "stage": stage.state_dict()})
            monitor.after_epoch(name, [*finished, stage.history])

        if checkpoint and len(checkpoint["finished"]) == len(finished):
            stage.load_state_dict(checkpoint["stage"])
        monitor.start(name, stage.epochs, [*finished, stage.history])
        return stage.run(after_epoch, monitor.after_step)

    if not finished:
        val = prepared.test if selection == "paper" else prepared.val
        stage = Stage(recipe, fabric, model, prepared.train, val, count)
        finished.append(train(stage, "train"))
        if prepared.val is not None:
            stage.weights.load_state_dict(finished[0].best["state"])
            finished[0].best["val_p"] = probabilities(stage.weights, prepared.val, fabric, recipe.fit.batch_size, recipe.fit.views)
        if selection != "refit":
            return finished
    found = finished[0]
    found.best.pop("state", None)
    fresh, _ = make_model(recipe, prepared.train, count)
    stage = Stage(recipe, fabric, fresh, prepare_whole(prepared, recipe), None, count, epochs=found.best["epoch"], replay=found.reduced)
    return [*finished, train(stage, "refit")]


def _result(
    recipe: Recipe, prepared: Prepared, history: list[History], p: np.ndarray | None, account: Account
) -> tuple[dict[str, Any], Scores | None]:
    """What result.json holds, and the scores behind it. `p`: (N, K) probabilities of the test samples; None where every clip trained."""
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
        "seed": recipe.seed,
        "selection": recipe.fit.selection,
        "epoch": best["epoch"],
        "epochs": history[0].epochs,
        **{key: best[key] for key in ("val_top1", "val_loss") if key in best},
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        **(_measured(prepared, scores, p) if scores is not None else {}),
        **({"quoted": _quoted(recipe.quotes)} if recipe.quotes else {}),
        "skipped": list(prepared.skipped),
        **({"saturated": saturated} if (saturated := _saturated(prepared)) else {}),
        "environment": environment(),
        **{f"{name}_ids": value for name, value in ids.items()},
    }
    if recipe.init.bundle:
        result["init"] = account.to_dict()
    return result, scores


def _saturated(prepared: Prepared) -> list[str]:
    return [clip_id for part in (prepared.train, prepared.val, prepared.test) if part is not None for clip_id in part.saturated]


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


def _quoted(quotes: str) -> dict[str, Any]:
    """The row of results that a recipe quotes as "FILE: ROW": what it is, and its figure."""
    path, _, name = quotes.partition(": ")
    rows = {row["name"]: row for row in read_results(path)["rows"] if "top1" in row}
    if name not in rows:
        raise RecipeError(f"quotes: {unknown('row', name, rows)} (in {path})")
    kept = ("name", "dataset", "protocol", "unit", "n_train", "n_test", "seeds", "top1", "top1_by_fold", "selection", "note")
    return {"file": path, **{key: rows[name][key] for key in kept if key in rows[name]}}


def _figure(row: dict[str, Any]) -> str:
    low, high = row["top1"]["interval"]
    return (
        f"{100 * row['top1']['mean']:.2f} % of {row['n_test']} {row.get('unit', 'clips')}, {row['protocol']} "
        f"(95 % interval {100 * low:.1f}-{100 * high:.1f}; {row['file']}, row {row['name']!r})"
    )


def _write_run(
    out: Path,
    recipe: Recipe,
    prepared: Prepared,
    model: nn.Module,
    scores: Scores | None,
    p: np.ndarray | None,
    result: dict[str, Any],
) -> None:
    of = modalities(recipe)
    about = recording(prepared.parts, prepared.train, of)
    quoted = result.get("quoted")
    long = ("train_ids", "val_ids", "test_ids", "confusion", "per_class", "skipped", "saturated", "init", "clips", "samples", "clean")
    kept = bundles.Bundle(
        name=out.name,
        model=recipe.model.name,
        config={**recipe.model.config, **getattr(model, "fitted_config", {})},
        classes=prepared.classes,
        input=recipe.input,
        channels=getattr(prepared.train.shape, "pose", prepared.train.shape).channels if "pose" in of else 0,
        depth=recipe.depth if "depth" in of else None,
        inertial=recipe.inertial if "inertial" in of else None,
        state=model.state_dict(),
        recipe=typed.plain(replace(recipe, data=replace(recipe.data, root=None))),
        result={key: value for key, value in result.items() if key not in long},
        notes=recipe.title + (f". Trained on all clips; the figure is that of folds: {_figure(quoted)}" if quoted else ""),
        views=recipe.fit.views,
        fps=about.fps,
        seconds=about.seconds,
        unit=about.unit,
    )
    bundles.save(kept, out / BUNDLE)
    if scores is not None:
        scores.save(out / SCORES)
        if len(p) > len(scores):
            _by_phase(prepared, p).save(out / SAMPLES)
    write_whole(out / RESULT, json.dumps(result, indent=1, default=_number).encode())


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
