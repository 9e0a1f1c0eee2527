"""YAML into frozen dataclasses, strictly: unknown keys name the nearest valid one, wrong types say what is expected. No torch here.

jsonargparse does the typing, so that a value in a file and the same value on the command line are read by one rule.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser, Namespace

from kinema.errors import RecipeError, unknown

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads `1e-3` as the number that everybody means by it."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} occurs twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; `RecipeError` with the line where it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{path}{line}: {getattr(error, 'problem', None) or 'this is no YAML'}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: {_shown(value)} stands at the top; keys with values are expected")
    return value


@cache
def field_types(cls: type) -> dict[str, Any]:
    """Field name -> resolved type of a dataclass."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def field_keys(cls: type, prefix: str = "") -> list[str]:
    """Dotted names of every field of a dataclass and of the dataclasses in it."""
    keys = []
    for name, kind in field_types(cls).items():
        keys += field_keys(kind, f"{prefix}{name}.") if dataclasses.is_dataclass(kind) else [prefix + name]
    return keys


@cache
def _checker(cls: type) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, None)
    return parser


def parse(cls: type[T], value: Mapping[str, Any], source: str | Path) -> T:
    """`value` as an instance of `cls`; `source` (a file) stands in front of what is wrong with it."""
    value = _strict(cls, value, source, "")
    try:
        return build(cls, _checker(cls).parse_object(value))
    except (argparse.ArgumentError, TypeError) as error:
        raise RecipeError(f"{source}: {explain(cls, str(error))}") from None


def build(cls: type[T], parsed: Namespace | Mapping[str, Any]) -> T:
    """An instance of dataclass `cls` from what a typed parser gave; keys of others in it are ignored."""
    return cls(**{name: _built(kind, parsed[name]) for name, kind in field_types(cls).items() if name in parsed})


def _built(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and not dataclasses.is_dataclass(value):
        return build(kind, value)
    item = _item_type(kind)
    if item is not None and isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_built(item, entry) for entry in value)
    return value


def merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `overrides` over it. Keys may be dotted; mappings merge, everything else is replaced."""
    result = dict(base)
    for key, value in overrides.items():
        first, _, rest = key.partition(".")
        if rest:
            value = {rest: value}
        if isinstance(value, Mapping):
            below = result.get(first)
            value = merged(below if isinstance(below, Mapping) else {}, value)
        result[first] = value
    return result


def plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as what YAML and JSON hold."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def explain(cls: type, message: str) -> str:
    """One line for jsonargparse's report of a value of the wrong type."""
    found = re.search(r'key "([^"]+)"', message)
    kind = _type_at(cls, found.group(1)) if found else None
    if kind is None:
        return " ".join(message.split())
    given = re.search(r"(?:Got value|Given value): (.*)", message)
    return f"{found.group(1)}: {_described(kind)} is expected" + (f", not {given.group(1)}" if given else "")


def parse_options(cls: type, options: Sequence[str]) -> dict[str, Any]:
    """Dotted key -> value of what options (`--fit.lr 1e-3`) give; `RecipeError` with the nearest option for an unknown one."""
    known = field_keys(cls)
    mappings = tuple(f"{key}." for key in known if _is_mapping(_type_at(cls, key)))
    for option in options:
        key = option[2:].split("=")[0]
        if option.startswith("--") and key not in known and not key.startswith(mappings):
            raise RecipeError(unknown("option", f"--{key}", [f"--{name}" for name in known]))
    try:
        given = _checker(cls).parse_args(list(options), defaults=False)
    except argparse.ArgumentError as error:
        raise RecipeError(explain(cls, str(error))) from None
    return dict(vars(given.as_flat()))


def _strict(cls: type, value: Any, source: str | Path, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise RecipeError(f"{source}: {where[:-1] or 'the file'}: keys with values are expected, not {_shown(value)}")
    kinds = field_types(cls)
    result = {}
    for key, entry in value.items():
        if key not in kinds:
            everywhere = {f"{where}{name}" for name in kinds}
            raise RecipeError(f"{source}: {unknown('key', f'{where}{key}', everywhere)}")
        result[key] = _entry(kinds[key], entry, source, f"{where}{key}")
    for field in dataclasses.fields(cls):
        if field.name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise RecipeError(f"{source}: key '{where}{field.name}' is missing")
    return result


def _entry(kind: Any, entry: Any, source: str | Path, where: str) -> Any:
    item = _item_type(kind)
    if dataclasses.is_dataclass(kind):
        return _strict(kind, entry, source, f"{where}.")
    if dataclasses.is_dataclass(item):
        if not isinstance(entry, list):
            raise RecipeError(f"{source}: {where}: a list is expected, not {_shown(entry)}")
        return [_strict(item, row, source, f"{where}[{i}].") for i, row in enumerate(entry)]
    if kind is float and isinstance(entry, bool):
        raise RecipeError(f"{source}: {where}: {_described(kind)} is expected, not {_shown(entry)}")
    takes_text = kind is str or str in typing.get_args(kind)
    if takes_text and isinstance(entry, (int, float)) and not isinstance(entry, bool):
        return str(entry)  # YAML makes numbers of names such as fold "1"
    return str(entry) if isinstance(entry, Path) else entry


def _item_type(kind: Any) -> Any:
    """X for tuple[X, ...], None for any other type."""
    arguments = typing.get_args(kind)
    return arguments[0] if typing.get_origin(kind) is tuple and arguments[-1] is Ellipsis else None


def _is_mapping(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) is dict


def _type_at(cls: type, key: str) -> Any:
    kind: Any = cls
    for name in key.split("."):
        if _is_mapping(kind) or not dataclasses.is_dataclass(kind) or name not in field_types(kind):
            break
        kind = field_types(kind)[name]
    return None if kind is cls else kind


def _described(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if kind in names:
        return names[kind]
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if _item_type(kind) is not None:
        return f"a list ({_described(arguments[0])} each)"
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return " or ".join("nothing" if argument is type(None) else _described(argument) for argument in arguments)
    return "a mapping"


def _shown(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
