"""Which filters of a network were taken out: what a bundle says of a pruned network. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kinema.errors import BundleError

_MOST_LAYERS, _MOST_CHANNELS = 10_000, 1_000_000


@dataclass(frozen=True)
class PrunedLayer:
    """One convolution.

    Args:
        conv: its name in the dense network.
        norm: name of the batch norm right behind it, whose scale and shift are zero where the filter is; "" where there is none.
        removed: the filters that are gone, rising.
        unread: inputs that are zero whatever the network is given, rising, which the compact network does not read.
    """

    conv: str
    norm: str = ""
    removed: tuple[int, ...] = ()
    unread: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pruned:
    """Every pruned convolution of a network. `compact`: removed filters are not stored; otherwise they stand there as zeros.

    Raises `BundleError` for what is no list of layers, each named once, with rising channel numbers.
    """

    layers: tuple[PrunedLayer, ...]
    compact: bool = False

    def __post_init__(self):
        _expect(isinstance(self.compact, bool), "compact is not true or false")
        _expect(0 < len(self.layers) <= _MOST_LAYERS, f"{len(self.layers)} layers; 1 to {_MOST_LAYERS} are expected")
        for layer in self.layers:
            _expect(isinstance(layer.conv, str) and bool(layer.conv) and isinstance(layer.norm, str), "a layer's name is not text")
            for name in ("removed", "unread"):
                _expect(_rising(getattr(layer, name)), f"{layer.conv}: {name} are not rising channel numbers")
        names = [layer.conv for layer in self.layers]
        _expect(len(set(names)) == len(names), "a layer occurs twice")

    @property
    def removed(self) -> dict[str, tuple[int, ...]]:
        """Filters that are gone, by convolution."""
        return {layer.conv: layer.removed for layer in self.layers if layer.removed}

    @property
    def count(self) -> int:
        """How many filters are gone."""
        return sum(len(layer.removed) for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values; `of` reads them."""
        return {
            "compact": self.compact,
            "layers": [
                {"conv": layer.conv, "norm": layer.norm, "removed": list(layer.removed), "unread": list(layer.unread)}
                for layer in self.layers
            ],
        }

    @classmethod
    def of(cls, values: Any) -> Pruned:
        """From what `to_dict` gave; `BundleError` for anything else."""
        _expect(isinstance(values, dict) and values.keys() == {"compact", "layers"}, "compact and layers are expected")
        _expect(isinstance(values["layers"], list), "layers is no list")
        layers = []
        for entry in values["layers"]:
            good = isinstance(entry, dict) and entry.keys() == {"conv", "norm", "removed", "unread"}
            _expect(good and isinstance(entry["removed"], list) and isinstance(entry["unread"], list), "a layer is not what it should be")
            layers.append(PrunedLayer(entry["conv"], entry["norm"], tuple(entry["removed"]), tuple(entry["unread"])))
        return cls(tuple(layers), values["compact"])


def _rising(numbers: Sequence[Any]) -> bool:
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    return whole and list(numbers) == sorted(set(numbers)) and (not numbers or 0 <= numbers[0] <= numbers[-1] < _MOST_CHANNELS)


def _expect(good: bool, message: str) -> None:
    if not good:
        raise BundleError(f"the bundle's pruned filters: {message}")
