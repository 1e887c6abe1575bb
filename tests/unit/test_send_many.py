"""One buffer to many sockets: both loops on real sockets, and their groups."""

from __future__ import annotations

import errno
import socket
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from api.hub.fanout import Fanout
from api.hub.fanout.sending import Sender
from api.hub.transport import send_many as loops
from api.hub.transport.outbox import Outbox
from api.hub.transport.send_many import Group, MissingExtension, choose, send_many
from api.hub.transport.wire import Frame
from config.process.fanout_loop import AUTO, EXTENSION, PYTHON, C
from tests.support.pairs import FORMS, Pair, form
from tests.unit.oracle import read_by_client
from tests.unit.test_outbox import KEYS, LIMIT, Owner, alert, judge, price

LARGE = b"x" * 200_000  # more than a stream of `Pair` takes
ROOMS = ("A", "B")
CLIENTS = ("one", "two", "three", "polls")


@pytest.fixture(autouse=True, scope="module", params=FORMS)
def loop(request: pytest.FixtureRequest) -> Iterator[str]:
    with form(request.param):
        yield request.param


def group_of(*pairs: Any) -> Group:
    """Return a group with one opened outbox for each pair."""
    boxes = []
    for pair in pairs:
        box = Outbox(Owner(), LIMIT)
        box.open(pair.send, pair.fd)
        boxes.append(box)
    group = Group(boxes)
    group.rebuild()
    return group


def fill(pair: Pair) -> None:
    with suppress(BlockingIOError):
        while pair.send(LARGE):
            continue


def test_every_member_gets_the_bytes() -> None:
    pairs = [Pair(packets=True) for _ in range(5)]
    assert send_many(group_of(*pairs), b"first") is None
    assert send_many(group_of(*pairs[:2]), b"second") is None
    assert [(pair.read(), pair.read()) for pair in pairs] == [(b"first", b"second")] * 2 + [(b"first", b"")] * 3


def test_short_results_have_index_and_bytes_taken_or_the_error() -> None:
    free, partly, full, gone = Pair(), Pair(), Pair(), Pair()
    fill(full)
    gone.theirs.close()
    shorts = send_many(group_of(free, full, partly, gone), b"0123")
    assert shorts == [(1, -errno.EAGAIN), (3, -errno.EPIPE)]
    (index, taken), *others = send_many(group_of(partly), LARGE) or []
    assert (index, others) == (0, [])
    assert 0 < taken < len(LARGE)
    assert partly.read() == b"0123" + LARGE[:taken]
    assert free.read() == b"0123"


def test_connection_that_was_reset_is_an_error_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours:
        ours.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()  # sends RST
        pair = type("Accepted", (), {"send": ours.send, "fd": ours.fileno()})
        results = [send_many(group_of(pair), b"x") for _ in range(2)]
    assert results == [[(0, -errno.ECONNRESET)], [(0, -errno.EPIPE)]]


def test_more_short_results_than_are_stored_at_once() -> None:
    full, free = Pair(), Pair()
    fill(full)
    group = group_of(*[full] * 700, free, *[full] * 300)
    assert send_many(group, b"x") == [(at, -errno.EAGAIN) for at in range(1001) if at != 700]
    assert free.read() == b"x"


