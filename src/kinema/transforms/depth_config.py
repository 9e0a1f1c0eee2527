"""How depth recordings become the images or videos that a model is given. Typed settings only, no torch: reading a recipe stays fast.

`DepthInput` is deterministic and travels in the bundle; `DepthAugment` is random and belongs to training alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.shape import DepthShape

DepthForm = Literal["motion", "difference", "frame", "video"]
DepthView = Literal["front", "side", "top"]
DepthFeature = Literal["depth", "motion"]


@dataclass(frozen=True)
class DepthInput:
    """Preparation of a depth clip. Every form is cut to the person; values lie in 0..1: 0 is background, 1 the nearest.

    Args:
        form: "motion": the depth motion image of Kamel et al. (2018), depth scaled to 0..255 and 255 - its minimum over time,
            which is how near anything ever came; "difference": the sum of the absolute differences of successive frames, the
            largest 1; "frame": single frames as images, one sample each, whose scores are averaged; "video": frames in order.
        views: projections onto planes, as channels: "front" as the camera saw it, "side" and "top" from the points in space.
        segments: equal parts in time of which "motion" and "difference" make an image each, as channels (views x segments).
        size: height and width in pixels, of at most 96 that are kept of a recording.
        frames: frames T of a "video"; samples cut from each clip for "frame". Each is taken from one of so many equal parts of the
            clip (the centre when testing, anywhere in it when training).
        fit: "stretch" stretches what moves to the whole picture, in either direction by itself, as cropped descriptors are published;
            "square" keeps its proportions, in the square that holds all that is seen in the clip; "metric" keeps people's size too:
            a square of 2.4 m at the middle depth, about the middle of the body; "frame" stretches the whole picture as the camera saw it;
            "skeleton" the box of all joints of the clip, a tenth larger on each side, within the picture (`data.camera` says where joints
            are seen; where there are none the whole picture is shown).
        scale: "clip" spreads the depths of the clip, nearest to farthest, over the values; "metric" gives a millimetre the same
            weight in every clip: 2 m about the middle depth of the body.
        features: channels of a "video" for each view: "depth" and "motion", the change since the frame before (-1..1).
    """

    form: DepthForm = "motion"
    views: tuple[DepthView, ...] = ("front",)
    segments: int = 1
    size: int = 50
    frames: int = 16
    fit: Literal["stretch", "square", "metric", "frame", "skeleton"] = "stretch"
    scale: Literal["clip", "metric"] = "clip"
    features: tuple[DepthFeature, ...] = ("depth",)

    @property
    def shape(self) -> DepthShape:
        """What a model is given."""
        if self.form == "video":
            return DepthShape(len(self.views) * len(self.features), self.size, self.size, self.frames)
        return DepthShape(len(self.views) * (1 if self.form == "frame" else self.segments), self.size, self.size)


@dataclass(frozen=True)
class DepthAugment:
    """Random changes of training samples, the same for all channels and frames of one; 0 turns each one off.

    Args:
        shift: largest move up, down, left and right, as a share of the picture.
        scale: largest relative change of size (0.1: from 0.9 to 1.1 times).
        stretch: largest relative change of width against height.
        rotate: largest rotation within the picture, in degrees.
        distance: largest change of all foreground values together, as if the person stood nearer or farther.
        noise: standard deviation of noise added to every foreground value.
        erase: probability of setting a rectangle of the picture, 2 to 20 % of its area, to background, in all frames.
        crop: smallest share of the clip that a random crop in time keeps (1 keeps all of it).
        warp: largest relative change of speed within the clip; "frame" and "video" only.
        mirror: probability of exchanging left and right. Never for classes that differ by them, as swipes left and right do.
    """

    shift: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    rotate: float = 0.0
    distance: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    crop: float = 1.0
    warp: float = 0.0
    mirror: float = 0.0
