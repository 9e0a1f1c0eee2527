"""The commands `kinema events ...`: typed functions, one each, with no logic of their own."""

from __future__ import annotations

from kinema._commandline import answer
from kinema.errors import KinemaError


def events_list(
    *,
    db: str | None = None,
    since: str | None = None,
    until: str | None = None,
    label: str | None = None,
    person: int | None = None,
    source: str | None = None,
    limit: int = 50,
    json: bool = False,
) -> None:
    """The actions that were recorded, the newest first.

    Args:
        db: Event store: an SQLite file, or postgresql://USER@HOST/NAME. Default: $KINEMA_EVENTS, else events.db.
        since: From when on: an age such as 2h or 7d, or a time such as 2026-11-21T10:30.
        until: Before when.
        label: Of this action alone.
        person: Of this person alone.
        source: From this camera or file alone.
        limit: Actions at most.
        json: Print one JSON object and nothing else.
    """
    from kinema.serving.event_files import actions_text, parse_time
    from kinema.serving.events import EventStore, Wanted

    wanted = Wanted(parse_time(since), parse_time(until), label, person, source)
    if limit < 1:
        raise KinemaError(f"limit is {limit}; 1 or more is expected")
    actions = EventStore(db, make=False).query(wanted, limit)
    answer(actions_text(actions), {"events": [{**action.to_dict(), "seconds": action.seconds} for action in actions]}, json)


def events_export(
    out: str,
    *,
    db: str | None = None,
    since: str | None = None,
    until: str | None = None,
    label: str | None = None,
    person: int | None = None,
    source: str | None = None,
) -> None:
    """Write the actions that were recorded to a file, the oldest first.

    Args:
        out: OUT.csv or OUT.json.
        db: Event store: an SQLite file, or postgresql://USER@HOST/NAME. Default: $KINEMA_EVENTS, else events.db.
        since: From when on: an age such as 2h or 7d, or a time such as 2026-11-21T10:30.
        until: Before when.
        label: Of this action alone.
        person: Of this person alone.
        source: From this camera or file alone.
    """
    from kinema.serving.event_files import export, parse_time
    from kinema.serving.events import EventStore, Wanted

    wanted = Wanted(parse_time(since), parse_time(until), label, person, source)
    path, count = export(EventStore(db, make=False).each(wanted), out)
    print(f"{count} actions written to {path}")


def events_prune(*, days: float | None = None, db: str | None = None, dry: bool = False) -> None:
    """Delete actions that ended longer ago than this.

    Args:
        days: How many days are kept; must be given.
        db: Event store: an SQLite file, or postgresql://USER@HOST/NAME. Default: $KINEMA_EVENTS, else events.db.
        dry: Only tell how many they are.
    """
    from datetime import UTC, datetime, timedelta

    from kinema.serving.events import EventStore

    if days is None or not 0 <= days <= 36500:
        raise KinemaError(
            "how many days are kept? --days 0 to 36500 is expected" if days is None else f"days is {days}; 0 to 36500 are expected"
        )
    count = EventStore(db, make=False).prune(datetime.now(UTC) - timedelta(days=days), dry=dry)
    print(f"{count} actions {'would be' if dry else 'were'} deleted")


def events_rules(file: str, *, bundle: str | None = None) -> None:
    """Check a file of rules, and tell what each does.

    Args:
        file: YAML file of rules.
        bundle: Name or path of the bundle whose labels the rules may name. Default: labels are not checked.
    """
    from kinema.bundle import load
    from kinema.serving.rules import read_rules

    for rule in read_rules(file, None if bundle is None else load(bundle).classes):
        print(rule.describe())


def events_record(
    files: list[str], *, bundle: str | None = None, db: str | None = None, rules: str | None = None, source: str | None = None
) -> None:
    """Play recordings of skeletons through live recognition into the event store, as if they had just ended: to try rules and thresholds.

    Args:
        files: Recordings of skeletons, or folders of them.
        bundle: Name of a bundle of skeletons that ships with Kinema, or path of one. Default: everyday.
        db: Event store: an SQLite file, or postgresql://USER@HOST/NAME. Default: $KINEMA_EVENTS, else events.db.
        rules: YAML file of rules.
        source: What the events are marked with. Default: each recording's name.
    """
    from kinema.bundle import load
    from kinema.serving.event_files import play
    from kinema.serving.events import default_store
    from kinema.serving.following import DEFAULT_BUNDLE
    from kinema.serving.recording import Events

    loaded = load(bundle or DEFAULT_BUNDLE)
    with Events(db or default_store(), rules, bundle=loaded) as events:
        told = play(files, loaded, events, source)
        events.flush()
    print("\n".join(told))


EVENTS_COMMANDS = {"list": events_list, "export": events_export, "prune": events_prune, "rules": events_rules, "record": events_record}
