"""EfficientGCN: a small graph network with three early-fused branches, separable temporal layers and joint attention.

Song, Zhang, Shan, Wang: Constructing Stronger and Faster Baselines for Skeleton-based Action Recognition, TPAMI 2022.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import DataError, RecipeError
from kinema.layout import Layout, get_layout
from kinema.models._masks import fill_missing
from kinema.models._stages import Tap
from kinema.models.registry import ModelInfo, PoseShape, register

# The published tree of NTU RGB+D's joints, rooted at the middle of the spine; finger tips hang on thumbs, thumbs on hands.
_NTU25_PARENTS = (1, 1, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 22, 7, 24, 11)
_HOPS = 3  # normalisation of the graph counts neighbours up to so many bones away, one more than the layers use
_SUBSETS = 3  # joints 0, 1 and 2 bones away, each with weights of its own


@dataclass(frozen=True)
class EfficientGCNConfig:
    """Settings of EfficientGCN; the defaults are those of B0.

    Args:
        stem: channels after the first layers of each branch.
        branch_widths: channels of each branch's blocks.
        branch_depths: temporal layers of each branch's blocks.
        widths: channels of the blocks after fusion; each halves the frames if it has temporal layers.
        depths: temporal layers of those blocks.
        kernel: frames that a temporal layer spans.
        expand: factor by which separable temporal layers widen.
        reduction: factor by which the attention narrows.
        dropout: probability before the last layer.
        frames: shorter inputs are padded with zeros to so many frames, as the published weights need it; 0 pads nothing.
    """

    stem: int = 64
    branch_widths: tuple[int, ...] = (48, 32)
    branch_depths: tuple[int, ...] = (0, 0)
    widths: tuple[int, ...] = (64, 128)
    depths: tuple[int, ...] = (1, 1)
    kernel: int = 5
    expand: int = 2
    reduction: int = 4
    dropout: float = 0.25
    frames: int = 288


class EfficientGCN(nn.Module):
    """Input (B, M, T, V, 3): joints in metres, camera coordinates, neither centred nor scaled, at about 30 frames a second.

    The three branches' features are made here: joints and joints relative to the root; velocities over one and two frames;
    bones and their angles to the axes. Persons are averaged at the end.

    As the published network was trained, a frame without a person is all zeros, and so are an absent person, who counts in
    the average, and the frames after the end. Single unobserved joints hold their last observed values (`fill_missing`).
    Graph and bones are the layout's; for "ntu25" the published ones.
    """

    def __init__(self, config: EfficientGCNConfig, shape: PoseShape, num_classes: int):
        super().__init__()
        if shape.channels != 3:
            raise RecipeError(
                f"efficientgcn: joints have {shape.channels} channels; 3 coordinates are expected (streams: [joint], 3-D poses)"
            )
        for widths, depths in ((config.branch_widths, config.branch_depths), (config.widths, config.depths)):
            if len(widths) != len(depths) or not widths:
                raise RecipeError(
                    f"efficientgcn: {len(widths)} widths and {len(depths)} depths; as many of each, and at least one, are expected"
                )
        parents = _parents(shape.layout)
        graph = _graph(parents)
        self.config = config
        self.root = shape.layout.root
        self.register_buffer("parents", torch.as_tensor(parents), persistent=False)
        self.branches = nn.ModuleList(_Branch(config, graph) for _ in range(3))
        blocks, width = [], 3 * config.branch_widths[-1]
        for out, depth in zip(config.widths, config.depths, strict=True):
            blocks.append(_Block(width, out, depth, 2, config, graph))
            width = out
        self.blocks = nn.Sequential(*blocks)
        self.joined = Tap()
        self.dropout = nn.Dropout(config.dropout)
        self.num_features = width
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        like = self.branches[0].norm.weight
        self.fc = nn.Linear(self.num_features, num_classes).to(like.device, like.dtype)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("fc.",)

    def stages(self) -> tuple[str, ...]:
        """The joined branches, and the blocks behind them; persons are rows of their own."""
        return ("joined", *(f"blocks.{i}" for i in range(len(self.blocks))))

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            x = fill_missing(x, mask).masked_fill(~mask.any(3)[..., None, None], 0)
        x = F.pad(x, (0, 0, 0, 0, 0, max(0, self.config.frames - x.shape[2])))
        persons = x.shape[1]
        x = x.flatten(0, 1).permute(0, 3, 1, 2)
        x = self.joined(torch.cat([branch(part) for branch, part in zip(self.branches, self._inputs(x), strict=True)], 1))
        return self.blocks(x).mean((2, 3)).unflatten(0, (-1, persons)).mean(1)

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, T, V) joints to the 6 channels of each branch."""
        joint = torch.cat([x, x - x[..., self.root, None]], 1)
        # Velocities of the last two frames are 0, those over one frame too.
        velocity = torch.cat([x[:, :, 1:-1] - x[:, :, :-2], x[:, :, 2:] - x[:, :, :-2]], 1)
        bone = x - x[..., self.parents]
        length = torch.linalg.vector_norm(bone, dim=1, keepdim=True)
        return joint, F.pad(velocity, (0, 0, 0, 2)), torch.cat([bone, torch.arccos(bone / (length + 1e-4))], 1)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(features))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask))


