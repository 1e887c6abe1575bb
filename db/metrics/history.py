"""SQL of the history of metrics (store layer): stored tiers, and intervals computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from db.metrics.columns import HOUR, MINUTE, SECOND, WIDTHS, Section, averaged
from db.postgres import Cursor

_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)  # at which an interval begins
_MIN_INTERVALS = 500  # that are aggregated at a time

# interval -> the tier that it is read from
SOURCES = {"1s": SECOND, "1m": MINUTE, "5m": MINUTE, "15m": MINUTE, "1h": HOUR, "1d": HOUR}
INTERVALS = {
    **WIDTHS,
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1d": timedelta(days=1),
}  # days are those of UTC
# ranges of time that end now, by their names for clients
Span = Literal["1h", "24h", "7d", "30d"]
SPANS: dict[Span, timedelta] = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
_SUMS = {"count": "sum({0})::bigint", "last": "sum({0})::bigint"}  # of whole numbers


def read_history(
    cursor: Cursor,
    section: Section,
    interval: str,
    start: datetime,
    end: datetime,
    *,
    only: Mapping[str, Sequence[str]] | None = None,
    after: Sequence[Any] | None = None,
    limit: int = 1000,
    summed: bool = False,
) -> list[dict[str, Any]]:
    """The rows of an interval with start <= time < end, in the order of time and keys.

    An interval that contains `start` or `end` is made of the part within. `only` maps keys to their
    permitted values. `after` is (time, keys …) of the last row of the page before. Rows have
    `time`, the keys, the columns and the averages; NUMERIC is the text of PostgreSQL. `summed`
    returns one row per time, with the sums over all keys, and without keys.
    """
    wanted = _Wanted(section, interval, only or {}, summed)
    width = INTERVALS[interval]
    first = start if after is None else max(start, after[0])
    if wanted.stored:
        return _read(cursor, wanted, first, end, after, limit)
    # Aggregates are computed for part after part of the range, so that a page costs a page. A part
    # begins at a stored time, however long nothing was stored before it.
    found: list[dict[str, Any]] = []
    while len(found) < limit and (stored := _first_stored(cursor, wanted, first, end)) is not None:
        last = min(end, _ORIGIN + ((stored - _ORIGIN) // width + max(limit, _MIN_INTERVALS)) * width)
        found += _read(cursor, wanted, stored, last, after, limit - len(found))
        first = last
    return found


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The rows of a section and an interval; see `read_history`."""

    section: Section
    interval: str
    only: Mapping[str, Sequence[str]]
    summed: bool

    @property
    def stored(self) -> bool:
        """True if the rows are those of a table."""
        return not self.summed and INTERVALS[self.interval] == WIDTHS[SOURCES[self.interval]]

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that identify and order the rows."""
        return ("time",) if self.summed else ("time", *self.section.keys)


def _first_stored(cursor: Cursor, wanted: _Wanted, start: datetime, end: datetime) -> datetime | None:
    """The first time of the tier with start <= time < end, of any keys."""
    table = wanted.section.table(SOURCES[wanted.interval])
    cursor.execute(f"SELECT time FROM {table} WHERE time >= %s AND time < %s ORDER BY time LIMIT 1", (start, end))  # noqa: S608
    row = cursor.fetchone()
    return None if row is None else row[0]


def _read(cursor: Cursor, wanted: _Wanted, start: datetime, end: datetime, after: Sequence[Any] | None, limit: int) -> list[dict[str, Any]]:
    section, keys = wanted.section, wanted.keys
    rows, parameters = _rows(wanted)
    parameters |= {"start": start, "end": end, "limit": limit}
    if wanted.summed:
        sums = ", ".join(f"{_SUMS.get(rule, 'sum({0})').format(name)} AS {name}" for name, rule in section.rules.items())
        rows = f"SELECT time, {sums} FROM ({rows}) AS each GROUP BY time"  # noqa: S608
    following = ""
    if after is not None:
        following = f"WHERE ({', '.join(keys)}) > ({', '.join(f'%(after_{name})s' for name in keys)})"
        parameters |= {f"after_{name}": value for name, value in zip(keys, after, strict=True)}
    columns = ", ".join([*keys, *section.rules, *averaged(section)])
    cursor.execute(f"SELECT {columns} FROM ({rows}) AS found {following} ORDER BY {', '.join(keys)} LIMIT %(limit)s", parameters)  # noqa: S608
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _rows(wanted: _Wanted) -> tuple[str, dict[str, Any]]:
    """SQL of the rows of an interval, one for each time and keys, and its parameters."""
    section, interval = wanted.section, wanted.interval
    wheres = ["time >= %(start)s", "time < %(end)s"]
    parameters: dict[str, Any] = {}
    for name, values in wanted.only.items():
        wheres.append(f"{_known(section, name)} = ANY (%(only_{name})s)")
        parameters[f"only_{name}"] = list(values)
    rows = f"SELECT * FROM {section.table(SOURCES[interval])} WHERE {' AND '.join(wheres)}"  # noqa: S608
    if INTERVALS[interval] != WIDTHS[SOURCES[interval]]:
        parameters |= {"width": INTERVALS[interval], "origin": _ORIGIN}
        binned = "date_bin(%(width)s, time, %(origin)s)"
        grouped = ", ".join([binned, *section.keys])
        selected = ", ".join([f"{binned} AS time", *section.keys, *section.aggregates()])
        rows = f"SELECT {selected} FROM ({rows}) AS tier GROUP BY {grouped}"  # noqa: S608
    return rows, parameters


def _known(section: Section, name: str) -> str:
    if name not in section.keys:
        raise ValueError(f"{name} is not a key of the metrics of {section.name}")
    return name
