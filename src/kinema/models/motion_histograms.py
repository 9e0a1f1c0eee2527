"""Handcrafted features of videos: dense histograms of edges, of moving edges and of normal flow, and a linear classifier.

After Dalal, Triggs: Histograms of Oriented Gradients for Human Detection, CVPR 2005, and Dalal, Triggs, Schmid: Human Detection Using
Oriented Histograms of Flow and Appearance, ECCV 2006. Departs: no optical flow is computed. Moving edges are gradients of the difference
of two frames; normal flow is the part of the flow along the gradient, which follows from the brightness alone (Horn, Schunck, 1981).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.models.registry import ModelInfo, VideoShape, register

_FASTEST = 4.0  # pixels a frame; normal flow beyond it, where there is hardly a gradient, is noise
_STILL = 0.02  # of brightness, in units of its deviation in the clip: less of a difference is none


@dataclass(frozen=True)
class MotionHistogramsConfig:
    """Settings of the motion histograms.

    Args:
        bins: directions of each histogram.
        cells: parts of the clip in time, rows and columns; each has histograms of its own.
        dropout: probability before the classifier.
    """

    bins: int = 8
    cells: tuple[int, ...] = (3, 3, 4)
    dropout: float = 0.5


class MotionHistograms(nn.Module):
    """(B, C, T, H, W) videos of at least 2 frames to (B, num_classes). What trains is a norm and the linear classifier.

    Three histograms a cell: directions of edges, without sign; of moving edges; of normal flow, with one more bin for what stands still.
    Each pixel votes for the two nearest directions by how strong it is there; the root of its share is a feature (Hellinger's kernel).
    """

    def __init__(self, config: MotionHistogramsConfig, shape: VideoShape, num_classes: int):
        super().__init__()
        if config.bins < 2 or len(config.cells) != 3 or min(config.cells) < 1:
            raise RecipeError("motion-histograms: at least 2 bins, and numbers of cells in time, rows and columns, are expected")
        if shape.frames < 2 or min(shape.height, shape.width) < 3:
            raise RecipeError(f"motion-histograms: {shape}; at least 2 frames of 3 x 3 pixels are needed")
        self.config = config
        times, rows, columns = config.cells
        self.num_features = times * rows * columns * (3 * config.bins + 1)
        self.norm = nn.BatchNorm1d(self.num_features)
        self.head_dropout = nn.Dropout(config.dropout)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        like = self.norm.weight
        self.classifier = nn.Linear(self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("classifier.",)

    def forward_features(self, video: Tensor) -> Tensor:
        with torch.no_grad():
            features = self._histograms(video)
        return self.norm(features)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.classifier(self.head_dropout(features))

    def forward(self, video: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(video))

    def _histograms(self, video: Tensor) -> Tensor:
        grey = video.float().mean(1)
        grey = grey / grey.flatten(1).std(1).clamp(min=1e-6)[:, None, None, None]  # contrast does not count
        x, y = _gradient((grey[:, 1:] + grey[:, :-1]) / 2)
        change = (grey[:, 1:] - grey[:, :-1])[..., 1:-1, 1:-1]
        moving_x, moving_y = _gradient(grey[:, 1:] - grey[:, :-1])
        edges = torch.hypot(x, y)
        moves = change.abs() > _STILL
        speed = torch.where(moves, (change.abs() / edges.clamp(min=1e-3)).clamp(max=_FASTEST), 0.0)
        towards = torch.atan2(y, x) + torch.where(change > 0, torch.pi, 0.0)  # brightness that rises comes from where it is darker
        bins = self.config.bins
        found = [
            self._cells(_votes(2 * torch.atan2(y, x), edges, bins)),
            self._cells(_votes(torch.atan2(moving_y, moving_x), torch.hypot(moving_x, moving_y), bins)),
            self._cells(torch.cat([_votes(towards, speed, bins), (~moves).to(speed)[:, None]], 1)),
        ]
        return torch.cat(found, 1)

    def _cells(self, votes: Tensor) -> Tensor:
        """(B, bins, T, H, W) to the roots of the shares that each bin has in its cell, (B, bins x cells)."""
        sums = F.adaptive_avg_pool3d(votes, self.config.cells)
        return (sums / sums.sum(1, keepdim=True).clamp(min=1e-6)).sqrt().flatten(1)


def _gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Along width and height, (B, T, H, W) to (B, T, H - 2, W - 2)."""
    return (x[..., 1:-1, 2:] - x[..., 1:-1, :-2]) / 2, (x[..., 2:, 1:-1] - x[..., :-2, 1:-1]) / 2


def _votes(angle: Tensor, strength: Tensor, bins: int) -> Tensor:
    """(B, T, H, W) angles and strengths to (B, bins, T, H, W): each divided between the two nearest of the directions."""
    place = (angle / (2 * torch.pi) % 1) * bins
    lower = place.floor()
    share = place - lower
    lower = lower.long() % bins
    votes = strength.new_zeros(len(angle), bins, *angle.shape[1:])
    votes.scatter_(1, lower[:, None], (strength * (1 - share))[:, None])
    return votes.scatter_add_(1, ((lower + 1) % bins)[:, None], (strength * share)[:, None])


register(
    ModelInfo(
        name="motion-histograms",
        summary="dense histograms of edges, moving edges and normal flow, and a linear classifier",
        paper="after Dalal, Triggs, Schmid: Human Detection Using Oriented Histograms of Flow and Appearance, ECCV 2006",
        build=MotionHistograms,
        defaults=MotionHistogramsConfig(),
        inputs="video",
        example=VideoShape(channels=3, frames=16, height=90, width=120),
    )
)
