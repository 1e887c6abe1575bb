"""Unit tests of the Python client: its session against the rooms, log and outboxes of the hub.

No socket is involved.
"""

from __future__ import annotations

import ast
import socket
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pytest
import tickwire_client
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tickwire_client import CandleUpdate, Gap, Tick, VolatilityAlert, parse
from tickwire_client.messages import Connected, Item, Position
from tickwire_client.positions import Positions
from tickwire_client.rest import default_rest_url, resolve_time
from tickwire_client.session import Session
from tickwire_client.sockets import make_socket
from tickwire_client.stream import Stream

from api.access.model import Handshake, OpenAuthenticator
from api.hub import topic_log
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import RuleIndex
from api.hub.events import Events
from api.hub.fanout import Fanout
from api.hub.messages import decode
from api.hub.topic_log import TopicLog
from api.hub.transport.limits.bucket import Allowance, Bucket
from api.hub.transport.outbox import Outbox
from db import topics
from tests.support.hub_books import no_books

NOON = "2025-11-18T12:00:00.000000Z"
LATER = "2025-11-18T13:00:00.000000Z"  # after the candles of these tests, which begin in the past
PAIRS = ("EUR_USD", "GBP_USD")
DEPTH = 6  # prices that the hub keeps in these tests
LIMIT = 1500  # bytes that may wait for a client in these tests; more conflate prices


def price(pair: str, seq: int | None = None, epoch: str | None = "one", mid: str = "1.10") -> dict[str, Any]:
    body = {"instrument": pair, "price": {"bid": "1.00", "ask": "1.20", "mid": mid, "time": NOON}, "timestamp": NOON}
    return body if seq is None else {**body, "seq": seq, "epoch": epoch}


def candle(seq: int | None, minute: int = 0, epoch: str = "one", interval: str = "1m") -> dict[str, Any]:
    times = {"start_time": f"2025-11-18T12:{minute:02}:00Z", "end_time": f"2025-11-18T12:{minute + 1:02}:00Z"}
    prices = {"open": "1", "high": "2", "low": "1", "close": "2", "volume": "3", "complete": False}
    body = {"instrument": "EUR_USD", "interval": interval, "candle": {**times, **prices}, "timestamp": NOON}
    return body if seq is None else {**body, "seq": seq, "epoch": epoch}


class _Owner:
    def blocked(self) -> None:
        pass

    queued = overflowed = broken = blocked


class Hub:
    """The parts of the hub, assembled as in `api/hub/assembly/` without an engine.

    `arrived` holds the bytes that the client's socket has accepted.
    """

    def __init__(self, tail: Sequence[dict[str, Any]] = ()) -> None:
        self.fanout = Fanout(lambda: 0.0, lambda seconds, function: None)
        self.log = TopicLog()
        requests = AlertRequests(RuleIndex(10, 10), set(PAIRS), lambda series: None, "abc")
        self.events = Events(
            {"/": self.fanout}, self.log, PAIRS, requests, OpenAuthenticator(),
            books=no_books(), max_clients=9, ping_interval=25, ping_timeout=5, timestamp=lambda: LATER, stats=dict,
        )  # fmt: skip
        self.arrived = b""
        self.blocked = False
        self.box: Outbox | None = None
        self.names = count()
        self.client = ""
        for body in tail:
            self.relay(body)

    def relay(self, body: dict[str, Any], channel: str = topics.PRICES) -> None:
        message = decode(channel, orjson.dumps(body), set(PAIRS))
        if message.epoch is None:
            self.log.note_foreign(message)
        elif not self.log.append(message, self.log.continuity(message)):
            return
        self.fanout.broadcast(message.rooms, message.frame)
        self.fanout.flush()

    def accept(self) -> None:
        self.client, self.box, self.arrived = f"client-{next(self.names)}", Outbox(_Owner(), LIMIT), b""
        self.box.open(self._send)
        self.events.admit(self.client, Handshake("websocket", "127.0.0.1", {}))
        self.events.connected(self.client, self.box, Bucket(Allowance(50, 200, lambda: 0.0)))

    def leave(self) -> None:
        self.events.disconnected(self.client)
        self.box = None

    def _send(self, data: bytes) -> int:
        if self.blocked:
            raise BlockingIOError
        self.arrived += data
        return len(data)

    def unblock(self) -> None:
        self.blocked = False
        if self.box:
            self.box.drain()

    def read_events(self) -> list[tuple[str, Any]]:
        """The events that have arrived since the last call."""
        data, self.arrived, found = self.arrived, b"", []
        while data:
            size, start = (int.from_bytes(data[2:4]), 4) if data[1] == 126 else (data[1], 2)
            found.append(tuple(orjson.loads(data[start + 2 : start + size])))
            data = data[start + size :]
        return found


