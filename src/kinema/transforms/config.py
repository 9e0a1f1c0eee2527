"""How skeletons become the numbers that a model is given. Typed settings only: no torch here, so that reading a recipe stays fast.

`PoseInput` is deterministic and travels in the bundle; `PoseAugment` is random and belongs to training alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
SCORE = "score"
Stream = Literal["joint", "bone", "joint_motion", "bone_motion", "score"]


def channels_of(streams: Sequence[str], dims: int) -> int:
    """C of points with `dims` coordinates: one set of them a stream, and one more channel for the score."""
    return dims * sum(stream != SCORE for stream in streams) + (SCORE in streams)


@dataclass(frozen=True)
class PoseInput:
    """Preparation of a pose clip, in this order: layout, unit, windows, align, center, scale, frames, project, streams.

    Args:
        layout: joint layout that the model works in; clips in another one are converted by joint name.
        frames: frames T given to the model.
        persons: persons M given to the model; missing ones are masked, the ones that move most are kept.
        sampling: how T frames are taken from a clip or window: "resize" interpolates the whole of it to T frames;
            "segments" takes one frame from each of T equal segments (the centre one when testing, a random one when training);
            "skip" takes every `step`-th frame from each of `phases`, one sample a phase.
        step: frames from one taken frame to the next, for "skip".
        phases: first frames, for "skip".
        window: frames of a window; 0 takes the whole clip as one sample. A clip shorter than the window is one sample.
        stride: frames from the start of one window to the start of the next.
        center: "root" subtracts the root joint in every frame, "first" that of the first frame (of person 0), "none" nothing.
        scale: divide by the length of the torso, its median over the window, so that tall and short people are alike.
        align: turn the body about the vertical so that the line through the shoulders of the first frame lies along x.
        project: 3-D skeletons become the 2-D poses that an image of them shows: seen along z, from where they were recorded, without
            perspective, y down, unit "norm"; 2-D ones stay as they are, so that both kinds go into one model of 2-D poses.
        streams: features of each joint, concatenated along C; "score" is one channel, the last, of how certain a pose estimator was
            of the joint (0..1; 1 for what was observed where nobody says).
        mirror_views: of several looks at a test sample, an even number, the second half are mirror images of the first.
    """

    layout: str = "ntu25"
    frames: int = 64
    persons: int = 1
    sampling: Literal["resize", "segments", "skip"] = "resize"
    step: int = 3
    phases: tuple[int, ...] = (0,)
    window: int = 0
    stride: int = 0
    center: Literal["root", "first", "none"] = "root"
    scale: bool = False
    align: bool = False
    project: bool = False
    streams: tuple[Stream, ...] = ("joint",)
    mirror_views: bool = False


@dataclass(frozen=True)
class PoseAugment:
    """Random changes of training samples; 0 turns each one off. Angles in degrees, lengths in units of the prepared input.

    Where `input.project` makes 2-D poses of skeletons, `rotate` and `tilt` turn those that have three dimensions before: they are seen
    from another side. The rest happens to 2-D poses, whatever they were.

    Args:
        rotate: largest rotation about the vertical axis; 3-D points only.
        tilt: largest rotation about the two horizontal axes; 3-D points only.
        roll: largest rotation about the line of sight: a pose turned within its picture.
        scale: largest relative change of size (0.1: from 0.9 to 1.1 times).
        shear: largest shear factor.
        limbs: largest share by which each bone becomes shorter, throughout the sample and alike on both sides: estimators and sensors, and
            people, differ in how long legs, arms and necks are beside the torso.
        jitter: standard deviation of noise added to every coordinate.
        crop: smallest share of the clip that a random crop in time keeps (1 keeps all of it).
        warp: largest relative change of speed within the clip.
        mirror: probability of swapping left and right, drawn each time that a sample is read.
        mirror_copies: add a mirrored copy of every training sample to the training part, once and for all.
        mirror_swaps: what is mirrored has its left and right joints exchanged, as a body seen in a mirror; False negates x alone, which
            some published code does: a left hand is then where a right one would be, and still called left.
        swap_sides: probability of reflecting the body across its own middle plane: somebody of the other handedness in the same
            place, turned the same way, where `mirror` turns the whole view; 3-D points only.
        drop_joints: probability with which each joint is masked throughout the sample.
        drop_frames: probability with which each frame is masked.
        hide_legs: probability with which feet, half of the time knees too, are masked throughout the sample: pictures often end above them.
        mixup: alpha of the Beta distribution that two samples and their labels are mixed by.
    """

    rotate: float = 0.0
    tilt: float = 0.0
    roll: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    limbs: float = 0.0
    jitter: float = 0.0
    crop: float = 1.0
    warp: float = 0.0
    mirror: float = 0.0
    mirror_copies: bool = False
    mirror_swaps: bool = True
    swap_sides: float = 0.0
    drop_joints: float = 0.0
    drop_frames: float = 0.0
    hide_legs: float = 0.0
    mixup: float = 0.0
