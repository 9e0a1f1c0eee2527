"""The same store on a real PostgreSQL server, which the test starts, takes away for a while, and gives back."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

from make_events import NOON, action, answer, event

from kinema.errors import KinemaError
from kinema.serving.events import EventStore, Wanted
from kinema.serving.recorder import Recorder


class Server:
    """A PostgreSQL server of its own, on a free port of this machine, in a folder of its own."""

    def __init__(self, programs: Path, folder: Path):
        self._programs, self._folder = programs, folder
        # PostgreSQL refuses to run as root.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", f"{folder}/data", "-U", "kinema", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")

    @property
    def url(self) -> str:
        return f"postgresql://kinema@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-w", "-t", "120", "-l", f"{self._folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [*self._as, str(self._programs / program), *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", timeout=200
        )
        assert done.returncode == 0, done.stderr.decode()


def find_programs() -> Path:
    if os.name != "posix":
        pytest.skip("the server is started on Linux and macOS alone")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("there is no PostgreSQL server on this machine")
    return (found[-1] if found else Path(on_path)).parent


@pytest.fixture(scope="module")
def server():
    programs = find_programs()
    folder = Path(tempfile.mkdtemp(prefix="kinema-pg-"))
    if os.geteuid() == 0:
        pwd = pytest.importorskip("pwd")
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no runuser")
        os.chown(folder, user.pw_uid, user.pw_gid)
    server = Server(programs, folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


def test_actions_are_kept_and_found(server):
    store = EventStore(server.url)
    opened = action(0, end=None, label="a\0b")
    closed = replace(opened, end=NOON + timedelta(seconds=3), status="closed")
    for rows in ([opened, action(1, start=5, end=6, person=7)], [closed], [opened]):
        store.write(rows)
    assert store.query(Wanted(label="ab")) == [replace(closed, label="ab")]
    assert [each.id for each in store.each(Wanted(since=NOON + timedelta(seconds=4)))] == ["id1"]
    assert store.prune(NOON + timedelta(seconds=4)) == 1 and [each.person for each in store.query()] == [7]
    assert store.close_interrupted() == 0
    store.close()


def test_a_server_that_is_gone_for_a_while_gets_everything_when_it_is_back(server, tmp_path):
    with Recorder(EventStore(server.url), heartbeat=0.2, journal=tmp_path / "journal.jsonl") as recorder:
        recorder.record(answer(1.0, closed=[event(0.0, 1.0, label="before")]))
        assert recorder.flush(60)
        server.stop()
        began = time.monotonic()
        for number in range(20):
            recorder.record(answer(number + 1.0, closed=[event(float(number), number + 1.0, label="meanwhile")]))
        assert time.monotonic() - began < 2  # nobody has waited
        while recorder.state != "away":
            assert time.monotonic() - began < 60
            time.sleep(0.01)
        with pytest.raises(KinemaError, match="event store postgresql"):
            EventStore(server.url).query()
        server.start()
        recorder.record(answer(1.0, closed=[event(0.0, 1.0, label="after")]))
        assert recorder.flush(60) and recorder.lost == 0
    found = [each.label for each in EventStore(server.url).each()]
    assert [found.count(label) for label in ("before", "meanwhile", "after")] == [1, 20, 1]


def test_a_wrong_database_is_told_without_its_password(server):
    with pytest.raises(KinemaError, match="does not exist") as error:
        EventStore(server.url.replace("kinema@", "kinema:secret@").replace("/postgres", "/nothing")).query()
    assert "secret" not in str(error.value)