class Client:
    """A `Session` connected to the hub. `given` holds all items that it returned."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.session, self.given = hub, Session(), list[Item]()
        self.up = False
        self.sent: list[dict[str, Any]] = []  # subscribe requests, of which the last may have no answer

    def connect(self) -> None:
        self.hub.accept()
        self.up = True
        self.read()
        for payload in self.sent if self.session._unconfirmed else ():
            self.hub.events.answer(self.hub.client, "subscribe", [payload])  # as the caller repeats it
        self.read()

    def read(self) -> None:
        for event, body in self.hub.read_events():
            if event == "connection_established":
                self.given += self.session.greeted(body)
                for name, payload in self.session.opening():
                    self.hub.events.answer(self.hub.client, name, [payload])
            else:
                assert event != "error", body
                self.given += self.session.receive(event, body)
        if self.hub.arrived:
            self.read()

    def lose(self) -> None:
        """Lose the connection and all messages in transit."""
        if self.up:
            self.hub.leave()
            self.hub.arrived = b""
            self.given += self.session.lost("test")
            self.up = False

    def subscribe(self, pairs: Sequence[str] | str = (), **more: Any) -> None:
        payload, _ = self.session.want(pairs, more.get("candles", ()), more.get("max_rate"), more.get("since", {}))
        self.sent = [*(self.sent if self.session._unconfirmed else ()), payload]
        if self.up:
            self.hub.events.answer(self.hub.client, "subscribe", [payload])
            self.read()

    def take(self) -> list[Item]:
        """The ticks, gaps and candles since the last call."""
        given, self.given = self.given, []
        return [item for item in given if isinstance(item, Tick | Gap | CandleUpdate)]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with mock.patch.object(topic_log, "MESSAGES_PER_TOPIC", DEPTH):
        yield Hub()


@pytest.fixture
def client(hub: Hub) -> Client:
    client = Client(hub)
    client.connect()
    return client


def shown(items: Sequence[Item]) -> list[Any]:
    """Ticks and candles by their seq, gaps as (missed, reason)."""
    return [
        (item.missed, item.reason) if isinstance(item, Gap) else item.seq for item in items if isinstance(item, Tick | Gap | CandleUpdate)
    ]


def judge(items: Sequence[Item], pair: str, *, epochs: bool = False) -> list[Tick]:
    """Check that a pair has no repetition, keeps its order and reports every jump.

    Within an epoch, `missed` must be exact. A notice follows the messages that it counts. If
    `epochs` have changed, it may count messages of the previous epoch and is ignored: a client in
    an empty room cannot know those.
    """
    last: Tick | None = None
    missed: int | None = 0
    ticks = []
    for item in items:
        if isinstance(item, Gap) and item.instrument == pair and not (epochs and item.reason == "slow_consumer"):
            missed = None if missed is None or item.missed is None else missed + item.missed
        elif isinstance(item, Tick) and item.instrument == pair:
            assert item.seq is not None
            if last is not None and last.epoch == item.epoch:
                assert last.seq is not None
                assert item.seq > last.seq, "twice or out of order"
                assert missed == item.seq - last.seq - 1
            elif last is not None:
                assert missed is None, "a new epoch that nobody was told of"
            last, missed = item, 0
            ticks.append(item)
    return ticks


class Misfortune(RuleBasedStateMachine):
    """Failures in any order while prices flow; the client must report every missing message.

    Connections are lost, hubs restart with fewer messages, sockets block, Redis loses its data.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth = mock.patch.object(topic_log, "MESSAGES_PER_TOPIC", DEPTH)
        self.depth.start()
        self.stream: list[dict[str, Any]] = []  # messages that the bus has accepted
        self.seqs = dict.fromkeys(PAIRS, 0)
        self.epochs = (f"epoch-{number}" for number in count(1))
        self.epoch = next(self.epochs)
        self.hub = Hub()
        self.client = Client(self.hub)

    @initialize(earlier=st.integers(0, 3), pairs=st.sets(st.sampled_from(PAIRS), min_size=1))
    def begin(self, earlier: int, pairs: set[str]) -> None:
        for _ in range(earlier):
            self.publish("EUR_USD", 1)
        self.client.connect()
        self.client.subscribe(sorted(pairs))

    @rule(pair=st.sampled_from(PAIRS), number=st.integers(1, 2 * DEPTH))
    def publish(self, pair: str, number: int) -> None:
        for _ in range(number):
            self.seqs[pair] += 1
            self.stream.append(price(pair, self.seqs[pair], self.epoch))
            self.hub.relay(self.stream[-1])

    @rule(pair=st.sampled_from(PAIRS))
    def publish_past_the_hub(self, pair: str) -> None:
        self.seqs[pair] += 1
        self.stream.append(price(pair, self.seqs[pair], self.epoch))

    @rule()
    def read(self) -> None:
        self.client.read()

    @rule()
    def connection_is_lost(self) -> None:
        self.client.lose()

    @precondition(lambda self: not self.client.up)
    @rule()
    def connect_again(self) -> None:
        self.hub.unblock()
        self.client.connect()

    @rule(tail=st.integers(0, 30))
    def hub_restarts(self, tail: int) -> None:
        self.client.lose()
        self.hub = self.client.hub = Hub(self.stream[len(self.stream) - min(tail, len(self.stream)) :])

    @rule()
    def redis_loses_its_data(self) -> None:
        self.epoch, self.seqs = next(self.epochs), dict.fromkeys(PAIRS, 0)

    @rule(pair=st.sampled_from(PAIRS))
    def subscribe(self, pair: str) -> None:
        self.client.subscribe([pair])

    @rule()
    def socket_blocks(self) -> None:
        self.hub.blocked = True

    @rule()
    def socket_unblocks(self) -> None:
        self.hub.unblock()

    def teardown(self) -> None:
        try:
            self.hub.unblock()
            if not self.client.up:
                self.client.connect()
            for pair in PAIRS:
                self.publish(pair, 1)
            self.client.read()
            for pair in PAIRS:
                ticks = judge(self.client.given, pair, epochs=self.epoch != "epoch-1")
                if self.client.session.wants(pair):
                    assert ticks[-1].position == Position(self.epoch, self.seqs[pair])
                else:
                    assert not ticks
        finally:
            self.depth.stop()


