"""History of OANDA: past candles, over REST."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from config.pacing import Throttle
from config.settings import Settings
from db.candles import CandleRow, Ohlc
from db.intervals import INTERVALS, candle_end
from db.timestamps import format_time, parse_time
from jobs.feeds.base import SourceError, checked_ohlc, plausible_time
from jobs.feeds.http_json import JsonClient
from jobs.feeds.oanda.wire import NAME, contract_time, request_headers

log = logging.getLogger(__name__)

GRANULARITIES = {"1m": "M1", "5m": "M5", "15m": "M15", "1h": "H1", "4h": "H4", "1d": "D"}
LARGEST_PAGE = 5000  # candles; OANDA refuses to send more at once
# Days from 17:00 New York, the convention of the market, with six 4-hour candles each.
_ALIGNMENT: Mapping[str, str | int] = {"dailyAlignment": 17, "alignmentTimezone": "America/New_York"}


@dataclass(frozen=True, slots=True)
class _Sent:
    """One candle as it was sent: its start, and its row unless it is invalid or still forming."""

    start: datetime
    complete: bool
    row: CandleRow | None


class OandaHistory:
    """Past candles; one request asks for at most `page` of them.

    An invalid candle is skipped and counted in `skipped`; the page goes on.
    """

    def __init__(self, client: JsonClient, *, page: int = LARGEST_PAGE, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.skipped = 0
        self._client = client
        self._page = page
        self._throttle = Throttle(monotonic=monotonic)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def candles(self, instrument: str, interval: str, start: datetime, end: datetime, stop: threading.Event) -> Iterator[list[CandleRow]]:
        """Pages of the complete candles with `start` <= start time < `end`, oldest first, each
        candle once; no page is empty.

        There is no candle for a time without quotes. Raises `SourceError`, or `Stopped` if `stop`
        was set meanwhile.
        """
        last: datetime | None = None  # start of the newest candle that was sent
        while (start if last is None else last) < end:
            sent = self._ask(instrument, interval, start, end, last, stop)
            if not sent:
                return
            if last is not None and sent[-1].start <= last:
                raise SourceError("OANDA gives the same candles again and again", fatal=False)
            rows = []
            for candle in sent:
                if candle.row is not None and start <= candle.start < end and (last is None or candle.start > last):
                    rows.append(candle.row)
                last = candle.start if last is None else max(last, candle.start)
            if rows:
                yield rows
            if not sent[-1].complete or candle_end("fx", interval, sent[-1].start) >= end:
                return

    def _ask(
        self, instrument: str, interval: str, start: datetime, end: datetime, last: datetime | None, stop: threading.Event
    ) -> list[_Sent]:
        """The next page: the candles after `last`, or from `start` on if `last` is None."""
        since = start if last is None else last
        parameters = {
            "price": "MBA",
            "granularity": GRANULARITIES[interval],
            "from": format_time(since),
            # Two candles more than fit: one for the candle that contains `from`, one for a day of
            # 23 hours.
            "count": min(self._page, math.ceil((end - since) / INTERVALS[interval]) + 2),
            "includeFirst": "True" if last is None else "False",
            **_ALIGNMENT,
        }
        try:
            answer = self._client.get(f"/v3/instruments/{quote(instrument, safe='')}/candles", parameters, stop)
        except SourceError as error:
            if "Time is in the future" in str(error):  # our clock is ahead of the clock of OANDA
                return []
            raise
        candles = answer.get("candles") if isinstance(answer, dict) else None
        if not isinstance(candles, list):
            raise SourceError("OANDA's answer is not a list of candles", fatal=False)
        sent = [read for candle in candles if (read := self._read(instrument, interval, candle)) is not None]
        if candles and not sent:
            raise SourceError("OANDA sent candles without usable times", fatal=False)
        return sent

    def _read(self, instrument: str, interval: str, candle: Any) -> _Sent | None:
        """The candle as it was sent; None if even its time is invalid."""
        try:
            start, complete = parse_time(contract_time(candle["time"])), candle["complete"] is True
        except (KeyError, TypeError, ValueError) as error:
            self._skip(instrument, interval, error)
            return None
        try:
            return _Sent(start, complete, _row(instrument, interval, start, candle) if complete else None)
        except (KeyError, TypeError, ValueError) as error:
            self._skip(instrument, interval, error)
            return _Sent(start, complete, None)

    def _skip(self, instrument: str, interval: str, error: Exception) -> None:
        self.skipped += 1
        if (count := self._throttle.due(f"{instrument} {interval}")) is not None:
            log.warning(
                "skipped an invalid candle of the history (repeats suppressed for 60 s)",
                extra={"source": NAME, "symbol": instrument, "interval": interval, "reason": repr(error)[:200], "count": count},
            )


def oanda_history(settings: Settings) -> OandaHistory:
    """The history of the configured account. Raises `SourceError` without a valid token."""
    return OandaHistory(JsonClient(settings.oanda_rest_url, headers=request_headers(settings.oanda_api_token)))


def _row(instrument: str, interval: str, start: datetime, candle: Mapping[str, Any]) -> CandleRow:
    quotes = int(candle["volume"])
    return CandleRow(
        symbol=instrument,
        interval=interval,
        start_time=plausible_time(start),
        end_time=plausible_time(candle_end("fx", interval, start)),
        mid=_ohlc(candle["mid"]),
        bid=_ohlc(candle["bid"]),
        ask=_ohlc(candle["ask"]),
        volume=str(quotes),
        trades=quotes,
        complete=True,
        source=NAME,
    )


def _ohlc(prices: Mapping[str, Any]) -> Ohlc:
    return checked_ohlc([prices[letter] for letter in "ohlc"])
