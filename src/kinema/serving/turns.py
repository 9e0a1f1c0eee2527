"""One model, many streams: each has at most one picture under way, and they take turns."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kinema.recognition.live import ActionEvent
from kinema.serving.following import Follower, Models, Step


class Turns:
    """A thread in which all models run. Who has asked is answered in the order of asking; since nobody asks again before he is answered,
    the row is never longer than there are streams, and everybody gets as much as the others."""

    def __init__(self, models: Models):
        self.models = models
        self._thread = ThreadPoolExecutor(1, "models")

    def follower(self, source: str) -> TurnTaker:
        """For one more stream."""
        return TurnTaker(self, self.models.follower(source))

    def submit(self, work, *arguments):
        return self._thread.submit(work, *arguments)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class TurnTaker(Follower):
    """A follower whose steps are done in the models' thread. Its caller waits; `step_async` waits without holding up anybody.

    A step's `seconds` have one entry more, "turn": how long the others' pictures were worked on before.
    """

    def __init__(self, turns: Turns, follower: Follower):
        super().__init__(follower.tracker, follower.recognizer)
        self._turns, self._follower = turns, follower

    def step(self, time: float, image: np.ndarray) -> Step:
        return self._submit(time, image).result()

    async def step_async(self, time: float, image: np.ndarray) -> Step:
        return await asyncio.wrap_future(self._submit(time, image))

    def finish(self) -> tuple[ActionEvent, ...]:
        return self._turns.submit(self._follower.finish).result()

    async def finish_async(self) -> tuple[ActionEvent, ...]:
        return await asyncio.wrap_future(self._turns.submit(self._follower.finish))

    def _submit(self, moment: float, image: np.ndarray):
        asked = time.perf_counter()

        def work() -> Step:
            waited = time.perf_counter() - asked
            step = self._follower.step(moment, image)
            step.seconds["turn"] = waited
            return step

        return self._turns.submit(work)
