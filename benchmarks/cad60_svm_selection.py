"""Which features and settings the SVM on CAD-60 takes, without a look at the person who tests.

    python benchmarks/cad60_svm_selection.py [--root DATA/cad60] [--out results/cad60_svm_selection.json]

For each person left out, every candidate is trained on two of the other three and tested on the third, in turn (at every tenth
phase of the cuts); the best one then trains on all three and tests on the person left out. That is the row "chosen for each fold
by itself". The other rows are the candidates: what two persons tell of a third, over all twelve such trials, and beside it what
leave-one-person-out says of them. The preset `recipes/cad60_svm.yaml` is the candidate with the best of these means.
"""

import argparse
import sys
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import torch

from kinema.datasets.base import read_dataset
from kinema.evaluation.results import accuracy_row, write_results
from kinema.layout import get_layout
from kinema.models.registry import PoseShape, create_model
from kinema.recognition.answers import sample_probabilities
from kinema.transforms.config import PoseAugment, PoseInput
from kinema.transforms.samples import PoseSamples

CUTS = PoseInput(layout="cad60", frames=4, window=120, stride=120, sampling="skip", step=30, phases=tuple(range(30)))
LAPLACIAN = {"kernel": "laplacian", "scale": "deviation", "c": 10.0, "every": 15}
POSTURE = {**LAPLACIAN, "features": "posture"}
POSITIONS = {**LAPLACIAN, "features": "positions"}
RBF = {"kernel": "rbf", "gamma": 0.3 / 252}
# Name -> settings of the model, largest random turn in degrees (0: no copies but the mirrored ones), size divided out.
CANDIDATES = {
    "16 features, RBF": ({"c": 10.0, "every": 15}, 0, False),
    "positions, RBF": ({**POSITIONS, **RBF}, 0, False),
    "posture, RBF": ({**POSTURE, **RBF}, 0, False),
    "positions, Laplacian": (POSITIONS, 0, False),
    "posture, Laplacian": (POSTURE, 0, False),
    "posture, Laplacian, C 1": ({**POSTURE, "c": 1.0}, 0, False),
    "posture, Laplacian, size divided out": (POSTURE, 0, True),
    "positions, Laplacian, turned up to 10 degrees": (POSITIONS, 10, False),
    "positions, Laplacian, turned up to 20 degrees": (POSITIONS, 20, False),
    "posture, Laplacian, turned up to 10 degrees": (POSTURE, 10, False),
    "posture, Laplacian, turned up to 20 degrees": (POSTURE, 20, False),
    "posture, Laplacian of half the gamma, turned up to 10 degrees": ({**POSTURE, "gamma": 0.5 / 252}, 10, False),
    "posture, Laplacian of twice the gamma, turned up to 10 degrees": ({**POSTURE, "gamma": 2 / 252}, 10, False),
}
PEOPLE = "1234"


class Trials:
    """Right answers of each candidate to each person, by the persons who trained it."""

    def __init__(self, root: str | None, candidates: dict):
        self.clips = [clip for clip in read_dataset("cad60", root).clips if clip.label is not None]
        self.candidates = candidates
        self.right: dict[tuple[str, str, str], int] = {}
        self.sizes = {person: len(self.samples(person, False, some=True)) for person in PEOPLE}

    def samples(self, people: str, scale: bool, some: bool = False) -> PoseSamples:
        phases = CUTS.phases[::10] if some else CUTS.phases
        return PoseSamples.from_clips([clip for clip in self.clips if clip.subject in people], replace(CUTS, scale=scale, phases=phases))

    def fitted(self, name: str, people: str):
        config, turn, scale = self.candidates[name]
        model = create_model("handcrafted-svm", 12, PoseShape(1, 4, get_layout("cad60"), 3), **config)
        turned = (PoseAugment(rotate=turn), 3) if turn else (None, 1)
        model.fit_samples(self.samples(people, scale).with_mirrored(), None, *turned)
        return model

    def test(self, model, name: str, person: str, some: bool) -> int:
        samples = self.samples(person, self.candidates[name][2], some)
        return int((sample_probabilities(model, samples, batch_size=1024).argmax(1) == samples.labels.numpy()).sum())

    def run(self, name: str) -> None:
        for people in map("".join, [*combinations(PEOPLE, 2), *combinations(PEOPLE, 3)]):
            model = self.fitted(name, people)
            for person in set(PEOPLE) - set(people):
                self.right[name, people, person] = self.test(model, name, person, True)
            print(f"{name}: {people} trained", file=sys.stderr)

    def inner(self, name: str, left_out: str) -> float:
        """What two of the three others tell of the third."""
        others = [person for person in PEOPLE if person != left_out]
        right = sum(self.right[name, "".join(p for p in others if p != third), third] for third in others)
        return right / sum(self.sizes[third] for third in others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of CAD-60; default: the one under $KINEMA_DATA")
    parser.add_argument("--out", type=Path, default=Path("results/cad60_svm_selection.json"))
    parser.add_argument("--only", type=int, default=len(CANDIDATES), help="try the first so many candidates")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trials = Trials(options.root, dict(list(CANDIDATES.items())[: options.only]))
    for name in trials.candidates:
        trials.run(name)
    chosen = {person: max(trials.candidates, key=lambda name, person=person: trials.inner(name, person)) for person in PEOPLE}
    others = {person: PEOPLE.replace(person, "") for person in PEOPLE}
    whole = {person: len(trials.samples(person, False)) for person in PEOPLE}
    found = [trials.test(trials.fitted(name, others[person]), name, person, False) for person, name in chosen.items()]
    folds = {"folds": list(PEOPLE), "unit": "samples", "seeds": [0]}
    rows = [
        accuracy_row(
            "chosen for each fold by itself",
            "cad60",
            "leave-one-person-out, samples",
            n_train=[sum(whole[other] for other in others[person]) for person in PEOPLE],
            n_test=[whole[person] for person in PEOPLE],
            correct=[found],
            note="; ".join(f"{person}: {name}" for person, name in chosen.items()),
            **folds,
        )
    ]
    for name in trials.candidates:
        pairs = list(permutations(PEOPLE, 2))  # left out, third
        rows.append(
            accuracy_row(
                name,
                "cad60",
                "two persons train, a third tests, samples",
                n_train=[sum(whole[p] for p in PEOPLE if p not in pair) for pair in pairs],
                n_test=[trials.sizes[third] for _, third in pairs],
                correct=[[trials.right[name, "".join(p for p in PEOPLE if p not in pair), pair[1]] for pair in pairs]],
                **{**folds, "folds": [f"{third} without {left_out}" for left_out, third in pairs]},
                leave_one_person_out_top1=sum(trials.right[name, others[p], p] for p in PEOPLE) / sum(trials.sizes.values()),
            )
        )
    print(write_results(options.out, "SVM on CAD-60: features and settings chosen by inner leave-one-person-out", rows))


if __name__ == "__main__":
    main()
