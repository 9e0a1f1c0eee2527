"""The web application: who is let in, pictures to answers, films to timelines, and what becomes of nonsense."""

import io
import json
import time

import numpy as np
import pytest
from make_live import CAMERA, LABELS, opener, swaying_models
from make_streams import jpeg
from make_videos import picture, write_video

from kinema.capture.newest import Capture
from kinema.errors import KinemaError
from kinema.serving.access import Access, is_loopback

for needed in ("fastapi", "uvicorn", "websockets", "httpx"):
    pytest.importorskip(needed, reason=f"{needed} is not installed")
from make_server import IMAGE, Running, message  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from kinema.serving.web import PAGE  # noqa: E402

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def server():
    with Running(film=300_000, film_seconds=5.0, films=2, silent=60.0, message=100_000) as running:
        yield running


@pytest.mark.parametrize(
    ("host", "alone"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("example.org", False)]
)
def test_other_machines_reach_it_with_a_token_or_not_at_all(host, alone):
    assert is_loopback(host) == alone
    if not alone:
        with pytest.raises(KinemaError, match="--token"):
            Access(host, None)
    with pytest.raises(KinemaError, match="easily guessed"):
        Access(host, "short")
    assert Access(host, TOKEN).needed


def test_the_page_comes_whole_from_the_package(server):
    answer = server.get("/")
    for name in ("style.css", "app.js", "theme.js", "mark.svg"):
        assert f'"{name}"' in answer.text and server.get(f"/{name}").status_code == 200
    for path in PAGE.iterdir():
        assert "://" not in path.read_text("utf-8").replace("http://www.w3.org/2000/svg", ""), path.name
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for path in ("/../pyproject.toml", "/web.py", "/%2e%2e/web.py", "/nothing.js", "/docs", "/openapi.json"):
        assert server.get(path).status_code == 404
    assert server.get("/api/status").json()["labels"] == list(LABELS)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_another_sites_page_gets_nothing(server, headers):
    assert server.get("/api/status", headers=headers).status_code == 403
    assert server.post("/api/films", headers=headers, content=b"x").status_code == 403
    if "Origin" in headers:
        with pytest.raises(InvalidStatus, match="403"), server.connect(**headers):
            pass
    with server.connect(Origin=server.server.address) as own:
        assert own.hear()["type"] == "hello"


def test_with_a_token_nothing_is_shown_without_it():
    with Running(token=TOKEN) as server:
        page = {"Accept": "text/html"}
        refused = server.get("/", headers=page)
        assert refused.status_code == 401 and "asks for a token" in refused.text
        for path in ("/api/status", "/app.js", "/?token=wrong-token-here"):
            assert server.get(path).status_code == 401
        with pytest.raises(InvalidStatus, match="403"), server.connect():
            pass
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert server.get("/api/status", headers=bearer).status_code == 200
        with server.connect(**bearer) as client:
            assert client.hear()["type"] == "hello"
        assert "not the token" in server.post("/enter", content="token=no").text
        entered = server.get(f"/?token={TOKEN}")
        assert entered.status_code == 303 and entered.headers["location"] == "/"
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
        assert server.get("/", headers=page).status_code == 200


def test_pictures_are_answered_one_by_one_with_skeletons_labels_and_times(server):
    with server.connect() as client:
        hello = client.hear()
        assert len(hello["joints"]) == 17 and hello["labels"] == list(LABELS)
        first, second = client.ask(0.0), client.ask(1.2)
        assert (first["width"], first["height"]) == (160, 120)
        assert first["persons"][0]["label"] is None and "have been seen" in first["persons"][0]["flaw"]
        person = second["persons"][0]
        assert len(person["points"]) == 51 and person["label"] == "clap" and len(person["top"]) == 5
        assert second["opened"][0]["label"] == "clap" and second["opened"][0]["source"].startswith("browser")
        assert {"decode", "turn", "detect", "pose", "track", "recognise", "total"} <= set(second["ms"])
        client.send("end")
        ended = client.hear()
        assert ended["type"] == "ended" and ended["closed"][0]["end"] == 1.2
        assert client.ask(0.0)["time"] == 0.0


def test_each_client_has_persons_and_times_of_its_own(server):
    with server.connect() as one, server.connect() as two:
        one.hear(), two.hear()
        one.ask(50.0)
        assert two.ask(0.0)["persons"][0]["label"] is None
        assert one.ask(51.0)["persons"][0]["label"] is not None


NONSENSE = {
    "the time of a picture is 2.3": b"hello, this is no picture",
    "8 bytes of time and a JPEG": b"abc",
    "the time of a picture is nan": message(float("nan")),
    "the time of a picture is -1": message(-1.0),
    "is no JPEG": message(0.0, b"not a picture at all"),
    "what follows the time is no JPEG": message(0.0, IMAGE[:200]),
    "16 a side": message(0.0, jpeg(np.zeros((8, 2000, 3), np.uint8))),
    "only word": "hello",
}


def dropped_with(client):
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            client.hear()
    return ended.value.rcvd.code, ended.value.rcvd.reason


