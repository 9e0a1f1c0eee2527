"""Models that are fitted at once, by a solver, and not by gradient steps: those that have a method `fit_samples`."""

from __future__ import annotations

import time
from dataclasses import replace

from torch import nn

from kinema.errors import RecipeError
from kinema.training.data import Prepared
from kinema.training.loop import AUGMENT, History, derived_seed
from kinema.training.recipe import Recipe
from kinema.transforms.config import PoseAugment


def is_fitted_at_once(model: nn.Module) -> bool:
    return hasattr(model, "fit_samples")


def fit_at_once(recipe: Recipe, prepared: Prepared, model: nn.Module) -> History:
    """Fit `model` to the training part, `fit.repeats` draws of each sample changed as `augment` says; the history of its only step.

    Raises `RecipeError` for settings that mean something to gradient steps alone.
    """
    name = f"model {recipe.model.name!r} is fitted at once"
    if recipe.fit.selection != "last":
        raise RecipeError(f"{name}: there are no epochs to select from; fit.selection: last is expected, not {recipe.fit.selection}")
    if recipe.augment.mixup:
        raise RecipeError(f"{name}, to one class a sample; augment.mixup mixes classes and must be 0")
    # Copies are samples by now; what is left of the augmentation is what is drawn.
    drawn = replace(recipe.augment, mirror_copies=False, mirror_swaps=True)
    augment = recipe.augment if drawn != PoseAugment() else None
    if augment is None and recipe.fit.repeats > 1:
        raise RecipeError(f"{name}: fit.repeats is {recipe.fit.repeats}, and without random augmentation every draw is the same")
    started = time.perf_counter()
    model.fit_samples(prepared.train, prepared.test, augment, recipe.fit.repeats, derived_seed(recipe.seed, AUGMENT))
    return History(rows=[{"epoch": 1, "seconds": time.perf_counter() - started}], best={"epoch": 0, "state": model.state_dict()})
