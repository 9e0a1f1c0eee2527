"""Network streams that tests serve for themselves: pictures over HTTP, and MPEG-TS over RTSP, both on the loopback interface."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from make_videos import picture


def jpeg(image: np.ndarray, quality: int = 80) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality)
    return out.getvalue()


def transport_stream(frames: int = 60, rate: int = 15, size: tuple[int, int] = (64, 96)) -> bytes:
    """A film as MPEG-TS packets of 188 bytes."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        (stream.height, stream.width), stream.pix_fmt = size, "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i, *size))))
        container.mux(stream.encode(None))
    return out.getvalue()


class Server:
    """Sends every connection what `talk(socket, going)` says, until it is stopped; it can be started again on its port."""

    def __init__(self, talk):
        self._talk, self.port = talk, 0
        self.start()

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._going, self._open = threading.Event(), []
        self._going.set()
        threading.Thread(target=self._accept, args=(self._listener, self._going, self._open), daemon=True).start()

    def _accept(self, listener, going, connections) -> None:
        while going.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=self._serve, args=(connection, going), daemon=True).start()

    def _serve(self, connection, going) -> None:
        try:
            self._talk(connection, going.is_set)
        except OSError:
            pass
        finally:
            connection.close()

    def stop(self) -> None:
        """As if the camera were unplugged."""
        self._going.clear()
        for each in [self._listener, *self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def served(talk) -> Iterator[Server]:
    server = Server(talk)
    try:
        yield server
    finally:
        server.stop()


def pictures_over_http(rate: float = 30, size: tuple[int, int] = (64, 96), silent_after: int | None = None):
    """What an IP camera says: one JPEG after another; after `silent_after` pictures nothing more, with the connection held."""
    images = [jpeg(picture(i, *size)) for i in range(10)]

    def talk(connection, going):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        sent = 0
        while going():
            if silent_after is None or sent < silent_after:
                image = images[sent % len(images)]
                connection.sendall(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(image), image))
                sent += 1
            time.sleep(1 / rate)

    return talk


def film_over_rtsp(data: bytes, rate: float = 60):
    """What an RTSP camera says over TCP: RTP packets of MPEG-TS inside the connection."""
    description = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=made\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"

    def talk(connection, going):
        reader = connection.makefile("rb")
        while going():
            method, number = reader.readline().split(b" ")[0], b""
            while (line := reader.readline().strip()) != b"":
                if line.lower().startswith(b"cseq:"):
                    number = line.split(b":")[1].strip()
            head, body = b"RTSP/1.0 200 OK\r\nCSeq: " + number + b"\r\n", b""
            if method == b"OPTIONS":
                head += b"Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif method == b"DESCRIBE":
                body = description
                head += b"Content-Type: application/sdp\r\nContent-Length: %d\r\n" % len(body)
            elif method in (b"SETUP", b"PLAY"):
                head += b"Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            connection.sendall(head + b"\r\n" + body)
            if method == b"PLAY":
                break
        step = 7 * 188
        for i, place in enumerate(range(0, len(data), step)):
            if not going():
                return
            packet = struct.pack(">BBHII", 0x80, 33, i & 0xFFFF, 3000 * i, 7) + data[place : place + step]
            connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
            time.sleep(1 / rate)

    return talk
