"""SQL of `raw_trades` (store layer).

(symbol, series, trade_id) identifies a trade; the time is not part of it. No key of the partitioned
table can check that. The ids are therefore checked before inserting, while the rows of
`trade_series` are locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from psycopg2 import errors

from db.candles import rebuild_candles
from db.copy import copy_rows, empty_staging, insert_staged, stage_rows, time_text_sql
from db.inserted import Conflict, Inserted, Origin
from db.partitions import make_months
from db.postgres import Cursor
from db.trade_batch import TradeBatch, contract_form
from db.trade_series import MAX_ID_STEP, Series, begin_series, highest_ids, lock_series, raise_highest, save_series

_BY_ID = f"SELECT series, trade_id, {time_text_sql('time')}, price, quantity, side FROM raw_trades WHERE symbol = %s AND"  # noqa: S608
# Ids of a batch that are denser than 1 in 20 are looked up as one range, others one by one.
_MAX_IDS_PER_TRADE = 20

# (symbol, series, id) -> price, quantity, side
_Stored = Mapping[tuple[str, int, int], tuple[str, str, str]]
# (symbol, id, time) -> series: the key of the table
_Places = Mapping[tuple[str, int, str], int]


@dataclass(slots=True)
class _Line:
    """One line of a batch, with the series that its trade belongs to."""

    symbol: str
    trade_id: int
    time: str
    text: bytes
    series: int = 1

    @property
    def key(self) -> tuple[str, int, int]:
        return self.symbol, self.series, self.trade_id

    @property
    def content(self) -> tuple[str, str, str]:
        """Price, quantity and side."""
        _, _, _, price, quantity, side, *_ = self.text.decode().split("\t")
        return price, quantity, side


def insert_trades(
    cursor: Cursor, *lines: bytes, origin: Origin = "history", replace: bool = False, marks: Set[tuple[str, str]] | None = None
) -> Inserted:
    """Insert the trades that are not stored yet and mark their minutes.

    `lines` are texts of `db.messages.trade_lines`. Live trades and those of a history belong to the
    newest series; those of a file to the series in whose span of time they lie. Only live trades
    begin a series. A trade that is stored with another price, quantity or side is a conflict; with
    `replace` it takes the place of the stored one. `marks` are the symbols and minutes of the
    trades, if these are known. Missing monthly partitions are created.
    """
    if not any(lines):
        return Inserted()
    batch = TradeBatch(*lines, marks=marks)
    make_months(cursor, "raw_trades", {minute[:7] for _, minute in batch.minutes})
    series = lock_series(cursor, {symbol for symbol, _ in batch.minutes})
    inserted = _copy_rising(cursor, batch, series) or _copy_missing(cursor, batch, series, origin, replace=replace)
    if inserted.new:
        symbols, starts = zip(*batch.minutes, strict=True)
        cursor.execute(
            "INSERT INTO candle_marks SELECT * FROM unnest(%s::text[], %s::timestamptz[])",
            (list(symbols), [f"{minute}Z" for minute in starts]),
        )
    return inserted


def latest_ids(cursor: Cursor, symbols: Iterable[str]) -> dict[str, int]:
    """symbol -> highest id of its newest series; symbols without a trade are left out."""
    return highest_ids(cursor, symbols)


def _copy_rising(cursor: Cursor, batch: TradeBatch, series: Mapping[str, Sequence[Series]]) -> Inserted | None:
    """Copy the batch directly if all ids rise from above the symbol's highest, else return None.

    This is the usual case of a live stream, at a third of the cost of a check.
    """
    if (climbs := batch.climbs) is None:
        return None
    newest = {symbol: series[symbol][-1] for symbol in climbs}
    numbers = {each.number for each in newest.values()}
    if len(numbers) > 1 or not all(newest[symbol].rises_by(climb.first_id, climb.last_id) for symbol, climb in climbs.items()):
        return None
    if not _copied(cursor, batch, numbers.pop()):
        return None
    raise_highest(cursor, [(newest[symbol], climb.last_id, contract_form(climb.last_time)) for symbol, climb in climbs.items()])
    return Inserted(len(batch))


def _copied(cursor: Cursor, batch: TradeBatch, number: int) -> bool:
    """Copy the batch into the table as trades of this series.

    Returns False, without effect, if one of them is stored already.
    """
    columns, lines = batch.columns, batch.lines
    if number != 1:
        columns, lines = f"{columns}, series", lines.replace(b"\n", b"\t%d\n" % number)
    return _copied_rows(cursor, columns, lines) is not None


def _copied_rows(cursor: Cursor, columns: str, lines: bytes) -> int | None:
    """Copy the lines into the table; return their number.

    Returns None, without effect, if one of them is stored already.
    """
    cursor.execute("SAVEPOINT copy")
    try:
        return copy_rows(cursor, "raw_trades", columns, lines)
    except errors.UniqueViolation:
        cursor.execute("ROLLBACK TO SAVEPOINT copy")
        return None


def _copy_missing(cursor: Cursor, texts: TradeBatch, series: Mapping[str, list[Series]], origin: Origin, *, replace: bool) -> Inserted:
    """Insert the trades whose id is not stored yet."""
    batch = [_Line(*row) for row in texts.rows()]
    stored, places = _look_up(cursor, batch)
    for line in batch:
        # A trade that would begin the next series stays there, whatever way it comes again.
        line.series = places.get((line.symbol, line.trade_id, line.time)) or _series_of(line, series[line.symbol], origin)
    if origin == "live":
        _begin_anew(cursor, batch, series, stored)
    missing: dict[tuple[str, int, int], _Line] = {}
    conflicts: list[Conflict] = []
    replaced: list[_Line] = []
    for line in batch:
        old = missing[line.key].content if line.key in missing else stored.get(line.key)
        if old is None:
            missing[line.key] = line
        elif _same(old, line.content):
            continue
        elif replace:
            replaced.append(line)
            missing[line.key] = line
        else:
            conflicts.append(Conflict(f"{line.symbol} trade {line.trade_id}", " ".join(old), " ".join(line.content)))
    _delete(cursor, replaced)
    new = _insert(cursor, texts.columns, list(missing.values()))
    _count_in(cursor, missing.values(), series)
    return Inserted.of(len(batch), new, tuple(conflicts))


def _look_up(cursor: Cursor, batch: Sequence[_Line]) -> tuple[_Stored, _Places]:
    """The stored trades that have an id of the batch, of any series."""
    ids: dict[str, set[int]] = {}
    for line in batch:
        ids.setdefault(line.symbol, set()).add(line.trade_id)
    stored: dict[tuple[str, int, int], tuple[str, str, str]] = {}
    places: dict[tuple[str, int, str], int] = {}
    for symbol, numbers in ids.items():
        low, high = min(numbers), max(numbers)
        dense = high - low < _MAX_IDS_PER_TRADE * len(numbers)
        if dense:
            cursor.execute(f"{_BY_ID} trade_id BETWEEN %s AND %s", (symbol, low, high))
        else:
            cursor.execute(f"{_BY_ID} trade_id = ANY (%s::bigint[])", (symbol, sorted(numbers)))
        for number, trade_id, time, price, quantity, side in cursor.fetchall():
            stored[symbol, number, trade_id] = price, quantity, side
            places[symbol, trade_id, time] = number
    return stored, places


def _series_of(line: _Line, known: Sequence[Series], origin: Origin) -> int:
    """The series by the trade's time.

    Trades since the newest series began belong to it, and so do all trades of a history.
    """
    if origin == "history":
        return known[-1].number
    return next((each.number for each in reversed(known) if each.started is None or each.started <= line.time), known[0].number)


def _begin_anew(cursor: Cursor, batch: Sequence[_Line], series: Mapping[str, list[Series]], stored: _Stored) -> None:
    """Move the trades that contradict the newest series to the next one.

    The next series begins if two ids agree.
    """
    for symbol, known in series.items():
        old = known[-1]
        lines = [
            line
            for line in batch
            if line.symbol == symbol and line.series == old.number and not _repeats(line, stored)
            and old.begins_anew(line.trade_id, line.time, stored=line.key in stored)
        ]  # fmt: skip
        if not lines:
            continue
        for line in lines:
            line.series = old.number + 1
        others = dict([*([old.restart] if old.restart else []), *((line.trade_id, line.time) for line in lines)])
        near = _neighbours(others)
        old.restart = None if near else (lines[-1].trade_id, lines[-1].time)
        save_series(cursor, [old])
        if near:
            new = begin_series(cursor, old, min(near))
            new.take(near)
            known.append(new)


def _neighbours(trades: Mapping[int, str]) -> list[tuple[int, str]]:
    """The trades (id -> time) that have another one within `MAX_ID_STEP`."""
    ids = sorted(trades)
    near = {number for pair in pairwise(ids) if pair[1] - pair[0] <= MAX_ID_STEP for number in pair}
    return [(number, trades[number]) for number in sorted(near)]


def _repeats(line: _Line, stored: _Stored) -> bool:
    return line.key in stored and _same(stored[line.key], line.content)


def _same(old: tuple[str, str, str], new: tuple[str, str, str]) -> bool:
    """True if price, quantity and side are equal; prices and quantities compare as numbers."""
    return old == new or (old[2] == new[2] and Decimal(old[0]) == Decimal(new[0]) and Decimal(old[1]) == Decimal(new[1]))


def _delete(cursor: Cursor, lines: Iterable[_Line]) -> None:
    """Delete the stored trades with these identities, and have their candles rebuilt."""
    for line in lines:
        cursor.execute(
            f"DELETE FROM raw_trades WHERE symbol = %s AND series = %s AND trade_id = %s RETURNING {time_text_sql('time')}",  # noqa: S608
            line.key,
        )
        if times := [time for (time,) in cursor.fetchall()]:
            rebuild_candles(cursor, line.symbol, times)


def _insert(cursor: Cursor, columns: str, lines: Sequence[_Line]) -> int:
    """Insert these trades; returns their number.

    A trade with the symbol, id and time of another series is left out: it is the same one.
    """
    if not lines:
        return 0
    columns, data = f"{columns}, series", b"".join(b"%b\t%d\n" % (line.text, line.series) for line in lines)
    copied = _copied_rows(cursor, columns, data)
    if copied is not None:
        return copied
    stage_rows(cursor, "raw_trades", columns, data)
    inserted = insert_staged(cursor, "raw_trades", columns)
    empty_staging(cursor, "raw_trades")
    return inserted


def _count_in(cursor: Cursor, lines: Iterable[_Line], series: Mapping[str, Sequence[Series]]) -> None:
    """Add the ids of inserted trades to their series, except a trade that would begin one."""
    trades: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for line in lines:
        trades.setdefault((line.symbol, line.series), []).append((line.trade_id, line.time))
    changed = []
    for known in series.values():
        for each in known:
            if found := trades.get((each.symbol, each.number)):
                each.take(found)
                changed.append(each)
    save_series(cursor, changed)
