"""A study: recipes x folds x seeds that make one table of results, and the trainings that it asks for.

title: HCN on UTD-MHAD skeletons
result: utd_mhad_hcn              # results/utd_mhad_hcn.json
seeds: [0, 1, 2, 3, 4]
rows:
  - name: HCN
    recipe: ../hcn_utd_mhad.yaml  # seen from the study's file
    set: {fit.selection: refit}   # over the recipe
  - name: HCN, fine-tuned
    recipe: ../hcn_utd_mhad.yaml
    start: pre-training           # an earlier row, whose bundle is init.bundle here
  - name: both, averaged
    fuse: [HCN, "HCN, fine-tuned"]  # other rows; "other_study.yaml: row" for one of another study
    rule: average                 # or product, maximum, weighted, stacked
  - name: HCN, pruned
    start: HCN                    # an earlier row, whose networks are pruned in passes, each of which is a row
    prune: {ratio: .1, passes: 6, scope: layer}
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from kinema._seal import digest_of
from kinema.errors import RecipeError, unknown
from kinema.fused import LEARNED, RULES
from kinema.models._prune import SCOPES
from kinema.training import typed
from kinema.training.load import load_recipe, recipe_hash
from kinema.training.recipe import Recipe


@dataclass(frozen=True)
class PrunedRow:
    """Pruning in passes, see `kinema.training.pruning.Plan`. `passes`: how many at most; 0 is no pruning."""

    ratio: float = 0.1
    passes: int = 0
    scope: str = "layer"


@dataclass(frozen=True)
class Row:
    """One row of the table: a recipe that is trained, other rows whose answers are fused, or an earlier row's networks, pruned.

    Args:
        name: what it is called there.
        recipe: recipe file, seen from the study's file; none where rows are fused.
        set: values over the recipe's, keys dotted.
        folds: "all" folds of the protocol, or a list of them; none where the protocol has one split.
        units: what is counted where the recipe cuts several samples from a clip, one row of the table each: "samples" (every phase
            of a window), "windows" (also called "cuts"; their phases averaged) or "clips"; default: windows, or whole clips.
        told: a protocol with groups of classes, such as CAD-60's "per-environment": answers of a model of all classes are taken as
            if it had been told the group. There, and with such a protocol, a group is a row, with precision and recall.
        start: name of an earlier row without folds; training starts from the bundle of its run with the same seed (the first one
            where it has other seeds). With `prune` the row, with or without folds, whose networks are pruned.
        published: the published figure, as a fraction or in words; it stands in the first of the row's units.
        note: one line about it.
        among: classes that are counted in a row of their own too: their clips, and answers among them alone.
        seeds: instead of the study's.
        fuse: names of rows whose answers to the same clips are fused, seed by seed and fold by fold ("FILE: NAME" for a row of
            another study's file, seen from this one; its trainings are those of that study). Of a row with fewer seeds than the
            others the trainings are taken again in their order. Beside `fuse` only name, rule, units, published and note are given.
        rule: how they are fused: average, product, maximum, weighted or stacked. The last two learn from the clips that validated
            every member.
        prune: of the networks of row `start`, all its seeds and folds: every pass makes a row of the table, and the passes that
            validation keeps make the last one. `set` is over the recipe that fine-tunes. Beside these only name, published and note
            are given.
    """

    name: str
    recipe: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    folds: tuple[str, ...] | str | None = None
    units: tuple[Literal["samples", "windows", "cuts", "clips"], ...] = ()
    told: str | None = None
    start: str | None = None
    published: float | str | None = None
    note: str | None = None
    among: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    fuse: tuple[str, ...] = ()
    rule: str = "average"
    prune: PrunedRow = field(default_factory=PrunedRow)


@dataclass(frozen=True)
class Study:
    """Rows that make one file of results.

    Args:
        title: of the table.
        result: name of its file, without .json.
        rows: of the table.
        seeds: with which every row is trained.
        system: published system that it belongs to; several studies may share one.
    """

    title: str
    result: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...] = (0,)
    system: str = ""


@dataclass(frozen=True)
class Run:
    """One training of a study: a row's recipe with fold and seed, and its folder."""

    row: Row
    fold: str
    seed: int
    recipe: Recipe
    out: Path


def load_study(path: str | Path) -> Study:
    """A study from YAML, keys as strict as a recipe's; `RecipeError` where it names no rows, or a recipe that is not there."""
    path = Path(path)
    study = _read(path)
    if not study.rows or not all(row.seeds or study.seeds for row in study.rows):
        raise RecipeError(f"{path}: at least one row and one seed are expected")
    if not re.fullmatch(r"[\w-]+", study.result):
        raise RecipeError(f"{path}: result is {study.result!r}; the name of a file in the results folder, without .json, is expected")
    names = [row.name for row in study.rows]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"{path}: two rows are called {name!r}")
    for i, row in enumerate(study.rows):
        if row.fuse:
            _check_fused(study, row, path)
            continue
        if row.prune != PrunedRow():
            _check_pruned(study, i, path)
            continue
        if not row.recipe:
            raise RecipeError(f"{path}: key 'rows[{i}].recipe' is missing (or 'rows[{i}].fuse', or 'rows[{i}].prune')")
        if isinstance(row.folds, str) and row.folds != "all":
            raise RecipeError(f'{path}: row {row.name!r}: folds is {row.folds!r}; "all" or a list of names is expected')
        earlier = [each.name for each in study.rows[:i] if each.folds is None and each.recipe]
        if row.start is not None and row.start not in earlier:
            raise RecipeError(f"{path}: row {row.name!r}: start: {unknown('earlier row without folds', row.start, earlier)}")
        if load_recipe(path.parent / row.recipe, row.set).data.use == "all":
            raise RecipeError(f"{path}: row {row.name!r}: data.use is all, which leaves nothing to measure")
    return study


