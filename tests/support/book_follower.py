"""A client of books on the bus: it applies each message by the client rule and checks the chain."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import zip_longest
from typing import Any

import orjson

from db import topics
from db.bus import Bus, Subscriptions

CHANNELS = (topics.BOOKS, topics.BOOK_STATES, topics.HEARTBEATS, topics.SCENARIO_CHANGES)
Side = dict[str, str]  # price -> quantity


@dataclass
class Follower:
    """Holds the books that a client would hold. `problems` must stay empty."""

    problems: list[str] = field(default_factory=list)
    states: list[tuple[str | None, str, str]] = field(default_factory=list)  # previous, state, reason
    heartbeats: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)  # of the scenario
    counts: Counter[str] = field(default_factory=Counter)  # snapshots and updates
    reasons: Counter[str] = field(default_factory=Counter)  # of snapshots without an update
    lag_ms: list[float] = field(default_factory=list)
    first: dict[str, dict[str, Any]] = field(default_factory=dict)  # topic -> first snapshot
    books: dict[str, tuple[Side, Side]] = field(default_factory=dict)  # topic -> bids, asks
    positions: dict[str, tuple[str, int]] = field(default_factory=dict)  # topic -> epoch, seq
    left_live: set[str] = field(default_factory=set)  # topics that need a snapshot

    def take(self, channel: str, body: bytes) -> None:
        message = orjson.loads(body)
        if channel == topics.BOOKS:
            self._take_book(message)
        elif channel == topics.BOOK_STATES:
            self._take_state(message)
        elif channel == topics.HEARTBEATS:
            self.heartbeats.append(message)
        else:
            self.changes.append(message)

    def read(self, subscription: Subscriptions, seconds: float = 0.2) -> None:
        """Take everything that is ready."""
        for channel, body in subscription.read(seconds):
            self.take(channel, body)

    def _take_state(self, message: dict[str, Any]) -> None:
        self.states.append((message["previous"], message["state"], message["reason"]))
        if message["state"] != "live":
            self.left_live |= {topics.book_topic(message["instrument"], depth) for depth in topics.BOOK_DEPTHS}

    def _take_book(self, message: dict[str, Any]) -> None:
        update, snapshot = message["update"], message["snapshot"]
        topic = topics.book_topic(snapshot["instrument"], snapshot["depth"])
        position = snapshot["epoch"], snapshot["seq"]
        if update is None:
            self.counts["snapshot"] += 1
            self.reasons[snapshot["reason"]] += 1
            self.left_live.discard(topic)
            self.first.setdefault(topic, snapshot)
            self.books[topic] = ({}, {})
            self._apply(topic, snapshot)
        else:
            self.counts["update"] += 1
            self._apply_update(topic, update, position)
        self.positions[topic] = position
        self.lag_ms.append(snapshot["lag_ms"])
        self._check(topic, snapshot)

    def _apply_update(self, topic: str, update: dict[str, Any], position: tuple[str, int]) -> None:
        known = self.positions.get(topic)
        if topic in self.left_live:
            self.problems.append(f"{topic}: an update before the snapshot")
        if known is None or (known[0], known[1] + 1) != position:
            self.problems.append(f"{topic}: {position} after {known}")
        self._apply(topic, update)

    def _apply(self, topic: str, body: dict[str, Any]) -> None:
        for held, levels in zip(self.books[topic], (body["bids"], body["asks"]), strict=True):
            for price, quantity in levels:
                held.pop(price, None)
                if quantity != "0":
                    held[price] = quantity

    def _check(self, topic: str, snapshot: dict[str, Any]) -> None:
        bids, asks = self.books[topic]
        best = (
            sorted(bids.items(), key=lambda level: Decimal(level[0]), reverse=True),
            sorted(asks.items(), key=lambda level: Decimal(level[0])),
        )
        if [list(map(list, side)) for side in best] != [snapshot["bids"], snapshot["asks"]]:
            self.problems.append(f"{topic}: other levels than the snapshot at {snapshot['update_id']}")
        if checksum(best, min(10, snapshot["depth"])) != snapshot["checksum"]:
            self.problems.append(f"{topic}: wrong checksum at {snapshot['update_id']}")


def checksum(sides: tuple[list[tuple[str, str]], list[tuple[str, str]]], levels: int) -> int:
    """CRC32 of `bid price:bid quantity:ask price:ask quantity` in turns, joined by `:`."""
    turns = zip_longest(sides[0][:levels], sides[1][:levels], fillvalue=())
    return zlib.crc32(":".join(text for pair in turns for level in pair for text in level).encode())


def subscribe(bus: Bus) -> Subscriptions:
    """Subscribe to all messages about books."""
    return bus.subscribe(CHANNELS)
