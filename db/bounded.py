"""Short connections to PostgreSQL for checks: without a pool, and bounded in time."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions as extensions

from db.postgres import Connection, Cursor, StoreError, first_line

ROLE_MISSING, PASSWORD, DATABASE_MISSING, NO_CONNECT, NO_LOGIN, NO_ENTRY = (
    "role missing", "password", "database missing", "no connect", "no login", "no entry",
)  # fmt: skip

# libpq puts the place before its texts, and the severity and two blanks before those of a server.
_PLACE = re.compile(r"^connection to server (?:at|on) .*? failed: ")
_OF_SERVER = re.compile(r"^\w+:  (.*)")
# Texts of a server that will take connections later.
_PASSING = re.compile(
    r"the database system is |too many clients|remaining connection slots|too many connections|terminating connection|canceling"
)
_REFUSALS = {
    ROLE_MISSING: re.compile(r'role ".*" does not exist'),
    PASSWORD: re.compile(r"(?:password|SASL|SCRAM|Peer|Ident) authentication failed|no password supplied|empty password"),
    DATABASE_MISSING: re.compile(r'database ".*" does not exist'),
    NO_CONNECT: re.compile(r'permission denied for database ".*"'),
    NO_LOGIN: re.compile(r'role ".*" is not permitted to log in'),
    NO_ENTRY: re.compile(r"no pg_hba\.conf entry|pg_hba\.conf rejects"),
}
# Texts of libpq, not of a server, that another address or setting alone can change.
_OF_SETTINGS = re.compile(r"no password supplied|server does not support SSL|certificate|invalid .* value")


class Unreached(StoreError):
    """The server gives no answer, or takes no connections at the moment."""


class LoginRefused(StoreError):
    """The server, or a setting, refuses the connection. `kind` is one of the words above, or ""."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


@contextmanager
def bounded(url: str, *, attempt_seconds: float, seconds: float) -> Iterator[Cursor]:
    """Yield a cursor on a connection of its own, whose work ends in `seconds`.

    Each statement is a transaction of its own. Raises `Unreached` or `LoginRefused`, and for a
    statement that fails `StoreError`.
    """
    end = time.monotonic() + seconds
    with closing(connect(url, attempt_seconds, end)) as connection:
        try:
            yield bounded_cursor(connection, end)
        except TimeoutError:
            raise Unreached(f"no answer within {seconds:g} s") from None
        except psycopg2.Error as error:
            raise StoreError(first_line(error)) from error


def connect(url: str, attempt_seconds: float, end: float, *, options: str = "") -> Connection:
    """Return an open asynchronous connection; `options` are settings of its session.

    A first attempt that has no answer in time is repeated once. Raises `Unreached` or
    `LoginRefused`.
    """
    try:
        return _connect(url, attempt_seconds, options)
    except TimeoutError:
        pass
    try:
        return _connect(url, min(attempt_seconds, end - time.monotonic()), options)
    except TimeoutError:
        raise Unreached(f"no answer within {attempt_seconds:g} s") from None


def bounded_cursor(connection: Connection, end: float) -> Cursor:
    """Return a cursor of an asynchronous connection that waits for each answer, at most to `end`.

    Its `execute` raises `TimeoutError`.
    """

    class Bounded(extensions.cursor):
        def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002  # the name in psycopg2
            super().execute(query, vars)
            wait(connection, end)

    return connection.cursor(cursor_factory=Bounded)


def _connect(url: str, seconds: float, options: str) -> Connection:
    """Return an open asynchronous connection. Raises `TimeoutError`, or an error of this module."""
    more: dict[str, Any] = {"options": options} if options else {}
    try:
        connection: Connection = psycopg2.connect(url, application_name="tickwire-check", async_=True, **more)
    except (psycopg2.Error, UnicodeDecodeError) as error:  # a server may write in another encoding
        raise _failure(error) from error
    try:
        wait(connection, time.monotonic() + seconds)
    except TimeoutError:
        connection.close()
        raise
    except (psycopg2.Error, UnicodeDecodeError) as error:
        connection.close()
        raise _failure(error) from error
    return connection


def wait(connection: Any, end: float) -> None:
    """Wait until the connection has an answer. Raises `TimeoutError` at `end`."""
    while (state := connection.poll()) != extensions.POLL_OK:
        waiting = ([connection.fileno()], []) if state == extensions.POLL_READ else ([], [connection.fileno()])
        left = end - time.monotonic()
        if left <= 0 or not any(select.select(*waiting, [], left)):
            raise TimeoutError("no answer in time")


def _failure(error: Exception) -> StoreError:
    """Return the failure of an attempt: refused for good, or without an answer for now.

    A connection that fails has no SQLSTATE, so its text decides. If a server writes in another
    language, its refusals have no kind.
    """
    texts = [_PLACE.sub("", line.strip()) for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = [match[1] for text in texts if (match := _OF_SERVER.match(text))]
    text = (said or texts)[0]
    kind = next((kind for kind, pattern in _REFUSALS.items() if pattern.search(text)), "")
    passing = bool(said) and bool(_PASSING.search(text))
    refused = not isinstance(error, psycopg2.OperationalError) or (said and not passing) or _OF_SETTINGS.search(text)
    return LoginRefused(text, kind) if kind or refused else Unreached(text)
