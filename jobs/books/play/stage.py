"""A stage: one run of a scenario or one recording, with its books. One thread uses it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from jobs.books.book import Book, Level
from jobs.books.keeping.keeper import Keeper
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.parts.states import StateChange
from jobs.books.play.flow import Flow
from jobs.books.play.plan import Plan
from jobs.books.play.runs import Overloads, Run
from jobs.books.play.shadow import ShadowBooks
from jobs.feeds.scenario.messages import Played


class Stage:
    """The line of the books that a plan plays: it gives them the messages of its flow.

    `origin` is the monotonic time of the flow's 0; set it when the stage begins. `clock` is the
    monotonic clock; in virtual time it is None, and the work of the books takes no time.
    """

    is_live = False

    def __init__(
        self,
        plan: Plan,
        keeper: Keeper,
        *,
        origin: float,
        started: datetime,
        snapshot_levels: int,
        clock: Callable[[], float] | None,
    ) -> None:
        self.plan = plan
        self.origin = self._now = origin
        self._keeper = keeper
        self._snapshot_levels = snapshot_levels
        self._requests: dict[str, deque[int]] = {}  # instrument -> numbers of its requests, in their order
        self._skipped: set[str] = set()  # instruments whose restart was older than the book
        self._shadow = ShadowBooks(Book) if plan.is_scenario else None
        self.flow = Flow(
            plan.scenario,
            plan.recordings,
            self,
            snapshot_levels=snapshot_levels,
            new_book=Book if plan.is_scenario else None,
            loop=plan.loop,
            before_faults=self._follow,
            clock=(lambda: 0.0) if clock is None else (lambda: clock() - self.origin),
        )
        flow = self.flow
        overloads = Overloads(flow.speeds, rate=flow.player.rate, mean_delay=plan.scenario.mean_delay)
        self.run = Run(plan.run_id, plan.scenario, started, speeds=flow.speeds, overloads=overloads, effects=flow.faults.effects)

    @property
    def instruments(self) -> tuple[str, ...]:
        return self.flow.player.instruments

    def market(self, instrument: str) -> str:
        """The rule of an instrument: that of its first recording."""
        return next(each.facts.rule for each in self.plan.recordings if instrument in each.facts.instruments)

    # the worker

    def advance(self, now: float) -> None:
        """Do everything up to `now`, on the monotonic clock."""
        self._now = now
        until = now - self.origin
        if until > self.flow.now or self.flow.next_time() <= until:
            self.flow.advance(until)

    def next_time(self) -> float:
        """The time of the next event, on the monotonic clock."""
        return float("inf") if self.has_ended else self.origin + self.flow.next_time()

    @property
    def has_ended(self) -> bool:
        """True after the end of a recording that plays once."""
        return self.flow.player.ended and self.flow.is_idle

    @property
    def is_idle(self) -> bool:
        """True if no message waits."""
        return self.flow.is_idle

    # the line of the books

    def present(self) -> float:
        flow = self.origin + self.flow.present()
        return max(flow, self._now) if self.has_ended else flow

    def queue_size(self) -> int:
        return self.flow.queue.size

    def request_snapshot(self, instrument: str, number: int, is_refresh: bool) -> None:
        self._requests.setdefault(instrument, deque()).append(number)
        self.flow.request_snapshot(instrument)

    def changed(self, instrument: str, change: StateChange) -> None:
        if change.previous is not None and change.previous is not change.state:
            self.run.note_state(change.previous, change.state, change.reason)

    def published(self, instrument: str, update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        if self._shadow is not None:
            self._shadow.check(instrument, update_id, bids, asks)
            self.run.wrong_books = self._shadow.wrong

    def publish_delay(self) -> float:
        return self.flow.faults.slow_ms("slow_bus", self.flow.now) / 1_000

    def statement_delay(self) -> float:
        """Seconds to wait before the next statement: the fault `slow_database`."""
        return self.flow.faults.slow_ms("slow_database", self.flow.now) / 1_000

    # the flow

    def receive(self, message: Played, now: float) -> None:
        """A message from the worker of the flow, as all methods of this part: see `Books`."""
        if (book := self._book(message.instrument)) is None:
            return
        keeper, received = self._keeper, self.origin + message.due
        if message.kind == "diff":
            keeper.diff(book, message.text, received, message.recorded)
        elif message.kind == "ticker":
            keeper.ticker(book, message.text, received)
        elif message.kind == "snapshot":
            if message.instrument in self._skipped:
                self._skipped.discard(message.instrument)
            else:
                keeper.snapshot(book, message.text, received)
        elif message.kind == "restart":
            self._restart(book, message)
        elif message.kind == "disconnected":
            keeper.disconnected(book)
        else:
            keeper.connected(book)

    def overflow(self, instrument: str, now: float) -> None:
        if (book := self._book(instrument)) is not None:
            self._keeper.overflow(book)

    def snapshot(self, instrument: str, text: bytes, now: float) -> None:
        if (book := self._book(instrument)) is not None:
            self._keeper.snapshot(book, text, self.origin + now, limit=self._snapshot_levels, number=self._answered(instrument))

    def snapshot_failed(self, instrument: str, retry_after: int | None, now: float) -> None:
        if (book := self._book(instrument)) is not None:
            self._keeper.snapshot_failed(book, self._answered(instrument), retry_after)

    def _restart(self, book: KeptBook, message: Played) -> None:
        """A recording begins; a book that is newer already, from a later snapshot, ignores it."""
        own = book.machine.update_id
        if own is not None and own >= message.last_id:
            self._skipped.add(book.instrument)
        else:
            self._skipped.discard(book.instrument)
            self._keeper.restart(book)

    def _answered(self, instrument: str) -> int:
        """The number of the request that is answered now: all of them take the same time."""
        return self._requests[instrument].popleft()

    def _book(self, instrument: str) -> KeptBook | None:
        """The book; None if another line has it."""
        book = self._keeper.books.get(instrument)
        return book if book is not None and book.line is self else None

    def _follow(self, message: Played) -> None:
        if self._shadow is not None:
            self._shadow.follow(message)
