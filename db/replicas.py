"""Reads of rows: from a read replica that is close behind, otherwise from the primary."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from db.bounded import bounded, bounded_cursor, connect
from db.measures import Counts
from db.postgres import Connection, Cursor, Store, StoreError, StoreTimeout, first_line, one, scalar
from db.server_facts import address_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between two looks at the lag
_ATTEMPT_SECONDS = 1.0  # of each step of a look
BACK_SECONDS = 1.0  # below this lag reads return to the replica
REPLICA, PRIMARY = "replica", "primary"

# Without a receiver both positions stay equal, although the primary goes on.
_LAG = """CASE
  WHEN NOT pg_is_in_recovery() THEN 0
  WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
  WHEN pg_last_xact_replay_timestamp() IS NULL THEN NULL
  ELSE greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))
END::float8"""
_FACTS = f"""
SELECT pg_is_in_recovery(), {_LAG}, current_setting('hot_standby_feedback')::boolean,
       (SELECT setting::int FROM pg_settings WHERE name = 'max_standby_streaming_delay')
"""  # noqa: S608

Result = TypeVar("Result")
_Result_co = TypeVar("_Result_co", covariant=True)


class Query(Protocol[_Result_co]):
    """Reads rows with a cursor; it may be called a second time, with another one."""

    def __call__(self, cursor: Cursor, /) -> _Result_co: ...


class Replica:
    """The read replicas at one URL: their pool, their lag, and whether reads may use them.

    `lag` is in seconds, that of the replica that is furthest behind; None before the first look,
    and while no replica answers. Above `max_lag_seconds` reads go to the primary, and below
    `BACK_SECONDS` they return.
    """

    def __init__(self, url: str, store: Store, max_lag_seconds: float) -> None:
        self.store = store
        self.lag: float | None = None
        self.usable = False
        self._max_lag = max_lag_seconds
        self._urls = tuple(_each_host(url))
        self._open: dict[str, Connection] = {}  # URL of a host -> connection of the looks
        self._looked = False

    def run(self, stop: threading.Event) -> None:
        """Look every `LOOK_SECONDS` until `stop` is set."""
        while not stop.is_set():
            try:
                self.look()
            except Exception:
                log.exception("the lag of the replica was not read")
                self.leave("its lag was not read")
            stop.wait(LOOK_SECONDS)

    def look(self) -> None:
        """Read the lag, and decide where the next reads go."""
        lags, errors = [], []
        for url in self._urls:
            try:
                lags.append(self._lag_of(url))
            except StoreError as error:
                errors.append(str(error))
        known = [lag for lag in lags if lag is not None]
        self.lag = max(known, default=None) if len(known) == len(lags) else None
        if not lags:
            self.leave(f"no replica answers: {errors[0]}")
            self.store.interrupt()
        elif self.lag is None:
            self.leave("its lag is unknown")
        elif self.lag > self._max_lag:
            self.leave(f"it is {self.lag:.1f} s behind")
        elif not self.usable and self.lag < BACK_SECONDS:
            self.usable = True
            log.info("reads of rows use the replica")
        self._looked = True

    def leave(self, reason: str) -> None:
        """Let reads go to the primary until a look has found the replica close behind."""
        if self.usable or not self._looked:
            log.warning("reads of rows use the primary: the replica is not usable", extra={"reason": reason})
        self.usable = False

    def close(self) -> None:
        """Close the connections of the looks and of the pool."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()
        self.store.close()

    def _lag_of(self, url: str) -> float | None:
        """Return the seconds by which the server at `url` is behind; None if it does not show them.

        Raises `StoreError`.
        """
        end = time.monotonic() + _ATTEMPT_SECONDS
        connection = self._open.pop(url, None) or connect(url, _ATTEMPT_SECONDS, end)
        try:
            cursor = bounded_cursor(connection, end)
            cursor.execute(f"SELECT {_LAG}")
            lag: float | None = scalar(cursor)
        except (psycopg2.Error, TimeoutError) as error:
            connection.close()
            raise StoreError(first_line(error)) from error
        self._open[url] = connection
        return lag


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """Facts about one host of a URL of replicas.

    `lag_seconds` is None if it is unknown, `delay_ms` is `max_standby_streaming_delay`: -1 for no
    limit.
    """

    address: str
    standby: bool
    lag_seconds: float | None
    feedback: bool
    delay_ms: int


def read_replicas(url: str, *, attempt_seconds: float, seconds: float) -> list[ReplicaFacts | str]:
    """Return the facts about each host of the URL, or the reason why they cannot be read."""
    found: list[ReplicaFacts | str] = []
    end = time.monotonic() + seconds
    for each in _each_host(url):
        place = address_of(each)
        address = f"{place.host}:{place.port}"
        try:
            with bounded(each, attempt_seconds=attempt_seconds, seconds=max(0.0, end - time.monotonic())) as cursor:
                cursor.execute(_FACTS)
                found.append(ReplicaFacts(address, *one(cursor)))
        except StoreError as error:
            found.append(f"{address}: {error}")
    return found


def _each_host(url: str) -> Iterator[str]:
    """Yield a URL for each host of a URL of libpq, which may name several ones."""
    parts = parse_dsn(url)
    hosts, ports = parts.get("host", "").split(","), parts.get("port", "").split(",")
    if len(hosts) == 1 or "hostaddr" in parts:
        yield url
        return
    for place, host in enumerate(hosts):
        port = ports[place] if len(ports) == len(hosts) else ports[0]
        alone = {"host": host, "target_session_attrs": "any", "load_balance_hosts": "disable"}
        yield make_dsn(url, **alone, **({"port": port} if port else {}))


class Reads:
    """Reads of rows for requests that change nothing; safe to share between threads."""

    def __init__(self, primary: Store, replica: Replica | None = None) -> None:
        self.replica = replica
        self._primary = primary
        self.counts = Counts((REPLICA,), (PRIMARY,))

    def read(self, query: Query[Result]) -> Result:
        """Return the result of the query, in a transaction of its own.

        A query that the replica cancels in order to replay changes ("conflict with recovery"), or
        that loses the replica, is executed once more, on the primary. Raises what
        `Store.transaction` raises.
        """
        replica = self.replica
        if replica is not None and replica.usable:
            connected = False

            def connected_query(cursor: Cursor) -> Result:
                nonlocal connected
                connected = True
                return query(cursor)

            try:
                return self._from(REPLICA, replica.store, connected_query)
            except StoreTimeout:
                raise  # the primary would take as long
            except StoreError as error:
                if not connected:
                    replica.leave(f"it is away: {error}")
        return self._from(PRIMARY, self._primary, query)

    def _from(self, server: str, store: Store, query: Query[Result]) -> Result:
        with store.transaction() as cursor:
            found = query(cursor)
        self.counts.add(server)
        return found
