"""Small bundles with random weights, and moving skeletons that were never anybody's."""

from __future__ import annotations

import numpy as np
import torch

from kinema.bundle import Bundle
from kinema.clip import PoseSequence
from kinema.layout import get_layout
from kinema.models.registry import create_model
from kinema.transforms.config import PoseInput
from kinema.transforms.video_config import VideoInput

CLASSES = ("drink", "phone", "wave", "walk")


def tiny_bundle(*, layout="cad60", dims=3, unit="m", seed=0, fields=None, **settings) -> Bundle:
    """HCN on 16 frames of 4 classes; `settings` of its `PoseInput`, `fields` of the bundle."""
    prepared = PoseInput(**{"layout": layout, "frames": 16, **settings})
    bundle = Bundle(
        name="tiny",
        model="hcn",
        config={"widths": [8, 16, 8, 8, 16, 16], "hidden": 16},
        classes=CLASSES,
        input=prepared,
        channels=dims * len(prepared.streams),
        state={},
        unit=unit,
        **{"seconds": 1.0, "recipe": {"seed": seed}, "result": {"top1": 0.5, "dataset": "made"}, **(fields or {})},
    )
    torch.manual_seed(seed)
    model = create_model("hcn", len(CLASSES), bundle.shape, **bundle.config)
    values = {field: getattr(bundle, field) for field in bundle.__dataclass_fields__}
    return Bundle(**{**values, "state": model.state_dict()})


def moving_pose(layout="cad60", frames=60, fps=30.0, dims=3, seed=0, size=1.7, **fields) -> PoseSequence:
    """A body of `size` whose joints sway, two and a half metres from the sensor."""
    layout, generator = get_layout(layout), np.random.default_rng(seed)
    rest = generator.uniform(-size / 2, size / 2, (len(layout), dims))
    speed, phase = generator.uniform(1, 5, (len(layout), 1)), generator.uniform(0, 6, (len(layout), dims))
    times = np.arange(frames)[:, None, None] / fps
    points = rest + 0.15 * size * np.sin(speed * times + phase)
    if dims == 3:
        points[..., 2] += 2.5
    return PoseSequence(points[None], layout, fps=fps, **fields)


def tiny_video_bundle(*, seed=0, fields=None, **settings) -> Bundle:
    """A 3-D CNN on 4 frames of 16 x 20 pixels, of the same classes; `settings` of its `VideoInput`, `fields` of the bundle."""
    bundle = Bundle(
        name="tiny-video",
        model="cnn3d",
        config={"channels": [4, 8], "kernels": [3, 3], "hidden": [16]},
        classes=CLASSES,
        input=PoseInput(),
        channels=0,
        state={},
        video=VideoInput(**{"frames": 4, "height": 16, "width": 20, **settings}),
        **{"recipe": {"seed": seed}, "result": {"top1": 0.5, "dataset": "made"}, **(fields or {})},
    )
    torch.manual_seed(seed)
    model = create_model("cnn3d", len(CLASSES), bundle.shape, **bundle.config)
    values = {field: getattr(bundle, field) for field in bundle.__dataclass_fields__}
    return Bundle(**{**values, "state": model.state_dict()})
