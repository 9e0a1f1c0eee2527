"""How large a model is, and how much arithmetic one clip costs it."""

from __future__ import annotations

from math import prod

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kinema.models.registry import Shape


def _lstm_layer(steps, into_gates, from_hidden, *_, **__) -> int:
    """The whole layer is one operation on a CPU, which PyTorch's counter does not know. Arguments are shapes."""
    return 2 * prod(steps[:2]) * (prod(into_gates) + prod(from_hidden))


_ALSO = {torch.ops.aten.mkldnn_rnn_layer: _lstm_layer}


def count(model: nn.Module, shape: Shape) -> tuple[int, int]:
    """(parameters, multiply-adds of one clip's forward pass): convolutions, matrix products, attention and recurrent layers;
    activations, norms and pooling are not counted, as is usual. The model is left in the mode it was in."""
    parameters = list(model.parameters())
    device = parameters[0].device if parameters else None
    inputs = {name: value.to(device).zero_() for name, value in shape.example().items()}
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_ALSO) as counter:
            model(**inputs)
    finally:
        model.train(training)
    return sum(parameter.numel() for parameter in parameters), counter.get_total_flops() // 2
