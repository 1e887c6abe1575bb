"""The reader of round trips: the sums of the strategies whose positions have changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from config.pacing import Outage, StopSignal
from db.postgres import Store, StoreError
from db.reports.round_trips import TripTotals, trip_totals
from jobs.observer.collectors.base import allow_long_reads
from jobs.observer.collectors.strategy_store import Key

log = logging.getLogger(__name__)

REREAD_SHARE = 20  # a strategy's trips are read again after 20 times the duration of a read


class TripReader:
    """Reads the sums of changed strategies. `run` is its thread; any thread calls `note`.

    `take` is called with the strategies and their sums.
    """

    def __init__(self, store: Store, take: Callable[[Collection[Key], Sequence[TripTotals]], None]) -> None:
        self._store = store
        self._take = take
        self._lock = threading.Lock()  # of the keys
        self._keys: set[Key] = set()
        self._due = 0.0  # monotonic

    def note(self, keys: Collection[Key]) -> None:
        """The positions of these strategies have changed."""
        with self._lock:
            self._keys.update(keys)

    def run(self, stop: StopSignal) -> None:
        """Read at most once per second, until `stop` is set."""
        outage = Outage(log, "round trips wait for the store", monotonic=time.monotonic)
        while not stop.wait(1.0):
            if time.monotonic() < self._due:
                continue
            with self._lock:
                keys, self._keys = self._keys, set()
            began = time.monotonic()
            try:
                with self._store.transaction() as cursor:
                    allow_long_reads(cursor)
                    found = [row for key in sorted(keys) for row in trip_totals(cursor, *key)]
            except StoreError as error:
                outage.failed(error)
                self.note(keys)
                continue
            outage.recovered()
            self._take(keys, found)
            self._due = began + REREAD_SHARE * (time.monotonic() - began)
