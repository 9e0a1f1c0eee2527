"""What makes a model's probabilities mean what they say, and lets it answer that it knows nothing of what it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from kinema.errors import BundleError, unknown

if TYPE_CHECKING:
    from torch import Tensor

Novelty = Literal["energy", "confidence"]
NOVELTIES: tuple[Novelty, ...] = get_args(Novelty)


@dataclass(frozen=True)
class Calibration:
    """Two numbers fitted on validation clips, which travel in a bundle.

    Args:
        temperature: logits are divided by it before the softmax (Guo et al., ICML 2017, section 4.2).
        novelty: how strange a sample is. "energy": -log sum exp(logits) (Liu et al., NeurIPS 2020, eq. 4, at temperature 1);
            "confidence": minus the largest calibrated probability.
        threshold: what is stranger is nothing that the model knows; None answers whatever it is shown.
        measured: on which clips they were fitted, and how well they do there.

    Raises `BundleError` for numbers that are none.
    """

    temperature: float = 1.0
    novelty: Novelty = "energy"
    threshold: float | None = None
    measured: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        if not _is_number(self.temperature) or not 1e-3 <= self.temperature <= 1e3:
            raise BundleError(f"the calibration's temperature is {self.temperature!r}; a number from 0.001 to 1000 is expected")
        if self.novelty not in NOVELTIES:
            raise BundleError(unknown("measure of novelty", str(self.novelty), NOVELTIES))
        if self.threshold is not None and not _is_number(self.threshold):
            raise BundleError(f"the calibration's threshold is {self.threshold!r}; a number is expected")
        if not isinstance(self.measured, dict):
            raise BundleError("the calibration's measured is not a mapping")

    @classmethod
    def of(cls, about: Any) -> Calibration:
        """From what `to_dict` gave; `BundleError` where it is not of its form."""
        if not isinstance(about, Mapping) or about.keys() != {"temperature", "novelty", "threshold", "measured"}:
            raise BundleError("the bundle's calibration is not of its form")
        return cls(**about)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(..., K) from (..., K)."""
        return (logits / self.temperature).softmax(-1)

    def strangeness(self, logits: Tensor) -> Tensor:
        """(...) from (..., K): the larger, the less like what the model was trained on."""
        return -logits.logsumexp(-1) if self.novelty == "energy" else -self.probabilities(logits).amax(-1)

    def novel(self, strangeness: float) -> bool:
        """Whether what is so strange is nothing that the model knows."""
        return self.threshold is not None and strangeness > self.threshold

    def describe(self) -> str:
        """In words."""
        known = "" if self.threshold is None else f", nothing known where the {self.novelty} is above {self.threshold:.3f}"
        return f"temperature {self.temperature:.3f}{known}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
