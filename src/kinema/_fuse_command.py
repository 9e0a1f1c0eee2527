"""The command `kinema fuse`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from kinema._commandline import answer
from kinema.fused import Rule


def fuse(
    members: list[str],
    *,
    rule: Rule = "average",
    out: str | None = None,
    clips: bool = False,
    root: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    figures: str | None = None,
    json: bool = False,
) -> None:
    """Make one answer of several models' answers to the same test part, and measure it beside each of them.

    Args:
        members: Folders of runs, whose saved scores are taken, or bundles, which are measured now on their own data set.
        rule: How: average, product or maximum of the probabilities; weighted and stacked learn from validation clips.
        out: Write all members and the rule as one bundle, OUT.safetensors.
        clips: Average each member's answers to the windows of a clip before they are fused.
        root: Folder of the data set, for bundles. Default: the folder of its name under $KINEMA_DATA.
        on_error: What happens at a clip that a bundle cannot use: "raise" stops, "skip" lets the other members answer, and counts it.
        figures: Folder for pictures of the confusion matrix and the classes.
        json: Print the result as one JSON object and nothing else.
    """
    from kinema import fused
    from kinema.evaluation import fuse_runs
    from kinema.evaluation.plots import write_figures

    learns = rule in fused.LEARNED
    read = [fuse_runs.read_member(each, validation=learns, root=root, on_error=on_error, progress=not json) for each in members]
    result, _, bundle = fuse_runs.fuse(read, rule, clips, name=Path(out).stem if out else "fused")
    if out:
        fused.save(bundle, out)
        result["bundle"] = out
    answer(fuse_runs.fusion_text(result) + (f"\nbundle    {out}" if out else ""), result, json)
    if figures:
        for path in write_figures(result, Path(figures)):
            print(f"drawn: {path}", file=sys.stderr)
