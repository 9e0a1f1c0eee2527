"""A small temporal CNN on the geometry of each frame: distances between joints, bones, positions, and slow and fast motion.

After DD-Net, with more features and residual blocks. Yang, Sakti, Wu, Nakamura: Make Skeleton-based Action Recognition Model
Smaller, Faster and Better, ACM Multimedia Asia 2019.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError, unknown
from kinema.layout import Layout, get_layout
from kinema.models._masks import fill_missing, largest_of_persons, present
from kinema.models._stages import Tap, tap_names
from kinema.models.registry import ModelInfo, PoseShape, register

FEATURES = ("distance", "position", "bone", "motion")


@dataclass(frozen=True)
class TemporalCNNConfig:
    """Settings of the temporal CNN.

    Args:
        features: of each frame: "distance" between every two joints, "position" of joints relative to the root joint, "bone"
            (joint minus parent), "motion" (how far joints move within each of `steps`).
        steps: frames that a motion spans, one feature group each: slow and fast.
        embedding: channels that each feature group is embedded into.
        widths: channels of the residual blocks of two convolutions each; time is halved between blocks.
        kernel: frames that a convolution spans, odd.
        dropout: probability with which a channel is dropped throughout the clip, before each block.
        head_dropout: probability before the classifier.
    """

    features: tuple[str, ...] = FEATURES
    steps: tuple[int, ...] = (1, 2)
    embedding: int = 48
    widths: tuple[int, ...] = (96, 128, 160)
    kernel: int = 3
    dropout: float = 0.1
    head_dropout: float = 0.5


class TemporalCNN(nn.Module):
    """Input (B, M, T, V, C), C = 2 or 3 coordinates: the joint stream alone, from which the model makes its features.

    What it answers does not depend on where the body is, only on how it is held and moves. The maximum over persons goes to
    the head; persons who are not observed at all take no part in it, nor in batch statistics, and features of a clip in which
    nobody is observed are 0.

    Unobserved joints hold their last observed values (`fill_missing`), and the distance of two joints its last value while
    both were observed. A feature that is never observed within the clip takes its mean over the training clips.

    Groups of features are not scaled before their embedding: the batch norm behind it makes up for it. Nor are single features
    by their own standard deviation: that blows up what hardly varies, and did much worse on people who were left out.
    """

    def __init__(self, config: TemporalCNNConfig, shape: PoseShape, num_classes: int):
        super().__init__()
        _check(config, shape)
        self.config = config
        self.geometry = Geometry(config, shape.layout, shape.channels)
        self.known = _Known(sum(self.geometry.sizes))
        self.embed = nn.ModuleList(nn.Linear(size, config.embedding, bias=False) for size in self.geometry.sizes)
        self.embed_norm = nn.BatchNorm1d(config.embedding * len(self.geometry.sizes))
        self.dropout = _Dropout(config.dropout)
        widths = (self.embed_norm.num_features, *config.widths)
        self.blocks = nn.ModuleList(_Block(*pair, config.kernel) for pair in itertools.pairwise(widths))
        self.taps = nn.ModuleList(Tap() for _ in config.widths)
        self.head_dropout = nn.Dropout(config.head_dropout)
        self.num_features = 2 * config.widths[-1]
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        like = self.embed[0].weight
        self.classifier = nn.Linear(self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("classifier.",)

    def stages(self) -> tuple[str, ...]:
        """Behind each block; what is shown is averaged over time, the largest over persons."""
        return tap_names(self.taps)

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, persons = x.shape[:2]
        x = x.flatten(0, 1)
        if mask is None or mask.all():

            def of_clips(rows: Tensor) -> Tensor:
                return rows.unflatten(0, (batch, persons)).amax(1)

            return of_clips(self._person_features(x, None, of_clips))
        there = present(mask)
        rows = there.flatten().nonzero().squeeze(1)
        of_present = partial(largest_of_persons, there=there)
        if not len(rows):
            return of_present(self._nobody(x, of_present))
        return of_present(self._person_features(x[rows], mask.flatten(0, 1)[rows], of_present))

    def _nobody(self, x: Tensor, of_clips: Callable[[Tensor], Tensor]) -> Tensor:
        """(0, num_features), where no clip shows anybody."""
        for tap, width in zip(self.taps, self.config.widths, strict=True):
            tap(of_clips(x.new_zeros(0, width)))
        return x.new_zeros(0, self.num_features)

    def _person_features(self, x: Tensor, mask: Tensor | None, of_clips: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, T, V, C) and its mask (N, T, V) to (N, num_features). `of_clips` puts the rows of each clip's persons together."""
        with torch.autocast(x.device.type, enabled=False):  # coordinates need their digits
            x = self.known(*self.geometry(x, mask))
        groups = x.flatten(0, 1).split(self.geometry.sizes, 1)
        embedded = torch.cat([embed(group) for embed, group in zip(self.embed, groups, strict=True)], 1)
        embedded = F.relu(self.embed_norm(embedded))
        # To (N, channels, 1, T), channels last in memory as it is: convolutions are at their fastest so on a CPU.
        x = embedded.unflatten(0, (-1, 1, x.shape[1])).permute(0, 3, 1, 2)
        for i, (block, tap) in enumerate(zip(self.blocks, self.taps, strict=True)):
            x = block(self.dropout(F.max_pool2d(x, (1, 2)) if i else x))
            if tap.watched:
                tap(of_clips(x.mean((2, 3))))
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.classifier(self.head_dropout(features))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask))


