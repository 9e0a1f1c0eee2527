"""Transfer: start from a bundle's weights, re-make what does not fit, freeze what shall not move, and say which is which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from torch import Tensor, nn

from kinema.errors import RecipeError, unknown
from kinema.models._prune import hold
from kinema.models.resnet import FixedNorm2d, FixedNorm3d
from kinema.training.imagenet import ImageNetWeights
from kinema.training.importing import start_bundle
from kinema.training.recipe import InitConfig

Shapes = dict[str, tuple[int, ...]]


@dataclass
class Account:
    """What became of every parameter and buffer: names with shapes.

    `loaded` from the bundle; `remade`: fresh although the bundle was asked (with the reason); `unused`: in the bundle
    alone; `frozen`: do not train; `trained`: all others that do.
    """

    source: str | None
    loaded: Shapes = field(default_factory=dict)
    remade: dict[str, str] = field(default_factory=dict)
    unused: Shapes = field(default_factory=dict)
    frozen: Shapes = field(default_factory=dict)
    trained: Shapes = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        return {
            "source": self.source,
            **{name: sorted(getattr(self, name)) for name in ("loaded", "remade", "unused", "frozen", "trained")},
            "notes": self.notes,
        }

    def __str__(self) -> str:
        lines = [f"initialised from {self.source or 'random weights'}"]
        for title, shapes in (("loaded", self.loaded), ("unused", self.unused), ("frozen", self.frozen), ("trained", self.trained)):
            if shapes and (self.source or self.frozen):
                lines.append(f"  {title}: {len(shapes)} tensors, {sum(map(prod, shapes.values())):,} numbers")
                lines += [f"    {name} {_form(shape)}" for name, shape in shapes.items()]
        if self.remade:
            lines.append(f"  made anew: {len(self.remade)} tensors")
            lines += [f"    {name} ({reason})" for name, reason in self.remade.items()]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def initialise(model: nn.Module, init: InitConfig, layout: str | None = None) -> Account:
    """Put a bundle's weights into `model` and freeze what `init` names. `layout`: joints that published weights are loaded for.

    A parameter is loaded where name and shape agree. With `layers: backbone` the classification head stays fresh, as
    does whatever `remake` names. Filters that were pruned from the bundle are zero and stay so. Call it before the optimiser is made.

    Raises `BundleError` (no such bundle), `RecipeError` (nothing of it fits, or it is compact; a prefix that no parameter has;
    freezing of what was not loaded).
    """
    account = Account(init.bundle)
    own = model.state_dict()
    for key, prefixes in (("remake", init.remake), ("freeze", init.freeze), ("slow", init.slow)):
        for prefix in prefixes:
            if not any(name.startswith(prefix) for name in own):
                raise RecipeError(f"init.{key}: {unknown('parameter prefix', prefix, {part for name in own for part in _prefixes(name)})}")
    if init.bundle is not None:
        _load(model, init, layout, account)
    for name, parameter in model.named_parameters():
        frozen = name.startswith(init.freeze) if init.freeze else False
        parameter.requires_grad_(not frozen)
        (account.frozen if frozen else account.trained)[name] = tuple(parameter.shape)
    if init.bundle is not None:
        fresh = [name for name in own if init.freeze and name.startswith(init.freeze) and name not in account.loaded]
        if fresh:
            raise RecipeError(
                f"init.freeze would freeze {fresh[0]!r} at random values: {account.remade.get(fresh[0], 'it was not loaded')}"
            )
    return account


def _load(model: nn.Module, init: InitConfig, layout: str | None, account: Account) -> None:
    bundle = start_bundle(init, layout)
    pruned = None if isinstance(bundle, ImageNetWeights) else bundle.pruned
    if pruned is not None and pruned.compact:
        raise RecipeError(f"init.bundle: {bundle.name} is compact; training goes on from the bundle that has its pruned filters as zeros")
    account.source = f"{bundle.name} ({bundle.hash[:16]})"
    own = model.state_dict()
    state = bundle.state
    if isinstance(bundle, ImageNetWeights):
        state = bundle.placed(model)
        if bundle.folded:
            account.notes.append(_keep_folded(model, init, bundle, state))
    head = tuple(model.head_prefixes()) if init.layers == "backbone" else ()
    for name, value in own.items():
        theirs = state.get(name)
        if theirs is None:
            account.remade[name] = "not in the bundle"
        elif head and name.startswith(head):
            account.remade[name] = "classification head"
        elif init.remake and name.startswith(init.remake):
            account.remade[name] = "as the recipe says"
        elif theirs.shape != value.shape:
            account.remade[name] = f"{_form(theirs.shape)} in the bundle, {_form(value.shape)} here"
        else:
            account.loaded[name] = tuple(value.shape)
    account.unused = {name: tuple(value.shape) for name, value in state.items() if name not in own}
    if not any(name in account.loaded for name, _ in model.named_parameters()):
        raise RecipeError(f"init.bundle: no parameter of {account.source}, a {bundle.model!r}, fits this model by name and shape")
    model.load_state_dict({name: state[name] for name in account.loaded}, strict=False)
    held = tuple(layer for layer in pruned.layers if f"{layer.conv}.weight" in account.loaded) if pruned is not None else ()
    if held:
        hold(model, replace(pruned, layers=held))
        account.notes.append(f"{sum(len(layer.removed) for layer in held)} pruned filters of {len(held)} layers are zero and stay so")


def _keep_folded(model: nn.Module, init: InitConfig, weights: ImageNetWeights, state: Mapping[str, Tensor]) -> str:
    """What becomes of norms that are folded into the convolutions; `RecipeError` where training would estimate statistics anew."""
    for name, module in model.named_modules():
        free = isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, FixedNorm2d | FixedNorm3d)
        if free and f"{name}.running_mean" in state and not (init.freeze and f"{name}.".startswith(init.freeze)):
            raise RecipeError(
                f"init.bundle: the norms of {weights.name} are folded into its convolutions, and {name!r} would estimate statistics anew, "
                "so that nothing fits any more; set norm: fixed in model.config, or freeze it"
            )
    return "its norms are folded into the convolutions: they stay as they are, their scales and shifts train where they are not frozen"


def training_mode(model: nn.Module, frozen: Sequence[str]) -> None:
    """Training mode, but norms within frozen prefixes keep their running statistics."""
    model.train()
    for name, module in model.named_modules():
        if frozen and hasattr(module, "running_mean") and f"{name}.".startswith(tuple(frozen)):
            module.eval()


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _form(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
