"""Published weights as a bundle, so that a recipe can start from them: `init: {bundle: FILE}`. Every tensor is accounted for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema import bundle as bundles
from kinema.bundle import Bundle
from kinema.errors import DataError, RecipeError, unknown
from kinema.layout import get_layout
from kinema.training.imagenet import ARCHITECTURES, ImageNetWeights, read_imagenet
from kinema.training.recipe import InitConfig
from kinema.transforms.config import PoseInput, channels_of
from kinema.transforms.video_config import Scale, VideoInput

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Form:
    """A published kind of checkpoint.

    Args:
        model: registered name of the model that it belongs to.
        read: state dict under our names, from the file and the name of a joint layout.
        input: how its authors prepare skeletons, as near as bundles can say it.
        config: settings of the model.
        notes: what whoever uses the bundle should know.
        dims: coordinates of a point.
        bundle: further settings of the bundle, such as its unit.
        video: how its authors prepare videos, for a model of them; `input` then says nothing.
    """

    model: str
    read: Callable[[str | Path, str], Mapping[str, Tensor]]
    input: PoseInput
    config: dict[str, Any]
    notes: str
    dims: int = 3
    bundle: dict[str, Any] = field(default_factory=dict)
    video: VideoInput | None = None


def _efficientgcn(path: str | Path, layout: str) -> Mapping[str, Tensor]:
    from kinema.models.efficientgcn import load_published

    return load_published(path, layout)


def _poseconv3d(path: str | Path, layout: str) -> Mapping[str, Tensor]:
    from kinema.models.poseconv3d import load_published

    return load_published(path)


def _heatmap_form(model: str, heatmap: str) -> Form:
    # Their test: ten samplings of the clip and the mirror image of each, maps of 64 pixels.
    return Form(
        model,
        _poseconv3d,
        PoseInput("coco17", 48, 2, "segments", center="none", streams=("joint", "score"), mirror_views=True),
        {"heatmap": heatmap, "test_size": 64},
        "Published weights of PoseConv3D (Duan et al., CVPR 2022). Takes 2-D key points and their scores, in pixels or any other unit.",
        2,
        {"unit": "px", "views": 20},
    )


def _resnet3d(path: str | Path, layout: str) -> Mapping[str, Tensor]:
    from kinema.models.resnet3d import load_published

    return load_published(path)


def _video_form(frames: int, step: int, scale: Scale, network: str, config: dict[str, Any]) -> Form:
    # Their test: ten parts of the clip, each cut out at three places.
    video = VideoInput(frames, sampling="dense", step=step, height=256, width=256, short=256, places=3, scale=scale)
    return Form(
        "resnet3d",
        _resnet3d,
        PoseInput(),
        {"depth": 50, "ends": "zeros", **config},
        f"Published weights of {network}. Takes videos, {frames} frames, every {step}th.",
        bundle={"views": 30},
        video=video,
    )


_I3D = {"time_kernels": (5, 3, 3, 3, 3), "alternate": True}
_SLOW = {"time_kernels": (1, 1, 1, 3, 3), "time_strides": (1,) * 5}

FORMS = {
    "efficientgcn-b0": Form(
        "efficientgcn-b0",
        _efficientgcn,
        # The authors' clips are as long as they are, up to 288 frames, and zeros after their end. 96 frames of any clip are near
        # the median of NTU RGB+D; the network itself adds the zeros.
        PoseInput(layout="ntu25", frames=96, persons=2, sampling="resize", center="none"),
        {},
        "Published weights of EfficientGCN-B0 (Song et al., TPAMI 2022), for fine-tuning. Takes joints in metres as a camera sees them.",
    ),
    **{
        name + ("-limb" if heatmap == "limbs" else ""): _heatmap_form(name, heatmap)
        for name in ("poseconv3d", "poseconv3d-c3d", "poseconv3d-x3d")
        for heatmap in ("joints", "limbs")
    },
    "i3d-r50": _video_form(32, 2, "imagenet", "MMAction2's I3D-R50", {**_I3D, "time_strides": (2, 1, 1, 1, 1), "time_pools": (2, 2)}),
    "slowonly-r50": _video_form(8, 8, "imagenet", "MMAction2's SlowOnly-R50", _SLOW),
    "i3d-r50-pyslowfast": _video_form(8, 8, "kinetics", "PySlowFast's I3D-R50", {**_I3D, "time_strides": (1,) * 5, "time_pools": (1, 2)}),
    "slowonly-r50-pyslowfast": _video_form(8, 8, "kinetics", "PySlowFast's Slow-R50", _SLOW),
}


@dataclass(frozen=True)
class Imported:
    """The bundle that was written, where, and the shapes of its tensors."""

    bundle: Bundle
    path: Path

    def to_dict(self) -> dict[str, Any]:
        return {
            "bundle": str(self.path),
            "hash": self.bundle.hash,
            "model": self.bundle.model,
            **({"layout": self.bundle.input.layout} if self.bundle.channels else {}),
            "classes": len(self.bundle.classes),
            "tensors": {name: list(value.shape) for name, value in self.bundle.state.items()},
        }

    def text(self) -> str:
        numbers = sum(value.numel() for value in self.bundle.state.values())
        layout = f" for {self.bundle.input.layout}" if self.bundle.channels else ""
        lines = [f"{len(self.bundle.state)} tensors, {numbers:,} numbers: every one of {self.bundle.model}{layout}"]
        return "\n".join([*lines, f"bundle {self.path} ({self.bundle.hash[:16]}), {len(self.bundle.classes)} classes"])


def import_checkpoint(
    checkpoint: str | Path, out: str | Path, *, arch: str = "efficientgcn-b0", labels: str | Path | None = None, layout: str | None = None
) -> Imported:
    """Write a file of published weights as a bundle.

    `labels`: text file with a class name a line, or "ntu60" (the default of skeletons) or "ntu120"; classes of videos are numbered where
    nothing is given, as for Kinetics-400, whose names are not ours to hand out. `layout`: joint layout that the bundle shall work in;
    weights of joints go by name, see `kinema.models.efficientgcn.load_published`; those of heatmaps go by number, so that another layout
    needs as many joints or limbs as they have. Default: the authors'.

    Raises `DataError` for a file that holds something else, or tensors that the model lacks or that it needs and the file
    lacks; `RecipeError` for an unknown `arch`; `LayoutError`; `KinemaError` where `out` cannot be written.
    """
    bundle = published(checkpoint, Path(out).stem, arch=arch, labels=labels, layout=layout)
    return Imported(bundle, bundles.save(bundle, out))


def published(
    checkpoint: str | Path, name: str, *, arch: str = "efficientgcn-b0", labels: str | Path | None = None, layout: str | None = None
) -> Bundle:
    """The bundle of that name, not written; arguments and errors as for `import_checkpoint`."""
    if arch in ARCHITECTURES:
        raise RecipeError(f"arch: weights of {arch} are a part of models here; start from them with init: {{bundle: FILE, arch: {arch}}}")
    if arch not in FORMS:
        raise RecipeError(unknown("architecture", arch, (*FORMS, *ARCHITECTURES)))
    form = FORMS[arch]
    input = form.input if layout is None else replace(form.input, layout=get_layout(layout).name)
    if layout is not None and form.video is not None:
        raise RecipeError(f"layout: weights of {arch} are of videos; they have no joints")
    state = form.read(checkpoint, input.layout)
    bundle = Bundle(
        name=name,
        model=form.model,
        config=form.config,
        classes=_numbered(state) if form.video is not None and labels is None else _classes(labels),
        input=input,
        channels=0 if form.video is not None else channels_of(input.streams, form.dims),
        video=form.video,
        state=state,
        recipe={"imported": {"file": Path(checkpoint).name, "arch": arch}},
        notes=form.notes,
        **form.bundle,
    )
    _check(bundle, checkpoint)
    return bundle


def start_bundle(init: InitConfig, layout: str | None = None) -> Bundle | ImageNetWeights:
    """The bundle that training starts from, `init.bundle`; published weights are made one in the recipe's joint layout.

    Raises `BundleError`, and for published weights the errors of `import_checkpoint` and `read_imagenet`.
    """
    source = os.path.expandvars(init.bundle or "")
    if unset := re.search(r"\$\{?(\w+)", source):
        raise RecipeError(f"init.bundle: {init.bundle} needs the environment variable {unset[1]}, which is not set")
    if init.arch is None:
        return bundles.load(source)
    if init.arch in ARCHITECTURES:
        return read_imagenet(source, init.arch)
    return published(source, Path(source).stem, arch=init.arch, layout=layout)


def _numbered(state: Mapping[str, Tensor]) -> Sequence[str]:
    return [f"class {number}" for number in range(len(state["network.fc.weight"]))]


def _classes(labels: str | Path | None) -> Sequence[str]:
    from kinema.datasets.ntu import CLASSES_60, CLASSES_120

    known = {"ntu60": CLASSES_60, "ntu120": CLASSES_120}
    if labels is None or str(labels) in known:
        return known[str(labels or "ntu60")]
    try:
        lines = Path(labels).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"labels: {error}; ntu60, ntu120 or a text file with a class name a line is expected") from error
    return tuple(line.strip() for line in lines if line.strip())


def _check(bundle: Bundle, checkpoint: str | Path) -> None:
    """Every tensor of the model is in the file and the other way round, in the right shape."""
    from kinema.models.registry import create_model

    wanted = create_model(bundle.model, len(bundle.classes), bundle.shape, **bundle.config).state_dict()
    for name in sorted(wanted.keys() | bundle.state.keys()):
        here, there = wanted.get(name), bundle.state.get(name)
        if here is None or there is None or here.shape != there.shape:
            forms = ["nothing" if tensor is None else "x".join(map(str, tensor.shape)) or "scalar" for tensor in (there, here)]
            raise DataError(f"{name} is {forms[0]}; {bundle.model} with {len(bundle.classes)} classes needs {forms[1]}", checkpoint)
