"""`kinema live`: one source followed, shown in a window or told line by line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kinema.capture.newest import Capture
from kinema.capture.sources import Source, parse_source
from kinema.errors import KinemaError
from kinema.serving.console import Console
from kinema.serving.film import FilmWriter
from kinema.serving.following import Models
from kinema.serving.live import Engine, Listener
from kinema.serving.timing import Timing, summary_text
from kinema.serving.window import Window, display


def chosen_source(source: str | None, camera: str | None) -> Source:
    """The one of the two that was given; `KinemaError` for both and for none."""
    if (source is None) == (camera is None):
        given = "both a source and --camera are given" if source else "no source is given"
        raise KinemaError(f"{given}; a film, an rtsp:// or http:// address, or --camera 0 is expected")
    return parse_source(camera if source is None else source)


@contextmanager
def recorded(models: Models, source: Source, events: str | None, rules: str | None) -> Iterator[tuple[Listener, ...]]:
    """What keeps a stream's actions in an event store and applies rules to them, for as long as the block runs; nothing for None twice."""
    if events is None and rules is None:
        yield ()
        return
    from kinema.serving.recording import Events

    with Events(events, rules, bundle=models.bundle) as shared:
        yield (shared.stream(source.name),)


def run_live(
    source: Source,
    models: Models,
    *,
    headless: bool = False,
    render: str | Path | None = None,
    as_json: bool = False,
    listeners: tuple[Listener, ...] = (),
    realtime: bool | None = None,
    **capture: Any,
) -> Timing:
    """Follow a source until it ends, the window is closed, or Ctrl-C.

    `realtime`: of files, see `Capture`; by default where there is a window. `listeners`: further ones. Raises `KinemaError` for a source
    that is not there or a file that cannot be written. Says on stderr how fast it was, and that there is no display where none is.
    """
    root = None if headless or as_json else display()
    if root is None and not (headless or as_json):
        print("kinema: there is no display here; events are told line by line (--headless)", file=sys.stderr)
    realtime = root is not None if realtime is None else realtime
    with ExitStack() as opened:
        heard: list[Listener] = [*listeners]
        if root is None:
            heard.append(Console(as_json))
        if render:
            every = not source.live and not realtime
            heard.append(FilmWriter(render, models.layout, waits=every))
        window = Window(root, source.name, models.layout, mirror=source.kind == "camera") if root is not None else None
        if window is not None:
            heard.append(window)
        engine = Engine(opened.enter_context(Capture(source, realtime=realtime, **capture)), models.follower(source.name), heard)
        try:
            engine.run() if window is None else window.run(engine)
        except KeyboardInterrupt:
            engine.stop()
        finally:
            dropped = f"; {engine.capture.dropped} pictures were passed over" if engine.capture.dropped else ""
            print(f"kinema: {summary_text(engine.timing.summary())}{dropped}", file=sys.stderr)
    if render:
        print(f"drawn: {render}", file=sys.stderr)
    return engine.timing
