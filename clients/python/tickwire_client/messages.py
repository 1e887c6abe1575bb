"""Messages of the hub as values.

Prices and volumes are `Decimal`s with the digits of the source, times are aware `datetime`s in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tickwire_client.book_messages import Book, BookState, ScenarioChanged, ServerHeartbeat

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Position:
    """Position of a message. `seq` rises by one per instrument and restarts in each `epoch`."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Quote:
    """A price. `time` is the time of the source."""

    instrument: str
    bid: Decimal
    ask: Decimal
    mid: Decimal
    time: datetime


@dataclass(frozen=True, slots=True)
class Tick(Quote):
    """A published price with its position.

    `timestamp` is the time at which the bus accepted it. `seq` and `epoch` are None if another
    program published it; such prices cannot be replayed. `snapshot` marks the current price at the
    start of a subscription.
    """

    timestamp: datetime | None
    seq: int | None
    epoch: str | None
    snapshot: bool = False

    @property
    def position(self) -> Position | None:
        return None if self.seq is None or self.epoch is None else Position(self.epoch, self.seq)

    def as_dict(self) -> Body:
        """The body of `price_update`: decimals and times as strings."""
        price = {name: format(getattr(self, name), "f") for name in ("bid", "ask", "mid")}
        body: Body = {"instrument": self.instrument, "price": {**price, "time": format_time(self.time)}}
        if self.timestamp is not None:
            body["timestamp"] = format_time(self.timestamp)
        return body if self.seq is None else {**body, "seq": self.seq, "epoch": self.epoch}


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that were missed. If REST has the prices, they follow.

    `missed` is their number; None means that the number is unknown and may be 0. `interval` is None
    for prices.

    | `reason` | cause |
    | --- | --- |
    | `not_recovered` | the outage was longer than the memory of the hub |
    | `new_epoch` | Redis has lost its data |
    | `skipped` | `seq` jumped: usually this machine or its network was slower than the hub |
    | `slow_consumer` | as `skipped`, for messages whose `seq` does not show it |
    | `slow_reader` | the program was slower than this client |
    | `not_stored` | they were not found in the history |
    """

    instrument: str
    missed: int | None
    reason: str
    interval: str | None = None
    # The prices on both sides, if the hub could not fill a resumption and both are known.
    after: Tick | None = field(default=None, compare=False, repr=False)
    before: Tick | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class CandleUpdate:
    """The current state of a candle; replaces the one with the same `start_time`.

    `end_time` is exclusive.
    """

    instrument: str
    interval: str
    start_time: datetime
    end_time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None
    complete: bool
    timestamp: datetime | None
    seq: int | None
    epoch: str | None


@dataclass(frozen=True, slots=True)
class Alert:
    """An own alert of this client. Its `id` stays the same over reconnections.

    `value` is a `Decimal` for prices and a float for volatility.
    """

    id: str
    instrument: str
    metric: str
    op: str
    value: Decimal | float
    once: bool


@dataclass(frozen=True, slots=True)
class AlertTriggered:
    """An own alert has fired at the value `current`. `seq` and `epoch` are those of the price."""

    id: str
    instrument: str
    metric: str
    op: str
    value: Decimal | float
    current: Decimal | float
    time: datetime
    once: bool
    timestamp: datetime | None
    seq: int | None
    epoch: str | None


@dataclass(frozen=True, slots=True)
class VolatilityAlert:
    """`severity` is `warning` or `critical`. Fields that the publisher omitted are None."""

    instrument: str
    volatility: float
    threshold: float | None
    severity: str
    message: str | None
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class CorrelationAlert:
    """The correlation of two instruments has changed by `change` from one day to the next."""

    instrument1: str
    instrument2: str
    correlation: float
    previous_correlation: float | None
    change: float | None
    threshold: float | None
    severity: str | None
    message: str | None
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class InstrumentsChanged:
    """Instruments were added or removed while the hub runs; `count` is their number now.

    The client is no longer subscribed to removed instruments. A subscription to `"all"` has the
    added ones: the client repeats it.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    count: int
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class DataReady:
    """New analytics are in the store.

    `data_type` is `hourly_candles`, `volatility` or `correlation_matrix`.
    """

    data_type: str
    instruments: tuple[str, ...]
    as_of: datetime | None
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class Connected:
    """The client has connected. `again` is False the first time only.

    `key_id` is the public id of the key, `scopes` are its rights, and `expires_at` is the time at
    which the credential expires. Each is None without a credential.
    """

    client_id: str
    available_pairs: tuple[str, ...]
    again: bool
    key_id: str | None = None
    scopes: tuple[str, ...] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is lost or an attempt to reconnect has failed.

    `reconnecting` is False if the client does not try again: it was closed, or the hub has refused
    its credential.
    """

    reason: str
    reconnecting: bool = True


@dataclass(frozen=True, slots=True)
class CredentialsExpiring:
    """The credential expires soon. The client calls the function `auth`, if there is one."""

    expires_at: datetime
    in_seconds: float


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The hub has accepted another token of the same user.

    `instruments` are the patterns of its rights. `removed` are the rooms that the client has left,
    because the new token has fewer rights.
    """

    expires_at: datetime | None
    scopes: tuple[str, ...]
    instruments: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """An `error` of the hub that answers no request, such as `unavailable` before it stops.

    The client itself adds `auth_failed`, if the function `auth` fails.
    """

    code: str
    message: str
    details: Body


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """A snapshot of the metrics. Sections that the iterator does not have are None.

    Amounts in a section are `Decimal`s, times are aware `datetime`s, absent figures are None.
    """

    timestamp: datetime
    seq: int
    epoch: str
    market_data: Body | None = None
    strategy: Body | None = None
    execution: Body | None = None
    system: Body | None = None


AlertItem = AlertTriggered | VolatilityAlert | CorrelationAlert | DataReady
ConnectionItem = Connected | Disconnected | CredentialsExpiring | Refreshed | Problem
BookItem = Book | BookState | ServerHeartbeat | ScenarioChanged
Item = Tick | Gap | CandleUpdate | AlertItem | InstrumentsChanged | ConnectionItem | MetricsSnapshot | BookItem


def parse_time(text: str) -> datetime:
    """Parse ISO 8601. A time without an offset is UTC."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def format_time(time: datetime) -> str:
    """The format of the protocol: UTC with microseconds and `Z`. A time without a zone is UTC."""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def optional_time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)
