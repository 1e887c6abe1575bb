"""The fan-out with unlimited outboxes and a manual clock: receivers, order and rates.

Every case runs with both loops on real sockets.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from api.hub.fanout import RATES, Fanout, granted
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import Frame
from tests.support.pairs import FORMS, Pair, form

ROOMS = ("A", "B", "C")
CLIENTS = ("one", "two", "three", "four")


@pytest.fixture(autouse=True, scope="module", params=FORMS)
def loop(request: pytest.FixtureRequest) -> Iterator[None]:
    with form(request.param):
        yield


class Time:
    """A manual clock with its pending calls; `before` is called before each step."""

    def __init__(self, before: Callable[[], None]) -> None:
        self.now = 0.0
        self._before = before
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        assert seconds >= 0
        heapq.heappush(self._calls, (self.now + seconds, next(self._order), function))

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self._before()
            self.now, _, function = heapq.heappop(self._calls)
            function()
        self._before()
        self.now = end


class Owner:
    def blocked(self) -> None:
        raise AssertionError

    queued = overflowed = broken = blocked


class World:
    """A fan-out with its clients, and (time, bytes) of each write to a socket."""

    def __init__(self, interval: float = 0.0) -> None:
        self.time = Time(self.collect)
        self.busy = False
        self.fanout = Fanout(lambda: self.time.now, self.time.call_later, busy=lambda: self.busy, kind_of=str.lower, interval=interval)
        self._sent: dict[str, list[tuple[float, bytes]]] = {}
        self._pairs: dict[str, Pair] = {}

    def add(self, *clients: str) -> None:
        for client in clients:
            pair = self._pairs[client] = Pair(packets=True)
            self._sent[client] = []
            box = Outbox(Owner(), 0)
            box.open(pair.send, pair.fd)
            self.fanout.add(client, box)

    def collect(self) -> None:
        """Read all packets that were sent at the present time."""
        for client, pair in self._pairs.items():
            while data := pair.read():
                self._sent[client].append((self.time.now, data))

    @property
    def sent(self) -> dict[str, list[tuple[float, bytes]]]:
        self.collect()
        return self._sent

    def received(self, client: str) -> list[str]:
        return [name for _, name in self.timed(client)]

    def timed(self, client: str) -> list[tuple[float, str]]:
        return [(time, name) for time, data in self.sent[client] for name in re.findall(r"<(.*?)>", data.decode())]

    def price(self, room: str, seq: int) -> None:
        self.fanout.broadcast((room,), frame(f"{room}{seq}", room))

    def publish(self, room: str, seq: int) -> None:
        self.price(room, seq)
        self.fanout.flush()

    def publish_named(self, room: str, name: str) -> None:
        self.fanout.broadcast((room,), frame(name, room))
        self.fanout.flush()


def frame(name: str, key: str | None = None) -> Frame:
    return Frame(b"", f"<{name}>".encode(), key)


@pytest.fixture
def world() -> World:
    return World()


def leftovers(fanout: Fanout) -> list[Any]:
    """Return the remaining state of the fan-out."""
    cohorts = fanout._cohorts
    held = (
        fanout._boxes,
        fanout._holdings,
        fanout._cohort_of,
        fanout._sender._touched,
        [*cohorts],
        cohorts.live,
        cohorts.rated,
        cohorts.timed,
    )
    clocks = [part for clock in fanout._ticks.clocks for part in (clock.latest, clock.newcomers, clock.late)]
    return [part for part in (*held, *clocks) if part]


def test_broadcast_reaches_the_members_of_its_rooms_once(world: World) -> None:
    world.add("a", "b", "both", "rated", "none")
    for client, rooms in (("a", "A"), ("b", "B"), ("both", "AB")):
        world.fanout.join(client, rooms)
    world.fanout.join("rated", ["A"], 1.0)
    world.fanout.join("rated", ["B"])
    world.fanout.broadcast(("A",), frame("alert A"))
    world.fanout.broadcast(("A", "B"), frame("correlation"))
    world.fanout.broadcast(("B", "C"), frame("correlation BC"))
    world.fanout.broadcast((), frame("ready"))
    assert world.received("a") == []
    world.fanout.flush()
    assert world.received("a") == ["alert A", "correlation", "ready"]
    assert world.received("b") == ["correlation", "correlation BC", "ready"]
    assert world.received("both") == world.received("rated") == ["alert A", "correlation", "correlation BC", "ready"]
    assert world.received("none") == ["ready"]
    assert (world.fanout.delivered, world.fanout.batched) == (3 + 3 + 4 + 4 + 1, 3 + 3 + 4 + 4 + 1)
    assert world.fanout.batches == 5
    sends = [data for log in world.sent.values() for _, data in log]
    assert (world.fanout.sends, world.fanout.sent_bytes) == (len(sends), sum(map(len, sends)))
    assert world.fanout.members() == {"A": 3, "B": 3}
    assert world.fanout.rooms("rated") == {"A": 1.0, "B": None}
    assert world.fanout.clients() == ["a", "b", "both", "rated", "none"]


def test_clients_with_equal_rooms_share_the_bytes_of_one_send(world: World) -> None:
    world.add("one", "two", "three")
    world.fanout.join("one", ["A", "B"])
    world.fanout.join("two", ["B"])
    world.fanout.join("two", ["A"])  # the same rooms in two steps
    world.fanout.join("three", ["A"])
    for seq in (1, 2):
        world.price("A", seq)
        world.price("B", seq)
    world.fanout.flush()
    ((_, first),), ((_, second),) = world.sent["one"], world.sent["two"]
    assert first == second == b"<A1><B1><A2><B2>"
    assert world.received("three") == ["A1", "A2"]
    world.fanout.broadcast((), frame("single"))
    world.fanout.flush()
    assert {sends[-1][1] for sends in world.sent.values()} == {b"<single>"}
    world.fanout.flush()
    assert [len(sends) for sends in world.sent.values()] == [2, 2, 2]


def test_rated_clients_with_equal_rooms_share_the_bytes(world: World) -> None:
    world.add("one", "two")
    for client in ("one", "two"):
        world.fanout.join(client, ["A", "B"], 5.0)
    world.price("A", 1)
    world.price("B", 1)
    world.time.advance(0)
    ((_, first),), ((_, second),) = world.sent["one"], world.sent["two"]
    assert first == second
    assert sorted(world.received("one")) == ["A1", "B1"]


@pytest.mark.parametrize("act", ["join", "leave", "send"])
def test_pending_messages_are_sent_before_another_action_on_a_client(act: str, world: World) -> None:
    world.add("one", "two")
    world.fanout.join("one", ["A"])
    world.price("A", 1)
    if act == "join":
        world.fanout.join("two", ["A"])
    elif act == "leave":
        world.fanout.leave("one", ["A"])
    else:
        world.fanout.send("one", frame("answer"))
    assert world.received("one") == ["A1", "answer"][: 2 if act == "send" else 1]
    assert world.received("two") == []
    world.publish("A", 2)
    assert ("A2" in world.received("one")) is (act != "leave")
    assert ("A2" in world.received("two")) is (act == "join")


def test_new_client_receives_no_earlier_broadcast(world: World) -> None:
    world.add("one")
    world.fanout.broadcast((), frame("A"))
    world.add("two")
    world.fanout.flush()
    assert [name for name, sent in world.sent.items() if sent] == ["one"]


def test_unknown_client_is_ignored(world: World) -> None:
    world.fanout.send("nobody", frame("answer"))
    world.fanout.remove("nobody")
    assert world.fanout.rooms("nobody") == {}
    world.add("one")
    world.fanout.join("one", [], 5.0)
    world.fanout.leave("one", ["A"])
    assert world.fanout.rooms("one") == {}


def test_removed_client_with_pending_messages_affects_no_other(world: World) -> None:
    world.add("one", "two", "three")
    for client in ("one", "two"):
        world.fanout.join(client, ["A"])
    world.fanout.join("three", ["A"], 1.0)
    world.price("A", 1)
    world.fanout.remove("one")
    world.fanout.remove("three")
    world.fanout.flush()
    world.time.advance(5)
    assert (world.received("one"), world.received("two"), world.received("three")) == ([], ["A1"], [])


@pytest.mark.parametrize(
    ("requested", "expected"), [(None, None), (0.1, 0.1), (0.15, 0.1), (0.99, 0.5), (3, 2.0), (5, 5.0), (49.9, 20.0), (50, 50.0)]
)
def test_granted_rate_is_the_next_lower_one(requested: float | None, expected: float | None) -> None:
    assert granted(requested) == expected


@given(st.floats(0.1, 50))
def test_granted_rate_is_at_most_the_requested_one(requested: float) -> None:
    rate = granted(requested)
    assert rate in RATES
    assert rate is not None
    assert rate <= requested
    assert not any(rate < each <= requested for each in RATES)


def test_rated_client_gets_the_first_price_at_once_and_the_others_by_clock(world: World) -> None:
    world.add("one")
    world.fanout.join("one", ["A"], 2.0)
    for seq in range(1, 101):  # 100 Hz for a second
        world.publish("A", seq)
        world.time.advance(0.01)
    assert world.timed("one")[0] == (0.0, "A1")
    world.time.advance(10)
    assert world.received("one")[-1] == "A100"
    assert len(world.received("one")) == 3
    world.publish("A", 101)
    world.time.advance(0)
    assert world.received("one")[-1] == "A101", "the first price after a pause comes at once"


def test_alert_to_a_rated_client_is_sent_at_once(world: World) -> None:
    world.add("one")
    world.fanout.join("one", ["A"], 0.1)
    world.publish("A", 1)
    world.time.advance(0)
    world.publish("A", 2)
    world.fanout.broadcast(("A",), frame("alert"))
    world.fanout.flush()
    assert world.received("one") == ["A1", "alert"]
    world.time.advance(10)
    assert world.received("one") == ["A1", "alert", "A2"]


def test_rooms_of_one_client_keep_their_own_rates(world: World) -> None:
    world.add("one", "fast")
    world.fanout.join("one", ["A"], 10.0)
    world.fanout.join("one", ["B"], 1.0)
    world.fanout.join("one", ["C"])
    world.fanout.join("fast", ["A", "B", "C"], 10.0)
    for seq in range(1, 201):  # 100 Hz for two seconds
        for room in ROOMS:
            world.price(room, seq)
        world.fanout.flush()
        world.time.advance(0.01)
    world.time.advance(2)
    received = {room: [name for name in world.received("one") if name[0] == room] for room in ROOMS}
    assert received["C"] == [f"C{seq}" for seq in range(1, 201)]
    assert [len(received[room]) for room in ("A", "B")] == [21, 3]
    assert [received[room][-1] for room in ROOMS] == ["A200", "B200", "C200"]
    fast = [name for name in world.received("fast") if name[0] == "B"]
    assert len(fast) == 21


def test_waiting_price_survives_a_change_in_other_rooms(world: World) -> None:
    """The response to joining or leaving B has no snapshot of A, so A's last price must follow."""
    for change in ("join", "leave"):
        world.add(change)
        world.fanout.join(change, ["A"] if change == "join" else ["A", "B"], 1.0)
    world.publish("A", 1)
    world.time.advance(0)
    world.publish("A", 2)
    world.fanout.join("join", ["B"], 1.0)
    world.fanout.leave("leave", ["B"])
    world.time.advance(5)
    assert world.received("join") == world.received("leave") == ["A1", "A2"]


