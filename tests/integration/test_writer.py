"""The writer between the real bus and the real store: everything once, whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
import redis as redis_client

from db import topics
from db.admission import NotAdmitted
from db.admitted import UsualBatch
from db.bus import Bus, BusFull, BusSetup
from db.messages import Tick, Trade, TradeLines, trade_lines
from db.postgres import Store
from db.prices import CLOSING, CLOSING_OCCURRENCE
from db.timestamps import utc_now
from jobs.feeds.binance.messages import read_usual
from jobs.store.queues import PriceQueue, TradeQueue
from jobs.store.writer import BatchRule, Writer
from tests.conftest import Servers, until


def tick(number: int, time: str = "2025-11-18T12:30:00.000000Z") -> Tick:
    return Tick("EUR_USD", f"1.{number:06}", "2.50", "2.000", time, "test\tsource", None if number % 2 else "17")


def rows(store: Store) -> list[tuple[int, str]]:
    with store.transaction() as cursor:
        cursor.execute("SELECT seq, bid FROM prices ORDER BY epoch, seq")
        return list(cursor.fetchall())


def write_all(bus: Bus, store: Store, rule: BatchRule | None = None) -> None:
    """Run the writer in its thread until the bus holds nothing unstored, then stop it."""
    stop = threading.Event()
    thread = threading.Thread(target=Writer(bus, store, rule or BatchRule(100, 50), PriceQueue(bus)).run, args=(stop,))
    thread.start()
    until(lambda: bus.unstored() == 0, what="an empty backlog")
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_rows_keep_every_digit_and_field(bus: Bus, store: Store) -> None:
    stamps = bus.publish_prices([tick(1), tick(2, "2014-05-05T00:00:23.668000Z")])
    write_all(bus, store)
    with store.transaction() as cursor:
        cursor.execute(
            "SELECT instrument, bid, ask, mid, volume, source, epoch, seq, time::text,"
            " received > now() - interval '1 hour' FROM prices ORDER BY seq"
        )
        first, second = cursor.fetchall()
    assert first == ("EUR_USD", "1.000001", "2.50", "2.000", None, "test\tsource", stamps[0].epoch, 1, "2025-11-18 12:30:00+00", True)
    assert (second[4], second[8]) == ("17", "2014-05-05 00:00:23.668+00")
    assert Decimal(second[1]) == Decimal("1.000002")


def test_occurrences_and_the_last_position_are_stored(bus: Bus, store: Store) -> None:
    quotes = [tick(1), replace(tick(1), occurrence=2), tick(1), replace(tick(1), source=CLOSING, occurrence=CLOSING_OCCURRENCE)]
    bus.publish_prices(quotes)
    write_all(bus, store)
    bus.publish_prices([replace(tick(1), occurrence=2)])  # published again
    write_all(bus, store)
    with store.transaction() as cursor:
        cursor.execute("SELECT occurrence, seq, source FROM prices ORDER BY 1")
        assert cursor.fetchall() == [(0, 4, CLOSING), (1, 3, "test\tsource"), (2, 5, "test\tsource")]


def test_ten_thousand_prices_in_many_batches_are_stored_once(bus: Bus, store: Store) -> None:
    for start in range(0, 10_000, 1000):
        bus.publish_prices([tick(number) for number in range(start, start + 1000)])
    write_all(bus, store)
    assert [seq for seq, _ in rows(store)] == list(range(1, 10_001))


def test_batch_exceeds_its_size_if_more_entries_are_available(bus: Bus, store: Store) -> None:
    bus.publish_prices([tick(number) for number in range(3000)])
    bus.open_group(topics.PRICES)
    entries = Writer(bus, store, BatchRule(size=100, wait_ms=1000), PriceQueue(bus))._gather(threading.Event())
    assert len(entries) == 3000


def test_small_batch_is_written_after_its_waiting_time(bus: Bus, store: Store) -> None:
    bus.publish_prices([tick(1)])
    write_all(bus, store, BatchRule(size=1_000_000, wait_ms=100))
    assert len(rows(store)) == 1


@pytest.mark.slow
def test_slow_store_receives_smaller_batches(bus: Bus, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row takes 5 ms and a statement at most 0.5 s, so 100 rows never fit into one statement."""
    monkeypatch.setattr(PriceQueue, "most", 400)
    store = Store(database_url, timeout_ms=500)
    with store.transaction() as cursor:
        cursor.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN PERFORM pg_sleep(0.005 * count(*)) FROM added; RETURN NULL; END$$;"
            "CREATE TRIGGER dawdle AFTER INSERT ON prices REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION dawdle()"
        )
    bus.publish_prices([tick(number) for number in range(400)])
    write_all(bus, store)
    assert [seq for seq, _ in rows(store)] == list(range(1, 401))
    store.close()


