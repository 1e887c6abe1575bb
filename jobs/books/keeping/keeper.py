"""All books of this process: messages in, publications and requests out. One thread uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from db.book_bodies import BookMessage
from db.timestamps import format_time
from jobs.books.keeping.book_log import BookLog
from jobs.books.keeping.kept_book import KeptBook, event_time, time_of
from jobs.books.keeping.line import Line
from jobs.books.keeping.measures import BookMeasures
from jobs.books.keeping.outlet import Outlet
from jobs.books.machine import BookMachine
from jobs.books.messages import read_diff, read_snapshot, read_ticker
from jobs.books.parts.states import BookSnapshot, BookUpdate, Output, Reason, SnapshotRequest, State, StateChange
from jobs.books.parts.transitions import MachineOptions
from jobs.books.sequence import RULES
from jobs.books.tops import DepthMessage, Facts, Tops, state_body

# Raised by tops and measures of levels that no reader refuses, but that cannot be computed with.
_UNUSABLE_LEVELS = (ArithmeticError, ValueError, TypeError, LookupError)


class Keeper:
    """The books by instrument. Each input of a machine ends with the handling of its outputs.

    `wall` is the time of day, `jitter` returns a random number in [0, 1].
    """

    def __init__(
        self,
        outlet: Outlet,
        options: MachineOptions,
        *,
        wall: Callable[[], datetime],
        monotonic: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.books: dict[str, KeptBook] = {}
        self.measures = BookMeasures()
        self._outlet = outlet
        self._options = options
        self._wall = wall
        self._monotonic = monotonic
        self._jitter = jitter
        self._epochs = outlet.epochs
        self._log = BookLog(monotonic)

    @property
    def processing_ms(self) -> float:
        """Duration of the last diff."""
        return self._log.processing_ms

    def begin(self, instrument: str, market: str, line: Line) -> KeptBook:
        """Begin to keep a book, or give a kept one to another line.

        The ids of another line begin anew.
        """
        now, rule = line.present(), RULES[market]
        book = self.books.get(instrument)
        if book is not None:
            book.line = line
            self._handle(book, book.machine.switch(rule, now), now)
            return book
        machine = BookMachine(rule, self._options, self._jitter, now)
        book = self.books[instrument] = KeptBook(instrument, machine, line, Tops(instrument), self._wall(), now)
        self._handle(book, machine.start(now), now)
        return book

    def drop(self, instrument: str) -> None:
        """Keep this book no longer."""
        self.measures.drop(self.books, instrument)

    # inputs; `received` is the receipt of the message

    def diff(self, book: KeptBook, text: bytes, received: float, recorded: float | None = None) -> None:
        """A depth message; `recorded` is its receipt on the clock of its recording, if any."""
        began = self._monotonic()
        now, measures = book.line.present(), self.measures
        published = measures.publish.total
        try:
            diff = read_diff(text)
        except ValueError as error:
            self._log.bad_message(book, "diff", error)
            self._handle(book, book.machine.bad_message(now), received)
        else:
            book.updates += 1
            book.levels += len(diff.bids) + len(diff.asks)
            if book.line.is_live:  # the events of recordings are old
                measures.exchange.observe(self._wall().timestamp() - (now - received) - diff.event_ms / 1_000)
            self._handle(book, book.machine.diff(diff, received if recorded is None else recorded, now), received)
        seconds = self._monotonic() - began
        measures.queue.observe(now - received)
        measures.apply.observe(seconds - (measures.publish.total - published))
        self._log.updated(book, seconds)

    def ticker(self, book: KeptBook, text: bytes, received: float) -> None:
        """A book ticker; one that cannot be read is skipped, because it is no part of the chain."""
        try:
            ticker = read_ticker(text)
        except ValueError as error:
            self._log.bad_message(book, "ticker", error)
            return
        self._handle(book, book.machine.ticker(ticker, book.line.present()), received)

    def snapshot(self, book: KeptBook, text: bytes, received: float, *, limit: int | None = None, number: int | None = None) -> None:
        """A snapshot with `limit` levels requested; `number` None: nobody requested it."""
        now = book.line.present()
        try:
            snapshot = read_snapshot(text, limit)
        except ValueError as error:
            self._log.bad_message(book, "snapshot", error)
            self._handle(book, book.machine.snapshot_failed(now, number), received)
        else:
            self._handle(book, book.machine.snapshot(snapshot, now, number), received)

    def snapshot_failed(self, book: KeptBook, number: int | None, retry_after: float | None) -> None:
        now = book.line.present()
        self._handle(book, book.machine.snapshot_failed(now, number, retry_after), now)

    def connected(self, book: KeptBook) -> None:
        now = book.line.present()
        self._handle(book, book.machine.connected(now), now)

    def disconnected(self, book: KeptBook) -> None:
        now = book.line.present()
        self._handle(book, book.machine.disconnected(now), now)

    def overflow(self, book: KeptBook) -> None:
        now = book.line.present()
        self._handle(book, book.machine.overflow(now), now)

    def restart(self, book: KeptBook) -> None:
        """A recording begins again."""
        now = book.line.present()
        self._handle(book, book.machine.scenario(now), now)

    def tick(self, line: Line) -> None:
        """Time has passed on a line without a waiting message."""
        now = line.present()
        for book in [each for each in self.books.values() if each.line is line]:
            self._handle(book, book.machine.tick(now), now)

    def fail(self, book: KeptBook, error: Exception) -> None:
        """Give up the levels of a book with which nothing can be computed."""
        self._log.bad_message(book, "book", error)
        now = book.line.present()
        self._handle(book, book.machine.bad_message(now), now)

    def close(self) -> None:
        """The process ends in order: clients learn at once that the books are no longer fed."""
        self._log.is_ending = True
        for book in list(self.books.values()):
            self.disconnected(book)

    def settle(self) -> None:
        """Publish what a failure has left: states, and a snapshot of each live book."""
        if self._outlet.epochs != self._epochs:
            self._epochs = self._outlet.epochs
            for book in self.books.values():
                book.owes_snapshot, book.in_chain = True, False
        if not self._outlet.flush():
            return
        for book in list(self.books.values()):
            if book.owes_snapshot and book.machine.state is State.LIVE:
                self._publish(book, book.machine.reason, book.received, is_snapshot=True)

    # outputs

    def _handle(self, book: KeptBook, outputs: Sequence[Output], received: float) -> None:
        book.is_changed, book.received = True, received
        for output in outputs:
            if isinstance(output, BookUpdate):
                self._publish(book, book.machine.reason, received, is_snapshot=not book.in_chain)
            elif isinstance(output, BookSnapshot):
                self._publish(book, output.reason, received, is_snapshot=True)
            elif isinstance(output, StateChange):
                self._change(book, output)
            elif isinstance(output, SnapshotRequest):
                book.line.request_snapshot(book.instrument, output.number, output.is_refresh)

    def _change(self, book: KeptBook, change: StateChange) -> None:
        wall, now = self._wall(), book.line.present()
        if change.state is State.LIVE:
            book.left_live = None
        else:
            book.in_chain = book.owes_snapshot = False
            book.left_live = now if book.left_live is None else book.left_live
        if change.state is not change.previous:
            book.since = wall
        if change.state is State.GAP:
            book.gaps[str(change.reason)] += 1
        if change.previous is State.LIVE and change.state is not State.LIVE:
            self._log.left_live(book, change)
        self.measures.changed(book, change, now)
        book.line.changed(book.instrument, change)
        self._outlet.wait(book.line.publish_delay())
        self._outlet.publish_state(state_body(book.instrument, change, format_time(wall)))

    def _publish(self, book: KeptBook, reason: Reason, received: float, *, is_snapshot: bool) -> None:
        """Publish the machine's book; after a failure the next message must be a snapshot."""
        try:
            facts = self._facts(book, reason, received)
            build = book.tops.snapshot if is_snapshot else book.tops.update
            messages = build(book.machine.book, facts)
        except _UNUSABLE_LEVELS as error:
            self.fail(book, error)
            return
        if not messages:
            return
        served = messages[-1].snapshot
        book.served = served
        book.line.published(book.instrument, served["update_id"], served["bids"], served["asks"])
        began = self._monotonic()
        if (delay := book.line.publish_delay()) > 0:
            self._outlet.wait(delay)
            self._set_time(book, messages, received)
        published = self._outlet.publish_books(self._messages(book, messages, received))
        book.in_chain, book.owes_snapshot = published, not published
        self.measures.publish.observe(self._monotonic() - began)

    def _facts(self, book: KeptBook, reason: Reason, received: float) -> Facts:
        wall, machine = self._wall(), book.machine
        event = wall if machine.event_ms is None else event_time(machine.event_ms)
        lag_ms = self._lag_ms(book, received)
        return Facts(machine.state, reason, machine.update_id or 0, format_time(event), format_time(wall), lag_ms)

    def _lag_ms(self, book: KeptBook, received: float) -> float:
        return round(max(0.0, book.line.present() - received) * 1_000, 3)

    def _set_time(self, book: KeptBook, messages: Sequence[DepthMessage], received: float) -> None:
        """Set the time of the publication anew, after a delay."""
        for message in messages:
            for body in (message.snapshot, message.update or {}):
                body.update(timestamp=format_time(self._wall()), lag_ms=self._lag_ms(book, received))

    def _messages(self, book: KeptBook, messages: Sequence[DepthMessage], received: float) -> list[BookMessage]:
        wall = self._wall()
        meta = {
            "received_at": time_of(wall, max(0.0, book.line.present() - received)),
            "processed_at": format_time(wall),
            "queue_size": book.line.queue_size(),
        }
        return [BookMessage(book.instrument, each.depth, each.update, each.snapshot, meta) for each in messages]
