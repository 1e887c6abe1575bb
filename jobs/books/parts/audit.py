"""Audit of a book by book tickers, the second source of its best levels. Pure.

Diffs and tickers are two streams without a common order. A diff that ends at `u` is checked as
soon as a ticker with a greater id has arrived, against the newest ticker with an id of at most `u`.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from jobs.books.book import Level
from jobs.books.messages import Ticker

MAX_CHECKS = 1_000  # that wait for a ticker; the oldest are given up
MAX_TICKERS = 5_000  # that wait for a diff; all are given up


class Audit:
    """Compares the best levels after each diff with those of the tickers."""

    def __init__(self) -> None:
        self.passed = self.failed = 0  # comparisons with tickers
        self.snapshots_passed = self.snapshots_failed = 0
        self._checks: deque[tuple[int, Level, Level]] = deque(maxlen=MAX_CHECKS)  # (id, best bid, best ask)
        self._tickers: deque[Ticker] = deque()  # after the newest checked diff
        self._before: Ticker | None = None  # the newest one up to that diff

    @property
    def checked(self) -> int:
        """The number of comparisons with tickers."""
        return self.passed + self.failed

    def add_snapshot(self, *, is_equal: bool) -> bool:
        """Count a comparison of the live book with a newer snapshot; return `is_equal`."""
        self.snapshots_passed += is_equal
        self.snapshots_failed += not is_equal
        return is_equal

    def add_best(self, update_id: int, bid: Level, ask: Level) -> bool:
        """Take the best levels after a diff; return True if a check finds a difference."""
        self._checks.append((update_id, bid, ask))
        return self._finds_difference()

    def add_ticker(self, ticker: Ticker) -> bool:
        """Take the next ticker; return True if a check finds a difference."""
        if self._tickers and ticker.update_id <= self._tickers[-1].update_id:
            return False
        if len(self._tickers) >= MAX_TICKERS:
            self.forget_tickers()
        self._tickers.append(ticker)
        return self._finds_difference()

    def forget_checks(self) -> None:
        """Give up the checks that wait: the book is no longer the published one."""
        self._checks.clear()

    def forget_tickers(self) -> None:
        """Give up the tickers: some may be missing between them and the next ones."""
        self._tickers.clear()
        self._before = None

    def _finds_difference(self) -> bool:
        found = False
        checks, tickers = self._checks, self._tickers
        while checks and tickers and tickers[-1].update_id > checks[0][0]:
            update_id, bid, ask = checks.popleft()
            while tickers[0].update_id <= update_id:
                self._before = tickers.popleft()
            if self._before is not None:
                if _equal(bid, self._before.bid) and _equal(ask, self._before.ask):
                    self.passed += 1
                else:
                    self.failed += 1
                    found = True
        return found


def _equal(one: Level, other: Level) -> bool:
    return one == other or [*map(Decimal, one)] == [*map(Decimal, other)]
