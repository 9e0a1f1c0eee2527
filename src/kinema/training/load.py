"""Recipes: read from YAML, overridden from the command line, checked, written. No torch here, so that it is done at once.

recipe = load_recipe("recipes/hcn_utd_mhad.yaml", ["--fit.lr", "1e-3", "--model.config.dropout", ".3"])
recipe = load_recipe("recipes/hcn_utd_mhad.yaml", {"fit.lr": 1e-3, "data": {"root": "/data/utd"}})
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.training import typed
from kinema.training.recipe import Recipe

# What a value must satisfy beyond its type.
_RANGES: tuple[tuple[str, Any, str], ...] = (
    ("data.val_share", lambda v: 0 < v < 1, "between 0 and 1"),
    ("input.frames", lambda v: v >= 1, "at least 1"),
    ("input.persons", lambda v: v >= 1, "at least 1"),
    ("input.step", lambda v: v >= 1, "at least 1"),
    ("input.phases", lambda v: v and min(v) >= 0, "one or more frame numbers from 0 on"),
    ("input.window", lambda v: v >= 0, "at least 0"),
    ("input.stride", lambda v: v >= 0, "at least 0"),
    ("input.streams", lambda v: v and len(set(v)) == len(v), "one or more different streams"),
    *(
        (f"augment.{name}", lambda v: v >= 0, "at least 0")
        for name in ("rotate", "tilt", "roll", "scale", "shear", "jitter", "warp", "mixup")
    ),
    *(
        (f"augment.{name}", lambda v: 0 <= v <= 1, "between 0 and 1")
        for name in ("mirror", "swap_sides", "limbs", "drop_joints", "drop_frames", "hide_legs")
    ),
    ("augment.crop", lambda v: 0 < v <= 1, "above 0 and at most 1"),
    ("fit.epochs", lambda v: v >= 1, "at least 1"),
    ("fit.batch_size", lambda v: v >= 1, "at least 1"),
    ("fit.lr", lambda v: v > 0, "above 0"),
    *((f"fit.{name}", lambda v: v >= 0, "at least 0") for name in ("weight_decay", "warmup", "early_stop", "clip", "focal_gamma")),
    ("fit.milestones", lambda v: list(v) == sorted(set(v)) and all(m > 0 for m in v), "rising epoch numbers"),
    ("fit.gamma", lambda v: 0 < v <= 1, "above 0 and at most 1"),
    ("fit.patience", lambda v: v >= 1, "at least 1"),
    ("fit.label_smoothing", lambda v: 0 <= v < 1, "at least 0 and below 1"),
    ("fit.ema", lambda v: 0 <= v < 1, "at least 0 and below 1"),
    ("fit.repeats", lambda v: v >= 1, "at least 1"),
    ("fit.views", lambda v: v >= 1, "at least 1"),
    ("fit.encode", lambda v: v >= 0, "at least 0"),
    ("hierarchy.counts", lambda v: all(n == 0 or n >= 2 for n in v), "numbers of superclasses, at least 2 each, or 0 for all classes"),
    ("hierarchy.stages", lambda v: list(v) == sorted(set(v)) and all(n >= 1 for n in v), "rising numbers of stages from 1 on"),
    ("hierarchy.weights", lambda v: not v or (min(v) >= 0 and v[-1] > 0), "at least 0 each, the last above 0"),
    ("hierarchy.restarts", lambda v: v >= 1, "at least 1"),
    ("hierarchy.dropout", lambda v: 0 <= v < 1, "at least 0 and below 1"),
    ("init.slow_factor", lambda v: v > 0, "above 0"),
    ("engine.devices", lambda v: v >= 1, "at least 1"),
    ("engine.nodes", lambda v: v >= 1, "at least 1"),
    ("engine.threads", lambda v: v >= 0, "at least 0"),
    ("seed", lambda v: 0 <= v < 2**31, "at least 0 and below 2^31"),
)


def load_recipe(path: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Recipe:
    """The recipe in a YAML file, with overrides: options as on the command line, or a mapping with dotted or nested keys.

    Raises `RecipeError` (unknown key, wrong type, impossible value) and `LayoutError` (unknown joint layout).
    """
    value = typed.read_yaml(path)
    if not isinstance(overrides, Mapping):
        overrides = typed.parse_options(Recipe, overrides)
    # Each is checked by itself first, so that the message names the right one of them.
    typed.parse(Recipe, value, path)
    typed.parse(Recipe, typed.merged({}, overrides), "override")
    return check_recipe(typed.parse(Recipe, typed.merged(value, overrides), path), path)


def recipe_from_mapping(value: Mapping[str, Any], source: str | Path = "recipe") -> Recipe:
    """A recipe from a mapping (as a bundle keeps it); `source` stands in front of what is wrong with it."""
    return check_recipe(typed.parse(Recipe, value, source), source)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every field written out; `load_recipe` of it gives an equal one."""
    return yaml.safe_dump(typed.plain(recipe), sort_keys=False, allow_unicode=True, width=140)


