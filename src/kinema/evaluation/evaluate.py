"""A bundle measured on a data set: its answers to one part of one split, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from kinema.bundle import Bundle
from kinema.clip import Clip
from kinema.datasets.audit import clean_test_ids
from kinema.datasets.base import Dataset, OnError, Split
from kinema.datasets.protocols import cut_validation, leak_note, leaking, validation_keys
from kinema.errors import DataError, ProtocolError, unknown
from kinema.evaluation.confusions import superclass_scores
from kinema.evaluation.metrics import evaluate_scores
from kinema.evaluation.scores import Scores
from kinema.recognition.answers import sample_probabilities
from kinema.recognition.recognizer import Recognizer
from kinema.transforms.joined import samples_of

Part = Literal["test", "val", "train"]


def evaluate(
    bundle: Bundle,
    dataset: Dataset,
    protocol: str | None = None,
    fold: str | None = None,
    part: Part = "test",
    *,
    device: str = "cpu",
    batch_size: int = 64,
    on_error: OnError = "raise",
    progress: bool = False,
) -> tuple[dict[str, Any], Scores]:
    """Measure a bundle on one part of a data set's split. Returns the result, as plain values, and the scores behind it.

    Classes are matched by name, or as the bundle's vocabulary tells, so the data set may order them as it likes. The part "val"
    is the one that the bundle's own recipe cut from the training part. With `on_error="skip"` clips that cannot be prepared
    (a single frame, nobody observed) are left out and listed under `skipped`.

    The result holds `dataset`, `protocol`, `fold`, `part`, the split's sizes in clips `n_train`, `n_val`, `n_test`, `unit`, all of
    `evaluate_scores` in that unit, and `bundle` {name, hash}. Besides, `clips`: the same by clip, where the unit is windows;
    `samples`: the same by sample, where a window has several phases; `superclasses`: how many each level of the bundle has, and their
    top-1;
    `clean`, for the test part: the same without the clips that are exact copies of training clips, which it lists as
    `excluded`; `leak`, only where there are any: how many test clips are cut from recordings that train; `seen`: how many of the
    clips trained the bundle or chose its weights, None where its recipe tells of other data.

    Raises `ProtocolError` for an unknown protocol or fold, `DataError` for clips that cannot be used or whose class the
    bundle does not know, `BundleError` where the bundle cannot take such skeletons.
    """
    split = _with_validation(dataset.split(protocol, fold), bundle, dataset)
    ids = {"train": split.train, "val": split.val, "test": split.test}
    if part not in ids:
        raise ProtocolError(unknown("part", part, ids))
    if not ids[part]:
        raise ProtocolError(f"data set {dataset.name!r}, split {split.name!r}: the bundle's recipe cuts no validation part")
    clips = dataset.select(ids[part])
    labels = _labels_of_bundle(clips, dataset, bundle)
    recognizer = Recognizer(bundle, device, batch_size)
    if "pose" in bundle.modalities:
        for clip in clips:
            recognizer.check(clip.pose)
    samples = samples_of(clips, bundle.modalities, bundle, on_error)
    probabilities = sample_probabilities(
        recognizer.model, samples, bundle.views, batch_size, recognizer.device, progress, bundle.calibration
    )
    truth = np.array([labels[samples.clip_ids[i]] for i in samples.clip_of.tolist()])
    scores = Scores.from_samples(probabilities, samples, bundle.classes, truth)
    result = {
        "dataset": dataset.name,
        "protocol": protocol or next(iter(dataset.protocols)),
        "fold": split.name,
        "part": part,
        "n_train": len(split.train),
        "n_val": len(split.val),
        "n_test": len(split.test),
        **({"leak": len(leak)} if (leak := leaking(split, dataset.clips)) else {}),
        "bundle": {"name": bundle.name, "hash": bundle.hash},
        "unit": scores.unit,
        **scores.metrics(),
        "skipped": [str(error) for error in samples.skipped],
        **({"saturated": list(samples.saturated)} if samples.saturated else {}),
        **({"uncropped": len(samples.uncropped)} if getattr(samples, "cuts", False) else {}),
        "seen": _seen(bundle, dataset, scores),
    }
    if bundle.hierarchy is not None:
        found = superclass_scores(bundle.hierarchy, scores)
        result["superclasses"] = [{"count": n, "top1": top1} for n, top1 in zip(bundle.hierarchy.counts, found, strict=True)]
    if scores.unit != "clips":
        result["clips"] = {"unit": "clips", **scores.by_clip().metrics()}
    if len(probabilities) > len(scores):
        result["samples"] = {"unit": "samples", **evaluate_scores(probabilities, truth, bundle.classes)}
    if part == "test":
        clean = clean_test_ids(dataset, split)
        result["clean"] = clean_metrics(scores, set(split.test) - set(clean))
    return result, scores


def clean_metrics(scores: Scores, copies: set[str]) -> dict[str, Any] | None:
    """Metrics without the clips in `copies`, which are listed as `excluded`; None where nothing is left."""
    excluded = sorted(copies & set(scores.clip_ids))
    if len(excluded) == len(scores.clip_ids):
        return None
    left = scores.without(excluded) if excluded else scores
    return {"excluded": excluded, "unit": scores.unit, **left.metrics()}


def _with_validation(split: Split, bundle: Bundle, dataset: Dataset) -> Split:
    recipe = bundle.recipe
    if recipe.get("fit", {}).get("selection") not in ("validation", "refit"):
        return split
    data = recipe.get("data", {})
    if data.get("name") != dataset.name:
        return split
    key = validation_keys(data["val_by"], [dataset.name])[dataset.name]
    return cut_validation(split, dataset.clips, by=key, share=data["val_share"], seed=recipe["seed"])


def _labels_of_bundle(clips: Sequence[Clip], dataset: Dataset, bundle: Bundle) -> dict[str, int]:
    """The bundle's class index of each clip, by clip id."""

    index = {name: bundle.class_of(name, dataset.name) for name in dataset.classes}
    names = {clip.id: dataset.classes[clip.label] for clip in clips}
    foreign = sorted({name for name in names.values() if index[name] is None})
    if foreign:
        count = sum(name in foreign for name in names.values())
        raise DataError(
            f"data set {dataset.name!r}: {count} of {len(names)} clips show what bundle {bundle.name!r} does not know "
            f"({', '.join(foreign[:5])}{', ...' if len(foreign) > 5 else ''}); its classes are {', '.join(bundle.classes)}"
        )
    return {clip_id: index[name] for clip_id, name in names.items()}