TestMisfortune = Misfortune.TestCase
TestMisfortune.settings = settings(max_examples=75, stateful_step_count=40, deadline=None)


def test_subscription_begins_with_the_current_price(hub: Hub, client: Client) -> None:
    hub.relay(price("EUR_USD", 7, mid="1.1000"))
    client.subscribe(["EUR_USD"])
    hub.relay(price("EUR_USD", 8))
    client.read()
    first, second = client.take()
    assert isinstance(first, Tick)
    assert isinstance(second, Tick)
    assert (first.seq, first.snapshot, str(first.mid)) == (7, True, "1.1000")
    assert (second.seq, second.snapshot, second.time) == (8, False, datetime(2025, 11, 18, 12, tzinfo=UTC))


def test_reconnect_replays_missed_prices_and_reports_lost_ones(hub: Hub, client: Client) -> None:
    client.subscribe(["EUR_USD"])
    for seq in range(1, 4):
        hub.relay(price("EUR_USD", seq))
    client.read()
    client.lose()
    for seq in range(4, 4 + DEPTH):
        hub.relay(price("EUR_USD", seq))
    client.connect()
    assert shown(client.take()) == list(range(1, 4 + DEPTH))
    client.lose()
    for seq in range(4 + DEPTH, 5 + 2 * DEPTH):
        hub.relay(price("EUR_USD", seq))
    client.connect()
    assert shown(client.take()) == [(DEPTH, "not_recovered"), 4 + 2 * DEPTH]


