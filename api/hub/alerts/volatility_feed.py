"""The latest hourly volatility of each instrument, read from the store after each `data_ready`."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from api.hub.messages import Message
from config.pacing import Outage
from db.postgres import Store, StoreError
from db.timestamps import format_time
from db.volatility import VolatilityRow, latest_volatilities

log = logging.getLogger(__name__)

DATA_TYPE = "volatility"  # of the data_ready that announces figures
ESTIMATOR = "alert"  # the estimator of the figures that alerts compare
POLL_SECONDS = 1.0  # between two checks whether the feed must stop


class VolatilityFeed:
    """Keeps the latest figures and passes each new one to `on_figure(instrument, value, time)`.

    One greenlet or thread runs it.
    """

    def __init__(self, store: Store, on_figure: Callable[[str, float, str], None]) -> None:
        self._store = store
        self._on_figure = on_figure
        self._wanted = threading.Event()
        self._outage = Outage(log, "volatility for alerts of clients was not read", monotonic=time.monotonic)
        self._rows: dict[str, VolatilityRow] = {}  # instrument -> its latest figure

    def current(self, instrument: str) -> float | None:
        """Return the latest figure of the instrument, None if there is none."""
        row = self._rows.get(instrument)
        return None if row is None else row.volatility

    def data_ready(self, message: Message) -> None:
        """Request a read of the store if the message announces volatility; returns at once."""
        if message.topic == DATA_TYPE:
            self._wanted.set()

    def run(self, stop: threading.Event) -> None:
        """Read the store after each request, until `stop` is set."""
        while not stop.is_set():
            if not self._wanted.wait(POLL_SECONDS):
                continue
            self._wanted.clear()
            try:
                self.read()
            except Exception:
                log.exception("volatility was not read")

    def read(self) -> None:
        """Read the store. If it is not available, the next read finds the new figures too."""
        try:
            with self._store.transaction() as cursor:
                rows = latest_volatilities(cursor, ESTIMATOR)
        except StoreError as error:
            self._outage.failed(error)
            return
        self._outage.recovered()
        for instrument, row in rows.items():
            # Closed markets have no new figure: an unchanged one is not passed on again.
            if row != self._rows.get(instrument) and math.isfinite(row.volatility):
                self._rows[instrument] = row
                self._on_figure(instrument, row.volatility, format_time(row.time))
