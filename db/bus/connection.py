"""The connection to Redis that all parts of the bus share.

Only this module uses `Any` for the answers of redis-py, which types each of them as the union of
the answers that any of its settings could produce.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from db import topics
from db.bus.errors import translated
from db.measures import Counts

# One run of a script: its KEYS and its ARGV.
ScriptCall = tuple[Sequence[str], Sequence[str | bytes | int]]


def lua(name: str) -> str:
    """The text of the script `NAME.lua` in this folder."""
    return (Path(__file__).parent / f"{name}.lua").read_text()


@cache
def _sha(script: str) -> str:
    """The name under which Redis keeps a loaded script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class BusCounts:
    """Counts of what a process does on the bus; a collector of metrics reads them.

    `published` and `parked` count records and dead letters by channel. `epochs` counts the new
    epochs that were seen; the first one of a process is not new.
    """

    published: Counts = field(default_factory=Counts)
    parked: Counts = field(default_factory=Counts)
    epochs: Counts = field(default_factory=lambda: Counts(()))


class Connection:
    """A connection pool, safe to share between threads.

    `clock` stamps each published message. `limit` is the maximum of unstored entries per stored
    stream, `timeout` is in seconds. `streams` is the channel table, read at each call.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], datetime],
        *,
        limit: int = 500_000,
        timeout: float = 5.0,
        streams: Mapping[str, topics.Stream] = topics.STREAMS,
    ) -> None:
        self._url = url
        self._clock = clock
        self._limit = limit
        self._streams = streams
        self.measured = BusCounts()
        self._redis: Any = redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            driver_info=None,  # no CLIENT SETINFO, which our user may not send
            # The caller decides about a repeat: only a `batch_id` makes it safe.
            retry=Retry(NoBackoff(), 0),
        )

    def with_timeout(self, seconds: float) -> Self:
        """The same bus on connections of its own, with another timeout."""
        return type(self)(self._url, self._clock, limit=self._limit, timeout=seconds, streams=self._streams)

    @property
    def connection_pool(self) -> Any:
        """The pool, for a client of Redis from another package."""
        return self._redis.connection_pool

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()

    def ping(self) -> None:
        """Raise `BusError` unless the bus answers."""
        with translated():
            self._redis.ping()

    def _run_scripts(self, script: str, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run one script once per call, in one round trip; load it first if Redis lacks it."""
        if not calls:
            return []
        sha = _sha(script)
        with translated():
            try:
                return self._run_loaded(sha, calls)
            except redis.exceptions.NoScriptError:
                self._redis.script_load(script)
                return self._run_loaded(sha, calls)

    def _run_loaded(self, sha: str, calls: Sequence[ScriptCall]) -> list[Any]:
        if len(calls) == 1:  # a pipeline costs redis-py twice the CPU time of a command
            [(keys, arguments)] = calls
            return [self._redis.evalsha(sha, len(keys), *keys, *arguments)]
        pipe = self._redis.pipeline(transaction=False)
        for keys, arguments in calls:
            pipe.evalsha(sha, len(keys), *keys, *arguments)
        return list(pipe.execute())
