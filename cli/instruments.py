"""`manage.py instrument`: add, list, disable and enable instruments while the system runs."""

from __future__ import annotations

import difflib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cli.common import announce, chosen_settings, database, migrate_database, plain_errors
from config.settings import Settings
from config.venues import PUBLISHED, price_venues
from db.calendars import CALENDARS
from db.decimals import is_decimal
from db.instrument_changes import TABLE_SECONDS
from db.instruments import (
    KINDS,
    MAX_PRECISION,
    Instrument,
    add_instrument,
    all_instruments,
    default_calendar,
    default_currency,
    enable_instrument,
    lock_instruments,
)
from db.postgres import Cursor, Store
from ops import startup

SOURCES = (*price_venues(), PUBLISHED)
MAX_NAME_LENGTH = 80
_is_symbol = re.compile(r"[A-Z0-9]{1,16}(_[A-Z0-9]{1,8})?", re.ASCII).fullmatch
_is_currency = re.compile(r"[A-Z0-9]{1,8}", re.ASCII).fullmatch
_LEAST_UNITS = 2  # of a made-up price: bid is one unit below and above 0
_VALUES = ("kind", "name", "precision", "currency", "calendar", "source", "start_level", "volatility")
_OPTIONS = {"start_level": "start"}  # field -> its option, if that has another name

# A change in a transaction: the number of the change, None if there is none, and the text for it.
_Change = Callable[[Cursor], tuple[int | None, str]]


@click.group()
def instrument() -> None:
    """Add, list, disable or enable instruments; running processes take a change within 2 s.

    Uses the configured database; without one, the embedded database of the running system, or
    starts it temporarily.
    """


@instrument.command()
@click.argument("name", metavar="NAME")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="Decides on the defaults and on the synthetic prices.")
@click.option("--name", "title", required=True, metavar="TEXT", help=f"For people, at most {MAX_NAME_LENGTH} characters.")
@click.option("--precision", type=click.IntRange(0, MAX_PRECISION), required=True, help="Decimals of the prices.")
@click.option("--currency", metavar="CODE", help="Of the prices. Default: the part after _, else a suffix such as USDT, else USD.")
@click.option("--calendar", type=click.Choice(CALENDARS), help="Trading hours: fx, equity (New York) or crypto (always). Default: by kind.")
@click.option("--source", type=click.Choice(SOURCES), default="synthetic", show_default=True, help="The source that feeds it.")
@click.option("--start", metavar="PRICE", help="First price of the synthetic source. Default: by name and kind.")
@click.option("--volatility", type=click.FloatRange(0, 5), help="A year, of synthetic prices: 0.15 is 15 %. Default: by kind.")
def add(name: str, title: str, start: str | None, **options: Any) -> None:
    """Add the instrument NAME, such as XAU_USD.

    The synthetic source makes prices and 60 days of hourly candles for it. Prices of an
    instrument of `publish` come from outside. Adding it again with equal values changes nothing.
    """
    chosen = chosen_settings("instrument")
    added = _checked(name, title, start, options)
    _warn(added, chosen)

    def change(cursor: Cursor) -> tuple[int | None, str]:
        there = {each.symbol: each for each in all_instruments(cursor, disabled=True)}.get(name)
        if there is None:
            return add_instrument(cursor, added), f"added {name}"
        if differing := [field for field in _VALUES if getattr(there, field) != getattr(added, field)]:
            raise click.UsageError(f"{name} exists already, with {_differences(there, differing)}")
        return None, f"{name} exists already" + ("" if there.enabled else f"; it is disabled: manage.py instrument enable {name}")

    _run(chosen, change)


@instrument.command("list")
@click.option("--all", "disabled", is_flag=True, help="Disabled instruments too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_instruments(disabled: bool, as_json: bool) -> None:
    """Show the enabled instruments, or all."""
    chosen = chosen_settings("instrument")
    with plain_errors(), _store(chosen) as store, store.transaction() as cursor:
        found = all_instruments(cursor, disabled=disabled)
    if as_json:
        click.echo(json.dumps({"instruments": [_row(each) for each in found], "count": len(found)}))
        return
    table = Table("instrument", "name", "kind", "precision", "currency", "calendar", "source", "enabled", box=None)
    for each in found:
        cells = (each.symbol, each.name, each.kind, str(each.precision), each.currency, each.calendar, each.source)
        table.add_row(*cells, "yes" if each.enabled else "no")
    Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False).print(table)


@instrument.command()
@click.argument("name", metavar="NAME")
def disable(name: str) -> None:
    """Stop the prices of NAME; all stored rows stay.

    The hub, the sources and the checks of new records treat it as unknown. The history of REST
    still answers.
    """
    _set_enabled(name, enabled=False)


