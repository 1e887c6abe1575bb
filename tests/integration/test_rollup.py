"""The roll-up on a real PostgreSQL: its candles equal those of an independent computation."""

from __future__ import annotations

import gzip
import itertools
import random
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis as redis_client
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from config.venues import trade_venues
from db import topics
from db.bus import Bus
from db.candles import CandleRow, Update, insert_candles, latest_ends
from db.intervals import INTERVALS, candle_end, candle_start
from db.messages import Trade, trade_lines
from db.postgres import Store, StoreError
from db.prices import PriceRow, insert_prices
from db.rollup import is_mine, roll_up
from db.timestamps import format_time, parse_time
from db.trades import insert_trades
from jobs.measures.backlog import WriterBacklog
from jobs.store.rollup import MIN_MARKS_PER_TRANSACTION, PendingCandles, RollUp
from tests.conftest import until
from tests.support.databases import closed_database
from tests.support.examples import with_shared_fixtures
from tests.support.oracles import Candle, expected_candles, stored_candles
from tests.support.processes import ROOT, jobs

CALENDARS = {"EUR_USD": "fx", "USD_JPY": "fx", "BTCUSDT": "crypto", "AAPL": "equity", "UNKNOWN": ""}
LATER = datetime(2030, 1, 1, tzinfo=UTC)
GRACE = timedelta(seconds=2)


class Clock:
    """A clock that is set."""

    def __init__(self, now: datetime = LATER) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def now() -> Clock:
    return Clock()


@pytest.fixture
def rollup(store: Store, bus: Bus, now: Clock) -> RollUp:
    return RollUp(store, bus, now, grace=GRACE)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def price(time: str | datetime, mid: str, seq: int = 1, symbol: str = "EUR_USD", **other: Any) -> PriceRow:
    moment = time if isinstance(time, datetime) else utc(time)
    half = Decimal("0.00010")
    values = {"volume": None, "source": "oanda", "epoch": "e1", **other}
    bid, ask = str(Decimal(mid) - half), str(Decimal(mid) + half)
    return PriceRow(
        symbol, format_time(moment), format_time(moment), bid, ask, mid, values["volume"], values["source"], values["epoch"], seq, seq
    )


def trade(time: str | datetime, trade_id: int, amount: str, quantity: str = "1", symbol: str = "BTCUSDT") -> Trade:
    moment = time if isinstance(time, datetime) else utc(time)
    return Trade(symbol, trade_id, format_time(moment), amount, quantity, "buy")


def candle(interval: str, start: str, value: str, source: str = "oanda", symbol: str = "EUR_USD", **other: Any) -> CandleRow:
    """A complete candle of one price, at which bid and ask stood too."""
    begin = utc(start)
    flat = (value, value, value, value)
    row = CandleRow(
        symbol,
        interval,
        format_time(begin),
        format_time(candle_end(CALENDARS[symbol], interval, begin)),
        flat,
        flat,
        flat,
        "7",
        None,
        True,
        source,
    )
    return replace(row, **other)


def put(store: Store, *rows: PriceRow | Trade | CandleRow) -> None:
    """Store these as the writer, or whoever brings candles, would: one transaction."""
    with store.transaction() as cursor:
        if prices := [row for row in rows if isinstance(row, PriceRow)]:
            insert_prices(cursor, prices, trade_venues())
        if trades := [row for row in rows if isinstance(row, Trade)]:
            insert_trades(cursor, trade_lines(trades))
        if candles := [row for row in rows if isinstance(row, CandleRow)]:
            insert_candles(cursor, candles)


def marks(store: Store) -> int:
    with store.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM candle_marks")
        return int(cursor.fetchall()[0][0])


def once(rollup: RollUp) -> int:
    return rollup.run_once(threading.Event())


def one(store: Store, interval: str, start: str, symbol: str = "EUR_USD") -> Candle:
    return stored_candles(store)[symbol, interval, utc(start)]


def flat(value: str) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    return (Decimal(value),) * 4


def messages(raw_redis: redis_client.Redis) -> list[Any]:
    """Every body published on `candle_updates`, oldest first."""
    entries: Any = raw_redis.xrange(topics.stream_key(topics.CANDLES))
    return [orjson.loads(fields[b"body"]) for _, fields in entries]


# equal to an independent computation


