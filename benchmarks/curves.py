"""Loss and accuracy over the epochs of a run, as a picture.

    python benchmarks/curves.py runs/STUDY/ROW/SEED docs/systems/memory-attention/curves.svg [--title TITLE]

Of a run that chose its epoch and then trained anew, the search is shown.
"""

import argparse
import json
from pathlib import Path

from kinema.evaluation.plots import curves_figure, save
from kinema.evaluation.report import read_log
from kinema.training.run_folder import RESULT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("out", type=Path, help=".svg, .png or .pdf")
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    result = json.loads((options.run / RESULT).read_text())
    log = [row for row in read_log(options.run / "log.csv") if row.get("stage") in (None, "train")]
    val_name = "test" if result["selection"] == "paper" else "validation"
    print(save(curves_figure(log, result["epoch"], options.title, val_name=val_name), options.out))


if __name__ == "__main__":
    main()
