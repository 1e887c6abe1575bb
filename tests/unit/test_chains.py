"""Links of a chain in the outbox: a slow client receives one snapshot instead of its waiting links.

`pytest --hypothesis-profile=thorough tests/unit/test_chains.py` tries 10,000 stalls.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import Frame, Snapshot, event
from tests.unit.chains import KEYS, ROOMS, Client, Feed, Owner, Socket, missing, push
from tests.unit.oracle import read_by_client

LIMIT = 900
BTC, ETH = ROOMS


class World:
    """One outbox with its client. Like a fan-out, it has broadcasts that are not pushed yet."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.feed, self.socket = Feed(), Socket()
        self.client = Client(self.feed)
        self.outbox = Outbox(Owner(), limit)
        self.outbox.chains = self
        self.members: set[str] = set()
        self.pending: list[Frame] = []
        self.pushed: list[Frame] = []
        self.received: list[bytes] = []
        self.answers = 0
        self.read = 0  # bytes of the socket that the client has read

    # the source of snapshots

    def flush(self) -> None:
        if self.pending:
            frames, self.pending = self.pending, []
            push(self.outbox, *frames)

    def fresh(self, room: str) -> Frame | None:
        return self.feed.fresh(room) if room in self.members else None

    # the hub

    def broadcast(self, frame: Frame) -> None:
        if frame.chain is None or frame.chain in self.members:
            self.pending.append(frame)
            self.pushed.append(frame)

    def update(self, room: str, padding: int = 0) -> None:
        self.broadcast(self.feed.update(room, padding))
        self.flush()

    def join(self, room: str) -> None:
        self.flush()
        self.outbox.supersede([room])
        self.members.add(room)
        self._answer("subscribed", self.feed.answer(room))

    def leave(self, room: str) -> None:
        if room in self.members:
            self.flush()
            self.members.discard(room)
            self._answer("unsubscribed", orjson.dumps({"room": room}))

    def request(self, room: str) -> None:
        if room in self.members:
            self.flush()
            self.outbox.supersede([room])
            self._answer("book_response", self.feed.answer(room))

    def _answer(self, name: str, body: bytes) -> None:
        self.answers += 1
        frame = event(name, b'%s,"n":%d}' % (body[:-1], self.answers))
        self.pushed.append(frame)
        self.outbox.put(frame)

    # the client

    def make_room(self, room: int) -> None:
        self.socket.room = room
        if self.outbox._has_socket is False:
            self.outbox.open(self.socket.send)
        else:
            self.outbox.drain()

    def poll(self, most: int) -> None:
        if self.outbox._has_socket is False:
            for frame in self.outbox.take(most):
                self.received.append(frame.packet)
                self.client.receive(frame.packet)

    def finish(self) -> None:
        """Take everything, and let the client handle it."""
        self.make_room(10**9)
        self.flush()
        for _, packet in read_by_client(self.socket.taken[self.read :]) if len(self.socket.taken) > self.read else ():
            self.received.append(packet)
            self.client.receive(packet)
        self.read = len(self.socket.taken)
        assert self.outbox.idle
        assert self.outbox.size == self.outbox.replaying == 0
        assert not self.outbox._snapshots

    def judge(self) -> None:
        """Check the client's books and its notices at the end."""
        assert set(self.client.at) == self.members
        assert all(map(self.client.holds_the_newest, self.members))
        lost = missing(self.pushed, self.received)
        assert self.client.dropped == lost
        assert self.outbox.conflated == lost.total()
        assert all(count <= lost[KEYS[room]] for room, count in self.client.made.items()), "a snapshot that replaces no link"


Step = Callable[[World], None]
_rooms = st.sampled_from(ROOMS)


def _price(world: World) -> None:
    world.broadcast(event("price_update", b'{"seq":%d}' % len(world.pushed), "EUR_USD"))


def _alert(padding: int) -> Step:
    return lambda world: world.broadcast(event("alert", b'{"seq":%d,"message":"%s"}' % (len(world.pushed), b"x" * padding)))


def _of_room(act: Callable[[World, str], None]) -> st.SearchStrategy[Step]:
    return st.builds(lambda room: lambda world: act(world, room), _rooms)


