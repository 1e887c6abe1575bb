"""The part `metrics.performance` of the report: rates and means of the last 60 s, and totals."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from db.measures import Buckets
from jobs.measures.counts import JobsMeasures

WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Mark:
    """The counts at one time; each pair is a number of values and their sum in seconds."""

    at: float  # monotonic
    records: float
    delays: tuple[int, float]
    batches: tuple[int, float]


class Performance:
    """Keeps one mark per round of the report. Call `mark` and `part` from one thread."""

    def __init__(self, measures: JobsMeasures, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._measures = measures
        self._monotonic = monotonic
        self._marks: deque[_Mark] = deque([self._read()])

    def mark(self) -> None:
        """Note the present counts, and forget those from before the window."""
        self._marks.append(self._read())
        start = self._marks[-1].at - WINDOW_SECONDS
        while len(self._marks) > 2 and self._marks[1].at <= start:
            self._marks.popleft()

    def part(self) -> dict[str, Any]:
        """Figures by their names in the JSON of `/metrics`; times in ms.

        The last two are the numbers of values in both means.
        """
        first, last = self._marks[0], self._marks[-1]
        seconds = last.at - first.at
        measures = self._measures
        errors = _total(measures.sources.errors.values().values()) + _total(measures.writer.failures.values().values())
        return {
            "tradesPerSecond": round((last.records - first.records) / seconds, 3) if seconds > 0 else 0.0,
            "averageLatency": _mean_ms(first.delays, last.delays),
            "errorCount": errors,
            "reconnectionCount": _total(measures.sources.reconnects.values().values()),
            "batchProcessingTime": _mean_ms(first.batches, last.batches),
            "totalTrades": int(last.records),
            "totalBatches": last.batches[0],
            "measuredRecords": last.delays[0] - first.delays[0],
            "measuredBatches": last.batches[0] - first.batches[0],
        }

    def _read(self) -> _Mark:
        measures = self._measures
        return _Mark(
            self._monotonic(),
            sum(measures.sources.ingested.values().values()),
            _sum(buckets for _, buckets in measures.sources.delays.items()),
            _sum(buckets for _, buckets in measures.writer.durations.items()),
        )


def _sum(histograms: Iterable[Buckets]) -> tuple[int, float]:
    """The number of values of all histograms, and their sum."""
    found = [each.read() for each in histograms]
    return sum(sum(counts) for counts, _ in found), sum(total for _, total in found)


def _total(numbers: Iterable[float]) -> int:
    return int(sum(numbers))


def _mean_ms(first: tuple[int, float], last: tuple[int, float]) -> float:
    """The mean of the values between two marks; 0 if there is none."""
    number = last[0] - first[0]
    return round(1000 * (last[1] - first[1]) / number, 3) if number else 0.0
