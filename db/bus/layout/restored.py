"""A bus whose Redis went back in time: its streams are delivered again, its epoch ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from db import topics
from db.bus.connection import Connection
from db.bus.errors import translated

_CHUNK = 1_000  # entries that one answer brings
_FIELD_OF_TRADES = b"trades"  # the number of trades in an entry of their stream


@dataclass(frozen=True, slots=True)
class BusFacts:
    """Version of Redis, epoch (None: none yet), and the highest `seq` by channel and topic.

    With several shards, `epoch` has those of all shards, separated by blanks.
    """

    version: str | None
    epoch: str | None
    seq: dict[str, dict[str, int]]


class RestoredBus(Connection):
    """The part of the bus for backup and restore. Every method raises `BusError`."""

    def facts(self) -> BusFacts:
        """Return version and numbers; numbers of malformed fields are left out."""
        with translated():
            info = self._redis.info("server")
            shards = [self._redis.hgetall(key) for key in self._keys(topics.NUMBERS_KEY)]
        seq: dict[str, dict[str, int]] = {}
        for field, value in sorted(item for fields in shards for item in fields.items()):
            channel, _, topic = field.decode(errors="replace").partition("|")
            if channel in self._streams and topic and value.isdigit():
                seq.setdefault(channel, {})[topic] = int(value)
        epochs = [fields[b"epoch"].decode(errors="replace") for fields in shards if b"epoch" in fields]
        return BusFacts(info.get("redis_version"), " ".join(epochs) or None, seq)

    def begin_again(self) -> dict[str, int]:
        """Deliver everything that the streams have to their writers again, and end the epoch.

        No other process may use the bus. Returns stream -> its records that will be delivered.
        Writers recognise rows that they have stored. Processes of the past are forgotten.
        """
        stored = [row.name for row in self._streams.values() if row.stored]
        records = {name: sum(self._deliver_again(name, topics.WRITER_GROUP, shard) for shard in self.shards_of(name)) for name in stored}
        records[topics.REPORTS] = self._deliver_again(topics.REPORTS, topics.OBSERVER_GROUP, 0)
        with translated():
            for key in (*self._keys(topics.NUMBERS_KEY), *topics.former_number_keys(self._streams), topics.PROCESSES_KEY):
                self._redis.delete(key)
        return records

    def _keys(self, key: str) -> list[str]:
        """The key in every shard."""
        return [self.key(key, shard) for shard in range(self.shards)]

    def _deliver_again(self, channel: str, group: str, shard: int) -> int:
        """Make the group anew at the beginning of its stream; return the records of the stream.

        `XGROUP SETID` would count the pending entries twice.
        """
        key, counts = self.key(topics.stream_key(channel), shard), self.key(topics.count_key(channel), shard)
        records = sum(_records(fields) for fields in self._entries(key)) if channel == topics.TRADES else self._length(key)
        with translated():
            if self._redis.exists(key):
                self._redis.xgroup_destroy(key, group)
                self._redis.xgroup_create(key, group, id="0")
            published = self._redis.hget(counts, "published")
            if published is not None and published.isdigit():
                # With more records than were counted, the counts were wrong.
                total = max(int(published), records)
                self._redis.hset(counts, mapping={"published": total, "stored": total - records})
        return records

    def _length(self, key: str) -> int:
        with translated():
            return int(self._redis.xlen(key))

    def _entries(self, key: str) -> Iterator[dict[bytes, bytes]]:
        begin = "-"
        while True:
            with translated():
                items = self._redis.xrange(key, begin, "+", count=_CHUNK)
            yield from (fields for _, fields in items)
            if len(items) < _CHUNK:
                return
            begin = f"({items[-1][0].decode()}"


def _records(fields: dict[bytes, bytes]) -> int:
    """The number of records in an entry of trades; 0 if it is malformed, as for the writer."""
    value = fields.get(_FIELD_OF_TRADES, b"")
    return int(value) if value.isdigit() else 0
