"""How large a model is, and how much arithmetic one clip costs it."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kinema.models.registry import PoseShape


def count(model: nn.Module, shape: PoseShape) -> tuple[int, int]:
    """(parameters, multiply-adds of one clip's forward pass): convolutions, matrix products, attention and recurrent layers;
    activations, norms and pooling are not counted, as is usual. The model is left in the mode it was in."""
    device = next(model.parameters()).device
    x = torch.zeros(1, shape.persons, shape.frames, len(shape.layout), shape.channels, device=device)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(x)
    finally:
        model.train(training)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2
