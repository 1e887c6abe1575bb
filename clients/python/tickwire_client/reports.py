"""Reports of a bot: orders, fills, signals, heartbeats and corrections.

A report is identified by (bot, kind, id), so it may be sent again: it takes effect once.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

from tickwire_client.messages import Body, format_time

Number = Decimal | str | int  # floats are refused: they have other digits than their text
Side = Literal["buy", "sell"]
OrderStatus = Literal["new", "accepted", "partially_filled", "filled", "cancelled", "rejected", "expired"]

_DECIMALS = frozenset({"quantity", "price", "fee", "multiplier", "decision_price", "arrival_price", "equity", "cash"})
_TIMES = frozenset({"time", "decision_time"})


def _new_id() -> str:
    return uuid.uuid4().hex


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The fields of every report.

    `id` is a new UUID and `time` the present time, unless the program gives them. `bot` is that of
    the client if it is None. A program that may be killed MUST store the id before it sends.
    """

    kind: ClassVar[str]

    strategy: str
    id: str = field(default_factory=_new_id)
    time: datetime | str = field(default_factory=_now)
    bot: str | None = None
    metadata: Mapping[str, Any] | None = None

    def as_dict(self) -> Body:
        """The body of the report: decimals and times as text, without missing values."""
        return report_body({"kind": self.kind, **{each.name: getattr(self, each.name) for each in fields(self)}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Report):
    """The status of an order at `time`."""

    kind: ClassVar[str] = "order"

    order_id: str
    symbol: str
    side: Side
    quantity: Number
    order_type: str
    status: OrderStatus
    client_order_id: str | None = None
    price: Number | None = None
    reason: str | None = None
    decision_price: Number | None = None
    decision_time: datetime | str | None = None
    arrival_price: Number | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(Report):
    """A trade of an order.

    `id` is the `fill_id`. A positive `fee` is paid, a negative one received.
    """

    kind: ClassVar[str] = "fill"

    id: str = ""
    fill_id: str
    order_id: str
    symbol: str
    side: Side
    quantity: Number
    price: Number
    fee: Number | None = None
    fee_currency: str | None = None
    liquidity: Literal["maker", "taker"] | None = None
    currency: str | None = None
    multiplier: Number | None = None

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", self.fill_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(Report):
    """A signal of a strategy, and its outcome. `confidence` is a number."""

    kind: ClassVar[str] = "signal"

    symbol: str
    signal: Literal["buy", "sell", "hold"]
    outcome: Literal["generated", "approved", "rejected"]
    price: Number | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Report):
    """The strategy runs. `equity` and `cash` are those of its account."""

    kind: ClassVar[str] = "heartbeat"

    equity: Number | None = None
    cash: Number | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction(Report):
    """Cancels a fill, or replaces its quantity, price or fee."""

    kind: ClassVar[str] = "correction"

    fill_id: str
    action: Literal["cancel", "replace"]
    quantity: Number | None = None
    price: Number | None = None
    fee: Number | None = None


@dataclass(slots=True)
class ReportResult:
    """The outcome of `report`.

    `duplicates` were accepted before. `rejected` has one dict per refused report, with `index`
    (its place among the arguments), `id`, `code` and `message`.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Body] = field(default_factory=list)


def report_body(report: Report | Mapping[str, Any], bot: str | None = None) -> Body:
    """The body of a report of `bot`. Raises `TypeError` for a float in place of a decimal."""
    if isinstance(report, Report):
        report = report.as_dict()
    body = {name: _text(name, value) for name, value in report.items() if value is not None}
    if bot is not None:
        body.setdefault("bot", bot)
    return body


def _text(name: str, value: Any) -> Any:
    if name in _DECIMALS:
        if isinstance(value, Decimal):
            return format(value, "f")
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise TypeError(f"{name} is a {type(value).__name__}: pass a Decimal or text")
    if name in _TIMES and isinstance(value, datetime):
        return format_time(value)
    return dict(value) if isinstance(value, Mapping) else value
