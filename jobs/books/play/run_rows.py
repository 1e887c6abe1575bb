"""Rows of `scenario_runs`, written by the worker: a slow store slows the books of a scenario."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from config.pacing import Outage
from db.postgres import RowError, Store, StoreError
from db.scenario_runs import end_unfinished_runs, save_run
from db.scenarios.run_record import RunRecord

log = logging.getLogger("jobs.books")

RETRY_SECONDS = 10.0  # after a failure: each attempt may take the timeout of a statement
MAX_WAITING = 100  # runs


class RunRows:
    """Saves runs. A row that cannot be saved waits, and only its newest form is kept."""

    def __init__(
        self, store: Store, clock: Callable[[], datetime], monotonic: Callable[[], float], wait: Callable[[float], object]
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._wait = wait
        self._waiting: dict[str, RunRecord] = {}  # run_id -> newest record
        self._begun = False
        self._retry_at = float("-inf")
        self._outage = Outage(log, "runs of scenarios are not stored", monotonic=monotonic)

    def end_unfinished(self) -> None:
        """Mark the runs of a killed process as failed, once."""
        if not self._begun:
            self._write()

    def save(self, record: RunRecord, delay: float = 0.0) -> None:
        """Save a record and those that wait; a statement takes `delay` seconds longer."""
        self._waiting[record.run_id] = record
        while len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        if delay > 0:
            self._wait(delay)
        self._write()

    def _write(self) -> None:
        if self._monotonic() < self._retry_at:
            return
        try:
            with self._store.transaction() as cursor:
                if not self._begun:
                    end_unfinished_runs(cursor, self._clock())
                for each in self._waiting.values():
                    save_run(cursor, each)
        except (StoreError, RowError) as error:
            self._outage.failed(error)
            self._retry_at = self._monotonic() + RETRY_SECONDS
        else:
            self._outage.recovered()
            self._begun = True
            self._waiting.clear()
