"""A change of the set of instruments, as the clients of the hub receive it."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from api.access.model import READ, Access
from api.hub.transport.wire import Frame, event
from db import topics
from db.intervals import INTERVALS

EVENT = "instruments_changed"


class InstrumentChange:
    """The change from `before` to `after`, both sets of names in the order of lists.

    `rooms` are the rooms of the removed instruments, which every client leaves.
    """

    def __init__(self, before: Sequence[str], after: Sequence[str], timestamp: str, namespace: str) -> None:
        self._after = after
        self._added = [name for name in after if name not in before]
        self._removed = [name for name in before if name not in after]
        self._timestamp = timestamp
        self._namespace = namespace
        self._frames: dict[Access, Frame | None] = {}  # rights -> event; clients of equal rights share one
        self.rooms = frozenset(
            room
            for name in self._removed
            for room in (
                topics.price_room(name),
                *(topics.candle_room(name, interval) for interval in INTERVALS),
                *(topics.book_room(name, depth) for depth in topics.BOOK_DEPTHS),
            )
        )

    def __bool__(self) -> bool:
        return bool(self._added or self._removed)

    def frame(self, access: Access) -> Frame | None:
        """Return the event for a client with these rights; None if the change is not about it."""
        if access not in self._frames:
            self._frames[access] = self._made(access)
        return self._frames[access]

    def _made(self, access: Access) -> Frame | None:
        added, removed = ([name for name in names if access.includes(name)] for names in (self._added, self._removed))
        if not (added or removed) or not access.allows(READ):
            return None
        count = sum(map(access.includes, self._after))
        body = orjson.dumps({"added": added, "removed": removed, "count": count, "timestamp": self._timestamp})
        return event(EVENT, body, namespace=self._namespace)
