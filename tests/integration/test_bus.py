"""The bus on a real Redis: the guarantees of a publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from operator import itemgetter
from typing import Any

import orjson
import pytest

from db import topics
from db.admission import NotAdmitted
from db.bus import Board, Bus, BusError, BusFull, Publisher, Reader, Subscriptions, WriterQueue
from db.bus.layout.batches import MESSAGES_PER_SCRIPT
from db.bus.publish import MAX_TRADES_PER_ENTRY
from db.messages import Tick, Trade, trade_lines
from tests.conftest import until
from tests.support.bus import BusPlace, source_changes


def tick(number: int = 1, instrument: str = "EUR_USD") -> Tick:
    return Tick(instrument, f"1.{number:05}", f"1.{number + 2:05}", f"1.{number + 1:05}", "2025-11-18T12:30:00.000000Z", "test", "5")


def trade(number: int) -> Trade:
    return Trade("BTCUSDT", number, "2025-11-18T12:30:00.000000Z", f"{number}.10", "0.00100000", "sell")


CANDLE = {"start_time": "2025-11-18T12:30:00.000000Z", "open": "1.10", "close": "1.1000", "complete": False}


def read(subscription: Subscriptions, count: int) -> list[tuple[str, bytes]]:
    got: list[tuple[str, bytes]] = []

    def enough() -> bool:
        got.extend(subscription.read(wait=0.2))
        return len(got) >= count

    until(enough, what=f"{count} messages")
    return got


def test_price_publish_numbers_keeps_and_broadcasts(bus: Bus) -> None:
    subscription = bus.subscribe()
    stamp = bus.cache_price("EUR_USD", bid="1.0945", ask=Decimal("1.0947"), mid="1.09460", time=datetime(2025, 11, 18, 12, 30, tzinfo=UTC))
    [(channel, body)] = read(subscription, 1)
    message = orjson.loads(body)
    assert channel == "price_updates"
    assert list(message) == ["instrument", "price", "timestamp", "seq", "epoch"]
    assert message["price"] == {"bid": "1.0945", "ask": "1.0947", "mid": "1.09460", "time": "2025-11-18T12:30:00.000000Z"}
    assert (message["seq"], message["epoch"]) == (stamp.seq, stamp.epoch) == (1, stamp.epoch)
    assert bus.latest_prices() == {"EUR_USD": body}
    assert [entry.body for entry in bus.backwards(topics.PRICES)] == [body]


def test_occurrence_is_a_field_of_the_entry_and_not_of_the_body(bus: Bus, bus_place: BusPlace) -> None:
    bus.publish_prices([tick(), replace(tick(), occurrence=2), replace(tick(), occurrence=0)])
    entries = list(bus.backwards(topics.PRICES))[::-1]
    assert [entry.occurrence for entry in entries] == [1, 2, 0]
    assert [list(orjson.loads(entry.body)) for entry in entries] == [["instrument", "price", "timestamp", "seq", "epoch"]] * 3
    kept = bus_place.entries(topics.PRICES)
    assert [fields.get(b"occurrence") for _, fields in kept] == [None, b"2", b"0"]  # as entries of older versions


def test_seq_rises_by_one_per_channel_and_topic(bus: Bus) -> None:
    stamps = bus.publish_prices([tick(1), tick(2), tick(3, "GBP_USD"), tick(4)])
    assert [stamp.seq for stamp in stamps] == [1, 2, 1, 3]
    assert bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning").seq == 1
    assert bus.publish_correlation_alert("EUR_USD", "GBP_USD", 0.4, previous=0.8, threshold=0.2, severity="warning").seq == 1
    assert bus.publish_data_ready("volatility", ["EUR_USD"], datetime(2025, 1, 1, tzinfo=UTC)).seq == 1
    shards = {bus.shard_of(topics.PRICES, name) for name in ("EUR_USD", "GBP_USD")}
    assert len({stamp.epoch for stamp in stamps}) == len(shards)  # one per shard


def test_alerts_and_data_ready_have_the_contract_bodies(bus: Bus) -> None:
    subscription = bus.subscribe()
    bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
    bus.publish_correlation_alert("EUR_USD", "GBP_USD", 0.4, previous=0.8, threshold=0.2, severity="critical")
    bus.publish_data_ready("hourly_candles", ["EUR_USD"], datetime(2025, 1, 1, tzinfo=UTC))
    bodies = {channel: orjson.loads(body) for channel, body in read(subscription, 3)}
    assert set(bodies["volatility_alerts"]) == {"instrument", "volatility", "threshold", "severity", "message", "timestamp", "seq", "epoch"}
    assert set(bodies["correlation_alerts"]) == {
        "instrument1", "instrument2", "correlation", "previous_correlation", "change", "threshold", "severity", "message",
        "timestamp", "seq", "epoch",
    }  # fmt: skip
    assert bodies["data_ready"]["as_of"] == "2025-01-01T00:00:00.000000Z"
    assert set(bodies["data_ready"]) == {"data_type", "instruments", "as_of", "timestamp", "seq", "epoch"}


def test_batch_over_several_scripts_keeps_its_order(bus: Bus) -> None:
    subscription = bus.subscribe()
    stamps = bus.publish_prices([tick(number) for number in range(3 * MESSAGES_PER_SCRIPT + 7)])
    assert [stamp.seq for stamp in stamps] == list(range(1, 3 * MESSAGES_PER_SCRIPT + 8))
    bodies = [orjson.loads(body) for _, body in read(subscription, 3 * MESSAGES_PER_SCRIPT + 7)]
    assert [body["seq"] for body in bodies] == list(range(1, 3 * MESSAGES_PER_SCRIPT + 8))


def test_repeated_batch_returns_the_first_answer(bus: Bus) -> None:
    batch = [tick(number) for number in range(MESSAGES_PER_SCRIPT + 3)]
    first = bus.publish_prices(batch, "source/1")
    assert bus.publish_prices(batch, "source/1") == first
    assert len(list(bus.backwards(topics.PRICES))) == MESSAGES_PER_SCRIPT + 3
    assert bus.publish_prices(batch, "source/2")[0].seq == MESSAGES_PER_SCRIPT + 4
    with pytest.raises(ValueError, match="PUBLISHER/NUMBER"):
        bus.publish_prices(batch, "source")


def test_full_bus_refuses_prices_until_the_store_catches_up(bus_place: BusPlace) -> None:
    bus = bus_place.bus(limit=10)
    bus.open_group(topics.PRICES)
    bus.publish_prices([tick(number) for number in range(10)])
    with pytest.raises(BusFull):
        bus.publish_prices([tick(11)])
    assert bus.unstored() == len(list(bus.backwards(topics.PRICES))) == 10
    entries = bus.read_unstored(topics.PRICES, 4, 0)
    assert bus.acknowledge(topics.PRICES, [entry.id for entry in entries]) == 4
    assert bus.acknowledge(topics.PRICES, [entry.id for entry in entries]) == 0  # again: counted once
    assert bus.publish_prices([tick(11)])[0].seq == 11
    assert bus.unstored() == 7


def test_repeat_of_a_partly_refused_batch_publishes_only_the_rest(bus_place: BusPlace) -> None:
    bus = bus_place.bus(limit=MESSAGES_PER_SCRIPT + 10)
    bus.open_group(topics.PRICES)
    batch = [tick(number) for number in range(2 * MESSAGES_PER_SCRIPT)]
    with pytest.raises(BusFull):
        bus.publish_prices(batch, "source/1")
    entries = bus.read_unstored(topics.PRICES, MESSAGES_PER_SCRIPT, 0)
    bus.acknowledge(topics.PRICES, [entry.id for entry in entries])
    assert [stamp.seq for stamp in bus.publish_prices(batch, "source/1")] == list(range(1, 2 * MESSAGES_PER_SCRIPT + 1))


def test_unacknowledged_entry_is_read_again(bus: Bus) -> None:
    bus.publish_prices([tick(1), tick(2)])
    bus.open_group(topics.PRICES)
    bus.open_group(topics.PRICES)  # exists already: no error
    first = bus.read_unstored(topics.PRICES, 100, 0)
    assert bus.read_unstored(topics.PRICES, 100, 0) == []
    assert bus.read_unstored(topics.PRICES, 100, 0, again=True) == first
    assert (first[0].source, first[0].volume) == ("test", "5")


def test_epoch_changes_after_redis_lost_its_data(bus: Bus, bus_place: BusPlace) -> None:
    before = bus.publish_prices([tick(1), tick(2)])
    bus_place.flush()
    after = bus.publish_prices([tick(3)])
    assert after[0].epoch != before[0].epoch
    assert after[0].seq == 1


def test_every_seq_restarts_with_a_new_epoch(bus: Bus, bus_place: BusPlace) -> None:
    bus.publish_prices([tick(1)])
    bus.publish_data_ready("volatility", [], datetime(2025, 1, 1, tzinfo=UTC))
    bus_place.delete(topics.NUMBERS_KEY)
    first = bus.publish_data_ready("volatility", [], datetime(2025, 1, 1, tzinfo=UTC))
    second = bus.publish_prices([tick(2)])[0]
    assert (first.seq, second.seq) == (1, 1)
    assert (first.epoch == second.epoch) == (bus.shard_of(topics.PRICES, "EUR_USD") == 0)  # one epoch per shard


def test_foreign_message_arrives_unchanged(bus: Bus, bus_place: BusPlace) -> None:
    subscription = bus.subscribe()
    bus_place.clients[0].publish("price_updates", b'{"instrument": "EUR_USD",  "odd": 1}')
    assert read(subscription, 1) == [("price_updates", b'{"instrument": "EUR_USD",  "odd": 1}')]
    assert list(bus.backwards(topics.PRICES)) == []


def test_lost_subscription_raises_bus_error(bus: Bus, bus_place: BusPlace) -> None:
    subscription = bus.subscribe()
    bus_place.end_subscriptions()

    def noticed() -> bool:
        try:
            subscription.read(wait=0.1)
        except BusError:
            return True
        return False

    until(noticed, what="the loss")


def test_backwards_pages_through_the_whole_stream(bus: Bus) -> None:
    bus.publish_prices([tick(number) for number in range(25)])
    assert [entry.seq for entry in bus.backwards(topics.PRICES, chunk=10)] == list(range(25, 0, -1))


def test_unreachable_redis_raises_bus_error() -> None:
    bus = Bus("redis://127.0.0.1:1/0", lambda: datetime.now(UTC), timeout=1)
    for call in (bus.ping, bus.subscribe, bus.latest_prices, lambda: bus.publish_prices([tick()]), bus.unstored):
        with pytest.raises(BusError):
            call()
    trades_and_candles: list[Callable[[], object]] = [
        lambda: bus.publish_trades([trade(1)], "source/1"),
        lambda: bus.publish_candles([("EUR_USD", "1m", CANDLE)]),
        lambda: bus.read_unstored_trades(1, 0),
        lambda: bus.note_source_change("oanda", "live", None),
        lambda: source_changes(bus),
    ]
    for each in trades_and_candles:
        with pytest.raises(BusError):
            each()


def test_invalid_price_is_refused(bus: Bus) -> None:
    with pytest.raises(ValueError, match="not a decimal"):
        bus.cache_price("EUR_USD", bid="NaN", ask="1", mid="1", time="2025-11-18T12:30:00.000000Z")


def test_candles_are_published_in_order_and_counted_per_series(bus: Bus) -> None:
    subscription = bus.subscribe()
    other = {**CANDLE, "close": "1.2"}
    bus.publish_candles([("EUR_USD", "1m", CANDLE), ("EUR_USD", "5m", CANDLE), ("EUR_USD", "1m", other), ("GBP_USD", "1m", CANDLE)])
    got = read(subscription, 4)
    bodies = [orjson.loads(body) for _, body in got]
    assert {channel for channel, _ in got} == {"candle_updates"}
    assert list(bodies[0]) == ["instrument", "interval", "candle", "timestamp", "seq", "epoch"]
    # The order holds within an instrument.
    bodies.sort(key=itemgetter("instrument"))
    assert [(body["instrument"], body["interval"], body["candle"], body["seq"]) for body in bodies] == [
        ("EUR_USD", "1m", CANDLE, 1),
        ("EUR_USD", "5m", CANDLE, 1),
        ("EUR_USD", "1m", other, 2),
        ("GBP_USD", "1m", CANDLE, 1),
    ]
    entries = sorted(bus.backwards(topics.CANDLES), key=lambda entry: (entry.topic.partition("|")[0], entry.id))
    assert [orjson.loads(entry.body) for entry in entries] == bodies
    assert [entry.topic for entry in entries] == ["EUR_USD|1m", "EUR_USD|5m", "EUR_USD|1m", "GBP_USD|1m"]
    assert bus.latest_prices() == {}
    assert bus.unstored(topics.CANDLES) == 0  # not stored from the bus: the store is their source
    bus.publish_candles([])
    assert len(list(bus.backwards(topics.CANDLES))) == 4


def test_candle_and_price_share_the_epoch(bus: Bus, bus_place: BusPlace) -> None:
    bus.publish_candles([("EUR_USD", "1m", CANDLE)])
    bus_place.delete(topics.NUMBERS_KEY)
    stamp = bus.publish_prices([tick(1)])[0]
    bus.publish_candles([("EUR_USD", "1m", CANDLE)])
    entry = next(bus.backwards(topics.CANDLES))
    assert (entry.epoch, entry.seq) == (stamp.epoch, 1)


def test_trades_are_stored_once_and_never_broadcast(bus: Bus, bus_place: BusPlace) -> None:
    client: Any = bus_place.clients[0]
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    pubsub.psubscribe("*")
    pubsub.get_message(timeout=5)
    trades = [trade(number) for number in range(MAX_TRADES_PER_ENTRY + 3)]
    for _ in range(3):  # the response was lost twice
        bus.publish_trades(trades, "binance/1")
    bus.publish_trades([trade(9)], "binance/2")
    assert bus.unstored(topics.TRADES) == MAX_TRADES_PER_ENTRY + 4
    bus.open_group(topics.TRADES)
    got = bus.read_unstored_trades(10, 0)
    assert [each.trades for each in got] == [MAX_TRADES_PER_ENTRY, 3, 1]
    assert b"".join(each.lines for each in got) == trade_lines([*trades, trade(9)])
    assert got[2].lines == b"BTCUSDT\t9\t2025-11-18T12:30:00.000000Z\t9.10\t0.00100000\tsell\n"
    client.publish("end", b"")
    until(lambda: (message := pubsub.get_message(timeout=0.2)) and message["channel"] == b"end", what="the end message alone")
    pubsub.close()


def test_prices_and_trades_of_one_batch_have_separate_receipts(bus: Bus) -> None:
    for _ in range(2):
        stamps = bus.publish_prices([tick(1)], "binance/1")
        bus.publish_trades([trade(1)], "binance/1")
        assert [stamp.seq for stamp in stamps] == [1]
    assert (bus.unstored(), bus.unstored(topics.TRADES)) == (1, 1)


def test_acknowledged_trades_are_deleted_and_others_read_again(bus: Bus, bus_place: BusPlace) -> None:
    bus.open_group(topics.TRADES)
    for number in range(1, 5):
        bus.publish_trades([trade(number)], f"binance/{number}")
    first = bus.read_unstored_trades(2, 0)
    assert bus.read_unstored_trades(2, 0, again=True) == first
    assert bus.forget_trades(first) == 2
    assert bus.forget_trades(first) == 0
    assert bus.forget_trades([]) == 0
    assert bus.read_unstored_trades(2, 0, again=True) == []
    assert len(bus_place.entries(topics.TRADES)) == bus.unstored(topics.TRADES) == 2
    rest = bus.read_unstored_trades(10, 0)
    assert [entry.lines for entry in rest] == [trade_lines([trade(number)]) for number in (3, 4)]


def test_acknowledged_price_stays_in_its_stream(bus: Bus) -> None:
    bus.open_group(topics.PRICES)
    bus.publish_prices([tick(1)])
    assert bus.acknowledge(topics.PRICES, [entry.id for entry in bus.read_unstored(topics.PRICES, 1, 0)]) == 1
    assert len(list(bus.backwards(topics.PRICES))) == 1  # so that hubs can catch up


def test_full_trade_stream_refuses_trades_until_the_store_catches_up(bus_place: BusPlace) -> None:
    bus = bus_place.bus(limit=MAX_TRADES_PER_ENTRY + 1)
    bus.open_group(topics.TRADES)
    two_parts = [trade(number) for number in range(MAX_TRADES_PER_ENTRY + 1)]
    bus.publish_trades([trade(0)], "binance/1")
    with pytest.raises(BusFull):
        bus.publish_trades(two_parts, "binance/2")
    assert bus.unstored(topics.TRADES) == MAX_TRADES_PER_ENTRY + 1
    assert bus.publish_prices([tick(1)])[0].seq == 1  # prices have a separate limit
    entries = bus.read_unstored_trades(1, 0)
    assert bus.forget_trades(entries) == 1
    bus.publish_trades(two_parts, "binance/2")  # the repeat appends the refused part only
    assert [entry.trades for entry in bus.read_unstored_trades(10, 0)] == [MAX_TRADES_PER_ENTRY, 1]


def test_changes_of_sources_are_published_and_kept(bus_place: BusPlace) -> None:
    seconds = count()
    bus = bus_place.bus(clock=lambda: datetime(2025, 11, 18, tzinfo=UTC) + timedelta(seconds=next(seconds)))
    assert source_changes(bus) == []
    subscription = bus.subscribe([topics.SOURCE_STATES])
    bus.note_source_change("binance", "connecting", None)
    bus.note_source_change("binance", "backing_off", "HTTP 503")
    changes = source_changes(bus)
    assert changes == [
        {"source": "binance", "state": "connecting", "detail": None, "timestamp": "2025-11-18T00:00:00.000000Z"},
        {"source": "binance", "state": "backing_off", "detail": "HTTP 503", "timestamp": "2025-11-18T00:00:01.000000Z"},
    ]
    assert [orjson.loads(body) for _, body in read(subscription, 2)] == changes
    for number in range(1300):
        bus.note_source_change("oanda", "live", str(number))
    kept = [change["detail"] for change in source_changes(bus)]
    assert kept == [str(number) for number in range(1300)][-len(kept) :]
    assert 1000 <= len(kept) < 1200  # Redis trims whole blocks


def test_added_channel_is_published_without_other_changes(bus: Bus, bus_place: BusPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(topics.STREAMS, "moons", topics.Stream("moons", tail=10, keeps_latest=True))
    subscription = bus.subscribe()
    bus.publish("moons", "Io", {"phase": 1})
    assert bus.publish("moons", "Io", {"phase": 2}, "moons/1") == bus.publish("moons", "Io", {"phase": 2}, "moons/1")
    got = read(subscription, 2)
    bodies = [orjson.loads(body) for _, body in got]
    assert [channel for channel, _ in got] == ["moons", "moons"]
    assert [(body["phase"], body["seq"]) for body in bodies] == [(1, 1), (2, 2)]
    assert list(bodies[0]) == ["phase", "timestamp", "seq", "epoch"]
    assert [(entry.topic, entry.body) for entry in bus.backwards("moons")] == [("Io", got[1][1]), ("Io", got[0][1])]
    assert bus.latest_prices() == {"Io": got[1][1]}
    bus_place.delete(topics.NUMBERS_KEY)
    bus.cache_price("EUR_USD", bid="1", ask="2", mid="1.5", time="2025-11-18T12:30:00.000000Z")
    assert bus.publish("moons", "Io", {"phase": 3}).seq == 1  # another channel began the epoch


def test_channel_without_tail_is_numbered_and_has_no_stream(bus: Bus, bus_place: BusPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(topics.STREAMS, "moons", topics.Stream("moons", tail=0))
    subscription = bus.subscribe()
    stamps = [bus.publish("moons", "Io", {"phase": phase}) for phase in (1, 2)]
    assert [stamp.seq for stamp in stamps] == [1, 2]
    assert [orjson.loads(body)["phase"] for _, body in read(subscription, 2)] == [1, 2]
    assert not bus_place.exists(topics.stream_key("moons"))
    assert list(bus.backwards("moons")) == []


def test_stored_channel_is_bounded_by_the_limit(bus_place: BusPlace) -> None:
    row = topics.Stream("moons", stored=True, relayed=False)
    bus = bus_place.bus(limit=2, streams={"moons": row})
    assert [bus.publish("moons", "Io", {}).seq for _ in range(2)] == [1, 2]
    with pytest.raises(BusFull):
        bus.publish("moons", "Io", {})
    assert bus.unstored("moons") == 2
    assert bus.latest_prices() == {}
    with pytest.raises(KeyError):
        bus.publish("comets", "Halley", {})


def test_each_part_of_the_bus_works_on_its_own(bus_place: BusPlace) -> None:
    def now() -> datetime:
        return datetime.now(UTC)

    url, setup = bus_place.url, bus_place.setup
    publisher, reader = Publisher(url, now, setup=setup), Reader(url, now, setup=setup)
    queue, board = WriterQueue(url, now, setup=setup), Board(url, now, setup=setup)
    publisher.publish_prices([tick(1)])
    assert [entry.seq for entry in reader.backwards(topics.PRICES)] == [1]
    assert queue.unstored() == 1
    board.claim_leadership("token", "observer")
    assert board.leader("observer") == "token"


def test_publisher_without_instruments_accepts_nothing(bus: Bus, bus_place: BusPlace) -> None:
    bus_place.delete(topics.CALENDARS_KEY)
    other = bus_place.bus()
    with pytest.raises(BusError, match="no instruments yet"):
        other.publish_prices([tick(1)])
    bus.set_instruments({"EUR_USD": "fx"}, 1)
    assert other.publish_prices([tick(1)])[0].seq == 1
    with pytest.raises(NotAdmitted, match="unknown instrument"):
        other.publish_prices([tick(2, "GBP_USD")])
    ahead = datetime.now(UTC) + timedelta(seconds=10)
    with pytest.raises(NotAdmitted) as caught:
        other.cache_price("EUR_USD", bid="1", ask="1", mid="1", time=ahead)
    assert caught.value.kind == "time_in_future"
    other.close()


def test_instruments_survive_the_loss_of_redis_data(bus: Bus, bus_place: BusPlace) -> None:
    bus.publish_prices([tick(1)])
    bus_place.flush()
    bus._read_at = float("-inf")  # as ten seconds later
    bus.publish_prices([tick(1)])
    assert bus_place.exists(topics.CALENDARS_KEY)
