"""The streams as a queue for the writers, which store their entries and then acknowledge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import redis

from db import topics
from db.bus.connection import Connection, lua
from db.bus.errors import translated
from db.messages import Entry, TradeLines

_ACKNOWLEDGE = lua("acknowledge")
_FORGET = lua("forget")
# All writers share one consumer name: a new writer inherits the unacknowledged entries of the last.
_CONSUMER = "writer"


class WriterQueue(Connection):
    """The part of the bus for the store. Every method raises `BusError`."""

    def open_group(self, channel: str) -> None:
        """Create the store's consumer group at the beginning of the stream, unless it exists."""
        with translated():
            try:
                self._redis.xgroup_create(topics.stream_key(channel), topics.WRITER_GROUP, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def read_unstored(self, channel: str, count: int, wait_ms: int, *, again: bool = False) -> list[Entry]:
        """The next `count` entries for the store; waits up to `wait_ms` for the first (0: no wait).

        `again` returns entries that were read before and never acknowledged.
        """
        return [Entry.of(*item) for item in self._read_group(channel, count, wait_ms, again=again)]

    def read_unstored_trades(self, count: int, wait_ms: int, *, again: bool = False) -> list[TradeLines]:
        """The same as `read_unstored` for the stream of trades; each entry holds many trades."""
        return [
            TradeLines(entry_id, int(fields[b"trades"]), fields[b"lines"], b"admitted" in fields)
            for entry_id, fields in self._read_group(topics.TRADES, count, wait_ms, again=again)
        ]

    def _read_group(self, channel: str, count: int, wait_ms: int, *, again: bool) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        with translated():
            answer = self._redis.xreadgroup(
                topics.WRITER_GROUP,
                _CONSUMER,
                {topics.stream_key(channel): "0" if again else ">"},
                count=count,
                block=None if again or wait_ms <= 0 else wait_ms,
            )
        return [item for _, items in answer or [] for item in items if item[1]]

    def acknowledge(self, channel: str, ids: Sequence[bytes]) -> int:
        """Mark these entries as stored; returns the number that was not yet acknowledged."""
        if not ids:
            return 0
        keys = [topics.stream_key(channel), topics.count_key(channel)]
        return int(self._run_scripts(_ACKNOWLEDGE, [(keys, [topics.WRITER_GROUP, *ids])])[0])

    def forget_trades(self, entries: Sequence[TradeLines]) -> int:
        """Mark these entries as stored and delete them, because only the store reads them.

        Returns the number of trades that were not yet acknowledged.
        """
        if not entries:
            return 0
        keys = [topics.stream_key(topics.TRADES), topics.count_key(topics.TRADES)]
        fields = [field for entry in entries for field in (entry.id, entry.trades)]
        return int(self._run_scripts(_FORGET, [(keys, [topics.WRITER_GROUP, *fields])])[0])

    def unstored(self, channel: str = topics.PRICES) -> int:
        """Number of accepted messages that the store does not hold yet."""
        published, stored = self.counts(channel)
        return published - stored

    def counts(self, channel: str = topics.PRICES) -> tuple[int, int]:
        """Numbers of accepted and of acknowledged messages; both are 0 if Redis lost its data."""
        with translated():
            published, stored = self._redis.hmget(topics.count_key(channel), ["published", "stored"])
        return int(published or 0), int(stored or 0)