def recorded_ticks() -> list[PriceRow]:
    """A real day of EUR_USD."""
    with gzip.open(ROOT / "data/recordings/EUR_USD_20140505.csv.gz", "rt") as lines:
        fields = [line.strip().split(",") for line in lines][1:]
    middle = [(Decimal(bid) + Decimal(ask)) / 2 for _, bid, ask in fields]
    return [
        PriceRow("EUR_USD", time, time, bid, ask, str(mid), None, "replay", "e1", number, number)
        for number, ((time, bid, ask), mid) in enumerate(zip(fields, middle, strict=True), start=1)
    ]


def recorded_trades() -> list[Trade]:
    """A few real minutes of BTCUSDT, over midnight."""
    found = []
    with gzip.open(ROOT / "data/recordings/btcusdt_20240808.gz", "rt") as lines:
        for line in lines:
            if "@trade" in line:
                data = orjson.loads(line.partition(" ")[2])["data"]
                time = format_time(datetime.fromtimestamp(data["T"] / 1000, UTC))
                found.append(Trade(data["s"], data["t"], time, data["p"], data["q"], "sell" if data["m"] else "buy"))
    return found


def test_recorded_ticks_and_trades_become_the_same_candles(store: Store, rollup: RollUp) -> None:
    ticks, trades = recorded_ticks(), recorded_trades()
    put(store, *ticks, *trades)
    once(rollup)
    found = stored_candles(store)
    assert found == expected_candles(ticks, trades, CALENDARS, LATER)
    assert len([key for key in found if key[:2] == ("EUR_USD", "1m")]) > 1000
    assert sum(each.trades or 0 for key, each in found.items() if key[:2] == ("BTCUSDT", "1m")) == len(trades)
    assert marks(store) == 0


def test_recorded_ticks_in_shuffled_batches_with_roll_ups_between(store: Store, rollup: RollUp) -> None:
    ticks = recorded_ticks()[:6000]
    shuffled = random.Random(4).sample(ticks, len(ticks))
    for start in range(0, len(shuffled), 500):
        put(store, *shuffled[start : start + 500])
        once(rollup)
    assert stored_candles(store) == expected_candles(ticks, [], CALENDARS, LATER)


# two days around the change of New York's clocks, so that a day has 25 hours
_BEGIN = datetime(2025, 11, 1, 20, tzinfo=UTC)
_TIMES = st.one_of(
    st.integers(0, 12 * 60).map(lambda seconds: _BEGIN + timedelta(hours=9, seconds=seconds)),  # many in the same minutes
    st.integers(0, 50 * 3600 * 1000).map(lambda ms: _BEGIN + timedelta(milliseconds=ms)),
)
_AMOUNTS = st.integers(90_000, 110_000).map(lambda number: str(Decimal(number) / 100_000))
_VOLUMES = st.one_of(st.none(), st.integers(1, 99).map(str))


@st.composite
def _rows(draw: st.DrawFn) -> list[PriceRow | Trade]:
    rows: list[PriceRow | Trade] = []
    for number in range(draw(st.integers(1, 40))):
        time, amount = draw(_TIMES), draw(_AMOUNTS)
        what = draw(st.sampled_from(["EUR_USD", "AAPL", "BTCUSDT", "UNKNOWN", "quote", "trade", "trade"]))
        if what == "trade":
            rows.append(trade(time, number, amount, draw(st.sampled_from(["0.5", "2", "0.00010000"]))))
        else:
            symbol, source = ("BTCUSDT", "binance") if what == "quote" else (what, "replay")
            epoch = draw(st.sampled_from(["e1", "e2"]))
            rows.append(price(time, amount, number, symbol, source=source, volume=draw(_VOLUMES), epoch=epoch))
    return rows


@with_shared_fixtures(max_examples=20)
@given(rows=_rows(), data=st.data())
def test_candles_are_independent_of_order_and_batches(store: Store, rows: list[PriceRow | Trade], data: st.DataObject) -> None:
    with store.transaction() as cursor:
        cursor.execute("TRUNCATE prices, raw_trades, candles, candle_marks")
    left = data.draw(st.permutations(rows))
    while left:
        size = data.draw(st.integers(1, len(left)))
        put(store, *left[:size])
        left = left[size - data.draw(st.integers(0, min(2, size - 1))) :]  # some come again
        for _ in range(data.draw(st.integers(0, 2))):
            roll(store, data.draw(st.integers(1, 30)))
    while roll(store, 1000):
        pass
    prices = [row for row in rows if isinstance(row, PriceRow)]
    assert stored_candles(store) == expected_candles(prices, [row for row in rows if isinstance(row, Trade)], CALENDARS, LATER)


