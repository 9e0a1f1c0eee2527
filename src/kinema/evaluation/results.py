"""The one form of `results/<name>.json`: rows of accuracies and speeds, written by the command that measured them.

    {"title", "command", "environment", "rows": [...]}

Accuracies are fractions, times milliseconds. Tables are made of these files by `kinema.evaluation.tables`.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from kinema._cores import cores
from kinema._write import write_whole
from kinema.errors import DataError
from kinema.evaluation.intervals import wilson


def top1_of(correct: Sequence[int], n: int) -> dict:
    """`{"mean", "std", "runs", "interval"}` of one count of right answers a seed, out of the same `n` samples."""
    if not all(0 <= count <= n for count in correct):
        raise ValueError(f"{list(correct)} right of {n}; counts of 0..{n} are expected")
    runs = [count / n for count in correct]
    return {
        "mean": fmean(runs),
        "std": stdev(runs) if len(runs) > 1 else None,
        "runs": runs,
        # The seeds saw the same clips: they are averaged, not counted as more clips.
        "interval": list(wilson(fmean(correct), n)),
    }


def accuracy_row(
    name: str,
    dataset: str,
    protocol: str,
    *,
    n_train: int | Sequence[int],
    n_test: int | Sequence[int],
    seeds: Sequence[int],
    correct: Sequence[int] | Sequence[Sequence[int]],
    folds: Sequence[str] | None = None,
    unit: str = "clips",
    published: float | str | None = None,
    parameters: int | None = None,
    macs: int | None = None,
    ms: float | None = None,
    **extra: Any,
) -> dict:
    """A row of top-1 accuracy over several seeds.

    `correct`: rightly classified test samples, one count a seed. With `folds` (their names) `n_train` and `n_test` hold one
    number a fold and `correct` one such row a seed; `top1` is then weighted by samples, `top1_by_fold` is the mean of the
    folds' accuracies, `n_test` the sum over the folds and `n_train` the mean.
    `unit`: what is counted ("clips", "windows", "cuts", "samples"). `std` is the sample standard deviation over seeds, None
    for one. `interval`: 95 % Wilson at the mean accuracy over `n_test` samples. `published`: a fraction, or words.
    `ms`: milliseconds a clip. `extra`: further columns; a name that holds a number, a word or `{"mean", "std"}`.
    """
    if len(seeds) != len(correct) or not seeds:
        raise ValueError(f"{len(seeds)} seeds and {len(correct)} counts; one count a seed, at least one, is expected")
    row: dict[str, Any] = {"name": name, "dataset": dataset, "protocol": protocol, "unit": unit}
    if folds is None:
        row |= {"n_train": n_train, "n_test": n_test, "seeds": list(seeds), "top1": top1_of(correct, n_test)}
    else:
        if not len(folds) == len(n_train) == len(n_test) or any(len(counts) != len(folds) for counts in correct):
            raise ValueError(f"{len(folds)} folds; n_train, n_test and each seed's counts must hold one number a fold")
        by_fold = [fmean(right / n for right, n in zip(counts, n_test, strict=True)) for counts in correct]
        row |= {
            "n_train": round(fmean(n_train)),
            "n_test": sum(n_test),
            "seeds": list(seeds),
            "top1": top1_of([sum(counts) for counts in correct], sum(n_test)),
            "top1_by_fold": {"mean": fmean(by_fold), "std": stdev(by_fold) if len(by_fold) > 1 else None, "runs": by_fold},
            "folds": [
                {"name": fold, "n_train": n_train[i], "n_test": n_test[i], "top1": top1_of([counts[i] for counts in correct], n_test[i])}
                for i, fold in enumerate(folds)
            ],
        }
    known = {"published": published, "parameters": parameters, "macs": macs, "ms": ms, **extra}
    return row | {key: value for key, value in known.items() if value is not None}


def speed_row(
    name: str,
    work: str,
    threads: int,
    dtype: str,
    times_ms: Sequence[float],
    *,
    items: int = 1,
    peer: Mapping[str, Any] | None = None,
    **extra: Any,
) -> dict:
    """A row of measured times. `work`: what was done, in words, with its sizes; `items`: how many clips (or files ...) that was.

    `times_ms`: milliseconds of each run; `ms` and `per_second` are per item. `peer`: `{"name", "ms", "calibration": [before,
    after]}`, what another program took per item for the same work on another machine, and how much longer this machine takes
    for work of that kind, measured before and after; the row then gets `factor`: how many times faster this is than that peer here.
    """
    if not times_ms or min(times_ms) <= 0 or items < 1:
        raise ValueError(f"{len(times_ms)} times of {items} items; at least one of each, and positive times, are expected")
    times = [float(time) / items for time in times_ms]
    row: dict[str, Any] = {"name": name, "work": work, "threads": threads, "dtype": dtype}
    row["ms"] = {"median": median(times), "min": min(times), "runs": len(times)}
    row["per_second"] = 1000 / median(times)
    if peer is not None:
        here = peer["ms"] * fmean(peer.get("calibration", (1.0,)))
        row |= {"peer": {**peer, "ms_here": here}, "factor": here / median(times)}
    return row | {key: value for key, value in extra.items() if value is not None}


def environment() -> dict[str, Any]:
    """What a result was measured on: versions, processor, source commit and date. No names of hosts, users or folders."""
    packages = {}
    for package in ("kinema", "torch", "numpy"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = None
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **packages,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": cores(),
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor()


def _source_root() -> Path | None:
    """The checkout that this package runs from; None where it is installed."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() and (root / ".git").exists() else None


