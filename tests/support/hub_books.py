"""Messages of order books as their process publishes them, and a client that applies them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from api.hub.books.feed import BookFeed
from api.hub.messages import Message, decode
from db import topics
from db.book_bodies import pieces_of
from db.bus import BookMessage, BusError
from db.timestamps import format_time

STAMP = "2025-11-18T12:00:00.000000Z"
Levels = list[list[str]]
BEGIN = datetime(2024, 8, 8, 23, 54, 15, 408000, tzinfo=UTC)
META = {"received_at": "2024-08-08T23:54:15.999000Z", "processed_at": "2024-08-08T23:54:16.000000Z", "queue_size": 3}


def levels(number: int, depth: int, *, bids: bool) -> Levels:
    """The best levels of a side after message `number`: each message changes about two of them."""
    step = -1 if bids else 1
    first = 6_000_000 + number % 3 + (0 if bids else 10)
    found = []
    for place in range(depth):
        cents = first + step * place
        quantity = (cents * 7 + number // 2 * (place % 5 == number % 5)) % 1000 + 1
        found.append([f"{cents / 100:.2f}", f"{quantity}.50000000"])
    return found


def checksum(bids: Levels, asks: Levels) -> int:
    """The rule of the page: CRC32 of the first ten levels, bid and ask in turns."""
    parts = []
    for place in range(10):
        for side in (bids, asks):
            if place < len(side):
                parts.append(":".join(side[place]))
    return zlib.crc32(":".join(parts).encode())


def snapshot(number: int, depth: int, instrument: str = "BTCUSDT", **more: Any) -> dict[str, Any]:
    """The body of `book_snapshot` after message `number`, without position."""
    bids, asks = levels(number, depth, bids=True), levels(number, depth, bids=False)
    return {
        "instrument": instrument, "depth": depth, "state": "live", "reason": "start", "bids": bids, "asks": asks,
        "complete": {"bids": 999, "asks": 999, "from": "61631.55000000", "to": None},
        "update_id": 50_000_000_000 + number, "checksum": checksum(bids, asks),
        "time": format_time(BEGIN + timedelta(milliseconds=100 * number)), "lag_ms": 3.2, **more,
    }  # fmt: skip


def message(number: int, depth: int = 20, instrument: str = "BTCUSDT", *, starts: bool = False, **more: Any) -> BookMessage:
    """Message `number` of a topic; `starts`: without an update."""
    body = snapshot(number, depth, instrument, **more)
    update = None
    if not starts:
        before = snapshot(number - 1, depth, instrument)
        sides = {name: _changes(before[name], body[name], is_bid=name == "bids") for name in ("bids", "asks")}
        update = {name: sides.get(name, value) for name, value in body.items() if name not in ("state", "reason", "complete")}
    return BookMessage(instrument, depth, update, body, META)


def messages(number: int, instrument: str = "BTCUSDT", *, starts: bool = False, **more: Any) -> list[BookMessage]:
    """Message `number` of all four depths."""
    return [message(number, depth, instrument, starts=starts, **more) for depth in (5, 10, 20, 50)]


def state(instrument: str, name: str, previous: str | None, reason: str = "start", update_id: int | None = None) -> dict[str, Any]:
    """The body of `book_state` without position."""
    return {
        "instrument": instrument, "state": name, "previous": previous, "reason": reason, "update_id": update_id,
        "expected_id": None, "received_id": None,
    }  # fmt: skip


def heartbeat(books: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """The body of `heartbeat` without position."""
    return {
        "type": "heartbeat", "status": "healthy", "uptime_seconds": 12.3, "total_messages_processed": 0, "current_queue_size": 0,
        "memory_usage_mb": 0.0, "active_clients": 0, "current_scenario": "stable-mode",
        "last_heartbeat": "2025-07-15T16:36:11.663696Z", "lag_ms": 1.5, "queue_max": 2000, "queue_peak": 0, "books": dict(books), **more,
    }  # fmt: skip


def row(instrument: str, name: str, reason: str = "start", since: str = "2024-08-08T23:54:15.000000Z") -> dict[str, Any]:
    """The row of `/book/states` and `tickwire:books`."""
    return {
        "symbol": instrument, "state": name, "reason": reason, "since": since, "update_id": None, "complete": None, "resyncs": 0,
        "audits": {"checked": 0, "failed": 0}, "last_message_age_seconds": 0.1,
    }  # fmt: skip


def _changes(old: Levels, new: Levels, *, is_bid: bool) -> Levels:
    before = {level[0]: level[1] for level in old}
    after = {level[0]: level[1] for level in new}
    changed = {price: quantity for price, quantity in after.items() if before.get(price) != quantity}
    changed.update({price: "0" for price in before if price not in after})
    return [[price, changed[price]] for price in sorted(changed, key=Decimal, reverse=is_bid)]


def raw(message: BookMessage, seq: int, epoch: str = "one", timestamp: str = STAMP) -> bytes:
    """The bytes that the bus publishes."""
    position = b',"seq":%d,"epoch":"%s"}' % (seq, epoch.encode())
    first, second, rest = pieces_of(message, timestamp)
    return first + position + (second + position if second else b"") + rest


def heartbeat_message(books: Mapping[str, str]) -> Message:
    """A heartbeat as the relay receives it."""
    body = {**heartbeat(books), "timestamp": STAMP, "seq": 1, "epoch": "one"}
    return decode(topics.HEARTBEATS, orjson.dumps(body), ())


class Kept:
    """The last messages, as the bus keeps them."""

    def __init__(self) -> None:
        self.books: dict[str, bytes] = {}
        self.rows: dict[str, Mapping[str, Any]] = {}
        self.last_heartbeat: Mapping[str, Any] | None = None
        self.is_up = True
        self.reads = 0

    def latest_book(self, instrument: str, depth: int) -> bytes | None:
        self.reads += 1
        return self.latest_books().get(topics.book_topic(instrument, depth))

    def latest_books(self) -> Mapping[str, bytes]:
        if not self.is_up:
            raise BusError("down")
        return self.books

    def latest_heartbeat(self) -> Mapping[str, Any] | None:
        return self.last_heartbeat

    def book_rows(self) -> Mapping[str, Mapping[str, Any]]:
        return self.rows


def no_books() -> BookFeed:
    """The feed of a hub that keeps no books."""
    return BookFeed(Kept(), (), 1.0, lambda: BEGIN, lambda: 0.0)


class OutOfChain(AssertionError):
    """The client got an update that it cannot apply."""


class Mirror:
    """A book that a client keeps by the rule of the page; `count` messages were verified."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None  # the last message
        self.sides: dict[str, dict[Decimal, list[str]]] = {}
        self.count = 0
        self.snapshots = 0

    @property
    def seq(self) -> int:
        return 0 if self.body is None else int(self.body["seq"])

    def snapshot(self, body: dict[str, Any]) -> None:
        self.sides = {name: {Decimal(level[0]): level for level in body[name]} for name in ("bids", "asks")}
        self.snapshots += 1
        self._verify(body)

    def update(self, body: dict[str, Any]) -> None:
        if self.body is None or (body["epoch"], body["seq"]) != (self.body["epoch"], self.body["seq"] + 1):
            at = None if self.body is None else (self.body["epoch"], self.body["seq"])
            raise OutOfChain(f"{body['epoch']} {body['seq']} after {at}")
        for name, side in self.sides.items():
            for level in body[name]:
                if level[1] == "0":
                    side.pop(Decimal(level[0]))
                else:
                    side[Decimal(level[0])] = level
        self._verify(body)

    def top(self) -> tuple[Levels, Levels]:
        bids, asks = (self.sides[name] for name in ("bids", "asks"))
        return [bids[key] for key in sorted(bids, reverse=True)], [asks[key] for key in sorted(asks)]

    def _verify(self, body: dict[str, Any]) -> None:
        self.body = body
        bids, asks = self.top()
        assert checksum(bids, asks) == body["checksum"], (body["seq"], "the checksum differs")
        assert max(len(bids), len(asks)) <= body["depth"]
        self.count += 1


def mirror_of(received: Sequence[tuple[str, Any]], instrument: str = "BTCUSDT", depth: int = 20) -> Mirror:
    """Return the book of a client that received these (event, body); fail if it cannot follow."""
    mirror = Mirror()
    for event, body in list(received):
        if event == "subscription_confirmed":
            for each in body.get("book_snapshot", ()):
                if (each["instrument"], each["depth"]) == (instrument, depth):
                    mirror.snapshot(each)
        elif event in ("book_snapshot", "book_update") and (body["instrument"], body["depth"]) == (instrument, depth):
            (mirror.snapshot if event == "book_snapshot" else mirror.update)(body)
    return mirror
