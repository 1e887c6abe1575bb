"""The venues that `SOURCES` can name: facts about each, one row per venue.

`jobs/venues.py` has the other half of the table, the functions, with the same names. A new venue
is one row here, one row there, its settings, its folder in `jobs/feeds/`, and a migration for its
instruments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Venue:
    """Facts about one kind of source.

    `kind` is `scenario` if the venue has order books alone: the process `books` plays it.
    `name` stands in `SOURCES`, in logs, in `/health` and in the column `source`. `required` are the
    settings (lower-case names) that must be set if `SOURCES` names the venue. `history` is the kind
    of record that its API serves for the past; None: it has no history. `ticks_make_candles` is
    False if candles are made from the venue's trades. `health_path` is its route of its own.
    `title` is its name in messages to operators. `history_required` are the settings that its
    history needs, `symbols_setting` is the setting that lists its instruments; None: all that the
    store has of it.
    """

    name: str
    kind: Literal["live", "replay", "synthetic", "scenario"]
    required: tuple[str, ...] = ()
    history: Literal["trades", "candles"] | None = None
    ticks_make_candles: bool = True
    health_path: str | None = None
    title: str = ""
    history_required: tuple[str, ...] = ()
    symbols_setting: str | None = None


_ROWS = (
    Venue("synthetic", "synthetic", title="the synthetic source"),
    Venue(
        "oanda",
        "live",
        required=("oanda_api_token", "oanda_account_id"),
        history="candles",
        title="OANDA",
        history_required=("oanda_api_token",),
    ),
    Venue(
        "binance",
        "live",
        required=("binance_symbols",),
        history="trades",
        ticks_make_candles=False,
        health_path="/health/binance",
        title="Binance",
        symbols_setting="binance_symbols",
    ),
    Venue("replay", "replay", title="a recording"),
    Venue("scenario", "scenario", title="simulated order books"),
)

# name -> row
VENUES: dict[str, Venue] = {row.name: row for row in _ROWS}

# `source` of prices from outside, and of the instruments that only these feed.
PUBLISHED = "publish"


def trade_venues() -> tuple[str, ...]:
    """Names of the venues whose candles are made from trades, not from ticks."""
    return tuple(row.name for row in VENUES.values() if not row.ticks_make_candles)


def price_venues() -> tuple[str, ...]:
    """Names of the venues with prices of their own: no recordings, no scenarios."""
    return tuple(row.name for row in VENUES.values() if row.kind in ("live", "synthetic"))


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One entry of `SOURCES`: the venue `kind`. `file`, `speed` and `loop` belong to `replay` only.

    `speed` is the number of recorded seconds published per second; None: as fast as the bus accepts
    them.
    """

    kind: str
    file: Path | None = None
    speed: float | None = 1.0
    loop: bool = False

    @property
    def name(self) -> str:
        """Name of this source in logs, in health and in the store."""
        return f"{self.kind}:{self.file.name}" if self.file else self.kind


def with_prices(sources: Iterable[SourceSpec], has_books: Callable[[Path], bool] = lambda file: False) -> tuple[SourceSpec, ...]:
    """The sources that the jobs process runs: those that may have prices.

    `has_books` is the test for recordings of order books, which the process `books` plays.
    """
    return tuple(spec for spec in sources if VENUES[spec.kind].kind != "scenario" and not (spec.file and has_books(spec.file)))


def parse_source(text: str) -> SourceSpec:
    """Parse one entry of `SOURCES`: the name of a venue, or `replay:FILE[@SPEED][@loop]`.

    Raises `ValueError`.
    """
    kind, _, rest = text.partition(":")
    if kind == "import":
        raise ValueError(f"{text!r}: import is the source of files, not a live source; load them with `manage.py import FILE`")
    if kind not in VENUES:
        forms = [f"{row.name}:FILE[@SPEED][@loop]" if row.kind == "replay" else row.name for row in VENUES.values()]
        raise ValueError(f"{text!r} is not one of {', '.join(forms)}")
    if VENUES[kind].kind != "replay":
        if rest:
            raise ValueError(f"{kind} takes no argument, got {rest!r}")
        return SourceSpec(kind)
    file, *options = rest.split("@")
    if not file:
        raise ValueError("replay needs a file: replay:FILE[@SPEED][@loop]")
    loop = "loop" in options
    speeds = [option for option in options if option != "loop"]
    if len(speeds) > 1:
        raise ValueError(f"{text!r} gives more than one speed")
    return SourceSpec(kind, Path(file), parse_speed(speeds[0]) if speeds else 1.0, loop)


def parse_speed(text: str) -> float | None:
    """Parse a replay speed: a number above 0, or `max`, which is None. Raises `ValueError`."""
    if text == "max":
        return None
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) == 0:
        raise ValueError(f"replay speed {text!r} is neither a number above 0 nor 'max'")
    return float(text)
