"""History of Binance: past trades by id, over REST."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from config.pacing import Stopped, Throttle
from config.settings import Settings
from db.admission import MAX_AHEAD_SECONDS, Refusals, Window, check_trade, market_window, refusal_kind
from db.messages import Trade
from db.timestamps import utc_now
from jobs.feeds.base import RefusedTrade, SourceError, TradePage
from jobs.feeds.binance.messages import NAME, trade_of
from jobs.feeds.http_json import JsonClient

log = logging.getLogger(__name__)

LARGEST_PAGE = 1000  # trades; the exchange sends no more at once
MAX_ID = 2**63  # ids of trades are below
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
class _Item:
    """One item of a page: its trade, or else the fault. `trade_id` is None if it cannot be read."""

    trade_id: int | None
    trade: Trade | None
    fault: ValueError | None


class BinanceHistory:
    """Past trades. If `weight` is given, it must get the headers of every answer that `client`
    receives.

    A page is read item by item. A trade that cannot be used is left out and counted in `refused`.
    """

    def __init__(
        self,
        client: JsonClient,
        weight: Weight | None = None,
        *,
        clock: Callable[[], datetime] = utc_now,
        max_ahead_seconds: int = MAX_AHEAD_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refused = Refusals()
        self._client = client
        self._weight = weight or Weight()
        self._clock = clock
        self._max_ahead_seconds = max_ahead_seconds
        self._throttle = Throttle(monotonic=monotonic)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def trades(self, symbol: str, first_id: int, stop: threading.Event, *, last_id: int | None = None) -> Iterator[TradePage]:
        """Pages of the trades from `first_id` to `last_id` inclusive, or to the newest, each trade
        once, by id.

        A missing id is one that the exchange does not have. The next page follows the largest id of
        a page. The history ends at an empty page, or at an id at or beyond `last_id`: a page with
        fewer trades than requested proves nothing. Raises `SourceError`, or `Stopped` if `stop` was
        set meanwhile.
        """
        next_id = first_id
        while last_id is None or next_id <= last_id:
            count = LARGEST_PAGE if last_id is None else min(LARGEST_PAGE, last_id - next_id + 1)
            items = self._items(symbol, next_id, count, stop)
            if not items:
                return
            newest = _largest_id(items)
            if newest is None:
                raise SourceError("the exchange sent trades without usable ids", fatal=False)
            if newest < next_id:
                raise SourceError("the exchange gives the same trades again and again", fatal=False)
            wanted = [item for item in items if item.trade_id is None or item.trade_id >= next_id]
            if last_id is not None:
                wanted = [item for item in wanted if item.trade_id is None or item.trade_id <= last_id]
            page = self._page(symbol, wanted, newest)
            if page.trades or page.refused:
                yield page
            next_id = newest + 1

    def first_id_at(self, symbol: str, moment: datetime, stop: threading.Event) -> int | None:
        """Id of the first trade at or after `moment`; None if there is none yet. Errors as in
        `trades`.
        """
        # Times of trades are whole milliseconds: round up.
        start = -((_EPOCH - moment) // timedelta(milliseconds=1))
        answer = self._get("/api/v3/aggTrades", {"symbol": symbol, "startTime": start, "limit": 1}, stop)
        if answer == []:
            return None
        try:
            first = answer[0]["f"]
        except (KeyError, TypeError, IndexError):
            first = None
        if type(first) is not int:
            raise SourceError("the exchange's answer is not a list of aggregate trades", fatal=False)
        return first

    def _items(self, symbol: str, first_id: int, count: int, stop: threading.Event) -> list[_Item]:
        answer = self._get("/api/v3/historicalTrades", {"symbol": symbol, "fromId": first_id, "limit": count}, stop)
        if not isinstance(answer, list):
            raise SourceError("the exchange's answer is not a list of trades", fatal=False)
        window = market_window("live", "crypto", self._clock(), source=NAME, max_ahead_seconds=self._max_ahead_seconds)
        return [_read(symbol, item, window) for item in answer]

    def _page(self, symbol: str, items: Iterable[_Item], newest: int) -> TradePage:
        """The page of these items, with each trade once; reports the others."""
        trades: dict[int, Trade] = {}
        refused: dict[int, str] = {}
        for item in items:
            if item.trade is not None:
                trades[item.trade.trade_id] = item.trade
            elif item.fault is not None:
                kind = self._refuse(symbol, item)
                if item.trade_id is not None and item.trade_id <= newest:
                    refused[item.trade_id] = kind
        ids = sorted(refused.keys() - trades.keys())
        return TradePage([trades[each] for each in sorted(trades)], [RefusedTrade(each, refused[each]) for each in ids], newest)

    def _refuse(self, symbol: str, item: _Item) -> str:
        """Count and log an item that cannot be used; returns the kind of its refusal."""
        assert item.fault is not None  # noqa: S101 - the caller has checked
        kind = refusal_kind(item.fault)
        self.refused.add(f"{symbol} trade {'without id' if item.trade_id is None else item.trade_id}", item.fault)
        if (count := self._throttle.due(kind)) is not None:
            log.warning(
                "skipped a trade of the history (repeats suppressed for 60 s)",
                extra={"source": NAME, "symbol": symbol, "id": item.trade_id, "kind": kind, "reason": str(item.fault), "count": count},
            )
        return kind

    def _get(self, path: str, parameters: Mapping[str, str | int], stop: threading.Event) -> Any:
        if stop.is_set():
            raise Stopped
        self._weight.wait(stop)
        return self._client.get(path, parameters, stop)


def binance_history(settings: Settings, clock: Callable[[], datetime]) -> BinanceHistory:
    """The history of the exchange of these settings."""
    weight = Weight()
    client = JsonClient(settings.binance_rest_url, on_headers=weight.note_headers)
    return BinanceHistory(client, weight, clock=clock, max_ahead_seconds=settings.source_max_ahead_seconds)


def _read(symbol: str, item: Any, window: Window) -> _Item:
    trade_id = item.get("id") if isinstance(item, dict) else None
    trade_id = trade_id if type(trade_id) is int and 0 <= trade_id < MAX_ID else None
    try:
        trade = trade_of(symbol, item["id"], item["price"], item["qty"], item["time"], item["isBuyerMaker"])
        check_trade(trade, window)
    except (KeyError, TypeError):
        return _Item(trade_id, None, ValueError("not a trade"))
    except ValueError as error:
        return _Item(trade_id, None, error)
    return _Item(trade_id, trade, None)


def _largest_id(items: Sequence[_Item]) -> int | None:
    """The largest id of a page, items that cannot be used included; None if no id can be read.

    Of those items, an id far beyond the others is ignored: the rest of the history lies before it.
    """
    ids = [item.trade_id for item in items if item.trade_id is not None]
    if not ids:
        return None
    good = [item.trade_id for item in items if item.trade is not None and item.trade_id is not None]
    limit = (max(good) if good else min(ids)) + LARGEST_PAGE
    return max(each for each in ids if each <= limit)
