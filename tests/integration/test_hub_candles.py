"""Candles at the hub, with stock clients: rooms by instrument and interval."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any

import orjson
import pytest
import redis as redis_client

from db import topics
from db.bus import Bus
from db.timestamps import format_time
from tests.conftest import until
from tests.support.clients import NodeClient, PythonClient, Received
from tests.support.processes import Web

Client = PythonClient | NodeClient
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
EUR_1M, EUR_1H, GBP_1M = (
    {"pair": pair, "interval": interval} for pair, interval in (("EUR_USD", "1m"), ("EUR_USD", "1h"), ("GBP_USD", "1m"))
)


@pytest.fixture(scope="module")
def instruments() -> Iterator[str]:
    """Instruments of the shared hub that only `unpublished` hands out."""
    return iter(["USD_CHF", "USD_CAD", "NZD_USD", "AUD_JPY"])


@pytest.fixture
def unpublished(instruments: Iterator[str]) -> str:
    """An instrument without a candle on the shared hub."""
    return next(instruments)


def candle(minute: int = 0, close: str = "1.0946", *, complete: bool = False) -> dict[str, Any]:
    start = NOON + timedelta(minutes=minute)
    return {
        "start_time": format_time(start), "end_time": format_time(start + timedelta(minutes=1)),
        "open": "1.0945", "high": "1.0950", "low": "1.0940", "close": close, "volume": "12", "trades": 12, "complete": complete,
    }  # fmt: skip


def publish(bus: Bus, *minutes: int, pair: str = "EUR_USD", interval: str = "1m") -> None:
    bus.publish_candles([(pair, interval, candle(minute)) for minute in minutes])


def relayed(client: Client, count: int) -> None:
    """Wait until the hub has relayed this number of messages."""
    until(lambda: client.stats()["messages_relayed"] >= count, what=f"{count} messages relayed")


def minutes_of(bodies: list[dict[str, Any]]) -> list[str]:
    return [body["candle"]["start_time"][14:16] for body in bodies]


def updates(client: Client, interval: str = "1m", pair: str = "EUR_USD") -> list[dict[str, Any]]:
    return [body for body in client.bodies("candle_update") if (body["instrument"], body["interval"]) == (pair, interval)]


def answers(client: Client, event: str, answer_event: str, *payload: Any) -> Any:
    """Return the body of the ack, after the check that the event has the same body."""
    before = len(client.bodies(answer_event))
    ack = client.call(event, *payload)
    assert client.wait(answer_event, before + 1) == ack
    return ack


def test_candles_are_subscribed_and_unsubscribed(client: Client, bus: Bus) -> None:
    publish(bus, 0, 1)
    relayed(client, 2)
    body = answers(client, "subscribe", "subscription_confirmed", {"candles": [EUR_1M, EUR_1H, EUR_1M]})
    assert (body["pairs"], body["pair_count"], body["added"], body["snapshot"], body["max_rate"]) == ([], 0, [], {}, None)
    assert (body["candles"], body["rejected"]) == ([EUR_1M, EUR_1H], [])
    [snapshot] = body["candle_snapshot"]
    assert (snapshot["instrument"], snapshot["interval"], snapshot["candle"], snapshot["seq"]) == ("EUR_USD", "1m", candle(1), 2)

    publish(bus, 2)
    publish(bus, 60, interval="1h")
    publish(bus, 3, pair="GBP_USD")  # without a subscriber
    publish(bus, 5, interval="5m")
    bus.publish_data_ready("volatility", ["EUR_USD"], NOON)
    client.wait("data_ready")  # of another channel: in any order with the candles
    client.wait("candle_update", 2)
    relayed(client, 7)
    got = client.bodies("candle_update")
    assert [(each["instrument"], each["interval"], each["seq"]) for each in got] == [("EUR_USD", "1m", 3), ("EUR_USD", "1h", 1)]
    assert list(got[0]) == ["instrument", "interval", "candle", "timestamp", "seq", "epoch"]
    assert got[0]["candle"] == candle(2)
    assert client.bodies("price_update") == []

    assert answers(client, "get_subscriptions", "subscriptions_info")["candles"] == [EUR_1M, EUR_1H]
    gone = answers(client, "unsubscribe", "unsubscription_confirmed", {"candles": [EUR_1M, GBP_1M, {"pair": 5}, "odd"]})
    assert (gone["pairs"], gone["removed"], gone["candles"]) == ([], [], [EUR_1H])
    publish(bus, 4)
    publish(bus, 120, interval="1h")
    client.wait("candle_update", 3)
    assert minutes_of(updates(client)) == ["02"]
    assert answers(client, "unsubscribe", "unsubscription_confirmed", {"candles": "all"})["candles"] == []
    assert "candles" not in answers(client, "get_subscriptions", "subscriptions_info")


def test_candle_that_begins_after_now_is_in_no_snapshot(shared_hub: Web, shared_bus: Bus, unpublished: str) -> None:
    """The clock of the jobs was ahead."""
    ahead = {**candle(), "start_time": format_time(datetime.now(UTC) + timedelta(hours=20))}
    shared_bus.publish_candles([(unpublished, "1m", ahead), (unpublished, "5m", candle())])
    wanted = [{"pair": unpublished, "interval": interval} for interval in ("1m", "5m")]
    with PythonClient(shared_hub.url) as client:
        client.wait("connection_established")
        found = until(lambda: client.call("subscribe", {"candles": wanted})["candle_snapshot"], what="the candle of five minutes")
    assert [(each["interval"], each["candle"]) for each in found] == [("5m", candle())]  # type: ignore[attr-defined]


def test_prices_and_candles_are_subscribed_independently(client: Client, bus: Bus) -> None:
    body = answers(client, "subscribe", "subscription_confirmed", {"pairs": "EUR_USD", "candles": [EUR_1M], "max_rate": 0.1})
    assert (body["pairs"], body["added"], body["candles"], body["candle_snapshot"]) == (["EUR_USD"], ["EUR_USD"], [EUR_1M], [])
    assert body["max_rate"] == 0.1
    for minute in range(5):
        bus.cache_price("EUR_USD", bid="1", ask="2", mid="1.5", time=NOON)
        publish(bus, minute)
    client.wait("candle_update", 5)  # max_rate delays prices only
    assert minutes_of(updates(client)) == ["00", "01", "02", "03", "04"]
    client.wait("price_update")
    assert len(client.seqs()) < 5
    stats = client.stats()
    assert (stats["total_subscriptions"], stats["subscriptions_by_pair"], stats["candle_subscriptions"]) == (1, {"EUR_USD": 1}, 1)

    everything = client.call("subscribe", {"pairs": "all"})  # prices alone
    assert (everything["pair_count"], everything["candles"], everything["candle_snapshot"]) == (31, [EUR_1M], [])
    assert client.call("unsubscribe", {"pairs": "all"})["candles"] == [EUR_1M]
    assert client.call("subscribe", {"pairs": ["EUR_USD"]})["candles"] == [EUR_1M]
    both = client.call("unsubscribe", {"pairs": "all", "candles": "all"})
    assert (both["pairs"], both["removed"], both["candles"]) == ([], ["EUR_USD"], [])


def test_alerts_are_not_sent_to_rooms_of_candles(shared_client: Client, shared_bus: Bus) -> None:
    client, bus = shared_client, shared_bus
    client.call("subscribe", {"candles": [EUR_1M, GBP_1M]})
    bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
    bus.publish_correlation_alert("EUR_USD", "GBP_USD", 0.1, previous=0.9, threshold=0.2, severity="critical")
    publish(bus, 0)
    bus.publish_data_ready("hourly_candles", ["EUR_USD"], NOON)
    client.wait("candle_update")
    client.wait("data_ready")
    assert client.bodies("volatility_alert") == client.bodies("correlation_alert") == []


def test_invalid_candles_of_a_request_are_rejected_one_by_one(shared_client: Client) -> None:
    client = shared_client
    asked = [
        EUR_1M,
        {"pair": "XXX_YYY", "interval": "1m"},
        {"pair": "EUR_USD", "interval": "2m"},
        {"pair": "EUR_USD"},
        {"pair": "EUR_USD", "interval": ["1m"]},
        {"pair": {"a": 1}, "interval": "1m"},
        "EUR_USD",
        None,
        {"interval": "1h", "pair": "GBP_USD"},
        {"interval": "1d", "pair": "GBP_USD", "colour": "green"},
    ]
    body = answers(client, "subscribe", "subscription_confirmed", {"pairs": ["NOPE"], "candles": asked})
    assert body["candles"] == [EUR_1M, {"pair": "GBP_USD", "interval": "1h"}]
    price, *rejected = body["rejected"]
    assert (set(price), price["pair"]) == ({"pair", "code", "message"}, "NOPE")
    assert all(set(each) == {"pair", "interval", "code", "message"} and each["message"] for each in rejected)
    assert [(each["pair"], each["interval"], each["code"]) for each in rejected] == [
        ("XXX_YYY", "1m", "unknown_instrument"),
        ("EUR_USD", "2m", "invalid_payload"),
        ("EUR_USD", None, "invalid_payload"),
        ("EUR_USD", ["1m"], "invalid_payload"),
        ({"a": 1}, "1m", "invalid_payload"),
        ("EUR_USD", None, "invalid_payload"),
        (None, None, "invalid_payload"),
        ("GBP_USD", "1d", "invalid_payload"),
    ]
    assert rejected[-1]["message"] == "Unknown field: use pair, interval, not 'colour'."


def test_request_without_a_list_of_candles_is_refused(shared_client: Client) -> None:
    client = shared_client
    bad: object
    for bad in ([], {}, "1m", EUR_1M, 5, None, "all", [EUR_1M] * 1001):
        for payload in ({"candles": bad}, {"pairs": ["EUR_USD"], "candles": bad}):
            error = answers(client, "subscribe", "error", payload)
            assert (error["code"], set(error["details"])) == ("invalid_payload", {"candles"})
    for bad in ([], {}, 5, None):
        assert set(answers(client, "unsubscribe", "error", {"candles": bad})["details"]) == {"candles"}
    unknown = {"candles": [EUR_1M, {**EUR_1M, "colour": "green"}]}
    details = {"candles": {"1": {"colour": ["Unknown field: use pair, interval."]}}}
    assert answers(client, "unsubscribe", "error", unknown)["details"] == details
    assert set(answers(client, "subscribe", "error", {"pairs": [], "candles": [EUR_1M]})["details"]) == {"pairs"}
    for event in ("subscribe", "unsubscribe"):  # without both, the error names `pairs`
        assert answers(client, event, "error", {})["details"] == {"pairs": ["Missing data for required field."]}
    assert set(answers(client, "get_subscriptions", "subscriptions_info")) == {"pairs", "pair_count", "timestamp"}


def test_client_without_candles_gets_no_field_and_no_event_of_them(shared_hub: Web, shared_bus: Bus) -> None:
    bus = shared_bus
    with PythonClient(shared_hub.url) as client:
        confirmed = client.call("subscribe", {"pairs": "all"})
        expected = ["pairs", "pair_count", "added", "rejected", "rejected_count", "snapshot", "recovered", "max_rate", "timestamp"]
        starts = confirmed.get("positions", {})  # of instruments without a price, if the bus has an epoch
        assert list(confirmed) == [*expected, *(["positions"] if starts else [])]
        assert set(starts) <= set(confirmed["pairs"]) - set(confirmed["snapshot"])
        assert list(client.call("get_subscriptions")) == ["pairs", "pair_count", "timestamp"]
        publish(bus, 0)
        bus.publish_data_ready("volatility", [], NOON)
        client.wait("data_ready")
        assert list(client.call("unsubscribe", {"pairs": "all"})) == ["pairs", "pair_count", "removed", "timestamp"]
        assert client.bodies("candle_update") == []


def test_live_candles_continue_the_snapshot_without_gap_or_repetition(shared_hub: Web, shared_bus: Bus) -> None:
    """Clients subscribe while candles change: each gets snapshot + 1, snapshot + 2, …

    No other test of the shared hub publishes the instrument, so every snapshot is of this epoch.
    """
    pair = "AUD_USD"
    minutes = [{"pair": pair, "interval": "1m"}]
    enough = threading.Event()

    def run() -> None:
        for number in count():
            if enough.is_set():
                return
            publish(shared_bus, number // 10 % 60, pair=pair)
            if number % 7 == 0:
                publish(shared_bus, max(0, number // 10 % 60 - 3), pair=pair)  # late data for an older candle
            enough.wait(0.002)

    publisher = threading.Thread(target=run, daemon=True)
    with ExitStack() as stack:
        clients = [stack.enter_context(PythonClient(shared_hub.url)) for _ in range(4)]
        publisher.start()
        stack.callback(publisher.join, 60)
        stack.callback(enough.set)
        for turn in range(1, 6):
            for client in clients:
                client.emit("subscribe", {"candles": minutes})
                confirmed = client.wait("subscription_confirmed", turn)
                after = len(client.bodies("candle_update"))
                client.wait("candle_update", after + 5)
                client.emit("unsubscribe", {"candles": minutes})
                client.wait("unsubscription_confirmed", turn)
                assert len(confirmed["candle_snapshot"]) <= 2
        for client in clients:
            assert count_joined(client.received) >= 5 * 5


def count_joined(received: list[Received]) -> int:
    """Check that each update continues the snapshot or the previous update; count the updates.

    After `unsubscription_confirmed` no update may follow.
    """
    followed, expected = 0, -1
    for event, body in list(received):
        if event == "subscription_confirmed":
            expected = max((each["seq"] for each in body["candle_snapshot"]), default=0) + 1
        elif event == "unsubscription_confirmed":
            expected = -1
        elif event == "candle_update":
            assert body["seq"] == expected
            expected, followed = expected + 1, followed + 1
    return followed


def test_snapshot_after_a_correction_has_the_newest_and_the_corrected_candle(hub: Web, bus: Bus) -> None:
    with PythonClient(hub.url) as client:
        publish(bus, 7, 8, 3)
        publish(bus, 60, interval="1h")
        relayed(client, 4)
        snapshot = client.call("subscribe", {"candles": [EUR_1H, EUR_1M, GBP_1M]})["candle_snapshot"]
        assert [(each["interval"], each["candle"], each["seq"]) for each in snapshot] == [
            ("1h", candle(60), 1),
            ("1m", candle(3), 3),
            ("1m", candle(8), 2),
        ]


def test_foreign_candle_is_relayed_unchanged(shared_client: Client, shared_redis: redis_client.Redis, unpublished: str) -> None:
    client = shared_client
    minutes = [{"pair": unpublished, "interval": "1m"}]
    client.call("subscribe", {"candles": minutes})
    odd = {"instrument": unpublished, "interval": "1m", "candle": {**candle(4), "vwap": "1.09455"}, "by": ["somebody", {"else": None}]}
    shared_redis.publish("candle_updates", orjson.dumps(odd))
    assert client.wait("candle_update") == odd
    client.call("unsubscribe", {"candles": "all"})
    assert client.call("subscribe", {"candles": minutes})["candle_snapshot"] == [odd]


def test_bad_candle_messages_are_skipped_and_counted(hub: Web, bus: Bus, raw_redis: redis_client.Redis) -> None:
    good: dict[str, Any] = {"instrument": "EUR_USD", "interval": "1m", "candle": candle(0)}
    bad_intervals: list[object] = ["2m", 60, None, ["1m"]]
    bad_candles: list[object] = [{}, [], "1.5", {**candle(0), "open": 1.5}, {**candle(0), "complete": 1}]
    garbage: dict[str, list[bytes]] = {
        "not_json": [b"", b"{", b"\xff"],
        "not_an_object": [b"[]", b"null"],
        "too_large": [orjson.dumps({**good, "x": "x" * 100_000})],
        "schema": [
            b"{}",
            *(orjson.dumps({key: value for key, value in good.items() if key != name}) for name in good),
            *(orjson.dumps({**good, "interval": bad}) for bad in bad_intervals),
            *(orjson.dumps({**good, "candle": bad}) for bad in bad_candles),
            orjson.dumps({**good, "seq": 5}),
        ],
        "unknown_instrument": [orjson.dumps({**good, "instrument": "XXX_YYY"})],
        "unknown_sequence": [orjson.dumps({**good, "seq": 900, "epoch": "forged"})],
    }
    with PythonClient(hub.url) as client:
        client.call("subscribe", {"candles": [EUR_1M]})
        publish(bus, 1)
        for messages in garbage.values():
            for message in messages:
                raw_redis.publish(topics.CANDLES, message)
        publish(bus, 2)
        client.wait("candle_update", 2)
        assert [body["seq"] for body in updates(client)] == [1, 2]
        # A relay that catches up may deliver the last candle before it has read the others.
        skipped = {kind: len(messages) for kind, messages in garbage.items()}
        until(lambda: client.stats()["messages_skipped"] == skipped, what="the count of every bad message")
    assert "Traceback" not in hub.output()


def test_client_that_stops_reading_gets_the_latest_candle_and_a_gap_notice(hub: Web, bus: Bus) -> None:
    with PythonClient(hub.url) as healthy, NodeClient(hub.url) as stuck:
        for client in (healthy, stuck):
            client.wait("connection_established")
            client.call("subscribe", {"candles": [EUR_1M, GBP_1M]})
        batch = [(pair, "1m", candle(0)) for pair in ("EUR_USD", "GBP_USD")] * 250  # less than OUTBOX_LIMIT_BYTES
        published = 0
        os.kill(stuck.pid, signal.SIGSTOP)
        try:
            while not healthy.stats()["messages_conflated"]:
                bus.publish_candles(batch)
                published += len(batch)
                healthy.wait("candle_update", published, seconds=60)
        finally:
            os.kill(stuck.pid, signal.SIGCONT)
        dropped = stuck.wait("gap_notice", seconds=60)["dropped"]
        assert set(dropped) <= {"EUR_USD|1m", "GBP_USD|1m"}
        for pair in ("EUR_USD", "GBP_USD"):
            seqs = [body["seq"] for body in updates(stuck, pair=pair)]
            assert seqs[-1] == published // 2
            assert seqs == sorted(set(seqs))
            assert len(seqs) + dropped.get(f"{pair}|1m", 0) == published // 2


def test_disconnect_of_a_client_ends_its_candle_subscriptions(hub: Web, bus: Bus) -> None:
    with PythonClient(hub.url) as watcher:
        with PythonClient(hub.url) as one, NodeClient(hub.url) as two:
            two.wait("connection_established")
            for client in (one, two):
                client.call("subscribe", {"candles": [EUR_1M, EUR_1H]})
            stats = watcher.stats()
            assert (stats["candle_subscriptions"], stats["total_subscriptions"], stats["subscriptions_by_pair"]) == (4, 0, {})
            publish(bus, 0)
            for client in (one, two):
                client.wait("candle_update")
        until(lambda: watcher.stats()["candle_subscriptions"] == 0, what="no subscription")
        delivered = watcher.stats()["messages_delivered"]
        publish(bus, 1)
        relayed(watcher, 2)
        assert watcher.stats()["messages_delivered"] == delivered


def test_snapshot_after_a_restart_has_the_newest_candles(hub: Web, bus: Bus) -> None:
    with PythonClient(hub.url) as client:
        client.call("subscribe", {"candles": [EUR_1M]})
        publish(bus, 0, 1)
        client.wait("candle_update", 2)
    hub.kill()
    publish(bus, 2, 3)  # during the outage
    publish(bus, 60, interval="1h")
    hub.start()
    with PythonClient(hub.url) as client:
        snapshot = client.call("subscribe", {"candles": [EUR_1M, EUR_1H]})["candle_snapshot"]
        assert [(each["interval"], each["candle"], each["seq"]) for each in snapshot] == [("1m", candle(3), 4), ("1h", candle(60), 1)]
        publish(bus, 4)
        assert client.wait("candle_update")["seq"] == 5


def test_lost_redis_connection_causes_no_gap_in_candles(hub: Web, bus: Bus, raw_redis: redis_client.Redis) -> None:
    with PythonClient(hub.url) as client:
        client.call("subscribe", {"candles": [EUR_1M]})
        for minute in range(60):
            if minute % 20 == 10:
                raw_redis.client_kill_filter(_type="pubsub")
            publish(bus, minute)
        client.wait("candle_update", 60)
        seqs = [body["seq"] for body in updates(client)]
        assert seqs[0] == 1
        assert all(after == before + 1 for before, after in pairwise(seqs))
