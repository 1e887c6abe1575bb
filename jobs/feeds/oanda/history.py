"""OANDA's candles, over REST."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from config.settings import Settings
from db.candles import CandleRow, Ohlc
from db.decimals import is_decimal
from db.intervals import INTERVALS, candle_end
from db.timestamps import format_time, parse_time
from jobs.feeds.base import SourceError
from jobs.feeds.http_json import JsonClient
from jobs.feeds.oanda.wire import NAME, contract_time, request_headers

GRANULARITIES = {"1m": "M1", "5m": "M5", "15m": "M15", "1h": "H1", "4h": "H4", "1d": "D"}
LARGEST_PAGE = 5000  # candles; OANDA refuses to give more at once
# Days as everybody in the market has them, and six 4-hour candles to each.
_ALIGNMENT: Mapping[str, str | int] = {"dailyAlignment": 17, "alignmentTimezone": "America/New_York"}


class OandaHistory:
    """Candles of the past; `page` is how many are asked for at once at most."""

    def __init__(self, client: JsonClient, *, page: int = LARGEST_PAGE) -> None:
        self._client = client
        self._page = page

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def candles(self, instrument: str, interval: str, start: datetime, end: datetime, stop: threading.Event) -> Iterator[list[CandleRow]]:
        """The complete candles with `start` <= start time < `end`, oldest first, each once, a page after the other; no page is empty.

        Where nothing was traded there is no candle. Raises `SourceError`, or `Stopped` where `stop` was set meanwhile.
        """
        last: datetime | None = None  # start of the newest candle that was given
        while (start if last is None else last) < end:
            found = self._ask(instrument, interval, start, end, last, stop)
            if not found:
                return
            if last is not None and found[-1][0] <= last:
                raise SourceError("OANDA gives the same candles again and again", fatal=False)
            rows = []
            for moment, row in found:
                if start <= moment < end and row.complete and (last is None or moment > last):
                    rows.append(row)
                last = moment if last is None else max(last, moment)
            if rows:
                yield rows
            if not found[-1][1].complete or candle_end("fx", interval, found[-1][0]) >= end:
                return

    def _ask(
        self, instrument: str, interval: str, start: datetime, end: datetime, last: datetime | None, stop: threading.Event
    ) -> list[tuple[datetime, CandleRow]]:
        """The next page: (start, candle) after `last`, from `start` on where that is None."""
        since = start if last is None else last
        parameters = {
            "price": "MBA",
            "granularity": GRANULARITIES[interval],
            "from": format_time(since),
            # No more than can be of use: one for the candle that `from` lies in, one for a day of 23 hours.
            "count": min(self._page, math.ceil((end - since) / INTERVALS[interval]) + 2),
            "includeFirst": "True" if last is None else "False",
            **_ALIGNMENT,
        }
        try:
            answer = self._client.get(f"/v3/instruments/{quote(instrument, safe='')}/candles", parameters, stop)
        except SourceError as error:
            if "Time is in the future" in str(error):  # what our clock is ahead of theirs
                return []
            raise
        try:
            return [_row(instrument, interval, candle) for candle in answer["candles"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceError(f"OANDA's answer is not a list of candles: {error!r}"[:200], fatal=False) from None


def oanda_history(settings: Settings) -> OandaHistory:
    """The history of the account that the settings name; `SourceError` where they give no token."""
    return OandaHistory(JsonClient(settings.oanda_rest_url, headers=request_headers(settings.oanda_api_token)))


def _row(instrument: str, interval: str, candle: Mapping[str, Any]) -> tuple[datetime, CandleRow]:
    moment = contract_time(candle["time"])
    start, quotes = parse_time(moment), int(candle["volume"])
    return start, CandleRow(
        symbol=instrument,
        interval=interval,
        start_time=moment,
        end_time=format_time(candle_end("fx", interval, start)),
        mid=_ohlc(candle["mid"]),
        bid=_ohlc(candle["bid"]),
        ask=_ohlc(candle["ask"]),
        volume=str(quotes),
        trades=quotes,
        complete=candle["complete"] is True,
        source=NAME,
    )


def _ohlc(prices: Mapping[str, str]) -> Ohlc:
    opened, high, low, close = prices["o"], prices["h"], prices["l"], prices["c"]
    for price in (opened, high, low, close):
        if not is_decimal(price):
            raise ValueError("a price is not a decimal string")
    return opened, high, low, close
