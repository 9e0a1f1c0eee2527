"""The commands on living pictures: `kinema live` and `kinema serve`."""

from __future__ import annotations

from typing import Literal

Backend = Literal["auto", "rtmpose", "movenet", "blazepose"]


def live(
    source: str | None = None,
    *,
    camera: str | None = None,
    headless: bool = False,
    bundle: str | None = None,
    backend: Backend = "auto",
    models: str | None = None,
    max_persons: int = 10,
    events: str | None = None,
    rules: str | None = None,
    render: str | None = None,
    realtime: bool = False,
    json: bool = False,
) -> None:
    """Say what the people before a camera, in a film or in a network stream are doing, while they do it.

    Args:
        source: A film, or an rtsp:// or http:// address.
        camera: A camera instead: its number, such as 0, or its device.
        headless: No window; one line for each action that begins or ends.
        bundle: Name of a bundle of skeletons that ships with Kinema, or path of one. Default: everyday.
        backend: Estimator of the poses: rtmpose, movenet, or blazepose, which gives metres. Default: what suits the bundle and is at hand.
        models: Folder of the estimators' files. Default: $KINEMA_MODELS, then the cache folder, into which they are fetched.
        max_persons: Persons followed at a time.
        events: Keep each action in an event store: the path of an SQLite file, or a database's URL; see `kinema events`.
        rules: File of rules that tell somebody, such as of a fall.
        render: Write the answered pictures into a film, OUT.mp4.
        realtime: Play a film at its own speed without a window too; otherwise every picture of it is answered, however long it takes.
        json: One JSON object a line instead of words; no window.
    """
    from kinema.serving.following import Models
    from kinema.serving.run_live import chosen_source, recorded, run_live

    chosen = chosen_source(source, camera)
    loaded = Models.load(bundle, backend, models=models, max_persons=max_persons)
    with recorded(loaded, chosen, events, rules) as listeners:
        run_live(chosen, loaded, headless=headless, render=render, as_json=json, listeners=listeners, realtime=realtime or None)


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    camera: str | None = None,
    stream: str | None = None,
    bundle: str | None = None,
    backend: Backend = "auto",
    models: str | None = None,
    max_persons: int = 4,
    events: str | None = None,
    rules: str | None = None,
    max_clients: int = 16,
    upload_megabytes: int = 200,
    certificate: str | None = None,
    key: str | None = None,
) -> None:
    """A web page that shows what people are doing: before the browser's camera, in an uploaded film, or in a stream of the server's own.

    Args:
        host: Address to listen at; the default is reached from this machine alone. Any other one needs a token.
        port: Port to listen at.
        token: What the page asks for before it shows anything; or set KINEMA_TOKEN, which no list of processes shows.
        camera: A camera of this machine that all may watch: its number or its device.
        stream: An rtsp:// or http:// address, or a film, that all may watch.
        bundle: Name of a bundle of skeletons that ships with Kinema, or path of one. Default: everyday.
        backend: Estimator of the poses: rtmpose, movenet, or blazepose, which gives metres. Default: what suits the bundle and is at hand.
        models: Folder of the estimators' files. Default: $KINEMA_MODELS, then the cache folder, into which they are fetched.
        max_persons: Persons followed at a time in each stream.
        events: Keep each action of the server's own stream in an event store: an SQLite file, or a database's URL. What browsers send is
            kept nowhere.
        rules: File of rules that tell somebody of what is seen in the server's own stream.
        max_clients: Browsers that are served at a time.
        upload_megabytes: Size of an uploaded film, at most.
        certificate: Certificate file (PEM) for https, without which browsers give their camera to pages of their own machine alone.
        key: Its key file (PEM).
    """
    from kinema.serving.run_web import WebOptions, serve_web

    options = WebOptions(host, port, token, certificate, key, events, rules, max_clients, upload_megabytes)
    serve_web(options, camera, stream, bundle=bundle, backend=backend, models=models, max_persons=max_persons)
