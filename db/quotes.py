"""Quotes of other programs: values become a `Tick`, and a digest finds repeated ones. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime
from decimal import Decimal

from db.decimals import halfway, plain_decimal
from db.messages import Tick
from db.timestamps import format_time, parse_time


def make_quote(
    instrument: str,
    bid: str | Decimal,
    ask: str | Decimal,
    mid: str | Decimal | None,
    time: str | datetime,
    source: str,
    volume: str | None = None,
) -> Tick:
    """Return a quote that is not checked yet. Without `mid`, it is exactly halfway.

    Exponents become plain digits. Raises `ValueError` for a time that cannot be read or has no
    zone, and `TypeError` for a price that is neither text nor a `Decimal`.
    """
    bid, ask = _decimal(bid), _decimal(ask)
    mid = halfway(bid, ask) if mid is None else _decimal(mid)
    return Tick(instrument, bid, ask, mid, format_time(_moment(time)), source, None if volume is None else plain_decimal(volume))


def digest_of(quote: Tick) -> str:
    """24 hexadecimal digits, equal for quotes of equal time, bid, ask and mid (as numbers)."""
    content = "|".join((quote.time, *map(_shortest, (quote.bid, quote.ask, quote.mid))))
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


def _decimal(value: str | Decimal) -> str:
    if not isinstance(value, str | Decimal):
        raise TypeError(f"a price is a Decimal or text, not {type(value).__name__}")
    return plain_decimal(value) if isinstance(value, str) else format(value, "f")


def _moment(time: str | datetime) -> datetime:
    moment = parse_time(time) if isinstance(time, str) else time
    if moment.tzinfo is None:
        raise ValueError(f"the time {moment.isoformat()} has no zone: use an aware datetime, as datetime.now(UTC)")
    return moment


def _shortest(decimal: str) -> str:
    """A text that all notations of one number share: `1.5` for `01.50`."""
    whole, _, fraction = decimal.partition(".")
    return f"{whole.lstrip('0')}.{fraction.rstrip('0')}"
