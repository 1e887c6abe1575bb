"""The missed prices that may wait for one client: at most as many as the limit allows."""

from __future__ import annotations

import orjson
import pytest

from api.hub.fanout import Fanout
from api.hub.messages import decode
from api.hub.rooms.prices import PriceRooms
from api.hub.topic_log import TopicLog
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import REPLAY_PART_BYTES, Opcode, Replay, Replayed, frame
from db import topics

PAIRS = ("EUR_USD", "GBP_USD", "USD_JPY")
BODY = b'{"instrument":"%s","price":{"bid":"1","ask":"2","mid":"1.5","time":"2025-11-18T12:00:00Z"},"seq":%d,"epoch":"one"}'
SINCE = {"epoch": "one", "seq": 0}


class Owner:
    """Accepts every event of the outbox but an overflow."""

    def blocked(self) -> None:
        return

    queued = blocked

    def overflowed(self) -> None:
        raise AssertionError

    broken = overflowed


class Rooms:
    """The rooms of prices with one client, whose outbox counts at most one byte."""

    def __init__(self, replay_bytes: int, prices: int = 10) -> None:
        self.fanout = Fanout(lambda: 0.0, lambda seconds, function: None)
        self.log = TopicLog()
        self.rooms = PriceRooms(self.fanout, self.log, PAIRS, replay_bytes)
        self.box = Outbox(Owner(), 1)
        self.fanout.add("client", self.box)
        self.wires: dict[str, list[bytes]] = {pair: [] for pair in PAIRS}  # as live clients have received them
        for seq in range(1, prices + 1):
            for pair in PAIRS:
                message = decode(topics.PRICES, BODY % (pair.encode(), seq), set(PAIRS))
                self.log.append(message, self.log.continuity(message))
                self.wires[pair].append(message.frame.wire)

    def resume(self, *pairs: str) -> dict[str, bool]:
        """Join from the beginning, and return `recovered`."""
        missed = self.rooms.missed("client", pairs, [], dict.fromkeys(pairs, SINCE))
        self.fanout.replay("client", missed.replay)
        return missed.recovered


def size(rooms: Rooms) -> int:
    """Return the bytes of the prices of one pair."""
    return sum(map(len, rooms.wires["EUR_USD"]))


def test_missed_prices_are_the_bytes_that_were_sent_live() -> None:
    rooms = Rooms(2**20)
    assert rooms.resume("EUR_USD") == {"EUR_USD": True}
    frames = rooms.box.take(2**20)
    assert all(each.wire is wire for each, wire in zip(frames, rooms.wires["EUR_USD"], strict=True))
    assert [each.packet for each in frames] == [wire[2:] if wire[1] < 126 else wire[4:] for wire in rooms.wires["EUR_USD"]]


def test_socket_gets_the_same_bytes_in_pieces() -> None:
    rooms = Rooms(2**20, prices=900)
    taken: list[bytes] = []

    def send(data: bytes) -> int:
        taken.append(bytes(data))
        return len(data)

    rooms.box.open(send)
    assert rooms.resume("EUR_USD", "USD_JPY") == {"EUR_USD": True, "USD_JPY": True}
    assert b"".join(taken) == b"".join(rooms.wires["EUR_USD"] + rooms.wires["USD_JPY"])
    assert all(REPLAY_PART_BYTES <= len(each) < REPLAY_PART_BYTES + 1000 for each in taken[:-1])
    assert (rooms.box.idle, rooms.box.size, rooms.box.replaying) == (True, 0, 0)


def test_socket_that_takes_parts_of_a_piece_gets_each_byte_once() -> None:
    rooms = Rooms(2**20, prices=300)
    taken, room = bytearray(), [7, 2000, 0, 1500]

    def send(data: bytes) -> int:
        if not (most := room.pop(0)):
            raise BlockingIOError
        taken.extend(data[:most])
        return min(most, len(data))

    rooms.box.open(send)
    rooms.resume("EUR_USD")
    while not rooms.box.idle:
        assert rooms.box.size == rooms.box.replaying == size(rooms) - len(taken)
        room = room or [20_000]
        rooms.box.drain()
    assert bytes(taken) == b"".join(rooms.wires["EUR_USD"])


def test_clients_with_equal_positions_share_the_result_until_the_log_changes() -> None:
    rooms = Rooms(2**20)
    since = dict.fromkeys(PAIRS, SINCE)

    def missed(client: str = "client", pairs: tuple[str, ...] = PAIRS) -> Replay:
        return rooms.rooms.missed(client, pairs, [], since).replay

    rooms.fanout.add("other", Outbox(Owner(), 1))
    first = missed()
    assert missed("other") is first
    assert missed(pairs=PAIRS[:2]) is not first
    assert [each.wire for each in missed().frames] == [wire for pair in PAIRS for wire in rooms.wires[pair]]
    message = decode(topics.PRICES, BODY % (b"EUR_USD", 11), set(PAIRS))
    rooms.log.append(message, rooms.log.continuity(message))
    assert len(missed().frames) == len(first.frames) + 1
    rooms.log.forget()
    assert rooms.rooms.missed("client", PAIRS, [], since).recovered == dict.fromkeys(PAIRS, False)
    rooms.resume("EUR_USD")
    assert rooms.rooms.missed("client", ["EUR_USD"], ["EUR_USD"], since).replay is not missed(pairs=("EUR_USD",)), "a client in the room"


def test_waiting_client_has_a_limit_of_its_own() -> None:
    rooms = Rooms(2**20)
    rooms.resume("EUR_USD")
    left = 2**20 - size(rooms)
    assert rooms.box.replaying == size(rooms)
    rooms.rooms._replay_bytes = 2 * size(rooms) - 1
    assert left > 0
    assert rooms.resume("GBP_USD") == {"GBP_USD": False}


def test_snapshot_of_an_instrument_is_made_once_for_each_price() -> None:
    rooms = Rooms(2**20)
    first = rooms.rooms.snapshot(PAIRS)
    message = decode(topics.PRICES, BODY % (b"EUR_USD", 11), set(PAIRS))
    rooms.log.append(message, rooms.log.continuity(message))
    second = rooms.rooms.snapshot(PAIRS)
    assert [second[pair] is first[pair] for pair in PAIRS] == [False, True, True]
    assert orjson.loads(orjson.dumps(second))["EUR_USD"]["seq"] == 11


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_packet_of_a_replayed_frame_is_its_payload(length: int) -> None:
    assert Replayed(frame(Opcode.TEXT, b"x" * length)).packet == b"x" * length


def test_prices_above_the_limit_are_not_recovered() -> None:
    one = size(Rooms(0))
    assert Rooms(2 * one).resume(*PAIRS) == {"EUR_USD": True, "GBP_USD": True, "USD_JPY": False}
    assert Rooms(one - 1).resume("EUR_USD") == {"EUR_USD": False}
    assert Rooms(0, prices=0).resume("EUR_USD") == {"EUR_USD": False}


def test_client_that_does_not_read_never_has_more_than_the_limit_waiting() -> None:
    rooms = Rooms(2 * size(Rooms(0)))
    found = [rooms.resume("EUR_USD")["EUR_USD"] for _ in range(9)]
    assert found == [True, True, *[False] * 7]
    assert rooms.box.size == rooms.box.replaying == 2 * size(rooms)
    while rooms.box.take(size(rooms)):
        pass
    assert rooms.box.size == rooms.box.replaying == 0
    assert rooms.resume("EUR_USD") == {"EUR_USD": True}
