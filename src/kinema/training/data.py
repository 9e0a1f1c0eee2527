"""From a recipe's `data` to clips and samples: read, divide, cut the validation part, prepare. Whatever is trained starts here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinema.bundle import Bundle
from kinema.camera import read_camera
from kinema.clip import Clip, Unit
from kinema.datasets.base import Dataset, Split, dataset_infos, read_dataset
from kinema.datasets.protocols import cut_validation, leak_note, leaking, validation_keys
from kinema.errors import DataError, ProtocolError, RecipeError, unknown
from kinema.fused import FusedBundle
from kinema.models.registry import model_info
from kinema.training.recipe import DataConfig, Recipe
from kinema.transforms.batches import Samples
from kinema.transforms.joined import Inputs, samples_of
from kinema.transforms.samples import PoseSamples

# Protocols of one of several data sets: all of its clips.
TRAINS, TESTS = "train", "test"


@dataclass(frozen=True, eq=False)
class Parts:
    """Clips of each part of one split, their labels renumbered to the classes that take part. `val` is empty where nothing validates.

    `source` and `split`: where they come from, before the renumbering; `skipped`: one line for each clip that could not be read.
    `leak`: ids of test clips that are cut from the same recording as a clip that trains; none unless the recipe allows it.
    """

    source: Dataset
    split: Split
    protocol: str
    classes: tuple[str, ...]
    train: tuple[Clip, ...]
    val: tuple[Clip, ...]
    test: tuple[Clip, ...]
    skipped: tuple[str, ...] = ()
    leak: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Prepared:
    """`parts` as samples; `val` is None where nothing validates, `test` where every clip trains.

    `skipped`: one line for each clip left out, unreadable or unusable.
    """

    parts: Parts
    train: Samples
    val: Samples | None
    test: Samples | None
    skipped: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.parts.classes

    @property
    def saturated(self) -> tuple[str, ...]:
        """Ids of clips whose worn sensor met the end of its range."""
        parts = (self.train, self.val, self.test)
        return tuple(clip_id for part in parts if part is not None for clip_id in part.saturated)

    @property
    def uncropped(self) -> dict[str, dict[str, Any]]:
        """Of each part, where pictures are cut to the people in them: `clips`, how many of them show their whole pictures because nobody is
        seen in them, `uncropped`, and how many of these are of each class, `by_class`."""
        found = {}
        for name, part, clips in (
            ("train", self.train, self.parts.train),
            ("val", self.val, self.parts.val),
            ("test", self.test, self.parts.test),
        ):
            pictures = [each for each in getattr(part, "parts", {"": part}).values() if getattr(each, "cuts", False)]
            if pictures:
                whole = {clip_id for each in pictures for clip_id in each.uncropped}
                labels = Counter(self.classes[clip.label] for clip in clips if clip.id in whole)
                found[name] = {"clips": len(part.clip_ids), "uncropped": len(whole), "by_class": dict(sorted(labels.items()))}
        return found


def crop_text(uncropped: Mapping[str, Mapping[str, Any]]) -> str:
    """What `Prepared.uncropped` tells, in a line for each part."""
    lines = ["pictures are cut to the people in them; clips in which nobody is seen are shown whole:"]
    for name, about in uncropped.items():
        classes = ", ".join(f"{label} {count}" for label, count in about["by_class"].items())
        lines.append(f"  {name:<6}{about['uncropped']} of {about['clips']}" + (f" ({classes})" if classes else ""))
    return "\n".join(lines)


def prepare(recipe: Recipe) -> Prepared:
    """Read, divide and prepare what a recipe trains on.

    Validation is cut from the training part for `selection: validation` and `refit` alone. With `on_error: skip` clips that
    cannot be read or prepared are left out of their part and named in `skipped`.

    Raises `DataError`, `ProtocolError`, `LayoutError`.
    """
    validate = recipe.fit.selection in ("validation", "refit")
    needs = skeletons_for(recipe, modalities(recipe))
    if recipe.data.camera and not needs["crop"]:
        raise RecipeError("data.camera is for pictures that are cut to joints in space; video.crop or depth.fit: skeleton cuts them")
    parts = read_parts(recipe.data, seed=recipe.seed, validate=validate, **needs)
    samples, skipped = [], list(parts.skipped)
    for clips in (parts.train, parts.val, parts.test):
        part = samples_of(clips, modalities(recipe), recipe, recipe.data.on_error, keep=True) if clips else None
        samples.append(part)
        skipped += [str(error) for error in part.skipped] if part else []
    if len({part.shape for part in samples if part}) > 1:
        raise DataError(f"data set {parts.source.name!r} holds both 2-D and 3-D skeletons; one kind is expected")
    samples[0] = _with_copies(samples[0], recipe)
    return Prepared(parts, *samples, skipped=tuple(skipped))


def prepare_whole(prepared: Prepared, recipe: Recipe) -> Samples:
    """The training and the validation part together."""
    parts = prepared.parts
    samples = samples_of(parts.train + parts.val, modalities(recipe), recipe, recipe.data.on_error, keep=True)
    return _with_copies(samples, recipe)


def modalities(recipe: Recipe) -> tuple[str, ...]:
    """What the recipe's model takes: some of pose, depth, inertial, video."""
    return model_info(recipe.model.name).modalities


