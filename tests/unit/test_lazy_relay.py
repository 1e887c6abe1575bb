"""Prices that no listener needs stay undecoded; clients must not be able to see a difference.

The oracle is a relay that decodes every message.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.hub.alerts.rules import Rule, RuleIndex
from api.hub.fanout import Fanout
from api.hub.messages import Message
from api.hub.relay import relay as relay_module
from api.hub.relay.lazy import Wanted
from api.hub.relay.relay import Relay
from api.hub.schemas.requests import ABOVE, PRICE
from api.hub.topic_log import MESSAGES_PER_TOPIC, TopicLog
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import Opcode, frame
from db import topics
from db.bus import Bus
from tests.support.scripted_bus import NOON, ScriptedBus
from tests.support.scripted_loop import ScriptedLoop
from tests.unit.test_outbox import Owner

A, B = "EUR_USD", "GBP_USD"


class Hub:
    """A relay with its log and rules; `client` may join the rooms of both instruments."""

    def __init__(self, bus: ScriptedBus, *, lazy: bool = True) -> None:
        self.bus, self.loop, self.log = bus, ScriptedLoop(), TopicLog()
        self.known = {A, B}
        self.received = b""
        self.decoded: list[Message] = []
        self.fanout = Fanout(lambda: self.loop.now, self.loop.call_later)
        box = Outbox(Owner(), 2**24)
        box.open(self._take)
        self.fanout.add("client", box)
        self.rules = RuleIndex()
        wanted = {topics.PRICES: Wanted(self.rules.series, lambda topic: (topic, PRICE))} if lazy else {}
        fanouts = {"/": self.fanout, "/metrics": Fanout(lambda: 0.0, lambda seconds, function: None)}
        listeners = {topics.PRICES: [self.decoded.append]}
        self.relay = Relay(cast(Bus, bus), self.log, fanouts, self.known, listeners, self.loop, wanted=wanted)
        self.relay._link.begin()
        self.loop.turn()

    def _take(self, data: bytes) -> int:
        self.received += data
        return len(data)

    def settle(self) -> None:
        """Read the messages, and let the relay read the bus."""
        self.loop.readable()
        self.loop.turn()

    def tick(self) -> None:
        """Send what clients with a rate have to get."""
        self.loop.advance(1.0)

    def begin(self) -> None:
        """Relay the first message of each instrument, which is always decoded."""
        for name in (A, B):
            self.bus.publish(name)
            self.settle()
        self.decoded.clear()

    def missed(self, name: str, seq: int) -> list[bytes] | None:
        """Return the wire bytes of the messages after `seq`."""
        found = self.log.missed(name, self.bus.epochs[0], seq)
        return None if found is None else [frame.wire for frame in found]


@pytest.fixture
def hub() -> Hub:
    hub = Hub(ScriptedBus())
    hub.begin()
    return hub


def test_price_that_nobody_needs_is_not_decoded_and_is_relayed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "decode", None)
    relayed, last, lags = hub.relay.relayed, hub.relay.last_message, hub.relay.times.lags
    observed = sum(lags.read()[0])
    for _ in range(3):
        hub.bus.publish(A)
    hub.settle()
    assert hub.relay.relayed == relayed + 3
    assert hub.relay.last_message is not None
    assert last is not None
    assert hub.relay.last_message > last
    assert sum(lags.read()[0]) == observed + 1, "a batch counts once, decoded or not"
    assert hub.log.head(topics.PRICES, A) == 4


def test_kept_prices_are_the_snapshot_and_the_missed_messages_of_a_client(hub: Hub) -> None:
    bodies = [hub.bus.publish(A) for _ in range(5)]
    hub.settle()
    assert hub.decoded == []
    assert hub.log.latest(A) == bodies[-1]
    frames = hub.log.missed(A, "one", 2)
    assert frames is not None
    assert [each.body for each in frames] == bodies[1:]
    assert all(each.packet == b'42["price_update",%s]' % each.body for each in frames)
    hub.fanout.join("client", [topics.price_room(A)])
    live = hub.bus.publish(A)
    hub.settle()
    assert hub.received.endswith(b'42["price_update",%s]' % live)


@pytest.mark.parametrize("rate", [None, 5.0])
def test_good_price_of_an_occupied_room_is_sent_undecoded_and_a_bad_one_is_skipped(hub: Hub, rate: float | None) -> None:
    hub.fanout.join("client", [topics.price_room(A)], rate)
    good = hub.bus.publish(A)
    hub.settle()
    hub.tick()
    assert hub.received == frame(Opcode.TEXT, b'42["price_update",%s]' % good)
    hub.bus.publish(A, bad=True)
    hub.settle()
    hub.tick()
    assert hub.relay.skipped == {"schema": 1}, "a bad price is found at once if a client would get it"
    assert hub.received == frame(Opcode.TEXT, b'42["price_update",%s]' % good)
    assert not hub.decoded
    assert [each.body for each in hub.log.missed(A, "one", 1) or ()] == [good]


def test_price_with_a_rule_is_decoded(hub: Hub) -> None:
    hub.rules.add(Rule("1", 1, "client", (A, PRICE), ABOVE, "1", Decimal(1), once=False), None)
    hub.bus.publish(A)
    hub.bus.publish(B)
    hub.settle()
    assert [message.topic for message in hub.decoded] == [A]


BODY = {"instrument": A, "price": {"bid": "1.0", "ask": "1.2", "mid": "1.1", "time": NOON}, "timestamp": NOON, "seq": 2, "epoch": "one"}


@pytest.mark.parametrize(
    ("body", "skipped", "relayed"),
    [
        ({**BODY, "seq": 2, "epoch": "one", "more": 1}, None, 1),
        ({"seq": 2, "epoch": "one", **{name: BODY[name] for name in ("instrument", "price", "timestamp")}}, None, 1),
        ({name: BODY[name] for name in ("price", "instrument", "timestamp", "seq", "epoch")}, None, 1),
        ({name: BODY[name] for name in ("instrument", "price")}, None, 1),
        ({**BODY, "instrument": "ETH_USD"}, "unknown_instrument", 0),
        ({**BODY, "padding": "x" * 70_000}, "too_large", 0),
    ],
    ids=["other end", "position first", "other start", "foreign", "unknown", "too large"],
)
def test_message_of_another_form_is_decoded(hub: Hub, body: dict[str, Any], skipped: str | None, relayed: int) -> None:
    before = hub.relay.relayed
    rest = hub.relay.take([(topics.PRICES, orjson.dumps(body))])
    assert not rest
    assert (hub.relay.relayed - before, len(hub.decoded)) == (relayed, relayed)
    assert dict(hub.relay.skipped) == ({} if skipped is None else {skipped: 1})


def test_instrument_that_was_removed_is_unknown(hub: Hub) -> None:
    hub.known.discard(A)
    hub.bus.publish(A)
    hub.settle()
    assert hub.relay.skipped == {"unknown_instrument": 1}


def test_bad_price_is_counted_and_removed_when_it_is_needed(hub: Hub) -> None:
    good = hub.bus.publish(A)
    hub.bus.publish(A, bad=True)
    hub.settle()
    assert not hub.relay.skipped
    assert hub.log.latest(A) == good
    assert hub.relay.skipped == {"schema": 1}
    assert hub.log.head(topics.PRICES, A) == 2
    after = hub.bus.publish(A)
    hub.settle()
    assert hub.log.latest(A) == after
    assert hub.relay.skipped == {"schema": 1}, "the entry of the stream is the same message"


def test_bad_price_in_the_middle_ends_the_recovery_before_it(hub: Hub) -> None:
    hub.bus.publish(A)
    hub.bus.publish(A, bad=True)
    bodies = [hub.bus.publish(A) for _ in range(2)]
    hub.settle()
    assert hub.log.missed(A, "one", 2) is None
    assert hub.relay.skipped == {"schema": 1}
    frames = hub.log.missed(A, "one", 3)
    assert frames is not None
    assert [frame.body for frame in frames] == bodies
    assert hub.log.missed(A, "one", 1) is None


def test_end_that_contradicts_the_content_is_bad(hub: Hub) -> None:
    good = orjson.dumps({**BODY, "seq": 9})[:-1]
    hub.relay.take([(topics.PRICES, good + b',"instrument":"GBP_USD","seq":2,"epoch":"one"}')])
    assert hub.log.head(topics.PRICES, A) == 2
    assert hub.log.latest(A) is not None
    assert hub.relay.skipped == {"malformed_entry": 1}
    assert hub.log.head(topics.PRICES, A) == 1


def test_log_of_kept_prices_is_bounded(hub: Hub) -> None:
    for _ in range(MESSAGES_PER_TOPIC + 10):
        hub.bus.publish(A)
    hub.settle()
    assert hub.log.missed(A, "one", 10) is None
    assert len(hub.log.missed(A, "one", 11) or ()) == MESSAGES_PER_TOPIC


ACTIONS = ("good", "good", "bad", "lost", "foreign", "join", "leave", "latest", "missed")


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from([A, B]), st.integers(0, 4)), max_size=30))
@example([("good", A, 0), ("bad", A, 0), ("good", A, 0), ("missed", A, 1), ("missed", A, 3), ("good", A, 0)])
@example([("good", A, 0), ("bad", A, 0), ("foreign", A, 1), ("latest", A, 0), ("good", A, 0)])
def test_clients_see_what_a_relay_that_decodes_everything_sends(actions: list[tuple[str, str, int]]) -> None:
    hubs = [Hub(ScriptedBus(), lazy=lazy) for lazy in (True, False)]
    seen: list[list[object]] = [[], []]
    for hub, answers in zip(hubs, seen, strict=True):
        hub.begin()
        for action, name, number in [*actions, ("latest", A, 0), ("missed", A, 2), ("missed", B, 2), ("good", A, 0)]:
            if action in ("good", "bad", "lost"):
                hub.bus.publish(name, lost=action == "lost", bad=action == "bad")
            elif action == "foreign":
                hub.bus.publish_foreign(name, f"1.{number}")
            elif action in ("join", "leave"):
                getattr(hub.fanout, action)("client", [topics.price_room(name)])
            else:
                answers.append(hub.log.latest(name) if action == "latest" else hub.missed(name, number))
            hub.settle()
        answers += [hub.received, hub.log.latest(A), hub.log.latest(B), hub.log.head(topics.PRICES, A)]
    assert seen[0] == seen[1]
