"""Runs and bundles fused: their answers to the same test part, by a rule that saw nothing of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinema.bundle import Bundle
from kinema.bundle import load as load_bundle
from kinema.datasets.base import Dataset, OnError, read_dataset
from kinema.datasets.protocols import leak_note
from kinema.errors import BundleError, DataError, KinemaError
from kinema.evaluation.evaluate import Part, clean_metrics, evaluate, headline
from kinema.evaluation.fusion import Aligned, align, learn, validated
from kinema.evaluation.scores import Scores, load_scores
from kinema.fused import LEARNED, FusedBundle, Rule

# What must agree for scores to be of the same test part, and what a fused bundle keeps of its result.
_SAME = ("dataset", "protocol", "fold")
_KEPT = (*_SAME, "leak", "unit", "n", "top1", "top5", "mean_class", "f1", "loss", "interval", "rule")
_HOW = "train it with fit.selection: validation or refit, and give its run's folder"


@dataclass(frozen=True, eq=False)
class Member:
    """What is fused: a trained model's answers to its test part, and to its validation part by weights that never trained on it.

    `about`: dataset, protocol, fold and the sizes of the split. `lacks`: why there is no `validation`.
    """

    name: str
    bundle: Bundle
    about: Mapping[str, Any]
    test: Scores
    validation: Scores | None = None
    lacks: str = ""

    def by_clip(self) -> Member:
        return replace(self, test=self.test.by_clip(), validation=self.validation and self.validation.by_clip())


def read_member(
    source: str, *, validation: bool = False, root: str | None = None, on_error: OnError = "raise", progress: bool = False
) -> Member:
    """A run's folder as it was measured, or a bundle, measured now on its own data set (`root`: where that is).

    `validation`: whether the rule will need answers to the validation part. Raises `KinemaError` for what has no test part.
    """
    if Path(source).is_dir():
        return _of_run(Path(source))
    bundle = load_bundle(source)
    data = bundle.recipe.get("data", {})
    if not data.get("name") or "+" in data["name"]:
        raise BundleError(f"{source}: its recipe names no single data set to measure it on; give the folder of its run")
    if data.get("use") == "all":
        raise BundleError(f"{source}: it was trained on all clips of {data['name']}, which leaves none to test it")
    dataset = read_dataset(data["name"], root, on_error=on_error)

    def measured(part: str) -> tuple[dict[str, Any], Scores]:
        return evaluate(bundle, dataset, data.get("protocol"), data.get("fold"), part, on_error=on_error, progress=progress)

    about, test = measured("test")
    selection = bundle.recipe.get("fit", {}).get("selection")
    if selection == "validation":
        return Member(source, bundle, about, test, measured("val")[1] if validation else None)
    if selection == "refit":
        lacks = "its weights were trained on the validation part in the end; give its run's folder, which has the answers from before"
    else:
        lacks = f"fit.selection: {selection} has no validation part; {_HOW}"
    return Member(source, bundle, about, test, lacks=lacks)


def _of_run(folder: Path) -> Member:
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        about = {key: result[key] for key in (*_SAME, "n_train", "n_val", "n_test", "selection")}
        about |= {key: result.get(key) for key in ("clean", "leak")}
    except OSError as error:
        raise KinemaError(f"{folder}: no finished run: {error.strerror or error}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise KinemaError(f"{folder / 'result.json'}: is no result of a run") from error
    if not (folder / "scores.npz").exists():
        raise KinemaError(f"{folder}: has no scores.npz, for all clips were trained on; a run with a test part is expected")
    test, bundle = load_scores(folder / "scores.npz"), load_bundle(folder)
    if (folder / "val_scores.npz").exists():
        return Member(str(folder), bundle, about, test, load_scores(folder / "val_scores.npz"))
    if about["selection"] in ("validation", "refit"):
        lacks = "its run has no val_scores.npz, which earlier versions did not write; train it anew"
    else:
        lacks = f"fit.selection: {about['selection']} has no validation part; {_HOW}"
    return Member(str(folder), bundle, about, test, lacks=lacks)


def fuse(members: Sequence[Member], rule: Rule, by_clip: bool = False, name: str = "fused") -> tuple[dict[str, Any], Scores, FusedBundle]:
    """The members' answers fused and measured: the result as plain values, the scores behind it, and the bundle of them all.

    `by_clip`: average each member's answers to the windows of a clip first. `name`: of the bundle. Weights and stacking
    are learned from clips that are in the validation part of every member. A test clip that a member left out is answered by
    the others, and counted.

    The result holds the split, `rule`, `unit` and all of `evaluate_scores`; `members`: each one's own figures, its `weight` and how
    many samples it had no answer to (`missing`); `validation`: the clips that the rule learned from and, where
    all members have them, its accuracy there, by which rules can be chosen; `clips` where the unit is windows;
    `clean`: without the copies of training clips, where the members are runs that listed them.
    Raises `KinemaError` where the members were not measured on the same part, or a rule has nothing to learn from.
    """
    names = [member.name for member in members]
    if len(names) < 2 or len({member.bundle.hash for member in members}) < len(names):
        raise KinemaError(f"{' '.join(names)}: two or more different runs or bundles are expected")
    first = members[0]
    for member in members:
        for key in _SAME:
            if member.about[key] != first.about[key]:
                raise DataError(
                    f"{first.name} was measured on {key} {first.about[key]!r}, {member.name} on {member.about[key]!r}; the same is expected"
                )
    if by_clip:
        members = [member.by_clip() for member in members]
    test = align({member.name: member.test for member in members}, "allow")
    validation = _validation(members, rule, test)
    fusion = learn(rule, validation)
    scores = test.fused(fusion)
    result = {
        **{key: first.about[key] for key in _SAME},
        "part": "test",
        **({"leak": first.about["leak"]} if first.about.get("leak") else {}),
        "n_train": max(member.about["n_train"] for member in members),
        "n_test": len(test.clip_ids),
        "rule": rule,
        "unit": scores.unit,
        **scores.metrics(),
        "members": _figures(members, test, fusion.weights),
        "validation": None if validation is None else {"unit": validation.unit, "n": len(validation), "top1": validated(rule, validation)},
    }
    if scores.unit != "clips":
        result["clips"] = {"unit": "clips", **scores.by_clip().metrics()}
    copies = (first.about.get("clean") or {}).get("excluded")
    if copies is not None:
        result["clean"] = clean_metrics(scores, set(copies))
    kept = {key: result[key] for key in _KEPT if key in result}
    notes = "Fused: " + ", ".join(f"{member.bundle.name} ({' and '.join(member.bundle.modalities)})" for member in members)
    bundle = FusedBundle(name, tuple(member.bundle for member in members), fusion, kept, notes)
    return result, scores, bundle


def _validation(members: Sequence[Member], rule: Rule, test: Aligned) -> Aligned | None:
    if rule not in LEARNED and any(member.validation is None for member in members):
        return None
    for member in members:
        if member.validation is None:
            raise KinemaError(f"--rule {rule} learns from validation clips, and {member.name} has none: {member.lacks}")
    try:
        found = align({member.name: member.validation for member in members}, "drop")
    except DataError as error:
        if rule not in LEARNED:
            return None
        raise DataError(f"validation parts: {error}; the same seed, data.val_by and data.val_share give the same part") from error
    both = set(found.clip_ids) & set(test.clip_ids)
    if both:
        raise DataError(f"{len(both)} clips validate one member and test another, such as {min(both)!r}")
    return found


def _figures(members: Sequence[Member], test: Aligned, weights: Sequence[float]) -> list[dict[str, Any]]:
    rows = []
    for i, member in enumerate(members):
        metrics = member.test.metrics()
        rows.append(
            {
                "name": member.name,
                "bundle": {"name": member.bundle.name, "hash": member.bundle.hash, "model": member.bundle.model},
                "modalities": list(member.bundle.modalities),
                "weight": weights[i] if weights else None,
                "missing": test.missing[member.name],
                **{key: metrics[key] for key in ("n", "correct", "top1", "interval", "mean_class", "loss")},
            }
        )
    return rows


def evaluate_fused(
    bundle: FusedBundle,
    dataset: Dataset,
    protocol: str | None = None,
    fold: str | None = None,
    part: Part = "test",
    *,
    on_error: OnError = "raise",
    progress: bool = False,
) -> tuple[dict[str, Any], Scores]:
    """Measure a fused bundle on one part of a data set's split: as `kinema.evaluation.evaluate.evaluate` does a single one.

    Counted by clip where the members cut clips into other windows. `missing`, by member: samples that it had no answer to (with
    `on_error="skip"`), which the others answered. `seen`: the most clips that any member was trained on or chosen by.
    """
    options = {"on_error": on_error, "progress": progress}
    each = [evaluate(member, dataset, protocol, fold, part, **options) for member in bundle.members]
    names = [f"{i + 1}: {member.name}" for i, member in enumerate(bundle.members)]
    scores = {name: found for name, (_, found) in zip(names, each, strict=True)}
    if len({found.unit for found in scores.values()}) > 1:
        scores = {name: found.by_clip() for name, found in scores.items()}
    test = align(scores, "allow")
    fused, first = test.fused(bundle.fusion), each[0][0]
    seen = [result["seen"] for result, _ in each if result["seen"] is not None]
    result = {
        **{key: first[key] for key in ("dataset", "protocol", "fold", "part", "n_train", "n_val", "n_test", "leak") if key in first},
        "bundle": {"name": bundle.name, "hash": bundle.hash},
        "unit": fused.unit,
        **fused.metrics(),
        "skipped": [f"{name}: {error}" for name, (result, _) in zip(names, each, strict=True) for error in result["skipped"]],
        "missing": test.missing,
        "seen": max(seen) if seen else None,
    }
    if fused.unit != "clips":
        result["clips"] = {"unit": "clips", **fused.by_clip().metrics()}
    if part == "test":
        result["clean"] = clean_metrics(fused, set(first["clean"]["excluded"])) if first["clean"] else None
    return result, fused


def fusion_text(result: Mapping[str, Any]) -> str:
    """The result for people: what is fused, each member's figure beside the fused one."""
    of = [*result["members"], {"name": f"fused, {result['rule']}", "weight": None, "missing": 0, **result}]
    width = max(len(row["name"]) for row in of)
    learned = result["validation"]
    lines = [
        f"{result['dataset']}, {result['protocol']}, fold {result['fold']}: {result['n']} {result['unit']} of the test part",
        *([f"{result['rule']} on {learned['n']} {learned['unit']} that validated all: {100 * learned['top1']:.2f} %"] if learned else []),
        "",
    ]
    for row in of:
        weight = "" if row["weight"] is None else f"  weight {row['weight']:.3f}"
        missing = f"  no answer to {row['missing']}" if row["missing"] else ""
        lines.append(f"{row['name']:<{width}}  {headline('top-1', row)}  loss {row['loss']:.3f}{weight}{missing}")
    if "clips" in result:
        lines.append(headline("by clip", result["clips"]))
    if "leak" in result:
        lines.append(leak_note(result["leak"], result["n_test"]))
    clean = result.get("clean")
    if clean and clean["excluded"]:
        lines.append(headline(f"without the {len(clean['excluded'])} clips that are copies of training clips", clean))
    return "\n".join(lines)
