"""Loss of data on the bus: keys that disappear, or that are set back to an earlier dump.

After any loss the live flow continues. No client receives a number twice in one epoch with
different contents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import pytest
import redis as redis_client
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from db import topics
from db.bus import Bus
from db.messages import Stamp, Tick
from tests.conftest import Servers, until
from tests.support.clients import PythonClient
from tests.support.processes import Web
from tests.support.servers import operator_url

PAIRS = ("EUR_USD", "GBP_USD")
EVENTS = ("price_update", "candle_update", "volatility_alert", "data_ready")
CANDLE = {
    "start_time": "2025-11-18T12:30:00.000000Z", "end_time": "2025-11-18T12:31:00.000000Z",
    "open": "1", "high": "1", "low": "1", "volume": "0", "complete": False,
}  # fmt: skip
KEYS = (
    topics.NUMBERS_KEY,
    *(topics.stream_key(name) for name in (topics.PRICES, topics.CANDLES, topics.VOLATILITY_ALERTS, topics.DATA_READY)),
    topics.LATEST_KEY,
    topics.count_key(topics.PRICES),
    topics.receipt_key("test", 0),
)
# `unaware`: a new publisher without the stored positions, as a program other than jobs.
Publishing = Literal["goes on", "restarted", "unaware"]
Loss = Mapping[str, Literal["deleted", "set back"]]
SET_BACK: Loss = dict.fromkeys(KEYS, "set back")
is_search = settings.default is not None and not settings.default.derandomize


class Market:
    """A publisher, a hub, and clients that remember each message that any of them received."""

    def __init__(self, hub: Web, url: str, calendars: Mapping[str, str]) -> None:
        self.hub = hub
        self.url = url
        self.raw: Any = redis_client.Redis.from_url(operator_url(url), protocol=2)
        self.calendars = calendars
        self.count = 0
        self.stored: dict[str, Stamp] = {}  # instrument -> position of its last price in the store
        self.seen: dict[tuple[Any, ...], str] = {}  # event, topic, epoch, seq -> content
        self.contradictions: list[Any] = []

    def begin(self) -> None:
        self.raw.flushdb()
        self.stored.clear()
        self.seen.clear()
        self.bus = self.new_bus()
        self.bus.set_instruments(self.calendars)
        self.connect()

    def new_bus(self) -> Bus:
        return Bus(self.url, lambda: datetime.now(UTC))

    def connect(self, since: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.client = PythonClient(self.hub.url)
        self.client.connect()
        candles = [{"pair": pair, "interval": "1m"} for pair in PAIRS]
        answer: dict[str, Any] = self.client.call("subscribe", {"pairs": list(PAIRS), "candles": candles, "since": since or {}})
        for body in answer["snapshot"].values():
            self.note("price_update", body)
        return answer

    def disconnect(self) -> None:
        self.client.__exit__(None, None, None)

    def publish(self) -> list[Stamp]:
        """Publish one message on every topic; each has a content of its own."""
        self.count += 1
        price = f"1.{self.count:06}"
        ticks = [Tick(pair, price, price, price, "2025-11-18T12:30:00.000000Z", "test") for pair in PAIRS]
        stamps = self.bus.publish_prices(ticks, f"test/{self.count}")
        self.stored.update(zip(PAIRS, stamps, strict=True))
        self.bus.publish_candles([(pair, "1m", {**CANDLE, "close": price}) for pair in PAIRS])
        alert = self.bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning", message=price)
        ready = self.bus.publish_data_ready("volatility", [price], datetime(2025, 1, 1, tzinfo=UTC))
        return [*stamps, alert, ready]

    def received(self) -> bool:
        """True if the client has received the last message of every topic."""
        price = f"1.{self.count:06}"
        found = {event: [content for content in map(_content, self.client.bodies(event)) if price in content] for event in EVENTS}
        return [len(found[event]) for event in EVENTS] == [len(PAIRS), len(PAIRS), 1, 1]

    def lose(self, loss: Loss, dumps: Mapping[str, bytes | None]) -> None:
        with self.raw.pipeline() as pipe:
            for key, kind in loss.items():
                pipe.delete(key)
                dump = dumps[key]
                if kind == "set back" and dump is not None:
                    pipe.restore(key, 0, dump)
            pipe.execute()

    def note(self, event: str, body: Mapping[str, Any]) -> None:
        topic = (body.get("instrument"), body.get("interval"), body.get("data_type"))
        content = _content(body)
        if self.seen.setdefault((event, topic, body["epoch"], body["seq"]), content) != content:
            self.contradictions.append(body)

    def note_received(self) -> None:
        """Compare all that the present client has received with all earlier messages."""
        for event in EVENTS:
            for body in self.client.bodies(event):
                self.note(event, body)

    def finish(self) -> None:
        """Disconnect the client; assert that no number had two contents."""
        self.note_received()
        self.disconnect()
        assert self.contradictions == []


def _content(body: Mapping[str, Any]) -> str:
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()


@pytest.fixture(scope="module")
def market(shared_hub: Web, shared_settings: Settings, servers: Servers) -> Iterator[Market]:
    market = Market(shared_hub, str(shared_settings.redis_url), servers.calendars)
    yield market
    market.raw.flushdb()
    market.raw.close()


losses = st.one_of(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["deleted", "set back"]), min_size=1),
    st.sampled_from([SET_BACK, dict.fromkeys(KEYS, "deleted")]),
)


@pytest.mark.slow
@given(losses, st.sampled_from(["goes on", "restarted", "unaware"]), st.booleans() if is_search else st.just(False), st.integers(1, 3))
@example(SET_BACK, "goes on", False, 2)
@example(SET_BACK, "unaware", False, 3)
@example(SET_BACK, "restarted", True, 2)
@settings(max_examples=150 if is_search else 5)
def test_live_flow_continues_after_any_loss_and_no_number_has_two_contents(
    market: Market, loss: Loss, publishing: Publishing, hub_restarts: bool, steps: int
) -> None:
    market.begin()
    with closing(market.bus):
        old = market.publish()
        until(market.received, what="the first messages")
        dumps = {key: market.raw.dump(key) for key in KEYS}
        for _ in range(steps):
            old = market.publish()
        until(market.received, what="the messages before the loss")
        market.lose(loss, dumps)
        if hub_restarts:
            reconnect_to_a_new_hub(market)
            publishing = "restarted" if publishing == "unaware" else publishing  # nobody else could know of the loss
        if publishing != "goes on":
            market.bus.close()
            market.bus = market.new_bus()
            if publishing == "restarted":  # as jobs
                market.bus.renew_if_behind(topics.PRICES, market.stored)
        new: Any = until(lambda: _published_and_received(market), what="live messages")
        market.note_received()
        since = {"EUR_USD": {"epoch": old[0].epoch, "seq": old[0].seq}}
        in_room = market.client.call("subscribe", {"pairs": ["EUR_USD"], "since": since})
        market.disconnect()
        if new[-1].epoch != old[-1].epoch:
            answer = market.connect(since)
            market.disconnect()
            assert answer["recovered"] == in_room["recovered"] == {"EUR_USD": False}
        assert market.contradictions == []


def _published_and_received(market: Market) -> list[Stamp]:
    """Publish, and poll for a moment; empty if the messages were lost, so that others follow."""
    stamps = market.publish()
    try:
        until(market.received, 0.1)
    except AssertionError:
        return []
    return stamps


def reconnect_to_a_new_hub(market: Market) -> None:
    market.note_received()
    market.disconnect()
    market.hub.kill()
    market.hub.start()
    market.connect()


@pytest.mark.parametrize("key", KEYS)
def test_one_missing_key_stops_no_live_message(market: Market, key: str) -> None:
    market.begin()
    with closing(market.bus):
        market.publish()
        until(market.received)
        market.raw.delete(key)
        market.publish()
        until(market.received, what="the messages after the loss")
        market.finish()


def test_bus_that_went_back_unnoticed_is_renewed_by_the_hub(market: Market) -> None:
    market.begin()
    with closing(market.bus):
        market.publish()
        until(market.received)
        dumps = {key: market.raw.dump(key) for key in KEYS}
        old = [market.publish() for _ in range(3)][-1]
        until(market.received)
        market.lose(SET_BACK, dumps)
        market.bus.close()
        market.bus = market.new_bus()
        before = market.hub.output().count("the bus has lost data")
        fallen = market.publish()
        assert (fallen[0].epoch, fallen[0].seq) == (old[0].epoch, 2), "the publisher cannot know of the loss"
        until(lambda: market.raw.hget(topics.NUMBERS_KEY, "epoch") != old[0].epoch.encode(), what="a new epoch")
        stamps = market.publish()
        assert stamps[0].epoch != old[0].epoch
        until(market.received)
        assert market.hub.output().count("the bus has lost data") == before + 1
        market.finish()


def test_bus_that_went_back_to_an_ended_epoch_is_renewed_by_the_hub(market: Market) -> None:
    market.begin()
    with closing(market.bus):
        first = market.publish()
        until(market.received)
        dumps = {key: market.raw.dump(key) for key in KEYS}
        market.raw.delete(topics.NUMBERS_KEY)
        second = market.publish()
        until(market.received)
        market.lose(SET_BACK, dumps)
        market.bus.close()
        market.bus = market.new_bus()
        assert market.publish()[0] == Stamp(first[0].epoch, 2)
        stamps: Any = until(lambda: _published_and_received(market), what="live messages")
        assert len({first[0].epoch, second[0].epoch, stamps[0].epoch}) == 3
        market.finish()


def test_forged_content_of_a_known_number_is_skipped(market: Market) -> None:
    market.begin()
    with closing(market.bus):
        stamp = market.publish()[0]
        until(market.received)
        body = next(each for each in market.client.bodies("price_update") if each["instrument"] == "EUR_USD")
        market.raw.publish(topics.PRICES, orjson.dumps({**body, "price": {**body["price"], "bid": "9"}}))
        assert market.publish()[0] == Stamp(stamp.epoch, stamp.seq + 1)
        until(market.received)
        assert all(each["price"]["bid"] != "9" for each in market.client.bodies("price_update"))
        until(lambda: market.client.stats()["messages_skipped"].get("unknown_sequence"))
        market.disconnect()


def dumped(bus: Bus, raw: Any) -> dict[str, bytes]:
    return {key.decode(): raw.dump(key) for key in raw.keys("tickwire:*")}


def tick(number: int) -> Tick:
    price = f"1.{number:05}"
    return Tick("EUR_USD", price, price, price, "2025-11-18T12:30:00.000000Z", "test")


def test_epoch_and_all_counters_are_one_hash(bus: Bus, raw_redis: Any) -> None:
    [price] = bus.publish_prices([tick(1)])
    bus.publish_candles([("EUR_USD", "1m", CANDLE)])
    bus.publish_data_ready("volatility", [], datetime(2025, 1, 1, tzinfo=UTC))
    kept: Any = raw_redis.hgetall(topics.NUMBERS_KEY)
    last: Any = {
        name: raw_redis.xrevrange(topics.stream_key(name), count=1)[0][0] for name in ("price_updates", "candle_updates", "data_ready")
    }
    assert kept == {
        b"epoch": price.epoch.encode(),
        b"price_updates|EUR_USD": b"1", b"last|price_updates": last["price_updates"],
        b"candle_updates|EUR_USD|1m": b"1", b"last|candle_updates": last["candle_updates"],
        b"data_ready|volatility": b"1", b"last|data_ready": last["data_ready"],
    }  # fmt: skip
    assert [key for key in raw_redis.keys("*") if b"epoch" in key or b"seq" in key] == [b"tickwire:seq"]


def set_back_hash(raw: Any, dump: bytes) -> None:
    raw.restore(topics.NUMBERS_KEY, 0, dump, replace=True)


CONDITIONS: dict[str, Callable[[Any, bytes], object]] = {
    "hash is missing": lambda raw, dump: raw.delete(topics.NUMBERS_KEY),
    "epoch is missing": lambda raw, dump: raw.hdel(topics.NUMBERS_KEY, "epoch"),
    "epoch cannot be read": lambda raw, dump: raw.hset(topics.NUMBERS_KEY, "epoch", 'no"t\n'),
    "counter cannot be read": lambda raw, dump: raw.hset(topics.NUMBERS_KEY, "price_updates|EUR_USD", "x"),
    "stream is missing": lambda raw, dump: raw.delete(topics.stream_key(topics.PRICES)),
    "last entry is missing": lambda raw, dump: raw.xdel(topics.stream_key(topics.PRICES), last_id(raw)),
    "hash is older than the stream": set_back_hash,
}


def last_id(raw: Any) -> bytes:
    entries: Any = raw.xrevrange(topics.stream_key(topics.PRICES), count=1)
    return bytes(entries[0][0])


@pytest.mark.parametrize("known", ["known", "unknown"])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_new_epoch_begins_if(condition: str, known: str, bus: Bus, servers: Servers, raw_redis: Any) -> None:
    bus.publish_prices([tick(1)])
    dump = raw_redis.dump(topics.NUMBERS_KEY)
    [old] = bus.publish_prices([tick(2)])
    CONDITIONS[condition](raw_redis, dump)
    publisher = bus if known == "known" else Bus(servers.redis_url, lambda: datetime.now(UTC))
    [new] = publisher.publish_prices([tick(3)])
    assert (new.epoch != old.epoch, new.seq) == (True, 1)
    assert publisher.publish_prices([tick(4)]) == [Stamp(new.epoch, 2)]


def test_hash_older_than_the_first_message_of_a_channel_begins_an_epoch(bus: Bus, servers: Servers, raw_redis: Any) -> None:
    bus.publish_candles([("EUR_USD", "1m", CANDLE)])
    dump = raw_redis.dump(topics.NUMBERS_KEY)
    [old] = bus.publish_prices([tick(1)])
    set_back_hash(raw_redis, dump)
    [new] = Bus(servers.redis_url, lambda: datetime.now(UTC)).publish_prices([tick(2)])
    assert new.epoch != old.epoch


def test_publisher_notices_a_bus_that_went_back_as_a_whole(bus: Bus, servers: Servers, raw_redis: Any) -> None:
    bus.publish_prices([tick(1)])
    dumps = dumped(bus, raw_redis)
    [old] = bus.publish_prices([tick(2)])
    for key, dump in dumps.items():
        raw_redis.restore(key, 0, dump, replace=True)
    [new] = bus.publish_prices([tick(3)])
    assert new == Stamp(new.epoch, 1) != old
    for key, dump in dumps.items():  # to the epoch that has ended
        raw_redis.restore(key, 0, dump, replace=True)
    [newest] = bus.publish_prices([tick(4)])
    assert newest == Stamp(newest.epoch, 1)
    assert newest.epoch not in (old.epoch, new.epoch)
    assert bus.measured.epochs.values() == {(): 2}


def test_new_publisher_notices_it_by_the_stored_positions(bus: Bus, servers: Servers, raw_redis: Any) -> None:
    bus.publish_prices([tick(1)])
    dumps = dumped(bus, raw_redis)
    [old] = bus.publish_prices([tick(2)])
    other = Bus(servers.redis_url, lambda: datetime.now(UTC))
    assert other.renew_if_behind(topics.PRICES, {"EUR_USD": old}) is None
    for key, dump in dumps.items():
        raw_redis.restore(key, 0, dump, replace=True)
    assert other.renew_if_behind(topics.PRICES, {"EUR_USD": Stamp("another", 9)}) is None
    assert other.renew_if_behind(topics.PRICES, {"EUR_USD": old}) == old.epoch
    assert other.measured.epochs.values() == {(): 1}
    [new] = other.publish_prices([tick(3)])
    assert new == Stamp(new.epoch, 1) != old


def test_epoch_is_renewed_once(bus: Bus, raw_redis: Any) -> None:
    assert bus.renew_epoch("none yet") is None
    [old] = bus.publish_prices([tick(1)])
    assert bus.renew_epoch("another") == old.epoch
    new = bus.renew_epoch(old.epoch)
    assert new != old.epoch
    assert bus.renew_epoch(old.epoch) == new  # by another hub
    assert bus.publish_prices([tick(2)]) == [Stamp(str(new), 1)]


def test_entries_of_other_programs_begin_no_epoch(bus: Bus, raw_redis: Any) -> None:
    [old] = bus.publish_prices([tick(1)])
    raw_redis.xadd(topics.stream_key(topics.PRICES), {"x": "y"})
    assert bus.publish_prices([tick(2)]) == [Stamp(old.epoch, 2)]


def test_data_directory_of_an_earlier_version_goes_on(bus: Bus, raw_redis: Any) -> None:
    """Epoch and numbers were keys of their own; the entries were the same."""
    raw_redis.set("tickwire:epoch", "old")
    raw_redis.hset("tickwire:seq:price_updates", "EUR_USD", "7")
    body = {"instrument": "EUR_USD", "price": {"bid": "1", "ask": "1", "mid": "1", "time": "2025-11-18T12:30:00.000000Z"}}
    fields: dict[Any, Any] = {
        "topic": "EUR_USD", "seq": "7", "epoch": "old", "source": "test", "volume": "",
        "body": orjson.dumps({**body, "timestamp": "2025-11-18T12:30:00.000000Z", "seq": 7, "epoch": "old"}),
    }  # fmt: skip
    raw_redis.xadd(topics.stream_key(topics.PRICES), fields)
    raw_redis.hset(topics.count_key(topics.PRICES), mapping={"published": 7, "stored": 6})
    bus.forget_former_numbers()
    [new] = bus.publish_prices([tick(1)])
    assert (new.epoch != "old", new.seq) == (True, 1)
    bus.open_group(topics.PRICES)
    entries = bus.read_unstored(topics.PRICES, 10, 0)
    assert [(entry.epoch, entry.seq) for entry in entries] == [("old", 7), (new.epoch, 1)]
    assert [key for key in raw_redis.keys("*") if b"epoch" in key or b"seq" in key] == [b"tickwire:seq"]
