"""The sanity check: can this model learn a small sample by heart? One that cannot has a fault that no tuning will mend.

Switched off, because each hinders learning by heart and none is what is checked: augmentation, mixup, dropout, label smoothing,
weight decay, class weights, balanced sampling, moving average, warm-up and schedule. The sample is scored in evaluation
mode, as later test clips are: a batch norm that never switches fails here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from kinema.errors import DataError, RecipeError
from kinema.training.closed_form import is_fitted_at_once
from kinema.training.data import modalities, read_parts, skeletons_for
from kinema.training.fit import make_fabric, make_model, reproducible
from kinema.training.load import check_recipe
from kinema.training.loop import Stage, derived_seed
from kinema.training.recipe import Recipe
from kinema.transforms.batches import Batch, Samples
from kinema.transforms.config import PoseAugment
from kinema.transforms.joined import samples_of

OFF = "augmentation, mixup, dropout, label smoothing, weight decay, class weights, balancing, moving average, warm-up, schedule"
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Verdict:
    """Whether the sample was learnt by heart.

    One value an epoch: `accuracy` in evaluation mode, `training_accuracy` and `loss` in training mode.
    """

    passed: bool
    samples: int
    classes: int
    accuracy: tuple[float, ...]
    training_accuracy: tuple[float, ...]
    loss: tuple[float, ...]
    hints: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict:
        return {**vars(self), "epochs": len(self.accuracy), "off": OFF}

    def text(self) -> str:
        epochs = len(self.accuracy)
        how = f"{self.samples} samples of {self.classes} classes"
        if self.passed:
            first = f"passed: learnt {how} by heart in {epochs} epochs"
        else:
            first = f"FAILED: after {epochs} epochs {100 * max(self.accuracy):.1f} % of {how} at best"
        return "\n".join(
            [
                first,
                f"  accuracy  {sparkline(self.accuracy, 0, 1)}  {100 * self.accuracy[-1]:.1f} %",
                f"  loss      {sparkline(self.loss, 0, max(self.loss))}  {self.loss[-1]:.4f}",
                f"  off: {OFF}",
                *(f"  {hint}" for hint in self.hints),
            ]
        )


def overfit(recipe: Recipe, samples: int = 100, epochs: int = 200) -> Verdict:
    """Train the recipe's model on `samples` training samples, every class as often as the others, until it knows them all.

    `epochs`: at most so many passes over them. Nothing is written.
    """
    check_recipe(recipe)
    if samples < 2 or epochs < 1:
        raise DataError(f"{samples} samples and {epochs} epochs; at least 2 samples and 1 epoch are expected")
    parts = read_parts(recipe.data, seed=recipe.seed, validate=False, **skeletons_for(recipe, modalities(recipe)))
    everything = samples_of(parts.train, modalities(recipe), recipe, recipe.data.on_error)
    chosen = _Chosen(everything, balanced_choice(everything.labels, samples, derived_seed(recipe.seed, len(everything))))
    recipe = replace(
        recipe,
        augment=PoseAugment(),
        fit=replace(
            recipe.fit,
            epochs=epochs,
            batch_size=min(recipe.fit.batch_size, max(2, len(chosen) // 4)),
            weight_decay=0.0,
            schedule="constant",
            warmup=0,
            early_stop=0,
            label_smoothing=0.0,
            class_weights=False,
            balanced=False,
            ema=0.0,
            repeats=1,
        ),
    )
    fabric = make_fabric(recipe.engine)
    with reproducible(recipe, fabric):
        model, _ = make_model(recipe, everything, len(parts.classes))
        if is_fitted_at_once(model):
            raise RecipeError(f"model {recipe.model.name!r} is fitted at once; the check is for models that learn step by step")
        for module in model.modules():
            if isinstance(module, _DropoutNd):
                module.p = 0.0
        stage = Stage(recipe, fabric, model, chosen, chosen, len(parts.classes))
        rows = stage.run(lambda stage: stage.history.rows[-1]["val_top1"] == 1, lambda share: None).rows
    accuracy, training = tuple(row["val_top1"] for row in rows), tuple(row["train_top1"] for row in rows)
    passed = accuracy[-1] == 1
    return Verdict(
        passed,
        len(chosen),
        len(chosen.labels.unique()),
        accuracy,
        training,
        tuple(row["train_loss"] for row in rows),
        () if passed else tuple(_hints(chosen, accuracy, training, rows)),
    )


def balanced_choice(labels: Tensor, count: int, seed: int) -> Tensor:
    """(count,) indices, sorted, of labelled samples: drawn in turns from the classes, so that these are as even as they can be."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order] >= 0]
    turn = torch.zeros(len(order), dtype=torch.long)
    for label in labels.unique():
        own = labels[order] == label
        turn[own] = torch.arange(int(own.sum()))
    return order[turn.argsort(stable=True)][:count].sort().values


def sparkline(values: tuple[float, ...], low: float, high: float, width: int = 40) -> str:
    """A curve in one line of text, at most `width` characters long: each the mean of its share of the values."""
    parts = torch.tensor(values, dtype=torch.float64).tensor_split(min(width, len(values)))
    heights = [(float(part.mean()) - low) / ((high - low) or 1) for part in parts]
    return "".join(_BARS[min(max(int(height * len(_BARS)), 0), len(_BARS) - 1)] for height in heights)


class _Chosen:
    """Some of all samples, each counted as a clip of its own."""

    def __init__(self, samples: Samples, indices: Tensor):
        self.samples, self.indices, self.shape = samples, indices, samples.shape
        self.labels = samples.labels[indices]
        self.clip_of = torch.arange(len(indices))
        self.clip_ids = tuple(samples.clip_ids[i] for i in samples.clip_of[indices].tolist())

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor, *, augment: Any = None, **how) -> Batch:
        # Even an augmentation that changes nothing samples at random ("segments"); here every look is the same.
        return self.samples.batch(self.indices[indices], **{**how, "generator": None})


def _hints(chosen: _Chosen, accuracy: tuple[float, ...], training: tuple[float, ...], rows: list[dict[str, float]]) -> list[str]:
    hints = []
    inputs = [value for value in chosen.batch(torch.arange(len(chosen))).inputs.values() if value is not None]
    seen: dict[bytes, int] = {}
    contradictions = 0
    for *values, label in zip(*inputs, chosen.labels.tolist(), strict=True):
        digest = hashlib.sha256(b"".join(value.contiguous().numpy().tobytes() for value in values)).digest()
        contradictions += seen.setdefault(digest, label) != label
    if contradictions:
        hints.append(f"{contradictions} samples are the same as another one of a different class: no model can tell them apart")
    if max(training) - max(accuracy) > 0.2:
        hints.append(
            f"in training mode it reaches {100 * max(training):.0f} %, in evaluation mode {100 * max(accuracy):.0f} %: look at what "
            "differs between the two (batch norms, dropout)"
        )
    elif rows[-1]["train_loss"] > 0.9 * rows[0]["train_loss"]:
        hints.append("the loss hardly falls: look at the learning rate, at frozen layers, and at what comes between logits and loss")
    elif accuracy[-1] >= max(accuracy) - 0.02:
        hints.append("it was still learning: allow more epochs, or raise the learning rate")
    return hints
