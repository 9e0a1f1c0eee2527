"""Answers as text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kinema.recognition.prediction import Prediction
from kinema.recognition.timeline import Timeline

_SURE = 0.5  # a class below it is not worth naming by itself, where there are superclasses


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
    lines += _superclasses(prediction)
    lines += [f"  {prediction.notes}"] if prediction.notes else []
    if prediction.windows or prediction.seconds:
        lines += [f"  {start:6.1f} to {end:6.1f} s  {label}" for start, end, label, _ in Timeline.of(prediction).spans()]
    return "\n".join(lines)


def _superclasses(prediction: Prediction) -> list[str]:
    """The superclass of each level, and, where the class is unsure, the narrowest answer that is not."""
    levels = [level[0] for level in prediction.superclasses(1)]
    lines = [f"  {'superclasses' if i == 0 else '':<12}  {name}, {100 * p:.1f} %" for i, (name, p) in enumerate(levels)]
    if levels and prediction.probability < _SURE:
        surest = prediction.surest(_SURE)
        lines.append(f"  unsure which action it is; {f'sure of: {surest[0]}' if surest else 'of no superclass either'}")
    return lines
