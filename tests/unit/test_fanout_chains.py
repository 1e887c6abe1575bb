"""Links of a chain in the fan-out: cohorts, rates, polls, and clients that come, go and stall."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from api.hub.fanout import Fanout
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import event
from tests.unit.chains import ROOMS, Client, Feed, Owner, Socket
from tests.unit.oracle import read_by_client

LIMIT = 1200
BTC, ETH = ROOMS
CLIENTS = ("one", "two", "three")


class Time:
    """A manual clock with its pending calls."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (self.now + seconds, next(self._order), function))

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, function = heapq.heappop(self._calls)
            function()
        self.now = end


class Peer:
    """A client with its outbox: a WebSocket, or polls until `open`."""

    def __init__(self, feed: Feed, polls: bool) -> None:
        self.box, self.socket, self.client = Outbox(Owner(), LIMIT), Socket(10**9), Client(feed)
        self.polls = polls
        self._read = 0
        if not polls:
            self.box.open(self.socket.send)

    def make_room(self, size: int) -> None:
        """Let the client take at most this many bytes; with polls, one payload of that size."""
        self.socket.room = size
        if not self.polls:
            self.box.drain()
            return
        for frame in self.box.take(size):
            self.client.receive(frame.packet)

    def finish(self) -> None:
        """Take everything, and let the client handle it."""
        self.make_room(10**9)
        while self.polls and not self.box.idle:
            self.make_room(10**9)
        if len(self.socket.taken) > self._read:
            for _, packet in read_by_client(self.socket.taken[self._read :]):
                self.client.receive(packet)
        self._read = len(self.socket.taken)
        assert self.box.idle


class Hub:
    """A fan-out with books, and its clients."""

    def __init__(self) -> None:
        self.time, self.feed = Time(), Feed()
        self.fanout = Fanout(lambda: self.time.now, self.time.call_later)
        self.fanout.fresh = self.feed.fresh
        self.peers: dict[str, Peer] = {}

    def add(self, name: str, polls: bool = False) -> Peer:
        peer = self.peers[name] = Peer(self.feed, polls)
        self.fanout.add(name, peer.box)
        return peer

    def remove(self, name: str) -> None:
        self.fanout.remove(name)
        self.peers.pop(name).box.shut()

    def subscribe(self, name: str, room: str, rate: float | None = None) -> None:
        """Join the room and answer with its snapshot, in one step."""
        self.fanout.join(name, [room], rate)
        body = orjson.loads(self.feed.answer(room)) | {"rate": rate}
        self.fanout.emit(name, "subscribed", orjson.dumps(body))

    def unsubscribe(self, name: str, room: str) -> None:
        if room in self.fanout.rooms(name):
            self.fanout.leave(name, [room])
            self.fanout.emit(name, "unsubscribed", orjson.dumps({"room": room}))

    def request(self, name: str, room: str) -> None:
        if room in self.fanout.rooms(name):
            self.fanout.supersede(name, [room])
            self.fanout.emit(name, "book_response", self.feed.answer(room))

    def update(self, room: str, times: int = 1, *, flush: bool = True) -> None:
        for _ in range(times):
            self.fanout.broadcast((room,), self.feed.update(room))
            if flush:
                self.fanout.flush()


@pytest.fixture
def hub() -> Hub:
    return Hub()


def events(peer: Peer) -> list[str]:
    """Return the names of the packets since the last call; the client takes everything."""
    peer.finish()
    names, peer.client.events = peer.client.events, []
    return names


def test_stalled_client_of_a_cohort_receives_one_snapshot_and_others_all_links(hub: Hub) -> None:
    slow, fast = hub.add("slow"), hub.add("fast")
    for name in ("slow", "fast"):
        hub.subscribe(name, BTC)
        hub.subscribe(name, ETH)
    slow.socket.room = 0
    hub.update(BTC, 100)
    hub.update(ETH)
    assert events(fast) == ["subscribed"] * 2 + ["book_update"] * 101
    assert events(slow) == ["subscribed", "subscribed", "book_snapshot", "book_update", "gap_notice"]
    assert slow.client.dropped == {"BTCUSDT|20": 100}
    hub.update(BTC)
    assert events(slow) == events(fast) == ["book_update"]
    assert hub.feed.made == 1


@pytest.mark.parametrize("polls", [False, True])
def test_pending_links_of_a_cohort_do_not_follow_the_snapshot_that_contains_them(polls: bool, hub: Hub) -> None:
    slow, fast = hub.add("slow", polls), hub.add("fast")
    for name in ("slow", "fast"):
        hub.subscribe(name, BTC)
    slow.finish()
    slow.socket.room = 0
    hub.update(BTC, 100)
    hub.update(BTC, 3, flush=False)
    slow.make_room(10**6)
    hub.fanout.flush()
    assert events(slow) == ["subscribed", "book_snapshot", "gap_notice"]
    assert events(fast) == ["subscribed"] + ["book_update"] * 103
    hub.update(BTC)
    assert events(slow) == ["book_update"]