def roll(store: Store, most: int) -> int:
    with store.transaction() as cursor:
        return roll_up(cursor, most, LATER, trade_venues()).marks


def test_sql_and_python_agree_on_candle_bounds(store: Store) -> None:
    numbers = random.Random(7)
    moments = [datetime(1970, 1, 2, tzinfo=UTC) + timedelta(seconds=numbers.random() * 229 * 365 * 86_400) for _ in range(2000)]
    for year in range(1970, 2200, 10):  # every half hour of the weeks in which New York sets its clocks
        for month, day in ((3, 8), (4, 24), (10, 25), (11, 1)):
            moments += [datetime(year, month, day, tzinfo=UTC) + timedelta(minutes=30 * step) for step in range(48 * 7)]
    query = (
        "SELECT m, candle_start(%(kind)s, %(interval)s, m), candle_end(%(kind)s, %(interval)s, candle_start(%(kind)s, %(interval)s, m))"
        " FROM unnest(%(moments)s::timestamptz[]) AS m"
    )
    end_of = cache(candle_end)  # of the many moments of a candle
    with store.transaction() as cursor:
        # Only the kind "fx" follows the clocks of New York. The others have every fifth moment: a
        # week has 336 half hours, so that each one occurs in one of five weeks.
        for kind, chosen in (("fx", moments), ("crypto", moments[::5]), ("", moments[::5])):
            for interval in INTERVALS:
                cursor.execute(query, {"kind": kind, "interval": interval, "moments": chosen})
                for moment, start, end in cursor.fetchall():
                    assert start == candle_start(kind, interval, moment)
                    assert end == end_of(kind, interval, start)
                    assert start <= moment < end


# what is in a candle


def test_minutes_without_rows_have_no_candle(store: Store, rollup: RollUp) -> None:
    put(store, price("2025-01-15T10:00:01", "1.1"), price("2025-01-15T10:20:01", "1.2", 2), price("2025-01-16T10:00:00", "1.3", 3))
    once(rollup)
    found = sorted((key[1], key[2]) for key in stored_candles(store))
    fives = [utc("2025-01-15T10:00"), utc("2025-01-15T10:20"), utc("2025-01-16T10:00")]
    assert [start for interval, start in found if interval == "5m"] == fives
    assert [start for interval, start in found if interval == "1h"] == [utc("2025-01-15T10:00"), utc("2025-01-16T10:00")]


def test_rows_of_equal_time_are_ordered_by_number(store: Store, rollup: RollUp) -> None:
    time = "2025-01-15T10:00:01"
    ticks = [price(time, "1.1", 1), price(time, "1.4", 9), price(time, "1.2", 1, epoch="e2"), price(time, "1.3", 2, epoch="e2")]
    trades = [trade(time, 7, "60000"), trade(time, 9, "60001"), trade(time, 8, "60002")]
    put(store, *reversed(ticks), *trades)
    once(rollup)
    assert one(store, "1m", "2025-01-15T10:00").mid == tuple(map(Decimal, ("1.1", "1.4", "1.1", "1.3")))
    assert one(store, "1m", "2025-01-15T10:00", "BTCUSDT").mid == tuple(map(Decimal, ("60000", "60002", "60000", "60001")))


def test_only_fx_candles_have_bid_and_ask(store: Store, rollup: RollUp) -> None:
    put(store, price("2025-01-15T10:00", "1.1"), price("2025-01-15T10:00", "180", 1, "AAPL"))
    once(rollup)
    euro, apple = one(store, "1d", "2025-01-14T22:00"), one(store, "1d", "2025-01-15T00:00", "AAPL")
    assert (euro.bid, euro.ask) == (flat("1.0999"), flat("1.1001"))
    assert (apple.mid, apple.bid, apple.ask) == (flat("180"), None, None)


def test_quotes_of_a_venue_with_trades_make_no_candle(store: Store, rollup: RollUp) -> None:
    put(store, price("2025-01-15T10:00:01", "60000", 1, "BTCUSDT", source="binance"))
    once(rollup)
    assert stored_candles(store) == {}
    put(store, trade("2025-01-15T10:00:02", 5, "60001.5", "0.25"))
    once(rollup)
    found = one(store, "1m", "2025-01-15T10:00", "BTCUSDT")
    assert (found.mid, found.volume, found.trades, found.source) == (flat("60001.5"), Decimal("0.25"), 1, "trades")


