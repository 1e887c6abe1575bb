"""Gap filling of trades: gaps are found in the store and filled from the exchange's history.

A gap that the history cannot fill is reported. `db/gaps.py` has the SQL.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from config.pacing import Stopped
from db import topics
from db.admission import MAX_AHEAD_SECONDS, Window, market_window
from db.bus import BusError
from db.gaps import Gap, advance_watermark, explain_open, is_filled, narrow, open_gaps, reopen, report_unusable, set_state
from db.instruments import all_instruments
from db.messages import Trade, trade_lines
from db.postgres import Cursor, Store
from db.timestamps import format_time
from db.trades import insert_trades, latest_ids
from jobs.feeds.base import SourceError, TradeHistory, TradePage

log = logging.getLogger(__name__)

MAX_STEPS_PER_ROUND = 20  # of one symbol's watermark; then the other symbols follow
MAX_PAGES_PER_ROUND = 100  # of one gap's trades
# Weeks of the busiest symbol. A longer gap is history, which an operator must request.
MAX_TRADES_PER_HOLE = 50_000_000
# The history may be behind the stream. A missing trade is final only after this time.
SETTLING_TIME = timedelta(seconds=60)
# Time for trades on their way to the store; with a busy stream there are always some.
STORE_WAIT_SECONDS = 3.0

BUS_POLL_SECONDS = 0.1  # between two checks for unstored trades
_PROGRESS_LOG_SECONDS = 10.0  # between two log lines about a long fill
_ABSENT = "the exchange's history does not have them"


class Backlog(Protocol):
    """The part of the bus that gap filling needs."""

    def unstored(self, channel: str) -> int:
        """The number of entries of the channel that are not stored yet. Raises `BusError`."""


@dataclass(slots=True)
class _Progress:
    """Progress of one symbol's fill, logged every `_PROGRESS_LOG_SECONDS`."""

    symbol: str
    monotonic: Callable[[], float]
    stored: int = 0
    logged_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.logged_at = self.monotonic()

    def add(self, trades: int, at: Trade) -> None:
        """Count stored trades, of which `at` is the last."""
        self.stored += trades
        if self.monotonic() - self.logged_at >= _PROGRESS_LOG_SECONDS:
            self.logged_at = self.monotonic()
            log.info("missing trades are being stored", extra={"symbol": self.symbol, "stored": self.stored, "reached": at.time})


