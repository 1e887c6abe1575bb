"""Leader election: the leader holds an advisory lock of PostgreSQL while its connection lasts."""

from __future__ import annotations

import psycopg2

from db.postgres import Connection, StoreError, first_line, scalar

OBSERVER, BOOKS = "tickwire observer", "tickwire books"  # names of locks

# True if this session holds the lock of that name. Another lock of the session does not count.
_HELD = """
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
  AND objsubid = 1 AND classid = ((k >> 32) & 4294967295)::oid AND objid = (k & 4294967295)::oid)
  FROM (SELECT hashtext(%s)::bigint AS k) AS key
"""


class Leadership:
    """One candidate for the lock of that name, used by one thread.

    Raises `StoreError` if PostgreSQL cannot be reached.
    """

    def __init__(self, url: str, *, lock: str, timeout_ms: int = 5000) -> None:
        self._url = url
        self._lock = lock
        self._timeout_ms = timeout_ms
        self._connection: Connection | None = None

    def win(self) -> bool:
        """Whether this candidate leads: it keeps the lock, or takes the lock if it is free."""
        try:
            if self._connection is None:
                self._connection = open_session(self._url, self._timeout_ms, "tickwire-leadership")
            with self._connection.cursor() as cursor:
                cursor.execute(_HELD, (self._lock,))
                if not scalar(cursor):
                    cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s))", (self._lock,))
                    return bool(scalar(cursor))
                return True
        except psycopg2.Error as error:
            self.resign()
            raise StoreError(first_line(error)) from error

    def resign(self) -> None:
        """Release the lock, if it is held, and close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def open_session(url: str, timeout_ms: int, application: str) -> Connection:
    """Open a session whose advisory locks end within a few seconds of its process or network.

    Every statement is a transaction of its own. Raises `psycopg2.Error`.
    """
    connection = psycopg2.connect(
        url,
        connect_timeout=max(2, timeout_ms // 1000),
        application_name=application,
        # If the network between both fails, both sides notice within a few seconds: the server
        # releases the locks, and the holder loses its connection.
        keepalives_idle=3,
        keepalives_interval=1,
        keepalives_count=3,
        tcp_user_timeout=6000,
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name, value in (("idle", "3"), ("interval", "1"), ("count", "3")):
            cursor.execute("SELECT set_config(%s, %s, false)", (f"tcp_keepalives_{name}", value))
        # As statements: a pooler in session mode refuses or ignores settings of the startup packet.
        cursor.execute(f"SET tcp_user_timeout = 6000; SET statement_timeout = {timeout_ms}")
    return connection
