"""A bundle calibrated on clips that did not train it, and never on a test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kinema.bundle import Bundle
from kinema.calibration import Novelty
from kinema.clip import Clip
from kinema.datasets.base import Dataset, OnError, Split
from kinema.datasets.protocols import cut_validation, validation_keys
from kinema.errors import BundleError, DataError, ProtocolError
from kinema.evaluation import calibration
from kinema.evaluation.calibration import Looks
from kinema.recognition.answers import sample_logits
from kinema.recognition.recognizer import Recognizer
from kinema.transforms.joined import samples_of

# Of several data sets that a recipe joins, those of which all clips train, or test.
_TRAINS, _TESTS = "train", "test"


def calibrate(
    bundle: Bundle,
    known: Sequence[Dataset],
    unknown: Sequence[Dataset] = (),
    *,
    keep: float = 0.95,
    novelty: Novelty | None = None,
    device: str = "cpu",
    on_error: OnError = "raise",
    progress: bool = False,
) -> Bundle:
    """The bundle with a calibration fitted on validation clips.

    `known`: data sets whose clips of the bundle's classes are fitted to: of one that it was trained on the validation part that its
    recipe cut, of another one all but the test part of its first protocol, or everything where it has none. `unknown`: data sets, the same
    ones perhaps, whose clips of other classes show what it does not know; of these too the test part is left alone.

    Raises `ProtocolError` for a data set of which everything but the test part trained the bundle, `DataError` for too few clips.
    """
    recognizer = Recognizer(bundle, device, reject=False)
    options = {"on_error": on_error, "progress": progress}
    parts = [_looks(recognizer, dataset, validation_clips(bundle, dataset), True, **options) for dataset in known]
    strange = [_looks(recognizer, dataset, _all_but_test(dataset), False, **options) for dataset in unknown]
    fitted = calibration.fit(_joined(parts, "known"), _joined(strange, "unknown") if unknown else None, keep=keep, novelty=novelty)
    names = {"clips": "+".join(each.name for each in known), "unknown": "+".join(each.name for each in unknown)}
    return replace(bundle, calibration=replace(fitted, measured={**fitted.measured, **names, "bundle": bundle.hash}))


def take_over(bundle: Bundle, other: Bundle) -> Bundle:
    """The bundle with the calibration of one that was trained alike on fewer clips: for a bundle that every clip has trained.

    Raises `BundleError` where they are not of the same model, classes and preparation.
    """
    if other.calibration is None:
        raise BundleError(f"bundle {other.name!r} has no calibration that could be taken over")
    alike = all(getattr(bundle, name) == getattr(other, name) for name in ("model", "config", "classes", "input", "channels", "unit"))
    if not alike:
        raise BundleError(
            f"bundles {bundle.name!r} and {other.name!r} differ in model, classes or preparation; a calibration holds for one kind"
        )
    return replace(bundle, calibration=other.calibration)


def validation_clips(bundle: Bundle, dataset: Dataset) -> tuple[Clip, ...]:
    """The clips of a data set that neither trained the bundle nor test it; see `calibrate`."""
    data = bundle.recipe.get("data", {})
    protocols = _protocols(bundle)
    if dataset.name not in protocols:
        return _all_but_test(dataset)
    if protocols[dataset.name] == _TESTS:
        raise ProtocolError(f"data set {dataset.name!r} tests bundle {bundle.name!r}, all of it; nothing may be fitted to it")
    where = f"data set {dataset.name!r} trained bundle {bundle.name!r}"
    if data.get("use") == "all":
        raise ProtocolError(f"{where}, all of it; take over the calibration of a bundle that was trained alike on a part (--like)")
    if bundle.recipe.get("fit", {}).get("selection") != "validation":
        raise ProtocolError(f"{where}, all but the test part; a recipe with fit.selection: validation leaves clips to calibrate on")
    protocol = protocols[dataset.name]
    if protocol == _TRAINS:
        split = Split("all", tuple(clip.id for clip in dataset.clips if clip.label is not None), ())
    else:
        several = len(dataset.splits(protocol)) > 1
        split = dataset.split(protocol, data.get("fold") if several else None)
    key = validation_keys(data["val_by"], list(protocols))[dataset.name]
    split = cut_validation(split, dataset.clips, by=key, share=data["val_share"], seed=bundle.recipe["seed"])
    return dataset.select(split.val)


def trained_on(bundle: Bundle) -> list[str]:
    """Names of the data sets that a bundle was trained on, as its recipe tells."""
    return [name for name, protocol in _protocols(bundle).items() if protocol != _TESTS]


def _protocols(bundle: Bundle) -> dict[str, str | None]:
    """The recipe's data sets with their protocols; None: the default one."""
    data = bundle.recipe.get("data", {})
    names = str(data.get("name") or "").split("+")
    protocols = str(data["protocol"]).split("+") if data.get("protocol") else [None] * len(names)
    if len(names) == 1:
        return {names[0]: data.get("protocol")} if names[0] else {}
    return dict(zip(names, protocols, strict=False))


def _all_but_test(dataset: Dataset) -> tuple[Clip, ...]:
    if not dataset.protocols:
        return tuple(clip for clip in dataset.clips if clip.label is not None)
    split = dataset.splits()[0]
    return dataset.select((*split.train, *split.val))


def _looks(
    recognizer: Recognizer, dataset: Dataset, clips: Sequence[Clip], known: bool, *, on_error: OnError, progress: bool
) -> Looks | None:
    """What the model says of the clips whose class it knows, or of those whose class it does not; None where there are none."""
    bundle = recognizer.bundle
    index = [bundle.class_of(name, dataset.name) for name in dataset.classes]
    clips = [clip for clip in clips if (index[clip.label] is not None) == known]
    if not clips:
        return None
    if "pose" in bundle.modalities:
        for clip in clips:
            recognizer.check(clip.pose)
    samples = samples_of(clips, bundle.modalities, bundle, on_error)
    logits = sample_logits(recognizer.model, samples, bundle.views, recognizer.batch_size, recognizer.device, progress)
    of = {clip.id: clip for clip in clips}
    rows = [of[samples.clip_ids[i]] for i in samples.clip_of.tolist()]
    labels = np.array([index[clip.label] if known else -1 for clip in rows])
    group = np.array([f"{dataset.name}/{clip.subject or clip.group or clip.id}" for clip in rows])
    # The phases of a window show the same frames: one of them counts.
    _, first = np.unique(np.stack([samples.clip_of.numpy(), samples.starts.numpy()], 1), axis=0, return_index=True)
    return Looks(logits, labels, group).select(first)


def _joined(parts: Sequence[Looks | None], name: str) -> Looks:
    found = [part for part in parts if part is not None]
    if not found:
        raise DataError(f"the data sets have no validation clips of {name} actions")
    return Looks(
        np.concatenate([part.logits for part in found], 1),
        np.concatenate([part.labels for part in found]),
        np.concatenate([part.group for part in found]),
    )
