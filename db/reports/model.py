"""Reports of bots: orders, fills, signals, heartbeats and corrections, and their JSON text. Pure.

A report is identified by (bot, kind, id). Decimals keep their digits; times are aware UTC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, ClassVar, TypeAlias

import orjson

from db.timestamps import format_time, parse_time

ORDER_STATUSES = ("new", "accepted", "partially_filled", "filled", "cancelled", "rejected", "expired")
TERMINAL_STATUSES = ("filled", "cancelled", "rejected", "expired")
SIDES = ("buy", "sell")
LIQUIDITY = ("maker", "taker")
SIGNALS = ("buy", "sell", "hold")
OUTCOMES = ("generated", "approved", "rejected")
CANCEL, REPLACE = ACTIONS = ("cancel", "replace")

DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """The fields of every report. `metadata` is a JSON object."""

    kind: ClassVar[str]

    bot: str
    strategy: str
    id: str
    time: datetime
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(_Report):
    """The state of an order at `time`."""

    kind: ClassVar[str] = "order"

    order_id: str
    symbol: str
    side: str
    quantity: Decimal
    order_type: str
    status: str
    client_order_id: str | None = None
    price: Decimal | None = None
    reason: str | None = None
    decision_price: Decimal | None = None
    decision_time: datetime | None = None
    arrival_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(_Report):
    """A fill; `id` is its `fill_id`.

    A positive `fee` is paid, a negative one is a rebate. `currency` None is that of the instrument,
    `fee_currency` None that of the fill.
    """

    kind: ClassVar[str] = "fill"

    order_id: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal = Decimal(0)
    fee_currency: str | None = None
    currency: str | None = None
    multiplier: Decimal = Decimal(1)
    liquidity: str | None = None

    @property
    def fill_id(self) -> str:
        """The id of the fill within its bot."""
        return self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(_Report):
    """A signal of a strategy, and what became of it."""

    kind: ClassVar[str] = "signal"

    symbol: str
    signal: str
    outcome: str
    price: Decimal | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(_Report):
    """The bot lives; optionally with its equity and cash."""

    kind: ClassVar[str] = "heartbeat"

    equity: Decimal | None = None
    cash: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction(_Report):
    """Cancels a fill of the same bot, or replaces the given ones of its values."""

    kind: ClassVar[str] = "correction"

    fill_id: str
    action: str
    quantity: Decimal | None = None
    price: Decimal | None = None
    fee: Decimal | None = None


Report: TypeAlias = Order | Fill | Signal | Heartbeat | Correction
MODELS: dict[str, type[Report]] = {model.kind: model for model in (Order, Fill, Signal, Heartbeat, Correction)}
KINDS = tuple(MODELS)

_TIMES = frozenset({"time", "decision_time"})
_DECIMALS = frozenset(
    {"quantity", "price", "fee", "multiplier", "decision_price", "arrival_price", "equity", "cash"},
)
_NAMES = {model: tuple(field.name for field in fields(model)) for model in MODELS.values()}
_VALUES = {model: attrgetter(*names) for model, names in _NAMES.items()}
# model -> (field, function that reads its text) of the fields that are not texts
_READERS: dict[type[Report], list[tuple[str, Callable[[str], Any]]]] = {
    model: [(name, parse_time if name in _TIMES else Decimal) for name in names if name in _TIMES | _DECIMALS]
    for model, names in _NAMES.items()
}


def to_json(report: Report) -> bytes:
    """The report as a JSON object in one form; fields without a value are left out.

    Decimals are strings with the digits of the report.
    """
    return _dump(_body(report))


def from_json(text: bytes) -> Report:
    """The report of `to_json`. Raises `ValueError` for another text."""
    try:
        body: dict[str, Any] = orjson.loads(text)
        model = MODELS[body.pop("kind")]
        for name, read in _READERS[model]:
            if name in body:
                body[name] = read(body[name])
        return model(**body)
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"not a report: {type(error).__name__}: {error}") from None


def digest_of(report: Report) -> bytes:
    """The 8 bytes by which the contents of two reports are compared; 1.0 and 1.00 are equal."""
    return with_digest(report)[0]


def with_digest(report: Report) -> tuple[bytes, bytes]:
    """The digest and the JSON object of a report, which cost less together."""
    body = _body(report)
    text = plain = _dump(body)
    shorter = {name: short for name in _DECIMALS & body.keys() if (short := _plain(body[name])) != body[name]}
    if shorter:
        plain = _dump(body | shorter)
    return hashlib.blake2b(plain, digest_size=DIGEST_BYTES).digest(), text


def _body(report: Report) -> dict[str, Any]:
    """The fields with a value as they are in the JSON object."""
    kind = type(report)
    body: dict[str, Any] = {"kind": kind.kind}
    for name, value in zip(_NAMES[kind], _VALUES[kind](report), strict=True):
        if value is None:
            continue
        if isinstance(value, Decimal):
            value = format(value, "f")
        elif isinstance(value, datetime):
            value = format_time(value)
        body[name] = value
    return body


def _dump(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _plain(text: str) -> str:
    """The digits without trailing zeros and without a negative zero."""
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
