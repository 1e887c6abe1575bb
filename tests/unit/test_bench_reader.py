"""The reader in C of the load generator: it finds every hole, every loss and every changed byte."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.compiler import NoCompiler, compiled
from tests.bench.frames import PRICE_PREFIX, client_frame, server_frame
from tests.bench.reader import Reader

PUBLISHED = 1763469296.789123


@pytest.fixture(autouse=True, scope="module")
def library() -> None:
    """Compile the reader, or skip the tests. Only the worker of this file needs it."""
    try:
        compiled("reader.c", shared=True)
    except NoCompiler as error:
        pytest.skip(str(error))


def body(topic: str = "A", seq: int = 1, mid: str = "1.5", time: str = "2025-11-18T12:34:56.789123Z") -> bytes:
    price = {"bid": "1.0", "ask": "2.0", "mid": mid, "time": "2025-11-18T12:34:56.000000Z"}
    return orjson.dumps({"instrument": topic, "price": price, "timestamp": time, "seq": seq, "epoch": "abc"})


def price(topic: str = "A", seq: int = 1, mid: str = "1.5") -> bytes:
    return PRICE_PREFIX + body(topic, seq, mid) + b"]"


@dataclass
class Rig:
    """A reader and the hub's ends of its clients."""

    clients: int
    ends: list[socket.socket] = field(default_factory=list)
    own: list[socket.socket] = field(default_factory=list)
    others: list[tuple[int, bytes]] = field(default_factory=list)
    lost: list[tuple[int, str]] = field(default_factory=list)
    holes: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = Reader(
            compiled("reader.c", shared=True),
            lambda number, payload: self.others.append((number, payload)),
            lambda number, reason: self.lost.append((number, reason)),
            lambda number, text: self.holes.append((number, text)),
        )
        for _ in range(self.clients):
            hub, client = socket.socketpair()
            self.ends.append(hub)
            self.own.append(client)
            self.reader.add(client.fileno(), b"", {})

    def send(self, client: int, data: bytes) -> None:
        """Send bytes to a client and let the reader read them."""
        self.ends[client].sendall(data)
        while select.select([self.reader.fd], [], [], 0)[0]:
            self.reader.turn()

    def close(self) -> None:
        for each in (*self.ends, *self.own):
            each.close()
        self.reader.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(clients=3)
    yield made
    made.close()


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 300)), max_size=8), st.integers(1, 400))
def test_frames_cut_anywhere_are_counted_once_and_in_order(given: list[tuple[str, int]], step: int) -> None:
    rig, seqs, packets = Rig(clients=1), {"A": 0, "B": 0}, list[bytes]()
    for topic, size in given:
        seqs[topic] += 1
        packets.append(price(topic, seqs[topic], "1" * (size + 1)))
    data = b"".join(server_frame(packet) for packet in packets)
    for start in range(0, len(data), step):
        rig.send(0, data[start : start + step])
    assert (rig.reader.received, rig.holes, rig.others, rig.lost) == (len(packets), [], [], [])
    assert rig.reader.complete(0, ["A", "B"])
    rig.close()


def test_client_without_a_message_of_another_is_not_complete(rig: Rig) -> None:
    for seq in (1, 2):
        rig.send(0, server_frame(price(seq=seq)))
    rig.send(1, server_frame(price(seq=1)))
    assert [rig.reader.complete(number, ["A"]) for number in range(3)] == [True, False, False]
    assert rig.reader.complete(2, ["B"])


def test_changed_byte_changes_the_checksum_although_number_and_order_hold(rig: Rig) -> None:
    rig.send(0, server_frame(price(seq=1, mid="1.5")))
    rig.send(1, server_frame(price(seq=1, mid="1.6")))
    assert rig.holes == []
    assert [rig.reader.complete(number, ["A"]) for number in (0, 1)] == [True, False]


@pytest.mark.parametrize(("seqs", "text"), [((1, 3), "A 3 instead of 2"), ((1, 1), "A 1 instead of 2"), ((2, 1), "A 1 instead of 3")])
def test_wrong_number_is_a_hole(rig: Rig, seqs: tuple[int, int], text: str) -> None:
    for seq in seqs:
        rig.send(0, server_frame(price(seq=seq)))
    assert rig.holes == [(0, text)]


def test_position_from_before_the_handover_is_kept(rig: Rig) -> None:
    hub, client = socket.socketpair()
    with hub, client:
        first = server_frame(price(seq=6))
        number = rig.reader.add(client.fileno(), first[:10], {"A": 5})
        hub.sendall(first[10:])
        rig.reader.turn()
        assert rig.holes == [(number, "A 6 instead of 5")]


def test_plain_bodies_and_other_forms_of_a_price_count(rig: Rig) -> None:
    spaced = orjson.dumps(orjson.loads(body(seq=2)), option=orjson.OPT_INDENT_2)
    for payload in (body(seq=1), PRICE_PREFIX + spaced + b"]"):
        rig.send(0, server_frame(payload))
    assert (rig.reader.received, rig.others, rig.holes) == (2, [], [])


@pytest.mark.parametrize("payload", [b"2", price()[:-2] + b',"more":1}]', price().replace(b'"seq":1', b'"seq":"1"'), b""])
def test_payload_that_is_no_price_is_passed_on(rig: Rig, payload: bytes) -> None:
    rig.send(1, server_frame(payload))
    assert (rig.others, rig.reader.received) == ([(1, payload)], 0)


@pytest.mark.parametrize("data", [client_frame(b"2"), b"\x88\x02\x03\xe8", b"\x01\x01x", b"\xc1\x01x"])
def test_frame_that_no_server_may_send_loses_the_client(rig: Rig, data: bytes) -> None:
    rig.send(0, data)
    [(number, reason)] = rig.lost
    assert number == 0
    assert "must not send" in reason


def test_closed_connection_is_reported_once(rig: Rig) -> None:
    rig.ends[2].close()
    rig.send(0, server_frame(price()))
    assert rig.lost == [(2, "connection closed by the server")]


def test_client_that_is_not_watched_is_not_read(rig: Rig) -> None:
    rig.reader.watch(0, on=False)
    rig.send(0, server_frame(price()))
    assert rig.reader.received == 0
    rig.reader.watch(0, on=True)
    rig.reader.turn()
    assert rig.reader.received == 1


def test_begin_resets_counts_and_keeps_positions(rig: Rig) -> None:
    rig.send(0, server_frame(price(seq=1)))
    rig.reader.begin()
    assert (rig.reader.received, rig.reader.span, rig.reader.percentiles(0.5)) == (0, (0.0, 0.0), [None])
    rig.send(0, server_frame(price(seq=3)))
    assert rig.holes == [(0, "A 3 instead of 2")]


def test_latency_is_the_time_since_the_timestamp(rig: Rig) -> None:
    rig.send(0, server_frame(price()))
    first, last = rig.reader.span
    age = last - PUBLISHED
    [found] = rig.reader.percentiles(1.0)
    assert first == last
    assert found == pytest.approx(min(age, 60.0), abs=1e-4)


def test_more_distinct_messages_than_it_keeps_are_counted_once(rig: Rig) -> None:
    count = 40_000  # more than MOST_MESSAGES of reader.c
    for start in range(1, count, 100):
        data = b"".join(server_frame(price(seq=seq)) for seq in range(start, start + 100))
        for client in (0, 1):
            rig.send(client, data)
    assert rig.reader.received == 2 * count
    assert [rig.reader.complete(number, ["A"]) for number in (0, 1)] == [True, True]
