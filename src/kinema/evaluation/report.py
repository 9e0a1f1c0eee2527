"""A training run as one HTML page that can be sent to somebody: what was measured and how far to trust it, curves, confusion,
classes, the worst clips, and the recipe. The page holds everything that it shows."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from kinema._write import write_whole
from kinema.datasets.protocols import leak_note
from kinema.errors import DataError
from kinema.evaluation._page import page, table, wide
from kinema.evaluation.hierarchy_plots import memberships_figure
from kinema.evaluation.plots import classes_figure, confusion_figure, curves_figure, inline_svg
from kinema.evaluation.results import environment
from kinema.evaluation.scores import Scores, load_scores
from kinema.hierarchy import load_hierarchy

WORST_CLIPS = 20
MOST_CONFUSED = 15
_SELECTION = {
    "validation": "The weights of epoch {epoch} were kept because they did best on {n_val} validation clips, which were cut from "
    "the training part. The test part was used once, for the figures on this page.",
    "refit": "The number of epochs ({epoch}) was chosen on {n_val} validation clips, which were cut from the training part; then "
    "the model was trained anew on the whole of that part. The test part was used once, for the figures on this page.",
    "last": "The weights of the last epoch were kept; nothing was chosen. The test part was used once, for the figures on this page.",
}


def report(run_dir: str | Path, out: str | Path | None = None) -> Path:
    """Write the page about a finished run. `run_dir`: the folder that training wrote; `out`: default report.html in it.

    Raises `DataError` where the folder holds no finished run, or files of different runs.
    """
    run_dir = Path(run_dir)
    result = _read_result(run_dir / "result.json")
    if "top1" not in result:
        raise DataError("this run trained on every clip: nothing was measured that a page could report", run_dir)
    scores = load_scores(run_dir / "scores.npz")
    if (len(scores), int(scores.correct.sum())) != (result["n"], result["correct"]):
        raise DataError(f"result.json tells of {result['correct']} of {result['n']}, scores.npz of another run", run_dir)
    log = read_log(run_dir / "log.csv")
    body = [
        *_head(result, run_dir),
        *_trust(result),
        *_curves(result, log),
        *_confusion(result, scores),
        *_classes(result),
        *_superclasses(run_dir, result),
        *_clips(scores),
        *_recipe(run_dir, result),
    ]
    return write_whole(out or run_dir / "report.html", page(_title(result, run_dir), body).encode())


def _read_result(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"no finished run: {error.strerror or error}", path) from error
    except ValueError as error:
        raise DataError(f"is no result: {error}", path) from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """One mapping an epoch, numbers where they are numbers; a run need not have kept a log."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for key in row.keys() - {"stage"}:
            row[key] = float(row[key]) if row[key] else math.nan
    return rows


def _title(result: Mapping[str, Any], run_dir: Path) -> str:
    return result.get("title") or run_dir.resolve().name


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(metrics: Mapping[str, Any]) -> str:
    return f"{_percent(metrics['interval'][0])}–{_percent(metrics['interval'][1])} %"


def _head(result: Mapping[str, Any], run_dir: Path) -> list[str]:
    fold = f", fold {result['fold']}" if result.get("fold") not in (None, result["protocol"]) else ""
    low, high = (100 * end for end in result["interval"])
    top1 = 100 * result["top1"]
    cards = [
        ("Top-5", f"{_percent(result['top5'])} %"),
        ("Mean class", f"{_percent(result['mean_class'])} %"),
        ("Precision", f"{_percent(result['precision'])} %"),
        ("Recall", f"{_percent(result['recall'])} %"),
        ("F1", f"{_percent(result['f1'])} %"),
        ("Loss", f"{result['loss']:.3f}"),
        ("Squared error", f"{result['mse']:.4f}"),
    ]
    return [
        f'<header><p class="faint">Kinema · {escape(result["dataset"])}, {escape(result["protocol"])}{escape(fold)}</p>',
        f"<h1>{escape(_title(result, run_dir))}</h1></header>",
        f'<section class="hero" aria-label="Result"><b>{top1:.1f}<small> %</small></b><div>top-1 on {result["n"]} test {result["unit"]} '
        f"({result['correct']} right)"
        f'<div class="gauge" aria-hidden="true"><i style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
        f'<u style="left:{top1:.2f}%"></u></div>'
        f'<span class="faint">95 % interval {_interval(result)}</span></div></section>',
        '<dl class="cards">' + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in cards) + "</dl>",
    ]


