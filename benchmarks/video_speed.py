"""How long it takes from a video file to eight pictures as a network is given them: the shorter side made 256 pixels, 224 x 224 cut from
the middle, uint8.

    python benchmarks/video_speed.py [--video FILE] [--also FILE ...] [--out results/video_speed.json]
        [--peer PEERS.json --calibration CALIBRATION.json|CALIBRATE.py]

Which eight: every 8th frame in the middle of the video ("middle"), the same from 20 places spread over it in turn ("anywhere"), or one
from each eighth ("segments"). "first": the file is opened for the first time, its packets read and listed; "later": they are known.
"plain pass": the whole file decoded by PyAV as it does unless told otherwise, eight frames converted. The file lies in the system's
cache of files. Without --video, one of 280 frames of 340 x 256 pixels is made. `--peer` is a list of rows with `name`, `ms_median` and
`kind`: what MMAction2 took for its video (give the same with --video) with decord, `video_decord`, and with PyAV, `video_pyav`;
`--calibration` says how much slower this machine is, as in the other scripts here. The rows of --video then state both and the factors.
"""

import argparse
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from _measure import Peers, row_text, times_of

from kinema import video
from kinema.evaluation.results import speed_row, write_results

SHORT, SIDE, FRAMES, STEP = 256, 224, 8, 8
PEERS = {"decord": "video_decord", "PyAV": "video_pyav"}


def make(path: Path) -> Path:
    """280 frames of 340 x 256 pixels, h264 as its encoder likes it: a textured square wandering over a gradient."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=28)
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        rng = np.random.default_rng(0)
        ground = (np.add.outer(np.arange(256), np.arange(340)) % 200).astype(np.uint8)[..., None].repeat(3, 2)
        square = rng.integers(0, 255, (80, 80, 3), np.uint8)
        for i in range(280):
            image = np.roll(ground, 2 * i, 1) + rng.integers(0, 8, ground.shape, np.uint8)
            image[i % 176 :][:80, i % 260 :][:, :80] = square
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    return path


def properties(path: Path) -> dict:
    about = video.index(path)
    gaps = np.diff([*about.key_frames, len(about)])
    found = {"width": about.width, "height": about.height, "frames": len(about), "fps": round(about.fps, 3), "codec": about.codec}
    found |= {"key_frames": len(gaps), "longest_without": int(gaps.max()), "kilobytes": round(path.stat().st_size / 1000)}
    return found


def cut(pictures: np.ndarray) -> np.ndarray:
    top, left = ((side - SIDE) // 2 for side in pictures.shape[1:3])
    return np.ascontiguousarray(pictures[:, top : top + SIDE, left : left + SIDE])


def choices(frames: int) -> dict[str, itertools.cycle]:
    """The frames of one run after another, by name."""
    last = frames - STEP * (FRAMES - 1) - 1
    if last < 0:
        raise SystemExit(f"there are {frames} frames; at least {STEP * (FRAMES - 1) + 1} are expected")
    every = STEP * np.arange(FRAMES)
    places = np.random.default_rng(0).permutation(np.linspace(0, last, 20).astype(int))
    return {
        "middle": itertools.cycle([last // 2 + every]),
        "anywhere": itertools.cycle([place + every for place in places]),
        "segments": itertools.cycle([((np.arange(FRAMES) + 0.5) * frames / FRAMES).astype(int)]),
    }


def plain_pass(path: Path, frames: np.ndarray) -> np.ndarray:
    import av

    wanted, pictures = set(frames.tolist()), []
    with av.open(str(path)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i in wanted:
                scale = SHORT / min(frame.height, frame.width)
                size = {"width": round(frame.width * scale), "height": round(frame.height * scale)}
                pictures.append(frame.reformat(format="rgb24", **size).to_ndarray())
    return cut(np.stack(pictures))


def measure(path: Path, seconds: float):
    """(name, threads, milliseconds of each run) of each work."""
    stamps = itertools.count(1)

    def read(frames, threads, first=False):
        if first:  # a file of another time is another file
            os.utime(path, ns=(next(stamps), next(stamps)))
        return cut(video.read_frames(path, frames, SHORT, threads))

    kinds = choices(len(video.index(path)))
    for name, frames in kinds.items():
        if name != "anywhere":
            np.testing.assert_array_equal(read(next(frames), 2).shape, (FRAMES, SIDE, SIDE, 3))
        for threads in (2, 1):
            for first in (True, False):
                run = lambda frames=frames, threads=threads, first=first: read(next(frames), threads, first)  # noqa: E731
                yield f"{name}, {'first' if first else 'later'}", threads, times_of(run, seconds, first=3)
    middle = next(kinds["middle"])
    yield "plain pass", 2, times_of(lambda: plain_pass(path, middle), seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="the file that is compared; default: one is made")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="more files")
    parser.add_argument("--out", type=Path, default=Path("results/video_speed.json"))
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    Peers.add_options(parser)
    args = parser.parse_args()
    peers = Peers.given(parser, args)
    if peers.rows and not args.video:
        parser.error("--peer needs --video, the file on which the peers were measured")
    measured = []
    with tempfile.TemporaryDirectory(prefix="kinema-") as folder, peers.compared():
        for number, source in enumerate([args.video, *args.also]):
            path = Path(folder, f"{number}.mp4")
            path = Path(shutil.copyfile(source, path)) if source else make(path)
            about = properties(path)
            print(f"{source or 'made'}: " + ", ".join(f"{key} {value}" for key, value in about.items()))
            for name, threads, times in measure(path, args.seconds):
                measured.append((number, name, about, threads, times))
                print(f"  {name:16} {threads} threads {np.median(times):8.2f} ms, least {min(times):.2f}", flush=True)
    rows = []
    for number, name, about, threads, times in measured:
        work = f"{about['codec']} {about['width']}x{about['height']}, {about['frames']} frames -> {FRAMES} of 224x224, {name}"
        label = f"{name}, {about['width']}x{about['height']}"
        # Theirs were the frames of "middle" or "anywhere", from a file that was opened each time.
        compared = [peer for peer in PEERS if number == 0 and threads == 2 and not name.startswith("segments")]
        against = {peer: peers.against(PEERS[peer], f"MMAction2 with {peer}", kept=False) for peer in compared}
        for peer in [peer for peer in against if against[peer]] or [None]:
            text = f"{label}, against {peer}" if peer else label
            rows.append(speed_row(text, work, threads, "uint8", times, peer=against.get(peer), memory="as it is", video=about))
            if peer:
                print(row_text(rows[-1]))
    print(write_results(args.out, "From a video file to eight pictures", rows))


if __name__ == "__main__":
    main()
