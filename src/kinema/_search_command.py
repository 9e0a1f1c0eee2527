"""The command `kinema search`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from kinema._commandline import answer, overridable
from kinema.training.recipe import Recipe


@overridable(Recipe)
def search(
    recipe: str,
    *,
    budget: int = 20,
    minutes: float = 0.0,
    passes: int = 0,
    scope: Literal["layer", "all", "group"] = "layer",
    out: str | None = None,
    json: bool = False,
    **overrides: Any,
) -> None:
    """Search for numbers of superclasses, weights of their losses and the share of filters to prune, judged on validation clips.

    A call that was interrupted goes on where it stopped; one with a larger budget adds to it. Needs pip install "kinema[search]".

    Args:
        recipe: YAML file; every field of it can be overridden, as in `--fit.epochs 10`.
        budget: Trainings with superclasses, besides the one without that all of them share.
        minutes: No further training begins after so many. Default: no limit.
        passes: Search for the share of filters to prune too, in so many passes at most. Default: without pruning.
        scope: What is ranked in pruning: filters of each layer, of all together, or groups of channels that layers share.
        out: Folder for the trainings. Default: runs/search- and the recipe's name.
        json: Print the trials as one JSON object and nothing else.
    """
    from kinema.training.load import load_recipe
    from kinema.training.search import Budget
    from kinema.training.search import search as run_search

    loaded = load_recipe(recipe, overrides)
    place = Path(out) if out else Path("runs") / f"search-{Path(recipe).stem}"
    found = run_search(loaded, place, Budget(budget, minutes, passes, scope), progress=not json)
    answer(found.text(), found.to_dict(), json)