def test_unacknowledged_committed_batch_is_not_doubled(bus: Bus, store: Store) -> None:
    bus.publish_prices([tick(number) for number in range(50)])
    bus.open_group(topics.PRICES)
    entries = bus.read_unstored(topics.PRICES, 100, 0)
    dying = Writer(bus, store, BatchRule(), PriceQueue(bus))
    acknowledge, bus.acknowledge = bus.acknowledge, lambda *_: 0  # type: ignore[method-assign]
    dying.write_batch(entries)  # commits; killed before it can say so
    bus.acknowledge = acknowledge  # type: ignore[method-assign]
    assert (len(rows(store)), bus.unstored()) == (50, 50)
    write_all(bus, store)
    assert [seq for seq, _ in rows(store)] == list(range(1, 51))


def test_unwritten_batch_is_taken_over(bus: Bus, store: Store) -> None:
    bus.publish_prices([tick(number) for number in range(50)])
    bus.open_group(topics.PRICES)
    assert len(bus.read_unstored(topics.PRICES, 30, 0)) == 30  # by a writer that died here
    write_all(bus, store)
    assert len(rows(store)) == 50


def test_invalid_entry_does_not_block_the_others(bus: Bus, store: Store, raw_redis: redis_client.Redis) -> None:
    bus.publish_prices([tick(1)])
    fields: dict[Any, Any] = {"topic": "EUR_USD", "seq": "2", "epoch": "x", "source": "s", "volume": ""}
    bad = [
        b"{}",
        b"not json",
        b'{"instrument":"EUR_USD","price":{"bid":"x","ask":"1","mid":"1","time":"2025-01-01"},"timestamp":"2025-01-01"}',
    ]
    price = b'"price":{"bid":"1","ask":"1","mid":"1","time":"%b"},"timestamp":"2025-11-18T12:30:00Z"}'
    bad.append(b'{"instrument":"EUR\\u0000USD",' + price % b"2025-11-18T12:30:00Z")  # no text of PostgreSQL's
    bad.append(b'{"instrument":"EUR_USD",' + price % b"0001-01-01T00:00:00Z")
    for body in bad:
        raw_redis.xadd(topics.stream_key(topics.PRICES), {**fields, "body": body})
    raw_redis.hincrby(topics.count_key(topics.PRICES), "published", len(bad))
    bus.publish_prices([tick(4)])
    write_all(bus, store)
    assert [bid for _, bid in rows(store)] == ["1.000001", "1.000004"]


def test_writer_continues_after_the_bus_lost_everything(bus: Bus, store: Store, raw_redis: redis_client.Redis) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=Writer(bus, store, BatchRule(10, 50), PriceQueue(bus)).run, args=(stop,))
    thread.start()
    bus.publish_prices([tick(number) for number in range(5)])
    until(lambda: len(rows(store)) == 5)
    raw_redis.flushall()
    bus.publish_prices([tick(number) for number in range(5, 12)])
    until(lambda: len(rows(store)) == 12, what="the prices of the new epoch")
    stop.set()
    thread.join(60)


