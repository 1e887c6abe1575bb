"""The stream of log records: the newest ones of all processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from db import topics
from db.bus.connection import Connection
from db.bus.errors import translated

MAX_LOG_RECORDS = 5_000  # about; Redis trims in whole nodes
_CHUNK = 500


class LogStream(Connection):
    """The part of the bus for log records. Every method raises `BusError`."""

    def append_logs(self, records: Sequence[bytes]) -> None:
        """Append finished records, each a JSON object, in one round trip. They have no secrets."""
        if not records:
            return
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for record in records:
                pipe.xadd(topics.LOGS_KEY, {"record": record}, maxlen=MAX_LOG_RECORDS, approximate=True)
            pipe.execute()

    def recent_logs(self) -> Iterator[bytes]:
        """Yield the records, the newest first; a caller that has enough stops."""
        end = "+"
        while True:
            with translated():
                items = self._redis.xrevrange(topics.LOGS_KEY, max=end, min="-", count=_CHUNK)
            yield from (record for _, fields in items if (record := fields.get(b"record")) is not None)
            if len(items) < _CHUNK:
                return
            end = f"({items[-1][0].decode()}"
