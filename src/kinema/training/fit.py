"""From a recipe to a measured bundle: one run.

Its folder holds recipe.yaml, log.csv, tensorboard/, last.ckpt (the whole state after the last complete epoch) and, at the end, what
`kinema.training.run_folder` tells of. Where superclasses have to be found first, first-pass/ in it is a run of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kinema._write import write_whole
from kinema.errors import KinemaError, RecipeError
from kinema.hierarchy import Hierarchy, save_hierarchy
from kinema.models.registry import create_model, model_config
from kinema.training import typed
from kinema.training.checkpoint import load_checkpoint, save_checkpoint
from kinema.training.closed_form import fit_at_once, is_fitted_at_once
from kinema.training.data import Prepared, crop_text, prepare, prepare_whole
from kinema.training.encoded import Encoder, encoded
from kinema.training.hierarchy import (
    FIRST_PASS,
    HEADS,
    HIERARCHY,
    Heads,
    finished_alike,
    first_pass,
    found_hierarchy,
    given_hierarchy,
    make_heads,
    save_heads,
    stages_of,
)
from kinema.training.importing import start_bundle
from kinema.training.load import check_recipe, dump_recipe, load_recipe
from kinema.training.loop import History, Stage, probabilities
from kinema.training.monitor import Monitor
from kinema.training.recipe import EngineConfig, Recipe
from kinema.training.run_folder import RECIPE, RESULT, RunResult, quoted, read_run, result_of, write_run
from kinema.training.transfer import Account, initialise
from kinema.transforms.batches import Samples

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import Precision

CHECKPOINT = "last.ckpt"


class Interrupted(KinemaError):
    """Training was stopped by its user; its state is saved."""

    status = 130


def fit(recipe: Recipe, out: str | Path, resume: bool = False, progress: bool = True) -> RunResult:
    """Train what `recipe` describes, measure it on the test part, and write the run's folder `out`.

    `resume` goes on after the last complete epoch of an earlier call with the same recipe, to the same result; where nothing was
    saved yet it starts from the beginning. `progress` shows it on stderr.

    Raises `KinemaError`: `RecipeError`, `DataError` and so on before anything is written; `Interrupted` on Ctrl-C.
    """
    check_recipe(recipe)
    if recipe.init.freeze and not recipe.init.bundle:
        raise RecipeError("init.freeze would freeze random values; init.bundle names the weights that are frozen")
    model_config(recipe.model.name, **recipe.model.config)  # told before minutes are spent on reading
    if recipe.init.bundle:
        start_bundle(recipe.init, recipe.input.layout)
    if recipe.quotes:
        quoted(recipe.quotes)
    out = Path(out).expanduser()
    fabric = make_fabric(recipe.engine)
    checkpoint = _open(out, recipe, resume)
    if checkpoint is not None and (out / RESULT).exists():
        return read_run(out)
    first = _open(out / FIRST_PASS, first_pass(recipe), resume) if recipe.hierarchy.two_passes else None
    fabric.barrier()
    with reproducible(recipe, fabric):
        prepared, hierarchy = prepare(recipe), None
        if recipe.hierarchy.wanted:
            hierarchy = _superclasses(recipe, out, fabric, prepared, first, progress)
        return _fit(recipe, out, fabric, prepared, hierarchy, checkpoint, progress)


def _superclasses(
    recipe: Recipe, out: Path, fabric: Fabric, prepared: Prepared, checkpoint: dict[str, Any] | None, progress: bool
) -> Hierarchy:
    """The superclasses that the recipe names; or those of a first pass, which is trained now, unless it is finished here or elsewhere."""
    model, _ = make_model(recipe, prepared.train, len(prepared.classes))
    if recipe.hierarchy.counts:
        stages_of(recipe, model, len(recipe.hierarchy.counts))  # told before minutes are spent on a first pass
    test_ids = prepared.test.clip_ids if prepared.test is not None else ()
    hierarchy = given_hierarchy(recipe, prepared.classes, test_ids)
    if hierarchy is None:
        own = [clip.id for clip in prepared.parts.train + prepared.parts.val]
        run = finished_alike(recipe, out, own)
        if run is None:
            if progress and fabric.is_global_zero:
                print("first pass, whose confusions make the superclasses", file=sys.stderr)
            first, run = first_pass(recipe), out / FIRST_PASS
            alike = recipe.fit.selection in ("validation", "refit")  # the same clips train and validate
            _fit(first, run, fabric, prepared if alike else prepare(first), None, checkpoint, progress)
        fabric.barrier()
        hierarchy = found_hierarchy(recipe, run, prepared.classes, test_ids)
    make_heads(recipe, model, prepared.train, hierarchy)  # likewise, before the folder is begun
    return hierarchy


def make_fabric(engine: EngineConfig) -> Fabric:
    """The devices that a recipe asks for, launched; `RecipeError` where they are not there."""
    from lightning_fabric import Fabric

    several = engine.devices * engine.nodes > 1
    try:
        fabric = Fabric(
            accelerator=engine.accelerator,
            devices=engine.devices,
            num_nodes=engine.nodes,
            plugins=_precision(engine),
            strategy="ddp" if several else "auto",
        )
        fabric.launch()
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(f"engine: {' '.join(str(error).split())}") from error
    return fabric


def _precision(engine: EngineConfig) -> Precision:
    from lightning_fabric.plugins import MixedPrecision, Precision

    class FullInput(MixedPrecision):
        """Mixed precision of what networks compute. Fabric's would round their input too, and coordinates need their digits."""

        def convert_input(self, data: Any) -> Any:
            return data

    if engine.precision == "32-true":
        return Precision()
    gpu = engine.accelerator in ("cuda", "gpu") or (engine.accelerator == "auto" and torch.cuda.is_available())
    return FullInput(engine.precision, "cuda" if gpu else "cpu")


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