def test_prices_of_a_trade_venue_mark_no_minute_and_make_no_candle(store: Store) -> None:
    quote = price("2025-01-15T10:00:01", "60000", 1, "BTCUSDT", source="exchange")
    with store.transaction() as cursor:
        insert_prices(cursor, [quote], ["exchange"])
    assert marks(store) == 0
    with store.transaction() as cursor:
        insert_prices(cursor, [replace(quote, seq=2, occurrence=2), replace(quote, seq=3, occurrence=3, source="synthetic")], ["exchange"])
    assert marks(store) == 1
    with store.transaction() as cursor:
        roll_up(cursor, 1000, LATER, ["exchange"])
    assert one(store, "1m", "2025-01-15T10:00", "BTCUSDT").trades == 1  # the synthetic quote
    with store.transaction() as cursor:
        insert_prices(cursor, [replace(quote, seq=4, occurrence=4)])
        roll_up(cursor, 1000, LATER, [])
    assert one(store, "1m", "2025-01-15T10:00", "BTCUSDT").trades == 4


def test_late_rows_correct_everything_above(store: Store, rollup: RollUp) -> None:
    put(store, price("2025-01-15T10:00:30", "1.1", 1), price("2025-01-15T10:00:40", "1.2", 2))
    once(rollup)
    put(store, price("2025-01-15T09:58:00", "0.9", 3), price("2025-01-15T10:00:30", "1.05", 0))
    once(rollup)
    assert one(store, "1m", "2025-01-15T10:00").mid == tuple(map(Decimal, ("1.05", "1.2", "1.05", "1.2")))
    assert one(store, "1d", "2025-01-14T22:00").mid == tuple(map(Decimal, ("0.9", "1.2", "0.9", "1.2")))
    assert one(store, "1d", "2025-01-14T22:00").trades == 4


def test_candles_of_a_new_month_get_their_partition(store: Store, rollup: RollUp) -> None:
    """The FX day that holds the first minute of March begins in February."""
    put(store, price("2025-03-01T00:00", "1.1"))
    once(rollup)
    assert {key[1]: format_time(key[2])[:16] for key in stored_candles(store)} == {
        "1m": "2025-03-01T00:00", "5m": "2025-03-01T00:00", "15m": "2025-03-01T00:00",
        "1h": "2025-03-01T00:00", "4h": "2025-02-28T22:00", "1d": "2025-02-28T22:00",
    }  # fmt: skip


def test_rows_dropped_by_retention_keep_their_candles(store: Store, rollup: RollUp) -> None:
    put(store, *(price(f"2025-01-15T10:00:{second}", "1.1", second) for second in range(10, 20)))
    once(rollup)
    before = stored_candles(store)
    with store.transaction() as cursor:
        cursor.execute("DROP TABLE prices_2025_01")
    put(store, price("2025-01-15T10:00:05", "9.9", 99))
    once(rollup)
    assert stored_candles(store) == before


# whose candle wins


@pytest.mark.parametrize("feed_first", [True, False])
def test_candle_of_a_source_replaces_ours_in_either_order(store: Store, rollup: RollUp, feed_first: bool) -> None:
    theirs, ours = candle("1m", "2025-01-15T10:00", "1.5"), price("2025-01-15T10:00:10", "1.1")
    for row in (theirs, ours) if feed_first else (ours, theirs):
        put(store, row)
        once(rollup)
    put(store, price("2025-01-15T10:00:20", "1.2", 2))  # and again when ours is built anew
    once(rollup)
    found = one(store, "1m", "2025-01-15T10:00")
    assert (found.mid, found.volume, found.source) == (flat("1.5"), Decimal(7), "oanda")


@pytest.mark.parametrize("source", ["oanda", "synthetic"])
def test_longer_candles_are_built_from_all_shorter_ones(store: Store, rollup: RollUp, source: str) -> None:
    """They have the common source of their parts, and the source ticks if there is none."""
    put(store, candle("1h", "2025-01-15T10:00", "1.5", source), candle("1h", "2025-01-15T12:00", "1.7", source))
    once(rollup)
    assert {key[1] for key in stored_candles(store)} == {"1h", "4h", "1d"}
    four = one(store, "4h", "2025-01-15T10:00")
    assert four.mid == four.bid == tuple(map(Decimal, ("1.5", "1.7", "1.5", "1.7")))
    assert (four.volume, four.trades, four.source) == (Decimal(14), None, source)

    put(store, price("2025-01-15T13:30", "1.1"))
    once(rollup)
    four = one(store, "4h", "2025-01-15T10:00")
    assert four.mid == tuple(map(Decimal, ("1.5", "1.7", "1.1", "1.1")))
    assert (four.volume, four.source) == (Decimal(15), "ticks")
    assert one(store, "1d", "2025-01-14T22:00").mid == four.mid


