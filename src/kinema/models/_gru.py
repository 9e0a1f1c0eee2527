"""Gated recurrent units of many groups and both directions at once, with the same arithmetic as `torch.nn.GRU`.

Cho et al.: Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014; bias of the candidate inside the reset gate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class GroupedLinear(nn.Module):
    """(G, N, inputs) to (G, N, outputs): for each group weights of its own, one matrix product for all of them."""

    def __init__(self, groups: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(_each(nn.init.xavier_uniform_, groups, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(groups, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class GroupedBiGRU(nn.Module):
    """(G, T, B, inputs) to (G, T, B, units): the sum of a forward and a backward GRU, for each group weights of its own.

    Groups and directions go through the steps together. Of the first axis of the weights the first half are the forward
    directions of the groups, the second half the backward ones; gates are in the order reset, update, candidate.
    """

    def __init__(self, groups: int, inputs: int, units: int):
        super().__init__()
        self.groups = groups
        self.into_gates = GroupedLinear(2 * groups, inputs, 3 * units)
        self.weight_hidden = nn.Parameter(torch.cat([_each(nn.init.orthogonal_, 2 * groups, units, units) for _ in range(3)], 2))
        self.bias_hidden = nn.Parameter(torch.zeros(2 * groups, 1, 3 * units))

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([x, x.flip(1)])
        gates = self.into_gates(both.flatten(1, 2)).unflatten(1, x.shape[1:3])
        with torch.autocast(x.device.type, enabled=False):
            states = gru_steps(gates.to(self.weight_hidden.dtype), self.weight_hidden, self.bias_hidden)
        return states[: self.groups] + states[self.groups :].flip(1)


def _each(initialise, groups: int, rows: int, columns: int) -> Tensor:
    return torch.stack([initialise(torch.empty(rows, columns)) for _ in range(groups)])


def gru_steps(gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """States (D, T, B, H) after each step, from zero.

    Args:
        gates: (D, T, B, 3H), what the inputs give to reset, update and candidate, their biases included.
        weight: (D, H, 3H), what the state gives to them. bias: (D, 1, 3H).
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _Steps.apply(gates, weight, bias)
    return torch.stack([step[0] for step in _run(gates, weight, bias)], 1)


def _run(gates: Tensor, weight: Tensor, bias: Tensor):
    """Of each step: state, both gates, candidate, and what the state gave to the candidate."""
    units = weight.shape[1]
    state = gates.new_zeros(len(gates), gates.shape[2], units)
    for given in gates.unbind(1):
        own = torch.baddbmm(bias, state, weight)
        open_ = torch.sigmoid(given[..., : 2 * units] + own[..., : 2 * units])
        own = own[..., 2 * units :]
        candidate = torch.tanh(torch.addcmul(given[..., 2 * units :], open_[..., :units], own))
        state = torch.lerp(candidate, state, open_[..., units:])
        yield state, open_, candidate, own


class _Steps(Function):
    """The derivative by hand: all that does not depend on the step after is computed for all steps together, so that three
    operations a step are left, and the weights' gradient is one matrix product."""

    @staticmethod
    def forward(ctx, gates, weight, bias):
        states, opens, candidates, owns = (torch.stack(part, 1) for part in zip(*_run(gates, weight, bias), strict=True))
        ctx.save_for_backward(states, opens, candidates, owns, weight)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        states, opens, candidates, owns, weight = ctx.saved_tensors
        reset, update = opens.chunk(2, -1)
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1)
        into_candidate = (1 - update) * (1 - candidates * candidates)
        # What one unit of the state's gradient gives to the gates' arguments, as the state enters them: (D, T, B, 3, H).
        factors = torch.stack(
            [
                into_candidate * owns * reset * (1 - reset),
                (before - candidates) * update * (1 - update),
                into_candidate * reset,
            ],
            3,
        )
        transposed = weight.transpose(1, 2)
        into_states = torch.empty_like(states)
        into_own = torch.empty_like(factors)
        into_state = gradient[:, -1]
        for t in range(states.shape[1] - 1, -1, -1):
            into_states[:, t] = into_state
            torch.mul(into_state.unsqueeze(2), factors[:, t], out=into_own[:, t])
            if t:
                carried = torch.addcmul(gradient[:, t - 1], into_state, update[:, t])
                into_state = torch.baddbmm(carried, into_own[:, t].flatten(2), transposed)
        into_own = into_own.flatten(3)
        flat = into_own.flatten(1, 2)
        into_weight = before.flatten(1, 2).transpose(1, 2) @ flat
        into_bias = flat.sum(1, keepdim=True)
        into_own[..., -states.shape[-1] :] = into_states * into_candidate  # the inputs enter the candidate past the reset gate
        return into_own, into_weight, into_bias
