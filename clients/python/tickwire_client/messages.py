"""What comes, as values. Prices and volumes are `Decimal`s with the digits the source gave, times are aware `datetime`s in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Position:
    """A message's place: `seq` rises by one per instrument, and begins anew with a new `epoch`."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Quote:
    """A price. `time` is the source's."""

    instrument: str
    bid: Decimal
    ask: Decimal
    mid: Decimal
    time: datetime


@dataclass(frozen=True, slots=True)
class Tick(Quote):
    """A price that came, with its place.

    `timestamp` is when the bus accepted it. `seq` and `epoch` are None where another program than Tickwire published it: nobody can catch
    up on those. `snapshot` marks the price that stood when the subscription began.
    """

    timestamp: datetime | None
    seq: int | None
    epoch: str | None
    snapshot: bool = False

    @property
    def position(self) -> Position | None:
        return None if self.seq is None or self.epoch is None else Position(self.epoch, self.seq)

    def as_dict(self) -> Body:
        """As the hub sends it: decimals as strings, times as text."""
        price = {name: format(getattr(self, name), "f") for name in ("bid", "ask", "mid")}
        body: Body = {"instrument": self.instrument, "price": {**price, "time": format_time(self.time)}}
        if self.timestamp is not None:
            body["timestamp"] = format_time(self.timestamp)
        return body if self.seq is None else {**body, "seq": self.seq, "epoch": self.epoch}


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that will not come: how many (`missed`; None where nobody knows whether or how many), and why.

    `reason`: `not_recovered` (away for longer than the hub remembers), `new_epoch` (Redis has lost its data), `skipped` (the numbers jump:
    mostly, this machine or its line did not keep up with the hub), `slow_consumer` (the same, where messages have no numbers),
    `slow_reader` (the program did not keep up with this client), `not_stored` (`stitch()` did not find them in the history). `interval`
    is that of candles, else None.
    """

    instrument: str
    missed: int | None
    reason: str
    interval: str | None = None


@dataclass(frozen=True, slots=True)
class CandleUpdate:
    """A whole candle as it stands: replace the one with the same `start_time`. `end_time` is exclusive."""

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
    """A threshold of this client's own. Prices are `Decimal`, volatility is a float. The `id` stays the same over reconnections."""

    id: str
    instrument: str
    metric: str
    op: str
    value: Decimal | float
    once: bool


@dataclass(frozen=True, slots=True)
class AlertTriggered:
    """An alert of this client's own has fired, at `current`. `seq` and `epoch` are those of the price."""

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
    """`severity` is `warning` or `critical`; what another program did not say is None."""

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
class DataReady:
    """New analytics are in the store: `data_type` is `hourly_candles`, `volatility` or `correlation_matrix`."""

    data_type: str
    instruments: tuple[str, ...]
    as_of: datetime | None
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class Connected:
    """The hub greets; `again` from the second time on."""

    client_id: str
    available_pairs: tuple[str, ...]
    again: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is lost, and the client is about to try again; or an attempt has failed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """An `error` of the hub that answers no request of this client's, such as `unavailable` before it stops."""

    code: str
    message: str
    details: Body


AlertItem = AlertTriggered | VolatilityAlert | CorrelationAlert | DataReady
Item = Tick | Gap | CandleUpdate | AlertItem | Connected | Disconnected | Problem


def parse_time(text: str) -> datetime:
    """ISO 8601; one without an offset is UTC."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def format_time(time: datetime) -> str:
    """As the protocol writes it: UTC, microseconds, `Z`; a time without a zone is UTC."""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def optional_time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)