def recipe_hash(recipe: Recipe) -> str:
    """16 hex characters over all that decides the result: not where the data lie, nor what the recipe is called.

    Settings at their defaults do not count, so that a setting that comes later leaves the hashes of earlier runs as they are.
    """
    value = typed.plain(recipe)
    del value["title"], value["paper"], value["quotes"], value["data"]["root"]
    return hashlib.sha256(json.dumps(_changed(value, typed.plain(Recipe())), sort_keys=True).encode()).hexdigest()[:16]


def _changed(value: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """What differs from `default`, section by section."""
    found = {}
    for key, entry in value.items():
        if isinstance(entry, dict) and isinstance(default.get(key), dict):
            entry = _changed(entry, default[key])
            if entry:
                found[key] = entry
        elif key not in default or entry != default[key]:
            found[key] = entry
    return found


def check_recipe(recipe: Recipe, source: str | Path = "recipe") -> Recipe:
    """The recipe itself; `RecipeError` for values that no training can follow."""
    for key, holds, wanted in _RANGES:
        value: Any = recipe
        for name in key.split("."):
            value = getattr(value, name)
        if not holds(value):
            raise RecipeError(f"{source}: {key} is {typed.plain(value)}; it must be {wanted}")
    get_layout(recipe.input.layout)
    if not recipe.data.name:
        raise RecipeError(f"{source}: data.name is missing; it names the data set to train on")
    if recipe.data.protocol and recipe.data.protocol.count("+") != recipe.data.name.count("+"):
        raise RecipeError(
            f"{source}: data.protocol is {recipe.data.protocol!r}; one protocol for each data set of {recipe.data.name!r} is expected"
        )
    if recipe.data.use == "all" and (recipe.fit.selection != "last" or recipe.data.protocol or recipe.data.fold):
        raise RecipeError(f"{source}: data.use: all trains on every clip; it needs fit.selection: last, and neither protocol nor fold")
    if recipe.quotes and (recipe.data.use != "all" or ": " not in recipe.quotes):
        raise RecipeError(f'{source}: quotes is {recipe.quotes!r}; "FILE: ROW" is expected, and only with data.use: all')
    if recipe.init.arch and not recipe.init.bundle:
        raise RecipeError(f"{source}: init.arch is {recipe.init.arch!r}, of weights in no file; init.bundle names it")
    if recipe.fit.encode and not recipe.init.freeze:
        raise RecipeError(f"{source}: fit.encode is for an encoder that is frozen; init.freeze names its parameters")
    if recipe.fit.encode and recipe.video_augment.cutmix:
        raise RecipeError(
            f"{source}: video_augment.cutmix mixes pictures, of which fit.encode leaves none to mix; one of the two is expected"
        )
    if recipe.fit.warmup >= recipe.fit.epochs:
        raise RecipeError(f"{source}: fit.warmup is {recipe.fit.warmup}; it must be less than fit.epochs, {recipe.fit.epochs}")
    _check_hierarchy(recipe, source)
    if recipe.fit.selection == "last":
        for key, used in (("schedule: plateau", recipe.fit.schedule == "plateau"), ("early_stop", recipe.fit.early_stop > 0)):
            if used:
                raise RecipeError(f"{source}: fit.{key} needs a validation part, which selection: last does without")
    return recipe


def _check_hierarchy(recipe: Recipe, source: str | Path) -> None:
    wanted = recipe.hierarchy
    if not wanted.wanted:
        if wanted.stages or wanted.weights:
            raise RecipeError(f"{source}: hierarchy.stages and weights are of levels that hierarchy.counts or file must name")
        return
    if wanted.counts:
        for key, given, expected in (("stages", wanted.stages, len(wanted.counts)), ("weights", wanted.weights, len(wanted.counts) + 1)):
            if given and len(given) != expected:
                each = "one a level" if key == "stages" else "one a level and one for the network's own classifier"
                raise RecipeError(f"{source}: hierarchy.{key} has {len(given)} entries for {len(wanted.counts)} levels; {each} is expected")
        rising = [count or float("inf") for count in wanted.counts]
        if rising != sorted(rising):
            raise RecipeError(f"{source}: hierarchy.counts is {list(wanted.counts)}; each level has as many as the one before it, or more")
    if wanted.two_passes and recipe.data.use == "all":
        raise RecipeError(f"{source}: data.use: all leaves no validation clips to find superclasses by; hierarchy.file names them")
    if recipe.fit.encode:
        raise RecipeError(f"{source}: hierarchy needs the stages of the network in every step; fit.encode leaves them out")