def test_day_of_a_source_is_not_replaced_by_one_built_from_hours(store: Store, rollup: RollUp) -> None:
    put(store, candle("1d", "2025-01-14T22:00", "1.9"), candle("1h", "2025-01-15T10:00", "1.5"))
    once(rollup)
    assert (one(store, "1d", "2025-01-14T22:00").mid, one(store, "1d", "2025-01-14T22:00").source) == (flat("1.9"), "oanda")
    assert one(store, "4h", "2025-01-15T10:00").mid == flat("1.5")
    with store.transaction() as cursor:
        assert latest_ends(cursor, "oanda", "4h") == {}  # ours is not taken for theirs
        assert latest_ends(cursor, "oanda", "1h") == {"EUR_USD": "2025-01-15T11:00:00.000000Z"}


def test_candle_without_bid_and_ask_leaves_longer_ones_without(store: Store, rollup: RollUp) -> None:
    put(store, candle("1h", "2025-01-15T10:00", "1.5", bid=None, ask=None), candle("1h", "2025-01-15T11:00", "1.6"))
    once(rollup)
    four = one(store, "4h", "2025-01-15T10:00")
    assert (four.bid, four.ask) == (None, None)
    assert four.mid == tuple(map(Decimal, ("1.5", "1.6", "1.5", "1.6")))


def test_last_of_repeated_candles_is_stored(store: Store) -> None:
    with store.transaction() as cursor:
        assert insert_candles(cursor, [candle("1h", "2025-01-15T10:00", "1.5"), candle("1h", "2025-01-15T10:00", "1.6")]).new == 1
        assert insert_candles(cursor, [candle("1h", "2025-01-15T10:00", "1.6")]).new == 0
    assert one(store, "1h", "2025-01-15T10:00").mid == flat("1.6")


# forming and complete


def test_candle_forms_until_grace_after_its_end(store: Store, rollup: RollUp, now: Clock) -> None:
    now.now = utc("2025-01-15T10:00:30")
    put(store, price("2025-01-15T10:00:10", "1.1"))
    once(rollup)
    assert {each.complete for each in stored_candles(store).values()} == {False}
    for moment, complete in [("10:01:01.9", False), ("10:01:02", True), ("10:01:03", True)]:
        now.now = utc(f"2025-01-15T{moment}")
        once(rollup)
        assert one(store, "1m", "2025-01-15T10:00").complete is complete
        assert one(store, "5m", "2025-01-15T10:00").complete is False
    now.now = utc("2025-01-15T22:00:02")
    once(rollup)
    assert {each.complete for each in stored_candles(store).values()} == {True}


def test_candles_that_ended_during_a_pause_are_completed_at_the_start(store: Store, bus: Bus) -> None:
    put(store, price("2025-01-15T10:00:10", "1.1"), candle("1m", "2025-01-15T10:05", "1.5", complete=False))
    once(RollUp(store, bus, Clock(utc("2025-01-15T10:00:30"))))
    once(RollUp(store, bus, Clock(utc("2025-01-17T10:00:30"))))
    found = stored_candles(store)
    unfinished = found.pop(("EUR_USD", "1m", utc("2025-01-15T10:05")))
    assert not unfinished.complete  # its feed alone knows when
    assert {each.complete for each in found.values()} == {True}


# publishing


