"""Interface of all sources, translation of their errors, and their retry delays.

A source has two halves: `fetch` does the I/O and waits, `parse` is pure. `jobs.feeds.ingest` runs
it and does the work that sources share: restarts, states, publishing.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from config.pacing import backoff
from config.secrets import scrub
from db.admission import Mode, Refusals
from db.admitted import UsualBatch
from db.candles import CandleRow
from db.instruments import Instrument
from db.messages import Tick, Trade

if TYPE_CHECKING:
    import httpx

Raw = TypeVar("Raw")

FIRST_DELAY = 0.8  # seconds; the first retry follows within a second
LONGEST_DELAY = 30.0
SPREAD = 0.5


class State(StrEnum):
    """State of a source, as logs and /health name it."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"  # connected, but silent for longer than `stale_after`; live sources only
    BACKING_OFF = "backing_off"
    DOWN = "down"
    ENDED = "ended"  # a recording that has ended


class Source(ABC, Generic[Raw]):
    """One source of prices. Call its methods from one thread.

    `name` stands in logs, in health and in the store; it is unique within a process. `stale_after`
    is the number of seconds without any message, heartbeats included, after which the source is
    stale; None: never. The source itself decides when a silent connection is closed, and raises
    `Silent` then.
    """

    name: str
    stale_after: float | None = None
    mode: Mode = "live"  # in which its records are admitted
    # Both are set by `Ingest`: `note_bad` counts and logs a fault, `count_refused` counts its kind.
    note_bad: Callable[[ValueError], None] = staticmethod(lambda error: None)
    count_refused: Callable[[str], None] = staticmethod(lambda kind: None)

    @abstractmethod
    def fetch(self, stop: threading.Event) -> Generator[Raw, None, None]:
        """Connect, wait, and yield each arrival, heartbeats too, until `stop` is set.

        Returns before `stop` only if the source has ended for good. Called again after an error, it
        continues: nothing is yielded twice. Raises `SourceError` only.
        """

    @abstractmethod
    def parse(self, raw: Raw) -> Sequence[Tick | Trade] | UsualBatch:
        """The ticks and trades of one arrival, in order, possibly none.

        Pure. Only the format is checked: `note_bad` is called with the fault of every message that
        cannot be read. `Ingest` checks the values.
        """

    def prices(self, raw: Raw, trades: Sequence[Trade] | UsualBatch) -> Sequence[Tick]:
        """The ticks that the admitted trades of an arrival make. Pure."""
        return ()

    def set_instruments(self, instruments: Sequence[Instrument], latest: Mapping[str, str] | None = None) -> None:
        """Feed these instruments from now on. Any thread may call it while `fetch` runs.

        `latest` maps instruments to their latest mid prices. A stream connects again at once.
        """


@dataclass(frozen=True, slots=True)
class RefusedTrade:
    """A trade of a history that cannot be used: its id and the kind of its refusal."""

    trade_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class TradePage:
    """One page of a history, read item by item.

    `trades` are the admitted trades, by id. `refused` are the others that have a readable id.
    `last_id` is the largest id on the page, refused trades included.
    """

    trades: Sequence[Trade]
    refused: Sequence[RefusedTrade]
    last_id: int


@dataclass(frozen=True, slots=True)
class CandlePage:
    """One page of a history, read item by item.

    `candles` are the admitted candles, oldest first. `reached` is the end of the last candle on the
    page in contract form, refused candles included.
    """

    candles: Sequence[CandleRow]
    reached: str


class TradeHistory(Protocol):
    """The past trades of an exchange, by id. Every method raises `SourceError` or `Stopped`.

    `refused` counts the trades that were left out.
    """

    refused: Refusals

    def first_id_at(self, symbol: str, moment: datetime, stop: threading.Event) -> int | None:
        """The id of the first trade at or after `moment`; None if there is none yet."""

    def trades(self, symbol: str, first_id: int, stop: threading.Event, *, last_id: int | None = None) -> Iterator[TradePage]:
        """Pages of the trades from `first_id` to `last_id`, or to the newest trade.

        The iterator ends only if the history has proven its end: by an empty page, or by an id at
        or beyond `last_id`.
        """


class CandleHistory(Protocol):
    """The past candles of a broker, by time. Every method raises `SourceError` or `Stopped`.

    `refused` counts the candles that were left out.
    """

    refused: Refusals

    def candles(self, instrument: str, interval: str, start: datetime, end: datetime, stop: threading.Event) -> Iterator[CandlePage]:
        """Pages of the complete candles with `start` <= start time < `end`, oldest first.

        The iterator ends only if the history has proven its end: by an empty page, or by a candle
        at or beyond `end`. Raises `Unproven` if the history has no more at present.
        """

    def close(self) -> None:
        """Close every connection."""


