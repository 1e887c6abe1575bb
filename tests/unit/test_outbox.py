"""The outbox against a socket that takes any number of bytes at a time.

Frames are complete and in order; each price arrives or is reported as dropped. Every case sends by
`push`, and by the loop over a group. A real socket does not take a chosen number of bytes, so the
loop is that of Python here; `test_send_many.py` has real sockets and both loops.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from unittest import mock

import engineio
import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from api.hub.fanout.sending import Sender
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.host import Limits
from api.hub.transport.outbox import NO_DESCRIPTOR, Outbox, gap_notice
from api.hub.transport.send_many import Group
from api.hub.transport.session import Session
from api.hub.transport.websocket import Listener, Taken, Watch
from api.hub.transport.wire import Frame, Opcode, Replay, Replayed, event, text
from config.process.fanout_loop import PYTHON
from tests.support.pairs import form
from tests.unit.oracle import read_by_client

LIMIT = 600
KEYS = ("EUR_USD", "GBP_USD", "USD_JPY")
UNUSED = 2**30  # a descriptor for the loop of Python, which does not use it
SENDER = Sender(lambda seconds, function: None, lambda: False)
_in_groups = False  # True if `push` sends by the loop over a group


@pytest.fixture(autouse=True, scope="module", params=["push", PYTHON])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    with form(PYTHON), pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "_in_groups", request.param == PYTHON)
        yield


class Socket:
    """Takes the bytes it has room for; `BlockingIOError` if it is full, `OSError` if it is lost."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.gone = False
        self.taken = b""
        self.sent: list[bytes] = []  # the data of each send()

    def fileno(self) -> int:
        return NO_DESCRIPTOR

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        if self.gone:
            raise BrokenPipeError
        if not self.room:
            raise BlockingIOError
        count = min(self.room, len(data))
        self.room -= count
        self.taken += data[:count]
        return count


