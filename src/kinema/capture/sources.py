"""What pictures can come from, and opening it: a camera, a file, an rtsp or http address."""

from __future__ import annotations

import contextlib
import glob
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from kinema import video
from kinema.errors import KinemaError, unknown

Kind = Literal["camera", "file", "network"]
_SCHEMES = ("rtsp", "rtsps", "http", "https")
# An address leads to the network, never to a file of this machine, whatever a playlist behind it says.
_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto"
_EXPECTED = "a camera's number, a file, or an rtsp:// or http:// address is expected"
_OPEN_SECONDS = 10.0
_LARGEST_SIDE = 8192


@dataclass(frozen=True)
class Source:
    """Where pictures come from. `name` is what is shown of it: of an address without its password."""

    text: str
    kind: Kind

    @property
    def live(self) -> bool:
        """Whether pictures come when they come; a file's wait."""
        return self.kind != "file"

    @property
    def name(self) -> str:
        if self.kind == "camera" and self.text.isdecimal():
            return f"camera {self.text}"
        return re.sub(r"//[^/@]*@", "//", self.text)


def parse_source(text: str | Path) -> Source:
    """From what a user types. `KinemaError` for what is nothing of the kind; whether it is there is seen when it is opened."""
    text = str(text).strip()
    if not text or "\0" in text or len(text) > 4096:
        raise KinemaError(f"{text[:40]!r} is no source of pictures; {_EXPECTED}")
    if text.isdecimal() or text.startswith(("/dev/video", "video=")):
        return Source(text, "camera")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
    if scheme is None:
        return Source(text, "file")
    if scheme[1].lower() not in _SCHEMES:
        raise KinemaError(f"{text[:80]}: {unknown('kind of address', scheme[1].lower(), _SCHEMES)}")
    try:
        host = urlsplit(text).hostname
    except ValueError:
        host = None
    if not host:
        raise KinemaError(f"{Source(text, 'network').name[:80]}: there is no host in it; such as rtsp://192.168.0.7/stream is expected")
    return Source(text, "network")


@dataclass(frozen=True)
class Opened:
    """Pictures of an opened source. `pictures`: (seconds on the source's own clock, or None; (H, W, 3) uint8 RGB; when its data came, on
    `time.monotonic`'s clock, or None for now), one after another. `endless`: whether an end of them is a fault."""

    pictures: Iterator[tuple[float | None, np.ndarray, float | None]]
    endless: bool


@contextlib.contextmanager
def open_source(source: Source, longest: int | None = 1280, patience: float = 5.0) -> Iterator[Opened]:
    """Open a source; it is closed at the end of the block.

    `longest`: pictures with a longer side are made smaller until it is this long. `patience`: seconds without data after which a
    network stream has failed. Pictures come as they are to be shown: turned as a file says.

    Raises `KinemaError`, also from `pictures`, for what is not there, holds no pictures, or fails.
    """
    if source.kind == "file":
        about = video.index(source.text)
        height, width = fitted(about.height, about.width, longest)
        frames = video.stream(source.text, (height, width))
        try:
            yield Opened(((seconds, image, None) for seconds, image in frames), endless=False)
        finally:
            frames.close()
        return
    with _errors_of(source):
        container = _open_camera(source) if source.kind == "camera" else _open_network(source, patience)
        with container:
            if not container.streams.video:
                raise KinemaError(f"{source.name}: there are no pictures in it; {_EXPECTED}")
            # A stream of known length is a film that somebody serves: its end is no fault.
            yield Opened(_pictures(source, container, longest), endless=not container.duration)


def cameras() -> list[str]:
    """What can be given as a camera here, as far as the system tells."""
    if sys.platform.startswith("linux"):
        return sorted(glob.glob("/dev/video*"), key=lambda name: (len(name), name))
    import av

    system = "avfoundation" if sys.platform == "darwin" else "dshow"
    try:
        found = av.enumerate_input_devices(system)
    except (AttributeError, ValueError, OSError):
        return []
    names = [device.description or device.name for device in found if "video" in (getattr(device, "media_types", None) or ["video"])]
    return [f"{number} ({name})" for number, name in enumerate(names)] if system == "avfoundation" else [f"video={name}" for name in names]


def _open_camera(source: Source) -> Any:
    import av

    name, here = source.text, cameras()
    if sys.platform.startswith("linux"):
        system, name = "v4l2", f"/dev/video{name}" if name.isdecimal() else name
        if not Path(name).exists():
            raise KinemaError(f"{source.name}: there is no {name}; {_told(here)}")
    elif sys.platform == "darwin":
        system = "avfoundation"
    else:
        system = "dshow"
        if name.isdecimal():
            if int(name) >= len(here):
                raise KinemaError(f"{source.name}: {_told(here)}")
            name = here[int(name)]
    # What most cameras can do; one that cannot says so at once, and is asked for less.
    wishes = ({"video_size": "640x480", "framerate": "30"}, {"video_size": "640x480"}, {"framerate": "30"}, {})
    for wish in wishes:
        try:
            return av.open(name, format=system, options=wish)
        except (av.error.FFmpegError, OSError) as error:
            if wish is wishes[-1] or getattr(error, "errno", None) in (1, 2, 13, 16, 19):  # not allowed, not there, in use
                raise
    raise AssertionError


def _told(here: list[str]) -> str:
    return f"there are: {', '.join(here)}" if here else "no camera is to be found here"


def _open_network(source: Source, patience: float) -> Any:
    import av

    options = {"protocol_whitelist": _PROTOCOLS, "fflags": "nobuffer", "flags": "low_delay", "analyzeduration": "2000000"}
    if source.text.lower().startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    return av.open(source.text, options=options, timeout=(_OPEN_SECONDS, patience), metadata_errors="replace")


def _pictures(source: Source, container: Any, longest: int | None) -> Iterator[tuple[float | None, np.ndarray, float | None]]:
    from kinema._video_decoder import Pictures
    from kinema._video_file import Turn, decode

    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise KinemaError(f"{source.name}: there is no decoder for its pictures")
    stream.codec_context.thread_count = 1  # several would hold pictures back
    converter, form = None, None
    with _errors_of(source):
        for packet in container.demux(stream):
            came = time.monotonic()
            for frame in decode(stream.codec_context, packet):
                turn = Turn.of(frame)
                if (frame.height, frame.width, turn) != form:
                    if max(frame.height, frame.width) > _LARGEST_SIDE:
                        raise KinemaError(
                            f"{source.name}: pictures of {frame.width} x {frame.height}; up to {_LARGEST_SIDE} a side are expected"
                        )
                    form, size = (frame.height, frame.width, turn), fitted(*turn.size(frame.height, frame.width), longest)
                    converter = Pictures(turn, *size)
                image = np.empty((*size, 3), np.uint8)
                converter.write(frame, image)
                yield frame.time, image, came


def fitted(height: int, width: int, longest: int | None) -> tuple[int, int]:
    """(height, width) of a picture that is made smaller until neither side is longer than `longest`; None: as it is."""
    scale = min(1.0, (longest or max(height, width)) / max(height, width))
    return max(round(height * scale), 1), max(round(width * scale), 1)


@contextlib.contextmanager
def _errors_of(source: Source) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except (FFmpegError, OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        reason = {"Immediate exit requested": "nothing came in time"}.get(reason, reason)
        raise KinemaError(f"{source.name}: cannot be used: {reason[:1].lower()}{reason[1:]}; {_EXPECTED}") from error
