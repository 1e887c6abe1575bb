"""Quick checks of frequent messages: True only if the schema of the channel accepts the message.

A message that fails its quick check may still be valid: the schema decides. The quick check exists
because a marshmallow load takes 20 µs with warm caches, and many times that for one message between
two rounds of `send()`.
"""

from __future__ import annotations

from typing import Any

from api.hub.schemas.bus import MAX_EPOCH_LENGTH, MAX_NAME_LENGTH, MAX_SEQ
from db.decimals import is_decimal
from db.intervals import INTERVALS
from db.timestamps import parse_time


def is_plain_price(data: dict[str, Any]) -> bool:
    """Return True if `data` is a `price_updates` message in the form of our own publisher."""
    price = data.get("price")
    if type(price) is not dict or not _has_plain_head(data):
        return False
    try:
        return bool(is_decimal(price["bid"]) and is_decimal(price["ask"]) and is_decimal(price["mid"])) and _is_plain_time(price["time"])
    except (KeyError, TypeError):
        return False


def is_plain_candle(data: dict[str, Any]) -> bool:
    """Return True if `data` is a `candle_updates` message in the form of our own publisher.

    A hub reads a stream of thousands of candles at its start, before it accepts clients.
    """
    candle, interval = data.get("candle"), data.get("interval")
    if type(candle) is not dict or type(interval) is not str or interval not in INTERVALS or not _has_plain_head(data):
        return False
    trades = candle.get("trades")
    if type(candle.get("complete")) is not bool or not (trades is None or (type(trades) is int and trades >= 0)):
        return False
    try:
        decimals = all(is_decimal(candle[name]) for name in ("open", "high", "low", "close", "volume"))
        return decimals and _is_plain_time(candle["start_time"]) and _is_plain_time(candle["end_time"])
    except (KeyError, TypeError):
        return False


def _has_plain_head(data: dict[str, Any]) -> bool:
    name, epoch, seq = data.get("instrument"), data.get("epoch"), data.get("seq")
    if type(name) is not str or type(epoch) is not str or type(seq) is not int:
        return False
    fits = 0 < len(name) <= MAX_NAME_LENGTH and 0 < len(epoch) <= MAX_EPOCH_LENGTH and 0 < seq <= MAX_SEQ
    return fits and _is_plain_time(data.get("timestamp"))


def _is_plain_time(text: Any) -> bool:
    try:
        parse_time(text)
    except (TypeError, ValueError):
        return False
    return bool(text[-1:] == "Z")
