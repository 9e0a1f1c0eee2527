"""Rules: when an action of some kind has lasted long enough, somebody is told. Read from YAML, followed step by step."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kinema.bundle import plain
from kinema.errors import DataError, unknown

if TYPE_CHECKING:
    from kinema.recognition.live import LiveAnswer

_MOST_RULES, _MOST_BYTES = 64, 1 << 20
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class EventRule:
    """Who is told of what.

    Args:
        name: what the message says.
        labels: any of these counts; from one to another of them the time goes on.
        url: where the message is sent to (POST, JSON); http or https.
        lasting: seconds that it must go on.
        confidence: least smoothed probability.
        gap: seconds that it may be interrupted.
        cooldown: seconds after a message in which the same source gives no other one by this rule.
        sources: only these; all, where none is named.
        headers: HTTP headers; `${NAME}` in them, and in the URL, is taken from the environment.
        timeout: seconds that a request may take.
        give_up: seconds after which a message that could not be delivered is given up.

    Raises `DataError` for what cannot be.
    """

    name: str
    labels: tuple[str, ...]
    url: str
    lasting: float = 0.0
    confidence: float = 0.0
    gap: float = 1.0
    cooldown: float = 60.0
    sources: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 5.0
    give_up: float = 86400.0

    def __post_init__(self):
        for name, low, high in (
            ("lasting", 0, 86400),
            ("confidence", 0, 1),
            ("gap", 0, 3600),
            ("cooldown", 0, 86400 * 30),
            ("timeout", 0.1, 300),
            ("give_up", 1, 86400 * 30),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise DataError(f"rule {self.name!r}: {name} is {value!r}; a number from {low} to {high} is expected")
        for name in ("labels", "sources"):
            if not all(isinstance(each, str) and each for each in getattr(self, name)):
                raise DataError(f"rule {self.name!r}: {name} are {list(getattr(self, name))}; a list of names is expected")
        if not self.labels:
            raise DataError(f"rule {self.name!r} has no labels")
        for name, value in self.headers.items():
            if not (isinstance(name, str) and isinstance(value, str)) or re.search(r"[\r\n\0]", name + value):
                raise DataError(f"rule {self.name!r}: header {str(name)[:40]!r} is not a line of text")
        try:
            url = urlsplit(self.url)
            good = url.scheme in ("http", "https") and bool(url.hostname) and not re.search(r"[\s\0]", self.url) and (url.port or 1) > 0
        except ValueError:
            good = False
        if not good:
            raise DataError(f"rule {self.name!r}: url {_hidden(self.url)!r} is none; http://HOST/... or https://HOST/... is expected")

    def describe(self) -> str:
        """In a line, without what may be secret."""
        places = f" at {', '.join(self.sources)}" if self.sources else ""
        sure = f", at least {self.confidence:.0%} sure" if self.confidence else ""
        what = f"{' or '.join(self.labels)} for {self.lasting:g} s{sure}{places}"
        return f"{self.name}: {what} -> POST {_hidden(self.url)} (again after {self.cooldown:g} s)"


def read_rules(path: str | Path, classes: Collection[str] | None = None) -> tuple[EventRule, ...]:
    """The rules of a YAML file: a list under `rules`, with the fields of `EventRule`.

    `classes`: labels there are; others are errors. Raises `DataError` that names the file and the rule.
    """
    import yaml

    path = Path(path).expanduser()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"larger than {_MOST_BYTES >> 20} MiB; no rules", path)
        told = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"is no YAML: {' '.join(str(error).split())[:200]}", path) from error
    if not isinstance(told, dict) or told.keys() != {"rules"} or not isinstance(told["rules"], list):
        raise DataError("a list of rules under the one key 'rules' is expected", path)
    if not 1 <= len(told["rules"]) <= _MOST_RULES:
        raise DataError(f"there are {len(told['rules'])} rules; 1 to {_MOST_RULES} are expected", path)
    try:
        rules = tuple(_rule(entry, number) for number, entry in enumerate(told["rules"], 1))
        names = [rule.name for rule in rules]
        if len(set(names)) < len(names):
            raise DataError(f"two rules have one name; names are {names}")
        known = None if classes is None else {plain(name): name for name in classes}
        for rule in rules if known is not None else ():
            foreign = next((label for label in rule.labels if plain(label) not in known), None)
            if foreign is not None:
                raise DataError(f"rule {rule.name!r}: {unknown('label', foreign, classes)}")
    except DataError as error:
        raise DataError(str(error), path) from error
    return rules


@dataclass(frozen=True)
class Alarm:
    """A rule that has come true, for one person. `start`: when it began, on the stream's clock, as `time`: now."""

    rule: EventRule
    person: int
    label: str
    source: str
    start: float
    time: float
    confidence: float


