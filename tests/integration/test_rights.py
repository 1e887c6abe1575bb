"""The roles of the embedded PostgreSQL: what each may do, and data of a version without roles."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
from psycopg2.extensions import connection as Connection

from db import migrate, rights
from db.copy import copy_line, stage_rows
from db.partitions import drop_partition, keep_days, make_months, partitions_before
from db.postgres import Store
from db.rights import OWNER, READER, ROLES, WRITER
from db.timestamps import parse_time
from ops import embedded
from ops.supervisor import Supervisor
from tests.examples.blocks import blocks
from tests.support.servers import superuser_url

# What the reader may do besides reading: the whole list.
READER_WRITES = {("health", "INSERT"), ("health", "UPDATE"), ("access_log", "INSERT")}
# Tables whose rows the writer may only read.
READ_BY_WRITER = {"api_keys", "revoked_tokens", "instruments", "_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock"}
PARTITIONED = ("prices", "raw_trades", "candles")


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database with the three roles."""

    urls: dict[str, str]
    superuser: str

    def execute(self, role: str, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """Execute a statement in a transaction of its own."""
        with connected(self.urls.get(role, self.superuser)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return list(cursor.fetchall()) if cursor.description else []


def connected(url: str) -> contextlib.closing[Connection]:
    return contextlib.closing(psycopg2.connect(url))


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Database]:
    if os.geteuid() == 0:
        folder.chmod(0o711)
    server = embedded.postgres(folder)
    with Supervisor() as supervisor:
        supervisor.start(server)
        yield Database(dict(server.urls), superuser_url(folder, server.url))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with started(tmp_path_factory.mktemp("roles")) as one:
        migrate.apply(one.urls[OWNER])
        one.execute(OWNER, "CREATE TABLE IF NOT EXISTS health (process text PRIMARY KEY, at timestamptz NOT NULL)")
        migrate.apply(one.urls[OWNER])  # grants the rights on it
        one.execute(OWNER, "CREATE TABLE later (number int)")
        yield one


def tables(database: Database) -> list[str]:
    found = database.execute(
        "superuser", "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1"
    )
    return [str(name) for (name,) in found]


def attempt(database: Database, role: str, statement: str) -> str:
    """Return the class of the error, or "" if the statement succeeds; nothing is kept."""
    with connected(database.urls[role]) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("SET TRANSACTION READ WRITE")
            cursor.execute(statement)
        except psycopg2.Error as error:
            return type(error).__name__
        return ""


# no role is more than it needs


@pytest.mark.parametrize("role", ROLES)
def test_role_has_no_attribute_of_an_administrator(database: Database, role: str) -> None:
    [row] = database.execute(
        role, "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    )
    assert row == (False,) * 5


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "COPY instruments FROM PROGRAM 'id'",
        "COPY instruments TO PROGRAM 'cat'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
    ],
    ids=["from-program", "to-program", "read-file", "list-directory"],
)
def test_role_reaches_no_file_and_no_program(database: Database, role: str, statement: str) -> None:
    assert attempt(database, role, statement) == "InsufficientPrivilege"


