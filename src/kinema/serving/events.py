"""The event store: a table of actions, who did what from when until when, in SQLite or PostgreSQL.

An action is written when it begins and again as it goes on, so that a crash loses at most the end of what was going on then. Rows are
written whole and by their id: writing one twice, or late, does no harm.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kinema.errors import KinemaError

if TYPE_CHECKING:
    from sqlalchemy import Engine, Select
    from sqlalchemy.engine import URL

VARIABLE = "KINEMA_EVENTS"
DEFAULT = "events.db"
# Of a recorder on another machine nothing has been heard for so long: it is no more.
_DEAD_AFTER = timedelta(minutes=2)
_LONGEST_NAME = 200
_OWN: set[str] = set()  # recorders of this process

Status = Literal["open", "closed", "interrupted"]


@dataclass(frozen=True)
class Action:
    """One row. Times are UTC.

    `end`: None while the action goes on. `seen`: when it was last known to go on. `confidence`: its mean probability. `bundle`: name and
    hash of what recognised it. `status`: "open"; "closed"; "interrupted" for one that nobody has ended, whose `end` is when it was seen
    last. `recorder`: which process wrote it.
    """

    id: str
    person: int
    label: str
    start: datetime
    end: datetime | None
    seen: datetime
    confidence: float
    source: str
    bundle: str
    status: Status
    recorder: str

    @property
    def seconds(self) -> float:
        """How long it lasted, or has lasted so far."""
        return ((self.end or self.seen) - self.start).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values; times in ISO 8601."""
        values = asdict(self)
        return {**values, **{name: values[name] and values[name].isoformat() for name in ("start", "end", "seen")}}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Action:
        """From what `to_dict` gave; `ValueError` or `TypeError` where it is not of its form."""
        times = {name: values[name] and datetime.fromisoformat(values[name]) for name in ("start", "end", "seen")}
        return cls(**{**values, **times})


@dataclass(frozen=True)
class Wanted:
    """Which actions are asked for: those that touch the time from `since` to `until`, of one label, person, source."""

    since: datetime | None = None
    until: datetime | None = None
    label: str | None = None
    person: int | None = None
    source: str | None = None


def recorder_name() -> str:
    """Machine, process, and a random part that tells runs apart."""
    name = f"{socket.gethostname()[:100]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    _OWN.add(name)
    return name


def default_store() -> str:
    """Where events are, where nobody says: `$KINEMA_EVENTS`, else `events.db` in the present folder."""
    return os.environ.get(VARIABLE) or DEFAULT


class EventStore:
    """The table of actions in one database.

    Args:
        where: path of an SQLite file, or a URL (`sqlite:///...`, `postgresql://user@host/name`); see `default_store`.
        make: whether the table, and the SQLite file, are made where they are not there.

    Raises `KinemaError` where SQLAlchemy or the driver is missing, for another kind of database, and, with every call, where the database
    cannot be reached.
    """

    def __init__(self, where: str | Path | None = None, *, make: bool = True):
        _require("sqlalchemy", "events")
        from sqlalchemy.exc import SQLAlchemyError

        url = _url(default_store() if where is None else where)
        self.name = url.database if url.drivername == "sqlite" else url.render_as_string(hide_password=True)
        self._errors = (SQLAlchemyError, OSError)
        if url.drivername == "sqlite" and not make and not Path(url.database).exists():
            raise KinemaError(
                f"{url.database}: no such file; events are recorded by `kinema live` and `kinema serve`, or lie elsewhere (--db)"
            )
        if url.drivername == "sqlite" and make:
            try:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise KinemaError(f"{url.database}: its folder cannot be made: {error.strerror}") from error
        self._engine, self._table, self._made = _engine(url, make), _table(), not make

    def write(self, actions: Sequence[Action]) -> None:
        """Put rows there, all or none. One that is there already as closed stays closed."""
        if not actions:
            return
        newest = {action.id: action for action in sorted(actions, key=lambda action: (action.status != "open", action.seen))}
        with self._begun() as connection:
            there = dict(
                connection.execute(
                    self._table.select().with_only_columns(self._table.c.id, self._table.c.status).where(self._table.c.id.in_(newest))
                ).all()
            )
            for action in newest.values():
                values = asdict(_storable(action))
                if action.id not in there:
                    connection.execute(self._table.insert().values(values))
                elif action.status == "closed" or there[action.id] == "open":
                    connection.execute(self._table.update().where(self._table.c.id == action.id).values(values))

    def query(self, wanted: Wanted | None = None, limit: int | None = None) -> list[Action]:
        """Actions, the newest first."""
        ordered = self._select(wanted or Wanted()).order_by(self._table.c.start.desc(), self._table.c.id)
        with self._begun() as connection:
            return [Action(**row._mapping) for row in connection.execute(ordered.limit(limit))]

    def each(self, wanted: Wanted | None = None) -> Iterator[Action]:
        """Actions, the oldest first, in memory that does not grow with them."""
        ordered = self._select(wanted or Wanted()).order_by(self._table.c.start, self._table.c.id)
        with self._begun() as connection:
            for row in connection.execution_options(yield_per=1000).execute(ordered):
                yield Action(**row._mapping)

    def prune(self, before: datetime, *, dry: bool = False) -> int:
        """Delete what ended before a time; how many actions that were, or, where `dry`, would be."""
        from sqlalchemy import func, select

        old = (self._table.c.status != "open") & (self._table.c.end < before)
        with self._begun() as connection:
            if dry:
                return connection.execute(select(func.count()).select_from(self._table).where(old)).scalar_one()
            return connection.execute(self._table.delete().where(old)).rowcount

    def close_interrupted(self, own: str = "") -> int:
        """Close what recorders that are no more have left open, where it was last seen, and mark it; how many actions that were.

        Gone is one whose process on this machine is no more, and any other that has not been heard of for minutes. `own`: never that one.
        """
        with self._begun() as connection:
            left = connection.execute(self._table.select().where(self._table.c.status == "open", self._table.c.recorder != own)).all()
            gone = [row for row in left if recorder_gone(row.recorder, row.seen)]
            for row in gone:
                still = (self._table.c.id == row.id) & (self._table.c.status == "open")
                connection.execute(self._table.update().where(still).values(status="interrupted", end=row.seen))
        return len(gone)

    def close(self) -> None:
        self._engine.dispose()

    def _select(self, wanted: Wanted) -> Select:
        from sqlalchemy import func

        column, select = self._table.c, self._table.select()
        if wanted.since is not None:
            select = select.where(func.coalesce(column.end, column.seen) >= wanted.since)
        if wanted.until is not None:
            select = select.where(column.start < wanted.until)
        for name in ("label", "person", "source"):
            if getattr(wanted, name) is not None:
                select = select.where(column[name] == getattr(wanted, name))
        return select

    @contextmanager
    def _begun(self) -> Iterator[Any]:
        try:
            with self._engine.begin() as connection:
                if not self._made:
                    self._table.metadata.create_all(connection)
                yield connection
            self._made = True
        except self._errors as error:
            self._made = False  # perhaps the table is gone as well
            raise KinemaError(f"event store {self.name}: {_line(error)}") from error


