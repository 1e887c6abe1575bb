"""Scenarios in virtual time: a run with everything that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from db.scenarios.model import Scenario
from db.scenarios.recording import Recording
from db.scenarios.run_record import RunRecord
from db.scenarios.status import BookState, Load, status_of
from jobs.books.play.flow import Flow
from jobs.books.play.runs import Overloads, Run, Sight
from jobs.books.play.shadow import ShadowBooks
from jobs.feeds.scenario.messages import Played
from tests.support.small_books import NoLevels, SmallBook, SmallBooks, SmallLevels

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
TOP = 20


@dataclass
class PlayedRun:
    """Everything that a run in virtual time has shown."""

    flow: Flow
    books: SmallBooks
    run: Run
    record: RunRecord
    shadow: ShadowBooks
    queue: list[int] = field(default_factory=list)  # at each step
    lag: list[float] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def changes(self) -> list[tuple[float, str]]:
        """The first status, and each change of it, with its time."""
        found = [(self.times[0], self.status[0])]
        return found + [(time, new) for (old, new), time in zip(pairwise(self.status), self.times[1:], strict=True) if old != new]

    def states(self, instrument: str = "BTCUSDT") -> list[tuple[str, str]]:
        """(state, reason) of a book after each change."""
        return [(state, reason) for _, _, state, reason in self.books.books[instrument].changes]


def play(scenario: Scenario, recordings: Sequence[Recording], seconds: float, *, step: float = 0.25, real: bool = False) -> PlayedRun:
    """Play a scenario for some seconds of virtual time and observe it at each step.

    `real`: the books hold levels, and each published top is compared with the shadow book.
    """
    levels: type[SmallLevels] | type[NoLevels] = SmallLevels if real else NoLevels
    shadow = ShadowBooks(levels)
    books = SmallBooks(levels, published=(lambda name, book: _check(shadow, name, book)) if real else None)

    def follow(message: Played) -> None:
        if real:
            shadow.follow(message)

    flow = Flow(scenario, recordings, books, new_book=levels, before_faults=follow)
    books.request = flow.request_snapshot
    overloads = Overloads(flow.speeds, rate=flow.player.rate, mean_delay=scenario.mean_delay)
    run = Run("run", scenario, STARTED, speeds=flow.speeds, overloads=overloads, effects=flow.faults.effects)
    played = PlayedRun(flow, books, run, run.record(), shadow)
    for number in range(1, round(seconds / step) + 1):
        flow.advance(number * step)
        books.tick(number * step)
        _observe(played, number * step)
    for book in books.books.values():
        for _, previous, state, reason in book.changes:
            run.note_state(previous, state, reason)
    run.wrong_books = shadow.wrong
    played.record = run.record()
    return played


def _observe(played: PlayedRun, now: float) -> None:
    flow, books = played.flow, played.books.books
    states = {
        name: BookState(book.state, 0.0 if book.state == "live" else now - book.not_live_since)
        for name, book in books.items()
        if book.state != "syncing"
    }
    load = Load(flow.queue.size, flow.queue.limit, flow.lag(), states)
    status = status_of(load)
    played.run.observe(now, Sight(status, load.queue_size, load.lag_seconds, {name: each.state for name, each in states.items()}))
    played.queue.append(load.queue_size)
    played.lag.append(load.lag_seconds)
    played.status.append(status)
    played.times.append(now)


def _check(shadow: ShadowBooks, instrument: str, book: SmallBook) -> None:
    shadow.check(instrument, book.update_id, *book.levels.top(TOP))
