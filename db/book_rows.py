"""Rows of books in the stream `book_tops`, from the process `books` to the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.book_snapshots import BookSnapshotRow, insert_book_snapshots
from db.book_tops import BookTop, insert_book_tops
from db.inserted import Inserted
from db.postgres import Cursor

BookRow = BookTop | BookSnapshotRow

_KINDS: dict[bytes, type[BookTop] | type[BookSnapshotRow]] = {kind.table.encode(): kind for kind in (BookTop, BookSnapshotRow)}


def entry_fields(row: BookRow) -> dict[str, str | bytes]:
    """The fields of the row's entry: its table, and the encoded row."""
    return {"table": row.table, "row": row.encode()}


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One entry of the stream: one row of either table."""

    id: bytes
    row: BookRow

    @classmethod
    def of(cls, entry_id: bytes, fields: Mapping[bytes, bytes]) -> BookEntry:
        """Build an entry from the fields that Redis returns.

        Raises `ValueError` if a field is missing or cannot be read.
        """
        try:
            return cls(entry_id, _KINDS[fields[b"table"]].parse(fields[b"row"]))
        except KeyError as error:
            raise ValueError(f"a field or a table is missing: {error}") from None


def insert_book_rows(cursor: Cursor, rows: Sequence[BookRow]) -> Inserted:
    """Insert the rows that are not stored yet, each into its table."""
    tops = [row for row in rows if isinstance(row, BookTop)]
    books = [row for row in rows if isinstance(row, BookSnapshotRow)]
    inserted = insert_book_tops(cursor, tops) if tops else Inserted()
    return inserted + insert_book_snapshots(cursor, books) if books else inserted
