"""Live order books of Binance: diffs and book tickers over one WebSocket, snapshots over REST.

The messages are passed on as received: the receiver reads them. `docs/adr/0064-*.md` has the
reasons of the limits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson

from config.pacing import StopSignal, Throttle
from config.settings import Settings
from db.timestamps import format_time, utc_now
from jobs.feeds.binance.connection import CONNECTION_SECONDS, CombinedStreams, check_shutdown
from jobs.feeds.binance.request_limits import RequestLimits
from jobs.feeds.binance.snapshots import ANSWER_SECONDS, Snapshots, SnapshotSink
from jobs.feeds.renewal import Restarts
from jobs.feeds.status import Status

log = logging.getLogger(__name__)

NAME = "binance-depth"  # in logs, in health and on the bus: the source of trades is another one
MAX_MESSAGE_BYTES = 4 * 2**20  # a diff may contain every level of a book
STALE_AFTER = 10.0  # seconds without any message
SILENCE = 30.0  # seconds without any message, after which the connection is closed
_STREAM_START = b'{"stream":"'
_STREAM_END = 96  # a stream's name ends before
_DOWN_SECONDS = 1.0  # between two checks of the stop
_LOOPS = 2  # that send requests: a slow answer delays only one of them


class DepthSink(SnapshotSink, Protocol):
    """The receiver. Its methods are called from the threads of the source, and never wait.

    `received` is a time of the monotonic clock.
    """

    def connected(self, instruments: Sequence[str], received: float) -> None:
        """A new connection carries the messages of these instruments from now on."""

    def disconnected(self, instruments: Sequence[str], received: float) -> None:
        """The connection of these instruments has ended."""

    def diff(self, instrument: str, text: bytes, received: float) -> None:
        """Take a message of `@depth@100ms`."""

    def ticker(self, instrument: str, text: bytes, received: float) -> None:
        """Take a message of `@bookTicker`."""


@dataclass(frozen=True, slots=True)
class Market:
    """The routes of one market: those of combined streams and of snapshots."""

    stream_path: str
    snapshot_path: str


# USD-M streams of books are below /public since 2026-04-23.
MARKETS = {"spot": Market("/stream", "/api/v3/depth"), "usdm": Market("/public/stream", "/fapi/v1/depth")}


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of a source, in seconds, and the limits of its requests."""

    silence: float = SILENCE
    lifetime: float = CONNECTION_SECONDS
    ping_interval: float = 20.0
    answer: float = ANSWER_SECONDS
    limits: RequestLimits | None = None


