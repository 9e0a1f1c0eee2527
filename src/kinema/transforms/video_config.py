"""How videos become what a model is given. Typed settings only, no torch: reading a recipe stays fast.

`VideoInput` is deterministic and travels in the bundle; `VideoAugment` is random and belongs to training alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.shape import VideoShape

VideoSampling = Literal["segments", "dense", "first", "every"]
VideoFit = Literal["crop", "stretch"]
VideoCrop = Literal["", "skeleton"]
CropOf = Literal["clip", "person", "moving"]
Colours = Literal["rgb", "grey"]
Scale = Literal["unit", "signed", "imagenet", "kinetics"]


@dataclass(frozen=True)
class VideoInput:
    """Preparation of a video.

    Args:
        frames: frames T of a sample.
        test_frames: frames of a sample when validating and testing; 0: as many as in training.
        sampling: "segments" takes a frame of each of T equal parts of the clip (the centre when testing), a clip of fewer frames
            repeats some; "dense" takes T frames, each `step` after the last, somewhere in the clip (in its middle when testing);
            "first" the first T; "every" each `step`-th from the first on. A clip that is too short for the last three repeats its
            last frame.
        step: frames from one to the next, for "dense" and "every".
        height, width: pixels that a model is given.
        crop: what of the pictures is looked at, before anything else: "" all of them; "skeleton" the box round the joints of the people,
            within the border (Davoodikakhki, Yin, 2020, section 3.1). Joints are those of the clips in pixels of the video, or of
            `data.camera` or `data.pose`; where there is nobody the whole picture is looked at.
        crop_margin: by which the box grows on each of its four sides, as a share of its own.
        crop_of: "clip", the box of all joints of all people in all frames; "person", of the one who is largest and seen for longest;
            "moving", a box that goes along with the people, as large as the largest of all frames.
        fit: "crop" makes the shorter side `short` long and cuts out the middle (a random place in training, see `VideoAugment`);
            "stretch" stretches the whole picture; with `short` to one whose shorter side is that long, of which the middle is cut out.
        short: length of the shorter side before cutting; 0: as long as the picture needs to cover height and width.
        places: of the cut, over which test-time views go: 1, the middle alone; 3, also both ends of the longer side.
        colours: "rgb", three channels, or "grey", one.
        scale: of the values: "unit" 0..1; "signed" -1..1; "imagenet" as networks trained on ImageNet take them (its mean and deviation);
            "kinetics" mean .45 and deviation .225, as PySlowFast's networks do.
    """

    frames: int = 16
    test_frames: int = 0
    sampling: VideoSampling = "segments"
    step: int = 1
    height: int = 112
    width: int = 112
    crop: VideoCrop = ""
    crop_margin: float = 0.1
    crop_of: CropOf = "clip"
    fit: VideoFit = "crop"
    short: int = 0
    places: int = 1
    colours: Colours = "rgb"
    scale: Scale = "imagenet"

    @property
    def shape(self) -> VideoShape:
        """What a model is given in training; T may differ when testing."""
        return VideoShape(3 if self.colours == "rgb" else 1, self.frames, self.height, self.width)


@dataclass(frozen=True)
class VideoAugment:
    """Random changes of training samples, the same for all frames of one; 0 turns each one off.

    Args:
        offset: where in its part of the clip a frame is taken, for "segments": "each" draws it for each frame, "shared" once for all.
        place: of the cut: "centre"; "random"; "corners", one of five places (four corners and the centre), its sides each 1, .875,
            .75 or .66 of the largest that fits, at most one step apart, as for two-stream networks (Wang et al., 2015); "area", a
            rectangle of `area` of the picture, up to 4/3 times as wide or high as the model's, as for Inception.
        area: smallest and largest share of the picture, for place "area".
        mirror: probability of exchanging left and right. Never for classes that differ by them.
        brightness, contrast, saturation: largest relative change of each.
        hue: largest turn of the colour circle, as a share of it (up to .5); brightness stays what it is.
        crop: smallest share of the clip that a random crop in time keeps (1 keeps all of it).
        cutmix: alpha of the Beta distribution that draws how much of a picture another clip's takes the place of, with as much of its
            label; for models of videos alone.
    """

    offset: Literal["each", "shared"] = "each"
    place: Literal["centre", "random", "corners", "area"] = "centre"
    area: tuple[float, ...] = (0.5, 1.0)
    mirror: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    crop: float = 1.0
    cutmix: float = 0.0