def test_links_in_parts_do_not_follow_the_snapshot_that_contains_them(hub: Hub) -> None:
    slow = [hub.add(f"{number}") for number in range(60)]
    for number in range(60):
        hub.subscribe(f"{number}", BTC)
    slow[-1].socket.room = 0
    hub.update(BTC, 100)
    hub.update(BTC, flush=False)
    hub.fanout.flush_in_parts()
    slow[-1].make_room(10**6)
    hub.time.advance(1)
    assert events(slow[-1]) == ["subscribed", "book_snapshot", "gap_notice"]
    assert events(slow[0]) == ["subscribed"] + ["book_update"] * 101


def test_client_with_a_rate_receives_one_snapshot_per_tick_in_which_the_book_changed(hub: Hub) -> None:
    rated, live = hub.add("rated"), hub.add("live")
    hub.subscribe("live", BTC)
    hub.subscribe("rated", BTC, 10.0)
    hub.time.advance(0.05)
    hub.update(BTC, 5)
    hub.time.advance(0)
    assert events(rated) == ["subscribed", "book_snapshot"]
    hub.update(BTC, 5)
    hub.time.advance(0.05)
    assert events(rated) == []
    hub.time.advance(0.05)
    assert events(rated) == ["book_snapshot"]
    assert rated.client.holds_the_newest(BTC)
    hub.time.advance(5)
    assert events(rated) == [], "the book has not changed"
    assert events(live) == ["subscribed"] + ["book_update"] * 10


def test_clients_of_one_rate_share_one_snapshot(hub: Hub) -> None:
    for name in CLIENTS:
        hub.add(name)
        hub.subscribe(name, BTC, 5.0)
    hub.update(BTC, 3)
    hub.time.advance(1)
    assert hub.feed.made == 1
    assert len({peer.socket.taken for peer in hub.peers.values()}) == 1


def test_stalled_client_with_a_rate_receives_its_snapshot_once(hub: Hub) -> None:
    slow = hub.add("slow")
    hub.subscribe("slow", BTC, 10.0)
    slow.socket.room = 0
    for _ in range(30):
        hub.update(BTC)
        hub.time.advance(0.1)
    hub.update(BTC)  # waits for the next tick
    assert events(slow) == ["subscribed", "book_snapshot", "gap_notice"]
    assert slow.client.holds_the_newest(BTC)
    hub.time.advance(1)
    assert events(slow) == [], "the snapshot contains the change of this tick"
    hub.update(BTC)
    hub.time.advance(1)
    assert events(slow) == ["book_snapshot"]


def test_new_client_with_a_rate_receives_no_snapshot_of_an_older_change(hub: Hub) -> None:
    first, second = hub.add("first"), hub.add("second")
    hub.subscribe("first", BTC, 5.0)
    hub.update(BTC)
    hub.time.advance(0)
    hub.update(BTC)
    hub.subscribe("second", BTC, 5.0)
    hub.time.advance(1)
    assert events(first) == ["subscribed", "book_snapshot", "book_snapshot"]
    assert events(second) == ["subscribed"]


def test_room_without_a_snapshot_has_no_tick(hub: Hub) -> None:
    rated = hub.add("rated")
    hub.subscribe("rated", BTC, 5.0)
    hub.feed.missing.add(BTC)
    hub.update(BTC)
    hub.time.advance(1)
    assert events(rated) == ["subscribed"]
    hub.feed.missing.clear()
    hub.update(BTC)
    hub.time.advance(1)
    assert events(rated) == ["book_snapshot"]


@pytest.mark.parametrize("rate", [None, 10.0])
def test_client_that_left_receives_no_snapshot_until_it_joins_again(rate: float | None, hub: Hub) -> None:
    slow = hub.add("slow")
    hub.subscribe("slow", BTC, rate)
    slow.socket.room = 0
    for _ in range(30):
        hub.update(BTC)
        hub.time.advance(0.1)
    hub.unsubscribe("slow", BTC)
    hub.update(BTC)
    assert events(slow) == ["subscribed", "unsubscribed", "gap_notice"]
    slow.socket.room = 0
    hub.subscribe("slow", BTC)
    hub.update(BTC, 2)
    assert events(slow) == ["subscribed", "book_update", "book_update"]