def augmentation(recipe: Recipe) -> Any:
    """The random changes of training samples, as the samples of the recipe's model take them: by modality where it takes several."""
    every = {
        "pose": recipe.augment,
        "depth": recipe.depth_augment,
        "inertial": recipe.inertial_augment,
        "video": recipe.video_augment,
    }
    taken = {name: every[name] for name in modalities(recipe)}
    return taken if len(taken) > 1 else next(iter(taken.values()))


def _with_copies(train: Samples, recipe: Recipe) -> Samples:
    if not recipe.augment.mirror_copies:
        return train
    if not isinstance(train, PoseSamples):
        raise RecipeError(f"augment.mirror_copies copies skeletons; model {recipe.model.name!r} takes {' and '.join(modalities(recipe))}")
    return train.with_mirrored(recipe.augment.mirror_swaps)


def window_count(samples: Samples) -> int:
    """Windows that the samples are cut from (clips, where these are not cut); the phases of one window count once."""
    return len(set(zip(samples.clip_of.tolist(), samples.starts.tolist(), strict=True)))


@dataclass(frozen=True)
class Recording:
    """How the training clips were recorded: frames per second, seconds of a sample (medians), and the unit of the prepared points;
    those of a bundle that says nothing, where there are no skeletons."""

    fps: float
    seconds: float
    unit: Unit


def recording(parts: Parts, samples: Samples, of: Sequence[str] = ("pose",)) -> Recording:
    """`of`: the modalities that the samples are made of."""
    if "pose" not in of:
        return Recording(fps=30.0, seconds=0.0, unit="m")  # nothing counts in frames there
    clips = {clip.id: clip for clip in parts.train + parts.val}
    poses = [clips[clip_id].pose for clip_id in samples.clip_ids]
    fps = np.array([pose.fps for pose in poses])
    seconds = samples.lengths.numpy() / fps[samples.clip_of.numpy()]
    projected = getattr(samples, "parts", {"pose": samples})["pose"].input.project
    unit = "norm" if projected else "m" if poses[0].unit == "mm" else poses[0].unit
    return Recording(float(np.median(fps)), float(np.median(seconds)), unit)


def skeletons_for(inputs: Inputs, of: Sequence[str]) -> dict[str, bool]:
    """Which skeletons a model of the modalities `of` needs: arguments of `read` and `read_parts`."""
    crop = ("video" in of and bool(inputs.video.crop)) or ("depth" in of and inputs.depth.fit == "skeleton")
    return {"poses": "pose" in of, "crop": crop}


