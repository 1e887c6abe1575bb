"""Transitions of one book: chain, snapshots, refresh and staleness. Pure.

`jobs.books.machine` has the inputs that cause them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.books.book import Book
from jobs.books.messages import Diff, Snapshot
from jobs.books.parts.audit import Audit
from jobs.books.parts.diff_buffer import Chain, DiffBuffer, NotJoined
from jobs.books.parts.event_times import EventTimes
from jobs.books.parts.snapshot_requests import SnapshotRequests
from jobs.books.parts.states import BookSnapshot, BookUpdate, Output, Reason, SnapshotRequest, State, StateChange
from jobs.books.sequence import Gap, Rule

_UPDATE = BookUpdate()
REFRESH_SECONDS = 10.0  # at least, between two requests for a refresh


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """`BOOK_REFRESH_LEVELS`, `BOOK_STALE_AFTER`, `BOOK_BUFFER_MAX`, and `BOOK_AUDIT` is `on`."""

    refresh_levels: int = 150
    stale_after: float = 5.0
    buffer_max: int = 5_000
    audit_is_on: bool = True


class Transitions:
    """The state of one book, and the steps that change it."""

    def __init__(self, rule: Rule, options: MachineOptions, jitter: Callable[[], float], now: float) -> None:
        self.state = State.SYNCING
        self.reason = Reason.START
        self.since = now  # of the state
        self.book = Book()
        self.update_id: int | None = None  # of the book, None before the first one
        self.event_ms: int | None = None  # event time of its last diff
        self.last_message = now
        self.resyncs = 0
        self.audit = Audit()
        self._rule = rule
        self._options = options
        self._requests = SnapshotRequests(jitter)
        self._buffer = DiffBuffer(rule, options.buffer_max)
        self._waiting: Snapshot | None = None  # newer than all diffs so far
        self._is_chained = False  # the book and all diffs since its snapshot are unbroken
        self._next_refresh = now
        self._times = EventTimes()
        self._outputs: list[Output] = []

    # the chain

    def _apply(self, diff: Diff, is_late: bool, now: float) -> None:
        """Apply the next diff of the chain, and judge the book."""
        try:
            self.book.apply(diff.bids, diff.asks)
        except (TypeError, ValueError):
            self._break(Reason.BAD_MESSAGE, now)
            return
        self.update_id, self.event_ms = diff.last_id, diff.event_ms
        if not self._buffer.add(diff, keeps_all=not self._requests.is_idle or self._waiting is not None):
            self._buffer_is_full(now)
        if not self._is_chained:
            return
        if self.book.is_crossed:
            self._break(Reason.CROSSED, now)
        elif not self.book.has_both_sides:
            self._become_thin(now)
        elif is_late:
            if self.state is State.LIVE:
                self._become_stale(Reason.SILENT, now)
        elif self.state is not State.LIVE:
            self._go_live(now)
        else:
            self._publish_change(diff.last_id, now)
            return
        if self._waiting is not None:
            self._join(now)

    def _publish_change(self, update_id: int, now: float) -> None:
        """Publish a diff of a live book, after the comparisons that are possible now."""
        if self._waiting is not None:
            self._join(now)
        if self.state is State.LIVE and self.audit.add_best(update_id, *self.book.best):
            self._audit_failed(now)
        if self.state is State.LIVE and not self._outputs:  # else the snapshot of a refresh
            self._outputs.append(_UPDATE)

    def _become_thin(self, now: float) -> None:
        """A side has no proven level. The chain goes on: the levels may come back."""
        if self.state is State.LIVE:
            self.audit.forget_checks()
            self._change(State.RESYNCING, Reason.THIN, now)
        elif self.state is State.STALE:
            self._change(State.RESYNCING, self.reason, now)
        if self._requests.is_idle and self._waiting is None:
            self._requests.want(now)

    def _become_stale(self, reason: Reason, now: float) -> None:
        self.audit.forget_checks()
        self._waiting = None
        self._requests.stop()
        self._change(State.STALE, reason, now)

    def _go_live(self, now: float) -> None:
        """Publish the book as live; if it is live already, a refresh has replaced it."""
        if self.state is State.LIVE:
            self.reason = Reason.REFRESHED
        else:
            self._change(State.LIVE, self.reason, now)
        self._outputs.append(BookSnapshot(self.reason))

    def _break(self, reason: Reason, now: float, gap: Gap | None = None) -> None:
        """The chain is broken, or the book is wrong: a new snapshot is needed."""
        was_chained = self._is_chained
        self._break_chain()
        if self.state is State.LIVE:
            self._change(State.GAP, reason, now, gap)
        if self.state in (State.GAP, State.STALE):
            self._change(State.RESYNCING, self.reason, now, gap)
        if was_chained:
            self._requests.want(now)

    def _break_chain(self) -> None:
        """Free all that depends on the diffs so far; a snapshot under way is still awaited."""
        self._is_chained = False
        self._buffer.clear()
        self._waiting = None
        self.audit.forget_checks()

    def _lose_connection(self, now: float) -> None:
        self._break_chain()
        self._requests.stop()
        if self.state is State.LIVE:
            self._change(State.STALE, Reason.DISCONNECTED, now)

    def _buffer_is_full(self, now: float) -> None:
        """Free the buffer. No diff is lost: a thin book goes on with its chain."""
        if self.state is State.LIVE:
            self._break(Reason.OVERFLOW, now)
            return
        self._buffer.clear()
        self._waiting = None
        self._repeat_state(Reason.OVERFLOW)
        self._requests.want(now)

    def _audit_failed(self, now: float) -> None:
        if self._options.audit_is_on and self.state is State.LIVE:
            self._break(Reason.DIVERGED, now)

    # snapshots

    def _buffer_diff(self, diff: Diff, now: float) -> None:
        """Keep a diff for the snapshot; request one if none is on its way."""
        if not self._buffer.add(diff, keeps_all=True):
            self._buffer_is_full(now)
        elif self._waiting is not None:
            self._join(now)
        elif self._requests.is_idle:
            self._requests.want(now)

    def _join(self, now: float) -> None:
        """Build a book from the waiting snapshot and the buffered diffs."""
        snapshot = self._waiting
        if snapshot is None:
            return
        joined = self._buffer.join(snapshot, self.update_id if self._is_chained else None)
        if isinstance(joined, Chain):
            self._waiting = None
            self._take(joined, now)
        elif joined is NotJoined.NEEDS_SNAPSHOT:
            self._waiting = None
            if self.state is not State.LIVE and self._requests.is_idle:
                self._requests.repeat(now)

    def _take(self, chain: Chain, now: float) -> None:
        """Replace the book, after a comparison if the old one is live."""
        if self.state is State.LIVE and not self.audit.add_snapshot(is_equal=chain.book.equals(self.book)):
            self._break(Reason.DIVERGED, now)
            return
        self.book, self.update_id, self.event_ms = chain.book, chain.update_id, chain.event_ms or self.event_ms
        self._is_chained = True
        self._buffer.clear()
        if not self.book.is_crossed and self.book.has_both_sides:
            self._requests.stop()
            self._go_live(now)
            return
        if self.book.is_crossed:
            self._break_chain()
        elif self.state is State.LIVE:
            self._change(State.RESYNCING, Reason.THIN, now)
        self._requests.repeat(now)

    def _request_failed(self, now: float, retry_after: float | None) -> None:
        if self.state is State.LIVE:
            self._requests.stop()
            self._next_refresh = max(self._next_refresh, now + (retry_after or 0.0))
        else:
            self._requests.repeat(now, retry_after)
            self._repeat_state(Reason.SNAPSHOT_FAILED)

    # outputs

    def _change(self, state: State, reason: Reason, now: float, gap: Gap | None = None) -> None:
        ids = (gap.expected_id, gap.received_id) if gap else (None, None)
        self._outputs.append(StateChange(state, self.state, reason, self.update_id, *ids))
        self.state, self.reason, self.since = state, reason, now
        self.resyncs += state is State.RESYNCING

    def _repeat_state(self, reason: Reason) -> None:
        """Publish a reason; the state and the reason of the episode are unchanged."""
        self._outputs.append(StateChange(self.state, self.state, reason, self.update_id))

    def _finish(self, now: float) -> list[Output]:
        """Send the request that is due, and return the outputs."""
        is_refresh = self.state is State.LIVE
        may_refresh = is_refresh and now >= self._next_refresh and self._requests.is_idle and self._waiting is None
        if may_refresh and self.book.needs_refresh(self._options.refresh_levels):
            self._next_refresh = now + REFRESH_SECONDS
            self._requests.want(now)
        if (number := self._requests.take_due(now)) is not None:
            self._outputs.append(SnapshotRequest(number, is_refresh))
        outputs, self._outputs = self._outputs, []
        return outputs
