"""From typed functions to commands: each parameter becomes an argument, its docstring line the help. Built on jsonargparse."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, Namespace

from kinema.errors import unknown

Command = Callable[..., "int | None"]


class Parser(ArgumentParser):
    """Bad arguments get one line and exit status 2; an unknown option is answered with the nearest one there is."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        found = re.search(r"unrecognized arguments?: (--[^ =]+)", message)
        if found:
            options = [option for action in self._actions for option in action.option_strings]
            message = unknown("option", found[1], options)
        print(f"{self.prog}: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)


def summary(function: Command) -> str:
    return (function.__doc__ or "").strip().splitlines()[0]


def command_parser(program: str, function: Command) -> Parser:
    """A parser for one function: parameters without a default are positional (a list takes several), flags are false by default."""
    doc = parse_docstring(function.__doc__ or "")
    helps = {param.arg_name: param.description for param in doc.params}
    text = "\n\n".join(part for part in (doc.short_description, doc.long_description) if part)
    parser = Parser(prog=program, description=text)
    by_type = []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        help_text, option = helps.get(name, ""), "--" + name
        if parameter.kind is parameter.VAR_KEYWORD:
            parser.add_class_arguments(_settings_class(function), as_group=False)
        elif parameter.default is parameter.empty:
            several = parameter.annotation == list[str]
            parser.add_argument(name, help=help_text, **({"nargs": "+"} if several else {}))
        elif parameter.annotation is bool:
            parser.add_argument(option, action="store_true", help=help_text)
        else:
            by_type.append(name)
    skipped = {name for name in inspect.signature(function).parameters if name not in by_type}
    parser.add_function_arguments(function, as_group=False, skip=skipped)
    return parser


def _settings_class(function: Command) -> type:
    return function.settings  # type: ignore[attr-defined]


def settings(dataclass: type) -> Callable[[Command], Command]:
    """The function's `**overrides` are fields of this dataclass, given as `--field.name value`; only those given are passed."""

    def mark(function: Command) -> Command:
        function.settings = dataclass  # type: ignore[attr-defined]
        return function

    return mark


def run_command(program: str, function: Command, argv: Sequence[str]) -> int:
    """Parse `argv` and call the function with what was given. Returns the exit status."""
    given = command_parser(program, function).parse_args(list(argv), defaults=False)
    own = inspect.signature(function).parameters
    values: dict[str, Any] = {name: given[name] for name in own if name in given}
    if hasattr(function, "settings"):
        values.update({key: value for key, value in _flat(given) if key.partition(".")[0] not in own})
    return function(**values) or 0


def _flat(given: Namespace) -> list[tuple[str, Any]]:
    """(dotted key, value) of all that was given on the command line; a dictionary's entries count one by one."""
    rows = []
    for key, value in vars(given.as_flat()).items():
        if isinstance(value, dict):
            rows += [(f"{key}.{name}", inner) for name, inner in value.items()]
        else:
            rows.append((key, value))
    return rows
