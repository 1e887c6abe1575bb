"""The rooms of `/ws`: one per instrument and depth, and one for operators."""

from __future__ import annotations

from collections.abc import Callable

from api.access.model import OBSERVE, Access
from api.hub.books.book import HubBook, Topic
from api.hub.books.feed import BookFeed
from api.hub.books.states import LIVE, BookState
from api.hub.clients import Client
from api.hub.fanout import Fanout
from api.hub.plain.books import frames
from api.hub.plain.books.query import BookOptions
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import Frame
from db import topics

OBSERVERS_ROOM = "observers"  # receives heartbeats, status and alerts


class PlainBookRooms:
    """The outgoing side of the books of `/ws`. No method yields to another greenlet.

    A frame has the complete top N, so the newest one of a room replaces the others in the outbox of
    a slow client. It is made at most once per message, and only if a client is in the room.
    `timestamp()` returns the time in contract form.
    """

    def __init__(self, fanout: Fanout, feed: BookFeed, timestamp: Callable[[], str]) -> None:
        self._fanout = fanout
        self._feed = feed
        self._timestamp = timestamp
        self._frames: dict[Topic, tuple[HubBook, Frame]] = {}  # topic -> its newest book, and the frame
        self._held: dict[str, set[Topic]] = {}  # client -> its books
        self._open: dict[str, tuple[Access, int]] = {}  # client without a list of symbols -> rights, depth
        self._seen: set[str] = set()  # instruments with a book since the start
        feed.listeners.append(self.send)
        feed.states.append(self.send_state)

    # clients

    def open(self, client: str, box: Outbox) -> None:
        """Add a client without rooms."""
        self._held[client] = set()
        self._fanout.add(client, box)

    def close(self, client: str) -> None:
        """Remove a client, if it is there."""
        if self._held.pop(client, None) is not None:
            self._open.pop(client, None)
            self._fanout.remove(client)

    def enter(self, client: Client, options: BookOptions) -> list[Frame]:
        """Put a client into the rooms of its options that its rights allow, and out of all others.

        Return the present frame of each new room; send them without yielding.
        """
        if options.symbols is None:
            self._open[client.id] = client.access, options.depth
        names = sorted(self._feed.instruments()) if options.symbols is None else options.symbols
        wanted = {(name, options.depth): None for name in names if client.access.includes(name)}
        held = self._held[client.id]
        new = [topic for topic in wanted if topic not in held]
        gone = held - wanted.keys()
        self._held[client.id] = set(wanted)
        self._fanout.leave(client.id, [topics.book_room(*topic) for topic in gone])
        self._fanout.join(client.id, [topics.book_room(*topic) for topic in new])
        return [frame for topic in new if (frame := self._frame(topic)) is not None]

    def observe(self, client: Client) -> bool:
        """Put a client into the room of operators, or take it out; return True if it is new."""
        is_in = OBSERVERS_ROOM in self._fanout.rooms(client.id)
        if client.access.allows(OBSERVE):
            self._fanout.join(client.id, [OBSERVERS_ROOM])
            return not is_in
        self._fanout.leave(client.id, [OBSERVERS_ROOM])
        return False

    # messages

    def send(self, book: HubBook) -> None:
        """Send the newest book of a topic to its room, with the next flush."""
        if book.instrument not in self._seen:
            self._seen.add(book.instrument)
            self._admit_all(book.instrument)
        self._send(book.topic)

    def send_state(self, state: BookState) -> None:
        """Send the last good books with their new state. A live book is sent by its message."""
        if state.state != LIVE:
            for depth in topics.BOOK_DEPTHS:
                self._send((state.instrument, depth))
            if state.is_own:
                self._fanout.flush_in_parts()

    def send_to_observers(self, frame: Frame) -> None:
        """Send a frame to all operators."""
        if self._fanout.occupied(OBSERVERS_ROOM):
            self._fanout.broadcast((OBSERVERS_ROOM,), frame)
            self._fanout.flush_in_parts()

    def _send(self, topic: Topic) -> None:
        room = topics.book_room(*topic)
        if self._fanout.occupied(room) and (frame := self._frame(topic)) is not None:
            self._fanout.broadcast((room,), frame)

    def _admit_all(self, instrument: str) -> None:
        """Put the clients without a list of symbols into the room of a new book."""
        for client, (access, depth) in self._open.items():
            if access.includes(instrument):
                self._held[client].add((instrument, depth))
                self._fanout.join(client, [topics.book_room(instrument, depth)])

    def _frame(self, topic: Topic) -> Frame | None:
        book = self._feed.latest(*topic)
        if book is None:
            return None
        made = self._frames.get(topic)
        if made is None or made[0] is not book:
            made = self._frames[topic] = book, frames.orderbook(book, self._timestamp())
        return made[1]
