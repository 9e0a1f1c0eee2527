"""PoseConv3D: 3-D convolutions over stacked heatmaps of key points; SlowOnly-R50, and the lighter C3D and X3D.

Duan, Zhao, Chen, Lin, Dai: Revisiting Skeleton-based Action Recognition, CVPR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.errors import DataError, RecipeError
from kinema.layout import get_layout
from kinema.models._heatmap_network import HeatmapConfig, HeatmapNetwork
from kinema.models._published_state import read_published, renamed
from kinema.models._stages import Tap, TappedStages, tap_names
from kinema.models._volumes import ConvNorm, average_pool, max_pool
from kinema.models.registry import ModelInfo, PoseShape, register

# Frames that go through the layers without extent in time together on a CPU without training: what is made of so many stays in
# the cache.
_CPU_FRAMES = 16


@dataclass(frozen=True)
class SlowOnlyConfig(HeatmapConfig):
    """Settings of SlowOnly-R50 on heatmaps; the defaults are PYSKL's for NTU RGB+D. What is drawn: see `HeatmapConfig`.

    Args:
        width: channels of the stem; stages have 1, 2, 4 ... times as many, four times that at the end of each block.
        blocks: bottleneck blocks of each stage; every stage halves the maps.
        inflate: of each stage, whether the first convolution of its blocks spans three frames.
        temporal_strides: of each stage.
    """

    width: int = 32
    blocks: tuple[int, ...] = (4, 6, 3)
    inflate: tuple[bool, ...] = (False, True, True)
    temporal_strides: tuple[int, ...] = (1, 1, 2)


class SlowOnly(HeatmapNetwork):
    """A ResNet-50 of three stages: (1, 7, 7) stem and 3 x 3 max-pool of stride 1, bottlenecks, mean over space and time."""

    def __init__(self, config: SlowOnlyConfig, shape: PoseShape, num_classes: int):
        super().__init__(config, shape)
        if not len(config.blocks) == len(config.inflate) == len(config.temporal_strides) >= 1 or min(config.blocks) < 1:
            raise RecipeError("poseconv3d: blocks, inflate and temporal_strides must name as many stages, of at least one block each")
        self.stem = ConvNorm(self.channels, config.width, (1, 7, 7))
        stages, width = [], config.width
        for stage, (blocks, inflate, stride) in enumerate(zip(config.blocks, config.inflate, config.temporal_strides, strict=True)):
            planes = config.width * 2**stage
            stages.append(bottlenecks(width, planes, blocks, (stride, 2, 2), bool(inflate)))
            width = 4 * planes
        self.stages = TappedStages(stages)
        self.taps = nn.ModuleList(Tap() for _ in stages)
        self.width = width
        # Stages before the first one that looks at other frames, or leaves some out.
        still = zip(config.inflate, config.temporal_strides, strict=True)
        self._still = next((i for i, (inflate, stride) in enumerate(still) if inflate or stride > 1), len(stages))
        self.reset_classifier(num_classes)

    def body(self, x: Tensor) -> Tensor:
        watched = any(tap.watched for tap in self.taps)
        parts = x.split(_CPU_FRAMES, 1) if x.device.type == "cpu" and not torch.is_grad_enabled() and not watched else (x,)
        done = []
        for part in parts:
            part = max_pool(self.stem(part))
            for i, stage in enumerate(self.stages[: self._still]):
                part = stage(part)
                self.show(i, part)
            done.append(part)
        x = torch.cat(done, 1) if len(done) > 1 else done[0]
        for i, stage in enumerate(self.stages[self._still :], self._still):
            x = stage(x)
            self.show(i, x)
        return x


def bottlenecks(width: int, planes: int, blocks: int, stride: tuple[int, int, int], inflate: bool) -> nn.Sequential:
    """A stage of a residual network: `blocks` bottlenecks from `width` channels to 4 x `planes`, the first one with the stride."""
    first = _Bottleneck(width, planes, stride, inflate)
    return nn.Sequential(first, *(_Bottleneck(4 * planes, planes, (1, 1, 1), inflate) for _ in range(blocks - 1)))


class _Bottleneck(nn.Module):
    def __init__(self, width: int, planes: int, stride: tuple[int, int, int], inflate: bool):
        super().__init__()
        out = 4 * planes
        self.conv1 = ConvNorm(width, planes, (3 if inflate else 1, 1, 1))
        self.conv2 = ConvNorm(planes, planes, (1, 3, 3), stride)
        self.conv3 = ConvNorm(planes, out)
        nn.init.zeros_(self.conv3.norm.weight)
        self.downsample = ConvNorm(width, out, stride=stride, relu=False) if stride != (1, 1, 1) or width != out else None

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        return self.conv3(self.conv2(self.conv1(x)), residual)


@dataclass(frozen=True)
class C3DConfig(HeatmapConfig):
    """Settings of the light C3D. What is drawn: see `HeatmapConfig`.

    Args:
        width: channels of the first layer; doubled at every pooling.
    """

    width: int = 32


class C3D(HeatmapNetwork):
    """3 x 3 x 3 convolutions 1-2-4-4-8-8 times `width`, with three average poolings over space alone (Tran et al., ICCV 2015)."""

    def __init__(self, config: C3DConfig, shape: PoseShape, num_classes: int):
        super().__init__(config, shape)
        one, two, four, eight = (config.width * factor for factor in (1, 2, 4, 8))
        cube = (3, 3, 3)
        self.conv1a = ConvNorm(self.channels, one, cube)
        self.conv2a = ConvNorm(one, two, cube)
        self.conv3a, self.conv3b = ConvNorm(two, four, cube), ConvNorm(four, four, cube)
        self.conv4a, self.conv4b = ConvNorm(four, eight, cube), ConvNorm(eight, eight, cube)
        self.taps = nn.ModuleList(Tap() for _ in range(4))
        self.width = eight
        self.reset_classifier(num_classes)

    def stages(self) -> tuple[str, ...]:
        """The maps between the poolings."""
        return tap_names(self.taps)

    def body(self, x: Tensor) -> Tensor:
        layers = ((self.conv1a,), (self.conv2a,), (self.conv3a, self.conv3b), (self.conv4a, self.conv4b))
        for stage, convolutions in enumerate(layers):
            x = average_pool(x) if stage else x
            for convolution in convolutions:
                x = convolution(x)
            self.show(stage, x)
        return x


@dataclass(frozen=True)
class X3DConfig(HeatmapConfig):
    """Settings of the shallow X3D. What is drawn: see `HeatmapConfig`.

    Args:
        width: channels of the stem and the first stage; doubled at every further one.
        expand: factor by which blocks widen.
        blocks: of each stage; every stage halves the maps, as the stem does.
    """

    width: int = 24
    expand: float = 2.25
    blocks: tuple[int, ...] = (2, 5, 3)


class X3D(HeatmapNetwork):
    """Bottlenecks that widen, with 3 x 3 x 3 convolutions of each channel by itself; no squeeze, ReLU (Feichtenhofer, CVPR 2020)."""

    def __init__(self, config: X3DConfig, shape: PoseShape, num_classes: int):
        super().__init__(config, shape)
        if not config.blocks or min(config.blocks) < 1:
            raise RecipeError(f"poseconv3d-x3d: blocks {list(config.blocks)}; at least one stage of at least one block is expected")
        width = config.width
        self.stem_space = ConvNorm(self.channels, width, (1, 3, 3), (1, 2, 2), norm=False, relu=False)
        self.stem_time = ConvNorm(width, width, (5, 1, 1), groups=width)
        stages = []
        for stage, blocks in enumerate(config.blocks):
            out = config.width * 2**stage
            wide = int(out * config.expand)
            layers = []
            for block in range(blocks):
                layers.append(_Widening(width, wide, out, 2 if block == 0 else 1))
                width = out
            stages.append(nn.Sequential(*layers))
        self.stages = TappedStages(stages)
        self.taps = nn.ModuleList(Tap() for _ in stages)
        self.width = int(width * config.expand)
        self.last = ConvNorm(width, self.width)
        self.reset_classifier(num_classes)

    def body(self, x: Tensor) -> Tensor:
        x = self.stem_time(self.stem_space(x))
        for i, stage in enumerate(self.stages):
            x = stage(x)
            self.show(i, x)
        return self.last(x)


class _Widening(nn.Module):
    def __init__(self, width: int, wide: int, out: int, stride: int):
        super().__init__()
        self.conv1 = ConvNorm(width, wide)
        self.conv2 = ConvNorm(wide, wide, (3, 3, 3), (1, stride, stride), groups=wide, relu=False)
        self.conv3 = ConvNorm(wide, out)
        nn.init.zeros_(self.conv3.norm.weight)
        self.downsample = ConvNorm(width, out, stride=(1, stride, stride), relu=False) if stride > 1 or width != out else None

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        return self.conv3(self.conv2(self.conv1(x)), residual)


# Parts of PYSKL's and MMAction2's names, in the order in which they are replaced by ours. What neither begins stays as it is.
_PUBLISHED_NAMES = (
    (r"^cls_head\.fc_cls\.", "fc."),
    (r"^backbone\.layer(\d+)\.", lambda match: f"stages.{int(match[1]) - 1}."),
    (r"^backbone\.conv1\.", "stem."),
    (r"^backbone\.conv1_s\.", "stem_space."),
    (r"^backbone\.conv1_t\.", "stem_time."),
    (r"^backbone\.conv5\.", "last."),
    (r"^backbone\.", ""),
    (r"\.bn\.", ".norm."),
)


def load_published(path: str | Path) -> dict[str, Tensor]:
    """State dict for `poseconv3d`, `poseconv3d-c3d` or `poseconv3d-x3d` from a checkpoint of PYSKL's or MMAction2's.

    Names alone are changed; whether all tensors are there, and in the right shapes, shows when they are loaded. Raises `DataError`
    for a file that cannot be read, or that holds something else.
    """
    state = read_published(path)
    if "cls_head.fc_cls.weight" not in state:
        raise DataError("no PoseConv3D weights: backbone and cls_head.fc_cls are expected in the state dict", path)
    return {renamed(name, _PUBLISHED_NAMES): tensor for name, tensor in state.items()}


_PAPER = "Duan et al., Revisiting Skeleton-based Action Recognition, CVPR 2022"
_EXAMPLE = PoseShape(persons=2, frames=48, layout=get_layout("coco17"), channels=3)

register(
    ModelInfo(
        name="poseconv3d",
        summary="heatmaps of 2-D joints or limbs, drawn by the model, through SlowOnly-R50",
        paper=_PAPER,
        build=SlowOnly,
        defaults=SlowOnlyConfig(),
        example=_EXAMPLE,
    )
)
register(
    ModelInfo(
        name="poseconv3d-c3d",
        summary="heatmaps of 2-D joints or limbs through a light C3D of six 3-D convolutions",
        paper=_PAPER,
        build=C3D,
        defaults=C3DConfig(),
        example=_EXAMPLE,
    )
)
register(
    ModelInfo(
        name="poseconv3d-x3d",
        summary="heatmaps of 2-D joints or limbs through a shallow X3D of depthwise 3-D convolutions",
        paper=_PAPER,
        build=X3D,
        defaults=X3DConfig(),
        example=_EXAMPLE,
    )
)
