"""The end of a history is proven: pages of any lengths, short, without news, with bad items.

Everything is stored, and a part is finished only with a proof.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.backfills import Backfill, progress
from db.postgres import Store
from db.timestamps import format_time, utc_now
from jobs.backfill.fill import Filler
from jobs.backfill.tasks import BackfillTask, candle_tasks, trade_tasks
from jobs.feeds.base import CandlePage, SourceError, Unproven
from jobs.feeds.binance.history import BinanceHistory
from jobs.feeds.http_json import JsonClient
from jobs.feeds.oanda.history import OandaHistory
from jobs.feeds.oanda.wire import request_headers
from tests.standins.binance import BinanceStandIn
from tests.standins.oanda import OandaStandIn
from tests.support.canned_http import canned
from tests.support.store import stored_trades as stored

START = datetime(2025, 11, 18, tzinfo=UTC)
END = START + timedelta(hours=1)
STOP = threading.Event()
HOUR = timedelta(hours=1)
_PRICES = {"o": "1.1", "h": "1.1", "l": "1.1", "c": "1.1"}
lengths = st.lists(st.integers(1, 7), min_size=1, max_size=5)
once = settings(max_examples=20)


def filled(store: Store, task: BackfillTask) -> tuple[Filler, bool]:
    """The filler after this task, and whether the store calls the part finished."""
    filler = Filler(store, utc_now, STOP, limits={}, warn=lambda text: None, on_conflicts=lambda title, conflicts: None)
    filler.fill(task)
    return filler, is_finished(store, task.asked)


def is_finished(store: Store, asked: Backfill) -> bool:
    with store.transaction() as cursor:
        reached = progress(cursor, asked)
    return reached is not None and reached.finished


# trades, of the stand-in


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[BinanceStandIn]:
    with BinanceStandIn(tmp_path, trades=3500, symbols=("BTCUSDT",), start=START, waits=True) as exchange:
        exchange.control("jump")
        yield exchange


def trades_of(exchange: BinanceStandIn) -> tuple[BinanceHistory, BackfillTask]:
    history = BinanceHistory(JsonClient(exchange.rest_url, max_attempts=1))
    (task,) = trade_tasks("binance", history, ["BTCUSDT"], START, END)
    return history, task


@pytest.mark.parametrize(("count", "size"), [(1, 600), (2, 1), (10, 999), (100, 37)])
def test_short_page_is_not_the_end(exchange: BinanceStandIn, store: Store, count: int, size: int) -> None:
    exchange.control("short_pages", count=count, size=size)
    filler, finished = filled(store, trades_of(exchange)[1])
    assert (filler.outcome.new, finished) == (3500, True)
    assert stored(store) == exchange.expected()


def test_bad_items_are_left_out_and_reported(exchange: BinanceStandIn, store: Store) -> None:
    bad = {1_000_000: {"qty": "0E-8"}, 1_000_999: {"price": None}, 1_001_500: {"time": 5}, 1_003_499: {"isBuyerMaker": "true"}}
    for trade_id, changes in bad.items():
        exchange.control("bad_item", symbol="BTCUSDT", id=trade_id, changes=changes)
    history, task = trades_of(exchange)
    _, finished = filled(store, task)
    assert finished
    assert stored(store) == [trade for trade in exchange.expected() if trade.trade_id not in bad]
    assert history.refused.counts == {"unreadable": 3, "bad_trade": 1}
    assert str(history.refused).startswith("4 bad: 3 of kind unreadable, 1 of kind bad_trade; first: BTCUSDT trade 1000000: ")


def test_page_of_bad_items_alone_is_not_the_end(exchange: BinanceStandIn, store: Store) -> None:
    exchange.control("short_pages", count=3, size=2)
    for trade_id in (1_000_002, 1_000_003):
        exchange.control("bad_item", symbol="BTCUSDT", id=trade_id, changes={"price": "0"})
    filler, finished = filled(store, trades_of(exchange)[1])
    assert (filler.outcome.new, finished) == (3498, True)


def test_wild_id_of_a_bad_item_skips_no_trade(exchange: BinanceStandIn, store: Store) -> None:
    exchange.control("bad_item", symbol="BTCUSDT", id=1_000_999, changes={"id": 2**62, "price": "0"})
    filler, finished = filled(store, trades_of(exchange)[1])
    assert (filler.outcome.new, finished) == (3499, True)


@pytest.mark.parametrize("misfortune", [{"do": "repeat_pages"}, {"do": "refuse", "status": 503}, {"do": "refuse", "status": 400}])
def test_error_leaves_the_part_unfinished(exchange: BinanceStandIn, store: Store, misfortune: dict[str, Any]) -> None:
    _, task = trades_of(exchange)

    def batches(position: str | None, stop: threading.Event) -> Iterator[Any]:
        for number, batch in enumerate(task.batches(position, stop)):
            if number == 1:
                exchange.control(**misfortune)
            yield batch

    with pytest.raises(SourceError):
        filled(store, BackfillTask(task.title, task.asked, batches))
    assert not is_finished(store, task.asked)
    filler, finished = filled(store, task)
    assert (filler.outcome.new, finished) == (1500, True)
    assert stored(store) == exchange.expected()


def test_exchange_that_begins_its_ids_anew_serves_the_new_ones_alone(exchange: BinanceStandIn) -> None:
    exchange.control("jump", position=0)
    exchange.control("series", symbol="BTCUSDT", first_id=1)
    exchange.control("jump")
    history, _ = trades_of(exchange)
    pages = list(history.trades("BTCUSDT", 0, STOP))
    assert [trade.trade_id for page in pages for trade in page.trades] == list(range(1, 3501))


# trades, with pages of any lengths


@once
@given(lengths, st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)), st.none() | st.integers(0, 35))
def test_pages_of_any_lengths_are_the_whole_history(cuts: Sequence[int], bad: set[int], absent: set[int], last: int | None) -> None:
    ids = [number for number in range(30) if number not in absent]
    sizes, requests = cycle(cuts), []

    def answer(query: Mapping[str, str]) -> Any:
        first, limit = int(query["fromId"]), min(int(query["limit"]), next(sizes))
        page = [number for number in ids if number >= first][:limit]
        requests.append(page)
        price = "1.5"
        return [
            {"id": number, "price": "0" if number in bad else price, "qty": "1", "time": 1723161255342, "isBuyerMaker": True}
            for number in page
        ]

    with canned(answer) as url:
        history = BinanceHistory(JsonClient(url, max_attempts=1))
        pages = list(history.trades("BTCUSDT", 0, STOP, last_id=last))
    wanted = [number for number in ids if last is None or number <= last]
    assert [trade.trade_id for page in pages for trade in page.trades] == [number for number in wanted if number not in bad]
    assert [each.trade_id for page in pages for each in page.refused] == [number for number in wanted if number in bad]
    assert len(history.refused) == len(set(wanted) & bad)
    assert not requests[-1] or (last is not None and requests[-1][-1] >= last)


# candles


def candle(hour: int, **changes: Any) -> dict[str, Any]:
    start = format_time(START + hour * HOUR)
    return {"complete": True, "volume": 7, "time": start, "mid": _PRICES, "bid": _PRICES, "ask": _PRICES, **changes}


@contextmanager
def broker(answer: Callable[[Mapping[str, str]], list[dict[str, Any]]]) -> Iterator[OandaHistory]:
    with canned(lambda query: {"candles": answer(query)}) as url:
        yield OandaHistory(JsonClient(url, max_attempts=1))


def hours_of(pages: Sequence[CandlePage]) -> list[int]:
    return [(datetime.fromisoformat(row.start_time) - START) // HOUR for page in pages for row in page.candles]


@once
@given(lengths, st.sets(st.integers(0, 19)), st.sets(st.integers(0, 19)))
def test_candles_of_pages_of_any_lengths_are_the_whole_history(cuts: Sequence[int], bad: set[int], absent: set[int]) -> None:
    sizes = cycle(cuts)

    def answer(query: Mapping[str, str]) -> list[dict[str, Any]]:
        first = (datetime.fromisoformat(query["from"]) - START) // HOUR + (query["includeFirst"] == "False")
        hours = [hour for hour in range(20) if hour >= first and hour not in absent][: next(sizes)]
        return [candle(hour, **({"mid": {**_PRICES, "h": "1"}} if hour in bad else {})) for hour in hours]

    with broker(answer) as history:
        pages = list(history.candles("EUR_USD", "1h", START, START + 30 * HOUR, STOP))
    assert hours_of(pages) == [hour for hour in range(20) if hour not in bad | absent]
    assert history.refused.counts == ({"bad_candle": len(bad - absent)} if bad - absent else {})


def test_candle_of_a_wild_time_ends_no_history() -> None:
    wild = candle(2, time="2099-01-01T00:00:00.000000000Z")

    def answer(query: Mapping[str, str]) -> list[dict[str, Any]]:
        after = query["includeFirst"] == "False"
        return [each for each in (candle(0), wild, candle(3)) if each["time"] > query["from"] or not after][: 2 if not after else 9]

    with broker(answer) as history:
        assert hours_of(list(history.candles("EUR_USD", "1h", START, START + 4 * HOUR, STOP))) == [0, 3]
    assert set(history.refused.counts) == {"time_in_future"}


@pytest.mark.parametrize("complete", [True, False])
def test_candle_that_the_broker_has_not_completed_leaves_the_part_unfinished(store: Store, complete: bool) -> None:
    def answer(query: Mapping[str, str]) -> list[dict[str, Any]]:
        return [candle(0), candle(1, complete=complete)] if query["includeFirst"] == "True" else []

    with broker(answer) as history:
        (task,) = candle_tasks("oanda", history, ["EUR_USD"], ["1h"], START, START + 3 * HOUR)
        if complete:
            assert filled(store, task)[1]
        else:
            with pytest.raises(Unproven):
                filled(store, task)
            assert not is_finished(store, task.asked)


def test_bad_candle_of_the_stand_in_is_left_out(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "EUR_USD_H1.csv"
    header = "time,volume," + ",".join(f"{side}_{part}" for side in ("mid", "bid", "ask") for part in "ohlc")
    file.write_text(f"{header}\n" + "".join(f"{START + hour * HOUR:%Y-%m-%dT%H:%M:%SZ},7{',1.1' * 12}\n" for hour in range(9)))
    with OandaStandIn(candles={("EUR_USD", "H1"): file}) as oanda:
        oanda.control(do="bad_candle", time=format_time(START + 4 * HOUR), changes={"volume": None})
        history = OandaHistory(JsonClient(oanda.url, headers=request_headers(oanda.token)), page=3)
        (task,) = candle_tasks("oanda", history, ["EUR_USD"], ["1h"], START, START + 9 * HOUR)
        filler, finished = filled(store, task)
    assert (filler.outcome.new, finished, history.refused.counts) == (8, True, {"unreadable": 1})
