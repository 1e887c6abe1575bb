"""Books on the bus as the process `books` publishes them, without that process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from db.bus import BookMessage, Bus
from db.timestamps import format_time
from jobs.books.book import Book
from jobs.books.measures import measures
from jobs.books.tops import Facts, Tops
from tests.support.depth import SPOT_BTC, diffs, snapshot

META = {"received_at": "2024-08-08T23:54:15.999000Z", "processed_at": "2024-08-08T23:54:16.000000Z", "queue_size": 3}
SMALL_BIDS = [["99.90", "2"], ["99.80", "1"], ["99.70", "3"]]
SMALL_ASKS = [["100.10", "1"], ["100.20", "1"], ["100.30", "1"]]
EVENT_TIME = "2024-08-08T23:54:15.408000Z"


def first_book() -> tuple[Book, int]:
    """The book of the recording after its first diff, and its update id."""
    begin = snapshot(SPOT_BTC)
    book = Book(begin.window)
    book.replace(begin.bids, begin.asks)
    diff = next(each for each in diffs(SPOT_BTC) if each.last_id > begin.last_id)
    book.apply(diff.bids, diff.asks)
    return book, diff.last_id


def small_book() -> Book:
    """A book with three levels a side."""
    book = Book()
    book.replace(SMALL_BIDS, SMALL_ASKS)
    return book


def publish_book(bus: Bus, instrument: str, book: Book, update_id: int, timestamp: datetime) -> None:
    """Publish one snapshot for each depth."""
    facts = Facts("live", "start", update_id, EVENT_TIME, format_time(timestamp), 3.2)
    messages = Tops(instrument).snapshot(book, facts)
    bus.publish_books([BookMessage(instrument, each.depth, each.update, each.snapshot, META) for each in messages])


def row(instrument: str, since: datetime, state: str = "live", reason: str = "start", book: Book | None = None) -> dict[str, Any]:
    """A row of `/book/states` with the measures of the book."""
    return {
        "symbol": instrument,
        "state": state,
        "reason": reason,
        "since": format_time(since),
        "update_id": 50093239224,
        "complete": {"bids": 999, "asks": 999, "from": "61631.55000000", "to": "62053.18000000"},
        "resyncs": 1,
        "audits": {"checked": 10, "failed": 0},
        "last_message_age_seconds": 0.05,
        "measures": None if book is None else measures(*book.top(20)),
    }


def heartbeat(books: Mapping[str, str], scenario: str = "stable-mode", status: str = "healthy") -> dict[str, Any]:
    """The body of a heartbeat, without the fields that the bus adds."""
    return {
        "type": "heartbeat",
        "status": status,
        "uptime_seconds": 12.3,
        "total_messages_processed": 0,
        "current_queue_size": 0,
        "memory_usage_mb": 0.0,
        "active_clients": 0,
        "current_scenario": scenario,
        "last_heartbeat": "2025-07-15T16:36:11.663696Z",
        "lag_ms": 0.5,
        "queue_max": 2_000,
        "queue_peak": 3,
        "books": dict(books),
    }


class Player:
    """Confirms each wanted scenario, as the process `books` does; `wanted` has them."""

    def __init__(self, bus: Bus, current: str = "stable-mode") -> None:
        self._bus = bus
        self._current = current
        self._stopped = threading.Event()
        self._subscription = bus.subscribe_scenario()
        self._thread = threading.Thread(target=self._confirm)
        self.wanted: list[dict[str, Any]] = []

    def __enter__(self) -> Player:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._subscription.close()

    def _confirm(self) -> None:
        while not self._stopped.is_set():
            for _, body in self._subscription.read(wait=0.05):
                wanted = orjson.loads(body)
                self.wanted.append(wanted)
                change = {"previous_scenario": self._current, "current_scenario": wanted["scenario"], "run_id": wanted["run_id"]}
                self._current = wanted["scenario"]
                self._bus.publish_scenario_change(change)