def _seen(bundle: Bundle, dataset: Dataset, scores: Scores) -> int | None:
    """How many of the clips trained the bundle or chose its weights, as its recipe tells; None where it does not tell."""
    data = bundle.recipe.get("data", {})
    names = str(data.get("name", "")).split("+")
    if dataset.name not in names:
        return None
    if data.get("use") == "all":
        return len(scores.clip_ids)
    try:
        own = dataset.split(data.get("protocol"), data.get("fold")) if len(names) == 1 else dataset.split()
    except ProtocolError:
        return None
    return len({*own.train, *own.val} & set(scores.clip_ids))


def evaluation_text(result: dict[str, Any]) -> str:
    """The result for people, in a few lines."""
    bundle, unit = result["bundle"], result["unit"]
    lines = [
        f"{result['dataset']}, {result['protocol']}, fold {result['fold']}: "
        f"{result['n_train']} clips train, {result['n_val']} validate, {result['n_test']} test",
        f"bundle {bundle['name']} ({bundle['hash'][:16]}) on the {result['part']} part, {result['n']} {unit}",
        "",
        headline("top-1", result),
        "  ".join(f"{name} {100 * result[key]:.2f} %" for name, key in (("top-5", "top5"), ("mean class", "mean_class"), ("F1", "f1")))
        + f"  loss {result['loss']:.3f}",
    ]
    for level in result.get("superclasses", ()):
        lines.append(f"{level['count']} superclasses {100 * level['top1']:.2f} %")
    if "clips" in result:
        lines.append(headline("by clip", result["clips"]))
    clean = result.get("clean")
    if clean and clean["excluded"]:
        lines.append(headline(f"without the {len(clean['excluded'])} clips that are copies of training clips", clean))
    if "leak" in result:
        lines.append(leak_note(result["leak"], result["n_test"]))
    if result["seen"] and result["part"] == "test":
        lines.append(f"not a test: {result['seen']} of these clips trained the bundle or chose its weights")
    if result.get("uncropped"):
        lines.append(f"{result['uncropped']} clips, in which nobody is seen, were shown whole; the others' pictures were cut to the people")
    if result.get("saturated"):
        lines.append(f"{len(result['saturated'])} clips have signals at the end of the sensor's range; they were used as they are")
    if result["skipped"]:
        lines.append(f"{len(result['skipped'])} clips were left out; the first: {result['skipped'][0]}")
    weak = sorted((entry for entry in result["per_class"] if entry["n"]), key=lambda entry: entry["recall"])[:5]
    lines += ["", "weakest classes:"]
    for entry in weak:
        taken = ", ".join(f"{c['class']} ({c['n']})" for c in entry["confusions"])
        lines.append(f"  {entry['class']:<28} {100 * entry['recall']:6.1f} % of {entry['n']}" + (f"   taken for {taken}" if taken else ""))
    return "\n".join(lines)


def headline(name: str, metrics: Mapping[str, Any]) -> str:
    """Accuracy with its interval and counts, in one line."""
    low, high = metrics["interval"]
    return f"{name} {100 * metrics['top1']:.2f} %  [{100 * low:.1f}, {100 * high:.1f}]  ({metrics['correct']} of {metrics['n']})"
