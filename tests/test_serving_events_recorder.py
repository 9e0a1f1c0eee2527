"""Recording never waits, and loses nothing: not when the database is away, not when the process is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from make_events import NOON, action, answer, event

from kinema.errors import KinemaError
from kinema.serving._journal import Journal
from kinema.serving.events import EventStore
from kinema.serving.recorder import Recorder


@pytest.fixture
def recorder(tmp_path):
    with Recorder(EventStore(tmp_path / "events.db"), bundle="b 12", heartbeat=0.05, journal=tmp_path / "journal.jsonl") as recorder:
        yield recorder


def rows(path):
    return list(EventStore(path / "events.db").each())


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def test_an_action_is_there_when_it_opens_goes_on_and_is_closed(recorder, tmp_path):
    noon = NOON.timestamp()
    opened = event(9.0)
    recorder.record(answer(10.0, opened=[opened]), noon, source="hall")
    assert recorder.flush()
    (row,) = rows(tmp_path)
    assert (row.label, row.person, row.source, row.bundle, row.status, row.end) == ("wave", 0, "hall", "b 12", "open", None)
    assert row.start.timestamp() == noon - 1 and row.seen == NOON
    recorder.record(answer(12.0, going=[opened]), noon + 2, source="hall")
    until(lambda: rows(tmp_path)[0].seen.timestamp() == noon + 2)
    recorder.record(answer(13.0, closed=[event(9.0, 12.5, confidence=0.7)]), noon + 3)
    assert recorder.flush()
    (row,) = rows(tmp_path)
    assert (row.status, row.confidence, row.seconds) == ("closed", 0.7, 3.5)


def test_an_action_whose_beginning_nobody_heard_is_kept_too(recorder, tmp_path):
    recorder.ended([event(1.0, 3.0)])
    assert recorder.flush() and rows(tmp_path)[0].seconds == 2


def test_what_nobody_ends_is_interrupted(tmp_path):
    with Recorder(EventStore(tmp_path / "events.db"), journal=tmp_path / "journal.jsonl") as recorder:
        recorder.record(answer(10.0, opened=[event(9.0)]))
    (row,) = rows(tmp_path)
    assert row.status == "interrupted" and row.end == row.seen


def test_an_action_of_a_stream_that_is_no_more_is_interrupted(recorder, tmp_path, monkeypatch):
    monkeypatch.setattr("kinema.serving.recorder._FORGOTTEN", 0.2)
    recorder.record(answer(10.0, opened=[event(9.0)]))
    until(lambda: recorder.flush() and rows(tmp_path)[0].status == "interrupted")


def test_a_database_that_is_locked_is_away_and_gets_everything_when_it_is_back(recorder, tmp_path, monkeypatch):
    recorder.record(answer(0.5, closed=[event(0.0, 0.5)]))
    assert recorder.flush()
    monkeypatch.setattr(recorder.store, "write", away(recorder.store.write))
    began = time.monotonic()
    for number in range(1, 30):
        recorder.record(answer(number + 0.5, closed=[event(float(number), number + 0.5)]))
    assert time.monotonic() - began < 2
    until(lambda: recorder.state == "away" and recorder.journal.waiting == 29)
    assert "is away" in recorder.reason
    monkeypatch.undo()
    assert recorder.flush(20)
    assert len(rows(tmp_path)) == 30 and recorder.lost == 0 and not (tmp_path / "journal.jsonl").exists()


def away(write):
    def refuse(actions):
        raise KinemaError("the database is away")

    return refuse


def test_a_file_that_another_process_locks(tmp_path):
    store = EventStore(tmp_path / "events.db")
    store.write([action()])
    lock = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with Recorder(store, journal=tmp_path / "journal.jsonl") as recorder:
        recorder.record(answer(1.0, closed=[event(0.0, 1.0)]))
        until(lambda: recorder.state == "away", 30)
        assert "locked" in recorder.reason
        lock.execute("ROLLBACK")
        assert recorder.flush(30) and recorder.state == "recording"
    assert len(rows(tmp_path)) == 2


def test_a_file_that_is_deleted_meanwhile_is_made_anew(recorder, tmp_path):
    recorder.record(answer(1.0, closed=[event(0.0, 1.0)]))
    assert recorder.flush()
    for path in tmp_path.glob("events.db*"):
        path.unlink()
    recorder.record(answer(2.0, closed=[event(1.0, 2.0, label="walk")]))
    assert recorder.flush(20)
    assert [row.label for row in rows(tmp_path)] == ["walk"]


def test_a_queue_that_is_full_spills_and_nothing_is_lost(tmp_path, monkeypatch):
    store, hold = EventStore(tmp_path / "events.db"), threading.Event()
    write = store.write
    monkeypatch.setattr(store, "write", lambda actions: (hold.wait(20), write(actions))[1])
    with Recorder(store, journal=tmp_path / "journal.jsonl", capacity=5) as recorder:
        began = time.monotonic()
        for number in range(50):
            recorder.record(answer(number + 0.5, closed=[event(float(number), number + 0.5)]))
        assert time.monotonic() - began < 2
        assert recorder.journal.waiting >= 40
        hold.set()
        assert recorder.flush(20)
    assert len(rows(tmp_path)) == 50


def test_rows_that_can_be_kept_nowhere_are_counted(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    recorder = Recorder(EventStore(tmp_path / "events.db"), journal=tmp_path / "journal.jsonl")
    monkeypatch.setattr(recorder.store, "write", away(None))
    recorder.journal.path = tmp_path / "file" / "journal.jsonl"
    recorder.record(answer(1.0, closed=[event(0.0, 1.0)]))
    until(lambda: recorder.lost == 1)
    assert recorder.state == "losing"
    recorder.close()
    assert recorder.state == "closed"


def test_half_a_line_in_the_journal_spoils_no_other(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add([action(0)])
    with journal.path.open("ab") as file:
        file.write(b'{"id": "id1", "per')
    journal.add([action(2)])
    again = Journal(journal.path)
    assert again.read() == [action(0), action(2)] and again.waiting == 2
    again.written([action(0)])
    assert again.read() == [action(2)]


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[2])
from make_events import answer, event
from kinema.serving.events import EventStore
from kinema.serving.recorder import Recorder

recorder = Recorder(EventStore(sys.argv[1] + "/events.db"), heartbeat=0.1, journal=sys.argv[1] + "/journal.jsonl")
began = time.monotonic()
for number in range(3):
    recorder.record(answer(number + 1.0, closed=[event(float(number), number + 1.0)]))
going = event(3.0, label="walk")
recorder.record(answer(3.0, opened=[going]), source="hall")
recorder.flush()
print("recording", flush=True)
while True:
    recorder.record(answer(3.0 + time.monotonic() - began, going=[going]), source="hall")
    time.sleep(0.02)
"""


@pytest.mark.skipif(os.name != "posix", reason="processes are killed with SIGKILL")
def test_a_kill_loses_no_more_than_the_end_of_the_open_action(tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "recording\n"
            first = rows(tmp_path)[-1].seen
            until(lambda: (rows(tmp_path)[-1].seen - first).total_seconds() > 0.5, 60)
            noted = rows(tmp_path)[-1].seen
        finally:
            child.send_signal(signal.SIGKILL)
    assert [row.status for row in rows(tmp_path)] == ["closed", "closed", "closed", "open"]
    with Recorder(EventStore(tmp_path / "events.db"), journal=tmp_path / "journal.jsonl") as recorder:
        until(lambda: recorder.interrupted == 1)
    last = rows(tmp_path)[-1]
    assert last.status == "interrupted" and last.end == last.seen >= noted
