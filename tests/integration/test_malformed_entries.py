"""Malformed entries of the streams, and malformed values of the hashes that processes read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from api.app import create_app
from config.settings import Settings
from db import topics
from db.bus import Bus, BusError, Parked
from db.messages import Tick, Trade, trade_lines
from db.postgres import Store
from db.timestamps import utc_now
from jobs.store.book_queue import BookQueue
from jobs.store.queues import PriceQueue, StoreQueue, TradeQueue
from jobs.store.writer import BatchRule, Writer
from tests.conftest import Servers, until
from tests.support.book_rows import top
from tests.support.clients import PythonClient
from tests.support.processes import Web
from tests.support.registry import put_report

NOON = "2025-11-18T12:30:00.000000Z"
BODY = {"instrument": "EUR_USD", "price": {"bid": "1", "ask": "1", "mid": "1", "time": NOON}, "timestamp": NOON, "seq": 1, "epoch": "x"}
ENTRY = {b"topic": b"EUR_USD", b"seq": b"1", b"epoch": b"x", b"body": orjson.dumps(BODY), b"source": b"test", b"volume": b""}
NOT_UTF_8 = b"\xff\xfe"


def tick(number: int) -> Tick:
    return Tick("EUR_USD", f"1.{number:06}", "2.5", "2.0", NOON, "test")


def trade(number: int) -> Trade:
    return Trade("BTCUSDT", number, NOON, "61837.1", "0.001", "buy")


def without(entry: Mapping[bytes, bytes], field: bytes) -> dict[bytes, bytes]:
    return {name: value for name, value in entry.items() if name != field}


NO_MESSAGE: dict[str, dict[bytes, bytes]] = {
    "foreign fields": {b"x": b"y"},
    **{f"no {field.decode()}": without(ENTRY, field) for field in ENTRY},
    **{f"{field.decode()} is not UTF-8": {**ENTRY, field: NOT_UTF_8} for field in (b"topic", b"epoch", b"source", b"volume")},
    "seq is no number": {**ENTRY, b"seq": b"first"},
    "occurrence is no number": {**ENTRY, b"occurrence": b"first"},
}
NO_PRICE: dict[str, dict[bytes, bytes]] = {
    **NO_MESSAGE,
    "body is not UTF-8": {**ENTRY, b"body": NOT_UTF_8},
    "body is no object": {**ENTRY, b"body": b"[]"},
    "body has no price": {**ENTRY, b"body": orjson.dumps({**BODY, "price": None})},
    "body is large": {**ENTRY, b"body": b"x" * 200_000},
    "source has a NUL": {**ENTRY, b"source": b"a\0b"},
}
LINES = trade_lines([trade(900)])
NO_TRADES: dict[str, dict[bytes, bytes]] = {
    "foreign fields": {b"x": b"y"},
    "no number": {b"lines": LINES},
    "no lines": {b"trades": b"1"},
    "number cannot be read": {b"trades": b"one", b"lines": LINES},
    "lines are not UTF-8": {b"trades": b"1", b"lines": NOT_UTF_8 + b"\n"},
    "checked lines are not UTF-8": {b"trades": b"1", b"lines": NOT_UTF_8 + b"\n", b"admitted": b"1"},
    "checked lines have no fields": {b"trades": b"1", b"lines": b"nonsense\n", b"admitted": b"1"},
}
TOP = top(datetime(2025, 11, 18, tzinfo=UTC))
NO_ROW: dict[str, dict[bytes, bytes]] = {
    "foreign fields": {b"x": b"y"},
    "no table": {b"row": TOP.encode()},
    "no row": {b"table": b"book_tops"},
    "unknown table": {b"table": b"prices", b"row": TOP.encode()},
    "row of the other table": {b"table": b"book_snapshots", b"row": TOP.encode()},
    "row is not UTF-8": {b"table": b"book_tops", b"row": NOT_UTF_8},
    "row is large": {b"table": b"book_tops", b"row": b"x" * 200_000},
    "bid is no decimal": {b"table": b"book_tops", b"row": replace(TOP, bid="1e3").encode()},
    "symbol has a NUL": {b"table": b"book_tops", b"row": replace(TOP, symbol="BTC\0").encode()},
}


def prices(bus: Bus, number: int) -> None:
    bus.publish_prices([tick(number)])


def trades(bus: Bus, number: int) -> None:
    bus.publish_trades([trade(number)], f"test/{number}")


def books(bus: Bus, number: int) -> None:
    bus.append_book_rows([top(datetime(2025, 11, 18, 12, number, tzinfo=UTC), update_id=number)], [])


STREAMS: dict[str, tuple[Callable[[Bus, int], None], Callable[[Bus], StoreQueue[Any]], Mapping[str, Mapping[bytes, bytes]], str]] = {
    topics.PRICES: (prices, PriceQueue, NO_PRICE, "SELECT seq::int FROM prices ORDER BY bid::numeric"),
    topics.TRADES: (trades, lambda bus: TradeQueue(bus, utc_now), NO_TRADES, "SELECT trade_id::int FROM raw_trades ORDER BY 1"),
    topics.BOOK_TOPS: (books, lambda bus: BookQueue(bus, utc_now), NO_ROW, "SELECT update_id::int FROM book_tops ORDER BY time"),
}


@pytest.mark.parametrize("channel", STREAMS)
def test_malformed_entries_are_parked_and_their_neighbours_stored_once(channel: str, bus: Bus, store: Store, raw_redis: Any) -> None:
    publish, queue, bad, select = STREAMS[channel]
    ids = []
    publish(bus, 1)
    for number, fields in enumerate(bad.values(), 2):
        ids.append(raw_redis.xadd(topics.stream_key(channel), fields))
        publish(bus, number)
    stop = threading.Event()
    thread = threading.Thread(target=Writer(bus, store, BatchRule(4, 20), queue(bus)).run, args=(stop,))
    thread.start()
    try:
        until(lambda: bus.parked().total == len(bad) and bus.unstored(channel) == 0, what="an empty stream")
    finally:
        stop.set()
        thread.join(60)
    with store.transaction() as cursor:
        cursor.execute(select)
        assert [number for (number,) in cursor.fetchall()] == list(range(1, len(bad) + 2))
    letters = raw_redis.xrange(topics.dead_key(channel))
    assert sorted(fields[b"id"] for _, fields in letters) == sorted(ids)
    assert all(set(fields) == {b"id", b"reason", b"raw"} and fields[b"reason"] for _, fields in letters)
    assert max(len(fields[b"raw"]) for _, fields in letters) <= 64 * 1024
    assert raw_redis.xpending(topics.stream_key(channel), topics.WRITER_GROUP)["pending"] == 0
    last = bus.parked().last
    assert last is not None
    assert bus.parked() == Parked(len(bad), last)
    assert bus.measured.parked.values()[(channel,)] == len(bad)


def test_entry_is_parked_once(bus: Bus, raw_redis: Any) -> None:
    entry_id = raw_redis.xadd(topics.stream_key(topics.PRICES), {"x": "y"})
    bus.open_group(topics.PRICES)
    noted: list[bytes] = []
    assert bus.read_unstored(topics.PRICES, 10, 0, note_bad=lambda found, error: noted.append(found)) == []
    bus.park(topics.PRICES, {entry_id: "again"})
    assert noted == [entry_id]
    assert (bus.parked().total, raw_redis.xlen(topics.dead_key(topics.PRICES))) == (1, 1)


def test_at_most_1000_dead_letters_are_kept(bus: Bus, raw_redis: Any) -> None:
    pipe = raw_redis.pipeline()
    for number in range(1_005):
        pipe.xadd(topics.stream_key(topics.TRADES), {"x": number})
    pipe.execute()
    bus.open_group(topics.TRADES)
    assert bus.read_unstored_trades(2_000, 0) == []
    assert bus.parked().total == 1_005
    assert raw_redis.xlen(topics.dead_key(topics.TRADES)) == 1_000
    assert raw_redis.xlen(topics.stream_key(topics.TRADES)) == 0


def test_pending_entries_that_the_stream_has_lost_are_acknowledged(bus: Bus, raw_redis: Any) -> None:
    bus.publish_prices([tick(number) for number in range(1, 7)])
    bus.open_group(topics.PRICES)
    lost = [entry.id for entry in bus.read_unstored(topics.PRICES, 5, 0)][:3]
    raw_redis.xdel(topics.stream_key(topics.PRICES), *lost)
    assert [entry.seq for entry in bus.read_unstored(topics.PRICES, 3, 0, again=True)] == [4, 5]
    assert bus.unstored() == 3


@pytest.mark.parametrize("channel", [topics.PRICES, topics.TRADES])
@pytest.mark.parametrize("loss", ["counts", "counts cannot be read", "group", "stream", "counts are lower", "counts are higher"])
def test_counts_are_corrected(loss: str, channel: str, bus: Bus, raw_redis: Any) -> None:
    publish = prices if channel == topics.PRICES else trades
    bus.open_group(channel)
    for number in range(1, 7):
        publish(bus, number)
    if channel == topics.PRICES:
        bus.acknowledge(channel, [entry.id for entry in bus.read_unstored(channel, 2, 0)])
        bus.read_unstored(channel, 1, 0)
    else:
        bus.forget_trades(bus.read_unstored_trades(2, 0))
        bus.read_unstored_trades(1, 0)
    assert bus.recount(channel) is None
    key, stream = topics.count_key(channel), topics.stream_key(channel)
    expected = 4
    if loss == "counts":
        raw_redis.delete(key)
    elif loss == "counts cannot be read":
        raw_redis.hset(key, mapping={"published": "many", "stored": "x"})
    elif loss == "group":
        raw_redis.xgroup_destroy(stream, topics.WRITER_GROUP)
        bus.open_group(channel)
        expected = 6 if channel == topics.PRICES else 4
    elif loss == "stream":
        raw_redis.delete(stream)
        expected = 0
    else:
        raw_redis.hset(key, mapping={"published": 6, "stored": 6 if loss == "counts are lower" else 0})
    publish(bus, 7)
    bus.recount(channel)
    assert bus.unstored(channel) == expected + 1
    assert bus.recount(channel) is None
    publish(bus, 8)
    assert bus.unstored(channel) == expected + 2


def test_wrong_counts_do_not_make_the_bus_full(servers: Servers, raw_redis: Any) -> None:
    bus = Bus(servers.redis_url, lambda: datetime.now(UTC), limit=10)
    bus.publish_prices([tick(number) for number in range(10)])
    bus.publish_trades([trade(number) for number in range(10)], "test/1")
    raw_redis.delete(topics.stream_key(topics.PRICES), topics.stream_key(topics.TRADES))
    bus.publish_prices([tick(number) for number in range(5)])
    bus.publish_trades([trade(number) for number in range(5)], "test/2")


def test_lost_counts_trim_no_unstored_entry(servers: Servers, raw_redis: Any) -> None:
    row = topics.Stream("moons", tail=10, stored=True)
    bus = Bus(servers.redis_url, lambda: datetime.now(UTC), streams={"moons": row})
    raw_redis.config_set("stream-node-max-entries", 1)  # trims at once
    try:
        for _ in range(50):
            bus.publish("moons", "Io", {})
        raw_redis.delete(topics.count_key("moons"))
        for _ in range(50):
            bus.publish("moons", "Io", {})
        assert raw_redis.xlen(topics.stream_key("moons")) == 100
    finally:
        raw_redis.config_set("stream-node-max-entries", 100)


# values of the hashes

BAD_PRICES = [b"", NOT_UTF_8, b"[]", b"{}", b"null", orjson.dumps({**BODY, "price": {}}), orjson.dumps({**BODY, "seq": "1"})]


def test_latest_prices_that_cannot_be_read_are_left_out(bus: Bus, raw_redis: Any, settings: Settings, store: Store) -> None:
    [stamp] = bus.publish_prices([tick(1)])
    for number, value in enumerate(BAD_PRICES):
        raw_redis.hset(topics.LATEST_KEY, f"BAD_{number}", value)
        raw_redis.hset(topics.LATEST_KEY, "GBP_USD", value)
        assert set(bus.latest_prices()) == {"EUR_USD"}
        assert set(bus.latest_times(["EUR_USD", "GBP_USD"])) == {"EUR_USD"}
    raw_redis.hset(topics.LATEST_KEY, NOT_UTF_8, b"{}")
    assert set(bus.latest_prices()) == {"EUR_USD"}
    client = create_app(settings, bus, store, utc_now, "1").test_client()
    assert client.get("/price/latest?symbol=GBP_USD").status_code == 404
    assert client.get("/symbols").status_code == 200
    assert bus.publish_prices([tick(2)])[0].seq == stamp.seq + 1


def test_instruments_counts_and_receipts_that_cannot_be_read_stop_nothing(bus: Bus, raw_redis: Any, servers: Servers) -> None:
    raw_redis.hset(topics.PARKED_KEY, mapping={"total": "x", "last": "never"})
    assert bus.parked() == Parked(0, None)
    bus.publish_prices([tick(1)], "test/1")
    raw_redis.set(topics.receipt_key("test", 0), b"\xc1")
    raw_redis.hset(topics.count_key(topics.PRICES), "stored", "x")
    assert bus.publish_prices([tick(2)], "test/2")[0].seq == 2
    raw_redis.set(topics.CALENDARS_KEY, b"[1]")
    with pytest.raises(BusError, match="no instruments yet"):
        Bus(servers.redis_url, utc_now).publish_prices([tick(3)])
    bus._read_at = float("-inf")  # as ten seconds later
    bus.publish_prices([tick(3)])
    assert Bus(servers.redis_url, utc_now).publish_prices([tick(4)])[0].seq == 4
    raw_redis.set(topics.leader_key("observer"), NOT_UTF_8)
    assert bus.leader("observer") not in (None, "token")


# the hub


def skipped(client: PythonClient) -> dict[str, int]:
    counts: dict[str, int] = client.stats()["messages_skipped"]
    return counts


def reconnect_the_relay(client: PythonClient, raw_redis: Any, hub: Web) -> None:
    before = hub.output().count('"relay connected"')
    raw_redis.client_kill_filter(_type="pubsub")
    until(lambda: hub.output().count('"relay connected"') > before, what="the relay connected again")


def test_relay_skips_malformed_entries_and_counts_each_once(shared_hub: Web, shared_bus: Bus, shared_redis: Any) -> None:
    publishes: dict[str, Callable[[int], object]] = {
        topics.PRICES: lambda number: shared_bus.publish_prices([tick(number)]),
        topics.CANDLES: lambda number: shared_bus.publish_candles([("EUR_USD", "1m", candle(number))]),
        topics.VOLATILITY_ALERTS: lambda number: shared_bus.publish_volatility_alert("EUR_USD", 0.1, threshold=0.1, severity="warning"),
        topics.CORRELATION_ALERTS: lambda number: shared_bus.publish_correlation_alert(
            "EUR_USD", "GBP_USD", 0.1, previous=0.1, threshold=0.1, severity="warning"
        ),
        topics.DATA_READY: lambda number: shared_bus.publish_data_ready("volatility", [], datetime(2025, 1, 1, tzinfo=UTC)),
    }
    events = ("price_update", "candle_update", "volatility_alert", "correlation_alert", "data_ready")
    with PythonClient(shared_hub.url) as client:
        client.call("subscribe", {"pairs": ["EUR_USD"], "candles": [{"pair": "EUR_USD", "interval": "1m"}]})
        for publish in publishes.values():
            publish(1)
        for channel, publish in publishes.items():
            for fields in NO_MESSAGE.values():
                shared_redis.xadd(topics.stream_key(channel), fields)
            publish(2)
        for event in events:
            client.wait(event, 2)
        reconnect_the_relay(client, shared_redis, shared_hub)
        for publish in publishes.values():
            publish(3)
        for event in events:
            client.wait(event, 3)
            assert [body["seq"] for body in client.bodies(event)] == [1, 2, 3]
        # Entries below the last relayed one are not read again, so the number is a maximum.
        count = skipped(client).get("malformed_entry", 0)
        assert count <= len(publishes) * len(NO_MESSAGE)
        for channel in publishes:
            shared_redis.xadd(topics.stream_key(channel), {"x": "y"})
        for _ in range(3):
            reconnect_the_relay(client, shared_redis, shared_hub)
        assert skipped(client)["malformed_entry"] == count + len(publishes)
    assert "relay failed" not in shared_hub.output()
    assert "Traceback" not in shared_hub.output()


def candle(number: int) -> dict[str, object]:
    start = datetime(2025, 11, 18, 12, number, tzinfo=UTC)
    times = {"start_time": f"{start:%Y-%m-%dT%H:%M}:00Z", "end_time": f"{start + timedelta(minutes=1):%Y-%m-%dT%H:%M}:00Z"}
    return {**times, "open": "1", "high": "1", "low": "1", "close": "1", "volume": "0", "complete": False}


def test_bad_message_counts_once_live_and_from_the_stream(shared_hub: Web, shared_bus: Bus, shared_redis: Any) -> None:
    with PythonClient(shared_hub.url) as client:
        client.call("subscribe", {"pairs": ["EUR_USD"]})
        shared_bus.publish_prices([tick(1)])
        client.wait("price_update", 1)
        before = skipped(client).get("unknown_instrument", 0)
        shared_bus.publish_volatility_alert("XXX_YYY", 0.1, threshold=0.1, severity="warning")  # the hub does not know it
        for _ in range(3):
            reconnect_the_relay(client, shared_redis, shared_hub)
        shared_bus.publish_volatility_alert("EUR_USD", 0.1, threshold=0.1, severity="warning")
        client.wait("volatility_alert")
        assert skipped(client)["unknown_instrument"] == before + 1


def test_hub_starts_with_malformed_latest_prices(settings: Settings, bus: Bus, raw_redis: Any, tmp_path: Any) -> None:
    bus.publish_prices([tick(1)])
    raw_redis.hset(topics.LATEST_KEY, "GBP_USD", b"{}")
    raw_redis.hset(topics.LATEST_KEY, "USD_JPY", b'{"instrument":"USD_JPY"')
    with Web("hub", settings, tmp_path / "hub.log") as hub, PythonClient(hub.url) as client:
        answer = client.call("subscribe", {"pairs": "all"})
        assert set(answer["snapshot"]) == {"EUR_USD"}


# health


def test_health_is_degraded_for_an_hour_after_a_malformed_entry(settings: Settings, bus: Bus, store: Store, raw_redis: Any) -> None:
    raw_redis.xadd(topics.stream_key(topics.PRICES), {"x": "y"})
    bus.open_group(topics.PRICES)
    bus.read_unstored(topics.PRICES, 10, 0)
    for minutes, state in ((0, "degraded"), (59, "degraded"), (61, "healthy")):
        now = datetime.now(UTC) + timedelta(minutes=minutes)
        parked = bus.parked()
        writer = {"unstored": {topics.PRICES: 0}, "oldest_age_seconds": None, "parked": parked.total, "last_parked": parked.last}
        put_report(bus, now=now, writer=writer)
        answer = create_app(settings, bus, store, lambda now=now: now, "1").test_client().get("/health")  # type: ignore[misc]
        body: Any = answer.json
        assert (answer.status_code, body["status"]) == (200, state)
        assert body["writer"] == {"unstored": 0, "oldest_age_seconds": None, "parked": 1, "last_parked": parked.last}
