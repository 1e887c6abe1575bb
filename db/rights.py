"""Roles of PostgreSQL and their rights on the tables; `migrate` grants them if the roles exist.

The owner migrates, the writer serves the jobs, the reader serves the hub and REST. A server of the
operator's own may have one role for all of them.
"""

from __future__ import annotations

import re

from psycopg2 import sql

from db.postgres import Cursor

OWNER, WRITER, READER = ROLES = ("tickwire_owner", "tickwire_writer", "tickwire_reader")

_ALL_OF_WRITER = ("DELETE", "INSERT", "SELECT", "UPDATE")
_MIGRATIONS = ("_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock")  # tables of yoyo
# table -> rights of the writer, if it has not all of them
WRITER_RIGHTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*_MIGRATIONS, "instruments", "api_keys", "revoked_tokens"), ("SELECT",)),
    "access_log": ("DELETE", "SELECT"),  # old rows
}
# table -> rights of the reader besides SELECT; a right on one column is `UPDATE (column)`
READER_RIGHTS: dict[str, tuple[str, ...]] = {
    "health": ("INSERT", "UPDATE"),
    "api_keys": ("UPDATE (last_used)",),
    "access_log": ("INSERT",),
    "alerts": tuple(f"UPDATE ({name})" for name in ("state", "acknowledged_at", "acknowledged_by", "comment", "updated_at")),
    "instruments": ("UPDATE (tracked)",),
}
_of_column = re.compile(r"UPDATE \((\w+)\)").fullmatch
# The writer may call these; they act with the rights of the owner.
FUNCTIONS = ("make_month(text, text)", "make_day(text, text)", "drop_partition(text)", "keep_days(text, integer)")
# sequence -> rights of the writer; UPDATE is for `setval`
SEQUENCES = {"report_seq": ("USAGE",), "duty_fences": ("USAGE", "UPDATE")}


def grant(cursor: Cursor) -> None:
    """Give the writer and the reader exactly their rights on the tables of the present role.

    Roles that do not exist are skipped. Partitions are reached through their tables.
    """
    cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s) AND rolname <> current_user", ([WRITER, READER],))
    for (role,) in cursor.fetchall():
        wanted = _writer_rights if role == WRITER else _reader_rights
        for table, rights in _rights(cursor, role).items():
            if rights != (expected := wanted(table) - _missing_columns(cursor, table)):
                _replace(cursor, role, table, expected)
        _grant_later_tables(cursor, role, wanted(""))
        if role == WRITER:
            _grant_functions(cursor)
            _grant_sequences(cursor)


def _writer_rights(table: str) -> set[str]:
    return set(WRITER_RIGHTS.get(table, _ALL_OF_WRITER))


def _reader_rights(table: str) -> set[str]:
    return {"SELECT", *READER_RIGHTS.get(table, ())}


def _missing_columns(cursor: Cursor, table: str) -> set[str]:
    """The rights of the reader on columns that the table lacks before its last migration."""
    columns = {right: match[1] for right in READER_RIGHTS.get(table, ()) if (match := _of_column(right))}
    if not columns:
        return set()
    cursor.execute("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped", (table,))
    found = {name for (name,) in cursor.fetchall()}
    return {right for right, column in columns.items() if column not in found}


def _rights(cursor: Cursor, role: str) -> dict[str, set[str]]:
    """table or view of the present role -> rights that `role` has on it."""
    cursor.execute(
        "SELECT relname, coalesce(array_agg(held) FILTER (WHERE held IS NOT NULL), '{}') FROM pg_class c LEFT JOIN LATERAL ("
        "  SELECT privilege_type AS held, grantee FROM aclexplode(relacl)"
        "  UNION ALL SELECT format('%%s (%%I)', privilege_type, attname), grantee FROM pg_attribute, aclexplode(attacl)"
        "  WHERE attrelid = c.oid) acl ON grantee = %s::regrole"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition"
        " AND relowner = current_user::regrole GROUP BY relname",
        (role,),
    )
    return {table: set(held) for table, held in cursor.fetchall()}


def _replace(cursor: Cursor, role: str, table: str, rights: set[str]) -> None:
    statement = sql.SQL("REVOKE ALL ON {table} FROM {role}; GRANT {rights} ON {table} TO {role}")
    words = sql.SQL(", ").join(map(sql.SQL, sorted(rights)))
    cursor.execute(statement.format(table=sql.Identifier(table), role=sql.Identifier(role), rights=words))


def _grant_later_tables(cursor: Cursor, role: str, rights: set[str]) -> None:
    """Give rights on the tables that the present role will create, and on their schema."""
    cursor.execute("SELECT current_schema()")
    ((schema,),) = cursor.fetchall()
    statement = sql.SQL(
        "GRANT USAGE ON SCHEMA {schema} TO {role}; ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {rights} ON TABLES TO {role}"
    )
    words = sql.SQL(", ").join(map(sql.SQL, sorted(rights)))
    cursor.execute(statement.format(schema=sql.Identifier(schema), role=sql.Identifier(role), rights=words))


def _grant_functions(cursor: Cursor) -> None:
    cursor.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE NOT has_function_privilege(%s, to_regprocedure(name), 'EXECUTE')",
        (list(FUNCTIONS), WRITER),
    )
    for (name,) in cursor.fetchall():
        cursor.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(sql.SQL(name), sql.Identifier(WRITER)))


def _grant_sequences(cursor: Cursor) -> None:
    pairs = [(name, right) for name, rights in SEQUENCES.items() for right in rights]
    cursor.execute(
        "SELECT name, held FROM unnest(%s::text[], %s::text[]) AS wanted (name, held)"
        " WHERE to_regclass(name) IS NOT NULL AND NOT has_sequence_privilege(%s, name, held)",
        ([name for name, _ in pairs], [right for _, right in pairs], WRITER),
    )
    for name, right in cursor.fetchall():
        statement = sql.SQL("GRANT {} ON SEQUENCE {} TO {}").format(sql.SQL(right), sql.Identifier(name), sql.Identifier(WRITER))
        cursor.execute(statement)
