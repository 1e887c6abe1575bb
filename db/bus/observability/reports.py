"""Reports of bots on the bus: accepted in one step, read and acknowledged by the observer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from functools import lru_cache

import redis

from db import topics
from db.bus.confirmation import ScriptCall
from db.bus.connection import Connection, lua
from db.bus.errors import translated
from db.messages import NoteBad, ignore_bad
from db.reports.model import Report, from_json, with_digest
from db.timestamps import format_time, parse_time

MAX_REPORTS = 500  # of a batch; Redis serves no other client during a script call
_REPORT = lua("report")
_FINISH = lua("finish")
# All observers share one consumer name: a new one inherits the unacknowledged entries of the last.
_CONSUMER = "observer"
_received = lru_cache(maxsize=64)(parse_time)  # the reports of one batch have the same time


class Outcome(IntEnum):
    """The outcome of one report of an accepted batch."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2  # another content under the same id; the first one stays


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The outcome of one batch. If it is refused, `outcomes` is empty and nothing was accepted.

    `retry_after` is the time in seconds until the rate of its bots permits it; `full` means that
    too many reports wait for the observer.
    """

    outcomes: tuple[Outcome, ...] = ()
    retry_after: float | None = None
    full: bool = False

    @property
    def refused(self) -> bool:
        """True if nothing was accepted."""
        return self.full or self.retry_after is not None


@dataclass(frozen=True, slots=True)
class ReportLimits:
    """`rate` is in reports per second and bot; Redis keeps ids for `dedupe_seconds`."""

    rate: int = 2_000
    dedupe_seconds: int = 86_400


@dataclass(frozen=True, slots=True)
class QueuedReport:
    """A report that waits for the observer. `entry` identifies it in the stream."""

    entry: bytes
    digest: bytes
    received: datetime
    report: Report

    @classmethod
    def of(cls, entry: bytes, fields: Mapping[bytes, bytes]) -> QueuedReport:
        """Build it from the fields of the stream. Raises `ValueError` if they cannot be read."""
        try:
            digest, text, received = fields[b"digest"], fields[b"report"], fields[b"received"].decode()
        except KeyError as error:
            raise ValueError(f"the field {error.args[0].decode()} is missing") from None
        return cls(entry, digest, _received(received), from_json(text))


class Reports(Connection):
    """The part of the bus for reports. Every method raises `BusError`."""

    def append_reports(self, batches: Sequence[Sequence[Report]], limits: ReportLimits) -> list[BatchOutcome]:
        """Accept each batch, or refuse it as a whole; one round trip for all.

        A batch has at most `MAX_REPORTS` reports. When this returns, Redis has written the accepted
        ones to disk (`appendfsync always`). A batch may be sent again after any failure: its
        reports are duplicates then.
        """
        received = format_time(self._clock())
        answers = self._run_scripts(_REPORT, [self._call(batch, limits, received) for batch in batches], confirmed=True)
        return [_outcome(answer) for answer in answers]

    @property
    def _reports_key(self) -> str:
        return self.key(topics.stream_key(topics.REPORTS))

    def _call(self, batch: Sequence[Report], limits: ReportLimits, received: str) -> ScriptCall:
        if len(batch) > MAX_REPORTS:
            raise ValueError(f"one step takes at most {MAX_REPORTS} reports")
        counts = Counter(report.bot for report in batch)
        keys = [self._reports_key, *(self.key(topics.report_rate_key(bot)) for bot in counts)]
        arguments: list[str | bytes | int] = [self._limit, limits.dedupe_seconds, limits.rate, len(counts), *counts.values()]
        for report in batch:
            keys.append(self.key(topics.report_key(report.bot, report.kind, report.id)))
            arguments += (*with_digest(report), received)
        return keys, arguments

    def open_reports(self) -> None:
        """Create the observer's group at the beginning of the stream, unless it exists."""
        with translated():
            try:
                self._redis.xgroup_create(self._reports_key, topics.OBSERVER_GROUP, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def read_reports(self, count: int, wait_ms: int, *, again: bool = False, note_bad: NoteBad = ignore_bad) -> list[QueuedReport]:
        """The next `count` reports; waits up to `wait_ms` for the first (0: no wait).

        `again` returns reports that were read before and never acknowledged. A malformed entry is
        removed, and `note_bad` is called with its id and its error.
        """
        found: list[QueuedReport] = []
        while not found and (items := self._read_items(count, wait_ms, again)):
            gone = []
            for entry, fields in items:
                try:
                    if fields:
                        found.append(QueuedReport.of(entry, fields))
                    else:
                        gone.append(entry)  # the stream has lost it, and only the group still lists it
                except ValueError as error:
                    note_bad(entry, error)
                    gone.append(entry)
            self.acknowledge_reports(gone)
        return found

    def _read_items(self, count: int, wait_ms: int, again: bool) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        with translated():
            answer = self._redis.xreadgroup(
                topics.OBSERVER_GROUP,
                _CONSUMER,
                {self._reports_key: "0" if again else ">"},
                count=count,
                block=None if again or wait_ms <= 0 else wait_ms,
            )
        return [item for _, items in answer or [] for item in items]

    def acknowledge_reports(self, entries: Sequence[bytes]) -> int:
        """Remove processed reports from the stream; returns the number not yet acknowledged."""
        if not entries:
            return 0
        return int(self._run_scripts(_FINISH, [([self._reports_key], [topics.OBSERVER_GROUP, *entries])])[0])

    def unprocessed_reports(self) -> int:
        """The number of accepted reports that the observer has not acknowledged."""
        with translated():
            return int(self._redis.xlen(self._reports_key))


def _outcome(answer: Sequence[bytes | int]) -> BatchOutcome:
    kind, *rest = answer
    if kind == b"rate":
        return BatchOutcome(retry_after=float(rest[0]))
    if kind == b"full":
        return BatchOutcome(full=True)
    return BatchOutcome(tuple(Outcome(int(each)) for each in rest))
