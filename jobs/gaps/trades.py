"""The holes in an exchange's trades: found in the store, filled from the exchange's history, reported where it lacks them too."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from db import topics
from db.bus import BusError
from db.gaps import Gap, advance_watermark, explain_open, narrow, open_gaps, reopen, set_state
from db.messages import Trade, trade_lines
from db.postgres import Store
from db.trades import insert_trades, latest_ids
from jobs.feeds.base import SourceError
from jobs.feeds.http_json import Stopped

log = logging.getLogger(__name__)

STEPS = 20  # of a symbol's watermark in a row, then others have their turn
PAGES = 100  # of one hole's trades, likewise
LONGEST = 50_000_000  # trades: weeks of the busiest symbol; more than that is history, which an operator has to ask for
SETTLED = timedelta(seconds=60)  # the exchange's history may be behind its stream: only after so long is its "no such trade" believed
PATIENCE = 3.0  # seconds to wait for what is on its way to the store; while trades pour in, something always is

_LOOK = 0.1  # seconds between looks at the bus
_TELL_EVERY = 10.0  # seconds between log lines about a long fill
_ABSENT = "the exchange's history does not have them"


class TradeHistory(Protocol):
    """What is asked of an exchange's history; see `jobs.feeds.binance.history`."""

    def trades(self, symbol: str, first_id: int, stop: threading.Event, *, last_id: int | None = None) -> Iterator[list[Trade]]:
        """Pages of the trades from `first_id` to `last_id`, or to the newest."""


class Backlog(Protocol):
    """What is asked of the bus."""

    def unstored(self, channel: str) -> int:
        """How many entries of the channel the store does not hold yet; `BusError`."""


@dataclass(slots=True)
class _Progress:
    """How far one symbol's fill has come, told now and then."""

    symbol: str
    monotonic: Callable[[], float]
    stored: int = 0
    told: float = field(init=False)

    def __post_init__(self) -> None:
        self.told = self.monotonic()

    def add(self, trades: int, at: Trade) -> None:
        """So many trades more were stored, the last of them `at`."""
        self.stored += trades
        if self.monotonic() - self.told >= _TELL_EVERY:
            self.told = self.monotonic()
            log.info("missing trades are being stored", extra={"symbol": self.symbol, "stored": self.stored, "reached": at.time})