def _burst(room: str, padding: int, count: int, flushed: bool) -> Step:
    """Return the step of some updates; if not `flushed`, they wait in the fan-out."""

    def step(world: World) -> None:
        for _ in range(count):
            world.broadcast(world.feed.update(room, padding))
            if flushed:
                world.flush()

    return step


_sizes = st.one_of(st.integers(1, 300), st.sampled_from((200, 1000, 5000)))
_burst_of_updates: st.SearchStrategy[Step] = st.builds(_burst, _rooms, st.sampled_from((0, 150)), st.integers(1, 15), st.booleans())
_rare: st.SearchStrategy[Step] = st.one_of(
    st.just(_price),
    st.builds(_alert, st.integers(0, 300)),
    st.just(World.flush),
    _of_room(lambda world, room: world.broadcast(world.feed.restart(room))),
    _of_room(World.join),
    _of_room(lambda world, room: world.leave(room) if room in world.members else world.join(room)),
    _of_room(World.request),
)


def _stalls(take: Callable[[World, int], None]) -> st.SearchStrategy[list[Step]]:
    """Return lists of steps; now and then, the client takes some bytes."""
    takes: st.SearchStrategy[Step] = st.builds(lambda size: lambda world: take(world, size), _sizes)
    return st.lists(st.one_of(_burst_of_updates, _burst_of_updates, takes, takes, _rare), min_size=40, max_size=80)


@given(steps=_stalls(World.make_room))
def test_random_stalls_of_a_socket_never_break_a_chain(steps: list[Step]) -> None:
    play(steps)


@given(steps=_stalls(World.poll))
def test_random_stalls_of_a_polling_client_never_break_a_chain(steps: list[Step]) -> None:
    """At the end, a WebSocket takes the rest."""
    play(steps)


def play(steps: list[Step]) -> None:
    world = World()
    for room in ROOMS:
        world.join(room)
    for step in steps:
        step(world)
    world.finish()
    world.judge()


@pytest.fixture
def world() -> World:
    """A world whose client holds both rooms, and whose socket is full."""
    world = World()
    world.make_room(10**6)
    world.join(BTC)
    world.join(ETH)
    world.finish()
    world.socket.room = 0
    return world


def test_stalled_client_receives_one_snapshot_and_updates_from_its_seq(world: World) -> None:
    for _ in range(100):
        world.update(BTC)
    world.make_room(10**6)
    assert world.client.made == {}
    for _ in range(3):
        world.update(BTC)
    world.finish()
    world.judge()
    assert world.client.events[2:] == ["book_snapshot", "gap_notice", "book_update", "book_update", "book_update"]
    assert world.client.at[BTC] == (1, 104)
    assert world.client.dropped == {"BTCUSDT|20": 100}


def test_snapshot_is_made_when_it_is_sent(world: World) -> None:
    for _ in range(100):
        world.update(BTC)
    assert world.feed.made == 0
    world.make_room(1)  # the socket takes a byte: the snapshot is torn and stays as it is
    assert world.feed.made == 1
    world.update(BTC)
    world.update(BTC)
    world.finish()
    world.judge()
    assert world.client.events[2:] == ["book_snapshot", "book_update", "book_update", "gap_notice"]


def test_snapshot_of_which_no_byte_was_sent_is_made_anew(world: World) -> None:
    world.update(BTC)
    world.make_room(1)  # a torn link
    for _ in range(100):
        world.update(BTC)
    world.make_room(len(world.outbox._partial))  # the link exactly; the snapshot behind it waits
    made = world.feed.made
    world.update(BTC)
    world.finish()
    world.judge()
    assert world.feed.made > made >= 1
    assert world.client.made == {BTC: 1}


def test_torn_link_is_finished_before_the_snapshot(world: World) -> None:
    world.update(BTC)
    world.make_room(20)
    for _ in range(100):
        world.update(BTC)
    world.finish()
    world.judge()
    assert world.client.events[2:] == ["book_update", "book_snapshot", "gap_notice"]
    assert world.client.dropped == {"BTCUSDT|20": 100}


