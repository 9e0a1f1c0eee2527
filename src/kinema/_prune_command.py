"""The command `kinema prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from kinema._commandline import answer, overridable
from kinema.training.recipe import Recipe


@overridable(Recipe)
def prune(
    bundle: str,
    *,
    ratio: float = 0.1,
    passes: int = 6,
    scope: Literal["layer", "all", "group"] = "layer",
    out: str | None = None,
    json: bool = False,
    **overrides: Any,
) -> None:
    """Take the weakest filters out of a bundle's convolutions pass by pass, fine-tune in between, and leave the best network, compact.

    A call that was interrupted goes on where it stopped. Passes are judged on validation clips; the test part is measured and told.

    Args:
        bundle: Folder of a finished training, or its bundle; every field of its recipe can be overridden, as in `--fit.epochs 5`.
        ratio: Share of all filters that every pass takes out.
        passes: Most passes; fewer where two running stay below the best so far.
        scope: What is ranked: the filters of each layer, those of all together, or groups of channels that layers share
            (pip install "kinema[prune]").
        out: Folder for the passes, their table and the best bundle. Default: the bundle's folder and -pruned-SCOPE.
        json: Print the passes as one JSON object and nothing else.
    """
    from kinema.training.pruning import Plan
    from kinema.training.pruning import prune as prune_bundle

    source = Path(bundle).expanduser()
    folder = source.parent if source.suffix == ".safetensors" else source
    place = Path(out) if out else folder.with_name(f"{folder.name}-pruned-{scope}")
    found = prune_bundle(bundle, place, Plan(ratio, passes, scope), overrides, progress=not json)
    answer(found.text(), found.to_dict(), json)