def read(data: DataConfig, name: str | None = None, *, poses: bool = True, crop: bool = False) -> Dataset:
    """The data set of a recipe, or of several the one of this name; of videos without skeletons those are estimated if it says so and
    `poses` are wanted. `crop`: those that pictures are cut by are wanted, and nobody is left out who has none."""
    several = "+" in data.name
    dataset = read_dataset(name or data.name, Path(data.root) / name if several and data.root else data.root, on_error=data.on_error)
    if crop and (data.pose or data.camera):
        from kinema.datasets._image_poses import with_camera, with_image_poses

        if data.pose and data.camera:
            raise RecipeError("pictures are cut by the skeletons of data.pose or of data.camera; one of the two is expected")
        dataset = with_image_poses(dataset, data.pose) if data.pose else with_camera(dataset, read_camera(data.camera))
    if not data.pose or not poses:
        return dataset
    from kinema.datasets._estimated import with_poses

    return with_poses(dataset, data.pose, on_error=data.on_error)


def read_for(bundle: Bundle | FusedBundle, data: DataConfig) -> Dataset:
    """A data set with the skeletons that a bundle needs. Those that its pictures were cut by in training cut them here, unless `data` names
    others."""
    if not isinstance(bundle, Bundle):
        return read(data)
    needs, trained = skeletons_for(bundle, bundle.modalities), bundle.recipe.get("data", {})
    if needs["crop"] and not (data.pose or data.camera):
        data = replace(data, pose=trained.get("pose", ""), camera=trained.get("camera"))
    return read(data, **needs)


def read_parts(data: DataConfig, *, seed: int = 0, validate: bool = True, poses: bool = True, crop: bool = False) -> Parts:
    """The clips of one split; `validate` cuts a validation part from the training part (drawn with `seed`) unless the split has one.
    `poses`, `crop`: see `read`.

    Raises `ProtocolError` where clips cut from one recording both train and test, unless `data.allow_leak`.
    """
    names = data.name.split("+")
    protocols = data.protocol.split("+") if data.protocol else [None] * len(names)
    keys = validation_keys(data.val_by, names)

    def divided(dataset: Dataset, key: str, protocol: str | None = None, fold: str | None = None) -> Split:
        labelled = tuple(clip.id for clip in dataset.clips if clip.label is not None)
        if data.use == "all":
            return Split("all", labelled, ())
        if len(names) > 1 and protocol == TESTS:
            return Split("all", (), labelled)
        whole = len(names) > 1 and protocol == TRAINS
        split = Split("all", labelled, ()) if whole else dataset.split(protocol, fold)
        if not data.allow_leak:
            _check_leak(dataset, split)
        if validate:
            return cut_validation(split, dataset.clips, by=key, share=data.val_share, seed=seed)
        return replace(split, train=split.train + split.val, val=())

    if len(names) == 1:
        dataset = read(data, poses=poses, crop=crop)
        split = divided(dataset, keys[data.name], data.protocol, data.fold)
        protocol = "all clips" if data.use == "all" else data.protocol or next(iter(dataset.protocols))
    else:
        sets = [read(data, name, poses=poses, crop=crop) for name in names]
        folds = [_fold(each, of, data) for each, of in zip(sets, protocols, strict=True)]
        splits = [divided(*each) for each in zip(sets, keys.values(), protocols, folds, strict=True)]
        dataset, split = _joined(names, sets, splits, data.fold)
        protocol = "all clips" if data.use == "all" else data.protocol or "the default one of each"
    number, classes = _vocabulary(data.classes, dataset, split)
    parts = [
        tuple(replace(clip, label=number[clip.label]) for clip in dataset.select(ids) if clip.label in number)
        for ids in (split.train, split.val, split.test)
    ]
    if TESTS in protocols:  # of a data set that never trains: what nobody shows in training cannot be known
        known = {clip.label for clip in parts[0]}
        parts[1:] = [tuple(clip for clip in part if clip.label in known) for part in parts[1:]]
        if not parts[2]:
            raise ProtocolError(f"no class of {names[protocols.index(TESTS)]!r} is among those that train; data.classes says which are one")
    return Parts(
        dataset,
        split,
        protocol,
        classes,
        *parts,
        skipped=tuple(str(error) for error in dataset.skipped),
        leak=leaking(split, dataset.clips),
    )


def _check_leak(dataset: Dataset, split: Split) -> None:
    leak = leaking(split, dataset.clips)
    if leak:
        other = "choose a protocol that keeps groups together, or set data.allow_leak: true, and the result will say so"
        note = leak_note(len(leak), len(split.test))
        raise ProtocolError(f"data set {dataset.name!r}, split {split.name!r}: {note}, such as {leak[0]!r}; {other}")


