"""The stream of rows of books as the writer needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from db import topics
from db.admission import MAX_AHEAD_SECONDS, Windows, check_time, open_windows
from db.book_rows import BookEntry, insert_book_rows
from db.book_snapshots import BookSnapshotRow
from db.book_tops import BookTop
from db.bus import WriterQueue
from db.instruments import all_instruments, calendars_of
from db.postgres import Cursor
from jobs.store.queues import MAX_ENTRIES_PER_TRANSACTION, StoreQueue


class BookQueue(StoreQueue[BookEntry]):
    """The stream `book_tops`: tops and whole books, one row per entry.

    A row of an unknown instrument, or with a time that no live record may have, is not stored.
    """

    channel = topics.BOOK_TOPS
    table = BookTop.table
    other_tables = (BookSnapshotRow.table,)
    most = MAX_ENTRIES_PER_TRANSACTION

    def __init__(self, bus: WriterQueue, clock: Callable[[], datetime], *, max_ahead_seconds: int = MAX_AHEAD_SECONDS) -> None:
        super().__init__(bus)
        self._clock = clock
        self._max_ahead_seconds = max_ahead_seconds

    def id_of(self, entry: BookEntry) -> bytes:
        return entry.id

    def read(self, count: int, wait_ms: int, *, again: bool = False) -> list[BookEntry]:
        return self._bus.read_parsed(
            topics.BOOK_TOPS, BookEntry.of, count, wait_ms, again=again, note_bad=self.note_bad, shards=self.shards
        )

    def size(self, entries: Sequence[BookEntry]) -> int:
        return len(entries)

    def store(self, cursor: Cursor, entries: Sequence[BookEntry]) -> Mapping[str, int]:
        calendars = calendars_of(all_instruments(cursor, disabled=True))
        windows = open_windows("live", calendars, self._clock(), max_ahead_seconds=self._max_ahead_seconds)
        rows = [entry.row for entry in entries if self._admits(entry, windows)]
        tables = {table: [row for row in rows if row.table == table] for table in (self.table, *self.other_tables)}
        return {table: insert_book_rows(cursor, mine).new for table, mine in tables.items() if mine}

    def acknowledge(self, entries: Sequence[BookEntry]) -> None:
        self._bus.acknowledge(topics.BOOK_TOPS, [entry.id for entry in entries])

    def _admits(self, entry: BookEntry, windows: Windows) -> bool:
        try:
            check_time(entry.row.time, windows[entry.row.symbol])
        except ValueError as error:
            self.refuse(entry.id, error)
            return False
        return True
