"""The event store keeps actions, finds them again, and puts right what a crash has left."""

import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("sqlalchemy")

from make_events import NOON, action

from kinema.errors import KinemaError
from kinema.serving.events import Action, EventStore, Wanted, recorder_name


@pytest.fixture
def store(tmp_path):
    store = EventStore(tmp_path / "events.db")
    yield store
    store.close()


def seconds(number):
    return NOON + timedelta(seconds=number)


def test_what_is_written_is_found_again(store):
    rows = [action(0, confidence=0.75, person=3), action(1, start=5, end=None)]
    store.write(rows)
    assert store.query() == rows[::-1]
    assert list(store.each()) == rows
    assert rows[0].seconds == 1 and store.query()[0].start.tzinfo is UTC


def test_the_file_is_in_wal_mode_and_times_are_utc(store, tmp_path):
    east = NOON.astimezone(datetime(2026, 1, 1, tzinfo=UTC).astimezone().tzinfo)
    store.write([replace(action(), start=east)])
    connection = sqlite3.connect(tmp_path / "events.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("SELECT start FROM kinema_actions").fetchone()[0].startswith("2026-03-01 12:00:00")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), "0123"),
        (Wanted(label="walk"), "2"),
        (Wanted(person=1), "1"),
        (Wanted(source="door"), "3"),
        (Wanted(since=seconds(15)), "123"),
        (Wanted(until=seconds(10)), "0"),
        (Wanted(since=seconds(15), until=seconds(21)), "12"),
        (Wanted(since=seconds(15), label="wave"), "13"),
        (Wanted(source="nowhere"), ""),
    ],
)
def test_actions_are_found_by_time_label_person_and_source(store, wanted, found):
    store.write(
        [
            action(0, start=0, end=5),
            action(1, start=10, end=15, person=1),
            action(2, start=20, end=None, label="walk", seen=seconds(25)),
            action(3, start=30, end=31, source="door"),
        ]
    )
    assert "".join(each.id[2:] for each in store.each(wanted)) == found
    assert len(store.query(wanted, limit=1)) == min(len(found), 1)


def test_writing_twice_or_late_does_no_harm(store):
    opened = action(start=0, end=None)
    closed = replace(opened, end=seconds(4), seen=seconds(4), status="closed")
    for rows in ([opened], [opened, closed], [opened], [replace(opened, seen=seconds(9))]):
        store.write(rows)
    assert store.query() == [closed]


def test_texts_that_no_database_takes_are_mended(store):
    store.write([action(label="a\0b", source="s" * 1000)])
    assert [(each.label, len(each.source)) for each in store.each()] == [("ab", 200)]


def test_what_a_crash_left_open_is_closed_where_it_was_last_seen(store):
    gone = "kinema-no-such-host:1:x"
    own = recorder_name()
    now = datetime.now(UTC)
    store.write(
        [
            action(0, start=0, end=None, seen=seconds(3), recorder=gone),
            action(1, start=1, end=None, seen=now, recorder=gone),  # elsewhere, and heard of just now
            action(2, start=2, end=None, seen=seconds(3), recorder=own),
            action(3, start=3, end=None, seen=now, recorder=own.replace(f":{os.getpid()}:", ":4194300:")),  # a process that is no more
            action(4, start=4, end=5, recorder=gone),
            action(5, start=6, end=None, seen=now, recorder=own + "0"),  # the number of this process, but an earlier one's
        ]
    )
    assert store.close_interrupted(own) == 3 and store.close_interrupted(own) == 0
    assert [each.status for each in store.each()] == ["interrupted", "open", "open", "interrupted", "closed", "interrupted"]
    assert [each.end for each in store.each() if each.status == "interrupted"] == [seconds(3), now, now]


def test_old_actions_are_deleted(store):
    store.write([action(0, start=0, end=1), action(1, start=100, end=101), action(2, start=0, end=None)])
    assert store.prune(seconds(50), dry=True) == 1 and len(store.query()) == 3
    assert store.prune(seconds(50)) == 1
    assert [each.id for each in store.each()] == ["id2", "id1"]


def test_an_action_survives_json():
    for each in (action(), action(end=None)):
        assert Action.of(each.to_dict()) == each


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("mysql://host/name", "is no event store"),
        ("sqlite://", "is no event store"),
        ("postgresql://user:secret@host", "is no event store"),
        ("://", "cannot be read"),
    ],
)
def test_other_places_are_refused_without_telling_secrets(where, says):
    with pytest.raises(KinemaError, match=says) as error:
        EventStore(where)
    assert "secret" not in str(error.value)


def test_a_store_that_is_not_there_is_not_made_by_looking(tmp_path):
    with pytest.raises(KinemaError, match=r"none\.db: no such file"):
        EventStore(tmp_path / "none.db", make=False)
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database_is_told_in_a_line(tmp_path):
    (tmp_path / "events.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(KinemaError, match=r"event store .*events\.db: file is not a database"):
        EventStore(tmp_path / "events.db").query()


def test_without_sqlalchemy_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(KinemaError, match=r'pip install "kinema\[events\]"'):
        EventStore(tmp_path / "events.db")
