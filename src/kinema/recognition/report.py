"""Answers as text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kinema.recognition.prediction import Prediction
from kinema.recognition.timeline import Timeline


def predictions_text(predictions: Sequence[Prediction], top: int = 5) -> str:
    """Each recording with its `top` most probable labels, and, of videos and where it was cut into windows, what was seen when."""
    files = Counter(prediction.source for prediction in predictions)
    return "\n\n".join(_text(prediction, top, files[prediction.source] == 1) for prediction in predictions)


def _text(prediction: Prediction, top: int, alone: bool) -> str:
    """`alone`: no other recording comes from the same file, so that the file's name says which one it is."""
    truth = "" if prediction.truth is None else f" (true: {prediction.true_label})"
    name = prediction.source or prediction.clip_id
    lines = [f"{name}{truth}" if alone or prediction.source is None else f"{name}, {prediction.clip_id}{truth}"]
    if not prediction.known:
        return f"{lines[0]}\n  nothing known: {prediction.reason}"
    best = prediction.top(top)
    width = max((len(label) for label, _ in best), default=0)
    lines += [f"  {label:<{width}}  {100 * probability:5.1f} %" for label, probability in best]
    lines += [f"  {prediction.notes}"] if prediction.notes else []
    if prediction.windows or prediction.seconds:
        lines += [f"  {start:6.1f} to {end:6.1f} s  {label}" for start, end, label, _ in Timeline.of(prediction).spans()]
    return "\n".join(lines)
