"""Temporal attention: which frames of a skeleton's coordinate matter, and what they remind of.

The recalibration module ("TARM") of Xie et al.: Memory Attention Networks for Skeleton-based Action Recognition, IJCAI 2018, as
Siddique, Ailane, Baeka: Deep Learning for Human Activity Recognition use it on UTD-MHAD.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.models._gru import GroupedBiGRU, GroupedLinear

Form = Literal["document", "reference", "self-attention"]
FORMS = ("document", "reference", "self-attention")
_SQUEEZE = 16  # frames to one hidden unit of the frames' attention


class TemporalAttention(nn.Module):
    """(B, C, T, V) to (B, C, T, V): X' = X + F_M(X) * F_A(X) for the T x V matrix X of each of C coordinates.

    Every coordinate has weights of its own, as one module for each is what the source draws; with `shared` all of them have
    the same, and are a batch of B * C sequences. Either way it is one call: the products are batched over the coordinates.

    Shapes for one coordinate of one clip, forms by name:

    - "document", as the text says it: F_M = BiGRU_V(X), T x V, both directions of V units summed; F_A = sigmoid(F_M W + b),
      T x V with W V x V; F_M * F_A element by element. What F_A is computed from, and how the directions are merged, the text
      does not say: this is our reading.
    - "reference", as the lineage has it: H = X W_1 + b, T x 64; M = BiGRU_64(H), T x 64, both directions summed;
      s = mean of M over its features, T; a = sigmoid(W_3 relu(W_2 s)), W_2 (T/16) x T, W_3 T x (T/16); F = (a * M) W_4 + b,
      T x V with W_4 64 x V.
    - "self-attention": the same with M = MultiHead(LayerNorm(H + P)), T x 64, 4 heads of 16, P a learned T x 64 position
      embedding (without it the order of the frames would be lost), LayerNorm without weights of its own.

    Args:
        channels: coordinates C.
        frames, values: T and V.
        units: the 64 above; the document's form has V.
    """

    def __init__(
        self, channels: int, frames: int, values: int, form: Form = "reference", *, shared: bool = False, units: int = 64, heads: int = 4
    ):
        super().__init__()
        if form not in FORMS:
            raise RecipeError(f"unknown form of attention {form!r}; known: {', '.join(FORMS)}")
        if units % heads:
            raise RecipeError(f"{units} units are not divisible among {heads} heads")
        self.form, self.shared = form, shared
        groups = 1 if shared else channels
        if form == "document":
            self.memory = GroupedBiGRU(groups, values, values)
            self.gate = GroupedLinear(groups, values, values)
            return
        self.enter = GroupedLinear(groups, values, units)
        if form == "reference":
            self.memory = GroupedBiGRU(groups, units, units)
        else:
            self.memory = _SelfAttention(groups, frames, units, heads)
        self.squeeze = GroupedLinear(groups, frames, max(frames // _SQUEEZE, 1))
        self.excite = GroupedLinear(groups, max(frames // _SQUEEZE, 1), frames)
        self.leave = GroupedLinear(groups, units, values)

    def forward(self, x: Tensor) -> Tensor:
        b, c, t, v = x.shape
        # Groups, then time: (C, T, B, V), or with shared weights (1, T, B * C, V).
        rows = x.permute(2, 0, 1, 3).reshape(1, t, b * c, v) if self.shared else x.permute(1, 2, 0, 3)
        changed = self._recalibrated(rows)
        if self.shared:
            return x + changed.view(t, b, c, v).permute(1, 2, 0, 3)
        return x + changed.permute(2, 0, 1, 3)

    def _recalibrated(self, x: Tensor) -> Tensor:
        """F(X), (G, T, N, V)."""
        if self.form == "document":
            memory = self.memory(x)
            return memory * torch.sigmoid(_rowwise(self.gate, memory))
        memory = self.memory(_rowwise(self.enter, x))
        means = memory.mean(3).transpose(1, 2)  # (G, N, T)
        attention = torch.sigmoid(self.excite(F.relu(self.squeeze(means))))
        return _rowwise(self.leave, memory * attention.transpose(1, 2).unsqueeze(3))


def _rowwise(layer: GroupedLinear, x: Tensor) -> Tensor:
    return layer(x.flatten(1, 2)).unflatten(1, x.shape[1:3])


class _SelfAttention(nn.Module):
    """(G, T, N, units) to the same: every frame from all frames."""

    def __init__(self, groups: int, frames: int, units: int, heads: int):
        super().__init__()
        self.heads = heads
        self.position = nn.Parameter(0.02 * torch.randn(groups, frames, 1, units))
        self.into_heads = GroupedLinear(groups, units, 3 * units)
        self.out_of_heads = GroupedLinear(groups, units, units)

    def forward(self, x: Tensor) -> Tensor:
        g, t, n, units = x.shape
        x = F.layer_norm(x + self.position, (units,))
        parts = _rowwise(self.into_heads, x).view(g, t, n, 3, self.heads, -1)
        query, key, value = parts.permute(3, 0, 2, 4, 1, 5).flatten(1, 2).unbind()  # (G * N, heads, T, units / heads) each
        y = F.scaled_dot_product_attention(query, key, value)
        return _rowwise(self.out_of_heads, y.unflatten(0, (g, n)).permute(0, 3, 1, 2, 4).reshape(g, t, n, units))
