"""Gap filling of candles: from the last stored candle of a broker to the present.

A round follows each start, each reconnection and each full hour. `db/gaps.py` has the SQL.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from config.pacing import Stopped
from db.calendars import market_open
from db.candles import insert_candles, latest_ends
from db.gaps import close_candles, report_candles
from db.instruments import all_instruments
from db.intervals import INTERVALS, candle_end, candle_start
from db.postgres import Store
from db.timestamps import parse_time
from jobs.feeds.base import CandleHistory, CandlePage, SourceError, Unproven

log = logging.getLogger(__name__)

# Length of the fetched history if no candle is stored.
FIRST_SPANS = {
    "1m": timedelta(days=1),
    "5m": timedelta(days=1),
    "15m": timedelta(days=1),
    "1h": timedelta(days=60),
    "4h": timedelta(days=60),
    "1d": timedelta(days=60),
}
AFTER_THE_HOUR = timedelta(seconds=20)  # the broker has the last candle by then


class CandleGaps:
    """Fills the candles of the FX instruments that `source` feeds. Call it from one thread."""

    def __init__(
        self,
        source: str,
        history: CandleHistory,
        store: Store,
        clock: Callable[[], datetime],
        filled: Callable[[int], None] = lambda number: None,
    ) -> None:
        """`filled` is called with the number of gaps that were filled."""
        self._filled = filled
        self._source = source
        self._history = history
        self._store = store
        self._clock = clock
        self._hour: datetime | None = None  # the last full hour after which all pairs were due
        self._due: deque[tuple[str, str]] = deque()  # (instrument, interval); a failed pair moves to the end

    def round(self, reconnected: bool, stop: threading.Event) -> bool:
        """Fetch all candles that are due. Returns False: no more is left to do.

        If the broker refuses one instrument, the others continue. Raises `SourceError` if the
        broker is unavailable (the missing candles are in `gaps` then), `StoreError`, or `Stopped`.
        """
        hour = candle_start("fx", "1h", self._clock() - AFTER_THE_HOUR)
        if reconnected:
            self._hour = None
        if hour != self._hour:
            self._due = self._everything()
            self._hour = hour
        while self._due:
            if stop.is_set():
                raise Stopped
            pair = self._due[0]
            try:
                self._fetch(*pair, stop)
            except SourceError as error:
                self._refused(pair, error)
            self._due.popleft()
        return False

    def _everything(self) -> deque[tuple[str, str]]:
        """Every pair, grouped by instrument."""
        with self._store.transaction() as cursor:
            symbols = [each.symbol for each in all_instruments(cursor) if each.calendar == "fx" and each.source == self._source]
        return deque((symbol, interval) for symbol in symbols for interval in INTERVALS)

    def _fetch(self, symbol: str, interval: str, stop: threading.Event) -> None:
        written = 0
        for page in complete_so_far(self._history.candles(symbol, interval, self._start(symbol, interval), self._clock(), stop)):
            if stop.is_set():
                raise Stopped
            with self._store.transaction() as cursor:
                written += insert_candles(cursor, page.candles).new
        with self._store.transaction() as cursor:
            closed = close_candles(cursor, self._source, symbol, interval, self._clock())
        if closed:
            self._filled(closed)
        if written:
            log.debug("candles are stored", extra={"source": self._source, "symbol": symbol, "interval": interval, "candles": written})

    def _start(self, symbol: str, interval: str) -> datetime:
        """The start of the first candle that is not stored."""
        with self._store.transaction() as cursor:
            stored = latest_ends(cursor, self._source, interval).get(symbol)
        if stored is not None:
            return parse_time(stored)
        return candle_start("fx", interval, self._clock() - FIRST_SPANS[interval])

    def _refused(self, pair: tuple[str, str], error: SourceError) -> None:
        """Report the missing candles; raise the error if the other instruments would fail too."""
        if error.fatal:
            self._report(*pair, str(error))
            log.error("the broker refuses candles", extra={"source": self._source, "symbol": pair[0], "reason": error.explanation})
            return
        for each in self._due:
            self._report(*each, str(error))
        self._due.rotate(-1)
        raise error

    def _report(self, symbol: str, interval: str, reason: str) -> None:
        start, now = self._start(symbol, interval), self._clock()
        if missing := expected(interval, start, now):
            with self._store.transaction() as cursor:
                report_candles(cursor, self._source, symbol, interval, start, now, missing, reason, now)


def complete_so_far(pages: Iterator[CandlePage]) -> Iterator[CandlePage]:
    """The pages that the broker has at present, with or without a proof that no candle follows."""
    try:
        yield from pages
    except Unproven as error:
        log.debug("the broker has no more candles at present", extra={"reason": str(error)})


def expected(interval: str, start: datetime, end: datetime) -> int:
    """The number of FX candles of `interval` that begin at `start` or later and have ended by
    `end`.

    A market day, 17:00 to 17:00 New York, is open throughout if it is open at its start.
    """
    count, day = 0, candle_start("fx", "1d", start)
    while day < end:
        following = candle_end("fx", "1d", day)
        if market_open("fx", day):
            width = following - day if interval == "1d" else INTERVALS[interval]
            count += max(timedelta(0), min(end, following) - max(start, day)) // width
        day = following
    return count
