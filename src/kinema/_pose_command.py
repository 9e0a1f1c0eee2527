"""What `kinema pose` does: videos in, one file of skeletons for each out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from kinema._write import write_whole
from kinema.clip import Clip, PoseSequence
from kinema.datasets._files import open_files
from kinema.datasets._skeletons import npz_bytes, read_skeleton
from kinema.errors import DataError, KinemaError
from kinema.estimation import backends
from kinema.estimation.film import Estimated, estimate
from kinema.estimation.recorded import RecordedPoses
from kinema.estimation.tracker import PoseTracker


def tracker_of(backend: str, *, world: bool = False, **settings: Any) -> tuple[str, PoseTracker | RecordedPoses]:
    """The backend's own name and a tracker of it; of a file of skeletons the file's name, and those. `settings`: as of `make_tracker`."""
    if backend in backends.BACKENDS or not Path(backend).expanduser().is_file():
        name = backends.choose(backend, settings.get("models"), world)
        return name, backends.make_tracker(name, world=world, **settings)
    clips = open_files([backend], videos=False).clips
    if len(clips) != 1 or not clips[0].has("pose"):
        raise DataError("is no file with the skeletons of one recording", backend)
    return Path(backend).name, RecordedPoses(clips[0].pose)


def estimate_files(
    videos: Sequence[str | Path],
    out: str | Path,
    tracker: PoseTracker | RecordedPoses,
    *,
    world: bool = False,
    fps: float | None = None,
    mirrored: bool = False,
    render: bool = False,
    overwrite: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Write the skeletons of each video to `out`, one `.npz` a video, and with `render` a video that shows them.

    Returns a row for each video: `video`, `file`, `status` ("estimated", "there already" or "failed"), `persons`, `frames`, and where
    it was estimated `frames_per_second`, `seconds` by stage, `notes`; where it failed `reason`. Errors as of `estimate`, which with
    `on_error="skip"` are rows; `DataError` for a path without videos.
    """
    out = Path(out).expanduser()
    if out.exists() and not out.is_dir():
        raise DataError("is a file; a folder for the skeletons is expected", out)
    found = open_files(videos, on_error=on_error)
    clips = [clip for clip in found.clips if clip.has("video")]
    rows = [_failed(str(error.path or "videos"), error) for error in found.skipped]
    if not clips and not rows:
        raise DataError("there is no video in it", videos[0])
    for clip, name in zip(clips, _names(clips), strict=True):
        file = out / f"{name}.npz"
        try:
            look = partial(estimate, tracker=tracker, world=world, fps=fps, mirrored=mirrored)
            rows.append(_one(clip, file, look, render, overwrite, progress))
        except KinemaError as error:
            if on_error == "raise":
                raise
            rows.append(_failed(str(clip.video.path), error))
    return rows


def _one(clip: Clip, file: Path, look: Callable[..., Estimated], render: bool, overwrite: bool, progress: bool) -> dict[str, Any]:
    source = clip.video
    row: dict[str, Any] = {"video": str(source.path), "file": str(file)}
    if file.is_file() and not overwrite:
        pose = read_skeleton(file)
        row |= {"status": "there already", "persons": int(pose.observed.any((1, 2)).sum()), "frames": pose.frames}
    else:
        start = time.perf_counter()
        with _bar(source.path.name, progress) as advance:
            found = look(source, progress=advance)
        took = time.perf_counter() - start
        pose = found.clip.pose
        write_whole(file, npz_bytes(pose))
        row |= {"status": "estimated", **_told(found, took)}
    if render and (overwrite or not file.with_suffix(".mp4").is_file()):
        row["drawn"] = str(_drawn(pose, clip, file.with_suffix(".mp4")))
    return row


def _told(found: Estimated, took: float) -> dict[str, Any]:
    return {
        "persons": found.persons,
        "frames": found.frames,
        "frames_per_second": round(found.frames / took, 2),
        "seconds": {stage: round(seconds, 3) for stage, seconds in found.timings.items()},
        "notes": list(found.notes),
    }


def _drawn(pose: PoseSequence, clip: Clip, path: Path) -> Path:
    from kinema.recognition.render import render

    return render(pose, path, video=clip.video if pose.dims == 2 else None)


def _failed(video: str, error: KinemaError) -> dict[str, Any]:
    return {"video": video, "status": "failed", "reason": str(error)}


def _names(clips: Sequence[Clip]) -> list[str]:
    """Of the files: those of the videos; where two have the same, with their folders' before it, or a number behind."""
    stems = [clip.video.path.name if clip.video.path.is_dir() else clip.video.path.stem for clip in clips]
    names: list[str] = []
    for clip, stem in zip(clips, stems, strict=True):
        name = stem if stems.count(stem) == 1 else f"{clip.video.path.absolute().parent.name}-{stem}"
        number = sum(other == name or other.startswith(f"{name}-again-") for other in names)
        names.append(f"{name}-again-{number}" if number else name)
    return names


@contextmanager
def _bar(name: str, shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(name)
        yield lambda done, of: bars.update(bar, completed=done, total=of)


def poses_text(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each video, and one for each thing to be told of it."""
    lines = []
    for row in rows:
        if row["status"] == "failed":
            lines.append(f"{row['video']}: failed: {row['reason']}")
            continue
        persons = {0: "nobody", 1: "1 person"}.get(row["persons"], f"{row['persons']} persons")
        speed = f", {row['frames_per_second']:.1f} frames/s" if "frames_per_second" in row else ", there already"
        lines.append(f"{row['video']}: {persons} in {row['frames']} frames{speed} -> {row['file']}")
        lines += [f"  {note}" for note in row.get("notes", ())]
        lines += [f"  drawn: {row['drawn']}"] if "drawn" in row else []
    return "\n".join(lines)
