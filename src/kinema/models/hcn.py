"""HCN: co-occurrence features from a skeleton with ordinary convolutions, the joints becoming channels halfway.

Li, Zhong, Xie, Pu: Co-occurrence Feature Learning from Skeleton Data for Action Recognition and Detection with Hierarchical
Aggregation, IJCAI 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models._cpu import Dropout, conv2d, embed_joints
from kinema.models._masks import fill_missing, largest_of_persons, present
from kinema.models._stages import Tap, tap_names
from kinema.models.registry import ModelInfo, PoseShape, register

# Sequences (of one person each) that go through the first four layers at a time on a CPU: what is made of so many stays in
# the cache and below the size of memory blocks that glibc hands back to the kernel at once.
_CPU_CHUNK = 16


@dataclass(frozen=True)
class HCNConfig:
    """Settings of HCN; the defaults are the paper's.

    Args:
        widths: output channels of conv1 to conv6; conv2's are the width of the map that conv3 sees (at least 16).
        hidden: units of fc7; 0 leaves that layer out.
        dropout: probability after conv4, after conv5, and before and after fc7.
        batch_norm: normalise conv1's output over the batch.
        mean_time: average the last map over time, rather than giving every step its own weights in the head.
    """

    widths: tuple[int, ...] = (64, 32, 32, 64, 128, 256)
    hidden: int = 256
    dropout: float = 0.5
    batch_norm: bool = False
    mean_time: bool = False


class HCN(nn.Module):
    """Input (B, M, T, V, C); T and V as built. Coordinates should be centred and in metres or normalised.

    The joints and their motion x[t] - x[t-1] (0 in the first frame) go through four layers each, with weights of their own,
    and through two together; the element-wise maximum over persons goes to the head.

    Unobserved joints hold their last observed values (`fill_missing`). Persons who are not observed at all are left out:
    they take no part in the maximum, nor in batch statistics. Features of a clip in which nobody is observed are 0.
    """

    def __init__(self, config: HCNConfig, shape: PoseShape, num_classes: int):
        super().__init__()
        if len(config.widths) != 6 or min(config.widths) < 1 or config.widths[1] < 16:
            raise RecipeError(f"hcn: widths {config.widths} must be six channel numbers, the second at least 16")
        if shape.frames < 16:
            raise RecipeError(f"hcn: {shape.frames} frames are too few for four halvings; give at least 16")
        self.config = config
        self.joint = _Stream(config, shape)
        self.motion = _Stream(config, shape)
        self.conv5 = _Conv2d(2 * config.widths[3], config.widths[4], 3, padding=1)
        self.conv6 = _Conv2d(config.widths[4], config.widths[5], 3, padding=1)
        self.dropout = Dropout(config.dropout)
        self.taps = nn.ModuleList(Tap() for _ in range(3))
        steps = 1 if config.mean_time else shape.frames // 16
        self.num_features = config.widths[5] * steps * (config.widths[1] // 16)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        like = self.conv6.weight
        hidden = self.config.hidden
        self.fc7 = nn.Linear(self.num_features, hidden).to(like.device, like.dtype) if hidden else None
        self.fc8 = nn.Linear(hidden or self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("fc7.", "fc8.") if self.config.hidden else ("fc8.",)

    def stages(self) -> tuple[str, ...]:
        """Behind conv4, conv5 and conv6; what is shown is averaged over the map, the largest over persons."""
        return tap_names(self.taps)

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, persons, there = *x.shape[:2], None
        if mask is not None:
            x = fill_missing(x, mask)
            there = present(mask)
            if there.all():
                there = None
        rows = x.flatten(0, 1)

        def of_clips(maps: Tensor) -> Tensor:
            return maps.unflatten(0, (batch, persons)).amax(1) if there is None else largest_of_persons(maps, there)

        maps = of_clips(self._person_maps(rows if there is None else rows[there.flatten()], of_clips))
        return maps.mean(2).flatten(1) if self.config.mean_time else maps.flatten(1)

    def _person_maps(self, x: Tensor, of_clips: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, T, V, C) to (N, widths[5], T // 16, widths[1] // 16). `of_clips` puts the rows of each clip's persons together."""

        def show(stage: int, maps: Tensor) -> None:
            if self.taps[stage].watched:
                self.taps[stage](of_clips(maps.mean((2, 3))))

        motion = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 0, 0, 1, 0))
        streams = [(stream, *stream.first_layer(part)) for stream, part in ((self.joint, x), (self.motion, motion))]
        size = _CPU_CHUNK if x.device.type == "cpu" and not torch.compiler.is_compiling() else max(len(x), 1)
        parts = [
            torch.cat([stream(part, weight, bias) for (stream, weight, bias), part in zip(streams, pair, strict=True)], 1)
            for pair in zip(x.split(size), motion.split(size), strict=True)
        ]
        x = torch.cat(parts) if len(parts) > 1 else parts[0]
        show(0, x)
        x = self.dropout(x)
        # ReLU after the pool rather than before it: the same values from a quarter of the elements.
        x = F.relu(F.max_pool2d(self.conv5(x), 2))
        show(1, x)
        x = self.dropout(x)
        x = F.relu(F.max_pool2d(self.conv6(x), 2))
        show(2, x)
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        x = self.dropout(features)
        if self.fc7 is not None:
            x = self.dropout(F.relu(self.fc7(x)))
        return self.fc8(x)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask))


