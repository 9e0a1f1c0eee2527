"""Feature-level fusion: networks of several modalities side by side, their features in front of one classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kinema.errors import DataError, RecipeError
from kinema.layout import get_layout
from kinema.models.registry import (
    DepthShape,
    InertialShape,
    ModelInfo,
    PoseShape,
    Shapes,
    VideoShape,
    create_model,
    model_info,
    register,
)

_MODALITIES = ("pose", "depth", "inertial", "video")


@dataclass(frozen=True)
class FeatureFusionConfig:
    """Settings of feature-level fusion. Of the branches those count whose modality the model takes.

    Args:
        pose, depth, inertial, video: registered model of each branch, without its classifier.
        pose_config, depth_config, inertial_config, video_config: settings of those models.
        normalise: give each branch's features mean 0 and deviation 1 over the features of a clip, so that none drowns the others.
        hidden: units of a layer in front of the last one, with ReLU; 0 leaves it out.
        drop_modality: probability, in training, of hiding a modality of a clip (never all of them), so that the network learns to
            answer without it.
        dropout: probability before the last layer, and before the hidden one.
    """

    pose: str = "memory-attention"
    depth: str = "depth-cnn"
    inertial: str = "inertial-cnn"
    video: str = "inflated-resnet"
    pose_config: Mapping[str, Any] = field(default_factory=dict)
    depth_config: Mapping[str, Any] = field(default_factory=dict)
    inertial_config: Mapping[str, Any] = field(default_factory=dict)
    video_config: Mapping[str, Any] = field(default_factory=dict)
    normalise: bool = True
    hidden: int = 0
    drop_modality: float = 0.0
    dropout: float = 0.0


class FeatureFusion(nn.Module):
    """Inputs by name, as the branches take them: `x` and `mask`, `depth`, `inertial`, `video`.

    A modality that is None gives features of 0; a network trained with `drop_modality` knows that from training.
    """

    def __init__(self, config: FeatureFusionConfig, shape: Shapes, num_classes: int):
        super().__init__()
        self.config = config
        self.branches = nn.ModuleDict()
        for modality in _MODALITIES:
            if (given := getattr(shape, modality, None)) is not None:
                self.branches[modality] = _branch(modality, getattr(config, modality), given, getattr(config, f"{modality}_config"))
        if len(self.branches) < 2:
            raise RecipeError(f"feature fusion takes two or three modalities; it was given {shape}")
        if not 0 <= config.drop_modality < 1:
            raise RecipeError(f"drop_modality {config.drop_modality} must be a probability below 1")
        widths = [branch.num_features for branch in self.branches.values()]
        self.norms = nn.ModuleList(nn.LayerNorm(width) if config.normalise else nn.Identity() for width in widths)
        self.dropout = nn.Dropout(config.dropout)
        self.num_features = sum(widths)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        like = next(self.parameters())
        hidden = self.config.hidden
        self.hidden = nn.Linear(self.num_features, hidden).to(like.device, like.dtype) if hidden else None
        self.classifier = nn.Linear(hidden or self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("hidden.", "classifier.") if self.config.hidden else ("classifier.",)

    def forward_features(
        self,
        x: Tensor | None = None,
        mask: Tensor | None = None,
        depth: Tensor | None = None,
        inertial: Tensor | None = None,
        video: Tensor | None = None,
    ) -> Tensor:
        inputs = {"pose": (x, mask), "depth": (depth,), "inertial": (inertial,), "video": (video,)}
        seen = [given[0] for name, given in inputs.items() if name in self.branches and given[0] is not None]
        if not seen:
            raise DataError(f"none of the modalities that the network takes is there: {', '.join(self.branches)}")
        clips, like = len(seen[0]), next(self.parameters())
        parts = []
        for (name, branch), norm in zip(self.branches.items(), self.norms, strict=True):
            given = inputs[name]
            parts.append(like.new_zeros(clips, branch.num_features) if given[0] is None else norm(branch.forward_features(*given)))
        if self.training and self.config.drop_modality:
            kept = self._kept(clips, like.device)
            parts = [part * kept[:, i, None] for i, part in enumerate(parts)]
        return torch.cat(parts, 1)

    def _kept(self, clips: int, device: torch.device) -> Tensor:
        """(clips, modalities) bool: False where a modality is hidden; one drawn at random always stays."""
        draws = torch.rand(clips, len(self.branches), device=device)
        return (draws >= self.config.drop_modality) | (draws == draws.amax(1, keepdim=True))

    def forward_head(self, features: Tensor) -> Tensor:
        features = self.dropout(features)
        if self.hidden is not None:
            features = self.dropout(self.hidden(features).relu())
        return self.classifier(features)

    def forward(
        self,
        x: Tensor | None = None,
        mask: Tensor | None = None,
        depth: Tensor | None = None,
        inertial: Tensor | None = None,
        video: Tensor | None = None,
    ) -> Tensor:
        return self.forward_head(self.forward_features(x, mask, depth, inertial, video))


def _branch(modality: str, name: str, shape: PoseShape | DepthShape | InertialShape | VideoShape, config: Mapping[str, Any]) -> nn.Module:
    """A registered model of that modality, its classifier taken off."""
    if model_info(name).inputs != modality:
        raise RecipeError(f"model {name!r} takes {model_info(name).inputs}; a branch of feature fusion for {modality} is expected")
    network = create_model(name, 1, shape, **config)
    if not network.head_prefixes():
        raise RecipeError(f"model {name!r} has no features apart from its answer; feature fusion cannot take it")
    for prefix in network.head_prefixes():
        parent, _, last = prefix.rstrip(".").rpartition(".")
        setattr(network.get_submodule(parent), last, nn.Identity())
    return network


_POSE = PoseShape(persons=1, frames=50, layout=get_layout("utd-mhad"), channels=3)
_DEPTH = DepthShape(channels=1, height=50, width=50)
_INERTIAL = InertialShape(channels=6, samples=128)
_EXAMPLES = {
    "feature-fusion": Shapes(pose=_POSE, depth=_DEPTH),
    "feature-fusion-inertial": Shapes(pose=_POSE, inertial=_INERTIAL),
    "feature-fusion-all": Shapes(pose=_POSE, depth=_DEPTH, inertial=_INERTIAL),
}
register(
    ModelInfo(
        name="two-stream",
        summary="a graph network on skeletons and an inflated ResNet on their video, and one classifier of both",
        paper="Davoodikakhki, Yin: Hierarchical Action Classification with Network Pruning, 2020, section 6.1: what they name as next",
        build=FeatureFusion,
        defaults=FeatureFusionConfig(pose="efficientgcn-b0"),
        inputs="pose+video",
        example=Shapes(pose=PoseShape(persons=2, frames=96, layout=get_layout("ntu25"), channels=3), video=VideoShape(3, 8, 224, 224)),
    )
)

for _name, _shapes in _EXAMPLES.items():
    _inputs = "+".join(name for name in _MODALITIES if getattr(_shapes, name) is not None)
    register(
        ModelInfo(
            name=_name,
            summary=f"features of one network each for {_inputs.replace('+', ', ')}, and one classifier of all of them",
            paper="own",
            build=FeatureFusion,
            defaults=FeatureFusionConfig(),
            inputs=_inputs,
            example=_shapes,
        )
    )
