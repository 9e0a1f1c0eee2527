"""The sanity check: what can learn by heart passes, what cannot fails and is told why."""

from dataclasses import replace

import pytest
import torch
from training_toys import Toy, ToyConfig, register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema.models import registry
from kinema.models.registry import ModelInfo
from kinema.training.overfit import balanced_choice, overfit, sparkline
from kinema.training.recipe import ModelConfig
from kinema.transforms.config import PoseAugment


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    register_toy()
    use_toy_data(toy_dataset(), monkeypatch.setattr)


class Blind(Toy):
    """Sees no more than how many samples there are: its answer can never depend on the input."""

    def forward_features(self, x, mask=None):
        return super().forward_features(torch.zeros_like(x), mask)


class NeverSwitches(Toy):
    """Its norm stays in training mode, but its answers in evaluation mode come from elsewhere: the classic trap."""

    def forward_features(self, x, mask=None):
        return super().forward_features(x, mask) * (1.0 if self.training else -1.0)


def model(monkeypatch, kind) -> ModelConfig:
    info = ModelInfo("faulty", "for tests", "none", lambda config, shape, classes: kind(config, shape, classes), ToyConfig())
    monkeypatch.setitem(registry._MODELS, "faulty", info)
    return ModelConfig("faulty")


def test_a_sound_model_passes_and_shows_its_curve():
    recipe = replace(toy_recipe(epochs=1, lr=0.01, label_smoothing=0.3), augment=PoseAugment(rotate=180, drop_joints=0.9))
    verdict = overfit(recipe, samples=20, epochs=60)
    assert verdict.passed and verdict.accuracy[-1] == 1 and (verdict.samples, verdict.classes) == (20, 3)
    assert "passed: learnt 20 samples of 3 classes by heart" in verdict.text() and "█" in verdict.text()
    assert "augmentation" in verdict.text()
    assert verdict.to_dict()["passed"] is True


@pytest.mark.parametrize(("kind", "hint"), [(Blind, "loss hardly falls"), (NeverSwitches, "what differs between the two")])
def test_a_faulty_model_fails_with_a_hint(monkeypatch, kind, hint):
    verdict = overfit(replace(toy_recipe(lr=0.01), model=model(monkeypatch, kind)), samples=12, epochs=25)
    assert not verdict.passed
    assert "FAILED: after 25 epochs" in verdict.text() and hint in verdict.text()


def test_the_same_sample_under_two_labels_is_named_as_the_reason(monkeypatch):
    dataset = toy_dataset()
    clips = [replace(clip, modalities=dataset.clips[0].modalities) for clip in dataset.clips]
    use_toy_data(replace(dataset, clips=tuple(clips)), monkeypatch.setattr)
    verdict = overfit(toy_recipe(), samples=9, epochs=2)
    assert any("the same as another one of a different class" in hint for hint in verdict.hints)


def test_classes_are_drawn_as_evenly_as_they_can_be():
    labels = torch.tensor([0] * 50 + [1] * 5 + [2] * 2 + [-1] * 9)
    chosen = balanced_choice(labels, 12, seed=0)
    assert labels[chosen].bincount().tolist() == [5, 5, 2]
    assert len(set(chosen.tolist())) == 12


def test_a_sparkline_has_one_bar_a_value_until_it_is_full():
    assert sparkline((0.0, 0.5, 1.0), 0, 1) == "▁▅█"
    assert len(sparkline(tuple(i / 200 for i in range(200)), 0, 1)) == 40
