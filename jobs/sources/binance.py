"""Binance's combined streams: every trade, and the best bid and ask, of a few symbols over one WebSocket.

This is the busiest feed there is, so what is done for each message is little: the trades of a batch are decoded once, book tickers only
where they are the newest of their symbol. `docs/ingest.md` has the figures.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import lru_cache

import orjson
import websockets
from websockets.sync.client import ClientConnection, connect

from db.bus import Tick, Trade
from db.decimals import is_decimal
from jobs.sources.base import BadInput, Silent, Source, as_source_error
from jobs.sources.bulk_websocket import BulkConnection

log = logging.getLogger(__name__)

NAME = "binance"
BATCH = 4000  # messages in one batch, but for what the last reading brings beyond it
LIFETIME = 23.5 * 3600  # seconds; the exchange ends a connection after 24 hours, at a moment of its own choosing
_LOOK = 0.5  # seconds between looks at `stop`
_LARGEST = 64 * 1024  # bytes of one message; real ones have 200
_QUEUE = (4, 1)  # readings: from the first number on the socket is not read, until there are no more than the second
_COMPLAIN_EVERY = 60.0  # seconds, for each kind of garbage
# Where a stream's name begins in a message, and by which place it has ended.
_NAME_FROM, _NAME_TO = len('{"stream":"'), 64
_LARGEST_ID = 2**63
_NO_TIME = float("nan")  # which nothing equals, whatever a message may hold
_Books = Mapping[str, tuple[str, str]]  # symbol -> best bid, best ask


@dataclass(frozen=True, slots=True)
class Batch:
    """What arrived together: the messages but for the book tickers, and the newest book known by then."""

    messages: tuple[bytes, ...]
    books: _Books


class Leave(Exception):
    """This connection is about to end; a new one is there for the asking."""


class BinanceSource(Source[Batch]):
    """Live trades of `symbols`, and the prices they make; `url` is the streams' host.

    A price is the last trade's, with the best bid and ask next to it: an instrument has none before its first book ticker. Trades of
    one instrument that arrived together make one price; every one of them is passed on. `instruments` are the symbols that exist.

    A connection is given up after `silence` seconds without a message, and renewed after `lifetime` seconds. `garbage` counts what could
    not be read, by kind.
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
        lifetime: float = LIFETIME,
        ping_interval: float = 20.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.garbage: dict[str, int] = {}
        self._symbols = frozenset(symbol.upper() for symbol in symbols)
        self._unknown = sorted(self._symbols.difference(instruments))
        streams = (f"{symbol.lower()}@{kind}" for symbol in sorted(self._symbols) for kind in ("trade", "bookTicker"))
        self._url = f"{url.rstrip('/')}/stream?streams={'/'.join(streams)}"
        self._silence = silence
        self._lifetime = lifetime
        self._ping_interval = ping_interval
        self._monotonic = monotonic
        self._complained: dict[str, float] = {}  # kind of garbage -> when that was logged

    def fetch(self, stop: threading.Event) -> Generator[Batch, None, None]:
        if self._unknown:
            raise as_source_error(BadInput(f"BINANCE_SYMBOLS names no instruments of {NAME}: {', '.join(self._unknown)}"))
        if stop.is_set():
            return
        try:
            with connect(
                self._url,
                compression=None,
                open_timeout=5,
                close_timeout=1,
                ping_interval=self._ping_interval,
                ping_timeout=20,
                max_size=_LARGEST,
                max_queue=_QUEUE,
                create_connection=BulkConnection,
            ) as connection:
                yield from self._batches(connection, stop)
        except (OSError, websockets.WebSocketException, Silent, Leave) as error:
            raise as_source_error(error) from error

    def parse(self, raw: Batch) -> list[Tick | Trade]:
        trades = read_trades(raw.messages, self._symbols, self._complain)
        return [*trades, *prices_of(trades, raw.books)]

    def _batches(self, connection: ClientConnection, stop: threading.Event) -> Generator[Batch, None, None]:
        books: _Books = {}  # of this connection: what an earlier one told is too old
        began = self._monotonic()
        while (received := self._receive(connection, stop)) is not None:
            messages, newest = split(received)
            if newest:
                books = {**books, **self._read_books(newest)}
            yield Batch(messages, books)
            if any(map(is_farewell, messages)):
                raise Leave("the exchange announced its shutdown (serverShutdown)")
            if self._monotonic() - began >= self._lifetime:
                raise Leave("connection renewed before the exchange ends it")

    def _receive(self, connection: ClientConnection, stop: threading.Event) -> list[bytes] | None:
        """Wait for a message and take all that are ready, up to a batch; None once `stop` is set."""
        waits_since = self._monotonic()
        received: list[bytes] = []
        while not stop.is_set():
            try:
                received += connection.recv(timeout=min(_LOOK, self._silence), decode=False).split(b"\n")
                while len(received) < BATCH:
                    received += connection.recv(timeout=0, decode=False).split(b"\n")
            except TimeoutError:
                pass
            if received:
                return received
            if self._monotonic() - waits_since >= self._silence:
                raise Silent(f"connected, but silent for {self._silence:g} s")
        return None

    def _read_books(self, messages: Iterable[bytes]) -> dict[str, tuple[str, str]]:
        books = {}
        for message in messages:
            try:
                symbol, bid, ask = read_book(message, self._symbols)
            except ValueError as error:
                self._complain(str(error))
            else:
                books[symbol] = (bid, ask)
        return books

    def _complain(self, kind: str) -> None:
        self.garbage[kind] = self.garbage.get(kind, 0) + 1
        now = self._monotonic()
        if now - self._complained.get(kind, -_COMPLAIN_EVERY) >= _COMPLAIN_EVERY:
            self._complained[kind] = now
            log.warning(
                "useless message skipped; more of the kind within a minute are not told",
                extra={"source": NAME, "reason": kind, "count": self.garbage[kind]},
            )