def test_who_sends_nonsense_is_dropped_with_the_reason_and_the_others_stay(server):
    with server.connect() as good:
        good.hear()
        for i, (says, nonsense) in enumerate(NONSENSE.items()):
            with server.connect() as bad:
                bad.hear()
                bad.send(nonsense)
                code, reason = dropped_with(bad)
            assert says in reason and code == 1003
            assert good.ask(float(i))["type"] == "answer"
    dropped = server.get("/api/status").json()["dropped"]
    assert all(any(says in reason for reason in dropped) for says in NONSENSE)


def test_time_that_runs_backwards_ends_it(server):
    with server.connect() as client:
        client.hear()
        client.ask(5.0)
        client.send(message(4.0))
        assert "runs backwards" in dropped_with(client)[1]


def test_there_is_room_for_so_many_and_who_is_silent_leaves():
    with Running(clients=1, silent=1.0) as server, server.connect() as first:
        first.hear()
        with server.connect() as second:
            code, reason = dropped_with(second)
        assert code == 1013 and "as many as" in reason
        assert "nothing was sent" in dropped_with(first)[1]


def follow(server, number, seconds=60):
    end = time.monotonic() + seconds
    while (told := server.get(f"/api/films/{number}").json())["state"] not in ("done", "failed", "cancelled"):
        assert time.monotonic() < end, told
        time.sleep(0.05)
    return told


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("web") / "film.mp4", frames=75, rate=25).read_bytes()


def test_a_film_is_answered_as_a_timeline_with_skeletons(server, film):
    sent = server.post("/api/films", content=film)
    assert sent.status_code == 202
    number = sent.json()["film"]
    assert follow(server, number) == {"film": number, "state": "done", "progress": 1.0, "reason": ""}
    answer = server.get(f"/api/films/{number}", params={"answer": "true"}).json()["answer"]
    assert answer["duration"] == pytest.approx(3.0, abs=0.05) and (answer["width"], answer["height"]) == (64, 48)
    assert [event["label"] for event in answer["events"]] == list(LABELS[:3])
    times = [moment["time"] for moment in answer["track"]]
    assert 30 <= len(times) <= 45 and times == sorted(times)
    assert len(answer["track"][-1]["persons"][0]["points"]) == 51
    assert server.get("/api/films/other").status_code == 404


def test_a_film_that_is_none_too_large_or_too_long_is_refused_with_the_reason(server, film, tmp_path):
    long = write_video(tmp_path / "long.mp4", frames=40, rate=4).read_bytes()
    for content, status, says in ((b"no film", 422, "cannot be used"), (b"0" * 400_000, 413, "larger than"), (long, 413, "lasts 10 s")):
        refused = server.post("/api/films", content=content)
        assert refused.status_code == status and says in refused.json()["error"]
        assert "/tmp" not in refused.text
    endless = (b"0" * 10_000 for _ in range(100))
    assert server.post("/api/films", content=endless).status_code == 413


def test_a_film_that_breaks_off_is_forgotten(server):
    def broken():
        yield b"0" * 1000
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        server.post("/api/films", content=broken())
    films = server.application.films
    end = time.monotonic() + 20
    while any(films._folder.iterdir()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(films._folder.iterdir())


def test_films_wait_for_their_turn_are_not_too_many_and_can_be_cancelled(film):
    with Running(models=swaying_models(seconds=0.2), films=2) as server:
        numbers = [server.post("/api/films", content=film).json()["film"] for _ in range(2)]
        refused = server.post("/api/films", content=film)
        assert refused.status_code == 429 and "try again later" in refused.json()["error"]
        for number in reversed(numbers):
            assert server.http.delete(f"/api/films/{number}").status_code == 204
            assert follow(server, number)["state"] == "cancelled"
        assert not any(server.application.films._folder.iterdir())


def test_a_stream_of_the_servers_own_is_shown_to_all(server):
    def life():
        for i in range(100_000):
            yield i * 0.1, picture(i % 20, 48, 64)
            time.sleep(0.02)

    with Running(capture=Capture(CAMERA, opener=opener(life))) as own:
        assert own.get("/api/status").json()["stream"] == "camera 0"
        with own.connect("/api/watch") as one, own.connect("/api/watch") as two:
            for client in (one, two):
                assert client.hear()["source"] == "camera 0"
                assert [client.hear()["type"] for _ in range(2)] == ["recent", "source"]
                told, shown, words = watched(client)
                assert told["persons"][0]["points"] and shown.shape == (48, 64, 3)
                assert "total" in told["ms"] and all(word["type"] in ("events", "source") for word in words)
    with pytest.raises(InvalidStatus, match="403"), server.connect("/api/watch"):
        pass


def watched(client):
    """The next picture: what is told of it, the picture, and the words that came before."""
    from PIL import Image

    words = []
    while not isinstance(data := client.hear(), bytes):
        words.append(data)
    length = int.from_bytes(data[:4], "little")
    return json.loads(data[4 : 4 + length]), np.asarray(Image.open(io.BytesIO(data[4 + length :]))), words
