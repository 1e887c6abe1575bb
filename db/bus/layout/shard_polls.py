"""Polling the streams of several shards in turn.

`XREADGROUP` over the streams of several hash slots is refused, and one that blocks on a stream
would delay the others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

POLL_SECONDS = 0.1  # between two polls

Items = list[tuple[bytes, Mapping[bytes, bytes]]]
# Reads up to a number of entries of each shard without blocking. The argument has each shard with
# the id after which it is read.
Read = Callable[[Sequence[tuple[int, bytes]], int], Sequence[Items]]

_NEW, _FIRST = b">", b"0"  # ids: of entries that were never delivered, of the first pending one


class ShardPolls:
    """The polls of one channel. Call it from one thread."""

    def __init__(self) -> None:
        self._turn = 0
        self._due = 0.0  # monotonic time of the next poll

    def wait(self, read: Read, shards: Sequence[int], count: int, wait_ms: int) -> Items:
        """The next `count` entries; polls every `POLL_SECONDS` for the first, for up to `wait_ms`.

        After a poll that brought as many as it could, the next one follows at once.
        """
        deadline = time.monotonic() + max(0, wait_ms) / 1000
        while True:
            left = min(self._due, deadline) - time.monotonic()
            if wait_ms > 0 and left > 0:
                time.sleep(left)
            found = self.once(read, shards, count)
            self._due = 0.0 if len(found) >= count else time.monotonic() + POLL_SECONDS
            if found or time.monotonic() >= deadline:
                return found

    def once(self, read: Read, shards: Sequence[int], count: int, *, again: bool = False) -> Items:
        """The next `count` entries, an equal share of each shard as far as it has them.

        `again`: entries that were delivered and not acknowledged. Each id ends with `@SHARD`.
        """
        self._turn += 1
        middle = self._turn % len(shards) if shards else 0
        waiting = deque((shard, _FIRST if again else _NEW) for shard in (*shards[middle:], *shards[:middle]))
        found: Items = []
        while waiting and (left := count - len(found)) > 0:
            asked = [waiting.popleft() for _ in range(min(len(waiting), left))]
            share = left // len(asked)
            for (shard, begin), items in zip(asked, read(asked, share), strict=True):
                found += [(b"%b@%d" % (entry_id, shard), fields) for entry_id, fields in items]
                if len(items) >= share:
                    waiting.append((shard, items[-1][0] if again else begin))
        return found


def shard_of_entry(entry_id: bytes) -> int:
    """The shard of an entry that the writer has read."""
    return parts_of(entry_id)[1]


def parts_of(entry_id: bytes) -> tuple[bytes, int]:
    """The id of an entry in its stream, and its shard."""
    own_id, _, shard = entry_id.partition(b"@")
    return own_id, int(shard or 0)
