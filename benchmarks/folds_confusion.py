"""What a row of a study confuses: pictures of the confusion matrices, by fold and pooled, and the recordings that it gets wrong.

    python benchmarks/folds_confusion.py runs/cad60_svm/sequences-ours-improved [--name cad60_svm_errors] [--shown]
        [--pictures docs/systems/cad60-svm] [--prefix confusion] [--results results] [--below 0.8] [--seed 0]

The folder is that of the row's runs, one a fold and seed. A recording is listed, in the file of results `--name`, where less than the
share `--below` of its samples (or windows, where these are not cut further) is told rightly, over all seeds; the pictures are of one seed.
`--shown`: only labels that the recordings have are asked for and answered, where a model knows more of them.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from kinema.evaluation.plots import confusion_figure, save
from kinema.evaluation.results import accuracy_row, write_results
from kinema.evaluation.scores import Scores, load_scores, pool
from kinema.training.run_folder import RESULT, SAMPLES, SCORES


def read(folder: Path) -> tuple[dict, dict[int, dict[str, Scores]]]:
    """One of the results, and the scores by seed and fold."""
    found: dict[int, dict[str, Scores]] = {}
    result = {}
    for path in sorted(folder.glob(f"*/{RESULT}")):
        result = json.loads(path.read_text())
        file = path.parent / SAMPLES
        found.setdefault(result["seed"], {})[result["fold"]] = load_scores(file if file.exists() else path.parent / SCORES)
    if not result:
        raise SystemExit(f"{folder}: no finished runs (folders with {RESULT})")
    return result, found


def among_shown(scores: Scores) -> Scores:
    return scores.restrict({scores.classes[label] for label in scores.labels})


def recordings(result: dict, found: dict[int, dict[str, Scores]], below: float) -> list[dict]:
    """A row for each recording of which less than `below` is right, the worst first."""
    rows = []
    for fold, scores in next(iter(found.values())).items():
        for i, clip_id in enumerate(scores.clip_ids):
            own = scores.clip == i
            answers = [of_fold[fold].probabilities[own].argmax(1) for of_fold in found.values()]
            truth = scores.labels[own][0]
            correct = [int((answer == truth).sum()) for answer in answers]
            if sum(correct) >= below * len(found) * own.sum():
                continue
            wrong = Counter(np.concatenate(answers)[np.concatenate(answers) != truth].tolist()).most_common(2)
            total = len(found) * int(own.sum())
            rows.append(
                accuracy_row(
                    f"{clip_id}: {scores.classes[truth]}",
                    result["dataset"],
                    f"{result['protocol']}, {scores.unit} of one recording",
                    n_train=result["samples"]["n_train"] if scores.unit == "samples" else result["units"]["train"],
                    n_test=int(own.sum()),
                    seeds=list(found),
                    correct=correct,
                    unit=scores.unit,
                    fold=fold,
                    taken_for=", ".join(f"{scores.classes[label]} ({100 * count / total:.0f} %)" for label, count in wrong),
                )
            )
    return sorted(rows, key=lambda row: row["top1"]["mean"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the row's runs")
    parser.add_argument("--name", help="of the file of results, without .json; default: none is written")
    parser.add_argument("--shown", action="store_true", help="among the labels that the recordings have")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--pictures", type=Path, help="folder for confusion-pooled.svg and confusion-FOLD.svg")
    parser.add_argument("--prefix", default="confusion", help="of the pictures' names")
    parser.add_argument("--below", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result, found = read(options.runs)
    if options.shown:
        found = {seed: {fold: among_shown(scores) for fold, scores in folds.items()} for seed, folds in found.items()}
    if options.name:
        rows = recordings(result, found, options.below)
        if rows:
            print(write_results(options.results / f"{options.name}.json", f"{result['title']}: recordings told wrongly", rows))
        else:
            print(f"every recording is right in at least {options.below:.0%} of its samples")
    if options.pictures:
        folds = found[options.seed]
        alone = len(folds) < 2
        for name, scores in {"pooled": pool(list(folds.values())), **({} if alone else folds)}.items():
            which = result["dataset"] if alone else "all folds" if name == "pooled" else f"fold {name}"
            title = f"{which}: {100 * scores.correct.mean():.1f} % of {len(scores)} {scores.unit}"
            figure = confusion_figure(scores.metrics()["confusion"], scores.classes, title)
            print(save(figure, options.pictures / f"{options.prefix}-{name}.svg"))


if __name__ == "__main__":
    main()