def test_group_without_members_sends_nothing() -> None:
    assert send_many(group_of(), b"data") is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        ((array("i"),), TypeError),
        ((array("i"), b"", b""), TypeError),
        (([1], b""), TypeError),
        ((array("i"), "text"), TypeError),
        ((None, b""), TypeError),
        ((b"123", b""), ValueError),
    ],
)
def test_wrong_arguments_of_the_extension_are_refused(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    extension = pytest.importorskip("tickwire_sendmany", reason="the extension is not installed: there is no C compiler")
    with pytest.raises(error):
        extension.send_many(*arguments)


def test_extension_reads_descriptors_at_any_address() -> None:
    extension = pytest.importorskip("tickwire_sendmany", reason="the extension is not installed: there is no C compiler")
    pair = Pair()
    shifted = memoryview(b"x" + array("i", [pair.fd]).tobytes())[1:]
    assert extension.send_many(shifted, memoryview(b"data")) is None
    assert pair.read() == b"data"


def test_setting_selects_the_loop(monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    choose(PYTHON)
    assert loops.KIND == PYTHON
    choose(AUTO)
    assert (C if find_spec(EXTENSION) else PYTHON) == loops.KIND
    monkeypatch.setattr(loops, "_in_c", None)
    choose(AUTO)
    assert loops.KIND == PYTHON
    with pytest.raises(MissingExtension, match=r"^FANOUT_LOOP is c, but .* install a C compiler and Python\.h, then run make venv$"):
        choose(C)
    monkeypatch.undo()
    choose(loop)


class Hub:
    """A fan-out with its clients."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Callable[[], None]] = []
        self.fanout = Fanout(lambda: self.now, lambda seconds, function: self.calls.append(function))
        self.boxes: dict[str, Outbox] = {}
        self.owners: dict[str, Owner] = {}
        self.pairs: dict[str, Pair] = {}
        self.received: dict[str, bytes] = {}

    def add(self, name: str, *, polls: bool = False) -> None:
        self.received[name] = b""
        self.owners[name] = Owner()
        box = self.boxes[name] = Outbox(self.owners[name], LIMIT)
        self.fanout.add(name, box)
        if not polls:
            self.upgrade(name)

    def upgrade(self, name: str) -> None:
        pair = self.pairs[name] = Pair()
        self.boxes[name].open(pair.send, pair.fd)

    def remove(self, name: str) -> None:
        """End a session in the order of the hub."""
        self.fanout.remove(name)
        self.boxes.pop(name).shut()
        self.pairs.pop(name).close()

    def read(self, name: str, most: int = 1 << 20) -> None:
        if pair := self.pairs.get(name):
            self.received[name] += pair.read(most)
            if self.boxes[name].stalled:
                self.boxes[name].drain()

    def tick(self, seconds: float) -> None:
        self.now += seconds
        calls, self.calls = self.calls, []
        for function in calls:
            function()


def group(hub: Hub, client: str) -> Group:
    return hub.fanout._cohort_of[client].group


def test_change_of_a_client_marks_the_group_of_its_cohort_alone() -> None:
    hub = Hub()
    for name in CLIENTS[:3]:
        hub.add(name)
        hub.fanout.join(name, ["A"] if name != "three" else ["B"])
    frame = Frame(b"", LARGE, "A")

    def flush() -> None:
        for room in ROOMS:
            hub.fanout.broadcast((room,), Frame(b"", b"x", room))
        hub.fanout.flush()
        assert not group(hub, "one").stale
        assert not group(hub, "three").stale

    flush()
    hub.fanout.broadcast(("A",), frame)
    hub.fanout.flush()  # both are full
    assert (group(hub, "one").stale, group(hub, "three").stale) == (True, False)
    flush()
    assert (group(hub, "one").boxes, group(hub, "one").slow) == ([], [hub.boxes["one"], hub.boxes["two"]])
    while not hub.boxes["one"].ready:
        hub.read("one")
    hub.read("one")  # the last part
    assert (group(hub, "one").stale, group(hub, "three").stale) == (True, False)
    flush()
    assert group(hub, "one").boxes == [hub.boxes["one"]]
    hub.add("joins")
    hub.fanout.join("joins", ["A"])
    assert (group(hub, "one").stale, group(hub, "three").stale) == (True, False)
    flush()
    hub.fanout.leave("joins", ["A"])
    assert (group(hub, "one").stale, group(hub, "three").stale) == (True, False)
    flush()
    hub.boxes["two"].shut()
    assert (group(hub, "one").stale, group(hub, "three").stale) == (True, False)


def test_outbox_in_two_namespaces_marks_both_groups() -> None:
    hub, other = Hub(), Fanout(lambda: 0.0, lambda seconds, function: None, "/metrics")
    hub.add("one", polls=True)
    other.add("one", hub.boxes["one"])
    for fanout in (hub.fanout, other):
        fanout.broadcast((), Frame(b"", b"<1>"))
        fanout.flush()
    hub.upgrade("one")
    for fanout in (hub.fanout, other):
        fanout.broadcast((), Frame(b"", b"<2>"))
        fanout.flush()
    hub.read("one")
    assert hub.received["one"] == b"<1><1><2><2>"
    hub.fanout.join("one", ["A"])
    other.remove("one")
    assert (hub.boxes["one"]._group, hub.boxes["one"]._more_groups) == (group(hub, "one"), ())
    hub.fanout.remove("one")
    assert (hub.boxes["one"]._group, hub.boxes["one"]._more_groups) == (None, ())


def test_descriptor_that_is_used_again_receives_no_foreign_bytes() -> None:
    hub = Hub()
    hub.add("one")
    hub.fanout.join("one", ["A"])
    hub.fanout.broadcast(("A",), Frame(b"", b"<A1>", "A"))
    hub.fanout.flush()
    fd = hub.boxes["one"].fd
    hub.fanout.broadcast(("A",), Frame(b"", b"<A2>", "A"))  # pending
    hub.boxes["one"].shut()  # the session ends first, and leaves the fan-out later
    hub.pairs["one"].close()
    hub.add("two")
    assert hub.boxes["two"].fd == fd
    hub.fanout.join("two", ["B"])
    hub.fanout.broadcast(("A",), Frame(b"", b"<A3>", "A"))
    hub.fanout.broadcast(("B",), Frame(b"", b"<B1>", "B"))
    hub.fanout.flush()
    hub.read("two")
    assert hub.received["two"] == b"<B1>"


Step = tuple[Any, ...]
_STEPS = st.one_of(
    st.tuples(st.just("broadcast"), st.sampled_from([*ROOMS, None]), st.integers(1, 3000)),
    st.tuples(st.just("broadcast"), st.sampled_from([*ROOMS, None]), st.integers(1, 3000)),
    st.tuples(st.just("alert"), st.sampled_from([*ROOMS, None])),
    st.tuples(st.just("flush")),
    st.tuples(st.just("parts")),
    st.tuples(st.just("tick")),
    st.tuples(st.just("read"), st.sampled_from(CLIENTS), st.integers(1, 6000)),
    st.tuples(st.just("break"), st.sampled_from(CLIENTS)),
    st.tuples(st.just("join"), st.sampled_from(CLIENTS), st.sampled_from(ROOMS), st.sampled_from([None, None, 5.0])),
    st.tuples(st.just("leave"), st.sampled_from(CLIENTS), st.sampled_from(ROOMS)),
    st.tuples(st.just("upgrade")),
    st.tuples(st.just("again"), st.sampled_from(CLIENTS[:3])),
)


def played(steps: list[Step]) -> tuple[Any, ...]:
    """Return the bytes of each client and all counters after a schedule."""
    hub = Hub()
    lost: dict[str, Pair] = {}  # they stay open: a session ends before its descriptor is closed
    for name in CLIENTS:
        hub.add(name, polls=name == "polls")
        hub.fanout.join(name, ROOMS)
    for number, (kind, *arguments) in enumerate(steps):
        if kind == "broadcast":
            room, size = arguments
            hub.fanout.broadcast((room,) if room else (), Frame(b"", b"<%06d%s>" % (number, b"p" * size), room))
        elif kind == "alert":
            hub.fanout.broadcast((arguments[0],) if arguments[0] else (), Frame(b"", b"<%06d>" % number))
        elif kind == "flush":
            hub.fanout.flush()
        elif kind == "parts":
            hub.fanout.flush_in_parts()
        elif kind == "tick":
            hub.tick(0.25)
        elif kind == "read":
            hub.read(*arguments)
        elif kind == "break" and (pair := hub.pairs.get(arguments[0])):
            pair.theirs.close()
            lost[arguments[0]] = hub.pairs.pop(arguments[0])
        elif kind == "join":
            hub.fanout.join(arguments[0], [arguments[1]], arguments[2])
        elif kind == "leave":
            hub.fanout.leave(arguments[0], [arguments[1]])
        elif kind == "upgrade" and "polls" not in hub.pairs | lost:
            hub.upgrade("polls")
        elif kind == "again" and arguments[0] in hub.pairs:
            hub.remove(arguments[0])
            hub.add(arguments[0])
            hub.fanout.join(arguments[0], ROOMS)
    hub.fanout.flush()
    for name in CLIENTS:
        for _ in range(50):
            hub.read(name)
    fanout = hub.fanout
    counters = (fanout.delivered, fanout.batches, fanout.batched, fanout.sends, fanout.sent_bytes)
    boxes = {name: (box.size, box.conflated, dict(box.dropped), dict(hub.owners[name].calls)) for name, box in hub.boxes.items()}
    return hub.received, counters, boxes


@given(st.lists(_STEPS, max_size=60))
@settings(max_examples=80)
def test_both_loops_send_the_same_bytes_and_count_the_same(steps: list[Step]) -> None:
    with form(PYTHON):
        expected = played(steps)
    with form(C):
        assert played(steps) == expected


class Machine(RuleBasedStateMachine):
    """Batches through the loop over a group, on a socket that takes parts of them."""

    def __init__(self) -> None:
        super().__init__()
        self.owner, self.pair, self.taken = Owner(), Pair(), b""
        self.sender = Sender(lambda seconds, function: None, lambda: False)
        self.outbox = Outbox(self.owner, LIMIT)
        self.group = Group([self.outbox])
        self.outbox.enter(self.group)
        self.outbox.open(self.pair.send, self.pair.fd)
        self.pushed: list[Frame] = []

    @rule(kinds=st.lists(st.one_of(st.sampled_from(KEYS), st.integers(0, 2000)), min_size=1, max_size=8))
    def push(self, kinds: list[str | int]) -> None:
        start = len(self.pushed)
        frames = [price(kind, start + at) if isinstance(kind, str) else alert(start + at, kind) for at, kind in enumerate(kinds)]
        self.pushed += frames
        self.sender.push(self.group, frames)

    @rule(most=st.integers(1, 5000))
    def read(self, most: int) -> None:
        self.taken += self.pair.read(most)
        if self.outbox.stalled:
            self.outbox.drain()

    @invariant()
    def group_follows_the_outbox(self) -> None:
        assert self.outbox.ready is not self.outbox.stalled
        assert self.group.stale or self.group.boxes == [self.outbox] * self.outbox.ready

    def teardown(self) -> None:
        before = -1
        while before != len(self.taken):
            before = len(self.taken)
            self.read(10**6)
        assert self.outbox.idle
        packets = [payload for _, payload in read_by_client(self.taken)] if self.taken else []
        assert judge(self.pushed, packets).total() == self.outbox.conflated
        assert not self.owner.calls["broken"]


def test_outbox_of_a_real_socket_under_any_schedule() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))
