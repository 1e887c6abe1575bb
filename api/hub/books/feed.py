"""The newest message of every book topic and the state of every book, for all parts of the hub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Mapping
from datetime import datetime
from typing import Any, Protocol

import orjson

from api.hub.books.book import HubBook as HubBook
from api.hub.books.book import Topic, book_of
from api.hub.books.states import DISCONNECTED, LIVE, STALE, BookStates
from api.hub.books.states import BookState as BookState
from api.hub.messages import BadMessage, Message, decode
from db import topics
from db.bus import BusError
from db.timestamps import format_time, parse_time

WATCH_SECONDS = 0.2
IDLE_SECONDS = 1.0  # likewise, while no heartbeat can be missing
SILENT_INTERVALS = 3  # without a heartbeat, then the process of the books is gone


class KeptMessages(Protocol):
    """The part of the bus that keeps the last messages. Every method raises `BusError`."""

    def latest_book(self, instrument: str, depth: int) -> bytes | None: ...

    def latest_books(self) -> Mapping[str, bytes]: ...

    def latest_heartbeat(self) -> Mapping[str, Any] | None: ...

    def book_rows(self) -> Mapping[str, Mapping[str, Any]]: ...


class BookFeed:
    """Follows the channels of the books.

    `listeners` receive each new book, `states` each change of a state, and `heartbeats` the body of
    each heartbeat, in order. No listener may wait.

    Without a heartbeat for `SILENT_INTERVALS` times `interval` seconds, all books are disconnected:
    `states` receive `stale`, and books are held back. After the next heartbeat, `states` receive
    the present state and `listeners` one snapshot of each topic.

    `catch_up` and the methods that take messages belong to the relay. `catch_up`, and `book` if
    `needs_bus` is true, read the bus. `tick` may run in any loop. `now` is a monotonic clock in
    seconds, `clock` returns aware UTC, and `known` are the instruments that messages may name.
    """

    def __init__(
        self, bus: KeptMessages, known: Container[str], interval: float, clock: Callable[[], datetime], now: Callable[[], float]
    ) -> None:
        self.listeners: list[Callable[[HubBook], None]] = []
        self.states: list[Callable[[BookState], None]] = []
        self.heartbeats: list[Callable[[Mapping[str, Any]], None]] = []
        self._bus = bus
        self._known = known
        self._silence = SILENT_INTERVALS * interval
        self._clock = clock
        self._now = now
        self._books: dict[Topic, HubBook] = {}  # the newest message of each topic
        self._held: set[Topic] = set()  # topics with books that listeners have not received
        self._states = BookStates()
        self._heard: float | None = None  # monotonic time of the last sign of life; None: none since the start or the silence

    def latest(self, instrument: str, depth: int) -> HubBook | None:
        """Return the newest book; its snapshot has the present state.

        None if there is no such book, or if it was not live yet.
        """
        book = self._books.get((instrument, depth))
        return None if book is None else self._states.marked(book)

    def instruments(self) -> set[str]:
        """Return the instruments of which a book is kept, in any state."""
        return {name for name in self._states.kept if name in self._known}

    def state(self, instrument: str) -> str | None:
        """Return the state of a book; None if there is none."""
        return self._states.state(instrument)

    # for the relay

    def needs_bus(self, message: Message) -> bool:
        """Return True if `book` will read the bus, because messages before this one are missing."""
        head = message.data["snapshot"]
        is_next = self._is_next((head["instrument"], head["depth"]), head["epoch"], head["seq"])
        return message.data["update"] is not None and is_next is False

    def book(self, message: Message) -> None:
        """Take a message of `book_updates`, unless it was taken already."""
        book = book_of(message)
        is_next = self._is_next(book.topic, book.epoch, book.seq)
        if is_next is None:
            return
        if book.update is not None and not is_next:
            book = self._newest(book)
        self._states.live(book.topic)
        self._take(book)

    def book_state(self, message: Message) -> None:
        """Take a message of `book_states`; the relay sends it to its rooms."""
        data = message.data
        self._states.set(data["instrument"], data["state"], data["reason"], data.get("timestamp", ""))
        if self._heard is None:
            self._heard = self._now()
        self._announce(BookState(data["instrument"], data["state"], data, is_own=False))

    def heartbeat(self, message: Message) -> None:
        """Take a heartbeat: after a silence, the books are connected again."""
        books: Mapping[str, str] = message.data["books"]
        self._heard = self._now()
        for instrument in self._states.reconnect(books):
            self._announce_own(instrument, books[instrument], STALE)
            if books[instrument] == LIVE:
                self._send_snapshots(instrument)
        for listener in self.heartbeats:
            listener(message.data)

    def catch_up(self) -> None:
        """Read the kept messages: listeners receive one snapshot of each topic that has another.

        Raises `BusError`.
        """
        bodies, rows, heartbeat = self._bus.latest_books(), self._bus.book_rows(), self._bus.latest_heartbeat()
        self._states.begin(rows)
        for message in map(self._decoded, bodies.values()):
            if message is None:
                continue
            book = book_of(message)._replace(update=None)
            before = self._books.get(book.topic)
            if before is None or (before.epoch, before.seq, before.snapshot) != (book.epoch, book.seq, book.snapshot):
                self._states.found(book.topic, message.data["snapshot"]["timestamp"])
                self._take(book)
        if self._heard is None and heartbeat is not None and not self._states.disconnected:
            age = (self._clock() - parse_time(heartbeat["timestamp"])).total_seconds()
            self._heard = self._now() - max(0.0, age)

    def _is_next(self, topic: Topic, epoch: str, seq: int) -> bool | None:
        """Return True if the message continues its topic; None if it was taken already."""
        before = self._books.get(topic)
        if before is None or before.epoch != epoch:
            return False
        return None if seq <= before.seq else seq == before.seq + 1

    def _newest(self, book: HubBook) -> HubBook:
        """Return the latest message of a topic of which messages are missing, as a snapshot."""
        try:
            body = self._bus.latest_book(*book.topic)
        except BusError:  # the message has a snapshot too
            body = None
        message = None if body is None else self._decoded(body)
        latest = book if message is None else book_of(message)
        newest = latest if latest.epoch == book.epoch and latest.seq > book.seq else book
        return newest._replace(update=None)

    def _decoded(self, body: bytes) -> Message | None:
        """Return a kept message; None if it is bad: the relay counted it when it was published."""
        try:
            return decode(topics.BOOKS, body, self._known)
        except BadMessage:
            return None

    def _take(self, book: HubBook) -> None:
        self._books[book.topic] = book
        if self._states.is_disconnected(book.instrument):
            self._held.add(book.topic)
        else:
            self._send(book._replace(update=None) if book.topic in self._held else book)

    # in any loop

    def run(self, stop: threading.Event) -> None:
        """Watch the heartbeats until `stop` is set. Without one there is nothing to watch."""
        while not stop.is_set():
            self.tick()
            stop.wait(WATCH_SECONDS if self._heard is not None else IDLE_SECONDS)

    def tick(self) -> None:
        """Disconnect all books if the last heartbeat is too old."""
        if self._heard is not None and self._now() - self._heard > self._silence:
            self._heard = None
            for instrument, before in self._states.disconnect():
                self._announce_own(instrument, STALE, before)

    def _send_snapshots(self, instrument: str) -> None:
        for depth in topics.BOOK_DEPTHS:
            if (book := self.latest(instrument, depth)) is not None:
                self._send(book._replace(update=None))

    def _send(self, book: HubBook) -> None:
        self._held.discard(book.topic)
        for listener in self.listeners:
            listener(book)

    def _announce(self, state: BookState) -> None:
        for listener in self.states:
            listener(state)

    def _announce_own(self, instrument: str, state: str, previous: str | None) -> None:
        """Announce a state that no message of the bus has: `seq` and `epoch` are null."""
        books = (book for depth in topics.BOOK_DEPTHS if (book := self._books.get((instrument, depth))) is not None)
        newest = max((orjson.loads(book.snapshot)["update_id"] for book in books), default=None)
        body = {
            "instrument": instrument,
            "state": state,
            "previous": previous,
            "reason": DISCONNECTED,
            "update_id": newest,
            "expected_id": None,
            "received_id": None,
            "timestamp": format_time(self._clock()),
            "seq": None,
            "epoch": None,
        }
        self._announce(BookState(instrument, state, body, is_own=True))
