"""A broker's candles, from the last that is stored up to now: after a start, after every reconnection, after every full hour."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from db.candles import CandleRow, insert_candles, latest_ends
from db.gaps import close_candles, report_candles
from db.instruments import all_instruments
from db.intervals import INTERVALS, candle_end, candle_start
from db.postgres import Store
from db.timestamps import parse_time
from jobs.feeds.base import SourceError
from jobs.feeds.http_json import Stopped

log = logging.getLogger(__name__)

# How far back a history begins where there is none.
REACH = {
    "1m": timedelta(days=1),
    "5m": timedelta(days=1),
    "15m": timedelta(days=1),
    "1h": timedelta(days=60),
    "4h": timedelta(days=60),
    "1d": timedelta(days=60),
}
AFTER_THE_HOUR = timedelta(seconds=20)  # by then the broker has the last candle
_NEW_YORK = ZoneInfo("America/New_York")
_CLOSED = (4, 5)  # the market's days that begin on Friday and Saturday at 17:00 New York


class CandleHistory(Protocol):
    """What is asked of a broker's history; see `jobs.feeds.oanda.history`."""

    def candles(self, instrument: str, interval: str, start: datetime, end: datetime, stop: threading.Event) -> Iterator[list[CandleRow]]:
        """Pages of the complete candles from `start` to `end`, oldest first."""


class CandleGaps:
    """The candles that `source` has of the FX instruments it feeds. One thread calls it."""

    def __init__(self, source: str, history: CandleHistory, store: Store, clock: Callable[[], datetime]) -> None:
        self._source = source
        self._history = history
        self._store = store
        self._clock = clock
        self._hour: datetime | None = None  # the last full hour after which everything was due
        self._due: deque[tuple[str, str]] = deque()  # (instrument, interval); a failed one goes to the end

    def round(self, reconnected: bool, stop: threading.Event) -> bool:
        """Fetch what is due; False, for then nothing is left to do.

        An instrument that the broker refuses does not hold up the others. Raises `SourceError` where the broker is away (what is missing is
        in `gaps` then), `StoreError`, or `Stopped`.
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
        """Every pair, an instrument after the other."""
        with self._store.transaction() as cursor:
            symbols = [each.symbol for each in all_instruments(cursor) if each.kind == "fx" and each.source == self._source]
        return deque((symbol, interval) for symbol in symbols for interval in INTERVALS)

    def _fetch(self, symbol: str, interval: str, stop: threading.Event) -> None:
        written = 0
        for page in self._history.candles(symbol, interval, self._start(symbol, interval), self._clock(), stop):
            if stop.is_set():
                raise Stopped
            with self._store.transaction() as cursor:
                written += insert_candles(cursor, page).new
        with self._store.transaction() as cursor:
            close_candles(cursor, self._source, symbol, interval, self._clock())
        if written:
            log.debug("candles are stored", extra={"source": self._source, "symbol": symbol, "interval": interval, "candles": written})

    def _start(self, symbol: str, interval: str) -> datetime:
        """Where the candles that are not stored begin."""
        with self._store.transaction() as cursor:
            stored = latest_ends(cursor, self._source, interval).get(symbol)
        if stored is not None:
            return parse_time(stored)
        return candle_start("fx", interval, self._clock() - REACH[interval])

    def _refused(self, pair: tuple[str, str], error: SourceError) -> None:
        """Report what is missing; raise where the broker would refuse the others too."""
        if error.fatal:
            self._report(*pair, str(error))
            log.error("the broker refuses candles", extra={"source": self._source, "symbol": pair[0], "reason": str(error)})
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


def expected(interval: str, start: datetime, end: datetime) -> int:
    """How many FX candles of `interval` begin at `start` or later and have ended by `end`: none from Friday to Sunday, 17:00 New York."""
    count, day = 0, candle_start("fx", "1d", start)
    while day < end:
        following = candle_end("fx", "1d", day)
        if day.astimezone(_NEW_YORK).weekday() not in _CLOSED:
            width = following - day if interval == "1d" else INTERVALS[interval]
            count += max(timedelta(0), min(end, following) - max(start, day)) // width
        day = following
    return count
