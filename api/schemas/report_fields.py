"""The fields of reports: a function per type reads a value or raises `ValueError`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from math import isfinite
from typing import Any

import orjson

from db.decimals import DECIMAL
from db.reports.model import ACTIONS, LIQUIDITY, ORDER_STATUSES, OUTCOMES, SIDES, SIGNALS
from db.timestamps import parse_time

MAX_AHEAD = timedelta(minutes=5)
MAX_AGE = timedelta(days=30)
MAX_METADATA_BYTES = 2048
MAX_REASON_CHARACTERS = 500

_BOT = r"[A-Za-z0-9_.-]{1,32}"
_STRATEGY = r"[A-Za-z0-9_.-]{1,64}"
_ID = r"[A-Za-z0-9_.:-]{1,64}"
_is_positive = re.compile(rf"(?=[0.]*[1-9]){DECIMAL}", re.ASCII).fullmatch
_is_signed = re.compile(rf"-?{DECIMAL}", re.ASCII).fullmatch
_is_currency = re.compile(r"[A-Z][A-Z0-9]{1,9}").fullmatch
is_id = re.compile(_ID).fullmatch

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a report: `read` returns its value or raises `ValueError`."""

    name: str
    read: Read
    required: bool = False


def _text(pattern: str) -> Read:
    matches = re.compile(pattern).fullmatch

    def read(value: Any) -> str:
        if isinstance(value, str) and matches(value):
            return value
        raise ValueError(f"Must match {pattern}.")

    return read


def _choice(choices: Collection[str]) -> Read:
    def read(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError(f"Must be one of: {', '.join(choices)}.")

    return read


def _positive(value: Any) -> Decimal:
    if isinstance(value, str) and _is_positive(value):
        return Decimal(value)
    raise ValueError("Must be a positive decimal string.")


def _signed(value: Any) -> Decimal:
    if isinstance(value, str) and _is_signed(value):
        return Decimal(value)
    raise ValueError("Must be a decimal string.")


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise ValueError("Must be a number.")


def _moment(value: Any) -> datetime:
    try:
        return parse_time(value)
    except TypeError:
        raise ValueError("Must be an RFC 3339 time such as 2025-11-18T12:34:56.789123Z.") from None
    except ValueError as error:
        raise ValueError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None


def _reason(value: Any) -> str:
    if isinstance(value, str) and len(value) <= MAX_REASON_CHARACTERS and "\0" not in value:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise ValueError(f"Must be text of at most {MAX_REASON_CHARACTERS} characters, without NUL.")


def _currency(value: Any) -> str:
    if isinstance(value, str) and _is_currency(value):
        return value
    raise ValueError("Must be a currency such as USD or USDT.")


def _symbol(value: Any) -> str:
    if isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable():
        return value
    raise ValueError("Must be the name of an instrument.")


def _metadata(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("Must be an object.")
    try:
        size = len(orjson.dumps(value))
    except TypeError:
        raise ValueError("Must be JSON: numbers have at most 64 bits, and text is valid Unicode.") from None
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"Must have at most {MAX_METADATA_BYTES} bytes as JSON, not {size}.")
    return value


def check_time(moment: datetime, now: datetime) -> None:
    """Raise `ValueError` if a report of this time is not accepted at `now`."""
    if moment > now + MAX_AHEAD:
        raise ValueError("Must not be more than 5 minutes in the future.")
    if moment < now - MAX_AGE:
        raise ValueError("Must not be more than 30 days old.")


_required = partial(Field, required=True)
_SHARED = (
    _required("bot", _text(_BOT)),
    _required("strategy", _text(_STRATEGY)),
    _required("id", _text(_ID)),
    _required("time", _moment),
    Field("metadata", _metadata),
)
_TRADED = (
    _required("order_id", _text(_ID)),
    _required("symbol", _symbol),
    _required("side", _choice(SIDES)),
    _required("quantity", _positive),
)

# kind -> its fields, without `kind` itself
FIELDS: dict[str, tuple[Field, ...]] = {
    "order": (
        *_SHARED,
        *_TRADED,
        _required("order_type", _text(r"[A-Za-z0-9_.-]{1,32}")),
        _required("status", _choice(ORDER_STATUSES)),
        Field("client_order_id", _text(_ID)),
        Field("price", _positive),
        Field("reason", _reason),
        Field("decision_price", _positive),
        Field("decision_time", _moment),
        Field("arrival_price", _positive),
    ),
    "fill": (
        *_SHARED,
        _required("fill_id", _text(_ID)),
        *_TRADED,
        _required("price", _positive),
        Field("fee", _signed),
        Field("fee_currency", _currency),
        Field("liquidity", _choice(LIQUIDITY)),
        Field("currency", _currency),
        Field("multiplier", _positive),
    ),
    "signal": (
        *_SHARED,
        _required("symbol", _symbol),
        _required("signal", _choice(SIGNALS)),
        _required("outcome", _choice(OUTCOMES)),
        Field("price", _positive),
        Field("confidence", _number),
    ),
    "heartbeat": (*_SHARED, Field("equity", _signed), Field("cash", _signed)),
    "correction": (
        *_SHARED,
        _required("fill_id", _text(_ID)),
        _required("action", _choice(ACTIONS)),
        Field("quantity", _positive),
        Field("price", _positive),
        Field("fee", _signed),
    ),
}
