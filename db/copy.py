"""Text for COPY, staging tables, and times as text: shared by the modules of the tables."""

from __future__ import annotations

import io
from collections.abc import Iterable

from db.migrate import known
from db.postgres import Cursor

# Bytes per read of COPY. psycopg2's default of 8 KB would take the interpreter lock 100 times as
# often.
_COPY_BYTES = 1 << 20
NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def time_text_sql(column: str) -> str:
    """SQL of a `timestamptz` column as text in contract form."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def escaped(text: str) -> str:
    """The text with COPY's special characters escaped."""
    # Two fast checks, for some 100,000 texts of a batch. No tab or end of line is printable.
    return text if text.isprintable() and "\\" not in text else text.translate(_ESCAPES)


def copy_line(*fields: object) -> str:
    r"""One line of COPY's text format: None becomes `\N`. Free text must be `escaped`."""
    return "\t".join([NULL if field is None else str(field) for field in fields]) + "\n"


def copy_rows(cursor: Cursor, table: str, columns: str, lines: bytes | Iterable[str]) -> int:
    """Copy lines into a table; returns their number."""
    data = lines if isinstance(lines, bytes) else "".join(lines).encode()
    cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", io.BytesIO(data), _COPY_BYTES)
    return int(cursor.rowcount)


def temporary(name: str) -> str:
    """Return the name of a temporary table: with the number of the newest migration.

    A session that an older version has left to a pooler may have its table, with an old shape.
    """
    return f"{name}_{known()[-1].partition('.')[0]}"


def stage_rows(cursor: Cursor, table: str, columns: str, lines: bytes | Iterable[str]) -> str:
    """Copy lines into the staging table of `table`; returns its name.

    The staging table is temporary. It is emptied by `empty_staging` and dropped at the end of the
    transaction.
    """
    staging = _staging(table)
    cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {staging} (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DROP")
    copy_rows(cursor, staging, columns, lines)
    return staging


def insert_staged(cursor: Cursor, table: str, columns: str) -> int:
    """Insert the staged rows whose key is not in the table yet; returns their number."""
    staging = _staging(table)
    cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {staging} ON CONFLICT DO NOTHING")  # noqa: S608
    return int(cursor.rowcount)


def empty_staging(cursor: Cursor, table: str) -> None:
    """Delete the staged rows, so that the same transaction can stage others."""
    cursor.execute(f"TRUNCATE {_staging(table)}")


def _staging(table: str) -> str:
    return temporary(f"{table}_staging")