class Geometry(nn.Module):
    """Features of every frame: (N, T, V, C) points, with a mask (N, T, V) or None, to (N, T, sum of `sizes`).

    `names` and `sizes`: the groups, in order. Beside the features comes a (N, 1, features) bool, False for what was observed in
    no frame of the clip, or None where everything was observed.
    """

    def __init__(self, config: TemporalCNNConfig, layout: Layout, dims: int):
        super().__init__()
        joints = len(layout)
        self.root, self.steps, self.features = layout.root, config.steps, config.features
        pairs = torch.triu_indices(joints, joints, 1)
        children = torch.tensor([child for child, _ in layout.bones])
        parents = torch.tensor([parent for _, parent in layout.bones])
        for name, index in (("first", pairs[0]), ("second", pairs[1]), ("child", children), ("parent", parents)):
            self.register_buffer(name, index, persistent=False)
        sizes = {"distance": [pairs.shape[1]], "position": [joints * dims], "bone": [len(children) * dims]}
        sizes["motion"] = [joints * dims] * len(config.steps)
        self.sizes = [size for name in config.features for size in sizes[name]]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if mask is not None:
            x, mask = fill_missing(x[None], mask[None])[0], mask.permute(2, 0, 1)
        # Joints first: what follows then copies and subtracts whole rows of frames, not single numbers.
        x = x.permute(3, 2, 0, 1).contiguous()
        parts, known = [], []
        for name in self.features:
            values, seen = getattr(self, f"_{name}")(x, mask)
            parts += values
            known += seen
        observed = torch.cat(known).any(2).T.unsqueeze(1) if known else None
        return torch.cat([part.flatten(0, -3) for part in parts]).permute(1, 2, 0), observed

    def _distance(self, x: Tensor, mask: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        squares = (x.index_select(1, self.first) - x.index_select(1, self.second)).square().sum(0)
        distances = squares.clamp(min=1e-12).sqrt()  # the root has no gradient at 0
        if mask is None:
            return [distances], []
        both = mask[self.first] & mask[self.second]
        held = fill_missing(distances.permute(1, 2, 0)[None, ..., None], both.permute(1, 2, 0)[None])
        return [held[0, ..., 0].permute(2, 0, 1)], [both]

    def _position(self, x: Tensor, mask: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        return [x - x[:, self.root, None]], self._each(mask, len(x))

    def _bone(self, x: Tensor, mask: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        bones = x.index_select(1, self.child) - x.index_select(1, self.parent)
        return [bones], [] if mask is None else self._each(mask[self.child] & mask[self.parent], len(x))

    def _motion(self, x: Tensor, mask: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        moved = [F.pad(x[..., step:] - x[..., :-step], (step // 2, step - step // 2)) for step in self.steps]
        return moved, self._each(mask, len(x)) * len(moved)

    @staticmethod
    def _each(mask: Tensor | None, dims: int) -> list[Tensor]:
        return [] if mask is None else [mask] * dims


class _Known(nn.Module):
    """Features that were observed in no frame of a clip take their mean over the training clips, kept here."""

    def __init__(self, size: int, momentum: float = 0.1):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(size))

    def forward(self, x: Tensor, known: Tensor | None) -> Tensor:
        if self.training:
            self._measure(x.detach(), known)
        return x if known is None else torch.where(known, x, self.running_mean)

    @torch.no_grad()
    def _measure(self, x: Tensor, known: Tensor | None) -> None:
        mean = x.mean(1)
        if known is None:
            mean = mean.mean(0)
        else:
            known = known.squeeze(1)
            mean = torch.where(known.any(0), (mean * known).sum(0) / known.sum(0).clamp(min=1), self.running_mean)
        self.running_mean.lerp_(mean, self.momentum)


class _Dropout(nn.Dropout):
    """Drops whole channels of (N, channels, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        return x * F.dropout(x.new_ones(*x.shape[:2], *[1] * (x.ndim - 2)), self.p)


class _Block(nn.Module):
    """Two convolutions over time and a shortcut: (N, width_in, 1, T) to (N, width, 1, T)."""

    def __init__(self, width_in: int, width: int, kernel: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, (1, kernel), padding=(0, kernel // 2), bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, (1, kernel), padding=(0, kernel // 2), bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(width_in, width, 1, bias=False) if width_in != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def _check(config: TemporalCNNConfig, shape: PoseShape) -> None:
    if shape.channels not in (2, 3):
        raise RecipeError(
            f"temporal-cnn: {shape.channels} channels; it makes its features itself, of the joint stream's 2 or 3 coordinates"
        )
    for name in config.features:
        if name not in FEATURES:
            raise RecipeError(f"temporal-cnn: {unknown('feature', name, FEATURES)}")
    if not config.features or not config.widths:
        raise RecipeError("temporal-cnn: at least one of `features` and one of `widths` are needed")
    if config.kernel < 1 or config.kernel % 2 == 0:
        raise RecipeError(f"temporal-cnn: kernel {config.kernel} must be odd")
    least = max(2 ** (len(config.widths) - 1), *(step + 1 for step in config.steps), 2)
    if shape.frames < least or min(config.steps, default=1) < 1:
        raise RecipeError(
            f"temporal-cnn: {shape.frames} frames; at least {least} are needed for {len(config.widths)} widths, steps {config.steps}"
        )


register(
    ModelInfo(
        name="temporal-cnn",
        summary="a 1-D CNN on distances between joints, bones, positions and motion; small, fast, and strong on small data sets",
        paper="Yang et al., Make Skeleton-based Action Recognition Model Smaller, Faster and Better, ACM MM Asia 2019",
        build=TemporalCNN,
        defaults=TemporalCNNConfig(),
        example=PoseShape(persons=1, frames=32, layout=get_layout("ntu25"), channels=3),
    )
)
