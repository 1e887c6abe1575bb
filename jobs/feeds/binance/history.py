"""History of Binance: past trades by id, over REST."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from config.pacing import Stopped, Throttle
from config.settings import Settings
from db.messages import Trade
from jobs.feeds.base import SourceError
from jobs.feeds.binance.messages import NAME, trade_of
from jobs.feeds.http_json import JsonClient

log = logging.getLogger(__name__)

LARGEST_PAGE = 1000  # trades; the exchange sends no more at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Of the 6,000 a minute that the exchange allows an address. The rest is for other users of the
# address.
MAX_WEIGHT_PER_MINUTE = 5000
_MINUTE = 60.0


class Weight:
    """The used part of the request allowance, as the exchange reports it.

    The exchange bans clients that exceed the allowance, for minutes at first and then for days.
    """

    def __init__(self, *, most: int = MAX_WEIGHT_PER_MINUTE, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._free_at = float("-inf")

    def note_headers(self, headers: Mapping[str, str]) -> None:
        """Read the used weight from an answer's headers."""
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdecimal() and int(used) > self._most:
            self._free_at = self._monotonic() + _MINUTE

    def wait(self, stop: threading.Event) -> None:
        """Wait until a request is allowed. Raises `Stopped` if `stop` was set meanwhile."""
        seconds = self._free_at - self._monotonic()
        if seconds > 0:
            log.info("the exchange's request allowance is nearly used up", extra={"seconds": round(seconds, 1)})
            if stop.wait(seconds):
                raise Stopped


@dataclass(frozen=True, slots=True)
class _Page:
    """One answer of the exchange: the valid trades, the number of trades sent, the highest id among
    them.
    """

    trades: list[Trade]
    sent: int
    highest_id: int | None


class BinanceHistory:
    """Past trades. If `weight` is given, it must get the headers of every answer that `client`
    receives.

    An invalid trade is skipped and counted in `skipped`; the page goes on.
    """

    def __init__(self, client: JsonClient, weight: Weight | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.skipped = 0
        self._client = client
        self._weight = weight or Weight()
        self._throttle = Throttle(monotonic=monotonic)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def trades(self, symbol: str, first_id: int, stop: threading.Event, *, last_id: int | None = None) -> Iterator[list[Trade]]:
        """Pages of the trades from `first_id` to `last_id` inclusive, or to the newest, each trade
        once, by id; no page is empty.

        A missing id is one that the exchange does not have, or whose trade is invalid. The history
        ends at a page that holds fewer trades, valid or not, than requested. Raises `SourceError`,
        or `Stopped` if `stop` was set meanwhile.
        """
        next_id = first_id
        while last_id is None or next_id <= last_id:
            count = LARGEST_PAGE if last_id is None else min(LARGEST_PAGE, last_id - next_id + 1)
            page = self._page(symbol, next_id, count, stop)
            if page.sent and page.highest_id is None:
                raise SourceError("the exchange sent trades without usable ids", fatal=False)
            if page.highest_id is not None and page.highest_id < next_id:
                raise SourceError("the exchange gives the same trades again and again", fatal=False)
            wanted = {trade for trade in page.trades if trade.trade_id >= next_id and (last_id is None or trade.trade_id <= last_id)}
            if wanted:
                yield sorted(wanted)
            if page.sent < count or page.highest_id is None:
                return
            next_id = page.highest_id + 1

    def first_id_at(self, symbol: str, moment: datetime, stop: threading.Event) -> int | None:
        """Id of the first trade at or after `moment`; None if there is none yet. Errors as in
        `trades`.
        """
        # Times of trades are whole milliseconds: round up.
        start = -((_EPOCH - moment) // timedelta(milliseconds=1))
        answer = self._get("/api/v3/aggTrades", {"symbol": symbol, "startTime": start, "limit": 1}, stop)
        try:
            return int(answer[0]["f"]) if answer else None
        except (KeyError, TypeError, ValueError, IndexError):
            raise SourceError("the exchange's answer is not a list of aggregate trades", fatal=False) from None

    def _page(self, symbol: str, first_id: int, count: int, stop: threading.Event) -> _Page:
        answer = self._get("/api/v3/historicalTrades", {"symbol": symbol, "fromId": first_id, "limit": count}, stop)
        if not isinstance(answer, list):
            raise SourceError("the exchange's answer is not a list of trades", fatal=False)
        trades: list[Trade] = []
        ids: list[int] = []
        for item in answer:
            try:
                if type(item["id"]) is int:
                    ids.append(item["id"])
                trades.append(trade_of(symbol, item["id"], item["price"], item["qty"], item["time"], item["isBuyerMaker"]))
            except (KeyError, TypeError):
                self._skip(symbol, "not a trade")
            except ValueError as error:
                self._skip(symbol, str(error))
        return _Page(trades, len(answer), max(ids, default=None))

    def _skip(self, symbol: str, reason: str) -> None:
        self.skipped += 1
        if (count := self._throttle.due(reason)) is not None:
            log.warning(
                "skipped an invalid trade of the history (repeats suppressed for 60 s)",
                extra={"source": NAME, "symbol": symbol, "reason": reason, "count": count},
            )

    def _get(self, path: str, parameters: Mapping[str, str | int], stop: threading.Event) -> Any:
        if stop.is_set():
            raise Stopped
        self._weight.wait(stop)
        return self._client.get(path, parameters, stop)


def binance_history(settings: Settings) -> BinanceHistory:
    """The history of the exchange of these settings."""
    weight = Weight()
    return BinanceHistory(JsonClient(settings.binance_rest_url, on_headers=weight.note_headers), weight)
