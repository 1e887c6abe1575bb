"""Facts for `manage.py doctor` that no process reads: of the queues, and the clock of Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from db import topics
from db.bus.connection import Connection
from db.bus.errors import translated


@dataclass(frozen=True, slots=True)
class Pending:
    """Entries that their reader has and did not acknowledge: number, and age of the oldest."""

    count: int
    oldest_seconds: float


class Diagnosis(Connection):
    """The part of the bus for diagnosis. Every method raises `BusError`."""

    def server_time(self) -> float:
        """The clock of the server, in Unix seconds."""
        with translated():
            seconds, micros = self._redis.time()
        return float(seconds) + float(micros) / 1e6

    def pending(self) -> Mapping[str, Pending]:
        """Name of the stream -> its pending entries; streams without any are left out."""
        now, found = self.server_time(), {}
        for row in self._streams.values():
            if row.stored and (waiting := self._pending(row.name, topics.WRITER_GROUP, self.shards_of(row.name), now)).count:
                found[row.name] = waiting
        if (waiting := self._pending(topics.REPORTS, topics.OBSERVER_GROUP, range(1), now)).count:
            found[topics.REPORTS] = waiting
        return found

    def _pending(self, name: str, group: str, shards: range, now: float) -> Pending:
        """The pending entries of a stream in all these shards."""
        count, oldest = 0, 0.0
        for shard in shards:
            with translated():
                try:
                    summary = self._redis.xpending(self.key(topics.stream_key(name), shard), group)
                except redis.ResponseError as error:
                    if "NOGROUP" not in str(error):
                        raise
                    continue
            if summary["pending"]:
                count += int(summary["pending"])
                # An id begins with the milliseconds at which its entry was added.
                oldest = max(oldest, now - int(summary["min"].partition(b"-")[0]) / 1000)
        return Pending(count, oldest)