class _Stream(nn.Module):
    """conv1 to conv4: (N, T, V, C) to (N, widths[3], T // 4, widths[1] // 4)."""

    reads_weights = ("conv1", "conv2")  # see `kinema.models._compact`

    def __init__(self, config: HCNConfig, shape: PoseShape):
        super().__init__()
        one, two, three, four, _, _ = config.widths
        self.conv1 = nn.Conv2d(shape.channels, one, 1, bias=not config.batch_norm)
        self.norm1 = nn.BatchNorm2d(one) if config.batch_norm else None
        self.conv2 = nn.Conv2d(one, two, (3, 1), padding=(1, 0))
        self.conv3 = _Conv2d(len(shape.layout), three, 3, padding=1)
        self.conv4 = _Conv2d(three, four, 3, padding=1)

    def first_layer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of conv1 together with its batch norm. As conv1 is linear, the mean and variance of its output
        over the batch follow from those of its few input channels, so that the norm costs no pass over the data."""
        norm, weight = self.norm1, self.conv1.weight
        if norm is None:
            return weight, self.conv1.bias
        mean, variance = norm.running_mean, norm.running_var
        with torch.autocast(x.device.type, enabled=False):
            if norm.training:
                rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)
                center = rows.mean(0)
                rows = rows - center
                matrix = weight.flatten(1)
                mean = matrix @ center
                variance = ((matrix @ (rows.T @ rows / len(rows))) * matrix).sum(1)
                with torch.no_grad():
                    norm.running_mean.lerp_(mean, norm.momentum)
                    norm.running_var.lerp_(variance * len(rows) / (len(rows) - 1), norm.momentum)
                    norm.num_batches_tracked.add_(1)
            scale = norm.weight * torch.rsqrt(variance + norm.eps)
            return weight * scale.view(-1, 1, 1, 1), norm.bias - mean * scale

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = embed_joints(x, weight, bias, self.conv2.weight, self.conv2.bias)
        # The joints become the channels of a T x widths[1] map, channels last in memory.
        x = x.transpose(2, 3).contiguous().permute(0, 3, 1, 2)
        x = F.max_pool2d(self.conv3(x), 2)
        return F.max_pool2d(self.conv4(x), 2)


class _Conv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias, self.padding[0])


_PAPER = "Li et al., Co-occurrence Feature Learning from Skeleton Data with Hierarchical Aggregation, IJCAI 2018"
_EXAMPLE = PoseShape(persons=2, frames=64, layout=get_layout("ntu25"), channels=3)

register(
    ModelInfo(
        name="hcn",
        summary="convolutions over time and joints, the joints becoming channels; the paper's form",
        paper=_PAPER,
        build=HCN,
        defaults=HCNConfig(),
        example=_EXAMPLE,
    )
)
register(
    ModelInfo(
        name="hcn-gap",
        summary="HCN with batch norm after conv1 and the mean over time for fc7: half the parameters, better on NTU60",
        paper=f"{_PAPER}; the later baseline of the authors' group",
        build=HCN,
        defaults=replace(HCNConfig(), hidden=0, batch_norm=True, mean_time=True),
        example=_EXAMPLE,
    )
)
