"""SQL of the roll-up of metrics (store layer): seconds become minutes, minutes become hours.

Each marked minute or hour is built completely, so a repeated run changes nothing and rows may
arrive late. A row whose parts retention has dropped stays unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from db.metrics.columns import BELOW, HOUR, MINUTE, WIDTHS, Section
from db.metrics.execution import EXECUTION
from db.metrics.market import MARKET
from db.metrics.marks import mark, take_marks
from db.metrics.strategy import STRATEGY
from db.metrics.system import SYSTEM
from db.partitions import make_months
from db.postgres import Cursor, scalar

SECTIONS: dict[str, Section] = {section.name: section for section in (MARKET, STRATEGY, EXECUTION, SYSTEM)}
MAX_MARKS = 500  # of one section and tier in a transaction


def is_mine(cursor: Cursor) -> bool:
    """Lock the roll-up of metrics for this transaction; False if another one has the lock."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('tickwire roll-up of metrics'))")
    return bool(scalar(cursor))


def roll_up_metrics(cursor: Cursor, ended: datetime, most: int = MAX_MARKS) -> int:
    """Build the marked minutes, then the marked hours, that end by `ended`.

    Takes up to `most` marks per section and tier, and returns the number of minutes and hours: call
    it again until that is 0. `is_mine` must have returned True in this transaction.
    """
    built = 0
    for section in SECTIONS.values():
        minutes = _build(cursor, section, MINUTE, ended, most)
        if minutes:
            mark(cursor, section, HOUR, {start.replace(minute=0) for start in minutes})
        built += len(minutes) + len(_build(cursor, section, HOUR, ended, most))
    return built


def _build(cursor: Cursor, section: Section, tier: str, ended: datetime, most: int) -> Sequence[datetime]:
    """Build the rows of the marked starts of one tier; return these starts."""
    starts = take_marks(cursor, section, tier, ended, most)
    if not starts:
        return starts
    make_months(cursor, section.table(tier), {start.strftime("%Y-%m") for start in starts})
    key = ("time", *section.keys)
    columns = (*key, *section.rules)
    selected = ", ".join(["wanted.start AS time", *(f"below.{name}" for name in (*section.keys, *section.rules))])
    changes = ", ".join(f"{name} = excluded.{name}" for name in section.rules)
    grouped = f"GROUP BY {', '.join(section.keys)}" if section.keys else "HAVING count(*) > 0"
    # `first` and `last` are literals, so that the planner reads the needed partitions only.
    cursor.execute(
        f"INSERT INTO {section.table(tier)} ({', '.join(columns)})"  # noqa: S608
        f" SELECT {selected} FROM unnest(%(starts)s::timestamptz[]) AS wanted (start), LATERAL ("
        f"  SELECT {', '.join([*section.keys, *section.aggregates()])} FROM {section.table(BELOW[tier])} b"
        "   WHERE time >= wanted.start AND time < wanted.start + %(width)s AND time >= %(first)s AND time < %(last)s"
        f"  {grouped}) AS below"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}",
        {"starts": starts, "width": WIDTHS[tier], "first": starts[0], "last": starts[-1] + WIDTHS[tier]},
    )
    return starts
