"""The venues that `SOURCES` can name: facts about each, one row per venue.

`jobs/venues.py` has the other half of the table, the functions, with the same names. A new venue
is one row here, one row there, its settings, its folder in `jobs/feeds/`, and a migration for its
instruments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Venue:
    """Facts about one kind of source.

    `name` stands in `SOURCES`, in logs, in `/health` and in the column `source`. `required` are the
    settings (lower-case names) that must be set if `SOURCES` names the venue. `history` is the kind
    of record that its API serves for the past; None: it has no history. `ticks_make_candles` is
    False if candles are made from the venue's trades. `health_path` is its route of its own.
    `title` is its name in messages to operators. `history_required` are the settings that its
    history needs, `symbols_setting` is the setting that lists its instruments; None: all that the
    store has of it.
    """

    name: str
    kind: Literal["live", "replay", "synthetic"]
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
)

# name -> row
VENUES: dict[str, Venue] = {row.name: row for row in _ROWS}


def trade_venues() -> tuple[str, ...]:
    """Names of the venues whose candles are made from trades, not from ticks."""
    return tuple(row.name for row in VENUES.values() if not row.ticks_make_candles)