@pytest.mark.parametrize("rate", [None, 10.0])
def test_client_joins_a_room_again_while_its_snapshot_waits(rate: float | None, hub: Hub) -> None:
    """A request with another rate, for example. Its answer contains the book."""
    slow = hub.add("slow")
    hub.subscribe("slow", BTC)
    slow.socket.room = 0
    hub.update(BTC, 100)
    hub.update(BTC, flush=False)
    hub.subscribe("slow", BTC, rate)
    hub.update(BTC, 2)
    hub.time.advance(1)
    assert events(slow) == ["subscribed", "subscribed", *(["book_update"] * 2 if rate is None else ["book_snapshot"]), "gap_notice"]
    assert slow.client.dropped == {"BTCUSDT|20": 101}


def test_removed_client_leaves_nothing_in_an_outbox_that_lives_on(hub: Hub) -> None:
    """A session may have left this namespace and still be in another one."""
    slow = hub.add("slow")
    hub.subscribe("slow", BTC)
    slow.socket.room = 0
    hub.update(BTC, 100)
    hub.fanout.remove("slow")
    assert events(slow) == ["subscribed", "gap_notice"]


def test_answer_to_a_slow_client_replaces_its_snapshot(hub: Hub) -> None:
    slow = hub.add("slow")
    hub.subscribe("slow", BTC)
    slow.socket.room = 0
    hub.update(BTC, 100)
    hub.update(BTC, flush=False)
    hub.request("slow", BTC)
    hub.update(BTC, 2)
    assert events(slow) == ["subscribed", "book_response", "book_update", "book_update", "gap_notice"]
    hub.fanout.supersede("nobody", [BTC])


def test_fanout_without_books_gives_an_outbox_no_source_of_snapshots() -> None:
    fanout, box = Fanout(lambda: 0.0, lambda seconds, function: None), Outbox(Owner(), LIMIT)
    fanout.add("one", box)
    assert box.chains is None


class Machine(RuleBasedStateMachine):
    """Clients with any rates and transports stall, come and go, while books change."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        for name in CLIENTS:
            self.connect(name)

    def connect(self, name: str) -> None:
        """Add a client that holds all rooms and takes no bytes."""
        self.hub.add(name, polls=name == CLIENTS[-1]).socket.room = 0
        for room in ROOMS:
            self.hub.subscribe(name, room)

    @rule(room=st.sampled_from(ROOMS), times=st.integers(5, 15))
    def burst(self, room: str, times: int) -> None:
        self.hub.update(room, times)

    @rule(room=st.sampled_from(ROOMS), times=st.integers(1, 3))
    def update(self, room: str, times: int) -> None:
        """Updates that wait in the fan-out."""
        self.hub.update(room, times, flush=False)

    @rule(room=st.sampled_from(ROOMS))
    def restart(self, room: str) -> None:
        self.hub.fanout.broadcast((room,), self.hub.feed.restart(room))

    @rule()
    def alert(self) -> None:
        self.hub.fanout.broadcast((), event("alert", b"{}"))

    @rule()
    def flush(self) -> None:
        self.hub.fanout.flush()

    @rule(client=st.sampled_from(CLIENTS), room=st.sampled_from(ROOMS), rate=st.sampled_from((None, None, 2.0, 10.0)))
    def subscribe(self, client: str, room: str, rate: float | None) -> None:
        self.hub.subscribe(client, room, rate)

    @rule(client=st.sampled_from(CLIENTS), room=st.sampled_from(ROOMS))
    def leave_or_join(self, client: str, room: str) -> None:
        if room in self.hub.fanout.rooms(client):
            self.hub.unsubscribe(client, room)
        else:
            self.hub.subscribe(client, room)

    @rule(client=st.sampled_from(CLIENTS), room=st.sampled_from(ROOMS))
    def request(self, client: str, room: str) -> None:
        self.hub.request(client, room)

    @rule(client=st.sampled_from(CLIENTS), size=st.sampled_from((50, 400, 1000, 5000)))
    def make_room(self, client: str, size: int) -> None:
        self.hub.peers[client].make_room(size)

    @rule(seconds=st.sampled_from((0, 0.03, 0.1, 1)))
    def advance(self, seconds: float) -> None:
        self.hub.time.advance(seconds)

    @rule(client=st.sampled_from(CLIENTS))
    def reconnect(self, client: str) -> None:
        self.hub.remove(client)
        self.connect(client)

    def teardown(self) -> None:
        for peer in self.hub.peers.values():
            peer.finish()
        self.hub.fanout.flush()
        self.hub.time.advance(10)
        for name, peer in self.hub.peers.items():
            peer.finish()
            assert set(peer.client.at) == set(self.hub.fanout.rooms(name))
            assert all(map(peer.client.holds_the_newest, peer.client.at))
            assert peer.client.dropped.total() == peer.box.conflated


TestMachine: Any = Machine.TestCase
TestMachine.settings = settings(stateful_step_count=60)
