"""The lines of the performance log of the jobs process: its sources and its writers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

from config.performance_log import BATCH, RATE, Increase, Interval, Line, milliseconds, performance
from jobs.measures.counts import JobsMeasures, WriterCounts


class JobsLines:
    """One line for each table with batches or unstored records, and one for each source.

    A standby has none.
    """

    def __init__(self, measures: JobsMeasures, acting: Callable[[], bool]) -> None:
        self._measures = measures
        self._acting = acting
        self._batches: dict[str, tuple[Interval, Interval]] = {}  # table -> durations and sizes
        self._records: dict[str, Increase] = {}  # source -> its records
        self._delays: dict[str, Interval] = {}  # likewise; a recording has none

    def __call__(self, seconds: float) -> Iterable[Line]:
        """Return the lines; times are in ms."""
        self._expect()
        lines = [*self._of_tables(), *self._of_sources(seconds)]
        return lines if self._acting() else []

    def _expect(self) -> None:
        """Begin with tables and sources that are new."""
        writer, sources = self._measures.writer, self._measures.sources
        for (table,), durations in writer.durations.items():
            if table not in self._batches:
                self._batches[table] = Interval(durations), Interval(writer.sizes.get(table))
        for (source,) in sources.records.values():
            if source not in self._records:
                self._records[source] = Increase(partial(self._count, source))
        for (source,), delays in sources.delays.items():
            if source not in self._delays:
                self._delays[source] = Interval(delays)

    def _count(self, source: str) -> float:
        return self._measures.sources.records.values()[source,]

    def _of_tables(self) -> Iterable[Line]:
        for table, intervals in self._batches.items():
            took, sizes = (each.take() for each in intervals)
            waiting = self._measures.writer.waiting(table)
            if took.count or waiting:
                yield (
                    BATCH,
                    {
                        "table": table,
                        "batchSize": round(sizes.mean, 1),
                        "processingTime": milliseconds(took.mean),
                        "bufferSize": waiting,
                        "batches": took.count,
                        "processingTimeMax": milliseconds(took.largest),
                    },
                )

    def _of_sources(self, seconds: float) -> Iterable[Line]:
        for source, records in self._records.items():
            rate = round(records.take() / seconds, 3)
            delay = self._delays[source].take().mean if source in self._delays else 0.0
            yield RATE, {"source": source, "messagesPerSecond": rate, "delay": milliseconds(delay)}


def note_batch(counts: WriterCounts, table: str, size: int, seconds: float) -> None:
    """Write the DEBUG line of one stored batch."""
    if performance.isEnabledFor(logging.DEBUG):
        fields = {"table": table, "batchSize": size, "processingTime": milliseconds(seconds), "bufferSize": counts.waiting(table)}
        performance.debug(BATCH, extra=fields)