def test_reconnect_to_a_hub_that_is_behind_repeats_no_price(hub: Hub, client: Client) -> None:
    client.subscribe(["EUR_USD"])
    for seq in range(1, 6):
        hub.relay(price("EUR_USD", seq))
    client.read()
    client.lose()
    client.hub = Hub([price("EUR_USD", seq) for seq in range(1, 4)])
    client.connect()
    for seq in range(4, 8):
        client.hub.relay(price("EUR_USD", seq))
    client.read()
    assert shown(client.take()) == [1, 2, 3, 4, 5, 6, 7]


def test_reconnect_without_a_first_price_recovers_from_seq_1(hub: Hub, client: Client) -> None:
    client.subscribe(["EUR_USD", "GBP_USD"])
    hub.relay(price("GBP_USD", 1))
    client.read()
    client.lose()
    for seq in (1, 2):
        hub.relay(price("EUR_USD", seq))
    client.connect()
    assert [(item.instrument, item.seq) for item in client.take() if isinstance(item, Tick)] == [
        ("GBP_USD", 1),
        ("EUR_USD", 1),
        ("EUR_USD", 2),
    ]


def test_foreign_prices_are_delivered_live_but_not_recovered(hub: Hub, client: Client) -> None:
    hub.relay(price("EUR_USD"))
    client.subscribe(["EUR_USD"])
    hub.relay(price("EUR_USD"))
    client.read()
    assert shown(client.take()) == [None, None]
    client.lose()
    client.connect()
    assert shown(client.take()) == [(None, "not_recovered")]
    hub.relay(price("EUR_USD", 5))
    client.read()
    client.lose()
    hub.relay(price("EUR_USD"))
    hub.relay(price("EUR_USD", 6))
    client.connect()
    assert shown(client.take()) == [5, 6]


def test_messages_skipped_at_max_rate_are_no_gap() -> None:
    session = Session()
    session.want(["EUR_USD"], (), 1.0, {})
    session.receive("subscription_confirmed", confirmed(price("EUR_USD", 1)))
    assert shown(session.receive("price_update", price("EUR_USD", 9))) == [9]
    assert session.opening() == [
        ("subscribe", {"pairs": ["EUR_USD"], "since": {"EUR_USD": {"epoch": "one", "seq": 9}}, "max_rate": 1.0})
    ]  # fmt: skip
    session.lost("test")
    again = confirmed(price("EUR_USD", 20), recovered=False)
    assert shown(session.receive("subscription_confirmed", again)) == [(10, "not_recovered"), 20]


def confirmed(*snapshot: dict[str, Any], recovered: bool | None = None) -> dict[str, Any]:
    pairs = [body["instrument"] for body in snapshot]
    return {
        "pairs": pairs, "added": pairs, "rejected": [], "snapshot": {body["instrument"]: body for body in snapshot},
        "recovered": {} if recovered is None else dict.fromkeys(pairs, recovered),
    }  # fmt: skip


@pytest.mark.parametrize(("dropped", "told"), [(3, []), (5, [(2, "slow_consumer")])])
def test_gap_notice_after_a_jump_reports_only_the_rest(dropped: int, told: list[Any]) -> None:
    session = Session()
    session.want(["EUR_USD"], (), None, {})
    for seq in (1, 5):
        items = session.receive("price_update", price("EUR_USD", seq))
    assert shown(items) == [(3, "skipped"), 5]
    notice = {"dropped": {"EUR_USD": dropped, "GBP_USD": 4}, "reason": "slow_consumer"}
    assert shown(session.receive("gap_notice", notice)) == told
    assert shown(session.receive("gap_notice", {**notice, "dropped": {"EUR_USD": 1}})) == [(1, "slow_consumer")]


def test_subscription_after_unsubscribe_begins_with_the_current_price(hub: Hub, client: Client) -> None:
    client.subscribe(["EUR_USD"])
    hub.relay(price("EUR_USD", 1))
    hub.events.answer(hub.client, "unsubscribe", [client.session.unwant(["EUR_USD"], ())])
    for seq in range(2, 9):
        hub.relay(price("EUR_USD", seq))
    client.read()
    client.subscribe(["EUR_USD"])
    assert shown(client.take()) == [8]  # nor the price that arrived after the unsubscribe


