"""The web application under clients that flood it or do not read, and what is said where it cannot be served."""

import base64
import os
import socket
import time

import numpy as np
import pytest
from make_live import CAMERA, opener, swaying_models

from kinema.capture.newest import Capture
from kinema.errors import KinemaError
from kinema.serving.access import Access

for needed in ("fastapi", "uvicorn", "websockets", "httpx"):
    pytest.importorskip(needed, reason=f"{needed} is not installed")
from make_server import Running, message  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402

from kinema.serving.run_web import WebOptions, WebServer, serve_web  # noqa: E402
from kinema.serving.web import WebApplication  # noqa: E402


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def test_who_floods_is_answered_about_his_newest_picture_and_slows_nobody_down():
    with Running(models=swaying_models(seconds=0.05)) as server, server.connect() as flood, server.connect() as polite:
        flood.hear(), polite.hear()
        for i in range(60):
            flood.send(message(i / 30))
        turns = [polite.ask(i / 30)["ms"]["turn"] for i in range(4)]
        answers = [flood.hear()]
        while answers[-1]["time"] < 59 / 30:
            answers.append(flood.hear())
        # each is answered or passed over, none waits
        assert len(answers) + answers[-1]["passed_over"] == 60 and answers[-1]["passed_over"] > 0
        # no more than one picture of the other one was before his own
        assert min(turns) < 2.5 * 50


def test_a_message_that_is_too_large_ends_the_connection():
    with Running(message=50_000) as server, server.connect() as client:
        client.hear()
        client.send(b"0" * 60_000)
        with pytest.raises(ConnectionClosed) as ended:
            client.hear()
        assert ended.value.rcvd.code == 1009


def test_who_stops_reading_is_cut_off_and_the_stream_goes_on_for_the_others():
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)

    def life():
        for i in range(100_000):
            yield i * 0.1, noise
            time.sleep(0.01)

    with Running(capture=Capture(CAMERA, opener=opener(life)), unread=0.5) as server:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET /api/watch HTTP/1.1\r\nHost: 127.0.0.1:{server.server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        deaf.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        clients = server.application.clients
        with server.connect("/api/watch") as good:
            assert until(lambda: any("has not read" in reason for reason in clients.dropped) or not good.hear())
            assert until(lambda: clients.connected == 1)
            assert any(isinstance(good.hear(), bytes) for _ in range(5))
        deaf.close()


def test_with_a_certificate_it_is_served_over_https(tmp_path):
    import shutil
    import subprocess

    import httpx

    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    files = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    subprocess.run([*made, "-out", files["certificate"], "-keyout", files["key"]], check=True, capture_output=True)
    application = WebApplication(swaying_models(), Access("127.0.0.1", None))
    try:
        with WebServer(application, port=0, **files) as server:
            assert server.address.startswith("https://")
            assert httpx.get(f"{server.address}/api/status", verify=False, timeout=60).status_code == 200
    finally:
        application.close()


def test_what_cannot_be_served_is_told_in_one_line(tmp_path):
    application = WebApplication(swaying_models(), Access("127.0.0.1", None))
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(KinemaError, match="cannot listen on"):
            WebServer(application, port=taken.getsockname()[1])
        for settings, says in (
            ({"port": 70_000}, r"0\.\.65535"),
            ({"certificate": tmp_path / "no.pem", "key": tmp_path / "no.key"}, "no such file"),
        ):
            with pytest.raises(KinemaError, match=says):
                WebServer(application, **{"port": 0, **settings})
        with pytest.raises(KinemaError, match="--token"):
            serve_web(WebOptions(host="0.0.0.0"))
        with pytest.raises(KinemaError, match="max_clients"):
            serve_web(WebOptions(max_clients=0))
    finally:
        application.close()
