"""The command `kinema calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from kinema._commandline import answer
from kinema.calibration import Novelty
from kinema.errors import KinemaError


def calibrate(
    bundle: str,
    *,
    out: str | None = None,
    data: str | None = None,
    root: str | None = None,
    unknown: str | None = None,
    unknown_root: str | None = None,
    like: str | None = None,
    keep: float = 0.95,
    novelty: Novelty | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    json: bool = False,
) -> None:
    """Fit what makes a bundle's probabilities mean what they say, and lets it answer that it knows nothing of what it is shown.

    Clips that trained the bundle, and test parts, are never used.

    Args:
        bundle: Name of a bundle that ships with Kinema, or path of one.
        out: The calibrated bundle, OUT.safetensors. Default: its name and -calibrated.safetensors, in the present folder.
        data: Data sets whose validation clips are fitted to, several joined by "+". Default: those that the bundle was trained on.
        root: Folder of the data set; of several, the folder that holds theirs. Default: under $KINEMA_DATA.
        unknown: Data sets, several joined by "+", whose clips of other actions show what the bundle does not know.
        unknown_root: As root, for these.
        like: Take over the calibration of this bundle, which was trained alike on fewer clips, and fit nothing.
        keep: Share of the known validation clips that stay known.
        novelty: How strangeness is measured. Default: energy, or with unknown clips what tells them apart better.
        on_error: What happens at a clip that cannot be used: "raise" stops, "skip" leaves it out.
        json: Print the calibration as one JSON object and nothing else.
    """
    from kinema.bundle import load, save
    from kinema.evaluation import calibrate as calibration
    from kinema.evaluation.calibration import text
    from kinema.training.data import read_for
    from kinema.training.recipe import DataConfig

    loaded = load(bundle)
    pose = loaded.recipe.get("data", {}).get("pose", "")

    def read(names: str, folder: str | None) -> list:
        each = names.split("+")
        roots = [Path(folder) / name if folder and len(each) > 1 else folder for name in each]
        return [read_for(loaded, DataConfig(name, place, pose=pose, on_error=on_error)) for name, place in zip(each, roots, strict=True)]

    if like is not None:
        if data or unknown:
            raise KinemaError("--like takes over what was fitted; it goes with no --data and no --unknown")
        made = calibration.take_over(loaded, load(like))
    else:
        names = data or "+".join(calibration.trained_on(loaded))
        if not names:
            raise KinemaError(f"bundle {loaded.name!r} does not tell what it was trained on; give --data")
        known, strange = read(names, root), read(unknown, unknown_root) if unknown else []
        made = calibration.calibrate(loaded, known, strange, keep=keep, novelty=novelty, on_error=on_error, progress=not json)
    path = save(made, out or f"{loaded.name}-calibrated.safetensors")
    answer(f"{text(made.calibration)}\nbundle    {path}", {"bundle": str(path), **made.calibration.to_dict()}, json)
