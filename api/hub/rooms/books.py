"""The rooms of order books, one per instrument and depth, and the room of heartbeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson

from api.access.model import OBSERVE, Access
from api.errors import ErrorCode, Refusal, forbidden_instrument, unknown_instrument
from api.hub.books.book import HubBook, Topic
from api.hub.books.feed import BookFeed, BookState
from api.hub.fanout import Fanout
from api.hub.schemas.rejections import Rejections
from api.hub.schemas.requests import ALL, BOOK, unknown_field
from api.hub.transport.client_json import problem_of
from api.hub.transport.wire import Frame, event
from db import topics
from db.topics import BOOK_DEPTHS

SNAPSHOT, UPDATE, STATE = "book_snapshot", "book_update", "book_state"  # events
DEPTHS = ", ".join(map(str, BOOK_DEPTHS))


class BookRooms:
    """The half of `subscribe` and `unsubscribe` that is about books and heartbeats.

    Every message of a room is a link of a chain: the outbox of a slow client replaces the waiting
    ones by the newest snapshot, as do the clocks of rooms with a rate.
    """

    def __init__(self, fanout: Fanout, feed: BookFeed, instruments: Sequence[str]) -> None:
        self._fanout = fanout
        self._feed = feed
        self._frames: dict[str, tuple[HubBook, Frame]] = {}  # room -> its newest book, and the frame of its snapshot
        self.set_instruments(instruments)
        fanout.fresh = self.fresh
        feed.listeners.append(self.send)
        feed.states.append(self.send_state)

    def set_instruments(self, instruments: Sequence[str]) -> None:
        """Have rooms for these instruments from now on."""
        self._known = frozenset(instruments)
        self._rooms: dict[str, Topic] = {topics.book_room(pair, depth): (pair, depth) for pair in instruments for depth in BOOK_DEPTHS}
        self._frames = {room: made for room, made in self._frames.items() if room in self._rooms}

    # subscriptions

    def judge(self, asked: Sequence[Any], access: Access, rejections: Rejections) -> list[Topic]:
        """Return the accepted books, each once; add the others to `rejections`."""
        accepted: dict[Topic, None] = {}
        kept = self._feed.instruments()
        for item in asked:
            pair, depth = (item.get("pair"), item.get("depth")) if isinstance(item, dict) else (item, None)
            try:
                topic = _topic_of(item)
                self._check(topic[0], access, kept)
            except Refusal as refusal:
                rejections.add(refusal.code, str(refusal), pair=pair, depth=depth)
            else:
                accepted[topic] = None
        return list(accepted)

    def _check(self, pair: str, access: Access, kept: set[str]) -> None:
        """Raise `Refusal` unless a book of the instrument is kept, and the client may read it."""
        if pair not in self._known:
            raise unknown_instrument(pair[:64], self._known, access.includes)
        if not access.includes(pair):
            raise forbidden_instrument(pair)
        if pair not in kept:
            raise Refusal(ErrorCode.NO_BOOK, f"No book of {pair} is kept.", {"instrument": ["No book is kept."]})

    def denied(self, access: Access) -> list[str]:
        """Return the rooms that the client may not be in."""
        denied = [room for room, (pair, _) in self._rooms.items() if not access.includes(pair)]
        return denied if access.allows(OBSERVE) else [*denied, topics.HEARTBEAT_ROOM]

    def join(self, client: str, books: Sequence[Topic], rate: float | None) -> list[orjson.Fragment]:
        """Put the client into these rooms, with a granted rate; return the bodies to begin with.

        Send them without yielding. A book that was never live has none: its first snapshot follows.
        """
        if books:
            self._fanout.join(client, [topics.book_room(*each) for each in books], rate)
        return [orjson.Fragment(book.snapshot) for each in books if (book := self._feed.latest(*each)) is not None]

    def leave(self, client: str, asked: Any) -> None:
        """Take the client out of these rooms, or out of all; others are ignored."""
        if asked:
            rooms = self._rooms if asked == ALL else [topics.book_room(*topic) for topic in _topics_of(asked)]
            self._fanout.leave(client, rooms)

    def held(self, client: str) -> list[dict[str, Any]]:
        """Return the book rooms of the client, in the form of a request."""
        rooms = self._fanout.rooms(client)
        if self._rooms.keys().isdisjoint(rooms):  # usually
            return []
        return [{"pair": pair, "depth": depth} for room, (pair, depth) in self._rooms.items() if room in rooms]

    def latest(self, client: str, instrument: str, depth: int, access: Access) -> bytes:
        """Return the newest `book_snapshot` body of one book. Raises `Refusal`.

        Send it without yielding: waiting messages of the room, which it contains, are dropped.
        """
        self._check(instrument, access, self._feed.instruments())
        if (book := self._feed.latest(instrument, depth)) is None:
            message = f"The book of {instrument} was not live yet: wait for its first book_snapshot, or try again."
            raise Refusal(ErrorCode.NO_BOOK, message, {"instrument": ["Not live yet."]})
        self._fanout.supersede(client, [topics.book_room(instrument, depth)])
        return book.snapshot

    def set_heartbeat(self, client: str, *, wanted: bool) -> None:
        """Put the client into the room of heartbeats, or take it out."""
        change = self._fanout.join if wanted else self._fanout.leave
        change(client, [topics.HEARTBEAT_ROOM])

    def has_heartbeat(self, client: str) -> bool:
        """Return True if the client is in the room of heartbeats."""
        return topics.HEARTBEAT_ROOM in self._fanout.rooms(client)

    def count(self, members: Mapping[str, int]) -> int:
        """Return the number of subscriptions of books, given the `members` of all rooms."""
        return sum(count for room, count in members.items() if room in self._rooms)

    # messages

    def send(self, book: HubBook) -> None:
        """Send a book to its room, with the next flush."""
        room = topics.book_room(*book.topic)
        if self._fanout.occupied(room):
            frame = self.fresh(room) if book.update is None else self._link(UPDATE, book.update, room, book.topic)
            if frame is not None:
                self._fanout.broadcast((room,), frame)

    def send_state(self, state: BookState) -> None:
        """Send a state that the hub has made, once to each client in a room of the instrument."""
        if state.is_own:
            rooms = tuple(topics.book_room(state.instrument, depth) for depth in BOOK_DEPTHS)
            self._fanout.broadcast(rooms, event(STATE, orjson.dumps(state.body), namespace=self._fanout.namespace))
            self._fanout.flush()

    def fresh(self, room: str) -> Frame | None:
        """Return the frame of the newest snapshot of a room, made once; None if there is none."""
        topic = self._rooms.get(room)
        book = None if topic is None else self._feed.latest(*topic)
        if topic is None or book is None:
            return None
        made = self._frames.get(room)
        if made is None or made[0] is not book:
            made = self._frames[room] = book, self._link(SNAPSHOT, book.snapshot, room, topic)
        return made[1]

    def _link(self, name: str, body: bytes, room: str, topic: Topic) -> Frame:
        return event(name, body, topics.book_topic(*topic), self._fanout.namespace, chain=room)


def _topic_of(item: Any) -> Topic:
    """Return the book that an item of a request names. Raises `Refusal` if it has another form."""
    if not isinstance(item, dict):
        raise Refusal(ErrorCode.INVALID_PAYLOAD, "Not an object of pair and depth.")
    if unknown := [name for name in item if name not in BOOK]:
        raise Refusal(ErrorCode.INVALID_PAYLOAD, f"{unknown_field(BOOK)[:-1]}, not {unknown[0][:64]!r}.")
    if not isinstance(item.get("pair"), str):
        raise Refusal(ErrorCode.INVALID_PAYLOAD, "An instrument is a string.")
    if problem := problem_of(item):
        raise Refusal(ErrorCode.INVALID_PAYLOAD, problem)
    if type(item.get("depth")) is not int or item["depth"] not in BOOK_DEPTHS:
        raise Refusal(ErrorCode.INVALID_PAYLOAD, f"A depth is one of {DEPTHS}.")
    return item["pair"], item["depth"]


def _topics_of(items: Sequence[Any]) -> Iterator[Topic]:
    for item in items:
        with suppress(Refusal):
            yield _topic_of(item)
