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
        groups = {row.name: topics.WRITER_GROUP for row in self._streams.values() if row.stored} | {topics.REPORTS: topics.OBSERVER_GROUP}
        now, found = self.server_time(), {}
        for name, group in groups.items():
            with translated():
                try:
                    summary = self._redis.xpending(topics.stream_key(name), group)
                except redis.ResponseError as error:
                    if "NOGROUP" not in str(error):
                        raise
                    continue
            if summary["pending"]:
                # An id begins with the milliseconds at which its entry was added.
                added = int(summary["min"].partition(b"-")[0]) / 1000
                found[name] = Pending(int(summary["pending"]), max(0.0, now - added))
        return found
