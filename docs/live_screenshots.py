"""Makes the pictures of docs/live.md: the page in Chromium, before whose camera the drawn actor performs. Nobody was recorded.

    python docs/live_screenshots.py [--backend auto] [--bundle NAME] [--actions walk,throw] [--folder docs]

The server, the pose estimator and the recogniser are the real ones; only the camera is a film.
"""

import argparse
import contextlib
import shutil
import tempfile
import time
from pathlib import Path

from playwright.sync_api import TimeoutError, sync_playwright

from kinema.datasets._actor_film import film_frames, write_film
from kinema.serving.access import Access
from kinema.serving.following import Models
from kinema.serving.run_web import WebServer
from kinema.serving.web import WebApplication

FPS = 15
VIEWS = {"live.png": ((1280, 900), "light", 1), "live-phone.png": ((390, 844), "dark", 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--bundle")
    parser.add_argument("--actions", default="walk,walk,walk,throw,walk,walk,walk", help="that the actor performs, over and over")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    parser.add_argument("--seconds", type=float, default=20.0, help="after which the next answer is pictured")
    args = parser.parse_args()
    application = WebApplication(Models.load(args.bundle, args.backend), Access("127.0.0.1", None))
    with tempfile.TemporaryDirectory() as folder, WebServer(application, port=0) as server, sync_playwright() as started:
        film = write_film(Path(folder, "actor.y4m"), film_frames(args.actions.split(","), fps=FPS), FPS)
        camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"]
        for name, (size, scheme, zoom) in VIEWS.items():
            browser = started.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--headless=new", "--no-sandbox", "--disable-gpu", *camera], timeout=120_000
            )
            page = browser.new_page(
                viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme, device_scale_factor=zoom
            )
            page.goto(server.address)
            page.locator("#start").click()
            page.wait_for_selector("#overlay[data-people]", timeout=60_000)
            time.sleep(args.seconds)
            with contextlib.suppress(TimeoutError):
                page.wait_for_selector("#label:not(.none)", timeout=60_000)
            page.screenshot(path=args.folder / name)
            print(args.folder / name, page.locator("#now").inner_text().splitlines())
            browser.close()
    application.close()


if __name__ == "__main__":
    main()
