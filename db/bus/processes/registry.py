"""The process registry: the heartbeat and the last report of every process."""

from __future__ import annotations

from dataclasses import dataclass

from db import topics
from db.bus.connection import Connection, lua
from db.bus.errors import translated

REPORT_LIFE_SECONDS = 15
EXPECTED_SECONDS = 600  # a process is expected for so long after its last heartbeat
_MAX_SCORE = 2**53  # a larger one is no time
_REPLACE = lua("replace")


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """One process: its name, Unix milliseconds of its last heartbeat, its last report if any."""

    name: str
    beat_ms: int
    report: bytes | None


class Registry(Connection):
    """The part of the bus for the process registry. Every method raises `BusError`."""

    def take_name(self, name: str, report: bytes) -> bool:
        """Store the first report under a name that is free; return False if it is taken."""
        with translated():
            return bool(self._redis.set(topics.process_key(name), report, nx=True, ex=REPORT_LIFE_SECONDS))

    def report_of(self, name: str) -> bytes | None:
        """The last report under this name, if it still lives."""
        with translated():
            found: bytes | None = self._redis.get(topics.process_key(name))
        return found

    def replace_report(self, name: str, seen: bytes, report: bytes) -> bool:
        """Replace the report `seen` of a process that has ended; return False if it has changed."""
        return bool(self._run_scripts(_REPLACE, [([topics.process_key(name)], [seen, report, REPORT_LIFE_SECONDS])])[0])

    def put_process(self, name: str, now_ms: int, report: bytes | None) -> bytes | None:
        """Store a heartbeat, and the report if there is one; return the report before it.

        Members of the registry without a heartbeat for ten minutes are removed.
        """
        pipe = self._redis.pipeline(transaction=False)
        key = topics.process_key(name)
        pipe.get(key)
        if report is not None:
            pipe.set(key, report, ex=REPORT_LIFE_SECONDS)
        pipe.zadd(topics.PROCESSES_KEY, {name: now_ms})
        pipe.zremrangebyscore(topics.PROCESSES_KEY, "-inf", f"({now_ms - EXPECTED_SECONDS * 1000}")
        with translated():
            before: bytes | None = pipe.execute()[0]
        return before

    def remove_process(self, name: str) -> None:
        """Remove a process that ends in order: nobody expects it from now on."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zrem(topics.PROCESSES_KEY, name)
        pipe.delete(topics.process_key(name))
        pipe.hdel(topics.HEALTH, name)
        with translated():
            pipe.execute()

    def processes(self, now_ms: int, role: str = "") -> list[ProcessEntry]:
        """Every process with a heartbeat in the last ten minutes; of one role, if it is given."""
        with translated():
            found = self._redis.zrangebyscore(topics.PROCESSES_KEY, now_ms - EXPECTED_SECONDS * 1000, _MAX_SCORE, withscores=True)
            names = [(text, int(score)) for name, score in found if (text := name.decode(errors="replace")).startswith(role)]
            pipe = self._redis.pipeline(transaction=False)
            for name, _ in names:
                pipe.get(topics.process_key(name))
            reports = pipe.execute() if names else []
        return [ProcessEntry(name, beat, report) for (name, beat), report in zip(names, reports, strict=True)]

    def own_address(self) -> str:
        """The address of this machine on its connection to Redis; 127.0.0.1 for a Unix socket."""
        with translated():
            connection = self._redis.connection_pool.get_connection()
            try:
                name = connection._sock.getsockname()
            finally:
                self._redis.connection_pool.release(connection)
        return name[0] if isinstance(name, tuple) else "127.0.0.1"
