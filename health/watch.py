"""The watch of REST: its own checks, the registry, and the verdict that `/health` returns."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from config.loops import HEARTBEATS
from config.pacing import Outage, Throttle
from db.bus import BusError, Registry
from health.own import OwnChecks, Transitions
from health.probe import CONNECTED, IMPAIRED
from health.reporter import Reporter
from health.reports import Process, ProcessTable
from health.timing import DEFAULT, Timing
from health.verdict import Verdict, acting_reports, judge

log = logging.getLogger(__name__)

DATABASE, BUS = "database", "bus"
LOOP = "watch"
LONGEST_ROUND_SECONDS = 10.0  # a read and a report that both wait for a hung Redis


class Watch:
    """Keeps the verdict up to date in one thread (`run`); any thread may read it.

    Without that thread, `refresh` runs the checks once for the caller.
    """

    def __init__(
        self,
        bus: Registry,
        checks: OwnChecks,
        reporter: Reporter,
        clock: Callable[[], datetime],
        *,
        timing: Timing = DEFAULT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.checks = checks
        self._bus = bus
        self._reporter = reporter
        self._clock = clock
        self._timing = timing
        self._monotonic = monotonic
        self._table = ProcessTable()
        self._transitions = Transitions(monotonic)
        self._outage = Outage(log, "the process registry cannot be read", monotonic=monotonic)
        self._throttle = Throttle(monotonic=monotonic)
        self._read_at: float | None = None  # monotonic time of the last read of the registry
        self._read_time: datetime | None = None  # the same by the clock
        self._settled_from = float("-inf")  # processes count as down from this time
        self._jobs_expected_from = float("-inf")  # a missing jobs process counts from this time
        self._readable = False  # the last read of the registry succeeded
        self._verdict: Verdict | None = None
        self._judged_at = float("-inf")
        self._first = threading.Event()
        self._runs = False
        self._lock = threading.Lock()  # of `refresh`

    def run(self, stop: threading.Event) -> None:
        """Check, read, judge and report until `stop` is set; then remove this process."""
        self._runs = True
        self._jobs_expected_from = self._monotonic() + self._timing.settle
        HEARTBEATS.expect(LOOP, LONGEST_ROUND_SECONDS)
        self.checks.check_now()
        while not stop.is_set():
            try:
                self._round()
            except Exception:
                log.exception("a round of the watch failed")
            HEARTBEATS.beat(LOOP)
            stop.wait(self._timing.beat)
        HEARTBEATS.forget(LOOP)
        self._reporter.close()

    def _round(self) -> None:
        self.checks.tick()
        self._read()
        if self.checks.tried:
            self._judge()
        self._reporter.tick()

    def refresh(self) -> None:
        """Run every check once and judge, for an app whose thread does not run."""
        with self._lock:
            self.checks.check_now()
            self._readable = False
            if self.checks.last_state(BUS) == CONNECTED:
                self._read()
            self._judge()

    def verdict(self) -> Verdict:
        """The verdict of the last round, or of a new one if the thread does not run."""
        if not self._runs:
            self.refresh()
        else:
            self._first.wait(2 * self._timing.limit)
        if self._verdict is None:
            return Verdict({LOOP: "the first checks have no result yet"})
        age = self._monotonic() - self._judged_at
        return self._verdict if age <= self._timing.unhealthy else Verdict({LOOP: f"no result for {age:.0f} s"})

    @property
    def name(self) -> str:
        """The name of this process in the registry."""
        return self._reporter.name

    @property
    def last_verdict(self) -> Verdict | None:
        """The verdict of the last round, at once; None before the first one."""
        return self._verdict

    @property
    def down_seconds(self) -> float:
        """The time after the last heartbeat of a process from which it counts as down."""
        return self._timing.down

    def processes(self) -> list[Process]:
        """The expected processes as of the last read of the registry, this one included."""
        return self._table.expected()

    def present_processes(self) -> list[Process]:
        """The same with their ages now; none while the registry cannot be read."""
        if not self._readable or self._read_at is None:
            return []
        passed = self._monotonic() - self._read_at
        return [replace(each, age_seconds=max(0.0, each.age_seconds + passed)) for each in self._table.expected()]

    def state(self, part: str, verdict: Verdict) -> str:
        """`connected`, `disconnected`, `impaired` or `not_migrated`.

        A part that works for this process and not for another is impaired.
        """
        if part not in verdict.failing:
            return CONNECTED
        found = self.checks.last_state(part)
        return IMPAIRED if found == CONNECTED else found

    def _read(self) -> None:
        """Read the registry; after an outage, the processes have a moment to report again."""
        now = self._monotonic()
        moment = self._clock()
        try:
            entries = self._bus.processes(int(moment.timestamp() * 1000))
        except BusError as error:
            self._readable = False
            self._outage.failed(error)
            return
        self._readable = True
        self._outage.recovered()
        if self._read_at is not None and now - self._read_at > self._timing.settle:
            self._settled_from = now + self._timing.settle
        self._table.update(entries, int(moment.timestamp() * 1000))
        self._read_at, self._read_time = now, moment
        for name, reason in self._table.malformed.items():
            if self._throttle.due(name) is not None:
                log.warning(
                    "a report is malformed (repeats suppressed for 60 s)", extra={"process_name": name[:200], "reason": reason[:200]}
                )

    def _judge(self) -> None:
        now = self._monotonic()
        own = self.checks.failing()
        if self._read_at is None or now - self._read_at > self._timing.unhealthy:
            own.setdefault(BUS, "the process registry cannot be read")
        works = BUS not in own
        if not works:
            self._settled_from = now + self._timing.settle
        processes = [process for process in self._table.expected() if process.name != self._reporter.name]
        if any(report.role == "jobs" for report in acting_reports(processes)):
            self._jobs_expected_from = now + self._timing.settle
        self._verdict = judge(
            processes,
            self._read_time or self._clock(),
            own=own,
            bus_works=works,
            settled=now >= self._settled_from,
            jobs_expected=now >= self._jobs_expected_from or not self._runs,
            timing=self._timing,
        )
        self._judged_at = now
        self._transitions.note(self._verdict.failing)
        self._first.set()
