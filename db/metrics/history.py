"""SQL of the history of metrics (store layer): stored tiers, and intervals computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from db.metrics.columns import HOUR, MINUTE, SECOND, WIDTHS, Section, averaged
from db.postgres import Cursor

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
    after: Sequence[object] | None = None,
    limit: int = 1000,
    summed: bool = False,
) -> list[dict[str, Any]]:
    """The rows of an interval with start <= time < end, in the order of time and keys.

    An interval that contains `start` or `end` is made of the part within. `only` maps keys to their
    permitted values. `after` is (time, keys …) of the last row of the page before. Rows have
    `time`, the keys, the columns and the averages; NUMERIC is the text of PostgreSQL. `summed`
    returns one row per time, with the sums over all keys, and without keys.
    """
    rows, parameters = _rows(section, interval, start, end, only or {})
    keys: tuple[str, ...] = ("time", *section.keys)
    if summed:
        keys = ("time",)
        sums = ", ".join(f"{_SUMS.get(rule, 'sum({0})').format(name)} AS {name}" for name, rule in section.rules.items())
        rows = f"SELECT time, {sums} FROM ({rows}) AS each GROUP BY time"  # noqa: S608
    following = ""
    if after is not None:
        following = f"WHERE ({', '.join(keys)}) > ({', '.join(f'%(after_{name})s' for name in keys)})"
        parameters |= {f"after_{name}": value for name, value in zip(keys, after, strict=True)}
    columns = ", ".join([*keys, *section.rules, *averaged(section)])
    parameters["limit"] = limit
    cursor.execute(f"SELECT {columns} FROM ({rows}) AS found {following} ORDER BY {', '.join(keys)} LIMIT %(limit)s", parameters)  # noqa: S608
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _rows(section: Section, interval: str, start: datetime, end: datetime, only: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, Any]]:
    """SQL of the rows of an interval, one for each time and keys, and its parameters."""
    wheres = ["time >= %(start)s", "time < %(end)s"]
    parameters: dict[str, Any] = {"start": start, "end": end}
    for name, values in only.items():
        wheres.append(f"{_known(section, name)} = ANY (%(only_{name})s)")
        parameters[f"only_{name}"] = list(values)
    rows = f"SELECT * FROM {section.table(SOURCES[interval])} WHERE {' AND '.join(wheres)}"  # noqa: S608
    if INTERVALS[interval] != WIDTHS[SOURCES[interval]]:
        parameters["width"] = INTERVALS[interval]
        binned = "date_bin(%(width)s, time, '2000-01-01T00:00:00Z')"
        grouped = ", ".join([binned, *section.keys])
        selected = ", ".join([f"{binned} AS time", *section.keys, *section.aggregates()])
        rows = f"SELECT {selected} FROM ({rows}) AS tier GROUP BY {grouped}"  # noqa: S608
    return rows, parameters


def _known(section: Section, name: str) -> str:
    if name not in section.keys:
        raise ValueError(f"{name} is not a key of the metrics of {section.name}")
    return name