def test_two_writers_store_everything_once(bus: Bus, store: Store, servers: object, clock: Callable[[], object]) -> None:
    stop = threading.Event()
    threads = [threading.Thread(target=Writer(bus, store, BatchRule(10, 20), PriceQueue(bus)).run, args=(stop,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(0, 2000, 50):
        bus.publish_prices([tick(number) for number in range(start, start + 50)])
    until(lambda: bus.unstored() == 0)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert len(rows(store)) == 2000
    assert bus.unstored() == 0


def test_months_are_made_for_prices_on_demand(bus: Bus, store: Store) -> None:
    months = ["1999-12-31T23:59:59.999999Z", "2000-01-01T00:00:00.000000Z", "2024-02-29T12:00:00.000000Z", "2025-12-31T23:59:59.999999Z"]
    bus.publish_prices([tick(number, time) for number, time in enumerate(months)])
    write_all(bus, store)
    with store.transaction() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM prices ORDER BY time")
        assert [name for (name,) in cursor.fetchall()] == ["prices_1999_12", "prices_2000_01", "prices_2024_02", "prices_2025_12"]


def trade(number: int, time: str = "2025-11-18T12:30:00.000000Z") -> Trade:
    return Trade("BTCUSDT", number, time, f"61837.{number:08}", "0.00100000", "sell" if number % 2 else "buy")


def write_all_trades(bus: Bus, store: Store, rule: BatchRule | None = None) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=Writer(bus, store, rule or BatchRule(100, 50), TradeQueue(bus, utc_now)).run, args=(stop,))
    thread.start()
    until(lambda: bus.unstored(topics.TRADES) == 0, what="an empty backlog")
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def trade_ids(store: Store) -> list[int]:
    with store.transaction() as cursor:
        cursor.execute("SELECT trade_id FROM raw_trades ORDER BY trade_id")
        return [number for (number,) in cursor.fetchall()]


def test_trades_are_stored_with_every_digit(bus: Bus, store: Store) -> None:
    bus.publish_trades([trade(7, "2024-08-08T23:54:15.342000Z")], "test/1")
    write_all_trades(bus, store)
    with store.transaction() as cursor:
        cursor.execute("SELECT symbol, trade_id, time::text, price, quantity, side FROM raw_trades")
        assert cursor.fetchall() == [("BTCUSDT", 7, "2024-08-08 23:54:15.342+00", "61837.00000007", "0.00100000", "sell")]
        cursor.execute("SELECT symbol, minute::text FROM candle_marks")
        assert cursor.fetchall() == [("BTCUSDT", "2024-08-08 23:54:00+00")]


def test_repeated_trades_are_stored_once(bus: Bus, store: Store, raw_redis: redis_client.Redis) -> None:
    bus.publish_trades([trade(number) for number in range(12_000)], "test/1")
    bus.publish_trades([trade(number) for number in range(12_000)], "test/1")  # the answer was lost: it is known
    assert bus.unstored(topics.TRADES) == 12_000
    bus.publish_trades([trade(number) for number in range(11_990, 12_010)], "test/2")  # the exchange told some twice
    write_all_trades(bus, store)
    assert trade_ids(store) == list(range(12_010))
    assert raw_redis.xlen(topics.stream_key(topics.TRADES)) == 0  # nobody else reads them


def usual(*trades: tuple[str, int, int]) -> UsualBatch:
    """Messages of (symbol, id, milliseconds since 12:59:59 of a day), read in the usual way."""
    begin = 1_763_470_799_000  # 2025-11-18T12:59:59Z
    sent = [
        b'{"stream":"x@trade","data":{"e":"trade","E":1,"s":"%b","t":%d,"p":"1.50","q":"0.2","T":%d,"m":true,"M":true}}'
        % (symbol.encode(), number, begin + moment)
        for symbol, number, moment in trades
    ]
    batch = read_usual(sent, {symbol for symbol, *_ in trades})
    assert batch is not None
    return batch


@pytest.mark.parametrize("shards", [1, 4])
def test_usual_batches_are_stored_with_their_marks(servers: Servers, bus: Bus, store: Store, shards: int) -> None:
    with closing(Bus(servers.redis_url, utc_now, setup=BusSetup(shards=shards))) as sharded:
        sharded.publish_trades(usual(("ETHUSDT", 1, 0), ("BTCUSDT", 5, 999), ("ETHUSDT", 2, 1_000), ("BTCUSDT", 6, 1_001)), "test/1")
        sharded.open_group(topics.TRADES)
        entries = sharded.read_unstored_trades(10, 0)
        marks = {(symbol, f"2025-11-18T{minute}") for symbol in ("BTCUSDT", "ETHUSDT") for minute in ("12:59", "13:00")}
        assert {mark for entry in entries for mark in entry.marks or ()} == marks
        assert all(entry.marks and {symbol for symbol, _ in entry.marks} == _symbols(entry) for entry in entries)
        write_all_trades(sharded, store)
    with store.transaction() as cursor:
        cursor.execute("SELECT symbol, trade_id, price::text, quantity::text FROM raw_trades ORDER BY symbol, trade_id")
        assert cursor.fetchall() == [
            (symbol, number, "1.50", "0.2") for symbol, first in (("BTCUSDT", 5), ("ETHUSDT", 1)) for number in (first, first + 1)
        ]
        cursor.execute("SELECT symbol, to_char(minute AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI') FROM candle_marks")
        assert set(cursor.fetchall()) == marks


def _symbols(entry: TradeLines) -> set[str]:
    return {line.split(b"\t")[0].decode() for line in entry.lines.splitlines()}


def test_long_usual_batch_and_an_entry_without_marks_are_scanned(bus: Bus, store: Store) -> None:
    bus.publish_trades(usual(*((("ETHUSDT", "BTCUSDT")[number % 2], number, number) for number in range(6_001))), "test/1")
    bus.publish_trades(usual(("BTCUSDT", 6_003, 7_000)), "test/2")
    bus.open_group(topics.TRADES)
    entries = bus.read_unstored_trades(10, 0)
    assert [(entry.trades, entry.marks is None) for entry in entries] == [(5_000, True), (1_001, True), (1, False)]
    write_all_trades(bus, store)
    assert trade_ids(store) == [*range(6_001), 6_003]
    with store.transaction() as cursor:
        cursor.execute("SELECT count(DISTINCT (symbol, minute)) FROM candle_marks")
        assert cursor.fetchone() == (4,)


def test_trades_read_by_a_dead_writer_are_taken_over(bus: Bus, store: Store) -> None:
    bus.publish_trades([trade(number) for number in range(10)], "test/1")
    bus.open_group(topics.TRADES)
    assert len(bus.read_unstored_trades(10, 0)) == 1
    write_all_trades(bus, store)
    assert trade_ids(store) == list(range(10))


def test_invalid_trade_lines_do_not_block_the_others(
    bus: Bus, store: Store, raw_redis: redis_client.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [trade(100, "2024-99-01T00:00:00Z"), trade(101)._replace(price="dear"), trade(102)._replace(side="neither")]
    bus.publish_trades([trade(1)], "test/1")
    fields: dict[Any, Any] = {"trades": 5, "lines": trade_lines([trade(3), *bad, trade(4)])}
    raw_redis.xadd(topics.stream_key(topics.TRADES), fields)
    raw_redis.hincrby(topics.count_key(topics.TRADES), "published", 5)
    bus.publish_trades([trade(2)], "test/2")
    write_all_trades(bus, store)
    assert trade_ids(store) == [1, 2, 3, 4]
    lines = [vars(record)["kind"] for record in caplog.records if record.levelname == "ERROR"]
    assert lines == ["unreadable", "not_a_decimal", "bad_trade"]


def test_trade_that_contradicts_a_stored_one_is_counted_and_logged_once(bus: Bus, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    changed = [trade(number)._replace(price="1.00") for number in range(3)]
    for number, batch in enumerate([[trade(0), trade(1), trade(2)], [*changed, trade(3)], [changed[0]]]):
        bus.publish_trades(batch, f"test/{number}")
    queue = TradeQueue(bus, utc_now)
    bus.open_group(topics.TRADES)
    writer = Writer(bus, store, BatchRule(), queue)
    while writer.write_batch(queue.read(1, 0)):
        pass
    assert queue.conflicts == 4
    assert [vars(record)["reason"] for record in caplog.records if record.levelname == "ERROR"] == [
        "BTCUSDT trade 0: stored 61837.00000000 0.00100000 buy, given 1.00 0.00100000 buy"
    ]
    with store.transaction() as cursor:
        cursor.execute("SELECT price FROM raw_trades ORDER BY trade_id")
        assert [price for (price,) in cursor.fetchall()] == [trade(number).price for number in range(4)]


def test_ids_of_orders_are_stored_beside_trades_without(bus: Bus, store: Store) -> None:
    with_ids = [trade(1)._replace(buyer_order_id=88, seller_order_id=50), trade(3)._replace(seller_order_id=7)]
    for number, batch in enumerate([[trade(0)], [with_ids[0], trade(2)], [with_ids[1], trade(3)], [trade(4)]]):
        bus.publish_trades(batch, f"test/{number}")
    write_all_trades(bus, store)
    with store.transaction() as cursor:
        cursor.execute("SELECT trade_id, buyer_order_id, seller_order_id FROM raw_trades ORDER BY 1")
        assert cursor.fetchall() == [(0, None, None), (1, 88, 50), (2, None, None), (3, None, 7), (4, None, None)]


@pytest.mark.parametrize("number", [-1, 2**63, "7\t7", True])
def test_trade_with_a_wrong_id_of_an_order_is_not_published(bus: Bus, number: Any) -> None:
    with pytest.raises(NotAdmitted):
        bus.publish_trades([trade(1)._replace(seller_order_id=number)], "test/1")
    assert bus.unstored(topics.TRADES) == 0


def test_live_trades_begin_a_series(bus: Bus, store: Store) -> None:
    bus.publish_trades([trade(5_000_000), trade(5_000_001)], "test/1")
    write_all_trades(bus, store)
    bus.publish_trades([trade(1, "2025-11-19T12:30:00.000000Z"), trade(2, "2025-11-19T12:30:01.000000Z")], "test/2")
    write_all_trades(bus, store)
    with store.transaction() as cursor:
        cursor.execute("SELECT series, trade_id FROM raw_trades ORDER BY 1, 2")
        assert cursor.fetchall() == [(1, 5_000_000), (1, 5_000_001), (2, 1), (2, 2)]


def test_bus_full_of_trades_refuses_more(servers: Servers, bus: Bus, store: Store, clock: Callable[[], datetime]) -> None:
    small = Bus(servers.redis_url, clock, limit=3)
    for number in range(3):
        small.publish_trades([trade(number)], f"test/{number}")
    with pytest.raises(BusFull):
        small.publish_trades([trade(3)], "test/3")
    write_all_trades(bus, store)
    small.publish_trades([trade(3)], "test/3")
    write_all_trades(bus, store)
    assert trade_ids(store) == [0, 1, 2, 3]
    small.close()
