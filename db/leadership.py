"""Leader election: the leader holds an advisory lock of PostgreSQL while its connection lasts."""

from __future__ import annotations

import psycopg2

from db.postgres import Connection, StoreError, first_line, scalar

SCHEDULER, OBSERVER, BOOKS = "tickwire scheduler", "tickwire observer", "tickwire books"  # names of locks


class Leadership:
    """One candidate for the lock of that name, used by one thread.

    Raises `StoreError` if PostgreSQL cannot be reached.
    """

    def __init__(self, url: str, *, timeout_ms: int = 5000, lock: str = SCHEDULER) -> None:
        self._url = url
        self._lock = lock
        self._timeout_ms = timeout_ms
        self._connection: Connection | None = None

    def win(self) -> bool:
        """Whether this candidate leads: it keeps the lock, or takes the lock if it is free."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted)"
                    " OR pg_try_advisory_lock(hashtext(%s))",
                    (self._lock,),
                )
                return bool(scalar(cursor))
        except psycopg2.Error as error:
            self.resign()
            raise StoreError(first_line(error)) from error

    def resign(self) -> None:
        """Release the lock, if it is held, and close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Connection:
        connection = psycopg2.connect(
            self._url,
            connect_timeout=max(2, self._timeout_ms // 1000),
            application_name="tickwire-leadership",
            options=f"-c statement_timeout={self._timeout_ms}",
            # If the network between both fails, both sides notice within a few seconds: the server
            # releases the lock, and the leader loses its connection.
            keepalives_idle=3,
            keepalives_interval=1,
            keepalives_count=3,
            tcp_user_timeout=6000,
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name, value in (("idle", "3"), ("interval", "1"), ("count", "3")):
                cursor.execute("SELECT set_config(%s, %s, false)", (f"tcp_keepalives_{name}", value))
            cursor.execute("SET tcp_user_timeout = 6000")
        return connection