def _read(path: Path) -> Study:
    return typed.parse(Study, typed.read_yaml(path), path)


def _check_fused(study: Study, row: Row, path: Path) -> None:
    _check_fields(row, ("name", "fuse", "rule", "units", "published", "note"), "the rows that it fuses", path)
    if row.rule not in RULES:
        raise RecipeError(f"{path}: row {row.name!r}: {unknown('rule', row.rule, RULES)}")
    if len(set(row.fuse)) < 2 or len(set(row.fuse)) < len(row.fuse):
        raise RecipeError(f"{path}: row {row.name!r}: fuse is {list(row.fuse)}; two or more different rows are expected")
    for member in members(study, row, path):
        if member.row.told:
            raise RecipeError(f"{path}: row {row.name!r}: {member.row.name!r} is told the group of classes; such rows are not fused")
        selection = load_recipe(member.path.parent / member.row.recipe, member.row.set).fit.selection
        if row.rule in LEARNED and selection not in ("validation", "refit"):
            raise RecipeError(
                f"{path}: row {row.name!r}: rule {row.rule!r} learns from validation clips; {member.row.name!r} has none with "
                f"fit.selection: {selection}, but with validation or refit"
            )


def _check_fields(row: Row, own: Sequence[str], others: str, path: Path) -> None:
    for field_ in fields(row):
        if field_.name not in own and getattr(row, field_.name) != Row(row.name).__dict__[field_.name]:
            raise RecipeError(f"{path}: row {row.name!r}: {field_.name} is that of {others}; it takes {', '.join(own)}")


def _check_pruned(study: Study, number: int, path: Path) -> None:
    row = study.rows[number]
    _check_fields(row, ("name", "start", "prune", "set", "published", "note"), "the row whose networks it prunes", path)
    if not 0 < row.prune.ratio < 1 or row.prune.passes < 1:
        raise RecipeError(
            f"{path}: row {row.name!r}: prune has ratio {row.prune.ratio:g} and passes {row.prune.passes}; a ratio above 0 and below 1, "
            "and at least one pass, are expected"
        )
    if row.prune.scope not in SCOPES:
        raise RecipeError(f"{path}: row {row.name!r}: prune: {unknown('scope', row.prune.scope, SCOPES)}")
    earlier = {each.name: each for each in study.rows[:number] if each.recipe}
    if row.start not in earlier:
        raise RecipeError(f"{path}: row {row.name!r}: start: {unknown('earlier row with a recipe', row.start or '', earlier)}")
    base = earlier[row.start]
    if load_recipe(path.parent / base.recipe, base.set).fit.selection != "validation":
        raise RecipeError(f"{path}: row {row.name!r}: passes are judged on validation; row {base.name!r} needs fit.selection: validation")
    load_recipe(path.parent / base.recipe, typed.merged(base.set, row.set))


@dataclass(frozen=True)
class Member:
    """A row that is fused: its study, and that study's file."""

    study: Study
    row: Row
    path: Path


