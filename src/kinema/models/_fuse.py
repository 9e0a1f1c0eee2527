"""Batch norms put into the convolutions before them, for inference: the same answers from less work."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from kinema.shape import Shape


def folded(conv: _ConvNd | nn.Linear, norm: _BatchNorm | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer together with the batch norm behind it, as this is without training."""
    weight, bias = conv.weight, conv.bias
    if norm is None:
        return weight, bias
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean if bias is None else bias - norm.running_mean
    shift = shift * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), shift


def fuse(model: nn.Module, shape: Shape) -> nn.Module:
    """A copy of a network for inference, in eval mode, its batch norms put into the layers before them where that is possible.

    Pairs are found by watching one forward pass of an example of `shape`: a norm is taken in where it is given the very output of
    a convolution or linear layer. On a CPU the weights of convolutions are stored channels last. Norms that a network applies in
    its own way stay (`kinema.models._volumes` and HCN fold theirs themselves).

    Raises `ValueError` where the copy would answer otherwise, which is where something else than the norm uses that output too.
    """
    model = deepcopy(model).eval()
    example = {name: value.to(next(model.parameters()).device) for name, value in shape.example(2).items()}
    names = {module: name for name, module in model.named_modules()}
    made: dict[int, tuple[nn.Module, Tensor]] = {}  # by the id of the output, which is kept alive so that no other one gets its id
    pairs: dict[nn.Module, nn.Module] = {}
    used: list[nn.Module] = []

    def watch(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        used.append(module)
        if isinstance(module, _BatchNorm):
            source = made.get(id(given[0]))
            if source is not None and module.track_running_stats:
                pairs[module] = source[0]
        else:
            made[id(output)] = (module, output)

    hooks = [module.register_forward_hook(watch) for module in model.modules() if isinstance(module, _ConvNd | nn.Linear | _BatchNorm)]
    with torch.no_grad():
        before = model(**example)
        for hook in hooks:
            hook.remove()
        for norm, conv in pairs.items():
            if used.count(norm) == used.count(conv) == 1:
                weight, bias = folded(conv, norm)
                conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
                parent, _, name = names[norm].rpartition(".")
                setattr(model.get_submodule(parent), name, nn.Identity())
        _store_channels_last(model)
        after = model(**example)
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
        raise ValueError(f"{type(model).__name__} answers otherwise once its norms are fused; another layer uses what one of them is given")
    return model


def _store_channels_last(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.ndim in (4, 5):
            order = torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
            parameter.data = parameter.data.contiguous(memory_format=order)
