"""The streams of the bus as the writer needs them: reading, checks, rows, acknowledgement."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from typing import Generic, TypeVar

import orjson

from config.pacing import Throttle
from config.venues import trade_venues
from db import topics
from db.admission import MAX_AHEAD_SECONDS, NotAdmitted, Refusals, Windows, check_quote, open_windows, refusal_kind
from db.admitted import admit_lines
from db.bus import WriterQueue, shard_of_entry
from db.inserted import Conflict
from db.instruments import all_instruments, calendars_of
from db.messages import Entry, TradeLines
from db.postgres import Cursor
from db.prices import PriceRow, insert_prices
from db.timestamps import format_time, parse_time
from db.trades import insert_trades

log = logging.getLogger(__name__)

Item = TypeVar("Item")

MAX_ENTRIES_PER_TRANSACTION = 10_000


class StoreQueue(ABC, Generic[Item]):
    """One stream of the bus, as the writer needs it. At most `most` entries are taken at once.

    A malformed entry is parked among the dead letters of its channel when it is read, or together
    with the acknowledgement of its neighbours.
    """

    channel: str
    table: str  # of its rows, in metrics
    other_tables: tuple[str, ...] = ()  # of some of them
    most: int

    def __init__(self, bus: WriterQueue) -> None:
        self._bus = bus
        self.shards: Sequence[int] | None = None  # that are read; None: all of the channel
        self.left_out = 0  # records that `store` did not store, as often as it was called with them
        self.refused: Refusals = _RefusedEntries(self.channel)
        self._malformed: dict[bytes, str] = {}  # id of an entry that waits to be parked -> reason

    def note_bad(self, entry_id: bytes, error: ValueError) -> None:
        """Count and log a malformed entry."""
        self.refused.add(entry_id.decode(), error)

    def refuse(self, entry_id: bytes, error: ValueError) -> None:
        """Count and log a record that is not stored; if it is malformed, its entry is parked."""
        self.refused.add(entry_id.decode(), error)
        self.left_out += 1
        if not isinstance(error, NotAdmitted):
            self._malformed[entry_id] = str(error)

    def settle(self, entries: Sequence[Item]) -> None:
        """Park the malformed ones of these entries, and acknowledge the others."""
        ids = [self.id_of(entry) for entry in entries]
        self._bus.park(self.channel, {entry_id: self._malformed[entry_id] for entry_id in ids if entry_id in self._malformed})
        self.acknowledge([entry for entry in entries if self._malformed.pop(self.id_of(entry), None) is None])

    @abstractmethod
    def id_of(self, entry: Item) -> bytes:
        """The id of an entry in its stream."""

    @abstractmethod
    def read(self, count: int, wait_ms: int, *, again: bool = False) -> list[Item]:
        """Up to `count` entries, as `Bus.read_unstored` returns them."""

    @abstractmethod
    def size(self, entries: Sequence[Item]) -> int:
        """The number of rows that these entries make."""

    @abstractmethod
    def store(self, cursor: Cursor, entries: Sequence[Item]) -> Mapping[str, int]:
        """Store these entries; rows that are stored already are skipped.

        Returns the number of new rows by table.
        """

    @abstractmethod
    def acknowledge(self, entries: Sequence[Item]) -> None:
        """Acknowledge these entries to the bus."""


class PriceQueue(StoreQueue[Entry]):
    """The stream of prices, one price per entry.

    Each price is checked again with the publisher's reading of its clock, so that the store refuses
    only entries that the bus did not check.
    """

    channel = topics.PRICES
    table = "prices"
    most = MAX_ENTRIES_PER_TRANSACTION

    def __init__(self, bus: WriterQueue, *, max_ahead_seconds: int = MAX_AHEAD_SECONDS) -> None:
        super().__init__(bus)
        self._max_ahead_seconds = max_ahead_seconds

    def id_of(self, entry: Entry) -> bytes:
        return entry.id

    def read(self, count: int, wait_ms: int, *, again: bool = False) -> list[Entry]:
        return self._bus.read_unstored(topics.PRICES, count, wait_ms, again=again, note_bad=self.note_bad, shards=self.shards)

    def size(self, entries: Sequence[Entry]) -> int:
        return len(entries)

    def store(self, cursor: Cursor, entries: Sequence[Entry]) -> Mapping[str, int]:
        calendars = _calendars(cursor)
        found: dict[tuple[str, str], Windows] = {}  # source and time of the publish -> windows
        rows = []
        for entry in entries:
            try:
                row = to_row(entry)
                key = entry.source, row.received
                if key not in found:
                    found[key] = self._windows(calendars, *key)
                check_quote(row, found[key][row.instrument])
            except ValueError as error:
                self.refuse(entry.id, error)
            else:
                rows.append(row)
        if not rows:
            return {}
        # The last entry of a shard has its present epoch: a stream is in the order of publishing.
        epochs = {shard_of_entry(entry.id): entry.epoch for entry in entries}
        return {self.table: insert_prices(cursor, rows, trade_venues(), epochs=set(epochs.values())).new}

    def acknowledge(self, entries: Sequence[Entry]) -> None:
        self._bus.acknowledge(topics.PRICES, [entry.id for entry in entries])

    def _windows(self, calendars: Mapping[str, str], source: str, received: str) -> Windows:
        return open_windows("live", calendars, parse_time(received), source=source, max_ahead_seconds=self._max_ahead_seconds)


class TradeQueue(StoreQueue[TradeLines]):
    """The stream of trades, many per entry.

    Trades pass as the text that COPY takes. Entries that the bus has not checked, as older versions
    left them, are checked here.
    """

    channel = topics.TRADES
    table = "raw_trades"
    most = 20

    def __init__(self, bus: WriterQueue, clock: Callable[[], datetime], *, max_ahead_seconds: int = MAX_AHEAD_SECONDS) -> None:
        super().__init__(bus)
        self._clock = clock
        self._max_ahead_seconds = max_ahead_seconds
        self.conflicts = 0  # trades left out because their id is stored with other values
        self._throttle = Throttle(monotonic=time.monotonic)

    def id_of(self, entry: TradeLines) -> bytes:
        return entry.id

    def read(self, count: int, wait_ms: int, *, again: bool = False) -> list[TradeLines]:
        return self._bus.read_unstored_trades(count, wait_ms, again=again, note_bad=self.note_bad, shards=self.shards)

    def size(self, entries: Sequence[TradeLines]) -> int:
        return sum(entry.trades for entry in entries)

    def store(self, cursor: Cursor, entries: Sequence[TradeLines]) -> Mapping[str, int]:
        if all(entry.admitted for entry in entries):
            lines = [entry.lines for entry in entries]
        else:
            windows = open_windows("live", _calendars(cursor), self._clock(), max_ahead_seconds=self._max_ahead_seconds)
            lines = [entry.lines if entry.admitted else self._checked(entry, windows) for entry in entries]
        if not any(lines):
            return {}
        try:
            inserted = insert_trades(cursor, *lines, origin="live", marks=_marks(entries))
        except LookupError as error:  # an entry claims that its lines were checked, and they have no fields
            raise ValueError(f"not lines of trades: {error}") from None
        for conflict in inserted.conflicts:
            self._note_conflict(conflict)
        return {self.table: inserted.new}

    def acknowledge(self, entries: Sequence[TradeLines]) -> None:
        self._bus.forget_trades(entries)

    def _note_conflict(self, conflict: Conflict) -> None:
        self.conflicts += 1
        self.left_out += 1
        if (count := self._throttle.due("conflict")) is not None:
            log.error(
                "trade contradicts a stored trade and is not stored (repeats suppressed for 60 s)",
                extra={"channel": self.channel, "reason": str(conflict), "count": count},
            )

    def _checked(self, entry: TradeLines, windows: Windows) -> bytes:
        return admit_lines(entry.lines, windows, lambda line, error: self.refuse(entry.id, error))


def _marks(entries: Sequence[TradeLines]) -> Set[tuple[str, str]] | None:
    """The symbols and minutes of all entries, if each entry has those of its trades."""
    found: set[tuple[str, str]] = set()
    for entry in entries:
        if not entry.admitted or entry.marks is None:
            return None
        found |= entry.marks
    return found


class _RefusedEntries(Refusals):
    """The records of one stream that are not stored, with one log line per kind and minute."""

    def __init__(self, channel: str) -> None:
        super().__init__()
        self._channel = channel
        self._throttle = Throttle(monotonic=time.monotonic)

    def add(self, place: str, error: ValueError) -> None:
        super().add(place, error)
        kind = refusal_kind(error)
        if (count := self._throttle.due(kind)) is not None:
            log.error(
                "record is not stored (repeats suppressed for 60 s)",
                extra={"channel": self._channel, "entry": place, "kind": kind, "reason": str(error), "count": count},
            )


def _calendars(cursor: Cursor) -> dict[str, str]:
    """Disabled instruments too: a record on the bus was accepted before its instrument's change."""
    return calendars_of(all_instruments(cursor, disabled=True))


def to_row(entry: Entry) -> PriceRow:
    """The row of a stream entry. Raises `ValueError` if the entry is not a price."""
    try:
        body = orjson.loads(entry.body)
        price = body["price"]
        return PriceRow(
            instrument=body["instrument"],
            time=format_time(parse_time(price["time"])),
            received=format_time(parse_time(body["timestamp"])),
            bid=price["bid"],
            ask=price["ask"],
            mid=price["mid"],
            volume=entry.volume,
            source=entry.source,
            epoch=entry.epoch,
            seq=entry.seq,
            occurrence=entry.occurrence,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a price: {type(error).__name__} {error}") from None
