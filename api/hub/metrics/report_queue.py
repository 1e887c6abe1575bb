"""Reports between their event and Redis: one greenlet writes everything that waits.

The handler of an event runs inside the loop and may not wait for Redis. All reports that arrive
during one call of Redis go into the next one, so that they share one write to the disk.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from api.errors import ErrorCode, Refusal
from api.hub.metrics.deferred import Deferred
from api.schemas.reports import CheckedReports, ReportBus, report_accepted
from config.pacing import Outage
from db.bus import BatchOutcome, BusError, ReportLimits, ReportsFull

log = logging.getLogger(__name__)

MAX_WAITING_REPORTS = 10_000
# Of one call, but at least one batch: making the text of a report takes 10 µs of the loop.
MAX_REPORTS_PER_CALL = 1_000
POLL_SECONDS = 1.0  # between two checks whether the queue must end
_AWAY = "The message bus does not answer. The reports may not have been accepted: send them again, with the same ids."
_FULL = "Too many reports wait for the observer; nothing was accepted."
_ENDING = "The server is stopping; nothing was accepted."


class _Batch(NamedTuple):
    checked: CheckedReports
    answer: Deferred


class ReportQueue:
    """A bounded queue of checked batches. One greenlet or thread runs it.

    `clock` returns aware UTC. An answer is sent when Redis has written the reports to disk.
    """

    def __init__(self, bus: ReportBus, limits: ReportLimits, clock: Callable[[], datetime], limit: int = MAX_WAITING_REPORTS) -> None:
        self._bus = bus
        self._limits = limits
        self._clock = clock
        self._limit = limit
        self._batches: deque[_Batch] = deque()
        self._waiting = 0  # reports in `_batches`
        self._writing = False
        self._closed = False
        self._arrived = threading.Event()
        self._outage = Outage(log, "reports were not written to the bus", monotonic=time.monotonic)

    @property
    def busy(self) -> bool:
        """True if a report waits or is written."""
        return self._writing or bool(self._batches)

    def put(self, checked: CheckedReports, answer: Deferred) -> None:
        """Add a batch with at least one good report. Raises `Refusal`; nothing is accepted then."""
        if self._closed:
            raise _unavailable(_ENDING)
        if self._waiting + len(checked.reports) > self._limit:
            details = {"retry_after": _soon(), "waiting": self._waiting}
            raise Refusal(ErrorCode.TOO_MANY_REQUESTS, f"{self._waiting} reports wait here already; nothing was accepted.", details)
        self._batches.append(_Batch(checked, answer))
        self._waiting += len(checked.reports)
        self._arrived.set()

    def close(self) -> None:
        """Refuse new batches; those that wait are still written."""
        self._closed = True

    def run(self, stop: threading.Event) -> None:
        """Write what arrives until `stop` is set, then what is left."""
        while not stop.is_set():
            if self._arrived.wait(POLL_SECONDS):
                self.write()
        while self._batches:
            self.write()

    def write(self) -> None:
        """Write the next batches in one call, and send their answers."""
        batches = self._take()
        if not self._batches:
            self._arrived.clear()
        if not batches:
            return
        self._writing = True
        try:
            outcomes = self._bus.append_reports([each.checked.reports for each in batches], self._limits)
        except BusError as error:
            self._outage.failed(error)
            self._refuse([*batches, *self._take_all()])
        except Exception:
            log.exception("reports were not written")
            for each in batches:
                each.answer.fail()
        else:
            self._outage.recovered()
            for each, outcome in zip(batches, outcomes, strict=True):
                self._answer(each, outcome)
        finally:
            self._writing = False

    def _take(self) -> list[_Batch]:
        """Remove and return the next batches, of about `MAX_REPORTS_PER_CALL` reports."""
        taken: list[_Batch] = []
        size = 0
        while self._batches and (not taken or size + len(self._batches[0].checked.reports) <= MAX_REPORTS_PER_CALL):
            taken.append(self._batches.popleft())
            size += len(taken[-1].checked.reports)
        self._waiting -= size
        return taken

    def _take_all(self) -> list[_Batch]:
        taken, self._batches, self._waiting = list(self._batches), deque(), 0
        self._arrived.clear()
        return taken

    def _refuse(self, batches: Sequence[_Batch]) -> None:
        for each in batches:
            each.answer.refuse(_unavailable(_AWAY))

    def _answer(self, batch: _Batch, outcome: BatchOutcome) -> None:
        try:
            batch.answer.send(report_accepted(batch.checked, outcome, self._limits, self._clock()))
        except ReportsFull:
            batch.answer.refuse(_unavailable(_FULL))
        except Refusal as refusal:
            batch.answer.refuse(refusal)


def _unavailable(message: str) -> Refusal:
    return Refusal(ErrorCode.UNAVAILABLE, message, {"retry_after": _soon()})


def _soon() -> float:
    """Return seconds with jitter, so that clients do not send again all at once."""
    return round(random.uniform(1.0, 3.0), 2)  # noqa: S311
