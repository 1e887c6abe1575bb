"""Polling the streams of several shards in turn.

`XREADGROUP` over the streams of several hash slots is refused, and one that blocks on a stream
would delay the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

POLL_SECONDS = 0.1  # between two polls

Items = list[tuple[bytes, Mapping[bytes, bytes]]]
# Reads up to a number of entries of each of these shards, without blocking: the shards, the number.
Read = Callable[[Sequence[int], int], Sequence[Items]]


class ShardPolls:
    """The polls of one channel. Call it from one thread."""

    def __init__(self) -> None:
        self._turn = 0
        self._due = 0.0  # monotonic time of the next poll

    def wait(self, read: Read, shards: Sequence[int], count: int, wait_ms: int) -> Items:
        """Poll every `POLL_SECONDS` until there are entries, for up to `wait_ms`.

        After a poll that brought as many entries of a shard as it could, the next one follows at
        once. Each id ends with `@SHARD`.
        """
        deadline = time.monotonic() + max(0, wait_ms) / 1000
        while True:
            left = min(self._due, deadline) - time.monotonic()
            if wait_ms > 0 and left > 0:
                time.sleep(left)
            found = self.once(read, shards, count)
            if found or time.monotonic() >= deadline:
                return found

    def once(self, read: Read, shards: Sequence[int], count: int) -> Items:
        """Poll once: at most `count` entries, an equal share of each shard."""
        self._turn += 1
        middle = self._turn % len(shards) if shards else 0
        asked = [*shards[middle:], *shards[:middle]][:count]
        share = max(1, count // max(1, len(asked)))
        self._due = time.monotonic() + POLL_SECONDS
        found: Items = []
        for shard, items in zip(asked, read(asked, share) if asked else (), strict=True):
            if len(items) >= share:
                self._due = 0.0
            found += [(b"%b@%d" % (entry_id, shard), fields) for entry_id, fields in items]
        return found


def shard_of_entry(entry_id: bytes) -> int:
    """The shard of an entry that the writer has read."""
    return parts_of(entry_id)[1]


def parts_of(entry_id: bytes) -> tuple[bytes, int]:
    """The id of an entry in its stream, and its shard."""
    own_id, _, shard = entry_id.partition(b"@")
    return own_id, int(shard or 0)