class Owner:
    """Counts the calls of the outbox."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def blocked(self) -> None:
        self.calls["blocked"] += 1

    def queued(self) -> None:
        self.calls["queued"] += 1

    def overflowed(self) -> None:
        self.calls["overflowed"] += 1

    def broken(self) -> None:
        self.calls["broken"] += 1


def price(key: str, seq: int) -> Frame:
    """Return a price frame; all have one size, so that a test can count bytes."""
    return event("price_update", b'{"instrument":"%s","seq":"%06d"}' % (key.encode(), seq), key)


PRICE_SIZE = len(price(KEYS[0], 0).wire)


def alert(seq: int, padding: int = 0) -> Frame:
    return event("volatility_alert", b'{"seq":"%06d","message":"%s"}' % (seq, b"x" * padding))


def push(outbox: Outbox, frames: Sequence[Frame]) -> None:
    if _in_groups:
        SENDER.push(Group([outbox]), frames)
    else:
        outbox.push(b"".join(frame.wire for frame in frames), frames)


def notice(packet: bytes) -> dict[str, int] | None:
    """Return the counts of a `gap_notice` packet; None for any other packet."""
    name, body = orjson.loads(packet[2:])
    if name != "gap_notice":
        return None
    assert body["reason"] == "slow_consumer"
    dropped: dict[str, int] = body["dropped"]
    return dropped


def judge(pushed: list[Frame], received: list[bytes]) -> Counter[str]:
    """Check all packets that a client received; return the sum of its notices."""
    reported: Counter[str] = Counter()
    packets = []
    for packet in received:
        if (dropped := notice(packet)) is None:
            packets.append(packet)
        else:
            assert dropped
            assert all(count > 0 for count in dropped.values())
            reported.update(dropped)
    arrived = set(packets)
    assert len(arrived) == len(packets), "a packet came twice"
    assert packets == [frame.packet for frame in pushed if frame.packet in arrived], "out of order"
    missing = [frame for frame in pushed if frame.packet not in arrived]
    assert all(frame.key is not None for frame in missing), "an alert or an answer was lost"
    assert reported == Counter(frame.key for frame in missing)
    last = {frame.key: frame.packet for frame in pushed if frame.key is not None}
    assert arrived.issuperset(last.values()), "the last price of an instrument was lost"
    return reported


class Machine(RuleBasedStateMachine):
    """Push batches into the outbox while the socket takes a few bytes from time to time."""

    def __init__(self) -> None:
        super().__init__()
        self.owner, self.socket = Owner(), Socket()
        self.outbox = Outbox(self.owner, LIMIT)
        self.pushed: list[Frame] = []
        self.bytes_in = 0
        self.exceeded = False  # True once more bytes than the limit would have had to wait

    @rule(kinds=st.lists(st.one_of(st.sampled_from(KEYS), st.integers(0, 400)), min_size=1, max_size=8))
    def push(self, kinds: list[str | int]) -> None:
        start = len(self.pushed)
        frames = [price(kind, start + at) if isinstance(kind, str) else alert(start + at, kind) for at, kind in enumerate(kinds)]
        self.pushed += frames
        self.bytes_in += sum(len(frame.wire) for frame in frames)
        before = self.owner.calls["overflowed"]
        push(self.outbox, frames)
        self.exceeded |= self.counted() > LIMIT
        assert (self.owner.calls["overflowed"] > before) is (self.outbox.size - self.outbox.replaying > LIMIT)

    @rule(paddings=st.lists(st.integers(0, 200), max_size=12))
    def replay(self, paddings: list[int]) -> None:
        frames = [Replayed(alert(len(self.pushed) + at, padding).wire) for at, padding in enumerate(paddings)]
        self.pushed += frames
        self.bytes_in += sum(len(frame.wire) for frame in frames)
        before = self.owner.calls["overflowed"]
        self.outbox.replay(Replay(frames))
        assert self.owner.calls["overflowed"] == before

    def counted(self) -> int:
        """Return the waiting bytes that count towards the limit, if nothing was dropped so far."""
        start = waiting = 0
        for frame in self.pushed:
            end = start + len(frame.wire)
            if not frame.replayed:
                waiting += max(0, end - max(start, len(self.socket.taken)))
            start = end
        return waiting

    @rule(room=st.one_of(st.integers(1, 60), st.integers(1, 3000)))
    def make_room(self, room: int) -> None:
        self.socket.room = room
        if self.outbox._has_socket is False:
            self.outbox.open(self.socket.send, UNUSED)
        else:
            self.outbox.drain()

    @rule()
    def fill_up(self) -> None:
        self.socket.room = 0

    @invariant()
    def size_is_what_waits(self) -> None:
        if sum(self.outbox.dropped.values()) == self.outbox.conflated:  # no notice among the bytes yet
            assert self.outbox.size == self.bytes_in - self.outbox.conflated * PRICE_SIZE - len(self.socket.taken)
            assert self.outbox.conflated or self.outbox.size - self.outbox.replaying == self.counted()
        assert self.outbox.idle is (self.outbox.size == 0)

    @invariant()
    def waiting_calls_the_owner(self) -> None:
        if self.outbox._has_socket is False:
            assert self.owner.calls["queued"] or not self.pushed
        elif self.outbox.size:
            assert self.owner.calls["blocked"]

    def teardown(self) -> None:
        self.make_room(10**9)
        assert self.outbox.size == self.outbox.replaying == 0
        assert not self.outbox.dropped
        whole = read_by_client(self.socket.taken)
        assert {opcode for opcode, _ in whole} <= {int(Opcode.TEXT)}
        reported = judge(self.pushed, [payload for _, payload in whole])
        assert reported.total() == self.outbox.conflated
        assert self.exceeded or not reported, "a packet was lost below the limit"
        assert not self.owner.calls["broken"]


def test_outbox_under_any_schedule() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


class PollingMachine(RuleBasedStateMachine):
    """The same without a socket: polls take the waiting frames."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = Owner()
        self.outbox = Outbox(self.owner, LIMIT)
        self.pushed: list[Frame] = []
        self.received: list[bytes] = []

    @rule(kinds=st.lists(st.one_of(st.sampled_from(KEYS), st.integers(0, 400)), min_size=1, max_size=8))
    def push(self, kinds: list[str | int]) -> None:
        start = len(self.pushed)
        frames = [price(kind, start + at) if isinstance(kind, str) else alert(start + at, kind) for at, kind in enumerate(kinds)]
        self.pushed += frames
        calls = self.owner.calls.copy()
        push(self.outbox, frames)
        assert self.owner.calls["queued"] > calls["queued"]
        assert (self.owner.calls["overflowed"] > calls["overflowed"]) is (self.outbox.size - self.outbox.replaying > LIMIT)

    @rule(paddings=st.lists(st.integers(0, 200), max_size=12))
    def replay(self, paddings: list[int]) -> None:
        frames = [Replayed(alert(len(self.pushed) + at, padding).wire) for at, padding in enumerate(paddings)]
        self.pushed += frames
        self.outbox.replay(Replay(frames))

    @rule(most=st.integers(1, 2000))
    def poll(self, most: int) -> None:
        waited = not self.outbox.idle
        frames = self.outbox.take(most)
        assert bool(frames) is waited
        packets = [frame.packet for frame in frames]
        self.received += packets
        if packets and notice(packets[-1]) is not None:
            packets.pop()
        assert len(packets) <= 1 or sum(map(len, packets)) <= most
        assert self.outbox.idle is (self.outbox.size == 0)

    def teardown(self) -> None:
        while not self.outbox.idle:
            self.poll(100)
        assert self.outbox.replaying == 0
        assert judge(self.pushed, self.received).total() == self.outbox.conflated
        assert self.owner.calls["blocked"] == self.owner.calls["broken"] == 0


