"""Shared state of the processes: the active jobs process, and changes of the sources' states."""

from __future__ import annotations

import orjson

from db import topics
from db.bus.connection import Connection
from db.bus.errors import translated
from db.timestamps import format_time


class Board(Connection):
    """The part of the bus for leadership and changes of sources. Every method raises `BusError`."""

    def claim_leadership(self, token: str) -> None:
        """Record that the jobs process with this token is the active one."""
        with translated():
            self._redis.set(topics.LEADER_KEY, token)

    def leader(self) -> str | None:
        """The token of the jobs process that became active last; None if there was none."""
        with translated():
            found = self._redis.get(topics.LEADER_KEY)
        return None if found is None else found.decode(errors="replace")

    def note_source_change(self, name: str, state: str, detail: str | None) -> None:
        """Publish on `source_states` that a source entered `state`, and append it to the stream."""
        body = orjson.dumps({"source": name, "state": state, "detail": detail, "timestamp": format_time(self._clock())})
        row = self._streams[topics.SOURCE_STATES]
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.xadd(topics.stream_key(row.name), {"body": body}, maxlen=row.tail)
            pipe.publish(row.name, body)
            pipe.execute()

    def delete_old_reports(self) -> None:
        """Delete the hash in which earlier versions kept the reports of sources."""
        with translated():
            self._redis.delete(topics.OLD_SOURCES_KEY)

    def forget_former_numbers(self) -> None:
        """Delete the keys in which earlier versions kept epoch and numbers."""
        with translated():
            self._redis.delete(*topics.former_number_keys(self._streams))
