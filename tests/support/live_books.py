"""Live books without their process: the source of depth and one state machine for each book."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any

from jobs.books.book import Book
from jobs.books.machine import BookMachine
from jobs.books.messages import read_diff, read_snapshot, read_ticker
from jobs.books.parts.states import BookSnapshot, BookUpdate, Output, SnapshotRequest, State, StateChange
from jobs.books.parts.transitions import MachineOptions
from jobs.books.sequence import RULES
from jobs.feeds.binance.depth import BinanceDepth, Pace
from jobs.feeds.binance.request_limits import RequestLimits
from tests.standins.binance import BinanceStandIn
from tests.standins.binance_depth import DepthBooks
from tests.standins.binance_market import recorded

LEVELS = 20
LIMIT = 1_000
FAST = {"refresh_levels": 0, "stale_after": 60.0}  # machines that need no refresh, and are never silent


class LiveBooks:
    """The books of a stand-in, with a thread that gives them all calls of the source in order.

    `states` are (state, reason) of each change, without repeats of one state; `published` are
    (update id, best bids, best asks) of each message of a live book; `failures` are the waits of
    failed requests. All are by instrument.
    """

    def __init__(self, exchange: BinanceStandIn, *, pace: Pace | None = None, limit: int = LIMIT, **options: Any) -> None:
        self.states: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.published: dict[str, list[tuple[int, Any, Any]]] = defaultdict(list)
        self.refreshed: dict[str, int] = defaultdict(int)
        self.failures: dict[str, list[float | None]] = defaultdict(list)
        self.answers: dict[str, list[int]] = defaultdict(list)  # lastUpdateId of each snapshot
        self.diffs: dict[str, int] = defaultdict(int)
        self.stop = threading.Event()
        rule = RULES[exchange.market]
        made = MachineOptions(**{**FAST, **options})
        self.machines = {each: BookMachine(rule, made, lambda: 0.0, time.monotonic()) for each in exchange.symbols}
        pace = pace or Pace(limits=RequestLimits(most=1_000, refreshes=1_000))
        self.source = BinanceDepth(
            exchange.market, exchange.ws_url, exchange.rest_url, exchange.symbols, limit, self, max_attempts=1_000, pace=pace
        )
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    @contextmanager
    def running(self) -> Iterator[LiveBooks]:
        threads = [threading.Thread(target=loop, args=(self.stop,)) for loop in (*self.source.loops().values(), self._work)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()

    def is_live(self, *instruments: str) -> bool:
        return all(self.machines[each].state is State.LIVE for each in instruments or self.machines)

    # the source

    def connected(self, instruments: Sequence[str], received: float) -> None:
        for each in instruments:
            self._calls.put(partial(self._give, each, lambda machine: machine.connected(time.monotonic())))

    def disconnected(self, instruments: Sequence[str], received: float) -> None:
        for each in instruments:
            self._calls.put(partial(self._give, each, lambda machine: machine.disconnected(time.monotonic())))

    def diff(self, instrument: str, text: bytes, received: float) -> None:
        self._calls.put(partial(self._diff, instrument, text, received))

    def ticker(self, instrument: str, text: bytes, received: float) -> None:
        self._calls.put(partial(self._ticker, instrument, text))

    def snapshot(self, instrument: str, number: int, text: bytes, limit: int, received: float) -> None:
        self._calls.put(partial(self._snapshot, instrument, number, text, limit))

    def snapshot_failed(self, instrument: str, number: int, retry_after: float | None, received: float) -> None:
        self._calls.put(partial(self._failed, instrument, number, retry_after))

    # the worker

    def _work(self, stop: threading.Event) -> None:
        for instrument in self.machines:
            self._give(instrument, lambda machine: machine.start(time.monotonic()))
        while not stop.is_set():
            try:
                self._calls.get(timeout=0.02)()
            except queue.Empty:
                for instrument in self.machines:
                    self._give(instrument, lambda machine: machine.tick(time.monotonic()))

    def _diff(self, instrument: str, text: bytes, received: float) -> None:
        self.diffs[instrument] += 1
        try:
            diff = read_diff(text)
        except ValueError:
            self._give(instrument, lambda machine: machine.bad_message(time.monotonic()))
        else:
            self._give(instrument, lambda machine: machine.diff(diff, received, time.monotonic()))

    def _ticker(self, instrument: str, text: bytes) -> None:
        with suppress(ValueError):
            ticker = read_ticker(text)
            self._give(instrument, lambda machine: machine.ticker(ticker, time.monotonic()))

    def _snapshot(self, instrument: str, number: int, text: bytes, limit: int) -> None:
        try:
            snapshot = read_snapshot(text, limit)
        except ValueError:
            self._failed(instrument, number, None)
        else:
            self.answers[instrument].append(snapshot.last_id)
            self._give(instrument, lambda machine: machine.snapshot(snapshot, time.monotonic(), number))

    def _failed(self, instrument: str, number: int, retry_after: float | None) -> None:
        self.failures[instrument].append(retry_after)
        self._give(instrument, lambda machine: machine.snapshot_failed(time.monotonic(), number, retry_after))

    def _give(self, instrument: str, call: Callable[[BookMachine], list[Output]]) -> None:
        machine = self.machines[instrument]
        for output in call(machine):
            if isinstance(output, StateChange):
                if output.state is not output.previous:
                    self.states[instrument].append((str(output.state), str(output.reason)))
            elif isinstance(output, SnapshotRequest):
                self.source.request_snapshot(instrument, output.number, output.is_refresh)
            else:
                assert isinstance(output, BookSnapshot | BookUpdate)
                assert machine.state is State.LIVE
                self.refreshed[instrument] += isinstance(output, BookSnapshot) and output.reason == "refreshed"
                self.published[instrument].append((machine.update_id or 0, *_copied(machine.book)))


def _copied(book: Book) -> tuple[Any, Any]:
    bids, asks = book.top(LEVELS)
    return [list(each) for each in bids], [list(each) for each in asks]


@cache
def _truth(market: str, symbols: tuple[str, ...]) -> DepthBooks:
    return DepthBooks(recorded(symbols, kind=market))


def wrong_books(books: LiveBooks, exchange: BinanceStandIn) -> list[tuple[str, int]]:
    """The published books that differ from the exchange's at the same id."""
    truth = _truth(exchange.market, tuple(exchange.symbols))
    return [
        (instrument, update_id)
        for instrument, published in books.published.items()
        for update_id, bids, asks in published
        if not _agrees(truth.at(instrument, update_id, LEVELS), bids, asks)
    ]


def _agrees(true: tuple[Any, Any], bids: Any, asks: Any) -> bool:
    """True if the proven levels are the best ones of the exchange."""
    return bool(bids and asks and true[0][: len(bids)] == bids and true[1][: len(asks)] == asks)