class BinanceDepth:
    """The books of `symbols` at one market. `loops` are its threads, `status` is its state.

    `ws_url` and `rest_url` are the hosts; a path in `ws_url` replaces that of the market. `limit`
    is the number of levels a side of a snapshot. `changed` is set when the state changes.
    `garbage` counts the messages of no known stream.
    """

    def __init__(
        self,
        market: str,
        ws_url: str,
        rest_url: str,
        symbols: Sequence[str],
        limit: int,
        sink: DepthSink,
        *,
        max_attempts: int,
        changed: threading.Event | None = None,
        pace: Pace | None = None,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        pace = pace or Pace()
        self.status = Status(NAME, clock, changed or threading.Event(), stale_after=STALE_AFTER, monotonic=monotonic)
        self.garbage = 0
        self._symbols = tuple(symbols)
        self._sink = sink
        # name of a stream -> its instrument, and the method that takes its messages
        self._streams: dict[bytes, tuple[str, Callable[[str, bytes, float], None]]] = {}
        for symbol in symbols:
            self._streams[f"{symbol.lower()}@depth@100ms".encode()] = symbol, sink.diff
            self._streams[f"{symbol.lower()}@bookTicker".encode()] = symbol, sink.ticker
        self._connection = CombinedStreams(
            ws_url,
            max_message_bytes=MAX_MESSAGE_BYTES,
            path=_path(ws_url, market),
            silence=pace.silence,
            lifetime=pace.lifetime,
            ping_interval=pace.ping_interval,
            monotonic=monotonic,
        )
        self._snapshots = Snapshots(
            rest_url, MARKETS[market].snapshot_path, limit, sink, limits=pace.limits, timeout=pace.answer, monotonic=monotonic
        )
        self._restarts = Restarts(self.status, max_attempts=max_attempts)
        self._clock = clock
        self._monotonic = monotonic
        self._throttle = Throttle(monotonic=monotonic)
        self._connected_since: datetime | None = None
        self._connections = 0

    def loops(self) -> Mapping[str, Callable[[StopSignal], None]]:
        """Name of a thread -> its loop, which runs until the stop is set."""
        requests = {f"depth-snapshots-{number}": self._snapshots.serve for number in range(1, _LOOPS + 1)}
        return {"depth": self.run, **requests}

    def request_snapshot(self, instrument: str, number: int, is_refresh: bool) -> None:
        """Answer later, by `snapshot` or `snapshot_failed` with this number."""
        self._snapshots.request(instrument, number, is_refresh=is_refresh)

    def connections(self) -> list[dict[str, Any]]:
        """The connection: its state, the time of its beginning, and the number of all so far."""
        since = self._connected_since
        return [
            {
                "source": NAME,
                "connected": since is not None,
                "since": None if since is None else format_time(since),
                "instruments": list(self._symbols),
                "count": self._connections,
                "garbage": self.garbage,
            }
        ]

    def run(self, stop: StopSignal) -> None:
        """Connect, and pass messages on, until `stop` is set."""
        self._restarts.run(self._drain, stop)
        while not stop.wait(_DOWN_SECONDS):  # the source is down for good
            pass

    def _drain(self, stop: StopSignal) -> None:
        try:
            with closing(self._connection.batches(map(bytes.decode, self._streams), stop, self._begin)) as batches:
                for messages in batches:
                    self.status.note_activity()
                    others = self._pass_on(messages, self._monotonic())
                    self.status.count(len(messages) - len(others))
                    self._restarts.succeeded()
                    self.status.enter_live()
                    check_shutdown(others)
        finally:
            self._end()

    def _begin(self) -> None:
        self._connected_since, self._connections = self._clock(), self._connections + 1
        self._sink.connected(self._symbols, self._monotonic())

    def _end(self) -> None:
        if self._connected_since is not None:
            self._connected_since = None
            self._snapshots.forget()
            self._sink.disconnected(self._symbols, self._monotonic())

    def _pass_on(self, messages: Sequence[bytes], received: float) -> list[bytes]:
        """Pass messages on; return those of no known stream."""
        others = []
        for message in messages:
            found = self._streams.get(_stream_of(message))
            if found is None:
                others.append(message)
                self._note_garbage(message)
            else:
                instrument, take = found
                take(instrument, message, received)
        return others

    def _note_garbage(self, message: bytes) -> None:
        self.garbage += 1
        if (count := self._throttle.due("garbage")) is not None:
            fields = {"source": NAME, "text": message[:100].decode(errors="replace"), "count": count}
            log.warning("skipped a message of no stream of order books (repeats suppressed for 60 s)", extra=fields)


def depth_source(settings: Settings, sink: DepthSink, *, changed: threading.Event | None = None) -> BinanceDepth:
    """The source of `BOOK_SYMBOLS`. Does no I/O."""
    return BinanceDepth(
        settings.book_market,
        settings.book_ws_url,
        settings.book_rest_url,
        settings.book_symbols,
        settings.book_snapshot_limit,
        sink,
        max_attempts=settings.max_reconnect_attempts,
        changed=changed,
        pace=Pace(silence=max(SILENCE, 2 * settings.book_stale_after)),
    )


def _path(url: str, market: str) -> str:
    """The path of combined streams below `url`."""
    return "/stream" if urlsplit(url).path.strip("/") else MARKETS[market].stream_path


def _stream_of(message: bytes) -> bytes:
    """The name of the stream in a message; empty if it has none."""
    if message.startswith(_STREAM_START):
        start = len(_STREAM_START)
        return message[start : message.find(b'"', start, _STREAM_END)]
    try:
        return str(orjson.loads(message)["stream"]).encode()
    except (ValueError, TypeError, LookupError):
        return b""
