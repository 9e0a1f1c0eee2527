"""How fast a stream is followed: pictures a second, how late the answers are, and where the time goes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

_HELD = 3000


class Timing:
    """Of the last 3000 pictures; safe for several threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._rows: deque[tuple[float, float, dict[str, float]]] = deque(maxlen=_HELD)
        self.frames = 0

    def add(self, latency: float, seconds: Mapping[str, float], done: float | None = None) -> None:
        """A picture is answered: seconds from its arrival to its answer, and those of each stage."""
        with self._lock:
            self._rows.append((time.monotonic() if done is None else done, latency, dict(seconds)))
            self.frames += 1

    def summary(self, last: int | None = None) -> dict[str, Any]:
        """`frames` in all; of those held, or the `last` ones of them: `fps`, `latency_ms` (median, p95), `stages_ms` (mean) and
        `shares` of the stages in the latency. All but `frames` are None or empty where too few have come."""
        with self._lock:
            rows = list(self._rows)[-(last or _HELD) :]
        found: dict[str, Any] = {"frames": self.frames, "fps": None, "latency_ms": None, "stages_ms": {}, "shares": {}}
        if len(rows) < 2:
            return found
        span = rows[-1][0] - rows[0][0]
        late = 1e3 * np.array([latency for _, latency, _ in rows])
        found["fps"] = (len(rows) - 1) / span if span > 0 else None
        found["latency_ms"] = {"median": float(np.median(late)), "p95": float(np.percentile(late, 95))}
        stages = dict.fromkeys(stage for *_, seconds in rows for stage in seconds)
        means = {stage: 1e3 * float(np.mean([seconds.get(stage, 0.0) for *_, seconds in rows])) for stage in stages}
        found["stages_ms"] = means
        found["shares"] = {stage: mean / max(late.mean(), 1e-9) for stage, mean in means.items()}
        return found


def summary_text(summary: Mapping[str, Any]) -> str:
    """In one line."""
    pictures = "1 picture" if summary["frames"] == 1 else f"{summary['frames']} pictures"
    if summary["latency_ms"] is None:
        return pictures
    late, rate = summary["latency_ms"], summary["fps"] or 0.0
    shares = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in summary["shares"].items() if share >= 0.005)
    return (
        f"{summary['frames']} pictures, {rate:.1f} a second; answers after {late['median']:.0f} ms (95 %: {late['p95']:.0f} ms): {shares}"
    )