def test_outbox_of_a_polling_client_under_any_schedule() -> None:
    run_state_machine_as_test(PollingMachine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))


@pytest.fixture
def owner() -> Owner:
    return Owner()


def opened(owner: Owner, room: int, limit: int = LIMIT) -> tuple[Outbox, Socket]:
    outbox, socket = Outbox(owner, limit), Socket(room)
    outbox.open(socket.send, UNUSED)
    return outbox, socket


def test_frame_without_pending_ones_is_one_send_of_the_shared_bytes(owner: Owner) -> None:
    outbox, socket = opened(owner, 10**6)
    frames = [price("EUR_USD", 1), alert(2)]
    data = b"".join(frame.wire for frame in frames)
    outbox.push(data, frames)
    assert len(socket.sent) == 1
    assert socket.sent[0] is data
    outbox.put(frames[0])
    assert socket.sent[1] is frames[0].wire
    assert not owner.calls


def test_frames_before_the_socket_are_sent_first(owner: Owner) -> None:
    outbox, socket = Outbox(owner, LIMIT), Socket(10**6)
    frames = [alert(1), price("EUR_USD", 2), price("EUR_USD", 3)]
    for frame in frames:
        outbox.put(frame)
    assert owner.calls == {"queued": 3}
    assert outbox.size == sum(len(frame.wire) for frame in frames)
    outbox.open(socket.send, UNUSED)
    assert socket.taken == b"".join(frame.wire for frame in frames)
    assert len(socket.sent) == 1


def test_partly_sent_frame_continues_at_its_next_byte() -> None:
    for taken in range(2 * PRICE_SIZE + 1):
        owner, of_case = Owner(), f"{taken} bytes taken"
        outbox, socket = opened(owner, taken)
        frames = [price("EUR_USD", 1), price("EUR_USD", 2), price("EUR_USD", 3)]
        push(outbox, frames)
        assert owner.calls == {"blocked": 1}, of_case
        assert outbox.size == 3 * PRICE_SIZE - taken, of_case
        calls = len(socket.sent)
        outbox.put(price("EUR_USD", 4))
        assert len(socket.sent) == calls, f"{of_case}: a full socket gets no further send() before it is writable"
        socket.room = 10**6
        outbox.drain()
        received = [payload for _, payload in read_by_client(socket.taken)]
        assert received == [price("EUR_USD", seq).packet for seq in (1, 2, 3, 4)], of_case


