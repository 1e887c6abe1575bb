"""The number of shards that the bus holds, and its change."""

from __future__ import annotations

from db import topics
from db.bus.connection import Connection
from db.bus.errors import LayoutDiffers, translated
from db.shards import layout_text, shards_of_layout

# Of every shard, besides the streams, counts, dead letters and latest messages of the channels.
_FAMILIES = ("receipt", "seen", "report", "report_rate", "limits")


class Layout(Connection):
    """The part of the bus for its layout. Every method raises `BusError`."""

    def check_layout(self) -> None:
        """Raise `LayoutDiffers` unless the bus holds as many shards as this process uses.

        The first process sets the layout. A bus of an earlier version holds one shard.
        """
        held = self.held_shards()
        if held is None:
            with translated():
                self._redis.set(topics.LAYOUT_KEY, layout_text(self.shards), nx=True)
            held = self.held_shards()
        if held != self.shards:
            raise LayoutDiffers(self.shards, held)

    def held_shards(self) -> int | None:
        """The number of shards that the bus holds; None if it is empty.

        Raises `LayoutDiffers` if the layout is that of another version.
        """
        with translated():
            found = self._redis.get(topics.LAYOUT_KEY)
            if found is None:
                return 1 if self._redis.exists(topics.NUMBERS_KEY) else None
        held = shards_of_layout(found)
        if held is None:
            raise LayoutDiffers(self.shards, None)
        return held

    def is_stored(self) -> bool:
        """True if every accepted record is stored, and every report of a bot is processed."""
        pairs = [(row.name, shard) for row in self._streams.values() if row.stored for shard in self.shards_of(row.name)]
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for name, shard in pairs:
                pipe.hmget(self.key(topics.count_key(name), shard), ["published", "stored"])
            counts = pipe.execute()
            reports = self._redis.xlen(self.key(topics.stream_key(topics.REPORTS)))
        return not reports and all(int(published or 0) == int(stored or 0) for published, stored in counts)

    def clear(self) -> dict[bytes, bytes]:
        """Delete the streams, numbers, counts and receipts of all shards; return the latest prices.

        Everything has to be stored, and no process may run.
        """
        kept: dict[bytes, bytes] = {}
        with translated():
            for shard in range(self.shards):
                kept |= self._redis.hgetall(self.key(topics.LATEST_KEY, shard))
                for key in self._keys_of_shard(shard):
                    self._redis.delete(key)
                for family in _FAMILIES:
                    self._delete_matching(f"{self.key(f'tickwire:{family}', shard)}:*")
        return kept

    def begin(self, latest: dict[bytes, bytes]) -> None:
        """Write the layout of this setup, with these latest prices."""
        with translated():
            for name, body in latest.items():
                shard = self.shard_of(topics.PRICES, name.decode(errors="replace"))
                self._redis.hset(self.key(topics.LATEST_KEY, shard), name, body)
            self._redis.set(topics.LAYOUT_KEY, layout_text(self.shards))

    def _keys_of_shard(self, shard: int) -> list[str]:
        names = [topics.NUMBERS_KEY, topics.FENCE_KEY, topics.PARKED_KEY, topics.LATEST_KEY, topics.stream_key(topics.REPORTS)]
        for row in self._streams.values():
            if row.name != topics.SOURCE_STATES:  # in no shard
                names += [topics.stream_key(row.name), topics.count_key(row.name), topics.dead_key(row.name), topics.latest_key(row.name)]
        return [self.key(name, shard) for name in names]

    def _delete_matching(self, pattern: str) -> None:
        for node in self._nodes.masters():
            for key in list(node.client.scan_iter(match=pattern, count=1000)):
                self._redis.delete(key)
