"""A store without gaps: holes are found in the real store and filled from real REST answers, whatever tore them."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.settings import Settings
from db import topics
from db.bus import Bus, Trade, trade_lines
from db.gaps import advance_watermark, narrow, open_gaps
from db.postgres import Store
from db.timestamps import format_time, parse_time
from db.trades import insert_trades
from jobs.candle_gaps import CandleGaps
from jobs.gaps import GapFiller, Wakes
from jobs.history.binance import BinanceHistory
from jobs.history.oanda import OandaHistory
from jobs.rest import Rest, Stopped
from jobs.sources.base import SourceError
from jobs.trade_gaps import TradeGaps
from jobs.writer import BatchRule, Trades, Writer
from tests.conftest import until
from tests.processes import ROOT, Running, jobs
from tests.standins.binance import BinanceStandIn
from tests.standins.oanda import OandaStandIn

NOW = datetime(2025, 11, 19, tzinfo=UTC)
STOP = threading.Event()  # never set
H1 = ROOT / "data" / "recordings" / "EUR_USD_H1.csv.gz"
_TEXT = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def put(store: Store, trades: list[Trade]) -> None:
    with store.transaction() as cursor:
        insert_trades(cursor, trade_lines(trades))


def stored(store: Store) -> list[Trade]:
    with store.transaction() as cursor:
        cursor.execute(
            f"SELECT symbol, trade_id, {_TEXT.format('time')}, price, quantity, side FROM raw_trades ORDER BY symbol, trade_id"  # noqa: S608
        )
        return [Trade(*row) for row in cursor.fetchall()]


def count(store: Store) -> int:
    with store.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM raw_trades")
        return int(cursor.fetchone()[0])


def gaps(store: Store, *states: str) -> list[tuple[Any, ...]]:
    """(symbol, first, last, missing, state, reason) of every gap in trades, or of those in these states."""
    with store.transaction() as cursor:
        cursor.execute(
            "SELECT symbol, first_id, last_id, missing, state, reason FROM gaps WHERE kind = 'trades' ORDER BY symbol, first_id, id"
        )
        return [row for row in cursor.fetchall() if not states or row[4] in states]


def watermarks(store: Store) -> dict[str, int]:
    with store.transaction() as cursor:
        cursor.execute("SELECT symbol, trade_id FROM trade_watermarks")
        return dict(cursor.fetchall())


def trade(number: int, symbol: str = "BTCUSDT") -> Trade:
    """Ten trades a second; two of them at the same moment."""
    moment = datetime(2025, 11, 18, tzinfo=UTC) + timedelta(milliseconds=200 * (number // 2))
    return Trade(symbol, number, format_time(moment), "1.00", "2.0", "buy")


# what the store says of itself


def test_holes_are_recorded_when_the_watermark_passes_them(store: Store) -> None:
    put(store, [trade(number) for number in (100, 101, 104, 105, 110)])
    with store.transaction() as cursor:
        step = advance_watermark(cursor, "binance", "BTCUSDT", NOW)
    assert (step.holes, step.more) == (2, False)
    assert gaps(store) == [("BTCUSDT", 102, 103, 2, "open", None), ("BTCUSDT", 106, 109, 4, "open", None)]
    assert watermarks(store) == {"BTCUSDT": 110}
    with store.transaction() as cursor:
        cursor.execute("SELECT start_time, end_time FROM gaps ORDER BY first_id")
        for (start, end), first in zip(cursor.fetchall(), (102, 106), strict=True):
            assert start <= parse_time(trade(first).time) < end
        assert advance_watermark(cursor, "binance", "BTCUSDT", NOW).holes == 0


def test_a_symbol_without_trades_has_neither_watermark_nor_gap(store: Store) -> None:
    with store.transaction() as cursor:
        assert advance_watermark(cursor, "binance", "BTCUSDT", NOW).holes == 0
    assert (watermarks(store), gaps(store)) == ({}, [])


def test_a_watermark_that_was_not_committed_has_recorded_nothing(store: Store) -> None:
    put(store, [trade(1), trade(9)])

    def killed_before_the_commit() -> None:
        with store.transaction() as cursor:
            assert advance_watermark(cursor, "binance", "BTCUSDT", NOW).holes == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_before_the_commit()
    assert (watermarks(store), gaps(store)) == ({}, [])


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.sets(st.integers(1, 60), min_size=1),
    later=st.sets(st.integers(1, 60)),
    batches=st.integers(1, 5),
    rows=st.integers(1, 40),
    seed=st.integers(),
)
def test_open_gaps_are_what_is_missing_whatever_came_in_which_order(
    store: Store, ids: set[int], later: set[int], batches: int, rows: int, seed: int
) -> None:
    """Trades come in any order and in batches, and holes are looked for between them, few rows at a time."""
    with store.transaction() as cursor:
        cursor.execute("TRUNCATE raw_trades, gaps, trade_watermarks, candle_marks")
    order = sorted(ids)
    first = order.pop(0)
    random.Random(seed).shuffle(order)
    everything = ids | {number for number in later if number > first}
    parts = [[first], *(order[start::batches] for start in range(batches)), sorted(everything - ids)]
    for part in parts:
        put(store, [trade(number) for number in part])
        more = True
        while more:
            with store.transaction() as cursor:
                more = advance_watermark(cursor, "binance", "BTCUSDT", NOW, rows=rows).more
    with store.transaction() as cursor:
        left = [part for gap in open_gaps(cursor, "binance") for part in narrow(cursor, "binance", gap, NOW, rows=rows)]
        again = [part for gap in open_gaps(cursor, "binance") for part in narrow(cursor, "binance", gap, NOW, rows=rows)]
    missing = sorted(number for gap in left for number in range(gap.hole.first_id, gap.hole.last_id + 1))
    assert missing == sorted(set(range(first, max(everything))) - everything)
    assert again == sorted(left, key=lambda gap: (gap.hole.missing, gap.id))
    for gap in left:
        assert gap.hole.start <= parse_time(trade(gap.hole.first_id).time) <= parse_time(trade(gap.hole.last_id).time) < gap.hole.end


def test_a_gap_that_is_filled_in_parts_becomes_what_is_left_of_it(store: Store) -> None:
    put(store, [trade(1), trade(10)])
    with store.transaction() as cursor:
        advance_watermark(cursor, "binance", "BTCUSDT", NOW)
    put(store, [trade(number) for number in (4, 5, 8)])
    with store.transaction() as cursor:
        (gap,) = open_gaps(cursor, "binance")
        narrow(cursor, "binance", gap, NOW)
    assert [row[1:5] for row in gaps(store)] == [(2, 3, 2, "open"), (6, 7, 2, "open"), (9, 9, 1, "open")]
    put(store, [trade(number) for number in range(1, 10)])
    with store.transaction() as cursor:
        assert [narrow(cursor, "binance", gap, NOW) for gap in open_gaps(cursor, "binance")] == [[], [], []]
    assert {row[4] for row in gaps(store)} == {"filled"}


# filling, against an exchange


class World:
    """An exchange whose trades have all happened, and a filler of them whose time is in the test's hands."""

    def __init__(self, store: Store, bus: Bus, exchange: BinanceStandIn, **options: Any) -> None:
        self.now = NOW
        self.exchange = exchange
        self.trades = {symbol: [each for each in exchange.expected() if each.symbol == symbol] for symbol in exchange.symbols}
        self.history = BinanceHistory(Rest(exchange.rest_url, tries=1))
        options = {"patience": 0.0, **options}
        self.gaps = TradeGaps("binance", exchange.symbols, self.history, store, bus, lambda: self.now, **options)

    def fill(self, *, reconnected: bool = False) -> None:
        """Rounds until nothing is left to do at once."""
        while self.gaps.round(reconnected, STOP):
            reconnected = False

    def asked(self) -> int:
        return int(self.exchange.state()["requests"].get("/api/v3/historicalTrades", 0))


