"""Rows of gaps of live books: departures that end with a new snapshot, and no others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from db.book_gaps import BookGap, save_book_gap
from db.postgres import Store, StoreError
from jobs.books.book import Book
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.live.gap_rows import SOURCE, GapRows
from jobs.books.live.live_line import LiveLine
from jobs.books.machine import BookMachine
from jobs.books.parts.states import Reason, State, StateChange
from jobs.books.parts.transitions import MachineOptions
from jobs.books.sequence import RULES
from jobs.books.tops import Tops
from tests.support.store import select

START = datetime(2026, 1, 1, tzinfo=UTC)


class Changes:
    """A book whose changes are made by hand, one a second."""

    def __init__(self, store: Store, symbol: str = "BTCUSDT", *, market: str = "spot") -> None:
        self.now = START
        self.rows = GapRows(store, lambda: self.now, is_spot=market == "spot")
        machine = BookMachine(RULES[market], MachineOptions(), lambda: 1.0, 0.0)
        line = LiveLine(10, monotonic=lambda: 0.0, wake=lambda: None)
        self.book = KeptBook(symbol, machine, line, Tops(symbol), START, 0.0)

    def make(self, *states: State, reason: Reason, ids: tuple[int, int] | None = None) -> Changes:
        """Go through the states with one reason."""
        previous = self.book.machine.state
        for state in states:
            self.now += timedelta(seconds=1)
            self.rows.note(self.book, StateChange(state, previous, reason, 5, *(ids or (None, None))))
            previous = self.book.machine.state = state
        return self

    def new_snapshot(self) -> Changes:
        self.book.machine.book = Book()
        return self

    def live(self) -> Changes:
        return self.make(State.LIVE, reason=Reason.START)


def stored(store: Store) -> list[Any]:
    return select(store, "SELECT symbol, reason, state, first_id, last_id, missing, start_time, end_time FROM gaps ORDER BY id")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_missing_update_is_open_until_the_return(store: Store) -> None:
    changes = Changes(store).live().make(State.GAP, State.RESYNCING, reason=Reason.MISSING_UPDATE, ids=(101, 111))
    assert changes.rows.write_waiting()
    [row] = stored(store)
    assert row[:7] == ("BTCUSDT", "missing_update", "open", 101, 110, 10, at(2))
    changes.new_snapshot().make(State.LIVE, reason=Reason.MISSING_UPDATE)
    assert changes.rows.write_waiting()
    assert stored(store) == [("BTCUSDT", "missing_update", "filled", 101, 110, 10, at(2), at(4))]


def test_missing_ids_of_futures_are_those_after_the_own_one(store: Store) -> None:
    changes = Changes(store, market="usdm").live().make(State.GAP, reason=Reason.MISSING_UPDATE, ids=(100, 110))
    assert changes.rows.write_waiting()
    assert [row[3:6] for row in stored(store)] == [(101, 110, 10)]


def test_silence_and_thin_without_a_snapshot_leave_no_row(store: Store) -> None:
    changes = Changes(store).live()
    changes.make(State.STALE, State.LIVE, reason=Reason.SILENT).make(State.RESYNCING, State.LIVE, reason=Reason.THIN)
    assert changes.rows.write_waiting()
    assert stored(store) == []


def test_silent_book_that_runs_thin_and_needs_no_snapshot_leaves_no_row(store: Store) -> None:
    changes = Changes(store).live().make(State.STALE, State.RESYNCING, reason=Reason.SILENT)
    assert changes.rows.write_waiting()
    assert [row[:3] for row in stored(store)] == [("BTCUSDT", "silent", "open")]
    changes.make(State.LIVE, reason=Reason.SILENT)
    assert changes.rows.write_waiting()
    assert stored(store) == []


def test_lost_connection_and_thin_with_a_snapshot_leave_a_row(store: Store) -> None:
    changes = Changes(store).live().make(State.STALE, State.RESYNCING, reason=Reason.DISCONNECTED)
    changes.new_snapshot().make(State.LIVE, reason=Reason.DISCONNECTED)
    changes.make(State.RESYNCING, reason=Reason.THIN).new_snapshot().make(State.LIVE, reason=Reason.THIN)
    assert changes.rows.write_waiting()
    assert stored(store) == [
        ("BTCUSDT", "disconnected", "filled", None, None, 0, at(2), at(4)),
        ("BTCUSDT", "thin", "filled", None, None, 0, at(5), at(6)),
    ]


def test_gap_of_a_process_before_is_filled_at_the_first_return(store: Store) -> None:
    with store.transaction() as cursor:
        save_book_gap(cursor, SOURCE, BookGap("BTCUSDT", START, "overflow"), START)
        save_book_gap(cursor, SOURCE, BookGap("ETHUSDT", START, "overflow"), START)
    changes = Changes(store).live()
    assert changes.rows.write_waiting()
    assert [row[:3] for row in stored(store)] == [("BTCUSDT", "overflow", "filled"), ("ETHUSDT", "overflow", "open")]


def test_rows_wait_for_the_store(store: Store) -> None:
    changes = Changes(store).live().make(State.GAP, reason=Reason.CROSSED)
    real: Callable[[], Any] = store._idle

    def away() -> Any:
        raise StoreError("away")

    store._idle = away  # type: ignore[method-assign]
    assert not changes.rows.write_waiting()
    store._idle = real  # type: ignore[method-assign]
    assert changes.rows.write_waiting()
    assert [row[1] for row in stored(store)] == ["crossed"]
