"""`manage.py key` and `manage.py token`: keys of callers, and revocation of tokens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import click

from cli.access.common import Done, Duration, Expiry, access_store, actor, change
from cli.common import Moment, chosen_settings, plain_errors
from config.access.keys import MAX_BOTS, digest_of, new_key
from config.access.patterns import DENIAL, PatternError, compile_patterns
from config.access.scopes import REPORT, SCOPES, ScopeError, check_scopes
from config.fields import parse_rate
from db.access_log import CREATE, REVOKE, ROTATE, AccessEvent
from db.api_keys import ACTIVE, ApiKey, all_keys, expire_key, insert_key, key_of, revoke_key
from db.instruments import all_instruments
from db.postgres import Cursor
from db.revoked_tokens import RevokedToken, insert_revocation
from db.timestamps import format_time, utc_now

MAX_NAME_LENGTH = 80
_COLUMNS = ("id", "name", "scopes", "instruments", "bots", "rate", "expires", "last_used", "state")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class Rate(click.ParamType[str]):
    """A rate such as 600/m."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, checked."""
        try:
            return str(parse_rate(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def key() -> None:
    """Create, list, revoke or rotate keys of callers.

    Uses the configured database; without one, the embedded database of the running system, or
    starts it temporarily. Running processes take a change within 2 s.
    """


@key.command()
@click.option("--name", required=True, metavar="NAME", help=f"For people, at most {MAX_NAME_LENGTH} characters.")
@click.option("--scopes", required=True, metavar="LIST", help="Comma list of read, observe, report, publish, operate.")
@click.option("--instruments", default="*", show_default=True, metavar="LIST", help="Comma list of patterns: 'EUR_*,!EUR_CHF'.")
@click.option("--bots", default="", metavar="LIST", help=f"Comma list of at most {MAX_BOTS} names of bots, for the scope report.")
@click.option("--rate", type=Rate(), metavar="600/m", help="Requests to REST. Default: RATE_REQUESTS.")
@click.option("--events", type=Rate(), metavar="50/s", help="Events to the hub. Default: RATE_EVENTS.")
@click.option("--connections", type=click.IntRange(1, 1_000_000), metavar="20", help="To the hub. Default: RATE_CONNECTIONS.")
@click.option("--expires", type=Expiry(), metavar="90d", help="A duration or a time. Default: never.")
@click.option("--force", is_flag=True, help="Create it although a pattern matches no instrument.")
@_json
def create(name: str, scopes: str, instruments: str, bots: str, force: bool, as_json: bool, **options: Any) -> None:
    """Create a key and print it, once: it cannot be shown again.

    The key goes to stdout, everything else to stderr.
    """
    chosen, now = chosen_settings("key"), utc_now()
    if options["expires"] is not None and options["expires"] <= now:
        raise click.BadParameter("the time is in the past: use a later one, or a duration such as 90d", param_hint="--expires")
    key_id, text = new_key()
    made = ApiKey(
        id=key_id,
        name=_checked_name(name),
        digest=digest_of(text),
        scopes=_checked_scopes(scopes),
        instruments=_checked_patterns(instruments),
        bots=_checked_bots(bots),
        rate_requests=options["rate"],
        rate_events=options["events"],
        max_connections=options["connections"],
        created=now,
        created_by=actor(),
        expires=options["expires"],
    )
    if (REPORT in made.scopes) != bool(made.bots):
        rule = "the scope report needs names, such as --bots mm-1" if REPORT in made.scopes else "names of bots need report in --scopes"
        raise click.BadParameter(rule, param_hint="--bots")

    def make(cursor: Cursor) -> Done:
        _check_matches(cursor, made.instruments, force=force)
        return insert_key(cursor, made), AccessEvent(now, made.created_by, CREATE, key_id, details=_rights(made))

    with plain_errors():
        change(chosen, "key", make)
    _print_key(made, text, as_json)


@key.command("list")
@click.option("--all", "all_of_them", is_flag=True, help="Revoked and expired keys too.")
@_json
def list_keys(all_of_them: bool, as_json: bool) -> None:
    """Show the keys in use, or all; never the key itself."""
    chosen, now = chosen_settings("key"), utc_now()
    with plain_errors(), access_store(chosen, "key") as store, store.transaction() as cursor:
        found = [each for each in all_keys(cursor) if all_of_them or each.state(now) == ACTIVE]
    if as_json:
        click.echo(json.dumps({"keys": [_row(each, now) for each in found], "count": len(found)}))
        return
    from rich.console import Console  # the other commands print plain text
    from rich.table import Table

    table = Table(*_COLUMNS, box=None)
    for each in found:
        row = _row(each, now)
        table.add_row(*(_cell(row[column]) for column in _COLUMNS))
    Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False).print(table)


@key.command()
@click.argument("key_id", metavar="ID")
@_json
def show(key_id: str, as_json: bool) -> None:
    """Show the rights and the state of the key ID."""
    chosen, now = chosen_settings("key"), utc_now()
    with plain_errors(), access_store(chosen, "key") as store, store.transaction() as cursor:
        row = _row(_existing(cursor, key_id), now)
    click.echo(json.dumps(row) if as_json else "\n".join(f"{name + ':':<14}{_cell(value)}".rstrip() for name, value in row.items()))


@key.command()
@click.argument("key_id", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="For the log of access control.")
def revoke(key_id: str, reason: str) -> None:
    """Revoke the key ID for ever; its connections are closed within 2 s."""
    chosen, now = chosen_settings("key"), utc_now()
    answers: list[str] = []

    def make(cursor: Cursor) -> Done:
        if _existing(cursor, key_id).revoked is not None:
            answers.append(f"{key_id} is revoked already")
            return None
        answers.append(f"revoked {key_id}")
        return revoke_key(cursor, key_id, now), AccessEvent(now, actor(), REVOKE, key_id, details={"reason": reason} if reason else {})

    with plain_errors():
        change(chosen, "key", make)
    click.echo(answers[0])


@key.command()
@click.argument("key_id", metavar="ID")
@click.option("--overlap", type=Duration(), default="24h", show_default=True, metavar="24h", help="For which the old key stays valid.")
@_json
def rotate(key_id: str, overlap: timedelta, as_json: bool) -> None:
    """Create a key with the rights of the key ID and print it, once.

    The old key expires after the overlap. A key that expires has a successor of the same life.
    """
    chosen, now = chosen_settings("key"), utc_now()
    new_id, text = new_key()
    made: list[ApiKey] = []
    ends: list[datetime] = []  # of the old key

    def make(cursor: Cursor) -> Done:
        old = _existing(cursor, key_id)
        if (state := old.state(now)) != ACTIVE:
            raise click.UsageError(f"{key_id} is {state}: create a new key")
        made.append(_successor(old, new_id, text, now))
        until = now + overlap if old.expires is None else min(old.expires, now + overlap)
        ends.append(until)
        insert_key(cursor, made[0])
        details = {"new": new_id, "expires": format_time(until)}
        return expire_key(cursor, key_id, until), AccessEvent(now, actor(), ROTATE, key_id, details=details)

    with plain_errors():
        change(chosen, "key", make)
    click.echo(f"the old key {key_id} expires at {format_time(ends[0])}", err=True)
    _print_key(made[0], text, as_json)


@click.group()
def token() -> None:
    """Revoke JSON Web Tokens of the identity service."""


@token.command("revoke")
@click.option("--jti", metavar="X", help="One token, by its id.")
@click.option("--sub", metavar="U", help="Every token of a subject that was issued earlier than --before.")
@click.option("--before", type=Moment(), metavar="TIME", help="With --sub: the end of the revoked time.")
def revoke_token(jti: str | None, sub: str | None, before: datetime | None) -> None:
    """Revoke one token, or the earlier tokens of a subject.

    A token without `iat` counts as issued earlier.
    """
    if bool(jti) == bool(sub) or bool(sub) != bool(before):
        raise click.UsageError("use --jti X for one token, or --sub U with --before TIME for the earlier tokens of a subject")
    chosen, now = chosen_settings("token"), utc_now()
    life = timedelta(seconds=chosen.jwt_max_ttl_seconds + chosen.jwt_leeway_seconds)
    revoked = RevokedToken(jti, sub, before, max(now, before or now) + life)
    details = {"jti": jti} if jti else {"sub": sub, "before": format_time(before or now)}

    def make(cursor: Cursor) -> Done:
        return insert_revocation(cursor, revoked, now), AccessEvent(now, actor(), REVOKE, details=details)

    with plain_errors():
        change(chosen, "token", make)
    click.echo(f"revoked the token {jti}" if jti else f"revoked the tokens of {sub} issued before {details['before']}")


def _checked_name(name: str) -> str:
    if not name.strip() or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise click.BadParameter(f"1 to {MAX_NAME_LENGTH} printable characters, not {name[:40]!r}", param_hint="--name")
    return name.strip()


def _checked_scopes(text: str) -> tuple[str, ...]:
    try:
        found = check_scopes(_items(text))
    except ScopeError as error:
        raise click.BadParameter(str(error), param_hint="--scopes") from error
    if not found:
        raise click.BadParameter(f"at least one scope is needed: {', '.join(SCOPES)}", param_hint="--scopes")
    return found


def _checked_patterns(text: str) -> tuple[str, ...]:
    try:
        found = compile_patterns(_items(text)).texts
    except PatternError as error:
        raise click.BadParameter(str(error), param_hint="--instruments") from error
    if not found:
        raise click.BadParameter("at least one pattern is needed, such as *", param_hint="--instruments")
    return found


def _checked_bots(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(_items(text)))
    if len(found) > MAX_BOTS or any(len(name) > MAX_NAME_LENGTH or not name.isprintable() for name in found):
        raise click.BadParameter(f"at most {MAX_BOTS} names of at most {MAX_NAME_LENGTH} printable characters", param_hint="--bots")
    return found


def _check_matches(cursor: Cursor, patterns: Iterable[str], *, force: bool) -> None:
    """Raise `click.BadParameter` for a pattern that matches no instrument; with `force`, warn."""
    names = frozenset(each.symbol for each in all_instruments(cursor, disabled=True))
    useless = [text for text in patterns if not compile_patterns([text.removeprefix(DENIAL)]).among(names)]
    problem = f"no instrument matches {', '.join(useless)}: `manage.py instrument list` shows them" if useless else ""
    if all(text.startswith(DENIAL) for text in patterns):
        problem = "denials alone permit no instrument: add a pattern such as *"
    if problem and not force:
        raise click.BadParameter(f"{problem}; --force creates the key nevertheless", param_hint="--instruments")
    if problem:
        click.echo(f"warning: {problem}", err=True)


def _existing(cursor: Cursor, key_id: str) -> ApiKey:
    if (found := key_of(cursor, key_id)) is None:
        raise click.UsageError(f"no key {key_id[:40]!r}: `manage.py key list --all` shows the ids")
    return found


def _successor(old: ApiKey, key_id: str, text: str, now: datetime) -> ApiKey:
    expires = None if old.expires is None else now + (old.expires - old.created)
    digest = digest_of(text)
    return replace(old, id=key_id, digest=digest, created=now, created_by=actor(), expires=expires, last_used=None)


def _print_key(made: ApiKey, text: str, as_json: bool) -> None:
    life = "it never expires" if made.expires is None else f"it expires at {format_time(made.expires)}"
    click.echo(f"key {made.id} ({made.name}) for {', '.join(made.scopes)}; {life}. Keep it: it is not shown again.", err=True)
    click.echo(json.dumps({"key": text, **_row(made, made.created)}) if as_json else text)


def _rights(made: ApiKey) -> dict[str, Any]:
    """Return the rights of a key for the log."""
    lists = {name: list(getattr(made, name)) for name in ("scopes", "instruments", "bots")}
    return {"name": made.name, **lists, "expires": _time(made.expires)}


def _row(each: ApiKey, now: datetime) -> dict[str, Any]:
    lists = {name: list(getattr(each, name)) for name in ("scopes", "instruments", "bots")}
    limits = {"rate": each.rate_requests, "events": each.rate_events, "connections": each.max_connections}
    times = {name: _time(getattr(each, name)) for name in ("created", "expires", "revoked", "last_used")}
    return {"id": each.id, "name": each.name, **lists, **limits, **times, "created_by": each.created_by, "state": each.state(now)}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _cell(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else "" if value is None else str(value)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
