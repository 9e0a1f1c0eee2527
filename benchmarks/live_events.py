"""Actions that live recognition finds in streams: how many, how soon, and how many that were none.

    python benchmarks/live_events.py [--bundle utd-mhad-skeleton] [--data $KINEMA_DATA/utd-mhad] [--out results/live_events.json]

A stream is everything that one person of UTD-MHAD's test part does, in an order drawn by chance, with six tenths of a second between
two recordings: the recogniser is told of no boundaries. An action counts as found where, of the events that touch it (or the second after
it, since recognition looks back over a window), the one that does so longest has its label; an event is false where it touches no action of
its label. Rows differ in the rule that makes events of probabilities: the most probable label of every answer; smoothed in time; and
with two thresholds and a least duration, as live recognition has it unless told otherwise. Rules were not chosen on these streams.
"""

import argparse
import os
import sys
from pathlib import Path
from statistics import median

import numpy as np

GAP, AFTER, RATE = 0.6, 1.0, 10.0


def rules() -> dict:
    from kinema.recognition.episodes import Rule

    every = {"enter": 1e-3, "leave": 1e-3, "least": 0.0}
    return {
        "most probable label of each answer": Rule(**every, smoothing=0.0),
        "smoothed, most probable label": Rule(**every, smoothing=Rule().smoothing),
        "smoothed, two thresholds, least duration": Rule(),
    }


def stream(clips, seed: int):
    """(seconds, people) frame by frame, and the actions: (start, end, label)."""
    from kinema.recognition.steps import steps

    frames, actions, now = [], [], 0.0
    for index in np.random.default_rng(seed).permutation(len(clips)):
        clip = clips[index]
        last = now
        for time, people in steps(clip.pose):
            last = now + time
            frames.append((last, people))
        actions.append((now, last, clip.label))
        now = last + GAP
    return frames, actions


def follow(recognizer, layout, rule, window, frames) -> list[tuple[float, float, str, float]]:
    """(start, end, label, when it was told) of each event."""
    from kinema.recognition.live import LiveRecognizer

    live, found, told = LiveRecognizer(recognizer, layout=layout, rule=rule, window=window, rate=RATE), [], {}
    for time, people in frames:
        answer = live.step(time, people)
        told.update({(event.label, event.start): time for event in answer.opened})
        found += answer.closed
    return [(event.start, event.end, event.label, told[event.label, event.start]) for event in [*found, *live.finish()]]


def score(actions, events, classes) -> tuple[int, int, list[float]]:
    """Actions found, false events, and after how many seconds those that were found were told."""
    found, delays = 0, []
    for start, end, label in actions:
        shares = [(min(stop, end + AFTER) - max(begin, start), name, told) for begin, stop, name, told in events]
        best = max((share for share in shares if share[0] >= 0), default=None)
        if best is not None and best[1] == classes[label]:
            found += 1
            delays.append(max(best[2] - start, 0.0))
    touched = [
        any(begin <= end + AFTER and stop >= start and name == classes[label] for start, end, label in actions)
        for begin, stop, name, _ in events
    ]
    return found, touched.count(False), delays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--bundle", default="utd-mhad-skeleton", help="bundle of 3-D or 2-D skeletons that was trained on its training part"
    )
    parser.add_argument("--data", type=Path, help="the folder of UTD-MHAD; default: utd-mhad in $KINEMA_DATA")
    parser.add_argument("--out", default="results/live_events.json")
    parser.add_argument("--window", type=float, help="seconds that an answer is made from; default: what the bundle was trained on")
    parser.add_argument("--people", type=int, default=0, help="so many persons alone, for a try")
    options = parser.parse_args()
    if not options.data and not os.environ.get("KINEMA_DATA"):
        sys.exit("where is UTD-MHAD? Give --data DIR, or set KINEMA_DATA")
    import torch

    from kinema.datasets.base import read_dataset
    from kinema.evaluation.results import accuracy_row, write_results
    from kinema.recognition.recognizer import Recognizer

    torch.set_num_threads(1)
    recognizer = Recognizer(options.bundle)
    dataset = read_dataset("utd-mhad", options.data)
    split = dataset.split("cross-subject")
    test = dataset.select(split.test)
    people = sorted({clip.subject for clip in test})[: options.people or None]
    streams = [stream([clip for clip in test if clip.subject == person], seed) for seed, person in enumerate(people)]
    layout, window, rows = test[0].pose.layout, options.window or recognizer.bundle.window_seconds, []
    for name, rule in rules().items():
        found, false, delays = 0, 0, []
        for frames, actions in streams:
            some = score(actions, follow(recognizer, layout, rule, options.window, frames), dataset.classes)
            found, false, delays = found + some[0], false + some[1], delays + some[2]
        total = sum(len(actions) for _, actions in streams)
        minutes = sum(frames[-1][0] for frames, _ in streams) / 60
        about = {"false_per_minute": false / minutes, "delay_s": median(delays) if delays else None, "minutes": minutes, "window_s": window}
        rows.append(
            accuracy_row(
                name,
                "utd-mhad",
                "cross-subject, streams",
                n_train=len(split.train),
                n_test=total,
                seeds=[0],
                correct=[found],
                unit="actions",
                **about,
            )
        )
        print(f"{name}: {found} of {total} actions, {false / minutes:.1f} false events a minute, told after {about['delay_s'] or 0:.1f} s")
    write_results(options.out, f"Actions in streams, {options.bundle}", rows)


if __name__ == "__main__":
    main()
