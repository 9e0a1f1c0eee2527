"""The web application behind a free port, with stand-ins for its models, and clients that connect to it."""

from __future__ import annotations

import json
from contextlib import contextmanager

import httpx
from make_live import swaying_models
from make_streams import jpeg
from make_videos import picture
from websockets.sync.client import connect

from kinema.serving.access import Access
from kinema.serving.messages import HEAD, Limits
from kinema.serving.run_web import WebServer
from kinema.serving.web import WebApplication

IMAGE = jpeg(picture(0, 120, 160))
_PATIENCE = 60  # seconds: the machine may be busy


def message(seconds, image=IMAGE):
    return HEAD.pack(seconds) + image


class Talk:
    """A WebSocket to the server."""

    def __init__(self, socket):
        self.socket = socket

    def send(self, data):
        self.socket.send(data)

    def hear(self):
        """The next message: words as the object that they say, or bytes."""
        data = self.socket.recv(_PATIENCE)
        return data if isinstance(data, bytes) else json.loads(data)

    def ask(self, seconds, image=IMAGE):
        """The answer to a picture."""
        self.send(message(seconds, image))
        return self.hear()


class Running:
    """A server that runs within a `with` block. Its HTTP client takes requests as httpx does, with paths alone."""

    def __init__(self, *, models=None, host="127.0.0.1", token=None, capture=None, **limits):
        self.application = WebApplication(models or swaying_models(), Access(host, token), capture=capture, limits=Limits(**limits))
        self.server = WebServer(self.application, port=0)
        self.http = httpx.Client(base_url=self.server.address, timeout=_PATIENCE)

    def __enter__(self):
        self.application.start()
        self.server.__enter__()
        return self

    def __exit__(self, *_):
        self.http.close()
        self.server.__exit__()
        self.application.close()

    def get(self, path, **more):
        return self.http.get(path, **more)

    def post(self, path, **more):
        return self.http.post(path, **more)

    @contextmanager
    def connect(self, path="/api/live", **headers):
        address = f"ws://127.0.0.1:{self.server.port}{path}"
        with connect(address, open_timeout=_PATIENCE, additional_headers=headers, max_size=None) as socket:
            yield Talk(socket)