def test_subscription_to_all_becomes_a_list_after_one_unsubscribe(hub: Hub, client: Client) -> None:
    client.subscribe("all")
    assert client.session.opening() == [("subscribe", {"pairs": "all", "since": {}})]
    hub.relay(price("GBP_USD", 1))
    client.read()
    client.session.unwant(["EUR_USD"], ())
    assert client.session.opening() == [("subscribe", {"pairs": ["GBP_USD"], "since": {"GBP_USD": {"epoch": "one", "seq": 1}}})]


def test_subscription_to_all_is_repeated_with_the_rates_of_single_instruments(client: Client) -> None:
    assert client.session.all_again() == []
    client.session.want("all", (), 5, {})
    client.session.answered({"pairs": "all"}, confirmed())
    client.session.receive("subscription_confirmed", confirmed(price("EUR_USD", 1), price("GBP_USD", 1)))
    client.session.want(["EUR_USD"], (), None, {})
    client.session.receive("subscription_confirmed", confirmed(price("EUR_USD", 1)))
    asked = [(payload["pairs"], payload.get("max_rate")) for _, payload in client.session.all_again()]
    assert asked == [("all", 5), (["EUR_USD"], None)]


def test_refused_subscription_is_removed() -> None:
    session = Session()
    session.want(["EUR_USD"], (), None, {})
    session.receive("subscription_confirmed", confirmed(price("EUR_USD", 1)))
    kept = session.opening()
    assert [payload["pairs"] for _, payload in kept] == [["EUR_USD"]]
    _, withdraw = session.want(["EUR_USD", "GBP_USD"], [("EUR_USD", "1m")], None, {})
    withdraw()
    assert session.opening() == kept


def test_rejected_subscription_that_the_answer_does_not_show_is_removed() -> None:
    session = Session()
    names = [f"X{number}" for number in range(30)]
    payload, _ = session.want(["EUR_USD", *names], [("EUR_USD", "1m"), ("EUR_USD", "2m")], None, {})
    answer = {**confirmed(price("EUR_USD", 1)), "candles": [{"pair": "EUR_USD", "interval": "1m"}]}
    session.receive("subscription_confirmed", answer)
    session.answered(payload, answer)
    assert [name for name in names if session.wants(name)] == []
    prices, candles = session.opening()
    assert (prices[1]["pairs"], candles[1]["candles"]) == (["EUR_USD"], [{"pair": "EUR_USD", "interval": "1m"}])


def test_request_without_an_answer_is_not_renewed_by_a_new_connection() -> None:
    """Its caller repeats it, and gives it up if it was the cause of two ends."""
    session = Session()
    session.greeted({"client_id": "c", "server_time": NOON, "available_pairs": ["EUR_USD", "GBP_USD"]})
    session.want("all", [("EUR_USD", "1m")], None, {})
    session.want(["GBP_USD"], (), None, {})
    assert session.opening() == []
    session.receive("subscription_confirmed", confirmed(price("EUR_USD", 1)))
    assert session.opening() == []
    session.receive("subscription_confirmed", confirmed(price("EUR_USD", 1), price("GBP_USD", 1)))
    assert [payload["pairs"] for _, payload in session.opening()] == ["all", ["GBP_USD"]]


def test_candles_after_reconnect_come_from_the_snapshot_with_a_gap(hub: Hub, client: Client) -> None:
    client.subscribe(candles=[("EUR_USD", "1m")])
    for seq, minute in ((1, 0), (2, 1), (3, 0)):  # the last one corrects an older candle
        hub.relay(candle(seq, minute), topics.CANDLES)
    client.read()
    assert shown(client.take()) == [1, 2, 3]
    client.lose()
    client.connect()
    assert shown(client.take()) == []
    client.lose()
    for seq, minute in ((4, 2), (5, 3), (6, 2)):
        hub.relay(candle(seq, minute), topics.CANDLES)
    client.connect()
    assert shown(client.take()) == [(1, "not_recovered"), 6, 5]  # oldest candle first
    hub.relay(candle(7, 3), topics.CANDLES)
    client.read()
    assert shown(client.take()) == [7]


