"""Optimisers, schedules, losses and the moving average."""

import pytest
import torch
from torch import nn

from kinema.training.optimizers import Loss, MovingAverage, Schedule, make_optimizer
from kinema.training.recipe import FitConfig


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"schedule": "constant"}, {0: 1, 5: 1, 9: 1}),
        ({"schedule": "cosine"}, {0: 1, 5: 0.5, 10: 0}),
        ({"schedule": "cosine", "warmup": 2}, {0: 0.05, 1: 0.55, 2: 1, 6: 0.5, 10: 0}),
        ({"schedule": "step", "milestones": (4, 8), "gamma": 0.5}, {0: 1, 3.9: 1, 4: 0.5, 8: 0.25}),
    ],
)
def test_the_learning_rate_follows_its_schedule(settings, factors):
    schedule = Schedule(FitConfig(epochs=10, **settings))
    assert {position: pytest.approx(schedule.factor(position, 0.1), abs=1e-9) for position in factors} == factors


def test_plateau_lowers_the_rate_after_its_patience_and_goes_on_from_its_state():
    fit = FitConfig(schedule="plateau", patience=2, gamma=0.1)
    schedule, seen = Schedule(fit), []
    for loss in (3.0, 2.0, 2.5, 2.0, 1.0, 1.5, 1.5):
        seen.append(schedule.factor(0, 0))
        schedule.after_epoch(loss)
        resumed = Schedule(fit)
        resumed.load_state_dict(schedule.state_dict())
        schedule = resumed
    assert [*seen, schedule.factor(0, 0)] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_a_refit_repeats_the_plateaus_of_the_search():
    schedule = Schedule(FitConfig(schedule="plateau"), replay=[1.0, 1.0, 0.1])
    assert [schedule.factor(epoch + 0.5, 0.1) for epoch in range(3)] == [1.0, 1.0, 0.1]


def test_cross_entropy_is_pytorchs_with_and_without_smoothing():
    logits, labels = torch.randn(8, 5), torch.arange(8) % 5
    for smoothing in (0.0, 0.1):
        loss = Loss(FitConfig(label_smoothing=smoothing), torch.ones(5))
        ours = loss(logits, loss.targets(labels))
        torch.testing.assert_close(ours, nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none"))


def test_focal_loss_makes_light_of_what_is_known():
    loss = Loss(FitConfig(loss="focal", focal_gamma=2.0), torch.ones(2))
    logits = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    plain = nn.functional.cross_entropy(logits, torch.tensor([0, 0]), reduction="none")
    p = logits.softmax(1)[:, 0]
    torch.testing.assert_close(loss(logits, loss.targets(torch.tensor([0, 0]))), (1 - p) ** 2 * plain)
    assert not Loss(FitConfig(loss="focal", focal_gamma=0.0), torch.ones(2)).gamma


def test_class_weights_are_inverse_to_the_counts_and_1_on_average():
    counts = torch.tensor([30, 10, 0])
    loss = Loss(FitConfig(class_weights=True), counts)
    assert loss.weights[1] == pytest.approx(3 * loss.weights[0])
    assert float((loss.weights * counts).sum() / counts.sum()) == pytest.approx(1)
    logits = torch.zeros(2, 3)
    weighted = loss(logits, loss.targets(torch.tensor([0, 1])))
    torch.testing.assert_close(weighted, loss.weights[:2] * torch.tensor(3.0).log())


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_matrices_decay_vectors_do_not_and_frozen_parameters_are_left_out(name):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    optimizer = make_optimizer(model, FitConfig(optimizer=name, weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {id(model[0].weight): 0.1, **{id(p): 0.0 for p in (model[0].bias, model[1].weight, model[1].bias, model[2].bias)}}


def test_the_moving_average_follows_slowly_and_copies_running_statistics():
    model = nn.BatchNorm1d(1)
    average = MovingAverage(model, decay=0.9)
    with torch.no_grad():
        model.weight.fill_(5.0)
        model.running_mean.fill_(7.0)
    for _ in range(200):
        average.update(model)
    assert average.model.weight.item() == pytest.approx(5.0, abs=1e-3)
    assert average.model.running_mean.item() == 7.0
    with torch.no_grad():
        model.weight.fill_(0.0)
    average.update(model)
    assert average.model.weight.item() == pytest.approx(4.5, abs=1e-3)
