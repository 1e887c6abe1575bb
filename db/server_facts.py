"""Facts about a PostgreSQL server, read at a start on one connection and bounded in time."""

from __future__ import annotations

import re
import select
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
import psycopg2.extensions as extensions

from db.postgres import Connection, StoreError, first_line

_OLD_SECONDS = 0.5  # for the rights on a server that is too old in any case
FIRST_VERSION = 140_000  # the oldest server that works, as `server_version_num` writes it
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

_OUR_TABLES = ("_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock", "instruments", "prices", "raw_trades", "candles")
_FACTS = """
SELECT pg_is_in_recovery(),
       (SELECT sender_host || ':' || sender_port FROM pg_stat_wal_receiver),
       (SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'public'),
       coalesce((SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE')
                 FROM pg_namespace WHERE nspname = 'public'), false),
       has_database_privilege(current_database(), 'TEMPORARY'),
       (SELECT min(relowner::regrole::text) FROM pg_class
        WHERE relnamespace = to_regnamespace('public') AND relname = ANY (%s) AND NOT pg_has_role(relowner, 'USAGE'))
"""


class Unreached(StoreError):
    """The server gives no answer, or takes no connections at the moment."""


class LoginRefused(StoreError):
    """The server, or a setting, refuses the connection. `kind` is one of the words above, or ""."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Address:
    """The place of a database in words: `host` may be a directory, or several names."""

    host: str
    port: str
    role: str
    database: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Facts about a server and the rights of our role; `rights` is None if they are unknown."""

    version: str
    version_number: int
    encoding: str
    rights: Rights | None


@dataclass(frozen=True, slots=True)
class Rights:
    """The state of the server and the rights of our role.

    `primary` is `host:port` if a standby shows it. `schema_owner` is the owner of the schema
    `public`, None without that schema. `foreign_owner` owns tables of ours that our role cannot
    change. Names of roles are quoted for SQL.
    """

    standby: bool
    primary: str | None
    schema_owner: str | None
    creates: bool
    temporary: bool
    foreign_owner: str | None


def address_of(url: str) -> Address:
    """Return the place that libpq finds in a URL."""
    try:
        parts = extensions.parse_dsn(url)
    except psycopg2.ProgrammingError:
        parts = {}
    role = parts.get("user", "?")
    return Address(parts.get("host", "localhost"), parts.get("port", "5432"), role, parts.get("dbname", role))


def read_facts(url: str, *, attempt_seconds: float, seconds: float) -> ServerFacts:
    """Connect within `attempt_seconds` and read the facts within `seconds` in all.

    A first attempt that has no answer in time is repeated once. Raises `Unreached` or
    `LoginRefused`.
    """
    end = time.monotonic() + seconds
    try:
        connection = _connect(url, attempt_seconds)
    except TimeoutError:
        try:
            connection = _connect(url, min(attempt_seconds, end - time.monotonic()))
        except TimeoutError:
            raise Unreached(f"no answer within {attempt_seconds:g} s") from None
    with closing(connection):
        facts = ServerFacts(
            connection.get_parameter_status("server_version") or "?",
            connection.server_version,
            connection.get_parameter_status("server_encoding") or "?",
            None,
        )
        if facts.version_number < FIRST_VERSION:
            end = min(end, time.monotonic() + _OLD_SECONDS)
        try:
            return replace(facts, rights=_read_rights(connection, end))
        except (psycopg2.Error, TimeoutError) as error:
            if facts.version_number < FIRST_VERSION:
                return facts  # the version alone is an error
            raise Unreached(first_line(error)) from error


def _connect(url: str, seconds: float) -> Connection:
    """Return an open asynchronous connection. Raises `TimeoutError`, or an error of this module."""
    try:
        connection: Connection = psycopg2.connect(url, application_name="tickwire-check", async_=True)
    except (psycopg2.Error, UnicodeDecodeError) as error:  # a server may write in another encoding
        raise _failure(error) from error
    try:
        _wait(connection, time.monotonic() + seconds)
    except TimeoutError:
        connection.close()
        raise
    except (psycopg2.Error, UnicodeDecodeError) as error:
        connection.close()
        raise _failure(error) from error
    return connection


def _read_rights(connection: Connection, end: float) -> Rights:
    with closing(connection.cursor()) as cursor:
        cursor.execute(_FACTS, (list(_OUR_TABLES),))
        _wait(connection, end)
        ((standby, primary, schema_owner, creates, temporary, foreign_owner),) = cursor.fetchall()
    return Rights(standby, primary, schema_owner, creates, temporary, foreign_owner)


def _wait(connection: Any, end: float) -> None:
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