def _trust(result: Mapping[str, Any]) -> list[str]:
    """What the figure means and what it does not."""
    notes = [
        f"Protocol <em>{escape(result['protocol'])}</em>: {result['n_train']} clips trained, {result['n_val']} validated, "
        f"{result['n_test']} tested."
    ]
    warning = ""
    if result["selection"] == "paper":
        warning = (
            f'<p class="warn">The epoch ({result["epoch"]}) was chosen by the score on the test part itself, as the publication did. '
            "These figures flatter the model; they are here to be compared with that publication alone.</p>"
        )
    else:
        notes.append(_SELECTION[result["selection"]].format(**result))
    notes.append(f"One run, seed {result['seed']}. Another seed gives another figure: compare means over several.")
    notes.append(
        f"The interval is Wilson's, over {result['n']} test {result['unit']}: what other {result['unit']} of the same kind could have "
        "given. It says nothing of other people, rooms or cameras than those that were recorded."
    )
    if result["unit"] != "clips" and "clips" in result:
        clips = result["clips"]
        notes.append(
            f"{result['unit'].capitalize()} of one clip are alike, so the interval over {result['unit']} is too narrow. By clip (mean of "
            f"its {result['unit']}): {_percent(clips['top1'])} % of {clips['n']}, interval {_interval(clips)}."
        )
    if "samples" in result:
        samples = result["samples"]
        notes.append(
            f"Each of the {result['unit']} was looked at {samples['n'] / result['n']:.3g} times, from different first frames, and the "
            f"answers averaged; counted one by one: {_percent(samples['top1'])} % of {samples['n']} samples."
        )
    clean = result.get("clean")
    if clean and clean["excluded"]:
        notes.append(
            f"{len(clean['excluded'])} test clips are exact copies of training clips. Without them: {_percent(clean['top1'])} % of "
            f"{clean['n']}, interval {_interval(clean)}."
        )
    if result.get("leak"):
        notes.append(escape(leak_note(result["leak"], result["n_test"])))
    if result.get("skipped"):
        notes.append(f"{len(result['skipped'])} clips could not be used and were left out, such as: {escape(result['skipped'][0])}")
    absent = [entry["class"] for entry in result["per_class"] if not entry["n"]]
    means = "Mean class accuracy, precision, recall and F1 are plain means over classes"
    means += f", without those that the test part lacks ({escape(', '.join(absent))})." if absent else "."
    items = "".join(f"<li>{note}</li>" for note in [*notes, means + " Loss is the mean cross-entropy in nats."])
    return ["<h2>How far to trust it</h2>", warning, f'<ul class="notes">{items}</ul>']