def test_new_member_gets_its_snapshot_once(world: World) -> None:
    world.add("old", "new")
    world.fanout.join("old", ["A", "B"], 1.0)
    world.publish("A", 1)
    world.time.advance(0)
    world.publish("A", 2)
    world.publish("B", 1)
    world.fanout.join("new", ["A", "B"], 1.0)  # its snapshot contains A2 and B1
    world.publish("B", 2)
    world.time.advance(5)
    assert sorted(world.received("old")) == ["A1", "A2", "B2"]
    assert world.received("new") == ["B2"]


@given(st.sampled_from(RATES), st.lists(st.tuples(st.sampled_from(ROOMS), st.floats(0, 3)), min_size=1, max_size=40))
@settings(deadline=None)
def test_rated_client_gets_at_most_the_rate_and_always_the_last_value(rate: float, gaps: list[tuple[str, float]]) -> None:
    world = World()
    world.add("one")
    world.fanout.join("one", ROOMS, rate)
    last: dict[str, str] = {}
    for seq, (room, gap) in enumerate(gaps):
        world.publish(room, seq)
        last[room] = f"{room}{seq}"
        world.time.advance(gap / rate)
    world.time.advance(1 / rate + 0.001)
    timed = world.timed("one")
    for room in ROOMS:
        times = [when for when, name in timed if name[0] == room]
        seqs = [int(name[1:]) for _, name in timed if name[0] == room]
        assert all(after - before >= 1 / rate - 1e-6 for before, after in pairwise(times))
        assert all(after > before for before, after in pairwise(seqs))
        assert [f"{room}{seq}" for seq in seqs[-1:]] == ([last[room]] if room in last else [])