def test_invalid_message_is_skipped() -> None:
    session = Session()
    session.want(["EUR_USD"], (), None, {})
    for event, body in (
        ("price_update", None),
        ("price_update", {"instrument": "EUR_USD"}),
        ("candle_update", []),
        ("gap_notice", 3),
        ("?", {}),
    ):
        assert session.receive(event, body) == []
    assert shown(session.receive("price_update", price("EUR_USD", 1))) == [1]


# own alerts


def test_own_alert_on_a_new_connection_keeps_its_id() -> None:
    session = Session()
    asked = {"instrument": "EUR_USD", "metric": "price", "op": ">", "value": "1.5", "once": True}
    alert = session.alerts.set(asked, {"alert": {**asked, "id": "a-1"}}, 1)
    assert (alert.id, alert.value) == ("a-1", Decimal("1.5"))
    assert session.alerts.to_set_again(1) == []
    assert session.alerts.to_set_again(2) == [("a-1", asked)]
    session.alerts.set(asked, {"alert": {**asked, "id": "b-9"}}, 2, own_id="a-1")
    assert session.alerts.to_set_again(2) == []
    assert (session.alerts.hub_id("a-1"), session.alerts.own_id("b-9")) == ("b-9", "a-1")
    fired = {**asked, "id": "b-9", "current": "1.51", "time": NOON, "timestamp": NOON, "seq": 3, "epoch": "one"}
    (item,) = session.receive("alert_triggered", fired)
    assert getattr(item, "id", None) == "a-1"
    assert not session.alerts.holds("a-1")  # it had once=True


# streams


def tick(seq: int, pair: str = "EUR_USD") -> Tick:
    return parse.tick(price(pair, seq))


def test_full_stream_drops_the_oldest_prices_with_a_gap_but_no_alert() -> None:
    alert = VolatilityAlert("EUR_USD", 0.03, 0.02, "warning", None, None)
    stream: Stream[Any] = Stream(lambda item: not isinstance(item, Connected), 4)
    stream.put(alert)
    stream.put(Connected("id", (), False))
    for seq in range(1, 8):
        stream.put(tick(seq))
    stream.put(Gap("EUR_USD", 10, "skipped"))
    assert [stream.take() for _ in range(6)] == [
        Gap("EUR_USD", 5, "slow_reader"),
        alert,
        tick(6),
        tick(7),
        Gap("EUR_USD", 10, "skipped"),
        None,
    ]
    for seq in range(20, 24):
        stream.put(tick(seq))
    stream.close()
    stream.put(tick(25))
    assert [item.seq for item in stream] == [20, 21, 22, 23]


def test_full_stream_without_gaps_reports_them_to_the_callback() -> None:
    told: list[Gap] = []
    stream: Stream[Tick] = Stream(lambda item: isinstance(item, Tick), 2, told.append)
    for seq in range(1, 6):
        stream.put(tick(seq))
    stream.close()
    assert [each.seq for each in stream] == [4, 5]
    assert told == [Gap("EUR_USD", 3, "slow_reader")]


@given(st.lists(st.one_of(st.none(), st.sampled_from(PAIRS)), max_size=60), st.integers(1, 5))
def test_full_stream_reports_the_exact_number_of_dropped_prices(steps: list[str | None], limit: int) -> None:
    """In `steps`, None takes an item and a pair puts its next price."""
    stream: Stream[Any] = Stream(lambda item: True, limit)
    seqs, out = dict.fromkeys(PAIRS, 0), []
    for step in steps:
        if step is None:
            out.append(stream.take())
        else:
            seqs[step] += 1
            stream.put(tick(seqs[step], step))
    stream.close()
    items = [item for item in [*out, *stream] if item]
    for pair in PAIRS:
        ticks = judge(items, pair)
        lead = sum(item.missed or 0 for item in items if isinstance(item, Gap) and item.instrument == pair)
        assert len(ticks) + lead == seqs[pair]