def members(study: Study, row: Row, path: Path) -> list[Member]:
    """The rows that `row` fuses; `RecipeError` for one that is not there, or that is fused itself. `path`: the study's file."""
    found = []
    for name in row.fuse:
        of, file = study, path
        known = [each.name for each in study.rows]
        first, _, rest = name.partition(": ")
        if name not in known and rest and first.endswith((".yaml", ".yml")):
            file, name = path.parent / first, rest
            of = _read(file)
            known = [each.name for each in of.rows]
        if name not in known:
            raise RecipeError(f"{path}: row {row.name!r}: fuse: {unknown('row', name, known)}")
        member = of.rows[known.index(name)]
        if not member.recipe:
            made = "fused" if member.fuse else "pruned"
            raise RecipeError(f"{path}: row {row.name!r}: fuse: row {name!r} is {made} itself; rows with a recipe are expected")
        found.append(Member(of, member, file))
    return found


def find_studies(name: str, folder: str | Path | None = None) -> list[Path]:
    """Files of studies: `name` is a path, the name of one in `folder`, or a system, of which all are found.

    `folder`: default recipes/studies here or, if there is none, in the checkout that this package runs from.
    """
    if Path(name).is_file():
        return [Path(name)]
    if folder is None:
        folders = [Path("recipes/studies"), Path(__file__).parents[3] / "recipes" / "studies"]
        folder = next((path for path in folders if path.is_dir()), folders[0])
    paths = sorted(Path(folder).glob("*.yaml"))
    systems: dict[str, list[Path]] = {}
    for path in paths:
        systems.setdefault(str(typed.read_yaml(path).get("system") or ""), []).append(path)
    known = {path.stem: [path] for path in paths} | {system: found for system, found in systems.items() if system}
    if name not in known:
        raise RecipeError(f"{unknown('study', name, known)} (in {folder})")
    return known[name]


def planned_runs(study: Study, row: Row, folder: Path, out_runs: Path) -> Iterator[Run]:
    """Every fold of every seed of a row. `folder`: where the study's file is."""
    base = load_recipe(folder / row.recipe, row.set)
    folds = _folds(row, base)
    weights = "" if row.start else _digest_of_start(base)
    for seed in row.seeds or study.seeds:
        start = {"init.bundle": str(_start(study, row, seed, folder, out_runs))} if row.start else {}
        if row.start:
            weights = _digest_of_start(replace(base, init=replace(base.init, bundle=start["init.bundle"])))
        for fold in folds:
            changes = {"seed": seed} | start | ({"data.fold": fold} if fold else {})
            recipe = load_recipe(folder / row.recipe, typed.merged(row.set, changes))
            name = "-".join(filter(None, (slug(fold), f"seed{seed}", _run_hash(recipe, weights, out_runs))))
            yield Run(row, fold, seed, recipe, out_runs / study.result / slug(row.name) / name)


def _start(study: Study, row: Row, seed: int, folder: Path, out_runs: Path) -> Path:
    """The bundle that a row's trainings with this seed start from."""
    earlier = next(each for each in study.rows if each.name == row.start)
    runs = list(planned_runs(study, earlier, folder, out_runs))
    return next((run for run in runs if run.seed == seed), runs[0]).out / "bundle.safetensors"


def _folds(row: Row, recipe: Recipe) -> tuple[str, ...]:
    if row.folds is None:
        return ("",)
    from kinema.training.data import fold_names

    names = fold_names(recipe.data)
    if row.folds == "all":
        return names
    for fold in row.folds:
        if fold not in names:
            raise RecipeError(f"row {row.name!r}: {unknown('fold', fold, names)}")
    return tuple(row.folds)


def _digest_of_start(recipe: Recipe) -> str:
    """Of the weights that training starts from, and of nothing else: what a bundle says beside them may come to say more."""
    if recipe.init.bundle is None:
        return ""
    from kinema.training.importing import start_bundle

    return digest_of(start_bundle(recipe.init, recipe.input.layout).state)


def _run_hash(recipe: Recipe, weights: str, out_runs: Path) -> str:
    """`weights`: digest of those that training starts from, "" where it starts from random ones."""
    if recipe.init.bundle is None:
        return recipe_hash(recipe)[:8]
    if Path(recipe.init.bundle).is_relative_to(out_runs):  # wherever the folder of runs is
        inside = Path("runs") / Path(recipe.init.bundle).relative_to(out_runs)
        recipe = replace(recipe, init=replace(recipe.init, bundle=str(inside)))
    return hashlib.sha256((recipe_hash(recipe) + weights).encode()).hexdigest()[:8]


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
