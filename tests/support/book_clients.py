"""Clients of order books that record everything, and the check of a received stream."""

from __future__ import annotations

import zlib
from itertools import zip_longest
from typing import Any, Self

from tickwire_client import Book, BookState, Client, ScenarioChanged, ServerHeartbeat

from tests.support.clients import FxNode, Received
from tests.support.hub_books import Mirror

TOPIC = ("BTCUSDT", 20)
ASKED = {"pair": "BTCUSDT", "depth": 20}


class Stream:
    """Applies the raw messages of one book, and fails at the first that breaks a rule of the page.

    The oracle of each checksum is `zlib.crc32`. `tops` are the books by (epoch, seq).
    """

    def __init__(self) -> None:
        self.mirror = Mirror()
        self.is_live = False  # False from the loss of `live` to the next snapshot
        self.tops: dict[tuple[str, int], tuple[Any, Any]] = {}
        self.taken = 0  # items of `received`

    def take(self, received: list[Received]) -> Self:
        """Check the items that `FxNode` has received since the last call."""
        items = list(received)
        for name, body in items[self.taken :]:
            for each in body.get("book_snapshot", ()) if name == "onSubscriptionConfirmed" else ():
                self._snapshot(each)
            if body.get("depth", TOPIC[1]) != TOPIC[1]:
                continue  # the answer to a request of the test
            if name in ("onBookSnapshot", "onBookResponse"):
                self._snapshot(body)
            elif name == "onBookUpdate":
                assert self.is_live, "an update before the snapshot"
                self.mirror.update(body)
                self._keep(body)
            elif name == "onBookState":
                self.is_live = self.is_live and body["state"] == "live"
            elif name == "onBook":
                assert body["verified"], body["seq"]
                assert (body["bids"], body["asks"]) == self.tops[body["epoch"], body["seq"]]
        self.taken = len(items)
        return self

    def _snapshot(self, body: dict[str, Any]) -> None:
        self.mirror.snapshot(body)
        self.is_live = body["state"] == "live"
        self._keep(body)

    def _keep(self, body: dict[str, Any]) -> None:
        self.tops[body["epoch"], body["seq"]] = self.mirror.top()


class Watcher:
    """Our blocking client with its handlers; `items` are all books and states in order."""

    def __init__(self, url: str) -> None:
        self.client = Client(url, timeout=60)
        self.items: list[Book | BookState] = []
        self.heartbeats: list[ServerHeartbeat] = []
        self.changes: list[ScenarioChanged] = []
        self.client.on_book(self.items.append)
        self.client.on_book_state(self.items.append)
        self.client.on_heartbeat(self.heartbeats.append)
        self.client.on_scenario_changed(self.changes.append)

    def __enter__(self) -> Self:
        self.client.connect()
        self.client.subscribe(books=[TOPIC], heartbeat=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    @property
    def books(self) -> list[Book]:
        return [item for item in list(self.items) if isinstance(item, Book)]

    @property
    def states(self) -> list[tuple[str, str]]:
        """(state, reason) of each change, without those that this client did not see."""
        return [(item.state, item.reason) for item in list(self.items) if isinstance(item, BookState)]

    def check(self) -> None:
        """Check every book that was received, with `zlib.crc32` over the printed levels."""
        for book in self.books:
            assert book.verified, book
            turns = zip_longest(book.bids[:10], book.asks[:10])
            text = ":".join(f"{level.price:f}:{level.quantity:f}" for pair in turns for level in pair if level)
            assert zlib.crc32(text.encode()) == book.checksum, book


def node_watcher(url: str) -> FxNode:
    """Our JavaScript client on Node, subscribed."""
    client = FxNode(url)
    client.call("connect")
    client.call("subscribe", None, {"books": [ASKED], "heartbeat": True})
    return client


def same_books(stream: Stream, watcher: Watcher) -> int:
    """Compare the books that both clients received; return their number."""
    both = [book for book in watcher.books if (book.epoch, book.seq) in stream.tops]
    for book in both:
        top = tuple([[f"{level.price:f}", f"{level.quantity:f}"] for level in side] for side in (book.bids, book.asks))
        assert top == stream.tops[book.epoch, book.seq]
    return len(both)
