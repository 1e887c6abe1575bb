"""Binance's trades of the past, by id, over REST."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from config.pacing import Stopped
from config.settings import Settings
from db.decimals import is_decimal
from db.messages import Trade
from jobs.feeds.base import SourceError
from jobs.feeds.binance.messages import contract_time
from jobs.feeds.http_json import JsonClient

log = logging.getLogger(__name__)

LARGEST_PAGE = 1000  # trades; the exchange gives no more at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_WEIGHT = 5000  # of the 6,000 a minute that the exchange allows an address: the rest is for others behind the same one
_MINUTE = 60.0


class Weight:
    """How much of its allowance the exchange says is used up. Whoever goes on beyond it is banned, for minutes first and then for days."""

    def __init__(self, *, most: int = _MOST_WEIGHT, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._free_at = float("-inf")

    def note_headers(self, headers: Mapping[str, str]) -> None:
        """Take note of an answer's headers."""
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdecimal() and int(used) > self._most:
            self._free_at = self._monotonic() + _MINUTE

    def wait(self, stop: threading.Event) -> None:
        """Wait until asking is fine; `Stopped` where `stop` was set meanwhile."""
        seconds = self._free_at - self._monotonic()
        if seconds > 0:
            log.info("the exchange's request allowance is nearly used up", extra={"seconds": round(seconds, 1)})
            if stop.wait(seconds):
                raise Stopped


class BinanceHistory:
    """Trades of the past; `weight`, where given, has to hear the answers that `rest` gets."""

    def __init__(self, client: JsonClient, weight: Weight | None = None) -> None:
        self._client = client
        self._weight = weight or Weight()

    def trades(self, symbol: str, first_id: int, stop: threading.Event, *, last_id: int | None = None) -> Iterator[list[Trade]]:
        """The trades from `first_id` to `last_id` inclusive, or to the newest, by id, each once, a page after the other; no page is empty.

        An id that is missing is one that the exchange does not have. Raises `SourceError`, or `Stopped` where `stop` was set meanwhile.
        """
        next_id = first_id
        while last_id is None or next_id <= last_id:
            count = LARGEST_PAGE if last_id is None else min(LARGEST_PAGE, last_id - next_id + 1)
            found = self._ask(symbol, next_id, count, stop)
            news = sorted({trade for trade in found if trade.trade_id >= next_id})
            if found and not news:
                raise SourceError("the exchange gives the same trades again and again", fatal=False)
            if page := [trade for trade in news if last_id is None or trade.trade_id <= last_id]:
                yield page
            if len(found) < count or len(page) < len(news):
                return
            next_id = news[-1].trade_id + 1

    def first_id_at(self, symbol: str, moment: datetime, stop: threading.Event) -> int | None:
        """Id of the first trade at or after `moment`, None where there is none yet. Errors as of `trades`."""
        # Trades bear whole milliseconds: the first that is not before `moment` is what to ask for.
        start = -((_EPOCH - moment) // timedelta(milliseconds=1))
        answer = self._get("/api/v3/aggTrades", {"symbol": symbol, "startTime": start, "limit": 1}, stop)
        try:
            return int(answer[0]["f"]) if answer else None
        except (KeyError, TypeError, ValueError, IndexError):
            raise SourceError("the exchange's answer is not a list of aggregate trades", fatal=False) from None

    def _ask(self, symbol: str, first_id: int, count: int, stop: threading.Event) -> list[Trade]:
        answer = self._get("/api/v3/historicalTrades", {"symbol": symbol, "fromId": first_id, "limit": count}, stop)
        try:
            return [_trade(symbol, each) for each in answer]
        except (KeyError, TypeError, ValueError):
            raise SourceError("the exchange's answer is not a list of trades", fatal=False) from None

    def _get(self, path: str, parameters: Mapping[str, str | int], stop: threading.Event) -> Any:
        if stop.is_set():
            raise Stopped
        self._weight.wait(stop)
        return self._client.get(path, parameters, stop)


def binance_history(settings: Settings) -> BinanceHistory:
    """The history that the exchange of these settings keeps."""
    weight = Weight()
    return BinanceHistory(JsonClient(settings.binance_rest_url, on_headers=weight.note_headers), weight)


def _trade(symbol: str, told: Mapping[str, Any]) -> Trade:
    """A trade as `historicalTrades` tells it; `KeyError`, `TypeError` or `ValueError` where it is none."""
    number, price, quantity, maker = told["id"], told["price"], told["qty"], told["isBuyerMaker"]
    if type(number) is not int or type(maker) is not bool or not is_decimal(price) or not is_decimal(quantity):
        raise ValueError("not a trade")
    return Trade(symbol, number, contract_time(told["time"]), price, quantity, "sell" if maker else "buy")