def test_empty_stream_calls_wake_on_the_next_item_and_on_close() -> None:
    woken: list[int] = []
    stream: Stream[Any] = Stream(lambda item: True, 10)
    stream.wake_with(lambda: woken.append(1))
    for seq in (1, 2):
        stream.put(tick(seq))
    assert len(woken) == 1
    assert [stream.take(), stream.take(), stream.take()] == [tick(1), tick(2), None]
    stream.put(tick(3))
    stream.close()
    assert len(woken) == 3
    assert stream.get() == tick(3)
    assert stream.get() is None


# values


@given(
    st.decimals(min_value=0, max_value=10**12, places=8, allow_nan=False).filter(bool),
    st.datetimes(min_value=datetime(1971, 1, 1)),  # noqa: DTZ001 - the zone is a separate argument
    st.integers(-12, 12),
)
def test_tick_keeps_the_digits_and_the_time_of_its_body(number: Decimal, time: datetime, hours: int) -> None:
    moment_ = time.replace(tzinfo=timezone(timedelta(hours=hours)), year=max(1971, min(time.year, 9000)))
    text = format(number, "f")
    body = {**price("EUR_USD", 3), "price": {"bid": text, "ask": text, "mid": text, "time": moment_.isoformat()}}
    made = parse.tick(body)
    assert made.time == moment_
    assert made.as_dict()["price"]["bid"] == text
    assert parse.tick(made.as_dict()) == made


def test_candle_update_parses_all_fields() -> None:
    update = parse.candle({**candle(2), "candle": {**candle(2)["candle"], "trades": 5}})
    assert (update.high, update.volume, update.trades, update.complete) == (Decimal(2), Decimal(3), 5, False)
    assert update.end_time - update.start_time == timedelta(minutes=1)


def test_default_rest_url_needs_the_default_port_of_the_hub() -> None:
    assert default_rest_url("http://127.0.0.1:5001") == "http://127.0.0.1:5000"
    assert default_rest_url("https://[::1]:5001/") == "https://[::1]:5000"
    assert default_rest_url("http://hub.example:8080") is None
    assert default_rest_url("http://hub.example") is None


def test_resolve_time_without_zone_is_utc_and_timedelta_is_before_now() -> None:
    at = datetime(2025, 11, 18, 12, tzinfo=UTC)
    assert resolve_time("2025-11-18T12:00:00Z") == resolve_time("2025-11-18 13:00+01:00") == resolve_time(at.replace(tzinfo=None)) == at
    assert timedelta(minutes=59) < datetime.now(UTC) - resolve_time(timedelta(hours=1)) < timedelta(minutes=61)


def test_package_imports_only_its_dependencies_and_pandas_in_functions() -> None:
    """pandas is imported only in functions that return frames, and for types."""
    folder = Path(tickwire_client.__file__).parent
    for file in folder.glob("*.py"):
        tree = ast.parse(file.read_text())
        inside = {node for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                known = top in sys.stdlib_module_names or top in ("tickwire_client", "socketio", "websocket", "requests")
                for_types = file.name in ("frames.py", "history.py", "aio_history.py") and top == "pandas"
                assert known or (for_types and (node in inside or "TYPE_CHECKING" in file.read_text())), (file.name, name)


def test_instrument_without_a_message_resumes_in_the_epoch_that_the_hub_has_sent_for_it() -> None:
    positions = Positions()
    positions.joined("EUR_USD", None, None, "own")
    positions.joined("GBP_USD", parse.tick(price("GBP_USD", 4, "other"), snapshot=True), None)
    positions.joined("USD_JPY", None, None)  # of an older hub, which has one epoch for all
    expected = {"EUR_USD": ("own", 0), "GBP_USD": ("other", 4), "USD_JPY": ("other", 0)}
    assert positions.since(expected) == {name: {"epoch": epoch, "seq": seq} for name, (epoch, seq) in expected.items()}


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_end_of_a_connection_without_a_reader_waits_for_none(transport: str) -> None:
    """python-engineio is connected before its reader exists: a user may close the client then."""
    engine = make_socket(5.0, []).eio
    ours, theirs = socket.socketpair()
    with ours, theirs:
        engine.queue, engine.ws = engine.create_queue(), ours
        engine.state, engine.current_transport = "connected", transport
        engine.disconnect()
    assert engine.state == "disconnected"
