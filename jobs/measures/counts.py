"""Counts of the writers, the timed jobs and the gap fillers, and all counts of the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from config.metrics import TASK_BUCKETS, WRITER_BATCH_BUCKETS, WRITER_ROWS_BUCKETS
from db.measures import Counts, Many
from jobs.measures.backlog import WriterBacklog
from jobs.measures.sources import SourceCounts

SUCCEEDED, FAILED, ABANDONED = "succeeded", "failed", "abandoned"


class WriterCounts:
    """Counts of all writers, by table. Any thread may call it."""

    def __init__(self) -> None:
        self.rows = Counts()  # new rows of committed transactions
        self.refused = Counts()  # records that are not stored
        self.failures = Counts()  # batches that failed
        self.durations = Many(WRITER_BATCH_BUCKETS)  # of stored and acknowledged batches
        self.sizes = Many(WRITER_ROWS_BUCKETS)  # their records
        self.unstored: Mapping[str, int] = {}  # channel -> its records that are not stored yet
        self._channels: dict[str, str] = {}  # table -> channel of its records

    def expect(self, table: str, others: Iterable[str] = (), *, channel: str) -> None:
        """Begin with 0 for a writer of the channel; it stores rows of `others` too."""
        self._channels[table] = channel
        for counts in (self.rows, self.refused, self.failures):
            counts.add(table, by=0)
        for other in others:
            self.rows.add(other, by=0)
        self.durations.get(table)
        self.sizes.get(table)

    def waiting(self, table: str) -> int:
        """The records that wait for a table, as the bus last counted them."""
        return self.unstored.get(self._channels[table], 0)


class TaskCounts:
    """Runs of the timed jobs. Each attempt is a run. Any thread may call it."""

    def __init__(self) -> None:
        self.runs = Counts()  # task, outcome
        self.durations = Many(TASK_BUCKETS)  # task
        self.last_success: dict[str, datetime] = {}  # task -> end of its last success

    def expect(self, tasks: Iterable[str]) -> None:
        """Begin with 0 for each of these jobs."""
        for task in tasks:
            self.durations.get(task)
            for outcome in (SUCCEEDED, FAILED, ABANDONED):
                self.runs.add(task, outcome, by=0)

    def ended(self, task: str, outcome: str, seconds: float, at: datetime) -> None:
        """Count the end of a run."""
        self.runs.add(task, outcome)
        self.durations.observe(seconds, task)
        if outcome == SUCCEEDED:
            self.last_success[task] = at


@dataclass(frozen=True, slots=True)
class JobsMeasures:
    """All counts of the jobs process since it started; a change of its leadership keeps them."""

    sources: SourceCounts = field(default_factory=SourceCounts)
    writer: WriterCounts = field(default_factory=WriterCounts)
    backlog: WriterBacklog = field(default_factory=WriterBacklog)
    tasks: TaskCounts = field(default_factory=TaskCounts)
    gaps_filled: Counts = field(default_factory=Counts)  # source
