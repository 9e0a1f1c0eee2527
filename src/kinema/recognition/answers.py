"""A model's answers to samples, batch by batch and view by view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kinema.calibration import Calibration
from kinema.errors import DataError
from kinema.transforms.batches import Samples


def sample_probabilities(
    model: nn.Module,
    samples: Samples,
    views: int = 1,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: bool = False,
    calibration: Calibration | None = None,
) -> np.ndarray:
    """(N, K) float64: the model's probabilities for each sample, averaged over the test-time views. `model`: in evaluation mode.

    Raises `DataError` naming the clip for which they are not finite.
    """
    return sample_answers(model, samples, views, batch_size, device, progress, calibration)[0]


def sample_answers(
    model: nn.Module,
    samples: Samples,
    views: int = 1,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: bool = False,
    calibration: Calibration | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """As `sample_probabilities`, and (N,) how strange each sample is, by the calibration's measure."""
    fitted = calibration or Calibration()

    def told(logits: Tensor) -> Tensor:
        return torch.cat([fitted.probabilities(logits), fitted.strangeness(logits)[:, None]], 1)

    rows = np.concatenate([sum(looks) / views for looks in _looks(model, samples, views, batch_size, device, progress, told)])
    return rows[:, :-1], rows[:, -1]


def sample_logits(
    model: nn.Module, samples: Samples, views: int = 1, batch_size: int = 64, device: torch.device | str = "cpu", progress: bool = False
) -> np.ndarray:
    """(views, N, K) float64: what the model says of each look at each sample."""
    return np.concatenate([np.stack(list(looks)) for looks in _looks(model, samples, views, batch_size, device, progress, lambda x: x)], 1)


def _looks(
    model: nn.Module,
    samples: Samples,
    views: int,
    batch_size: int,
    device: torch.device | str,
    progress: bool,
    told: Callable[[Tensor], Tensor],
) -> Iterator[Iterator[np.ndarray]]:
    """For each batch of samples in order, for each view, what `told` makes of the logits."""
    batches: Any = torch.arange(len(samples)).split(batch_size)
    if progress:
        from rich.console import Console
        from rich.progress import track

        batches = track(batches, "recognising", console=Console(stderr=True), transient=True)

    def look(indices: Tensor, view: int) -> np.ndarray:
        with torch.inference_mode():
            batch = samples.batch(indices, view=view, views=views, device=device)
            rows = told(model(**batch.inputs).double()).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(rows).all(1))
        if len(bad):
            clip = samples.clip_ids[int(samples.clip_of[indices[bad[0]]])]
            raise DataError(f"clip {clip!r}: the model's answer is not a number; are the coordinates in the unit that is claimed?")
        return rows

    for indices in batches:
        yield (look(indices, view) for view in range(views))
