"""A stream of the server's own, such as a camera on a robot, for all who watch: everybody gets the newest picture that he can take."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kinema.capture.newest import Capture, State
from kinema.errors import KinemaError
from kinema.recognition.live import ActionEvent
from kinema.serving.clients import Clients
from kinema.serving.live import Background, Engine, Listener, Moment
from kinema.serving.messages import answer_message, hello
from kinema.serving.turns import Turns

if TYPE_CHECKING:
    from fastapi import WebSocket

_LONGEST, _QUALITY, _EVENTS_KEPT = 960, 75, 100
_HEAD = struct.Struct("<I")  # length of the JSON that comes before the JPEG


class Viewer:
    """One who watches: the newest message that is for him, and the events since."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop, self._came = loop, asyncio.Event()
        self._newest: bytes | None = None
        self._words: deque[dict[str, Any]] = deque(maxlen=_EVENTS_KEPT)

    def put(self, message: bytes | dict[str, Any]) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._put, message)

    def _put(self, message: bytes | dict[str, Any]) -> None:
        if isinstance(message, bytes):
            self._newest = message
        else:
            self._words.append(message)
        self._came.set()

    async def messages(self):
        while True:
            await self._came.wait()
            self._came.clear()
            while self._words:
                yield self._words.popleft()
            if self._newest is not None:
                message, self._newest = self._newest, None
                yield message


class Broadcast(Listener):
    """Follows one capture for as long as the server runs. Pictures are encoded once for all, and only while somebody watches."""

    def __init__(self, capture: Capture, turns: Turns, listeners: Sequence[Listener] = ()):
        self.capture, self.name = capture, capture.source.name
        self._turns, self._viewers, self._lock = turns, set(), threading.Lock()
        self._state: dict[str, Any] = {"type": "source", "state": "opening", "reason": ""}
        self._encoder = Background(self._encode)
        self._recent: deque[dict[str, Any]] = deque(maxlen=_EVENTS_KEPT)
        self.engine = Engine(capture, turns.follower(self.name), [self, self._encoder, *listeners])
        self._thread = threading.Thread(target=self._run, name=f"follows {self.name}", daemon=True)

    def start(self) -> None:
        """`KinemaError` where there is no such source."""
        self.capture.start()
        self._thread.start()

    def stop(self) -> None:
        self.engine.stop()
        self.capture.close()
        if self._thread.is_alive():
            self._thread.join(5)

    async def show(self, socket: WebSocket, clients: Clients) -> None:
        """Show the stream to one client until it hangs up, which is noticed by what it sends."""
        viewer = Viewer(asyncio.get_running_loop())
        models = self._turns.models
        await clients.send(socket, {**hello(models.layout, models.classes, clients.limits), "source": self.name})
        await clients.send(socket, {"type": "recent", "events": list(self._recent)})
        await clients.send(socket, self._state)
        gone = asyncio.create_task(self._hung_up(socket))
        shown = asyncio.create_task(self._pass_on(viewer, socket, clients))
        with self._lock:
            self._viewers.add(viewer)
        try:
            done, _ = await asyncio.wait((gone, shown), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            with self._lock:
                self._viewers.discard(viewer)
            for task in (gone, shown):
                task.cancel()
            await asyncio.gather(gone, shown, return_exceptions=True)

    @staticmethod
    async def _hung_up(socket: WebSocket) -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    @staticmethod
    async def _pass_on(viewer: Viewer, socket: WebSocket, clients: Clients) -> None:
        async for message in viewer.messages():
            await clients.send(socket, message)

    def moment(self, moment: Moment) -> None:
        answer = moment.step.answer
        if answer.closed or answer.opened:
            self._events(answer.closed, answer.opened)

    def ended(self, events: Sequence[ActionEvent]) -> None:
        self._events(events, ())

    def state(self, state: State, reason: str) -> None:
        self._state = {"type": "source", "state": state, "reason": reason}
        self._put(self._state)

    def _events(self, closed: Sequence[ActionEvent], opened: Sequence[ActionEvent]) -> None:
        self._recent.extend(asdict(event) for event in closed)
        self._put({"type": "events", "closed": [asdict(event) for event in closed], "opened": [asdict(event) for event in opened]})

    def _put(self, message: bytes | dict[str, Any]) -> None:
        with self._lock:
            for viewer in self._viewers:
                viewer.put(message)

    def _encode(self, moment: Moment) -> None:
        with self._lock:
            if not self._viewers:
                return
        from PIL import Image

        picture, out = Image.fromarray(moment.frame.image), io.BytesIO()
        if max(picture.size) > _LONGEST:
            picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BILINEAR)
        picture.save(out, "JPEG", quality=_QUALITY)
        spent = {**moment.step.seconds, "total": moment.latency, "draw": time.monotonic() - moment.frame.arrived - moment.latency}
        told = answer_message(moment.step, moment.frame.image, spent, opened=[], closed=[])
        words = json.dumps(told, separators=(",", ":")).encode()
        self._put(_HEAD.pack(len(words)) + words + out.getvalue())

    def _run(self) -> None:
        try:
            self.engine.run()
        except KinemaError as error:
            self.state("ended", str(error))
