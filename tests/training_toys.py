"""A small separable task for the tests of training: clips that the tests make, and a network that learns them in a second."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from kinema.clip import Clip, PoseSequence
from kinema.datasets.base import Dataset
from kinema.datasets.protocols import by_values, leave_one_out
from kinema.layout import get_layout
from kinema.models import registry
from kinema.models.registry import ModelInfo, PoseShape
from kinema.training.recipe import DataConfig, EngineConfig, FitConfig, ModelConfig, Recipe
from kinema.transforms.config import PoseAugment, PoseInput

CLASSES = ("raise left", "raise right", "bow")


def toy_clip(label: int, subject: int, take: int, frames: int = 20, layout: str = "cad60") -> Clip:
    """Somebody raises the left or the right hand, or bows; people differ in size and in noise."""
    rng = np.random.default_rng([label, subject, take])
    joints = get_layout(layout).joints
    rest = np.random.default_rng(5).normal(size=(len(joints), 3)) * 0.3
    points = np.tile(rest, (frames, 1, 1)) * (1 + 0.1 * subject) + rng.normal(size=(frames, len(joints), 3)) * 0.02
    joint = ("left_hand", "right_hand", "head")[label]
    points[:, joints.index(joint), 1 if label < 2 else 2] += np.linspace(0, 1, frames)
    pose = PoseSequence(points[None].astype(np.float32), layout=layout, fps=10)
    return Clip(f"c{label}_s{subject}_t{take}", {"pose": pose}, label, subject=str(subject))


def toy_dataset(takes: int = 4, subjects: int = 4, counts: dict[int, int] | None = None, frames: int = 20, name: str = "toy") -> Dataset:
    """Even subjects test. `counts`: takes of a class, where not `takes`."""
    clips = [
        toy_clip(label, subject, take, frames)
        for label in range(len(CLASSES))
        for subject in range(1, subjects + 1)
        for take in range((counts or {}).get(label, takes))
    ]
    odd = [str(subject) for subject in range(1, subjects + 1, 2)]
    protocols = (by_values("cross-subject", "odd subjects train", "subject", odd), leave_one_out("leave-one-out", "one subject tests"))
    return Dataset(name, tuple(clips), CLASSES, {protocol.name: protocol for protocol in protocols})


@dataclass(frozen=True)
class ToyConfig:
    width: int = 16
    dropout: float = 0.1
    norm: bool = True


class Toy(nn.Module):
    """A convolution over time with a batch norm, then a linear head."""

    def __init__(self, config: ToyConfig, shape: PoseShape, num_classes: int):
        super().__init__()
        convolution = nn.Conv1d(len(shape.layout) * shape.channels, config.width, 3, padding=1)
        self.backbone = nn.Sequential(convolution, nn.BatchNorm1d(config.width) if config.norm else nn.Identity())
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.width, num_classes)

    def forward_features(self, x, mask=None):
        maps = self.backbone(x.flatten(3).mean(1).transpose(1, 2)).relu()
        return torch.cat([maps.mean(2), maps.amax(2)], 1)

    def forward_head(self, features):
        return self.head(self.dropout(features))

    def forward(self, x, mask=None):
        return self.forward_head(self.forward_features(x, mask))

    def reset_classifier(self, num_classes):
        self.head = nn.Linear(self.head.in_features, num_classes)

    def head_prefixes(self):
        return ("head.",)


def register_toy() -> None:
    if "toy" not in registry._MODELS:
        registry.register(ModelInfo("toy", "for tests", "none", lambda config, shape, classes: Toy(config, shape, classes), ToyConfig()))


def toy_recipe(**fit) -> Recipe:
    settings = {"epochs": 8, "batch_size": 8, "lr": 0.01, **fit}
    return Recipe(
        title="toy",
        data=DataConfig("toy", val_share=0.5),
        input=PoseInput(layout="cad60", frames=16),
        model=ModelConfig("toy"),
        fit=FitConfig(**settings),
        engine=EngineConfig(accelerator="cpu", threads=1),
    )


def use_toy_data(dataset: Dataset, patch=setattr) -> None:
    """Let recipes that name this data set find it. `patch`: pytest's `monkeypatch.setattr`, where it shall be undone."""
    from kinema.training import data

    patch(data, "read_dataset", lambda name, root=None, *, on_error="raise": dataset)


def hard_recipe() -> Recipe:
    """Everything that has a state of its own: what a resumed run has to get right."""
    return replace(
        toy_recipe(epochs=5, ema=0.8, schedule="plateau", patience=1, gamma=0.5, balanced=True, selection="refit", warmup=1, clip=1.0),
        augment=PoseAugment(rotate=30, jitter=0.02, crop=0.6, mirror=0.3, drop_joints=0.1, mixup=0.3),
    )


def steady_recipe() -> Recipe:
    """Nothing in it depends on how a batch is divided over devices: no dropout, no norm over the batch, no augmentation."""
    recipe = toy_recipe(epochs=4, batch_size=7, ema=0.5)
    return replace(recipe, model=ModelConfig("toy", {"dropout": 0.0, "norm": False}))
