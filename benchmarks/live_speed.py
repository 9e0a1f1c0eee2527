"""How fast a live stream is followed from end to end, how late its answers are, and where the time goes: one person and three, 640 x 480.

    python benchmarks/live_speed.py [--video FILE] [--backend auto] [--bundle NAME] [--seconds 20] [--camera_fps 60]
        [--out results/live_speed.json]

A camera is played: JPEG pictures come at `--camera_fps` a second, a thread decodes them as they come and keeps the newest one, the engine
finds persons, estimates poses and recognises, and every answer is drawn into its picture in a thread beside it. A picture's latency
counts from the moment its JPEG came to its answer. "file" rows answer every picture of a file without a camera's clock, which tells how
many a second there could be. Three persons are three pieces of the one-person video side by side. Without --video: a drawn actor.
"""

import argparse
import io
import itertools
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kinema import video
from kinema._cores import cores
from kinema.capture.newest import Capture
from kinema.capture.sources import Opened, Source
from kinema.evaluation.results import speed_row, write_results
from kinema.serving.drawing import draw_step
from kinema.serving.following import Models
from kinema.serving.live import Background, Engine, Listener
from kinema.serving.timing import summary_text

WIDTH, HEIGHT, MOST = 640, 480, 240


def person_frames(path: Path | None) -> list[np.ndarray]:
    """Pictures of one person, as they come."""
    if path is None:
        from kinema.datasets._actor_film import film_frames

        return list(itertools.islice(film_frames(["wave", "squat", "clap"], fps=15), MOST))
    return [image for _, image in itertools.islice(video.stream(path), MOST)]


def fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture's middle, filling `width` x `height`."""
    from PIL import Image

    zoom = max(width / image.shape[1], height / image.shape[0])
    picture = Image.fromarray(image).resize((max(round(zoom * image.shape[1]), width), max(round(zoom * image.shape[0]), height)))
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return np.asarray(picture.crop((left, top, left + width, top + height)))


def jpegs(frames: list[np.ndarray], persons: int) -> list[bytes]:
    from PIL import Image

    packed = []
    for number in range(len(frames)):
        widths = np.diff(np.linspace(0, WIDTH, persons + 1).round().astype(int))
        parts = [fitted(frames[(number + 17 * i) % len(frames)], int(width), HEIGHT) for i, width in enumerate(widths)]
        out = io.BytesIO()
        Image.fromarray(np.concatenate(parts, 1)).save(out, "JPEG", quality=90)
        packed.append(out.getvalue())
    return packed


def player(pictures: list[bytes], fps: float | None, seconds: float):
    """Opens to a camera that gives these pictures at a rate, or as fast as they are taken; forwards, backwards, and so on."""
    import av

    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]

    def play():
        decoder = av.CodecContext.create("mjpeg", "r")
        began = time.monotonic()
        for number in itertools.count():
            due = began + number / (fps or 1e9)
            time.sleep(max(0.0, due - time.monotonic()))
            came = time.monotonic()
            if came - began > seconds:
                return
            for frame in decoder.decode(av.Packet(pictures[order[number % len(order)]])):
                yield (number / fps if fps else came - began), frame.to_ndarray(format="rgb24"), came

    @contextmanager
    def opened(source):
        yield Opened(play(), endless=False)

    return opened


class People(Listener):
    """How many are followed."""

    def __init__(self):
        self.counts = []

    def moment(self, moment):
        self.counts.append(len(moment.step.poses))


def measure(models: Models, pictures: list[bytes], fps: float | None, seconds: float) -> dict:
    source = Source("0", "camera" if fps else "file")
    people, drawn = People(), []
    drawing = Background(lambda moment: drawn.append(draw_step(moment.frame.image, moment.step, models.layout).size))
    with Capture(source, realtime=fps is not None, opener=player(pictures, fps, seconds)) as capture:
        timing = Engine(capture, models.follower("measured"), [people, drawing]).run()
    summary = timing.summary()
    summary["people"] = float(np.mean(people.counts))
    summary["dropped"], summary["drawn"] = capture.dropped, len(drawn)
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="one person; default: a drawn actor")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--bundle")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement, after 3 that are not counted")
    parser.add_argument("--camera_fps", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=Path("results/live_speed.json"))
    args = parser.parse_args()
    models = Models.load(args.bundle, args.backend)
    estimator = type(models.follower("").tracker.estimator).__name__
    frames, rows = person_frames(args.video), []
    for persons, fps in itertools.product((1, 3), (args.camera_fps, None)):
        pictures = jpegs(frames, persons)
        measure(models, pictures, fps, min(3.0, args.seconds))
        found = measure(models, pictures, fps, args.seconds)
        name = f"{persons} {'person' if persons == 1 else 'people'}, {'camera' if fps else 'file'}"
        work = f"JPEG {WIDTH}x{HEIGHT}{f' at {fps:g}/s' if fps else ''} -> {estimator}, {models.bundle.name}, drawn"
        # A picture's median time is its share of a second; its latency is another thing, since pictures overlap.
        extra = {key: found[key] for key in ("fps", "people", "frames", "dropped", "drawn", "stages_ms")}
        if fps:  # a file's pictures wait for their turn
            extra |= {
                "latency_median_ms": found["latency_ms"]["median"],
                "latency_p95_ms": found["latency_ms"]["p95"],
                "shares": found["shares"],
            }
        rows.append(speed_row(name, work, cores(), "float32", [1000 / found["fps"]], **extra))
        print(f"{name}: {summary_text(found)}; {found['people']:.2f} people", flush=True)
    print(write_results(args.out, "Live streams from end to end", rows))


if __name__ == "__main__":
    main()