class _Branch(nn.Module):
    def __init__(self, config: EfficientGCNConfig, graph: Tensor):
        super().__init__()
        self.norm = nn.BatchNorm2d(6)
        self.stem = _Spatial(6, config.stem, graph)
        self.stem_conv = nn.Conv2d(config.stem, config.stem, (config.kernel, 1), padding=(config.kernel // 2, 0))
        self.stem_norm = nn.BatchNorm2d(config.stem)
        blocks, width = [], config.stem
        for out, depth in zip(config.branch_widths, config.branch_depths, strict=True):
            blocks.append(_Block(width, out, depth, 1, config, graph))
            width = out
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.norm(x))
        return self.blocks(F.silu(self.stem_norm(self.stem_conv(x)) + x))


class _Block(nn.Sequential):
    def __init__(self, width: int, out: int, depth: int, stride: int, config: EfficientGCNConfig, graph: Tensor):
        super().__init__()
        self.spatial = _Spatial(width, out, graph)
        self.temporal = nn.Sequential(*(_Temporal(out, stride if i == 0 else 1, config) for i in range(depth)))
        self.attention = _Attention(out, config.reduction)


def _normed(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))


class _Spatial(nn.Module):
    """Graph convolution: for each distance 0, 1, 2 a product of the joints with that part of the graph, its edges weighted."""

    def __init__(self, width: int, out: int, graph: Tensor):
        super().__init__()
        self.register_buffer("graph", graph, persistent=False)  # the layout's, not the weights'
        self.edge = nn.Parameter(torch.ones_like(graph))
        self.conv = nn.Conv2d(width, out * len(graph), 1)
        self.norm = nn.BatchNorm2d(out)
        self.residual = nn.Identity() if width == out else _normed(nn.Conv2d(width, out, 1))

        # Whichever order has less to multiply by the graph.
        self.graph_first = width < out
        self.reads_weights = ("conv",) if self.graph_first else ()  # see `kinema.models._compact`

    def forward(self, x: Tensor) -> Tensor:
        graph = (self.graph * self.edge).to(x.dtype)  # (K, V, W): from joint v to joint w
        y = self._graph_first(x, graph) if self.graph_first else self._graph_last(x, graph)
        return F.silu(self.norm(y) + self.residual(x))

    def _graph_last(self, x: Tensor, graph: Tensor) -> Tensor:
        n, _, t, v = x.shape
        # Channels last, joint v's K * out channels are K rows of a (V * K, out) matrix.
        parts = self.conv(x).permute(0, 2, 3, 1).reshape(n * t, v * len(graph), -1)
        to_joints = graph.permute(2, 1, 0).reshape(v, -1).to(parts.dtype)
        return torch.bmm(to_joints.expand(n * t, -1, -1), parts).view(n, t, v, -1).permute(0, 3, 1, 2)

    def _graph_first(self, x: Tensor, graph: Tensor) -> Tensor:
        n, c, t, v = x.shape
        to_joints = graph.permute(2, 0, 1).reshape(-1, v)
        gathered = torch.bmm(to_joints.expand(n * t, -1, -1), x.permute(0, 2, 3, 1).reshape(n * t, v, c))
        gathered = gathered.view(n, t, v, -1).permute(0, 3, 1, 2)
        weight = self.conv.weight.view(len(graph), -1, c).transpose(0, 1).reshape(-1, len(graph) * c, 1, 1)
        bias = torch.einsum("kvw,ko->ow", graph, self.conv.bias.view(len(graph), -1).to(graph.dtype))
        return F.conv2d(gathered, weight) + bias.unsqueeze(1)


