"""What Kinema does, shown on data that comes with it: an actor's movements are made, recognised, printed and drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.errors import KinemaError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from kinema.bundle import Bundle
    from kinema.clip import Clip
    from kinema.recognition.prediction import Prediction
    from kinema.recognition.render import Scene

# Six persons in turn, from three sides in turn; the first ones are drawn.
ACTIONS = (
    *("wave", "throw", "squat", "draw circle clockwise", "boxing", "jog", "clap"),
    *("tennis serve", "arm cross", "push", "knock", "sit to stand", "lunge", "swipe left"),
)
PERFORMANCES = tuple((action, str(1 + i % 6), ("front", "left", "right")[i % 3]) for i, action in enumerate(ACTIONS))
_DRAWN = 4
# Real recordings of UTD-MHAD, where they are at hand: of subjects that the shipped bundle was not trained on.
REAL = tuple(f"a{action}_s{subject}_t2" for action, subject in ((3, 2), (9, 4), (13, 6), (17, 8), (19, 2), (22, 4), (24, 6), (27, 8)))


def demo(out: str = "demo-output", bundle: str | Bundle = "utd-mhad-skeleton") -> int:
    """Recognise movements of a synthetic actor, print the answers beside the truth, and draw them.

    Where $KINEMA_DATA holds utd-mhad/, recordings of real people are recognised too. Writes demo.png and demo.gif, which
    show the synthetic movements alone. Returns 0; raises `KinemaError` where the bundle or the folder cannot be used.

    Args:
        out: Folder for the picture and the animation.
        bundle: Name of a bundle that ships with Kinema, or path of one, trained on UTD-MHAD's classes.
    """
    from rich.console import Console

    from kinema.datasets.actor import CLASSES, clip
    from kinema.recognition.recognizer import load

    console, recognizer = Console(), load(bundle)
    lacking = [action for action, _, _ in PERFORMANCES if action not in recognizer.bundle.classes]
    if lacking:
        raise KinemaError(f"bundle {recognizer.bundle.name!r} does not know {lacking[0]!r}; one trained on UTD-MHAD is expected")
    made = [clip(action, who, view) for action, who, view in PERFORMANCES]
    answers = recognizer.predict_clips(made, classes=CLASSES)
    notes = [f"{who}, {view}" for _, who, view in PERFORMANCES]
    _show(console, "Synthetic movements, made by a procedural actor: nobody was recorded", "person, view", answers, notes)

    real = _real_clips(console)
    if real:
        title = "Recordings of real people: UTD-MHAD, subjects with even numbers, on whom shipped bundles are not trained"
        _show(console, title, "clip", recognizer.predict_clips(real, classes=CLASSES), [real_clip.id for real_clip in real])
    for path in draw(answers, Path(out)):
        console.print(f"Drawn: {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


def draw(answers: Sequence[Prediction], folder: Path) -> list[Path]:
    """demo.png, moments of the first movements with their answers, and demo.gif, the movements themselves."""
    from kinema.recognition.render import render_scenes

    scenes = [_scene(answer) for answer in answers[:_DRAWN]]
    return [
        render_scenes(scenes, folder / "demo.png", size=(1200, 232)),
        render_scenes(scenes, folder / "demo.gif", columns=2, size=(520, 280), fps=15),
    ]


def _scene(answer: Prediction) -> Scene:
    from kinema.recognition.render import Scene

    return Scene(answer.pose, f"{answer.true_label} (synthetic)", tuple(answer.top(5)), answer.true_label)


def _real_clips(console: Console) -> list[Clip]:
    """Some recordings of test subjects; none, and no word, where there are none. Damaged ones are told of, the demo goes on."""
    from kinema.datasets import read_dataset

    root = Path(os.environ.get("KINEMA_DATA") or "/nowhere").expanduser() / "utd-mhad"
    if not root.is_dir():
        return []
    try:
        found = read_dataset("utd-mhad", root, on_error="skip").by_id
    except KinemaError as error:
        console.print(f"Recordings of real people are left out: {error}\n", markup=False)
        return []
    return [found[clip_id] for clip_id in REAL if clip_id in found]


def _show(console: Console, title: str, note: str, answers: Sequence[Prediction], notes: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("true label", note, "right"):
        table.add_column(heading, no_wrap=True)
    table.add_column("five most probable labels, %")
    for answer, place in zip(answers, notes, strict=True):
        right = answer.label == answer.true_label
        table.add_row(answer.true_label, place, "[green]yes[/green]" if right else "[red]no[/red]", _labels(answer))
    right = sum(answer.label == answer.true_label for answer in answers)
    console.print(f"\n[bold]{title}.[/bold]")
    console.print(table)
    console.print(f"{right} of {len(answers)} right.\n", highlight=False)


def _labels(answer: Prediction) -> Text:
    from rich.text import Text

    parts = [
        # no-break spaces: a label stays on one line
        Text(
            f"{label} {100 * p:.0f}".replace(" ", "\u00a0"),
            style="bold green" if label == answer.true_label else "bold red" if rank == 0 else "dim",
        )
        for rank, (label, p) in enumerate(answer.top(5))
    ]
    return Text(", ").join(parts)
