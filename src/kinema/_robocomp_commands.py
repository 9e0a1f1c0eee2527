"""The commands of `kinema robocomp`: the component for robots, and its clients."""

from __future__ import annotations

from kinema._live_commands import Backend


def robocomp_serve(
    *,
    bundle: str = "cad60-activities",
    host: str = "127.0.0.1",
    port: int = 10240,
    camera: str | None = None,
    stream: str | None = None,
    backend: Backend = "auto",
    models: str | None = None,
    shared: bool = False,
    max_clients: int = 16,
) -> None:
    """Run the RoboComp component: skeletons in, activities out, over ZeroC Ice; or with a camera of its own. Ctrl-C ends it.

    Args:
        bundle: Name of a bundle that ships with Kinema, or path of one.
        host: Address to listen at; the default is reached from this machine alone.
        port: Port to listen at.
        camera: Look with this camera, its number or device, instead of taking skeletons.
        stream: Look at this film, or rtsp:// or http:// address, instead of taking skeletons.
        backend: With camera or stream: estimator of the poses. Default: blazepose, which gives metres, for a bundle of 3-D skeletons.
        models: With camera or stream: folder of the estimators' files.
        shared: All clients feed one stream, as one camera's component and one asking component do. Default: a stream each.
        max_clients: Streams held at the same time.
    """
    if camera or stream:
        from kinema.serving.robocomp_camera import camera_component

        camera_component(camera, stream, bundle, backend, models, host, port)
        return
    from kinema.serving.robocomp import serve

    serve(bundle, host, port, shared=shared, max_clients=max_clients)


def robocomp_client(recording: str, *, host: str = "127.0.0.1", port: int = 10240, draw: str | None = None, speed: float = 1.0) -> None:
    """Play a recording to the component as a camera would, ask once a second what is going on, and draw the skeleton.

    Args:
        recording: A file of skeletons.
        host: Address of the component.
        port: Port of the component.
        draw: PNG that is drawn anew with every answer.
        speed: How many times faster than it was recorded.
    """
    from kinema.serving.robocomp_client import client

    client(recording, host, port, draw=draw, speed=speed)


def robocomp_watch(*, host: str = "127.0.0.1", port: int = 10240, draw: str | None = None, interval: float = 1.0) -> None:
    """Ask a component with a camera who is seen and what they are doing, a line each time. Ctrl-C ends it.

    Args:
        host: Address of the component.
        port: Port of the component.
        draw: PNG that is drawn anew every time, with the skeletons where they are in the picture.
        interval: Seconds from one question to the next.
    """
    from kinema.serving.robocomp_watch import watch

    watch(host, port, draw=draw, interval=interval)


ROBOCOMP_COMMANDS = {"serve": robocomp_serve, "client": robocomp_client, "watch": robocomp_watch}