def _commit() -> str | None:
    root = _source_root()
    if root is None:
        return None

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "recipes", "benchmarks")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def command_line(argv: Sequence[str] | None = None) -> str:
    """The command that runs now, as a reader would type it: folders of this machine are left out of its words."""
    program, *words = sys.argv if argv is None else argv
    if Path(program).name == "__main__.py":
        start = ["python", "-m", Path(program).parent.name]
    elif program.endswith(".py"):
        start = ["python", _portable(str(Path(program).resolve()))]
    else:
        start = [Path(program).name]
    return shlex.join([*start, *(re.sub(r"(^|[=,:])(/[^=,:]*|~/?[^=,:]*)", lambda m: m[1] + _portable(m[2]), word) for word in words)])


def _portable(path: str) -> str:
    """A path relative to the checkout, the working folder or $KINEMA_DATA; its last part where it is in none of them."""
    resolved = Path(path).expanduser().resolve()
    bases = [("", _source_root()), ("", Path.cwd())]
    bases += [(f"${name}/", Path(os.environ[name]).resolve()) for name in ("KINEMA_DATA", "KINEMA_MODELS") if os.environ.get(name)]
    for prefix, base in bases:
        if base is not None and resolved != base and resolved.is_relative_to(base):
            return prefix + str(resolved.relative_to(base))
    return resolved.name


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def write_results(path: str | Path, title: str, rows: Sequence[Mapping[str, Any]], command: str | None = None) -> Path:
    """Write a results file, whole or not at all. `command`: what measured it; default: the command that runs now."""
    results = {"title": title, "command": command or command_line(), "environment": environment(), "rows": [dict(row) for row in rows]}
    check_results(results, path)
    text = json.dumps(results, indent=1, default=_plain, allow_nan=False, ensure_ascii=False)
    return write_whole(path, f"{text}\n".encode())


def read_results(path: str | Path) -> dict:
    """Read a results file; `DataError` saying which row and key is not of the form."""
    path = Path(path)
    try:
        results = json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path) from error
    except ValueError as error:
        raise DataError(f"is no JSON: {error}", path) from error
    check_results(results, path)
    return results


_TOP = {"title": str, "command": str, "environment": Mapping, "rows": Sequence}
_ACCURACY = {"name": str, "dataset": str, "protocol": str, "n_train": int, "n_test": int, "seeds": Sequence, "top1": Mapping}
_SPEED = {"name": str, "work": str, "threads": int, "dtype": str, "ms": Mapping, "per_second": float}


def check_results(results: Any, path: str | Path | None = None) -> None:
    """`DataError` naming row and key where `results` is not of the one form."""
    _check_keys(results, _TOP, path, None)
    for i, row in enumerate(results["rows"]):
        where = f"row {i}" + (f" ({row['name']})" if isinstance(row, Mapping) and isinstance(row.get("name"), str) else "")
        _check_keys(row, _ACCURACY if is_accuracy(row) else _SPEED, path, where)
        if is_accuracy(row):
            top1 = row["top1"]
            _check_keys(top1, {"mean": float, "runs": Sequence, "interval": Sequence}, path, f"{where}, top1")
            fractions = [top1["mean"], *top1["runs"], *top1["interval"]]
            if isinstance(row.get("published"), int | float):
                fractions.append(row["published"])
            if len(top1["runs"]) != len(row["seeds"]) or not all(0 <= value <= 1 for value in fractions):
                raise DataError(f"top1 {dict(top1)}: fractions of 0..1, one run a seed ({len(row['seeds'])}), are expected", path, where)
        else:
            _check_keys(row["ms"], {"median": float, "min": float, "runs": int}, path, f"{where}, ms")


def is_accuracy(row: Any) -> bool:
    return isinstance(row, Mapping) and "top1" in row


def _check_keys(value: Any, form: Mapping[str, type], path: str | Path | None, where: str | None) -> None:
    if not isinstance(value, Mapping):
        raise DataError(f"{value!r:.60} is no mapping of {', '.join(form)}", path, where)
    for key, kind in form.items():
        if key not in value:
            raise DataError(f"{key!r} is missing; {', '.join(form)} are expected", path, where)
        found = value[key]
        if kind is float:
            good = isinstance(found, int | float | np.number) and not isinstance(found, bool) and math.isfinite(found)
        elif kind is int:
            good = isinstance(found, int | np.integer) and not isinstance(found, bool)
        else:
            good = isinstance(found, kind) and (kind is str or not isinstance(found, str))
        if not good:
            raise DataError(
                f"{key!r} is {found!r:.60}; {'a number' if kind in (int, float) else kind.__name__.lower()} is expected", path, where
            )
