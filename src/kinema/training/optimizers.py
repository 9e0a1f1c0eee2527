"""What moves the weights: optimiser, learning-rate schedule, loss, and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kinema.errors import RecipeError
from kinema.training.recipe import FitConfig


def make_optimizer(
    model: nn.Module,
    fit: FitConfig,
    fused: bool = True,
    slow: Sequence[str] = (),
    slow_factor: float = 1.0,
    heads: nn.Module | None = None,
) -> Optimizer:
    """The optimiser over the parameters that train, those of `heads` too. Matrices and kernels decay; biases, norms and other
    vectors do not.

    Its groups carry a `scale`, the factor of the learning rate: `slow_factor` for parameters whose names begin with one of `slow`.
    Make it after layers were re-made or frozen: a parameter that comes later would never move.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trained:
        raise RecipeError("init.freeze freezes every parameter; nothing is left to train")
    trained += [("", parameter) for parameter in heads.parameters()] if heads is not None else []
    groups = []
    for slowly in (False, True):
        of = [parameter for name, parameter in trained if name.startswith(tuple(slow)) == slowly]
        scale = slow_factor if slowly else 1.0
        if of:
            groups.append({"params": [p for p in of if p.ndim > 1], "weight_decay": fit.weight_decay, "scale": scale})
            groups.append({"params": [p for p in of if p.ndim <= 1], "weight_decay": 0.0, "scale": scale})
    groups = [group for group in groups if group["params"]]
    if fit.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=fit.lr, momentum=0.9, nesterov=True, fused=fused)
    kind = torch.optim.AdamW if fit.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=fit.lr, fused=fused)


class Schedule:
    """The learning rate over time, as a factor of `fit.lr`.

    All but "plateau" depend on the position alone, so that a resumed run follows the same course. `replay`: factors of
    the epochs of an earlier run with "plateau", which a run without validation repeats.
    """

    def __init__(self, fit: FitConfig, replay: list[float] | None = None):
        self.fit = fit
        self.replay = replay
        self.reduced = 1.0
        self.best = math.inf
        self.bad_epochs = 0

    def factor(self, position: float, step: float) -> float:
        """`position`: epochs done, with a fraction within the epoch; `step`: the share of an epoch that one step is."""
        fit = self.fit
        factor = min(1.0, (position + step) / fit.warmup) if fit.warmup else 1.0
        if fit.schedule == "cosine" and position > fit.warmup:
            factor *= (1 + math.cos(math.pi * (position - fit.warmup) / (fit.epochs - fit.warmup))) / 2
        elif fit.schedule == "step":
            factor *= fit.gamma ** bisect_right(fit.milestones, int(position))
        elif fit.schedule == "plateau":
            factor *= self.replay[int(position)] if self.replay is not None else self.reduced
        return factor

    def after_epoch(self, loss: float | None) -> None:
        """Tell the schedule the epoch's validation loss; "plateau" alone listens."""
        if self.fit.schedule != "plateau" or loss is None:
            return
        if loss < self.best:
            self.best, self.bad_epochs = loss, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs >= self.fit.patience:
            self.reduced *= self.fit.gamma
            self.bad_epochs = 0

    def state_dict(self) -> dict[str, float]:
        return {"reduced": self.reduced, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.reduced, self.best, self.bad_epochs = state["reduced"], state["best"], int(state["bad_epochs"])


class Loss(nn.Module):
    """Cross-entropy, focal loss (Lin et al. 2017, eq. 5, for several classes), or the squared error of the softmax, averaged over
    classes, of logits against soft targets.

    Targets are distributions, so that label smoothing and mixup need nothing of their own. `counts`: (K,) training
    samples a class; with `class_weights` a class weighs N / (K n_class), whose mean over the samples is 1.
    """

    def __init__(self, fit: FitConfig, counts: Tensor):
        super().__init__()
        self.classes = len(counts)
        self.smoothing = fit.label_smoothing
        self.gamma = fit.focal_gamma if fit.loss == "focal" else 0.0
        self.squared = fit.loss == "mse"
        present = counts > 0
        weights = torch.where(present, counts.sum() / (present.sum() * counts.clamp(min=1)), 0.0)
        self.register_buffer("weights", weights.float() if fit.class_weights else None)

    def targets(self, labels: Tensor) -> Tensor:
        """(B, K) target distributions of (B,) labels."""
        one_hot = nn.functional.one_hot(labels, self.classes).float()
        return one_hot * (1 - self.smoothing) + self.smoothing / self.classes

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B,) loss of each sample. `logits`, `targets`: (B, K)."""
        log_p = logits.float().log_softmax(1)
        terms = (log_p.exp() - targets).square() / self.classes if self.squared else -targets * log_p
        if self.gamma:
            terms = terms * (1 - log_p.exp()).clamp(min=0) ** self.gamma
        if self.weights is not None:
            terms = terms * self.weights
        return terms.sum(1)


class MovingAverage:
    """Exponential moving average of the weights; its decay starts low, so that the first weights are soon forgotten.

    Buffers (the running statistics of batch norms) are averages already and are copied.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        weight = 1 - min(self.decay, self.steps / (self.steps + 10))
        average, latest = list(self.model.parameters()), [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(average, latest, weight)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]
