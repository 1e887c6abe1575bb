"""Who of several processes may act: whoever holds one advisory lock of PostgreSQL, for as long as its connection lives."""

from __future__ import annotations

import psycopg2

from db.postgres import Connection, StoreError, first_line, scalar

_LOCK = "tickwire scheduler"


class Leadership:
    """One candidate. One thread calls it; raises `StoreError` where PostgreSQL is away."""

    def __init__(self, url: str, *, timeout_ms: int = 5000) -> None:
        self._url = url
        self._timeout_ms = timeout_ms
        self._connection: Connection | None = None

    def win(self) -> bool:
        """Whether we lead: we did and our connection still lives, or the lock was free just now."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted)"
                    " OR pg_try_advisory_lock(hashtext(%s))",
                    (_LOCK,),
                )
                return bool(scalar(cursor))
        except psycopg2.Error as error:
            self.resign()
            raise StoreError(first_line(error)) from error

    def resign(self) -> None:
        """Give the lock up, or the attempt to get it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Connection:
        connection = psycopg2.connect(
            self._url,
            connect_timeout=max(2, self._timeout_ms // 1000),
            application_name="tickwire-leadership",
            options=f"-c statement_timeout={self._timeout_ms}",
            # A leader whose machine vanished is let go by the server within a few seconds, and notices it as soon itself.
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
