"""Bad messages of the bus: each is counted once, and the log has one line per kind and minute."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from typing import Generic, TypeVar

from api.hub.messages import BadMessage
from config.pacing import Throttle

log = logging.getLogger(__name__)

MALFORMED = "malformed_entry"  # kind
_REMEMBERED = 10_000
_Item = TypeVar("_Item")


class _Recent(Generic[_Item]):
    """A set of the last items that were added."""

    def __init__(self) -> None:
        self._order: deque[_Item] = deque()
        self._items: set[_Item] = set()

    def __contains__(self, item: _Item) -> bool:
        return item in self._items

    def add(self, item: _Item) -> None:
        if item in self._items:
            return
        self._items.add(item)
        self._order.append(item)
        if len(self._order) > _REMEMBERED:
            self._items.discard(self._order.popleft())


class Skips:
    """Counts the messages that the relay skips.

    A published message comes twice to a relay that catches up: from the stream, and live. Both
    copies have the same bytes and count as one message. Foreign messages are in no stream, so that
    each of them counts.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # kind -> number
        self.by_channel: Counter[str] = Counter()  # channel -> number
        self._throttle = Throttle(monotonic=time.monotonic)
        self._live: _Recent[int] = _Recent()  # hashes of channel and body
        self._from_stream: _Recent[int] = _Recent()
        self._entries: _Recent[tuple[str, bytes]] = _Recent()  # channel and id

    def live(self, channel: str, body: bytes, error: BadMessage) -> None:
        """Count a bad message of the channel, unless its copy in the stream was counted."""
        digest = hash((channel, body))
        self._live.add(digest)
        if digest not in self._from_stream:
            self.add(channel, error.kind, str(error))

    def entry(self, channel: str, entry_id: bytes, body: bytes, error: BadMessage) -> None:
        """Count a bad entry of the stream, unless it or its live copy was counted before."""
        if (channel, entry_id) in self._entries:
            return
        self._entries.add((channel, entry_id))
        digest = hash((channel, body))
        self._from_stream.add(digest)
        if digest not in self._live:
            self.add(channel, error.kind, str(error))

    def malformed(self, channel: str, entry_id: bytes, error: ValueError) -> None:
        """Count an entry of the stream without a readable message."""
        self.entry(channel, entry_id, entry_id, BadMessage(MALFORMED, str(error)))

    def add(self, channel: str, kind: str, reason: str) -> None:
        """Count a message that is not a bad copy of another."""
        self.counts[kind] += 1
        self.by_channel[channel] += 1
        if self._throttle.due(kind) is not None:
            log.warning(
                "skipped a bad message", extra={"channel": channel, "kind": kind, "reason": reason[:200], "so_far": self.counts[kind]}
            )