class TradeGaps:
    """Fills the trades of `symbols` from one `source`. Call it from one thread.

    All knowledge about gaps is in the store. `_tails` alone is kept in memory: after a start, all
    tails are due anyway.
    """

    def __init__(
        self,
        source: str,
        symbols: Sequence[str],
        history: TradeHistory,
        store: Store,
        bus: Backlog,
        clock: Callable[[], datetime],
        *,
        max_ahead_seconds: int = MAX_AHEAD_SECONDS,
        pages: int = MAX_PAGES_PER_ROUND,
        longest: int = MAX_TRADES_PER_HOLE,
        settled: timedelta = SETTLING_TIME,
        store_wait: float = STORE_WAIT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        filled: Callable[[int], None] = lambda number: None,
    ) -> None:
        """`filled` is called with the number of gaps that were filled."""
        self._source = source
        self._listed = frozenset(symbol.upper() for symbol in symbols)
        self._symbols: list[str] = []  # of them, those that are enabled
        self._history = history
        self._store = store
        self._bus = bus
        self._clock = clock
        self._max_ahead_seconds = max_ahead_seconds
        self._pages = pages
        self._longest = longest
        self._settled = settled
        self._patience = store_wait
        self._filled = filled
        self._monotonic = monotonic
        self._begun = False
        # Symbols whose newest trades may be missing, with no stored trade after them.
        self._tails: set[str] = set()

    def round(self, reconnected: bool, stop: threading.Event) -> bool:
        """Find and fill gaps once; return True if more is left to do at once.

        After a connection (`reconnected`), the newest trades of each symbol are fetched too: no
        later trade may show that they are missing. If the exchange refuses one symbol, the others
        continue. Raises `SourceError` if the exchange is unavailable, `StoreError`, or `Stopped`.
        """
        self._begin()
        if reconnected:
            self._tails.update(self._symbols)
        self._await_writer(stop)
        more = self._find_holes(stop)
        try:
            more = self._fill_tails(stop) or more
            with self._store.transaction() as cursor:
                gaps = open_gaps(cursor, self._source)
            for gap in gaps:
                more = self._fill(gap, stop) or more
        except SourceError as error:
            # The reason is stored with every open gap, tried or not.
            with self._store.transaction() as cursor:
                explain_open(cursor, self._source, str(error), self._clock())
            raise
        return more

    def _begin(self) -> None:
        """Read the enabled instruments. Once per process, reopen gaps that could not be filled."""
        with self._store.transaction() as cursor:
            self._symbols = [each.symbol for each in all_instruments(cursor) if each.symbol in self._listed]
            if not self._begun:
                reopen(cursor, self._source, self._clock())
        self._begun = True

    def _await_writer(self, stop: threading.Event) -> None:
        """Wait at most `store_wait` seconds for trades on their way to the store: they are not
        missing.
        """
        deadline = self._monotonic() + self._patience
        try:
            while self._bus.unstored(topics.TRADES) > 0 and self._monotonic() < deadline:
                if stop.wait(BUS_POLL_SECONDS):
                    raise Stopped
        except BusError:
            return  # without the bus, no trades arrive at present

    def _fill_tails(self, stop: threading.Event) -> bool:
        """Fill the due tails and find the resulting gaps; return True if more is left."""
        due = [symbol for symbol in self._symbols if symbol in self._tails]
        more = [self._fill_tail(symbol, stop) for symbol in due]
        return any([*more, due and self._find_holes(stop)])

    def _fill_tail(self, symbol: str, stop: threading.Event) -> bool:
        """Fetch the trades after the last stored one, up to the live stream's; return True if more
        is left.
        """
        with self._store.transaction() as cursor:
            last = latest_ids(cursor, [symbol]).get(symbol)
        if last is None:
            self._tails.discard(symbol)  # no trade is stored yet: the live stream begins
            return False
        try:
            begun = format_time(self._clock())
            for number, (page, newest) in enumerate(self._store_pages(symbol, last + 1, None, stop), 1):
                if newest > page.last_id:
                    break  # the live stream has reached the store: the rest is a gap with two ends
                if page.trades and page.trades[-1].time >= begun:
                    break  # everything that was missing at the beginning is stored
                if number == self._pages:
                    return True
        except SourceError as error:
            self._give_up(symbol, error)
        self._tails.discard(symbol)
        return False

    def _find_holes(self, stop: threading.Event) -> bool:
        """Advance every symbol's watermark by a limited number of steps; return True if more is
        left.

        The limit keeps a store full of history from delaying all other work.
        """
        more = [self._walk(symbol, stop) for symbol in self._symbols]  # a list, because `any` of a generator would stop at the first
        return any(more)

    def _walk(self, symbol: str, stop: threading.Event) -> bool:
        more, holes, steps = True, 0, 0
        while more and steps < MAX_STEPS_PER_ROUND and not stop.is_set():
            with self._store.transaction() as cursor:
                step = advance_watermark(cursor, self._source, symbol, self._clock(), window=self._window())
            more, holes, steps = step.more, holes + step.holes, steps + 1
        if holes:
            log.warning("trades are missing", extra={"source": self._source, "symbol": symbol, "holes": holes})
        return more

    def _fill(self, gap: Gap, stop: threading.Event) -> bool:
        """Fill the rest of a gap as far as possible; return True if more is left to do at once."""
        more = False
        for part in self._narrow(gap):
            if part.hole.missing > self._longest:
                self._set(part, "unfillable", f"longer than {self._longest} trades: left to `manage.py backfill`")
                continue
            try:
                pages = [page.refused for page, _ in self._store_pages(part.symbol, part.hole.first_id, part.hole.last_id, stop)]
            except SourceError as error:
                self._give_up(part.symbol, error)
                self._set(part, "open", str(error))
                continue
            unusable = {refused.trade_id for page in pages for refused in page}
            left = [each for each in self._narrow(part) if each.hole.missing > 1 or each.hole.first_id not in unusable]
            if len(pages) == self._pages:
                more = more or bool(left)
            else:
                self._judge(left)
        return more

    def _store_pages(self, symbol: str, first: int, last: int | None, stop: threading.Event) -> Iterator[tuple[TradePage, int]]:
        """Fetch and store up to `pages` pages, one transaction each.

        Trades that cannot be used become unfillable gaps. Yields each page with the id of the
        symbol's last stored trade.
        """
        progress = _Progress(symbol, self._monotonic)
        try:
            for number, page in enumerate(self._history.trades(symbol, first, stop, last_id=last), 1):
                if stop.is_set():
                    raise Stopped
                with self._store.transaction() as cursor:
                    stored = insert_trades(cursor, trade_lines(page.trades)).new if page.trades else 0
                    self._report_refused(cursor, symbol, page)
                    newest = latest_ids(cursor, [symbol]).get(symbol, 0)
                if page.trades:
                    progress.add(stored, page.trades[-1])
                yield page, newest
                if number == self._pages:
                    break
        finally:
            if progress.stored:
                log.info("missing trades are stored", extra={"source": self._source, "symbol": symbol, "trades": progress.stored})

    def _report_refused(self, cursor: Cursor, symbol: str, page: TradePage) -> None:
        near = page.trades[-1].time if page.trades else format_time(self._clock())
        for kind in {refused.kind for refused in page.refused}:
            ids = [(refused.trade_id, near) for refused in page.refused if refused.kind == kind]
            report_unusable(cursor, self._source, symbol, ids, kind, self._clock())

    def _judge(self, left: Sequence[Gap]) -> None:
        """Close the gaps that the exchange's history lacks, as soon as they are older than
        `settled`.
        """
        for gap in left:
            if self._clock() - gap.detected >= self._settled:
                self._set(gap, "unfillable", _ABSENT)
                log.warning(
                    "the exchange's history lacks trades",
                    extra={"source": self._source, "symbol": gap.symbol, "first": gap.hole.first_id, "last": gap.hole.last_id},
                )
            else:
                self._set(gap, "open", _ABSENT)

    def _narrow(self, gap: Gap) -> list[Gap]:
        with self._store.transaction() as cursor:
            left = narrow(cursor, self._source, gap, self._clock(), window=self._window())
            filled = not left and is_filled(cursor, gap)
        if filled:
            self._filled(1)
        return left

    def _window(self) -> Window:
        """The times that trades of the exchange may have now."""
        return market_window("live", "crypto", self._clock(), source=self._source, max_ahead_seconds=self._max_ahead_seconds)

    def _set(self, gap: Gap, state: str, reason: str) -> None:
        with self._store.transaction() as cursor:
            set_state(cursor, gap, state, reason, self._clock())

    def _give_up(self, symbol: str, error: SourceError) -> None:
        """Log the exchange's refusal of one symbol; raise any other error."""
        if not error.fatal:
            raise error
        log.error(
            "the exchange refuses requests for a symbol", extra={"source": self._source, "symbol": symbol, "reason": error.explanation}
        )