def test_owner_has_every_object(database: Database) -> None:
    owners = database.execute(
        "superuser", "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    functions = database.execute(
        "superuser", "SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    assert owners == functions == [(OWNER,)]


# the reader


def test_reader_reads_every_table_and_writes_only_the_listed_ones(database: Database) -> None:
    for view in ("price_minutes", "trade_minutes"):
        assert attempt(database, READER, f"TABLE {view}") == ""
    allowed = set()
    for table in tables(database):
        assert attempt(database, READER, f"TABLE {table}") == "", table
        for name, statement in writes(database, table).items():
            error = attempt(database, READER, statement)
            if error == "":
                allowed.add((table, name))
            else:
                assert error == "InsufficientPrivilege", (table, name, error)
    assert allowed == READER_WRITES


def writes(database: Database, table: str) -> dict[str, str]:
    """Return a statement of each kind that changes no row, on every column."""
    found = database.execute(
        "superuser", "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", table
    )
    columns = [str(name) for (name,) in found]
    return {
        "INSERT": f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {table} LIMIT 0",  # noqa: S608
        "UPDATE": f"UPDATE {table} SET {columns[0]} = DEFAULT WHERE false",  # noqa: S608
        "DELETE": f"DELETE FROM {table} WHERE false",  # noqa: S608
        "TRUNCATE": f"TRUNCATE {table}",
        "ALTER": f"ALTER TABLE {table} ADD COLUMN more int",
        "DROP": f"DROP TABLE {table}",
    }


def test_reader_creates_nothing_and_calls_no_function_of_partitions(database: Database) -> None:
    for statement in (
        "CREATE TABLE more (number int)", "CREATE TEMP TABLE more (number int)", "CREATE SCHEMA more", "CREATE VIEW more AS SELECT 1",
        "SELECT make_month('prices', '2025-01')", "SELECT make_day('metrics_system_1s', '2025-01-01')", "SELECT nextval('report_seq')",
        "SELECT drop_partition('prices_2025_01')", "SELECT keep_days('prices', 1)",
    ):  # fmt: skip
        assert attempt(database, READER, statement) == "InsufficientPrivilege", statement


def test_reader_changes_the_last_use_of_a_key_alone(database: Database) -> None:
    assert attempt(database, READER, "UPDATE api_keys SET last_used = now() WHERE false") == ""
    for column in ("scopes", "instruments", "expires", "revoked", "digest", "changed"):
        assert attempt(database, READER, f"UPDATE api_keys SET {column} = {column} WHERE false") == "InsufficientPrivilege"  # noqa: S608


def test_transaction_of_the_reader_is_read_only_unless_it_says_otherwise(database: Database) -> None:
    statement = "INSERT INTO health VALUES ('rest', now())"
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        database.execute(READER, statement)
    database.execute(READER, f"SET TRANSACTION READ WRITE; {statement} ON CONFLICT (process) DO UPDATE SET at = excluded.at")
    assert database.execute(READER, "SELECT process FROM health") == [("rest",)]


# the writer


def test_writer_changes_rows_of_every_table_but_no_table(database: Database) -> None:
    for table in tables(database):
        statements = writes(database, table)
        for name in ("INSERT", "UPDATE", "DELETE"):
            only_deletes = table == "access_log" and name != "DELETE"
            expected = "InsufficientPrivilege" if table in READ_BY_WRITER or only_deletes else ""
            assert attempt(database, WRITER, statements[name]) == expected, (table, name)
        for name in ("TRUNCATE", "ALTER", "DROP"):
            assert attempt(database, WRITER, statements[name]) == "InsufficientPrivilege", (table, name)


def test_writer_creates_and_drops_months(database: Database) -> None:
    with contextlib.closing(Store(database.urls[WRITER])) as store, store.transaction() as cursor:
        for table in PARTITIONED:
            make_months(cursor, table, ["2014-12", "2015-01"])
            make_months(cursor, table, ["2014-12"])
            names = partitions_before(cursor, table, parse_time("2016-01-01").date())
            assert names == [f"{table}_2014_12", f"{table}_2015_01"]
            cursor.execute("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = %s", (names[0],))
            assert cursor.fetchall() == [("FOR VALUES FROM ('2014-12-01 00:00:00+00') TO ('2015-01-01 00:00:00+00')",)]
            for name in names:
                drop_partition(cursor, name)
            assert partitions_before(cursor, table, parse_time("2016-01-01").date()) == []
            keep_days(cursor, table, 30)


@pytest.mark.parametrize(
    "call",
    [
        "make_month('instruments', '2025-01')", "make_month('prices', '2025-13')", "make_month('prices', '2025-01; DROP TABLE prices')",
        "drop_partition('instruments')", "drop_partition('prices')", "drop_partition('pg_class')", "drop_partition('no_such_table')",
        "make_day('prices', '2025-01-01')",
    ],
)  # fmt: skip
def test_functions_of_partitions_accept_months_alone(database: Database, call: str) -> None:
    assert attempt(database, WRITER, f"SELECT {call}") == "RaiseException"


def test_functions_of_partitions_ignore_objects_of_the_caller(database: Database) -> None:
    """A temporary table in place of `prices` deceives none of them."""
    script = "CREATE TEMP TABLE prices (time timestamptz) PARTITION BY RANGE (time); SELECT make_month('prices', '2013-01')"
    database.execute(WRITER, script)
    found = database.execute("superuser", "SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = 'prices_2013_01'::regclass")
    assert found == [("prices",)]
    assert database.execute("superuser", "SELECT proconfig FROM pg_proc WHERE prosecdef AND proname = 'make_month'") == [
        (["search_path=public, pg_temp"],)
    ]


def test_writer_stages_rows_in_a_temporary_table(database: Database) -> None:
    with contextlib.closing(Store(database.urls[WRITER])) as store, store.transaction() as cursor:
        staging = stage_rows(cursor, "candle_marks", "symbol, minute", [copy_line("EUR_USD", "2025-01-01T00:00:00Z")])
        cursor.execute(f"SELECT symbol FROM {staging}")  # noqa: S608
        assert cursor.fetchall() == [("EUR_USD",)]


# grants


def test_migration_repairs_rights_and_changes_correct_ones_not(database: Database) -> None:
    held = (
        "SELECT array_agg((relname, relacl::text, c.xmin::text) ORDER BY relname)::text"
        " FROM pg_class c WHERE relnamespace = 'public'::regnamespace"
    )
    before = database.execute("superuser", held)
    migrate.apply(database.urls[OWNER])
    assert database.execute("superuser", held) == before
    database.execute(
        OWNER, f"GRANT DELETE ON prices TO {READER}; GRANT UPDATE (name) ON instruments TO {READER}; REVOKE INSERT ON gaps FROM {WRITER}"
    )
    migrate.apply(database.urls[OWNER])
    assert attempt(database, READER, "DELETE FROM prices WHERE false") == "InsufficientPrivilege"
    assert attempt(database, READER, "UPDATE instruments SET name = name WHERE false") == "InsufficientPrivilege"
    assert attempt(database, WRITER, writes(database, "gaps")["INSERT"]) == ""


def test_later_table_has_the_general_rights_at_once(database: Database) -> None:
    assert attempt(database, READER, "SELECT * FROM later") == ""
    assert attempt(database, READER, "DELETE FROM later") == "InsufficientPrivilege"
    assert attempt(database, WRITER, "INSERT INTO later VALUES (1)") == ""


def test_server_without_the_roles_is_migrated_by_one_role(database: Database) -> None:
    """The roles of another cluster are missing: here, of a database that another role owns."""
    database.execute("superuser", "CREATE ROLE single LOGIN PASSWORD 'single'")
    with connected(database.superuser) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE single OWNER single")
    url = database.superuser.split("//")[0] + "//single:single@" + database.superuser.split("@")[1].replace("/tickwire", "/single")
    assert "0011.partition-functions" in migrate.apply(url)
    with contextlib.closing(Store(url)) as store, store.transaction() as cursor:
        make_months(cursor, "prices", ["2025-01"])
        drop_partition(cursor, "prices_2025_01")


def test_sql_of_the_documents_gives_the_same_roles(tmp_path: Path) -> None:
    [block] = [each for each in blocks("sql") if "tickwire_owner" in each.text]
    with started(tmp_path) as one, connected(one.superuser.removesuffix("tickwire") + "postgres") as connection:
        connection.autocommit = True
        gone = ("DROP DATABASE tickwire", *(f"DROP ROLE {role}" for role in ROLES))
        for statement in (*gone, *filter(None, map(str.strip, block.text.split(";")))):
            connection.cursor().execute(statement)
        server = one.superuser.split("@")[1]
        words = dict(re.findall(r"CREATE ROLE (\w+) LOGIN PASSWORD '(\w+)'", block.text))
        own = Database({role: f"postgresql://{role}:{words[role]}@{server}" for role in ROLES}, one.superuser)
        migrate.apply(own.urls[OWNER])
        assert attempt(own, READER, "TABLE prices") == attempt(own, WRITER, "DELETE FROM prices") == ""
        assert attempt(own, WRITER, "CREATE TEMP TABLE more (number int); SELECT make_month('prices', '2025-01')") == ""
        for role, statement in (
            (READER, "DELETE FROM prices"),
            (READER, "CREATE TEMP TABLE more (number int)"),
            (WRITER, "DROP TABLE prices"),
        ):
            assert attempt(own, role, statement) == "InsufficientPrivilege"
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            own.execute(READER, "DELETE FROM prices")


# data of a version without roles


def test_data_of_one_superuser_start_and_keep_their_rows(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        migrate.apply(one.superuser)  # all objects belong to the superuser, as before
        one.execute("superuser", "SELECT make_month('prices', '2025-01')")
        one.execute("superuser", "INSERT INTO candle_marks VALUES ('EUR_USD', '2025-01-01T00:00:00Z')")
        one.execute(
            "superuser", "CREATE TYPE mood AS ENUM ('calm'); CREATE SEQUENCE numbers; CREATE SCHEMA own CREATE TABLE kept (serial serial)"
        )
        one.execute(
            "superuser", "DROP OWNED BY tickwire_owner, tickwire_writer, tickwire_reader; ALTER DATABASE tickwire OWNER TO tickwire"
        )
        one.execute("superuser", "DROP ROLE tickwire_owner, tickwire_writer, tickwire_reader")
    for file in tmp_path.glob("postgres.*.password"):
        file.unlink()
    with started(tmp_path) as one:
        assert migrate.apply(one.urls[OWNER]) == []
        rows = one.execute(READER, "SELECT symbol FROM candle_marks")
        assert rows == [("EUR_USD",)]
        owned = (
            "SELECT count(*) FROM pg_class WHERE relowner = 'tickwire'::regrole AND relnamespace::regnamespace::text IN ('public', 'own')",
            "SELECT count(*) FROM pg_proc WHERE proowner = 'tickwire'::regrole AND pronamespace = 'public'::regnamespace",
            "SELECT count(*) FROM pg_type WHERE typowner = 'tickwire'::regrole AND typnamespace = 'public'::regnamespace",
            "SELECT count(*) FROM pg_namespace WHERE nspowner = 'tickwire'::regrole AND nspname = 'own'",
        )
        assert [one.execute("superuser", statement) for statement in owned] == [[(0,)]] * len(owned)
        with contextlib.closing(Store(one.urls[WRITER])) as store, store.transaction() as cursor:
            drop_partition(cursor, "prices_2025_01")
        log = (tmp_path / "logs" / "postgres.log").read_text()
        assert not any(file.read_text() in log for file in tmp_path.glob("*.password"))


def test_reader_s_rights_are_those_of_the_table() -> None:
    assert {(table, right) for table, held in rights.READER_RIGHTS.items() for right in held} == READER_WRITES | {
        ("api_keys", "UPDATE (last_used)"), ("instruments", "UPDATE (tracked)"),
        ("alerts", "UPDATE (state)"), ("alerts", "UPDATE (acknowledged_at)"), ("alerts", "UPDATE (acknowledged_by)"),
        ("alerts", "UPDATE (comment)"), ("alerts", "UPDATE (updated_at)"),
    }  # fmt: skip