def test_notice_is_sent_once_after_all_frames(owner: Owner) -> None:
    outbox, socket = opened(owner, 0)
    frames = [price(KEYS[seq % 2], seq) for seq in range(100)]
    for frame in frames:
        outbox.put(frame)
    assert outbox.size <= LIMIT
    while outbox.size:
        assert b"gap_notice" not in socket.taken or outbox.idle or socket.taken.count(b"gap_notice") == 1
        socket.room = 7
        outbox.drain()
    packets = [payload for _, payload in read_by_client(socket.taken)]
    assert [notice(packet) is not None for packet in packets].count(True) == 1
    assert notice(packets[-1]) is not None
    assert judge(frames, packets).total() == outbox.conflated == 100 - (len(packets) - 1)
    outbox.drain()
    assert not outbox.dropped


def test_alert_is_never_dropped_and_overflow_is_reported(owner: Owner) -> None:
    outbox, _ = opened(owner, 0)

    def counts() -> tuple[int, int]:
        return outbox.conflated, owner.calls["overflowed"]

    prices = [price("EUR_USD", seq) for seq in range(3)]
    push(outbox, prices)
    seq = 3
    while outbox.size + len(alert(seq).wire) <= LIMIT:
        outbox.put(alert(seq))
        seq += 1
    assert counts() == (0, 0)
    outbox.put(alert(seq))  # two prices are dropped for it
    assert counts() == (2, 0)
    while outbox.size <= LIMIT:
        seq += 1
        outbox.put(alert(seq))
    assert counts() == (2, 1)
    outbox.put(price("GBP_USD", 0))
    outbox.put(text(b"3probe"))
    assert counts() == (2, 3), "every overflow calls the owner"


def test_lost_socket_is_reported_and_never_raised(owner: Owner) -> None:
    outbox, socket = opened(owner, 10**6)
    socket.gone = True
    outbox.put(alert(1))
    assert owner.calls == {"broken": 1}
    waiting, other = Outbox(owner, LIMIT), Socket()
    waiting.put(alert(1))
    other.gone = True
    waiting.open(other.send, UNUSED)
    assert owner.calls["broken"] == 2


def test_socket_lost_during_a_drain_is_reported(owner: Owner) -> None:
    outbox, socket = opened(owner, 5)
    push(outbox, [alert(1), alert(2)])
    socket.gone = True
    outbox.drain()
    assert owner.calls == {"blocked": 1, "broken": 1}


def test_shut_outbox_is_empty_and_sends_nothing(owner: Owner) -> None:
    outbox, socket = opened(owner, 5)
    push(outbox, [alert(1), price("EUR_USD", 2)])
    outbox.shut()
    assert outbox.size == 0
    assert outbox.idle
    assert outbox.take(1000) == []
    socket.room = 10**6
    calls = len(socket.sent)
    outbox.drain()
    assert len(socket.sent) == calls


def test_one_frame_larger_than_all_limits_still_arrives(owner: Owner) -> None:
    outbox, socket = opened(owner, 10, limit=10**6)
    large = alert(1, 300_000)
    push(outbox, [large, alert(2)])
    while outbox.size:
        socket.room = 50_000
        outbox.drain()
    assert [payload for _, payload in read_by_client(socket.taken)] == [large.packet, alert(2).packet]


def test_drain_joins_small_frames_up_to_a_limit(owner: Owner) -> None:
    outbox, socket = Outbox(owner, 10**7), Socket(10**9)
    frames = [alert(seq, 400) for seq in range(1000)]
    push(outbox, frames)
    outbox.open(socket.send, UNUSED)
    assert socket.taken == b"".join(frame.wire for frame in frames)
    assert max(map(len, socket.sent)) <= 64 * 1024
    assert len(socket.sent) < 10


def test_poll_takes_at_least_one_packet_and_at_most_its_limit(owner: Owner) -> None:
    outbox = Outbox(owner, 10**6)
    frames = [alert(seq, 100) for seq in range(5)]
    push(outbox, frames)
    assert [len(outbox.take(most)) for most in (1, 2 * len(frames[0].packet), 10**6, 10**6)] == [1, 2, 2, 0]
    assert outbox.size == 0


