"""A model's answers to samples, batch by batch and view by view."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from kinema.errors import DataError
from kinema.transforms.batches import Samples


def sample_probabilities(
    model: nn.Module,
    samples: Samples,
    views: int = 1,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> np.ndarray:
    """(N, K) float64: the model's probabilities for each sample, averaged over the test-time views. `model`: in evaluation mode.

    Raises `DataError` naming the clip for which they are not finite.
    """
    batches: Any = torch.arange(len(samples)).split(batch_size)
    if progress:
        from rich.console import Console
        from rich.progress import track

        batches = track(batches, "recognising", console=Console(stderr=True), transient=True)
    rows = []
    with torch.inference_mode():
        for indices in batches:
            looks = (samples.batch(indices, view=view, views=views, device=device) for view in range(views))
            rows.append(sum(model(**look.inputs).double().softmax(-1) for look in looks).cpu().numpy() / views)
    probabilities = np.concatenate(rows)
    bad = np.flatnonzero(~np.isfinite(probabilities).all(1))
    if len(bad):
        clip = samples.clip_ids[int(samples.clip_of[bad[0]])]
        raise DataError(f"clip {clip!r}: the model's answer is not a number; are the coordinates in the unit that is claimed?")
    return probabilities
