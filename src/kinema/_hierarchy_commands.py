"""The commands `kinema hierarchy ...`: typed functions, one each, with no logic of their own."""

from __future__ import annotations

from typing import Literal

from kinema._commandline import answer
from kinema.errors import KinemaError


def hierarchy_build(
    confusions: str,
    *,
    counts: str,
    of: Literal["counts", "probabilities"] = "counts",
    restarts: int = 1000,
    seed: int = 0,
    optimiser: Literal["swap", "annealing"] = "swap",
    out: str = "hierarchy.json",
    picture: str | None = None,
    json: bool = False,
) -> None:
    """Put classes that are confused into superclasses of equal size, level by level, by a confusion matrix.

    Args:
        confusions: Folder of a run, whose answers to its validation clips are counted; or a matrix: a .json file ("classes",
            "confusion"; what `kinema evaluate --part val --json` printed) or a .csv file with names in the first row and column.
        counts: Superclasses of each level, rising, such as 2,6,20.
        of: What is counted: clips taken for another class, or the probabilities that they got.
        restarts: Searches from random superclasses, of which the best counts.
        seed: Of these.
        optimiser: swap, the best swap of two classes again and again; or annealing, simulated.
        out: The superclasses, which recipes name as hierarchy.file.
        picture: Draw who belongs where: PICTURE.png, .svg or .pdf.
        json: Print the superclasses as one JSON object and nothing else.
    """
    from kinema.evaluation.confusions import read_confusion
    from kinema.evaluation.superclasses import build_hierarchy
    from kinema.hierarchy import save_hierarchy

    confusion = read_confusion(confusions, of)
    settings = {"restarts": restarts, "seed": seed, "optimiser": optimiser, "source": confusion.source}
    made = build_hierarchy(confusion.matrix, confusion.classes, _numbers(counts), **settings)
    path = save_hierarchy(made, out)
    drawn = {}
    if picture:
        from kinema.evaluation.hierarchy_plots import memberships_figure
        from kinema.evaluation.plots import save

        drawn = {"picture": str(save(memberships_figure(made, made.source), picture))}
    told = "".join(f"\n{name:<9} {value}" for name, value in {"written": path, **drawn}.items())
    answer(made.text() + told, {**made.to_dict(), "out": str(path), **drawn}, json)


def hierarchy_show(source: str, *, picture: str | None = None, json: bool = False) -> None:
    """The superclasses of a bundle, of a run, or in a file of `kinema hierarchy build`.

    Args:
        source: Bundle, folder of a run that trained with superclasses, or .json file.
        picture: Draw who belongs where: PICTURE.png, .svg or .pdf.
        json: Print one JSON object and nothing else.
    """
    from pathlib import Path

    from kinema import bundle
    from kinema.evaluation.hierarchy_plots import memberships_figure
    from kinema.evaluation.plots import save
    from kinema.hierarchy import load_hierarchy

    path = Path(source).expanduser()
    inside = path / "hierarchy.json" if path.is_dir() else path
    made = load_hierarchy(inside) if inside.suffix == ".json" and inside.exists() else bundle.load(source).hierarchy
    if made is None:
        raise KinemaError(f"{source} has no superclasses; one that was trained with them (hierarchy.counts) is expected")
    drawn = {"picture": str(save(memberships_figure(made, made.source), picture))} if picture else {}
    answer(made.text() + (f"\npicture   {drawn['picture']}" if drawn else ""), {**made.to_dict(), **drawn}, json)


def hierarchy_draw(run: str, out: str = "network.png") -> None:
    """Draw a network and the classifiers of superclasses that trained along with it.

    Args:
        run: Folder of a run that trained with superclasses.
        out: The picture, OUT.png, .svg or .pdf.
    """
    from kinema.evaluation.hierarchy_plots import network_figure
    from kinema.evaluation.plots import save
    from kinema.training.head_gradients import drawn_stages

    print(save(network_figure(*drawn_stages(run)), out))


def hierarchy_gradients(run: str, out: str = "gradients.png", *, clips: int = 500, json: bool = False) -> None:
    """Draw what each classifier sends back to the last convolution of the first stage: mean absolute gradients, 0 blue to 1 red.

    Args:
        run: Folder of a run that trained with superclasses; its data are read again.
        out: The picture, OUT.png, .svg or .pdf.
        clips: Training samples, the first ones, over which the mean is taken.
        json: Print means and largest values by classifier as one JSON object and nothing else.
    """
    from kinema.evaluation.hierarchy_plots import gradients_figure
    from kinema.evaluation.plots import save
    from kinema.training.head_gradients import head_gradients

    found = head_gradients(run, clips)
    path = save(gradients_figure(found.values, found.names, f"{found.conv}, {found.clips} clips"), out)
    rows = [
        {"classifier": name, "mean": float(values.mean()), "largest": float(values.max())}
        for name, values in zip(found.names, found.values, strict=True)
    ]
    lines = [f"gradients at {found.conv}, mean over {found.clips} clips, as shares of the largest"]
    lines += [f"  {row['classifier']:<28} mean {row['mean']:.3f}, largest {row['largest']:.3f}" for row in rows]
    answer(
        "\n".join([*lines, f"drawn     {path}"]), {"conv": found.conv, "clips": found.clips, "out": str(path), "classifiers": rows}, json
    )


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise KinemaError(f"--counts is {text!r}; whole numbers joined by commas, such as 2,6,20, are expected") from None


HIERARCHY_COMMANDS = {
    "build": hierarchy_build,
    "show": hierarchy_show,
    "draw": hierarchy_draw,
    "gradients": hierarchy_gradients,
}