@pytest.fixture
def world(tmp_path: Path, store: Store, bus: Bus) -> Iterator[Callable[..., World]]:
    with BinanceStandIn(tmp_path, trades=6000, speed=None, waits=True) as exchange:
        exchange.control("jump")
        yield lambda **options: World(store, bus, exchange, **options)


def test_ids_that_were_skipped_are_filled(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin, ether = here.trades["BTCUSDT"], here.trades["ETHUSDT"]
    put(store, [*bitcoin[:10], *bitcoin[11:500], *bitcoin[2100:], *ether[3:40], *ether[41:]])
    here.fill()
    assert stored(store) == [*bitcoin, *ether[3:]]  # what was before the first was never promised
    assert {(row[0], row[4]) for row in gaps(store)} == {("BTCUSDT", "filled"), ("ETHUSDT", "filled")}
    asked = here.asked()
    here.fill()
    assert here.asked() == asked  # a whole store asks for nothing


def test_the_minutes_of_filled_trades_are_marked_for_the_candles(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put(store, [bitcoin[0], bitcoin[-1]])
    with store.transaction() as cursor:
        cursor.execute("TRUNCATE candle_marks")
    here.fill()
    with store.transaction() as cursor:
        cursor.execute(f"SELECT DISTINCT {_TEXT.format('minute')} FROM candle_marks")  # noqa: S608
        assert {minute[:16] for (minute,) in cursor.fetchall()} == {each.time[:16] for each in bitcoin}


def test_after_a_reconnection_the_tail_is_fetched_though_nothing_follows_it(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put(store, bitcoin[:100])
    here.fill()
    assert count(store) == 100  # no hole shows: nothing is asked for
    here.fill(reconnected=True)
    assert stored(store) == bitcoin  # and nothing of ETHUSDT: no history is claimed of a symbol that never was live
    assert watermarks(store) == {"BTCUSDT": bitcoin[-1].trade_id}


def test_a_tail_stops_where_the_live_stream_has_gone_on(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put(store, bitcoin[:100])
    pages = here.history.trades

    def with_live(*arguments: Any, **options: Any) -> Iterator[list[Trade]]:
        for page in pages(*arguments, **options):
            put(store, bitcoin[2900:])
            yield page

    here.history.trades = with_live  # type: ignore[method-assign]
    assert here.gaps.round(True, STOP) is False
    assert stored(store) == bitcoin
    assert [row[1:5] for row in gaps(store)] == [(bitcoin[1100].trade_id, bitcoin[2899].trade_id, 1800, "filled")]


def test_what_the_exchange_does_not_have_is_reported_unfillable_once_that_can_be_believed(store: Store, bus: Bus, tmp_path: Path) -> None:
    with BinanceStandIn(tmp_path, trades=2000, speed=None, waits=True) as exchange:
        exchange.control("jump", position=400)
        exchange.control("lose", count=3, symbol="BTCUSDT")
        exchange.control("jump")
        here = World(store, bus, exchange)
        lost = [number for _, number in exchange.state()["lost"]]
        bitcoin = here.trades["BTCUSDT"]
        put(store, [bitcoin[0], bitcoin[-1]])
        here.fill()
        assert stored(store) == bitcoin
        whole = ("BTCUSDT", lost[0], lost[2], 3)
        assert gaps(store) == [(*whole, "open", "the exchange's history does not have them")]
        here.now += timedelta(seconds=59)
        here.fill()
        assert gaps(store, "unfillable") == []
        here.now += timedelta(seconds=1)
        here.fill()
        assert gaps(store) == [(*whole, "unfillable", "the exchange's history does not have them")]
        asked = here.asked()
        here.fill(reconnected=True)
        assert (gaps(store, "open"), here.asked()) == ([], asked + 1)  # the tail alone: what is given up is not asked for again
        late = World(store, bus, exchange)
        put(store, [Trade("BTCUSDT", number, bitcoin[300].time, "1.00", "1.00", "buy") for number in lost])
        late.fill()  # of a later process
        assert [row[4] for row in gaps(store)] == ["filled"]


@pytest.mark.parametrize(("status", "words"), [(503, "HTTP 503"), (500, "HTTP 500"), (418, "HTTP 418")])
def test_what_cannot_be_had_now_stays_open_and_is_filled_later(store: Store, world: Callable[..., World], status: int, words: str) -> None:
    here = world()
    bitcoin, ether = here.trades["BTCUSDT"], here.trades["ETHUSDT"]
    put(store, [*bitcoin[:20], *bitcoin[30:], *ether[:20], *ether[30:]])
    here.exchange.control("refuse", status=status, count=2)
    for reconnected in (True, False):
        with pytest.raises(SourceError, match=words):
            here.fill(reconnected=reconnected)
        # Whether a hole was tried or not: why it is open can be read.
        assert [(row[0], row[3], row[4]) for row in gaps(store)] == [("BTCUSDT", 10, "open"), ("ETHUSDT", 10, "open")]
        assert all(words in row[5] for row in gaps(store))
    here.fill()
    assert stored(store) == [*bitcoin, *ether]
    assert [(row[4], row[5]) for row in gaps(store)] == [("filled", None)] * 2


def test_a_pause_that_the_exchange_asks_for_is_kept(store: Store, world: Callable[..., World]) -> None:
    here = world()
    here.history._rest = Rest(here.exchange.rest_url)
    bitcoin = here.trades["BTCUSDT"]
    put(store, [*bitcoin[:20], *bitcoin[30:]])
    here.exchange.control("refuse", status=429, count=1, retry_after=2)
    began = time.monotonic()
    here.fill()
    assert time.monotonic() - began >= 2
    assert stored(store) == bitcoin


def test_a_symbol_that_the_exchange_does_not_know_does_not_hold_up_the_others(store: Store, bus: Bus, tmp_path: Path) -> None:
    with BinanceStandIn(tmp_path, trades=500, speed=None, waits=True) as exchange:
        exchange.control("jump")
        here = World(store, bus, exchange)
        here.gaps._symbols.insert(0, "NOBODY")
        bitcoin = here.trades["BTCUSDT"]
        put(store, [trade(1, "NOBODY"), trade(3, "NOBODY"), bitcoin[0], bitcoin[5]])
        here.fill(reconnected=True)
        assert stored(store) == [*bitcoin, trade(1, "NOBODY"), trade(3, "NOBODY")]
        assert gaps(store, "open") == [("NOBODY", 2, 2, 1, "open", "HTTP 400: Invalid symbol.")]


def test_a_hole_that_is_too_long_is_left_to_the_operator_and_said_to_be(store: Store, world: Callable[..., World]) -> None:
    here = world(longest=1000)
    bitcoin = here.trades["BTCUSDT"]
    put(store, [*bitcoin[:20], *bitcoin[1021:]])
    here.fill()
    (gap,) = gaps(store)
    assert gap[3:] == (1001, "unfillable", "longer than 1000 trades: left to `manage.py backfill`")
    assert here.asked() == 0
    put(store, bitcoin[20:600])  # somebody did a part of it; the next process sees that
    world(longest=1000).fill()
    assert stored(store) == bitcoin


def test_long_holes_are_filled_a_stretch_at_a_time_and_the_short_ones_first(store: Store, world: Callable[..., World]) -> None:
    here = world(pages=1)
    bitcoin, ether = here.trades["BTCUSDT"], here.trades["ETHUSDT"]
    put(store, [bitcoin[0], bitcoin[-1], *ether[:10], *ether[11:]])
    assert here.gaps.round(False, STOP) is True
    assert stored(store) == [*bitcoin[:1001], bitcoin[-1], *ether]
    assert [(row[1], row[4]) for row in gaps(store, "open")] == [(bitcoin[1001].trade_id, "open")]
    here.fill()
    assert stored(store) == [*bitcoin, *ether]


def test_a_long_tail_is_fetched_a_stretch_at_a_time_too(store: Store, world: Callable[..., World]) -> None:
    here = world(pages=1)
    bitcoin = here.trades["BTCUSDT"]
    put(store, bitcoin[:1])
    assert here.gaps.round(True, STOP) is True
    assert count(store) == 1001
    here.fill()
    assert stored(store) == bitcoin


def test_what_was_stored_before_a_kill_is_not_fetched_again(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put(store, [bitcoin[0], bitcoin[-1]])
    pages = here.history.trades

    def killed(*arguments: Any, **options: Any) -> Iterator[list[Trade]]:
        yield next(pages(*arguments, **options))
        raise KeyboardInterrupt

    here.history.trades = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        here.fill()
    assert count(store) == 1002
    after = world()
    before = after.asked()
    after.fill()
    assert stored(store) == bitcoin
    assert after.asked() - before == -(-(len(bitcoin) - 1002) // 1000)


def test_stop_ends_a_fill_at_the_next_page(store: Store, world: Callable[..., World]) -> None:
    here = world()
    bitcoin = here.trades["BTCUSDT"]
    put(store, [bitcoin[0], bitcoin[-1]])
    stop, pages = threading.Event(), here.history.trades

    def stopping(*arguments: Any, **options: Any) -> Iterator[list[Trade]]:
        for page in pages(*arguments, **options):
            yield page
            stop.set()

    here.history.trades = stopping  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        here.gaps.round(False, stop)
    assert count(store) == 1002


def test_what_is_on_its_way_to_the_store_is_waited_for_and_not_fetched(store: Store, bus: Bus, world: Callable[..., World]) -> None:
    here = world(patience=30.0)
    bitcoin = here.trades["BTCUSDT"]
    put(store, bitcoin[:100])
    bus.publish_trades(bitcoin[100:], "test/1")
    stop = threading.Event()
    writer = threading.Thread(target=Writer(bus, store, BatchRule(100, 50), Trades(bus)).run, args=(stop,))
    writer.start()
    here.fill(reconnected=True)
    stop.set()
    writer.join(20)
    assert stored(store) == bitcoin
    assert here.asked() == 1  # one look at the tail, and it was empty
    assert bus.unstored(topics.TRADES) == 0


# candles of a broker


def candles(store: Store, symbol: str = "EUR_USD", interval: str = "1h") -> list[tuple[str, ...]]:
    with store.transaction() as cursor:
        cursor.execute(
            f"SELECT {_TEXT.format('start_time')}, open, high, low, close, bid_open, ask_close, volume FROM candles"  # noqa: S608
            " WHERE symbol = %s AND interval = %s AND source = 'oanda' ORDER BY start_time",
            (symbol, interval),
        )
        return list(cursor.fetchall())


def candle_gaps(store: Store) -> list[tuple[Any, ...]]:
    with store.transaction() as cursor:
        cursor.execute(
            f"SELECT symbol, interval, {_TEXT.format('start_time')}, missing, state, reason FROM gaps"  # noqa: S608
            " WHERE kind = 'candles' AND source = 'oanda' ORDER BY symbol, interval, start_time"
        )
        return list(cursor.fetchall())


class Broker:
    """A broker with hours of EUR_USD, whose clock is the test's, and ours too."""

    def __init__(self, store: Store, server: OandaStandIn, *, tries: int = 1) -> None:
        self.server = server
        self.now = datetime(2021, 9, 1, 12, 30, tzinfo=UTC)
        headers = {"Authorization": f"Bearer {server.token}"}
        self.history = OandaHistory(Rest(server.url, headers=headers, tries=tries))
        self.gaps = CandleGaps("oanda", self.history, store, lambda: self.now)
        self.pass_time(timedelta(0))

    def pass_time(self, time: timedelta) -> None:
        self.now += time
        self.server.control(do="now", time=format_time(self.now))

    def recorded(self, start: datetime) -> list[tuple[str, ...]]:
        """What the store should have from `start` to now."""
        pages = self.history.candles("EUR_USD", "1h", start, self.now, STOP)
        return [(row.start_time, *row.mid, (row.bid or ("",))[0], (row.ask or ("",))[-1], row.volume) for page in pages for row in page]


@pytest.fixture
def broker(store: Store) -> Iterator[Broker]:
    with OandaStandIn(candles={("EUR_USD", "H1"): H1}) as server:
        yield Broker(store, server)


def sixty_days_before(moment: datetime) -> datetime:
    return (moment - timedelta(days=60)).replace(minute=0)


def test_candles_missed_in_an_outage_are_there_after_the_reconnection(store: Store, broker: Broker) -> None:
    bell, stop = Wakes().of("oanda"), threading.Event()
    filler = threading.Thread(target=GapFiller("oanda", broker.gaps, bell, period=600).run, args=(stop,))
    filler.start()
    start = sixty_days_before(broker.now)
    first = broker.recorded(start)
    until(lambda: len(candles(store)) == len(first), what="the candles of the start")
    broker.pass_time(timedelta(hours=7, minutes=40))  # away
    whole = broker.recorded(start)
    assert len(whole) == len(first) + 8
    bell.set()
    until(lambda: len(candles(store)) == len(whole), what="the candles of the outage")
    stop.set()
    filler.join(20)
    assert candles(store) == whole
    assert candles(store, interval="4h")
    assert candles(store, interval="1d")
    assert candle_gaps(store) == []


def test_after_every_full_hour_candles_are_fetched_and_not_otherwise(store: Store, broker: Broker) -> None:
    broker.gaps.round(True, STOP)
    before, asked = len(candles(store)), broker.server.state()["candles_requests"]
    broker.gaps.round(False, STOP)
    broker.pass_time(timedelta(minutes=30, seconds=10))  # the hour is over, but the broker may not have its candle yet
    broker.gaps.round(False, STOP)
    assert broker.server.state()["candles_requests"] == asked
    broker.pass_time(timedelta(seconds=20))
    broker.gaps.round(False, STOP)
    assert len(candles(store)) == before + 1


def test_candles_that_cannot_be_had_now_are_reported_and_come_later(store: Store, broker: Broker) -> None:
    broker.gaps.round(True, STOP)
    last = candles(store)[-1][0]
    broker.pass_time(timedelta(hours=3))
    broker.server.control(do="refuse", status=503, times=2, path="candles")
    for _ in range(2):
        with pytest.raises(SourceError, match="HTTP 503"):
            broker.gaps.round(True, STOP)
    found = {(row[0], row[1]): row[2:] for row in candle_gaps(store)}
    assert len(found) == len(candle_gaps(store)) == 119  # 20 instruments, 6 intervals; the day of EUR_USD is not over
    assert found["EUR_USD", "1h"][0] > last
    assert found["EUR_USD", "1h"][1:3] == (3, "open")
    assert "HTTP 503" in found["EUR_USD", "1h"][3]
    broker.gaps.round(False, STOP)  # due still
    assert candles(store) == broker.recorded(sixty_days_before(datetime(2021, 9, 1, 12, 30, tzinfo=UTC)))
    assert {row[4] for row in candle_gaps(store)} == {"filled"}


def test_over_a_weekend_no_candle_is_missing(store: Store, broker: Broker) -> None:
    broker.now = datetime(2021, 9, 3, 22, 30, tzinfo=UTC)
    broker.pass_time(timedelta(0))
    broker.gaps.round(True, STOP)
    known = {("EUR_USD", "1h"), ("EUR_USD", "4h"), ("EUR_USD", "1d")}  # of all others nothing is stored from before the weekend
    broker.pass_time(timedelta(hours=40))
    broker.server.control(do="refuse", status=503, path="candles")
    with pytest.raises(SourceError):
        broker.gaps.round(True, STOP)
    assert known.isdisjoint((row[0], row[1]) for row in candle_gaps(store))


def test_an_instrument_that_the_broker_refuses_does_not_hold_up_the_others(store: Store, broker: Broker) -> None:
    broker.server.control(do="refuse", status=400, times=6, path="candles")  # the first instrument, AUD_JPY
    broker.gaps.round(True, STOP)
    assert candles(store)
    assert {row[0] for row in candle_gaps(store)} == {"AUD_JPY"}
    assert {row[4] for row in candle_gaps(store)} == {"open"}


# everything together


@pytest.fixture
def empty_bus(raw_redis: redis_client.Redis) -> None:
    """What a test before left on the bus would be stored here."""


@contextmanager
def exchange_and_jobs(settings: Settings, tmp_path: Path, **options: Any) -> Iterator[tuple[BinanceStandIn, Running]]:
    with (
        BinanceStandIn(tmp_path, **options) as exchange,
        jobs(settings, tmp_path / "jobs.log", SOURCES="binance", **exchange.variables) as process,
    ):
        yield exchange, process


def drop(exchange: BinanceStandIn) -> None:
    """Cut the link off, once there is one."""
    until(lambda: exchange.state()["connections"], 60, "a connection")
    exchange.control("drop")


def play(exchange: BinanceStandIn, misfortunes: list[Callable[[], None]]) -> None:
    """Let each happen at its part of the way."""
    length = exchange.state()["length"]
    for number, misfortune in enumerate(misfortunes, 1):
        place = length * number // (len(misfortunes) + 1)
        until(lambda place=place: exchange.state()["position"] >= place, 120, f"position {place}")  # type: ignore[misc]
        misfortune()
    until(lambda: exchange.state()["ended"], 120, "the end of the market")


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("empty_bus")
def test_ten_disconnects_in_a_hundred_thousand_trades_leave_no_trace(settings: Settings, store: Store, tmp_path: Path) -> None:
    with exchange_and_jobs(settings, tmp_path, trades=100_000, speed=None) as (exchange, process):
        play(exchange, [lambda: drop(exchange)] * 10)
        assert exchange.state()["handshakes"] >= 10
        until(lambda: count(store) >= 100_000, 120, "100,000 trades")
        assert process.ask_to_stop() == 0
        assert stored(store) == exchange.expected()
    assert gaps(store, "open", "unfillable") == []


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("empty_bus")
def test_two_kills_on_the_way_leave_no_trace(settings: Settings, store: Store, tmp_path: Path) -> None:
    with exchange_and_jobs(settings, tmp_path, trades=100_000, per_second=10_000, speed=1.0) as (exchange, process):

        def kill() -> None:
            process.kill(signal.SIGKILL)
            process.start()

        play(exchange, [lambda: drop(exchange), kill, lambda: exchange.control("skip", count=50), kill, lambda: drop(exchange)])
        until(lambda: count(store) >= 100_000, 120, "100,000 trades")
        assert process.ask_to_stop() == 0
        assert stored(store) == exchange.expected()
    assert gaps(store, "open", "unfillable") == []


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("empty_bus")
def test_a_real_recording_with_every_fault_of_the_stream_is_stored_as_it_was(settings: Settings, store: Store, tmp_path: Path) -> None:
    with exchange_and_jobs(settings, tmp_path, speed=60.0) as (exchange, process):
        faults: list[dict[str, Any]] = [
            {"do": "drop"}, {"do": "skip", "count": 20}, {"do": "half", "count": 3}, {"do": "reorder", "count": 6}, {"do": "shutdown"},
            {"do": "repeat", "count": 5}, {"do": "garbage"}, {"do": "refuse", "status": 429, "count": 2, "retry_after": 1}, {"do": "drop"},
            {"do": "close"}, {"do": "vanish", "seconds": 1.0},
        ]  # fmt: skip
        play(exchange, [lambda fault=fault: exchange.control(**fault) for fault in faults])  # type: ignore[misc]
        expected = exchange.expected()
        until(lambda: count(store) >= len(expected), 120, f"{len(expected)} trades")
        assert process.ask_to_stop() == 0
        assert stored(store) == expected
    assert gaps(store, "open", "unfillable") == []
