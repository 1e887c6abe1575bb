"""SQL of the history of metrics (store layer): stored tiers, and intervals computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

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
) -> list[dict[str, Any]]:
    """The rows of an interval with start <= time < end, in the order of time and keys.

    An interval that contains `start` or `end` is made of the part within. `only` maps keys to their
    permitted values. `after` is (time, keys …) of the last row of the page before. Rows have
    `time`, the keys, the columns and the averages; NUMERIC is the text of PostgreSQL.
    """
    keys = ("time", *section.keys)
    wheres, parameters = ["time >= %(start)s", "time < %(end)s"], {"start": start, "end": end, "limit": limit}
    for name, values in (only or {}).items():
        wheres.append(f"{_known(section, name)} = ANY (%(only_{name})s)")
        parameters[f"only_{name}"] = list(values)
    rows = f"SELECT * FROM {section.table(SOURCES[interval])} WHERE {' AND '.join(wheres)}"  # noqa: S608
    if INTERVALS[interval] != WIDTHS[SOURCES[interval]]:
        parameters["width"] = INTERVALS[interval]
        binned = "date_bin(%(width)s, time, '2000-01-01T00:00:00Z')"
        grouped = ", ".join([binned, *section.keys])
        selected = ", ".join([f"{binned} AS time", *section.keys, *section.aggregates()])
        rows = f"SELECT {selected} FROM ({rows}) AS tier GROUP BY {grouped}"  # noqa: S608
    following = ""
    if after is not None:
        following = f"WHERE ({', '.join(keys)}) > ({', '.join(f'%(after_{name})s' for name in keys)})"
        parameters |= {f"after_{name}": value for name, value in zip(keys, after, strict=True)}
    columns = ", ".join([*keys, *section.rules, *averaged(section)])
    cursor.execute(f"SELECT {columns} FROM ({rows}) AS found {following} ORDER BY {', '.join(keys)} LIMIT %(limit)s", parameters)  # noqa: S608
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _known(section: Section, name: str) -> str:
    if name not in section.keys:
        raise ValueError(f"{name} is not a key of the metrics of {section.name}")
    return name
