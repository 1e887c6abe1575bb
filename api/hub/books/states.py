"""The states of the books, and the marks of books that are older than their state. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from api.hub.books.book import HubBook, Topic
from db import topics

LIVE, SYNCING, STALE = "live", "syncing", "stale"
START, DISCONNECTED = "start", "disconnected"  # reasons


class BookState(NamedTuple):
    """A change of the state of a book; `body` is that of `book_state`.

    `is_own` is True if the hub has made it, which no other part has sent yet.
    """

    instrument: str
    state: str
    body: Mapping[str, Any]
    is_own: bool


class _Published(NamedTuple):
    state: str
    reason: str
    at: str  # time in contract form


class BookStates:
    """The last state of each book.

    A book that was published before its state changed from `live` is marked: its snapshot has the
    new state. Without the process of the books, all books are disconnected.
    """

    def __init__(self) -> None:
        self.kept: set[str] = set()  # instruments of which a book is kept
        self._published: dict[str, _Published] = {}  # instrument -> its last state
        self._marks: dict[Topic, _Published] = {}  # topic -> the state that its newest book lacks
        self._disconnected: set[str] = set()
        self._marked: dict[Topic, tuple[HubBook, str, HubBook]] = {}  # topic -> book, state, the marked book

    def state(self, instrument: str) -> str | None:
        """Return the state of a book; None if there is none."""
        if instrument in self._disconnected:
            return STALE
        published = self._published.get(instrument)
        return None if published is None else published.state

    def marked(self, book: HubBook) -> HubBook | None:
        """Return the newest book of its topic, with its state; None if it was never live."""
        mark = self._marks.get(book.topic)
        if mark is not None and mark.state == SYNCING:
            return None
        if book.instrument in self._disconnected:
            return self._with_state(book, STALE, DISCONNECTED)
        return book if mark is None else self._with_state(book, mark.state, mark.reason)

    def _with_state(self, book: HubBook, state: str, reason: str) -> HubBook:
        known = self._marked.get(book.topic)
        if known is None or known[0] is not book or known[1] != f"{state} {reason}":
            known = self._marked[book.topic] = book, f"{state} {reason}", book.with_state(state, reason)
        return known[2]

    # changes

    def set(self, instrument: str, state: str, reason: str, at: str) -> None:
        """Set the state that the process of the books has published."""
        self.kept.add(instrument)
        self._disconnected.discard(instrument)
        self._publish(instrument, _Published(state, reason, at))

    def _publish(self, instrument: str, published: _Published) -> None:
        self._published[instrument] = published
        if published.state != LIVE:
            self._marks.update(dict.fromkeys(((instrument, depth) for depth in topics.BOOK_DEPTHS), published))

    def begin(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the states of books without one; `rows` are those of `/book/states`."""
        for instrument, row in rows.items():
            self.kept.add(instrument)
            if instrument not in self._published:
                self._published[instrument] = _Published(*(str(row.get(name)) for name in ("state", "reason", "since")))

    def live(self, topic: Topic) -> None:
        """Note a book that was published after its state."""
        self.kept.add(topic[0])
        self._marks.pop(topic, None)

    def found(self, topic: Topic, at: str) -> None:
        """Note a book that was published at this time, perhaps before its state."""
        self.live(topic)
        published = self._published.get(topic[0])
        if published is not None and published.state != LIVE and at < published.at:
            self._marks[topic] = published

    # the process of the books

    @property
    def disconnected(self) -> bool:
        """Return True if the process of the books is gone for at least one book."""
        return bool(self._disconnected)

    def is_disconnected(self, instrument: str) -> bool:
        """Return True if the process of the books is gone, and has not published a state since."""
        return instrument in self._disconnected

    def disconnect(self) -> list[tuple[str, str | None]]:
        """Disconnect all books; return those that were connected, each with its state before."""
        changed = [(instrument, self.state(instrument)) for instrument in sorted(self.kept - self._disconnected)]
        self._disconnected.update(self.kept)
        return changed

    def reconnect(self, kept: Mapping[str, str]) -> list[str]:
        """Set the books that are `kept`, with their states; return the disconnected ones.

        The process may be another one: the present state of a disconnected book is that in `kept`.
        """
        self.kept = set(kept)
        for instrument, state in kept.items():
            published = self._published.get(instrument)
            if published is None or (instrument in self._disconnected and published.state != state):
                self._publish(instrument, _Published(state, START if published is None else DISCONNECTED, ""))
        back = sorted(self.kept & self._disconnected)
        self._disconnected.clear()
        return back
