"""Requests for order books, and the repair of those that a client cannot continue."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from tickwire_client.book_chain import BookTopic, book_of
from tickwire_client.book_messages import Book
from tickwire_client.core import Core

log = logging.getLogger("tickwire_client")

BOOK_EVENTS = frozenset({"book_snapshot", "book_response", "book_update", "subscription_confirmed"})
_REQUEST_PAUSE_SECONDS = 1.0  # between two requests of the client for the same book
_RETRY_SECONDS = (1.0, 30.0)  # first and longest pause before missing books are subscribed again


class OrderBooks(Core):
    """A broken book is requested again; a book that a hub does not have yet is subscribed again."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._next_request: dict[BookTopic, float] = {}  # topic -> monotonic time
        self._retry: threading.Timer | None = None
        self._retry_seconds = _RETRY_SECONDS[0]

    def request_book(self, instrument: str, depth: int = 20) -> Book:
        """The newest book; no subscription is needed. `depth` is 5, 10, 20 or 50.

        It is the last good one if `state` is not `live`. Raises `Refused` with the code `no_book`
        if no book is kept, or if it was not live yet.
        """
        return book_of(self._request("request_book", {"instrument": instrument, "depth": depth}))

    def close(self) -> None:
        """Disconnect. Iterators end after their buffered items."""
        super().close()
        with self._lock:
            if self._retry is not None:
                self._retry.cancel()

    # in the reader's thread

    def _handled(self, event: str) -> None:
        if event not in BOOK_EVENTS:
            return
        now = time.monotonic()
        with self._lock:
            due = [topic for topic in self._session.books.take_broken() if self._next_request.get(topic, 0) <= now]
            self._next_request.update(dict.fromkeys(due, now + _REQUEST_PAUSE_SECONDS))
            if self._session.books.missing:
                self._retry_later()
            elif event == "subscription_confirmed":
                self._retry_seconds = _RETRY_SECONDS[0]
        for instrument, depth in due:
            self._link.request("request_book", {"instrument": instrument, "depth": depth})

    def _retry_later(self) -> None:
        """Subscribe to the missing books again after a pause. The caller holds the lock."""
        if self._retry is not None or not self._link.up:
            return
        self._retry = threading.Timer(self._retry_seconds, self._subscribe_missing)
        self._retry.name, self._retry.daemon = "tickwire-books", True
        self._retry_seconds = min(2 * self._retry_seconds, _RETRY_SECONDS[1])
        self._retry.start()

    def _subscribe_missing(self) -> None:
        with self._lock:
            self._retry = None
            payloads = self._session.books.missing_again()
        for payload in payloads:
            self._link.request("subscribe", payload)
