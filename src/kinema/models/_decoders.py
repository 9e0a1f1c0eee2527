"""From a sequence of frame features to one vector a clip: (B, T, features) -> (B, `num_features`), for any number of frames."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kinema.errors import RecipeError, unknown


class LastStep(nn.Module):
    """A recurrent network over the frames; its output after the last one.

    Hochreiter, Schmidhuber: Long Short-Term Memory, Neural Computation 1997; Cho et al., EMNLP 2014 (GRU).
    """

    def __init__(self, kind: type[nn.LSTM | nn.GRU], features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.rnn = kind(features, units, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.num_features = units

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0][:, -1]


class AttentionPooling(nn.Module):
    """A weighted mean over the frames; a small network gives each frame its weight (Bahdanau et al., ICLR 2015)."""

    def __init__(self, features: int, units: int):
        super().__init__()
        self.into = nn.Linear(features, units)
        self.score = nn.Linear(units, 1, bias=False)  # the same to all frames would cancel in the softmax
        self.num_features = features

    def forward(self, x: Tensor) -> Tensor:
        weights = self.score(torch.tanh(self.into(x))).softmax(1)
        return (weights * x).sum(1)


class MeanPooling(nn.Module):
    """The mean over the frames: their order does not count."""

    def __init__(self, features: int):
        super().__init__()
        self.num_features = features

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over the frames, and the mean size of the change from one to the next, normalised: what there is,
    how much it varies, and how fast.

    The first two as for voices: Snyder et al., X-Vectors: Robust DNN Embeddings for Speaker Recognition, ICASSP 2018.
    """

    def __init__(self, features: int):
        super().__init__()
        self.num_features = 3 * features
        self.norm = nn.BatchNorm1d(self.num_features)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1)
        deviation = ((x - mean[:, None]).square().mean(1) + 1e-5).sqrt()  # never 0, where the root has no derivative
        change = x.diff(dim=1).abs().mean(1) if x.shape[1] > 1 else torch.zeros_like(mean)
        return self.norm(torch.cat([mean, deviation, change], 1))


_DECODERS: dict[str, Callable[[int, int, int, float], nn.Module]] = {
    "lstm": lambda *settings: LastStep(nn.LSTM, *settings),
    "gru": lambda *settings: LastStep(nn.GRU, *settings),
    "attention": lambda features, units, layers, dropout: AttentionPooling(features, units),
    "mean": lambda features, units, layers, dropout: MeanPooling(features),
    "statistics": lambda features, units, layers, dropout: StatisticsPooling(features),
}


def make_decoder(kind: str, features: int, units: int, layers: int, dropout: float) -> nn.Module:
    """The decoder "lstm", "gru", "attention", "mean" or "statistics"; `RecipeError` for another name.

    `units`: of the recurrent states or of the attention; `dropout`: between recurrent layers.
    """
    if kind not in _DECODERS:
        raise RecipeError(unknown("decoder", kind, _DECODERS))
    return _DECODERS[kind](features, units, layers, dropout)
