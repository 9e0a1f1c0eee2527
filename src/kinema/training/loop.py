"""The training loop: one stage from fresh (or transferred) weights to the best ones, an epoch at a time.

Every epoch draws its order, augmentation and dropout from seeds that depend on the recipe's seed and the epoch alone, so a
run that was killed and resumed at an epoch's end goes on to the same weights as one that never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kinema.errors import KinemaError
from kinema.training.data import augmentation
from kinema.training.hierarchy import Heads, WithHeads
from kinema.training.optimizers import Loss, MovingAverage, Schedule, make_optimizer
from kinema.training.recipe import Recipe
from kinema.training.transfer import training_mode
from kinema.transforms.batches import Batch, Samples, ahead, cutmix, mixup

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ORDER, AUGMENT, DROPOUT = range(3)


@dataclass
class History:
    """What happened so far: one row an epoch, and the best weights by validation."""

    rows: list[dict[str, float]] = field(default_factory=list)
    reduced: list[float] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        return len(self.rows)


def derived_seed(seed: int, *parts: int) -> int:
    """A seed for one purpose at one moment; different parts give unrelated numbers."""
    return int(np.random.SeedSequence([seed, *parts]).generate_state(1, np.uint64)[0] >> 1)


def draw_order(labels: Tensor, balanced: bool, repeats: int, generator: torch.Generator) -> Tensor:
    """Sample indices of one epoch. Balanced: every class equally often, each of its samples as often as the others (or once more)."""
    size = len(labels) * repeats
    if not balanced:
        return torch.cat([torch.randperm(len(labels), generator=generator) for _ in range(repeats)])
    members = [torch.nonzero(labels == label).flatten() for label in labels.unique()]
    extra = set(torch.randperm(len(members), generator=generator)[: size % len(members)].tolist())
    drawn = []
    for i, own in enumerate(members):
        count = size // len(members) + (i in extra)
        rounds = [own[torch.randperm(len(own), generator=generator)] for _ in range(math.ceil(count / len(own)))]
        drawn.append(torch.cat(rounds)[:count] if rounds else own[:0])
    return torch.cat(drawn)[torch.randperm(size, generator=generator)]


def batches(order: Tensor, size: int, least: int = 2) -> list[Tensor]:
    """The order cut into batches; a last one of fewer than `least` joins the one before, for no norm can take it."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) < least:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