def _curves(result: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> list[str]:
    if not log:
        return []
    search = [row for row in log if row.get("stage") in (None, "train")]
    name = "test" if result["selection"] == "paper" else "validation"
    svg = inline_svg(curves_figure, search, result["epoch"], name="curves", label="Loss and accuracy over epochs", val_name=name)
    parts = ["<h2>Learning curves</h2>", wide(svg, "Learning curves")]
    again = [row for row in log if row.get("stage") == "refit"]
    if again:
        last = again[-1]
        parts.append(
            f'<p class="faint">Trained anew for {len(again)} epochs on the whole training part: final training loss '
            f"{last['train_loss']:.3f}, top-1 {_percent(last['train_top1'])}&nbsp;%.</p>"
        )
    return parts


def _confusion(result: Mapping[str, Any], scores: Scores) -> list[str]:
    classes, counts = scores.classes, np.array(result["confusion"])
    svg = inline_svg(confusion_figure, counts, classes, name="confusion", label="Confusion matrix; the table of confused pairs follows")
    wrong = [(i, j) for i, j in np.argwhere(counts) if i != j]
    wrong.sort(key=lambda pair: -counts[pair])
    parts = [
        "<h2>Confusion</h2>",
        f'<p class="faint">Rows are the true classes, columns the answers: counts of {result["unit"]}, stronger for a larger share '
        "of the row.</p>",
        wide(svg, "Confusion matrix"),
    ]
    if wrong:
        rows = [
            (classes[i], classes[j], int(counts[i, j]), (f"{counts[i, j] / counts[i].sum():.0%}", counts[i, j] / counts[i].sum()))
            for i, j in wrong[:MOST_CONFUSED]
        ]
        head = f"<h3>Most confused{f' ({MOST_CONFUSED} of {len(wrong)} pairs)' if len(wrong) > MOST_CONFUSED else ''}</h3>"
        parts += [head, table(("True", "Taken for", "Times", "Of the class"), rows, "Most confused pairs")]
    return parts


def _classes(result: Mapping[str, Any]) -> list[str]:
    svg = inline_svg(classes_figure, result["per_class"], name="classes", label="Recall by class; the table follows")

    def share(value: float | None) -> tuple[str, float | None]:
        return ("" if value is None else _percent(value), value)

    entries = sorted(result["per_class"], key=lambda entry: (entry["recall"] is None, entry["recall"]))
    rows = [
        (
            entry["class"],
            entry["n"],
            share(entry["recall"]),
            share(entry["precision"]),
            share(entry["f1"]),
            ", ".join(f"{other['class']} ({other['n']})" for other in entry["confusions"]),
        )
        for entry in entries
    ]
    heads = ("Class", "Test " + result["unit"], "Recall %", "Precision %", "F1 %", "Taken for")
    return ["<h2>By class</h2>", wide(svg, "Recall by class"), table(heads, rows, "Table by class", sorts=True)]


def _superclasses(run_dir: Path, result: Mapping[str, Any]) -> list[str]:
    """Of a run that trained with them: who belongs where, and how often the right one was found."""
    if "hierarchy" not in result or not (run_dir / "hierarchy.json").exists():
        return []
    hierarchy, levels = load_hierarchy(run_dir / "hierarchy.json"), result["hierarchy"]["levels"]
    svg = inline_svg(memberships_figure, hierarchy, name="superclasses", label="Superclasses of each level and their classes")
    rows = [(i, level["count"], level["cost"], (_percent(level["top1"]), level["top1"])) for i, level in enumerate(levels, 1)]
    return [
        "<h2>Superclasses</h2>",
        f'<p class="faint">Made of {escape(hierarchy.source or "nothing that was counted")}; their classifiers trained along on earlier '
        "stages. Probabilities of superclasses are sums of those of their classes.</p>",
        table(("Level", "Superclasses", "Confusions between them", "Right one found %"), rows, "Superclasses"),
        wide(svg, "Superclasses and their classes"),
    ]


def _clips(scores: Scores) -> list[str]:
    clips = scores.by_clip()
    p = clips.probabilities
    of_truth = p[np.arange(len(clips)), clips.labels]
    rows = []
    for i in np.argsort(of_truth, kind="stable")[:WORST_CLIPS]:
        answer = int(p[i].argmax())
        loss = -math.log(max(of_truth[i], np.finfo(np.float32).tiny))
        rows.append(
            (
                clips.clip_ids[i],
                clips.classes[clips.labels[i]],
                clips.classes[answer],
                (_percent(p[i, answer]), float(p[i, answer])),
                (_percent(of_truth[i]), float(of_truth[i])),
                (f"{loss:.2f}", loss),
            )
        )
    note = "The clips whose true class the model finds least probable: worth a look, for they may be labelled wrongly or badly recorded."
    return [
        "<h2>Worst clips</h2>",
        f'<p class="faint">{note}</p>',
        table(("Clip", "True", "Answered", "Answer's p %", "Truth's p %", "Loss"), rows, "Worst clips", sorts=True),
    ]


def _recipe(run_dir: Path, result: Mapping[str, Any]) -> list[str]:
    facts: dict[str, Any] = {}
    bundle = run_dir / "bundle.safetensors"
    if bundle.exists():
        from kinema.bundle import load

        loaded = load(bundle)
        parameters = sum(value.numel() for value in loaded.build().parameters())
        facts |= {"model": loaded.model, "parameters": f"{parameters:,}", "bundle": loaded.hash[:16]}
    if "seconds" in result:
        facts["training"] = f"{result['seconds']:.0f} s, {result['epochs']} epochs"
    measured = result.get("environment")
    facts |= measured or {f"{key} (of this page)": value for key, value in environment().items()}
    parts = ["<h2>How it was made</h2>", table(("What", "Value"), [(key, str(value)) for key, value in facts.items() if value], "Facts")]
    recipe = run_dir / "recipe.yaml"
    if recipe.exists():
        text = "\n".join(line for line in recipe.read_text(encoding="utf-8").splitlines() if not line.strip().startswith("root:"))
        parts.append(f"<details><summary>The recipe, every setting</summary><pre>{escape(text)}</pre></details>")
    return parts
