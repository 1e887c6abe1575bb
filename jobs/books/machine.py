"""State machine of one book: buffer, continuity, refresh, audit and staleness. Pure.

Inputs are the methods: messages, snapshots, tickers, changes of the connection, and `tick` with the
time. Each returns the outputs in order: publications and requests. Handle them before the next
input, because `BookSnapshot` and `BookUpdate` refer to the `book` as it is then.

`now` is a clock in seconds of any epoch. `received` is the receipt of a message on the same clock.
"""

from __future__ import annotations

from jobs.books.messages import Diff, Snapshot, Ticker
from jobs.books.parts.diff_buffer import DiffBuffer
from jobs.books.parts.states import Output, Reason, State, StateChange
from jobs.books.parts.transitions import Transitions
from jobs.books.sequence import SEEN, Gap, Rule


class BookMachine(Transitions):
    """The book of one instrument; `jitter` returns a random number in [0, 1]."""

    def start(self, now: float) -> list[Output]:
        """Announce the book."""
        self._outputs.append(StateChange(self.state, None, self.reason, None))
        return self._finish(now)

    def connected(self, now: float) -> list[Output]:
        """A new connection: its diffs do not continue those of the one before."""
        self._lose_connection(now)
        self._times.reset()
        self.audit.forget_tickers()
        if self.state is State.STALE:
            self._change(State.RESYNCING, self.reason, now)
        return self._finish(now)

    def disconnected(self, now: float) -> list[Output]:
        """The connection is lost."""
        self._lose_connection(now)
        return self._finish(now)

    def diff(self, diff: Diff, received: float, now: float) -> list[Output]:
        """The next depth message."""
        self.last_message = now
        is_late = self._times.delay(received, diff.event_ms) >= self._options.stale_after
        if self._is_chained and self.update_id is not None:
            place = self._rule.place(self.update_id, diff)
            if place is not SEEN:
                if isinstance(place, Gap):
                    self._break(Reason.MISSING_UPDATE, now, place)
                    self._buffer_diff(diff, now)
                else:
                    self._apply(diff, is_late, now)
        else:
            if self.state is State.STALE:
                self._change(State.RESYNCING, self.reason, now)
            self._buffer_diff(diff, now)
        return self._finish(now)

    def bad_message(self, now: float) -> list[Output]:
        """A depth message cannot be parsed: its diff is lost."""
        self.last_message = now
        self._break(Reason.BAD_MESSAGE, now)
        return self._finish(now)

    def overflow(self, now: float) -> list[Output]:
        """Messages were discarded because a queue is full."""
        self.audit.forget_tickers()
        if self.state in (State.SYNCING, State.RESYNCING):
            self._break_chain()
            self._buffer_is_full(now)
        elif self._is_chained:
            self._break(Reason.OVERFLOW, now)
        return self._finish(now)

    def scenario(self, now: float) -> list[Output]:
        """A scenario is switched, or its recording starts again: ids and times begin anew."""
        self._times.reset()
        self.audit.forget_tickers()
        self._break_chain()
        self._requests.stop()
        if self.state in (State.LIVE, State.STALE):
            self._change(State.RESYNCING, Reason.SCENARIO if self.state is State.LIVE else self.reason, now)
        return self._finish(now)

    def switch(self, rule: Rule, now: float) -> list[Output]:
        """Another exchange is played: its ids, times and rule replace those of the one before."""
        outputs = self.scenario(now)
        self._rule, self.update_id, self.event_ms = rule, None, None
        self._buffer = DiffBuffer(rule, self._options.buffer_max)
        return outputs

    def snapshot(self, snapshot: Snapshot, now: float, number: int | None = None) -> list[Output]:
        """A snapshot: the answer to request `number`, or None if nobody requested it."""
        if self._requests.is_current(number) and self.state is not State.STALE:
            if number is not None:
                self._requests.answered()
            self._waiting = snapshot
            self._join(now)
        return self._finish(now)

    def snapshot_failed(self, now: float, number: int | None = None, retry_after: float | None = None) -> list[Output]:
        """The request failed; `retry_after` is the server's wait in seconds."""
        if not self._requests.is_idle and self._requests.is_current(number):
            self._request_failed(now, retry_after)
        return self._finish(now)

    def ticker(self, ticker: Ticker, now: float) -> list[Output]:
        """A book ticker, the second source of the best levels."""
        if self.audit.add_ticker(ticker):
            self._audit_failed(now)
        return self._finish(now)

    def tick(self, now: float) -> list[Output]:
        """Time has passed. Call it if no message waits, so that a busy process is not silence."""
        if self._requests.is_unanswered(now):
            self._request_failed(now, None)
        if self.state is State.LIVE and now - self.last_message >= self._options.stale_after:
            self._become_stale(Reason.SILENT, now)
        return self._finish(now)