def _fit(
    recipe: Recipe,
    out: Path,
    fabric: Fabric,
    prepared: Prepared,
    hierarchy: Hierarchy | None,
    checkpoint: dict[str, Any] | None,
    progress: bool,
) -> RunResult:
    model, account = make_model(recipe, prepared.train, len(prepared.classes))
    if fabric.is_global_zero and checkpoint is None:
        write_whole(out / RECIPE, dump_recipe(recipe).encode())
    with Monitor(out, recipe, enabled=progress and fabric.is_global_zero, writes=fabric.is_global_zero) as monitor:
        if recipe.init.bundle or recipe.init.freeze:
            monitor.say(str(account))
        if prepared.skipped:
            monitor.say("\n".join([f"{len(prepared.skipped)} clips skipped:", *prepared.skipped]))
        if prepared.uncropped:
            monitor.say(crop_text(prepared.uncropped))
        if prepared.saturated:
            monitor.say(f"{len(prepared.saturated)} clips have signals at the end of the sensor's range; they are used as they are")
        if hierarchy is not None:
            monitor.say(hierarchy.text())
        encoder = Encoder(model, recipe, fabric, monitor.say) if recipe.fit.encode else None
        if encoder is not None:
            prepared = encoded(prepared, encoder)
        try:
            history = _train(recipe, out, fabric, prepared, model, hierarchy, encoder, checkpoint, monitor)
            model.load_state_dict(history[-1].best["state"])
            p = None
            if prepared.test is not None:
                p = probabilities(model.to(fabric.device), prepared.test, fabric, recipe.fit.batch_size, recipe.fit.views).numpy()
        except KeyboardInterrupt:
            kept = f"--resume goes on from {out / CHECKPOINT}" if (out / CHECKPOINT).exists() else "nothing was saved yet"
            raise Interrupted(f"interrupted after {monitor.epochs} complete epochs; {kept}") from None
    result, scores = result_of(recipe, prepared, history, p, account, hierarchy)
    if fabric.is_global_zero:
        if hierarchy is not None:
            save_heads(history[-1].best["heads"], out / HEADS)
            save_hierarchy(hierarchy, out / HIERARCHY)
        write_run(out, recipe, prepared, model, scores, p, history[0].best.get("val_p"), result, hierarchy)
    fabric.barrier()
    return RunResult(out, result)


def _train(
    recipe: Recipe,
    out: Path,
    fabric: Fabric,
    prepared: Prepared,
    model: nn.Module,
    hierarchy: Hierarchy | None,
    encoder: Encoder | None,
    checkpoint: dict[str, Any] | None,
    monitor: Monitor,
) -> list[History]:
    """The histories of the stages: one, or with `selection: refit` the search and the refit."""
    if is_fitted_at_once(model):  # such models have no stages for classifiers of superclasses
        history = fit_at_once(recipe, prepared, model)
        if fabric.is_global_zero:
            save_checkpoint(out / CHECKPOINT, {})
        return [history]
    finished = [History(**stage) for stage in checkpoint["finished"]] if checkpoint else []
    selection, count = recipe.fit.selection, len(prepared.classes)

    def heads_of(network: nn.Module) -> Heads | None:
        return None if hierarchy is None else make_heads(recipe, network, prepared.train, hierarchy)

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
        stage = Stage(recipe, fabric, model, prepared.train, val, count, heads=heads_of(model))
        finished.append(train(stage, "train"))
        if prepared.val is not None:
            stage.weights.load_state_dict(finished[0].best["state"])
            finished[0].best["val_p"] = probabilities(stage.weights, prepared.val, fabric, recipe.fit.batch_size, recipe.fit.views)
        if selection != "refit":
            return finished
    found = finished[0]
    found.best.pop("state", None)
    fresh, _ = make_model(recipe, prepared.train, count)
    whole = prepare_whole(prepared, recipe)
    found.best.pop("heads", None)
    every = encoder.of(whole) if encoder else whole
    again = {"epochs": found.best["epoch"], "replay": found.reduced, "heads": heads_of(fresh)}
    stage = Stage(recipe, fabric, fresh, every, None, count, **again)
    return [*finished, train(stage, "refit")]
