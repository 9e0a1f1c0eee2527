"""Where further classifiers may look at a network: the maps of its stages.

A model with stages has a method `stages() -> tuple[str, ...]`: names of submodules, in the order in which data pass them, whose outputs are
(R, C, ...) maps, channels second, R the batch or a multiple of it: rows of one clip, such as its frames, follow one another. The model's
own classifier stands on the last one.
"""

from __future__ import annotations

from torch import Tensor, nn


class Tap(nn.Module):
    """A stage where no other module gives such an output: it is shown a map and hands it on. What is shown to it may have to be
    computed first; `watched` says whether anybody looks."""

    @property
    def watched(self) -> bool:
        return bool(self._forward_hooks)

    def forward(self, x: Tensor) -> Tensor:
        return x


def tap_names(taps: nn.ModuleList, name: str = "taps") -> tuple[str, ...]:
    """Names of the taps in the module list `name`."""
    return tuple(f"{name}.{i}" for i in range(len(taps)))


class TappedStages(nn.ModuleList):
    """The stages of a network that has them under the name `stages`, one of its `taps` behind each: calling it names these."""

    def forward(self) -> tuple[str, ...]:
        return tap_names(self)
