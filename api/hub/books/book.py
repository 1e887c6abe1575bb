"""One message of a book topic, as the parts of the hub receive it. Pure."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from api.hub.messages import Message
from db.book_bodies import cut_book

Topic = tuple[str, int]  # instrument, depth


class HubBook(NamedTuple):
    """One message of a topic, as bytes.

    `update` is None if receivers need the snapshot: the chain begins anew, or messages are missing.
    """

    instrument: str
    depth: int
    seq: int
    epoch: str
    update: bytes | None
    snapshot: bytes
    meta: bytes

    @property
    def topic(self) -> Topic:
        return self.instrument, self.depth

    def with_state(self, state: str, reason: str) -> HubBook:
        """Return the book with another state in its snapshot, and without its update."""
        snapshot = orjson.dumps({**orjson.loads(self.snapshot), "state": state, "reason": reason})
        return self._replace(update=None, snapshot=snapshot)


def book_of(message: Message) -> HubBook:
    """Return the book in a message of `book_updates`."""
    head = message.data["snapshot"]
    return HubBook(head["instrument"], head["depth"], head["seq"], head["epoch"], *cut_book(message.body))