def _vocabulary(wanted: Mapping[str, Sequence[str]], dataset: Dataset, split: Split) -> tuple[dict[int, int], tuple[str, ...]]:
    """The number of each of the data set's labels that takes part, and the names that these numbers have."""
    labels = split.classes if split.classes is not None else range(len(dataset.classes))
    if not wanted:
        return {label: i for i, label in enumerate(labels)}, tuple(dataset.classes[label] for label in labels)
    known, number = {dataset.classes[label]: label for label in labels}, {}
    elsewhere = {info.name for info in dataset_infos()} - set(dataset.name.split("+")) if "+" in dataset.name else set()
    names: list[str] = []
    for name, members in wanted.items():
        taken = [member for member in members or (name,) if member.partition("/")[0] not in elsewhere]
        for member in taken:
            if member not in known:
                raise RecipeError(f"data.classes: {name!r}: {unknown('class', member, known)} (in {dataset.name})")
            if known[member] in number:
                raise RecipeError(f"data.classes: {member!r} is given twice; the second time for {name!r}")
            number[known[member]] = len(names)
        names += [name] if taken else []
    return number, tuple(names)


def _fold(dataset: Dataset, protocol: str | None, data: DataConfig) -> str | None:
    """The recipe's fold, for those of several data sets that have folds."""
    if data.use != "split" or protocol in (TRAINS, TESTS):
        return None
    return data.fold if len(dataset.splits(protocol)) > 1 else None


def fold_names(data: DataConfig) -> tuple[str, ...]:
    """Names of the splits of the recipe's protocol; of several data sets, those that all have who have more than one."""
    names = data.name.split("+")
    protocols = data.protocol.split("+") if data.protocol else [None] * len(names)
    found: list[tuple[str, ...]] = []
    for name, protocol in zip(names, protocols, strict=True):
        if len(names) > 1 and protocol in (TRAINS, TESTS):
            continue
        found.append(tuple(split.name for split in read(data, name, poses=False).splits(protocol)))
    several = [folds for folds in found if len(folds) > 1] or found[:1] or [("joined",)]
    return tuple(fold for fold in several[0] if all(fold in folds for folds in several))


def class_groups(data: DataConfig, protocol: str) -> dict[str, tuple[str, ...]]:
    """Names of the classes that take part in each group of a protocol whose splits are named "group/fold", such as CAD-60's
    environments. `ProtocolError` for one that has no such groups."""
    dataset = read(data, poses=False)
    splits = [(split.name.rpartition("/")[0], split.classes) for split in dataset.splits(protocol)]
    groups = {group: tuple(dataset.classes[label] for label in classes) for group, classes in splits if group and classes}
    if not groups:
        raise ProtocolError(f"data set {dataset.name!r}: protocol {protocol!r} has no groups of classes")
    return groups


def _joined(names: Sequence[str], sets: Sequence[Dataset], splits: Sequence[Split], fold: str | None) -> tuple[Dataset, Split]:
    """Several data sets as one: names in front of ids, subjects and classes tell them apart."""
    clips, classes, skipped = [], [], []
    ids: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name, dataset, split in zip(names, sets, splits, strict=True):
        if split.classes is not None:
            raise ProtocolError(f"data set {name!r}: its default protocol leaves classes out; it cannot be joined with others")
        for clip in dataset.clips:
            marked = {key: f"{name}/{value}" for key in ("subject", "view", "setup", "group") if (value := getattr(clip, key)) is not None}
            label = None if clip.label is None else clip.label + len(classes)
            clips.append(replace(clip, id=f"{name}/{clip.id}", label=label, **marked))
        classes += [f"{name}/{label}" for label in dataset.classes]
        skipped += dataset.skipped
        for part, own in ids.items():
            own += [f"{name}/{clip_id}" for clip_id in getattr(split, part)]
    joined = Dataset("+".join(names), tuple(clips), tuple(classes), skipped=tuple(skipped))
    return joined, Split(fold or "joined", **{part: tuple(own) for part, own in ids.items()})
