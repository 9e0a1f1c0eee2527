"""The table of registered models that `kinema models` prints."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

from kinema.errors import RecipeError, unknown
from kinema.models._count import count
from kinema.models.registry import model_infos

_CLASSES = 60


def model_rows(pattern: str = "*") -> list[dict[str, Any]]:
    """A row for each model whose name matches `pattern` (`*` and `?` stand for anything; a plain word matches any part).

    Keys: name, summary, paper, inputs (modality, and the sizes that the figures are for), parameters, multiply_adds (of one
    clip). The figures are for 60 classes at the model's example size; None where it names none, or where the size of a model
    comes from fitting it.
    Raises `RecipeError` where no model matches.
    """
    infos = model_infos()
    wanted = pattern if any(letter in pattern for letter in "*?[") else f"*{pattern}*"
    found = [info for name, info in infos.items() if fnmatch(name, wanted)]
    if not found:
        raise RecipeError(unknown("model", pattern, infos))
    rows = []
    for info in found:
        parameters = multiply_adds = None
        if info.example is not None:
            model = info.build(info.defaults, info.example, _CLASSES)
            if any(True for _ in model.parameters()):
                parameters, multiply_adds = count(model, info.example)
        rows.append(
            {
                "name": info.name,
                "summary": info.summary,
                "paper": info.paper,
                "inputs": f"{info.inputs}, {info.example}" if info.example is not None else info.inputs,
                "parameters": parameters,
                "multiply_adds": multiply_adds,
            }
        )
    return rows


def models_text(rows: list[dict[str, Any]]) -> str:
    """The rows as text: one line of figures a model, its summary and paper below."""
    width = max(len(row["name"]) for row in rows)
    lines = []
    for row in rows:
        figures = []
        if row["parameters"] is not None:
            figures = [f"{row['parameters'] / 1e6:.3f} M parameters", f"{row['multiply_adds'] / 1e9:.3f} G multiply-adds a clip"]
        lines.append(f"{row['name']:{width}}  {'; '.join([*figures, row['inputs']])}")
        lines += [f"{'':{width}}  {row['summary']}", f"{'':{width}}  {row['paper']}", ""]
    return "\n".join(lines[:-1])
