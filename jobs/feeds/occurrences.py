"""Numbers of equal quotes: the n-th quote of one content has the occurrence n. Pure.

The content is instrument, time, bid, ask and mid, as numbers. Files, replays and live sources are
numbered by the same `Occurrences`. In a file, quotes of one time usually stand together. Those that
do not are moved to the end, so that the store sees all quotes of a time at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import groupby

from db.messages import Tick
from db.prices import PriceRow

Content = tuple[Decimal, Decimal, Decimal]  # bid, ask, mid
Placed = tuple[int, PriceRow]  # place in the file and quote
Origin = tuple[str, str]  # instrument and time of a quote, in contract form


class Occurrences:
    """Numbers equal quotes of an instrument's time, since its last quote of another time."""

    def __init__(self) -> None:
        self._firsts: dict[str, Tick | PriceRow] = {}  # instrument -> first quote of its last time
        self._counts: dict[str, Counter[Content]] = {}  # instrument with several quotes of that time -> their numbers

    def number(self, quote: Tick | PriceRow) -> int:
        """The occurrence of the next quote."""
        first = self._firsts.get(quote.instrument)
        if first is None or first.time != quote.time:
            self._firsts[quote.instrument] = quote
            self._counts.pop(quote.instrument, None)
            return 1
        counts = self._counts.setdefault(quote.instrument, Counter([_content(first)]))
        content = _content(quote)
        counts[content] += 1
        return counts[content]

    def numbered_ticks(self, ticks: Iterable[Tick]) -> Iterator[Tick]:
        """The ticks with their occurrences."""
        for tick in ticks:
            number = self.number(tick)
            yield tick if number == 1 else replace(tick, occurrence=number)


def _content(quote: Tick | PriceRow) -> Content:
    return Decimal(quote.bid), Decimal(quote.ask), Decimal(quote.mid)


def scattered(origins: Callable[[], Iterable[Origin]]) -> set[Origin]:
    """Instrument and time of the quotes that do not stand together.

    `origins` reads the file. It is called twice if the file is not in order, because only then its
    times have to be kept in memory.
    """
    if _in_order(origins()):
        return set()
    seen: set[Origin] = set()
    found: set[Origin] = set()
    for _, run in groupby(origins(), key=lambda origin: origin[1]):
        for symbol, moment in set(run):
            if (symbol, moment) in seen:
                found.add((symbol, moment))
            seen.add((symbol, moment))
    return found


def numbered(quotes: Iterable[Placed], apart: Collection[Origin], last_place: int) -> Iterator[Placed]:
    """The quotes with their occurrences.

    Those whose instrument and time are in `apart` follow at the end, with places after
    `last_place`.
    """
    held: list[Placed] = []

    def together() -> Iterator[Placed]:
        for placed in quotes:
            if apart and (placed[1].instrument, placed[1].time) in apart:
                held.append(placed)
            else:
                yield placed

    yield from _counted(together())
    held.sort(key=lambda placed: (placed[1].time, placed[0]))
    yield from _counted((last_place + number, row) for number, (_, row) in enumerate(held, start=1))


def _in_order(origins: Iterable[Origin]) -> bool:
    """True if the times of each instrument only rise or only fall, so equal ones are adjacent."""
    last: dict[str, tuple[str, int]] = {}  # instrument -> last time, number of its run
    rises: dict[str, bool] = {}
    for number, (moment, run) in enumerate(groupby(origins, key=lambda origin: origin[1])):
        for symbol, _ in run:
            before, run_before = last.get(symbol, (moment, number))
            if before == moment and run_before != number:
                return False
            if before != moment and rises.setdefault(symbol, moment > before) != (moment > before):
                return False
            last[symbol] = moment, number
    return True


def _counted(quotes: Iterable[Placed]) -> Iterator[Placed]:
    occurrences = Occurrences()
    for place, row in quotes:
        number = occurrences.number(row)
        yield place, row if number == 1 else replace(row, occurrence=number)
