"""Settings of a modality as a bundle's JSON holds them, every value checked."""

from __future__ import annotations

import math
from typing import Any, get_args, get_origin, get_type_hints

from kinema.errors import BundleError, KinemaError, unknown
from kinema.layout import get_layout
from kinema.transforms.config import PoseInput

_INTEGERS = {"frames": (1, 100_000), "persons": (1, 100), "step": (1, 100_000), "window": (0, 10_000_000), "stride": (0, 10_000_000)}


def settings_of(kind: type, values: Any, name: str) -> Any:
    """The settings of one modality from JSON, every value checked against its field's type; `BundleError` otherwise."""
    _expect(isinstance(values, dict), f"the bundle's {name} is not a mapping")
    hints, checked = get_type_hints(kind), {}
    for key, value in values.items():
        _expect(key in hints, f"the bundle's {name} has {unknown('setting', str(key), hints)}")
        several = get_origin(hints[key]) is tuple
        entries = value if several and isinstance(value, list) else [value]
        good = isinstance(value, list) == several and all(
            _fits(get_args(hints[key])[0] if several else hints[key], key, e) for e in entries
        )
        _expect(good, f"the bundle's {name} has {key} = {value!r}, which is not possible")
        checked[key] = tuple(value) if several else value
    try:
        made = kind(**checked)
        if isinstance(made, PoseInput):
            get_layout(made.layout)
            _expect(bool(made.streams), "the bundle's input has streams = [], which is not possible")
    except KinemaError as error:
        raise BundleError(str(error)) from error
    return made


def _fits(hint: Any, key: str, value: Any) -> bool:
    if hint is int:
        low, high = _INTEGERS.get(key, (0, 100_000))
        return is_int(value) and low <= value <= high
    if hint is float:
        return is_number(value)
    if hint in (bool, str):
        return isinstance(value, hint)
    return value in get_args(hint)


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _expect(good: bool, message: str) -> None:
    if not good:
        raise BundleError(message)
