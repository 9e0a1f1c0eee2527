"""From typed functions to commands: each parameter becomes an argument, its docstring line the help. Built on jsonargparse."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, Namespace

from kinema.errors import unknown
from kinema.training.typed import explain

Command = Callable[..., "int | None"]
Commands = Mapping[str, "Command | Commands"]


class Parser(ArgumentParser):
    """Bad arguments get one line and exit status 2; an unknown option is answered with the nearest one there is."""

    overridable: type | None = None

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        found = re.search(r"unrecognized arguments?: (--[^ =]+)", message)
        if found:
            options = [option for action in self._actions for option in action.option_strings]
            message = unknown("option", found[1], options)
        elif self.overridable is not None:
            message = explain(self.overridable, message)
        print(f"{self.prog}: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)


def overridable(dataclass: type) -> Callable[[Command], Command]:
    """The function's `**overrides` are fields of this dataclass, given as `--section.field value`; only those given are passed."""

    def mark(function: Command) -> Command:
        function.overridable = dataclass  # type: ignore[attr-defined]
        return function

    return mark


def command_parser(program: str, function: Command) -> Parser:
    """A parser for one function: what stands before `*` is positional (a list takes several), the rest are options; bools are flags."""
    doc = parse_docstring(function.__doc__ or "")
    helps = {param.arg_name: param.description or "" for param in doc.params}
    parser = Parser(prog=program, description="\n\n".join(part for part in (doc.short_description, doc.long_description) if part))
    parameters = inspect.signature(function, eval_str=True).parameters
    for name, parameter in parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            count = "+" if parameter.annotation == list[str] else None if parameter.default is parameter.empty else "?"
            parser.add_argument(name, help=helps[name], **({"nargs": count} if count else {}))
        elif parameter.annotation is bool:
            parser.add_argument("--" + name, action="store_true", help=helps[name])
        elif parameter.kind is parameter.KEYWORD_ONLY:
            parser.add_argument("--" + name, type=parameter.annotation, default=parameter.default, help=helps[name])
    if hasattr(function, "overridable"):
        parser.overridable = function.overridable
        parser.add_class_arguments(function.overridable, as_group=False, skip=set(parameters))
    return parser


def run(program: str, commands: Commands, argv: Sequence[str]) -> int:
    """Find the command that `argv` names, parse the rest and call it. Returns the exit status."""
    name, rest = (argv[0], argv[1:]) if argv else ("--help", ())
    if name in ("-h", "--help"):
        print(_overview(program, commands))
        return 0
    if name not in commands:
        print(f"{program}: {unknown('command', name, commands)}", file=sys.stderr)
        return 2
    command = commands[name]
    if isinstance(command, Mapping):
        return run(f"{program} {name}", command, rest)
    given = command_parser(f"{program} {name}", command).parse_args(list(rest), defaults=False)
    own = inspect.signature(command).parameters
    values = {key: given[key] for key in own if given.get(key) is not None}
    if hasattr(command, "overridable"):
        values.update({key: value for key, value in _flat(given) if key.partition(".")[0] not in own})
    return command(**values) or 0


def answer(text: str, data: Mapping[str, Any], as_json: bool) -> None:
    """Print what a command has found, for people or as one JSON object."""
    print(json.dumps(data) if as_json else text)


def _flat(given: Namespace) -> list[tuple[str, Any]]:
    """(dotted key, value) of all that was given on the command line; a dictionary's entries count one by one."""
    rows = []
    for key, value in vars(given.as_flat()).items():
        if isinstance(value, dict):
            rows += [(f"{key}.{name}", inner) for name, inner in value.items()]
        else:
            rows.append((key, value))
    return rows


def _overview(program: str, commands: Commands) -> str:
    rows = []
    for name, command in commands.items():
        if isinstance(command, Mapping):
            rows += [(f"{name} {inner}", function) for inner, function in command.items()]
        else:
            rows.append((name, command))
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:{width}}  {(function.__doc__ or '').strip().splitlines()[0]}" for name, function in rows]
    return "\n".join([f"usage: {program} COMMAND ...", "", *lines, "", f"{program} COMMAND --help tells what each takes."])