def _url(where: str | Path) -> URL:
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=str(Path(where).expanduser()))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError) as error:
        raise KinemaError("the event store's URL cannot be read; sqlite:///FILE or postgresql://USER@HOST/NAME is expected") from error
    kind = url.drivername.partition("+")[0]
    if kind == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite")
    if kind in ("postgresql", "postgres") and url.database:
        _require("psycopg", "postgres")
        return url.set(drivername="postgresql+psycopg")
    raise KinemaError(
        f"{url.render_as_string(hide_password=True)} is no event store; a file, sqlite:///FILE or postgresql://... is expected"
    )


def _engine(url: URL, write: bool) -> Engine:
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    if url.drivername != "sqlite":
        # A server that is silent is one that is away: no call waits for it for long.
        quick = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "options": "-c statement_timeout=10000 -c lock_timeout=5000"}
        return create_engine(url, pool_size=1, max_overflow=1, pool_timeout=10, pool_pre_ping=True, connect_args=quick)
    # A file that is deleted or moved is noticed only where it is opened anew.
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 5})
    if not write:
        return engine

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _table() -> Any:
    from sqlalchemy import Column, DateTime, Float, Integer, MetaData, String, Table
    from sqlalchemy.types import TypeDecorator

    class Moment(TypeDecorator):
        """UTC, also where a database keeps no time zone."""

        impl = DateTime(timezone=True)
        cache_ok = True

        def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
            if value is None:
                return None
            value = value.astimezone(UTC)
            return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

        def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
            if value is None:
                return None
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    return Table(
        "kinema_actions",
        MetaData(),
        Column("id", String(36), primary_key=True),
        Column("person", Integer, nullable=False),
        Column("label", String(_LONGEST_NAME), nullable=False, index=True),
        Column("start", Moment, nullable=False, index=True),
        Column("end", Moment, index=True),
        Column("seen", Moment, nullable=False),
        Column("confidence", Float, nullable=False),
        Column("source", String(_LONGEST_NAME), nullable=False),
        Column("bundle", String(_LONGEST_NAME), nullable=False),
        Column("status", String(12), nullable=False, index=True),
        Column("recorder", String(_LONGEST_NAME), nullable=False),
    )


def _storable(action: Action) -> Action:
    """Texts that every database takes: not too long, without the character that PostgreSQL has none of."""
    texts = {name: getattr(action, name).replace("\0", "")[:_LONGEST_NAME] for name in ("label", "source", "bundle", "recorder")}
    return replace(action, **texts)


def recorder_gone(recorder: str, seen: datetime, after: timedelta = _DEAD_AFTER) -> bool:
    """Whether a recorder, of which something was seen last at `seen`, is no more: its process on this machine is gone, or it has been
    silent for longer than `after`."""
    host, _, rest = recorder.partition(":")
    process = rest.partition(":")[0]
    if host == socket.gethostname()[:100] and process == str(os.getpid()):
        return recorder not in _OWN  # in a container every run may have the same number
    if host == socket.gethostname()[:100] and process.isdigit() and os.name == "posix":
        try:
            os.kill(int(process), 0)  # asks whether it is there
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
    return datetime.now(UTC) - seen > after


def _require(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise KinemaError(f'events need {module}: pip install "kinema[{extra}]"')


def _line(error: BaseException) -> str:
    """What happened, in a line, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)[:300]
