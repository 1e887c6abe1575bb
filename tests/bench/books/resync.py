"""The time from a gap to a live book, and the delay of another book meanwhile.

A local Binance sends the recordings and answers REST after 50 ms. The source, its connection and
the state machines are those of the product, with their limit of requests lifted.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from jobs.books.machine import BookMachine
from jobs.books.parts.states import Output
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.standins.binance import BinanceStandIn
from tests.support.live_books import LiveBooks
from tests.support.polling import until

RESYNC = Bar("gap seen to `live`, p99 in s", 0.5)
OTHERS = Bar("p99 of the other instrument ÷ without gaps", 1.05)
_ANSWER_SECONDS = 0.05
_GAPS, _QUICK_GAPS, _PAIRS = 15, 4, 5
_BROKEN, _OTHER = "BTCUSDT", "ETHUSDT"


class TimedBooks(LiveBooks):
    """Notes the time of each change of state, and the delay from a diff to its handling."""

    def __init__(self, exchange: BinanceStandIn) -> None:
        super().__init__(exchange)
        self.changes: dict[str, list[tuple[str, float]]] = defaultdict(list)  # (state, time)
        self.delays: list[float] = []  # of the other instrument

    def _give(self, instrument: str, call: Callable[[BookMachine], list[Output]]) -> None:
        before = len(self.states[instrument])
        super()._give(instrument, call)
        self.changes[instrument] += [(state, time.monotonic()) for state, _ in self.states[instrument][before:]]

    def _diff(self, instrument: str, text: bytes, received: float) -> None:
        super()._diff(instrument, text, received)
        if instrument == _OTHER:
            self.delays.append(time.monotonic() - received)

    def resyncs(self) -> list[float]:
        """The seconds from each gap to the live book after it."""
        found, gap = [], None
        for state, moment in self.changes[_BROKEN]:
            if state == "gap":
                gap = moment
            elif state == "live" and gap is not None:
                found.append(moment - gap)
                gap = None
        return found


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    gaps = _QUICK_GAPS if quick else _GAPS
    calm: list[list[float]] = []
    broken: list[list[float]] = []
    with TemporaryDirectory(dir=place.folder) as folder, BinanceStandIn(Path(folder), symbols=(_BROKEN, _OTHER)) as exchange:
        books = TimedBooks(exchange)
        with books.running():
            until(books.is_live)
            for number in range(1 if quick else _PAIRS):
                for with_gaps in (False, True) if number % 2 else (True, False):
                    (broken if with_gaps else calm).append(_phase(exchange, books, gaps, with_gaps))
    resyncs = books.resyncs()
    case = f"{len(resyncs)} gaps, REST answers after {_ANSWER_SECONDS * 1000:.0f} ms"
    yield Measured(case, median(resyncs), text="gap seen to `live`, median in s")
    yield Measured(case, _p99(resyncs), RESYNC)
    yield Measured(case, median(map(_p99, calm)) * 1000, text="p99 of the other instrument without gaps, ms")
    yield Measured(case, median(_p99(one) / _p99(other) for one, other in zip(broken, calm, strict=True)), OTHERS)


def _phase(exchange: BinanceStandIn, books: TimedBooks, gaps: int, with_gaps: bool) -> list[float]:
    """Return the delays of the other instrument during a number of gaps, or as many pauses."""
    begin = len(books.delays)
    for _ in range(gaps):
        if with_gaps:
            before = len(books.resyncs())
            exchange.control("snapshot", symbol=_BROKEN, delay=_ANSWER_SECONDS)
            exchange.control("skip", kind="diff", symbol=_BROKEN)
            until(lambda: len(books.resyncs()) > before)  # noqa: B023 - called at once
        else:
            time.sleep(0.5)
    time.sleep(0.2)
    return books.delays[begin:]


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


PART = Part("Resync", _run)
