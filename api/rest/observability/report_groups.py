"""Group commit: batches of requests that arrive meanwhile share one call of the bus.

Redis writes each call to the disk before it answers, which takes longer than the call itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from flask import Flask, current_app

from api.schemas.reports import ReportBus
from db.bus import BatchOutcome, BusError, ReportLimits
from db.reports.model import Report

MAX_REPORTS_PER_CALL = 1_000  # as in the hub; Redis serves no other client meanwhile
_NAME = "tickwire.report_groups"


class _Waiting:
    """The batch of one thread, and its result."""

    __slots__ = ("batch", "result")

    def __init__(self, batch: Sequence[Report]) -> None:
        self.batch = batch
        self.result: BatchOutcome | BusError | None = None


class ReportGroups:
    """A `ReportBus` for several threads: one of them calls the bus for all batches that wait."""

    def __init__(self, bus: ReportBus) -> None:
        self._bus = bus
        self._calling = threading.Lock()
        self._waiting: deque[_Waiting] = deque()

    def append_reports(self, batches: Sequence[Sequence[Report]], limits: ReportLimits) -> list[BatchOutcome]:
        """Accept each batch, or refuse it as a whole. Raises `BusError`."""
        mine = [_Waiting(batch) for batch in batches]
        self._waiting.extend(mine)
        with self._calling:
            while any(each.result is None for each in mine):
                self._call(self._take(), limits)
        found: list[BatchOutcome] = []
        for each in mine:
            if isinstance(each.result, BatchOutcome):
                found.append(each.result)
            else:
                raise BusError(str(each.result))
        return found

    def _take(self) -> list[_Waiting]:
        """Remove and return the next batches, at least one."""
        taken: list[_Waiting] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0].batch) <= MAX_REPORTS_PER_CALL):
            taken.append(self._waiting.popleft())
            size += len(taken[-1].batch)
        return taken

    def _call(self, taken: list[_Waiting], limits: ReportLimits) -> None:
        try:
            results: Sequence[BatchOutcome | BusError] = self._bus.append_reports([each.batch for each in taken], limits)
        except BusError as error:
            results = [error] * len(taken)
        except Exception as error:
            for each in taken:
                each.result = BusError(f"{type(error).__name__}: {error}")  # so that no thread waits for ever
            raise
        for each, result in zip(taken, results, strict=True):
            each.result = result


def attach(app: Flask, bus: ReportBus) -> None:
    """Give the app its groups."""
    app.extensions[_NAME] = ReportGroups(bus)


def report_groups() -> ReportGroups:
    """Return the groups of the app that serves the current request."""
    found: ReportGroups = current_app.extensions[_NAME]
    return found
