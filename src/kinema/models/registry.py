"""The register of models: plain names, each with its config dataclass, its paper and what it takes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from torch import Tensor, nn

from kinema.errors import RecipeError, unknown
from kinema.shape import DepthShape, InertialShape, PoseShape, Shape, Shapes, VideoShape

__all__ = [
    "DepthShape",
    "InertialShape",
    "ModelInfo",
    "PoseModel",
    "PoseShape",
    "Shape",
    "Shapes",
    "VideoShape",
    "create_model",
    "model_config",
    "model_info",
    "model_infos",
    "register",
]


class PoseModel(Protocol):
    """What every pose model offers. `x`: (B, M, T, V, C) float; `mask`: (B, M, T, V) bool, False where nothing was observed, or None.

    Models of other modalities offer the same, their inputs by name: `depth` (`DepthShape`), `inertial` (`InertialShape`),
    `video` (`VideoShape`); one of several modalities takes all of theirs, as in forward(x, mask=None, depth=None).
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, classes) logits; the same as `forward_head(forward_features(x, mask))`. In training a model of several heads may give
        (heads, B, classes), whose losses are added."""

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, features): one vector a clip."""

    def forward_head(self, features: Tensor) -> Tensor: ...

    def reset_classifier(self, num_classes: int) -> None:
        """A new, untrained classification head."""

    def head_prefixes(self) -> tuple[str, ...]:
        """Parameter-name prefixes of the classification head: what transfer re-makes."""


@dataclass(frozen=True)
class ModelInfo:
    """`build(config, shape, num_classes)` makes the module; `defaults` is an instance of the model's frozen config dataclass.

    `inputs`: the modalities that it takes, joined by "+", in the order pose, depth, inertial, video; `example`: a shape of that kind
    (`Shapes` for several modalities).
    """

    name: str
    summary: str
    paper: str
    build: Callable[[Any, Any, int], nn.Module]
    defaults: Any
    inputs: str = "pose"
    example: Shape | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.inputs.split("+"))


_MODELS: dict[str, ModelInfo] = {}


def register(info: ModelInfo) -> None:
    if info.name in _MODELS:
        raise ValueError(f"model {info.name!r} is registered twice")
    _MODELS[info.name] = info


def model_infos() -> dict[str, ModelInfo]:
    """All registered models by name. Every module of this package is imported once; a new architecture is one new file."""
    import kinema.models as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_MODELS.items()))


def model_info(name: str) -> ModelInfo:
    infos = model_infos()
    if name not in infos:
        raise RecipeError(unknown("model", name, infos))
    return infos[name]


def model_config(name: str, **config: Any) -> Any:
    """The model's config dataclass with `config` over its defaults; `RecipeError` naming the nearest key for an unknown one."""
    defaults = model_info(name).defaults
    keys = {field.name for field in fields(defaults)}
    for key in config:
        if key not in keys:
            raise RecipeError(f"model {name!r}: {unknown('setting', key, keys)}")
    # YAML and JSON have no tuples; the config dataclasses hold nothing else that is a list.
    return replace(defaults, **{key: tuple(value) if isinstance(value, list) else value for key, value in config.items()})


def create_model(name: str, num_classes: int, shape: Shape, **config: Any) -> nn.Module:
    """A model by name, with fresh weights. `config` overrides fields of the model's config dataclass."""
    return model_info(name).build(model_config(name, **config), shape, num_classes)
