"""Facts about a PostgreSQL server, read at a start on one connection and bounded in time."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace

import psycopg2
import psycopg2.extensions as extensions

from db.bounded import Unreached, connect, wait
from db.postgres import Connection, first_line

_OLD_SECONDS = 0.5  # for the rights on a server that is too old in any case
FIRST_VERSION = 140_000  # the oldest server that works, as `server_version_num` writes it
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


@dataclass(frozen=True, slots=True)
class Address:
    """The place of a database in words: `host` may be a directory, or several names."""

    host: str
    port: str
    role: str
    database: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Facts about a server and the rights of our role; `rights` is None if they are unknown.

    `shares_sessions` is True if a pooler in transaction mode is before it; False unless examined.
    """

    version: str
    version_number: int
    encoding: str
    rights: Rights | None
    shares_sessions: bool = False


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
    connection = connect(url, attempt_seconds, end)
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


def _read_rights(connection: Connection, end: float) -> Rights:
    with closing(connection.cursor()) as cursor:
        cursor.execute(_FACTS, (list(_OUR_TABLES),))
        wait(connection, end)
        ((standby, primary, schema_owner, creates, temporary, foreign_owner),) = cursor.fetchall()
    return Rights(standby, primary, schema_owner, creates, temporary, foreign_owner)
