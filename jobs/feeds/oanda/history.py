"""History of OANDA: past candles, over REST."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from config.pacing import Throttle
from config.settings import Settings
from db.admission import MAX_AHEAD_SECONDS, Refusals, Window, check_candle, market_window, refusal_kind
from db.candles import CandleRow
from db.intervals import INTERVALS, candle_end
from db.timestamps import format_time, parse_time, utc_now
from jobs.feeds.base import CandlePage, SourceError, Unproven
from jobs.feeds.http_json import JsonClient
from jobs.feeds.oanda.candles import GRANULARITIES as GRANULARITIES
from jobs.feeds.oanda.candles import candle_of
from jobs.feeds.oanda.wire import NAME, contract_time, request_headers

log = logging.getLogger(__name__)

LARGEST_PAGE = 5000  # candles; OANDA refuses to send more at once
# Days from 17:00 New York, the convention of the market, with six 4-hour candles each.
_HOUR = timedelta(hours=1)  # a day has up to 25
_ALIGNMENT: Mapping[str, str | int] = {"dailyAlignment": 17, "alignmentTimezone": "America/New_York"}


@dataclass(frozen=True, slots=True)
class _Sent:
    """One candle as it was sent: its start, and its row unless it is refused or still forming.

    `forming` is True if the broker has not completed it.
    """

    start: datetime
    forming: bool
    row: CandleRow | None


class OandaHistory:
    """Past candles; one request asks for at most `page` of them.

    A page is read item by item. A candle that cannot be used is left out and counted in `refused`.
    """

    def __init__(
        self,
        client: JsonClient,
        *,
        page: int = LARGEST_PAGE,
        clock: Callable[[], datetime] = utc_now,
        max_ahead_seconds: int = MAX_AHEAD_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refused = Refusals()
        self._client = client
        self._page = page
        self._clock = clock
        self._max_ahead_seconds = max_ahead_seconds
        self._throttle = Throttle(monotonic=monotonic)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def candles(self, instrument: str, interval: str, start: datetime, end: datetime, stop: threading.Event) -> Iterator[CandlePage]:
        """Pages of the complete candles with `start` <= start time < `end`, oldest first, each
        candle once.

        There is no candle for a time without quotes. The next page follows the largest time of a
        page. The history ends at an empty page, or at a candle that reaches `end`. Raises
        `Unproven` if a candle before `end` is still forming, `SourceError`, or `Stopped` if `stop`
        was set meanwhile.
        """
        last: datetime | None = None  # start of the newest candle that was sent
        while (start if last is None else last) < end:
            refused = len(self.refused)
            sent = self._ask(instrument, interval, start, end, last, stop)
            if not sent:
                return
            newest = max(sent, key=lambda candle: candle.start)
            if last is not None and newest.start <= last:
                raise SourceError("OANDA gives the same candles again and again", fatal=False)
            rows = {
                candle.start: candle.row
                for candle in sent
                if candle.row is not None and start <= candle.start < end and (last is None or candle.start > last)
            }
            reached = candle_end("fx", interval, newest.start)
            if rows or len(self.refused) > refused:
                yield CandlePage([rows[each] for each in sorted(rows)], format_time(newest.start if newest.forming else reached))
            if reached >= end:
                return
            if newest.forming:
                raise Unproven(f"OANDA has not completed the {interval} candle of {format_time(newest.start)}")
            last = newest.start

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
            if "Time is in the future" in error.server_text:
                raise Unproven("this machine's clock is ahead of the clock of OANDA") from error
            raise
        candles = answer.get("candles") if isinstance(answer, dict) else None
        if not isinstance(candles, list):
            raise SourceError("OANDA's answer is not a list of candles", fatal=False)
        window = market_window("live", "fx", self._clock(), max_ahead_seconds=self._max_ahead_seconds)
        sent = [read for candle in candles if (read := self._read(instrument, interval, candle, window, since)) is not None]
        if candles and not sent:
            raise SourceError("OANDA sent candles without usable times", fatal=False)
        return sent

    def _read(self, instrument: str, interval: str, candle: Any, window: Window, since: datetime) -> _Sent | None:
        """The candle as it was sent; None if no paging can follow its time."""
        now, start = self._clock(), None
        try:
            start = parse_time(contract_time(candle["time"]))
            row = candle_of(instrument, "fx", interval, candle)
            if row.complete:
                check_candle(row, window, format_time(now))
        except (KeyError, TypeError) as error:
            self._refuse(instrument, interval, start, ValueError(f"no candle: {type(error).__name__} {error}"))
            row = None
        except ValueError as error:
            # `since` may lie in a candle, which was on the page before
            if start is None or not since - INTERVALS[interval] - _HOUR < start < since:
                self._refuse(instrument, interval, start, error)
            row = None
        if start is None or not window.earliest <= format_time(start) <= format_time(now):
            return None  # a wild time would end the history before its end
        forming = row is not None and not row.complete
        return _Sent(start, forming, None if forming else row)

    def _refuse(self, instrument: str, interval: str, start: datetime | None, error: ValueError) -> None:
        """Count and log a candle that cannot be used."""
        moment = "unknown time" if start is None else format_time(start)
        kind = refusal_kind(error)
        self.refused.add(f"{instrument} {interval} candle of {moment}", error)
        if (count := self._throttle.due(kind)) is not None:
            log.warning(
                "skipped a candle of the history (repeats suppressed for 60 s)",
                extra={
                    "source": NAME, "symbol": instrument, "interval": interval, "start": moment, "kind": kind, "reason": str(error)[:200],
                    "count": count,
                },
            )  # fmt: skip


def oanda_history(settings: Settings, clock: Callable[[], datetime]) -> OandaHistory:
    """The history of the configured account. Raises `SourceError` without a valid token."""
    client = JsonClient(settings.oanda_rest_url, headers=request_headers(settings.oanda_api_token))
    return OandaHistory(client, clock=clock, max_ahead_seconds=settings.source_max_ahead_seconds)
