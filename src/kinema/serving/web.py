"""The web application: one page, pictures over WebSockets, films by upload. Everything comes from this package, nothing from elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from kinema.capture.newest import Capture
from kinema.errors import KinemaError
from kinema.serving.access import COOKIE, Access
from kinema.serving.clients import Clients, LiveClient
from kinema.serving.films import Films, TooLarge, TooMany
from kinema.serving.following import Models
from kinema.serving.live import Listener
from kinema.serving.messages import Limits
from kinema.serving.timing import Timing
from kinema.serving.turns import Turns
from kinema.serving.watching import Broadcast

try:
    from fastapi import FastAPI, Request, WebSocket
    from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.requests import ClientDisconnect
except ImportError as error:
    raise KinemaError('the web page needs FastAPI and uvicorn: pip install "kinema[serve]"') from error

PAGE = Path(__file__).with_name("page")
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_OPEN = ("/enter", "/style.css", "/theme.js")  # what asks for the token
_FORM_BYTES = 4096
_WRONG_SECONDS = 0.5  # until a wrong token is answered
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=()",
    "Cache-Control": "no-cache",
}


class WebApplication:
    """What the server holds; `app` is the ASGI application.

    Args:
        models: what every stream is followed with.
        access: who is let in.
        capture: a stream of the server's own that is shown to all; it is started with the application.
        limits: of clients.
        listeners: of the server's own stream.
    """

    def __init__(
        self,
        models: Models,
        access: Access,
        *,
        capture: Capture | None = None,
        limits: Limits | None = None,
        listeners: Sequence[Listener] = (),
    ):
        self.models, self.access, self.limits = models, access, limits or Limits()
        self.turns, self.timing = Turns(models), Timing()
        self.clients = Clients(self.limits)
        self.films = Films(self.turns, self.limits)
        self.broadcast = None if capture is None else Broadcast(capture, self.turns, listeners)
        self.app = _application(self)

    def start(self) -> None:
        """`KinemaError` where the stream of the server's own is not there."""
        if self.broadcast is not None:
            self.broadcast.start()

    def close(self) -> None:
        if self.broadcast is not None:
            self.broadcast.stop()
        self.films.close()
        self.turns.close()

    def status(self) -> dict[str, Any]:
        return {
            "labels": self.models.classes,
            "joints": self.models.layout.joints,
            "bones": self.models.layout.bones,
            "stream": self.broadcast.name if self.broadcast else None,
            "clients": self.clients.connected,
            "dropped": dict(self.clients.dropped),
            "film_bytes": self.limits.film,
            "film_seconds": self.limits.film_seconds,
            "speed": self.timing.summary(),
        }


def _application(web: WebApplication) -> FastAPI:
    app = FastAPI(title="Kinema", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=4096)

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Any]) -> Response:
        response = await _refusal(web.access, request) or await answer(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    _add_page(app, web)
    _add_sockets(app, web)
    _add_films(app, web)
    return app


async def _refusal(access: Access, request: Request) -> Response | None:
    """What is said to a request that is not let in."""
    flaw = access.flaw(request.headers)
    if flaw:
        return JSONResponse({"error": flaw}, 403)
    if access.allows(request.headers, request.cookies) or request.url.path in _OPEN:
        return None
    given = request.query_params.get("token")
    if request.method == "GET" and given is not None and request.url.path == "/" and access.knows(given):
        return _entered(access, request)
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return _page("enter.html", 401)
    return JSONResponse({"error": "a token is expected: Authorization: Bearer TOKEN"}, 401)


def _entered(access: Access, request: Request) -> Response:
    """To the page, with a cookie in place of the token, which does not stay in the address."""
    response = RedirectResponse("/", 303)
    response.set_cookie(COOKIE, access.cookie, httponly=True, samesite="strict", secure=request.url.scheme == "https", max_age=30 * 86400)
    return response


def _page(name: str, status: int = 200) -> Response:
    return HTMLResponse((PAGE / name).read_text("utf-8"), status)


def _add_page(app: FastAPI, web: WebApplication) -> None:
    @app.get("/")
    async def index() -> Response:
        return _page("index.html")

    @app.post("/enter")
    async def enter(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _FORM_BYTES:
                return JSONResponse({"error": "a token is expected"}, 413)
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        if web.access.knows(given):
            return _entered(web.access, request)
        await asyncio.sleep(_WRONG_SECONDS)
        wrong = _page("enter.html", 401)
        wrong.body = wrong.body.replace(b"<!-- wrong -->", b"That is not the token.")
        wrong.headers["content-length"] = str(len(wrong.body))
        return wrong

    @app.get("/api/status")
    async def status() -> dict[str, Any]:
        return web.status()

    @app.get("/{name}")
    async def file(name: str) -> Response:
        path = PAGE / name
        if Path(name).name != name or path.suffix not in _KINDS or not path.is_file():
            return JSONResponse({"error": "there is nothing of that name"}, 404)
        return FileResponse(path, media_type=_KINDS[path.suffix])


def _add_sockets(app: FastAPI, web: WebApplication) -> None:
    async def refused(socket: WebSocket) -> bool:
        """Before it is accepted: from another site's page, or without the token."""
        if web.access.flaw(socket.headers) or not web.access.allows(socket.headers, socket.cookies):
            await socket.close(1008)
            return True
        return False

    @app.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        if not await refused(socket):
            client = LiveClient(web.clients, socket, web.turns, web.timing)
            await web.clients.attend(socket, client.run)

    @app.websocket("/api/watch")
    async def watch(socket: WebSocket) -> None:
        if web.broadcast is None:
            await socket.close(1008)
        elif not await refused(socket):
            await web.clients.attend(socket, lambda: web.broadcast.show(socket, web.clients))


def _add_films(app: FastAPI, web: WebApplication) -> None:
    @app.post("/api/films")
    async def upload(request: Request) -> Response:
        announced = request.headers.get("content-length", "")
        try:
            film = await web.films.take(request.stream(), int(announced) if announced.isdecimal() else None)
        except ClientDisconnect:
            return Response(status_code=400)
        except TooMany as error:
            return JSONResponse({"error": str(error)}, 429)
        except TooLarge as error:
            return JSONResponse({"error": str(error)}, 413)
        except KinemaError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(film.told(), 202)

    @app.get("/api/films/{number}")
    async def told(number: str, answer: bool = False) -> Response:
        film = web.films.find(number)
        if film is None:
            return JSONResponse({"error": "there is no such film, or no longer"}, 404)
        content = {**film.told(), "answer": film.answer} if answer and film.state == "done" else film.told()
        return Response(json.dumps(content, separators=(",", ":")), media_type="application/json")

    @app.delete("/api/films/{number}")
    async def cancel(number: str) -> Response:
        film = web.films.find(number)
        if film is not None:
            web.films.cancel(film)
        return Response(status_code=204)
