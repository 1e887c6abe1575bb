"""Poolers before PostgreSQL: a probe for transaction mode, and the refusal of our sessions."""

from __future__ import annotations

import secrets
import time
from contextlib import closing

import psycopg2

from db.bounded import LoginRefused, Unreached, bounded_cursor, connect
from db.postgres import Cursor, StoreError, first_line, scalar, session_options

_READS = 3  # of each connection of the probe, by turns


def shares_sessions(url: str, *, attempt_seconds: float, seconds: float) -> bool:
    """Return True if a setting of a session does not stay on its connection.

    A pooler in transaction mode gives both connections the same sessions by turns. Raises
    `StoreError`.
    """
    end = time.monotonic() + seconds
    with closing(connect(url, attempt_seconds, end)) as first, closing(connect(url, attempt_seconds, end)) as second:
        cursors = {secrets.token_hex(8): bounded_cursor(connection, end) for connection in (first, second)}
        try:
            for token, cursor in cursors.items():
                cursor.execute("SELECT set_config('tickwire.probe', %s, false)", (token,))
            found = [(token, _probe(cursor)) for _ in range(_READS) for token, cursor in cursors.items()]
            for cursor in cursors.values():
                cursor.execute("SELECT set_config('tickwire.probe', '', false)")
        except TimeoutError:
            raise Unreached(f"no answer within {seconds:g} s") from None
        except psycopg2.Error as error:
            raise StoreError(first_line(error)) from error
    return any(token != read for token, read in found)


def refusal(url: str, *, timeout_ms: int, attempt_seconds: float, seconds: float) -> str | None:
    """Return the text with which a pooler refuses the sessions of our processes, or None.

    Raises `Unreached`.
    """
    try:
        connect(url, attempt_seconds, time.monotonic() + seconds, options=session_options(timeout_ms)).close()
    except LoginRefused as error:
        return str(error)
    return None


def _probe(cursor: Cursor) -> str | None:
    cursor.execute("SELECT current_setting('tickwire.probe', true)")
    found: str | None = scalar(cursor)
    return found