class _Temporal(nn.Module):
    """Separable convolution over time: widen, convolve each channel, narrow; no activation after the sum."""

    def __init__(self, width: int, stride: int, config: EfficientGCNConfig):
        super().__init__()
        wide, kernel = width * config.expand, config.kernel
        self.expand = _normed(nn.Conv2d(width, wide, 1))
        self.depth = _normed(nn.Conv2d(wide, wide, (kernel, 1), (stride, 1), (kernel // 2, 0), groups=wide))
        self.point = _normed(nn.Conv2d(wide, width, 1))
        self.residual = nn.Identity() if stride == 1 else _normed(nn.Conv2d(width, width, 1, (stride, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.point(F.silu(self.depth(F.silu(self.expand(x))))) + self.residual(x)


class _Attention(nn.Module):
    """Which frames and which joints matter, from the means over the other axis: a gate for each frame times one for each joint."""

    def __init__(self, width: int, reduction: int):
        super().__init__()
        narrow = max(width // reduction, 1)
        self.squeeze = _normed(nn.Conv2d(width, narrow, 1))
        self.frames = nn.Conv2d(narrow, width, 1)
        self.joints = nn.Conv2d(narrow, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        means = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)], 2)
        frames, joints = F.hardswish(self.squeeze(means)).split((x.shape[2], x.shape[3]), 2)
        gate = self.frames(frames).sigmoid() * self.joints(joints.transpose(2, 3)).sigmoid()
        return F.silu(self.norm(x * gate) + x)


def _parents(layout: Layout) -> np.ndarray:
    return np.array(_NTU25_PARENTS) if layout == get_layout("ntu25") else layout.parents


def _graph(parents: np.ndarray) -> Tensor:
    """(3, V, V): the adjacency of joints up to `_HOPS` bones apart, columns summing to 1, split by distance 0, 1 and 2."""
    count = len(parents)
    joined = np.zeros((count, count), bool)
    joined[np.arange(count), parents] = True
    step = joined | joined.T | np.eye(count, dtype=bool)
    within = [np.eye(count, dtype=bool)]
    for _ in range(_HOPS):
        within.append((within[-1].astype(int) @ step) > 0)
    weights = within[-1] / within[-1].sum(0)
    exactly = [within[0], *(far & ~near for near, far in itertools.pairwise(within))]
    return torch.tensor(np.stack([weights * pairs for pairs in exactly[:_SUBSETS]]), dtype=torch.float32)


# Parts of the published names, in the order in which they are replaced by ours.
_PUBLISHED_NAMES = (
    (r"^input_branches\.", "branches."),
    (r"^main_stream\.", ""),
    (r"init_bn", "norm"),
    (r"stem_scn", "stem"),
    (r"stem_tcn\.conv", "stem_conv"),
    (r"stem_tcn\.bn", "stem_norm"),
    (r"block-(\d+)_scn", r"blocks.\1.spatial"),
    (r"block-(\d+)_tcn-(\d+)", r"blocks.\1.temporal.\2"),
    (r"block-(\d+)_att", r"blocks.\1.attention"),
    (r"(stem|spatial)\.conv\.A$", r"\1.graph"),
    (r"(stem|spatial)\.conv\.edge$", r"\1.edge"),
    (r"(stem|spatial)\.conv\.gcn", r"\1.conv"),
    (r"\.bn\.", ".norm."),
    (r"(expand|depth|point)_conv", r"\1"),
    (r"att\.fcn", "squeeze"),
    (r"att\.conv_t", "frames"),
    (r"att\.conv_v", "joints"),
    (r"^classifier\.fc", "fc"),
)


def load_published(path: str | Path, layout: str | Layout = "ntu25") -> dict[str, Tensor]:
    """State dict for `EfficientGCN` from a file of the authors' (version 1: separable layers, joint attention; NTU RGB+D).

    A B0 trained on NTU60 loads strictly into `create_model("efficientgcn-b0", 60, shape)`. Their copies of the graph are
    compared with ours and left out. For another `layout` than "ntu25" the learned weights of edges go with the joints' names,
    and are 1 where NTU RGB+D lacks a joint.

    Raises `DataError` for a file that cannot be read or holds something else, or another graph.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError("there is no such file", path) from None
    except Exception as error:
        raise DataError(f"not a readable file of PyTorch weights ({type(error).__name__})", path) from error
    state = state.get("model", state) if isinstance(state, dict) else {}
    if "classifier.fc.weight" not in state or "input_branches.0.init_bn.weight" not in state:
        raise DataError("no EfficientGCN weights: input_branches and classifier.fc are expected in the state dict", path)
    published = get_layout("ntu25")
    graph, layout = _graph(_parents(published)), get_layout(layout)
    renamed = {}
    for name, tensor in state.items():
        ours = name
        for pattern, replacement in _PUBLISHED_NAMES:
            ours = re.sub(pattern, replacement, ours)
        if ours.endswith(".graph"):
            if tensor.shape != graph.shape or not torch.allclose(tensor, graph, atol=1e-6):
                raise DataError("another graph than that of NTU RGB+D's 25 joints, distances 0 to 2", path, name)
        elif ours.endswith(".edge"):
            renamed[ours] = _edges_by_name(tensor, published, layout)
        else:
            renamed[ours] = tensor.flatten(1) if ours == "fc.weight" else tensor
    return renamed


def _edges_by_name(edge: Tensor, source: Layout, target: Layout) -> Tensor:
    rows = [i for i, joint in enumerate(target.joints) if source.has(joint)]
    taken = [source.index(target.joints[i]) for i in rows]
    moved = edge.new_ones(len(edge), len(target), len(target))
    moved[:, torch.tensor(rows)[:, None], torch.tensor(rows)] = edge[:, torch.tensor(taken)[:, None], torch.tensor(taken)]
    return moved


register(
    ModelInfo(
        name="efficientgcn-b0",
        summary="graph network with joint, velocity and bone branches, separable temporal layers, joint attention",
        paper="Song et al., Constructing Stronger and Faster Baselines for Skeleton-based Action Recognition, TPAMI 2022",
        build=EfficientGCN,
        defaults=EfficientGCNConfig(),
        example=PoseShape(persons=2, frames=288, layout=get_layout("ntu25"), channels=3),
    )
)
