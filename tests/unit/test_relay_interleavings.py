"""The relay while messages, gaps and losses of the connection come at any moment of its reads.

The oracle is the list of published bodies: a client receives each of them once, in order per topic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.hub.fanout import Fanout
from api.hub.messages import Message
from api.hub.relay.relay import Relay
from api.hub.topic_log import TopicLog
from api.hub.transport.outbox import Outbox
from db import topics
from db.bus import Bus
from tests.support.scripted_bus import ScriptedBus
from tests.support.scripted_loop import ScriptedLoop
from tests.unit.test_outbox import Owner

A, B = "EUR_USD", "GBP_USD"
SHARDS = 3  # A and B live in different ones
EVENTS = ("message A", "message B", "lost A", "lost B", "disconnect", "turn")


class System:
    """The relay on a scripted bus and loop, with one client of both instruments."""

    def __init__(self, shards: int = 1) -> None:
        self.bus, self.loop = ScriptedBus(shards), ScriptedLoop()
        self.published: dict[str, list[bytes]] = {A: [], B: []}
        self.received = b""
        self.listened: list[bytes] = []
        fanout = Fanout(lambda: 0.0, lambda seconds, function: None)
        box = Outbox(Owner(), 2**24)
        box.open(self._take)
        fanout.add("client", box)
        fanout.join("client", [topics.price_room(name) for name in (A, B)])
        listeners = {topics.PRICES: [self._listen]}
        fanouts = {"/": fanout, "/metrics": Fanout(lambda: 0.0, _never)}
        self.relay = Relay(cast(Bus, self.bus), TopicLog(self.bus.shard_of), fanouts, {A, B}, listeners, self.loop)

    def _take(self, data: bytes) -> int:
        self.received += data
        return len(data)

    def _listen(self, message: Message) -> None:
        self.listened.append(message.body)

    def start(self) -> None:
        """Connect; nothing was published before."""
        self.relay._link.begin()
        self.loop.turn()
        assert self.relay.loaded

    def do(self, event: str) -> None:
        name, _, letter = event.partition(" ")
        topic = A if letter == "A" else B
        if name in ("message", "lost"):
            self.published[topic].append(self.bus.publish(topic, lost=name == "lost"))
        if name == "failover":
            self.bus.fail_over(self.bus.shard_of(topics.PRICES, topic))
        if name == "disconnect":
            self.bus.disconnect()
        if name == "turn":
            if not self.loop.running:  # a greenlet cannot run inside another one
                self.loop.turn()
        else:
            self._readable()

    def _readable(self) -> None:
        """Let the loop call the callback, which must not read Redis."""
        self.bus.must_not_read = True
        try:
            self.loop.readable()
        finally:
            self.bus.must_not_read = False

    def finish(self) -> None:
        """Let everything come to rest, with a message of each topic after the last event."""
        for _ in range(2):
            self.loop.advance(20)
            for letter in "AB":
                self.do(f"message {letter}")
            self.loop.advance(20)
            self.bus.events.clear()

    def bodies(self) -> dict[str, list[bytes]]:
        """Return the bodies that the client has received, by topic."""
        found: dict[str, list[bytes]] = {A: [], B: []}
        start = 0
        while (start := self.received.find(b'["price_update",', start)) >= 0:
            start += len(b'["price_update",')
            end = self.received.index(b"}", self.received.index(b'"epoch"', start)) + 1
            body = self.received[start:end]
            found[orjson.loads(body)["instrument"]].append(body)
        return found


def _never(seconds: float, function: Callable[[], None]) -> None:
    raise AssertionError("no timer was expected")


def judge(outside: Sequence[str], inside: Sequence[str], shards: int = 1) -> None:
    """Run the events outside of reads; those of `inside` happen during the reads."""
    system = System(shards)
    system.start()
    system.bus.events = [partial(system.do, event) for event in inside]
    for event in outside:
        system.do(event)
    system.finish()
    assert system.bodies() == system.published
    assert sorted(system.listened) == sorted(system.published[A] + system.published[B])
    assert system.loop.most_running == 1
    assert len([each for each in system.loop.listeners if not each.stops]) == 1


@pytest.mark.parametrize("outside", ["gap", "two gaps", "loss", "gap and loss"])
def test_every_short_interleaving_delivers_each_message_once(outside: str) -> None:
    before = {
        "gap": ["message A", "lost A", "message A", "turn"],
        "two gaps": ["message A", "lost A", "message A", "lost B", "message B", "turn", "lost A", "message A"],
        "loss": ["message A", "disconnect", "lost A", "turn"],
        "gap and loss": ["message B", "lost A", "message A", "disconnect", "turn", "message B"],
    }[outside]
    for inside in product(EVENTS[:5], repeat=3):
        judge(before, inside)


@settings(max_examples=150)
@given(st.lists(st.sampled_from(EVENTS), max_size=14), st.lists(st.sampled_from(EVENTS), max_size=14))
def test_every_interleaving_delivers_each_message_once(outside: list[str], inside: list[str]) -> None:
    judge(outside, inside)


def test_messages_without_a_gap_read_nothing() -> None:
    system = System()
    system.start()
    system.do("message A")  # the first one of an epoch
    system.loop.turn()
    reads = system.bus.reads
    for event in ["message A", "message B"] * 20:
        system.do(event)
    assert system.bodies() == system.published
    assert system.bus.reads == reads
    assert not system.loop.spawned


@settings(max_examples=150)
@given(st.lists(st.sampled_from(EVENTS), max_size=12), st.lists(st.sampled_from(EVENTS), max_size=8), st.integers(0, 20))
def test_failover_of_a_shard_on_a_surviving_connection_delivers_each_message_once(outside: list[str], inside: list[str], at: int) -> None:
    events = outside if at <= len(outside) else inside
    events.insert(at if events is outside else at - len(outside) - 1, "failover A")
    judge(["message A", "message B", "turn", *outside], inside, shards=SHARDS)


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["message A", "message B", "lost A", "turn"]), max_size=8), st.integers(0, 3))
def test_forgotten_entries_of_a_shard_begin_a_new_epoch_in_it_alone(events: list[str], forgotten: int) -> None:
    system = System(SHARDS)
    system.start()
    for event in [*events, "message A", "message B", "turn"]:
        system.do(event)
    system.bus.fail_over(system.bus.shard_of(topics.PRICES, A), forgotten)
    for event in ("message A", "message B", "turn", "message A", "message B"):
        system.do(event)
    system.loop.advance(20)
    before = [body for body in system.published[A] if b'"epoch":"%s"' % system.bus.epochs[0].encode() not in body]
    assert system.bodies()[B] == system.published[B]
    received = system.bodies()[A]
    assert [body for body in received if body not in before] == [body for body in system.published[A] if body not in before]
    assert received == [body for body in system.published[A] if body in received], "in order, once"
    log = system.relay._log
    assert log.missed(A, "one", 0) is None, "the epoch has ended"
    assert log.missed(B, system.bus.epochs[system.bus.shard_of(topics.PRICES, B)], 0) is not None
