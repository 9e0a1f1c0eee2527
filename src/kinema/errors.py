"""The errors that Kinema raises for its user's sake: each message says what was wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_MOST_NAMES, _FIRST_NAMES = 150, 8


class KinemaError(Exception):
    """Base of every error whose cause is the input or the request, not the code. The command line prints it in one line."""


class DataError(KinemaError):
    """A file or recording that cannot be used. `path` and `where` (line, frame, field) are put before the message."""

    def __init__(self, message: str, path: str | Path | None = None, where: str | None = None):
        self.path, self.where, self.reason = path, where, message
        place = ", ".join(str(part) for part in (path, where) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)

    def __reduce__(self):
        return type(self), (self.reason, self.path, self.where)


class LayoutError(KinemaError):
    """A joint layout that is unknown, or joints that cannot be derived from those at hand."""


class ProtocolError(KinemaError):
    """A protocol or split that the data set does not have, or that its clips cannot fill."""


class RecipeError(KinemaError):
    """A recipe with an unknown key or an impossible value."""


class BundleError(KinemaError):
    """A bundle that is damaged, or input that a bundle cannot take."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that is not known: the nearest known name if one is near, else all of them (the first of very many)."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    shown = known if len(known) <= _MOST_NAMES else [*known[:_FIRST_NAMES], f"... ({len(known)} in all)"]
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(shown) or 'none'}"
    return f"unknown {kind} {name!r}; {hint}"