@dataclass
class _Run:
    since: float
    last: float
    told: bool = False


class RuleWatch:
    """Follows the answers of one stream. `tell` is called, in the caller's thread, with each alarm."""

    def __init__(self, rules: Collection[EventRule], source: str, tell: Callable[[Alarm], None]):
        self._rules = [rule for rule in rules if not rule.sources or source in rule.sources]
        self._labels = {rule.name: {plain(label) for label in rule.labels} for rule in self._rules}
        self._source, self._tell = source, tell
        self._told: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        """What comes next is a new stream, on another clock perhaps; cooldowns end with the old one."""
        self._runs: dict[tuple[str, int], _Run] = {}
        self._told.clear()

    def step(self, answer: LiveAnswer) -> None:
        """Take what one step has found."""
        for rule in self._rules:
            for person in answer.persons:
                if person.label is None or plain(person.label) not in self._labels[rule.name] or person.confidence < rule.confidence:
                    continue
                key = (rule.name, person.person)
                run = self._runs.get(key)
                if run is None or answer.time - run.last > rule.gap:
                    run = self._runs[key] = _Run(answer.time if person.since is None or rule.confidence else person.since, answer.time)
                run.last = answer.time
                cool = answer.time - self._told.get(rule.name, -float("inf")) >= rule.cooldown
                if not run.told and cool and answer.time - run.since >= rule.lasting:
                    run.told, self._told[rule.name] = True, answer.time
                    self._tell(Alarm(rule, person.person, person.label, self._source, run.since, answer.time, person.confidence))
        longest = max((rule.gap for rule in self._rules), default=0.0)
        self._runs = {key: run for key, run in self._runs.items() if answer.time - run.last <= longest}


def _rule(entry: Any, number: int) -> EventRule:
    known = {each.name: each for each in fields(EventRule)}
    if not isinstance(entry, dict):
        raise DataError(f"rule {number} is {str(entry)[:60]!r}; name, labels, url ... are expected")
    entry = dict(entry)
    for key in entry:
        if key not in known:
            raise DataError(f"rule {number}: {unknown('setting', str(key)[:80], known)}")
    for name, each in known.items():
        if name not in entry and each.default is MISSING and each.default_factory is MISSING:
            raise DataError(f"rule {number} has no {name}")
    for name in ("name", "url"):
        if not isinstance(entry[name], str) or not entry[name]:
            raise DataError(f"rule {number}: {name} is {entry[name]!r:.60}; text is expected")
    for name in ("labels", "sources"):
        if name in entry:
            given = [entry[name]] if isinstance(entry[name], str) else entry[name]
            if not isinstance(given, list):
                raise DataError(f"rule {number}: {name} is {given!r:.60}; a list of names is expected")
            entry[name] = tuple(given)
    headers = entry.get("headers", {})
    if not isinstance(headers, dict):
        raise DataError(f"rule {number}: headers are no mapping")
    entry["url"] = _filled(entry["url"], number)
    entry["headers"] = {name: _filled(value, number) if isinstance(value, str) else value for name, value in headers.items()}
    return EventRule(**entry)


def _filled(text: str, number: int) -> str:
    def value(found: re.Match) -> str:
        if found[1] not in os.environ:
            raise DataError(f"rule {number}: the environment has no {found[1]}")
        return os.environ[found[1]]

    return _VARIABLE.sub(value, text)


def _hidden(url: str) -> str:
    """Without user, password and query, which may be secret."""
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0][:200]
