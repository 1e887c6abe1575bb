"""The bus on the real Redis: what a publish guarantees."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
import redis as redis_client

from db import topics
from db.bus import CHUNK, Bus, BusError, BusFull, Subscription, Tick
from tests.conftest import Servers, until


def tick(number: int = 1, instrument: str = "EUR_USD") -> Tick:
    return Tick(instrument, f"1.{number:05}", f"1.{number + 2:05}", f"1.{number + 1:05}", "2025-11-18T12:30:00.000000Z", "test", "5")


def read(subscription: Subscription, count: int) -> list[tuple[str, bytes]]:
    got: list[tuple[str, bytes]] = []

    def enough() -> bool:
        got.extend(subscription.read(wait=0.2))
        return len(got) >= count

    until(enough, what=f"{count} messages")
    return got


def test_a_price_is_published_kept_and_numbered_in_one_step(bus: Bus) -> None:
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


def test_seq_rises_by_one_per_channel_and_topic(bus: Bus) -> None:
    stamps = bus.publish_prices([tick(1), tick(2), tick(3, "GBP_USD"), tick(4)])
    assert [stamp.seq for stamp in stamps] == [1, 2, 1, 3]
    assert bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning").seq == 1
    assert bus.publish_correlation_alert("EUR_USD", "GBP_USD", 0.4, previous=0.8, threshold=0.2, severity="warning").seq == 1
    assert bus.publish_data_ready("volatility", ["EUR_USD"], datetime(2025, 1, 1, tzinfo=UTC)).seq == 1
    assert len({stamp.epoch for stamp in stamps}) == 1


def test_the_sisters_publish_the_contract_s_bodies(bus: Bus) -> None:
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


def test_a_batch_keeps_its_order_over_many_chunks(bus: Bus) -> None:
    subscription = bus.subscribe()
    stamps = bus.publish_prices([tick(number) for number in range(3 * CHUNK + 7)])
    assert [stamp.seq for stamp in stamps] == list(range(1, 3 * CHUNK + 8))
    bodies = [orjson.loads(body) for _, body in read(subscription, 3 * CHUNK + 7)]
    assert [body["seq"] for body in bodies] == list(range(1, 3 * CHUNK + 8))


def test_a_repeated_batch_is_recognised(bus: Bus) -> None:
    batch = [tick(number) for number in range(CHUNK + 3)]
    first = bus.publish_prices(batch, "source/1")
    assert bus.publish_prices(batch, "source/1") == first
    assert len(list(bus.backwards(topics.PRICES))) == CHUNK + 3
    assert bus.publish_prices(batch, "source/2")[0].seq == CHUNK + 4
    with pytest.raises(ValueError, match="PUBLISHER/NUMBER"):
        bus.publish_prices(batch, "source")


def test_a_full_bus_accepts_nothing_until_the_store_has_caught_up(servers: Servers, raw_redis: redis_client.Redis) -> None:
    bus = Bus(servers.redis_url, lambda: datetime.now(UTC), limit=10)
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


def test_a_chunk_that_was_refused_is_taken_by_the_repeat_alone(servers: Servers, raw_redis: redis_client.Redis) -> None:
    bus = Bus(servers.redis_url, lambda: datetime.now(UTC), limit=CHUNK + 10)
    bus.open_group(topics.PRICES)
    batch = [tick(number) for number in range(2 * CHUNK)]
    with pytest.raises(BusFull):
        bus.publish_prices(batch, "source/1")
    entries = bus.read_unstored(topics.PRICES, CHUNK, 0)
    bus.acknowledge(topics.PRICES, [entry.id for entry in entries])
    assert [stamp.seq for stamp in bus.publish_prices(batch, "source/1")] == list(range(1, 2 * CHUNK + 1))


def test_an_unacknowledged_entry_is_handed_out_again(bus: Bus) -> None:
    bus.publish_prices([tick(1), tick(2)])
    bus.open_group(topics.PRICES)
    bus.open_group(topics.PRICES)  # there already: no error
    first = bus.read_unstored(topics.PRICES, 100, 0)
    assert bus.read_unstored(topics.PRICES, 100, 0) == []
    assert bus.read_unstored(topics.PRICES, 100, 0, again=True) == first
    assert (first[0].source, first[0].volume) == ("test", "5")


def test_a_new_epoch_begins_where_redis_has_lost_its_data(bus: Bus, raw_redis: redis_client.Redis) -> None:
    before = bus.publish_prices([tick(1), tick(2)])
    raw_redis.flushall()
    after = bus.publish_prices([tick(3)])
    assert after[0].epoch != before[0].epoch
    assert after[0].seq == 1


def test_every_seq_begins_anew_with_the_epoch(bus: Bus, raw_redis: redis_client.Redis) -> None:
    bus.publish_prices([tick(1)])
    bus.publish_data_ready("volatility", [], datetime(2025, 1, 1, tzinfo=UTC))
    raw_redis.delete(topics.EPOCH_KEY)
    first = bus.publish_data_ready("volatility", [], datetime(2025, 1, 1, tzinfo=UTC))
    second = bus.publish_prices([tick(2)])[0]
    assert (first.seq, second.seq) == (1, 1)
    assert first.epoch == second.epoch


def test_a_foreign_message_arrives_as_it_is(bus: Bus, raw_redis: redis_client.Redis) -> None:
    subscription = bus.subscribe()
    raw_redis.publish("price_updates", b'{"instrument": "EUR_USD",  "odd": 1}')
    assert read(subscription, 1) == [("price_updates", b'{"instrument": "EUR_USD",  "odd": 1}')]
    assert list(bus.backwards(topics.PRICES)) == []


def test_a_lost_subscription_says_so(bus: Bus, raw_redis: redis_client.Redis) -> None:
    subscription = bus.subscribe()
    raw_redis.client_kill_filter(_type="pubsub")

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


def test_redis_away_is_a_bus_error() -> None:
    bus = Bus("redis://127.0.0.1:1/0", lambda: datetime.now(UTC), timeout=1)
    for call in (bus.ping, bus.subscribe, bus.latest_prices, lambda: bus.publish_prices([tick()]), bus.unstored):
        with pytest.raises(BusError):
            call()


def test_what_is_no_price_is_refused(bus: Bus) -> None:
    with pytest.raises(ValueError, match="not a price"):
        bus.cache_price("EUR_USD", bid="NaN", ask="1", mid="1", time="2025-11-18T12:30:00.000000Z")