class Stage:
    """Training on `train`, from the weights that `model` has now.

    `val` (or None) chooses the best epoch. `epochs`: where to stop, if before the schedule's end. `replay`: see `Schedule`. `heads`:
    classifiers of superclasses that train along, see `kinema.training.hierarchy`.
    """

    def __init__(
        self,
        recipe: Recipe,
        fabric: Fabric,
        model: nn.Module,
        train: Samples,
        val: Samples | None,
        classes: int,
        epochs: int | None = None,
        replay: list[float] | None = None,
        heads: Heads | None = None,
    ):
        self.recipe, self.fit, self.fabric = recipe, recipe.fit, fabric
        self.train_samples, self.val_samples = train, val
        self.augment = augmentation(recipe)
        self.epochs = epochs or recipe.fit.epochs
        self.schedule = Schedule(recipe.fit, replay)
        counts = torch.bincount(train.labels, minlength=classes)
        self.loss = Loss(recipe.fit, counts).to(fabric.device)
        self.network, self.heads, trained = model, heads, model
        if heads is not None:
            heads.prepare(recipe.fit, counts)
            trained = WithHeads(model, heads)
        # A fused step and the unscaling of 16-bit gradients exclude each other.
        fused, init = recipe.engine.precision != "16-mixed", recipe.init
        optimizer = make_optimizer(model, recipe.fit, fused, init.slow, init.slow_factor, heads)
        self.model, self.optimizer = fabric.setup(trained, optimizer)
        self.average = MovingAverage(model, recipe.fit.ema) if recipe.fit.ema else None
        self.history = History()

    @property
    def weights(self) -> nn.Module:
        """The network that is measured and kept."""
        return self.average.model if self.average else self.network

    def run(self, after_epoch: Callable[[Stage], bool | None], after_step: Callable[[float], None]) -> History:
        """Train to the end. `after_epoch` saves and logs; True from it ends training. `after_step` is told the share of the epoch done."""
        while self.history.epochs < self.epochs and not self._stops_early():
            started = time.perf_counter()
            epoch = self.history.epochs
            row = {"epoch": epoch + 1, "lr": self._lr(epoch, 0.0)} | self._train_epoch(epoch, after_step)
            self.history.reduced.append(self.schedule.reduced)
            if self.val_samples is not None:
                row |= self._validate()
            else:
                self._keep(row)
            self.schedule.after_epoch(row.get("val_loss"))
            self.history.rows.append(row | {"seconds": round(time.perf_counter() - started, 3)})
            if after_epoch(self):
                break
        return self.history

    def _train_epoch(self, epoch: int, after_step: Callable[[float], None]) -> dict[str, float]:
        seed, rank, ranks = self.recipe.seed, self.fabric.global_rank, self.fabric.world_size
        order_generator = torch.Generator().manual_seed(derived_seed(seed, ORDER, epoch))
        generator = torch.Generator().manual_seed(derived_seed(seed, AUGMENT, epoch, rank))
        torch.manual_seed(derived_seed(seed, DROPOUT, epoch, rank))
        training_mode(self.network, self.recipe.init.freeze)
        order = draw_order(self.train_samples.labels, self.fit.balanced, self.fit.repeats, order_generator)
        parts = batches(order, self.fit.batch_size, least=2 * ranks)
        sums = torch.zeros(2, device=self.fabric.device)
        made = ahead(self.train_samples, lambda part: self._batch(part[rank::ranks], generator), parts)
        for step, (part, (batch, targets)) in enumerate(zip(parts, made, strict=True)):
            share = 1 / len(parts)
            for group in self.optimizer.param_groups:
                group["lr"] = self._lr(epoch + step * share, share) * group.get("scale", 1.0)
            # Each device's part counts by its size, so that the devices' mean gradient is that of the whole batch.
            sums += self._step(batch, targets, ranks / len(part))
            after_step((step + 1) * share)
        loss, correct = (self.fabric.all_reduce(sums, reduce_op="sum") / len(order)).tolist()
        if not math.isfinite(loss):
            raise KinemaError(f"training diverged in epoch {epoch + 1}: the loss is {loss}; lower fit.lr, or limit gradients with fit.clip")
        return {"train_loss": loss, "train_top1": correct}

    def _batch(self, part: Tensor, generator: torch.Generator) -> tuple[Batch, Tensor]:
        """The training samples `part`, changed at random, and (B, K) targets."""
        batch = self.train_samples.batch(part, augment=self.augment, generator=generator, device=self.fabric.device)
        targets = self.loss.targets(batch.labels)
        if self.recipe.augment.mixup:
            batch, targets = mixup(batch, targets, self.recipe.augment.mixup, generator)
        if "video" in batch.inputs and self.recipe.video_augment.cutmix:
            batch, targets = cutmix(batch, targets, self.recipe.video_augment.cutmix, generator)
        return batch, targets

    def _step(self, batch: Batch, targets: Tensor, scale: float) -> Tensor:
        """One step of the optimiser; (2,) sums over the samples: loss, and how many were right."""
        logits, levels = self.model(**batch.inputs), None
        if self.heads is not None:
            logits, levels = logits
        if logits.ndim == 3:  # of several heads: each has a loss of its own
            losses, logits = torch.stack([self.loss(head, targets) for head in logits]).sum(0), logits.mean(0)
        else:
            losses = self.loss(logits, targets)
        if levels is not None:
            losses = self.heads.loss(losses, levels, targets)
        self.fabric.backward(losses.sum() * scale)
        if self.fit.clip:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.fit.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.network)
        with torch.no_grad():
            return torch.stack([losses.sum(), (logits.argmax(1) == targets.argmax(1)).sum()])

    def _validate(self) -> dict[str, float]:
        samples = self.val_samples
        p = probabilities(self.weights, samples, self.fabric, self.fit.batch_size)
        loss = -p[torch.arange(len(p)), samples.labels].clamp(min=torch.finfo(torch.float32).tiny).log().mean().item()
        clips, labels = by_clip(p, samples)
        row = {"val_loss": loss, "val_top1": (clips.argmax(1) == labels).double().mean().item()}
        if not math.isfinite(loss):
            raise KinemaError(f"training diverged in epoch {self.history.epochs + 1}: the validation loss is {loss}; lower fit.lr")
        best = self.history.best
        if not best or (row["val_top1"], -loss) > (best["val_top1"], -best["val_loss"]):
            self._keep(row)
        return row

    def _keep(self, row: dict[str, float]) -> None:
        measured = {key: value for key, value in row.items() if key.startswith("val_")}
        self.history.best = {"epoch": self.history.epochs + 1, "state": _copied(self.weights), **measured}
        if self.heads is not None:
            self.history.best["heads"] = _copied(self.heads.classifiers)

    def _stops_early(self) -> bool:
        limit = self.fit.early_stop if self.val_samples is not None else 0
        return bool(limit and self.history.best and self.history.epochs - self.history.best["epoch"] >= limit)

    def _lr(self, position: float, step: float) -> float:
        return self.fit.lr * self.schedule.factor(position, step)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.network.state_dict(),
            **({} if self.heads is None else {"heads": self.heads.classifiers.state_dict()}),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "history": {"rows": self.history.rows, "reduced": self.history.reduced, "best": self.history.best},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["model"])
        if self.heads is not None:
            self.heads.classifiers.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.history = History(**state["history"])


