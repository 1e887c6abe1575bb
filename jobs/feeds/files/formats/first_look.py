"""Decisions by the first records of a file: its interval, and whether it is refused. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise

from db.admission import NotAdmitted
from db.intervals import INTERVALS
from db.timestamps import parse_time
from jobs.feeds.files.formats.model import Candle, Item, LeftOut, MostlyBad, NoInterval, Record

FIRST_RECORDS = 1_000
SHOWN_BAD_LINES = 5


def interval_of(items: Iterable[Item]) -> str:
    """The interval of a file whose options, name and format name none: the smallest step.

    `items` are the first `FIRST_RECORDS` of the file. Candles of each instrument count by
    themselves. Raises `NoInterval` if the step is none of the six intervals.
    """
    starts: dict[str, set[str]] = {}
    for _, record in items:
        if isinstance(record, Candle):
            starts.setdefault(record.instrument, set()).add(record.start)
    moments = [sorted(map(parse_time, each)) for each in starts.values()]
    step = min((after - before for each in moments for before, after in pairwise(each)), default=None)
    if step is None:
        raise NoInterval(f"the interval of its candles is not known: add --interval {'|'.join(INTERVALS)}")
    for name, width in INTERVALS.items():
        if step == width:
            return name
    raise NoInterval(
        f"the smallest step between its first candles is {_minutes(step)}, which is none of {', '.join(INTERVALS)}: add --interval NAME"
    )


def refuse_mostly_bad(items: Sequence[tuple[int, Record | ValueError]], lines: Mapping[int, str], *, unit: str = "line") -> None:
    """Raise `MostlyBad` if more than half of the first records are bad.

    `items` are the first `FIRST_RECORDS` after admission: a refusal of `db.admission` is a
    `ValueError` too. `lines` has the texts of bad places, for the message. A candle that has not
    ended, and an item that is left out, count as neither good nor bad.
    """
    bad = [(place, found) for place, found in items if isinstance(found, ValueError) and not _is_left_out(found)]
    counted = len(bad) + sum(1 for _, found in items if not isinstance(found, ValueError))
    if 2 * len(bad) <= counted:
        return
    first = "".join(f"\n  {unit} {place}: {_text(lines, place)}{error}" for place, error in bad[:SHOWN_BAD_LINES])
    raise MostlyBad(f"{len(bad):,} of its first {counted:,} records are bad; nothing is stored. The first:{first}")


def _is_left_out(error: ValueError) -> bool:
    return isinstance(error, LeftOut) or (isinstance(error, NotAdmitted) and error.kind == "not_ended")


def _text(lines: Mapping[int, str], place: int) -> str:
    return f"{lines[place].strip()[:120]!r}: " if place in lines else ""


def _minutes(step: timedelta) -> str:
    return f"{step.total_seconds() / 60:g} minutes"
