"""RGBPose-Conv3D: a pathway on the video and one on heatmaps of key points, which tell each other what they see on the way.

Duan, Zhao, Chen, Lin, Dai: Revisiting Skeleton-based Action Recognition, CVPR 2022, section 3.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models._heatmap_network import DrawsHeatmaps, HeatmapConfig
from kinema.models._volumes import ConvNorm, convolve, max_pool
from kinema.models.poseconv3d import bottlenecks
from kinema.models.registry import ModelInfo, PoseShape, Shapes, VideoShape, register

_SPAN = 7  # frames that a lateral connection looks at
_POSE_STAGES, _VIDEO_STAGES = 3, 4


@dataclass(frozen=True)
class RgbPoseConfig(HeatmapConfig):
    """Settings of RGBPose-Conv3D; the defaults are the published ones. What is drawn: see `HeatmapConfig`.

    Args:
        width: channels of the stem on heatmaps; stages have 1, 2, 4 times as many, four times that at the end of each block.
        video_width: the same of the stem on frames; its stages have up to 8 times as many.
        blocks: bottleneck blocks of the three stages on heatmaps.
        video_blocks: of the four stages on frames.
        lateral: whether the pathways are connected; without, they are two networks whose answers are averaged.
    """

    width: int = 32
    video_width: int = 64
    blocks: tuple[int, ...] = (4, 6, 3)
    video_blocks: tuple[int, ...] = (3, 4, 6, 3)
    lateral: bool = True


class RgbPose(DrawsHeatmaps):
    """Key points (B, M, T, V, 2 or 3) and `video` (B, C, t, H, W), few large frames of it, to (B, num_classes).

    T is a multiple of t (published: 32 and 8), H and W are four times the heatmaps' size (224 and 56). Before the last two stages of
    each pathway the other's maps are put beside its own: those of the heatmaps by a convolution over time that keeps one frame of
    T / t, those of the video by a transposed one.

    In training the answer is (2, B, num_classes), the logits of the pathways' two heads, each with a loss of its own as published;
    otherwise it is the logarithm of their mean probabilities, (B, num_classes).

    Departs: the published network is given frames cut out around the persons, by the box of the heatmaps; here the frames are what
    the video's own input makes of them.
    """

    def __init__(self, config: RgbPoseConfig, shape: Shapes, num_classes: int):
        pose, video = shape.pose, shape.video
        if pose is None or video is None:
            raise RecipeError(f"rgbpose-conv3d takes key points and video; it was given {shape}")
        super().__init__(config, pose)
        if len(config.blocks) != _POSE_STAGES or len(config.video_blocks) != _VIDEO_STAGES or min(*config.blocks, *config.video_blocks) < 1:
            raise RecipeError("rgbpose-conv3d: three blocks and four video_blocks, each at least 1, are expected")
        if pose.frames % video.frames:
            raise RecipeError(f"input.frames {pose.frames} is no multiple of video.frames {video.frames}, as rgbpose-conv3d expects")
        if config.lateral and {config.size, config.test_size or config.size} != {
            math.ceil(side / 4) for side in (video.height, video.width)
        }:
            sides = f"{video.height} x {video.width}"
            raise RecipeError(f"video of {sides} does not fit heatmaps of {config.size}: frames are four times their size, and square")
        self.ratio = pose.frames // video.frames
        self.pose_stem = ConvNorm(self.channels, config.width, (1, 7, 7))
        self.video_stem = ConvNorm(video.channels, config.video_width, (1, 7, 7), (1, 2, 2))
        lateral = config.lateral
        pose_out = [4 * config.width * 2**stage for stage in range(_POSE_STAGES)]
        video_out = [4 * config.video_width * 2**stage for stage in range(_VIDEO_STAGES)]
        # What the other pathway adds: as many channels as the heatmaps' pathway has, and a sixteenth of the video's.
        to_video = [width if lateral else 0 for width in pose_out[:2]]
        to_pose = [width // 16 if lateral else 0 for width in video_out[1:3]]
        pose_in = [config.width, pose_out[0] + to_pose[0], pose_out[1] + to_pose[1]]
        video_in = [config.video_width, video_out[0], video_out[1] + to_video[0], video_out[2] + to_video[1]]
        self.pose_stages = nn.ModuleList(
            bottlenecks(width, config.width * 2**stage, blocks, (1, 2, 2), stage > 0)
            for stage, (width, blocks) in enumerate(zip(pose_in, config.blocks, strict=True))
        )
        self.video_stages = nn.ModuleList(
            bottlenecks(width, config.video_width * 2**stage, blocks, (1, 1, 1) if stage == 0 else (1, 2, 2), stage > 1)
            for stage, (width, blocks) in enumerate(zip(video_in, config.video_blocks, strict=True))
        )
        self.to_video = nn.ModuleList(_Slower(width, self.ratio) for width in to_video if width)
        self.to_pose = nn.ModuleList(_Faster(16 * width, width, self.ratio) for width in to_pose if width)
        self.pose_features, self.num_features = pose_out[-1], pose_out[-1] + video_out[-1]
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        self.fc_pose = self.new_classifier(self.pose_features, num_classes)
        self.fc_video = self.new_classifier(self.num_features - self.pose_features, num_classes)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("fc_pose.", "fc_video.")

    def forward_features(self, x: Tensor, mask: Tensor | None = None, video: Tensor | None = None) -> Tensor:
        """(B, features): those of the heatmaps' pathway, then those of the video's."""
        pose = max_pool(self.pose_stem(self.volume(x, mask)))
        frames = _half(self.video_stem(video.permute(0, 2, 3, 4, 1).to(pose.dtype)))
        pose, frames = self.pose_stages[0](pose), self.video_stages[1](self.video_stages[0](frames))
        for stage in (1, 2):
            if self.config.lateral:
                slower, faster = self.to_video[stage - 1](pose), self.to_pose[stage - 1](frames)
                frames, pose = torch.cat([frames, slower], -1), torch.cat([pose, faster], -1)
            pose, frames = self.pose_stages[stage](pose), self.video_stages[stage + 1](frames)
        return torch.cat([part.float().mean((1, 2, 3)) for part in (pose, frames)], 1)

    def forward_head(self, features: Tensor) -> Tensor:
        parts = features.split([self.pose_features, features.shape[1] - self.pose_features], 1)
        logits = torch.stack([head(self.dropout(part)) for head, part in zip((self.fc_pose, self.fc_video), parts, strict=True)])
        return logits if self.training else logits.log_softmax(2).logsumexp(0) - math.log(2)

    def forward(self, x: Tensor, mask: Tensor | None = None, video: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask, video))


class _Slower(nn.Module):
    """(B, T, H, W, C) to (B, T / ratio, H, W, C)."""

    reads_weights = ("conv",)  # see `kinema.models._compact`

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.conv = nn.Conv3d(width, width, (_SPAN, 1, 1), (ratio, 1, 1), (_SPAN // 2, 0, 0), bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.conv, self.conv.weight)


class _Faster(nn.Module):
    """(B, t, H, W, C) to (B, t * ratio, H, W, out), with batch norm and ReLU."""

    def __init__(self, width: int, out: int, ratio: int):
        super().__init__()
        self.ratio = ratio
        self.conv = nn.ConvTranspose3d(width, out, (_SPAN, 1, 1), (ratio, 1, 1), (_SPAN // 2, 0, 0), bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")
        self.norm = nn.BatchNorm3d(out)

    def forward(self, x: Tensor) -> Tensor:
        # A padding of 3 on either side cuts off ratio - 1 frames too many behind the last one.
        frames = x.shape[1] * self.ratio
        maps = self.conv(x.permute(0, 4, 1, 2, 3), output_size=[frames, *x.shape[2:4]])
        return F.relu(self.norm(maps)).permute(0, 2, 3, 4, 1)


def _half(x: Tensor) -> Tensor:
    """The largest of 3 x 3 pixels at every other one."""
    rows = x.flatten(0, 1).permute(0, 3, 1, 2)
    return F.max_pool2d(rows, 3, 2, 1).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


register(
    ModelInfo(
        name="rgbpose-conv3d",
        summary="heatmaps of 2-D joints and video frames through two connected SlowOnly pathways",
        paper="Duan et al., Revisiting Skeleton-based Action Recognition, CVPR 2022",
        build=RgbPose,
        defaults=RgbPoseConfig(),
        inputs="pose+video",
        example=Shapes(
            pose=PoseShape(persons=2, frames=32, layout=get_layout("coco17"), channels=3),
            video=VideoShape(channels=3, frames=8, height=224, width=224),
        ),
    )
)
