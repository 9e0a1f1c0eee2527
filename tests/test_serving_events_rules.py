"""Rules: who is told of what, once it has lasted; and the message arrives, also where the receiver fails first."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("sqlalchemy")

from make_events import NOON, answer, event

from kinema.errors import DataError
from kinema.serving.messenger import Messenger
from kinema.serving.rules import Alarm, EventRule, RuleWatch, read_rules

FALL = """
rules:
  - name: fall
    labels: [fall, lie down]
    lasting: 5
    url: http://127.0.0.1:9/alarm
"""


def rule(**fields):
    return EventRule(**{"name": "fall", "labels": ("fall", "lie down"), "url": "http://127.0.0.1:9/alarm", "lasting": 5.0, **fields})


def play(rules, spans, source="hall", step=0.25):
    """Alarms of a stream where `spans` are (start, end, label, person)."""
    told = []
    watch = RuleWatch(rules, source, told.append)
    for number in range(int(max(end for _, end, *_ in spans) / step) + 1):
        time = number * step
        going = [event(start, label=label, person=person) for start, end, label, person in spans if start <= time < end]
        watch.step(answer(time, going=going))
    return [(alarm.person, alarm.label, alarm.start, alarm.time) for alarm in told]


@pytest.mark.parametrize(
    ("fields", "spans", "alarms"),
    [
        ({}, [(1, 9, "fall", 0)], [(0, "fall", 1, 6)]),
        ({}, [(1, 5, "fall", 0)], []),
        ({}, [(1, 9, "walk", 0)], []),
        ({}, [(1, 3, "fall", 0), (3, 9, "Lie  Down", 0)], [(0, "Lie  Down", 1, 6)]),  # from one label to another the time goes on
        ({}, [(1, 3, "fall", 0), (3.5, 9, "fall", 0)], [(0, "fall", 1, 6)]),  # a short gap
        ({"gap": 0.3}, [(1, 3, "fall", 0), (3.5, 9, "fall", 0)], [(0, "fall", 3.5, 8.5)]),
        ({"lasting": 0}, [(1, 2, "fall", 0)], [(0, "fall", 1, 1)]),
        ({"lasting": 0}, [(1, 2, "fall", 0), (10, 11, "fall", 0)], [(0, "fall", 1, 1)]),  # the cooldown
        ({"lasting": 0, "cooldown": 5}, [(1, 2, "fall", 0), (10, 11, "fall", 1)], [(0, "fall", 1, 1), (1, "fall", 10, 10)]),
        ({"confidence": 0.9}, [(1, 9, "fall", 0)], []),
        ({"sources": ("door",)}, [(1, 9, "fall", 0)], []),
        ({"sources": ("door", "hall")}, [(1, 9, "fall", 0)], [(0, "fall", 1, 6)]),
    ],
)
def test_an_alarm_comes_once_it_has_lasted(fields, spans, alarms):
    assert play([rule(**fields)], spans) == alarms


def test_rules_are_read_and_told_without_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "secret")
    path = tmp_path / "rules.yaml"
    path.write_text(
        FALL + "    headers: {Authorization: 'Bearer ${TOKEN}'}\n  - {name: b, labels: wave, url: 'https://u:p@h/x?key=${TOKEN}'}\n"
    )
    first, second = read_rules(path, ["Fall", "lie down", "wave"])
    assert first.headers == {"Authorization": "Bearer secret"} and first.lasting == 5 and second.labels == ("wave",)
    assert first.describe() == "fall: fall or lie down for 5 s -> POST http://127.0.0.1:9/alarm (again after 60 s)"
    assert second.url == "https://u:p@h/x?key=secret" and "secret" not in second.describe() + repr(first) and "u:p" not in second.describe()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rules: [", "is no YAML"),
        ("- a", "a list of rules under the one key"),
        ("rules: []", "there are 0 rules"),
        ("rules: [1]", "rule 1 is '1'"),
        ("rules: [{name: a, labels: [x]}]", "rule 1 has no url"),
        (FALL + "    lastin: 5", "did you mean 'lasting'"),
        (FALL.replace("lasting: 5", "lasting: soon"), "lasting is 'soon'"),
        (FALL.replace("lasting: 5", "lasting: true"), "lasting is True"),
        (FALL.replace("lasting: 5", "lasting: .nan"), "lasting is nan"),
        (FALL.replace("http://127.0.0.1:9/alarm", "file:///etc/passwd"), "http://HOST"),
        (FALL.replace("http://127.0.0.1:9/alarm", "http://"), "http://HOST"),
        (FALL.replace("http://127.0.0.1:9/alarm", "'http://a b'"), "http://HOST"),
        (FALL.replace("[fall, lie down]", "[fal]"), "did you mean 'fall'"),
        (FALL.replace("[fall, lie down]", "[]"), "has no labels"),
        (FALL.replace("[fall, lie down]", "[[1]]"), "a list of names"),
        (FALL + "    headers: {A: '${NO_SUCH}'}", "the environment has no NO_SUCH"),
        (FALL + '    headers: {A: "x\\nB: y"}', "not a line of text"),
        (FALL + FALL.partition("rules:\n")[2], "two rules have one name"),
        ("rules: !!python/object/apply:os.system [ls]", "is no YAML"),
    ],
)
def test_bad_rules_are_told_in_a_line(tmp_path, text, says):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=says) as error:
        read_rules(path, ["fall", "lie down"])
    assert str(path) in str(error.value) and "\n" not in str(error.value)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((json.loads(body), self.headers))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.heard, server.answers = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/alarm"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def alarm(of):
    return Alarm(of, 2, "fall", "hall", 10.0, 15.0, 0.87654)


def test_a_message_arrives_also_where_its_receiver_fails_twice(receiver, tmp_path):
    receiver.answers = [500, 503]
    told = rule(url=receiver.url, headers={"Authorization": "Bearer x"})
    messenger = Messenger([told], tmp_path / "outbox", bundle="b 12", first_retry=0.05)
    number = messenger.send(alarm(told), NOON.timestamp())
    assert messenger.flush(30)
    assert messenger.delivered == 1 and len(receiver.heard) == 3
    for body, headers in receiver.heard:
        assert headers["Idempotency-Key"] == number == body.pop("id") and headers["Authorization"] == "Bearer x"
        assert body == {
            "rule": "fall",
            "label": "fall",
            "person": 2,
            "source": "hall",
            "start": "2026-03-01T11:59:55+00:00",
            "time": "2026-03-01T12:00:00+00:00",
            "seconds": 5.0,
            "confidence": 0.8765,
            "bundle": "b 12",
        }
    assert list((tmp_path / "outbox").glob("*.json")) == []
    messenger.close()


@pytest.mark.parametrize(("status", "times"), [(400, 1), (404, 1), (429, 2), (302, 2)])
def test_what_the_receiver_refuses_is_given_up_what_it_puts_off_is_not(receiver, tmp_path, status, times):
    receiver.answers = [status]
    told = rule(url=receiver.url)
    messenger = Messenger([told], tmp_path / "outbox", first_retry=0.05)
    messenger.send(alarm(told))
    assert messenger.flush(30) and len(receiver.heard) == times
    assert (messenger.failed, messenger.delivered) == ((1, 0) if times == 1 else (0, 1))
    messenger.close()


def test_what_has_not_arrived_is_sent_by_the_next_run(receiver, tmp_path, monkeypatch):
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        away = rule(url=f"http://127.0.0.1:{taken.getsockname()[1]}/", timeout=1.0)
        first = Messenger([away], tmp_path / "outbox", first_retry=30.0)
        first.name = "kinema-no-such-host:1:x"
        number = first.send(alarm(away))
        time.sleep(0.3)
        first.close()
    assert [path.stem for path in (tmp_path / "outbox").glob("*.json")] == [number]
    monkeypatch.setattr("kinema.serving.messenger.recorder_gone", lambda recorder, *_: recorder == "kinema-no-such-host:1:x")
    second = Messenger([rule(url=receiver.url)], tmp_path / "outbox")
    assert second.flush(30) and receiver.heard[0][0]["id"] == number
    second.close()


def test_a_receiver_that_hangs_holds_up_nobody(receiver, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and never answers
        slow = rule(name="slow", url=f"http://127.0.0.1:{deaf.getsockname()[1]}/", timeout=2.0)
        quick = rule(name="quick", url=receiver.url)
        messenger = Messenger([slow, quick], tmp_path / "outbox")
        began = time.monotonic()
        messenger.send(alarm(slow))
        messenger.send(alarm(quick))
        assert time.monotonic() - began < 0.5
        while messenger.waiting > 1:
            assert time.monotonic() - began < 20
            time.sleep(0.01)
        assert messenger.delivered == 1 and len(receiver.heard) == 1
        messenger.close(0.0)


def test_a_message_too_old_is_given_up(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = rule(url=f"http://127.0.0.1:{taken.getsockname()[1]}/", give_up=1.0)
        messenger = Messenger([away], tmp_path / "outbox", first_retry=0.2)
        messenger.send(alarm(away))
        assert messenger.flush(30) and messenger.failed == 1
        messenger.close()