class SourceError(Exception):
    """The only exception that leaves a source. No text of it contains a secret.

    `fatal`: a retry cannot help, an operator must act. `retry_after` is the wait in seconds that
    the server requested. The message is our own and may be published. `server_text` is a text of
    the server, for logs and operators only; it is empty if there is none.
    """

    def __init__(self, message: str, *, fatal: bool, retry_after: float | None = None, server_text: str = "") -> None:
        super().__init__(scrub(message))
        self.fatal = fatal
        self.retry_after = retry_after
        self.server_text = scrub(server_text)[:_MAX_SERVER_TEXT]

    @property
    def explanation(self) -> str:
        """The message with the text of the server."""
        return f"{self}: {self.server_text}" if self.server_text else str(self)


class Unproven(SourceError):
    """The history has no more at present, and its end is not proven."""

    def __init__(self, message: str) -> None:
        super().__init__(message, fatal=False)


class BadInput(Exception):
    """The input of the source cannot be used: a file of unknown format, a refused token."""


class Silent(Exception):
    """The connection was silent for too long."""


_STATUSES = frozenset(HTTPStatus)
_MAX_SERVER_TEXT = 200
_FATAL = (BadInput, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
# Bad request, bad token, not allowed, no such account or instrument, not served in this country.
_FATAL_STATUS = frozenset({400, 401, 403, 404, 405, 451})
_LONGEST_RETRY_AFTER = 3600.0


def as_source_error(error: Exception) -> SourceError:
    """Translate any failure of a source; only here transient and fatal errors are separated."""
    import httpx  # commands without a source start without both
    import websockets

    if isinstance(error, SourceError):
        return error
    if isinstance(error, httpx.HTTPStatusError):
        return _refused(error.response.status_code, error.response.headers, _server_text(error.response))
    if isinstance(error, websockets.InvalidStatus):
        return _refused(error.response.status_code, error.response.headers, error.response.reason_phrase)
    if isinstance(error, websockets.ConnectionClosed):
        frame = "without a close frame" if error.rcvd is None else f"with code {error.rcvd.code}"
        return SourceError(f"the server closed the connection {frame}", fatal=False, server_text=str(error))
    if isinstance(error, httpx.RemoteProtocolError):
        return SourceError("the server's answer is incomplete or no HTTP", fatal=False, server_text=str(error))
    if isinstance(error, websockets.InvalidHandshake):
        return SourceError("the server's answer is no WebSocket handshake", fatal=False, server_text=str(error))
    own_texts = (BadInput, Silent, OSError, httpx.ConnectError, httpx.TimeoutException, httpx.InvalidURL)
    if isinstance(error, own_texts):  # they contain nothing that a server sent
        return SourceError(str(error) or type(error).__name__, fatal=isinstance(error, _FATAL))
    # Texts of libraries may quote what the server sent.
    return SourceError(f"failed with {type(error).__name__}", fatal=False, server_text=str(error))


def _refused(status: int, headers: Mapping[str, str], server_text: str) -> SourceError:
    """The error of an HTTP status, without headers and URL of the request: they hold tokens and
    account numbers.
    """
    phrase = HTTPStatus(status).phrase if status in _STATUSES else "refused"
    return SourceError(
        f"HTTP {status}: {phrase}", fatal=status in _FATAL_STATUS, retry_after=_retry_after(headers), server_text=server_text
    )


def _server_text(response: httpx.Response) -> str:
    """The error text in the body, from OANDA's `errorMessage` or Binance's `msg`, else the phrase
    of the status.
    """
    import httpx

    try:
        body = response.json()
        return str(body.get("errorMessage") or body["msg"])
    except (ValueError, KeyError, AttributeError, httpx.StreamError):
        return response.reason_phrase


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return min(max(0.0, float(headers["Retry-After"])), _LONGEST_RETRY_AFTER)
    except (KeyError, ValueError):
        return None


def retry_delay(attempt: int, jitter: float) -> float:
    """Seconds to wait before retry `attempt` (from 1) of a source, a gap filler or a bus call.

    `jitter` in [0, 1] moves the delay within its upper half.
    """
    return backoff(attempt, first=FIRST_DELAY, longest=LONGEST_DELAY, jitter=jitter, spread=SPREAD)
