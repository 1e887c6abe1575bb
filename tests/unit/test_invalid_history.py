"""Invalid items in a venue's history are skipped, counted and logged once a minute."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.timestamps import format_time
from jobs.feeds.base import SourceError
from jobs.feeds.binance.history import LARGEST_PAGE, BinanceHistory
from jobs.feeds.http_json import JsonClient
from jobs.feeds.oanda.history import OandaHistory
from tests.support.canned_http import canned

STOP = threading.Event()
NOON = datetime(2025, 3, 4, 12, tzinfo=UTC)
BAD_TRADES: list[Any] = [
    {"price": "0"}, {"price": 1.5}, {"qty": "-1"}, {"qty": None}, {"time": 5}, {"isBuyerMaker": "true"}, {"isBuyerMaker": None},
]  # fmt: skip


def trade(number: Any, **changes: Any) -> dict[str, Any]:
    return {"id": number, "price": "1.5", "qty": "2", "time": 1723161255342, "isBuyerMaker": True, **changes}


class Exchange:
    """Trades by id, in the form of `historicalTrades`."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.requests = 0

    def __call__(self, query: Mapping[str, str]) -> Any:
        self.requests += 1
        first, limit = int(query["fromId"]), int(query["limit"])
        place, found = first, []
        for item in self.items:
            if isinstance(item, dict) and type(item.get("id")) is int:
                place = item["id"]
            if place >= first:  # an item without an id comes with the item before it
                found.append(item)
        return found[:limit]


def ids_from(exchange: Exchange, first: int = 0, last: int | None = None) -> tuple[list[int], int]:
    """Return the ids of all trades in the history, and the number of skipped items."""
    with canned(exchange) as url:
        history = BinanceHistory(JsonClient(url, max_attempts=1))
        pages = list(history.trades("BTCUSDT", first, STOP, last_id=last))
    return [trade.trade_id for page in pages for trade in page.trades], len(history.refused)


