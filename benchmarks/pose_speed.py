"""How long skeletons of people in an image take: detection, estimation, and tracking as a whole, image after image.

    python benchmarks/pose_speed.py [--video FILE] [--backends movenet blazepose] [--threads 2] [--seconds 10]
        [--out results/pose_speed.json]

Images are 640 x 480: the person in a video, seen once and three times beside each other. Without --video that is a clip of JHMDB's under
$KINEMA_DATA. "detector" is one image through RTMDet, "estimator" one person through the network, preparation and decoding included;
"tracker" is a whole step, with a detection every ten images, and its row has the shares of its stages. Pictures are decoded beforehand.
Models are found as `kinema pose` finds them; a backend that is not at hand is left out.
"""

import argparse
import itertools
import os
import sys
import time
from pathlib import Path
from statistics import fmean, median

import numpy as np
from _measure import row_text, times_of
from PIL import Image

from kinema import video
from kinema._cores import cores
from kinema._memory import keep_freed_memory
from kinema.errors import KinemaError
from kinema.estimation.backends import make_tracker
from kinema.evaluation.results import speed_row, write_results

WIDTH, HEIGHT, FPS = 640, 480, 30
_MOST = 120  # pictures held


def pictures(path: Path, tracker, people: int) -> list[np.ndarray]:
    """Images of the surest person in a video, `people` times beside each other, as the video goes on."""
    frames = [picture for _, picture in itertools.islice(video.stream(path), _MOST)]
    boxes = [found[0] for frame in frames if len(found := tracker.detector.detect(frame)[0])]
    if not boxes:
        raise SystemExit(f"{path}: nobody is seen in it")
    # One view for all, with the person in its middle, so that nobody jumps.
    x1, y1, x2, y2 = np.median(boxes, 0)
    panel = WIDTH // people
    side = 1.2 * max((y2 - y1) / HEIGHT, (x2 - x1) / panel)
    left, top = (x1 + x2 - side * panel) / 2, (y1 + y2 - side * HEIGHT) / 2
    view = (left, top, left + side * panel, top + side * HEIGHT)
    made = []
    for frame in frames:
        one = Image.fromarray(frame).transform((panel, HEIGHT), Image.Transform.EXTENT, view, Image.Resampling.BILINEAR)
        canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for i in range(people):
            canvas[:, i * panel : (i + 1) * panel] = np.asarray(one)
        made.append(canvas)
    return made


def steps(tracker, images: list[np.ndarray], seconds: float) -> tuple[list[float], dict[str, float], float]:
    """Milliseconds of each step for so long, the mean of each stage, and how many persons were seen. Images go forth and back."""
    order = itertools.cycle([*images, *images[-2:0:-1]])
    tracker.reset()
    for i in range(5):
        tracker.step(next(order), i / FPS)
    times, stages, seen, end = [], {"detect": [], "pose": [], "track": []}, [], time.perf_counter() + seconds
    for i in itertools.count(5):
        start = time.perf_counter()
        poses = tracker.step(next(order), i / FPS)
        times.append(1e3 * (time.perf_counter() - start))
        seen.append(sum(pose.observed for pose in poses))
        for stage, found in stages.items():
            found.append(1e3 * tracker.timings[stage])
        if time.perf_counter() > end and len(times) >= 10:
            return times, {stage: fmean(found) for stage, found in stages.items()}, fmean(seen)


def rows_of(backend: str, path: Path, threads: int, seconds: float, detector: bool) -> list[dict]:
    tracker = make_tracker(backend, threads=threads)
    rows = []
    for people in (1, 3):
        images = pictures(path, tracker, people)
        given = itertools.cycle(images)
        if detector and people == 1:
            times = times_of(lambda images=given: tracker.detector.detect(next(images)), seconds)
            rows.append(speed_row("detector, RTMDet nano", "an image of 640 x 480 at 320 pixels", threads, "float32", times))
        if people == 1:
            box = tracker.detector.detect(images[0])[0][0]
            region = [tracker.estimator.region(box)]
            times = times_of(lambda images=given, region=region: tracker.estimator.estimate(next(images), region), seconds)
            kind = "int8" if backend == "movenet" else "float32"
            rows.append(speed_row(f"estimator, {backend}", "one person, crop and decoding included", threads, kind, times))
        times, stages, seen = steps(tracker, images, seconds)
        slowest = float(np.percentile(times, 95))
        work = f"640 x 480, {people} {'person' if people == 1 else 'people'}, a detection every {tracker.every} images"
        shares = {f"ms_{stage}": value for stage, value in stages.items()}
        more = {"ms_95": slowest, "persons_seen": round(seen, 2), **shares, "frames_per_second": 1000 / fmean(times)}
        rows.append(speed_row(f"tracker, {backend}, {people}", work, threads, "mixed", times, **more))
    return rows


def default_video() -> Path:
    root = os.environ.get("KINEMA_DATA")
    found = sorted(Path(root, "jhmdb/golf").glob("*.mp4")) if root else []
    if not found:
        sys.exit("where is somebody to be seen? Give --video FILE, or set KINEMA_DATA to a folder with JHMDB's videos")
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--video", type=Path, help="one with a person in it")
    parser.add_argument("--backends", nargs="+", default=["rtmpose", "movenet", "blazepose"])
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--seconds", type=float, default=10.0, help="for each figure")
    parser.add_argument("--out", default="results/pose_speed.json")
    options = parser.parse_args()
    keep_freed_memory()
    path, rows = options.video or default_video(), []
    for backend in options.backends:
        try:
            rows += rows_of(backend, path, options.threads, options.seconds, not rows)
        except KinemaError as error:
            print(f"{backend} is left out: {error}", file=sys.stderr)
    for row in rows:
        row["memory"] = "kept"
        print(row_text(row), f"median of {row['ms']['runs']}")
    if not rows:
        sys.exit("no model is at hand")
    write_results(options.out, "Skeletons of people in images", rows)
    print(f"{median(row['ms']['median'] for row in rows):.3g} ms in the middle; written: {options.out}")


if __name__ == "__main__":
    main()
