"""Holes in trades, filled from the real answers of an exchange."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.pacing import Stopped
from db import topics
from db.bus import Bus
from db.messages import Trade
from db.postgres import Store
from db.timestamps import utc_now
from jobs.feeds.base import SourceError, TradePage
from jobs.feeds.binance.history import BinanceHistory
from jobs.feeds.http_json import JsonClient
from jobs.gaps.trades import TradeGaps
from jobs.store.queues import TradeQueue
from jobs.store.writer import BatchRule, Writer
from tests.integration.test_gaps import trade, watermarks
from tests.standins.binance import BinanceStandIn
from tests.support.store import TIME, count_trades, put_trades, stored_trades, trade_gaps

NOW = datetime(2025, 11, 19, tzinfo=UTC)
STOP = threading.Event()  # never set


class World:
    """An exchange with past trades only, and a gap filler with a clock that the test sets."""

    def __init__(self, store: Store, bus: Bus, exchange: BinanceStandIn, **options: Any) -> None:
        self.now = NOW
        self.exchange = exchange
        self.trades = {symbol: [each for each in exchange.expected() if each.symbol == symbol] for symbol in exchange.symbols}
        self.history = BinanceHistory(JsonClient(exchange.rest_url, max_attempts=1))
        self.filled = 0
        options = {"store_wait": 0.0, "filled": self._count, **options}
        self.gaps = TradeGaps("binance", exchange.symbols, self.history, store, bus, lambda: self.now, **options)

    def fill(self, *, reconnected: bool = False) -> None:
        """Rounds until nothing is left to do at once."""
        while self.gaps.round(reconnected, STOP):
            reconnected = False

    def _count(self, number: int) -> None:
        self.filled += number

    def asked(self) -> int:
        return int(self.exchange.state()["requests"].get("/api/v3/historicalTrades", 0))


@pytest.fixture
def world(tmp_path: Path, store: Store, bus: Bus) -> Iterator[Callable[..., World]]:
    with BinanceStandIn(tmp_path, trades=6000, speed=None, waits=True) as exchange:
        exchange.control("jump")
        yield lambda **options: World(store, bus, exchange, **options)


def test_skipped_ids_are_filled(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin, ether = here.trades["BTCUSDT"], here.trades["ETHUSDT"]
    put_trades(store, [*bitcoin[:10], *bitcoin[11:500], *bitcoin[2100:], *ether[3:40], *ether[41:]])
    here.fill()
    assert stored_trades(store) == [*bitcoin, *ether[3:]]  # what was before the first was never promised
    assert {(row[0], row[4]) for row in trade_gaps(store)} == {("BTCUSDT", "filled"), ("ETHUSDT", "filled")}
    asked, filled = here.asked(), here.filled
    assert filled == len(trade_gaps(store)) == 3
    here.fill()
    assert (here.asked(), here.filled) == (asked, filled)  # a whole store asks for nothing


def test_time_outside_the_window_bounds_no_gap(store: Store, world: Callable[..., World]) -> None:
    """An older version has stored a trade of 2099, and no gap after it."""
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, [bitcoin[0], bitcoin[10]._replace(time="2099-01-01T00:00:00.000000Z"), *bitcoin[20:]])
    here.fill()
    assert [each.trade_id for each in stored_trades(store)] == [each.trade_id for each in bitcoin]
    filled = [("BTCUSDT", bitcoin[first].trade_id, bitcoin[last].trade_id, 9, "filled", None) for first, last in ((1, 9), (11, 19))]
    assert trade_gaps(store) == filled
    with store.transaction() as cursor:
        cursor.execute(f"SELECT min({TIME.format('start_time')}), max({TIME.format('end_time')}) FROM gaps")  # noqa: S608
        start, end = cursor.fetchall()[0]
    assert bitcoin[0].time <= start <= end <= "2098"


def test_minutes_of_filled_trades_are_marked_for_the_candles(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, [bitcoin[0], bitcoin[-1]])
    with store.transaction() as cursor:
        cursor.execute("TRUNCATE candle_marks")
    here.fill()
    with store.transaction() as cursor:
        cursor.execute(f"SELECT DISTINCT {TIME.format('minute')} FROM candle_marks")  # noqa: S608
        assert {minute[:16] for (minute,) in cursor.fetchall()} == {each.time[:16] for each in bitcoin}


def test_tail_is_fetched_after_a_reconnection(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, bitcoin[:100])
    here.fill()
    assert count_trades(store) == 100  # no hole shows: nothing is asked for
    here.fill(reconnected=True)
    assert stored_trades(store) == bitcoin  # and nothing of ETHUSDT: no history is claimed of a symbol that never was live
    assert watermarks(store) == {"BTCUSDT": bitcoin[-1].trade_id}


def test_tail_ends_at_the_first_live_trade(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, bitcoin[:100])
    pages = here.history.trades

    def with_live(*arguments: Any, **options: Any) -> Iterator[TradePage]:
        for page in pages(*arguments, **options):
            put_trades(store, bitcoin[2900:])
            yield page

    here.history.trades = with_live  # type: ignore[method-assign]
    assert here.gaps.round(True, STOP) is False
    assert stored_trades(store) == bitcoin
    assert [row[1:5] for row in trade_gaps(store)] == [(bitcoin[1100].trade_id, bitcoin[2899].trade_id, 1800, "filled")]


def test_absent_trades_are_unfillable_after_the_settling_time(store: Store, bus: Bus, tmp_path: Path) -> None:
    with BinanceStandIn(tmp_path, trades=2000, speed=None, waits=True) as exchange:
        exchange.control("jump", position=400)
        exchange.control("lose", count=3, symbol="BTCUSDT")
        exchange.control("jump")
        here = World(store, bus, exchange)
        lost = [number for _, number in exchange.state()["lost"]]
        bitcoin = here.trades["BTCUSDT"]
        put_trades(store, [bitcoin[0], bitcoin[-1]])
        here.fill()
        assert stored_trades(store) == bitcoin
        whole = ("BTCUSDT", lost[0], lost[2], 3)
        assert trade_gaps(store) == [(*whole, "open", "the exchange's history does not have them")]
        here.now += timedelta(seconds=59)
        here.fill()
        assert trade_gaps(store, "unfillable") == []
        here.now += timedelta(seconds=1)
        here.fill()
        assert trade_gaps(store) == [(*whole, "unfillable", "the exchange's history does not have them")]
        asked = here.asked()
        here.fill(reconnected=True)
        assert (trade_gaps(store, "open"), here.asked()) == ([], asked + 1)  # the tail alone: what is given up is not asked for again
        late = World(store, bus, exchange)
        put_trades(store, [Trade("BTCUSDT", number, bitcoin[300].time, "1.00", "1.00", "buy") for number in lost])
        late.fill()  # of a later process
        assert [row[4] for row in trade_gaps(store)] == ["filled"]


@pytest.mark.parametrize(("status", "words"), [(503, "HTTP 503"), (500, "HTTP 500"), (418, "HTTP 418")])
def test_gap_stays_open_during_an_outage_and_is_filled_later(store: Store, world: Callable[..., World], status: int, words: str) -> None:
    here = world()
    bitcoin, ether = here.trades["BTCUSDT"], here.trades["ETHUSDT"]
    put_trades(store, [*bitcoin[:20], *bitcoin[30:], *ether[:20], *ether[30:]])
    here.exchange.control("refuse", status=status, count=2)
    for reconnected in (True, False):
        with pytest.raises(SourceError, match=words):
            here.fill(reconnected=reconnected)
        # Whether a hole was tried or not: why it is open can be read.
        assert [(row[0], row[3], row[4]) for row in trade_gaps(store)] == [("BTCUSDT", 10, "open"), ("ETHUSDT", 10, "open")]
        assert all(words in row[5] for row in trade_gaps(store))
    here.fill()
    assert stored_trades(store) == [*bitcoin, *ether]
    assert [(row[4], row[5]) for row in trade_gaps(store)] == [("filled", None)] * 2


def test_requested_pause_of_the_exchange_is_kept(store: Store, world: Callable[..., World]) -> None:
    here = world()
    here.history._client = JsonClient(here.exchange.rest_url)
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, [*bitcoin[:20], *bitcoin[30:]])
    here.exchange.control("refuse", status=429, count=1, retry_after=2)
    began = time.monotonic()
    here.fill()
    assert time.monotonic() - began >= 2
    assert stored_trades(store) == bitcoin


def test_unknown_symbol_does_not_block_the_others(store: Store, bus: Bus, tmp_path: Path) -> None:
    with BinanceStandIn(tmp_path, trades=500, speed=None, waits=True) as exchange:
        exchange.control("jump")
        here = World(store, bus, exchange)
        here.gaps._listed |= {"ADAUSDT"}  # first in the order, and unknown to the exchange
        bitcoin = here.trades["BTCUSDT"]
        put_trades(store, [trade(1, "ADAUSDT"), trade(3, "ADAUSDT"), bitcoin[0], bitcoin[5]])
        here.fill(reconnected=True)
        assert stored_trades(store) == [trade(1, "ADAUSDT"), trade(3, "ADAUSDT"), *bitcoin]
        assert trade_gaps(store, "open") == [("ADAUSDT", 2, 2, 1, "open", "HTTP 400: Bad Request")]


def test_too_long_gap_is_reported_and_left_to_the_operator(store: Store, world: Callable[..., World]) -> None:
    here = world(longest=1000)
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, [*bitcoin[:20], *bitcoin[1021:]])
    here.fill()
    (gap,) = trade_gaps(store)
    assert gap[3:] == (1001, "unfillable", "longer than 1000 trades: left to `manage.py backfill`")
    assert here.asked() == 0
    put_trades(store, bitcoin[20:600])  # somebody did a part of it; the next process sees that
    world(longest=1000).fill()
    assert stored_trades(store) == bitcoin


def test_long_gaps_are_filled_in_parts_after_the_short_ones(store: Store, world: Callable[..., World]) -> None:
    here = world(pages=1)
    bitcoin, ether = here.trades["BTCUSDT"], here.trades["ETHUSDT"]
    put_trades(store, [bitcoin[0], bitcoin[-1], *ether[:10], *ether[11:]])
    assert here.gaps.round(False, STOP) is True
    assert stored_trades(store) == [*bitcoin[:1001], bitcoin[-1], *ether]
    assert [(row[1], row[4]) for row in trade_gaps(store, "open")] == [(bitcoin[1001].trade_id, "open")]
    here.fill()
    assert stored_trades(store) == [*bitcoin, *ether]


def test_long_tail_is_fetched_in_parts(store: Store, world: Callable[..., World]) -> None:
    here = world(pages=1)
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, bitcoin[:1])
    assert here.gaps.round(True, STOP) is True
    assert count_trades(store) == 1001
    here.fill()
    assert stored_trades(store) == bitcoin


def test_trades_stored_before_a_kill_are_not_fetched_again(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, [bitcoin[0], bitcoin[-1]])
    pages = here.history.trades

    def killed(*arguments: Any, **options: Any) -> Iterator[TradePage]:
        yield next(pages(*arguments, **options))
        raise KeyboardInterrupt

    here.history.trades = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        here.fill()
    assert count_trades(store) == 1002
    after = world()
    before = after.asked()
    after.fill()
    assert stored_trades(store) == bitcoin
    assert after.asked() - before == -(-(len(bitcoin) - 1002) // 1000)


def test_stop_ends_a_fill_at_the_next_page(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, [bitcoin[0], bitcoin[-1]])
    stop, pages = threading.Event(), here.history.trades

    def stopping(*arguments: Any, **options: Any) -> Iterator[TradePage]:
        for page in pages(*arguments, **options):
            yield page
            stop.set()

    here.history.trades = stopping  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        here.gaps.round(False, stop)
    assert count_trades(store) == 1002


def test_trades_on_their_way_to_the_store_are_not_fetched(store: Store, bus: Bus, world: Callable[..., World]) -> None:
    here = world(store_wait=30.0)
    bitcoin = here.trades["BTCUSDT"]
    put_trades(store, bitcoin[:100])
    bus.publish_trades(bitcoin[100:], "test/1")
    stop = threading.Event()
    writer = threading.Thread(target=Writer(bus, store, BatchRule(100, 50), TradeQueue(bus, utc_now)).run, args=(stop,))
    writer.start()
    here.fill(reconnected=True)
    stop.set()
    writer.join(60)
    assert stored_trades(store) == bitcoin
    assert here.asked() == 1  # one look at the tail, and it was empty
    assert bus.unstored(topics.TRADES) == 0
