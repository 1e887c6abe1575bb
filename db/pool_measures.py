"""Use of the connection pool of a store: integers and histograms, which collectors read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from db.measures import Buckets, Counts

UNAVAILABLE, REFUSED, TIMEOUT = "unavailable", "refused", "timeout"
# Seconds; `config.metrics` has the same.
WAIT_BOUNDS = (0.001, 0.01, 0.1, 1.0, 5.0)
TRANSACTION_BOUNDS = (0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0)


class PoolMeasures:
    """Measures the pools of one database in this process, which share it."""

    def __init__(self) -> None:
        self.waits = Buckets(WAIT_BOUNDS)
        self.transactions = Buckets(TRANSACTION_BOUNDS)
        self.errors = Counts((UNAVAILABLE,), (REFUSED,), (TIMEOUT,))
        self._lock = threading.Lock()
        self._size = 0
        self._in_use = 0

    @property
    def size(self) -> int:
        """Largest number of connections of all pools."""
        return self._size

    @property
    def in_use(self) -> int:
        """Connections that transactions hold now."""
        return self._in_use

    def add_pool(self, size: int) -> None:
        """Count one more pool."""
        with self._lock:
            self._size += size

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Measure the block, which holds one connection."""
        begun = perf_counter()
        self._hold(1)
        try:
            yield
        finally:
            self._hold(-1)
            self.transactions.observe(perf_counter() - begun)

    def _hold(self, number: int) -> None:
        with self._lock:
            self._in_use += number
