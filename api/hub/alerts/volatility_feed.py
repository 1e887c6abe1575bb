"""The hourly volatility of each instrument as the store has it, for the alerts of clients: read when a job says there is more."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from api.hub.messages import Message
from db.postgres import Store, StoreError
from db.timestamps import format_time
from db.volatility import VolatilityRow, latest_volatilities

log = logging.getLogger(__name__)

DATA_TYPE = "volatility"  # of the data_ready that announces figures
ESTIMATOR = "alert"  # the figure that volatility alerts are about


class VolatilityFeed:
    """Remembers the latest figures, and hands each new one to `told(instrument, value, time)`. One greenlet or thread runs it."""

    def __init__(self, store: Store, told: Callable[[str, float, str], None]) -> None:
        self._store = store
        self._told = told
        self._wanted = threading.Event()
        self._rows: dict[str, VolatilityRow] = {}  # instrument -> its latest figure

    def current(self, instrument: str) -> float | None:
        """The instrument's latest figure, None where none is known."""
        row = self._rows.get(instrument)
        return None if row is None else row.volatility

    def data_ready(self, message: Message) -> None:
        """A `data_ready` came by: costs nothing but a note to read the store, where it is about volatility."""
        if message.topic == DATA_TYPE:
            self._wanted.set()

    def run(self, stop: threading.Event) -> None:
        """Read whenever there is more, until `stop` is set."""
        while not stop.is_set():
            if self._wanted.wait(1.0):
                self._wanted.clear()
                try:
                    self.read()
                except Exception:
                    log.exception("volatility was not read")

    def read(self) -> None:
        """Read the store; where it is away, what there is new is found the next time."""
        try:
            with self._store.transaction() as cursor:
                rows = latest_volatilities(cursor, ESTIMATOR)
        except StoreError as error:
            log.warning("volatility for alerts of clients was not read: %s", error)
            return
        for instrument, row in rows.items():
            # A figure that is as it was is no news: markets that are closed have none.
            if row != self._rows.get(instrument) and math.isfinite(row.volatility):
                self._rows[instrument] = row
                self._told(instrument, row.volatility, format_time(row.time))
