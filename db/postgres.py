"""The connection pool and `transaction()`, the only place that commits."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any, Literal, TypeAlias

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from db.pool_measures import REFUSED, TIMEOUT, UNAVAILABLE, PoolMeasures

Connection: TypeAlias = psycopg2.extensions.connection
Cursor: TypeAlias = psycopg2.extensions.cursor
Pooler: TypeAlias = Literal["none", "session", "transaction"]

# NUMERIC stays the text of PostgreSQL: no Decimal is built only to be printed again.
_AS_TEXT = psycopg2.extensions.new_type((1700,), "AS_TEXT", lambda value, _cursor: value)


# A server in read-only mode, or a standby, takes rows again later; a new connection is needed then.
_OUTAGES = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.errors.ReadOnlySqlTransaction)


class StoreError(Exception):
    """The store cannot be reached or does not work at the moment. The call may be repeated."""


class StoreTimeout(StoreError):
    """A statement, or the wait for a connection, took longer than the limit."""


class RowError(Exception):
    """The store rejects a row. A repeat cannot succeed."""


class Store:
    """A pool of at most `pool_max` PostgreSQL connections, safe to share between threads.

    A caller waits for a free connection. A statement, or such a wait, that takes longer than
    `timeout_ms` is cancelled. `measures` count the use of the pool.

    `pooler` is the mode of a pooler before the database. Each session, or each transaction, then
    sets its settings by itself: a pooler refuses or ignores those of the startup packet.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_max: int = 20,
        timeout_ms: int = 5000,
        application: str = "tickwire",
        measures: PoolMeasures | None = None,
        pooler: Pooler = "none",
    ) -> None:
        self._url = url
        self._pooler = pooler
        self._timeout_ms = timeout_ms
        self._application = application
        self._free: list[Connection] = []
        self._used: set[Connection] = set()
        self._ending = threading.Lock()
        self._slots = threading.Semaphore(pool_max)
        self.measures = measures or PoolMeasures()
        self.measures.add_pool(pool_max)

    def with_limits(self, *, pool_max: int, timeout_ms: int) -> Store:
        """The same database on a pool of its own, with other limits and the same measures."""
        return Store(
            self._url,
            pool_max=pool_max,
            timeout_ms=timeout_ms,
            application=self._application,
            measures=self.measures,
            pooler=self._pooler,
        )

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """A cursor whose work is committed after the block, or rolled back if the block raises.

        Raises `StoreError` if PostgreSQL cannot be reached, `RowError` if it rejects the data.
        A connection whose block raised is closed.
        """
        begun = perf_counter()
        acquired = self._slots.acquire(timeout=self._timeout_ms / 1000)
        self.measures.waits.observe(perf_counter() - begun)
        if not acquired:
            self.measures.errors.add(TIMEOUT)
            raise StoreTimeout("no free database connection in time")
        with self.measures.transaction():
            yield from self._transaction()

    def _transaction(self) -> Iterator[Cursor]:
        """The block of `transaction`, with a slot of the pool."""
        connection: Connection | None = None
        try:
            connection = self._idle() or self._connect()
            self._used.add(connection)
            with connection.cursor() as cursor:
                if self._pooler == "transaction":
                    cursor.execute(_settings("LOCAL", self._timeout_ms))
                yield cursor
            connection.commit()
            self._used.discard(connection)
            self._free.append(connection)
        except _OUTAGES as error:
            late = isinstance(error, psycopg2.errors.QueryCanceled)
            self.measures.errors.add(TIMEOUT if late else UNAVAILABLE)
            self._discard(connection)
            # The idle connections are probably broken too (a restarted server): close them all.
            self.close()
            raise (StoreTimeout if late else StoreError)(first_line(error)) from error
        except psycopg2.DatabaseError as error:
            # If a connection breaks during an answer, psycopg2 may raise another DatabaseError.
            broken = connection is not None and connection.closed
            self.measures.errors.add(UNAVAILABLE if broken else REFUSED)
            self._discard(connection)
            if broken:
                raise StoreError(first_line(error)) from error
            if isinstance(error, psycopg2.DataError | psycopg2.IntegrityError):
                raise RowError(first_line(error)) from error
            raise
        except BaseException:
            self._discard(connection)
            raise
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close every idle connection."""
        while (connection := self._idle()) is not None:
            connection.close()

    def interrupt(self) -> None:
        """End the transactions in progress, because their server gives no answer.

        They raise `StoreError`.
        """
        with self._ending:
            for connection in list(self._used):
                with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(connection.fileno())) as held:
                    held.shutdown(socket.SHUT_RDWR)

    def _discard(self, connection: Connection | None) -> None:
        """Close a connection whose transaction has failed."""
        if connection is not None:
            with self._ending:  # no other connection may have its descriptor while `interrupt` uses it
                self._used.discard(connection)
                connection.close()

    def ping(self) -> None:
        """Raise `StoreError` unless the database answers."""
        with self.transaction() as cursor:
            cursor.execute("SELECT 1")

    def _idle(self) -> Connection | None:
        """One idle connection, or None. A check before `pop` would race with other threads."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _connect(self) -> Connection:
        connection = psycopg2.connect(
            self._url,
            connect_timeout=max(2, self._timeout_ms // 1000),
            application_name=self._application,
            options=session_options(self._timeout_ms) if self._pooler == "none" else "",
            # A server that vanished silently is noticed within 30 s, instead of libpq's 11 minutes.
            keepalives_idle=15,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
        )
        psycopg2.extensions.register_type(_AS_TEXT, connection)
        if self._pooler == "session":
            with connection.cursor() as cursor:
                cursor.execute(_settings("SESSION", self._timeout_ms))
            connection.commit()
        return connection


def session_options(timeout_ms: int) -> str:
    """Return the settings of every session of a store, as a connection sends them."""
    return f"-c timezone=UTC -c statement_timeout={timeout_ms}"


def _settings(scope: Literal["LOCAL", "SESSION"], timeout_ms: int) -> str:
    """Return the statements for the same settings."""
    return f"SET {scope} statement_timeout = {timeout_ms}; SET {scope} timezone = 'UTC'"


def cooperate(wait: Callable[[Any, bool, float | None], None], seconds: float) -> None:
    """Make psycopg2 call `wait(fd, for_writing, timeout)` for every wait in this process.

    A slow database then does not stop an event loop that shares the thread. A server that sends
    nothing for `seconds` is lost: choose more than `statement_timeout`, after which it sends an
    error. libpq has no such limit, and none for connecting with a wait callback.
    """

    def wait_for(connection: Connection) -> None:
        while True:
            state = connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            if state not in (psycopg2.extensions.POLL_READ, psycopg2.extensions.POLL_WRITE):
                raise psycopg2.OperationalError(f"unexpected poll state {state}")
            try:
                wait(connection.fileno(), state == psycopg2.extensions.POLL_WRITE, seconds)
            except TimeoutError:
                raise psycopg2.OperationalError(f"no answer of the server within {seconds:g} s") from None

    psycopg2.extensions.set_wait_callback(wait_for)


def one(cursor: Cursor) -> tuple[Any, ...]:
    """The row of a statement that always returns one."""
    row = cursor.fetchone()
    if row is None:
        raise LookupError("the statement returned no row")
    return row


def scalar(cursor: Cursor) -> Any:
    """The only column of a statement that always returns one row."""
    return one(cursor)[0]


def first_line(error: Exception) -> str:
    """The first line of the server's message, without hints. libpq puts no password into it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