class Machine(RuleBasedStateMachine):
    """Clients connect, join, change rates, leave and disconnect during prices and alerts.

    Each client's view must be consistent. `snap R n` is the response with the snapshot, `left R`
    the confirmation of a leave.
    """

    longest = 1.0  # seconds until the last value has arrived

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.latest = dict.fromkeys(ROOMS, 0)
        self.alerts: dict[str, list[str]] = {}  # client -> alerts that it must have received
        self.numbers = count()

    @rule(client=st.sampled_from(CLIENTS))
    def connect_or_disconnect(self, client: str) -> None:
        if client in self.alerts:
            self.world.fanout.remove(client)
            del self.alerts[client]
        else:
            self.world.add(client)
            self.alerts[client] = []

    @rule(
        client=st.sampled_from(CLIENTS),
        rooms=st.lists(st.sampled_from(ROOMS), max_size=3, unique=True),
        rate=st.sampled_from([None, None, 1.0, 5.0]),
    )
    def join(self, client: str, rooms: list[str], rate: float | None) -> None:
        if client not in self.alerts:
            self.connect_or_disconnect(client)
        self.world.fanout.join(client, rooms, rate)
        for room in rooms:
            self.world.fanout.send(client, frame(f"snap {room} {self.latest[room]} {rate or 0}"))

    @rule(client=st.sampled_from(CLIENTS), rooms=st.lists(st.sampled_from(ROOMS), max_size=3, unique=True))
    def leave(self, client: str, rooms: list[str]) -> None:
        if client in self.alerts:
            self.world.fanout.leave(client, rooms)
            for room in rooms:
                self.world.fanout.send(client, frame(f"left {room}"))

    @rule(rooms=st.lists(st.sampled_from(ROOMS), min_size=1, max_size=6), flush=st.booleans())
    def publish(self, rooms: list[str], flush: bool) -> None:
        for room in rooms:
            self.latest[room] += 1
            self.world.price(room, self.latest[room])
        if flush:
            self.world.fanout.flush()

    @rule(rooms=st.lists(st.sampled_from(ROOMS), max_size=2, unique=True))
    def alert(self, rooms: list[str]) -> None:
        name = f"alert {next(self.numbers)}"
        self.world.fanout.broadcast(tuple(rooms), frame(name))
        for client, expected in self.alerts.items():
            if not rooms or self.world.fanout.rooms(client).keys() & set(rooms):
                expected.append(name)
        self.world.fanout.flush()

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.2, 1.0]))
    def wait(self, seconds: float) -> None:
        self.world.fanout.flush()  # like the relay before it waits
        self.world.time.advance(seconds)

    @invariant()
    def alerts_have_arrived_once_and_in_order(self) -> None:
        for client, expected in self.alerts.items():
            assert [name for name in self.world.received(client) if name.startswith("alert")] == expected

    @invariant()
    def views_are_consistent(self) -> None:
        for client in self.alerts:
            self.view(client)

    @invariant()
    def subscriptions_count_each_client_of_each_room(self) -> None:
        held = Counter(room.lower() for client in self.alerts for room in self.world.fanout.rooms(client))
        assert +self.world.fanout.subscriptions == held

    def view(self, client: str) -> dict[str, int]:
        """Return the client's last seq of each of its rooms.

        Fails if a message is repeated, out of order or missing.
        """
        view: dict[str, int] = {}
        period: dict[str, float] = {}
        came: dict[str, float] = {}
        for when, name in self.world.timed(client):
            word, *rest = name.split()
            if word == "snap":
                view[rest[0]], period[rest[0]] = int(rest[1]), 1 / float(rest[2]) if float(rest[2]) else 0.0
                came.pop(rest[0], None)
            elif word == "left":
                view.pop(rest[0], None)
            elif word != "alert":
                room, seq = name[0], int(name[1:])
                assert room in view, f"{name} in a room it is not in"
                assert seq > view[room] if period[room] else seq == view[room] + 1, f"{name} after {view[room]}"
                assert when - came.get(room, -9.0) >= period[room] - 1e-6
                view[room], came[room] = seq, when
        return view

    def teardown(self) -> None:
        self.wait(self.longest)
        for client in self.alerts:
            held = self.world.fanout.rooms(client)
            assert self.view(client) == {room: self.latest[room] for room in held}, "the last value always arrives"
        for client in list(self.alerts):
            self.connect_or_disconnect(client)
        self.wait(self.longest)
        assert leftovers(self.world.fanout) == []
        assert self.world.fanout.members() == {}