def _copied(module: nn.Module) -> dict[str, Tensor]:
    """Its state on the CPU, as it is now."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


@torch.no_grad()
def probabilities(model: nn.Module, samples: Samples, fabric: Fabric, batch_size: int, views: int = 1) -> Tensor:
    """(N, K) float64 class probabilities on the CPU, the mean over test-time views. The devices share the work."""
    was_training = model.training
    model.eval()
    ranks, count = fabric.world_size, len(samples)
    if ranks > 1:  # norms saw different samples on each device; the first device's statistics are the ones that are kept
        for buffer in model.buffers():
            buffer.copy_(fabric.broadcast(buffer))
    # Every device answers as many samples as the others, if need be the last one once more.
    places = torch.arange(math.ceil(count / ranks) * ranks)[fabric.global_rank :: ranks]
    looks = [(part, view) for part in places.clamp(max=count - 1).split(batch_size) for view in range(views)]
    made = ahead(samples, lambda look: samples.batch(look[0], view=look[1], views=views, device=fabric.device), looks)
    parts = []
    for (_, view), batch in zip(looks, made, strict=True):
        with fabric.autocast():
            logits = model(**batch.inputs)
        p = logits.float().cpu().double().softmax(1) / views
        if view:
            parts[-1] += p
        else:
            parts.append(p)
    model.train(was_training)
    own = torch.cat(parts)
    if ranks == 1:
        return own
    result = own.new_zeros(count, own.shape[1])
    result[places[places < count]] = own[places < count]
    return fabric.all_reduce(result.to(fabric.device), reduce_op="sum").cpu()


def by_clip(p: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """(C, K) mean probabilities and (C,) labels of the clips that the samples are cut from."""
    clips = len(samples.clip_ids)
    sums = torch.zeros(clips, p.shape[1], dtype=p.dtype).index_add_(0, samples.clip_of, p)
    labels = torch.zeros(clips, dtype=torch.long)
    labels[samples.clip_of] = samples.labels
    return sums / torch.bincount(samples.clip_of, minlength=clips)[:, None], labels
