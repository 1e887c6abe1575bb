"""Messages of order books as values. Prices and quantities keep the digits of the exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple


class BookLevel(NamedTuple):
    """The quantity that is offered at a price."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class BookWindow:
    """Number of proven levels a side, and the prices between which every level is known.

    `low` or `high` is None if that side is known completely.
    """

    bids: int
    asks: int
    low: Decimal | None
    high: Decimal | None


@dataclass(frozen=True, slots=True)
class Book:
    """The best `depth` levels a side, the best one first, after a message of the hub.

    `verified` is True if the checksum agrees and no message was missed. If it is False, the client
    has requested the book again, and the levels are those of the last message that agreed.

    The levels are current if `state` is `live`; in `gap`, `resyncing` and `stale` they may be old.
    `window` is that of the last snapshot. `time` is the exchange's event time, `timestamp` the time
    at which the bus accepted the message, `lag_ms` the delay between receipt and publication.
    """

    instrument: str
    depth: int
    state: str
    reason: str
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    window: BookWindow
    update_id: int
    checksum: int
    time: datetime
    timestamp: datetime
    lag_ms: float
    seq: int
    epoch: str
    verified: bool


@dataclass(frozen=True, slots=True)
class BookState:
    """The state of a book has changed from `previous`, for example from `live` to `gap`.

    Until the next snapshot, the book is the last good one. `expected_id` and `received_id` are ids
    of the exchange around missing messages. `seq` and `epoch` are None if the hub itself reports
    the loss or the return of the process that keeps the books.
    """

    instrument: str
    state: str
    previous: str | None
    reason: str
    update_id: int | None
    expected_id: int | None
    received_id: int | None
    timestamp: datetime
    seq: int | None
    epoch: str | None


@dataclass(frozen=True, slots=True)
class ServerHeartbeat:
    """Status of the process that keeps the books; `books` is instrument -> state."""

    status: str
    uptime_seconds: float
    total_messages_processed: int
    current_queue_size: int
    memory_usage_mb: float
    active_clients: int
    current_scenario: str
    last_heartbeat: datetime
    lag_ms: float | None
    queue_max: int
    queue_peak: int
    books: Mapping[str, str]
    timestamp: datetime
    seq: int
    epoch: str


@dataclass(frozen=True, slots=True)
class ScenarioChanged:
    """Another scenario plays, or the same one from its beginning."""

    previous_scenario: str | None
    current_scenario: str
    run_id: str
    timestamp: datetime
    seq: int
    epoch: str
