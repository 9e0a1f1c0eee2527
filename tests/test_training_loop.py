"""The loop: orders, batches, learning, and what a seed decides."""

from dataclasses import replace

import pytest
import torch
from training_toys import register_toy, toy_dataset, toy_recipe

from kinema.errors import KinemaError
from kinema.training.fit import make_fabric, make_model, reproducible
from kinema.training.loop import Stage, batches, by_clip, draw_order, probabilities
from kinema.training.recipe import EngineConfig
from kinema.transforms.config import PoseAugment, PoseInput
from kinema.transforms.samples import PoseSamples

register_toy()


def train(recipe, dataset=None, val=False) -> Stage:
    samples = PoseSamples.from_clips((dataset or toy_dataset()).clips, recipe.input)
    fabric = make_fabric(recipe.engine)
    with reproducible(recipe, fabric):
        model, _ = make_model(recipe, samples, 3)
        stage = Stage(recipe, fabric, model, samples, samples if val else None, 3)
        stage.run(lambda stage: None, lambda share: None)
    return stage


def weights(stage: Stage) -> torch.Tensor:
    return torch.cat([value.float().flatten() for value in stage.weights.state_dict().values()])


def test_an_epoch_draws_every_sample_as_often_as_repeats_say():
    order = draw_order(torch.zeros(10, dtype=torch.long), False, 3, torch.Generator())
    assert sorted(order.tolist()) == sorted([*range(10)] * 3)


def test_balanced_drawing_gives_every_class_the_same_share_and_its_samples_too():
    labels = torch.tensor([0] * 40 + [1] * 7 + [2] * 3)
    order = draw_order(labels, True, 1, torch.Generator().manual_seed(0))
    assert len(order) == 50
    per_class = labels[order].bincount().tolist()
    assert max(per_class) - min(per_class) <= 1
    rare = torch.bincount(order, minlength=50)[47:].tolist()
    assert max(rare) - min(rare) <= 1


@pytest.mark.parametrize(("count", "size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (1, 4, [1]), (8, 4, [4, 4])])
def test_a_last_batch_too_small_for_a_norm_joins_the_one_before(count, size, sizes):
    assert [len(part) for part in batches(torch.arange(count), size)] == sizes


@pytest.mark.parametrize(
    "fit",
    [
        {},
        {"optimizer": "adam", "schedule": "constant"},
        {"optimizer": "sgd", "lr": 0.1, "clip": 1.0},
        {"label_smoothing": 0.1, "ema": 0.8},
        {"loss": "focal", "class_weights": True},
        {"balanced": True, "repeats": 2, "epochs": 6},
    ],
)
def test_it_learns_a_separable_task_in_every_manner(fit):
    recipe = toy_recipe(**{"epochs": 12, **fit})
    stage = train(recipe)
    p = probabilities(stage.weights, stage.train_samples, stage.fabric, 16)
    assert (p.argmax(1) == stage.train_samples.labels).double().mean() == 1
    assert torch.allclose(p.sum(1), torch.ones(len(p), dtype=p.dtype))


@pytest.mark.parametrize("how", ["class_weights", "balanced"])
def test_a_rare_class_is_heard_where_the_recipe_says_so(how):
    dataset = toy_dataset(takes=12, counts={2: 1})
    settings = {"epochs": 2, "lr": 0.002, "schedule": "constant"}
    plain, helped = (train(toy_recipe(**settings, **more), dataset) for more in ({}, {how: True}))

    def belief(stage):
        rare = torch.nonzero(stage.train_samples.labels == 2).flatten()
        return probabilities(stage.weights, stage.train_samples, stage.fabric, 16)[rare, 2].mean()

    assert belief(helped) > belief(plain) + 0.05


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    base = toy_recipe(epochs=3, ema=0.9)
    recipe = replace(base, augment=PoseAugment(rotate=30, jitter=0.01, crop=0.7, mirror=0.5, mixup=0.2))
    first, again, other = train(recipe), train(recipe), train(replace(recipe, seed=1))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_training_leaves_the_callers_random_state_and_threads_alone():
    torch.manual_seed(3)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(3)
    train(toy_recipe(epochs=1))
    assert torch.equal(torch.rand(3), expected) and torch.get_num_threads() == threads


def test_validation_keeps_the_best_epoch_and_stops_early_when_none_is_better():
    stage = train(toy_recipe(epochs=60, early_stop=5, lr=0.02, schedule="constant"), val=True)
    rows, best = stage.history.rows, stage.history.best
    assert best["val_top1"] == max(row["val_top1"] for row in rows)
    assert len(rows) == best["epoch"] + 5 or len(rows) == 60
    assert set(best["state"]) == set(stage.weights.state_dict())


def test_a_rate_that_blows_up_is_told_and_not_gone_on_with():
    with pytest.raises(KinemaError, match=r"diverged in epoch 1.*lower fit.lr"):
        train(toy_recipe(optimizer="sgd", lr=1e30))


def test_bfloat16_learns_too():
    stage = train(replace(toy_recipe(epochs=12), engine=EngineConfig(accelerator="cpu", precision="bf16-mixed", threads=1)))
    p = probabilities(stage.weights, stage.train_samples, stage.fabric, 16)
    assert (p.argmax(1) == stage.train_samples.labels).double().mean() == 1


def test_a_clips_answer_is_the_mean_of_its_windows():
    samples = PoseSamples.from_clips(toy_dataset(takes=1).clips, PoseInput(layout="cad60", frames=4, window=8, stride=4))
    p = torch.rand(len(samples), 3).softmax(1)
    clips, labels = by_clip(p, samples)
    assert labels.tolist() == [clip.label for clip in toy_dataset(takes=1).clips]
    torch.testing.assert_close(clips[2], p[samples.clip_of == 2].mean(0))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_networks_are_given_all_digits_of_their_input(precision):
    fabric = make_fabric(EngineConfig(accelerator="cpu", precision=precision))
    seen = {}

    class Looks(torch.nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            seen.update(given=x.dtype, made=y.dtype)
            return y

    fabric.setup(Looks(2, 2))(torch.ones(1, 2))
    assert seen == {"given": torch.float32, "made": torch.float32 if precision == "32-true" else torch.bfloat16}
