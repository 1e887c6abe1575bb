"""Writer service: every accepted price and trade on the bus becomes one row, exactly once in
effect.

A batch is read, stored, committed and acknowledged, in this order. After a kill before the commit,
the bus delivers the batch again. After a kill between commit and acknowledgement, it delivers it
again too, and the rows are recognised. The bus keeps every unacknowledged entry.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import orjson

from config.pacing import Outage, Throttle
from config.venues import trade_venues
from db import topics
from db.admission import MAX_AHEAD_SECONDS, NotAdmitted, Refusals, Windows, check_quote, open_windows, refusal_kind
from db.admitted import admit_lines
from db.bus import BusError, WriterQueue
from db.inserted import Conflict
from db.instruments import all_instruments
from db.messages import Entry, TradeLines
from db.postgres import Cursor, RowError, Store, StoreError
from db.prices import PriceRow, insert_prices
from db.timestamps import format_time, parse_time
from db.trades import insert_trades
from jobs.feeds.base import retry_delay

log = logging.getLogger(__name__)

Item = TypeVar("Item")

MAX_ENTRIES_PER_TRANSACTION = 10_000
# One wait inside Redis, which bounds the reaction to a stop.
_LONGEST_BLOCK_MS = 500
# For the last batches after a stop; the rest stays on the bus.
_LAST_BATCHES_SECONDS = 5.0
_LAST_BATCHES_PAUSE = 0.1  # between two attempts after a stop
_LONGEST_DELAY = 5.0
RECOUNT_SECONDS = 60.0  # between two comparisons of the counts with the stream


@dataclass(frozen=True, slots=True)
class BatchRule:
    """A batch is written when it holds `size` entries or its first entry has waited `wait_ms`.

    It takes all entries that are available at that time.
    """

    size: int = 100
    wait_ms: int = 1000


class StoreQueue(ABC, Generic[Item]):
    """One stream of the bus, as the writer needs it. At most `most` entries are taken at once.

    A malformed entry is parked among the dead letters of its channel when it is read, or together
    with the acknowledgement of its neighbours.
    """

    channel: str
    most: int

    def __init__(self, bus: WriterQueue) -> None:
        self._bus = bus
        self.refused: Refusals = _RefusedEntries(self.channel)
        self._malformed: dict[bytes, str] = {}  # id of an entry that waits to be parked -> reason

    def note_bad(self, entry_id: bytes, error: ValueError) -> None:
        """Count and log a malformed entry."""
        self.refused.add(entry_id.decode(), error)

    def refuse(self, entry_id: bytes, error: ValueError) -> None:
        """Count and log a record that is not stored; if it is malformed, its entry is parked."""
        self.refused.add(entry_id.decode(), error)
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
    def store(self, cursor: Cursor, entries: Sequence[Item]) -> None:
        """Store these entries; rows that are stored already are skipped."""

    @abstractmethod
    def acknowledge(self, entries: Sequence[Item]) -> None:
        """Acknowledge these entries to the bus."""


class PriceQueue(StoreQueue[Entry]):
    """The stream of prices, one price per entry.

    Each price is checked again with the publisher's reading of its clock, so that the store refuses
    only entries that the bus did not check.
    """

    channel = topics.PRICES
    most = MAX_ENTRIES_PER_TRANSACTION

    def __init__(self, bus: WriterQueue, *, max_ahead_seconds: int = MAX_AHEAD_SECONDS) -> None:
        super().__init__(bus)
        self._max_ahead_seconds = max_ahead_seconds

    def id_of(self, entry: Entry) -> bytes:
        return entry.id

    def read(self, count: int, wait_ms: int, *, again: bool = False) -> list[Entry]:
        return self._bus.read_unstored(topics.PRICES, count, wait_ms, again=again, note_bad=self.note_bad)

    def size(self, entries: Sequence[Entry]) -> int:
        return len(entries)

    def store(self, cursor: Cursor, entries: Sequence[Entry]) -> None:
        kinds = _kinds(cursor)
        found: dict[tuple[str, str], Windows] = {}  # source and time of the publish -> windows
        rows = []
        for entry in entries:
            try:
                row = to_row(entry)
                key = entry.source, row.received
                if key not in found:
                    found[key] = self._windows(kinds, *key)
                check_quote(row, found[key][row.instrument])
            except ValueError as error:
                self.refuse(entry.id, error)
            else:
                rows.append(row)
        if rows:
            # The last entry has the present epoch: the stream is in the order of publishing.
            insert_prices(cursor, rows, trade_venues(), epoch=entries[-1].epoch)

    def acknowledge(self, entries: Sequence[Entry]) -> None:
        self._bus.acknowledge(topics.PRICES, [entry.id for entry in entries])

    def _windows(self, kinds: Mapping[str, str], source: str, received: str) -> Windows:
        return open_windows("live", kinds, parse_time(received), source=source, max_ahead_seconds=self._max_ahead_seconds)


class TradeQueue(StoreQueue[TradeLines]):
    """The stream of trades, many per entry.

    Trades pass as the text that COPY takes. Entries that the bus has not checked, as older versions
    left them, are checked here.
    """

    channel = topics.TRADES
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
        return self._bus.read_unstored_trades(count, wait_ms, again=again, note_bad=self.note_bad)

    def size(self, entries: Sequence[TradeLines]) -> int:
        return sum(entry.trades for entry in entries)

    def store(self, cursor: Cursor, entries: Sequence[TradeLines]) -> None:
        if all(entry.admitted for entry in entries):
            lines = b"".join(entry.lines for entry in entries)
        else:
            windows = open_windows("live", _kinds(cursor), self._clock(), max_ahead_seconds=self._max_ahead_seconds)
            lines = b"".join(entry.lines if entry.admitted else self._checked(entry, windows) for entry in entries)
        if lines:
            try:
                conflicts = insert_trades(cursor, lines, origin="live").conflicts
            except LookupError as error:  # an entry claims that its lines were checked, and they have no fields
                raise ValueError(f"not lines of trades: {error}") from None
            for conflict in conflicts:
                self._note_conflict(conflict)

    def acknowledge(self, entries: Sequence[TradeLines]) -> None:
        self._bus.forget_trades(entries)

    def _note_conflict(self, conflict: Conflict) -> None:
        self.conflicts += 1
        if (count := self._throttle.due("conflict")) is not None:
            log.error(
                "trade contradicts a stored trade and is not stored (repeats suppressed for 60 s)",
                extra={"channel": self.channel, "reason": str(conflict), "count": count},
            )

    def _checked(self, entry: TradeLines, windows: Windows) -> bytes:
        return admit_lines(entry.lines, windows, lambda line, error: self.refuse(entry.id, error))


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


def _kinds(cursor: Cursor) -> dict[str, str]:
    return {instrument.symbol: instrument.kind for instrument in all_instruments(cursor)}


class Writer(Generic[Item]):
    """Moves one queue from the bus to the store. Call it from one thread, the only one of this
    queue.

    A failure halves the largest batch, a success adds an eighth to it. So a slow store receives
    fewer rows at once.
    """

    def __init__(self, bus: WriterQueue, store: Store, rule: BatchRule, queue: StoreQueue[Item]) -> None:
        self._bus = bus
        self._store = store
        self._rule = rule
        self._queue = queue
        self._most = queue.most
        self._recounted_at = float("-inf")  # monotonic time

    def run(self, stop: threading.Event) -> None:
        """Write until `stop` is set, then write the entries left on the bus for a few seconds at
        most.
        """
        outage = Outage(log, "writer waits", monotonic=time.monotonic, channel=self._queue.channel)
        # Entries that an earlier writer, or this one before a failure, left unacknowledged come
        # first.
        inherited = True
        deadline: float | None = None
        while deadline is None or time.monotonic() < deadline:
            if stop.is_set() and deadline is None:
                deadline = time.monotonic() + _LAST_BATCHES_SECONDS
            try:
                if inherited:
                    self._bus.open_group(self._queue.channel)
                    self._recount()
                    self.recover()
                    inherited = False
                elif time.monotonic() - self._recounted_at >= RECOUNT_SECONDS:
                    self._recount()
                if self.write_batch(self._gather(stop)) == 0 and deadline is not None:
                    return
                outage.recovered()
            except Exception as error:
                inherited = True
                self._most = max(1, self._most // 2)
                if not isinstance(error, BusError | StoreError):
                    log.exception("writer failed and is repeated", extra={"channel": self._queue.channel})
                outage.failed(error)
                if stop.wait(min(_LONGEST_DELAY, retry_delay(outage.failures, random.random()))):  # noqa: S311
                    time.sleep(_LAST_BATCHES_PAUSE)

    def _recount(self) -> None:
        """Correct the counts of the bus, which it may have lost."""
        corrected = self._bus.recount(self._queue.channel)
        self._recounted_at = time.monotonic()
        if corrected is not None:
            log.warning(
                "the bus had wrong counts of unstored messages",
                extra={"channel": self._queue.channel, "unstored_before": corrected[0], "unstored": corrected[1]},
            )

    def recover(self) -> int:
        """Write entries that were delivered before but never acknowledged; return their number."""
        total = 0
        while entries := self._queue.read(self._most, 0, again=True):
            total += self.write_batch(entries)
        if total:
            log.info("writer took over unacknowledged entries", extra={"channel": self._queue.channel, "entries": total})
        return total

    def write_batch(self, entries: Sequence[Item]) -> int:
        """Store and acknowledge these entries; return their number. Raises `StoreError` or
        `BusError`.
        """
        if entries:
            self._store_all(entries)
            self._queue.settle(entries)
            self._most = min(self._queue.most, self._most + 1 + self._most // 8)
        return len(entries)

    def _store_all(self, entries: Sequence[Item]) -> None:
        """Store these entries, except those that cannot be stored: they are parked, and the others
        go on.
        """
        try:
            with self._store.transaction() as cursor:
                self._queue.store(cursor, entries)
        except (RowError, ValueError) as error:
            if len(entries) == 1:
                self._queue.refuse(self._queue.id_of(entries[0]), ValueError(str(error)))
                return
            middle = len(entries) // 2
            self._store_all(entries[:middle])
            self._store_all(entries[middle:])

    def _gather(self, stop: threading.Event) -> list[Item]:
        """The entries of the next batch; empty if none arrived within the waiting time."""
        queue, most = self._queue, self._most
        wait_ms = 0 if stop.is_set() else self._rule.wait_ms
        entries = queue.read(most, min(wait_ms, _LONGEST_BLOCK_MS))
        deadline = time.monotonic() + self._rule.wait_ms / 1000
        while entries and queue.size(entries) < self._rule.size and len(entries) < most and not stop.is_set():
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                break
            entries += queue.read(most - len(entries), min(left_ms, _LONGEST_BLOCK_MS))
        return entries


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
