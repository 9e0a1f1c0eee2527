"""`kinema serve`: the web application behind a port."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.capture.newest import Capture
from kinema.errors import KinemaError
from kinema.serving.run_live import chosen_source, recorded

_START_SECONDS = 20.0


class WebServer:
    """A running server; a context manager that stops it. `port` 0 takes a free one, which `port` then tells.

    Args:
        application: a `WebApplication`.
        certificate, key: files of TLS; browsers give a camera only to pages that come over https, or from their own machine.

    Raises `KinemaError` where the port cannot be had or a file of TLS is missing.
    """

    def __init__(
        self,
        application: Any,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
    ):
        try:
            import uvicorn
        except ImportError as error:
            raise KinemaError('the web page needs FastAPI and uvicorn: pip install "kinema[serve]"') from error
        self.application, self.host = application, host
        for file in (certificate, key):
            if file is not None and not Path(file).is_file():
                raise KinemaError(f"{file}: there is no such file; a certificate and its key (PEM) are expected")
        if (certificate is None) != (key is None):
            raise KinemaError("a certificate comes with its key; one of the two is missing")
        self.scheme = "https" if certificate else "http"
        self._socket = _listen(host, port)
        self.port = self._socket.getsockname()[1]
        limits = application.limits
        settings = {"ws_max_size": limits.message, "ws_per_message_deflate": False, "ws_ping_interval": 20.0, "ws_ping_timeout": 20.0}
        settings |= {"log_level": "warning", "access_log": False, "server_header": False, "timeout_graceful_shutdown": 3}
        settings |= {"ssl_certfile": certificate, "ssl_keyfile": key, "lifespan": "off", "limit_concurrency": 8 * limits.clients}
        self._server = uvicorn.Server(uvicorn.Config(application.app, **settings))
        application.clients.abort = self._abort
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def run(self) -> None:
        """Serve until Ctrl-C, in the main thread."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def __enter__(self) -> WebServer:
        """Serve in a thread."""
        self._thread = threading.Thread(target=self.run, name="web server", daemon=True)
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        if not self._server.started:
            raise KinemaError(f"{self.address}: the server has not started")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def _abort(self, client: Any) -> None:
        """Cut the connection of a client that takes nothing: a farewell would wait for ever behind what it has not read."""
        for connection in list(self._server.server_state.connections):
            if client is not None and getattr(connection, "client", None) == tuple(client):
                connection.transport.abort()


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise KinemaError(f"port is {port}; a number in 0..65535 is expected")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise KinemaError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


@dataclass(frozen=True)
class WebOptions:
    """Where the page is served and to whom; see `kinema serve`."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    certificate: str | None = None
    key: str | None = None
    events: str | None = None
    rules: str | None = None
    max_clients: int = 16
    upload_megabytes: int = 200


def serve_web(
    options: WebOptions,
    camera: str | None = None,
    stream: str | None = None,
    *,
    show: Callable[[str], None] = print,
    **models: Any,
) -> None:
    """Serve the page until Ctrl-C and say where it is. `models`: as of `Models.load`.

    Raises `KinemaError` where others could reach it without a token, before anything is loaded.
    """
    from kinema.serving.access import Access
    from kinema.serving.following import Models
    from kinema.serving.messages import Limits
    from kinema.serving.web import WebApplication

    token = options.token or os.environ.get("KINEMA_TOKEN") or None
    access = Access(options.host, token)
    for name, value in (("max_clients", options.max_clients), ("upload_megabytes", options.upload_megabytes)):
        if not 0 < value <= 10_000:
            raise KinemaError(f"{name} is {value}; a number in 1..10000 is expected")
    source = chosen_source(stream, camera) if camera or stream else None
    if source is None and (options.events or options.rules):
        raise KinemaError("events and rules are for the server's own stream; --camera or --stream names it")
    loaded = Models.load(**models)
    with contextlib.ExitStack() as held:
        heard = held.enter_context(recorded(loaded, source, options.events, options.rules)) if source else ()
        capture = Capture(source) if source else None
        limits = Limits(clients=options.max_clients, film=options.upload_megabytes << 20)
        application = WebApplication(loaded, access, capture=capture, limits=limits, listeners=heard)
        held.callback(application.close)
        server = WebServer(application, options.host, options.port, certificate=options.certificate, key=options.key)
        application.start()
        show(f"Kinema: {server.address}/{'?token=' + token if token else ''}   (Ctrl-C ends it)")
        if server.scheme == "http" and token:
            show("Over http, browsers give their camera to pages of their own machine alone; --certificate and --key make it https.")
        server.run()
