"""What networks on heatmap volumes have in common: key points in, a volume drawn where the network runs, a linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from kinema.errors import RecipeError, unknown
from kinema.models.registry import PoseShape
from kinema.transforms.boxes import PADDING, random_part, tight_box, to_pixels
from kinema.transforms.heatmap import KINDS, HeatmapKind, heatmap_channels, heatmaps


@dataclass(frozen=True)
class HeatmapConfig:
    """What is drawn; the defaults are PYSKL's.

    Args:
        heatmap: joints, one map each; limbs, one map each; or one-layer, all joints on one map.
        sigma: standard deviation of the Gaussians, in pixels.
        size: pixels of a map along each side.
        test_size: the same when testing; 0 takes `size`, PYSKL 64.
        padding: share of the tight box of all key points that is added on each side of it.
        area: in training, a random part of the box is looked at, between these shares of its area; [1, 1] takes it as it is.
        use_score: weigh maps by the key points' scores, where these are given.
        dropout: probability before the last layer.
    """

    heatmap: HeatmapKind = "joints"
    sigma: float = 0.6
    size: int = 56
    test_size: int = 0
    padding: float = PADDING
    area: tuple[float, float] = (0.56, 1.0)
    use_score: bool = True
    dropout: float = 0.5


class RandomPart(_DropoutNd):
    """In training a random part of each box, its area between two shares of the box's, else the box. A kind of dropout: with
    `p` set to 0, as where all dropout is switched off, it is off too."""

    def __init__(self, area: tuple[float, float]):
        super().__init__(p=0.0 if tuple(area) == (1, 1) else 1.0)
        self.area = tuple(area)

    def forward(self, box: Tensor) -> Tensor:
        return random_part(box, self.area) if self.training and self.p else box


class DrawsHeatmaps(nn.Module):
    """Input (B, M, T, V, 2 or 3): key points x, y in any unit, y downwards, and their score (stream "score").

    The tight square box around all observed points of the clip becomes the map, so that neither place nor size of the persons
    matters, nor the unit. Points outside the random part of it that training looks at are not drawn. What was not observed, or has
    no score, draws nothing; a clip without anybody is an empty volume. Scores are clamped to 0..1.
    """

    any_image_unit = True  # pixels and scaled coordinates are the same to it

    def __init__(self, config: HeatmapConfig, shape: PoseShape):
        super().__init__()
        if shape.channels not in (2, 3):
            expected = "x and y, or x, y and score are expected (streams: [joint] or [joint, score], 2-D poses)"
            raise RecipeError(f"points have {shape.channels} channels; {expected}")
        if config.heatmap not in KINDS:
            raise RecipeError(unknown("heatmap", config.heatmap, KINDS))
        if config.size < 8 or 0 < config.test_size < 8:
            raise RecipeError(f"maps of {min(config.size, config.test_size or config.size)} pixels are too small; give at least 8")
        low, high = config.area
        if not 0 < low <= high <= 1:
            raise RecipeError(f"area {list(config.area)} is no range of shares of the box; 0 < lowest <= highest <= 1 is expected")
        self.config = config
        self.layout = shape.layout
        self.channels = heatmap_channels(config.heatmap, shape.layout)
        self.look = RandomPart(config.area)
        self.dropout = nn.Dropout(config.dropout)

    def new_classifier(self, width: int, num_classes: int) -> nn.Linear:
        like = next(self.parameters())
        layer = nn.Linear(width, num_classes).to(like.device, like.dtype)
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
        return layer

    def volume(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, size, size, channels): what the network sees of a batch; in training of a random part of each box."""
        config = self.config
        points, score = x[..., :2].float(), None
        if x.shape[-1] == 3 and config.use_score:
            score = x[..., 2].float().clamp(0, 1)
        box = tight_box(points, mask, config.padding)
        size = config.size if self.training else config.test_size or config.size
        box = self.look(box)
        with torch.autocast(x.device.type, enabled=False):  # coordinates need their digits
            points = to_pixels(points, box, (size, size))
            drawn = heatmaps(
                points, score, mask, kind=config.heatmap, layout=self.layout, size=(size, size), sigma=config.sigma, channels_last=True
            )
        return drawn.to(next(self.parameters()).dtype)


class HeatmapNetwork(DrawsHeatmaps, ABC):
    """One pathway on heatmaps: subclasses make `width` features a pixel of volumes (B, T, H, W, C) in `body`."""

    width: int
    taps: nn.ModuleList  # one for each stage

    def show(self, stage: int, x: Tensor) -> None:
        """A stage's map, (B, t, h, w, C), for whoever looks at its tap, channels second."""
        self.taps[stage](x.permute(0, 4, 1, 2, 3))

    def reset_classifier(self, num_classes: int) -> None:
        self.fc = self.new_classifier(self.width, num_classes)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("fc.",)

    @abstractmethod
    def body(self, x: Tensor) -> Tensor:
        """(B, T, size, size, channels) to the last feature map, (B, t, h, w, features)."""

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.body(self.volume(x, mask)).float().mean((1, 2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(features))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask))