def test_changed_and_completed_candles_are_published(store: Store, rollup: RollUp, now: Clock, raw_redis: redis_client.Redis) -> None:
    now.now = utc("2025-01-15T10:00:30")
    put(store, trade("2025-01-15T10:00:10", 1, "60000.10", "0.5"), trade("2025-01-15T10:00:20", 2, "60000.00", "0.25"))
    once(rollup)
    once(rollup)  # nothing new, nothing told
    first = messages(raw_redis)
    assert {body["interval"] for body in first} == set(INTERVALS)
    assert len(first) == 6
    minute = next(body for body in first if body["interval"] == "1m")
    assert minute["instrument"] == "BTCUSDT"
    assert minute["candle"] == {
        "start_time": "2025-01-15T10:00:00.000000Z", "end_time": "2025-01-15T10:01:00.000000Z",
        "open": "60000.10", "high": "60000.10", "low": "60000.00", "close": "60000.00", "volume": "0.75", "trades": 2, "complete": False,
    }  # fmt: skip
    now.now = utc("2025-01-15T10:01:02")
    once(rollup)
    (told,) = messages(raw_redis)[6:]
    assert (told["interval"], told["candle"]) == ("1m", {**minute["candle"], "complete": True})
    assert told["seq"] == minute["seq"] + 1


def test_load_of_history_is_a_few_messages(store: Store, rollup: RollUp, raw_redis: redis_client.Redis) -> None:
    ticks = recorded_ticks()
    put(store, *ticks)
    assert once(rollup) > 1000  # in more than one transaction
    told: dict[str, list[str]] = {}
    for body in messages(raw_redis):
        told.setdefault(body["interval"], []).append(body["candle"]["start_time"])
    newest = {
        interval: sorted(format_time(start) for _, name, start in stored_candles(store) if name == interval)[-2:] for interval in INTERVALS
    }
    assert {interval: sorted(set(starts)) for interval, starts in told.items()} == newest
    assert all(len(starts) <= 4 for starts in told.values())


def test_candles_refused_by_the_bus_are_published_later(store: Store, rollup: RollUp, now: Clock, raw_redis: redis_client.Redis) -> None:
    key = topics.stream_key(topics.CANDLES)
    raw_redis.set(key, "no stream")  # every publish on the channel fails
    for second in range(10, 15):
        now.now = utc(f"2025-01-15T10:00:{second + 1}")
        put(store, price(f"2025-01-15T10:00:{second}", f"1.{second}", second))
        once(rollup)
    assert one(store, "1m", "2025-01-15T10:00").trades == 5  # the store does not wait
    raw_redis.delete(key)
    once(rollup)
    told = messages(raw_redis)
    assert sorted(body["interval"] for body in told) == sorted(INTERVALS)
    assert {body["candle"]["close"] for body in told} == {"1.14"}


@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(["1m", "1h"]), st.integers(0, 6)), max_size=40), st.data())
def test_pending_candles_are_the_newest_in_their_last_state(changes: list[tuple[str, str, int]], data: st.DataObject) -> None:
    news, told, last = PendingCandles(), list[Update](), dict[tuple[str, str, str], int]()
    for number, (instrument, interval, start) in enumerate(changes):
        last[instrument, interval, str(start)] = number
        news.add([(instrument, interval, {"start_time": str(start), "close": number})], "9")
        if data.draw(st.booleans()):
            told += news.pending()
            news.clear()
    told += news.pending()
    latest = {(each[0], each[1], each[2]["start_time"]): each[2]["close"] for each in told}
    for topic in {change[:2] for change in changes}:
        newest = sorted({str(start) for instrument, interval, start in changes if (instrument, interval) == topic})[-2:]
        for start_time in newest:
            assert latest[*topic, start_time] == last[*topic, start_time]
    assert len({(each[0], each[1], each[2]["close"]) for each in told}) == len(told)  # nothing twice


# candles that begin after now


def test_candle_that_begins_after_now_is_published_when_it_begins(
    store: Store, rollup: RollUp, now: Clock, raw_redis: redis_client.Redis
) -> None:
    """The times of live prices may be ahead of the clock."""

    def told(interval: str) -> list[tuple[str, str]]:
        return [
            (body["candle"]["start_time"][14:16], body["candle"]["close"]) for body in messages(raw_redis) if body["interval"] == interval
        ]

    now.now = utc("2025-01-15T10:00:30")
    put(store, price("2025-01-15T10:00:29", "1.1", 1))
    put(store, *(price(f"2025-01-15T10:0{minute}:00", f"1.{minute + 1}", minute + 1) for minute in range(1, 5)))
    once(rollup)
    assert told("1m") == [("00", "1.1")]
    assert {body["interval"] for body in messages(raw_redis)} == set(INTERVALS)
    now.now = utc("2025-01-15T10:03:00")
    once(rollup)
    assert [each for each in told("1m") if each[0] > "02"] == [("03", "1.4")]
    now.now = utc("2025-01-15T10:04:00")
    once(rollup)
    once(rollup)
    assert [each for each in told("1m") if each[0] == "04"] == [("04", "1.5")]


