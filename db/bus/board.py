"""Shared state of the processes: the active jobs process, and the state of each source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from db import topics
from db.bus.connection import Connection
from db.bus.errors import translated
from db.timestamps import format_time


class Board(Connection):
    """The part of the bus for leadership and reports of sources. Every method raises `BusError`."""

    def claim_leadership(self, token: str) -> None:
        """Record that the jobs process with this token is the active one."""
        with translated():
            self._redis.set(topics.LEADER_KEY, token)

    def leader(self) -> str | None:
        """The token of the jobs process that became active last; None if there was none."""
        with translated():
            found = self._redis.get(topics.LEADER_KEY)
        return None if found is None else found.decode()

    def report_source(self, name: str, state: Mapping[str, Any]) -> None:
        """Store the state of a source for the health check, with the time as `reported`."""
        with translated():
            self._redis.hset(topics.SOURCES_KEY, name, orjson.dumps({**state, "reported": format_time(self._clock())}))

    def note_source_change(self, name: str, state: str, detail: str | None) -> None:
        """Publish on `source_states` that a source entered `state`, and append it to the stream."""
        body = orjson.dumps({"source": name, "state": state, "detail": detail, "timestamp": format_time(self._clock())})
        row = self._streams[topics.SOURCE_STATES]
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.xadd(topics.stream_key(row.name), {"body": body}, maxlen=row.tail)
            pipe.publish(row.name, body)
            pipe.execute()

    def forget_sources(self) -> None:
        """Delete every report: a new jobs process has other sources than the last."""
        with translated():
            self._redis.delete(topics.SOURCES_KEY)

    def sources(self) -> dict[str, dict[str, Any]]:
        """source -> its last report."""
        with translated():
            return {name.decode(): orjson.loads(state) for name, state in self._redis.hgetall(topics.SOURCES_KEY).items()}
