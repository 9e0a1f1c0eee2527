"""Uploaded films: bounded in size and time, worked on one after another, answered as a timeline with the skeletons to lay over them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kinema import video
from kinema.capture.sources import fitted
from kinema.clip import VideoSource
from kinema.errors import DataError, KinemaError
from kinema.serving.messages import Limits, points_list
from kinema.serving.turns import Turns

FilmState = Literal["waiting", "working", "done", "failed", "cancelled"]
_RATE = 15.0  # pictures a second that are looked at, at most
_MOST_POINTS = 2_000_000  # numbers for drawing in an answer


class TooMany(KinemaError):
    """As many films are waiting as may."""


class TooLarge(KinemaError):
    """More bytes, or more seconds, than are taken."""


@dataclass(eq=False)
class Film:
    """One film and what has become of it. `progress`: 0..1. `answer`: once it is done."""

    number: str
    folder: Path
    state: FilmState = "waiting"
    progress: float = 0.0
    reason: str = ""
    answer: dict[str, Any] | None = None
    ended: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def told(self) -> dict[str, Any]:
        return {"film": self.number, "state": self.state, "progress": round(self.progress, 3), "reason": self.reason}


class Films:
    """The films of all clients. Each is deleted when it is answered; its answer some minutes later."""

    def __init__(self, turns: Turns, limits: Limits):
        self._turns, self._limits = turns, limits
        self._films: dict[str, Film] = {}
        self._lock = threading.Lock()
        self._queue: queue.Queue[Film | None] = queue.Queue()
        self._folder = Path(tempfile.mkdtemp(prefix="kinema-films-"))
        self._thread = threading.Thread(target=self._work, name="films", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            for film in self._films.values():
                film.cancelled.set()
        self._queue.put(None)
        self._thread.join(5)
        shutil.rmtree(self._folder, ignore_errors=True)

    def find(self, number: str) -> Film | None:
        self._forget()
        return self._films.get(number)

    def cancel(self, film: Film) -> None:
        film.cancelled.set()
        if film.state == "waiting":
            self._end(film, "cancelled")

    async def take(self, chunks: AsyncIterator[bytes], announced: int | None) -> Film:
        """Take a film as it comes. `TooMany`, `TooLarge`, `KinemaError` for what is none or comes too slowly."""
        self._forget()
        if announced is not None and announced > self._limits.film:
            raise TooLarge(self._too_large())
        film = self._enter()
        try:
            try:
                async with asyncio.timeout(self._limits.film_upload):
                    await self._store(chunks, film.folder / "film")
            except TimeoutError as error:
                raise TooLarge(f"the film has not come within {self._limits.film_upload:g} s") from error
            about = await asyncio.to_thread(self._look, film.folder / "film")
            if about.duration > self._limits.film_seconds:
                raise TooLarge(f"the film lasts {about.duration:.0f} s; {self._limits.film_seconds:g} s at most are taken")
        except BaseException:
            self._end(film, "failed")
            with self._lock:
                self._films.pop(film.number, None)
            raise
        self._queue.put(film)
        return film

    def _enter(self) -> Film:
        with self._lock:
            under_way = sum(film.ended is None for film in self._films.values())
            if under_way >= self._limits.films:
                raise TooMany(f"{under_way} films are being worked on, which is as many as this server takes; try again later")
            number = secrets.token_urlsafe(12)
            film = self._films[number] = Film(number, self._folder / number)
            film.folder.mkdir()
            return film

    async def _store(self, chunks: AsyncIterator[bytes], path: Path) -> None:
        size = 0
        with path.open("wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > self._limits.film:
                    raise TooLarge(self._too_large())
                await asyncio.to_thread(file.write, chunk)

    def _too_large(self) -> str:
        return f"the film is larger than {self._limits.film / 2**20:.3g} MB, which are taken at most"

    @staticmethod
    def _look(path: Path) -> video.VideoIndex:
        try:
            return video.index(path)
        except DataError as error:
            raise KinemaError(f"this file cannot be used: {error.reason}") from error

    def _forget(self) -> None:
        now = time.monotonic()
        with self._lock:
            for number, film in list(self._films.items()):
                if film.ended is not None and now - film.ended > self._limits.films_kept:
                    del self._films[number]

    def _end(self, film: Film, state: FilmState, reason: str = "") -> None:
        film.state, film.reason, film.ended = state, reason, time.monotonic()
        shutil.rmtree(film.folder, ignore_errors=True)

    def _work(self) -> None:
        while (film := self._queue.get()) is not None:
            if film.ended is not None:
                continue
            film.state = "working"
            try:
                film.answer = self._follow(film)
                film.progress = 1.0
                self._end(film, "done")
            except _Cancelled:
                self._end(film, "cancelled")
            except DataError as error:
                self._end(film, "failed", f"this file cannot be used: {error.reason}")
            except KinemaError as error:
                self._end(film, "failed", str(error))
            except Exception:
                logging.getLogger(__name__).exception("a film has failed")
                self._end(film, "failed", "the server has failed; its log says how")

    def _follow(self, film: Film) -> dict[str, Any]:
        source = VideoSource(film.folder / "film")
        about, follower = video.index(source), self._turns.follower("film")
        height, width = fitted(about.height, about.width, self._limits.longest)
        track, points, events, until = [], 0, [], time.monotonic() + self._limits.film_work
        with contextlib.closing(video.stream(source, (height, width), _spread(about.times))) as pictures:
            for seconds, image in pictures:
                if film.cancelled.is_set():
                    raise _Cancelled
                if time.monotonic() > until:
                    raise KinemaError(f"the film was not answered within {self._limits.film_work:g} s")
                step = follower.step(seconds, image)
                events += step.answer.closed
                film.progress = min(seconds / max(about.duration, 1e-6), 0.999)
                if points < _MOST_POINTS:
                    track.append(_drawn(seconds, step))
                    points += sum(len(person["points"]) for person in track[-1]["persons"])
        events += follower.finish()
        return {
            "duration": about.duration,
            "width": width,
            "height": height,
            "events": [asdict(event) for event in sorted(events, key=lambda event: event.start)],
            "track": track,
        }


class _Cancelled(Exception):
    """Its owner wants no answer any more."""


def _spread(times) -> list[int]:
    """The frames that are looked at, at most `_RATE` a second."""
    chosen, last = [], -1.0
    for number, seconds in enumerate(times.tolist()):
        if last < 0 or seconds - last >= 1 / _RATE - 1e-3:
            chosen.append(number)
            last = seconds
    return chosen


def _drawn(seconds: float, step) -> dict[str, Any]:
    persons = []
    for pose, answer in zip(step.poses, step.answer.persons, strict=True):
        drawn = [round(value, 2 if i % 3 == 2 else 0) for i, value in enumerate(points_list(pose.points, pose.scores))]
        top = [[label, round(share, 3)] for label, share in answer.top]
        persons.append(
            {"person": pose.person, "points": drawn, "label": answer.label, "confidence": round(answer.confidence, 3), "top": top}
        )
    return {"time": round(seconds, 3), "persons": persons}