def split(received: Iterable[bytes]) -> tuple[tuple[bytes, ...], list[bytes]]:
    """Apart from each other: the messages that are no book tickers, and the last book ticker of each stream."""
    messages = []
    newest: dict[bytes, bytes] = {}
    for message in received:
        if message.find(b'@trade"', _NAME_FROM, _NAME_TO) > 0:
            messages.append(message)
        elif (end := message.find(b'@bookTicker"', _NAME_FROM, _NAME_TO)) > 0:
            newest[message[_NAME_FROM:end]] = message
        else:
            messages.append(message)
    return tuple(messages), list(newest.values())


def is_farewell(message: bytes) -> bool:
    """Whether it is the event `serverShutdown`, wrapped as in combined streams or not."""
    if message.find(b"serverShutdown", 0, 2 * _NAME_TO) < 0:
        return False
    try:
        event = orjson.loads(message)
        return bool(event.get("data", event)["e"] == "serverShutdown")
    except (ValueError, AttributeError, KeyError, TypeError):
        return False


def read_trades(messages: Iterable[bytes], symbols: Collection[str], on_garbage: Callable[[str], None]) -> list[Trade]:
    """The trades of `symbols` among the messages, in order; `on_garbage` hears of what kind everything else is."""
    trades: list[Trade] = []
    moment, moment_text = _NO_TIME, ""
    for message in messages:
        try:
            data = orjson.loads(message)["data"]
            symbol, number, price, quantity, maker = data["s"], data["t"], data["p"], data["q"], data["m"]
            if data["T"] != moment:
                moment_text = contract_time(data["T"])
                moment = data["T"]
            if symbol not in symbols or data["e"] != "trade":
                raise ValueError("not a trade that was asked for")
            if not (is_decimal(price) and is_decimal(quantity) and price.strip("0.") and quantity.strip("0.")):
                raise ValueError("trade whose price or quantity is not a decimal above 0")
            if type(number) is not int or not 0 <= number < _LARGEST_ID or type(maker) is not bool:
                raise ValueError("trade without id or side")
        except orjson.JSONDecodeError:
            on_garbage("not JSON")
        except (KeyError, TypeError):
            if not is_farewell(message):
                on_garbage("not a trade")
        except ValueError as error:
            on_garbage(str(error))
        else:
            trades.append(Trade(symbol, number, moment_text, price, quantity, "sell" if maker else "buy"))
    return trades


def prices_of(trades: Sequence[Trade], books: _Books) -> list[Tick]:
    """One price for each instrument that traded and whose book is known: the newest trade's, with the volume of all of them."""
    by_symbol: dict[str, dict[int, Trade]] = {}
    for trade in trades:
        by_symbol.setdefault(trade[0], {})[trade[1]] = trade
    ticks = []
    for symbol, by_id in by_symbol.items():
        if symbol in books:
            newest = by_id[max(by_id)]
            bid, ask = books[symbol]
            ticks.append(Tick(symbol, bid=bid, ask=ask, mid=newest.price, time=newest.time, source=NAME, volume=_volume(by_id.values())))
    return ticks


def read_book(message: bytes, symbols: Collection[str]) -> tuple[str, str, str]:
    """Symbol, best bid and best ask of a book ticker; `ValueError` names the kind of anything else."""
    try:
        data = orjson.loads(message)["data"]
        symbol, bid, ask = data["s"], data["b"], data["a"]
        good = symbol in symbols and is_decimal(bid) and is_decimal(ask) and 0 < Decimal(bid) <= Decimal(ask)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise ValueError("useless book ticker")
    return symbol, bid, ask


def contract_time(moment: object) -> str:
    """The exchange's time, milliseconds (13 digits) or microseconds (16) since 1970, in contract form; `ValueError` for all else."""
    if type(moment) is int:
        if 10**12 <= moment < 10**13:
            return f"{_second(moment // 1000)}{moment % 1000:03d}000Z"
        if 10**15 <= moment < 10**16:
            return f"{_second(moment // 1_000_000)}{moment % 1_000_000:06d}Z"
    raise ValueError("no time in milliseconds or microseconds")


@lru_cache(maxsize=128)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def _volume(trades: Iterable[Trade]) -> str:
    with localcontext(prec=100):
        return format(sum((Decimal(trade.quantity) for trade in trades), Decimal(0)), "f")