@pytest.mark.parametrize("fault", BAD_TRADES)
def test_invalid_trade_in_the_history_is_skipped_and_the_page_continues(fault: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert ids_from(Exchange(trade(1), trade(2, **fault), trade(3))) == ([1, 3], 1)
    assert [(record.levelname, vars(record)["count"]) for record in caplog.records] == [("WARNING", 1)]


@pytest.mark.parametrize("item", ["a string", None, 7, [], {}, {"id": 2}, {"id": "2", "price": "1"}, {"id": True}])
def test_item_that_is_no_trade_is_skipped(item: Any) -> None:
    assert ids_from(Exchange(trade(1), item, trade(3))) == ([1, 3], 1)


def test_invalid_trades_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert ids_from(Exchange(*(trade(number, price="0") for number in range(500)))) == ([], 500)
    assert len(caplog.records) == 1


def test_page_of_invalid_trades_alone_is_not_the_end_of_the_history() -> None:
    bad = [trade(number, price="0") for number in range(LARGEST_PAGE)]
    exchange = Exchange(*bad, *(trade(LARGEST_PAGE + number) for number in range(5)))
    assert ids_from(exchange) == ([LARGEST_PAGE + number for number in range(5)], LARGEST_PAGE)
    assert exchange.requests == 3  # the last one proves the end


def test_trades_after_a_page_with_invalid_ones_are_in_the_history() -> None:
    items = [trade(number, **({"qty": "0"} if number % 10 == 0 else {})) for number in range(LARGEST_PAGE + 1)]
    assert ids_from(Exchange(*items)) == ([number for number in range(LARGEST_PAGE + 1) if number % 10], 101)


def test_part_of_the_history_ends_at_its_last_id_despite_invalid_trades() -> None:
    exchange = Exchange(*(trade(number, **({"price": "0"} if number == 7 else {})) for number in range(20)))
    assert ids_from(exchange, 5, 9) == ([5, 6, 8, 9], 1)
    assert exchange.requests == 1


def test_page_without_usable_ids_is_an_error() -> None:
    with pytest.raises(SourceError, match="without usable ids") as caught:
        ids_from(Exchange(trade("1"), trade(None)))
    assert not caught.value.fatal


def test_page_that_does_not_advance_is_an_error() -> None:
    with canned(lambda query: [trade(1, price="0")] * LARGEST_PAGE) as url, pytest.raises(SourceError, match="again and again"):
        list(BinanceHistory(JsonClient(url, max_attempts=1)).trades("BTCUSDT", 1, STOP))


# candles


def candle(hour: int, **changes: Any) -> dict[str, Any]:
    prices = {"o": "1.2", "h": "1.4", "l": "1.1", "c": "1.3"}
    start = format_time(NOON + hour * timedelta(hours=1))
    return {"complete": True, "volume": 7, "time": start, "mid": prices, "bid": prices, "ask": prices, **changes}


class Broker:
    """Hourly candles in the form of OANDA."""

    def __init__(self, *candles: Any) -> None:
        self.candles = candles

    def __call__(self, query: Mapping[str, str]) -> Any:
        def later(item: Any) -> bool:
            time = item.get("time") if isinstance(item, dict) else None
            return time is None or time > query["from"] or (time == query["from"] and query["includeFirst"] == "True")

        return {"candles": [item for item in self.candles if later(item)][: int(query["count"])]}


def hours_from(broker: Broker, count: int, *, page: int = 5000) -> tuple[list[int], int]:
    """Return the hours after noon of all candles in the history, and the skipped items' count."""
    with canned(broker) as url:
        history = OandaHistory(JsonClient(url, max_attempts=1), page=page)
        pages = list(history.candles("EUR_USD", "1h", NOON, NOON + count * timedelta(hours=1), STOP))
    starts = [datetime.fromisoformat(row.start_time) for page in pages for row in page.candles]
    return [(start - NOON) // timedelta(hours=1) for start in starts], len(history.refused)


_PRICES = {"o": "1.2", "h": "1.4", "l": "1.1", "c": "1.3"}
BAD_CANDLES: list[Any] = [
    {"mid": {**_PRICES, "h": "1.25"}}, {"bid": {**_PRICES, "l": "1.25"}}, {"ask": {**_PRICES, "o": "0"}}, {"mid": {**_PRICES, "c": "-1"}},
    {"bid": {**_PRICES, "o": 1.2}}, {"ask": {"o": "1"}}, {"mid": None}, {"volume": "many"}, {"volume": None},
]  # fmt: skip


@pytest.mark.parametrize("fault", BAD_CANDLES)
def test_invalid_candle_in_the_history_is_skipped_and_the_page_continues(fault: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert hours_from(Broker(candle(0), candle(1, **fault), candle(2)), 3) == ([0, 2], 1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("item", [None, 7, [], {}, candle(1, time="yesterday"), candle(1, time=None)])
def test_item_without_a_time_is_skipped(item: Any) -> None:
    assert hours_from(Broker(candle(0), item, candle(2)), 3) == ([0, 2], 1)


def test_page_of_invalid_candles_alone_is_not_the_end_of_the_history() -> None:
    bad = [candle(hour, mid={**_PRICES, "h": "1"}) for hour in range(4)]
    assert hours_from(Broker(*bad, candle(4), candle(5)), 6, page=4) == ([4, 5], 4)


def test_candles_without_times_alone_are_an_error() -> None:
    with pytest.raises(SourceError, match="without usable times"):
        hours_from(Broker({"complete": True}), 3)


@pytest.mark.parametrize("answer", [[], {"candles": {}}, {"candles": None}, "x", 7])
def test_answer_of_another_form_is_an_error(answer: Any) -> None:
    with canned(lambda query: answer) as url, pytest.raises(SourceError, match="not a list of candles"):
        list(OandaHistory(JsonClient(url, max_attempts=1)).candles("EUR_USD", "1h", NOON, NOON + timedelta(hours=3), STOP))


@pytest.mark.parametrize(
    ("year", "plausible"), [("1970", False), ("1971", True), ("2025", True), ("2099", False), ("9999", False), ("0001", False)]
)
def test_candle_of_an_implausible_year_is_skipped(year: str, plausible: bool) -> None:
    start = datetime(int(year), 3, 4, 12, tzinfo=UTC)
    item = candle(0, time=f"{year}-03-04T12:00:00.000000000Z")
    with canned(lambda query: {"candles": [item]}) as url:
        history = OandaHistory(JsonClient(url, max_attempts=1))
        pages = history.candles("EUR_USD", "1h", start, start + timedelta(hours=1), STOP)
        if plausible:
            assert [len(page.candles) for page in pages] == [1]
            assert len(history.refused) == 0
        else:
            with pytest.raises(SourceError, match="without usable times"):
                list(pages)
            assert len(history.refused) == 1