class TradeGaps:
    """The trades of `symbols` from one `source`. One thread calls it.

    Nothing is remembered of holes but what the store says; what is remembered, `_tails`, is due after every start anyway.
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
        pages: int = PAGES,
        longest: int = LONGEST,
        settled: timedelta = SETTLED,
        patience: float = PATIENCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._symbols = [symbol.upper() for symbol in symbols]
        self._history = history
        self._store = store
        self._bus = bus
        self._clock = clock
        self._pages = pages
        self._longest = longest
        self._settled = settled
        self._patience = patience
        self._monotonic = monotonic
        self._begun = False
        self._tails: set[str] = set()  # symbols of which the newest trades may be missing with nothing stored after them

    def round(self, reconnected: bool, stop: threading.Event) -> bool:
        """Look and fill once; whether there is more to do at once. After a connection was made (`reconnected`) the newest trades of each
        symbol are asked for too: nothing may have followed them that would show the hole.

        A symbol that the exchange refuses does not hold up the others. Raises `SourceError` where the exchange is away, `StoreError`,
        or `Stopped`.
        """
        if reconnected:
            self._tails.update(self._symbols)
        self._begin()
        self._await_writer(stop)
        more = self._find_holes(stop)
        try:
            more = self._fill_tails(stop) or more
            with self._store.transaction() as cursor:
                gaps = open_gaps(cursor, self._source)
            for gap in gaps:
                more = self._fill(gap, stop) or more
        except SourceError as error:
            # Whether it was tried or not: why a hole is still open can be read.
            with self._store.transaction() as cursor:
                explain_open(cursor, self._source, str(error), self._clock())
            raise
        return more

    def _begin(self) -> None:
        """Once a process: what could not be filled before is tried again."""
        if not self._begun:
            with self._store.transaction() as cursor:
                reopen(cursor, self._source, self._clock())
            self._begun = True

    def _await_writer(self, stop: threading.Event) -> None:
        """Wait a while for what is merely on its way to the store: it would be fetched for nothing."""
        deadline = self._monotonic() + self._patience
        try:
            while self._bus.unstored(topics.TRADES) > 0 and self._monotonic() < deadline:
                if stop.wait(_LOOK):
                    raise Stopped
        except BusError:
            return  # nothing comes from there at present

    def _fill_tails(self, stop: threading.Event) -> bool:
        """Fill the tails that are due, and find the holes that this leaves; whether there is more."""
        due = [symbol for symbol in self._symbols if symbol in self._tails]
        more = [self._fill_tail(symbol, stop) for symbol in due]
        return any([*more, due and self._find_holes(stop)])

    def _fill_tail(self, symbol: str, stop: threading.Event) -> bool:
        """Fetch what follows the last stored trade, until the live stream's trades do; whether there is more."""
        with self._store.transaction() as cursor:
            last = latest_ids(cursor, [symbol]).get(symbol)
        if last is None:
            self._tails.discard(symbol)  # nothing was promised yet: the live stream begins
            return False
        try:
            for number, (page, newest) in enumerate(self._store_pages(symbol, last + 1, None, stop), 1):
                if newest > page[-1].trade_id:
                    break  # the live stream has reached the store: what lies between is a hole with two ends
                if number == self._pages:
                    return True
        except SourceError as error:
            self._give_up(symbol, error)
        self._tails.discard(symbol)
        return False

    def _find_holes(self, stop: threading.Event) -> bool:
        """Move every symbol's watermark, by so many steps at most: a store full of history is walked without keeping all else waiting."""
        more = [self._walk(symbol, stop) for symbol in self._symbols]  # all of them: `any` would end with the first
        return any(more)

    def _walk(self, symbol: str, stop: threading.Event) -> bool:
        more, holes, steps = True, 0, 0
        while more and steps < STEPS and not stop.is_set():
            with self._store.transaction() as cursor:
                step = advance_watermark(cursor, self._source, symbol, self._clock())
            more, holes, steps = step.more, holes + step.holes, steps + 1
        if holes:
            log.warning("trades are missing", extra={"source": self._source, "symbol": symbol, "holes": holes})
        return more

    def _fill(self, gap: Gap, stop: threading.Event) -> bool:
        """Fill what is left of a gap, as far as can be; whether there is more to do at once."""
        more = False
        for part in self._narrow(gap):
            if part.hole.missing > self._longest:
                self._set(part, "unfillable", f"longer than {self._longest} trades: left to `manage.py backfill`")
                continue
            try:
                pages = sum(1 for _ in self._store_pages(part.symbol, part.hole.first_id, part.hole.last_id, stop))
            except SourceError as error:
                self._give_up(part.symbol, error)
                self._set(part, "open", str(error))
                continue
            left = self._narrow(part)
            if pages == self._pages:
                more = more or bool(left)
            else:
                self._judge(left)
        return more

    def _store_pages(self, symbol: str, first: int, last: int | None, stop: threading.Event) -> Iterator[tuple[list[Trade], int]]:
        """Fetch and store up to `pages` pages, each in a transaction: (page, id of the symbol's last stored trade)."""
        progress = _Progress(symbol, self._monotonic)
        try:
            for number, page in enumerate(self._history.trades(symbol, first, stop, last_id=last), 1):
                if stop.is_set():
                    raise Stopped
                with self._store.transaction() as cursor:
                    stored = insert_trades(cursor, trade_lines(page)).new
                    newest = latest_ids(cursor, [symbol])[symbol]
                progress.add(stored, page[-1])
                yield page, newest
                if number == self._pages:
                    break
        finally:
            if progress.stored:
                log.info("missing trades are stored", extra={"source": self._source, "symbol": symbol, "trades": progress.stored})

    def _judge(self, left: Sequence[Gap]) -> None:
        """The exchange was asked for these and did not give them: once that is old enough to be believed, they are given up."""
        for gap in left:
            if self._clock() - gap.detected >= self._settled:
                self._set(gap, "unfillable", _ABSENT)
                log.warning(
                    "trades are missing for good",
                    extra={"source": self._source, "symbol": gap.symbol, "first": gap.hole.first_id, "last": gap.hole.last_id},
                )
            else:
                self._set(gap, "open", _ABSENT)

    def _narrow(self, gap: Gap) -> list[Gap]:
        with self._store.transaction() as cursor:
            return narrow(cursor, self._source, gap, self._clock())

    def _set(self, gap: Gap, state: str, reason: str) -> None:
        with self._store.transaction() as cursor:
            set_state(cursor, gap, state, reason, self._clock())

    def _give_up(self, symbol: str, error: SourceError) -> None:
        """After the exchange's refusal: go on with the others where it is about this symbol alone, else raise it."""
        if not error.fatal:
            raise error
        log.error("the exchange refuses to tell of a symbol", extra={"source": self._source, "symbol": symbol, "reason": str(error)})
