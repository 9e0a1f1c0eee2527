"""The recogniser as a component for robots: RoboComp's HumanActivityRecognition over ZeroC Ice (see `activity.ice`)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kinema.bundle import Bundle
from kinema.errors import KinemaError
from kinema.layout import Layout
from kinema.recognition.prediction import Prediction
from kinema.recognition.recognizer import Recognizer
from kinema.recognition.stream import ActivityRecognizer
from kinema.serving._ice import IDENTITY, communicator, endpoint, interface, reason

# However often a client asks, an answer is made anew no more often than this.
_LEAST_SECONDS = 0.05


class TooManyStreams(Exception):
    """The server follows as many clients as it may."""


class _Stream:
    """What one client sends: its recogniser, and when it was last heard of. Calls from several threads wait for each other."""

    def __init__(self, make: Callable[[], ActivityRecognizer]):
        self._recognizer, self._lock = make(), threading.Lock()
        self._arrived, self._asked, self._answer = 0.0, 0.0, None

    def add(self, joints: dict[str, tuple[float, ...]], moment: float) -> bool:
        with self._lock:
            ready = self._recognizer.add_skeleton(joints, moment if moment >= 0 else None)
            self._arrived = time.monotonic()
            return ready

    def activity(self) -> Prediction:
        with self._lock:
            present = time.monotonic()
            if self._answer is not None and self._answer.known and present - self._asked < _LEAST_SECONDS:
                return self._answer
            # On the sender's clock, whose zero is its own, now is the newest skeleton plus the time since it came.
            newest = self._recognizer.newest
            now = None if newest is None else newest + present - self._arrived
            self._answer, self._asked = self._recognizer.current_activity(now), present
            return self._answer

    def reset(self) -> None:
        with self._lock:
            self._recognizer.reset()
            self._answer = None


class Streams:
    """The streams of a server: one for each client, gone when the client is, or one that all share.

    Args:
        make: makes the recogniser of a new stream.
        shared: all clients add to, and ask about, the same person.
        most: clients that are followed at once.
    """

    def __init__(self, make: Callable[[], ActivityRecognizer], shared: bool = False, most: int = 16):
        self._make, self._shared, self._most = make, shared, most
        self._streams: dict[Any, _Stream] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._streams)

    def of(self, client: Any, on_new: Callable[[], None] = lambda: None) -> _Stream:
        """The stream of a client; `on_new` is called where it is a new one. `TooManyStreams` where there are enough."""
        key = None if self._shared else client
        with self._lock:
            if key in self._streams:
                return self._streams[key]
            if len(self._streams) >= self._most:
                raise TooManyStreams(f"{self._most} clients are connected, which is as many as this server takes")
            stream = self._streams[key] = _Stream(self._make)
        on_new()
        return stream

    def drop(self, client: Any) -> None:
        with self._lock:
            self._streams.pop(client, None)


class IceServer:
    """One object behind a port; a context manager that stops it. Raises `KinemaError` where Ice is missing or the port cannot be had."""

    def __init__(self, servant: Any, host: str, port: int):
        ice, _ = interface()
        address = endpoint(host, port)
        pool = {"Ice.ThreadPool.Server.Size": "1", "Ice.ThreadPool.Server.SizeMax": "4", "Ice.ThreadPool.Server.Serialize": "1"}
        self._communicator = communicator(**pool)
        try:
            adapter = self._communicator.createObjectAdapterWithEndpoints("activity", address)
            adapter.add(servant, ice.stringToIdentity(IDENTITY))
            adapter.activate()
            self.host, self.port = host, adapter.getEndpoints()[0].getInfo().port
        except ice.Exception as error:
            self.close()
            raise KinemaError(f"cannot listen on {host} port {port}: {reason(error)}") from error

    def wait(self) -> None:
        """Return when the server is stopped, or at Ctrl-C."""
        self._communicator.waitForShutdown()

    def close(self) -> None:
        self._communicator.destroy()

    def __enter__(self) -> IceServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ActivityServer(IceServer):
    """A running server; a context manager that stops it.

    Args:
        bundle: a recognizer, a bundle, or a bundle's name or path.
        host: address that it listens on; the default is reached from this machine alone.
        port: TCP port; 0 takes a free one, which `port` then tells.
        shared: see `Streams`. Otherwise each connection is one person's stream.
        max_clients: connections that are followed at once.
        stream: further settings of `ActivityRecognizer`: layout, unit, window, max_gap ...

    Messages above 64 KiB close the connection that sent them; a client's calls are done one after the other, in four threads at
    most for all clients; what a client left is forgotten when its connection closes, at the latest a minute after its last call.
    Raises `KinemaError` where Ice is missing or the port cannot be had.
    """

    def __init__(
        self,
        bundle: Recognizer | Bundle | str | Path = "cad60-activities",
        host: str = "127.0.0.1",
        port: int = 10240,
        *,
        shared: bool = False,
        max_clients: int = 16,
        device: str = "cpu",
        **stream: Any,
    ):
        interface()
        recognizer = bundle if isinstance(bundle, Recognizer) else Recognizer(bundle, device)
        ActivityRecognizer(recognizer, **stream)  # impossible settings are found before anybody connects
        self.streams = Streams(lambda: ActivityRecognizer(recognizer, **stream), shared, max_clients)
        super().__init__(_servant(self.streams, recognizer.bundle), host, port)


def serve(
    bundle: str = "cad60-activities",
    host: str = "127.0.0.1",
    port: int = 10240,
    *,
    shared: bool = False,
    max_clients: int = 16,
    layout: str | Layout | None = None,
    unit: str = "m",
    device: str = "cpu",
    show: Callable[[str], None] = print,
) -> None:
    """Run the component until Ctrl-C; see `ActivityServer`."""
    with ActivityServer(bundle, host, port, shared=shared, max_clients=max_clients, layout=layout, unit=unit, device=device) as server:
        show(f"activity recogniser {bundle} at {IDENTITY}:tcp -h {server.host} -p {server.port}")
        try:
            server.wait()
        except KeyboardInterrupt:
            show("stopped")


def _servant(streams: Streams, bundle: Bundle) -> Any:
    """The object that clients call. Its class is made here, since its base exists only once the Slice file is loaded."""
    _, slice_module = interface()

    class Servant(slice_module.HumanActivityRecognition):
        def addSkeleton(self, person, current=None):
            joints = {name: (*(joint.x, joint.y, joint.z)[: bundle.dims], joint.confidence) for name, joint in person.joints.items()}
            return self._do(lambda stream: stream.add(joints, person.time), current)

        def getCurrentActivity(self, current=None):
            return _activity(self._do(_Stream.activity, current))

        def reset(self, current=None):
            self._do(_Stream.reset, current)

        def getLabels(self, current=None):
            return list(bundle.classes)

        def _do(self, what: Callable[[_Stream], Any], current: Any) -> Any:
            connection = current.con
            try:
                # Ice wants a plain function here, no method
                return what(streams.of(connection, lambda: connection.setCloseCallback(lambda gone: streams.drop(gone))))
            except KinemaError as error:
                raise slice_module.RecognitionError(str(error)) from error
            except TooManyStreams as error:
                raise slice_module.TooManyClients(str(error)) from error
            except Exception as error:  # else Ice would send the traceback to whoever has called
                logging.getLogger(__name__).exception("a call has failed")
                raise slice_module.RecognitionError("the server has failed; its log says how") from error

    return Servant()


def _activity(prediction: Prediction) -> Any:
    return activity_of(prediction.label, prediction.probability, prediction.top(5), prediction.reason)


def activity_of(label: str | None, probability: float, top: Sequence[tuple[str, float]], reason: str) -> Any:
    """An answer as it goes to clients; a `reason` where there is no label."""
    _, slice_module = interface()
    best = [slice_module.Score(name, share) for name, share in top]
    return slice_module.Activity(label is not None, label or "", probability, best, reason)
