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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from config.pacing import Outage
from db.bus import BusError, WriterQueue
from db.postgres import RowError, Store, StoreError
from health.measures.stages import STAGES, STORE
from jobs.feeds.base import retry_delay
from jobs.measures.backlog import WriterBacklog
from jobs.measures.counts import WriterCounts
from jobs.measures.lines import note_batch
from jobs.store.queues import Item, StoreQueue

log = logging.getLogger(__name__)

# One wait inside Redis, which bounds the reaction to a stop.
_LONGEST_BLOCK_MS = 500
# For the last batches after a stop; the rest stays on the bus.
_LAST_BATCHES_SECONDS = 5.0
_LAST_BATCHES_PAUSE = 0.1  # between two attempts after a stop
_LONGEST_DELAY = 5.0
_IDLE_SECONDS = 0.5  # of a writer whose stream is in no shard of this process
RECOUNT_SECONDS = 60.0  # between two comparisons of the counts with the stream


@dataclass(frozen=True, slots=True)
class BatchRule:
    """A batch is written when it holds `size` entries or its first entry has waited `wait_ms`.

    It takes all entries that are available at that time.
    """

    size: int = 100
    wait_ms: int = 1000


class Writer(Generic[Item]):
    """Moves one queue from the bus to the store. Call it from one thread, the only one of this
    queue.

    A failure halves the largest batch, a success adds an eighth to it. So a slow store receives
    fewer rows at once.
    """

    def __init__(
        self,
        bus: WriterQueue,
        store: Store,
        rule: BatchRule,
        queue: StoreQueue[Item],
        counts: WriterCounts | None = None,
        *,
        served: Callable[[], Sequence[int] | None] = lambda: None,
        backlog: WriterBacklog | None = None,
    ) -> None:
        """`served` returns the shards of the next round; None: all shards. The writer notes in
        `backlog` whether it is behind.
        """
        self._served = served
        self._backlog = backlog or WriterBacklog()
        self._bus = bus
        self._store = store
        self._rule = rule
        self._queue = queue
        self._counts = counts or WriterCounts()
        self._counts.expect(queue.table, queue.other_tables, channel=queue.channel)
        self._most = queue.most
        self._recounted_at = float("-inf")  # monotonic time

    def run(self, stop: threading.Event) -> None:
        """Write until `stop` is set, then write the entries left on the bus for a few seconds at
        most.
        """
        try:
            self._run(stop)
        finally:
            self._backlog.note(self, False)

    def _run(self, stop: threading.Event) -> None:
        outage = Outage(log, "writer waits", monotonic=time.monotonic, channel=self._queue.channel)
        # Entries that an earlier writer, or this one before a failure, left unacknowledged come
        # first.
        inherited = True
        deadline: float | None = None
        while deadline is None or time.monotonic() < deadline:
            if stop.is_set() and deadline is None:
                deadline = time.monotonic() + _LAST_BATCHES_SECONDS
            inherited = self._begin_round() or inherited
            if self._queue.shards == []:
                if deadline is not None:
                    return
                self._backlog.note(self, False)
                stop.wait(_IDLE_SECONDS)
                continue
            try:
                if inherited:
                    self._bus.open_group(self._queue.channel, shards=self._queue.shards)
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

    def _begin_round(self) -> bool:
        """Take the shards of the round; return True if they have changed."""
        served, before = self._served(), self._queue.shards
        if served is not None:
            of_channel = self._bus.shards_of(self._queue.channel)
            self._queue.shards = [shard for shard in served if shard in of_channel]
        return self._queue.shards != before

    def _recount(self) -> None:
        """Correct the counts of the bus, which it may have lost."""
        corrected = self._bus.recount(self._queue.channel, shards=self._queue.shards)
        self._recounted_at = time.monotonic()
        if corrected is not None:
            log.warning(
                "the bus had wrong counts of unstored messages",
                extra={"channel": self._queue.channel, "unstored_before": corrected[0], "unstored": corrected[1]},
            )

    def recover(self) -> int:
        """Write entries that were delivered before but never acknowledged; return their number."""
        total = 0
        while entries := self._read_first(0, again=True):
            total += self.write_batch(entries)
        if total:
            log.info("writer took over unacknowledged entries", extra={"channel": self._queue.channel, "entries": total})
        return total

    def write_batch(self, entries: Sequence[Item]) -> int:
        """Store and acknowledge these entries; return their number. Raises `StoreError` or
        `BusError`.
        """
        if entries:
            began, left_out = time.monotonic(), self._queue.left_out
            try:
                self._store_all(entries)
                self._queue.settle(entries)
            except Exception:
                self._counts.failures.add(self._queue.table)
                raise
            self._count(entries, time.monotonic() - began, self._queue.left_out - left_out)
            self._most = min(self._queue.most, self._most + 1 + self._most // 8)
        return len(entries)

    def _count(self, entries: Sequence[Item], seconds: float, left_out: int) -> None:
        """Count a stored batch; `left_out` of its records are not stored."""
        table, size = self._queue.table, self._queue.size(entries)
        STAGES.record(STORE, seconds)
        STAGES.count("stored", size)
        self._counts.durations.observe(seconds, table)
        self._counts.sizes.observe(size, table)
        note_batch(self._counts, table, size, seconds)
        if left_out:
            self._counts.refused.add(table, by=left_out)

    def _store_all(self, entries: Sequence[Item]) -> None:
        """Store these entries, except those that cannot be stored: they are parked, and the others
        go on.
        """
        try:
            with self._store.transaction() as cursor:
                stored = self._queue.store(cursor, entries)
            for table, rows in stored.items():
                self._counts.rows.add(table, by=rows)
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
        entries = self._read_first(min(wait_ms, _LONGEST_BLOCK_MS))
        deadline = time.monotonic() + self._rule.wait_ms / 1000
        while entries and queue.size(entries) < self._rule.size and len(entries) < most and not stop.is_set():
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                break
            entries += queue.read(most - len(entries), min(left_ms, _LONGEST_BLOCK_MS))
        return entries

    def _read_first(self, wait_ms: int, *, again: bool = False) -> list[Item]:
        """The first entries of a batch. The writer is behind if they fill the batch.

        A batch that becomes full while it waits for entries is no backlog: a quiet stream of small
        entries fills batches, too.
        """
        most = self._most
        entries = self._queue.read(most, wait_ms, again=again)
        self._backlog.note(self, len(entries) >= most)
        return entries
