"""One order book, kept from snapshots and updates and verified after each message. Pure."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import zip_longest

from tickwire_client.book_messages import Book, BookLevel, BookWindow
from tickwire_client.messages import Body, Position, parse_time

log = logging.getLogger("tickwire_client")

BookTopic = tuple[str, int]  # (instrument, depth)
_CHECKED_LEVELS = 10  # a side

Text = tuple[str, str, BookLevel]  # price, quantity and both as numbers
Side = Mapping[float, Text]  # price -> level


class BookChain:
    """The book of one instrument and depth.

    An update follows the message with `seq` - 1 of the same epoch. If one is missing, or a checksum
    differs, the chain is broken: updates are skipped up to the next snapshot.
    """

    def __init__(self, topic: BookTopic, rate: float | None = None) -> None:
        self.topic = topic
        self.rate = rate
        self.is_broken = False
        self.last: Book | None = None  # the last book that was passed on
        self._position: Position | None = None
        self._sides: tuple[Side, Side] = ({}, {})
        self._window = BookWindow(0, 0, None, None)

    def lost(self) -> None:
        """The connection has ended: any snapshot may follow."""
        self._position = None

    def snapshot(self, body: Body) -> list[Book]:
        """The book after a snapshot; none if the snapshot is older than the book."""
        at = Position(body["epoch"], body["seq"])
        own = self._position
        if own is not None and not self.is_broken and at.epoch == own.epoch and at.seq < own.seq:
            return []
        return self._take(body, _applied({}, body["bids"]), _applied({}, body["asks"]), _window(body), body["state"], body["reason"])

    def update(self, body: Body) -> list[Book]:
        """The book after an update; none if the chain is broken or the book contains it already."""
        at, own, last = Position(body["epoch"], body["seq"]), self._position, self.last
        if own is None or last is None or self.is_broken:
            self.is_broken = True
            return []
        if at.epoch == own.epoch and at.seq <= own.seq:
            return []
        if at != Position(own.epoch, own.seq + 1):
            return self._break(f"message {at.seq} of epoch {at.epoch} follows {own.seq} of {own.epoch}")
        bids, asks = (_applied(side, body[name]) for side, name in zip(self._sides, ("bids", "asks"), strict=True))
        return self._take(body, bids, asks, self._window, last.state, last.reason)

    def changed(self, state: str, reason: str) -> None:
        """The state of the book has changed."""
        if self.last is not None:
            self.last = replace(self.last, state=state, reason=reason)

    def _take(self, body: Body, bids: Side, asks: Side, window: BookWindow, state: str, reason: str) -> list[Book]:
        best = _best(bids, is_bid=True), _best(asks, is_bid=False)
        book = _book(body, best, window, state, reason)
        if not book.verified and self.last is not None:
            return self._break(f"the checksum of message {book.seq} differs")
        if not book.verified:
            log.warning("%s: the checksum of the first snapshot differs", self.topic)
        self.is_broken = not book.verified
        self._position, self._sides, self._window = Position(book.epoch, book.seq), (bids, asks), window
        self.last = book
        return [book]

    def _break(self, reason: str) -> list[Book]:
        self.is_broken = True
        if self.last is None or not self.last.verified:
            return []
        log.warning("%s of depth %s: %s; requesting the book", *self.topic, reason)
        self.last = replace(self.last, verified=False)
        return [self.last]


def book_of(body: Body) -> Book:
    """From a `book_snapshot` or `book_response`."""
    sides = _best(_applied({}, body["bids"]), is_bid=True), _best(_applied({}, body["asks"]), is_bid=False)
    return _book(body, sides, _window(body), body["state"], body["reason"])


def checksum(bids: Iterable[Text], asks: Iterable[Text]) -> int:
    """CRC32 of `bid price:bid quantity:ask price:ask quantity` in turns, joined by `:`."""
    turns = zip_longest(bids, asks)
    return zlib.crc32(":".join(f"{level[0]}:{level[1]}" for pair in turns for level in pair if level).encode())


def _applied(side: Side, levels: Iterable[list[str]]) -> Side:
    """A side after changes: quantity `"0"` removes a level."""
    after = dict(side)
    for price, quantity in levels:
        level = BookLevel(Decimal(price), Decimal(quantity))
        if level.quantity:
            after[float(price)] = price, quantity, level
        else:
            after.pop(float(price), None)
    return after


def _best(side: Side, *, is_bid: bool) -> list[Text]:
    return [side[price] for price in sorted(side, reverse=is_bid)]


def _book(body: Body, sides: tuple[list[Text], list[Text]], window: BookWindow, state: str, reason: str) -> Book:
    checked = min(_CHECKED_LEVELS, body["depth"])
    bids, asks = sides
    return Book(
        instrument=body["instrument"],
        depth=body["depth"],
        state=state,
        reason=reason,
        bids=tuple(level for _, _, level in bids),
        asks=tuple(level for _, _, level in asks),
        window=window,
        update_id=body["update_id"],
        checksum=body["checksum"],
        time=parse_time(body["time"]),
        timestamp=parse_time(body["timestamp"]),
        lag_ms=body["lag_ms"],
        seq=body["seq"],
        epoch=body["epoch"],
        verified=checksum(bids[:checked], asks[:checked]) == body["checksum"],
    )


def _window(body: Body) -> BookWindow:
    complete = body["complete"]
    low, high = (None if complete[name] is None else Decimal(complete[name]) for name in ("from", "to"))
    return BookWindow(complete["bids"], complete["asks"], low, high)
