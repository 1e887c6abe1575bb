"""The record of one run of a scenario: its peaks, its times of detection and recovery. Pure.

Times are seconds of the player's clock unless they are datetimes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from db.scenarios.model import Scenario
from db.scenarios.run_record import Outcome, RunRecord
from db.scenarios.status import LIVE, Status
from jobs.feeds.scenario.speeds import Speeds
from jobs.feeds.scenario.triggers import Effects

# `recover_seconds` ends when this many seconds of `healthy` begin.
RECOVERED_SECONDS = 5.0
# Newest entries of a timeline, one a second: a scenario that repeats has no end.
MAX_TIMELINE = 3_600


class Overloads:
    """The spans in which more messages are due than the worker can process: λ(t) > μ.

    λ is the recordings' mean number of messages per second times the speed; μ is 1/mean delay.
    """

    def __init__(self, speeds: Speeds, *, rate: float, mean_delay: float) -> None:
        self._speeds = speeds
        self._spans = speeds.above(1 / (rate * mean_delay)) if mean_delay else []

    @property
    def first(self) -> float | None:
        """Begin of the first span; None if there is none."""
        return self._spans[0][0] if self._spans else None

    def active(self, now: float) -> bool:
        inside = self._inside(now)
        return any(begin <= inside < end for begin, end in self._spans)

    def last_end(self, now: float) -> float | None:
        """The end of the last span that has ended; None if none has."""
        if not self._spans:
            return None
        inside = self._inside(now)
        start = now - inside
        ends = [end for _, end in self._spans if end <= inside]
        if ends:
            return start + ends[-1]
        return start - self._speeds.seconds + self._spans[-1][1] if start > 0 else None

    def _inside(self, now: float) -> float:
        return now % self._speeds.seconds if self._speeds.repeats else now


@dataclass(frozen=True, slots=True)
class Sight:
    """Figures of a run at one time. `lag` is in seconds; `books` maps instruments to states.

    `peak` is the largest queue up to that time, if it is known.
    """

    status: Status
    queue_size: int
    lag: float
    books: Mapping[str, str] = field(default_factory=dict)
    peak: int = 0


class Run:
    """One run. Call `observe` at least once a second, and `note_state` at each change of a book.

    `detect_seconds` is the time from the first fault or overload to the first status that is not
    `healthy`. `recover_seconds` is the time from the end of the last one to the begin of the first
    5 s of `healthy`; 0 if the status was healthy at that end and stayed so.
    """

    def __init__(
        self, run_id: str, scenario: Scenario, started: datetime, *, speeds: Speeds, overloads: Overloads, effects: Effects
    ) -> None:
        self.run_id = run_id
        self.scenario = scenario
        self.started = started
        self.wrong_books = 0
        self._speeds = speeds
        self._overloads = overloads
        self._effects = effects
        self._peak_queue = self._gaps = self._resyncs = 0
        self._peak_lag = 0.0
        self._detected: float | None = None
        self._recovered: float | None = None
        self._healthy_since: float | None = None  # None: not healthy
        self._timeline: deque[dict[str, Any]] = deque(maxlen=MAX_TIMELINE)
        self._next_second = 0

    def note_state(self, previous: str, state: str, reason: str) -> None:
        """Count a change of a book's state. The restart of a recording is no resync of the run."""
        self._gaps += state == "gap"
        self._resyncs += previous == "resyncing" and state == LIVE and reason != "scenario"

    def observe(self, now: float, sight: Sight) -> None:
        """Take over the figures of a time; times must rise."""
        self._peak_queue = max(self._peak_queue, sight.queue_size, sight.peak)
        self._peak_lag = max(self._peak_lag, sight.lag)
        if sight.status != "healthy":
            self._healthy_since = None
        elif self._healthy_since is None:
            self._healthy_since = now
        self._judge(now)
        if now >= self._next_second:
            self._timeline.append(self._entry(now, sight))
            self._next_second = int(now) + 1

    def finished(self, now: float) -> bool:
        """True if all phases were played and their last fault or overload is over."""
        if self._speeds.repeats or now < self._speeds.seconds or self._healthy_since is None:
            return False
        return now - max(self._healthy_since, self._last_end(now) or 0.0) >= RECOVERED_SECONDS

    def record(self, *, outcome: Outcome = "running", ended: datetime | None = None) -> RunRecord:
        return RunRecord(
            run_id=self.run_id,
            scenario=self.scenario.name,
            started=self.started,
            ended=ended,
            seed=self.scenario.seed,
            parameters=self.scenario.body(),
            peak_queue=self._peak_queue,
            peak_lag_ms=round(self._peak_lag * 1_000, 3),
            gaps=self._gaps,
            resyncs=self._resyncs,
            detect_seconds=_rounded(self._detected),
            recover_seconds=_rounded(self._recovered),
            wrong_books=self.wrong_books,
            outcome=outcome,
            timeline=tuple(self._timeline),
        )

    def _judge(self, now: float) -> None:
        first = min((each for each in (self._effects.first, self._overloads.first) if each is not None), default=None)
        if self._detected is None and self._healthy_since is None and first is not None and now >= first:
            self._detected = now - first
        end = self._last_end(now)
        if end is None or self._healthy_since is None:
            return
        begin = max(self._healthy_since, end)
        if now - begin >= RECOVERED_SECONDS:
            self._recovered = begin - end

    def _last_end(self, now: float) -> float | None:
        """The end of the last fault or overload; None if there was none, or one is active."""
        faults_end = self._effects.last_end
        if self._overloads.active(now) or (faults_end is not None and faults_end > now):
            return None
        ends = [each for each in (faults_end, self._overloads.last_end(now)) if each is not None]
        return max(ends, default=None)

    def _entry(self, now: float, sight: Sight) -> dict[str, Any]:
        return {
            "second": int(now),
            "phase": self._speeds.phase_at(now),
            "speed": round(self._speeds.speed_at(now), 3),
            "status": sight.status,
            "queue": sight.queue_size,
            "lag_ms": round(sight.lag * 1_000, 3),
            "books": dict(sight.books),
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
