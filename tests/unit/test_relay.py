"""The relay without Redis: listeners, namespaces and channels without a stream.

The bus is real, but the tests do not connect to it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import orjson
import pytest

from api.hub.channels import CHANNELS, Channel
from api.hub.fanout import Fanout
from api.hub.messages import Message
from api.hub.relay.relay import Listener, Relay
from api.hub.topic_log import TopicLog
from api.hub.transport.outbox import Outbox
from db import topics
from db.bus import Bus
from db.timestamps import utc_now
from db.topics import Stream
from tests.support.hub_variants import CHANNEL, LEVELS, NAMESPACE
from tests.support.scripted_loop import ScriptedLoop

NOON = "2025-11-18T12:00:00.000000Z"
PRICE = orjson.dumps({"instrument": "EUR_USD", "price": {"bid": "1.0", "ask": "1.2", "mid": "1.1", "time": NOON}})


class Owner:
    def blocked(self) -> None:
        raise AssertionError

    queued = overflowed = broken = blocked


class Line:
    """One client per namespace, and the bytes that each received."""

    def __init__(self, *namespaces: str) -> None:
        self.received = dict.fromkeys(namespaces, b"")
        self.fanouts = {namespace: Fanout(lambda: 0.0, lambda seconds, function: None, namespace) for namespace in namespaces}
        for namespace, fanout in self.fanouts.items():
            box = Outbox(Owner(), 2**20)
            box.open(lambda data, namespace=namespace: self._take(namespace, data))  # type: ignore[misc]
            fanout.add("client", box)
            fanout.join("client", ["price_EUR_USD"])

    def _take(self, namespace: str, data: bytes) -> int:
        self.received[namespace] += data
        return len(data)

    def relay(self, bus: Bus, *listeners: Listener, channel: str = topics.PRICES) -> Relay:
        return Relay(bus, TopicLog(), self.fanouts, {"EUR_USD"}, {channel: listeners}, ScriptedLoop())

    def flush(self) -> dict[str, bytes]:
        for fanout in self.fanouts.values():
            fanout.flush()
        return self.received


@pytest.fixture
def bus() -> Iterator[Bus]:
    bus = Bus("redis://127.0.0.1:1/0", utc_now)
    yield bus
    bus.close()


def level(number: int, **more: object) -> bytes:
    return orjson.dumps({"instrument": "EUR_USD", "level": number, **more})


def test_failing_listener_stops_no_other_and_the_order_is_kept(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    called: list[tuple[str, str]] = []
    line = Line("/")

    def failing(message: Message) -> None:
        called.append(("failing", message.topic))
        raise RuntimeError("a bug in a listener")

    relay = line.relay(bus, failing, lambda message: called.append(("second", message.topic)))
    relay.receive(topics.PRICES, PRICE)
    relay.receive(topics.PRICES, PRICE)
    assert called == [("failing", "EUR_USD"), ("second", "EUR_USD")] * 2
    assert relay.relayed == 2
    assert line.flush()["/"].count(PRICE) == 2
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info is not None and record.exc_info[0] is RuntimeError for record in errors] == [True, True]


def test_broadcast_without_rooms_reaches_only_the_clients_of_its_namespace(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHANNELS, LEVELS, CHANNEL)
    line = Line("/", NAMESPACE)
    relay = line.relay(bus)
    relay.receive(LEVELS, level(1))
    relay.receive(topics.PRICES, PRICE)
    relay.receive(topics.DATA_READY, b'{"data_type":"volatility"}')
    received = line.flush()
    assert received[NAMESPACE].endswith(b'42/levels,["level_update",%s]' % level(1))
    assert b"price_update" not in received[NAMESPACE]
    assert b"data_ready" not in received[NAMESPACE]
    assert b"level_update" not in received["/"]
    assert b'42["data_ready"' in received["/"]


def test_gap_of_a_channel_without_a_stream_is_not_filled(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Channel(Stream(LEVELS, tail=0), CHANNEL.event, CHANNEL.schema, CHANNEL.addressee, CHANNEL.scope, namespace=NAMESPACE)
    monkeypatch.setitem(CHANNELS, LEVELS, row)
    line = Line("/", NAMESPACE)
    relay = line.relay(bus)
    for seq in (4, 5, 5, 9):
        relay.receive(LEVELS, level(seq, seq=seq, epoch="one"))
    assert relay.relayed == 3, "the repeated message is dropped, the gap is skipped"
    assert line.flush()[NAMESPACE].count(b"level_update") == 3


def test_snapshot_goes_to_its_listeners_alone_and_has_no_position(bus: Bus) -> None:
    seen: list[int] = []
    line = Line("/", "/metrics")
    relay = line.relay(bus, lambda message: seen.append(message.data["seq"]), channel=topics.METRICS)
    for seq in (5, 5, 9, 2):  # of an observer that was started again
        body = {"timestamp": NOON, "seq": seq, "epoch": "one", "numbers": {}, "strings": {"system": '{"cpu_percent":1.5}'}}
        relay.receive(topics.METRICS, orjson.dumps(body))
    relay.receive(topics.METRICS, orjson.dumps({**body, "strings": {"system": "{"}}))
    assert seen == [5, 5, 9, 2]
    assert line.flush() == {"/": b"", "/metrics": b""}
    assert (relay.relayed, relay.last_message) == (0, None), "ten snapshots a second say nothing about prices"
    assert relay.skipped == {"schema": 1}


def test_message_for_which_a_listener_reads_the_bus_waits_and_so_do_those_behind_it(bus: Bus) -> None:
    seen: list[int] = []
    line = Line("/", "/metrics")
    listeners = {topics.METRICS: [lambda message: seen.append(message.data["seq"])]}
    needs_bus = {topics.METRICS: lambda message: bool(message.data["seq"] == 2)}
    relay = Relay(bus, TopicLog(), line.fanouts, {"EUR_USD"}, listeners, ScriptedLoop(), needs_bus=needs_bus)
    messages = [
        (topics.METRICS, orjson.dumps({"timestamp": NOON, "seq": seq, "epoch": "one", "numbers": {}, "strings": {}})) for seq in (1, 2, 3)
    ]
    assert relay.take(messages) == messages[1:]
    assert seen == [1]
    relay.take_with_reads(messages[1:])
    assert seen == [1, 2, 3]
