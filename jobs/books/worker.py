"""The worker: it gives the messages of all lines to the books, and has their duties."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from config.pacing import StopSignal
from db.scenarios.status import BookState
from jobs.books.heartbeat import Figures
from jobs.books.keeping.keeper import Keeper
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.keeping.outlet import Outlet
from jobs.books.live.history import History
from jobs.books.live.live_line import LiveLine
from jobs.books.play.scenario import CurrentScenario
from jobs.books.play.stage import Stage

log = logging.getLogger("jobs.books")

DUTY_SECONDS = 0.1  # between two rounds of duties: ticks, rows, repeats
ALL_ROWS_SECONDS = 1.0  # rows of books without a message, for their ages

Lines = Sequence[LiveLine | Stage]


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the worker works with. `live` and `history` are None without live books."""

    keeper: Keeper
    outlet: Outlet
    scenario: CurrentScenario
    recordings: Sequence[Stage] = ()
    live: LiveLine | None = None
    history: History | None = None


class Worker:
    """Plays the lines and keeps the books. `wake` and `figures` may be called by any thread.

    `queue_max` is the limit without any line. `awaits_scenario`: the books are known only when the
    first scenario begins. `switched` is called when another scenario has begun.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        monotonic: Callable[[], float],
        queue_max: int,
        awaits_scenario: bool,
        switched: Callable[[], None] = lambda: None,
    ) -> None:
        self.parts = parts
        self._monotonic = monotonic
        self._switched = switched
        self._queue_max = queue_max  # if no line exists
        self._woken = threading.Event()
        self._duties_due = self._all_rows_due = float("-inf")
        # Rows and messages of other books are removed when all own books are known.
        self._rows_are_whole = awaits_scenario

    def run(self, stop: StopSignal) -> None:
        """Work until `stop` is set; then mark the books and end the run."""
        while not stop.is_set():
            if (wait := self.round()) > 0:
                self._woken.wait(min(wait, DUTY_SECONDS))
                self._woken.clear()
        self.close()

    def wake(self) -> None:
        """A message or a plan has arrived."""
        self._woken.set()

    def round(self) -> float:
        """Do everything that is due; return the seconds until the next event."""
        parts, now = self.parts, self._monotonic()
        if parts.scenario.advance(now):
            self._rows_are_whole = False
            self._switched()
        for stage in parts.recordings:
            stage.advance(now)
        is_busy = parts.live is not None and parts.live.advance(parts.keeper)
        if now >= self._duties_due:
            self._duties_due = now + DUTY_SECONDS
            self.attend(now)
        stages = [*parts.recordings, *([parts.scenario.stage] if parts.scenario.stage else [])]
        next_time = min((each.next_time() for each in stages), default=self._duties_due)
        return 0.0 if is_busy else min(next_time, self._duties_due) - self._monotonic()

    def attend(self, now: float) -> None:
        """The duties: time passes, what failed is repeated, rows and runs are written."""
        parts = self.parts
        for line in self._lines():
            if line.is_idle:
                parts.keeper.tick(line)
        parts.keeper.settle()
        parts.scenario.attend(now)
        self._write_rows(now)
        if parts.history is not None:
            parts.history.attend(parts.keeper.books.values())

    def close(self) -> None:
        """An orderly end: clients learn at once that the books are no longer fed."""
        self.parts.keeper.close()
        self._write_rows(float("inf"))
        self.parts.scenario.close()

    def figures(self) -> Figures:
        """The figures of all lines together."""
        parts, lines = self.parts, self._lines()
        ended, counts = (
            parts.scenario.ended,
            [line.queue.counts if isinstance(line, LiveLine) else line.flow.queue.counts for line in lines],
        )
        queues = [line.queue if isinstance(line, LiveLine) else line.flow.queue for line in lines]
        stages = [line for line in lines if isinstance(line, Stage)]
        books = {name: BookState(each.machine.state, each.not_live_seconds()) for name, each in list(parts.keeper.books.items())}
        return Figures(
            scenario=parts.scenario.name,
            processed=ended.processed + sum(each.processed for each in counts),
            queue_size=sum(each.size for each in queues),
            queue_max=sum(each.limit for each in queues) or self._queue_max,
            peak=sum(each.peak_since_last() for each in queues),
            dropped=ended.dropped + sum(each.dropped for each in counts),
            lag=max((_lag(line) for line in lines), default=0.0),
            backpressure=ended.backpressure + sum(each.flow.backpressure() for each in stages),
            processing_ms=parts.keeper.processing_ms,
            books=books,
        )

    def _lines(self) -> Lines:
        parts = self.parts
        stage = parts.scenario.stage
        return [*([parts.live] if parts.live else []), *parts.recordings, *([stage] if stage else [])]

    def _write_rows(self, now: float) -> None:
        """Write the rows of the books that have changed; once a second those of all."""
        keeper, is_all = self.parts.keeper, now >= self._all_rows_due or not self._rows_are_whole
        books = [each for each in keeper.books.values() if is_all or each.is_changed]
        if not books and self._rows_are_whole:
            return
        rows = {each.instrument: row for each in books if (row := self._row(each)) is not None}
        if self.parts.outlet.put_rows(rows, whole=not self._rows_are_whole):
            self._rows_are_whole = True
            for book in books:
                book.is_changed = False
            if is_all:
                self._all_rows_due = self._monotonic() + ALL_ROWS_SECONDS

    def _row(self, book: KeptBook) -> dict[str, object] | None:
        try:
            return book.row()
        except (ArithmeticError, ValueError) as error:  # levels with which nothing can be computed
            book.served = None
            self.parts.keeper.fail(book, error)
            return None


def _lag(line: LiveLine | Stage) -> float:
    return line.lag() if isinstance(line, LiveLine) else line.flow.lag()
