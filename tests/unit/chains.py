"""Books as chains of links: their publisher, and a client that follows the rule of the protocol.

The client applies an update only if its `seq` follows its own in the same epoch. A snapshot
replaces its book. It fails on the first update out of chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import Frame, event

ROOMS = ("book_BTCUSDT_20", "book_ETHUSDT_5")
KEYS = {"book_BTCUSDT_20": "BTCUSDT|20", "book_ETHUSDT_5": "ETHUSDT|5"}

Levels = dict[str, int]


class Position(NamedTuple):
    """The place of a message in its chain; a later one is greater."""

    epoch: int
    seq: int


class Book:
    """The newest book of a room, and its levels at each position."""

    def __init__(self) -> None:
        self.at = Position(1, 1)
        self.levels: Levels = {"0": 0}
        self.history = {self.at: dict(self.levels)}

    def change(self) -> Levels:
        """Change one level; return the change."""
        self.at = Position(self.at.epoch, self.at.seq + 1)
        changed = {str(self.at.seq % 5): self.at.seq}
        self.levels |= changed
        self.history[self.at] = dict(self.levels)
        return changed

    def begin_again(self) -> None:
        """Replace the book, in a new epoch."""
        self.at = Position(self.at.epoch + 1, 1)
        self.levels = {str(self.at.epoch): self.at.epoch}
        self.history[self.at] = dict(self.levels)


class Feed:
    """The publisher of all books, which makes their frames."""

    def __init__(self) -> None:
        self.books = {room: Book() for room in ROOMS}
        self.missing: set[str] = set()  # rooms without a snapshot
        self.made = 0  # snapshots at the request of an outbox or a clock

    def update(self, room: str, padding: int = 0) -> Frame:
        """Change a book; return the link."""
        changed = self.books[room].change()
        return event("book_update", self._body(room, changed, "x" * padding), KEYS[room], chain=room)

    def restart(self, room: str) -> Frame:
        """Begin a book again; return its snapshot, which is a link."""
        self.books[room].begin_again()
        return event("book_snapshot", self._body(room, self.books[room].levels, "restart"), KEYS[room], chain=room)

    def fresh(self, room: str) -> Frame | None:
        """Return the newest snapshot; each has other bytes."""
        if room in self.missing:
            return None
        self.made += 1
        return event("book_snapshot", self._body(room, self.books[room].levels, f"made {self.made}"), KEYS[room], chain=room)

    def answer(self, room: str) -> bytes:
        """Return the newest snapshot as the body of an answer."""
        return self._body(room, self.books[room].levels, "answer")

    def _body(self, room: str, levels: Levels, note: str) -> bytes:
        return orjson.dumps({"room": room, "at": [*self.books[room].at], "levels": levels, "note": note})


class Client:
    """Follows its rooms, and fails if a chain is broken or a book is wrong."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.at: dict[str, Position] = {}  # room that it holds -> position of its book
        self.levels: dict[str, Levels] = {}
        self.rated: set[str] = set()  # rooms with a rate: they have no updates
        self.events: list[str] = []  # names of all packets
        self.made: Counter[str] = Counter()  # room -> snapshots that replaced links
        self.dropped: Counter[str] = Counter()  # sum of all notices

    def receive(self, packet: bytes) -> None:
        """Handle one packet."""
        name, body = orjson.loads(packet[2:])
        self.events.append(name)
        if name == "gap_notice":
            self.dropped.update(body["dropped"])
        elif name == "unsubscribed":
            del self.at[body["room"]], self.levels[body["room"]]
        elif name in ("subscribed", "book_response"):
            if name == "subscribed":
                self.rated = self.rated - {body["room"]} | ({body["room"]} if body.get("rate") else set())
            self._snapshot(body)
        elif name == "book_snapshot":
            assert body["room"] in self.at, "a snapshot of a room that the client has left"
            self.made[body["room"]] += body["note"].startswith("made")
            self._snapshot(body)
        elif name == "book_update":
            self._update(body)

    def _snapshot(self, body: dict[str, Any]) -> None:
        room, at = body["room"], Position(*body["at"])
        assert at >= self.at.get(room, at), "the book goes back"
        self.at[room], self.levels[room] = at, body["levels"]
        self._compare(room)

    def _update(self, body: dict[str, Any]) -> None:
        room, at = body["room"], Position(*body["at"])
        assert room in self.at, "an update of a room that the client has left"
        assert room not in self.rated, "an update to a client with a rate"
        assert at == Position(self.at[room].epoch, self.at[room].seq + 1), f"the chain is broken: {at} after {self.at[room]}"
        self.at[room] = at
        self.levels[room] |= body["levels"]
        self._compare(room)

    def _compare(self, room: str) -> None:
        assert self.levels[room] == self._feed.books[room].history[self.at[room]]

    def holds_the_newest(self, room: str) -> bool:
        return self.at[room] == self._feed.books[room].at


class Owner:
    """An owner of an outbox that ignores its events."""

    def blocked(self) -> None:
        return

    queued = overflowed = broken = blocked


class Socket:
    """Takes the bytes that it has room for."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.taken = b""

    def send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        count = min(self.room, len(data))
        self.room -= count
        self.taken += data[:count]
        return count


def push(outbox: Outbox, *frames: Frame) -> None:
    """Send frames as one batch."""
    outbox.push(b"".join(frame.wire for frame in frames), frames)


def missing(pushed: Sequence[Frame], received: Sequence[bytes]) -> Counter[str]:
    """Return the number of lost frames of each key. Check the order of the others."""
    arrived = set(received)
    assert [packet for packet in received if packet in {frame.packet for frame in pushed}] == [
        frame.packet for frame in pushed if frame.packet in arrived
    ], "out of order"
    lost = [frame for frame in pushed if frame.packet not in arrived]
    assert all(frame.key is not None for frame in lost), "an answer was lost"
    return Counter(frame.key for frame in lost if frame.key is not None)
