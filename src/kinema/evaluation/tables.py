"""Tables of the documentation, made of the results files. A table in a page stands between two marks and is replaced whole:

    <!-- results:NAME -->
    ...
    <!-- /results -->

A single figure within a sentence names its row and key: `<!-- results:NAME row="HCN" value="top1" -->...<!-- /results -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema._write import write_whole
from kinema.errors import DataError, unknown
from kinema.evaluation.results import is_accuracy, read_results

# Keys that end so hold fractions, which tables print as percentages.
_FRACTIONS = ("top1", "top5", "mean_class", "precision", "recall", "f1", "share")
Column = tuple[str, Callable[[Mapping[str, Any]], str]]


def _percent(value: Any) -> str:
    return f"{100 * value:.2f}" if isinstance(value, int | float) else str(value)


def _mean_std(value: Mapping[str, Any]) -> str:
    spread = f" ± {100 * value['std']:.2f}" if value.get("std") is not None else ""
    return _percent(value["mean"]) + spread


def _size(value: float) -> str:
    """1 047 000 -> 1.047 M."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.4g} {letter}"
    return f"{value:g}"


def _time(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _figure(key: str, value: Any) -> str:
    """Any extra column: `{"mean", "std"}` are fractions, so are floats whose key says so; other numbers as they are."""
    if isinstance(value, Mapping):
        return _mean_std(value) if "mean" in value else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _percent(value) if key.endswith(_FRACTIONS) else f"{value:.3g}"
    return str(value) if isinstance(value, int | str) else ""


def _data(row: Mapping[str, Any]) -> str:
    return f"{row['dataset']}, {row['protocol']}"


def _sizes(row: Mapping[str, Any]) -> str:
    folds = f", {len(row['folds'])} folds" if "folds" in row else ""
    return f"{row['n_train']} / {row['n_test']} {row.get('unit', 'clips')}{folds}"


def _clean(row: Mapping[str, Any]) -> str:
    return f"{_mean_std(row['clean'])} of {row['clean']['n_test']}"


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row["top1"]["interval"]
    return f"{100 * low:.1f}–{100 * high:.1f}"


_ACCURACY_COLUMNS: dict[str, Column] = {
    "name": ("Name", lambda row: row["name"]),
    "dataset": ("Data, protocol", _data),
    "n_train": ("Train / test", _sizes),
    "top1": ("Top-1 %", lambda row: _mean_std(row["top1"])),
    "interval": ("95 % interval", _interval),
    "leak": ("Leak", lambda row: row["leak"]),
    "clean": ("Without copies %", _clean),
    "top1_by_fold": ("Mean of folds %", lambda row: _mean_std(row["top1_by_fold"])),
    "seeds": ("Seeds", lambda row: str(len(row["seeds"]))),
    "selection": ("Epoch chosen by", lambda row: row["selection"]),
    "published": ("Published %", lambda row: _percent(row["published"])),
    "parameters": ("Parameters", lambda row: _size(row["parameters"])),
    "macs": ("Multiply-adds", lambda row: _size(row["macs"])),
    "ms": ("ms a clip", lambda row: _time(row["ms"])),
}
_SPEED_COLUMNS: dict[str, Column] = {
    "name": ("Name", lambda row: row["name"]),
    "work": ("Work", lambda row: row["work"]),
    "threads": ("Threads", lambda row: str(row["threads"])),
    "dtype": ("Type", lambda row: row["dtype"]),
    "ms": ("ms", lambda row: _time(row["ms"]["median"])),
    "min": ("Least ms", lambda row: _time(row["ms"]["min"])),
    "runs": ("Runs", lambda row: str(row["ms"]["runs"])),
    "per_second": ("A second", lambda row: _time(row["per_second"])),
    "peer": ("Peer", lambda row: row["peer"]["name"]),
    "peer_ms": ("Peer's ms, here", lambda row: _time(row["peer"]["ms_here"])),
    "factor": ("Times as fast", lambda row: f"{row['factor']:.3g}"),
}
_NOT_COLUMNS = {"protocol", "unit", "n_test", "folds"}


def _extra_columns(rows: Sequence[Mapping[str, Any]], known: Iterable[str]) -> dict[str, Column]:
    keys = dict.fromkeys(key for row in rows for key in row if key not in known and key not in _NOT_COLUMNS)
    columns = {}
    for key in keys:
        if any(_figure(key, row.get(key)) for row in rows):
            percent = " %" if key.endswith(_FRACTIONS) else ""
            columns[key] = (key.replace("_", " ").capitalize() + percent, lambda row, key=key: _figure(key, row[key]))
    return columns


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Column]) -> str:
    """A markdown table; a column that no row fills is left out."""
    body = [[_cell(read, row) for _, read in columns.values()] for row in rows]
    kept = [i for i in range(len(columns)) if any(line[i] for line in body)]
    heads = [head for head, _ in columns.values()]
    lines = [[heads[i] for i in kept], ["---" for _ in kept], *([line[i] for i in kept] for line in body)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(read: Callable[[Mapping[str, Any]], str], row: Mapping[str, Any]) -> str:
    try:
        return read(row).replace("|", "\\|")
    except KeyError:
        return ""


def render(results: Mapping[str, Any]) -> str:
    """Markdown: a table of the accuracy rows, one of the speed rows, and one line on what measured them."""
    parts = []
    for rows, columns in (
        ([row for row in results["rows"] if is_accuracy(row)], _ACCURACY_COLUMNS),
        ([row for row in results["rows"] if not is_accuracy(row)], _SPEED_COLUMNS),
    ):
        if rows:
            parts.append(_table(rows, columns | _extra_columns(rows, columns)))
    place = results["environment"]
    facts = [
        place.get("cpu"),
        f"{place['cores']} cores" if place.get("cores") else None,
        f"PyTorch {place.get('torch')}",
        place.get("date"),
    ]
    facts.append(f"commit {place['commit']}" if place.get("commit") else None)
    parts.append(f"*Measured by `{results['command']}` ({', '.join(fact for fact in facts if fact)}).*")
    return "\n\n".join(parts)


def render_folder(results_dir: str | Path) -> str:
    """Every results file of a folder under its title, by file name."""
    paths = sorted(Path(results_dir).glob("*.json"))
    if not paths:
        raise DataError("there are no results (*.json) here", results_dir)
    read = [(path, read_results(path)) for path in paths]
    return "\n\n".join(f"## {results['title']}\n\n`{path.name}`\n\n{render(results)}" for path, results in read) + "\n"


def pages(root: str | Path) -> list[Path]:
    """The pages of a project that may hold tables: README.md and docs/**/*.md."""
    found = [Path(root) / "README.md", *sorted((Path(root) / "docs").rglob("*.md"))]
    return [page for page in found if page.is_file()]


def figure(results: Mapping[str, Any], row: str, value: str) -> str:
    """One figure of one row, as the tables print it."""
    rows = {found["name"]: found for found in results["rows"]}
    if row not in rows:
        raise DataError(unknown("row", row, rows))
    columns = _ACCURACY_COLUMNS if is_accuracy(rows[row]) else _SPEED_COLUMNS
    columns = columns | _extra_columns([rows[row]], columns)
    if value not in columns or not (text := _cell(columns[value][1], rows[row])):
        raise DataError(f"row {row!r}: {unknown('value', value, [key for key in columns if _cell(columns[key][1], rows[row])])}")
    return text


_CLOSE = "<!-- /results -->"
_MARKED = re.compile(
    r'(?P<open><!-- results:(?P<name>[\w-]+)(?: row="(?P<row>[^"]*)" value="(?P<value>\w+)")? -->)(?P<body>.*?)' + re.escape(_CLOSE),
    re.DOTALL,
)
_ANY_MARK = re.compile(r"<!--\s*/?results\b[^>]*-->")


def update_docs(pages: Iterable[str | Path], results_dir: str | Path, check: bool = False) -> list[str]:
    """Put the tables of `results_dir` between their marks in `pages`.

    Returns the places ("page: line 12: name") that were not what the files say; with `check` nothing is written.
    `DataError` for a mark without its partner, and for a table whose results file or row is not there.
    """
    stale: list[str] = []
    for page in map(Path, pages):
        text = page.read_text()
        parts, end = [], 0
        for found in _MARKED.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            _no_marks(text[end : found.start()] + found["body"], page)
            body = _body(found, Path(results_dir), page, line)
            if body != found["body"]:
                stale.append(f"{page}: line {line}: {found['name']}")
            parts += [text[end : found.start()], found["open"], body, _CLOSE]
            end = found.end()
        _no_marks(text[end:], page)
        if not check and (fresh := "".join(parts) + text[end:]) != text:
            write_whole(page, fresh.encode())
    return stale


def _body(found: re.Match, results_dir: Path, page: Path, line: int) -> str:
    try:
        results = read_results(results_dir / f"{found['name']}.json")
        return f"\n\n{render(results)}\n\n" if found["row"] is None else figure(results, found["row"], found["value"])
    except DataError as error:
        raise DataError(str(error), page, f"line {line}") from error


def _no_marks(text: str, page: Path) -> None:
    """A mark left over outside the pairs, or within one, would be a table that is never renewed."""
    left = _ANY_MARK.search(text)
    if left:
        raise DataError(f"the mark {left[0]} has no partner; <!-- results:NAME --> ... {_CLOSE} is expected", page)
