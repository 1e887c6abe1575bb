"""Live source of Binance: combined streams of trades and best quotes over one WebSocket.

This is the busiest feed, so the work per message is small: messages arrive in bulk, the trades of a
batch are read together, and only the newest book ticker of a symbol is read. `docs/ingest.md` has
the figures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from db.admitted import UsualBatch
from db.instruments import Instrument
from db.messages import Tick, Trade
from jobs.feeds.base import BadInput, Source, as_source_error
from jobs.feeds.binance.connection import CONNECTION_SECONDS, CombinedStreams, check_shutdown
from jobs.feeds.binance.messages import NAME, Books, prices_of, read_book, read_trades, split
from jobs.feeds.renewal import Renewal

MAX_MESSAGE_BYTES = 64 * 1024  # real messages have about 200


@dataclass(frozen=True, slots=True)
class ReceivedBatch:
    """Messages that arrived together, without book tickers, and the newest book of each symbol."""

    messages: tuple[bytes, ...]
    books: Books


class BinanceSource(Source[ReceivedBatch]):
    """Live trades of `symbols`, and the prices that they make; `url` is the host of the streams.

    A price is the last trade's, with the best bid and ask at that time: an instrument has no price
    before its first book ticker. Trades of one instrument that arrive together make one price; each
    trade is published. `instruments` are the existing symbols.

    A connection is closed after `silence` seconds without a message, and renewed after `lifetime`
    seconds. `garbage` counts unreadable messages by kind.
    """

    name = NAME
    stale_after = 10.0

    def __init__(
        self,
        url: str,
        symbols: Collection[str],
        instruments: Collection[str],
        *,
        silence: float = 30.0,
        lifetime: float = CONNECTION_SECONDS,
        ping_interval: float = 20.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.garbage: dict[str, int] = {}
        self._symbols = frozenset(symbol.upper() for symbol in symbols)
        self._unknown = sorted(self._symbols.difference(instruments))
        self._requested = self._symbols  # of the present connection
        self._renewal = Renewal()
        self._streams = CombinedStreams(
            url,
            max_message_bytes=MAX_MESSAGE_BYTES,
            silence=silence,
            lifetime=lifetime,
            ping_interval=ping_interval,
            monotonic=monotonic,
        )

    def fetch(self, stop: threading.Event) -> Generator[ReceivedBatch, None, None]:
        if self._unknown:
            raise as_source_error(BadInput(f"BINANCE_SYMBOLS names no instruments of {NAME}: {', '.join(self._unknown)}"))
        while not stop.is_set():
            self._renewal.begin(stop)
            self._requested = self._symbols
            if self._requested:
                yield from self._connection(self._renewal)
            else:
                self._renewal.wait()

    def set_instruments(self, instruments: Sequence[Instrument], latest: Mapping[str, str] | None = None) -> None:
        """Connect again if the instruments have changed."""
        wanted = frozenset(each.symbol for each in instruments)
        if wanted != self._symbols:
            self._symbols = wanted
            self._renewal.ask()

    def _connection(self, end: threading.Event) -> Generator[ReceivedBatch, None, None]:
        names = [f"{symbol.lower()}@{kind}" for symbol in sorted(self._requested) for kind in ("trade", "bookTicker")]
        books: Books = {}  # of this connection; those of an earlier one are too old
        with closing(self._streams.batches(names, end)) as batches:
            for received in batches:
                messages, newest, others = split(received)
                if newest:
                    books = {**books, **self._read_books(newest)}
                yield ReceivedBatch(messages, books)
                check_shutdown(others)

    def parse(self, raw: ReceivedBatch) -> list[Trade] | UsualBatch:
        return read_trades(raw.messages, self._requested, self._note_garbage)

    def prices(self, raw: ReceivedBatch, trades: Sequence[Trade] | UsualBatch) -> list[Tick]:
        return prices_of(trades, raw.books)

    def _read_books(self, messages: Iterable[bytes]) -> dict[str, tuple[str, str]]:
        books = {}
        for message in messages:
            try:
                symbol, bid, ask = read_book(message, self._requested)
            except ValueError as error:
                self._note_garbage(error)
            else:
                books[symbol] = (bid, ask)
        return books

    def _note_garbage(self, error: ValueError) -> None:
        self.garbage[str(error)] = self.garbage.get(str(error), 0) + 1
        self.note_bad(error)
