"""The pool, and `transaction()`: the only place that commits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg2
import psycopg2.extensions

Connection: TypeAlias = psycopg2.extensions.connection
Cursor: TypeAlias = psycopg2.extensions.cursor

# NUMERIC stays PostgreSQL's own text: nothing is made only to be printed again.
_AS_TEXT = psycopg2.extensions.new_type((1700,), "AS_TEXT", lambda value, _cursor: value)


class StoreError(Exception):
    """The store cannot be reached or does not work just now; what was asked may be tried again."""


class RowError(Exception):
    """A row that the store cannot take as it is; trying it again cannot help."""


class Store:
    """PostgreSQL connections, at most `pool_max` at a time; a caller waits for a free one. Safe to share between threads.

    A statement that takes longer than `timeout_ms` is cancelled, and so is the wait for a free connection.
    """

    def __init__(self, url: str, *, pool_max: int = 20, timeout_ms: int = 5000, application: str = "tickwire") -> None:
        self._url = url
        self._timeout_ms = timeout_ms
        self._application = application
        self._free: list[Connection] = []
        self._slots = threading.Semaphore(pool_max)

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """A cursor whose work is committed at the end of the block, or undone with its connection if it raises.

        Raises `StoreError` where PostgreSQL is away, `RowError` where it refuses what it was given; a connection that broke is thrown away.
        """
        if not self._slots.acquire(timeout=self._timeout_ms / 1000):
            raise StoreError("no free database connection in time")
        connection: Connection | None = None
        try:
            connection = self._idle() or self._connect()
            with connection.cursor() as cursor:
                yield cursor
            connection.commit()
            self._free.append(connection)
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            _discard(connection)
            # Idle connections most likely broke with it (a restarted server): none of them is worth a try.
            self.close()
            raise StoreError(first_line(error)) from error
        except psycopg2.DatabaseError as error:
            # A connection that breaks in the midst of an answer is not always an OperationalError to psycopg2.
            broken = connection is not None and connection.closed
            _discard(connection)
            if broken:
                raise StoreError(first_line(error)) from error
            if isinstance(error, psycopg2.DataError | psycopg2.IntegrityError):
                raise RowError(first_line(error)) from error
            raise
        except BaseException:
            _discard(connection)
            raise
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close every idle connection."""
        while (connection := self._idle()) is not None:
            _discard(connection)

    def ping(self) -> None:
        """Raise `StoreError` unless the database answers."""
        with self.transaction() as cursor:
            cursor.execute("SELECT 1")

    def _idle(self) -> Connection | None:
        """One idle connection, or None. Asking first whether there is one would race with other threads."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _connect(self) -> Connection:
        connection = psycopg2.connect(
            self._url,
            connect_timeout=max(2, self._timeout_ms // 1000),
            application_name=self._application,
            options=f"-c timezone=UTC -c statement_timeout={self._timeout_ms}",
            # A server that vanished without a word is noticed within half a minute, not in libpq's eleven.
            keepalives_idle=15,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
        )
        psycopg2.extensions.register_type(_AS_TEXT, connection)
        return connection


def cooperate(wait: Callable[[Any, bool, float | None], None]) -> None:
    """Let `wait(fd, for_writing, timeout)` wait on psycopg2's behalf in this process, so that a slow database does not
    stop an event loop that shares the thread."""

    def wait_for(connection: Connection) -> None:
        while True:
            state = connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            if state not in (psycopg2.extensions.POLL_READ, psycopg2.extensions.POLL_WRITE):
                raise psycopg2.OperationalError(f"unexpected poll state {state}")
            wait(connection.fileno(), state == psycopg2.extensions.POLL_WRITE, None)

    psycopg2.extensions.set_wait_callback(wait_for)


def _discard(connection: Connection | None) -> None:
    if connection is not None and not connection.closed:
        connection.close()


def first_line(error: Exception) -> str:
    """The server's own words, without the hints that follow; libpq never puts a password into them."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