def test_views_are_consistent_under_any_schedule() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=75, stateful_step_count=30, deadline=None))


def test_parts_of_a_broadcast_make_room_for_other_work() -> None:
    world = World()
    clients = [f"client-{number}" for number in range(160)]
    world.add(*clients)
    for client in clients:
        world.fanout.join(client, ["A"])

    def reached() -> int:
        return sum(world.received(client) == ["A1"] for client in clients)

    world.busy = True
    world.price("A", 1)
    world.fanout.flush_in_parts()
    assert reached() == 50  # 160 clients in parts of 50; the others follow
    world.fanout.remove("client-159")
    world.time.advance(0)
    assert reached() == 159
    assert world.fanout.delivered == 159
    world.fanout.flush_in_parts()  # there is nothing to send
    assert world.fanout.delivered == 159


def test_later_frames_follow_the_parts_of_an_earlier_broadcast() -> None:
    world = World()
    clients = [f"client-{number}" for number in range(120)]
    world.add(*clients)
    for client in clients:
        world.fanout.join(client, ["A"])
    world.price("A", 1)
    world.fanout.flush_in_parts()
    world.price("A", 2)
    world.fanout.flush_in_parts()
    world.fanout.send(clients[-1], frame("own", None))
    world.time.advance(0)
    assert {tuple(world.received(client)) for client in clients[:-1]} == {("A1", "A2")}
    assert world.received(clients[-1]) == ["A1", "A2", "own"]
