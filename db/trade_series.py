"""SQL of `trade_series` (store layer): the ids of each symbol's trades, series by series.

An exchange may begin its ids anew; each beginning is a new series. A transaction that inserts
trades locks the rows of its symbols first, in the order of symbol and series.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from db.copy import time_text_sql
from db.postgres import Cursor
from db.timestamps import format_time, parse_time

log = logging.getLogger(__name__)

MAX_ID_STEP = 50_000_000  # one id alone never raises `highest_id` by more
LATE_IDS = 100_000  # an id that is lower by more begins a new series, unless it lies within the old one
QUIET_SECONDS = 60  # a lower id begins a new series if its time is later by more
STARTED_ANEW = "the exchange has begun its ids anew"  # reason of gaps in older series


@dataclass(slots=True)
class Series:
    """A locked row of `trade_series`. Times are in contract form.

    `first_id` and `highest_id` are None before the first trade. `unconfirmed` has the stored ids
    that are too far above `highest_id`, ascending. `restart` is a stored trade (id, time) that
    would begin the next series.
    """

    symbol: str
    number: int
    first_id: int | None = None
    highest_id: int | None = None
    started: str | None = None
    highest_time: str | None = None
    unconfirmed: tuple[int, ...] = ()
    restart: tuple[int, str] | None = None

    def rises_by(self, first: int, last: int) -> bool:
        """Whether ids from `first` to `last` are all new and raise `highest_id` without doubt."""
        if self.highest_id is None or not self.highest_id < first <= last <= self.highest_id + MAX_ID_STEP:
            return False
        return not self.unconfirmed or self.unconfirmed[0] > last + MAX_ID_STEP

    def begins_anew(self, trade_id: int, time: str, *, stored: bool) -> bool:
        """Whether a live trade contradicts this series, so that it may belong to the next one.

        `stored` is True if the series has its id. A late trade lies within the series, or is older
        than its first trade.
        """
        if self.first_id is None or self.highest_id is None or trade_id > self.highest_id:
            return False
        started, ended = self.started or time, self.highest_time or time
        if time <= ended and (trade_id >= self.first_id or time < started):
            return False
        return trade_id < self.highest_id - LATE_IDS or (not stored and time > _later(ended, QUIET_SECONDS))

    def take(self, trades: Sequence[tuple[int, str]]) -> None:
        """Count stored trades (id, time) in."""
        first = min(trades)
        if self.first_id is None or first[0] < self.first_id:
            self.first_id, self.started = first
        times = dict(trades)
        before = self.highest_id
        self.highest_id, self.unconfirmed = climb(before, [*self.unconfirmed, *times])
        if self.highest_id != before:
            # The time of an id that was unconfirmed until now is not kept: its neighbour's is near.
            self.highest_time = times.get(self.highest_id or 0) or max(time for _, time in trades)


def _later(time: str, seconds: int) -> str:
    return format_time(parse_time(time) + timedelta(seconds=seconds))


def climb(highest: int | None, ids: Iterable[int]) -> tuple[int | None, tuple[int, ...]]:
    """Raise `highest` over the ids above it; returns the new one and the ids that stay unconfirmed.

    An id that is higher by more than `MAX_ID_STEP` counts if another id lies within `MAX_ID_STEP`
    above it.
    """
    above = sorted({number for number in ids if highest is None or number > highest})
    unconfirmed: list[int] = []
    for place, number in enumerate(above):
        following = above[place + 1] if place + 1 < len(above) else None
        if highest is None or number - highest <= MAX_ID_STEP or (following is not None and following - number <= MAX_ID_STEP):
            highest = number
            unconfirmed.clear()
        else:
            unconfirmed.append(number)
    return highest, tuple(unconfirmed)


_SELECT = (
    f"SELECT symbol, series, first_id, highest_id, {time_text_sql('started')}, {time_text_sql('highest_time')}, unconfirmed,"  # noqa: S608
    f" restart_id, {time_text_sql('restart_time')} FROM trade_series WHERE symbol = ANY (%s) ORDER BY symbol, series FOR UPDATE"
)


def lock_series(cursor: Cursor, symbols: Iterable[str]) -> dict[str, list[Series]]:
    """symbol -> its series, the newest last, locked until the transaction ends.

    A symbol without trades receives its first series.
    """
    wanted = sorted(set(symbols))
    found = _select(cursor, wanted)
    if missing := [symbol for symbol in wanted if symbol not in found]:
        cursor.execute(
            "INSERT INTO trade_series (symbol, series) SELECT symbol, 1 FROM unnest(%s::text[]) AS symbol ORDER BY 1"
            " ON CONFLICT DO NOTHING",
            (missing,),
        )
        found = _select(cursor, wanted)
    return found


def save_series(cursor: Cursor, series: Sequence[Series]) -> None:
    """Store the rows, which the transaction has locked or begun."""
    for each in series:
        restart_id, restart_time = each.restart or (None, None)
        cursor.execute(
            "INSERT INTO trade_series (symbol, series, first_id, highest_id, started, highest_time, unconfirmed, restart_id, restart_time)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s::bigint[], %s, %s) ON CONFLICT (symbol, series) DO UPDATE SET"
            " first_id = excluded.first_id, highest_id = excluded.highest_id, started = excluded.started,"
            " highest_time = excluded.highest_time, unconfirmed = excluded.unconfirmed, restart_id = excluded.restart_id,"
            " restart_time = excluded.restart_time",
            (
                each.symbol, each.number, each.first_id, each.highest_id, each.started, each.highest_time, list(each.unconfirmed),
                restart_id, restart_time,
            ),
        )  # fmt: skip


def raise_highest(cursor: Cursor, rises: Sequence[tuple[Series, int, str]]) -> None:
    """Store the new highest id of each series with its time, in one statement."""
    series, numbers, times = zip(*rises, strict=True)
    cursor.execute(
        "UPDATE trade_series s SET highest_id = new.id, highest_time = new.time"
        " FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::timestamptz[]) AS new (symbol, series, id, time)"
        " WHERE s.symbol = new.symbol AND s.series = new.series",
        ([each.symbol for each in series], [each.number for each in series], list(numbers), list(times)),
    )


def begin_series(cursor: Cursor, old: Series, first: tuple[int, str]) -> Series:
    """Begin the series after `old` with the trade `first` (id, time); log it.

    It gets an entry in `gaps`.
    """
    new = Series(old.symbol, old.number + 1)
    log.warning(
        "the exchange has begun its trade ids anew: a new series begins",
        extra={"symbol": old.symbol, "series": new.number, "first_id": first[0], "highest_id_before": old.highest_id},
    )
    cursor.execute(
        "INSERT INTO gaps (source, symbol, kind, series, first_id, last_id, start_time, end_time, missing, state, detected, updated)"
        " VALUES (coalesce((SELECT source FROM instruments WHERE symbol = %(symbol)s), ''), %(symbol)s, 'series', %(series)s, %(id)s,"
        " %(id)s, %(time)s, %(time)s, 0, 'filled', now(), now()) ON CONFLICT DO NOTHING",
        {"symbol": old.symbol, "series": new.number, "id": first[0], "time": first[1]},
    )
    return new


def highest_ids(cursor: Cursor, symbols: Iterable[str]) -> dict[str, int]:
    """symbol -> highest id of its newest series; symbols without a trade are left out."""
    cursor.execute(
        "SELECT DISTINCT ON (symbol) symbol, highest_id FROM trade_series WHERE symbol = ANY (%s) AND highest_id IS NOT NULL"
        " ORDER BY symbol, series DESC",
        (list(symbols),),
    )
    return dict(cursor.fetchall())


def _select(cursor: Cursor, symbols: Sequence[str]) -> dict[str, list[Series]]:
    cursor.execute(_SELECT, (symbols,))
    found: dict[str, list[Series]] = {}
    for symbol, number, first, highest, started, highest_time, unconfirmed, restart_id, restart_time in cursor.fetchall():
        restart = None if restart_id is None else (restart_id, restart_time)
        found.setdefault(symbol, []).append(Series(symbol, number, first, highest, started, highest_time, tuple(unconfirmed), restart))
    return found
