"""One clip's skeletons as `PoseInput` wants them, before they are cut: checked settings, layout, unit, axes and persons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from kinema.clip import Clip, PoseSequence
from kinema.errors import DataError, LayoutError, RecipeError, unknown
from kinema.layout import get_layout
from kinema.transforms import pose
from kinema.transforms.config import SCORE, STREAMS, PoseInput


def check_input(input: PoseInput) -> None:
    """`RecipeError` for settings that cannot be."""
    for name, least in (("frames", 1), ("persons", 1), ("step", 1), ("window", 0), ("stride", 0)):
        if getattr(input, name) < least:
            raise RecipeError(f"input.{name} is {getattr(input, name)}; at least {least} is expected")
    if input.window == 1:
        raise RecipeError("input.window is 1; 0 (the whole clip) or at least 2 is expected")
    for name, known in (("sampling", ("resize", "segments", "skip")), ("center", ("root", "first", "none"))):
        if getattr(input, name) not in known:
            raise RecipeError(unknown(f"input.{name}", getattr(input, name), known))
    if not set(input.streams) - {SCORE}:
        held = "holds the score alone" if input.streams else "is empty"
        raise RecipeError(f"input.streams {held}; some of {', '.join(STREAMS)} are expected")
    for stream in input.streams:
        if stream not in (*STREAMS, SCORE):
            raise RecipeError(unknown("stream", stream, (*STREAMS, SCORE)))
    if input.project and input.align:
        raise RecipeError("input.align turns 3-D bodies to the front, which 2-D poses cannot follow; with input.project it is false")
    if input.sampling == "skip" and (not input.phases or min(input.phases) < 0):
        raise RecipeError(f"input.phases is {list(input.phases)}; first frames, 0 or later, are expected")


def canonical(clip: Clip, input: PoseInput, like: PoseSequence | None) -> PoseSequence:
    """The clip's pose in the layout, unit and axes of all, checked against the clips before it; at most `persons` persons."""
    sequence = clip.pose
    if sequence.frames < 2:
        raise DataError(f"clip {clip.id!r} has 1 frame; at least 2 are needed", clip.source)
    try:
        sequence = sequence.to_layout(input.layout)
    except LayoutError as error:
        raise LayoutError(f"clip {clip.id!r}: {error}") from error
    if sequence.unit == "mm":
        sequence = sequence.to_unit("m")
    if input.project and sequence.dims == 3:
        sequence = replace(sequence, unit="norm")
    elif like is not None and sequence.dims != like.dims and not input.project:
        raise DataError(f"clip {clip.id!r} has {sequence.dims}-D points; the clips before it have {like.dims}-D points", clip.source)
    if like is not None and sequence.unit != like.unit and not input.scale:
        raise DataError(
            f"clip {clip.id!r} is in {sequence.unit}, the clips before it in {like.unit}; input.scale would make them alike", clip.source
        )
    if input.align and sequence.dims != 3:
        raise DataError(f"clip {clip.id!r} has 2-D points; input.align needs 3-D points", clip.source)
    if sequence.score is not None and (SCORE in input.streams or sequence.dims == 2):
        # A joint with score 0 was not found in the image: wherever it was put, it is no position.
        found = sequence.observed & (sequence.score > 0)
        if not found.any():
            raise DataError(f"clip {clip.id!r}: the scores of all joints are 0: nobody was found", clip.source)
        sequence = replace(sequence, mask=found)
    seen = sequence.observed.any((1, 2))
    if not seen.any():
        raise DataError(f"clip {clip.id!r}: no joint is observed in any frame", clip.source)
    people = np.flatnonzero(seen)
    if len(people) > input.persons:
        people = np.sort(people[np.argsort(-_movement(sequence)[people], kind="stable")[: input.persons]])
    return sequence.select_persons(people) if len(people) < sequence.persons else sequence


def _movement(sequence: PoseSequence) -> np.ndarray:
    """(M,): spread of the joints about their mean place; frames without a joint count as none, so a passing ghost ranks low."""
    seen = sequence.observed[..., None]
    mean = sequence.points.sum(1, keepdims=True) / np.maximum(seen.sum(1, keepdims=True), 1)
    return ((sequence.points - mean) ** 2 * seen).sum((1, 2, 3)) / sequence.frames


def axes(sequence: PoseSequence) -> np.ndarray:
    """(C,) signs that bring the points to y up (3-D) or y down (2-D).

    In 3-D x turns with y, a half turn about the line of sight: negating y alone would make left hands of right ones.
    An image has its left and right whichever way its rows are counted.
    """
    if sequence.dims == 3:
        return np.array([1, 1, 1] if sequence.y_axis == "up" else [-1, -1, 1], np.float32)
    return np.array([1, 1] if sequence.y_axis == "down" else [1, -1], np.float32)


def torso_of(sequence: PoseSequence, part: slice, input: PoseInput) -> float:
    """Its median length in these frames, in the picture where the skeletons are projected; NaN where no frame has one."""
    mask = None if sequence.mask is None else torch.from_numpy(np.array(sequence.mask[None, :, part]))
    points = np.array(sequence.points[None, :, part, :, :2] if input.project else sequence.points[None, :, part])
    return float(pose.torso_length(torch.from_numpy(points), mask, get_layout(input.layout)))
