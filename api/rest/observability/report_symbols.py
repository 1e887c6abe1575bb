"""The instruments about which bots may report: all, as at the hub, disabled ones included."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from flask import Flask, current_app

from db.bus import Bus
from db.instruments import all_instruments
from db.postgres import Store, StoreError

KEPT_SECONDS = 1.0  # for which the names serve all requests
RETRY_SECONDS = 5.0  # after a failure of the store
_NAME = "tickwire.report_symbols"

log = logging.getLogger(__name__)


class ReportSymbols:
    """The names of all instruments, as this process has read them last. Any thread may call it.

    Reports are accepted while the store is away: the names then are those of the last read, before
    the first one those on the bus.
    """

    def __init__(self, bus: Bus, store: Store, monotonic: Callable[[], float]) -> None:
        self._bus = bus
        self._store = store
        self._monotonic = monotonic
        self._lock = threading.Lock()  # held by the thread that reads
        self._names: frozenset[str] = frozenset()
        self._read_next = float("-inf")

    def __call__(self) -> frozenset[str]:
        """Return the names. Raises `BusError` if neither the store nor the bus has any."""
        if self._monotonic() >= self._read_next and self._lock.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._lock.release()
        return self._names or frozenset(self._bus.windows())

    def _read(self) -> None:
        try:
            with self._store.transaction() as cursor:
                found = frozenset(each.symbol for each in all_instruments(cursor, disabled=True))
        except StoreError as error:
            log.debug("the instruments of reports are those of the last read: %s", error)
            self._read_next = self._monotonic() + RETRY_SECONDS
            return
        if found != self._names:  # `api.nearest` keeps an index per set
            self._names = found
        self._read_next = self._monotonic() + KEPT_SECONDS


def attach(app: Flask, bus: Bus, store: Store, monotonic: Callable[[], float]) -> None:
    """Give the app the names."""
    app.extensions[_NAME] = ReportSymbols(bus, store, monotonic)


def report_symbols() -> frozenset[str]:
    """Return the instruments about which bots may report. Raises `BusError`."""
    symbols: ReportSymbols = current_app.extensions[_NAME]
    return symbols()