def test_poll_has_at_most_the_packets_that_engineio_accepts(owner: Owner) -> None:
    most = engineio.payload.Payload.max_decode_packets
    outbox = Outbox(owner, LIMIT)
    frames = [price("EUR_USD", seq) for seq in range(40)] + [event("e", b"%d" % seq) for seq in range(35)]
    push(outbox, frames)
    polls = []
    while not outbox.idle:
        polls.append([frame.packet for frame in outbox.take(10**6)])
    assert max(map(len, polls)) <= most
    assert notice(polls[-1][-1]) == {"EUR_USD": 39}
    judge(frames, [packet for poll in polls for packet in poll])


class StillLoop:
    """A loop that calls nothing: the test moves the time itself."""

    def watch(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        raise NotImplementedError

    def watch_reading(self, sock: socket.socket, readable: Callable[[], None]) -> Listener:
        raise NotImplementedError

    def spawn(self, function: Callable[[], None]) -> None:
        raise NotImplementedError

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        return

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        return

    def busy(self) -> bool:
        return False

    def pause(self, seconds: float) -> None:
        return


class RecordingServer(EngineServer):
    """Records the sessions that it would close."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.deferred: list[str] = []
        limits = Limits(ping_interval=1000, ping_timeout=1000)
        super().__init__(
            async_mode="threading",
            loop=StillLoop(),
            now=now,
            wait_for_poll=lambda session, environ: False,
            detach=lambda environ: Taken(mock.Mock()),
            limits=limits,
        )

    def defer(self, session: Session, reason: str) -> None:
        self.deferred.append(reason)


def test_slow_reader_is_not_stuck() -> None:
    """The time without progress counts from the last byte that the socket took."""
    now = [0.0]
    server = RecordingServer(lambda: now[0])
    outbox_timeout = server.limits.blocked_seconds
    session, its_socket = Session(server, "sid", LIMIT, gap_notice), Socket()
    session.socket = mock.Mock()
    session.outbox.open(its_socket.send, UNUSED)
    push(session.outbox, [alert(1), alert(2)])
    for _ in range(5):
        now[0] += outbox_timeout - 1
        server.tick()
        its_socket.room = 3
        session.writable()
    assert server.deferred == []
    now[0] += outbox_timeout + 1
    server.tick()
    assert server.deferred == ["slow consumer"]
    its_socket.room = 10**6
    session.writable()
    now[0] += outbox_timeout + 1
    server.tick()
    assert server.deferred == ["slow consumer"]


@pytest.mark.parametrize(
    ("namespaces", "prefixes"), [(["/"], [b"42["]), (["/metrics"], [b"42/metrics,["]), (["/metrics", "/"], [b"42/metrics,[", b"42["])]
)
def test_gap_notice_goes_to_the_namespace_of_the_dropped_frames(namespaces: list[str], prefixes: list[bytes]) -> None:
    session = Session(RecordingServer(lambda: 0.0), "sid", LIMIT, gap_notice)
    frames = [event("update", b'{"padding":"12345678901234"}', "one", each) for _ in range(40) for each in namespaces]
    push(session.outbox, frames)
    notices = session.take_poll(10**6).split(b"\x1e")[len(namespaces) :]
    for notice, prefix in zip(notices, prefixes, strict=True):
        assert notice.startswith(prefix)
        assert orjson.loads(notice[len(prefix) - 1 :])[1]["dropped"] == {"one": 39}


def test_gap_notice_comes_from_the_function_given_at_construction(owner: Owner) -> None:
    outbox = Outbox(owner, LIMIT, lambda dropped: text(b"4%d" % sum(dropped.values())))
    push(outbox, [price("EUR_USD", seq) for seq in range(40)])
    assert [frame.packet for frame in outbox.take(10**6)][1:] == [b"439"]


class Kernel:
    """The number of unsent bytes that the kernel reports, and how often it was read."""

    def __init__(self, unsent: int) -> None:
        self.unsent = unsent
        self.reads = 0

    def count(self, fd: int) -> int:
        self.reads += 1
        return self.unsent


def with_kernel(owner: Owner, unsent: int, room: int = 0) -> tuple[Outbox, Socket, Kernel]:
    outbox, socket, kernel = Outbox(owner, LIMIT), Socket(room), Kernel(unsent)
    outbox.open(socket.send, UNUSED, kernel.count)
    return outbox, socket, kernel


@pytest.mark.parametrize(("beyond", "conflated"), [(-1, False), (0, False), (1, True)])
def test_conflation_begins_when_outbox_and_kernel_exceed_the_limit_together(beyond: int, conflated: bool, owner: Owner) -> None:
    frames = [price("EUR_USD", seq) for seq in range(4)]
    outbox, _, _ = with_kernel(owner, LIMIT - 4 * PRICE_SIZE + beyond)
    push(outbox, frames)
    assert outbox.conflated == (3 if conflated else 0)
    assert not owner.calls["overflowed"]


def test_kernel_is_read_when_the_socket_is_full_and_at_the_limit_alone(owner: Owner) -> None:
    outbox, socket, kernel = with_kernel(owner, LIMIT - 3 * PRICE_SIZE, room=10**6)
    push(outbox, [price("EUR_USD", 0)])
    assert kernel.reads == 0, "the fast path reads nothing"
    socket.room = 0
    for seq in range(1, 4):
        push(outbox, [price("EUR_USD", seq)])
    assert (kernel.reads, outbox.conflated) == (1, 0)
    kernel.unsent = 0  # the client has read a part meanwhile
    push(outbox, [price("EUR_USD", 4)])
    assert (kernel.reads, outbox.conflated) == (2, 0)
    kernel.unsent = LIMIT
    while not outbox.conflated:
        push(outbox, [price("EUR_USD", 5)])
    assert outbox.size == PRICE_SIZE
    kernel.unsent, socket.room = 7, 5
    outbox.drain()
    reads = kernel.reads
    socket.room = 10**6
    outbox.drain()
    assert outbox.idle
    assert kernel.reads == reads, "an empty outbox needs no number"


def test_unsent_bytes_disconnect_nobody(owner: Owner) -> None:
    """Bytes in the kernel conflate prices; a client is slow if its waiting bytes are too many."""
    outbox, _, _ = with_kernel(owner, 10 * LIMIT)
    push(outbox, [alert(1), alert(2)])
    assert owner.calls == {"blocked": 1}
    while outbox.size <= LIMIT:
        push(outbox, [alert(3)])
    assert owner.calls["overflowed"] == 1


def test_one_frame_above_the_limit_disconnects_nobody(owner: Owner) -> None:
    """An answer about thousands of instruments, which the kernel does not take at once."""
    outbox, socket = opened(owner, 0)
    large = alert(2, 10 * LIMIT)
    push(outbox, [price("EUR_USD", 0), large, price("EUR_USD", 1), price("EUR_USD", 1)])
    assert owner.calls == {"blocked": 1}
    socket.room = 2 * PRICE_SIZE
    outbox.drain()
    assert outbox._partial
    push(outbox, [alert(3)])
    socket.room = 9 * LIMIT + 100
    outbox.drain()
    assert 0 < len(outbox._partial) < LIMIT
    push(outbox, [alert(3, 200)])
    assert "overflowed" not in owner.calls, "nor does the rest of it"
    push(outbox, [alert(4, LIMIT - 200)])
    assert owner.calls["overflowed"] == 1, "further frames have the limit for themselves"
    socket.room = 10**6
    outbox.drain()
    packets = [payload for _, payload in read_by_client(socket.taken)]
    assert large.packet in packets


def test_shut_outbox_counts_no_kernel(owner: Owner) -> None:
    outbox, _, kernel = with_kernel(owner, LIMIT)
    push(outbox, [price("EUR_USD", 1)])
    reads = kernel.reads
    outbox.shut()
    push(outbox, [price("EUR_USD", seq) for seq in range(4)])
    assert (kernel.reads, outbox.conflated) == (reads, 0)