@instrument.command()
@click.argument("name", metavar="NAME")
def enable(name: str) -> None:
    """Start the prices of a disabled instrument again."""
    _set_enabled(name, enabled=True)


def _set_enabled(name: str, *, enabled: bool) -> None:
    chosen, word = chosen_settings("instrument"), "enabled" if enabled else "disabled"

    def change(cursor: Cursor) -> tuple[int | None, str]:
        known = {each.symbol: each for each in all_instruments(cursor, disabled=True)}
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            raise click.UsageError(f"no instrument {name[:40]}" + (f": did you mean {near[0]}" if near else ""))
        if known[name].enabled is enabled:
            return None, f"{name} is {word} already"
        return enable_instrument(cursor, name, enabled=enabled), f"{word} {name}"

    _run(chosen, change)


def _checked(name: str, title: str, start: str | None, options: dict[str, Any]) -> Instrument:
    """Return the instrument of these options. Raises `click.BadParameter`."""
    if not _is_symbol(name) or name == "ALL":
        rule = "1 to 16 letters A-Z or digits, then _ and 1 to 8 more if it has a currency; ALL is reserved"
        raise click.BadParameter(f"{name[:40]!r} is not a name of an instrument: {rule}", param_hint="NAME")
    if not title.strip() or len(title) > MAX_NAME_LENGTH or not title.isprintable():
        raise click.BadParameter(f"1 to {MAX_NAME_LENGTH} printable characters, not {title[:40]!r}", param_hint="--name")
    if options["volatility"] is not None and math.isnan(options["volatility"]):
        raise click.BadParameter("a number from 0 to 5, not nan", param_hint="--volatility")
    kind, precision = options["kind"], options["precision"]
    calendar = options["calendar"] or default_calendar(kind)
    currency = options["currency"] or default_currency(name, kind)
    if currency is None or not _is_currency(currency):
        hint = f"{name} has no part after _ that names the currency of its prices" if currency is None else f"{currency[:40]!r} is no code"
        raise click.BadParameter(f"{hint}: add --currency, such as USD", param_hint="--currency")
    if options["source"] == "oanda" and calendar != "fx":
        raise click.BadParameter("candles of oanda follow the calendar fx: add --calendar fx", param_hint="--calendar")
    level = _level(start, precision)
    return Instrument(name, title, kind, precision, options["source"], currency, calendar, level, options["volatility"])


def _level(start: str | None, precision: int) -> Decimal | None:
    if start is None:
        return None
    least = _LEAST_UNITS * Decimal(1).scaleb(-precision)
    if not is_decimal(start) or Decimal(start) < least:
        rule = f"a price of at least {least:f}, two units of --precision {precision}"
        raise click.BadParameter(f"{rule}, not {start[:40]!r}", param_hint="--start")
    return Decimal(start)


def _warn(added: Instrument, chosen: Settings) -> None:
    """Print a warning if no configured source will feed the instrument."""
    configured = {spec.kind for spec in chosen.sources}
    if added.source == "binance" and added.symbol not in chosen.binance_symbols:
        click.echo(f"{added.symbol} is not in BINANCE_SYMBOLS: binance feeds the instruments of that list alone", err=True)
    elif added.source == PUBLISHED:
        click.echo(f"{added.symbol} has no prices before the first is published: POST /prices", err=True)
    elif added.source not in configured and "synthetic" not in configured:
        click.echo(f"no configured source feeds {added.symbol}: SOURCES has neither {added.source} nor synthetic", err=True)


def _differences(there: Instrument, fields: list[str]) -> str:
    return ", ".join(f"--{_OPTIONS.get(field, field)} {_shown(getattr(there, field))}" for field in fields)


def _shown(value: object) -> str:
    return "by default" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


def _row(each: Instrument) -> dict[str, Any]:
    start = None if each.start_level is None else f"{each.start_level:f}"
    values = {field: getattr(each, field) for field in ("name", "kind", "precision", "currency", "calendar", "source")}
    return {"symbol": each.symbol, **values, "start": start, "volatility": each.volatility, "enabled": each.enabled}


@contextmanager
def _store(chosen: Settings) -> Iterator[Store]:
    """Yield the store of the command, migrated."""
    with database(chosen) as url:
        migrate_database("instrument", chosen, url)
        with closing(startup.open_store(chosen, "instrument", url=url, pool_max=1)) as store:
            yield store


def _run(chosen: Settings, change: _Change) -> None:
    """Make the change, then announce it to the processes of the system."""
    with plain_errors(), _store(chosen) as store:
        with store.transaction() as cursor:
            lock_instruments(cursor)
            number, text = change(cursor)
        if number is not None:
            announce(chosen, lambda bus: bus.announce_instruments(number), TABLE_SECONDS)
    click.echo(text)
