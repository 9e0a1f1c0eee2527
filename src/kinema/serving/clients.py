"""One browser's camera: pictures in, answers out, over one WebSocket. The newest picture counts, one is worked on at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from kinema.errors import KinemaError
from kinema.serving.messages import Limits, Refused, answer_message, ended_message, hello, read_head, read_picture
from kinema.serving.timing import Timing
from kinema.serving.turns import Turns, TurnTaker

if TYPE_CHECKING:
    from fastapi import WebSocket

logger = logging.getLogger(__name__)
_UNREAD = 4008  # of our own range of codes; a client that does not read never sees it
_MOST_REASONS = 50  # that are counted apart: reasons quote what was sent


class Clients:
    """All who are connected, and those who were dropped, by reason.

    `abort`: cuts the connection of a client (its address) that takes nothing any more, so that not even a farewell reaches it.
    """

    def __init__(self, limits: Limits, abort: Callable[[Any], None] = lambda client: None):
        self.limits, self.abort = limits, abort
        self.connected = 0
        self.dropped: Counter[str] = Counter()

    async def attend(self, socket: WebSocket, talk: Callable[[], Awaitable[None]]) -> None:
        """Accept a client and `talk` with it, to the end or until it must be dropped: the reason is told to it, counted and logged."""
        from fastapi import WebSocketDisconnect

        await socket.accept()
        self.connected += 1
        try:
            if self.connected > self.limits.clients:
                raise Refused(1013, f"{self.limits.clients} are connected, which is as many as this server takes")
            await talk()
        except Refused as error:
            known = error.reason in self.dropped or len(self.dropped) < _MOST_REASONS
            self.dropped[error.reason if known else "other reasons"] += 1
            logger.warning("%s is dropped: %s", _address(socket), error.reason)
            if error.code == _UNREAD:
                self.abort(socket.client)
            else:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(1):
                        await socket.close(error.code, error.reason[:120])
        except WebSocketDisconnect:
            pass
        except RuntimeError as error:  # Starlette's, for a connection that is closed already
            logger.debug("%s: %s", _address(socket), error)
        finally:
            self.connected -= 1

    async def send(self, socket: WebSocket, message: dict[str, Any] | bytes) -> None:
        """`Refused` where it is not taken in time."""
        try:
            async with asyncio.timeout(self.limits.unread):
                if isinstance(message, bytes):
                    await socket.send_bytes(message)
                else:
                    await socket.send_text(json.dumps(message, separators=(",", ":")))
        except TimeoutError as error:
            raise Refused(_UNREAD, f"it has not read for {self.limits.unread:g} s") from error


def _address(socket: WebSocket) -> str:
    return f"{socket.client.host}:{socket.client.port}" if socket.client else "a client"


class LiveClient:
    """Talks with one client: `run` returns when it hangs up and raises `Refused` where it must be dropped."""

    def __init__(self, clients: Clients, socket: WebSocket, turns: Turns, timing: Timing):
        self._clients, self._socket, self._turns, self._timing = clients, socket, turns, timing
        self._limits = clients.limits
        self._newest: tuple[float, float, bytes] | None = None  # seconds, when it came, message
        self._came, self._ends = asyncio.Event(), False
        self._passed_over = 0
        self._last = -1.0

    async def run(self) -> None:
        models = self._turns.models
        await self._clients.send(self._socket, hello(models.layout, models.classes, self._limits))
        follower = self._turns.follower(f"browser {_address(self._socket)}")
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._answer(follower))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):
                await follower.finish_async()

    async def _listen(self) -> None:
        """Keep the newest picture."""
        while True:
            try:
                async with asyncio.timeout(self._limits.silent):
                    message = await self._socket.receive()
            except TimeoutError as error:
                raise Refused(1001, f"nothing was sent for {self._limits.silent:g} s") from error
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                if message.get("text") != "end":
                    raise Refused(1003, 'a message that is no picture; the only word that is taken is "end"')
                self._newest, self._ends, self._last = None, True, -1.0
            else:
                seconds = read_head(data, self._limits)
                if seconds < self._last:
                    raise Refused(1003, f'time runs backwards, from {self._last:g} to {seconds:g} s; a new stream begins after "end"')
                self._passed_over += self._newest is not None
                self._newest, self._last = (seconds, time.monotonic(), data), seconds
            self._came.set()

    async def _answer(self, follower: TurnTaker) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            if self._ends:
                self._ends = False
                await self._clients.send(self._socket, ended_message(await follower.finish_async()))
            if self._newest is None:
                continue
            (seconds, came, data), self._newest = self._newest, None
            began = time.monotonic()
            image = await asyncio.to_thread(read_picture, data, self._limits)
            decoded = time.monotonic()
            try:
                step = await follower.step_async(seconds, image)
            except KinemaError as error:
                raise Refused(1011, str(error)) from error
            done = time.monotonic()
            spent = {"wait": began - came, "decode": decoded - began, **step.seconds}
            self._timing.add(done - came, spent, done)
            answer = answer_message(step, image, {**spent, "total": done - came}, passed_over=self._passed_over)
            await self._clients.send(self._socket, answer)
