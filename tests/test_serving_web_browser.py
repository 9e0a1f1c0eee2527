"""The page in a real browser: Chromium, whose camera is a film of somebody. Skips, with the reason, where there is none."""

import contextlib
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from make_live import swaying_models

from kinema import video
from kinema.datasets._actor_film import film_frames, write_film
from kinema.errors import KinemaError
from kinema.serving.access import Access

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from kinema.serving.run_web import WebServer  # noqa: E402
from kinema.serving.web import WebApplication  # noqa: E402

DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
SECONDS = 60_000  # milliseconds: the machine may be busy
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# A radio button is drawn by what stands beside it.
_OUTLINED = "(e => getComputedStyle(e.matches('.segments input') ? e.nextElementSibling : e))(document.activeElement)"
_DRAWN = "(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(value => value > 0))(document.getElementById('overlay'))"


@pytest.fixture(scope="module")
def chromium():
    """Starts Chromium with the film at a path for its camera."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"there is no Chromium here; looked for {', '.join(_NAMES)}")
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as started:

        @contextlib.contextmanager
        def start(camera):
            camera = f"--use-file-for-fake-video-capture={camera}"
            running = started.chromium.launch(executable_path=found, args=[*arguments, camera], timeout=2 * SECONDS)
            try:
                yield running
            finally:
                running.close()

        yield start


@contextlib.contextmanager
def served(models):
    application = WebApplication(models, Access("127.0.0.1", None))
    try:
        with WebServer(application, port=0) as server:
            yield server.address
    finally:
        application.close()


@contextlib.contextmanager
def opened(running, address, size, quiet=True):
    """A page; `quiet`: nothing of it may be told in the browser's console as an error."""
    problems = []
    page = running.new_page(viewport=size, color_scheme="light")
    page.set_default_timeout(SECONDS)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda told: problems.append(told.text) if told.type == "error" else None)
    page.goto(address, wait_until="load")
    yield page
    page.close()
    assert problems == [] or not quiet


def latency(page):
    text = page.locator("#latency").inner_text()
    return int(text) if text.isdecimal() else None


def fits(page):
    """Whether nothing is wider than the window, and what is pressed is large enough for a finger."""
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    heights = page.eval_on_selector_all("button, .button", "all => all.filter(e => e.offsetParent).map(e => e.offsetHeight)")
    return widths[0] <= widths[1] and min(heights) >= 34


@pytest.fixture(scope="module")
def actor(tmp_path_factory):
    """A camera's film of the drawn actor, who belongs to nobody's data."""
    folder = tmp_path_factory.mktemp("browser")
    frames = [frame for _, frame in zip(range(12), film_frames(["wave"], size=(320, 240), fps=6), strict=False)]
    return write_film(folder / "actor.y4m", iter(frames), 6), write_film(folder / "actor.webm", iter(frames), 6, codec="libvpx")


@pytest.fixture(scope="module")
def page_and_address(chromium, actor):
    with served(swaying_models(persons=2)) as address, chromium(actor[0]) as running:
        yield running, address


def test_on_a_desktop_all_is_done_by_keyboard(page_and_address):
    running, address = page_and_address
    with opened(running, address, DESKTOP) as page:
        seen = []
        for _ in range(6):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.id || document.activeElement.value || document.activeElement.className"))
            assert page.evaluate(f"{_OUTLINED}.outlineStyle") != "none", seen
            if seen[-1] == "start":
                break
        assert seen == ["skip", "theme", "camera", "start"]
        page.keyboard.press("Enter")
        page.wait_for_selector('#overlay[data-people="2"]')
        page.wait_for_selector("#bars li:nth-child(5):not([hidden])")
        page.wait_for_selector("#label:not(.none)")
        assert page.locator("#start").inner_text() == "Stop camera"
        assert latency(page) > 0 and fits(page)
        assert "Person" in page.locator("#announcer").inner_text()
        page.wait_for_selector("#events li")
        page.locator("#persons input").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.value") == "1"
        assert page.evaluate(_DRAWN)
        page.locator("#start").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#empty:not([hidden])")


def test_on_a_phone_it_stands_in_one_column_and_in_the_dark(page_and_address):
    running, address = page_and_address
    with opened(running, address, PHONE) as page:
        page.locator("#theme").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.locator("#start").click()
        page.wait_for_selector('#overlay[data-people="2"]')
        page.wait_for_selector("#bars li:nth-child(5):not([hidden])")
        assert latency(page) > 0 and fits(page)
        stage, now = page.locator("#stage").bounding_box(), page.locator("#now").bounding_box()
        assert now["y"] >= stage["y"] + stage["height"] and stage["width"] == now["width"] == PHONE["width"]


def test_a_film_is_sent_answered_and_played_with_its_skeletons(page_and_address, actor):
    running, address = page_and_address
    with opened(running, address, DESKTOP) as page:
        page.locator("input[value=film]").check()
        page.locator("#file").set_input_files(actor[1])
        page.wait_for_selector("#events button")
        page.wait_for_selector('#overlay[data-people="2"]')
        assert "actions" in page.locator("#film-name").inner_text() and page.locator("#lanes .lane").count() == 2
        page.locator("#events button").last.click()
        assert page.evaluate("document.getElementById('video').currentTime") >= 1.0


def test_a_token_is_asked_for_once(page_and_address):
    running, _ = page_and_address
    application = WebApplication(swaying_models(), Access("127.0.0.1", "a-token-of-the-tests"))
    try:
        with WebServer(application, port=0) as server, opened(running, server.address, PHONE, quiet=False) as page:
            for given, found in (("something-else", "text=That is not the token"), ("a-token-of-the-tests", "#start")):
                page.wait_for_selector("input[name=token]:focus")  # the page puts the cursor there by itself
                page.keyboard.type(given)
                page.keyboard.press("Enter")
                page.wait_for_selector(found)
            assert "token" not in page.url
            page.reload()
            page.wait_for_selector("#start")
    finally:
        application.close()


def test_a_server_that_goes_away_is_told_and_found_again(page_and_address):
    running, _ = page_and_address
    application = WebApplication(swaying_models(), Access("127.0.0.1", None))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    try:
        with WebServer(application, port=port) as server, opened(running, server.address, DESKTOP, quiet=False) as page:
            page.locator("#start").click()
            page.wait_for_selector('#overlay[data-people="1"]')
            server.__exit__()
            page.wait_for_selector("#badge:not([hidden])")
            with WebServer(application, port=port):
                page.wait_for_selector('#overlay[data-people="1"]')
    finally:
        application.close()


def test_a_real_person_is_found_through_the_real_models(chromium, data_root, models, tmp_path):
    """A clip of JHMDB for a camera, the published detector and estimator, the bundle that ships."""
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    from kinema.serving.following import Models

    folder = data_root("jhmdb") / "wave"
    models("rtmdet_nano_person.onnx")
    clip = sorted(folder.glob("*.mp4"))[0]
    images = video.read_frames(clip, np.arange(0, 24, 3), 240)
    try:
        loaded = Models.load(None, "movenet")
    except KinemaError as error:
        pytest.skip(str(error))
    camera = write_film(Path(tmp_path) / "person.y4m", iter(images), 10)
    with served(loaded) as address, chromium(camera) as running, opened(running, address, PHONE) as page:
        page.locator("#start").click()
        page.wait_for_selector("#overlay[data-people]:not([data-people='0'])")
        assert latency(page) > 0
        page.wait_for_selector("#bars li:not([hidden])")
