"""Shared state of the processes: active processes, changes of sources and of keys."""

from __future__ import annotations

import orjson

from db import topics
from db.bus.connection import Connection
from db.bus.errors import translated
from db.bus.subscription import Subscription
from db.timestamps import format_time


class Board(Connection):
    """The part of the bus for leadership, changes of sources and of keys.

    Every method raises `BusError`.
    """

    def claim_leadership(self, token: str, role: str) -> None:
        """Record that the process of this role with this token is the active one."""
        with translated():
            self._redis.set(topics.leader_key(role), token)

    def leader(self, role: str) -> str | None:
        """The token of the process of this role that became active last; None if there was none."""
        with translated():
            found = self._redis.get(topics.leader_key(role))
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
        self.measured.published.add(row.name, "0")

    def delete_old_keys(self) -> None:
        """Delete the reports of sources and the token of the jobs process of earlier versions."""
        with translated():
            self._redis.delete(*topics.OLD_KEYS)

    def forget_former_numbers(self) -> None:
        """Delete the keys in which earlier versions kept epoch and numbers."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for key in topics.former_number_keys(self._streams):
                pipe.delete(key)
            pipe.execute()

    def access_counter(self) -> bytes | None:
        """The number of the last change of keys or revoked tokens, as it stands on the bus.

        None if the bus does not have it. It grants no right.
        """
        with translated():
            value: bytes | None = self._redis.get(topics.ACCESS_COUNTER)
        return value

    def announce_access(self, changed: int) -> None:
        """Set the number of the last change, then publish it to all processes."""
        with translated():
            self._redis.set(topics.ACCESS_COUNTER, changed)
            self._redis.publish(topics.ACCESS, str(changed))

    def subscribe_access(self) -> Subscription:
        """Subscribe to the changes of keys and revoked tokens."""
        with translated():
            return Subscription(self._redis.connection_pool.make_connection(), [topics.ACCESS])
