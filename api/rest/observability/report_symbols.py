"""The instruments about which bots may report: all, as at the hub, disabled ones included."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from flask import Flask, current_app

from db.bus import Bus, BusError
from db.instruments import all_instruments
from db.postgres import Store, StoreError

PAUSE_SECONDS = 1.0  # between two reads of the table
WAIT_SECONDS = 5.0  # for another thread that reads the table
_NAME = "tickwire.report_symbols"


class ReportSymbols:
    """The names of all instruments that this process has seen. Any thread may call it.

    Instruments are never deleted. So the table is read for a new name only, and reports about known
    ones are accepted while the store is away. The bus has the enabled instruments.
    """

    def __init__(self, bus: Bus, store: Store, monotonic: Callable[[], float]) -> None:
        self._bus = bus
        self._store = store
        self._monotonic = monotonic
        self._lock = threading.Lock()  # held by the thread that reads the table
        self._names: frozenset[str] = frozenset()
        self._read_next = float("-inf")

    def __call__(self, wanted: Collection[str]) -> frozenset[str]:
        """Return the names, which contain each of `wanted` that is an instrument.

        Raises `StoreError` if the store is needed and is away: a refusal would be wrong for ever.
        """
        if not self._names.issuperset(wanted):
            with suppress(BusError):  # the bus raises it again when it takes the reports
                self._add(self._bus.windows())
        if not self._names.issuperset(wanted):
            self._read_table()
        return self._names

    def _read_table(self) -> None:
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise StoreError("the table of instruments was not read in time")
        try:
            if self._monotonic() >= self._read_next:
                with self._store.transaction() as cursor:
                    self._add(each.symbol for each in all_instruments(cursor, disabled=True))
                self._read_next = self._monotonic() + PAUSE_SECONDS
        finally:
            self._lock.release()

    def _add(self, names: Iterable[str]) -> None:
        if new := set(names) - self._names:  # `api.nearest` keeps an index per set
            self._names |= new


def attach(app: Flask, bus: Bus, store: Store, monotonic: Callable[[], float]) -> None:
    """Give the app the names."""
    app.extensions[_NAME] = ReportSymbols(bus, store, monotonic)


def report_symbols(wanted: Collection[str]) -> frozenset[str]:
    """Return the instruments about which bots may report, with each of `wanted` that is one."""
    symbols: ReportSymbols = current_app.extensions[_NAME]
    return symbols(wanted)