def test_links_that_are_not_pushed_yet_do_not_follow_the_snapshot_that_contains_them(world: World) -> None:
    for _ in range(100):
        world.update(BTC)
    for _ in range(3):
        world.broadcast(world.feed.update(BTC))
    world.make_room(10**6)
    world.flush()
    world.finish()
    world.judge()
    assert world.client.events[2:] == ["book_snapshot", "gap_notice"]
    assert world.client.dropped == {"BTCUSDT|20": 103}


def test_poll_makes_the_snapshot_when_it_takes_it() -> None:
    world = World()
    world.join(BTC)
    for _ in range(100):
        world.update(BTC)
    world.poll(1)  # the answer alone
    assert world.feed.made <= 1
    world.update(BTC)
    world.poll(10**6)
    world.update(BTC)
    world.poll(10**6)
    assert world.client.events == ["subscribed", "book_snapshot", "gap_notice", "book_update"]
    assert world.client.made == {BTC: 1}
    assert world.client.dropped == {"BTCUSDT|20": 101}
    world.finish()
    world.judge()


def test_snapshot_of_a_room_that_the_client_left_is_not_sent(world: World) -> None:
    for _ in range(100):
        world.update(BTC)
        world.update(ETH)
    world.leave(BTC)
    world.update(BTC)
    world.finish()
    assert world.client.events[2:] == ["book_snapshot", "unsubscribed", "gap_notice"]
    assert world.client.made == {ETH: 1}
    world.join(BTC)
    world.update(BTC)
    world.finish()
    world.judge()


def test_left_room_is_joined_again_during_the_stall(world: World) -> None:
    for _ in range(100):
        world.update(BTC)
    world.leave(BTC)
    world.join(BTC)
    world.update(BTC)
    world.finish()
    world.judge()
    assert world.client.events[2:] == ["unsubscribed", "subscribed", "book_update", "gap_notice"]


@pytest.mark.parametrize("count", [3, 100])
def test_answer_with_a_snapshot_replaces_the_waiting_links(count: int, world: World) -> None:
    for _ in range(count):
        world.update(BTC)
    world.request(BTC)
    for _ in range(count):
        world.update(BTC)
    world.finish()
    world.judge()
    assert world.client.events[2:4] == ["book_response", "book_update" if count == 3 else "book_snapshot"]
    assert world.client.dropped == {"BTCUSDT|20": 3 if count == 3 else 200}


def test_room_without_a_snapshot_sends_none(world: World) -> None:
    for _ in range(100):
        world.update(BTC)
    world.feed.missing.add(BTC)
    world.make_room(10**6)
    world.broadcast(world.feed.restart(BTC))
    world.finish()
    world.judge()
    assert world.client.events[2:] == ["gap_notice", "book_snapshot"]


def test_shut_and_finished_outboxes_have_no_snapshot(world: World) -> None:
    for _ in range(100):
        world.update(BTC)
    world.outbox.finish([last := event("error", b"{}")])
    assert world.outbox.size == len(last.wire)
    world.make_room(10**6)
    assert world.feed.made == 0
    world.socket.room = 0
    for _ in range(100):
        world.update(BTC)
    world.outbox.shut()
    assert world.outbox.size == 0
    world.update(BTC)
    assert world.outbox.size > 0, "links of a shut outbox wait as other frames do"


def test_thousand_rooms_of_a_stalled_client_are_bounded() -> None:
    """The limit is that of a hub; each room counts for less than a link of its book."""
    outbox = Outbox(Owner(), 256 * 1024)
    for seq in range(200):
        for room in range(1000):
            push(outbox, event("book_update", b'{"seq":%d,"bids":[["61837.63000000","3.78826000"]]}' % seq, f"{room}|20", chain=f"{room}"))
    assert outbox.size <= 256 * 1024
    assert len(outbox._frames) < 3500
    assert len({frame.chain for frame in outbox._frames}) == 1000


def test_link_needs_a_key() -> None:
    with pytest.raises(ValueError, match="book_BTCUSDT_20"):
        event("book_update", b"{}", chain=BTC)
    assert Snapshot(event("book_update", b"{}", "BTCUSDT|20", chain=BTC)).packet == b""