def test_candles_completed_by_a_clock_that_was_ahead_are_open_again(store: Store, rollup: RollUp, now: Clock) -> None:
    now.now = utc("2025-01-15T10:00:30")
    put(store, price("2025-01-15T10:00:29", "1.1", 1), candle("1h", "2025-01-15T10:00", "1.5", symbol="USD_JPY"))
    once(rollup)
    now.now += timedelta(days=3)
    once(rollup)
    assert {row.complete for row in stored_candles(store).values()} == {True}
    now.now -= timedelta(days=3)
    once(rollup)
    put(store, price("2025-01-15T10:00:31", "1.3", 2))
    once(rollup)
    found = {key: row for key, row in stored_candles(store).items() if key[0] == "EUR_USD"}
    assert {(row.mid and row.mid[3], row.trades, row.complete) for row in found.values()} == {(Decimal("1.3"), 2, False)}
    assert stored_candles(store)["USD_JPY", "1h", utc("2025-01-15T10:00")].complete  # the broker's own
    now.now += timedelta(days=3)
    once(rollup)
    assert {row.complete for row in stored_candles(store).values()} == {True}


# faults


def test_uncommitted_roll_up_leaves_no_trace(store: Store, rollup: RollUp) -> None:
    ticks = recorded_ticks()[:2000]
    put(store, *ticks)
    before = marks(store)
    with pytest.raises(StoreError):
        roll_up_and_die(store)
    assert (marks(store), stored_candles(store)) == (before, {})
    once(rollup)
    assert (marks(store), stored_candles(store)) == (0, expected_candles(ticks, [], CALENDARS, LATER))


def roll_up_and_die(store: Store) -> None:
    """PostgreSQL loses the session when all is done but the commit."""
    with store.transaction() as cursor:
        assert is_mine(cursor)
        assert roll_up(cursor, 1000, LATER, trade_venues()).updates
        cursor.execute("SELECT pg_backend_pid()")
        ((pid,),) = cursor.fetchall()
        with store.transaction() as other:
            other.execute("SELECT pg_terminate_backend(%s, 20000)", (pid,))
            assert other.fetchone() == (True,)


def test_second_concurrent_roll_up_does_nothing(store: Store, rollup: RollUp) -> None:
    put(store, price("2025-01-15T10:00:10", "1.1"))
    with store.transaction() as cursor:
        assert is_mine(cursor)
        assert once(rollup) == 0
        assert (marks(store), stored_candles(store)) == (1, {})
    assert once(rollup) == 1
    assert len(stored_candles(store)) == 6


def test_writer_and_two_concurrent_roll_ups_lose_nothing(store: Store, bus: Bus) -> None:
    ticks, trades = recorded_ticks()[:5000], recorded_trades()
    rows: list[PriceRow | Trade] = random.Random(5).sample([*ticks, *trades], len(ticks) + len(trades))
    done = threading.Event()

    def write() -> None:
        for start in range(0, len(rows), 250):
            put(store, *rows[start : start + 250])
        done.set()

    stop = threading.Event()
    rollups = [threading.Thread(target=RollUp(store, bus, Clock(), pause=0.01).run, args=(stop,)) for _ in range(2)]
    for thread in [*rollups, threading.Thread(target=write)]:
        thread.start()
    until(done.is_set, 60, "the writer's end")
    until(lambda: marks(store) == 0, 60, "no mark")
    stop.set()
    for thread in rollups:
        thread.join(60)
        assert not thread.is_alive()
    assert stored_candles(store) == expected_candles(ticks, trades, CALENDARS, LATER)


