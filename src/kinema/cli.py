"""The commands: typed functions, one each, with no logic of their own. `kinema COMMAND --help` shows what each takes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

from kinema._calibrate_command import calibrate
from kinema._commandline import answer, overridable, run
from kinema._data_commands import DATA_COMMANDS
from kinema._events_commands import EVENTS_COMMANDS
from kinema._fuse_command import fuse
from kinema._hierarchy_commands import HIERARCHY_COMMANDS
from kinema._live_commands import live, serve
from kinema._memory import keep_freed_memory
from kinema._prune_command import prune
from kinema._robocomp_commands import ROBOCOMP_COMMANDS
from kinema._search_command import search
from kinema.errors import KinemaError
from kinema.training.recipe import DataConfig, Recipe


def predict(
    files: list[str],
    *,
    bundle: str | None = None,
    top: int = 5,
    window: str | None = None,
    stride: str | None = None,
    pose: str | None = None,
    json: bool = False,
    timeline: str | None = None,
    render: str | None = None,
    render_size: str | None = None,
    render_fps: float | None = None,
    render_video: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> None:
    """Say what the people in recordings are doing.

    Args:
        files: Recordings, or folders of them: skeletons in a data set's own format (see `kinema data list`) or Kinema's, or videos.
        bundle: Name of a bundle that ships with Kinema, or path of one. Default: utd-mhad-skeleton for 3-D skeletons, everyday for 2-D.
        top: Number of labels shown, the most probable first.
        window: Length of a window, such as 3s; a longer recording is answered window by window. Default: the bundle's own way.
        stride: From the start of one window to the start of the next, such as 1s. Default: half a window.
        pose: What estimates the skeletons of videos: auto, rtmpose, movenet or blazepose; or a file that has them. Default: auto, for
            videos without skeletons and a bundle that takes skeletons.
        json: Print one JSON object and nothing else.
        timeline: Write what happens when: OUT.json, OUT.csv, OUT.png (or .svg, .pdf); OUT without suffix is all three.
        render: Draw the answers: skeletons into OUT.png (a strip), OUT.gif or OUT.mp4, labels into a video, OUT.mp4; one file for each
            of several recordings.
        render_size: Width and height of the drawing in pixels, such as 1280x720.
        render_fps: Its frames per second. Default: the recording's, 30 at most (GIF: 15).
        render_video: Draw key points of an image on this video, in whose pixels they are. Default: the one beside NTU's skeletons.
        on_error: What happens at a recording that cannot be used: "raise" stops, "skip" goes on and names it at the end.
    """
    from kinema.recognition.overlay import draw_answers
    from kinema.recognition.recognizer import load
    from kinema.recognition.render import parse_size
    from kinema.recognition.report import predictions_text
    from kinema.recognition.timeline import parse_seconds, write_timeline

    size = parse_size(render_size) if render_size else None
    lengths = {"window": parse_seconds(window), "stride": parse_seconds(stride)}
    recognizer = load(bundle)
    predictions = recognizer.predict_files(files, **lengths, pose=pose, on_error=on_error)
    data = {"bundle": bundle or recognizer.name, "predictions": [prediction.to_dict(top) for prediction in predictions]}
    answer(predictions_text(predictions, top), data, json)
    for path in write_timeline(predictions, timeline, top) if timeline else ():
        print(f"written: {path}", file=sys.stderr)
    for path in draw_answers(predictions, render, top, size=size, fps=render_fps, video=render_video) if render else ():
        print(f"drawn: {path}", file=sys.stderr)


def pose(
    videos: list[str],
    out: str,
    *,
    backend: str = "auto",
    every: int = 10,
    world: bool = False,
    max_persons: int = 10,
    fps: float | None = None,
    mirrored: bool = False,
    size: int = 320,
    models: str | None = None,
    detector: str | None = None,
    estimator: str | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    render: bool = False,
    overwrite: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    json: bool = False,
) -> None:
    """Estimate the skeletons of everybody in videos, and write one file of them for each.

    Args:
        videos: Videos, or folders of them.
        out: Folder for the files, OUT/NAME.npz; what is there already is left as it is.
        backend: Estimator of the poses: rtmpose, movenet (17 joints) or blazepose (33); or a file of the skeletons, to be drawn on the
            video. Default: rtmpose where it is at hand, else movenet.
        every: A detection of persons every so many frames; in between they are followed.
        world: Points in metres round the middle of the hips instead of pixels, by blazepose.
        max_persons: Persons followed at a time.
        fps: Frames a second that are looked at, where a video has more.
        mirrored: The videos are mirror images, as a Kinect's are: what looks like a left hand is a right one.
        size: Pixels of the square in which persons are detected, a multiple of 32; larger for small persons.
        models: Folder of the models' files. Default: $KINEMA_MODELS, then the cache folder, into which they are fetched.
        detector: File of another RTMDet.
        estimator: File of another model of the backend's kind.
        device: Where ONNX models run.
        render: Draw the skeletons on each video, OUT/NAME.mp4.
        overwrite: Estimate anew what is there already.
        on_error: What happens at a video that cannot be used: "raise" stops, "skip" goes on and names it.
        json: Print one JSON object and nothing else.
    """
    from kinema._pose_command import estimate_files, poses_text, tracker_of

    files = {"models": models, "detector": detector, "estimator": estimator, "size": size, "device": device}
    name, tracker = tracker_of(backend, world=world, every=every, max_persons=max_persons, **files)
    wanted = {"world": world, "fps": fps, "mirrored": mirrored, "render": render, "overwrite": overwrite}
    rows = estimate_files(videos, out, tracker, **wanted, on_error=on_error, progress=not json)
    answer(poses_text(rows), {"backend": name, "videos": rows}, json)


@overridable(Recipe)
def train(recipe: str, *, out: str | None = None, resume: bool = False, json: bool = False, **overrides: Any) -> None:
    """Train what a recipe describes, measure it on the test part, and leave a bundle.

    Args:
        recipe: YAML file; every field of it can be overridden, as in `--fit.lr 1e-3`.
        out: Folder for log, checkpoint, scores and bundle. Default: runs/ and the recipe's name.
        resume: Go on after the last complete epoch of an earlier, interrupted call.
        json: Print the result as one JSON object and nothing else.
    """
    from kinema.training.fit import fit
    from kinema.training.load import load_recipe

    loaded = load_recipe(recipe, overrides)
    result = fit(loaded, Path(out) if out else Path("runs") / Path(recipe).stem, resume=resume, progress=not json)
    answer(result.text(), result.to_dict(), json)


@overridable(Recipe)
def overfit(recipe: str, *, samples: int = 100, epochs: int = 200, json: bool = False, **overrides: Any) -> int:
    """The sanity check: can this model learn a small sample by heart? Exit status 1 where it cannot.

    Args:
        recipe: YAML file; every field of it can be overridden, as in `--fit.lr 1e-3`.
        samples: Training samples, taken evenly from the classes.
        epochs: Passes over them at most.
        json: Print verdict and curve as one JSON object and nothing else.
    """
    from kinema.training.load import load_recipe
    from kinema.training.overfit import overfit as run_overfit

    verdict = run_overfit(load_recipe(recipe, overrides), samples, epochs)
    answer(verdict.text(), verdict.to_dict(), json)
    return 0 if verdict.passed else 1


@overridable(Recipe)
def evaluate(
    *,
    bundle: str = "utd-mhad-skeleton",
    protocol: str | None = None,
    fold: str | None = None,
    part: Literal["test", "val", "train"] = "test",
    figures: str | None = None,
    json: bool = False,
    **overrides: Any,
) -> None:
    """Measure a bundle on a data set: accuracy with its interval, loss, per class, confusion, with and without copied clips.

    Of the recipe's fields `--data.name`, `root`, `pose`, `camera` and `on_error` count; by default the data that the bundle was trained on.

    Args:
        bundle: Name of a bundle that ships with Kinema, or path of one.
        protocol: How the data set is divided. Default: its first protocol.
        fold: Name of one split, where the protocol has several.
        part: Which part is measured.
        figures: Folder for pictures of the confusion matrix and the classes.
        json: Print the result as one JSON object and nothing else.
    """
    from kinema.evaluation import evaluate as evaluation
    from kinema.evaluation.fuse_runs import evaluate_fused
    from kinema.evaluation.plots import write_figures
    from kinema.fused import FusedBundle, load
    from kinema.training.data import read_for

    loaded = load(bundle)
    several = isinstance(loaded, FusedBundle)
    name = overrides.pop("data.name", None) or (loaded.members[0] if several else loaded).recipe["data"]["name"]
    on_error = overrides.pop("data.on_error", "raise")
    given = {"pose": overrides.pop("data.pose", ""), "camera": overrides.pop("data.camera", None), "on_error": on_error}
    dataset = read_for(loaded, DataConfig(name, overrides.pop("data.root", None), **given))
    if overrides:
        taken = "data.name, data.root, data.pose, data.camera, data.on_error"
        raise KinemaError(f"kinema evaluate takes no --{next(iter(overrides))}; of the recipe's fields {taken}")
    measure = evaluate_fused if several else evaluation.evaluate
    result, _ = measure(loaded, dataset, protocol, fold, part, on_error=on_error, progress=not json)
    answer(evaluation.evaluation_text(result), result, json)
    if figures:
        for path in write_figures(result, Path(figures)):
            print(f"drawn: {path}", file=sys.stderr)


def report(run: str, *, out: str | None = None) -> None:
    """Write one self-contained HTML page about a run: result, curves, confusion matrix, per-class table, worst clips.

    Args:
        run: Folder that `kinema train` wrote.
        out: The page. Default: report.html in that folder.
    """
    from kinema.evaluation.report import report as write_report

    print(write_report(run, out))


def models(pattern: str = "", *, json: bool = False) -> None:
    """The models: name, paper, what they take, parameters and multiply-adds of one clip.

    Args:
        pattern: Part of a name.
        json: Print one JSON object and nothing else.
    """
    from kinema.models._table import model_rows, models_text

    rows = model_rows(pattern)
    answer(models_text(rows), {"models": rows}, json)


def bundles(name: str = "", *, json: bool = False) -> None:
    """The bundles that ship with Kinema, or one bundle: what it takes, what it knows, and what was measured of it.

    Args:
        name: Name or path of one bundle. Default: all that ship.
        json: Print one JSON object and nothing else.
    """
    from kinema.bundle import shipped
    from kinema.fused import load

    loaded = [load(each) for each in ([name] if name else shipped())]
    text = "\n\n".join(bundle.describe() for bundle in loaded)
    answer(text, {"bundles": [bundle.to_dict() for bundle in loaded]}, json)


def import_weights(
    checkpoint: str, out: str, *, arch: str = "efficientgcn-b0", labels: str | None = None, layout: str | None = None, json: bool = False
) -> None:
    """Write published weights as a bundle, which predicts, or which a recipe starts from (init.bundle).

    Args:
        checkpoint: File of weights, as its authors published it.
        out: The bundle, OUT.safetensors.
        arch: Architecture that the weights are of.
        labels: Text file with a class name a line, or ntu60 or ntu120. Default: ntu60; classes of videos are numbered.
        layout: Joint layout that the bundle works in; weights of joints go by name. Default: the authors'.
        json: Print one JSON object and nothing else.
    """
    from kinema.training.importing import import_checkpoint

    imported = import_checkpoint(checkpoint, out, arch=arch, labels=labels, layout=layout)
    answer(imported.text(), imported.to_dict(), json)


def results(name: str = "", *, folder: str = "results", update: bool = False, check: bool = False) -> int | None:
    """The measured results as tables, and the tables of the documentation made of them.

    Args:
        name: One file of results, without .json. Default: all.
        folder: Where the files are.
        update: Write the tables into README.md and docs/ instead of showing them.
        check: Name the tables in README.md and docs/ that are not what the files say; exit status 1 if there are any.
    """
    from kinema.evaluation.results import read_results
    from kinema.evaluation.tables import pages, render, render_folder, update_docs

    if update or check:
        stale = update_docs(pages("."), folder, check=check)
        print("\n".join(stale) or "every table is what the results say")
        return 1 if check and stale else 0
    print(render(read_results(Path(folder) / f"{name}.json")) if name else render_folder(folder))
    return 0


def reproduce(study: str, *, runs: str = "runs", results: str = "results") -> None:
    """Train and measure every row of a study, going on where an earlier call stopped, and print its table.

    Args:
        study: Name of a study or of a system under recipes/studies, or path of a study's file.
        runs: Folder for the trainings.
        results: Folder for the file of results.
    """
    from kinema.evaluation.results import read_results
    from kinema.evaluation.tables import render
    from kinema.training.study import run_study
    from kinema.training.study_plan import find_studies

    for path in find_studies(study):
        print(render(read_results(run_study(path, runs, results))))


def demo(*, out: str = "demo-output", bundle: str = "utd-mhad-skeleton") -> int:
    """Recognise what a synthetic actor does (and real people, where $KINEMA_DATA has UTD-MHAD), and draw it.

    Args:
        out: Folder for the picture and the animation.
        bundle: Name of a bundle that ships with Kinema, or path of one, trained on UTD-MHAD's classes.
    """
    from kinema.demo import demo as run_demo

    return run_demo(out, bundle)


COMMANDS = {
    "predict": predict,
    "pose": pose,
    "train": train,
    "evaluate": evaluate,
    "calibrate": calibrate,
    "prune": prune,
    "fuse": fuse,
    "report": report,
    "data": DATA_COMMANDS,
    "hierarchy": HIERARCHY_COMMANDS,
    "search": search,
    "models": models,
    "bundles": bundles,
    "import": import_weights,
    "overfit": overfit,
    "results": results,
    "reproduce": reproduce,
    "demo": demo,
    "live": live,
    "serve": serve,
    "events": EVENTS_COMMANDS,
    "robocomp": ROBOCOMP_COMMANDS,
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; what the user can mend is told in one line, with exit status 2."""
    keep_freed_memory()
    try:
        return run("kinema", COMMANDS, sys.argv[1:] if argv is None else argv)
    except KinemaError as error:
        print(f"kinema: {error}", file=sys.stderr)
        return getattr(error, "status", 2)
    except KeyboardInterrupt:
        print("kinema: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"kinema: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
