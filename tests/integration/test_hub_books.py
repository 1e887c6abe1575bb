"""Books and heartbeats at the hub, with stock clients that verify every checksum."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import orjson
import pytest
import redis as redis_client

from db.bus import Bus
from db.messages import Stamp
from tests.conftest import until
from tests.support import hub_books
from tests.support.clients import NodeClient, PythonClient
from tests.support.hub_books import mirror_of
from tests.support.processes import Web, stopped

Client = PythonClient | NodeClient
NAME, OTHER = "BTCUSDT", "ETHUSDT"
SMALL, LARGE = ({"pair": NAME, "depth": depth} for depth in (5, 50))
STATE = ["instrument", "state", "previous", "reason", "update_id", "expected_id", "received_id", "timestamp", "seq", "epoch"]


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    """Few tests publish heartbeats: the books of the others must not become stale."""
    return {"OUTBOX_LIMIT_BYTES": "65536", "HEARTBEAT_INTERVAL": "60"}


def begin(bus: Bus, client: Client, instrument: str = NAME) -> Stamp:
    """Publish the first snapshots, and wait until the hub has them."""
    # The state first: in a new epoch the hub catches up with its stream before it takes the books.
    bus.publish_book_state(hub_books.state(instrument, "live", "syncing", update_id=50_000_000_001))
    stamp = bus.publish_books(hub_books.messages(1, instrument, starts=True))[-1]

    def is_there() -> bool:
        body = client.call("request_book", {"instrument": instrument, "depth": 50})
        return (body.get("epoch"), body.get("seq")) == (stamp.epoch, stamp.seq)

    until(is_there, what="the book in the hub")
    return stamp


@contextmanager
def publishing(bus: Bus, instrument: str = NAME, pause: float = 0.01) -> Iterator[Callable[[], int]]:
    """Publish message 2, 3, … of all depths; yields a function that returns the last number."""
    last, stop = [1], threading.Event()

    def run() -> None:
        for number in count(2):
            if stop.is_set():
                return
            bus.publish_books(hub_books.messages(number, instrument))
            last[0] = number
            stop.wait(pause)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield lambda: last[0]
    finally:
        stop.set()
        thread.join(60)


def at(depth: int, seq: int) -> Callable[[Any], bool]:
    """Return a condition: a message of this depth and number."""
    return lambda body: (body["depth"], body["seq"]) == (depth, seq)


def test_books_are_subscribed_updated_and_unsubscribed(shared_client: Client, shared_bus: Bus) -> None:
    client, bus = shared_client, shared_bus
    begin(bus, client)
    wrong = [{"pair": NAME, "depth": 7}, {"pair": "EUR_USD", "depth": 5}, "odd"]
    body = client.call("subscribe", {"books": [SMALL, LARGE, SMALL, *wrong], "heartbeat": True})
    assert client.wait("subscription_confirmed") == body
    assert (body["pairs"], body["added"], body["books"], body["heartbeat"], body["max_rate"]) == ([], [], [SMALL, LARGE], True, None)
    assert [(each["pair"], each.get("depth"), each["code"]) for each in body["rejected"]] == [
        (NAME, 7, "invalid_payload"), ("EUR_USD", 5, "no_book"), ("odd", None, "invalid_payload"),
    ]  # fmt: skip
    expected = [hub_books.snapshot(1, depth) for depth in (5, 50)]
    assert [{name: value for name, value in each.items() if name in expected[0]} for each in body["book_snapshot"]] == expected
    assert list(body["book_snapshot"][0])[-4:] == ["timestamp", "lag_ms", "seq", "epoch"]

    for number in range(2, 30):
        bus.publish_books(hub_books.messages(number))
        bus.publish_books(hub_books.messages(number, OTHER, starts=number == 2))  # without a subscriber
    client.wait("book_update", 56)
    for depth in (5, 50):
        mirror = mirror_of(client.received, NAME, depth)
        assert (mirror.seq, mirror.snapshots) == (29, 1)
        assert mirror.top() == (hub_books.levels(29, depth, bids=True), hub_books.levels(29, depth, bids=False))
    assert {body["instrument"] for body in client.bodies("book_update")} == {NAME}
    assert list(client.bodies("book_update")[0]) == [
        "instrument", "depth", "bids", "asks", "update_id", "checksum", "time", "timestamp", "lag_ms", "seq", "epoch",
    ]  # fmt: skip
    bus.publish_books(hub_books.messages(30, starts=True, reason="refreshed"))
    assert client.wait("book_snapshot", 2)["reason"] == "refreshed"
    bus.publish_heartbeat(hub_books.heartbeat({NAME: "live", OTHER: "live"}))
    assert client.wait("heartbeat")["books"] == {NAME: "live", OTHER: "live"}

    assert (client.call("get_subscriptions")["books"], client.call("get_subscriptions")["heartbeat"]) == ([SMALL, LARGE], True)
    assert client.call("unsubscribe", {"books": [LARGE, {"pair": OTHER, "depth": 5}]})["books"] == [SMALL]
    gone = client.call("unsubscribe", {"books": "all", "heartbeat": True})
    assert (gone["books"], gone["heartbeat"], gone["removed"]) == ([], False, [])
    assert list(client.call("get_subscriptions")) == ["pairs", "pair_count", "timestamp"]


def test_state_reaches_each_client_of_the_instrument_once(shared_hub: Web, shared_bus: Bus) -> None:
    with PythonClient(shared_hub.url) as many, PythonClient(shared_hub.url, ["polling"]) as one, PythonClient(shared_hub.url) as none:
        begin(shared_bus, many)
        begin(shared_bus, many, OTHER)
        many.call("subscribe", {"books": [{"pair": NAME, "depth": depth} for depth in (5, 10, 50)]})
        many.call("subscribe", {"books": [{"pair": NAME, "depth": 20}], "max_rate": 0.1})
        one.call("subscribe", {"books": [SMALL], "max_rate": 0.1})
        none.call("subscribe", {"books": [{"pair": OTHER, "depth": 5}]})
        ids = {"expected_id": 50_000_000_002, "received_id": 50_000_000_004}
        shared_bus.publish_book_state({**hub_books.state(NAME, "gap", "live", "missing_update", 50_000_000_001), **ids})
        shared_bus.publish_book_state(hub_books.state(NAME, "resyncing", "gap", "missing_update", 50_000_000_001))
        shared_bus.publish_book_state(hub_books.state(OTHER, "stale", "live", "silent", 50_000_000_001))
        for client in (many, one):
            client.wait("book_state", 2)
            assert [(body["state"], body["expected_id"]) for body in client.bodies("book_state")] == [
                ("gap", 50_000_000_002),
                ("resyncing", None),
            ]
            assert list(client.bodies("book_state")[0]) == STATE
        assert [body["instrument"] for body in (none.wait("book_state"),)] == [OTHER]

        marked = one.call("request_book", {"instrument": NAME, "depth": 5})
        assert (marked["state"], marked["reason"], marked["seq"]) == ("resyncing", "missing_update", 1)
        assert marked["bids"] == hub_books.levels(1, 5, bids=True)
        [confirmed] = none.call("subscribe", {"books": [SMALL]})["book_snapshot"]
        assert confirmed == marked


def test_syncing_book_is_subscribed_and_its_first_snapshot_follows(shared_hub: Web, shared_bus: Bus) -> None:
    name = "ADAUSDT"
    book = {"pair": name, "depth": 10}
    with PythonClient(shared_hub.url) as client:
        shared_bus.publish_book_state(hub_books.state(name, "syncing", None))
        until(lambda: client.call("subscribe", {"books": [book]})["books"] == [book], what="the book in the hub")
        assert client.call("request_book", {"instrument": name, "depth": 10})["code"] == "no_book"
        assert client.call("subscribe", {"books": [book]})["book_snapshot"] == []
        shared_bus.publish_book_state(hub_books.state(name, "live", "syncing"))
        shared_bus.publish_books(hub_books.messages(1, name, starts=True))
        shared_bus.publish_books(hub_books.messages(2, name))
        client.wait("book_update")
        assert mirror_of(client.received, name, 10).seq == 2


def test_client_with_a_rate_receives_snapshots_alone(shared_hub: Web, shared_bus: Bus) -> None:
    with PythonClient(shared_hub.url) as fast, PythonClient(shared_hub.url) as slow:
        begin(shared_bus, fast)
        fast.call("subscribe", {"books": [LARGE]})
        assert slow.call("subscribe", {"books": [SMALL, LARGE], "max_rate": 11})["max_rate"] == 10
        with publishing(shared_bus) as last:
            until(lambda: last() >= 100)
        seq = last()
        fast.wait("book_update", where=lambda body: body["seq"] == seq)
        for depth in (5, 50):
            slow.wait("book_snapshot", where=at(depth, seq))
            mirror = mirror_of(slow.received, NAME, depth)
            assert 1 < mirror.count == mirror.snapshots < seq / 2
        assert slow.bodies("book_update") == []
        assert mirror_of(fast.received, NAME, 50).snapshots == 1


def test_stalled_client_receives_one_snapshot_and_then_updates_from_its_seq(shared_hub: Web, shared_bus: Bus) -> None:
    with PythonClient(shared_hub.url) as other, NodeClient(shared_hub.url) as stuck:
        stuck.wait("connection_established")
        begin(shared_bus, other)
        for client in (other, stuck):
            client.call("subscribe", {"books": [SMALL, LARGE]})
        before = other.stats()["messages_conflated"]
        with publishing(shared_bus, pause=0.002) as last:
            with stopped(stuck.pid):
                until(lambda: other.stats()["messages_conflated"] > before + 500, what="conflated messages")
                shared_bus.publish_book_state(hub_books.state(NAME, "live", "live", "snapshot_failed"))
            notice = stuck.wait("gap_notice", seconds=60)
            seq = last() + 20
            until(lambda: last() > seq)
        seq = last()
        for depth in (5, 50):
            stuck.wait("book_update", where=at(depth, seq), seconds=60)
            other.wait("book_update", where=at(depth, seq), seconds=60)
        stalled = {depth: mirror_of(stuck.received, NAME, depth) for depth in (5, 50)}
        assert {mirror.seq for mirror in stalled.values()} == {seq}
        assert all(mirror.snapshots >= 2 for mirror in stalled.values())
        dropped = sum((Counter(each["dropped"]) for each in stuck.bodies("gap_notice")), Counter())
        assert set(notice["dropped"]) <= {"BTCUSDT|5", "BTCUSDT|50"}
        for depth, mirror in stalled.items():
            # Each message was received, counted, or replaced by a snapshot with its number.
            missed = seq - mirror.count
            assert dropped[f"BTCUSDT|{depth}"] >= missed > 0
            assert mirror_of(other.received, NAME, depth).count == seq
        assert [body["reason"] for body in stuck.bodies("book_state")] == ["snapshot_failed"]
        assert other.stats()["slow_clients"] == 0


def test_bad_book_messages_are_counted_and_the_next_one_is_a_snapshot(
    shared_hub: Web, shared_bus: Bus, shared_redis: redis_client.Redis
) -> None:
    with PythonClient(shared_hub.url) as client:
        begin(shared_bus, client)
        client.call("subscribe", {"books": [SMALL]})
        before = Counter(client.stats()["messages_skipped"])
        body = {**hub_books.snapshot(2, 5), "timestamp": hub_books.STAMP}
        update = {name: value for name, value in body.items() if name not in ("state", "reason", "complete")}
        without_position = [{"update": each, "snapshot": body, "meta": {}} for each in (update, None)]
        foreign_bodies: list[object] = [*without_position, {}, []]
        for foreign in foreign_bodies:
            shared_redis.publish("book_updates", orjson.dumps(foreign))
        shared_bus.publish_books([hub_books.message(2, 5, state="dead")])  # the hub misses this one
        shared_bus.publish_books([hub_books.message(3, 5)])
        assert client.wait("book_snapshot")["seq"] == 3
        shared_bus.publish_books([hub_books.message(4, 5)])
        assert client.wait("book_update")["seq"] == 4
        assert mirror_of(client.received, NAME, 5).snapshots == 2
        assert Counter(client.stats()["messages_skipped"]) - before == {"schema": 4, "not_an_object": 1}