def test_roll_up_waits_for_an_unavailable_store(store: Store, bus: Bus, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=RollUp(store, bus, Clock(), pause=0.01).run, args=(stop,))
    thread.start()
    with closed_database(database_url):
        until(lambda: "waits for the store" in caplog.text, what="a word of it")
    put(store, price("2025-01-15T10:00:10", "1.1"))
    until(lambda: len(stored_candles(store)) == 6, what="the candles")
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("behind", [True, False])
def test_run_ends_under_a_writer_that_is_behind_and_takes_all_earlier_marks(
    store: Store, bus: Bus, behind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer stores a price after each of the first transactions."""
    day = datetime(2025, 1, 15, tzinfo=UTC)
    put(store, *(price(day + timedelta(minutes=minute), "1.1", minute) for minute in range(1200)))
    backlog = WriterBacklog()
    backlog.note("a writer", behind)
    rollup = RollUp(store, bus, Clock(), backlog=backlog, monotonic=lambda: 0.0)
    step, steps = rollup._step, itertools.count(1)

    def step_and_write(most: int) -> Any:
        done = step(most)
        if (number := next(steps)) <= 5:
            put(store, price(day + timedelta(minutes=1200), "1.2", 2000 + number))
        return done

    monkeypatch.setattr(rollup, "_step", step_and_write)
    once(rollup)
    starts = {start for _, interval, start in stored_candles(store) if interval == "1m"}
    assert {day + timedelta(minutes=minute) for minute in range(1200)} <= starts
    # Two transactions take the 1200 marks. Without a backlog, the run takes the later ones, too.
    assert (next(steps) - 1, marks(store)) == ((2, 1) if behind else (7, 0))


def test_transaction_size_follows_its_duration(store: Store, bus: Bus) -> None:
    put(store, *(price(datetime(2025, 1, 15, tzinfo=UTC) + timedelta(minutes=minute), "1.1", minute) for minute in range(2500)))
    quick = RollUp(store, bus, Clock(), monotonic=lambda: 0.0)
    once(quick)
    assert quick._most == 2000  # 1000 of 1000 were quick; 1500 of 2000 do not say what more would take
    seconds = itertools.count(step=2.0)
    slow = RollUp(store, bus, Clock(), monotonic=lambda: next(seconds))
    for _ in range(10):
        once(slow)
    assert slow._most == MIN_MARKS_PER_TRANSACTION


def test_statement_timeout_reduces_the_transaction_size(database_url: str, store: Store, bus: Bus) -> None:
    put(store, price("2025-01-15T10:00:10", "1.1"), candle("1m", "2025-01-15T10:00", "1.5"))
    hasty = Store(database_url, timeout_ms=500)
    rollup = RollUp(hasty, bus, Clock())
    size = rollup._most
    with store.transaction() as cursor:
        cursor.execute("SELECT FROM candles FOR UPDATE")  # somebody is at the candle, and stays there
        with pytest.raises(StoreError):
            once(rollup)
    assert MIN_MARKS_PER_TRANSACTION <= rollup._most < size
    assert once(rollup) == 1
    hasty.close()
    assert len(stored_candles(store)) == 6


# the names that readers use


def test_views_of_minutes_contain_the_minutes(store: Store, rollup: RollUp) -> None:
    """Plain PostgreSQL's; TimescaleDB's have the same columns."""
    put(store, *recorded_ticks()[:3000], *recorded_trades())
    once(rollup)
    compare = {
        "price_minutes": "SELECT instrument, minute, open, high, low, close, ticks FROM price_minutes",
        "trade_minutes": "SELECT symbol, minute, open, high, low, close, volume, trades FROM trade_minutes",
    }
    for view, columns in (("price_minutes", "trades"), ("trade_minutes", "volume, trades")):
        with store.transaction() as cursor:
            cursor.execute(
                f"SELECT symbol, start_time, open, high, low, close, {columns} FROM candles WHERE interval = '1m' AND source = %s",  # noqa: S608
                ("ticks" if view == "price_minutes" else "trades",),
            )
            minutes = set(cursor.fetchall())
            cursor.execute(compare[view])
            assert numbers(cursor.fetchall()) == numbers(minutes)
            assert minutes


def numbers(rows: Iterable[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    return {tuple(Decimal(value) if isinstance(value, str) and value[0].isdigit() else value for value in row) for row in rows}


def test_jobs_process_builds_candles(settings: Settings, store: Store, bus: Bus, tmp_path: Path) -> None:
    recording = ROOT / "data/recordings/EUR_USD_20140505.csv.gz"
    with closing(bus.subscribe((topics.CANDLES,))) as heard, jobs(settings, tmp_path / "jobs.log", SOURCES=f"replay:{recording}@max"):
        until(lambda: heard.read(0.1), 60, "a candle on the channel")
        until(lambda: sum(each.trades or 0 for key, each in stored_candles(store).items() if key[1] == "1d") == 25_177, 60, "the whole day")
    assert {key[1] for key in stored_candles(store)} == set(INTERVALS)
    assert parse_time("2014-05-04T21:00:00Z") in {key[2] for key in stored_candles(store) if key[1] == "1d"}
